"""Document the machine (point 2.1.1), and measure which precision trains each network faster."""

import argparse
import csv
import json
from pathlib import Path
from statistics import median
from typing import Any

import torch

from trainkit import device as devices
from trainkit import hardware, runs
from trainkit.device import Clock
from trainkit.engine import print_line
from trainkit.errors import run_program
from trainkit.files import atomic, write_json
from trainkit.models import efficientnet_lite0
from trainkit.spec import RunSpec

MATRIX = 2048
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", required=True, help="a list of run specs, as JSON")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True, help="hardware.json")
    parser.add_argument("--table", type=Path, required=True, help="the same for people, as CSV")
    args = parser.parse_args()
    specs = [RunSpec.model_validate(spec) for spec in json.loads(args.specs)]
    device = devices.acquire(args.threads, deterministic=False)
    facts = hardware.describe()
    facts["threads"] = torch.get_num_threads()
    facts["matrix_product_gflops"] = {
        name: matrix_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")
    }
    facts["precision"] = choices(specs, device)
    with atomic(args.table) as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("item", "value"))
        writer.writerows(hardware.table(facts) + rates(facts))
    write_json(args.out, facts)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured GFLOP/s of a square matrix product."""
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    b = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    a @ b
    seconds = []
    for _ in range(ROUNDS):
        clock = Clock(device)
        a @ b
        seconds.append(clock.lap())
    return round(2 * MATRIX**3 / median(seconds) / 1e9, 1)


def choices(specs: list[RunSpec], device: torch.device) -> dict[str, Any]:
    """The precision of each experiment; networks that are the same are measured once."""
    measured: dict[str, Any] = {}
    decided = {}
    for spec in specs:
        key = f"{spec.dataset} {spec.model.model_dump_json()}"
        if key not in measured:
            measured[key] = choose(spec, device)
            print_line(f"precision: {spec.name} uses {measured[key]['choice']}")
        decided[spec.name] = measured[key]
    return decided


def choose(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Images a second in both precisions, and the faster one, for what the run will really do."""
    rates = {precision: images_per_second(spec, device, precision) for precision in ("float32", "bfloat16")}
    return {**rates, "choice": max(rates, key=lambda key: rates[key])}


def images_per_second(spec: RunSpec, device: torch.device, precision: str) -> float:
    """Median rate of forward and backward passes; of a frozen base, forward passes alone."""
    height, width, channels = runs.datasets.SHAPES[spec.dataset]
    batch = min(spec.recipe.batch_size, 64) if device.type == "cpu" else spec.recipe.batch_size
    if spec.frozen:
        model = efficientnet_lite0.base(spec.model.model_copy(update={"weights": "random"}), None).eval()
    else:
        random = {"weights": "random"} if spec.model.name == "efficientnet_lite0" else {}
        unweighted = spec.model_copy(update={"model": spec.model.model_copy(update=random)})
        model = runs.build_model(unweighted, None)
    model.to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, channels, height, width, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(ROUNDS + 1):
        clock = Clock(device)
        with torch.set_grad_enabled(not spec.frozen), devices.autocast(device, precision):
            out = model(x)
        if not spec.frozen:
            out.float().square().mean().backward()
        seconds.append(clock.lap())
    return round(batch / median(seconds[1:]), 1)


def rates(facts: dict[str, Any]) -> list[tuple[str, str]]:
    products = facts["matrix_product_gflops"]
    return [(f"Matrix product, {name}", f"{rate:.0f} GFLOP/s measured") for name, rate in products.items()]


if __name__ == "__main__":
    run_program(main)
