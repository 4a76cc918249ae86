"""Learning-rate schedules in closed form: the factor of the peak rate at ``z``, from 0 to 1.

``z`` is the fraction of the training's steps that are done, so that a schedule ends with its
training, however long that is. The report's figures draw the same functions. What follows the validation
loss instead is `Convergence`.
"""

import math

from trainkit.spec import Recipe, Schedule


def factor(schedule: Schedule, z: float) -> float:
    """The learning rate at ``z`` as a fraction of the peak."""
    match schedule.name:
        case "constant" | "plateau":  # the plateau's drops follow the validation loss
            return 1.0
        case "step":
            return schedule.gamma ** sum(z >= milestone for milestone in schedule.milestones)
        case "exponential":
            return schedule.final**z
        case "cyclical":
            cycle, position = divmod(z * schedule.cycles, 1.0)
            height = schedule.shrink**cycle * (1 - abs(2 * position - 1))
            return schedule.low + (1 - schedule.low) * height
        case "cosine":
            return _cosine(z)
        case "cosine-restarts":
            return _cosine(_within_cycle(z, schedule.cycles, schedule.growth))
        case "one-cycle":
            return _one_cycle(z, schedule.warmup)
        case "triangle":
            return z / schedule.warmup if z < schedule.warmup else (1 - z) / (1 - schedule.warmup)
        case "linear":
            return 1 - z
        case "rex":
            return (1 - z) / (1 - z / 2)
        case "warmup-stable-decay":
            return max(0.0, min(z / schedule.warmup if schedule.warmup else 1, 1, (1 - z) / schedule.decay))
    raise AssertionError(schedule.name)


def image_size(recipe: Recipe, z: float) -> int | None:
    """Pixels a side of the images at ``z``; None where they keep their own."""
    return next((size.pixels for size in recipe.resize if z < size.until), None)


class Convergence:
    """Drops the learning rate, and in the end stops, when validation loss no longer improves."""

    def __init__(self, recipe: Recipe) -> None:
        assert recipe.until
        self.until, self.schedule = recipe.until, recipe.schedule
        self.factor, self.best, self.waited, self.since_drop = 1.0, math.inf, 0, 0

    def update(self, val_loss: float) -> bool:
        """Take an epoch's validation loss; whether training has converged."""
        if val_loss < self.best - self.until.min_delta:
            self.best, self.waited, self.since_drop = val_loss, 0, 0
            return False
        self.waited += 1
        self.since_drop += 1
        if self.schedule.name == "plateau" and self.since_drop >= self.schedule.patience:
            self.factor *= self.schedule.gamma
            self.since_drop = 0
        return self.waited >= self.until.patience

    def state(self) -> dict[str, float]:
        return {key: getattr(self, key) for key in ("factor", "best", "waited", "since_drop")}


def _cosine(z: float) -> float:
    return (1 + math.cos(math.pi * z)) / 2


def _within_cycle(z: float, cycles: int, growth: float) -> float:
    """The place within the cycle at ``z``; each cycle is ``growth`` times as long as the one before."""
    lengths = [growth**i for i in range(cycles)]
    left = z * sum(lengths)
    for length in lengths[:-1]:
        if left < length:
            return left / length
        left -= length
    return min(1.0, left / lengths[-1])


def _one_cycle(z: float, warmup: float) -> float:
    """PyTorch's OneCycleLR by its defaults but for the warm-up: from 1/25 to 1 to 1/250000, along cosines.

    Momentum is not cycled.
    """
    start, end = 1 / 25, 1 / 25e4
    if z < warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * z / warmup)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (z - warmup) / (1 - warmup))) / 2
