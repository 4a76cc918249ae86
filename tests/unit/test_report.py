"""What the report's program says by itself; the report as a whole is the smoke study's to test."""

import pytest

import make_report
from trainkit.errors import StudyError


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (4.24, "4.2 s"), (119.94, "119.9 s"), (119.96, "2 min 0 s"), (179.7, "3 min 0 s"),
        (200, "3 min 20 s"), (7199.6, "120 min 0 s"),
    ],
)  # fmt: skip
def test_seconds_are_minutes_from_two_on_and_no_minute_has_sixty(seconds, said):
    assert make_report.seconds(seconds) == said


def test_an_ablation_is_shown_without_a_speedrun():
    page = make_report.templates().from_string(
        '{% import "macros.html.j2" as m with context %}{% include "speedrun.html.j2" %}'
    )
    row = {"title": "Without whitening", "n": 3, "epochs": 3, "val_accuracy": 86.8, "test_accuracy": 86.9}
    shown = page.render(speedrun=[], ablation=[row | {"train_seconds": 50, "verdict": "worse"}])
    assert "Without whitening" in shown and "Every run" not in shown


@pytest.mark.parametrize("content", [None, "", "[]", '{"options": "--config preset=cpu"}'])
def test_a_call_that_cannot_be_read_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "call.json").write_text(content)
    with pytest.raises(StudyError, match=r"^[^\n]*call\.json: Snakemake writes it at the start of a call"):
        make_report.read_call(tmp_path / "call.json")
