"""Whether finished runs reproduce: the same run again, compared with its record."""

from pathlib import Path
from typing import Any

from trainkit import stats
from trainkit.comparison import first_difference, in_words, machine_changes
from trainkit.record import RunRecord, read_record


def compare(original: Path, again: Path, seeds: list[Path]) -> dict[str, Any]:
    """A row that says whether the record ``again`` is the record ``original`` once more.

    ``seeds`` are the original records of all seeds of the experiment: their spread says what
    another machine may come to. Accuracies in per cent.
    """
    one, other = read_record(original), read_record(again)
    low, high = stats.prediction_interval([read_record(path).test_accuracy for path in seeds])
    epoch = first_difference(original, again)
    same_bits = epoch is None and same_bytes(original, again, "model.safetensors")
    return {
        "experiment": one.experiment,
        "seed": one.seed,
        "machine": "the same" if same_machine(one, other) else "another",
        "machine_differs": "; ".join(map(in_words, machine_changes(one, other))),
        "same_weights_and_history": same_bits,
        "test_accuracy": 100 * one.test_accuracy,
        "test_accuracy_again": 100 * other.test_accuracy,
        "predicted_low": 100 * low,
        "predicted_high": 100 * high,
        "verdict": verdict(one, other, same_bits, epoch, low, high, len(seeds)),
    }


def verdict(
    one: RunRecord, other: RunRecord, same_bits: bool, epoch: int | None, low: float, high: float, n: int
) -> str:
    if same_bits:
        return "reproduces bit for bit"
    if one.steps != other.steps and one.budget_seconds is not None:
        return f"not comparable: {other.steps} steps in place of {one.steps}, for the calibration is another"
    if same_machine(one, other) and one.deterministic:
        where = "its weights" if epoch is None else f"epoch {epoch}"
        return f"DOES NOT REPRODUCE: on the same machine it differs from {where} on"
    if n < 2:
        return "not bit for bit, and one seed has no spread to judge it by"
    inside = low <= other.test_accuracy <= high
    return f"{'within' if inside else 'OUTSIDE'} what the spread of {n} seeds predicts"


def same_machine(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records are of one kind of machine and of the same packages."""
    return not machine_changes(one, other)


def same_bytes(original: Path, again: Path, name: str) -> bool:
    return (original.parent / name).read_bytes() == (again.parent / name).read_bytes()
