"""Finished runs as tables: what every figure and sentence is computed from."""

import copy
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

from trainkit import stats
from trainkit.errors import StudyError
from trainkit.record import RunRecord, read_record

Rows = list[dict[str, Any]]


class Results:
    """The records of a study, by experiment in the order given, each with its seeds.

    ``declared`` has for each experiment the `identity` that its records must have.
    """

    def __init__(self, paths: list[Path], declared: dict[str, dict[str, str]] | None = None) -> None:
        self.runs: dict[str, list[RunRecord]] = {}
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

    def of_task(self, *tasks: str) -> list[str]:
        return [name for name, runs in self.runs.items() if runs[0].task in tasks]

    def only(self, *tasks: str) -> "Results":
        """The results of some tasks alone."""
        view = copy.copy(self)
        view.runs = {name: self.runs[name] for name in self.of_task(*tasks)}
        return view

    def first(self, name: str) -> RunRecord:
        return self.runs[name][0]

    def values(self, name: str, key: str) -> list[float]:
        """A field of all seeds; ``seconds.train`` reaches into the record."""
        return [_dig(record, key) for record in self.runs[name]]

    def by_seed(self, name: str, key: str) -> dict[int, float]:
        return {record.seed: _dig(record, key) for record in self.runs[name]}

    def interval(self, name: str, key: str) -> stats.Interval:
        return stats.mean_interval(self.values(name, key))

    def mean(self, name: str, key: str) -> float:
        return self.interval(name, key).mean

    def difference(self, a: str, b: str, key: str = "test_accuracy") -> stats.Difference | None:
        return stats.paired_difference(self.by_seed(a, key), self.by_seed(b, key))

    def disagreement(self, a: str, b: str) -> stats.Disagreement:
        """McNemar's comparison of the first seeds of two experiments on the test images."""
        right = []
        for name in (a, b):
            arrays = load_file(self.folders[name, self.first(name).seed] / "predictions.safetensors")
            right.append(arrays["test_logits"].argmax(1) == arrays["test_labels"])
        return stats.disagreement(*right)

    def histories(self, name: str) -> pd.DataFrame:
        """The seeds' histories below each other, with a column ``seed``."""
        frames = [
            pd.read_csv(self.folders[name, record.seed] / "history.csv").assign(seed=record.seed)
            for record in self.runs[name]
        ]
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


def _dig(record: RunRecord, key: str) -> Any:
    value: Any = record
    for part in key.split("."):
        value = getattr(value, part)
    return value


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


# -- The tables of the assignment ----------------------------------------------------------


def task1_mnist(results: Results) -> Rows:
    return [{"task": results.first(name).task, **summary(results, name)} for name in results.runs]


def task1_5_transfer(results: Results) -> Rows:
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
        rows.append(row | _against(results, name, reference))
    return _correct(rows, reference)


def task2_1_baselines(results: Results) -> Rows:
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


def task2_2_fast_training(results: Results) -> Rows:
    """Each method with the seconds until validation first reaches what all of them end above."""
    names = results.of_task("2.2")
    target = target_accuracy(results, names)
    rows = []
    for name in names:
        seconds = [
            reach
            for _, history in results.histories(name).groupby("seed")
            if (reach := seconds_to_reach(history, target)) is not None
        ]
        run = results.first(name)
        rows.append(
            summary(results, name)
            | {
                "schedule": run.spec["recipe"]["schedule"]["name"],
                "lookahead": bool(run.spec["recipe"]["optimizer"]["lookahead"]),
                "target_val_accuracy": 100 * target,
                "runs_that_reach_it": len(seconds),
                "seconds_to_target": sum(seconds) / len(seconds) if seconds else None,
                "train_images": run.train_images,
            }
        )
    return rows


def target_accuracy(results: Results, names: list[str]) -> float:
    """A validation accuracy that every method's mean reaches in the end, in whole percents."""
    lowest = min((results.mean(name, "val_accuracy") for name in names), default=0.0)
    return int(100 * lowest) / 100


def seconds_to_reach(history: pd.DataFrame, target: float) -> float | None:
    """Training seconds at the first epoch whose validation accuracy reaches ``target``."""
    reached = history.loc[history.val_accuracy >= target, "seconds"]
    return None if reached.empty else float(reached.iloc[0])


def task2_3_equal_time(results: Results) -> Rows:
    """The methods by mean accuracy, each against the control on paired seeds."""
    names = results.of_task("2.2")
    reference = reference_of(results, names)
    rows = []
    for name in names:
        run = results.first(name)
        budget = run.budget_seconds or float("nan")
        used = results.mean(name, "seconds.train")
        row = summary(results, name) | {
            "budget_seconds": budget,
            "seconds_used": used,
            "used_over_budget": used / budget,
            "within_3_percent": abs(used / budget - 1) <= 0.03,
            "train_images": run.train_images,
        }
        rows.append(row | _against(results, name, reference))
    rows = _correct(rows, reference)
    return sorted(rows, key=lambda row: -row["test_accuracy"])


def reference_of(results: Results, names: list[str]) -> str | None:
    """The experiment that the contest's budgets name."""
    for name in names:
        budget = results.first(name).spec["recipe"]["budget"]
        if budget and budget["reference"] in results.runs:
            return budget["reference"]
    return None


def task3_architectures(results: Results) -> Rows:
    """Every CIFAR-10 network that is trained in full, against the ResNet."""
    return _networks(results, results.of_task("2.1.2", "2.1.3", "3"), "cifar10-resnet")


def task3_more(results: Results) -> Rows:
    """Further networks, and ConvNeXt V2 without some of its ingredients, against ConvNeXt V2."""
    return _networks(results, results.of_task("2.1.3", "3", "architectures"), "cifar10-convnextv2")


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
        rows.append(row | _against(results, name, reference))
    return _correct(rows, reference)


# -- Speedrun ------------------------------------------------------------------------------


def speedrun(results: Results) -> Rows:
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
                    "device": run.device,
                }
            )
    return rows


def speedrun_ablation(results: Results) -> Rows:
    """The recipe without each of its parts, against the whole one.

    Parts are kept or dropped by this table, so that validation accuracy is what it compares.
    """
    names = results.of_task("ablation")
    reference = names[0] if names else None
    rows = [summary(results, name) | _against(results, name, reference, "val_accuracy") for name in names]
    return _correct(rows, reference)


def _against(
    results: Results, name: str, reference: str | None, key: str = "test_accuracy"
) -> dict[str, Any]:
    """Columns of the paired difference in an accuracy, in points of a percentage."""
    if reference is None or name == reference or reference not in results.runs:
        return {}
    difference = results.difference(name, reference, key)
    if difference is None:
        return {}
    return {
        "difference": 100 * difference.mean,
        "difference_low": 100 * difference.low,
        "difference_high": 100 * difference.high,
        "pairs": difference.n,
        "p": difference.p,
    }


def _correct(rows: Rows, reference: str | None) -> Rows:
    """Add the p-values corrected for the number of comparisons, and the verdict in words."""
    compared = [row for row in rows if "p" in row]
    corrected = stats.holm([row["p"] for row in compared])
    for row, p in zip(compared, corrected, strict=True):
        row["p_holm"] = p
        difference = stats.Difference(
            row["difference"] / 100, row["difference_low"] / 100, row["difference_high"] / 100,
            row["pairs"], row["p"],
        )  # fmt: skip
        row["verdict"] = stats.verdict(difference, p, row["experiment"], reference or "")
    for row in rows:
        row.setdefault("verdict", "the reference" if row["experiment"] == reference else "")
    return rows


TABLES = {
    "task1_mnist": task1_mnist,
    "task1.5_transfer": task1_5_transfer,
    "task2.1_baselines": task2_1_baselines,
    "task2.2_fast_training": task2_2_fast_training,
    "task2.3_equal_time": task2_3_equal_time,
    "task3_architectures": task3_architectures,
    "task3_more": task3_more,
    "speedrun": speedrun,
    "speedrun_ablation": speedrun_ablation,
}


def percent(interval: stats.Interval) -> str:
    """``98.7% (95% interval 98.6 to 98.8, n=3)``, or ``98.7% (n=1)``."""
    mean = f"{100 * interval.mean:.2f}%"
    if isnan(interval.low):
        return f"{mean} (n={interval.n})"
    return f"{mean} (95% interval {100 * interval.low:.2f} to {100 * interval.high:.2f}, n={interval.n})"
