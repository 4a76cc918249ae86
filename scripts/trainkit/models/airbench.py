"""The network of airbench94 (Jordan 2024, arXiv 2404.00498, section 3), made for fast training.

A frozen convolution whitens 2x2 patches (Page 2019); it has no bias to train, so that no gradient
goes back to it. Six 3x3 convolutions in three blocks follow, each block pooling after its first one.
Convolutions start as partial identities, BatchNorms have a bias only, logits are scaled down. A
global max-pool ends it, so that other image sizes fit too.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit.blocked import dense
from trainkit.spec import Airbench

FAMILY = "convolution"
BLOCKED = True
PATCH = 2  # pixels a side of the patches that are whitened
LOGIT_SCALE = 1 / 9


def widest(options: Airbench) -> int:
    """Channels of the widest 3x3 convolution."""
    return max(options.widths)


class Block(nn.Module):
    """Convolution, pooling, convolution, each followed by BatchNorm and GELU."""

    def __init__(self, inputs: int, outputs: int, identity: bool) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, identity)
        self.bn1 = batch_norm(outputs)
        self.conv2 = convolution(outputs, outputs, identity)
        self.bn2 = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2, 2)))
        return F.gelu(self.bn2(self.conv2(x)))


class Network(nn.Module):
    """``(N, 3, H, W)`` to ``(N, classes)``; H and W from 16 up."""

    def __init__(self, options: Airbench, channels: int, classes: int) -> None:
        super().__init__()
        filters = 2 * channels * PATCH**2
        self.whitening = nn.Conv2d(channels, filters, PATCH, bias=not options.whiten)
        self.whiten = options.whiten
        self.whitening.weight.requires_grad = not options.whiten
        widths = [filters, *options.widths]
        self.blocks = nn.Sequential(*(Block(a, b, options.identity) for a, b in itertools.pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.gelu(self.whitening(x)))
        return LOGIT_SCALE * self.head(dense(x).amax((2, 3)))

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Set the first convolution to whiten the patches of normalised ``(N, C, H, W)`` images.

        Its filters are the eigenvectors of the patches' covariance over the roots of their
        eigenvalues, and the same negated (Jordan 2024, section 3.2).
        """
        if not self.whiten:
            return
        channels = images.shape[1]
        patches = F.unfold(images, PATCH).transpose(1, 2).reshape(-1, channels * PATCH**2)
        covariance = patches.T @ patches / len(patches)
        values, vectors = torch.linalg.eigh(covariance.double())
        filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).reshape(-1, channels, PATCH, PATCH)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))


def convolution(inputs: int, outputs: int, identity: bool) -> nn.Conv2d:
    """A 3x3 convolution whose first filters hand their inputs on (section 3.3)."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    if identity:
        nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """A BatchNorm that only shifts, with statistics that follow the network quickly."""
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad = False
    return layer


def build(options: Airbench, shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Network(options, shape[2], classes)
