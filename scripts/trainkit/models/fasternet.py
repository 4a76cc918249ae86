"""FasterNet (Chen et al. 2023, arXiv 2303.03667) for 32x32 images, from random weights.

Depthwise convolutions do little work for the memory they move; a partial convolution is a dense one
on a part of the channels, and leaves the others as they are (section 3.2). For small images the
embedding's patch may be 1 or 2 pixels in place of 4, and there are three stages.
"""

import torch
from torch import Tensor, nn

from trainkit.spec import FasterNet

FAMILY = "convolution"


class PartialConv(nn.Module):
    """A 3x3 convolution of the first 1/``parts`` of the channels, a quarter in the paper (figure 4c)."""

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.touched = channels // parts
        self.partial_conv3 = nn.Conv2d(self.touched, self.touched, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        touched, untouched = x.tensor_split([self.touched], dim=1)
        return torch.cat([self.partial_conv3(touched), untouched], 1)


class MLPBlock(nn.Module):
    """Partial convolution, 1x1 up, BatchNorm, ReLU, 1x1 down, shortcut (figure 5)."""

    def __init__(self, channels: int, options: FasterNet) -> None:
        super().__init__()
        wide = options.expansion * channels
        self.spatial_mixing = PartialConv(channels, options.parts)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.spatial_mixing(x))


def patches(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """Embedding and merging: a convolution of as many pixels as its stride, and BatchNorm."""
    return [nn.Conv2d(inputs, outputs, side, side, bias=False), nn.BatchNorm2d(outputs)]


def build(options: FasterNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    layers = patches(shape[2], options.widths[0], options.patch)
    for stage, (depth, width) in enumerate(zip(options.depths, options.widths, strict=True)):
        if stage:
            layers += patches(options.widths[stage - 1], width, 2)
        layers += [MLPBlock(width, options) for _ in range(depth)]
    head = nn.Conv2d(options.widths[-1], options.features, 1, bias=False)
    layers += [nn.AdaptiveAvgPool2d(1), head, nn.ReLU(inplace=True), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(options.features, classes))
