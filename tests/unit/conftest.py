"""What several test files build: records of runs, and a thread count that leaves the machine alone."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainkit import lease
from trainkit.record import RunRecord

ROOT = Path(__file__).resolve().parents[2]
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(autouse=True)
def devices_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No unit test waits for a study that runs on the same machine, nor holds one up."""
    monkeypatch.setattr(lease, "LEASE", lease.Lease())
    monkeypatch.setattr(lease, "folder", lambda: tmp_path)
    monkeypatch.setenv(lease.HELD, "")


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes one finished run and returns the path of its record."""

    def write(experiment: str, seed: int = 0, **changes: Any) -> Path:
        folder = tmp_path / "runs" / experiment / f"seed-{seed}"
        folder.mkdir(parents=True)
        history = changes.pop("history", [(1.0, 0.5), (2.0, changes.get("val_accuracy", 0.9))])
        record = run_record(experiment, seed, **changes)
        (folder / "record.json").write_text(record.model_dump_json())
        with (folder / "history.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["epoch", "step", "seconds", "lr", "val_accuracy"])
            writer.writerows(
                (epoch, 10 * epoch, seconds, 0.1, accuracy)
                for epoch, (seconds, accuracy) in enumerate(history, 1)
            )
        return folder / "record.json"

    return write


def run_record(
    experiment: str,
    seed: int = 0,
    *,
    train_seconds: float = 10.0,
    features_seconds: float = 0.0,
    schedule: str = "constant",
    lookahead: bool = False,
    reference: str | None = None,
    tuned_by: tuple[str, ...] = (),
    ema: bool = False,
    **changes: Any,
) -> RunRecord:
    """A record whose numbers are plain, but for the ``changes``."""
    recipe = {
        "schedule": {"name": schedule},
        "optimizer": {"name": "sgd", "lr": 0.1, "lookahead": {"k": 5, "alpha": 0.5} if lookahead else None},
        "ema": {"decay": 0.99} if ema else None,
        "budget": reference and {"reference": reference, "epochs": 5.0},
    }
    seconds = {
        "load": 1.0,
        "compile": 0.5,
        "train": train_seconds,
        "evaluate": 2.0,
        "total": train_seconds + 4.0,
        "features": features_seconds,
    }
    facts: dict[str, Any] = {
        "experiment": experiment,
        "task": "1.1",
        "title": experiment.replace("-", " "),
        "seed": seed,
        "dataset": experiment.split("-")[0],
        "model": "convnet",
        "params_total": 1000,
        "params_trainable": 900,
        "multiply_adds": 50_000,
        "epochs": 2.0,
        "steps": 20,
        "train_images": 1000,
        "batch_size": 100,
        "converged": None,
        "val_accuracy": 0.9,
        "val_loss": 0.3,
        "learning_rate": 0.1,
        "test_accuracy": 0.88,
        "test_loss": 0.35,
        "test_images": 500,
        "seconds": seconds,
        "budget_seconds": None,
        "peak_memory_mb": 300.0,
        "device": "Some CPU",
        "precision": "float32",
        "layout": "channels_last",
        "threads": 2,
        "deterministic": True,
        "spec": {"recipe": recipe, "tuned_by": tuned_by},
        "code_digest": "0" * 16,
        "git_commit": "unknown",
        "data_sha256": {},
        "packages": {},
        "hardware": {},
        "finished": "2024-01-01T00:00:00+00:00",
    }
    return RunRecord.model_validate(facts | changes)
