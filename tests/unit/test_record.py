"""Records as a study reads them: whole, of one machine, or refused."""

import pytest

from trainkit.errors import StudyError
from trainkit.record import read_record
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
