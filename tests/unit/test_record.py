"""Records as a study reads them: whole, of one machine, or refused."""

import json
import re
import subprocess

import pytest

from trainkit.errors import StudyError
from trainkit.record import SCHEMA_VERSION, git_commit, read_record
from trainkit.results import Results


def test_runs_of_different_hardware_are_refused_by_name(write_run):
    paths = [write_run("mnist-convnet", seed, device=device) for seed, device in enumerate(["Z80", "6502"])]
    with pytest.raises(StudyError) as caught:
        Results(paths)
    assert str(caught.value).startswith("the runs are of different hardware (6502, Z80)")
    assert "--config study=NAME" in str(caught.value)


def test_a_record_that_is_none_is_named_with_what_to_do(tmp_path, write_run):
    with pytest.raises(StudyError, match=r"record\.json: cannot be read .*; rerun snakemake"):
        read_record(tmp_path / "record.json")
    path = write_run("mnist-convnet")
    path.write_text(path.read_text().replace('"seed":0', '"seed":"first"'))
    with pytest.raises(StudyError, match=r"record\.json: seed: .*; delete the file and rerun snakemake"):
        read_record(path)


def test_histories_of_all_seeds_stand_below_each_other(write_run):
    paths = [write_run("mnist-convnet", seed, history=[(1.0, 0.1), (2.0, 0.2 + seed)]) for seed in (3, 5)]
    frame = Results(paths).histories("mnist-convnet")
    assert frame.seed.tolist() == [3, 3, 5, 5]
    assert frame.val_accuracy.tolist() == [0.1, 3.2, 0.1, 5.2]


@pytest.mark.parametrize("version", [1, 2, 99, None])
def test_a_record_of_another_schema_is_refused_with_the_versions(write_run, version):
    path = write_run("mnist-convnet")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version, "new_field": 1}))
    with pytest.raises(StudyError) as caught:
        read_record(path)
    assert f"schema_version is {version!r}, and this version of the project reads {SCHEMA_VERSION}" in str(
        caught.value
    )


@pytest.mark.parametrize("text", ["", "{", "\0" * 100, "[1]", "null"])
def test_a_torn_record_is_refused(write_run, text):
    path = write_run("mnist-convnet")
    path.write_text(text)
    with pytest.raises(StudyError, match=r"record\.json: .*delete the file and rerun snakemake"):
        read_record(path)


# -- What a record was made of ---------------------------------------------------------------------


def made_of(path) -> dict:
    return {"mnist-convnet": read_record(path).identity()}


def test_records_of_the_declared_spec_code_and_data_are_taken(write_run):
    paths = [write_run("mnist-convnet", seed) for seed in (0, 1)]
    assert len(Results(paths, made_of(paths[0])).runs["mnist-convnet"]) == 2


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("spec", {"spec": {"recipe": {"epochs": 3}}}),
        ("code", {"code_digest": "f" * 16}),
        ("data", {"data_sha256": {"train_images": "f" * 64}}),
    ],
)
def test_a_stale_record_is_refused_with_what_differs(write_run, what, change):
    fresh, stale = write_run("mnist-convnet", 0), write_run("mnist-convnet", 1, **change)
    with pytest.raises(StudyError) as caught:
        Results([fresh, stale], made_of(fresh))
    assert f"seed-1/record.json: was made from another {what} (digest" in str(caught.value)
    assert "delete the file and rerun snakemake" in str(caught.value)


def test_a_record_of_an_older_version_is_read_without_the_seeds_of_its_spec(write_run):
    path = write_run("mnist-convnet", spec={"name": "mnist-convnet", "seeds": []})
    assert read_record(path).spec == {"name": "mnist-convnet"}


def test_a_record_that_was_not_asked_for_is_refused(write_run):
    path = write_run("mnist-convnet")
    with pytest.raises(StudyError, match="not asked for"):
        Results([path], {})


def test_the_commit_is_of_the_folder_and_not_of_a_repository_around_it(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    inner = tmp_path / "unpacked"
    inner.mkdir()
    assert git_commit(inner) == "unknown"
    git("init")
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-m", "m")
    (inner / "b").write_text("b")
    assert git_commit(inner) == "unknown"
    assert re.fullmatch("[0-9a-f]{40}", git_commit(tmp_path))
    (tmp_path / "a").write_text("b")
    assert git_commit(tmp_path).endswith("-dirty")
