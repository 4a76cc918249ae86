"""The densely connected network of Assignment 1: one hidden layer of ReLU units."""

from torch import nn

from trainkit.spec import Dense

FAMILY = "linear"


def build(options: Dense, shape: tuple[int, int, int], classes: int) -> nn.Module:
    height, width, channels = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(height * width * channels, options.hidden),
        nn.ReLU(),
        nn.Linear(options.hidden, classes),
    )
