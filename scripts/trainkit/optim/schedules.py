"""Learning-rate schedules in closed form: the factor of the peak rate at ``z``, from 0 to 1.

``z`` is the fraction of the training's steps that are done, so that a schedule ends with its
training, however long that is. No torch here: the report draws the same functions.
"""

import math

from trainkit.spec import Recipe, Schedule

EXPLANATIONS = {
    "constant": "one learning rate throughout: the control",
    "step": "drops tenfold at half and at three quarters, as He et al. 2015 trained their ResNets",
    "exponential": "falls by the same ratio each step",
    "cyclical": "rises and falls linearly several times (Smith 2017, arXiv 1506.01186)",
    "cosine": "half a cosine down to zero (Loshchilov and Hutter 2017, arXiv 1608.03983)",
    "one-cycle": "rises once, then falls far below its start (Smith and Topin 2018, arXiv 1708.07120)",
    "triangle": "rises and falls along straight lines (Page 2019; Jordan 2024)",
    "linear": "a straight line to zero (Li et al. 2020, arXiv 1905.04753)",
    "plateau": "drops when validation loss no longer improves",
}


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
            position = (z * schedule.cycles) % 1.0
            return schedule.low + (1 - schedule.low) * (1 - abs(2 * position - 1))
        case "cosine":
            return (1 + math.cos(math.pi * z)) / 2
        case "one-cycle":
            return _one_cycle(z, schedule.warmup)
        case "triangle":
            return z / schedule.warmup if z < schedule.warmup else (1 - z) / (1 - schedule.warmup)
        case "linear":
            return 1 - z
    raise AssertionError(schedule.name)


def image_size(recipe: Recipe, z: float) -> int | None:
    """Pixels a side of the images at ``z``; None where they keep their own."""
    return next((size.pixels for size in recipe.resize if z < size.until), None)


def _one_cycle(z: float, warmup: float) -> float:
    """PyTorch's OneCycleLR with its defaults: from 1/25 to 1 to 1/250000, along cosines."""
    start, end = 1 / 25, 1 / 25e4
    if z < warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * z / warmup)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (z - warmup) / (1 - warmup))) / 2
