"""One device, one timed run: leases by file locks, which the kernel frees when their holder dies.

A workflow's own resources cannot see another workflow; these locks are shared by all processes of
the machine, of all its users: they lie in /tmp, or where ``STUDY_LOCKS`` says. Within a Slurm job they
are the job's own, for Slurm has already given it its share.
"""

import contextlib
import fcntl
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from trainkit.errors import StudyError
from trainkit.files import remove_leftovers, unwritable

HELD = "STUDY_DEVICE"  # set for the children of the process that holds a lease
LOCKS = "STUDY_LOCKS"  # the folder of the locks' folder, where it is not /tmp
SECONDS_BETWEEN_TRIES, SECONDS_BETWEEN_LINES = 0.2, 30
CPU = "cpu"
HIDDEN = ("", "-1", "NoDevFiles")  # first in CUDA_VISIBLE_DEVICES: no GPU; Slurm says the last
ON_CPU = "put CUDA_VISIBLE_DEVICES= before the command"


class NoLocksError(StudyError):
    """The file system knows no locks."""


class Lease:
    """At most one device, held until the process ends. Asking again gives the same one."""

    def __init__(self) -> None:
        self.device: str | None = None
        self.waited = 0.0  # seconds, for another process's folder too
        self._lock: IO[str] | None = None

    def hold(self, say: Callable[[str], None]) -> str:
        """The device of this process, waited for if need be: ``cpu`` or a GPU's UUID.

        CUDA shows this process that GPU alone, or none with the CPU, so that this must come before CUDA
        is first used.
        """
        if self.device is None:
            self.device = os.environ.get(HELD) or self._take(devices(), say)
            os.environ[HELD] = self.device
        return self.device

    def _take(self, candidates: list[str], say: Callable[[str], None]) -> str:
        began = said = time.monotonic()
        while True:
            for device in candidates:
                self._lock = try_lock(folder() / f"{device.replace('/', '_')}.lock")
                if self._lock:
                    self.waited += time.monotonic() - began
                    os.environ["CUDA_VISIBLE_DEVICES"] = "" if device == CPU else device
                    return device
            if time.monotonic() - said > SECONDS_BETWEEN_LINES or said == began:
                said = time.monotonic()
                say(f"waiting for {' or '.join(candidates)}: a timed run of another process has it")
            time.sleep(SECONDS_BETWEEN_TRIES)


LEASE = Lease()


def devices() -> list[str]:
    """What this process may compute on: GPUs by UUID, of those that are visible, else the CPU.

    All are of the first one's model: a study compares no runs of different GPUs. Raises `StudyError` where
    there are GPUs, and ``CUDA_VISIBLE_DEVICES`` names another one.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in HIDDEN:
        return [CPU]
    models = gpu_models()
    found = list(models) if visible is None else chosen(visible, list(models))
    if models and not found:
        raise StudyError(
            f"CUDA_VISIBLE_DEVICES={visible}: expected GPUs that NVML lists, 0 to {len(models) - 1} or by "
            f"UUID; name one of those, or train on the CPU: {ON_CPU}"
        )
    return [gpu for gpu in found if models.get(gpu) == models.get(found[0])] or [CPU]


def chosen(visible: str, gpus: list[str]) -> list[str]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` names, by number or UUID; none from the first unknown on.

    A name that NVML does not list (a MIG slice) is taken as it is.
    """
    found = []
    for word in filter(None, (word.strip() for word in visible.split(","))):
        if word.lstrip("-").isdecimal():
            if not 0 <= int(word) < len(gpus):
                break
            found.append(gpus[int(word)])
        elif word.startswith("MIG-"):
            found.append(word)
        else:
            whole = [gpu for gpu in gpus if gpu.startswith(word)]
            if len(whole) != 1:
                break
            found.append(whole[0])
    return found


def gpu_models() -> dict[str, str]:
    """The GPUs that NVML lets this process use, by UUID, in the order of their places on the bus."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return {
            text(pynvml.nvmlDeviceGetUUID(handle)): text(pynvml.nvmlDeviceGetName(handle))
            for handle in readable(pynvml)
        }
    except Exception as error:  # no library, no driver, no permission: all mean that no GPU can be used
        if type(error).__name__ == "NVMLError_LibRmVersionMismatch":
            raise StudyError(
                "the GPU's driver and its library are of different versions, for it was updated since this "
                f"machine began: restart the machine, or train on the CPU: {ON_CPU}"
            ) from error
        return {}


def memory_gb(gpu: str) -> float | None:
    """A GPU's memory, or a slice's, by UUID, in 10^9 bytes; ``None`` where NVML does not tell."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(gpu)).total / 1e9
    except Exception:  # as for the models
        return None


def readable(pynvml: ModuleType) -> list[Any]:
    """NVML's handles of the GPUs; it counts those too that are lost, or another job's."""
    handles = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError):
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(index))
    return handles


def text(value: str | bytes) -> str:
    """What NVML calls something; old versions of it give bytes."""
    return value.decode() if isinstance(value, bytes) else value


# -- Locks ---------------------------------------------------------------------------------


def folder() -> Path:
    """Where the machine's locks lie: all of its users must be able to take them."""
    job = os.environ.get("SLURM_JOB_ID")
    # Not TMPDIR, which may be each user's own.
    path = Path(os.environ.get(LOCKS) or "/tmp") / f"study-devices{f'-{job}' if job else ''}"
    try:
        path.mkdir(mode=0o777, exist_ok=True)
        if path.stat().st_uid == os.getuid():
            path.chmod(0o777 | stat.S_ISVTX)
    except OSError as error:
        raise StudyError(
            f"{path}: cannot hold the locks of devices ({error.strerror}); set {LOCKS} to a folder "
            "that all users of the machine can write in"
        ) from error
    return path


def try_lock(path: Path) -> IO[str] | None:
    """An open file that holds the lock until it is closed, or None where another one has it."""
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:  # as it is first: Linux forbids O_CREAT on another user's file in such a folder
            number = os.open(path, flags)
        except FileNotFoundError:
            number = os.open(path, flags | os.O_CREAT, 0o666)
        if os.fstat(number).st_uid == os.getuid():
            os.fchmod(number, 0o666)
        stream = os.fdopen(number, "r+")
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be locked ({error.strerror}); remove it, or make it writable"
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(number), path.stat())
    except (BlockingIOError, FileNotFoundError):
        ours = False
    except OSError as error:  # some network file systems
        stream.close()
        raise NoLocksError(
            f"{path}: its file system knows no locks ({error.strerror}); "
            f"set {LOCKS} to a folder on a local disk"
        ) from error
    if not ours:  # another one's, or removed by its last holder meanwhile: the next one locks a new file
        stream.close()
        return None
    return stream


@contextlib.contextmanager
def alone_in(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a run's folder: a job that outlived its Snakemake may still be writing there."""
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise unwritable(folder, error) from error
    began, waiting, lock = time.monotonic(), False, None
    try:
        while not (lock := try_lock(path)):
            if not waiting:
                say(f"waiting for another process that trains into {folder}")
            waiting = True
            time.sleep(SECONDS_BETWEEN_TRIES)
        LEASE.waited += time.monotonic() - began
    except NoLocksError:
        say(f"warning: the file system of {folder} knows no locks; let no two calls train into it at once")
    try:
        remove_leftovers(folder)
        yield
    finally:
        path.unlink(missing_ok=True)
        if lock:
            lock.close()


def share(path: Path, clear: Callable[[], None]) -> IO[str] | None:
    """Share a lock until the file is closed; ``clear`` is called first where nobody else has it.

    Nothing is cleared where the last holder was another machine, whose locks cannot be seen on
    every file system, and nothing is held where the file system knows no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        alone = try_lock(path)
        if alone:
            host = platform.node()
            if alone.read() in ("", host):
                clear()
            alone.seek(0)
            alone.truncate()
            alone.write(host)
            alone.flush()
            fcntl.flock(alone, fcntl.LOCK_SH)  # one step down, without letting go
            return alone
        stream = path.open("r+")
        fcntl.flock(stream, fcntl.LOCK_SH)  # whoever has it for himself will soon share it
        return stream
    except (OSError, StudyError):
        return None
