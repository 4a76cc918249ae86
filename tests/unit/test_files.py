"""Writing beside and renaming: a reader never sees half a file."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from trainkit.errors import StudyError
from trainkit.files import atomic, read_json, sha256_of_file, write_json, write_text


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_new_content_appears_only_at_the_end(tmp_path):
    path = tmp_path / "table.csv"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == {"table.csv"}


@pytest.mark.parametrize("error", [ValueError, StudyError, KeyboardInterrupt])
def test_a_failure_leaves_no_trace(tmp_path, error):
    with pytest.raises(error), atomic(tmp_path / "table.csv") as temporary:
        temporary.write_text("half of")
        raise error
    assert names(tmp_path) == set()


def test_a_failure_leaves_the_old_content(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half of")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert names(tmp_path) == {"table.csv"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_an_error_that_names_the_file_and_what_to_do(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with pytest.raises(StudyError) as caught, atomic(path), Path("/dev/full").open("w") as full:
        full.write("x" * 10_000)
    assert (
        str(caught.value)
        == f"{path}: cannot be written (No space left on device); make room for it and rerun"
    )
    assert path.read_text() == "old"


def test_where_no_folder_can_be_nobody_is_told_to_make_room(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StudyError) as caught:
        write_text(tmp_path / "taken" / "x.txt", "text")
    assert str(caught.value) == (
        f"{tmp_path}/taken/x.txt: cannot be written (File exists); "
        "make its folder one that you can write to and rerun"
    )


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o640
    assert os.umask(before) == before


def test_json_comes_back_as_it_was_and_ends_with_a_newline(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"text": "für"}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    assert (tmp_path / "x.json").read_text().endswith("}\n")


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert read_json(tmp_path / "x.json") == 1


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_of_file(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
