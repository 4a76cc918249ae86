"""Figures that show images: what augmentation does, what is confused, what is misread."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.numpy import load_file
from scipy.special import softmax

from trainkit import datasets
from trainkit.augment import Pipeline
from trainkit.figures.style import left_out
from trainkit.record import RunRecord
from trainkit.spec import RunSpec


def predictions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """A run's test probabilities ``(N, classes)`` and labels ``(N,)``."""
    arrays = load_file(folder / "predictions.safetensors")
    return softmax(arrays["test_logits"], axis=1), arrays["test_labels"]


def confusion(record: RunRecord, folder: Path) -> Figure:
    """Test images by true class (rows) and answer (columns)."""
    names = datasets.CLASSES[record.dataset]
    probabilities, labels = predictions(folder)
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, probabilities.argmax(1)), 1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    figure, ax = plt.subplots(figsize=(6.4, 5.8))
    ax.imshow(off, cmap="Oranges")
    for row, column in np.ndindex(*counts.shape):
        number = counts[row, column]
        if number:
            strong = off[row, column] > 0.6 * off.max()
            ax.text(column, row, number, ha="center", va="center", fontsize=8.5,
                    color="white" if strong and row != column else "black",
                    weight="bold" if row == column else "normal")  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=45 if record.dataset == "cifar10" else 0)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="answer", ylabel="true class")
    ax.grid(False)
    return figure


def misclassified(record: RunRecord, folder: Path, images: np.ndarray, count: int = 16) -> Figure:
    """The most confidently wrong test images, ``images`` being ``(N, H, W, C) uint8``."""
    names = datasets.CLASSES[record.dataset]
    probabilities, labels = predictions(folder)
    answers, certainty = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-certainty[wrong])][:count]
    figure, axes = plt.subplots(2, count // 2, figsize=(10, 3.5))
    for ax, index in zip(axes.flat, worst, strict=False):
        _show(ax, images[index])
        ax.set_title(
            f"{names[answers[index]]} {100 * certainty[index]:.0f}%\nis {names[labels[index]]}", fontsize=8
        )
    for ax in axes.flat:
        ax.axis("off")
    return figure


def augmented(record: RunRecord, images: np.ndarray, count: int = 10) -> Figure:
    """Training images, and below each what the recipe's augmentation makes of it in three epochs."""
    spec = RunSpec.model_validate(record.spec)
    mean, std = datasets.MEAN[record.dataset], datasets.STD[record.dataset]
    pipeline = Pipeline(spec.recipe.augment, mean, std, torch.Generator().manual_seed(0))
    first = torch.from_numpy(images[:count])
    rows = [first.numpy()]
    for _ in range(3):
        if spec.recipe.augment.flip == "alternating":
            first = first.flip(2)  # as the trainer does, epoch after epoch
        x = pipeline.train(first).permute(0, 2, 3, 1)
        x = (x * torch.tensor(std) + torch.tensor(mean)).clamp(0, 1)
        rows.append((255 * x).round().to(torch.uint8).numpy())
    figure, axes = plt.subplots(len(rows), count, figsize=(10, 4.3))
    for row, pictures in enumerate(rows):
        for ax, picture in zip(axes[row], pictures, strict=True):
            _show(ax, picture)
            ax.set_xticks([])
            ax.set_yticks([])
    axes[0, 0].set_ylabel("as it is", fontsize=9)
    axes[2, 0].set_ylabel("augmented", fontsize=9)
    return figure


def filters(record: RunRecord, folder: Path) -> Figure:
    """The first layer's convolution kernels, each scaled to its own range, with the strongest first."""
    channels = len(datasets.MEAN[record.dataset])
    weights = load_file(folder / "model.safetensors").values()
    first = (w for w in weights if w.ndim == 4 and w.shape[1] == channels and w.shape[2] > 1)
    kernels = next(first, None)
    if kernels is None:
        return left_out("this network has no filters of several pixels on the image itself")
    kernels = kernels[np.argsort(-np.abs(kernels).sum((1, 2, 3)))][:32].transpose(0, 2, 3, 1)
    columns = min(16, len(kernels))
    rows = -(-len(kernels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(10, 0.75 * rows), squeeze=False)
    for ax, kernel in zip(axes.flat, kernels, strict=False):
        low, high = kernel.min(), kernel.max()
        _show(ax, (kernel - low) / max(high - low, 1e-12))
    for ax in axes.flat:
        ax.axis("off")
    return figure


def _show(ax: plt.Axes, picture: np.ndarray) -> None:
    ax.imshow(picture.squeeze(), cmap="gray_r" if picture.shape[-1] == 1 else None)
    ax.grid(False)
