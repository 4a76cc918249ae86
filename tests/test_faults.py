"""Disks that are full or read-only, workers that the kernel kills: nothing half-written, nothing lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from project import ROOT, Project

from trainkit.config import load_study

pytestmark = pytest.mark.slow

EXPERIMENT = "mnist-convnet"
# The program with checkpoints at every step, or at none.
TRAIN = """
import sys
sys.path.insert(0, "scripts")
from trainkit import checkpoint
checkpoint.SECONDS_BETWEEN, checkpoint.SHARE_OF_TIME = {seconds}, 1
import train
train.run_program(train.main)
"""
Disk = Callable[[int], Path]


def train(smoke: Project, out: Path, seconds: float = 1e9) -> subprocess.CompletedProcess:
    spec = load_study(ROOT, {"preset": "smoke"}).run_spec(EXPERIMENT)
    options = {
        "--spec": spec.model_dump_json(), "--seed": "0", "--out": str(out),
        "--hardware": str(smoke.results / "hardware.json"),
        "--data": "data/mnist.safetensors",
    }  # fmt: skip
    command = [sys.executable, "-c", TRAIN.format(seconds=seconds)]
    command += [word for pair in options.items() for word in pair]
    return subprocess.run(command, cwd=smoke.folder, capture_output=True, text=True, timeout=300)


def failed_in_one_line(
    done: subprocess.CompletedProcess, reason: str, remedy: str = "make room for it and rerun"
) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith(f"{EXPERIMENT} seed 0: ")]
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ") and reason in lines[0]
    assert lines[0].endswith(f"; {remedy}")


def same_as(smoke: Project, out: Path) -> bool:
    expected = smoke.results / "runs" / EXPERIMENT / "seed-0"
    return (out / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()


@pytest.mark.parametrize("missing", ["model.safetensors", "predictions.safetensors", "record.json"])
def test_a_disk_that_is_full_at_the_end_leaves_no_record_and_the_next_run_ends_well(
    smoke: Project, small_disk: Disk, missing: str
):
    finished = smoke.results / "runs" / EXPERIMENT / "seed-0"
    order = ["history.csv", "model.safetensors", "predictions.safetensors", "record.json"]
    sizes = {name: -(-(finished / name).stat().st_size // 4096) * 4 for name in order}  # whole pages, KiB
    fitting = order[: order.index(missing)]
    out = small_disk(sum(sizes[name] for name in fitting) + sizes[missing] // 2 // 4 * 4)
    failed_in_one_line(train(smoke, out), f"{missing}: cannot be written (No space left on device)")
    assert {path.name for path in out.iterdir()} == set(fitting)
    small_disk(100_000)
    assert train(smoke, out).returncode == 0
    assert same_as(smoke, out)


def test_a_disk_that_is_full_at_a_checkpoint_stops_the_run_and_the_next_one_goes_on(
    smoke: Project, small_disk: Disk
):
    model = (smoke.results / "runs" / EXPERIMENT / "seed-0" / "model.safetensors").stat().st_size
    out = small_disk(5 * model // 2048)  # room for one with its momentum, not for two
    failed_in_one_line(train(smoke, out, seconds=0), "safetensors: cannot be written (No space left")
    (checkpoint,) = (out / "checkpoints").iterdir()
    assert checkpoint.name.startswith("000000001-")
    small_disk(100_000)
    assert train(smoke, out, seconds=0).returncode == 0
    assert same_as(smoke, out)
    assert json.loads((out / "record.json").read_text())["resumed"] == 1
    assert not (out / "checkpoints").exists()


def test_results_that_are_read_only_are_said_to_be(smoke: Project, small_disk: Disk):
    out = small_disk(1000)
    subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    remedy = "make its folder one that you can write to and rerun"
    failed_in_one_line(train(smoke, out / "runs"), "cannot be written (Read-only file system)", remedy)


def test_a_worker_that_the_kernel_kills_fails_its_job_and_the_next_call_goes_on(editable: Project):
    record = editable.results / "runs" / EXPERIMENT / "seed-0" / "record.json"
    before = (record.parent / "model.safetensors").read_bytes()
    record.unlink()
    target = str(record.relative_to(editable.folder))
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "all", target]
    call = subprocess.Popen(
        [*command, "--config", "preset=smoke"],
        cwd=editable.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    os.kill(worker(call.pid), signal.SIGKILL)
    printed = call.communicate(timeout=120)[0]
    assert call.returncode != 0
    assert "Killed" in printed and "Nothing is lost: the same command goes on from here." in printed
    assert not record.exists()
    editable.snakemake(target)
    assert (record.parent / "model.safetensors").read_bytes() == before


def worker(snakemake: int) -> int:
    """The process that trains, below a call of Snakemake, as soon as it is there."""
    for _ in range(1200):
        for process in psutil.Process(snakemake).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "train.py" or process.cmdline()[1:2] == ["scripts/train.py"]:
                    return process.pid
        time.sleep(0.02)
    raise AssertionError("no training began")
