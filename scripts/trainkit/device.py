"""The device of a run: which one, how many threads, which precision, and its clock."""

import contextlib
import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from trainkit import blocked, hardware, lease, models, side_by_side, winograd
from trainkit.errors import WITHOUT_CUDA_GRAPHS, StudyError
from trainkit.limits import limits, physical_cores
from trainkit.progress import print_line
from trainkit.spec import FeatureSpec, Model, RunSpec

Precision = str  # "float32" or "bfloat16"; in a recipe "auto", too
CHANNELS_LAST, CONTIGUOUS, SIDE_BY_SIDE = "channels_last", "contiguous", "side_by_side"
BLOCKED, WINOGRAD = "blocked", "winograd"
CONVOLUTION, WIDE = "convolution", "wide convolution"  # families of networks
WIDE_FROM = side_by_side.FEWEST_CHANNELS  # of the widest convolutions: those have layouts of their own
MEMORY_FORMATS = {
    CHANNELS_LAST: torch.channels_last,
    CONTIGUOUS: torch.contiguous_format,
    SIDE_BY_SIDE: torch.channels_last,  # and small images in rows for convolutions
    BLOCKED: torch.contiguous_format,  # outside of oneDNN's blocks
    WINOGRAD: torch.channels_last,  # and fewer multiplications for wide convolutions
}


@dataclass(frozen=True)
class Numerics:
    """In which precision a network computes, how its tensors lie in memory, how its steps are launched."""

    precision: Precision = "float32"
    layout: str = CHANNELS_LAST
    cuda_graphs: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        return MEMORY_FORMATS[self.layout]

    def lay_out(self, model: nn.Module) -> nn.Module:
        """Put a model's weights, and what its convolutions compute, into this layout; the model itself.

        Raises `StudyError` for a layout of CPUs on a GPU.
        """
        if self.layout in (BLOCKED, WINOGRAD) and any(p.device.type != "cpu" for p in model.parameters()):
            raise StudyError(
                f"recipe.layout: {self.layout} is for CPUs; choose another one. Where it says auto, the "
                "study's hardware.json was measured on a CPU: measure this GPU by --forcerun hardware"
            )
        if self.layout == SIDE_BY_SIDE:
            side_by_side.use(model)
        if self.layout == BLOCKED:
            blocked.use(model)
        if self.layout == WINOGRAD:
            winograd.use(model, self.precision)
        return model.to(memory_format=self.memory_format)


def acquire(threads: int, deterministic: bool, facts: dict[str, Any] | None = None) -> torch.device:
    """The device to train on, set up: a GPU that NVML lists and no other timed run has, else the CPU.

    It is leased until the process ends, and waited for while another process has it.
    At most ``threads`` threads, and as many as were measured best on this machine; before it is
    measured, one a physical core. Raises `StudyError` where a GPU is there that cannot be used.
    """
    # Else MKL may add up a matrix product in another order from run to run, also with as many threads.
    # (Its developer guide: "Obtaining Numerically Reproducible Results".) It reads this at its first product.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    leased = lease.LEASE.hold(print_line)
    if leased != lease.CPU:
        check_gpu()
    counts = thread_counts()
    best = min(facts["threads"], counts[-1]) if facts else counts[0]
    torch.set_num_threads(max(1, min(threads, best)))
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if leased != lease.CPU:
        torch.backends.cudnn.benchmark = not deterministic
        torch.set_float32_matmul_precision("high")
        return torch.device("cuda", 0)
    keep_freed_memory()
    return torch.device("cpu")


def check_gpu() -> None:
    """Raise `StudyError` where this PyTorch cannot use the GPU: its driver is too old, or it is."""
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise StudyError(
            f"this PyTorch ({torch.__version__}) cannot use the GPU: {said}. Update the driver if it is old, "
            f"choose another GPU with CUDA_VISIBLE_DEVICES, or train on the CPU: {lease.ON_CPU}"
        ) from error


@contextlib.contextmanager
def without_search() -> Iterator[None]:
    """Let cuDNN take the algorithms that it expects to be fastest, in place of trying all of them.

    For shapes that come a few times: there the search, and the memory that it takes, is not worth it.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def uses_tf32(device: torch.device) -> bool:
    """Whether float32 products are computed from 19 bits of each number, as on GPUs from Ampere on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def thread_counts() -> list[int]:
    """How many threads could be best on this CPU: one a physical core, or one a logical one."""
    logical = len(os.sched_getaffinity(0))
    quota = limits()["cpus_by_cgroup_quota"]
    if quota is not None:
        logical = min(logical, max(1, math.ceil(quota)))
    physical = min(physical_cores(os.sched_getaffinity(0)), logical)
    return sorted({physical, logical})


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks in place of returning them to the kernel at each step.

    A training step frees and takes the same large tensors over and over; by default each becomes
    an mmap whose pages the kernel must clear again.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)
            libc.mallopt(m_top_pad, 64 * 2**20)


def numerics(spec: RunSpec | FeatureSpec, hardware: dict[str, Any]) -> Numerics:
    """Precision, layout and launching of a run: the recipe's, or what was measured faster on this machine."""
    if isinstance(spec, FeatureSpec):
        return measured(spec.model, hardware, "inference")
    recipe, model = spec.recipe, spec.model
    if spec.frozen:
        found = of_family("linear", hardware)
    else:
        found = measured(model, hardware, precision=recipe.precision, compile=recipe.compile)
    chosen = {key: getattr(recipe, key) for key in ("precision", "layout")}
    found = replace(found, **{key: value for key, value in chosen.items() if value != "auto"})
    if found.layout == BLOCKED and not can_block(model, found.precision, recipe.compile):
        raise StudyError(
            f"{spec.name}: recipe.layout: {model.name} cannot train in blocks here; that takes a ResNet, "
            "ConvNet, RepVGG or airbench, no recipe.compile, and for bfloat16 a CPU with AVX512; say auto"
        )
    if found.layout == WINOGRAD and not can_winograd(model, found.precision, recipe.compile):
        raise StudyError(
            f"{spec.name}: recipe.layout: winograd takes no recipe.compile, and 3x3 convolutions of stride 1 "
            f"and {winograd.FEWEST[found.precision]} channels in {found.precision}; say auto"
        )
    return replace(found, cuda_graphs=uses_cuda_graphs(recipe.cuda_graphs, recipe.compile, hardware))


def uses_cuda_graphs(asked: bool | str, compile: bool, hardware: dict[str, Any]) -> bool:
    """Whether training steps are recorded: as ``asked``, or where that was measured to pay and be right."""
    if WITHOUT_CUDA_GRAPHS in os.environ:
        return False
    if asked != "auto":
        return bool(asked)
    found = hardware.get("cuda_graphs")  # a CPU's has none; a GPU's may be read on a CPU
    return bool(found and found["choice"]) and not compile and lease.LEASE.device != lease.CPU


def measured(
    model: Model,
    hardware: dict[str, Any],
    use: str = "training",
    precision: Precision = "auto",
    compile: bool = False,
) -> Numerics:
    """What was measured fastest for networks of a model's family, in training or inference.

    ``precision`` and ``compile`` are the recipe's: not each layout goes with each of them.
    """
    found = of_family(family(model), hardware, use)
    facts = hardware["precision"][family(model)][use]
    asked = found.precision if precision == "auto" else precision
    if facts.get(WINOGRAD) and asked == found.precision and can_winograd(model, asked, compile):
        return replace(found, layout=WINOGRAD)
    if facts.get(BLOCKED) and can_block(model, asked, compile):
        return replace(found, layout=BLOCKED)
    return found


def family(model: Model) -> str:
    """Which of the stand-ins in ``precision.py`` tells what is fastest for a network."""
    module = models.module(model.name)
    wide = hasattr(module, "widest") and module.widest(model) >= WIDE_FROM
    return WIDE if wide else getattr(module, "FAMILY", "none")


def of_family(name: str, hardware: dict[str, Any], use: str = "training") -> Numerics:
    """Raises `StudyError` where the capture measured no such family."""
    if name not in hardware["precision"]:
        known = ", ".join(hardware["precision"])
        raise StudyError(
            f"FAMILY of the network's file in scripts/trainkit/models: expected {known}, got {name!r}"
        )
    found = hardware["precision"][name][use]
    return Numerics(found["choice"], found["layout"])


def can_winograd(model: Model, precision: Precision, compile: bool) -> bool:
    """Whether a network has convolutions that gain by Winograd's algorithm on a CPU."""
    if compile or family(model) not in (CONVOLUTION, WIDE):  # others' convolutions are none of that kind
        return False
    with torch.device("meta"):  # of which weights take no time
        network = models.build(model, (32, 32, 3), 10)
    return any(winograd.takes(module, precision) for module in network.modules())


def can_block(model: Model, precision: Precision, compile: bool) -> bool:
    """Whether a network can train in oneDNN's blocks, on a CPU of this kind."""
    able = getattr(models.module(model.name), "BLOCKED", False)
    return able and not compile and blocked.available(getattr(torch, precision))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def name(device: torch.device) -> str:
    """What is computed on, as it is now: the GPU's model, or the CPU's with its best instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = hardware.cpu()
    return " ".join([cpu["model"], *cpu["instruction_sets"][-1:]])


class Clock:
    """Seconds with the device synchronised, so that queued work counts where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._began = self._now()

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self) -> float:
        """Seconds since the start or the last lap."""
        now = self._now()
        seconds, self._began = now - self._began, now
        return seconds
