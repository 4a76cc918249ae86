"""Choosing a learning rate by trials: the same number of them for every method, on validation images."""

from pathlib import Path

from trainkit.record import RunRecord, read_record


def chosen_rate(trials: list[Path]) -> float:
    """The peak learning rate of the best of these trials' records."""
    return best_rate([read_record(path) for path in trials])


def best_rate(trials: list[RunRecord]) -> float:
    """The learning rate with the highest mean validation accuracy over its trials' seeds.

    Of equals the smaller one; a trial that diverged counts as 0.
    """
    by_rate: dict[float, list[float]] = {}
    for trial in trials:
        by_rate.setdefault(trial.learning_rate, []).append(trial.val_accuracy)
    return max(sorted(by_rate), key=lambda rate: sum(by_rate[rate]) / len(by_rate[rate]))
