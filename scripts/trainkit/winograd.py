"""Convolutions with a quarter of the multiplications, for training on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, arXiv 1509.09308, section 4.3): 4x4 outputs of
a 3x3 filter take 36 multiplications in place of 144. Tiles of the image, filters and results are transformed
by small matrices; between them stand 36 matrix products over the channels. The gradients are the same steps
transposed. The transforms move more memory than a convolution does, so that they pay for many channels only.

The polynomials behind it are evaluated at 0, at infinity, and at c, -c, 1/c and -1/c with c of the square
root of 2, after Alam et al. 2022 (arXiv 2201.10369). That halves the error of the usual 1, -1, 2 and -2 and
makes bfloat16 possible: a result is off by 1.3% of its size there, a plain convolution's by 0.2%.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainkit.side_by_side import FEWEST_CHANNELS, gains

STEP = 4  # pixels from a tile to the next, and outputs of one
TILE = 6  # pixels a side
POINTS = TILE**2
FEWEST = {"float32": FEWEST_CHANNELS, "bfloat16": 256}  # channels of the wider side: with fewer it is slower
# Bytes of transformed tiles that are computed at a time. Forward they stay in the cache; backward filters'
# gradients are added up after each part, less often if it is larger.
FORWARD_CHUNK, BACKWARD_CHUNK = 8 * 2**20, 32 * 2**20

AT = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # where the polynomials are evaluated, and at infinity


def _matrices() -> tuple[Tensor, ...]:
    """Along one side: from a tile's pixels, and from a filter's weights, to products, and on to outputs."""
    others = [[q for q in AT if q != p] for p in AT]
    powers, infinity = np.vander(AT, STEP, increasing=True), np.eye(STEP)[-1:]
    scales = np.array([[np.prod(p - np.array(roots))] for p, roots in zip(AT, others, strict=True)])
    tile = np.array([[*np.poly(roots)[::-1], 0] for roots in others] + [np.poly(AT)[::-1]])
    filters = np.vstack([powers[:, :3] / scales, infinity[:, 1:]])
    return torch.tensor(tile), torch.tensor(filters), torch.tensor(np.vstack([powers, infinity]).T)


# The same along both sides at once: (q, p) each.
TO_PRODUCTS, FILTER_TO_PRODUCTS, TO_OUTPUTS = (torch.kron(matrix, matrix) for matrix in _matrices())


class Conv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 by Winograd's algorithm: the same function but for rounding."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = Winograd.apply(x, weight)
        return out if bias is None else out + bias.to(out)[:, None, None]


def takes(module: nn.Module, precision: str) -> bool:
    """Whether it is a convolution that gains by Winograd's algorithm in this precision."""
    return gains(module) and max(module.in_channels, module.out_channels) >= FEWEST[precision]


def use(model: nn.Module, precision: str) -> None:
    """Let the convolutions of ``model`` that gain by Winograd's algorithm compute by it."""
    for module in model.modules():
        if takes(module, precision):
            module.__class__ = Conv2d


class Winograd(torch.autograd.Function):
    """``(N, C, H, W)`` images, padded, and ``(K, C, 3, 3)`` filters to ``(N, K, H, W)``, channels_last."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        images, filters = x.permute(0, 2, 3, 1), of_filters(weight).transpose(1, 2)
        n, height, width, _ = images.shape
        out = x.new_empty(n, tiles(height), STEP, tiles(width), STEP, len(weight))
        for some in chunks(images, weight, FORWARD_CHUNK):
            products = of_tiles(images[some]) @ filters
            place = out[some].permute(2, 4, 0, 1, 3, 5)
            place.copy_(transformed(TO_OUTPUTS, products).view(place.shape))
        out = out.flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return out.contiguous().permute(0, 3, 1, 2)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_images, of_weight = ctx.needs_input_grad
        images, gradient = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
        filters = of_filters(weight)
        by_filters, exact = None, torch.promote_types(filters.dtype, torch.float32)
        by_images = images.new_empty(images.shape)
        for some in chunks(images, weight, BACKWARD_CHUNK):
            by_products = of_outputs(gradient[some])
            if of_weight:
                term = by_products.transpose(1, 2) @ of_tiles(images[some])
                by_filters = term if by_filters is None else by_filters.to(exact).add_(term)
            if of_images:
                by_images[some] = to_images(by_products @ filters, *by_images[some].shape)
        by_weight = None
        if by_filters is not None:
            by_weight = transformed(FILTER_TO_PRODUCTS.T, by_filters).unflatten(0, (3, 3)).permute(2, 3, 0, 1)
        return by_images.permute(0, 3, 1, 2) if of_images else None, by_weight


def chunks(images: Tensor, weight: Tensor, size: int) -> list[slice]:
    """``(N, H, W, C)`` images in parts of which the transformed tiles have about ``size`` bytes."""
    n, height, width, _ = images.shape
    each = POINTS * tiles(height) * tiles(width) * max(weight.shape[:2]) * images.element_size()
    parts = -(-n // max(1, size // each))
    count = -(-n // parts)  # about equal parts
    return [slice(first, first + count) for first in range(0, n, count)]


def tiles(pixels: int) -> int:
    """How many tiles it takes to compute so many outputs in a row."""
    return -(-pixels // STEP)


def of_filters(weight: Tensor) -> Tensor:
    """``(K, C, 3, 3)`` filters transformed: ``(36, K, C)``."""
    filters = weight.permute(0, 2, 3, 1).reshape(len(weight), 9, -1)
    return (FILTER_TO_PRODUCTS.to(filters) @ filters).transpose(0, 1).contiguous()


def of_tiles(images: Tensor) -> Tensor:
    """``(N, H, W, C)`` images to their transformed tiles, ``(36, tiles, C)``."""
    n, height, width, channels = images.shape
    high, wide = tiles(height), tiles(width)
    padded = images.new_zeros(n, high * STEP + 2, wide * STEP + 2, channels)
    padded[:, 1 : height + 1, 1 : width + 1] = images
    overlapping = padded.unfold(1, TILE, STEP).unfold(2, TILE, STEP)  # (N, high, wide, C, 6, 6)
    return transformed(TO_PRODUCTS, overlapping.permute(4, 5, 0, 1, 2, 3).reshape(POINTS, -1, channels))


def of_outputs(gradient: Tensor) -> Tensor:
    """The gradient by ``(N, H, W, K)`` outputs to that by their products, ``(36, tiles, K)``."""
    n, height, width, channels = gradient.shape
    high, wide = tiles(height), tiles(width)
    if (high * STEP, wide * STEP) != (height, width):
        padded = gradient.new_zeros(n, high * STEP, wide * STEP, channels)
        padded[:, :height, :width] = gradient
        gradient = padded
    apart = gradient.unflatten(1, (high, STEP)).unflatten(3, (wide, STEP)).permute(2, 4, 0, 1, 3, 5)
    return transformed(TO_OUTPUTS.T, apart.reshape(STEP**2, -1, channels))


def to_images(by_tiles: Tensor, n: int, height: int, width: int, channels: int) -> Tensor:
    """The gradient by transformed tiles, ``(36, tiles, C)``, to that by ``(N, H, W, C)`` images."""
    high, wide = tiles(height), tiles(width)
    by_pixels = transformed(TO_PRODUCTS.T, by_tiles).view(TILE, TILE, n, high, wide, channels)
    padded = by_tiles.new_zeros(n, high + 1, STEP, wide + 1, STEP, channels)
    rest = TILE - STEP  # pixels that a tile shares with the next one
    place = padded.permute(2, 4, 0, 1, 3, 5)
    place[:, :, :, :-1, :-1] = by_pixels[:STEP, :STEP]
    place[:rest, :, :, 1:, :-1] += by_pixels[STEP:, :STEP]
    place[:, :rest, :, :-1, 1:] += by_pixels[:STEP, STEP:]
    place[:rest, :rest, :, 1:, 1:] += by_pixels[STEP:, STEP:]
    return padded.flatten(3, 4).flatten(1, 2)[:, 1 : height + 1, 1 : width + 1]


def transformed(matrix: Tensor, x: Tensor) -> Tensor:
    """``(p, ...)`` numbers by a ``(q, p)`` matrix to ``(q, ...)``."""
    return (matrix.to(x) @ x.flatten(1)).unflatten(1, x.shape[1:])
