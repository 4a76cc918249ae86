"""One device, one timed run: real locks between real processes, and simulated GPUs."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest

from trainkit import hardware, lease
from trainkit.errors import StudyError

SCRIPTS = Path(lease.__file__).parents[1]
GPUS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3", "GPU-dddd-4"]

# Takes a lease as a run does, tells which, and holds it until its input ends.
HOLDER = """
import os, sys
from trainkit import lease
lease.gpu_models = lambda: dict.fromkeys({gpus}, "H100")
device = lease.LEASE.hold(lambda line: print(line, flush=True))
print(device, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process with a lease."""

    def __init__(self, folder: Path, gpus: list[str] = (), **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", lease.HELD)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER.format(gpus=list(gpus))],
            cwd=SCRIPTS, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**inherited, lease.LOCKS: str(folder), **environment},
        )  # fmt: skip

    def said(self) -> str:
        """The next line: the device held and what CUDA shows, or that it waits."""
        return self.process.stdout.readline().strip()

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def hold(tmp_path):
    holders = []

    def start(*args, **environment) -> Holder:
        holders.append(Holder(tmp_path, *args, **environment))
        return holders[-1]

    yield start
    for holder in holders:
        holder.end()


def test_a_second_run_waits_for_the_cpu_and_says_so_until_the_first_one_is_killed(hold):
    first = hold()
    assert first.said() == "cpu"  # and CUDA shows nothing
    second = hold()
    assert second.said() == "waiting for cpu: a timed run of another process has it"
    time.sleep(0.5)
    first.end(signal.SIGKILL)
    assert second.said() == "cpu"


def test_four_runs_have_four_gpus_and_a_fifth_waits(hold):
    four = [hold(GPUS) for _ in range(4)]
    taken = [holder.said().split() for holder in four]
    assert sorted(device for device, _ in taken) == GPUS
    assert all(device == visible for device, visible in taken)
    fifth = hold(GPUS)
    assert fifth.said().startswith("waiting for GPU-aaaa-1 or GPU-bbbb-2 or")
    four[2].end()
    assert fifth.said().split()[0] == taken[2][0]


def test_visible_devices_that_are_set_are_respected(hold):
    assert hold(GPUS, CUDA_VISIBLE_DEVICES="2").said() == "GPU-cccc-3 GPU-cccc-3"
    assert hold(GPUS, CUDA_VISIBLE_DEVICES="GPU-bbbb").said() == "GPU-bbbb-2 GPU-bbbb-2"
    assert hold(GPUS, CUDA_VISIBLE_DEVICES="2").said().startswith("waiting for GPU-cccc-3:")


def test_no_visible_device_means_the_cpu(hold):
    assert hold(GPUS, CUDA_VISIBLE_DEVICES="").said() == "cpu"


def test_jobs_of_a_slurm_have_their_share_already(hold):
    assert hold(SLURM_JOB_ID="7").said() == "cpu"
    assert hold(SLURM_JOB_ID="8").said() == "cpu"
    assert hold(SLURM_JOB_ID="8").said().startswith("waiting for cpu")


def test_the_children_of_a_holder_share_its_lease(hold):
    assert hold().said() == "cpu"
    assert hold(**{lease.HELD: "cpu"}).said() == "cpu None"


def test_asking_again_gives_the_same_device(monkeypatch):
    monkeypatch.delenv(lease.HELD)
    ours = lease.Lease()
    assert ours.hold(print) == ours.hold(print)
    assert ours.waited < 1


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,3", [0, 3]),
        ("3,0", [3, 0]),
        ("1,9,2", [1]),  # CUDA ignores all from the first unknown one on
        ("-1,0", []),
        ("GPU-dddd, 0", [3, 0]),
        ("GPU-", []),
        ("", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible, expected):
    assert lease.chosen(visible, GPUS) == [GPUS[i] for i in expected]


def test_a_slice_of_a_gpu_is_taken_by_its_name():
    assert lease.chosen("MIG-1234", GPUS) == ["MIG-1234"]


def test_gpus_of_another_model_than_the_first_visible_one_are_left_alone(monkeypatch):
    monkeypatch.setattr(lease, "gpu_models", lambda: dict(zip(GPUS, ["A", "B", "A", "B"], strict=True)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert lease.devices() == [GPUS[0], GPUS[2]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0,3")
    assert lease.devices() == [GPUS[1], GPUS[3]]


@pytest.mark.parametrize("visible", ["4", "GPU-eeee", "GPU-"])
def test_a_gpu_that_is_not_there_is_an_error_and_not_the_cpu(monkeypatch, visible):
    monkeypatch.setattr(lease, "gpu_models", lambda: dict.fromkeys(GPUS, "A"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(StudyError, match=f"CUDA_VISIBLE_DEVICES={visible}: expected .* 0 to 3 or by UUID"):
        lease.devices()
    monkeypatch.setattr(lease, "gpu_models", dict)  # where there is none, nobody can mean one
    assert lease.devices() == [lease.CPU]


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", "NoDevFiles"])
def test_hidden_gpus_mean_the_cpu_and_are_not_asked_for(monkeypatch, visible):
    monkeypatch.setattr(lease, "gpu_models", lambda: pytest.fail("NVML was asked"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert lease.devices() == [lease.CPU]


def test_a_driver_that_was_updated_since_the_machine_began_is_said(monkeypatch):
    def mismatch() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", mismatch)
    with pytest.raises(StudyError, match="restart the machine, or train on the CPU"):
        lease.gpu_models()


def test_a_gpu_that_nvml_counts_and_may_not_open_is_passed_over(monkeypatch):
    def handle(index: int) -> int:
        if index != 2:
            raise pynvml.NVMLError_NoPermission
        return index

    def refuse(*args: object) -> None:
        raise pynvml.NVMLError_NotSupported

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda index: GPUS[index].encode())
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda index: "H100")
    assert lease.gpu_models() == {GPUS[2]: "H100"}
    for asked in ("DeviceGetMemoryInfo", "DeviceGetPowerManagementLimit", "DeviceGetMaxClockInfo"):
        monkeypatch.setattr(pynvml, f"nvml{asked}", refuse)
    for asked in ("DriverVersion", "CudaDriverVersion_v2"):
        monkeypatch.setattr(pynvml, f"nvmlSystemGet{asked}", refuse)
    (gpu,), note = hardware.gpus_by_nvml()
    assert (gpu["model"], gpu["memory_mb"], gpu["cuda"]) == ("H100", None, "not reported")
    assert note == "NVML lists 1 GPU"


def test_a_folder_of_locks_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "from trainkit.errors import run_program; from trainkit import lease\n"
         "run_program(lambda: lease.LEASE.hold(print))"],
        cwd=SCRIPTS, text=True, capture_output=True, env=os.environ | {lease.LOCKS: str(tmp_path / "file")},
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: ")
        and "set STUDY_LOCKS" in done.stderr
        and done.stderr.count("\n") == 1
    )


# -- Folders ---------------------------------------------------------------------------------------


def test_only_who_is_alone_clears_what_dead_ones_left(tmp_path):
    path, cleared = tmp_path / "new" / "alive.lock", []
    first = lease.share(path, lambda: cleared.append(1))
    assert cleared == [1]
    second = lease.share(path, lambda: cleared.append(2))
    first.close()
    third = lease.share(path, lambda: cleared.append(3))  # the second is still there
    assert cleared == [1]
    second.close()
    third.close()
    lease.share(path, lambda: cleared.append(4)).close()
    assert cleared == [1, 4]


def test_nothing_is_cleared_after_a_call_on_another_machine(tmp_path, monkeypatch):
    path, cleared = tmp_path / "alive.lock", []
    lease.share(path, lambda: None).close()
    monkeypatch.setattr(lease.platform, "node", lambda: "another-machine")
    lease.share(path, lambda: cleared.append(1)).close()
    assert cleared == []


def test_where_nothing_can_be_locked_nothing_is_cleared(tmp_path):
    (tmp_path / "file").write_text("")
    assert lease.share(tmp_path / "file" / "alive.lock", lambda: 1 / 0) is None


def test_a_run_on_a_file_system_without_locks_goes_on_and_says_so(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lease.fcntl, "flock", no_locks)
    said = []
    with lease.alone_in(tmp_path / "run", said.append):
        pass
    assert len(said) == 1 and "knows no locks" in said[0]
    with pytest.raises(StudyError, match=r"knows no locks .* set STUDY_LOCKS to a folder on a local disk"):
        lease.Lease()._take([lease.CPU], said.append)


def test_another_users_lock_is_opened_and_never_created_anew(tmp_path, monkeypatch):
    # Linux refuses O_CREAT on another user's file in a folder like /tmp (fs.protected_regular).
    lease.try_lock(tmp_path / "cpu.lock").close()
    opened = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, *mode: opened.append(flags) or real(path, flags, *mode)
    )
    assert lease.try_lock(tmp_path / "cpu.lock")
    assert len(opened) == 1 and not opened[0] & os.O_CREAT


def test_a_lock_whose_file_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    path, real = tmp_path / "run.lock", lease.fcntl.flock
    monkeypatch.setattr(lease.fcntl, "flock", lambda *of: (path.unlink(), real(*of)))
    assert lease.try_lock(path) is None
    monkeypatch.setattr(lease.fcntl, "flock", lambda *of: (path.unlink(), path.touch(), real(*of)))
    assert lease.try_lock(path) is None
    monkeypatch.setattr(lease.fcntl, "flock", real)
    assert lease.try_lock(path)


def test_a_run_waits_for_an_orphan_that_still_trains_into_its_folder(tmp_path):
    with lease.alone_in(tmp_path / "run", print):
        done = subprocess.Popen(
            [sys.executable, "-u", "-c",
             "from trainkit import lease; from pathlib import Path; import sys\n"
             "with lease.alone_in(Path(sys.argv[1]), print): print('alone', lease.LEASE.waited > 0.1)",
             str(tmp_path / "run")],
            cwd=SCRIPTS, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert done.stdout
        waits = done.stdout.readline()
        assert waits == f"waiting for another process that trains into {tmp_path / 'run'}\n"
        time.sleep(0.1)
        assert done.poll() is None
    assert done.communicate(timeout=30)[0] == "alone True\n"  # no seconds of the run
    assert list((tmp_path / "run").iterdir()) == []


def test_whoever_holds_a_runs_folder_clears_what_a_killed_write_left_there(tmp_path):
    (tmp_path / ".history.csv.fwni4n39").write_text("half")
    (tmp_path / "history.csv").write_text("whole")
    with lease.alone_in(tmp_path, print):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "history.csv"}
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv"}
