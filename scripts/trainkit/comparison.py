"""Two studies beside each other: what differed in what they are made of, and in what came out."""

from dataclasses import dataclass, field
from math import exp, isfinite, log
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from trainkit import stats
from trainkit.errors import StudyError
from trainkit.files import read_json
from trainkit.record import RunRecord, read_record

MACHINE = ("device", "precision", "layout", "cuda_graphs", "threads", "packages")
MEASURED = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "steps", "epochs")
Change = tuple[str, Any, Any]  # a key, its value in the one, its value in the other


class _Absent:
    """In place of the value of a key that only the other side has."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


# -- Two records ---------------------------------------------------------------------------


def changes(one: Any, other: Any, key: str = "") -> list[Change]:
    """The keys whose values differ, as ``recipe.optimizer.lr``, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(name for name in other if name not in one)]
        return [
            change
            for name in keys
            for change in changes(
                one.get(name, ABSENT), other.get(name, ABSENT), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if one == other else [(key, one, other)]


def in_words(change: Change) -> str:
    """``recipe.optimizer.lr: 0.1 -> 0.05``."""
    key, one, other = change
    return f"{key}: {one} -> {other}"


def machine_changes(one: RunRecord, other: RunRecord) -> list[Change]:
    """What of the machine and the packages differs between two records."""
    return changes(*({key: getattr(record, key) for key in MACHINE} for record in (one, other)))


def first_difference(original: Path, again: Path) -> int | None:
    """The first epoch whose numbers differ, seconds apart; None where none does.

    Of two records' paths, the histories beside them are compared.
    """
    histories = [pd.read_csv(path.parent / "history.csv") for path in (original, again)]
    one, other = (frame.drop(columns="seconds") for frame in histories)
    for epoch in sorted({*one.epoch, *other.epoch}):
        if not one[one.epoch == epoch].equals(other[other.epoch == epoch]):
            return epoch
    return None


# -- A study -------------------------------------------------------------------------------


@dataclass
class Side:
    """One study as it lies on disk; ``unread`` has a line for each record that is left out."""

    folder: Path
    runs: dict[str, dict[int, RunRecord]] = field(default_factory=dict)  # by experiment and seed
    paths: dict[tuple[str, int], Path] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    hardware: dict[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> list[RunRecord]:
        return [record for seeds in self.runs.values() for record in seeds.values()]

    def first(self, name: str) -> RunRecord:
        return self.runs[name][min(self.runs[name])]

    def by_seed(self, name: str, key: str) -> dict[int, float]:
        """A field of all seeds; ``seconds.train`` reaches into the record."""
        return {seed: attrgetter(key)(record) for seed, record in self.runs[name].items()}

    def history(self, name: str, seed: int) -> pd.DataFrame | None:
        """A run's curve; None where the file is missing or no table."""
        try:
            return pd.read_csv(self.paths[name, seed].parent / "history.csv")
        except (OSError, ValueError):
            return None


def read_side(folder: Path) -> Side:
    """A study's records, without those that cannot be read, of which it says why.

    Raises `StudyError` where the folder is missing or holds no record that can be read.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder; expected a study's, such as results/cpu")
    found = sorted(folder.glob("runs/*/seed-*/record.json"))
    if not found:
        raise StudyError(
            f"{folder}: holds no records (runs/EXPERIMENT/seed-N/record.json); expected a study's folder, "
            "such as results/cpu, with finished runs"
        )
    side = Side(folder)
    for path in found:
        try:
            record = read_record(path)
        except StudyError as error:
            side.unread.append(str(error))
            continue
        side.runs.setdefault(record.experiment, {})[record.seed] = record
        side.paths[record.experiment, record.seed] = path
    if not side.runs:
        raise StudyError(f"{folder}: none of its {len(found)} records can be read; {side.unread[0]}")
    try:
        side.hardware = read_json(folder / "hardware.json")
    except (OSError, ValueError):
        side.unread.append(f"{folder / 'hardware.json'}: cannot be read; the records' own is taken")
        side.hardware = side.records[0].hardware
    return side


# -- Two studies ---------------------------------------------------------------------------


@dataclass
class Row:
    """An experiment that both studies have. Accuracies are fractions, times seconds."""

    name: str
    title: str
    a: stats.Interval
    b: stats.Interval
    seeds: list[int]  # that both have
    unpaired: str
    difference: stats.Difference | None  # B less A
    a_seconds: stats.Interval
    b_seconds: stats.Interval
    ratio: stats.Interval | None  # of training seconds, B over A
    spec: list[Change]
    flags: list[str]
    identical: int  # of the paired seeds, how many have the same numbers
    p_holm: float = float("nan")

    @property
    def same(self) -> bool:
        """Whether the runs of all paired seeds are identical."""
        return self.identical == len(self.seeds) > 0

    @property
    def verdict(self) -> str:
        if self.same:
            return "identical" + (" on the paired seeds" if self.unpaired else "")
        some = f"; {self.identical} of {len(self.seeds)} pairs are identical" if self.identical else ""
        return stats.verdict(self.difference, self.p_holm, "B", "A") + some


@dataclass
class Comparison:
    a: Side
    b: Side
    rows: list[Row]
    only_a: list[str]
    only_b: list[str]
    facts: dict[str, list[Change]]
    times: str

    @property
    def tested(self) -> int:
        """Comparisons that the p-values are corrected for."""
        return sum(isfinite(row.p_holm) for row in self.rows)


def compare(a: Path, b: Path) -> Comparison:
    """Compare the studies in two folders. Raises `StudyError` where there is nothing to compare."""
    if a.resolve() == b.resolve():
        raise StudyError(f"{a} and {b} are the same folder; give two studies to compare")
    one, other = read_side(a), read_side(b)
    rows = [_row(one, other, name) for name in one.runs if name in other.runs]
    tested = [row for row in rows if row.difference and not row.same]
    corrected = stats.holm([row.difference.p for row in tested if row.difference])
    for row, p in zip(tested, corrected, strict=True):
        row.p_holm = p
    return Comparison(
        one,
        other,
        rows,
        [name for name in one.runs if name not in other.runs],
        [name for name in other.runs if name not in one.runs],
        facts(one, other),
        _times(one, other),
    )


def _row(a: Side, b: Side, name: str) -> Row:
    one, other = a.first(name), b.first(name)
    shared = sorted(a.runs[name].keys() & b.runs[name].keys())
    seconds = [side.by_seed(name, "seconds.train") for side in (a, b)]
    return Row(
        name,
        other.title,
        stats.accuracy_interval(list(a.by_seed(name, "judged_accuracy").values())),
        stats.accuracy_interval(list(b.by_seed(name, "judged_accuracy").values())),
        shared,
        _unpaired(a.runs[name].keys() - shared, b.runs[name].keys() - shared),
        stats.paired_difference(b.by_seed(name, "judged_accuracy"), a.by_seed(name, "judged_accuracy")),
        *(stats.seconds_interval(list(part.values())) for part in seconds),
        _ratio(*seconds),
        changes(one.spec, other.spec),
        _flags(a, b, name),
        sum(_identical(a, b, name, seed) for seed in shared),
    )


def _unpaired(only_a: set[int], only_b: set[int]) -> str:
    """Which seeds the paired difference leaves out."""
    parts = [
        f"{', '.join(map(str, sorted(seeds)))} of {side} only"
        for side, seeds in (("A", only_a), ("B", only_b))
        if seeds
    ]
    return f"unpaired seeds: {'; '.join(parts)}" if parts else ""


def _ratio(a: dict[int, float], b: dict[int, float]) -> stats.Interval | None:
    """Geometric mean of the paired ratios ``b / a``, with the interval of the logarithms' mean."""
    a, b = ({seed: log(value) for seed, value in part.items() if value > 0} for part in (a, b))
    difference = stats.paired_difference(b, a)
    if difference is None:
        return None
    low, high = exp(difference.low), exp(difference.high)
    return stats.Interval(exp(difference.mean), low, high, difference.n)


def _flags(a: Side, b: Side, name: str) -> list[str]:
    """What a reader must know before comparing the two sides of an experiment."""
    one, other = a.first(name), b.first(name)
    flags = []
    if one.test_accuracy is None or other.test_accuracy is None:
        flags.append("validation accuracy: a trial is not tested")
    if one.data_sha256 != other.data_sha256:
        flags.append("other data")
    if one.test_images != other.test_images:
        flags.append(f"other test images: {one.test_images} -> {other.test_images}")
    if one.code_digest != other.code_digest:
        flags.append("other code")
    for label, side in (("A", a), ("B", b)):
        made_of = {tuple(record.identity().values()) for record in side.runs[name].values()}
        if len(made_of) > 1:
            flags.append(f"{label} mixes runs of {len(made_of)} different specs, codes or data")
    return flags


def _identical(a: Side, b: Side, name: str, seed: int) -> bool:
    """Whether two runs have the same spec, numbers and history, to the last digit; seconds apart."""
    one, other = a.runs[name][seed], b.runs[name][seed]
    if changes(one.spec, other.spec) or any(getattr(one, key) != getattr(other, key) for key in MEASURED):
        return False
    try:
        return first_difference(a.paths[name, seed], b.paths[name, seed]) is None
    except (OSError, ValueError, KeyError, AttributeError):  # no history to tell by
        return False


def facts(a: Side, b: Side) -> dict[str, list[Change]]:
    """What differs between the studies as wholes, by kind; a kind without differences is empty."""
    kinds: dict[str, tuple[str, ...]] = {
        "Code": ("git_commit",),
        "Packages": ("packages",),
        "Machine": ("device", "precision", "layout", "cuda_graphs", "threads", "deterministic"),
    }
    found = {
        kind: changes(*({key: _values(side, key) for key in keys} for side in (a, b)))
        for kind, keys in kinds.items()
    }
    found = {kind: [_plain(change) for change in part] for kind, part in found.items()}
    hardware = changes(a.hardware, b.hardware)
    found["Hardware"] = [change for change in hardware if not _is_measured(change[0])]
    found["Measured when each study began"] = [change for change in hardware if _is_measured(change[0])]
    found["Data"] = changes(*(_data(side, a, b) for side in (a, b)))
    return found


def _is_measured(key: str) -> bool:
    """Whether a key of hardware.json is a reading, which differs from one time to the next."""
    measured = (
        *("threads_images_per_second", "matrix_product_gflops", "precision.", "cuda_graphs."),
        "cpu.clock_current_mhz",
    )
    return key.startswith(measured) and not key.endswith((".choice", ".layout", ".blocked", ".winograd"))


def _values(side: Side, key: str) -> dict[str, str]:
    """A field's values over a study's records, joined; of a table, each of its keys."""
    values: dict[str, set[str]] = {}
    for record in side.records:
        value = getattr(record, key)
        for name, each in (value if isinstance(value, dict) else {"": value}).items():
            values.setdefault(name, set()).add(str(each))
    return {name: ", ".join(sorted(each)) for name, each in values.items()}


def _plain(change: Change) -> Change:
    return change[0].removesuffix("."), *change[1:]


def _data(side: Side, a: Side, b: Side) -> dict[str, Any]:
    """Checksums of the datasets that both studies use."""
    shared = {record.dataset for record in a.records} & {record.dataset for record in b.records}
    return {record.dataset: record.data_sha256 for record in side.records if record.dataset in shared}


def _times(a: Side, b: Side) -> str:
    """What the ratios of the training times are ratios of."""
    machines = [{(r.device, r.threads, r.precision) for r in side.records} for side in (a, b)]
    if machines[0] != machines[1]:
        return (
            "The times are of two different machines or settings (device, threads or precision): "
            "their ratios compare the machines as much as the studies."
        )
    return (
        "The times are of the same kind of machine, taken at two times: what else it did then is not in "
        "the records, so a ratio is no proof of faster code. `snakemake benchmark` interleaves the two."
    )
