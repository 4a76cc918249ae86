"""What the workflow's tests share: one smoke study, run once, in a copy of the project."""

import shutil
from pathlib import Path

import pytest
from project import Project, copy_project


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
