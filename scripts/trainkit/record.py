"""RunRecord: what a run leaves behind, and the only thing that tables and figures read."""

import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trainkit.errors import StudyError

SCHEMA_VERSION = 2
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "snakemake")


class RunSeconds(BaseModel):
    """Seconds of a run: ``total`` is the whole process, the rest its parts.

    Those of a training that was killed and went on add up, but for what came after its last
    checkpoint. ``evaluate_tta`` is what the second test, with test-time augmentation, cost;
    ``checkpoint`` what writing checkpoints did. ``features`` is what computing a frozen base's
    features cost, once for all seeds; it is not part of ``total``.
    """

    load: float
    compile: float
    train: float
    evaluate: float
    evaluate_tta: float = 0.0
    checkpoint: float = 0.0
    total: float
    features: float = 0.0


class RunRecord(BaseModel):
    """One run. Accuracies are fractions; ``epochs`` may be broken for a budget in seconds."""

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
    val_accuracy: float
    val_loss: float
    test_accuracy: float
    test_loss: float
    test_accuracy_tta: float | None = None
    test_images: int
    seconds: RunSeconds
    budget_seconds: float | None
    peak_memory_mb: float
    device: str
    precision: str
    layout: str
    threads: int
    deterministic: bool
    spec: dict[str, Any]
    code_digest: str
    git_commit: str
    data_sha256: dict[str, str]
    packages: dict[str, str]
    hardware: dict[str, Any]
    finished: str


def read_record(path: Path) -> RunRecord:
    """A record from its file; `StudyError` where it is not one that this version can read."""
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); rerun snakemake") from error
    except ValidationError as error:
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
    """The commit, with ``-dirty`` where tracked files differ from it; ``unknown`` outside git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
