"""Measure a contestant's seconds a step beside its reference's: what equal time is fitted with.

The two are timed in turn within one process (A B, A B, ...), so that a machine whose speed drifts
slows both alike.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from trainkit import device as devices
from trainkit import runs
from trainkit.device import Clock
from trainkit.engine import Trainer
from trainkit.errors import run_program
from trainkit.files import read_json, write_json
from trainkit.progress import print_line
from trainkit.spec import RunSpec

STEPS = range(2, 9)  # a round, at least and at most, as ``ROUND_SECONDS`` allow
ROUND_SECONDS = 1.0
ROUNDS = range(5, 41)  # at least and at most, as ``--seconds`` allow; nine left an error of 2 to 4%


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the contestant's spec, as JSON")
    parser.add_argument("--reference", required=True, help="its reference's spec, as JSON")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--seconds", type=float, required=True, help="about so long, for more rounds")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
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
    steps = []
    for trainer in trainers:
        trainer.model.train()
        trainer.warm_up()
        seconds = seconds_per_step(trainer, STEPS[0])
        steps.append(max(STEPS[0], min(STEPS[-1], round(ROUND_SECONDS / seconds))))
        trainer.finish()
    rounds, finishes = [], []
    began = time.perf_counter()
    while len(rounds) < ROUNDS[0] or (
        len(rounds) < ROUNDS[-1] and time.perf_counter() < began + args.seconds
    ):
        seconds = [seconds_per_step(trainer, count) for trainer, count in zip(trainers, steps, strict=True)]
        rounds.append((seconds[0], seconds[-1]))
        if len(rounds) <= ROUNDS[0]:  # once a run, so that its error hardly counts
            clock = Clock(trainers[0].device)
            trainers[0].finish()
            finishes.append(clock.lap() / rounds[-1][1])
    ratios = [own / reference for own, reference in rounds]
    facts = {
        "rounds": len(rounds),
        "steps_per_round": steps[0],
        "seconds_per_step": median(own for own, _ in rounds),
        "reference_seconds_per_step": median(reference for _, reference in rounds),
        "reference_steps_per_epoch": trainers[-1].steps_per_epoch,
        "ratio": median(ratios),
        "finish_in_reference_steps": median(finishes),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }
    write_json(args.out, facts)
    print_line(
        f"calibration {args.out.stem}: {facts['ratio']:.3f} of the reference's step "
        f"({facts['ratio_low']:.3f} to {facts['ratio_high']:.3f} in {len(rounds)} rounds)"
    )


def seconds_per_step(trainer: Trainer, steps: int) -> float:
    """Mean seconds of so many training steps, or of an epoch's where it has fewer."""
    batches = trainer.batches(trainer.order())  # an epoch's own work is not a step's
    clock = Clock(trainer.device)
    for count, batch in enumerate(batches, 1):
        trainer.step(batch, lr=1e-3, z=(count - 0.5) / steps)  # what happens late is paid for late
        if count == steps:
            break
    return clock.lap() / count


if __name__ == "__main__":
    run_program(main)
