"""Datasets as tensors on a device, split once and for all.

A stored dataset is four arrays: ``train_images`` and ``test_images`` of ``(N, H, W, C) uint8``,
``train_labels`` and ``test_labels`` of ``(N,) uint8``; ``decoding`` makes them.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainkit.errors import StudyError
from trainkit.files import verified
from trainkit.spec import Split

CLASSES = {
    "mnist": [str(digit) for digit in range(10)],
    "cifar10": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
}  # fmt: skip
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
# Of the training images, on a scale of 0 to 1.
MEAN = {"mnist": (0.1306604762738429,), "cifar10": (0.49139968, 0.48215841, 0.44653091)}
STD = {"mnist": (0.30810780717887876,), "cifar10": (0.24703223, 0.24348513, 0.26158784)}


@dataclass(frozen=True)
class Images:
    """Images or features with their labels: ``(N, H, W, C) uint8`` or float, and ``(N,) int64``."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor | slice) -> "Images":
        if isinstance(index, slice):
            return Images(self.x[index], self.y[index])
        return Images(self.x.index_select(0, index), self.y.index_select(0, index))

    def to(self, device: torch.device) -> "Images":
        return Images(self.x.to(device), self.y.to(device))


PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    train: Images
    val: Images
    test: Images


def load_splits(path: Path, split: Split, train_images: int | None = None) -> Splits:
    """Train, validation and test of a stored dataset, by one fixed permutation for all runs.

    ``split.train_limit`` counts the images of train and validation together. Raises `StudyError` where
    the file is not what its manifest says.
    """
    arrays = load_file(verified(path))
    labels = {key: arrays[key].long() for key in ("train_labels", "test_labels")}
    everything = Images(arrays["train_images"], labels["train_labels"])
    order = split_order(len(everything), split.train_limit)
    if split.validation >= len(order):
        raise StudyError(
            f"datasets.*.split.validation: {split.validation} leaves nothing of {len(order)} images"
        )
    train = order[split.validation :]
    if train_images is not None:
        if train_images > len(train):
            raise StudyError(f"recipe.train_images: {train_images} asked for, {len(train)} are there")
        train = train[:train_images]
    if len(train) < len(order):
        train = torch.sort(train).values  # memory order: gathers of a batch stay local
    return Splits(
        everything.take(train),
        everything.take(order[: split.validation]),
        Images(arrays["test_images"], labels["test_labels"]).take(slice(split.test_limit)),
    )


def split_order(count: int, limit: int | None) -> Tensor:
    """The fixed permutation of training images that every split is cut from, ``(N,) int64``."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(20_151_210))[:limit]
