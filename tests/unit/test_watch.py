"""Watching a study: the file that a training leaves, what is shown of it, and the estimate."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import CONVNET, SILENT, numbers, recipe, splits, trainer, weights

import watch as program
from trainkit import progress
from trainkit.errors import StudyError
from trainkit.progress import Progress
from trainkit.watching import CALL, Running, Watch, estimate, newest, sparkline

RUN = ("runs", "mnist-convnet", 0)


def row(epoch: int, step: int, accuracy: float = 0.5) -> dict:
    return {"epoch": epoch, "step": step, "train_loss": 1.5, "val_accuracy": accuracy}


def leave(folder: Path, run: tuple[str, str, int] = RUN, **changes) -> Path:
    """A running training's file, below a study's folder."""
    content = {
        "step": 30, "steps": 60, "epochs": 6.0, "images_per_second": 1234.5, "seconds_left": 42.0,
        "time": time.time(), "history": [row(1, 10, 0.25), row(2, 20, 0.75)],
    }  # fmt: skip
    path = folder / run[0] / run[1] / f"seed-{run[2]}" / progress.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def plan(folder: Path, runs: dict[tuple[str, str, int], bool]) -> None:
    """What Snakemake says at the start of a call: its runs, and which of them are to be made."""
    time.sleep(0.02)  # file systems tell times in ticks of some milliseconds
    content = {f"{kind}/{name}/seed-{seed}": todo for (kind, name, seed), todo in runs.items()}
    (folder / CALL).write_text(json.dumps({"runs": content}))
    time.sleep(0.02)


def running(**changes) -> Running:
    facts = {
        "run": RUN, "epoch": 3.0, "epochs": 6.0, "loss": 1.5, "accuracies": [0.5],
        "images_per_second": 10.0, "seconds_left": 40.0, "silent": 0.0,
    }  # fmt: skip
    return Running(**(facts | changes))


# -- What a training leaves ------------------------------------------------------------------------


def test_the_file_says_how_far_training_is_and_holds_its_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 0)
    history: list[dict] = []
    subject = Progress(SILENT, 0, 40, 8, 4.0, history, tmp_path / "run" / progress.FILE)
    first = json.loads((tmp_path / "run" / progress.FILE).read_text())
    assert (first["step"], first["steps"], first["history"]) == (0, 40, [])
    assert first["images_per_second"] is None and first["seconds_left"] is None
    history.append(row(1, 10))
    subject.epoch(history[-1])
    content = json.loads((tmp_path / "run" / progress.FILE).read_text())
    assert content["step"] == 10 and content["epochs"] == 4.0
    assert content["history"] == [{"epoch": 1, "train_loss": 1.5, "val_accuracy": 0.5}]
    # Three times as much is left as is done.
    done_in = 8 * 10 / content["images_per_second"]
    assert content["seconds_left"] == pytest.approx(3 * done_in)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [progress.FILE]


def test_a_training_that_went_on_counts_its_rate_from_there(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 0)
    history = [row(1, 30)]
    subject = Progress(SILENT, 30, 40, 8, 4.0, history, tmp_path / progress.FILE)
    assert json.loads((tmp_path / progress.FILE).read_text())["history"][0]["val_accuracy"] == 0.5
    history.append(row(2, 35))
    subject.epoch(history[-1])
    content = json.loads((tmp_path / progress.FILE).read_text())
    assert content["seconds_left"] == pytest.approx(8 * 5 / content["images_per_second"])


def test_short_epochs_do_not_write_each_time(tmp_path):
    history: list[dict] = []
    subject = Progress(SILENT, 0, 1000, 8, 100.0, history, tmp_path / progress.FILE)
    for epoch in range(1, 50):
        history.append(row(epoch, 10 * epoch))
        subject.epoch(history[-1])
    assert json.loads((tmp_path / progress.FILE).read_text())["step"] == 0


def test_a_file_that_cannot_be_written_stops_no_training(tmp_path):
    (tmp_path / "file").touch()
    subject = Progress(SILENT, 0, 40, 8, 4.0, [], tmp_path / "file" / progress.FILE)
    subject.epoch(row(1, 40))


def test_the_file_goes_when_the_run_is_over(tmp_path):
    path = leave(tmp_path)
    path.with_name(f".{progress.FILE}").touch()
    progress.forget(path.parent)
    progress.forget(path.parent)
    assert list(path.parent.iterdir()) == []


# -- What is shown ---------------------------------------------------------------------------------


def test_a_running_training_is_shown_with_its_curve(tmp_path):
    leave(tmp_path)
    text = "\n".join(program.lines(Watch(tmp_path), 80))
    assert "mnist-convnet seed 0" in text
    assert "epoch 3.0 of at most 6, loss 1.500, validation 75.00%, 1,234 images/s, at most 42 s left" in text
    assert "▁█ 25.0 to 75.0%" in text
    assert "NO NEWS" not in text


def test_a_training_without_news_is_said_to_have_none_and_is_still_to_do(tmp_path):
    leave(tmp_path, time=time.time() - 600)
    plan(tmp_path, {RUN: True})
    text = program.lines(Watch(tmp_path), 80)
    assert "NO NEWS for 10 min" in "\n".join(text)
    assert "0 of 1 trainings finished, 0 running, 1 remaining" in text[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"history": 3}', '{"history": [], "step": "x"}'])
def test_a_file_of_another_form_is_not_shown(tmp_path, content):
    leave(tmp_path).write_text(content)
    assert Watch(tmp_path).running() == []


def test_finished_running_and_remaining_runs_are_those_of_the_last_call(tmp_path, write_run):
    write_run("mnist-dense-baseline", 0)
    write_run("speedrun", 0)  # of another target
    leave(tmp_path)
    assert program.lines(Watch(tmp_path), 200)[0].endswith("2 trainings finished, 1 running")
    baseline, there, to_do = (("runs", "mnist-dense-baseline", seed) for seed in (0, 1, 2))
    write_run("mnist-dense-baseline", 1)
    plan(tmp_path, {RUN: True, baseline: True, there: False, to_do: True})
    subject = Watch(tmp_path)
    first, second = program.lines(subject, 200)[:2]
    assert first.endswith("1 of 4 trainings finished, 1 running, 2 remaining")
    assert "estimated end" in second and "from 3 finished runs" in second  # what any of them took
    leave(tmp_path, ("verify", "mnist-convnet", 1))
    assert "mnist-convnet seed 1 once more" in "\n".join(program.lines(subject, 200))
    for path in tmp_path.glob("runs/mnist-dense-baseline/seed-0/record.json"):
        path.touch()  # made anew
    assert "2 of 5 trainings finished, 2 running, 1 remaining" in program.lines(subject, 200)[0]


def test_what_a_call_makes_once_more_takes_as_long_as_before(tmp_path, write_run):
    write_run("mnist-convnet", 0)
    plan(tmp_path, {("verify", "mnist-convnet", 0): True})
    first, second = program.lines(Watch(tmp_path), 200)
    assert "0 of 1 trainings finished, 0 running, 1 remaining" in first
    assert "from 1 finished runs" in second


def test_watching_ends_when_the_last_call_has_nothing_left_to_train(tmp_path, write_run, capsys):
    path = write_run("mnist-convnet", 0)
    for runs in {RUN: False}, {}:
        plan(tmp_path, runs)
        program.look(Watch(tmp_path))
        assert ": 1 " in capsys.readouterr().out  # one run is finished
    plan(tmp_path, {RUN: True})
    path.touch()
    program.look(Watch(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"runs": 3}', '{"runs": {"a/b": true}}'])
def test_a_call_of_another_form_tells_of_no_runs(tmp_path, content):
    (tmp_path / CALL).write_text(content)
    assert Watch(tmp_path).plan() == (None, 0)


def test_the_estimate_takes_finished_seeds_of_the_experiment_and_else_the_average_run():
    finished = {("runs", "a", 0): 10.0, ("runs", "a", 1): 20.0, ("runs", "b", 0): 60.0}
    assert estimate([("runs", "a", 2)], finished, []).seconds == 15.0
    both = estimate([("runs", "a", 2), ("runs", "c", 0)], finished, [])
    assert both.seconds == 15.0 + 30.0
    assert both.basis.endswith("1 of 2 are of experiments without one, taken as average")
    assert estimate([("runs", "a", 2)], finished, [running()]).seconds == 15.0 + 40.0


def test_runs_side_by_side_share_the_rest_and_silent_ones_do_not():
    finished = {("runs", "a", 0): 100.0}
    two = [running(seconds_left=50.0), running(seconds_left=50.0)]
    assert estimate([("runs", "a", 1)], finished, two).seconds == 100.0
    assert estimate([("runs", "a", 1)], finished, [running(silent=9999.0)]).seconds == 100.0


def test_without_a_finished_run_there_is_no_estimate():
    assert estimate([("runs", "a", 0)], {}, [running()]) is None
    assert estimate([], {}, [running()]).seconds == 40.0


def test_a_sparkline_goes_from_the_lowest_to_the_highest():
    assert sparkline([0.0, 0.4, 1.0]) == "▁▄█"
    assert sparkline([0.3, 0.3]) == "▁▁" and sparkline([]) == ""
    assert len(sparkline(list(range(100)), 10)) == 10


# -- Which study -----------------------------------------------------------------------------------


def test_the_newest_study_is_the_one_written_to_last(tmp_path):
    for name in ("old", "new"):
        leave(tmp_path / name)
    for path in (tmp_path / "old").rglob("*"):
        os.utime(path, (1, 1))
    assert newest(tmp_path) == tmp_path / "new"
    plan(tmp_path / "old", {})  # a call of it begins
    assert newest(tmp_path) == tmp_path / "old"
    with pytest.raises(StudyError, match=r"no study is there to watch"):
        newest(tmp_path / "new" / "runs")


# -- The program -----------------------------------------------------------------------------------


def test_without_a_terminal_it_says_it_once_and_ends(root, tmp_path):
    leave(tmp_path)
    command = [sys.executable, root / "scripts" / "watch.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert "\x1b" not in done.stdout and "mnist-convnet seed 0" in done.stdout


def test_a_missing_folder_is_one_clear_line(root, tmp_path):
    command = [sys.executable, root / "scripts" / "watch.py", tmp_path / "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("error:") and done.stderr.count("\n") == 1


def test_ctrl_c_ends_it_cleanly_and_gives_the_cursor_back(root, tmp_path):
    pty = pytest.importorskip("pty")
    leave(tmp_path)
    ours, theirs = pty.openpty()
    command = [sys.executable, root / "scripts" / "watch.py", tmp_path]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"mnist-convnet" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    shown += os.read(ours, 4096)
    os.close(ours)
    assert b"Traceback" not in shown
    assert shown.rstrip().endswith(program.SHOW.encode())


# -- The trainer -----------------------------------------------------------------------------------


def test_a_training_that_is_watched_ends_in_the_same_weights_and_history(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 0)
    path = tmp_path / progress.FILE
    ends = []
    for watched in (None, path):
        subject = trainer(recipe(), 5, splits(), CONVNET)
        ends.append((subject.fit(12, SILENT, watched=watched), weights(subject)))
    (plain, its_weights), (seen, same_weights) = ends
    assert [numbers(outcome) for outcome in (plain, seen)] == [numbers(plain)] * 2
    assert torch.equal(its_weights, same_weights)
    content = json.loads(path.read_text())
    assert content["step"] == content["steps"] == 12
    assert [each["val_accuracy"] for each in content["history"]] == [e["val_accuracy"] for e in seen.history]
