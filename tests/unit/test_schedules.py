"""Every schedule against its closed form, and against PyTorch's scheduler of the same name."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from tiny import validated
from torch.optim import lr_scheduler

from trainkit.answers.schedules import EXPLANATIONS, REASONS
from trainkit.optim.schedules import factor, image_size
from trainkit.spec import Recipe, Schedule

KINDS = get_args(get_args(Schedule)[0])
NAMES = [name for kind in KINDS for name in get_args(kind.model_fields["name"].annotation)]
GRID = [i / 240 for i in range(241)]


def curve(schedule: Schedule) -> list[float]:
    return [factor(schedule, z) for z in GRID]


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)


def rates(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The learning rates of ``steps`` steps under PyTorch's scheduler."""
    seen = []
    for _ in range(steps):
        seen.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_no_schedule_leaves_the_range_from_zero_to_the_peak(name):
    values = curve(validated(Schedule, name=name))
    assert min(values) >= 0
    assert max(values) == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_is_explained_to_the_reader(name):
    assert EXPLANATIONS[name] and REASONS[name]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("constant", 1, 1),
        ("plateau", 1, 1),
        ("step", 1, 0.01),
        ("exponential", 1, 0.01),
        ("cyclical", 0.1, 0.1),
        ("cosine", 1, 0),
        ("one-cycle", 1 / 25, 1 / 250_000),
        ("triangle", 0, 0),
        ("linear", 1, 0),
        ("cosine-restarts", 1, 0),
        ("rex", 1, 0),
        ("warmup-stable-decay", 0, 0),
    ],
)
def test_a_schedule_starts_and_ends_where_it_should(name, start, end):
    schedule = validated(Schedule, name=name)
    assert factor(schedule, 0.0) == pytest.approx(start, abs=1e-12)
    assert factor(schedule, 1.0) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("name", ["step", "exponential", "cosine", "linear", "rex"])
def test_a_decaying_schedule_never_rises(name):
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(curve(validated(Schedule, name=name))))


def test_cosine_is_pytorchs():
    steps = 50
    theirs = rates(lr_scheduler.CosineAnnealingLR(optimizer(), steps), steps)
    ours = [factor(validated(Schedule, name="cosine"), step / steps) for step in range(steps)]
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_exponential_is_pytorchs_with_the_ratio_that_reaches_the_final_factor():
    steps, final = 40, 0.02
    theirs = rates(lr_scheduler.ExponentialLR(optimizer(), final ** (1 / steps)), steps + 1)
    ours = [
        factor(validated(Schedule, name="exponential", final=final), step / steps)
        for step in range(steps + 1)
    ]
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_step_is_pytorchs_and_drops_at_the_milestone_itself():
    steps, gamma = 40, 0.2
    theirs = rates(lr_scheduler.MultiStepLR(optimizer(), [10, 30], gamma), steps)
    schedule = validated(Schedule, name="step", milestones=[0.25, 0.75], gamma=gamma)
    assert [factor(schedule, step / steps) for step in range(steps)] == pytest.approx(theirs)


def test_linear_is_pytorchs():
    steps = 30
    theirs = rates(lr_scheduler.LinearLR(optimizer(), 1.0, 0.0, steps), steps)
    ours = [factor(validated(Schedule, name="linear"), step / steps) for step in range(steps)]
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.3, 0.5])
def test_one_cycle_is_pytorchs(warmup):
    # PyTorch counts its phases' steps from first to last inclusive, so the fractions differ by a
    # step: z is mapped phase by phase.
    steps = 100
    theirs = rates(lr_scheduler.OneCycleLR(optimizer(), 1.0, steps, pct_start=warmup), steps - 1)
    top = warmup * steps - 1
    schedule = validated(Schedule, name="one-cycle", warmup=warmup)
    for step, rate in enumerate(theirs):
        rising = step <= top
        z = warmup * step / top if rising else warmup + (1 - warmup) * (step - top) / (steps - 1 - top)
        assert factor(schedule, z) == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 0.9])
def test_one_cycle_peaks_where_the_warmup_ends(warmup):
    schedule = validated(Schedule, name="one-cycle", warmup=warmup)
    assert factor(schedule, warmup) == pytest.approx(1)
    before = [factor(schedule, z) for z in GRID if z <= warmup]
    after = [factor(schedule, z) for z in GRID if z >= warmup]
    assert before == sorted(before)
    assert after == sorted(after, reverse=True)


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_cyclical_repeats_itself_and_each_triangle_peaks_in_its_middle(cycles):
    schedule = validated(Schedule, name="cyclical", cycles=cycles, low=0.2)
    for cycle in range(cycles):
        assert factor(schedule, (cycle + 0.5) / cycles) == pytest.approx(1)
        assert factor(schedule, cycle / cycles) == pytest.approx(0.2)
    for z in GRID:
        if z + 1 / cycles < 1:
            assert factor(schedule, z + 1 / cycles) == pytest.approx(factor(schedule, z), abs=1e-9)


def test_cyclical_is_pytorchs_triangle():
    steps, cycles = 80, 2
    half = steps // (2 * cycles)
    scheduler = lr_scheduler.CyclicLR(optimizer(), 0.1, 1.0, step_size_up=half, cycle_momentum=False)
    schedule = validated(Schedule, name="cyclical", cycles=cycles, low=0.1)
    ours = [factor(schedule, step / steps) for step in range(steps)]
    assert ours == pytest.approx(rates(scheduler, steps), abs=1e-9)


def test_cyclical_whose_triangles_halve_is_pytorchs_triangular2():
    steps, cycles = 120, 3
    half = steps // (2 * cycles)
    scheduler = lr_scheduler.CyclicLR(
        optimizer(), 0.1, 1.0, step_size_up=half, mode="triangular2", cycle_momentum=False
    )
    schedule = validated(Schedule, name="cyclical", cycles=cycles, low=0.1, shrink=0.5)
    ours = [factor(schedule, step / steps) for step in range(steps)]
    assert ours == pytest.approx(rates(scheduler, steps), abs=1e-9)


@pytest.mark.parametrize(("cycles", "growth"), [(1, 1), (4, 1), (3, 2)])
def test_cosine_restarts_is_pytorchs(cycles, growth):
    first = 10
    steps = first * sum(growth**i for i in range(cycles))
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), first, growth)
    schedule = validated(Schedule, name="cosine-restarts", cycles=cycles, growth=growth)
    # A place just within the step: where a cycle begins, rounding must not fall into the one before.
    ours = [factor(schedule, (step + 1e-9) / steps) for step in range(steps)]
    assert ours == pytest.approx(rates(scheduler, steps), abs=1e-6)


def test_rex_lies_above_the_line_and_is_as_in_the_paper():
    schedule = validated(Schedule, name="rex")
    assert factor(schedule, 0.5) == pytest.approx(2 / 3)  # equation 2: (1 - z) / (1/2 + (1 - z) / 2)
    assert all(factor(schedule, z) == pytest.approx((1 - z) / (0.5 + 0.5 * (1 - z))) for z in GRID)
    assert all(factor(schedule, z) > 1 - z for z in GRID[1:-1])


def test_warmup_stable_decay_rises_stays_and_falls_along_straight_lines():
    schedule = validated(Schedule, name="warmup-stable-decay", warmup=0.1, decay=0.4)
    values = [factor(schedule, z) for z in (0, 0.05, 0.1, 0.3, 0.6, 0.8, 1)]
    assert values == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])
    assert factor(validated(Schedule, name="warmup-stable-decay", warmup=0), 0.0) == 1


@pytest.mark.parametrize(("name", "mean"), [("cosine", 0.5), ("linear", 0.5), ("cyclical", 0.55)])
def test_a_schedules_mean_is_its_integral(name, mean):
    points = [(i + 0.5) / 1000 for i in range(1000)]
    found = math.fsum(factor(validated(Schedule, name=name), z) for z in points) / len(points)
    assert found == pytest.approx(mean, abs=1e-5)


def test_the_triangle_rises_and_falls_along_straight_lines():
    schedule = validated(Schedule, name="triangle", warmup=0.25)
    assert [factor(schedule, z) for z in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_the_image_size_is_the_first_whose_end_lies_ahead():
    sizes = [{"until": 0.3, "pixels": 16}, {"until": 0.6, "pixels": 24}]
    recipe = Recipe(epochs=1, optimizer={"name": "sgd", "lr": 0.1}, resize=sizes)
    assert [image_size(recipe, z) for z in (0, 0.29, 0.3, 0.59, 0.6, 1)] == [16, 16, 24, 24, None, None]
