"""A study that is killed again and again, anywhere, ends in the records of one that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project import Project
from safetensors.torch import load_file

from trainkit import progress

pytestmark = pytest.mark.slow

KILLS = 20
# Trainings that are long enough to be hit more than once each.
LONG = """
  killed: {like: mnist-convnet, title: Killed, recipe: {epochs: 150}}
  killed-augmented:
    like: mnist-convnet-augmented
    title: Killed, augmented
    recipe: {epochs: 100, optimizer: {lookahead: {k: 5}}}
"""
# Of a record, what the clock, the kernel or an interruption decides.
PASSING = {"seconds", "peak_memory_mb", "finished", "resumed", "start"}


def start(project: Project, *targets: str) -> subprocess.Popen:
    """A call of Snakemake with all its jobs in one process group, as a terminal starts it."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "all", *targets]
    return subprocess.Popen(
        [*command, "--config", "preset=smoke"], cwd=project.folder, start_new_session=True, text=True,
        stdout=(project.folder / "killed.log").open("a"), stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )  # fmt: skip


ANY_SIGNAL = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def killed(call: subprocess.Popen, seconds: float, dice: random.Random, signals: tuple = ANY_SIGNAL) -> bool:
    """Kill a call and its jobs after so many seconds; whether it was still there."""
    try:
        call.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(call.pid, dice.choice(signals))
        call.wait(60)
        return True
    assert call.returncode == 0
    return False


def remove_all_but_measurements(results: Path) -> None:
    """Leave what no two runs of a machine measure alike, and what the runs depend on."""
    shutil.rmtree(results / "runs")
    remove_what_comes_of_runs(results)


def remove_what_comes_of_runs(results: Path) -> None:
    shutil.rmtree(results / "figures")
    for path in (results / "report.html", *results.glob("tables/*")):
        if path.name not in ("task2.1.1_hardware.csv", "task1.3_input_pipeline.csv"):
            path.unlink()


def with_longer_trainings(project: Project) -> tuple[list[Path], float, float]:
    """Add the long trainings to the study, and train them once without interruption.

    Their records, and the seconds after which such a call trains and ends.
    """
    preset = project.folder / "config/presets/smoke.yaml"
    preset.write_text(preset.read_text() + LONG)
    names = [line.strip().partition(":")[0] for line in LONG.splitlines() if line.startswith("  killed")]
    records = [project.results / "runs" / name / "seed-0" / "record.json" for name in names]
    began = time.monotonic()
    project.snakemake(*(str(path.relative_to(project.folder)) for path in records))
    ends = time.monotonic() - began
    trains = ends - sum(json.loads(path.read_text())["seconds"]["total"] for path in records)
    whole = project.folder / "whole"
    copies = [shutil.copytree(path.parent, whole / path.parents[1].name) / path.name for path in records]
    return copies, trains, ends


def kept(record: Path) -> dict[str, Any]:
    return {key: value for key, value in json.loads(record.read_text()).items() if key not in PASSING}


def history(record: Path) -> pd.DataFrame:
    return pd.read_csv(record.parent / "history.csv").drop(columns="seconds")


def differences(record: Path, expected: Path) -> list[str]:
    """Each value of a run that is not the expected run's, bit for bit: where, and by how much."""
    found, wanted = kept(record), kept(expected)
    told = [
        f"{key}: {found.get(key)!r}, expected {wanted.get(key)!r}"
        for key in found | wanted
        if found.get(key) != wanted.get(key)
    ]
    if not history(record).equals(history(expected)):
        told.append(f"history:\n{history(record)}\nexpected:\n{history(expected)}")
    for name in ("model.safetensors", "predictions.safetensors"):
        tensors, others = load_file(record.parent / name), load_file(expected.parent / name)
        for key in tensors | others:
            if key not in tensors or key not in others or tensors[key].shape != others[key].shape:
                told.append(f"{name}, {key}: not in both, or not of one shape")
                continue
            differ = tensors[key] != others[key]
            if differ.any():
                apart = (tensors[key].double() - others[key].double()).abs()
                told.append(
                    f"{name}, {key}: {int(differ.sum())} of {differ.numel()} numbers by up to "
                    f"{apart.max():.3g}, first at {differ.nonzero()[:5].tolist()}"
                )
        if (record.parent / name).read_bytes() != (expected.parent / name).read_bytes() and not told:
            told.append(f"{name}: other bytes")
    return [f"{record.parent.parent.name}: {line}" for line in told]


def test_a_study_killed_twenty_times_ends_in_the_same_records(smoke: Project, editable: Project):
    dice = random.Random(20)
    runs = editable.results / "runs"
    expected_records = sorted((smoke.results / "runs").glob("*/seed-*/record.json"))
    long_records, trains, ends = with_longer_trainings(editable)
    expected_records += long_records
    remove_all_but_measurements(editable.results)
    long = [f"results/smoke/runs/{name}/seed-0/record.json" for name in ("killed", "killed-augmented")]
    # At first while it certainly trains, by the signal at which a training writes its state.
    under_way = [(editable.folder / path).with_name(progress.FILE) for path in long]
    call = start(editable, *long)
    while not any(path.exists() for path in under_way):
        assert call.poll() is None
        time.sleep(0.005)
    assert killed(call, 0, dice, (signal.SIGTERM,))
    kills = 1
    while kills < KILLS // 2:  # in the middle of a long training, mostly
        kills += killed(start(editable, *long), dice.uniform(trains, ends), dice)
        if all((editable.folder / path).exists() for path in long):
            break
    while kills < KILLS:  # anywhere in the study
        if not killed(start(editable), dice.uniform(3, 12), dice):
            # All was done before the kill: go on without one of the runs, and without what would hide that.
            # The long ones stay, for they show that trainings went on from a checkpoint.
            short = (path.name for path in runs.iterdir() if not path.name.startswith("killed"))
            shutil.rmtree(runs / dice.choice(sorted(short)))
            remove_what_comes_of_runs(editable.results)
        else:
            kills += 1
    editable.snakemake()
    resumed, told = 0, []
    for expected in expected_records:
        name, seed = (json.loads(expected.read_text())[key] for key in ("experiment", "seed"))
        record = runs / name / f"seed-{seed}" / "record.json"
        told += differences(record, expected)
        assert {path.name for path in record.parent.iterdir()} == {
            *("record.json", "history.csv", "model.safetensors", "predictions.safetensors")
        }
        resumed += json.loads(record.read_text())["resumed"]
    assert len(expected_records) == 56
    assert not told, "\n".join(told)
    assert resumed > 0
    assert "Nothing to be done" in editable.snakemake()
    print(f"{kills} kills, trainings went on {resumed} times")


# Snakemake with a signal sent to itself while it finishes a job.
SIGNALLED = """
import os, signal
from snakemake.cli import main
from snakemake.persistence.file import FilePersistence

write = FilePersistence._write_record

def signalled(self, *arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    write(self, *arguments)

FilePersistence._write_record = signalled
main(["--cores", "all", "--force", "task3_tables", "--config", "preset=smoke"])
"""


def test_a_signal_while_a_job_is_being_finished_ends_the_call(editable: Project):
    table = editable.results / "tables" / "task3_architectures.csv"
    before = table.read_text()
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], cwd=editable.folder, capture_output=True, text=True, timeout=60
    )
    printed = done.stdout + done.stderr
    assert "Will exit after finishing currently running jobs" in printed  # the signal came
    assert "1 of 1 steps (100%) done" in printed
    assert table.read_text() == before
