"""Measure a contestant's seconds a step beside its reference's: what equal time is fitted with."""

import argparse
from pathlib import Path

from trainkit import calibration, runs
from trainkit import device as devices
from trainkit.errors import run_program
from trainkit.files import read_json, write_json
from trainkit.progress import print_line
from trainkit.spec import RunSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the contestant's spec, as JSON")
    parser.add_argument("--reference", required=True, help="its reference's spec, as JSON")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--seconds", type=float, required=True, help="about so long, for more rounds")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--made-of", help="a digest of all that decides the result, to be kept with it")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    hardware = read_json(args.hardware)
    trainers = []
    for text in dict.fromkeys((args.spec, args.reference)):  # the reference's own: once
        # Pretrained weights change nothing in what a step costs.
        spec = runs.from_random_weights(RunSpec.model_validate_json(text))
        device = devices.acquire(args.threads, spec.deterministic, hardware)
        numerics = devices.numerics(spec, hardware)
        trainers.append(runs.prepare(spec, 0, device, numerics, args.data).trainer)
    facts = calibration.calibrate(trainers[0], trainers[-1], args.seconds)
    write_json(args.out, {"made_of": args.made_of, **facts})
    print_line(
        f"calibration {args.out.stem}: {facts['ratio']:.3f} of the reference's step "
        f"({facts['ratio_low']:.3f} to {facts['ratio_high']:.3f} in {facts['rounds']} rounds)"
    )


if __name__ == "__main__":
    run_program(main)
