"""RepVGG (Ding et al. 2021, arXiv 2101.03697) for 32x32 images, from random weights.

Trained with three branches a block, used with one: `fold` turns each block into the single 3x3
convolution that computes the same (section 3.3). For small images the first stage may keep the size.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit.blocked import through
from trainkit.spec import RepVGG

FAMILY = "convolution"
BLOCKED = True


def widest(options: RepVGG) -> int:
    """Channels of the widest 3x3 convolution."""
    return max(options.widths)


class RepVGGBlock(nn.Module):
    """3x3 and 1x1 convolutions and, where shapes allow, the identity, each with BatchNorm (figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.rbr_dense = conv_bn(inputs, outputs, 3, stride)
        self.rbr_1x1 = conv_bn(inputs, outputs, 1)  # of every stride-th pixel
        self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        # Not as the convolution's own stride: with 3 channels oneDNN never ends its gradient on AVX2.
        pixels = x if self.stride == 1 else through(lambda x: x[..., :: self.stride, :: self.stride], x)
        out = self.rbr_dense(x) + self.rbr_1x1(pixels)
        if self.rbr_identity is not None:
            out = out + self.rbr_identity(x)
        return F.relu(out, inplace=True)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """A copy of a trained network in evaluation mode, each block one 3x3 convolution and a ReLU."""
    folded = copy.deepcopy(model).eval()
    for name, block in list(folded.named_modules()):
        if isinstance(block, RepVGGBlock):
            parent, _, own = name.rpartition(".")
            setattr(
                folded.get_submodule(parent), own, nn.Sequential(folded_block(block), nn.ReLU(inplace=True))
            )
    return folded


def folded_block(block: RepVGGBlock) -> nn.Conv2d:
    """The convolution that a block in evaluation mode computes: the sum of its branches'."""
    conv = block.rbr_dense[0]
    kernel, bias = folded_norm(conv.weight, block.rbr_dense[1])
    pointwise, its_bias = folded_norm(F.pad(block.rbr_1x1[0].weight, (1, 1, 1, 1)), block.rbr_1x1[1])
    kernel, bias = kernel + pointwise, bias + its_bias
    if block.rbr_identity is not None:
        identity = nn.init.dirac_(torch.empty_like(conv.weight))
        passing, its_bias = folded_norm(identity, block.rbr_identity)
        kernel, bias = kernel + passing, bias + its_bias
    one = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, 1, device=kernel.device)
    one.weight.copy_(kernel)
    one.bias.copy_(bias)
    return one


def folded_norm(kernel: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A convolution's kernel and bias with the BatchNorm behind it taken in."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return kernel * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale


def build(options: RepVGG, shape: tuple[int, int, int], classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    channels = shape[2]
    for stage, (depth, width) in enumerate(zip(options.depths, options.widths, strict=True)):
        for block in range(depth):
            first = 2 if stage else options.stem_stride
            layers.append(RepVGGBlock(channels, width, 1 if block else first))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
