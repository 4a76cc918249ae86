"""Task 1: MNIST."""

from trainkit.results import Results, Rows, against, correct, summary


def mnist(results: Results) -> Rows:
    return [{"task": results.first(name).task, **summary(results, name)} for name in results.runs]


def transfer(results: Results) -> Rows:
    """Frozen, fine-tuned and scratch side by side, each against the fine-tuned one."""
    rows = []
    reference = "mnist-transfer-finetuned"
    for name in results.of_task("1.4"):
        run = results.first(name)
        row = summary(results, name) | {
            "features_seconds": run.seconds.features,
            "seconds_per_epoch": results.mean(name, "seconds.train") / run.epochs,
            "multiply_adds": run.multiply_adds,
        }
        rows.append(row | against(results, name, reference))
    return correct(rows, reference)
