"""A network's features in two dimensions."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist

from trainkit.figures import style  # noqa: F401 (the figures' look)


class Panel(NamedTuple):
    """One network: its images' ``points`` ``(N, 2)``, and how many lie nearest to one of their class."""

    title: str
    points: np.ndarray
    agree: float


def standardised(features: np.ndarray) -> np.ndarray:
    """``(N, features)`` with mean 0 and variance 1 each, as the head's BatchNorm makes them."""
    return (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-5)


def two_dimensions(features: np.ndarray) -> np.ndarray:
    """The first two principal components, ``(N, 2)``, each turned so that its largest value is positive."""
    _, _, directions = np.linalg.svd(standardised(features), full_matrices=False)
    points = standardised(features) @ directions[:2].T
    return points * np.sign(points[np.abs(points).argmax(0), [0, 1]])


def neighbours_agree(features: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose nearest other, in all dimensions, has their label."""
    distances = cdist(standardised(features), standardised(features))
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(1)] == labels).mean())


def maps(panels: list[Panel], labels: np.ndarray) -> Figure:
    """The points of each network, a colour a class; the classes' numbers stand at their medians."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4.2), squeeze=False)
    colors = sns.color_palette("husl", int(labels.max()) + 1)
    for ax, panel in zip(axes[0], panels, strict=True):
        for label, color in enumerate(colors):
            own = panel.points[labels == label]
            ax.scatter(*own.T, s=5, color=color, alpha=0.6, linewidths=0)
            ax.text(
                *np.median(own, 0), str(label), ha="center", va="center", weight="bold", fontsize=13,
                bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": color, "alpha": 0.85},
            )  # fmt: skip
        ax.set_title(f"{panel.title}\nnearest neighbour agrees: {100 * panel.agree:.1f}%", fontsize=10)
        ax.set_axis_off()
    return figure
