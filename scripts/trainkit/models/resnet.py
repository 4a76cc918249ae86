"""ResNet (He et al. 2015, arXiv 1512.03385) for 32x32 images, from random weights.

Depth 6n+2 is the paper's CIFAR family (section 4.2): three stages of n blocks, 16, 32 and 64
channels. Depths 18 and 34 are its ImageNet family with a stem for small images: a 3x3
convolution of stride 1, no max-pool. A stem of stride 2 is for machines without a GPU: the stages
after it have a quarter of the pixels. Shortcuts are the paper's options A (6n+2: subsampling and zero
channels, no parameters) and B (18, 34: a 1x1 convolution where the shape changes).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from trainkit.blocked import through
from trainkit.spec import ResNet

FAMILY = "convolution"
BLOCKED = True
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def widest(options: ResNet) -> int:
    """Channels of the widest 3x3 convolution."""
    return options.width * (8 if options.depth in IMAGENET_BLOCKS else 4)


class ShortcutA(nn.Module):
    """Every second pixel, and zeros for the new channels."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        return through(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new_channels)), x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them (figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride == 1 and inputs == outputs:
            self.shortcut = nn.Identity()
        elif projection:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        else:
            self.shortcut = ShortcutA(outputs - inputs)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x), inplace=True)


def build(options: ResNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    imagenet = options.depth in IMAGENET_BLOCKS
    counts = IMAGENET_BLOCKS.get(options.depth) or (((options.depth - 2) // 6),) * 3
    channels = options.width
    layers: list[nn.Module] = [
        nn.Conv2d(shape[2], channels, 3, options.stem_stride, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    for stage, count in enumerate(counts):
        outputs = options.width * 2**stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers.append(BasicBlock(channels, outputs, stride, projection=imagenet))
            channels = outputs
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # He et al. 2015b, arXiv 1502.01852, as the paper says
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
