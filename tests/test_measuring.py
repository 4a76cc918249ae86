"""The targets that measure the project itself: the benchmark and the speedrun, on the smoke study."""

import json
import shutil

import pandas as pd
import pytest
from project import Project

from trainkit import device as devices
from trainkit.config import load_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("measured") / "study"
    shutil.copytree(smoke.folder, folder, symlinks=True, copy_function=shutil.copy2)
    project = Project(folder)
    project.snakemake("benchmark", "speedrun", "--resources", "gpu=1")
    return project


def test_the_benchmark_has_a_row_a_workload_whose_numbers_fit_together(measured: Project):
    table = pd.read_csv(measured.results / "tables" / "benchmark.csv").set_index("workload")
    assert list(table.index) == ["resnet18", "resnet20", "mnist-convnet", "input-pipeline"]
    assert (table.ratio_low <= table.ratio).all() and (table.ratio <= table.ratio_high).all()
    assert (table.project_images_per_second > 0).all() and (table.reference_images_per_second > 0).all()
    networks = table.drop(index="input-pipeline")
    assert networks.fraction_of_peak.between(0.001, 1.1).all()
    assert pd.isna(table.fraction_of_peak["input-pipeline"])
    speedup = networks.project_images_per_second / networks.reference_images_per_second
    assert (networks.ratio_at_peak * networks.fraction_of_peak / speedup).between(0.999, 1.001).all()
    # 2 operations a multiply-add, forward and twice backward, of 556 million (He et al. 2015)
    assert table.mflops_per_image["resnet18"] == pytest.approx(6 * 556, rel=0.02)
    assert set(table.busy) <= {"yes", "no"}
    hardware = json.loads((measured.results / "hardware.json").read_text())
    for name, workload in load_study(measured.folder, {"preset": "smoke"}).benchmark.workloads.items():
        if workload.model:
            assert table.layout[name] == devices.measured(workload.model, hardware).layout
    assert (table.project_memory_mb > 100).all()


def test_the_rounds_of_both_sides_are_kept(measured: Project):
    facts = json.loads((measured.results / "benchmark" / "resnet20.json").read_text())
    assert {len(rounds) for rounds in facts["rounds"].values()} == {facts["pairs"]}
    assert sum(facts["seconds_per_step"].values()) > 0
    assert facts["seconds_per_step"]["convolution"] > 0


def test_nothing_in_the_logs_looks_like_an_error(measured: Project):
    logs = list((measured.results / "logs" / "benchmark").glob("*.log"))
    assert len(logs) == 4 and not [path.name for path in logs if "error" in path.read_text().lower()]


def test_the_speedrun_has_a_row_a_run_with_the_plain_accuracy_beside_the_augmented(measured: Project):
    table = pd.read_csv(measured.results / "tables" / "speedrun.csv")
    assert list(table.experiment) == ["speedrun", "speedrun-tta"]
    assert table[["test_accuracy", "test_accuracy_tta"]].notna().all(axis=None)
    assert (table.seconds_train < table.seconds_total).all()
    assert (table.seconds_total < table.seconds_total_tta).all()


def test_the_report_gains_a_section_once_there_is_a_benchmark(measured: Project):
    report = measured.results / "report.html"
    assert 'id="benchmark"' not in report.read_text()
    jobs = measured.planned()
    assert jobs == {"study_report": 1}
    measured.snakemake("--resources", "gpu=1")
    text = report.read_text()
    assert 'id="benchmark"' in text and "resnet18" in text
    assert 'id="speedrun"' in text and "Kernels of the speedrun" in text
    assert measured.planned() == {}
    assert "benchmark_workload" not in measured.planned("--forcerun", "hardware")


def test_what_other_code_has_measured_is_neither_shown_nor_made_again_unasked(measured: Project):
    program = measured.folder / "scripts/benchmark.py"
    program.write_text(program.read_text() + "\nEDITED = True\n")
    assert measured.planned() == {"study_report": 1}
    assert "benchmark_workload" not in measured.planned("--forcerun", "hardware")
    network = measured.folder / "scripts/trainkit/models/airbench.py"
    network.write_text(network.read_text() + "\nEDITED = True\n")
    assert not {"benchmark_workload", "speedrun_train"} & measured.planned().keys()
    measured.snakemake()
    text = (measured.results / "report.html").read_text()
    assert 'id="benchmark"' not in text and 'id="speedrun"' not in text
    assert measured.planned("benchmark")["benchmark_workload"] == 4
    assert measured.planned("speedrun")["speedrun_train"] == 2
