"""A copy of the project in which the workflow's tests run Snakemake as a user does."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "rules", "scripts", "config", "report", "envs", "profiles")


@dataclass
class Project:
    """A copy of the project in which Snakemake is run as a user runs it."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results" / "smoke"

    def snakemake(self, *options: str, ok: bool = True) -> str:
        """Everything that a call prints; fails the test where it fails and should not."""
        command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "all", *options]
        command += ["preset=smoke"] if "--config" in options else ["--config", "preset=smoke"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=1500)
        printed = done.stdout + done.stderr
        if ok:
            assert done.returncode == 0, printed[-5000:]
        else:
            assert done.returncode != 0, printed[-5000:]
        return printed

    def planned(self, *options: str) -> dict[str, int]:
        """The jobs that the next call would run, by rule; empty when all is up to date."""
        printed = self.snakemake("-n", *options)
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", printed.split("Job stats:")[-1].split("total")[0], re.M))
        return {rule: int(count) for rule, count in jobs.items() if rule != "all"}


def copy_project(folder: Path) -> Project:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    (ROOT / "data").mkdir(exist_ok=True)  # verified data is kept, so that it is fetched once
    (folder / "data").symlink_to(ROOT / "data")
    return Project(folder)


def under_ci() -> bool:
    return bool(os.environ.get("CI"))
