"""The energy that a run takes, where the machine's own counters tell it."""

from pathlib import Path

import torch

from trainkit.limits import read, read_int

RAPL = Path("/sys/class/powercap")


class Meter:
    """Joules since it was made: of the GPU that trains, by NVML, and of the CPU packages, by RAPL.

    Both count the whole device, whoever uses it. A counter that is missing or not readable (Linux shows
    RAPL to root alone) has no entry.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.packages = [zone for zone in sorted(RAPL.glob("intel-rapl:*")) if is_package(zone)]
        self.began = self.read()

    def joules(self) -> dict[str, float]:
        """``{"gpu": ..., "cpu": ...}``, as far as they are known."""
        spent: dict[str, float] = {}
        for counter, (now, wraps_at) in self.read().items():
            if counter not in self.began:
                continue
            used = now - self.began[counter][0]
            kind = counter.partition(" ")[0]
            spent[kind] = spent.get(kind, 0.0) + (used if used >= 0 else used + wraps_at)
        return {kind: round(joules, 1) for kind, joules in spent.items()}

    def read(self) -> dict[str, tuple[float, float]]:
        """Each counter's joules, and where it wraps around to 0."""
        counters = {}
        for zone in self.packages:
            now, wraps_at = read_int(zone / "energy_uj"), read_int(zone / "max_energy_range_uj")
            if now is not None and wraps_at is not None:
                counters[f"cpu {zone.name}"] = now / 1e6, wraps_at / 1e6
        if self.device.type == "cuda" and (joules := gpu_joules(self.device)) is not None:
            counters["gpu"] = joules, 0.0
        return counters


def is_package(zone: Path) -> bool:
    """Whether a powercap zone is a whole CPU package: parts of one would count twice."""
    return (read(zone / "name") or "").startswith("package-")


def gpu_joules(device: torch.device) -> float | None:
    """What a GPU took since its driver was loaded; ``None`` before Volta, and where NVML is silent."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
    except (AttributeError, pynvml.NVMLError):
        return None
    finally:
        pynvml.nvmlShutdown()
