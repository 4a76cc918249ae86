"""The benchmark's facts as tables: rates with their spread, and where a step's time goes."""

from statistics import median
from typing import Any

Facts = dict[str, Any]
Rows = list[dict[str, Any]]
# The sides of the benchmark in order: each has one thing more of this project than the one before.
LADDER = {
    "reference": "the usual script",
    "settings": "+ this trainer's process: freed memory kept, threads as measured, on a GPU TF32",
    "input": "+ images on the device, augmented in batches",
    "step": "+ this trainer's step: fused optimiser, nothing read back",
    "precision": "+ the precision that is fastest here",
    "layout": "+ the memory layout and convolutions that are fastest here",
    "project": "+ a whole step launched by one call (CUDA graphs)",  # without them layout is the last line
}


def rates(facts: list[Facts]) -> Rows:
    """One row a workload: medians over the rounds, and the ratio's range over them.

    ``fraction_of_peak`` is the arithmetic that training needs, forward and backward, over what
    the device's matrix products reached in the same minute; empty where nothing is multiplied, and above
    1 where Winograd's algorithm does with less. Two
    limits say what ratio could be reached at best: by a step that runs at that peak throughout
    (``ratio_at_peak``), and by one that spends time in its convolutions alone (``ratio_of_convolutions``).
    """
    rows = []
    for fact in facts:
        rounds = fact["rounds"]
        pairs = list(zip(rounds["project"], rounds["reference"], strict=True))
        ratios = [project / reference for project, reference in pairs]
        peak = 1e9 * median(rounds["matrix_gflops"])
        images_per_second = median(rounds["project"])
        convolution = fact["seconds_per_step"]["convolution"]
        has_convolutions = fact["convolution_flops_per_image"] and convolution  # unseen: no profile to be had
        reference = median(rounds["reference"])
        rows.append(
            {
                "workload": fact["workload"],
                "batch_size": fact["batch_size"],
                "precision": fact["precision"],
                "layout": fact["layout"],
                "cuda_graphs": "yes" if fact["cuda_graphs"] else "no",
                "pairs": fact["pairs"],
                "project_images_per_second": images_per_second,
                "project_low": min(rounds["project"]),
                "project_high": max(rounds["project"]),
                "reference_images_per_second": reference,
                "reference_low": min(rounds["reference"]),
                "reference_high": max(rounds["reference"]),
                "ratio": median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "ratio_at_peak": (
                    peak / fact["flops_per_image"] / reference if fact["flops_per_image"] else None
                ),
                "ratio_of_convolutions": (
                    fact["batch_size"] / convolution / reference if has_convolutions else None
                ),
                "mflops_per_image": fact["flops_per_image"] / 1e6 or None,
                "peak_gflops": peak / 1e9,
                "fraction_of_peak": images_per_second * fact["flops_per_image"] / peak or None,
                "convolution_fraction_of_peak": (
                    fact["convolution_flops_per_image"] * fact["batch_size"] / convolution / peak
                    if has_convolutions
                    else None
                ),
                "compile_seconds": fact["compile_seconds"],
                "project_memory_mb": fact["project_memory_mb"],
                "reference_memory_mb": fact["reference_memory_mb"],
                "others_cpu": fact["others_cpu"],
                "busy": "yes" if fact["busy"] else "no",
                "device": fact["device"],
                "threads": fact["threads"],
            }
        )
    return rows


def breakdown(facts: list[Facts]) -> Rows:
    """One row a workload and kind of operator, the longest first."""
    rows = []
    for fact in facts:
        spent = fact["seconds_per_step"]
        whole = sum(spent.values())
        rows += [
            {
                "workload": fact["workload"],
                "part": part,
                "milliseconds_per_step": 1e3 * seconds,
                "share": seconds / whole,
            }
            for part, seconds in sorted(spent.items(), key=lambda item: -item[1])
            if seconds
        ]
    return rows


def ladder(facts: list[Facts]) -> Rows:
    """One row a workload and step from the usual script to this project: what each one brings.

    Times are medians of the ratios within the rounds, ``gain`` over the step before with its range. A
    precision that is the reference's own is no step.
    """
    rows = []
    for fact in facts:
        rounds = {side: fact["rounds"][side] for side in LADDER if side in fact["rounds"]}
        if "input" not in rounds:
            continue  # no network, and so one step
        before = rounds["reference"]
        last = LADDER["project" if "layout" in rounds else "layout"]
        for side, rates in rounds.items():
            gains = [rate / previous for rate, previous in zip(rates, before, strict=True)]
            times = [rate / usual for rate, usual in zip(rates, rounds["reference"], strict=True)]
            rows.append(
                {
                    "workload": fact["workload"],
                    "step": f"{last}: this project" if side == "project" else LADDER[side],
                    "images_per_second": median(rates),
                    "times_usual": median(times),
                    "gain": median(gains) if side != "reference" else None,
                    "gain_low": min(gains) if side != "reference" else None,
                    "gain_high": max(gains) if side != "reference" else None,
                }
            )
            before = rates
    return rows
