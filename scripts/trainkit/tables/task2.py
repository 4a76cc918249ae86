"""Task 2.1: the baselines on CIFAR-10."""

from trainkit.results import Results, Rows, summary


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
