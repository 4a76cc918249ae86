"""Seconds a step of a contestant beside its reference's: what equal time is fitted with."""

import time
from statistics import median

from trainkit.device import Clock
from trainkit.engine import Trainer

FEWEST_STEPS, MOST_STEPS = 2, {"cpu": 8, "cuda": 100}  # of a round
ROUND_SECONDS = 1.0  # at most
ROUNDS = range(5, 41)  # at least and at most, as ``seconds`` allow
FINISHES = 3  # measured; it comes once a run, so that its error hardly counts
LR = 1e-3


def calibrate(own: Trainer, reference: Trainer, seconds: float) -> dict[str, float]:
    """What a step of ``own``, and its `Trainer.finish`, cost in those of ``reference``, which may be ``own``.

    A reference whose recipe has a budget ends within it; what any other one's end takes comes on top of its
    epochs' steps, ``reference_finish_in_steps``.

    Both are measured for about so many ``seconds``. On a CPU they take turns step by step, on a GPU, where
    the end of a turn waits for the device, by the round: a machine whose speed drifts slows both alike.
    """
    trainers = [own] if own is reference else [own, reference]
    for trainer in trainers:
        trainer.model.train()
        trainer.warm_up()
    once = sum(seconds_per_step(trainers, FEWEST_STEPS))
    a_round = min(ROUND_SECONDS, seconds / ROUNDS[0])
    steps = max(FEWEST_STEPS, min(MOST_STEPS[own.device.type], round(a_round / once)))
    for trainer in trainers:
        trainer.finish()
    rounds: list[tuple[float, float]] = []
    finishes: list[list[float]] = []  # in the reference's steps
    began = time.perf_counter()
    while len(rounds) < ROUNDS[0] or (len(rounds) < ROUNDS[-1] and time.perf_counter() < began + seconds):
        each = seconds_per_step(trainers, steps, rounds_before=len(rounds))
        rounds.append((each[0], each[-1]))
        if len(rounds) <= FINISHES:
            clock = Clock(own.device)
            finishes.append([])
            for trainer in trainers:
                trainer.finish()
                finishes[-1].append(clock.lap() / each[-1])
    ratios = [mine / other for mine, other in rounds]
    return {
        "rounds": len(rounds),
        "steps_per_round": steps,
        "seconds_per_step": median(mine for mine, _ in rounds),
        "reference_seconds_per_step": median(other for _, other in rounds),
        "reference_steps_per_epoch": reference.steps_per_epoch,
        "ratio": median(ratios),
        "finish_in_reference_steps": median(each[0] for each in finishes),
        "reference_finish_in_steps": 0.0 if reference.recipe.budget else median(e[-1] for e in finishes),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def seconds_per_step(trainers: list[Trainer], steps: int, rounds_before: int = 0) -> list[float]:
    """Mean seconds of each one's training step in a round of so many, or of an epoch's if it has fewer.

    Who goes first changes from turn to turn, and from round to round.
    """
    steps = min(steps, *(trainer.steps_per_epoch for trainer in trainers))
    batches = [
        trainer.batches(trainer.order()) for trainer in trainers
    ]  # an epoch's own work is not a step's
    taken = [0.0] * len(trainers)
    in_a_row = 1 if trainers[0].device.type == "cpu" else steps
    whose = range(len(trainers))
    for first in range(0, steps, in_a_row):
        for which in whose if (rounds_before + first // in_a_row) % 2 == 0 else reversed(whose):
            clock = Clock(trainers[which].device)
            for _ in range(first, min(first + in_a_row, steps)):
                trainers[which].step(next(batches[which]), LR)
            taken[which] += clock.lap()
    return [seconds / steps for seconds in taken]
