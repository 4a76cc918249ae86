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

LAYOUT_NAMES = {  # where the name says too little
    "side_by_side": "channels_last, small images side by side",
    "blocked": "in oneDNN's blocks where a network can",
    "winograd": "channels_last, wide convolutions by Winograd's algorithm",
}
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


# -- The table -----------------------------------------------------------------------------


def table(hardware: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of item and value for people; what could not be read is said in words."""
    cpu, held = hardware["cpu"], hardware["limits"]
    virtual = f" (virtual machine: {cpu['hypervisor']})" if cpu["hypervisor"] else ""
    missing = f"not reported by this machine{virtual}"

    def mhz(value: float | None) -> str:
        return missing if value is None else f"{value:.0f} MHz"

    def unlimited(words: str) -> str:
        return words if held.get("cgroup_v2", True) else "not read: there is no cgroup v2 here"

    rows = [("GPUs", str(len(hardware["gpus"])) if hardware["gpus"] else f"0: {hardware['gpu_note']}")]
    for index, gpu in enumerate(hardware["gpus"]):
        power = "power limit not reported"
        if gpu["power_limit_w"] is not None:
            power = f"power limit {gpu['power_limit_w']:.0f} W"
        memory = "not reported by this GPU"
        if gpu["memory_mb"] is not None:
            memory = f"{gpu['memory_mb'] / 1024:.1f} GiB"
        rows += [
            (f"GPU {index} model", gpu["model"]),
            (f"GPU {index} memory", memory),
            (f"GPU {index} driver", f"{gpu['driver']}, CUDA {gpu['cuda']}, {power}"),
        ]
    rows += [
        ("CPU model", cpu["model"]),
        ("CPU sockets", str(cpu["sockets"] or missing)),
        ("CPU cores", f"{cpu['physical_cores'] or '?'} physical, {cpu['logical_cores']} logical"),
        ("CPU clock, base", mhz(cpu["clock_base_mhz"])),
        ("CPU clock, maximum", mhz(cpu["clock_max_mhz"])),
        ("CPU clock, at capture", mhz(cpu["clock_current_mhz"])),
        ("CPU caches", ", ".join(f"{k} {v}" for k, v in sorted(cpu["caches"].items())) or missing),
        ("CPU instruction sets", ", ".join(cpu["instruction_sets"]) or "none of those that matter here"),
        ("Memory", f"{hardware['memory_mb'] / 1024:.1f} GiB"),
        ("Operating system", f"{hardware['system']['os']}, kernel {hardware['system']['kernel']}"),
        ("CPUs allowed by affinity", str(held["cpus_by_affinity"] or missing)),
        ("CPUs allowed by cgroup quota", str(held["cpus_by_cgroup_quota"] or unlimited("no quota"))),
        (
            "Memory allowed by cgroup",
            f"{held['memory_mb_by_cgroup']} MiB" if held["memory_mb_by_cgroup"] else unlimited("no limit"),
        ),
    ]
    tried = ", ".join(f"{count}: {rate:.0f}" for count, rate in hardware["threads_images_per_second"].items())
    rows.append(("CPU threads of a run", f"{hardware['threads']} (images/s by threads: {tried})"))
    rows.append(("Measured from here on", f"on {hardware['measured_on']}"))
    for precision, rate in hardware["matrix_product_gflops"].items():
        name = "float32 (as TF32)" if precision == "float32" and hardware.get("tf32") else precision
        rows.append((f"Matrix product, {name}", f"{rate:.0f} GFLOP/s measured"))
    for family, measured in hardware["precision"].items():
        training = measured["training"]
        gain = training["bfloat16"] / training["float32"]
        layout = "blocked" if training.get("blocked") else training["layout"]
        rows.append(
            (
                f"Precision, {family}",
                f"{training['choice']} (bfloat16 trains {gain:.2f} times as fast as float32), "
                f"{LAYOUT_NAMES.get(layout, layout)}",
            )
        )
    return rows
