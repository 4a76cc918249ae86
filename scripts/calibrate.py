"""Measure a method's seconds a step against its reference's, and fit its steps to the budget.

The two are timed in turn within one process (A B A B ...), so that a machine whose speed drifts
slows both alike; the budget is what the reference needs for its epochs.
"""

import argparse
from pathlib import Path
from statistics import median

from trainkit import device as devices
from trainkit import runs
from trainkit.device import Clock
from trainkit.engine import Trainer, print_line
from trainkit.errors import run_program
from trainkit.files import read_json, write_json
from trainkit.spec import RunSpec

ROUNDS, STEPS = 7, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the method's spec, as JSON")
    parser.add_argument("--reference", required=True, help="the reference method's spec, as JSON")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    spec = RunSpec.model_validate_json(args.spec)
    reference = RunSpec.model_validate_json(args.reference)
    assert spec.recipe.budget
    hardware = read_json(args.hardware)
    device = devices.acquire(args.threads, spec.deterministic)
    trainers = [
        runs.prepare(each, 0, device, devices.precision(each, hardware), args.data).trainer
        for each in (spec, reference)
    ]
    for trainer in trainers:
        trainer.model.train()
        trainer.warm_up()
        time_steps(trainer)
    rounds = [[time_steps(trainer) for trainer in trainers] for _ in range(ROUNDS)]
    ratio = median(ours / theirs for ours, theirs in rounds)
    reference_seconds = median(theirs for _, theirs in rounds)
    reference_steps = spec.recipe.budget.epochs * trainers[1].steps_per_epoch
    facts = {
        "experiment": spec.name,
        "reference": reference.name,
        "seconds_per_step": median(ours for ours, _ in rounds),
        "reference_seconds_per_step": reference_seconds,
        "ratio": ratio,
        "ratio_low": min(ours / theirs for ours, theirs in rounds),
        "ratio_high": max(ours / theirs for ours, theirs in rounds),
        "rounds": ROUNDS,
        "steps_per_round": STEPS,
        "budget_seconds": reference_steps * reference_seconds,
        "steps": max(1, round(reference_steps / ratio)),
    }
    write_json(args.out, facts)
    print_line(f"{spec.name}: {ratio:.3f} of a step of {reference.name}, {facts['steps']} steps")


def time_steps(trainer: Trainer) -> float:
    """Mean seconds of a few training steps."""
    batches = trainer.batches()
    clock = Clock(trainer.device)
    for count, batch in enumerate(batches, 1):
        trainer.step(batch, lr=1e-3)
        if count == STEPS:
            break
    return clock.lap() / count


if __name__ == "__main__":
    run_program(main)
