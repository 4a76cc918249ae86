"""What equal time is fitted with: two trainers that take turns, whose steps cost a known time."""

from typing import Any

import pytest
from tiny import recipe, trainer

from trainkit import calibration, device
from trainkit.engine import Trainer


class World:
    """A clock that steps alone move, at a speed that changes with time."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, []

    def speed(self) -> float:
        return 1.0 + (int(self.now) % 7 == 3)  # half as fast again and again, for a second


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(device.time, "perf_counter", lambda: found.now)
    return found


def stepping(world: World, name: str, cost: float, **changes: Any) -> Trainer:
    class Stepping(Trainer):
        def step(self, batch: object, lr: float) -> None:
            world.log.append(name)
            world.now += cost * world.speed()

        def finish(self) -> None:
            world.now += 0.3 * self._finishes

    return trainer(recipe(**changes), kind=Stepping)


def test_a_drift_of_the_machine_meets_both_alike(world):
    own, other = stepping(world, "own", 0.012), stepping(world, "other", 0.010)
    facts = calibration.calibrate(own, other, seconds=30)
    assert facts["ratio"] == pytest.approx(1.2, rel=0.01)
    assert facts["ratio_low"] > 0.9 and facts["ratio_high"] < 1.5  # a step's worth, while its speed changes
    assert facts["reference_seconds_per_step"] == pytest.approx(0.010, rel=0.01)
    assert facts["reference_steps_per_epoch"] == 5
    assert facts["finish_in_reference_steps"] == 0
    assert calibration.ROUNDS[0] <= facts["rounds"] <= calibration.ROUNDS[-1]


@pytest.mark.parametrize("seconds", [1, 4, 8, 30])
def test_it_takes_about_the_seconds_it_is_given(world, seconds):
    pair = [stepping(world, name, 0.05) for name in "ab"]
    began = world.now
    calibration.calibrate(*pair, seconds=seconds)
    assert world.now - began < 2 * seconds


def test_on_a_cpu_they_take_turns_step_by_step_and_who_begins_changes(world):
    pair = [stepping(world, name, 0.01) for name in "ab"]
    assert calibration.seconds_per_step(pair, 4) == pytest.approx([0.01, 0.01])
    assert "".join(world.log) == "abbaabba"


def test_who_begins_changes_from_round_to_round_too(world):
    pair = [stepping(world, name, 0.01) for name in "ab"]
    calibration.seconds_per_step(pair, 3, rounds_before=1)
    assert "".join(world.log) == "baabba"


def test_a_round_is_no_longer_than_an_epoch(world):
    calibration.seconds_per_step([stepping(world, "a", 0.01)], 100)
    assert len(world.log) == 5


def test_the_end_of_slow_weights_is_told_in_the_references_steps(world):
    own = stepping(world, "own", 0.1, optimizer={"lookahead": {"k": 2}})
    facts = calibration.calibrate(own, stepping(world, "other", 0.1), seconds=5)
    assert facts["finish_in_reference_steps"] == pytest.approx(3, rel=0.01)
    assert facts["ratio"] == pytest.approx(1, rel=0.01)


def test_the_end_of_a_reference_comes_on_top_of_its_epochs_unless_it_has_a_budget(world):
    own = stepping(world, "own", 0.2)
    found = [
        calibration.calibrate(own, stepping(world, "other", 0.1, precise_bn=True, **length), seconds=5)
        for length in ({}, {"epochs": None, "budget": {"reference": "other", "epochs": 3}})
    ]
    assert [facts["reference_finish_in_steps"] for facts in found] == [pytest.approx(3, rel=0.01), 0]
    assert [facts["finish_in_reference_steps"] for facts in found] == [0, 0]


def test_the_reference_beside_itself_is_measured_once(world):
    own = stepping(world, "own", 0.1)
    assert calibration.calibrate(own, own, seconds=3)["ratio"] == 1
