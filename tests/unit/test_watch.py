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
from trainkit.config import load_study
from trainkit.errors import StudyError
from trainkit.progress import Progress
from trainkit.spec import IN_ALL
from trainkit.watching import Running, Watch, configuration, estimate, newest, sparkline

RUN = ("mnist-convnet", 0)


def row(epoch: int, step: int, accuracy: float = 0.5) -> dict:
    return {"epoch": epoch, "step": step, "train_loss": 1.5, "val_accuracy": accuracy}


def leave(folder: Path, run: tuple[str, int] = RUN, **changes) -> Path:
    """A running training's file, below a study's folder."""
    content = {
        "step": 30, "steps": 60, "epochs": 6.0, "images_per_second": 1234.5, "seconds_left": 42.0,
        "time": time.time(), "history": [row(1, 10, 0.25), row(2, 20, 0.75)],
    }  # fmt: skip
    path = folder / "runs" / run[0] / f"seed-{run[1]}" / progress.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


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
    text = "\n".join(program.lines(Watch(tmp_path, None), 80))
    assert "mnist-convnet seed 0" in text
    assert "epoch 3.0 of at most 6, loss 1.500, validation 75.00%, 1,234 images/s, at most 42 s left" in text
    assert "▁█ 25.0 to 75.0%" in text
    assert "NO NEWS" not in text


def test_a_training_without_news_is_said_to_have_none_and_is_still_to_do(root, tmp_path):
    leave(tmp_path, time=time.time() - 600)
    watch = Watch(tmp_path, load_study(root, {"preset": "smoke"}))
    text = program.lines(watch, 80)
    assert "NO NEWS for 10 min" in "\n".join(text)
    assert f"0 running, {len(watch.planned({}, []))} remaining" in text[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"history": 3}', '{"history": [], "step": "x"}'])
def test_a_file_of_another_form_is_not_shown(tmp_path, content):
    leave(tmp_path).write_text(content)
    assert Watch(tmp_path, None).running() == []


def test_finished_running_and_remaining_runs_are_counted_by_the_configuration(root, tmp_path, write_run):
    study = load_study(root, {"preset": "smoke"})
    write_run("mnist-dense-baseline", 0)
    leave(tmp_path)
    watch = Watch(tmp_path, study)
    total = sum(len(e.seeds) for e in study.experiments.values() if e.task in IN_ALL)
    first, second = program.lines(watch, 200)[:2]
    assert first.endswith(f"1 of {total} trainings finished, 1 running, {total - 2} remaining")
    assert "estimated end" in second and "from 1 finished runs" in second
    write_run("speedrun", 0)  # of another target: it counts once it began
    assert f"2 of {total + 1} trainings finished" in program.lines(watch, 200)[0]


def test_the_estimate_takes_finished_seeds_of_the_experiment_and_else_the_average_run():
    finished = {("a", 0): 10.0, ("a", 1): 20.0, ("b", 0): 60.0}
    assert estimate([("a", 2)], finished, []).seconds == 15.0
    both = estimate([("a", 2), ("c", 0)], finished, [])
    assert both.seconds == 15.0 + 30.0
    assert both.basis.endswith("1 of 2 are of experiments without one, taken as average")
    assert estimate([("a", 2)], finished, [running()]).seconds == 15.0 + 40.0


def test_runs_side_by_side_share_the_rest_and_silent_ones_do_not():
    finished = {("a", 0): 100.0}
    two = [running(seconds_left=50.0), running(seconds_left=50.0)]
    assert estimate([("a", 1)], finished, two).seconds == 100.0
    assert estimate([("a", 1)], finished, [running(silent=9999.0)]).seconds == 100.0


def test_without_a_finished_run_there_is_no_estimate():
    assert estimate([("a", 0)], {}, [running()]) is None
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
    with pytest.raises(StudyError, match=r"no study is there to watch"):
        newest(tmp_path / "new" / "runs")


def test_a_study_of_another_name_is_known_by_the_specs_of_its_records(root, tmp_path, write_run):
    assert configuration(root, tmp_path, {}) is None
    spec = load_study(root, {"preset": "smoke"}).run_spec("mnist-convnet").model_dump(mode="json")
    write_run("mnist-convnet", 0, spec=spec)
    assert configuration(root, tmp_path, {}).preset == "smoke"
    assert configuration(root, tmp_path, {"preset": "gpu"}).preset == "gpu"
    assert configuration(root, tmp_path / "cpu", {}).preset == "cpu"


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
