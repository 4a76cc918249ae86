"""Charts that answer the pointer: the report's, by Bokeh, which brings its own code along."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from bokeh.embed import components
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Legend, NumeralTickFormatter
from bokeh.palettes import Turbo256, linear_palette
from bokeh.plotting import figure
from bokeh.resources import Resources

from trainkit import provenance
from trainkit.answers import recipes
from trainkit.results import Results
from trainkit.tables import contest

DASHES = {"": "solid", "Lookahead": "dashed", "EMA": "dotted"}
COLORS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9"]  # seaborn's


def library() -> str:
    """Bokeh's own code as a script element, for a page without a network."""
    return Resources(mode="inline", components=["bokeh"]).render_js()


def accuracy_against_seconds(results: Results) -> list[dict[str, str]]:
    """Validation accuracy at any time, a chart a budget: ``title``, ``script`` and ``div`` of each."""
    charts = []
    for label, names in contest.by_budget(results).items():
        script, div = components(_curves(results, names, _schedule))
        charts.append({"title": contest.budget_name(label), "script": script, "div": div})
    return charts


def histories(results: Results, *tasks: str, **axes: Any) -> dict[str, str]:
    """Validation accuracy against seconds of the experiments of some tasks: ``script`` and ``div``."""
    script, div = components(_curves(results, results.some_of_task(*tasks), lambda _, name: name, **axes))
    return {"script": script, "div": div}


def timeline(results: Results) -> dict[str, str]:
    """What ran when: a bar a run, a row a task."""
    frame = provenance.timeline(results)
    tasks = sorted(frame.task.unique())
    plot = figure(
        height=110 + 40 * len(tasks), sizing_mode="stretch_width",
        x_axis_type="datetime", y_range=tasks[::-1],
        tools="xpan,xwheel_zoom,reset", active_scroll=None, active_drag=None, x_axis_label="time (UTC)",
    )  # fmt: skip
    for task, color in zip(tasks, COLORS, strict=False):
        source = ColumnDataSource(frame[frame.task == task].to_dict("list"))
        plot.hbar("task", 0.7, right="end", left="start", source=source, color=color, line_color="white")
    plot.add_tools(HoverTool(tooltips=[
        ("run", "@experiment, seed @seed"), ("seconds", "@seconds{0.0}"), ("validation", "@accuracy{0.00}%"),
    ]))  # fmt: skip
    plot.ygrid.visible, plot.toolbar.logo = False, None
    script, div = components(plot)
    return {"script": script, "div": div}


def _curves(results: Results, names: list[str], kind: Callable[[Results, str], str], **axes: Any) -> figure:
    """Each experiment's mean over seeds with a band from the lowest to the highest; the legend toggles them.

    Experiments of a ``kind`` share a colour.
    """
    kinds = dict.fromkeys(kind(results, name) for name in names)
    many = len(kinds) > len(COLORS)
    palette = linear_palette(Turbo256, len(kinds)) if many else COLORS
    colors = dict(zip(kinds, palette, strict=False))
    plot = figure(
        height=380 + 12 * len(names), sizing_mode="stretch_width", tools="xpan,xwheel_zoom,box_zoom,reset",
        active_scroll=None, active_drag=None, toolbar_location="above",
        x_axis_label="training time, s", y_axis_label="validation accuracy, %", **axes,
    )  # fmt: skip
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[000]")  # a logarithmic axis writes 10^2 by itself
    if axes.get("x_axis_type") == "log":
        plot.xaxis.ticker = FixedTicker(ticks=[m * 10.0**k for k in range(-3, 7) for m in (1, 2, 5)])
    entries, lines = [], []
    for name in names:
        source = ColumnDataSource(curve(results, name).to_dict("list"))
        color = colors[kind(results, name)]
        band = plot.varea("seconds", "low", "high", source=source, color=color, alpha=0.13)
        dash = DASHES[contest.slow_weights(results, name)]
        line = plot.line("seconds", "mean", source=source, color=color, line_width=2, line_dash=dash)
        dots = plot.scatter("seconds", "mean", source=source, color=color, size=5)
        entries.append((results.first(contest.method_of(name)).title, [line, dots, band]))
        lines.append(dots)
    plot.add_layout(
        Legend(
            items=entries, click_policy="hide", ncols=2, label_text_font_size="9pt", border_line_alpha=0,
            spacing=6, location="top_left", glyph_width=40,
        ),
        "below",
    )  # fmt: skip
    plot.add_tools(HoverTool(renderers=lines, tooltips=[
        ("experiment", "@title"), ("run", "@experiment, n=@n"), ("recipe", "@recipe"),
        ("epoch", "@epoch"), ("seconds", "@seconds{0.00}"),
        ("accuracy", "@mean{0.00}% (@low{0.00} to @high{0.00})"),
    ]))  # fmt: skip
    plot.toolbar.logo = None
    return plot


def curve(results: Results, name: str) -> pd.DataFrame:
    """An experiment's validation accuracy, in percent, by epoch: mean, lowest and highest of its seeds."""
    run, history = results.first(name), results.histories(name)
    points = history.groupby("epoch").agg(
        seconds=("seconds", "mean"), mean=("val_accuracy", "mean"),
        low=("val_accuracy", "min"), high=("val_accuracy", "max"), n=("seed", "nunique"),
    ).reset_index()  # fmt: skip
    points[["mean", "low", "high"]] *= 100
    return points.assign(title=run.title, experiment=name, recipe=recipes.in_words(run))


def _schedule(results: Results, name: str) -> str:
    return str(results.first(name).spec["recipe"]["schedule"])
