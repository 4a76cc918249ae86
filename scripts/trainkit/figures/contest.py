"""Points 2.2 and 2.3: schedules, curves against seconds, differences, budgets."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from trainkit.figures.style import LOOKAHEAD, PLAIN, curve, forest, log_x
from trainkit.optim import schedules
from trainkit.results import MissingRunsError, Results, Rows
from trainkit.spec import Schedule
from trainkit.tables import contest as tables

STYLES = {"": "-", "Lookahead": "--", "EMA": ":"}
AVERAGE = "#029e73"
COLORS = {"": PLAIN, "Lookahead": LOOKAHEAD, "EMA": AVERAGE}


def learning_rates(results: Results) -> Figure:
    """The schedules as small multiples, from the closed forms that training uses."""
    names = [n for n in results.some_of_task("2.2") if not tables.slow_weights(results, n)]
    if not names:
        raise MissingRunsError("no method without slow weights is there")
    columns = 4
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(9, 2.1 * rows), sharex=True, sharey=True, squeeze=False
    )
    z, kinds = np.linspace(0, 1, 400, endpoint=False), TypeAdapter(Schedule)
    for ax, name in zip(axes.flat, names, strict=False):
        run = results.first(name)
        schedule = kinds.validate_python(_schedule(results, name))
        rates = [run.learning_rate * schedules.factor(schedule, x) for x in z]
        ax.plot(100 * z, rates, color=PLAIN)
        ax.fill_between(100 * z, rates, color=PLAIN, alpha=0.12, lw=0)
        ax.set_title(run.title, fontsize=10, loc="left")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("share of the training, %", fontsize=10)
    figure.supylabel("learning rate", fontsize=10)
    return figure


def accuracy_against_seconds(results: Results) -> Figure:
    """Validation accuracy at any time, one panel a budget: means and bands over seeds."""
    budgets = tables.by_budget(results)
    size = (2.5 + 4 * len(budgets), 5)
    figure, axes = plt.subplots(1, len(budgets), figsize=size, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for ax, (label, names) in zip(axes[0], budgets.items(), strict=True):
        for name in names:
            title = results.first(tables.method_of(name)).title
            curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100, **_style(results, name))
        ax.set(xlabel="training time, s", title=tables.budget_name(label))
        handles |= {text: handle for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[0, 0].set_ylabel("validation accuracy, %")
    figure.legend(handles.values(), handles, loc="outside lower center", fontsize=8, ncols=4)
    return figure


def _style(results: Results, name: str) -> dict[str, str]:
    """One colour a schedule, one kind of line for what is laid over it."""
    known = dict.fromkeys(str(_schedule(results, each)) for each in results.of_task("2.2"))
    palette = sns.color_palette("husl" if len(known) > 10 else "colorblind", len(known))
    color = dict(zip(known, palette, strict=True))[str(_schedule(results, name))]
    return {"color": color, "ls": STYLES[tables.slow_weights(results, name)]}


def _schedule(results: Results, name: str) -> dict:
    return results.first(name).spec["recipe"]["schedule"]


def differences(results: Results) -> Figure:
    """The contest as a forest plot: each method minus the control on the same seeds."""
    rows = tables.equal_time(results)
    colors = [COLORS[tables.slow_weights(results, row["experiment"])] for row in rows]
    labels = [f"{row['title']} ({row['test_accuracy']:.1f}%)" for row in rows]
    return _forest(rows, colors, labels, "the constant rate")


def crossed(results: Results) -> Figure:
    """What slow weights bring to each schedule, at each budget: differences to the plain twin."""
    rows = tables.crossed(results)
    if not rows:
        raise MissingRunsError("no method has a twin with slow weights")
    colors = [COLORS[row["slow_weights"]] for row in rows]
    labels = [
        f"{row['title']} + {row['slow_weights']}"
        + (f", {tables.budget_name(row['budget'])}" if row["budget"] else "")
        for row in rows
    ]
    return _forest(rows, colors, labels, "the schedule alone")


def _forest(rows: Rows, colors: list[str], labels: list[str], above: str) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 0.36 * len(rows) + 1.2))
    forest(ax, rows, colors, labels)
    ax.tick_params("y", labelsize=9)
    ax.set_xlabel(f"points above {above}, paired seeds, 95% interval")
    return figure


def budgets(results: Results) -> Figure:
    """Test accuracy of every method against the seconds of its budget."""
    figure, ax = plt.subplots(figsize=(8.5, 5))
    for method in results.some_of_task("2.2"):
        names = [
            name
            for names in tables.by_budget(results).values()
            for name in names
            if tables.method_of(name) == method
        ]
        seconds = [results.mean(name, "seconds.train") for name in names]
        means = [100 * results.mean(name, "test_accuracy") for name in names]
        ax.plot(
            seconds, means, marker="o", ms=5, label=results.first(method).title, **_style(results, method)
        )
    log_x(ax)
    ax.set(xlabel="training time, s", ylabel="test accuracy, %, mean over seeds")
    ax.legend(fontsize=8, ncols=2)
    return figure
