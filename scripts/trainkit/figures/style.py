"""What the figures share: colours, curves with bands, points with intervals."""

from math import isnan

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

matplotlib.use("agg")
import matplotlib.pyplot as plt

from trainkit.results import Results, Rows

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
CROWDED = 50  # highest over lowest of a logarithmic axis: beyond, three labels a decade touch
CONTROL, PLAIN, LOOKAHEAD = "#555555", "#0173b2", "#de8f05"


def left_out(why: str = "left out of this study, or not finished") -> Figure:
    """In place of a figure that cannot be drawn."""
    figure, ax = plt.subplots(figsize=(8, 1))
    ax.text(0.5, 0.5, why, ha="center", va="center", color=CONTROL)
    ax.set_axis_off()
    return figure


def titled(results: Results, names: list[str]) -> dict[str, str]:
    return {name: results.first(name).title for name in names}


def curve(ax: plt.Axes, frame: pd.DataFrame, x: str, y: str, label: str, scale: float = 1, **style) -> None:
    """The mean over seeds against ``x``, with a band from the lowest seed to the highest."""
    runs = frame.groupby("epoch").agg(x=(x, "mean"), y=(y, "mean"), low=(y, "min"), high=(y, "max"))
    (line,) = ax.plot(runs.x, scale * runs.y, label=label, marker=".", **style)
    if frame.seed.nunique() > 1:
        ax.fill_between(runs.x, scale * runs.low, scale * runs.high, color=line.get_color(), alpha=0.15, lw=0)


class Decades(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, at 1 and 3 of many."""

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        self.set_params(subs=(1, 2, 5) if vmax < CROWDED * vmin else (1, 3))
        return super().tick_values(vmin, vmax)


def log_x(ax: plt.Axes) -> None:
    """A logarithmic axis with plain numbers (0.5, 10k): powers of ten are mathematics, which is off."""
    large = EngFormatter(sep="")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(Decades())
    ax.xaxis.set_major_formatter(lambda value, _: large(value) if value >= 1 else f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def forest(ax: plt.Axes, rows: Rows, colors: list[str], labels: list[str]) -> None:
    """Differences with their intervals, one row each; a diamond is the control."""
    for position, (row, color) in enumerate(zip(rows, colors, strict=True)):
        if "difference" not in row:
            ax.plot(0, position, "D", color=CONTROL)
            continue
        if not isnan(row["difference_low"]):
            ax.plot([row["difference_low"], row["difference_high"]], [position] * 2, color=color, lw=2)
        ax.plot(row["difference"], position, "o", color=color)
    ax.axvline(0, color=CONTROL, lw=1)
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)


def accuracy_points(results: Results, names: list[str], ax: plt.Axes) -> None:
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
    ax.set_yticks(range(len(names)), list(titled(results, names).values()))
    ax.invert_yaxis()
    ax.margins(x=0.08, y=0.12)
    ax.set_xlabel("test accuracy, %; line: 95% interval; ticks: seeds")
