"""Task 3: networks against each other, and each against the ResNet at equal cost."""

from trainkit import stats
from trainkit.results import Results, Rows, against, correct, summary

CONTROL, WHOLE = "cifar10-equal-resnet", "cifar10-equal-params-convnextv2"
ARCHITECTURES = {"convnextv2": "ConvNeXt V2", "repvgg": "RepVGG", "fasternet": "FasterNet"}
COMPARISONS = {
    "params": "equal parameters",
    "multiply-adds": "equal multiply-adds",
    "seconds": "equal training seconds",
}
EQUALITIES = {  # the column that must be 1, its unit, and by how much it may miss that
    "params": ("params_over_control", "parameters", 0.05),
    "multiply-adds": ("multiply_adds_over_control", "multiply-adds", 0.05),
    "seconds": ("train_seconds_over_control", "training seconds", 0.03),
}


def architectures(results: Results) -> Rows:
    """The baselines on CIFAR-10 and the networks of Task 3, against the ResNet."""
    rows, reference = [], "cifar10-resnet"
    for name in results.some_of_task("2.1.2", "2.1.3", "3"):
        rows.append(_network(results, name) | against(results, name, reference))
    return correct(rows, reference)


def equal(results: Results) -> Rows:
    """At equal cost: the control, then each comparison's networks against it on paired seeds.

    A comparison's p-values are corrected among themselves. ``equality`` says in words where a
    network misses what should be equal.
    """
    control = _equal_cost_row(results, CONTROL, "control", CONTROL)
    rows = correct([control], CONTROL)
    for comparison in COMPARISONS:
        names = [name for arch in ARCHITECTURES if (name := arm(comparison, arch)) in results.runs]
        compared = [
            _equal_cost_row(results, name, comparison, CONTROL) | against(results, name, CONTROL)
            for name in names
        ]
        found = [d for name in names if (d := results.difference(name, CONTROL))]
        smallest = 100 * stats.detectable(found, len(found)) if found else float("nan")
        rows += [row | {"smallest_detectable": smallest} for row in correct(compared, CONTROL)]
    return rows


def ablation(results: Results) -> Rows:
    """ConvNeXt V2 of equal parameters, and without some of its ingredients, on paired seeds."""
    names = [name for name in results.of_task("3-more") if not name.startswith("cifar10-equal-")]
    rows = []
    for name in (WHOLE, *names):
        whole = results.mean(name, "seconds.train") / results.mean(WHOLE, "seconds.train")
        row = _network(results, name) | {"train_seconds_over_whole": whole}
        rows.append(row | against(results, name, WHOLE))
    return correct(rows, WHOLE)


def arm(comparison: str, architecture: str) -> str:
    """The experiment of an architecture in one of the comparisons at equal cost."""
    return f"cifar10-equal-{comparison}-{architecture}"


def not_run(results: Results) -> list[str]:
    """The arms of the comparisons at equal cost that the preset leaves out, in words."""
    return [
        f"{title} at {COMPARISONS[comparison]}"
        for comparison in COMPARISONS
        for arch, title in ARCHITECTURES.items()
        if arm(comparison, arch) not in results.runs
    ]


def equality(comparison: str, row: dict) -> str:
    """``equal`` or, in words, by how much a network misses what should be; empty for the control."""
    if comparison not in EQUALITIES:
        return ""
    column, unit, tolerance = EQUALITIES[comparison]
    if abs(row[column] - 1) <= tolerance:
        return "equal"
    return f"misses: {row[column]:.2f} times the control's {unit}"


def _equal_cost_row(results: Results, name: str, comparison: str, control: str) -> dict:
    run, reference = results.first(name), results.first(control)
    seconds = results.mean(name, "seconds.train") / results.mean(control, "seconds.train")
    row = _network(results, name) | {
        "comparison": comparison,
        "params_over_control": run.params_total / reference.params_total,
        "multiply_adds_over_control": run.multiply_adds / reference.multiply_adds,
        "train_seconds_over_control": seconds,
        "train_images": run.train_images,
    }
    return row | {"equality": equality(comparison, row)}


def _network(results: Results, name: str) -> dict:
    run = results.first(name)
    images = run.batch_size * results.mean(name, "steps")
    return summary(results, name) | {
        "model": run.model,
        "multiply_adds": run.multiply_adds,
        "train_images_per_second": images / results.mean(name, "seconds.train"),
        "peak_memory_mb": max(results.values(name, "peak_memory_mb")),
        "precision": run.precision,
    }
