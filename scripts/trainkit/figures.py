"""The figures of tables and histories. Each takes results and returns a matplotlib figure."""

from collections.abc import Callable
from math import isnan

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from trainkit import results as tables
from trainkit.optim import schedules
from trainkit.results import Results
from trainkit.spec import Schedule

sns.set_theme(context="notebook", style="ticks", palette="colorblind")
plt.rcParams |= {
    "text.parse_math": False,  # a title is words, dollars and all
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.hashsalt": "study",  # the same figure gives the same bytes
    "legend.frameon": False,
    "font.size": 11,
}
CONTROL, PLAIN, LOOKAHEAD = "#555555", "#0173b2", "#de8f05"


def _titled(results: Results, names: list[str]) -> dict[str, str]:
    return {name: results.first(name).title for name in names}


def _curve(ax: plt.Axes, frame: pd.DataFrame, x: str, y: str, label: str, scale: float = 1, **style) -> None:
    """The mean over seeds against ``x``, with a band from the lowest seed to the highest."""
    runs = frame.groupby("epoch").agg(x=(x, "mean"), y=(y, "mean"), low=(y, "min"), high=(y, "max"))
    (line,) = ax.plot(runs.x, scale * runs.y, label=label, marker=".", **style)
    if frame.seed.nunique() > 1:
        ax.fill_between(runs.x, scale * runs.low, scale * runs.high, color=line.get_color(), alpha=0.15, lw=0)


def _accuracy_points(results: Results, names: list[str], ax: plt.Axes) -> None:
    """Test accuracy with its interval, one row an experiment, the numbers beside the points."""
    for row, name in enumerate(names):
        interval = results.interval(name, "test_accuracy")
        mean = 100 * interval.mean
        if not isnan(interval.low):
            ax.plot([100 * interval.low, 100 * interval.high], [row, row], color=PLAIN, lw=2)
        values = 100 * np.array(results.values(name, "test_accuracy"))
        ax.plot(values, [row] * len(values), "|", color=PLAIN, ms=11, alpha=0.6)
        ax.plot(mean, row, "o", color=PLAIN, ms=7)
        ax.annotate(f"{mean:.2f}", (mean, row), (0, 9), textcoords="offset points", ha="center", fontsize=9)
    ax.set_yticks(range(len(names)), list(_titled(results, names).values()))
    ax.invert_yaxis()
    ax.margins(x=0.08, y=0.12)
    ax.set_xlabel("test accuracy, %; line: 95% interval; ticks: seeds")


# -- Task 1 --------------------------------------------------------------------------------


def task1_accuracy(results: Results) -> Figure:
    names = list(results.runs)
    figure, ax = plt.subplots(figsize=(8, 0.55 * len(names) + 1))
    _accuracy_points(results, names, ax)
    return figure


def task1_history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for name, title in _titled(results, list(results.runs)).items():
        _curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
    best = max(100 * results.mean(name, "val_accuracy") for name in results.runs)
    if best > 95:
        ax.set_ylim(95, 100)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %", xscale="log")
    ax.legend(fontsize=9)
    return figure


def input_pipeline(frame: pd.DataFrame) -> Figure:
    """The profile: microseconds an image by operation, image by image and batched."""
    pipelines = list(frame.pipeline.unique())
    figure, axes = plt.subplots(len(pipelines), 1, figsize=(8, 5.2), sharex=True, height_ratios=[
        (frame.pipeline == name).sum() for name in pipelines])  # fmt: skip
    for ax, name, color in zip(np.atleast_1d(axes), pipelines, (LOOKAHEAD, PLAIN), strict=False):
        part = frame[frame.pipeline == name]
        ax.barh(part.operation, part.microseconds_per_image, color=color)
        for row, value in enumerate(part.microseconds_per_image):
            ax.annotate(f" {value:.2g}", (value, row), va="center", fontsize=9)
        ax.invert_yaxis()
        ax.set_title(f"{name}: {part.microseconds_per_image.sum():.3g} µs an image", loc="left", fontsize=11)
        ax.set_xscale("log")
    ax.set_xlabel("microseconds an image (logarithmic)")
    return figure


# -- Task 2 --------------------------------------------------------------------------------


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
            _curve(ax, history, "epoch", f"train_{kind}", "training (augmented images)", scale)
            _curve(ax, history, "epoch", f"val_{kind}", "validation", scale, ls="--")
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
        _curve(ax, history, "seconds", "val_accuracy", results.first(name).title, 100, color=color, ls=style)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=8, ncols=2)
    return figure


def _schedule(results: Results, name: str) -> str:
    return results.first(name).spec["recipe"]["schedule"]["name"]


def _lookahead(results: Results, name: str) -> bool:
    return bool(results.first(name).spec["recipe"]["optimizer"]["lookahead"])


def differences(results: Results) -> Figure:
    """The contest as a forest plot: each method minus the control on the same seeds."""
    rows = tables.task2_3_equal_time(results)
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


# -- Task 3 --------------------------------------------------------------------------------


def architectures(results: Results) -> Figure:
    """Accuracy against what it costs: parameters, multiply-adds, seconds of training."""
    rows = pd.DataFrame(tables.task3_architectures(results))
    costs = {
        "params_total": "parameters",
        "multiply_adds": "multiply-adds an image",
        "train_seconds": "training time, s",
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), sharey=True)
    for ax, (column, label) in zip(axes, costs.items(), strict=True):
        for color, (_, row) in zip(sns.color_palette("colorblind"), rows.iterrows(), strict=False):
            ax.plot(row[column], row.test_accuracy, "o", ms=10, color=color, label=row.title)
            if not isnan(row.test_accuracy_low):
                ax.plot([row[column]] * 2, [row.test_accuracy_low, row.test_accuracy_high], color=color, lw=2)
        ax.set(xlabel=label, xscale="log")
        ax.margins(0.25)
    axes[0].set_ylabel("test accuracy, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9)
    return figure


def architectures_history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.4))
    for name, title in _titled(results, results.of_task("2.1.2", "2.1.3", "3")).items():
        _curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=9)
    return figure


# -- Benchmark -----------------------------------------------------------------------------


def benchmark(rates: pd.DataFrame, breakdown: pd.DataFrame) -> Figure:
    """How many times as fast as the usual pipeline, and where a step's time goes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.6 * len(rates) + 2.2), sharey=True)
    rows = range(len(rates))
    spread = [rates.ratio - rates.ratio_low, rates.ratio_high - rates.ratio]
    left.barh(rows, rates.ratio - 1, left=1, xerr=spread, color=PLAIN, alpha=0.85, ecolor=CONTROL)
    for row, ratio, high in zip(rows, rates.ratio, rates.ratio_high, strict=True):
        left.annotate(f"{ratio:.2f}", (high, row), (5, 0), textcoords="offset points", va="center")
    left.set(xscale="log", xlabel="images a second over the usual pipeline's")
    left.axvline(1, color=CONTROL, lw=1)
    left.set_yticks(rows, list(rates.workload))
    left.invert_yaxis()
    left.margins(x=0.15)
    shares = breakdown.pivot(index="workload", columns="part", values="share").loc[rates.workload].fillna(0)
    small = shares.columns[shares.max() < 0.03]
    shares["other"] = shares["other"] + shares[small].sum(axis=1)
    shares = shares.drop(columns=small)
    shares = shares[shares.sum().sort_values(ascending=False).index]
    start = np.zeros(len(rates))
    for color, part in zip(sns.color_palette("colorblind", shares.shape[1]), shares, strict=True):
        right.barh(rows, 100 * shares[part], left=100 * start, label=part, color=color)
        start += shares[part].to_numpy()
    right.set(xlabel="share of a step's time, %", xlim=(0, 100))
    right.grid(False)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    return figure


FIGURES: dict[str, dict[str, Callable[[Results], Figure]]] = {
    "task1": {"task1_accuracy": task1_accuracy, "task1_history": task1_history},
    "task2": {
        "task2.1_history": baselines_history,
        "task2.2_schedules": learning_rates,
        "task2.2_accuracy_against_seconds": accuracy_against_seconds,
        "task2.3_differences": differences,
    },
    "task3": {"task3_architectures": architectures, "task3_history": architectures_history},
}
