"""Document the machine (point 2.1.1), and measure its speed and the fastest ways to compute on it."""

import argparse
from pathlib import Path
from typing import Any

import torch

from trainkit import device as devices
from trainkit import hardware, peak, precision
from trainkit.errors import run_program
from trainkit.files import write_csv, write_json

LAYOUT_NAMES = {  # where the name says too little
    "side_by_side": "channels_last, small images side by side",
    "blocked": "in oneDNN's blocks where a network can",
    "winograd": "by Winograd's algorithm where convolutions are wide",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True, help="hardware.json")
    parser.add_argument("--table", type=Path, required=True, help="the same for people, as CSV")
    args = parser.parse_args()
    facts = hardware.describe()  # first, for the lease of a device changes what CUDA shows
    device = devices.acquire(args.threads, deterministic=False)
    counts = sorted({min(count, args.threads) for count in devices.thread_counts()})
    facts["threads_images_per_second"] = precision.measure_threads(counts)
    facts["threads"] = int(precision.clearly_best(facts["threads_images_per_second"]))
    device = devices.acquire(args.threads, False, facts)
    facts["measured_on"] = devices.name(device)
    facts["tf32"] = devices.uses_tf32(device)
    facts["matrix_product_gflops"] = {
        name: peak.matrix_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")
    }
    facts["precision"] = precision.measure(device)
    if device.type == "cuda":
        from trainkit import cuda_graph_check  # the trainer, which no CPU needs here

        precise = facts["precision"][devices.CONVOLUTION]["training"]["choice"]
        # Last, for an error leaves the GPU unusable.
        facts["cuda_graphs"] = cuda_graph_check.measure(device, precise)
    write_csv(args.table, ("item", "value"), table(facts))
    write_json(args.out, facts)


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
    for name, rate in hardware["matrix_product_gflops"].items():
        shown = "float32 (as TF32)" if name == "float32" and hardware.get("tf32") else name
        rows.append((f"Matrix product, {shown}", f"{rate:.0f} GFLOP/s measured"))
    for family, measured in hardware["precision"].items():
        training = measured["training"]
        gain = training["bfloat16"] / training["float32"]
        own = (layout for layout in ("winograd", "blocked") if training.get(layout))
        layout = next(own, training["layout"])
        rows.append(
            (
                f"Precision, {family}",
                f"{training['choice']} (bfloat16 trains {gain:.2f} times as fast as float32), "
                f"{LAYOUT_NAMES.get(layout, layout)}",
            )
        )
    if "cuda_graphs" in hardware:
        rows.append(("Steps launched by one call", cuda_graphs_in_words(hardware["cuda_graphs"])))
    return rows


def cuda_graphs_in_words(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"no: {found['error']}"
    rates = f"a small network trains {found['recorded'] / found['launched']:.2f} times as fast by CUDA graphs"
    apart, noise = (100 * max(found[key].values()) for key in ("relative_distance", "launched_twice"))
    agree = f"its weights differ by {apart:.2g}% of their way (launched twice by {noise:.2g}%)"
    return f"{'yes' if found['choice'] else 'no'}: {rates}, and {agree}"


if __name__ == "__main__":
    run_program(main)
