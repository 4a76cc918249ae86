"""Document the machine (point 2.1.1), and measure which precision is faster on it."""

import argparse
import csv
from pathlib import Path

import torch

from trainkit import device as devices
from trainkit import hardware, peak, precision
from trainkit.errors import run_program
from trainkit.files import atomic, write_json


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
    with atomic(args.table) as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("item", "value"))
        writer.writerows(hardware.table(facts))
    write_json(args.out, facts)


if __name__ == "__main__":
    run_program(main)
