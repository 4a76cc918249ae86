"""The speedrun, and what each part of its recipe is worth."""

import itertools
import math
from operator import itemgetter
from statistics import fmean
from typing import Any

from trainkit.results import Results, Rows, against, correct, summary
from trainkit.stats import accuracy_interval

WHOLE = "speedrun-whole"


def runs(results: Results) -> Rows:
    """One row a run: accuracy in percent, seconds from a cold process to each of the two."""
    rows = []
    for name in results.of_task("speedrun"):
        for run in results.runs[name]:
            tta, seconds = run.test_accuracy_tta, run.seconds
            rows.append(
                {
                    "experiment": name,
                    "seed": run.seed,
                    "test_accuracy": 100 * run.test_accuracy,
                    "test_accuracy_tta": None if tta is None else 100 * tta,
                    "val_accuracy": 100 * run.val_accuracy,
                    "epochs": run.epochs,
                    "seconds_train": seconds.train,
                    "seconds_total": seconds.total - seconds.evaluate_tta,
                    "seconds_total_tta": None if tta is None else seconds.total,
                    "precision": run.precision,
                    "layout": run.layout,
                    "device": run.device,
                }
            )
    return rows


def means(rows: Rows) -> Rows:
    """One row a recipe of the runs' ``rows``: means over its seeds, ``plain`` and with ``tta``."""
    recipes = itertools.groupby(rows, itemgetter("experiment"))
    each = {name: list(group) for name, group in recipes}
    return [
        {"experiment": name, "plain": _mean(group, ""), "tta": _mean(group, "_tta")}
        for name, group in each.items()
    ]


def _mean(rows: Rows, kind: str) -> dict[str, Any] | None:
    """Mean accuracy, a fraction with its interval, and mean seconds; None where a run has none."""
    accuracies = [row[f"test_accuracy{kind}"] for row in rows]
    if any(accuracy is None or math.isnan(accuracy) for accuracy in accuracies):
        return None
    return {
        "accuracy": accuracy_interval([accuracy / 100 for accuracy in accuracies]),
        "seconds": fmean(row[f"seconds_total{kind}"] for row in rows),
    }


def ablation(results: Results) -> Rows:
    """The recipe without each of its parts, against the whole one.

    Parts are kept or dropped by this table, so that validation accuracy is what it compares.
    """
    names = results.some_of_task("ablation")
    results.first(WHOLE)  # without it there is nothing to compare with
    rows = [summary(results, name) | against(results, name, WHOLE, "val_accuracy") for name in names]
    return correct(rows, WHOLE)
