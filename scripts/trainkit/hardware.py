"""What machine this is: what it has, what really holds, and what could not be read."""

import json
import os
import platform
import shutil
import subprocess
from typing import Any

import psutil

from trainkit import lease
from trainkit.limits import limits, read_int, to_int

INSTRUCTION_SETS = {
    "AVX2": "avx2",
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX": "amx_tile",
    "AMX_BF16": "amx_bf16",
    "NEON": "asimd",
    "SVE": "sve",
}


def describe() -> dict[str, Any]:
    """Everything of the machine but what must be measured; absent readings are ``None``."""
    gpus, gpu_note = gpus_by_nvml()
    return {
        "gpus": gpus,
        "gpu_note": gpu_note,
        "cpu": cpu(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "limits": limits(),
        "system": system(),
    }


# -- GPU -----------------------------------------------------------------------------------


def gpus_by_nvml() -> tuple[list[dict[str, Any]], str]:
    """Each GPU that NVML lists, and one line that says how the list was found."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return [], "no GPU is known: the package nvidia-ml-py is not installed"
    except pynvml.NVMLError as error:
        return [], f"no GPU: NVML says {error}"
    try:
        driver = _or_none(pynvml, pynvml.nvmlSystemGetDriverVersion)
        cuda = _or_none(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
        gpus = []
        for handle in lease.readable(pynvml):
            memory = _or_none(pynvml, lambda h=handle: pynvml.nvmlDeviceGetMemoryInfo(h))
            power = _or_none(pynvml, lambda h=handle: pynvml.nvmlDeviceGetPowerManagementLimit(h))
            clock = _or_none(
                pynvml, lambda h=handle: pynvml.nvmlDeviceGetMaxClockInfo(h, pynvml.NVML_CLOCK_SM)
            )
            gpus.append(
                {
                    "model": lease.text(pynvml.nvmlDeviceGetName(handle)),
                    "memory_mb": None if memory is None else memory.total // 2**20,
                    "driver": "version not reported" if driver is None else lease.text(driver),
                    "cuda": "not reported" if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
                    "power_limit_w": None if power is None else power / 1000,
                    "clock_max_mhz": clock,
                }
            )
        return gpus, f"NVML lists {len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"
    finally:
        pynvml.nvmlShutdown()


def _or_none(pynvml: Any, read: Any) -> Any:
    """A reading, or ``None`` where this device does not have it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None


# -- CPU -----------------------------------------------------------------------------------


def cpu() -> dict[str, Any]:
    facts = lscpu()
    flags = set(facts.get("Flags", "").split())
    frequency = psutil.cpu_freq()
    base = read_int("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency")
    return {
        "model": facts.get("Model name") or platform.processor() or platform.machine(),
        "sockets": to_int(facts.get("Socket(s)")),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(logical=True),
        "clock_base_mhz": None if base is None else base / 1000,
        "clock_max_mhz": frequency.max if frequency and frequency.max else None,
        "clock_current_mhz": round(frequency.current, 1) if frequency and frequency.current else None,
        "caches": {
            key.removesuffix(" cache"): value for key, value in facts.items() if key.endswith(" cache")
        },
        "instruction_sets": [name for name, flag in INSTRUCTION_SETS.items() if flag in flags],
        "hypervisor": facts.get("Hypervisor vendor"),
    }


def lscpu() -> dict[str, str]:
    """util-linux's report as a table; empty where the program is missing (not on Linux)."""
    if not shutil.which("lscpu"):
        return {}
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(["lscpu", "-J"], capture_output=True, text=True, timeout=20, env=environment)
    if done.returncode:
        return {}
    table: dict[str, str] = {}
    todo = list(json.loads(done.stdout)["lscpu"])
    while todo:
        entry = todo.pop()
        table[entry["field"].rstrip(":")] = entry.get("data") or ""
        todo.extend(entry.get("children", ()))
    return table


# -- System --------------------------------------------------------------------------------


def system() -> dict[str, str]:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        name = platform.system()
    return {"os": name, "kernel": platform.release(), "python": platform.python_version()}
