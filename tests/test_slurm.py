"""The study on a real Slurm: one node on this machine that pretends to have two GPUs."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from project import ROOT, copy_project, under_ci

from trainkit.config import load_study
from trainkit.record import read_record

STARTER = ROOT / "tests" / "slurm" / "local-slurm.sh"
CANNOT_INSTALL = 77  # the starter's exit code
CPUS, GPUS = 8, 2
RUNS = {
    "mnist-dense-baseline": "mnist_dense",
    "mnist-dense-improved": "mnist_dense",
    "mnist-convnet": "mnist_convnet",
    "mnist-convnet-augmented": "mnist_augmented",
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Job:
    """A job as Slurm remembers it."""

    id: str
    state: str
    start: datetime
    end: datetime
    cpus: int
    gpus: str
    comment: str


@dataclass(frozen=True)
class Submission:
    """What a run of the workflow on the cluster left behind."""

    results: Path
    log: str
    jobs: dict[str, Job]  # by comment, which names rule and wildcards

    def record(self, experiment: str) -> Path:
        return self.results / "runs" / experiment / "seed-0" / "record.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that neither results nor locks meet those of the original."""
    return copy_project(tmp_path_factory.mktemp("cluster")).folder


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """A running Slurm: the environment in which its commands are found."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        try:
            command = ["bash", str(STARTER), "up", folder, str(CPUS), str(GPUS)]
            started = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
            if started.returncode == CANNOT_INSTALL and not under_ci():
                pytest.skip(started.stderr)
            assert started.returncode == 0, started.stderr
            env = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
            env.pop("CUDA_VISIBLE_DEVICES", None)
            yield env
        finally:
            subprocess.run(["bash", str(STARTER), "down", folder], check=True, timeout=120)


@pytest.fixture(scope="module")
def submission(project: Path, slurm: dict[str, str]) -> Submission:
    """The dense and the convolutional networks of the smoke study, trained through Slurm."""
    targets = [f"results/smoke/runs/{name}/seed-0/record.json" for name in RUNS]
    options = ["--config", "preset=smoke", "--slurm-init-seconds-before-status-checks", "9"]
    log = snakemake(project, slurm, *options, "--", *targets)
    return Submission(project / "results" / "smoke", log, ended_jobs(slurm))


def snakemake(project: Path, env: dict[str, str], *arguments: str) -> str:
    """Snakemake's output under the cluster's profile."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", *arguments]
    done = subprocess.run(
        command,
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def ended_jobs(env: dict[str, str]) -> dict[str, Job]:
    """The jobs that Snakemake submitted; the starter's own trial has no comment."""
    columns = "JobID:|,State:|,StartTime:|,EndTime:|,NumCPUs:|,tres-per-job:|,Comment:|"
    command = ["squeue", "--states=all", "--noheader", f"--Format={columns}"]
    table = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    jobs = {}
    for line in table.splitlines():
        number, state, start, end, cpus, gpus, comment, _ = line.strip().split("|")
        if comment.startswith("rule_"):
            times = datetime.fromisoformat(start), datetime.fromisoformat(end)
            jobs[comment] = Job(number, state, *times, int(cpus), gpus, comment)
    return jobs


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_each_training_and_the_hardware_capture_are_jobs_of_their_own(submission: Submission) -> None:
    trainings = {f"rule_{rule}_wildcards_{name}_0" for name, rule in RUNS.items()}
    assert set(submission.jobs) == {"rule_hardware", *trainings}
    assert {job.state for job in submission.jobs.values()} == {"COMPLETED"}
    announced = set(re.findall(r"submitted with SLURM jobid (\d+)", submission.log))
    assert {job.id for job in submission.jobs.values()} == announced


def test_a_job_asks_for_one_gpu_and_the_profiles_threads(submission: Submission) -> None:
    assert {job.gpus for job in submission.jobs.values()} == {"gres:gpu:1"}
    assert {job.cpus for job in submission.jobs.values()} == {4}


def test_trainings_run_side_by_side_on_all_gpus(submission: Submission) -> None:
    jobs = submission.jobs.values()
    side_by_side = [sum(other.start <= job.start < other.end for other in jobs) for job in jobs]
    assert max(side_by_side) == GPUS


def test_a_job_sees_the_gpu_that_slurm_chose(submission: Submission) -> None:
    hardware = read_json(submission.results / "hardware.json")
    assert hardware["limits"]["cuda_visible_devices"] in {str(gpu) for gpu in range(GPUS)}


@pytest.mark.parametrize("experiment", RUNS)
def test_a_run_on_the_cluster_leaves_its_record(submission: Submission, experiment: str) -> None:
    record = read_record(submission.record(experiment))
    assert (record.experiment, record.seed) == (experiment, 0)
    assert 0.1 < record.test_accuracy <= 1  # better than guessing
    assert record.hardware == read_json(submission.results / "hardware.json")


def test_the_profiles_preset_holds_beside_other_config_on_the_command_line(project: Path) -> None:
    log = snakemake(project, dict(os.environ), "--dry-run", "--config", "study=mine")
    seeds = load_study(ROOT, {"preset": "gpu"}).experiments["mnist-convnet"].seeds
    assert {f"results/mine/runs/mnist-convnet/seed-{seed}/record.json" for seed in seeds} <= set(
        re.findall(r"results/mine/runs/mnist-convnet/seed-\d+/record\.json", log)
    )


LONG = "experiments: {long: {like: mnist-convnet, title: Long enough to be preempted, recipe: {epochs: 80}}}"


def test_a_preempted_training_saves_its_state_and_the_retry_goes_on(
    submission: Submission, project: Path, slurm: dict[str, str]
) -> None:
    (project / "long.yaml").write_text(LONG)
    folder = submission.results / "runs" / "long" / "seed-0"
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"]
    command += ["--configfile", "profiles/slurm/study.yaml", "long.yaml", "--config", "preset=smoke"]
    command += ["--slurm-init-seconds-before-status-checks", "9"]
    with (project / "long.log").open("w") as log:
        call = subprocess.Popen(
            [*command, "--", "results/smoke/runs/long/seed-0/record.json"],
            cwd=project, env=slurm, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        first = wait_for(lambda: sorted(folder.glob("checkpoints/*.safetensors")), 90)[-1]
        running = ["squeue", "--states=running", "--noheader", "--format=%i"]
        (number,) = subprocess.run(
            running, env=slurm, capture_output=True, text=True, check=True
        ).stdout.split()
        subprocess.run(["scancel", number], env=slurm, check=True)
        call.wait(400)
    finally:
        call.kill()
    printed = (project / "long.log").read_text()
    assert call.returncode == 0, printed
    record = read_record(folder / "record.json")
    assert record.resumed == 1
    assert record.epochs == 80
    log = (submission.results / "logs/runs/long/seed-0.log").read_text()
    went_on = re.search(r"goes on after step (\d+)", log)
    assert went_on and int(went_on[1]) >= int(first.name[:9])


def wait_for(found: Callable[[], Any], seconds: float) -> Any:
    """What ``found`` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return result
