"""Where the time of a training step goes, and how many operations it takes."""

import re
import time
from collections.abc import Callable

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

# Operators by what they do, first match wins. Self time only, so that nothing counts twice.
PARTS = {
    "convolution": r"conv",
    "normalisation": r"norm",
    "optimiser": r"_fused_(sgd|adam)|optimizer|_foreach|lerp",
    "matrix product": r"mm$|linear|bmm|matmul",
    "activation": r"relu|gelu|silu|threshold|clamp",
    "pooling": r"pool|aten::mean|sum_out",
    "loss": r"softmax|nll|cross_entropy|argmax",
    "input": r"index|gather|randint|randperm|random_|pad|arange|grid_sampler|where|addcmul",
    "addition": r"aten::add_?$",
    "copies and casts": r"copy|_to_copy|contiguous|clone|fill_|zero_|empty|cat|to_dense|to_mkldnn",
}


def count_flops(work: Callable[[], object]) -> dict[str, int]:
    """Floating-point operations of ``work``: all of them, and those of convolutions.

    A multiply-add counts as two, as the matrix product's rate counts it.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    kinds = counter.get_flop_counts()["Global"]
    convolutions = sum(count for kind, count in kinds.items() if "conv" in str(kind))
    return {"total": counter.get_total_flops(), "convolution": convolutions}


def breakdown(step: Callable[[], object], device: torch.device, steps: int) -> dict[str, float]:
    """Seconds a step by kind of operator, measured by PyTorch's profiler.

    What no operator accounts for (Python, dispatching, waiting), or none that ``PARTS`` knows, is ``other``.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    step()
    with profile(activities=activities) as profiler:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize()
        whole = time.perf_counter() - began
    spent = dict.fromkeys(PARTS, 0.0)
    for event in profiler.events():
        if event.device_type != torch.autograd.DeviceType.CPU:
            continue  # a kernel, whose time its operator has already
        seconds = (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
        part = "convolution" if in_winograd(event) else part_of(event.name)
        if part:
            spent[part] += seconds
    spent["other"] = max(0.0, whole - sum(spent.values()))
    return {part: seconds / steps for part, seconds in spent.items()}


def in_winograd(event: FunctionEvent | None) -> bool:
    """Whether an operator is a part of a convolution by Winograd's algorithm (`trainkit.winograd`)."""
    while event:
        if event.name.startswith("Winograd"):
            return True
        event = event.cpu_parent
    return False


def part_of(operator: str) -> str | None:
    """The kind of an operator such as ``aten::native_batch_norm``; None for one of no kind."""
    return next((part for part, pattern in PARTS.items() if re.search(pattern, operator.lower())), None)
