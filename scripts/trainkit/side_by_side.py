"""Convolutions of small images on a CPU, several images in a row.

A CPU's matrix unit works on tiles: AMX multiplies 16 rows of 32 bfloat16 numbers at once. Judging by its
rates, oneDNN (as of PyTorch 2.14) fills them with one row of one image, so that of a short row most of a
tile stays empty, in the filters' gradient above all: with 3 pixels it ran at a tenth of the peak. Put
beside each other, with a column of zeros between them, images make rows that are long enough. A filter
over an image sees no other one; what the filters make of the zeros is dropped.
"""

import torch
from torch import Tensor, nn

LARGEST = 8  # pixels in a row of an image; from 15 up the copies cost more than they save
FEWEST_CHANNELS = 128  # with fewer the copies mostly cost more than they save
ROW = 32  # pixels that a row should have


class Conv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 that puts small images side by side; the same function."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        n, _, _, width = x.shape
        enough = 1 << (-(-ROW // (width + 1)) - 1).bit_length()  # images a row
        count = min(enough, n & -n)  # both are powers of two, and the second divides the batch
        if width > LARGEST or count == 1:
            return super()._conv_forward(x, weight, bias)
        return apart(super()._conv_forward(together(x, count), weight, bias), count)


def gains(module: nn.Module) -> bool:
    """Whether it is a 3x3 convolution of stride 1 and many channels."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.padding == (1, 1)
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and min(module.in_channels, module.out_channels) >= FEWEST_CHANNELS
        and module.padding_mode == "zeros"
    )


def use(model: nn.Module) -> None:
    """Let the convolutions of ``model`` that can do so put small images side by side."""
    for module in model.modules():
        if gains(module):
            module.__class__ = Conv2d


def together(x: Tensor, count: int) -> Tensor:
    """``(N, C, H, W)`` to ``(N / count, C, H, count * (W + 1))``, channels_last, zeros after each image."""
    n, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n // count, count, height, width, channels).transpose(1, 2)
    gaps = x.new_zeros(()).expand(n // count, height, count, 1, channels)
    return torch.cat([rows, gaps], 3).view(n // count, height, -1, channels).permute(0, 3, 1, 2)


def apart(x: Tensor, count: int) -> Tensor:
    """The inverse of `together`; what stands in the gaps is dropped."""
    n, channels, height, _ = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, height, count, -1, channels)[:, :, :, :-1]
    return rows.transpose(1, 2).reshape(n * count, height, -1, channels).permute(0, 3, 1, 2)
