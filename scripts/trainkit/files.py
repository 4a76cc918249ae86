"""Writing so that a reader never sees half a file, and digests of what was written."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainkit.errors import StudyError

_AGAIN = "delete both and rerun snakemake"
FULL = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = {*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place only if the block succeeds."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())  # the content before the name, should the power fail
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are its user's alone
        temporary.replace(path)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise unwritable(path, error) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> StudyError:
    """What to tell the user whose disk or folder takes no file."""
    remedy = "make room for it" if error.errno in FULL else "make its folder one that you can write to"
    return StudyError(f"{path}: cannot be written ({error.strerror}); {remedy} and rerun")


def remove_leftovers(folder: Path) -> None:
    """Remove what `atomic` leaves where its process is killed, from a folder that has one writer."""
    for temporary in folder.glob(".*.*"):
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def manifest(path: Path) -> dict[str, Any]:
    """What the manifest beside a file, of the same name in JSON, says of it."""
    return read_json(path.with_suffix(".json"))


def verified(path: Path) -> Path:
    """A file that its `manifest` vouches for.

    Raises `StudyError` where it was changed or cut off since.
    """
    beside = path.with_suffix(".json")
    try:
        expected, got = manifest(path)["file_sha256"], sha256_of_file(path)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise StudyError(f"{path}: cannot be verified by {beside} ({error}); {_AGAIN}") from error
    if got != expected:
        raise StudyError(
            f"{path}: was changed or cut off: its SHA-256 is {got[:16]}..., {beside} says "
            f"{expected[:16]}...; {_AGAIN}"
        )
    return path


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
