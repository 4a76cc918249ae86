"""A study that is killed again and again, anywhere, ends in the records of one that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project import Project

pytestmark = pytest.mark.slow

KILLS = 20
# Of a record, what the clock, the kernel or an interruption decides.
PASSING = {"seconds", "peak_memory_mb", "finished", "resumed"}


def start(project: Project) -> subprocess.Popen:
    """A call of Snakemake with all its jobs in one process group, as a terminal starts it."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "all", "--config", "preset=smoke"]
    return subprocess.Popen(
        command, cwd=project.folder, start_new_session=True, text=True,
        stdout=(project.folder / "killed.log").open("a"), stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )  # fmt: skip


def remove_all_but_measurements(results: Path) -> None:
    """Leave what no two runs of a machine measure alike, and what the runs depend on."""
    for path in ("runs", "figures"):
        shutil.rmtree(results / path)
    for path in (results / "report.html", *results.glob("tables/*")):
        if path.name not in ("task2.1.1_hardware.csv", "task1.3_input_pipeline.csv"):
            path.unlink()


def kept(record: Path) -> dict[str, Any]:
    return {key: value for key, value in json.loads(record.read_text()).items() if key not in PASSING}


def history(record: Path) -> pd.DataFrame:
    return pd.read_csv(record.parent / "history.csv").drop(columns="seconds")


def test_a_study_killed_twenty_times_ends_in_the_same_records(smoke: Project, editable: Project):
    dice = random.Random(20)
    runs = editable.results / "runs"
    remove_all_but_measurements(editable.results)
    kills: list[signal.Signals] = []
    while len(kills) < KILLS:
        call = start(editable)
        try:
            call.wait(dice.uniform(3, 12))
            assert call.returncode == 0, (editable.folder / "killed.log").read_text()[-3000:]
            shutil.rmtree(runs / dice.choice(sorted(path.name for path in runs.iterdir())))
        except subprocess.TimeoutExpired:
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            os.killpg(call.pid, number)
            call.wait(60)
            kills.append(number)
    editable.snakemake()
    resumed = 0
    records = sorted((smoke.results / "runs").glob("*/seed-*/record.json"))
    for expected in records:
        record = editable.folder / expected.relative_to(smoke.folder)
        assert kept(record) == kept(expected), record
        pd.testing.assert_frame_equal(history(record), history(expected), check_exact=True)
        for name in ("model.safetensors", "predictions.safetensors"):
            assert (record.parent / name).read_bytes() == (expected.parent / name).read_bytes(), record
        assert {path.name for path in record.parent.iterdir()} == {
            *("record.json", "history.csv", "model.safetensors", "predictions.safetensors")
        }
        resumed += json.loads(record.read_text())["resumed"]
    assert len(records) == 22
    assert resumed > 0
    assert "Nothing to be done" in editable.snakemake()
    print(f"{len(kills)} kills, {resumed} trainings resumed")
