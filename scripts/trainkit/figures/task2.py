"""Task 2: histories, schedules, the contest."""

from math import isnan

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from trainkit.figures.style import CONTROL, LOOKAHEAD, PLAIN, curve
from trainkit.optim import schedules
from trainkit.results import Results
from trainkit.spec import Schedule
from trainkit.tables import task2 as tables


def baselines_history(results: Results) -> Figure:
    """Training and validation history of the baselines: loss above, accuracy below."""
    names = results.of_task("2.1.2", "2.1.3")
    figure, axes = plt.subplots(
        2, len(names), figsize=(4.6 * len(names), 6), sharex="col", sharey="row", squeeze=False
    )
    for column, name in enumerate(names):
        history = results.histories(name)
        for row, (kind, scale) in enumerate((("loss", 1), ("accuracy", 100))):
            ax = axes[row, column]
            curve(ax, history, "epoch", f"train_{kind}", "training (augmented images)", scale)
            curve(ax, history, "epoch", f"val_{kind}", "validation", scale, ls="--")
        drops = history.groupby("epoch").lr.mean()
        for epoch in drops.index[1:]:
            if drops[epoch] < 0.5 * drops[epoch - 1]:
                axes[1, column].axvline(epoch - 0.5, color="0.6", lw=1, ls=":")
        axes[0, column].set_title(results.first(name).title, fontsize=11)
        axes[1, column].set_xlabel("epoch (dotted: the learning rate drops)")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("accuracy, %")
    axes[0, 0].legend(fontsize=9)
    return figure


def learning_rates(results: Results) -> Figure:
    """The schedules as small multiples, from the closed forms that training uses."""
    names = [n for n in results.of_task("2.2") if not _lookahead(results, n)]
    columns = 4
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(9, 2.1 * rows), sharex=True, sharey=True, squeeze=False
    )
    z = np.linspace(0, 1, 400, endpoint=False)
    for ax, name in zip(axes.flat, names, strict=False):
        recipe = results.first(name).spec["recipe"]
        schedule = Schedule.model_validate(recipe["schedule"])
        rates = [recipe["optimizer"]["lr"] * schedules.factor(schedule, x) for x in z]
        ax.plot(100 * z, rates, color=PLAIN)
        ax.fill_between(100 * z, rates, color=PLAIN, alpha=0.12, lw=0)
        ax.set_title(results.first(name).title, fontsize=10, loc="left")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("share of the training, %", fontsize=10)
    figure.supylabel("learning rate", fontsize=10)
    return figure


def accuracy_against_seconds(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8.5, 5))
    names = results.of_task("2.2")
    colors = iter(sns.color_palette("colorblind", len({_schedule(results, n) for n in names})))
    by_schedule: dict[str, tuple] = {}
    for name in names:
        schedule = _schedule(results, name)
        color = by_schedule.get(schedule) or by_schedule.setdefault(schedule, next(colors))
        style = "--" if _lookahead(results, name) else "-"
        history = results.histories(name)
        curve(ax, history, "seconds", "val_accuracy", results.first(name).title, 100, color=color, ls=style)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=8, ncols=2)
    return figure


def _schedule(results: Results, name: str) -> str:
    return results.first(name).spec["recipe"]["schedule"]["name"]


def _lookahead(results: Results, name: str) -> bool:
    return bool(results.first(name).spec["recipe"]["optimizer"]["lookahead"])


def differences(results: Results) -> Figure:
    """The contest as a forest plot: each method minus the control on the same seeds."""
    rows = tables.equal_time(results)
    figure, ax = plt.subplots(figsize=(8, 0.45 * len(rows) + 1.2))
    for position, row in enumerate(rows):
        if "difference" not in row:
            ax.plot(0, position, "D", color=CONTROL)
            continue
        color = LOOKAHEAD if _lookahead(results, row["experiment"]) else PLAIN
        if not isnan(row["difference_low"]):
            ax.plot([row["difference_low"], row["difference_high"]], [position] * 2, color=color, lw=2)
        ax.plot(row["difference"], position, "o", color=color)
    ax.axvline(0, color=CONTROL, lw=1)
    ax.set_yticks(range(len(rows)), [f"{row['title']} ({row['test_accuracy']:.1f}%)" for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("points of test accuracy above the constant rate, paired seeds, 95% interval")
    return figure
