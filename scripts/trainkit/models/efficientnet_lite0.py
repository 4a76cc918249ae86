"""EfficientNet-Lite0: torchvision's EfficientNet-B0 without what phones run badly.

The squeeze-and-excitation becomes identity, SiLU becomes ReLU6, and stem and head keep their
widths (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"; Tan and Le 2019,
arXiv 1905.11946). The ImageNet weights come from TensorFlow, whence BatchNorm's eps of 1e-3, SAME
padding and inputs of (x - 127) / 128.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import efficientnet_b0
from torchvision.ops import SqueezeExcitation

from trainkit.errors import StudyError
from trainkit.files import verified
from trainkit.spec import EfficientNetLite0

FAMILY = "depthwise"
CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
"""Output channels of stem, seven stages and last convolution."""
STRIDE = (2, 2, 4, 8, 16, 16, 32, 32, 32)
"""Input pixels a feature, after each of them."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


class SamePad(nn.ZeroPad2d):
    """TensorFlow's SAME padding before a stride-2 convolution of an even input."""

    def __init__(self, kernel: int) -> None:
        total = kernel - 2
        super().__init__((total // 2, total - total // 2) * 2)


def full_network(classes: int = 1000) -> nn.Module:
    """The whole network of ``(N, 3, H, W)`` images, with random weights; H and W even."""
    network = efficientnet_b0(num_classes=classes, dropout=0.0)
    _replace(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.1
    return network


def _replace(parent: nn.Module) -> None:
    for name, child in parent.named_children():
        if isinstance(child, SqueezeExcitation):
            setattr(parent, name, nn.Identity())
        elif isinstance(child, nn.SiLU):
            setattr(parent, name, nn.ReLU6(inplace=True))
        elif isinstance(child, nn.Conv2d) and child.stride == (2, 2):
            child.padding = (0, 0)
            setattr(parent, name, nn.Sequential(SamePad(child.kernel_size[0]), child))
        else:
            _replace(child)


def load_imagenet(network: nn.Module, weights: Path) -> None:
    """Fill ``network`` with the published weights, which name their layers otherwise.

    Both list the layers in the order of the forward pass, so names are matched by position and
    every shape is checked. Raises `StudyError` where they do not fit.
    """
    theirs = torch.load(verified(weights), map_location="cpu", weights_only=True)
    ours = network.state_dict()
    fits = len(theirs) == len(ours) and all(
        a.shape == b.shape for a, b in zip(theirs.values(), ours.values(), strict=True)
    )
    if not fits:
        raise StudyError(f"{weights}: its layers are not EfficientNet-Lite0's; fetch the file again")
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))


class Resize(nn.Module):
    """Bilinear resizing to a square, and grey to RGB."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=False)
        return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


class Frozen(nn.Sequential):
    """Layers that stay as they are: without gradients, BatchNorm's statistics fixed."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def feature_count(options: EfficientNetLite0) -> int:
    side = -(-options.image_size // STRIDE[options.cut])
    return CHANNELS[options.cut] * side * side


def base(options: EfficientNetLite0, weights: Path | None) -> nn.Module:
    """Resizing and all stages up to the cut: images to flat ``(N, features)``."""
    network = full_network()
    if options.weights == "imagenet":
        if weights is None:
            raise StudyError("model.weights: imagenet, but no weight file was given")
        load_imagenet(network, weights)
    stages = list(network.features[: options.cut + 1])
    if options.train_last:
        stages = [Frozen(*stages[: -options.train_last]), *stages[-options.train_last :]]
    return nn.Sequential(Resize(options.image_size), nn.Sequential(*stages), nn.Flatten())


def head(options: EfficientNetLite0, classes: int) -> nn.Module:
    """BatchNorm (features of a frozen base differ widely in scale) and a linear layer."""
    features = feature_count(options)
    linear = nn.Linear(features, classes)
    nn.init.zeros_(linear.weight)  # fine-tuning starts without pushing noise into the base
    return nn.Sequential(nn.BatchNorm1d(features), linear)


def build(
    options: EfficientNetLite0, shape: tuple[int, int, int], classes: int, weights: Path | None = None
) -> nn.Module:
    """Base and head; for ``train: head`` the head alone, to be fed with the base's features."""
    if options.train == "head":
        return head(options, classes)
    return nn.Sequential(base(options, weights), head(options, classes))
