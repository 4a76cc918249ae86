"""What comparisons at equal cost say of the papers' claims: no more than was measured."""

from math import isnan

from trainkit.answers.comparisons import significant
from trainkit.results import Rows
from trainkit.tables.task3 import ARCHITECTURES, COMPARISONS

FOLD_TOLERANCE = 1e-4


def rankings(equal: Rows) -> str:
    """The order of the means in each comparison, and which differences are significant."""
    orders = {}
    for comparison, title in COMPARISONS.items():
        field = [row for row in equal if row["comparison"] in (comparison, "control")]
        if len(field) > 1:
            field.sort(key=lambda row: -row["test_accuracy"])
            orders[title] = [ARCHITECTURES.get(row["model"], "ResNet") for row in field]
    said = "; ".join(f"at {title}: {', '.join(order)}" for title, order in orders.items())
    whole = [order for order in orders.values() if len(order) == len(ARCHITECTURES) + 1]
    if len(whole) < len(COMPARISONS):
        return f"Ordered by mean accuracy, of those that were run, {said}. {differences(equal)}"
    differ = any(order != whole[0] for order in whole)
    end = "The orders of the means differ" if differ else "The order of the means is the same in all three"
    return f"Ordered by mean accuracy, {said}. {end}. {differences(equal)}"


def differences(equal: Rows) -> str:
    """Which differences from the ResNet are significant, and how large one must be to be found."""
    compared = [row for row in equal if row["comparison"] in COMPARISONS]
    if compared and all(row.get("pairs", 0) < 2 for row in compared):
        return "One seed each, so that any difference may be chance (n=1)."
    found = [
        f"{ARCHITECTURES[row['model']]} at {COMPARISONS[row['comparison']]} "
        f"({row['difference']:+.2f} points, p={row['p_holm']:.2g})"
        for row in compared
        if significant(row)
    ]
    said = f"Significantly different from the ResNet: {', '.join(found) or 'none'}."
    smallest = sorted(s for row in compared if not isnan(s := row["smallest_detectable"]))
    if smallest and smallest[-1] < 100:
        said += (
            f" With these seeds a true difference of {smallest[0]:.0f} to {smallest[-1]:.0f} points, by "
            "comparison, would be found four times out of five, a smaller one less often."
        )
    return said


def time_at_equal_arithmetic(equal: Rows) -> str:
    """Whether networks of equal multiply-adds take equal time to train."""
    rows = [row for row in equal if row["comparison"] == "multiply-adds" and row["equality"] == "equal"]
    if not rows:
        return ""
    each = ", ".join(f"{ARCHITECTURES[row['model']]} {row['train_seconds_over_control']:.2f}" for row in rows)
    so = "multiply-adds tell the time well"
    if any(abs(row["train_seconds_over_control"] - 1) > 0.25 for row in rows):
        so = "multiply-adds do not tell the time"
    return f"At equal multiply-adds, times the ResNet's training seconds: {each}; on this machine {so}."


def against_control(equal: Rows, model: str) -> list[str]:
    """A network's verdict in each comparison, with what it really cost."""
    said = []
    for row in equal:
        if row["model"] == model and row["comparison"] in COMPARISONS:
            missed = f" ({row['equality']})" if row["equality"] != "equal" else ""
            said.append(
                f"At {COMPARISONS[row['comparison']]}{missed}, against the ResNet: {judged(row)}. "
                f"It had {row['params_over_control']:.2f} times its parameters, "
                f"{row['multiply_adds_over_control']:.2f} times its multiply-adds and "
                f"{row['train_seconds_over_control']:.2f} times its training seconds."
            )
    return said


def ingredients(ablation: Rows) -> list[str]:
    """What each ingredient of ConvNeXt V2 is worth, against the time that it costs."""
    return [
        f"{row['title']}: {judged(row)}, in {row['train_seconds_over_whole']:.2f} times the training seconds."
        for row in ablation[1:]
    ]


def judged(row: dict) -> str:
    """The mean difference in points, and in words what the paired comparison allows."""
    if row.get("difference") is None:
        return row["verdict"]
    difference = f"{row['difference']:+.2f} points on average (n={row['pairs']:.0f})"
    if row["pairs"] < 2:
        return f"{difference}, from one pair of seeds, so that it may be chance"
    if not significant(row):
        return f"{difference}, and no difference was found"
    better = "better" if row["difference"] > 0 else "worse"
    return f"{difference}, significantly {better} (p={row['p_holm']:.2g}, corrected)"


def short(row: dict) -> str:
    """A table's verdict in a word or two."""
    if row.get("difference") is None or row["pairs"] < 2:
        return row["verdict"] if row["verdict"] == "the reference" else "n=1"
    return {0: "none found", 1: "better", -1: "worse"}[significant(row)]


def folding(inference: Rows) -> list[str]:
    """RepVGG before and after folding: outputs and speed."""
    said = []
    for folded in (row for row in inference if row["folded"] == "yes"):
        plain = next(
            row
            for row in inference
            if row["folded"] == "no" and all(row[key] == folded[key] for key in ("experiment", "batch_size"))
        )
        difference = folded["largest_difference"]
        equal = "equal within" if difference <= FOLD_TOLERANCE else "not equal within"
        said.append(
            f"{folded['title']}, batch {folded['batch_size']}: "
            f"{compared(folded, plain, 'its training form')}; "
            f"outputs {equal} {FOLD_TOLERANCE:g} (largest difference {difference:.1e}); "
            f"weights {folded['weight_mb']:.2f} MB against {plain['weight_mb']:.2f} MB, "
            f"activations {folded['activation_mb']:.1f} MB against {plain['activation_mb']:.1f} MB."
        )
    return said


def partial_convolution(inference: Rows, control: str) -> list[str]:
    """FasterNet's images a second against the ResNet's, at equal multiply-adds."""
    said = []
    for row in inference:
        other = next(
            (r for r in inference if r["experiment"] == control and r["batch_size"] == row["batch_size"]),
            None,
        )
        if other and row["experiment"] == "cifar10-equal-multiply-adds-fasternet":
            batch = f"Inference at equal multiply-adds, batch {row['batch_size']}"
            said.append(f"{batch}: {compared(row, other, 'the ResNet')}.")
    return said


def compared(a: dict, b: dict, other: str) -> str:
    """Two rates: their ratio, and whether the ranges over the rounds lie apart."""
    ratio = a["images_per_second"] / b["images_per_second"]
    if a["images_per_second_low"] > b["images_per_second_high"]:
        word = "faster in every round"
    elif a["images_per_second_high"] < b["images_per_second_low"]:
        word = "slower in every round"
    else:
        word = "within the spread of the rounds"
    return f"{ratio:.2f} times the images a second of {other}, {word}"
