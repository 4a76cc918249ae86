"""When each run of a study was made, and where its time went."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from trainkit.digest import digest_of
from trainkit.record import RunRecord
from trainkit.results import Results, Rows

PARTS = ("load", "compile", "train", "evaluate", "total")
TASKS = {"1": "Task 1", "2": "Task 2", "3": "Task 3"}


def timeline(results: Results) -> pd.DataFrame:
    """One row a run: ``experiment, seed, task, start, end, seconds`` (of the process), ``accuracy``.

    A run that was killed and went on is shown as one stretch of its seconds, before its end.
    """
    rows = []
    for runs in results.runs.values():
        for run in runs:
            end = datetime.fromisoformat(run.finished).replace(tzinfo=None)
            rows.append(
                {
                    "experiment": run.experiment,
                    "seed": run.seed,
                    "task": TASKS.get(run.task[:1], run.task),
                    "start": end - timedelta(seconds=run.seconds.total),
                    "end": end,
                    "seconds": run.seconds.total,
                    "accuracy": 100 * run.val_accuracy,
                }
            )
    return pd.DataFrame(rows).sort_values("start", ignore_index=True)


def where_the_time_went(results: Results) -> Rows:
    """Seconds of each task's runs, by part, and their sum in the last row."""
    rows: Rows = []
    for run in (run for runs in results.runs.values() for run in runs):
        task = TASKS.get(run.task[:1], run.task)
        parts = {part: getattr(run.seconds, part) for part in PARTS}
        rows.append({"task": task, "runs": 1} | parts)
    frame = pd.DataFrame(rows).groupby("task").sum().sort_index()
    frame.loc["All"] = frame.sum()
    return frame.reset_index().to_dict("records")


def span(results: Results) -> float:
    """Seconds from the first run's start to the last run's end."""
    frame = timeline(results)
    return (frame.end.max() - frame.start.min()).total_seconds()


def energy(results: Results) -> list[str]:
    """What the devices took during the runs, in words, by kind; none where no counter was there to read."""
    runs = [run for runs in results.runs.values() for run in runs]
    said = []
    for kind, device in (("gpu", "GPU"), ("cpu", "CPU packages")):
        metered = [run.energy_joules[kind] for run in runs if kind in run.energy_joules]
        if metered:
            said.append(f"{sum(metered) / 3600:.1f} Wh ({device}, {len(metered)} of {len(runs)} runs)")
    return said


def mixed(results: Results) -> list[str]:
    """In what runs that stand beside each other differ though no recipe asks for it, in words."""
    runs = [run for runs in results.runs.values() for run in runs]
    threads = sorted({run.threads for run in runs})
    said = [f"CPU threads: {', '.join(map(str, threads))}"] if len(threads) > 1 else []
    for package in runs[0].packages:
        versions = sorted({run.packages.get(package, "not there") for run in runs})
        if len(versions) > 1:
            said.append(f"{package}: {', '.join(versions)}")
    alike: dict[str, list[RunRecord]] = {}  # of one network, in the numerics that were measured to be fastest
    for run in runs:
        asked = [run.spec["recipe"].get(key) for key in ("precision", "layout", "compile", "cuda_graphs")]
        alike.setdefault(digest_of([run.spec.get("model", run.experiment), asked]), []).append(run)
    for own in alike.values():
        by_numerics: dict[str, list[str]] = {}
        for run in own:
            how = f"{run.precision} in {run.layout}{' by CUDA graphs' if run.cuda_graphs else ''}"
            by_numerics.setdefault(how, []).append(run.experiment)
        if len(by_numerics) > 1:
            said += [f"{', '.join(dict.fromkeys(names))}: {how}" for how, names in by_numerics.items()]
    return said


def missing(study: Path, runs: list[str]) -> Rows:
    """Runs without a record of theirs (``experiment/seed-0``), each with ``why``."""
    return [{"run": run, "why": _why_missing(study, run)} for run in runs]


def _why_missing(study: Path, run: str) -> str:
    """The error that its log ends with, where there is one."""
    if (study / "runs" / run / "record.json").exists():
        return "made of another spec, code or data than this study's"
    log = study / "logs" / "runs" / f"{run}.log"
    if not log.exists():
        return "not begun"
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    if any(line.startswith("Traceback") for line in lines):
        errors += [line for line in lines if line.strip()][-1:]
    return errors[-1] if errors else "begun, and stopped without an error of its own"
