"""Two studies at once on one machine: their timed runs take turns."""

import itertools
import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from project import Project

pytestmark = pytest.mark.slow

RUNS = ("mnist-convnet", "mnist-transfer-scratch", "cifar10-resnet")
RESOLUTION = 0.001  # seconds, of the time at which a record says that it was finished


def test_timed_runs_of_two_studies_never_share_the_device(editable: Project, tmp_path: Path):
    other = Project(tmp_path / "other")
    shutil.copytree(editable.folder, other.folder, symlinks=True, copy_function=shutil.copy2)
    records = [f"results/smoke/runs/{name}/seed-0/record.json" for name in RUNS]
    calls = []
    for study in (editable, other):
        for record in records:
            (study.folder / record).unlink()
        command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "8", *records]
        calls.append(
            subprocess.Popen(
                [*command, "--config", "preset=smoke", "threads=1"],  # room for several jobs at a time
                cwd=study.folder,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    printed = [call.communicate(timeout=600)[0] for call in calls]
    assert [call.returncode for call in calls] == [0, 0], printed
    assert any("waiting for cpu: a timed run of another process has it" in text for text in printed)
    spans = []
    for study, record in itertools.product((editable, other), records):
        content = json.loads((study.folder / record).read_text())
        end = datetime.fromisoformat(content["finished"]).timestamp()
        spans.append((end - content["seconds"]["train"] - content["seconds"]["evaluate"], end))
    spans.sort()
    assert len(spans) == 2 * len(RUNS)
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert end <= begin + RESOLUTION
