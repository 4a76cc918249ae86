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
        if augment.translate or flip:
            move = TranslateFlip(augment.translate, flip, generator, augment.border)
            self.operations["translate, flip" if flip else "translate"] = move
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
    """``(N, H, W, C) uint8`` to ``(N, C, H, W) float32``, channels_last, still 0..255; always a copy."""
    return x.permute(0, 3, 1, 2).to(torch.float32, copy=True)


class TranslateFlip:
    """Shifts each image by up to ``pixels`` each way, and mirrors half of them.

    One gather does both; at the border zeros come in, or the image's own reflection. What does not change
    from batch to batch is kept: the zeros, and where in the memory of an image its windows begin.
    """

    def __init__(self, pixels: int, flip: bool, generator: torch.Generator, border: str = "zero") -> None:
        self._pixels, self._flip, self._generator, self._border = pixels, flip, generator, border
        self._canvases: dict[tuple[int, ...], Tensor] = {}  # kept: a recorded step writes into its own
        self._places: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """``(N, H, W, C) uint8`` in and out."""
        n, height, width, channels = x.shape
        forms = [x, x.flip(2)] if self._flip else [x]
        padded = self._on_zeros(forms) if self._border == "zero" else self._on_reflections(forms)
        image, form, row = padded.stride()[:3]
        if x.shape[1:] not in self._places:
            shifts = torch.arange(2 * self._pixels + 1, device=x.device)
            places = torch.arange(len(forms), device=x.device).view(-1, 1, 1) * form
            self._places[x.shape[1:]] = (places + shifts.view(-1, 1) * row + shifts * channels).flatten()
        places = self._places[x.shape[1:]]
        which = torch.randint(len(places), (n,), generator=self._generator, device=x.device)
        first = torch.arange(0, n * image, image, device=x.device) + places.index_select(0, which)
        # Every window of an image's size as a view, by the place of its first byte: taking one of them
        # copies whole rows, where indexing by row and column would go pixel by pixel.
        windows = padded.as_strided(
            (padded.numel() - (height - 1) * row - width * channels + 1, height, width * channels),
            (1, row, 1),
        )
        return windows.index_select(0, first).view(n, height, width, channels)

    def _on_zeros(self, forms: list[Tensor]) -> Tensor:
        """Forms of ``(N, H, W, C)`` as ``(N, forms, H, W, C)`` within zeros; good until the next call."""
        n, height, width, channels = forms[0].shape
        more = self._pixels
        size = len(forms), height + 2 * more, width + 2 * more, channels
        if (n, *size) not in self._canvases:
            self._canvases[n, *size] = forms[0].new_zeros((n, *size))
        canvas = self._canvases[n, *size]
        for number, x in enumerate(forms):
            canvas[:, number, more : more + height, more : more + width] = x
        return canvas

    def _on_reflections(self, forms: list[Tensor]) -> Tensor:
        """Forms of ``(N, H, W, C)`` as ``(N, forms, H, W, C)`` within their own reflections."""
        x = torch.stack(forms, 1)
        rows, columns = (
            _reflected(torch.arange(-self._pixels, size + self._pixels, device=x.device), size)
            for size in x.shape[2:4]
        )
        return x.index_select(2, rows).index_select(3, columns)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Positions beyond either end of 0..size-1, folded back without repeating the end itself."""
    index = index.abs()
    return (size - 1) - ((size - 1) - index).abs()


def mirrored(x: Tensor, which: Tensor) -> Tensor:
    """Mirror the images ``which``, ``(N,) bool``, left-right. ``(N, H, W, C) uint8`` in and out."""
    return torch.where(which.view(-1, 1, 1, 1), x.flip(2), x)


def cutout(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Zero one ``side`` x ``side`` square an image (DeVries and Taylor 2017, arXiv 1708.04552).

    It is black; the authors' own, zeros after normalisation, has the images' mean colour. Its centre is
    uniform over the image, so part of the square may lie outside.
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


# After airbench94 (Jordan 2024, section 3.5): images and their mirror images, as they are and moved by a
# pixel either way; the unmoved ones count as much as the moved ones together. There moved ones are mirrored.
TEST_TIME_VIEWS: Views = [
    (0.25, lambda x: x),
    (0.25, lambda x: x.flip(3)),
    (0.125, lambda x: _shifted(x, -1)),
    (0.125, lambda x: _shifted(x, 1)),
    (0.125, lambda x: _shifted(x.flip(3), -1)),
    (0.125, lambda x: _shifted(x.flip(3), 1)),
]
