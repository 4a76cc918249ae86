"""The captions of `snakemake --report`: whole, with what came out, and safe whatever a title holds."""

from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest
from docutils.core import publish_parts

from trainkit.captions import CAPTIONS, of_results
from trainkit.figures import FIGURES
from trainkit.outputs import write_caption
from trainkit.results import Results
from trainkit.tables import TABLES


def test_every_table_and_figure_has_a_caption():
    assert CAPTIONS.keys() == TABLES.keys() | {name for figures in FIGURES.values() for name in figures}


@pytest.mark.parametrize("title", ["a*b* c_ `d` |e|", "{{ 1 + 1 }}", "{% if %}", "back\\slash", "<b>&amp;"])
def test_a_title_stays_as_it_is_through_both_languages(title: str, tmp_path: Path):
    write_caption(tmp_path / "caption.rst", "What it shows.", f"{title}: 98%.")
    template = (tmp_path / "caption.rst").read_text()
    html = publish_parts(jinja2.Template(template).render(), writer="html")["body"]
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html.strip() == f"<p>What it shows. {escaped}: 98%.</p>"


def test_a_caption_names_the_highest_first_with_its_interval(write_run: Callable[..., Path]):
    paths = [
        write_run(name, seed, task="1.2", title=name.title(), test_accuracy=accuracy + seed / 1000)
        for name, accuracy in (("low", 0.9), ("high", 0.95))
        for seed in (0, 1)
    ]
    _, came_out = of_results("task1_mnist", Results(paths))
    assert came_out.startswith("High: 95.05% (95% interval 94.41 to 95.69, n=2) after 10.0 s; Low: 90.05%")


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_caption_without_its_runs_says_so(name: str, write_run: Callable[..., Path]):
    shows, came_out = of_results(name, Results([write_run("other", task="extra")]))
    assert len(shows) > 40
    assert not any(figure in came_out for figure in ("%", " 0", "nan")), came_out
