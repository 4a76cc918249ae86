"""Finished runs, and the columns that their tables share: what every figure and sentence is made of."""

from math import isnan
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from trainkit import stats
from trainkit.errors import StudyError
from trainkit.record import RunRecord, read_record

Row = dict[str, Any]
Rows = list[Row]


class MissingRunsError(StudyError):
    """No run of an experiment is there."""


class Runs(dict[str, list[RunRecord]]):
    """The finished runs by experiment; asking for one that has none raises `MissingRunsError`."""

    def __missing__(self, experiment: str) -> NoReturn:
        raise MissingRunsError(f"no finished run of {experiment} is there")


class Results:
    """The records of a study, by experiment in the order given, each with its seeds.

    ``declared`` has for each experiment the `identity` that its records must have.
    """

    def __init__(self, paths: list[Path], declared: dict[str, dict[str, str]] | None = None) -> None:
        self.runs = Runs()
        self.folders: dict[tuple[str, int], Path] = {}
        for path in paths:
            record = read_record(path)
            if declared is not None:
                refuse_stale(path, record, declared)
            self.runs.setdefault(record.experiment, []).append(record)
            self.folders[record.experiment, record.seed] = path.parent
        devices = {record.device for runs in self.runs.values() for record in runs}
        if len(devices) > 1:
            raise StudyError(
                f"the runs are of different hardware ({', '.join(sorted(devices))}), which no "
                "comparison may mix; give each machine a study of its own: --config study=NAME"
            )

    @classmethod
    def of_study(
        cls, study: Path, seeds: dict[str, list[int]], declared: dict[str, dict[str, str]] | None = None
    ) -> "Results":
        """Those of a study's folder, by the seeds of each experiment."""
        runs = study / "runs"
        paths = [runs / name / f"seed-{seed}" / "record.json" for name in seeds for seed in seeds[name]]
        return cls(paths, declared)

    def of_task(self, *tasks: str) -> list[str]:
        return [name for name, runs in self.runs.items() if runs[0].task in tasks]

    def some_of_task(self, *tasks: str) -> list[str]:
        """The same where there must be some; raises `MissingRunsError` where there is none."""
        if names := self.of_task(*tasks):
            return names
        raise MissingRunsError(f"no finished run of {' or '.join(tasks)} is there")

    def first(self, name: str) -> RunRecord:
        return self.runs[name][0]

    def values(self, name: str, key: str) -> list[float]:
        """A field of all seeds; ``seconds.train`` reaches into the record."""
        return [attrgetter(key)(record) for record in self.runs[name]]

    def by_seed(self, name: str, key: str) -> dict[int, float]:
        return {record.seed: attrgetter(key)(record) for record in self.runs[name]}

    def interval(self, name: str, key: str) -> stats.Interval:
        """The mean of a field over the seeds with its 95% interval, within what the field can be."""
        interval = stats.mean_interval
        if key.endswith("accuracy"):
            interval = stats.accuracy_interval
        elif key.startswith("seconds."):
            interval = stats.seconds_interval
        return interval(self.values(name, key))

    def mean(self, name: str, key: str) -> float:
        return self.interval(name, key).mean

    def difference(self, a: str, b: str, key: str = "test_accuracy") -> stats.Difference | None:
        return stats.paired_difference(self.by_seed(a, key), self.by_seed(b, key))

    def disagreement(self, a: str, b: str) -> stats.Disagreement:
        """A sign test over the test images, of the seeds that two experiments both have: for one, McNemar's.

        The first seed of each where they share none.
        """
        paired = sorted(self.by_seed(a, "seed").keys() & self.by_seed(b, "seed").keys())
        hits = []
        for name in (a, b):
            seeds = paired or [self.first(name).seed]
            hits.append(sum(self._right(name, seed).astype(int) for seed in seeds))
        return stats.disagreement(*hits)

    def _right(self, name: str, seed: int) -> np.ndarray:
        """Which test images a run's network reads right, ``(N,) bool``."""
        arrays = load_file(self.folders[name, seed] / "predictions.safetensors")
        return arrays["test_logits"].argmax(1) == arrays["test_labels"]

    def histories(self, name: str) -> pd.DataFrame:
        """The seeds' histories below each other, with a column ``seed``.

        Seconds of a frozen base's head begin when its features are there.
        """
        frames = []
        for record in self.runs[name]:
            frame = pd.read_csv(self.folders[name, record.seed] / "history.csv")
            frames.append(frame.assign(seed=record.seed, seconds=frame.seconds + record.seconds.features))
        return pd.concat(frames, ignore_index=True)


def refuse_stale(path: Path, record: RunRecord, declared: dict[str, dict[str, str]]) -> None:
    """Raises `StudyError` for a record of another spec, code or data than the workflow declares."""
    expected = declared.get(record.experiment)
    if expected is None:
        raise StudyError(f"{path}: is of {record.experiment}, which is not asked for here; delete the file")
    for what, digest in record.identity().items():
        if digest != expected[what]:
            raise StudyError(
                f"{path}: was made from another {what} (digest {digest}) than the workflow declares "
                f"({expected[what]}); delete the file and rerun snakemake"
            )


def summary(results: Results, name: str) -> dict[str, Any]:
    """The columns that every table of runs has. Accuracies in percent, times in seconds."""
    run, accuracy = results.first(name), results.interval(name, "test_accuracy")
    train = results.interval(name, "seconds.train")
    return {
        "experiment": name,
        "title": run.title,
        "n": accuracy.n,
        "test_accuracy": 100 * accuracy.mean,
        "test_accuracy_low": 100 * accuracy.low,
        "test_accuracy_high": 100 * accuracy.high,
        "val_accuracy": 100 * results.mean(name, "val_accuracy"),
        "epochs": results.mean(name, "epochs"),
        "train_seconds": train.mean,
        "train_seconds_low": train.low,
        "train_seconds_high": train.high,
        "total_seconds": results.mean(name, "seconds.total"),
        "params_total": run.params_total,
        "params_trainable": run.params_trainable,
    }


def against(results: Results, name: str, reference: str | None, key: str = "test_accuracy") -> dict[str, Any]:
    """Columns of the paired difference in an accuracy, in points of a percentage."""
    if reference is None or name == reference or reference not in results.runs:
        return {}
    return in_points(results.difference(name, reference, key))


def in_points(difference: stats.Difference | None) -> dict[str, Any]:
    """Columns of a difference between fractions; none where nothing is paired."""
    if difference is None:
        return {}
    return {
        "difference": 100 * difference.mean,
        "difference_low": 100 * difference.low,
        "difference_high": 100 * difference.high,
        "pairs": difference.n,
        "p": difference.p,
    }


def correct(rows: Rows, reference: str | None) -> Rows:
    """Add the p-values corrected for the number of comparisons, and the verdict in words."""
    compared = [row for row in rows if "p" in row]
    corrected = stats.holm([row["p"] for row in compared])
    for row, p in zip(compared, corrected, strict=True):
        row["p_holm"] = p
        difference = stats.Difference(
            row["difference"] / 100, row["difference_low"] / 100, row["difference_high"] / 100,
            row["pairs"], row["p"],
        )  # fmt: skip
        row["verdict"] = stats.verdict(
            difference, p, row["experiment"], row.get("reference", reference) or ""
        )
    for row in rows:
        is_reference = row["experiment"] == row.get("reference", reference)
        row.setdefault("verdict", "the reference" if is_reference else "")
    return rows


def percent(interval: stats.Interval) -> str:
    """``98.7% (95% interval 98.6 to 98.8, n=3)``, or ``98.7% (n=1)``."""
    mean = f"{100 * interval.mean:.2f}%"
    if isnan(interval.low):
        return f"{mean} (n={interval.n})"
    return f"{mean} (95% interval {100 * interval.low:.2f} to {100 * interval.high:.2f}, n={interval.n})"
