"""A plain ConvNet: 3x3 convolutions with BatchNorm and ReLU in stages that end with a max-pool.

The pool stands before BatchNorm and ReLU, which then have a quarter of the pixels to do (Page
2019, "How to train your ResNet", part 8).
"""

from torch import nn

from trainkit.spec import ConvNet

FAMILY = "convolution"
BLOCKED = True


def widest(options: ConvNet) -> int:
    """Channels of the widest 3x3 convolution."""
    return max(channels for stage in options.stages for channels in stage)


def build(options: ConvNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    height, width, channels = shape
    layers: list[nn.Module] = []
    kernel, stride = options.stem_kernel, options.stem_stride
    for stage in options.stages:
        for position, outputs in enumerate(stage):
            layers.append(nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False))
            height, width = -(-height // stride), -(-width // stride)
            if position == len(stage) - 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            channels, kernel, stride = outputs, 3, 1
    if options.dropout:
        layers.append(nn.Dropout(options.dropout))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes))
