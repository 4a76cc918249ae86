"""Which precision is faster on this machine, measured on a small stand-in for each kind of network.

bfloat16 is several times faster where the processor has instructions for it, and several times
slower where it has none, or for depthwise convolutions on a CPU. The stand-ins are written out here, so that
editing an architecture does not change what is measured.
"""

from typing import Any

import torch
from torch import Tensor, nn

from trainkit.device import Clock, autocast

BATCH, ROUNDS = 128, 6


class _Permuted(nn.Module):
    """A module of ``(N, H, W, C)`` for images of ``(N, C, H, W)``."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _linear() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)), torch.randn(BATCH, 784)


def _convolution() -> tuple[nn.Module, Tensor]:
    blocks = [
        nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        for _ in range(3)
    ]
    return nn.Sequential(*blocks), torch.randn(BATCH, 32, 16, 16)


def _inverted_residual(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    wide = 6 * inputs
    depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
    return [
        *(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
        *(depthwise, nn.BatchNorm2d(wide), nn.ReLU6()),
        *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
    ]


def _depthwise() -> tuple[nn.Module, Tensor]:
    """MobileNet's and EfficientNet's blocks; stride 2 is what bfloat16 is slow at on CPUs."""
    blocks = _inverted_residual(16, 24, 3, 1) + _inverted_residual(24, 40, 5, 2)
    return nn.Sequential(*blocks), torch.randn(BATCH, 16, 8, 8)


def _convnext() -> tuple[nn.Module, Tensor]:
    """A ConvNeXt block without its shortcut."""
    block = [nn.Conv2d(32, 32, 7, padding=3, groups=32)]
    block += [_Permuted(nn.LayerNorm(32), nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32))]
    return nn.Sequential(*block), torch.randn(BATCH, 32, 16, 16)


STAND_INS = {
    "linear": _linear,
    "convolution": _convolution,
    "depthwise": _depthwise,
    "convnext": _convnext,
}


def measure(device: torch.device) -> dict[str, Any]:
    """For each family, training and inference: images a second by precision, and the choice."""
    return {
        family: {
            "training": _compare(family, device, training=True),
            "inference": _compare(family, device, training=False),
        }
        for family in STAND_INS
    }


def _compare(family: str, device: torch.device, training: bool) -> dict[str, Any]:
    model, x = STAND_INS[family]()
    model.to(device, memory_format=torch.channels_last).train(training)
    x = x.to(device)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(ROUNDS + 1):  # in turn, so that a change of the machine's speed hits both
        for precision, times in seconds.items():
            clock = Clock(device)
            with torch.set_grad_enabled(training), autocast(device, precision):
                out = model(x)
            if training:
                out.float().square().mean().backward()
            times.append(clock.lap())
    # The fastest round: other work on the machine only ever slows one down.
    rates = {precision: round(BATCH / min(times[1:]), 1) for precision, times in seconds.items()}
    return {**rates, "choice": max(rates, key=lambda precision: rates[precision])}
