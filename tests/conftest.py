"""What the workflow's tests share: one smoke study, run once, in a copy of the project."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project import Project, copy_project, under_ci

# The tests compare bits and know whose turn it is: they are about the CPU, also where there is a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    """Under `nohup` or behind `&` signals are ignored, and so by what the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished smoke study."""
    project = copy_project(tmp_path_factory.mktemp("smoke"))
    project.snakemake("--resources", "gpu=1")
    return project


@pytest.fixture
def editable(smoke: Project, tmp_path: Path) -> Project:
    """A copy of the finished study that a test may edit; Snakemake's memory of it comes along."""
    folder = tmp_path / "study"
    shutil.copytree(smoke.folder, folder, symlinks=True, copy_function=shutil.copy2)
    return Project(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that mounts a disk of so many KiB; called again, it changes its size."""
    folder = tmp_path / "disk"

    def mount(kib: int) -> Path:
        options = f"size={kib}k" + (",remount" if folder.exists() else "")
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and not under_ci():
            pytest.skip(f"no disk can be mounted: {done.stderr}")
        assert done.returncode == 0, done.stderr
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True)
