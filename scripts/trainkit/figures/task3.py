"""Task 3: networks against each other."""

from math import isnan

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from trainkit.figures.style import CONTROL, curve, log_x, titled
from trainkit.results import Results
from trainkit.tables import task3 as tables


def architectures(results: Results) -> Figure:
    """Accuracy against what it costs: parameters, multiply-adds, seconds of training."""
    rows = pd.DataFrame(tables.architectures(results))
    costs = {
        "params_total": "parameters",
        "multiply_adds": "multiply-adds an image",
        "train_seconds": "training time, s",
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), sharey=True)
    for ax, (column, label) in zip(axes, costs.items(), strict=True):
        for color, (_, row) in zip(sns.color_palette("colorblind", len(rows)), rows.iterrows(), strict=True):
            ax.plot(row[column], row.test_accuracy, "o", ms=10, color=color, label=row.title)
            if not isnan(row.test_accuracy_low):
                ax.plot([row[column]] * 2, [row.test_accuracy_low, row.test_accuracy_high], color=color, lw=2)
        log_x(ax)
        ax.set(xlabel=label)
        ax.margins(0.25)
    axes[0].set_ylabel("test accuracy, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9)
    return figure


def rankings(results: Results) -> Figure:
    """The networks' accuracies at equal parameters, multiply-adds and seconds, ranked in each."""
    rows = pd.DataFrame(tables.equal(results))
    control = rows[rows.comparison == "control"].iloc[0]
    names = {control.model: "ResNet"} | tables.ARCHITECTURES
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for number, (model, title) in enumerate(names.items()):
        color = CONTROL if model == control.model else sns.color_palette("colorblind")[number]
        places, values = [], []
        for place, comparison in enumerate(tables.COMPARISONS):
            field = pd.concat([rows[rows.comparison == comparison], control.to_frame().T])
            field = field.sort_values("test_accuracy", ascending=False).reset_index(drop=True)
            for rank, row in field[field.model == model].iterrows():
                x = place + 0.05 * (number - 1.5)  # side by side, so that no interval hides another
                places.append(x)
                values.append(row.test_accuracy)
                if not isnan(row.test_accuracy_low):
                    ax.plot([x] * 2, [row.test_accuracy_low, row.test_accuracy_high], color=color, lw=1.5)
                ax.plot(x, row.test_accuracy, "o", ms=15, color=color)
                ax.annotate(
                    rank + 1, (x, row.test_accuracy), ha="center", va="center", color="white", fontsize=9
                )
        ax.plot(places, values, color=color, lw=2, alpha=0.5, zorder=1, label=title)
    ax.set_xticks(range(len(tables.COMPARISONS)), list(tables.COMPARISONS.values()))
    ax.set(ylabel="test accuracy, %; number: rank of the mean")
    ax.margins(x=0.1, y=0.12)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    return figure


def history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.4))
    for name, title in titled(results, results.some_of_task("2.1.2", "2.1.3", "3")).items():
        curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=9)
    return figure
