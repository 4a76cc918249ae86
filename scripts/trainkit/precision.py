"""Which precision, memory layout and number of threads are fastest on this machine.

Measured on a small stand-in for each kind of network.

bfloat16 is several times faster where the processor has instructions for it, and several times
slower where it has none, or for depthwise convolutions on a CPU. The stand-ins are written out here, so that
editing an architecture does not change what is measured.
"""

import copy
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from trainkit import blocked
from trainkit.device import (
    BLOCKED,
    CHANNELS_LAST,
    CONTIGUOUS,
    CONVOLUTION,
    SIDE_BY_SIDE,
    WIDE,
    WINOGRAD,
    Clock,
    Numerics,
    autocast,
)

# Images: on a GPU so many that its kernels take longer than it takes to launch them.
BATCH = {"cpu": 128, "cuda": 4096}
LINEAR_ON_GPU = 32_768  # which takes so little of an image
# Wide convolutions take long on a CPU, seconds where it has no bfloat16; of more images layouts tell more.
WIDE_ON_CPU, WIDE_IN_EACH_PRECISION = 64, 32
ROUNDS = 6
LAYOUT_ROUNDS = 20  # of convolutions in training: with 6, of two a fifth apart the slower one won at times
SETTLED = 1.4  # times as fast after ROUNDS: no more rounds are needed
HOPELESS = 3  # so many times slower than the fastest: one round is enough to know
MARGIN = 1.1  # timings of a shared machine differ by so much without a reason
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = (CHANNELS_LAST, CONTIGUOUS)
StandIn = Callable[[int], tuple[nn.Module, Tensor]]  # for so many images: the network, and its input


class _Permuted(nn.Module):
    """A module of ``(N, H, W, C)`` for images of ``(N, C, H, W)``."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _linear(batch: int) -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)), torch.randn(batch, 784)


def _convolution(batch: int) -> tuple[nn.Module, Tensor]:
    return _convolutions((32, 32, 1), (32, 32, 1), (32, 32, 1)), torch.randn(batch, 32, 16, 16)


def _wide_convolution(batch: int) -> tuple[nn.Module, Tensor]:
    """The last stages of a wide network, 8 and 4 pixels a side."""
    network = _convolutions((128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 256, 1))
    return network, torch.randn(batch, 128, 8, 8)


def _stride_one(batch: int) -> tuple[nn.Module, Tensor]:
    """Convolutions as Winograd's algorithm takes them. By fewer channels its gain varied from run to run."""
    return _convolutions((128, 384, 1), (384, 384, 1)), torch.randn(batch, 128, 8, 8)


def _convolutions(*shapes: tuple[int, int, int]) -> nn.Module:
    """3x3 convolutions of so many input and output channels and strides, each with BatchNorm and ReLU."""
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        for a, b, stride in shapes
    ]
    return nn.Sequential(*blocks)


def _inverted_residual(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    wide = 6 * inputs
    depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
    return [
        *(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
        *(depthwise, nn.BatchNorm2d(wide), nn.ReLU6()),
        *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
    ]


def _depthwise(batch: int) -> tuple[nn.Module, Tensor]:
    """MobileNet's and EfficientNet's blocks; stride 2 is what bfloat16 is slow at on CPUs."""
    blocks = _inverted_residual(16, 24, 3, 1) + _inverted_residual(24, 40, 5, 2)
    return nn.Sequential(*blocks), torch.randn(batch, 16, 8, 8)


def _convnext(batch: int) -> tuple[nn.Module, Tensor]:
    """A ConvNeXt block without its shortcut."""
    block = [nn.Conv2d(32, 32, 7, padding=3, groups=32)]
    block += [_Permuted(nn.LayerNorm(32), nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32))]
    return nn.Sequential(*block), torch.randn(batch, 32, 16, 16)


STAND_INS = {
    "linear": _linear,
    CONVOLUTION: _convolution,
    WIDE: _wide_convolution,
    "depthwise": _depthwise,
    "convnext": _convnext,
}


def measure(device: torch.device) -> dict[str, Any]:
    """For each family, training and inference: images a second by precision, and the choices.

    Each precision is tried in channels_last memory, then the faster one in contiguous memory too, and where
    a CPU trains convolutions, in oneDNN's blocks and, wide ones, by Winograd's algorithm and (bfloat16) with
    small images side by side.
    """
    facts = {}
    for family, stand_in in STAND_INS.items():
        facts[family] = {}
        for use in ("training", "inference"):
            training = use == "training"
            variants = [(precision, CHANNELS_LAST) for precision in PRECISIONS]
            slow = family == WIDE and device.type == "cpu"
            images = WIDE_IN_EACH_PRECISION if slow else _images(family, device)
            rates = _rates(stand_in, images, device, training, variants)
            choice = clearly_best({p: rates[p, CHANNELS_LAST] for p in PRECISIONS})
            both = _layout_rates(family, device, training, choice, LAYOUTS)
            facts[family][use] = {
                **{precision: rates[precision, CHANNELS_LAST] for precision in PRECISIONS},
                "choice": choice,
                **both,
                "layout": clearly_best(both),
            }
    if device.type == "cpu":
        for family in (CONVOLUTION, WIDE):
            _try_own_layouts(family, device, facts[family]["training"])
    return facts


def _try_own_layouts(family: str, device: torch.device, found: dict[str, Any]) -> None:
    """Try the layouts that PyTorch has not for convolutions in training on a CPU.

    ``layout`` becomes side_by_side where that is clearly faster. ``blocked`` says whether networks that can
    should compute in oneDNN's blocks: unless they are clearly slower there than in ``layout``. A tie goes to
    blocks: where there is no matrix unit, whole networks were as fast in them or faster (docs/results.md).
    ``winograd`` says whether wide convolutions are clearly faster by Winograd's algorithm than in the better
    of these.
    """

    def rate_over(layout: str, other: str, stand_in: StandIn | None = None) -> float:
        rates = _layout_rates(family, device, True, found["choice"], (other, layout), stand_in)
        return round(rates[layout] / rates[other], 2)

    if family == WIDE and (found["choice"], found["layout"]) == ("bfloat16", CHANNELS_LAST):
        found["side_by_side_gain"] = rate_over(SIDE_BY_SIDE, CHANNELS_LAST)
        if found["side_by_side_gain"] > MARGIN:
            found["layout"] = SIDE_BY_SIDE
    if blocked.available(getattr(torch, found["choice"])):
        try:
            found["blocked_gain"] = rate_over(BLOCKED, found["layout"])
            found["blocked"] = found["blocked_gain"] > 1 / MARGIN
        except RuntimeError as error:  # oneDNN has no such kernels here
            found["blocked_error"] = str(error)
    if family == WIDE:
        best = BLOCKED if found.get("blocked") else found["layout"]
        found["winograd_gain"] = rate_over(WINOGRAD, best, _stride_one)
        found["winograd"] = found["winograd_gain"] > MARGIN


def clearly_best(rates: dict[str, float]) -> str:
    """The first choice, unless the fastest one beats it by more than chance does."""
    first, fastest = next(iter(rates)), max(rates, key=lambda name: rates[name])
    return fastest if rates[fastest] > MARGIN * rates[first] else first


def measure_threads(candidates: list[int]) -> dict[str, float]:
    """Images a second that the stand-in of narrow convolutions trains with each number of CPU threads."""
    before = torch.get_num_threads()
    variants = [(precision, CHANNELS_LAST) for precision in PRECISIONS]
    rates = {}
    for count in candidates:
        torch.set_num_threads(count)
        rates[str(count)] = max(
            _rates(_convolution, BATCH["cpu"], torch.device("cpu"), True, variants).values()
        )
    torch.set_num_threads(before)
    return rates


def _images(family: str, device: torch.device) -> int:
    return LINEAR_ON_GPU if family == "linear" and device.type == "cuda" else BATCH[device.type]


def _layout_rates(
    family: str,
    device: torch.device,
    training: bool,
    precision: str,
    layouts: tuple[str, ...],
    stand_in: StandIn | None = None,
) -> dict[str, float]:
    variants = [(precision, layout) for layout in layouts]
    rounds = LAYOUT_ROUNDS if training and family in (CONVOLUTION, WIDE) else ROUNDS
    images = WIDE_ON_CPU if family == WIDE and device.type == "cpu" else _images(family, device)
    rates = _rates(stand_in or STAND_INS[family], images, device, training, variants, rounds)
    return {layout: rates[precision, layout] for layout in layouts}


def _rates(
    stand_in: StandIn,
    images: int,
    device: torch.device,
    training: bool,
    variants: list[tuple[str, str]],
    rounds: int = ROUNDS,
) -> dict[tuple[str, str], float]:
    """Images a second of each precision and layout."""
    model, example = stand_in(images)
    models = {}
    for precision, layout in variants:
        numerics, x = Numerics(precision, layout), example.to(device)
        models[precision, layout] = (
            numerics.lay_out(copy.deepcopy(model).to(device)).train(training),
            x.contiguous(memory_format=numerics.memory_format) if x.ndim == 4 else x,
        )
    seconds: dict[tuple[str, str], list[float]] = {variant: [] for variant in variants}
    for done in range(rounds + 1):  # in turn, so that a change of the machine's speed hits all
        if done > ROUNDS and _settled(seconds.values()):
            break
        for (precision, layout), times in seconds.items():
            fastest = min((min(other[1:]) for other in seconds.values() if len(other) > 1), default=math.inf)
            if times and _hopeless(times, fastest, device):
                continue
            network, x = models[precision, layout]
            clock = Clock(device)
            with torch.set_grad_enabled(training), autocast(device, precision):
                out = blocked.dense(network(x))
            if training:
                out.float().square().mean().backward()
            times.append(clock.lap())
    # The fastest round: other work on the machine only ever slows one down.
    return {variant: round(len(example) / min(times[1:] or times), 1) for variant, times in seconds.items()}


def _settled(seconds: Iterable[list[float]]) -> bool:
    """Whether each variant is so far from the next one that more rounds would not change their order."""
    best = sorted(min(times[1:] or times) for times in seconds)
    return all(slower > SETTLED * faster for faster, slower in pairwise(best))


def _hopeless(times: list[float], fastest: float, device: torch.device) -> bool:
    """Whether another round tells nothing.

    The first one warms up: it must be far too slow for that, and on a GPU, which tries algorithms in it,
    it tells nothing.
    """
    if len(times) > 1:
        return min(times[1:]) > HOPELESS * fastest
    return device.type == "cpu" and times[0] > max(1.0, 10 * fastest)
