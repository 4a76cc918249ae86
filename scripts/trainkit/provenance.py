"""When each run of a study was made, and where its time went."""

from datetime import datetime, timedelta

import pandas as pd

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
        parts = {
            part: getattr(run.seconds, part) for part in ("load", "compile", "train", "evaluate", "total")
        }
        rows.append({"task": task, "runs": 1} | parts)
    frame = pd.DataFrame(rows).groupby("task").sum().sort_index()
    frame.loc["All"] = frame.sum()
    return frame.reset_index().to_dict("records")


def span(results: Results) -> float:
    """Seconds from the first run's start to the last run's end."""
    frame = timeline(results)
    return (frame.end.max() - frame.start.min()).total_seconds()
