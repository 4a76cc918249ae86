"""Measure each contestant's seconds a step, and fit its steps to the budget of equal time.

All methods are timed in turn within one process (A B C, A B C, ...), so that a machine whose speed
drifts slows all alike. The budget is what the reference needs for its epochs.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from trainkit import device as devices
from trainkit import runs
from trainkit.device import Clock
from trainkit.engine import Trainer, print_line
from trainkit.errors import run_program
from trainkit.files import read_json, write_json
from trainkit.spec import RunSpec

ROUNDS, STEPS = 5, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", required=True, help="the contestants' specs, a list as JSON")
    parser.add_argument("--reference", required=True, help="the name of the reference among them")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    specs = [RunSpec.model_validate(spec) for spec in json.loads(args.specs)]
    hardware = read_json(args.hardware)
    device = devices.acquire(args.threads, any(spec.deterministic for spec in specs))
    trainers = {
        spec.name: runs.prepare(spec, 0, device, devices.precision(spec, hardware), args.data).trainer
        for spec in specs
    }
    for trainer in trainers.values():
        trainer.model.train()
        trainer.warm_up()
    rounds = []
    for number in range(ROUNDS + 1):
        rounds.append({name: seconds_per_step(trainer) for name, trainer in trainers.items()})
        print_line(f"calibration: round {number + 1} of {ROUNDS + 1}")
    timed = rounds[1:]  # the first one warms up
    reference = trainers[args.reference]
    facts = {
        spec.name: fit(spec, args.reference, reference.steps_per_epoch, timed) for spec in specs
    }
    write_json(args.out, {"reference": args.reference, "rounds": ROUNDS, "methods": facts})
    for name, fact in facts.items():
        print_line(f"{name}: {fact['ratio']:.3f} of the reference's step, {fact['steps']} steps")


def fit(
    spec: RunSpec, reference: str, steps_per_epoch: int, rounds: list[dict[str, float]]
) -> dict[str, Any]:
    """The steps of one method within the budget, from its step's cost over the reference's."""
    assert spec.recipe.budget
    ratios = [seconds[spec.name] / seconds[reference] for seconds in rounds]
    reference_steps = spec.recipe.budget.epochs * steps_per_epoch
    return {
        "seconds_per_step": median(seconds[spec.name] for seconds in rounds),
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "budget_seconds": reference_steps * median(seconds[reference] for seconds in rounds),
        "steps": max(1, round(reference_steps / median(ratios))),
    }


def seconds_per_step(trainer: Trainer) -> float:
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
