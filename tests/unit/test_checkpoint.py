"""Exact resume: a run that was stopped anywhere ends as one that never was, bit for bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny import CONVNET, SILENT, BreaksAtTheEighthStep, StopAt, numbers, recipe, splits, trainer, weights

from trainkit import checkpoint
from trainkit.checkpoint import Checkpoints
from trainkit.engine import Outcome, Trainer
from trainkit.errors import StudyError
from trainkit.interrupts import SIGNALS, Interrupted
from trainkit.spec import Augment, Recipe, ResNet

STEPS = 12  # of five an epoch

RECIPES = {
    "sgd": recipe(),
    "augmented": recipe(augment=Augment(translate=1, rotate=10, cutout=2)),
    "adamw": recipe(optimizer={"name": "adamw", "lr": 0.01, "weight_decay": 0.1}),
    "rmsprop": recipe(optimizer={"name": "rmsprop", "lr": 0.003}),
    "muon": recipe(optimizer={"name": "muon", "lr": 0.1, "momentum": 0.6}),
    "lookahead": recipe(optimizer={"lookahead": {"k": 3, "alpha": 0.5}}),
    "ema": recipe(ema={"decay": 0.9}),
    "resized": recipe(resize=[{"until": 0.99, "pixels": 16}], ema={}),
    "alternating flips": recipe(augment=Augment(flip="alternating")),
    "one-cycle": recipe(schedule={"name": "one-cycle"}),
    "seldom validated": recipe(validate_every=2),
    "convergence": recipe(
        until={"patience": 2, "max_epochs": 4},
        schedule={"name": "plateau", "patience": 1},
        optimizer={"lr": 0.3, "lookahead": {"k": 3, "alpha": 0.5}},
    ),
}


def fit(recipe: Recipe, checkpoints: Checkpoints | None = None, stop: int = 10**6) -> tuple[Trainer, Outcome]:
    model = ResNet(name="resnet", depth=8, width=4) if recipe.resize else CONVNET
    subject = trainer(recipe, 5, splits(), model)
    subject.interrupts = StopAt(stop)
    return subject, subject.fit(None if recipe.until else STEPS, SILENT, checkpoints)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_at_any_moment_ends_in_the_same_weights_history_and_logits(name, tmp_path):
    reference, expected = fit(RECIPES[name])
    moment, stops = 0, 0
    while True:
        checkpoints = Checkpoints(tmp_path / str(moment), "key")
        try:
            fit(RECIPES[name], checkpoints, moment)
            break  # so late a moment never came
        except Interrupted:
            stops += 1
        resumed, outcome = fit(RECIPES[name], checkpoints)
        assert torch.equal(weights(resumed), weights(reference)), moment
        assert numbers(outcome) == numbers(expected), moment
        assert torch.equal(outcome.test.logits, expected.test.logits), moment
        assert (outcome.val_loss, outcome.steps) == (expected.val_loss, expected.steps)
        assert (outcome.converged, outcome.resumed) == (expected.converged, 1)
        moment += 1
    assert stops > STEPS


def test_a_trial_that_diverges_after_it_was_stopped_says_both_and_is_not_tested(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    stopped = trainer(recipe())
    stopped.interrupts = StopAt(3)
    with pytest.raises(Interrupted):
        stopped.fit(STEPS, SILENT, checkpoints)
    broken = trainer(recipe(), kind=BreaksAtTheEighthStep)
    outcome = broken.fit(STEPS, SILENT, checkpoints, trial=True)
    assert (outcome.diverged, outcome.resumed, outcome.test) == (True, 1, None)
    assert outcome.val_accuracy == 0.0
    assert broken.seconds.train > stopped.seconds.train > 0  # what tuning took counts its steps, too


def test_a_trial_is_validated_and_not_tested():
    outcome = trainer(recipe()).fit(STEPS, SILENT, trial=True)
    assert outcome.test is None and outcome.val_accuracy > 0 and not outcome.diverged


def test_a_run_stopped_again_and_again_ends_the_same(tmp_path):
    recipe = RECIPES["lookahead"]
    reference, _ = fit(recipe)
    checkpoints = Checkpoints(tmp_path, "key")
    for count in range(100):  # noqa: B007
        try:
            resumed, outcome = fit(recipe, checkpoints, stop=2)
            break
        except Interrupted:
            assert len(list(tmp_path.iterdir())) <= checkpoint.KEPT
    assert torch.equal(weights(resumed), weights(reference))
    assert outcome.resumed == count > 3


def test_seconds_add_up(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    with pytest.raises(Interrupted):
        fit(RECIPES["sgd"], checkpoints, stop=8)
    before = checkpoints.load()["seconds"]
    resumed, outcome = fit(RECIPES["sgd"], checkpoints)
    assert 0 < before["train"] < before["total"]
    assert resumed.seconds.train > before["train"]
    assert resumed.seconds.total == before["total"]  # the program adds its own at its end
    seconds = [row["seconds"] for row in outcome.history]
    assert seconds == sorted(seconds)


# -- Files -----------------------------------------------------------------------------------------


def saved(folder: Path, *steps: int, key: str = "key") -> Checkpoints:
    checkpoints = Checkpoints(folder, key)
    for step in steps:
        checkpoints.save(step, {"step": step, "tensor": torch.full((1000,), step)})
    return checkpoints


def test_a_state_comes_back_as_it_was(tmp_path):
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    state = {
        "image": image, "half": torch.randn(3).bfloat16(), "scalar": torch.tensor(3), "none": None,
        "mask": torch.tensor([True, False]), "nested": [{"a": 0.1, "b": float("inf")}, ["x", torch.ones(1)]],
    }  # fmt: skip
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(1, state)
    back = checkpoints.load()
    assert list(back) == list(state)
    assert torch.equal(back["image"], image) and back["image"].stride() == image.stride()
    assert torch.equal(back["half"], state["half"]) and back["half"].dtype == torch.bfloat16
    assert back["scalar"].item() == 3 and back["scalar"].shape == ()
    assert back["mask"].tolist() == [True, False] and back["none"] is None
    assert back["nested"][0] == {"a": 0.1, "b": float("inf")} and back["nested"][1][1].item() == 1


def test_the_two_newest_are_kept(tmp_path):
    saved(tmp_path, 3, 20, 100)
    assert [int(path.name[:9]) for path in sorted(tmp_path.iterdir())] == [20, 100]


@pytest.mark.parametrize("harm", ["cut", "zeroed", "one bit", "empty"])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before_it(harm, tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    newest = sorted(tmp_path.iterdir())[-1]
    content = bytearray(newest.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2]
    elif harm == "zeroed":
        content[-2000:] = bytes(2000)
    elif harm == "one bit":
        content[-5] ^= 4
    else:
        content = bytearray()
    newest.write_bytes(content)
    assert checkpoints.load()["step"] == 1
    assert not newest.exists()


def test_a_checkpoint_of_another_spec_or_code_is_never_picked_up(tmp_path):
    saved(tmp_path, 500, key="old")
    assert Checkpoints(tmp_path, "new").load() is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_write_left_is_cleared_away(tmp_path):
    checkpoints = saved(tmp_path, 1)
    (tmp_path / ".000000002-0123456789abcdef.safetensors.abc").write_bytes(b"half")
    assert checkpoints.load()["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_no_checkpoint_is_no_state(tmp_path):
    assert Checkpoints(tmp_path / "none", "key").load() is None


def test_a_checkpoint_is_plain_safetensors(tmp_path):
    saved(tmp_path, 7)
    with safe_open(next(tmp_path.iterdir()), "pt") as opened:
        assert json.loads(opened.metadata()["state"])["step"] == 7


def test_writing_takes_at_most_its_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, "key")
    write = checkpoint.atomic

    def slowly(path: Path):
        now[0] += 0.5
        return write(path)

    monkeypatch.setattr(checkpoint, "atomic", slowly)
    spent = 0
    while now[0] < 1000:
        now[0] += 0.1  # a step
        if checkpoints.due():
            checkpoints.save(round(now[0] * 10), {})
            spent += 0.5
    assert 5 < spent <= 0.02 * now[0]


def test_what_comes_before_training_makes_no_first_step_worth_writing(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, "key")
    now[0] = 20.0  # a warm-up
    assert checkpoints.load() is None
    assert not checkpoints.due()
    now[0] += checkpoint.SECONDS_BETWEEN
    assert checkpoints.due()


def test_a_clock_that_jumps_does_not_matter(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(time, "time", iter([5e9, 0.0, -1e9, *[1e12] * 1000]).__next__)
    subject, outcome = fit(RECIPES["sgd"], Checkpoints(tmp_path, "key"))
    assert 0 < subject.seconds.train < 60
    assert all(0 < row["seconds"] < 60 for row in outcome.history)


def test_a_checkpoint_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        saved(tmp_path / "file" / "checkpoints", 1)


# -- Signals ---------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys
from trainkit.interrupts import Interrupts
from trainkit.errors import run_program
interrupts = Interrupts()
def main():
    interrupts.watch()
    os.kill(os.getpid(), signal.{name})
    print("still here")
    {then}
    interrupts.check()
run_program(main)
"""


def run(name: str, then: str = "") -> subprocess.CompletedProcess:
    program = PROGRAM.format(name=name, then=then)
    scripts = Path(checkpoint.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=scripts, preexec_fn=attentive
    )


def attentive() -> None:
    """Ignore no signal, though whoever runs the tests in the background may have it so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_the_program_at_its_next_step_with_a_line(name):
    done = run(name)
    assert done.returncode == 1
    assert done.stdout == "still here\n"
    assert done.stderr == f"stopped by {name}; the next snakemake call goes on from here\n"


def test_a_second_signal_has_its_usual_effect():
    assert run("SIGTERM", "os.kill(os.getpid(), signal.SIGTERM)").returncode == -signal.SIGTERM
