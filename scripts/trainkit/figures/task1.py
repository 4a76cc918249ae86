"""Task 1: MNIST."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from trainkit.figures.style import LOOKAHEAD, PLAIN, accuracy_points, curve, forest, log_x, titled
from trainkit.results import MissingRunsError, Results, Rows
from trainkit.tables import task1 as tables


def accuracy(results: Results) -> Figure:
    names = results.some_of_task(*tables.MAIN)
    figure, ax = plt.subplots(figsize=(8, 0.55 * len(names) + 1))
    accuracy_points(results, names, ax)
    return figure


def history(results: Results) -> Figure:
    figure, ax = plt.subplots(figsize=(8, 4.6))
    names = results.some_of_task(*tables.MAIN)
    for name, title in titled(results, names).items():
        curve(ax, results.histories(name), "seconds", "val_accuracy", title, 100)
    best = max(100 * results.mean(name, "val_accuracy") for name in names)
    if best > 95:
        ax.set_ylim(95, 100)
    log_x(ax)
    ax.set(xlabel="training time, s", ylabel="validation accuracy, %")
    ax.legend(fontsize=9)
    return figure


def parts(results: Results) -> Figure:
    """1.1 as a forest plot: what each improvement adds, and what the recipe loses without it."""
    rows = tables.parts(results)
    return forests(
        {
            "added to the baseline": [row for row in rows if row["question"] in ("alone", "together")],
            "left out of the improved recipe": [row for row in rows if row["question"] == "without"],
        }
    )


def augmentation(results: Results) -> Figure:
    """1.3 as a forest plot: each operation against no augmentation."""
    return forests({"beside no augmentation": tables.augmentation(results)})


def forests(groups: dict[str, Rows]) -> Figure:
    """Paired differences with their intervals, a panel a group of rows; empty groups are left out."""
    groups = {title: [row for row in rows if "difference" in row] for title, rows in groups.items()}
    groups = {title: rows for title, rows in groups.items() if rows}
    if not groups:
        raise MissingRunsError("none of these experiments is there")
    counts = [len(rows) for rows in groups.values()]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(8, 0.42 * sum(counts) + 0.6 * len(groups) + 0.6), sharex=True,
        squeeze=False, height_ratios=[count + 0.5 for count in counts],
    )  # fmt: skip
    for ax, (title, rows) in zip(axes[:, 0], groups.items(), strict=True):
        labels = [f"{row['title']} ({row['test_accuracy']:.2f}%)" for row in rows]
        forest(ax, rows, [PLAIN] * len(rows), labels)
        ax.set_title(title, loc="left", fontsize=11)
    axes[-1, 0].set_xlabel("points of test accuracy above the control, 95% interval")
    return figure


def little_data(results: Results) -> Figure:
    """1.5: accuracy against training images, a line a kind of network, with 95% bands."""
    rows = pd.DataFrame(tables.of_question(tables.more(results), "little data"))
    if rows.empty:
        raise MissingRunsError("none of these experiments is there")
    rows["kind"] = rows.title.str.split(",").str[0]
    figure, ax = plt.subplots(figsize=(8, 4.4))
    for kind, part in rows.groupby("kind", sort=False):
        band(ax, part.sort_values("train_images"), "train_images", kind)
    ax.set(xlabel="training images", ylabel="test accuracy, %; band: 95% interval", xscale="log")
    images = sorted(rows.train_images.unique())
    ax.set_xticks(images, [f"{count:,}" for count in images])
    ax.minorticks_off()
    ax.legend(fontsize=9)
    return figure


def stages_and_size(results: Results) -> Figure:
    """1.5: accuracy against the number of trained stages, and a frozen base's against input size."""
    rows = tables.more(results)
    panels = {"trained stages": "trained_stages", "input size": "image_size"}
    frames = {question: pd.DataFrame(tables.of_question(rows, question)) for question in panels}
    frames = {question: frame for question, frame in frames.items() if not frame.empty}
    if not frames:
        raise MissingRunsError("none of these experiments is there")
    labels = {
        "trained stages": "trained stages (0: the head only)",
        "input size": "frozen base: pixels a side",
    }
    figure, axes = plt.subplots(1, len(frames), figsize=(4.4 * len(frames), 3.6), sharey=True, squeeze=False)
    for ax, (question, frame) in zip(axes[0], frames.items(), strict=True):
        frame = frame.sort_values(panels[question])
        band(ax, frame, panels[question], question)
        ax.set(xlabel=labels[question], xticks=frame[panels[question]].unique())
    axes[0, 0].set_ylabel("test accuracy, %; band: 95% interval")
    return figure


def band(ax: plt.Axes, rows: pd.DataFrame, x: str, label: str) -> None:
    """Mean test accuracy against a column, with its 95% interval where there is one."""
    (line,) = ax.plot(rows[x], rows.test_accuracy, "o-", label=label)
    ax.fill_between(
        rows[x], rows.test_accuracy_low, rows.test_accuracy_high, color=line.get_color(), alpha=0.15, lw=0
    )


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
        log_x(ax)
    ax.set_xlabel("microseconds an image (logarithmic)")
    return figure
