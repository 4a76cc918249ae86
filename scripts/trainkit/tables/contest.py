"""Points 2.2 and 2.3: methods at the same training time, at several budgets, tuned alike."""

from itertools import combinations
from math import floor, isnan
from statistics import fmean
from typing import Any

import pandas as pd

from trainkit import stats
from trainkit.comparison import changes
from trainkit.digest import digest_of
from trainkit.record import RunRecord
from trainkit.results import MissingRunsError, Results, Rows, against, correct, in_points, summary
from trainkit.spec import AT

APART = {"name", "title", "tuned_by"}  # of a spec: what a run is called, and how it was tuned
NAMED = ("schedule", "optimizer.lookahead", "ema")  # what methods may differ in


def fast_training(results: Results) -> Rows:
    """Each method with the seconds until validation first reaches what all of them end above.

    These are its steps until then, in seconds of the budget that all its steps are fitted to: so a
    change of the machine's speed from run to run decides nothing.
    """
    names = results.some_of_task("2.2")
    target, control = target_accuracy(results, names), control_of(results, names)
    rows = []
    for name in names:
        budget = results.mean(control or name, "seconds.train")
        seconds = [
            budget * reach
            for _, history in results.histories(name).groupby("seed")
            if (reach := part_to_reach(history, target)) is not None
        ]
        run = results.first(name)
        rows.append(
            summary(results, name)
            | {
                "schedule": run.spec["recipe"]["schedule"]["name"],
                "lookahead": bool(run.spec["recipe"]["optimizer"]["lookahead"]),
                "ema": bool(run.spec["recipe"]["ema"]),
                "learning_rate": run.learning_rate,
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
    return floor(100 * lowest + 1e-9) / 100


def part_to_reach(history: pd.DataFrame, target: float) -> float | None:
    """The part of a run's steps at the first epoch whose validation accuracy reaches ``target``."""
    reached = history.loc[history.val_accuracy >= target, "step"]
    return None if reached.empty else float(reached.iloc[0] / history.step.iloc[-1])


# -- Equal time ----------------------------------------------------------------------------


def equal_time(results: Results) -> Rows:
    """The methods by mean accuracy at their own budget, each against the control on paired seeds."""
    return _at_one_budget(results, results.some_of_task("2.2"))


def budgets(results: Results) -> Rows:
    """The same at every budget, the shortest first."""
    return [
        {"budget": label} | row
        for label, names in by_budget(results).items()
        for row in _at_one_budget(results, names)
    ]


def by_budget(results: Results) -> dict[str, list[str]]:
    """The contestants of each budget, by its name, from the shortest to the longest."""
    labels: dict[str, list[str]] = {}
    for name in results.some_of_task("2.2", "2.3-budgets"):
        labels.setdefault(name.partition(AT)[2], []).append(name)
    return dict(sorted(labels.items(), key=lambda each: _budget(results, each[1][0])["epochs"]))


def budget_name(label: str) -> str:
    """What a budget is called: that without a label is B."""
    return f"budget \u201c{label}\u201d" if label else "B"


def method_of(name: str) -> str:
    """The method that a contestant is, at whatever budget."""
    return name.partition(AT)[0]


def control_of(results: Results, names: list[str]) -> str | None:
    """The contestant whose time is the budget of all of these."""
    for name in names:
        budget = _budget(results, name)
        reference = budget and budget["reference"]
        for own in names:
            if reference and method_of(own) == reference:
                return own
    return None


def _budget(results: Results, name: str) -> dict[str, Any]:
    return results.first(name).spec["recipe"]["budget"]


def _at_one_budget(results: Results, names: list[str]) -> Rows:
    control = control_of(results, names)
    if control is None and any(_budget(results, name) for name in names):
        raise MissingRunsError(
            "the contest's control has no finished run, and it is what others are held against"
        )
    budget = results.mean(control, "seconds.train") if control else float("nan")
    ranks = stats.mean_ranks({name: results.by_seed(name, "test_accuracy") for name in names})
    rows = []
    for name in names:
        run = results.first(name)
        used = results.values(name, "seconds.train")
        trials = _trials(results, name)
        row = summary(results, name) | {
            "learning_rate": run.learning_rate,
            "steps": results.mean(name, "steps"),
            "budget_seconds": budget,
            "seconds_used": results.mean(name, "seconds.train"),
            "used_over_budget": results.mean(name, "seconds.train") / budget,
            "runs_outside_3_percent": sum(abs(seconds / budget - 1) > 0.03 for seconds in used),
            "trials": len(trials),
            "tuning_seconds": sum(trial.seconds.train for trial in trials),
            "rank": ranks[name].mean,
            "rank_low": ranks[name].low,
            "rank_high": ranks[name].high,
            "differs_in": ", ".join(differs_in(results, name, control)) if control else "",
            "train_images": run.train_images,
        }
        rows.append(row | against(results, name, control))
    rows = correct(rows, control)
    found = [
        difference
        for name in names
        if control and name != control and (difference := results.difference(name, control))
    ]
    smallest = 100 * stats.detectable(found, len(found)) if found else float("nan")
    rows.sort(key=lambda row: -row["test_accuracy"])
    methods = [row["experiment"] for row in rows if row["experiment"] != control]
    behind, pairs = _behind_the_first(results, methods if rows[0]["experiment"] != control else [])
    for row in rows:
        row["smallest_detectable"] = smallest
        row["p_behind_first"], row["pairs_of_all"] = behind.get(row["experiment"], float("nan")), pairs
        row["flags"] = "; ".join(_flags(results, row))
    return rows


def _behind_the_first(results: Results, names: list[str]) -> tuple[dict[str, float], int]:
    """p-values of the first of these methods against each other one, corrected for all pairs, and how many.

    For all that share seeds enough to be tested, since it is the results that say which is the first. The
    control is none of them: comparisons with it are another question, corrected among themselves.
    """
    found = {pair: results.difference(*pair) for pair in combinations(names, 2)}
    corrected = stats.holm([float("nan") if d is None else d.p for d in found.values()])
    tested = sum(not isnan(p) for p in corrected)
    return {b: p for (a, b), p in zip(found, corrected, strict=True) if a == names[0]}, tested


def differs_in(results: Results, name: str, control: str) -> list[str]:
    """The keys of the spec in which a method differs from the control; its trials' rate is its own."""
    differing = changes(results.first(control).spec, results.first(name).spec)
    return sorted({_group(key) for key, *_ in differing if key not in APART})


def _group(key: str) -> str:
    """The named thing that a key belongs to: a schedule's options are one thing."""
    key = key.removeprefix("recipe.")
    return next((thing for thing in NAMED if key == thing or key.startswith(f"{thing}.")), key)


def _flags(results: Results, row: dict[str, Any]) -> list[str]:
    """In words, what a reader must know before trusting a row."""
    flags = []
    if row["n"] < 2:
        flags.append("one seed")
    if row["epochs"] < 1:
        flags.append("less than one epoch")
    if row["runs_outside_3_percent"]:
        flags.append(f"{row['runs_outside_3_percent']} of {row['n']} runs outside 3% of the budget")
    other = [thing for thing in row["differs_in"].split(", ") if thing and thing not in NAMED]
    if other:
        flags.append(f"differs from the control in {', '.join(other)} too")
    trials = _trials(results, row["experiment"])
    rates = sorted({trial.learning_rate for trial in trials})
    if len(rates) > 2 and row["learning_rate"] in (rates[0], rates[-1]):
        flags.append("its best rate is the outermost that was tried")
    return flags


# -- What tuning took, and what Lookahead did ----------------------------------------------


def _trials(results: Results, name: str) -> list[RunRecord]:
    """The trials that chose a contestant's learning rate."""
    names = results.first(name).spec["tuned_by"]
    return [record for trial in names if trial in results.runs for record in results.runs[trial]]


def tuning(results: Results) -> Rows:
    """Every trial: its learning rate, how it ended on validation images, and what it cost."""
    rows = []
    for name in results.of_task("2.2"):
        trials = _trials(results, name)
        chosen = results.first(name).learning_rate
        rows += [
            {
                "experiment": name,
                "title": results.first(name).title,
                "learning_rate": trial.learning_rate,
                "seed": trial.seed,
                "val_accuracy": None if trial.diverged else 100 * trial.val_accuracy,
                "diverged": trial.diverged,
                "chosen": trial.learning_rate == chosen,
                "epochs": trial.epochs,
                "train_seconds": trial.seconds.train,
                "total_seconds": trial.seconds.total,
            }
            for trial in trials
        ]
    return rows


def tried_rates(results: Results) -> Rows:
    """Each method's rates with the validation accuracies of all seeds; None where a trial diverged."""
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for trial in tuning(results):
        key = trial["experiment"], trial["learning_rate"]
        row = rows.setdefault(key, trial | {"val_accuracies": [], "train_seconds": 0.0})
        row["val_accuracies"].append(trial["val_accuracy"])
        row["train_seconds"] += trial["train_seconds"]
    return [row | {"val_accuracy": fmean(a or 0.0 for a in row["val_accuracies"])} for row in rows.values()]


def crossed(results: Results) -> Rows:
    """Each method with slow weights (Lookahead, an average) against its plain twin, and all together.

    The row of all is the mean over the schedules of each seed, so that its interval is over seeds. Its
    p-value is corrected for the number of such rows, over kinds and budgets.
    """
    rows, of_all = [], []
    for label, names in by_budget(results).items():
        for kind, pairs in twins(results, names).items():
            own = [_crossed_row(results, label, kind, [pair]) for pair in pairs]
            rows += correct([row for row in own if row], None)
            if len(own) > 1 and (together := _crossed_row(results, label, kind, pairs)):
                title = f"All {len(pairs)} schedules"
                named = {"experiment": kind, "title": title, "reference": "the schedules alone"}
                rows.append(together | named)
                of_all.append(rows[-1])
    for row in correct(of_all, None):
        row["experiment"] = ""
    return rows


def twins(results: Results, names: list[str]) -> dict[str, list[tuple[str, str]]]:
    """By kind of slow weights: methods that have them, each with its plain twin."""
    plain = {_key(results, name): name for name in names if not slow_weights(results, name)}
    kinds = dict.fromkeys(filter(None, (slow_weights(results, name) for name in names)))
    return {
        kind: [
            (name, plain[_key(results, name)])
            for name in names
            if slow_weights(results, name) == kind and _key(results, name) in plain
        ]
        for kind in kinds
    }


def slow_weights(results: Results, name: str) -> str:
    """``Lookahead``, ``EMA``, or nothing."""
    recipe = results.first(name).spec["recipe"]
    if recipe["optimizer"]["lookahead"]:
        return "Lookahead"
    return "EMA" if recipe["ema"] else ""


def _key(results: Results, name: str) -> str:
    """What a method and its plain twin share: all but the slow weights."""
    spec = {key: value for key, value in results.first(name).spec.items() if key not in APART}
    optimizer = spec["recipe"]["optimizer"] | {"lookahead": None}
    return digest_of(spec | {"recipe": spec["recipe"] | {"ema": None, "optimizer": optimizer}})


def _crossed_row(results: Results, label: str, kind: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    by_seed = [[results.by_seed(name, "test_accuracy") for name in side] for side in zip(*pairs, strict=True)]
    shared = set.intersection(*(set(values) for side in by_seed for values in side))
    means = [{seed: sum(v[seed] for v in side) / len(side) for seed in shared} for side in by_seed]
    difference = stats.paired_difference(*means)
    if difference is None:
        return {}
    seconds, plain = (
        sum(results.mean(name, "seconds.train") for name in side) for side in zip(*pairs, strict=True)
    )
    return {
        "budget": label,
        "slow_weights": kind,
        "experiment": pairs[0][0],
        "reference": pairs[0][1],
        "title": results.first(method_of(pairs[0][1])).title,
        "train_seconds_over_plain": seconds / plain,
        **in_points(difference),
    }
