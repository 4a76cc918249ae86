"""When runs were made, where the time went, and what was left out."""

import pandas as pd
import pytest

from trainkit import provenance
from trainkit.config import load_study
from trainkit.results import Results


@pytest.fixture
def results(write_run) -> Results:
    return Results(
        [
            write_run(
                "cifar10-resnet", task="2.1.3", train_seconds=30.0, finished="2024-01-01T00:01:40+00:00"
            ),
            write_run("mnist-convnet", 0, finished="2024-01-01T00:00:20+00:00"),
            write_run("mnist-convnet", 1, finished="2024-01-01T00:00:40+00:00"),
        ]
    )


def test_a_run_starts_its_seconds_before_its_end_and_the_first_comes_first(results):
    frame = provenance.timeline(results)
    assert list(frame.experiment) == ["mnist-convnet", "mnist-convnet", "cifar10-resnet"]
    assert list(frame.task) == ["Task 1", "Task 1", "Task 2"]
    assert frame.start[2] == pd.Timestamp("2024-01-01T00:01:06")
    assert provenance.span(results) == 100 - 6


def test_the_seconds_of_all_runs_add_up(results):
    first, second, everything = provenance.where_the_time_went(results)
    assert (first["task"], first["runs"], first["train"], first["total"]) == ("Task 1", 2, 20, 28)
    assert (second["task"], second["runs"], second["train"], second["total"]) == ("Task 2", 1, 30, 34)
    assert (everything["task"], everything["runs"], everything["total"]) == ("All", 3, 62)


def test_a_study_knows_what_it_leaves_out(root):
    whole = load_study(root, {"preset": "gpu"}).left_out
    assert "mnist-stages-1" not in whole
    overrides = {"preset": "gpu", "experiments": {"mnist-stages-1": None}}
    assert load_study(root, overrides).left_out == sorted([*whole, "mnist-stages-1"])


def test_a_missing_run_says_what_its_log_ends_with(tmp_path):
    logs = tmp_path / "logs" / "runs" / "a"
    logs.mkdir(parents=True)
    traceback = (
        'Traceback (most recent call last):\n  File "x.py"\ntorch.OutOfMemoryError: CUDA out of memory\n\n'
    )
    (logs / "seed-0.log").write_text("epoch 1\nerror: the loss is nan\n")
    (logs / "seed-1.log").write_text(traceback)
    (logs / "seed-2.log").write_text("epoch 1\n")
    assert [row["why"] for row in provenance.missing(tmp_path, [f"a/seed-{seed}" for seed in range(4)])] == [
        "error: the loss is nan",
        "torch.OutOfMemoryError: CUDA out of memory",
        "begun, and stopped without an error of its own",
        "not begun",
    ]


def test_runs_that_were_not_made_alike_are_told(write_run):
    alike = [write_run("a", seed, packages={"torch": "2.14.1"}) for seed in (0, 1)]
    assert provenance.mixed(Results(alike)) == []
    others = [
        write_run("a", 2, packages={"torch": "2.11.0"}, threads=1),
        write_run("b", 0, packages={"torch": "2.14.1"}, precision="bfloat16"),
        write_run("b", 1, packages={"torch": "2.14.1"}),
    ]
    assert provenance.mixed(Results(alike + others)) == [
        "CPU threads: 1, 2",
        "torch: 2.11.0, 2.14.1",
        "b: bfloat16 in channels_last",
        "b: float32 in channels_last",
    ]


def test_arms_of_one_network_that_compute_in_other_numerics_are_told_unless_asked_to(write_run):
    recipe = {"optimizer": {}, "precision": "auto", "layout": "auto", "compile": False}
    spec = {"model": {"name": "resnet", "depth": 8}, "recipe": recipe, "tuned_by": []}
    asked = spec | {"recipe": recipe | {"precision": "bfloat16"}}
    other = spec | {"model": {"name": "resnet", "depth": 20}}
    arms = [
        write_run("plain", spec=spec, layout="blocked"),
        write_run("asked", spec=asked, precision="bfloat16"),
        write_run("other", spec=other, precision="bfloat16"),
    ]
    assert provenance.mixed(Results(arms)) == []
    late = write_run("late", spec=spec, precision="bfloat16")
    assert provenance.mixed(Results([*arms, late])) == [
        "plain: float32 in blocked",
        "late: bfloat16 in channels_last",
    ]
