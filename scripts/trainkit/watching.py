"""What a study is doing: its finished runs, those under way, and an estimate of the rest."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.errors import StudyError
from trainkit.files import read_json
from trainkit.progress import FILE
from trainkit.record import read_record

CALL = "call.json"  # of the last call of Snakemake: what it was given, and what it makes
SILENT = 120  # seconds without news after which a run is said to be silent
BARS = "▁▂▃▄▅▆▇█"
Run = tuple[str, str, int]  # in "runs" or "verify", an experiment, and a seed


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
    seconds: dict[tuple[Path, int], float] = field(default_factory=dict)  # by record and time of writing

    def plan(self) -> tuple[dict[Run, bool] | None, int]:
        """The runs of the last call that had something to do, and whether each was to be made; when that was.

        None where no call tells of its runs; ns since 1970.
        """
        path = self.folder / CALL
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            runs = read_json(path)["runs"]
            return {_run(Path(run)): bool(todo) for run, todo in runs.items()}, path.stat().st_mtime_ns
        return None, 0

    def all_finished(self) -> dict[Run, tuple[float, int]]:
        """Seconds of the whole process of each finished run, and when its record was written (ns).

        An unreadable record is none.
        """
        found = {}
        for path in sorted(self.folder.glob("*/*/seed-*/record.json")):
            with contextlib.suppress(OSError, ValueError, StudyError):
                run, written = _run(path.parent.relative_to(self.folder)), path.stat().st_mtime_ns
                if (path, written) not in self.seconds:
                    self.seconds[path, written] = read_record(path).seconds.total
                found[run] = self.seconds[path, written], written
        return found

    def finished(self) -> set[Run]:
        """The finished runs of the last call, or of the study where that has none.

        What that call is to make anew is not finished until it has done so.
        """
        plan, since = self.plan()
        found = self.all_finished().items()
        if not plan:
            return {run for run, _ in found if run[0] == "runs"}
        return {run for run, (_, written) in found if run in plan and not (plan[run] and written < since)}

    def running(self) -> list[Running]:
        """The trainings that have left a file, those that were killed too."""
        found = []
        for path in sorted(self.folder.glob(f"*/*/seed-*/{FILE}")):
            # Gone or of another version meanwhile: not a run to show.
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
                run = _run(path.parent.relative_to(self.folder))
                found.append(_running(run, read_json(path)))
        return found


def _run(folder: Path) -> Run:
    """The run of a folder such as ``runs/mnist-convnet/seed-0``."""
    kind, experiment, seed = folder.parts
    return kind, experiment, int(seed.removeprefix("seed-"))


def _running(run: Run, content: dict[str, Any]) -> Running:
    history = content["history"]
    return Running(
        run=run,
        epoch=content["step"] / content["steps"] * content["epochs"],
        epochs=float(content["epochs"]),
        loss=history[-1]["train_loss"] if history else None,
        accuracies=[float(row["val_accuracy"]) for row in history],
        images_per_second=content["images_per_second"],
        seconds_left=content["seconds_left"],
        silent=max(0.0, time.time() - content["time"]),
    )


def estimate(remaining: list[Run], finished: dict[Run, float], running: list[Running]) -> Estimate | None:
    """Seconds until all is done, from what ``finished`` runs took; None while nothing tells.

    A run takes what finished seeds of its experiment took on average, or else the average run.
    ``remaining`` are the runs that have not begun; they are shared by those that run side by side.
    """
    alive = [each for each in running if each.alive]
    known = [each.seconds_left for each in alive if each.seconds_left is not None]
    if remaining and not finished:
        return None
    by_experiment: dict[str, list[float]] = {}
    for (_, name, _), seconds in finished.items():
        by_experiment.setdefault(name, []).append(seconds)
    mean = sum(finished.values()) / max(1, len(finished))
    likely = [
        sum(by_experiment[name]) / len(by_experiment[name]) if name in by_experiment else mean
        for _, name, _ in remaining
    ]
    guessed = sum(name not in by_experiment for _, name, _ in remaining)
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


def newest(results: Path) -> Path:
    """The study in which something was written last. Raises `StudyError` where there is none."""
    studies = [path for path in results.glob("*") if _last_written(path)]
    if not studies:
        raise StudyError(f"{results}: no study is there to watch; start one with make run, or set STUDY")
    return max(studies, key=_last_written)


def _last_written(study: Path) -> float:
    times = []
    written = (*study.glob("*/*/seed-*"), *study.glob(f"*/*/seed-*/{FILE}"))
    for path in (*written, study / "runs", study / "logs", study / CALL):
        with contextlib.suppress(OSError):  # it may go at any time
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)
