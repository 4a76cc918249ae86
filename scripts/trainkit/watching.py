"""What a study is doing: its finished runs, those under way, and an estimate of the rest."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.config import PRESETS, Study, load_study
from trainkit.errors import StudyError
from trainkit.files import read_json
from trainkit.progress import FILE
from trainkit.record import RunRecord, identity, read_record
from trainkit.spec import IN_ALL

SILENT = 120  # seconds without news after which a run is said to be silent
BARS = "▁▂▃▄▅▆▇█"
Run = tuple[str, int]  # an experiment and a seed


@dataclass
class Running:
    """A training under way, as its progress file tells it. Accuracy is a fraction."""

    run: Run
    epoch: float
    epochs: float
    loss: float | None
    accuracies: list[float]  # validation's, an epoch each
    images_per_second: float | None
    seconds_left: float | None
    silent: float  # seconds since its last news

    @property
    def alive(self) -> bool:
        """Whether it had news lately: a run that was killed leaves its file, and falls silent."""
        return self.silent < SILENT


@dataclass
class Estimate:
    """Seconds until the end, and what they were computed from."""

    seconds: float
    basis: str


@dataclass
class Watch:
    """Looks at one study again and again; finished records are read once."""

    folder: Path
    study: Study | None
    records: dict[Path, RunRecord] = field(default_factory=dict)

    def finished(self) -> dict[Run, float]:
        """Seconds of the whole process of each finished run. An unreadable record is none."""
        paths = set(self.folder.glob("runs/*/seed-*/record.json"))
        self.records = {path: record for path, record in self.records.items() if path in paths}
        for path in paths - self.records.keys():
            with contextlib.suppress(StudyError):
                self.records[path] = read_record(path)
        return {(r.experiment, r.seed): r.seconds.total for r in self.records.values()}

    def running(self) -> list[Running]:
        """The trainings that have left a file, those that were killed too."""
        found = []
        for path in sorted(self.folder.glob(f"*/*/seed-*/{FILE}")):
            # Gone or of another version meanwhile: not a run to show.
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
                found.append(_running(path, read_json(path)))
        return found

    def planned(self, finished: dict[Run, float], running: list[Running]) -> list[Run]:
        """Every run of the study: what `snakemake` makes, and what else has begun."""
        begun = [*finished, *(each.run for each in running)]
        names = {name for name, _ in begun}
        declared = [
            (name, seed)
            for name, experiment in (self.study.experiments if self.study else {}).items()
            if experiment.task in IN_ALL or name in names
            for seed in experiment.seeds
        ]
        return list(dict.fromkeys([*declared, *begun]))


def _running(path: Path, content: dict[str, Any]) -> Running:
    history = content["history"]
    where = path.parent
    return Running(
        run=(where.parent.name, int(where.name.removeprefix("seed-"))),
        epoch=content["step"] / content["steps"] * content["epochs"],
        epochs=float(content["epochs"]),
        loss=history[-1]["train_loss"] if history else None,
        accuracies=[float(row["val_accuracy"]) for row in history],
        images_per_second=content["images_per_second"],
        seconds_left=content["seconds_left"],
        silent=max(0.0, time.time() - content["time"]),
    )


def estimate(remaining: list[Run], finished: dict[Run, float], running: list[Running]) -> Estimate | None:
    """Seconds until all is done, from what finished runs took; None while nothing tells.

    A run takes what finished seeds of its experiment took on average, or else the average run.
    ``remaining`` are the runs that have not begun; they are shared by those that run side by side.
    """
    alive = [each for each in running if each.alive]
    known = [each.seconds_left for each in alive if each.seconds_left is not None]
    if remaining and not finished:
        return None
    by_experiment: dict[str, list[float]] = {}
    for (name, _), seconds in finished.items():
        by_experiment.setdefault(name, []).append(seconds)
    mean = sum(finished.values()) / max(1, len(finished))
    likely = [
        sum(by_experiment[name]) / len(by_experiment[name]) if name in by_experiment else mean
        for name, _ in remaining
    ]
    guessed = sum(name not in by_experiment for name, _ in remaining)
    basis = f"from {len(finished)} finished runs"
    if guessed:
        basis += f"; {guessed} of {len(remaining)} are of experiments without one, taken as average"
    return Estimate((sum(likely) + sum(known)) / max(1, len(alive)), basis)


def sparkline(values: list[float], width: int = 24) -> str:
    """Values as a row of bars from the lowest to the highest; the last ones, where there are many."""
    shown = values[-width:]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in shown)


# -- Which study ---------------------------------------------------------------------------


def newest(results: Path) -> Path:
    """The study in which something was written last. Raises `StudyError` where there is none."""
    studies = [path for path in results.glob("*") if _last_written(path)]
    if not studies:
        raise StudyError(f"{results}: no study is there to watch; start one with make run, or set STUDY")
    return max(studies, key=_last_written)


def _last_written(study: Path) -> float:
    times = []
    for path in (*study.glob("runs/*/*"), *study.glob(f"runs/*/*/{FILE}"), study / "runs", study / "logs"):
        with contextlib.suppress(OSError):  # it may go at any time
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def configuration(
    root: Path, folder: Path, overrides: dict[str, Any], given: str = "--config"
) -> Study | None:
    """The configuration that a study was most likely started with.

    That of the preset named, or of the folder's name, or else the one whose specs most of the
    finished records have; None where none has. ``given`` says where the overrides come from.
    """
    name = {"study": folder.name}
    if "preset" in overrides or folder.name in PRESETS:
        return load_study(root, {"preset": folder.name, **name, **overrides}, given=given)
    records = _records(folder)
    candidates = [
        load_study(root, {**overrides, **name, "preset": preset}, given=given) for preset in PRESETS
    ]
    best = max(candidates, key=lambda study: _fits(study, records))
    return best if _fits(best, records) else None


def _records(folder: Path) -> list[RunRecord]:
    watch = Watch(folder, None)
    watch.finished()
    return list(watch.records.values())


def _fits(study: Study, records: list[RunRecord]) -> int:
    """How many records are of the specs that a configuration has."""
    specs = {name: study.run_spec(name).model_dump(mode="json") for name in study.experiments}
    digests = {name: identity(spec, "", {})["spec"] for name, spec in specs.items()}
    return sum(record.identity()["spec"] == digests.get(record.experiment) for record in records)
