"""Two studies compared: what is paired, what is tested, what is said to differ."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compare_studies
from trainkit import stats
from trainkit.comparison import changes, compare, first_difference, in_words
from trainkit.errors import StudyError

NAME = "mnist-convnet"


@pytest.fixture
def study(write_run, tmp_path):
    """A function that makes a study's folder of runs, each (experiment, seed, changes)."""

    def make(folder: str, *runs, hardware: dict | None = None) -> Path:
        for experiment, seed, changed in runs:
            write_run(experiment, seed, **changed)
        (tmp_path / folder).mkdir()
        (tmp_path / "runs").rename(tmp_path / folder / "runs")
        (tmp_path / folder / "hardware.json").write_text(json.dumps(hardware or {}))
        return tmp_path / folder

    return make


def seeds(*accuracies: float, name: str = NAME, **changed) -> list:
    return [(name, seed, {"test_accuracy": value} | changed) for seed, value in enumerate(accuracies)]


def page(a: Path, b: Path) -> str:
    return compare_studies.render(compare(a, b))


# -- Differences -----------------------------------------------------------------------------------


def test_the_difference_is_b_less_a_over_the_seeds_that_both_have(study):
    a = study("a", *seeds(0.80, 0.82, 0.10))
    b = study("b", *seeds(0.90, 0.93))
    (row,) = compare(a, b).rows
    assert row.seeds == [0, 1] and (row.a.n, row.b.n) == (3, 2)
    assert row.difference.mean == pytest.approx(0.105)
    assert row.unpaired == "unpaired seeds: 2 of A only"


def test_trials_which_are_not_tested_are_compared_on_validation_images(study):
    a = study("a", (NAME, 0, {"test_accuracy": None, "test_loss": None, "val_accuracy": 0.5}))
    b = study("b", (NAME, 0, {"test_accuracy": None, "test_loss": None, "val_accuracy": 0.6}))
    (row,) = compare(a, b).rows
    assert (row.a.mean, row.b.mean) == (0.5, 0.6)
    assert "validation accuracy: a trial is not tested" in row.flags
    assert "validation accuracy: a trial is not tested" in page(a, b)


def test_seeds_that_are_not_shared_are_not_compared(study):
    a = study("a", (NAME, 0, {"test_accuracy": 0.1}))
    b = study("b", (NAME, 1, {"test_accuracy": 0.9}))
    (row,) = compare(a, b).rows
    assert row.difference is None and row.ratio is None
    assert row.verdict == "no comparison: it needs at least two paired seeds (n=0)"
    assert row.unpaired == "unpaired seeds: 0 of A only; 1 of B only"
    assert "no paired seeds" in page(a, b)


def test_one_seed_each_has_no_interval_and_no_p_value(study):
    a, b = study("a", *seeds(0.8)), study("b", *seeds(0.9))
    comparison = compare(a, b)
    (row,) = comparison.rows
    assert row.verdict == "no comparison: it needs at least two paired seeds (n=1)"
    assert comparison.tested == 0 and "nan" not in page(a, b)
    assert "nan" not in "\n".join(compare_studies.lines(comparison))


def test_p_values_are_corrected_over_the_experiments_compared_but_not_the_identical_ones(study):
    same = seeds(0.5, 0.6, name="mnist-same")
    one = seeds(0.80, 0.81, 0.82, name="mnist-one") + seeds(0.80, 0.81, 0.82, name="mnist-two")
    other = seeds(0.90, 0.912, 0.92, name="mnist-one") + seeds(0.81, 0.80, 0.83, name="mnist-two")
    comparison = compare(study("a", *same, *one), study("b", *same, *other))
    rows = {row.name: row for row in comparison.rows}
    expected = stats.holm([rows["mnist-one"].difference.p, rows["mnist-two"].difference.p])
    assert [rows["mnist-one"].p_holm, rows["mnist-two"].p_holm] == expected
    assert comparison.tested == 2
    assert rows["mnist-one"].verdict.startswith("B beats A by 10.07 points")
    assert rows["mnist-two"].verdict == "no difference was found (n=3)"
    assert rows["mnist-same"].verdict == "identical" and math.isnan(rows["mnist-same"].p_holm)


def test_times_are_a_geometric_mean_of_paired_ratios(study):
    a = study("a", *seeds(0.8, train_seconds=10.0), (NAME, 1, {"train_seconds": 10.0}))
    b = study("b", *seeds(0.8, train_seconds=5.0), (NAME, 1, {"train_seconds": 80.0}))
    (row,) = compare(a, b).rows
    assert row.ratio.mean == pytest.approx(2.0) and row.ratio.low < 1 < row.ratio.high


@pytest.mark.parametrize(("device", "said"), [("Some CPU", "the same kind"), ("Another", "two different")])
def test_it_is_said_whether_the_times_are_of_two_machines(study, device, said):
    a, b = study("a", *seeds(0.8)), study("b", *seeds(0.8, device=device))
    assert said in compare(a, b).times


@pytest.mark.parametrize(
    "changed", [{"history": [(1.0, 0.4), (2.0, 0.9)]}, {"test_loss": 0.351}, {"spec": {"title": "other"}}]
)
def test_runs_of_another_history_loss_or_spec_are_not_identical(study, changed):
    a = study("a", (NAME, 0, {}))
    assert compare(a, study("same", (NAME, 0, {"train_seconds": 99.0}))).rows[0].verdict == "identical"
    assert not compare(a, study("b", (NAME, 0, changed))).rows[0].same


# -- What they are made of -------------------------------------------------------------------------


def test_the_keys_that_differ_are_named_with_both_values():
    one = {"recipe": {"optimizer": {"lr": 0.1}, "epochs": 3}, "gone": 1}
    other = {"recipe": {"optimizer": {"lr": 0.05}, "epochs": 3}, "new": None}
    assert [in_words(change) for change in changes(one, other)] == [
        "recipe.optimizer.lr: 0.1 -> 0.05",
        "gone: 1 -> (absent)",
        "new: (absent) -> None",
    ]


def test_another_spec_is_compared_and_flagged(study):
    a = study("a", (NAME, 0, {"spec": {"recipe": {"optimizer": {"lr": 0.1}}}}))
    b = study("b", (NAME, 0, {"spec": {"recipe": {"optimizer": {"lr": 0.05}}}}))
    assert compare(a, b).rows[0].spec == [("recipe.optimizer.lr", 0.1, 0.05)]
    assert "recipe.optimizer.lr: 0.1 → 0.05" in page(a, b)


def test_code_packages_data_machine_and_hardware_that_differ_are_listed(study):
    changed = {
        "git_commit": "beef", "code_digest": "1" * 16, "packages": {"torch": "9"}, "device": "Another",
        "data_sha256": {"train": "x"},
    }  # fmt: skip
    wide = {"winograd": True, "winograd_gain": 1.3}
    other = {"winograd": False, "winograd_gain": 1.05}
    hardware = [
        {"cpu": {"clock_current_mhz": 1}, "gpus": [], "precision": {"wide": {"training": wide}}},
        {"cpu": {"clock_current_mhz": 2}, "gpus": ["one"], "precision": {"wide": {"training": other}}},
    ]
    a = study("a", (NAME, 0, {"packages": {"torch": "8"}}), hardware=hardware[0])
    b = study("b", (NAME, 0, changed), hardware=hardware[1])
    comparison = compare(a, b)
    assert comparison.facts["Code"] == [("git_commit", "unknown", "beef")]
    assert comparison.facts["Packages"] == [("packages.torch", "8", "9")]
    assert comparison.facts["Machine"] == [("device", "Some CPU", "Another")]
    assert comparison.facts["Hardware"] == [
        ("gpus", [], ["one"]),
        ("precision.wide.training.winograd", True, False),
    ]
    assert [key for key, *_ in comparison.facts["Measured when each study began"]] == [
        "cpu.clock_current_mhz",
        "precision.wide.training.winograd_gain",
    ]
    assert [key for key, *_ in comparison.facts["Data"]] == ["mnist.train"]
    assert comparison.rows[0].flags == ["other data", "other code"]


def test_a_side_that_mixes_codes_is_flagged(study):
    a = study("a", *seeds(0.8), (NAME, 1, {"code_digest": "1" * 16}))
    assert (
        "A mixes runs of 2 different specs, codes or data"
        in compare(a, study("b", *seeds(0.8))).rows[0].flags
    )


def test_experiments_of_one_study_alone_are_listed(study):
    a, b = study("a", *seeds(0.8), ("mnist-a", 0, {})), study("b", *seeds(0.8), ("mnist-b", 0, {}))
    comparison = compare(a, b)
    assert (comparison.only_a, comparison.only_b) == (["mnist-a"], ["mnist-b"])
    assert "only in B: mnist-b" in compare_studies.lines(comparison)


def test_studies_without_a_common_experiment_are_said_to_have_none(study):
    a, b = study("a", ("mnist-a", 0, {})), study("b", ("mnist-b", 0, {}))
    assert "No experiment is in both studies." in compare_studies.lines(compare(a, b))
    assert "No experiment is in both studies." in page(a, b)


# -- The page and the program ----------------------------------------------------------------------


def test_names_are_text_on_the_page_and_on_the_terminal(study):
    evil = {"title": "<script>alert(1)</script>", "device": '"><img src=x>', "spec": {"x": "<b>\x1b[2J"}}
    a, b = study("a", (NAME, 0, {})), study("b", (NAME, 0, evil))
    html = page(a, b)
    assert "<script" not in html and "<img" not in html and "<b>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "\x1b" not in "\n".join(map(compare_studies.printable, compare_studies.lines(compare(a, b))))


def test_the_page_asks_for_nothing_from_outside_and_every_table_scrolls(study):
    html = page(study("a", *seeds(0.8, 0.9)), study("b", *seeds(0.7, 0.9, device="Another")))
    assert "http" not in html and "src=" not in html and "<script" not in html
    assert html.count("<table>") == html.count('<div class="scroll" tabindex="0" role="region"') == 3
    assert html.count("<polyline") == 4


def test_a_run_without_a_history_has_no_curve_and_is_compared_all_the_same(study):
    a, b = study("a", *seeds(0.8)), study("b", *seeds(0.8))
    shutil.copy(a / "hardware.json", next(a.glob("runs/*/*/history.csv")))
    assert not compare(a, b).rows[0].same
    next(a.glob("runs/*/*/history.csv")).unlink()
    assert page(a, b).count("<polyline") == 1


def test_the_page_lies_beside_the_second_study_and_its_place_is_printed(study, monkeypatch, capsys):
    a, b = study("one", *seeds(0.8)), study("two", *seeds(0.9))
    monkeypatch.setattr(sys, "argv", ["compare_studies.py", str(a), str(b)])
    compare_studies.main()
    out = b.parent / "compare-one-two.html"
    assert out.is_file() and str(out) in capsys.readouterr().out


def test_comparing_loads_no_training_library(root):
    code = "import sys, compare_studies; assert not {'torch', 'matplotlib'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], cwd=root / "scripts", check=True, timeout=60)


# -- Mistakes --------------------------------------------------------------------------------------


def test_a_record_of_another_schema_is_left_out_and_named(study):
    a, b = study("a", *seeds(0.8, 0.9)), study("b", *seeds(0.8, 0.9))
    path = a / "runs" / NAME / "seed-1" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 1}))
    comparison = compare(a, b)
    assert comparison.rows[0].seeds == [0]
    (reason,) = comparison.a.unread
    assert reason.startswith(f"{path}: schema_version is 1")
    assert f"left out: {reason}" in compare_studies.lines(comparison)
    for each in b.glob("runs/*/*/record.json"):
        each.write_text('{"schema_version": 1}')
    with pytest.raises(StudyError, match=r"b: none of its 2 records can be read; .*schema_version is 1"):
        compare(a, b)


def test_a_missing_an_empty_or_the_same_folder_is_one_clear_line(study, tmp_path):
    a = study("a", *seeds(0.8))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match=r"nowhere: no such folder"):
        compare(a, tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"empty: holds no records \(runs/EXPERIMENT/seed-N/record.json\)"):
        compare(a, tmp_path / "empty")
    with pytest.raises(StudyError, match=r"are the same folder"):
        compare(a, tmp_path / "empty" / ".." / "a")


def test_the_first_difference_is_found_where_not_every_epoch_was_validated(tmp_path):
    for name, accuracies in (("a", (0.5, 0.6)), ("b", (0.5, 0.9))):
        (tmp_path / name).mkdir()
        rows = [f"{epoch},1.0,{accuracy}" for epoch, accuracy in zip((5, 10), accuracies, strict=True)]
        (tmp_path / name / "history.csv").write_text("\n".join(["epoch,seconds,val_accuracy", *rows]) + "\n")
    records = [tmp_path / name / "record.json" for name in ("a", "b")]
    assert first_difference(*records) == 10
    assert first_difference(records[0], records[0]) is None
