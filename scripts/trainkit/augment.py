"""Batched augmentation and normalisation, on the device that holds the images.

A batch goes in as ``(N, H, W, C) uint8`` and comes out as ``(N, C, H, W) float32`` in
channels_last memory. Each image draws its own random numbers.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainkit.spec import Augment


class Pipeline:
    """The input pipeline of one run: random changes (in training), then normalisation.

    ``operations`` lists them by name, in order, so that each can be timed alone.
    """

    def __init__(
        self,
        augment: Augment,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        generator: torch.Generator,
    ) -> None:
        device = generator.device
        self._scale = 1 / (255 * torch.tensor(std, device=device))
        self._shift = -torch.tensor(mean, device=device) / torch.tensor(std, device=device)
        self._of_images: dict[int, tuple[Tensor, Tensor]] = {}  # both, for each number of a whole image
        self.operations: dict[str, Callable[[Tensor], Tensor]] = {}
        flip = augment.flip is True  # the alternating one mirrors whole epochs, in the trainer
        pad = ZeroBorder() if augment.border == "zero" else reflected_border
        if augment.translate or flip:
            self.operations["translate, flip" if flip else "translate"] = lambda x: translate_flip(
                x, augment.translate, flip, generator, pad
            )
        if augment.cutout:
            self.operations["cutout"] = lambda x: cutout(x, augment.cutout, generator)
        self.operations["to float"] = to_float
        if augment.rotate or augment.scale or augment.shear:
            self.operations["affine"] = lambda x: affine(
                x, augment.rotate, augment.scale, augment.shear, generator
            )
        self.operations["normalize"] = self.normalize

    def normalize(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) float32`` on a scale of 0..255 to zero mean and unit deviation, in place.

        The images must be whole in channels_last memory, as `to_float` and `affine` leave them.
        """
        n, channels, height, width = x.shape
        if height * width not in self._of_images:
            tiled = (self._shift.repeat(height * width), self._scale.repeat(height * width))
            self._of_images[height * width] = tiled
        shift, scale = self._of_images[height * width]
        flat = x.permute(0, 2, 3, 1).view(n, height * width * channels)  # as they lie in memory
        torch.addcmul(shift, flat, scale, out=flat)
        return x

    def train(self, x: Tensor) -> Tensor:
        for operation in self.operations.values():
            x = operation(x)
        return x

    def evaluate(self, x: Tensor) -> Tensor:
        return self.normalize(to_float(x))


def to_float(x: Tensor) -> Tensor:
    """``(N, H, W, C) uint8`` to ``(N, C, H, W) float32``, channels_last, still 0..255."""
    return x.permute(0, 3, 1, 2).to(torch.float32)


class ZeroBorder:
    """Puts a border of zeros around images, in memory that is cleared once and used for every batch."""

    def __init__(self) -> None:
        self._canvas = torch.empty(0)

    def __call__(self, parts: Sequence[Tensor], pixels: int) -> Tensor:
        """Batches of ``(N, H, W, C)`` as one, ``pixels`` larger on each side; valid until the next call."""
        (_, height, width, channels), n = parts[0].shape, sum(map(len, parts))
        size = height + 2 * pixels, width + 2 * pixels, channels
        if len(self._canvas) < n or self._canvas.shape[1:] != size:
            self._canvas = parts[0].new_zeros((n, *size))
        whole = self._canvas[:n]
        inside = whole[:, pixels : pixels + height, pixels : pixels + width]
        for part, place in zip(parts, inside.split([len(part) for part in parts]), strict=True):
            place.copy_(part)
        return whole


def reflected_border(parts: Sequence[Tensor], pixels: int) -> Tensor:
    """Batches of ``(N, H, W, C)`` as one, with ``pixels`` of each image's own reflection on each side."""
    x = torch.cat(list(parts))
    rows, columns = (
        _reflected(torch.arange(-pixels, size + pixels, device=x.device), size) for size in x.shape[1:3]
    )
    return x.index_select(1, rows).index_select(2, columns)


def translate_flip(
    x: Tensor,
    pixels: int,
    flip: bool,
    generator: torch.Generator,
    pad: Callable[[Sequence[Tensor], int], Tensor],
) -> Tensor:
    """Shift each image by up to ``pixels`` each way, and mirror half of them.

    One gather does both; what comes in at the border is what ``pad`` puts around images.
    ``(N, H, W, C) uint8`` in and out.
    """
    n, height, width, channels = x.shape
    device = x.device
    start, mirrored, both = torch.arange(n, device=device), None, [x]
    if flip:
        mirrored = torch.randint(2, (n,), generator=generator, device=device, dtype=torch.bool)
        both, start = [x, x.flip(2)], start + n * mirrored
    if not pixels:
        return torch.cat(both).index_select(0, start)
    down, right = torch.randint(2 * pixels + 1, (2, n), generator=generator, device=device)
    if mirrored is not None:
        right = torch.where(mirrored, 2 * pixels - right, right)
    x = pad(both, pixels)
    # Every window of an image's size as a view, by the place of its first byte: taking one of them
    # copies whole rows, where indexing by row and column would go pixel by pixel.
    row = x.shape[2] * channels
    windows = x.as_strided(
        (x.numel() - (height - 1) * row - width * channels + 1, height, width * channels), (1, row, 1)
    )
    first = (start * x.shape[1] + down) * row + right * channels
    return windows.index_select(0, first).view(n, height, width, channels)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Positions beyond either end of 0..size-1, folded back without repeating the end itself."""
    index = index.abs()
    return (size - 1) - ((size - 1) - index).abs()


def mirrored(x: Tensor, which: Tensor) -> Tensor:
    """Mirror the images ``which``, ``(N,) bool``, left-right. ``(N, H, W, C) uint8`` in and out."""
    return torch.where(which.view(-1, 1, 1, 1), x.flip(2), x)


def cutout(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Zero one ``side`` x ``side`` square an image (DeVries and Taylor 2017, arXiv 1708.04552).

    Its centre is uniform over the image, so part of the square may lie outside.
    """
    n, height, width, _ = x.shape
    device = x.device

    def inside(size: int) -> Tensor:
        start = torch.randint(size, (n, 1), generator=generator, device=device) - side // 2
        position = torch.arange(size, device=device)
        return (position >= start) & (position < start + side)

    hole = inside(height).unsqueeze(2) & inside(width).unsqueeze(1)
    return x.masked_fill(hole.unsqueeze(3), 0)


def affine(x: Tensor, rotate: float, scale: float, shear: float, generator: torch.Generator) -> Tensor:
    """Rotate, scale and shear each image about its centre, bilinearly, with zeros outside.

    ``rotate`` and ``shear`` in degrees at most, ``scale`` relative; ``(N, C, H, W) float32``.
    """
    n = len(x)
    draw = torch.rand((3, n), generator=generator, device=x.device) * 2 - 1
    angle, skew = draw[0] * math.radians(rotate), torch.tan(draw[1] * math.radians(shear))
    factor = 1 / (1 + draw[2] * scale)
    cos, sin, zero = angle.cos() * factor, angle.sin() * factor, torch.zeros_like(angle)
    matrix = torch.stack([cos, cos * skew - sin, zero, sin, sin * skew + cos, zero], 1).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


# -- Test-time augmentation ----------------------------------------------------------------

Views = Sequence[tuple[float, Callable[[Tensor], Tensor]]]  # each with its weight
PLAIN_VIEW: Views = [(1.0, lambda x: x)]


def _shifted(x: Tensor, move: int) -> Tensor:
    """Images moved diagonally by one pixel, mirrored at the border."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    start, side = 1 + move, x.shape[-1]
    return padded[:, :, start : start + side, start : start + side]


# As airbench94 has it (Jordan 2024, section 3.5): as they are, and moved by a pixel either way,
# each with its mirror image; the unmoved ones count as much as the moved ones together.
TEST_TIME_VIEWS: Views = [
    (0.25, lambda x: x),
    (0.25, lambda x: x.flip(3)),
    (0.125, lambda x: _shifted(x, -1)),
    (0.125, lambda x: _shifted(x, 1)),
    (0.125, lambda x: _shifted(x.flip(3), -1)),
    (0.125, lambda x: _shifted(x.flip(3), 1)),
]
