"""RunRecord: the facts of a run, which tables and figures read (curves and logits lie beside it)."""

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trainkit.digest import digest_of
from trainkit.errors import StudyError
from trainkit.seconds import RunSeconds

SCHEMA_VERSION = 4
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "snakemake")


class RunRecord(BaseModel):
    """One run. Accuracies are fractions; ``epochs`` are fractional for a budget in seconds.

    ``learning_rate`` is the peak that was used, which trials may have chosen. A trial is not tested,
    and may have ``diverged`` (its accuracy is 0 then).
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    experiment: str
    task: str
    title: str
    seed: int
    dataset: str
    model: str
    params_total: int
    params_trainable: int
    multiply_adds: int
    epochs: float
    steps: int
    train_images: int
    batch_size: int
    converged: bool | None
    resumed: int = 0
    diverged: bool = False
    learning_rate: float
    start: Literal["cold", "warm"] = "cold"  # warm: PyTorch was imported before the process began
    val_accuracy: float
    val_loss: float | None
    test_accuracy: float | None
    test_loss: float | None
    test_accuracy_tta: float | None = None
    test_images: int
    seconds: RunSeconds
    budget_seconds: float | None
    peak_memory_mb: float
    energy_joules: dict[str, float] = {}  # of the whole device meanwhile, as far as its counters tell
    device: str
    precision: str
    layout: str
    cuda_graphs: bool = False
    threads: int
    deterministic: bool
    spec: dict[str, Any]
    code_digest: str
    git_commit: str
    data_sha256: dict[str, str]
    packages: dict[str, str]
    hardware: dict[str, Any]
    finished: str

    @property
    def judged_accuracy(self) -> float:
        """The test accuracy; of a trial, which is not tested, the validation accuracy."""
        return self.val_accuracy if self.test_accuracy is None else self.test_accuracy

    def identity(self) -> dict[str, str]:
        """Digests of what made this record: its spec, its code, its data."""
        return identity(self.spec, self.code_digest, self.data_sha256)


def identity(spec: dict[str, Any], code: str, data_sha256: dict[str, str]) -> dict[str, str]:
    """What a run of ``spec`` (as JSON) must have been made of."""
    return {"spec": digest_of(spec), "code": code, "data": digest_of(data_sha256)}


def read_record(path: Path) -> RunRecord:
    """A record from its file; `StudyError` where it is not one that this version can read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise StudyError(
                f"{path}: schema_version is {version!r}, and this version of the project reads "
                f"{SCHEMA_VERSION}; take the version that wrote it (git_commit in the file), or delete the "
                "file and rerun snakemake"
            )
        if isinstance(content.get("spec"), dict):
            content["spec"].pop("seeds", None)  # older versions wrote an empty list there
        return RunRecord.model_validate(content)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); rerun snakemake") from error
    except ValueError as error:
        if not isinstance(error, ValidationError):
            raise StudyError(f"{path}: is no JSON ({error}); delete the file and rerun snakemake") from error
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise StudyError(f"{path}: {key}: {first['msg']}; delete the file and rerun snakemake") from error


def package_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def git_commit(folder: Path) -> str:
    """A folder's commit, with ``-dirty`` where tracked files differ from it; ``unknown`` outside git."""
    try:
        tracked = _git(folder, "ls-files")  # none where another repository is around
        said = _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said if tracked and said else "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """What git says; nothing where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""
