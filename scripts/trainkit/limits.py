"""What this process may really use of its machine: processors and memory."""

import os
from pathlib import Path
from typing import Any


def limits() -> dict[str, Any]:
    """What a process here may really use: CPUs by affinity and by quota, memory by cgroup."""
    quota, memory = None, None
    folders = cgroup_folders()
    for folder in folders:
        match (read(folder / "cpu.max") or "max").split():
            case [amount, period] if amount != "max":
                allowed = int(amount) / int(period)
                quota = allowed if quota is None else min(quota, allowed)
        limit = read_int(folder / "memory.max")
        if limit is not None:
            memory = limit if memory is None else min(memory, limit)
    return {
        "cpus_by_affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpus_by_cgroup_quota": quota,
        "memory_mb_by_cgroup": None if memory is None else memory // 2**20,
        "cgroup_v2": bool(folders),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def physical_cores(cpus: set[int]) -> int:
    """How many cores these logical processors are; their number where the kernel does not say."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({read(topology.format(cpu)) or cpu for cpu in cpus})


def cgroup_folders() -> list[Path]:
    """This process's cgroup (v2) and those above it: each may set a limit."""
    root = Path("/sys/fs/cgroup")
    line = next((x for x in (read("/proc/self/cgroup") or "").splitlines() if x.startswith("0::")), None)
    if line is None:
        return []
    own = root / line.removeprefix("0::").strip("/")
    return [own, *[parent for parent in own.parents if parent == root or root in parent.parents]]


def read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def read_int(path: str | Path) -> int | None:
    return to_int(read(path))


def to_int(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
