"""Task 2: CIFAR-10, its baselines and the contest."""

import pandas as pd

from trainkit.results import Results, Rows, against, correct, summary


def baselines(results: Results) -> Rows:
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


def fast_training(results: Results) -> Rows:
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


def equal_time(results: Results) -> Rows:
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
        rows.append(row | against(results, name, reference))
    rows = correct(rows, reference)
    return sorted(rows, key=lambda row: -row["test_accuracy"])


def reference_of(results: Results, names: list[str]) -> str | None:
    """The experiment that the contest's budgets name."""
    for name in names:
        budget = results.first(name).spec["recipe"]["budget"]
        if budget and budget["reference"] in results.runs:
            return budget["reference"]
    return None
