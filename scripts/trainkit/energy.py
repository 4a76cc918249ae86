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
        self.gpu_began = gpu_joules(device)
        self.packages = {
            zone: [now, 0.0]  # microjoules when it was last read, and those spent until then
            for zone in sorted(RAPL.glob("intel-rapl:*"))
            if is_package(zone) and (now := read_int(zone / "energy_uj")) is not None
        }

    def read_packages(self) -> None:
        """Count on. RAPL wraps around within minutes of full load: it must be read more often than that."""
        for zone, (last, spent) in list(self.packages.items()):
            now, wraps_at = read_int(zone / "energy_uj"), read_int(zone / "max_energy_range_uj")
            if now is None or wraps_at is None:
                del self.packages[zone]
            else:
                used = now - last if now >= last else now - last + wraps_at
                self.packages[zone] = [now, spent + used]

    def joules(self) -> dict[str, float]:
        """``{"gpu": ..., "cpu": ...}``, as far as they are known."""
        self.read_packages()
        known = {}
        gpu = gpu_joules(self.device)
        if gpu is not None and self.gpu_began is not None:
            known["gpu"] = round(gpu - self.gpu_began, 1)
        if self.packages:
            known["cpu"] = round(sum(spent for _, spent in self.packages.values()) / 1e6, 1)
        return known


def is_package(zone: Path) -> bool:
    """Whether a powercap zone is a whole CPU package: parts of one would count twice."""
    return (read(zone / "name") or "").startswith("package-")


def gpu_joules(device: torch.device) -> float | None:
    """What a GPU took since its driver was loaded.

    ``None`` for a CPU, for GPUs before Volta, and where NVML is silent.
    """
    if device.type != "cuda":
        return None
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
