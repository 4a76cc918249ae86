"""How fast inference is, and what it holds in memory meanwhile."""

import copy
import math
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from trainkit.device import Clock, Numerics, autocast
from trainkit.memory import reset_peak

Case = tuple[str, int]  # a network's name and a batch size
MB = 2**20


def rates(cases: dict[Case, Callable[[], object]], device: torch.device, rounds: int, seconds: float) -> dict:
    """Images a second of each case in each round, ``{case: [rate, ...]}``.

    The cases take turns, so that a drift of the machine's speed hits all; together they take about
    ``seconds``, each the same part of it.
    """
    part, passes = seconds / (rounds * len(cases)), {}
    for case, run in cases.items():
        run()  # loads libraries, picks algorithms
        passes[case] = max(1, math.floor(part / timed(run, 1, device)))
    measured: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, run in cases.items():
            measured[case].append(passes[case] * case[1] / timed(run, passes[case], device))
    return measured


def timed(run: Callable[[], object], passes: int, device: torch.device) -> float:
    """Seconds of so many passes, the device synchronised before and after."""
    clock = Clock(device)
    for _ in range(passes):
        run()
    return clock.lap()


def forward(model: nn.Module, x: Tensor, numerics: Numerics) -> Callable[[], Tensor]:
    """A function that runs the network once in evaluation mode on ``(N, C, H, W) float32``."""
    model = copy.deepcopy(model).eval().to(x.device, memory_format=numerics.memory_format)
    x = x.contiguous(memory_format=numerics.memory_format)
    if numerics.precision == "bfloat16":
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)  # once, where autocast would do it at each pass

    def run() -> Tensor:
        with torch.inference_mode(), autocast(x.device, numerics.precision):
            return model(x)

    return run


def activation_mb(run: Callable[[], object], device: torch.device) -> float:
    """The most memory that one pass holds beside weights and images, in MB (2^20 bytes)."""
    run()  # the first pass takes memory that later ones do not
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        reset_peak(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / MB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    held = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":  # bytes that are taken, negative where they are given back
            held += event.nbytes()
            most = max(most, held)
    return most / MB


def weight_mb(model: nn.Module) -> float:
    """Parameters and buffers, in MB (2^20 bytes)."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values()) / MB


@torch.inference_mode()
def largest_difference(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    """Between the logits of two networks in float32, on the CPU: a GPU may round products to TF32."""
    logits = [copy.deepcopy(model).eval().cpu()(x.cpu()) for model in (a, b)]
    return (logits[0] - logits[1]).abs().max().item()


def summary(values: list[float]) -> dict[str, float]:
    """Columns of a rate over the rounds."""
    return {
        "images_per_second": median(values),
        "images_per_second_low": min(values),
        "images_per_second_high": max(values),
        "rounds": len(values),
    }
