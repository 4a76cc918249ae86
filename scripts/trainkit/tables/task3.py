"""Task 3: networks against each other."""

from trainkit.results import Results, Rows, against, correct, summary


def architectures(results: Results) -> Rows:
    """Every CIFAR-10 network that is trained in full, against the ResNet."""
    return _networks(results, results.of_task("2.1.2", "2.1.3", "3"), "cifar10-resnet")


def more(results: Results) -> Rows:
    """Further networks, and ConvNeXt V2 without some of its ingredients, against ConvNeXt V2."""
    return _networks(results, results.of_task("2.1.3", "3", "3-more"), "cifar10-convnextv2")


def _networks(results: Results, names: list[str], reference: str) -> Rows:
    rows = []
    for name in names:
        run = results.first(name)
        images = run.train_images * run.epochs
        row = summary(results, name) | {
            "model": run.model,
            "multiply_adds": run.multiply_adds,
            "train_images_per_second": images / results.mean(name, "seconds.train"),
            "peak_memory_mb": max(results.values(name, "peak_memory_mb")),
            "precision": run.precision,
        }
        rows.append(row | against(results, name, reference))
    return correct(rows, reference)
