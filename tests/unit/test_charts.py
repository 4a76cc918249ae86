"""The report's charts, and what rendering it takes."""

import subprocess
import sys

import pytest

from trainkit import charts
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
    assert last.recipe == "sgd, peak rate 0.1, batch 100"


def test_a_chart_a_budget_and_no_title_is_code(results):
    (chart,) = charts.accuracy_against_seconds(results)
    assert chart["title"] == "B"
    assert "alert(1)" in chart["script"] and HOSTILE not in chart["script"]
    assert chart["script"].count("</script>") == 1


def test_rendering_the_report_imports_no_torch(root):
    code = "import sys; import make_report; assert 'bokeh' in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=root / "scripts", check=True)
