"""The report's charts, and what rendering it takes."""

import subprocess
import sys

import pytest

from trainkit import charts
from trainkit.answers import recipes
from trainkit.results import Results

CONTROL = "cifar10-fast-constant"
HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def results(write_run) -> Results:
    facts = {"task": "2.2", "reference": CONTROL}
    paths = [
        write_run(CONTROL, 0, history=[(1.0, 0.2), (2.0, 0.4)], **facts),
        write_run(CONTROL, 1, history=[(1.2, 0.3), (2.2, 0.6)], **facts),
        write_run("cifar10-fast-linear", 0, schedule="linear", title=HOSTILE, **facts),
    ]
    return Results(paths)


def test_a_curve_is_the_mean_over_seeds_with_the_lowest_and_the_highest(results):
    last = charts.curve(results, CONTROL).iloc[-1]
    assert (last.epoch, last.n, last.seconds) == (2, 2, pytest.approx(2.1))
    assert (last["mean"], last.low, last.high) == pytest.approx((50, 40, 60))
    assert last.recipe == "SGD at a peak rate of 0.1, constant schedule, batches of 100; no augmentation"


def test_a_recipe_in_words_names_what_is_changed_in_it(results):
    run = results.first(CONTROL)
    recipe = run.spec["recipe"] | {
        "optimizer": {"name": "sgd", "weight_decay": 5e-4, "lookahead": {"k": 5}},
        "schedule": {"name": "one-cycle"},
        "label_smoothing": 0.1,
        "augment": {"flip": True, "translate": 2, "rotate": 0},
    }
    changed = run.model_copy(update={"spec": {"recipe": recipe}})
    assert recipes.in_words(changed) == (
        "SGD at a peak rate of 0.1, one-cycle schedule, batches of 100, weight decay 0.0005, label "
        "smoothing 0.1, Lookahead; augmented by flips, shifts in pixels up to 2"
    )


def test_a_chart_a_budget_and_no_title_is_code(results):
    (chart,) = charts.accuracy_against_seconds(results)
    assert chart["title"] == "B"
    assert "alert(1)" in chart["script"] and HOSTILE not in chart["script"]
    assert chart["script"].count("</script>") == 1


def test_rendering_the_report_imports_no_torch(root):
    code = "import sys; import make_report; assert 'bokeh' in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=root / "scripts", check=True)
