"""Task 3: networks against each other."""

from math import isnan

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from trainkit.figures.style import curve, titled
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
        for color, (_, row) in zip(sns.color_palette("colorblind"), rows.iterrows(), strict=False):
            ax.plot(row[column], row.test_accuracy, "o", ms=10, color=color, label=row.title)
            if not isnan(row.test_accuracy_low):
                ax.plot([row[column]] * 2, [row.test_accuracy_low, row.test_accuracy_high], color=color, lw=2)
        ax.set(xlabel=label, xscale="log")
        ax.margins(0.25)
    axes[0].set_ylabel("test accuracy, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9)
    return figure


def history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.4))
    for name, title in titled(results, results.of_task("2.1.2", "2.1.3", "3")).items():
        curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=9)
    return figure
