"""The energy counters: which are read, how they wrap, and what a machine without them says."""

from types import SimpleNamespace

import pytest
import torch

from trainkit import energy, provenance
from trainkit.results import Results

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def rapl(tmp_path, monkeypatch):
    """Two CPU packages of 100 J before they wrap, one of their parts, and a function that sets them."""
    for zone, name in {"0": "package-0", "0:0": "core", "1": "package-1"}.items():
        folder = tmp_path / f"intel-rapl:{zone}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text("100000000\n")
    monkeypatch.setattr(energy, "RAPL", tmp_path)

    def set_joules(**zones):
        for zone, joules in zones.items():
            path = tmp_path / f"intel-rapl:{zone.removeprefix('z').replace('_', ':')}"
            (path / "energy_uj").write_text(f"{round(1e6 * joules)}\n")

    return set_joules


def test_packages_add_up_their_parts_do_not_count_twice_and_wrapping_is_seen(rapl):
    rapl(z0=10, z0_0=5, z1=95)
    meter = energy.Meter(CPU)
    rapl(z0=12.5, z0_0=7, z1=5)
    assert meter.joules() == {"cpu": 2.5 + 10}
    rapl(z0=12.5, z0_0=7, z1=80)
    meter.read_packages()
    rapl(z0=12.5, z0_0=7, z1=20)  # it wrapped again
    assert meter.joules() == {"cpu": 2.5 + 10 + 75 + 40}


def test_a_counter_that_is_not_readable_has_no_entry(rapl):
    assert energy.Meter(CPU).joules() == {}  # energy_uj is missing, as it is to all but root


def test_a_machine_without_counters_knows_no_energy(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "RAPL", tmp_path / "none")
    assert energy.Meter(CPU).joules() == {}


def test_the_gpu_that_trains_is_asked_by_its_uuid(monkeypatch, tmp_path):
    import pynvml

    monkeypatch.setattr(energy, "RAPL", tmp_path)
    readings = iter([5_000, 12_500])  # millijoules
    asked = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", asked.append)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: next(readings))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="ab-12"))
    assert energy.Meter(CUDA).joules() == {"gpu": 7.5}
    assert asked == ["GPU-ab-12"] * 2


def test_a_gpu_that_counts_no_energy_has_no_entry(monkeypatch):
    import pynvml

    def refuse(handle):
        raise pynvml.NVMLError_NotSupported

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", str)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="ab-12"))
    assert energy.gpu_joules(CUDA) is None


def test_the_report_says_of_how_many_runs_the_energy_is_known(write_run):
    paths = [
        write_run("mnist-convnet", seed, energy_joules={"gpu": 1800.0} if seed else {}) for seed in (0, 1, 2)
    ]
    assert provenance.energy(Results(paths)) == ["1.0 Wh (GPU, 2 of 3 runs)"]
