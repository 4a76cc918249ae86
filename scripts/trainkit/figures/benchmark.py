"""The benchmark: speed over the usual pipeline, and where a step's time goes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from trainkit.figures.style import CONTROL, PLAIN, log_x


def speeds(rates: pd.DataFrame, breakdown: pd.DataFrame) -> Figure:
    """How many times as fast as the usual pipeline, and where a step's time goes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.6 * len(rates) + 2.2), sharey=True)
    rows = range(len(rates))
    spread = [rates.ratio - rates.ratio_low, rates.ratio_high - rates.ratio]
    left.barh(rows, rates.ratio - 1, left=1, xerr=spread, color=PLAIN, alpha=0.85, ecolor=CONTROL)
    for row, ratio, high in zip(rows, rates.ratio, rates.ratio_high, strict=True):
        left.annotate(f"{ratio:.2f}", (high, row), (5, 0), textcoords="offset points", va="center")
    log_x(left)
    left.set(xlabel="images a second over the usual pipeline's")
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
