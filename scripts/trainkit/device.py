"""The device of a run: which one, how many threads, which precision, and its clock."""

import ctypes
import os
import sys
import time
from typing import Any

import psutil
import torch

from trainkit import models
from trainkit.spec import FeatureSpec, Model, RunSpec

Precision = str  # "float32" or "bfloat16"


def acquire(threads: int, deterministic: bool) -> torch.device:
    """The device to train on, set up: the first visible GPU, else the CPU.

    On a CPU, one thread a physical core at most: a second one on the same core only waits.
    """
    physical = psutil.cpu_count(logical=False) or threads
    torch.set_num_threads(max(1, min(threads, physical, len(os.sched_getaffinity(0)))))
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = not deterministic
        torch.set_float32_matmul_precision("high")
        return torch.device("cuda", 0)
    keep_freed_memory()
    return torch.device("cpu")


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


def precision(spec: RunSpec | FeatureSpec, hardware: dict[str, Any]) -> Precision:
    """The precision of a run: the recipe's, or the one measured faster on this machine."""
    if isinstance(spec, FeatureSpec):
        return measured_precision(spec.model, hardware, "inference")
    if spec.recipe.precision != "auto":
        return spec.recipe.precision
    if spec.frozen:
        return hardware["precision"]["linear"]["training"]["choice"]
    return measured_precision(spec.model, hardware)


def measured_precision(model: Model, hardware: dict[str, Any], use: str = "training") -> Precision:
    """The precision measured faster for networks of a model's family, in training or inference."""
    return hardware["precision"][models.module(model.name).FAMILY][use]["choice"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


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
