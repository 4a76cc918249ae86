"""Task 2 on all training images: the baselines of 2.1, and what 2.2 makes of the ResNet."""

from trainkit.results import Results, Rows, against, correct, summary

RESNET, CONSTANT = "cifar10-resnet", "cifar10-resnet-constant"


def baselines(results: Results) -> Rows:
    rows = []
    for name in results.of_task("2.1.2", "2.1.3"):
        converged = [record.converged for record in results.runs[name]]
        said = {True: "yes", False: "no, stopped at its most epochs", None: "fixed epochs"}
        rows.append(
            {"task": results.first(name).task, **summary(results, name)}
            | {"converged": said[None if converged[0] is None else all(converged)]}
            | {"train_images": results.first(name).train_images}
        )
    return rows


def whole(results: Results) -> Rows:
    """2.2: the ResNet by its own schedule, and by others, against a constant rate on the same seeds."""
    others = [name for name in results.of_task("2.2-whole") if name != CONSTANT]
    reference = results.mean(CONSTANT, "seconds.train")
    rows = [
        {**summary(results, name), "steps": results.mean(name, "steps")}
        | {"train_seconds_over_constant": results.mean(name, "seconds.train") / reference}
        | against(results, name, CONSTANT)
        for name in (CONSTANT, RESNET, *others)
    ]
    return correct(rows, CONSTANT)
