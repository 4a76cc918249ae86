"""Task 1: MNIST."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from trainkit.figures.style import LOOKAHEAD, PLAIN, accuracy_points, curve, titled
from trainkit.results import Results


def accuracy(results: Results) -> Figure:
    names = list(results.runs)
    figure, ax = plt.subplots(figsize=(8, 0.55 * len(names) + 1))
    accuracy_points(results, names, ax)
    return figure


def history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for name, title in titled(results, list(results.runs)).items():
        curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
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
