"""Render the study's report: one HTML file that needs nothing else."""

import argparse
import base64
import importlib.resources
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from trainkit import answers, captions, charts, provenance, rule_graph, tables
from trainkit.errors import StudyError, run_program
from trainkit.files import read_json, write_text
from trainkit.outputs import templates
from trainkit.results import MissingRunsError, Results, Rows, percent
from trainkit.seconds import in_words
from trainkit.watching import CALL

WAITS = Markup('<p class="warning">This waits for <a href="#missing">runs that are missing</a>.</p>')
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="its results folder")
    parser.add_argument("--seeds", required=True, help="JSON: the seeds of each experiment")
    parser.add_argument("--shown", nargs="+", type=Path, required=True, help="figures, other tables")
    parser.add_argument("--preset", required=True, help="the preset that was run")
    parser.add_argument("--left-out", nargs="*", default=[], help="experiments that this study does not run")
    parser.add_argument("--missing", nargs="*", default=[], help="runs without a record: EXPERIMENT/seed-N")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    results = Results.of_study(args.study, json.loads(args.seeds))
    if not results.runs:
        raise StudyError(f"{args.study}: no finished run is there to report; run snakemake first")
    missing = provenance.missing(args.study, args.missing)
    shown = {path.name: path for path in args.shown}
    write_text(args.out, render(results, args.study, shown, args.preset, args.left_out, missing))


def render(
    results: Results,
    study: Path,
    shown: dict[str, Path],
    preset: str,
    left_out: list[str],
    missing: Rows,
) -> str:
    """The report as HTML, from records and the files that are ``shown``, by name.

    ``missing`` are the runs that should be there (`provenance.missing`): where there are some, the
    parts that need them say so, and the others stand.
    """
    environment = templates()
    absent = answers.comparisons.LEFT_OUT + (", or not finished" if missing else "")
    lacking = (MissingRunsError, jinja2.UndefinedError) if missing else ()

    def there(make: Callable[..., Any], *arguments: Any) -> Any:
        """What a function makes; undefined to the templates where runs are missing for it."""
        try:
            return make(*arguments)
        except lacking as error:
            return environment.undefined(str(error))

    def answered(caller: Callable[[], str]) -> str:
        """A part of a template, or that runs are missing for it."""
        try:
            return caller()
        except lacking:
            return WAITS

    environment.globals |= {
        "answered": answered,
        "accuracy": lambda name: percent(results.interval(name, "test_accuracy")),
        "percent": percent,
        "mean": results.mean,
        "first": results.first,
        "of_task": results.of_task,
        "runs_of": lambda name: results.runs[name],
        "compare": partial(answers.comparisons.compare, results),
        "mcnemar": partial(answers.comparisons.mcnemar, results),
        "equal_seconds": partial(answers.comparisons.equal_seconds, results),
        "sorted_out": partial(answers.comparisons.sorted_out, if_none=absent),
        "supported": answers.comparisons.supported,
        "helped": answers.comparisons.helped,
        "recipe": lambda name: answers.recipes.in_words(results.first(name)),
        "optimizer": lambda name: answers.recipes.optimizer(results.first(name)),
        "trend": partial(answers.comparisons.trend, if_none=absent),
        "seconds": seconds,
        "count": lambda number: f"{number:,.0f}".replace(",", "\u202f"),
        "left_out_here": absent,
        "plural": lambda number, noun: f"{number:g} {noun}{'' if number == 1 else 's'}",
        "figure": lambda name: embed(shown[name]),
        "drawn": lambda name: name in shown,
        "shows": lambda name: captions.CAPTIONS[Path(name).stem][0],
        "budget_name": tables.contest.budget_name,
        "explanations": answers.schedules.EXPLANATIONS,
        "reasons": answers.schedules.REASONS,
    }
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    known = {name: there(make, results) for name, make in FROM_RESULTS.items()}
    speedrun, call = optional_rows(shown.get("speedrun.csv")), read_call(study / CALL)
    return environment.get_template("report.html.j2").render(
        known,
        contest_answer=there(answers.contest.equal_time, known["contest"]),
        contest_spent=there(answers.contest.steps_and_seconds, known["contest"]),
        **equal_cost(there, known, optional_rows(shown.get("task3_inference.csv"))),
        study=study.name,
        preset=preset,
        options=call["options"],
        left_out=left_out,
        missing=missing,
        run=next(iter(results.runs.values()))[0],
        runs=[record for runs in results.runs.values() for record in runs],
        hardware=pd.read_csv(shown["task2.1.1_hardware.csv"]).to_dict("records"),
        pipeline=pipeline_facts(pd.read_csv(shown["task1.3_input_pipeline.csv"])),
        benchmark=optional_rows(shown.get("benchmark.csv")),
        ladder=optional_rows(shown.get("benchmark_ladder.csv")),
        speedrun=speedrun,
        speedrun_means=tables.speedrun.means(speedrun),
        ablation=optional_rows(shown.get("speedrun_ablation.csv")),
        rule_graph=drawn_rules(call["graph"]),
        chart_library=charts.library(),
        table_library=table_library(),
    )


def equal_cost(there: Callable[..., Any], known: dict[str, Any], inference: Rows) -> dict[str, Any]:
    """What Task 3's comparisons at equal cost say of each paper."""
    equal, ablation = known["equal_cost"], known["equal_cost_ablation"]
    checked = {
        "convnextv2": there(answers.task3.ingredients, ablation),
        "repvgg": there(answers.task3.folding, inference),
        "fasternet": there(answers.task3.partial_convolution, inference, tables.task3.CONTROL),
    }
    for model, more in checked.items():
        checked[model] = there(lambda: answers.task3.against_control(equal, model) + more)  # noqa: B023
    checked["rankings"] = there(answers.task3.rankings, equal)
    checked["differences"] = there(answers.task3.differences, equal)
    checked["time"] = there(answers.task3.time_at_equal_arithmetic, equal)
    return {"inference": inference, "checked": checked}


def equal_cost_rows(make: Callable[[Results], Rows], results: Results) -> Rows:
    """Rows with their verdict in a word or two."""
    return [{"difference": None} | row | {"said": answers.task3.short(row)} for row in make(results)]


# What the templates know by these names: each from the results alone.
FROM_RESULTS: dict[str, Callable[[Results], Any]] = {
    "timeline": charts.timeline,
    "task1_histories": lambda results: charts.histories(results, *tables.task1.MAIN, x_axis_type="log"),
    "task3_histories": lambda results: charts.histories(results, "2.1.2", "2.1.3", "3"),
    "anytime": charts.accuracy_against_seconds,
    "spent": provenance.where_the_time_went,
    "span": provenance.span,
    "energy": provenance.energy,
    "mixed": provenance.mixed,
    "task1": tables.task1.main,
    "transfer": tables.task1.transfer,
    "parts": tables.task1.parts,
    "augmentation": tables.task1.augmentation,
    "more": tables.task1.more,
    "baselines": tables.task2.baselines,
    "whole": tables.task2.whole,
    "fast": tables.contest.fast_training,
    "contest": tables.contest.equal_time,
    "contest_tested": answers.contest.any_difference,
    "over_budgets": answers.contest.over_budgets,
    "slow_weights": answers.contest.slow_weights,
    "soonest": answers.contest.soonest,
    "surprises": answers.contest.surprises,
    "tuning_answer": answers.contest.tuning,
    "tried_rates": tables.contest.tried_rates,
    "crossed": tables.contest.crossed,
    "budgets": tables.contest.budgets,
    "architectures": tables.task3.architectures,
    "equal_cost": partial(equal_cost_rows, tables.task3.equal),
    "equal_cost_ablation": partial(equal_cost_rows, tables.task3.ablation),
    "equal_cost_not_run": tables.task3.not_run,
}


def optional_rows(path: Path | None) -> Rows:
    """A table of a part that not every study has; none where it has not."""
    return pd.read_csv(path).to_dict("records") if path else []


def seconds(value: float) -> str:
    """Seconds for people: ``4.2 s`` or ``3 min 20 s``."""
    if value < 119.95:
        return in_words(value)
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def read_call(path: Path) -> dict[str, Any]:
    """What the call of Snakemake that makes the report was given, and its rules."""
    try:
        call = read_json(path)
        return {"options": str(call["options"]), "graph": dict(call["graph"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StudyError(
            f"{path}: Snakemake writes it at the start of a call, and it cannot be read; rerun snakemake, "
            "without --no-hooks"
        ) from error


def drawn_rules(graph: dict[str, Any]) -> str:
    """The rules as Snakemake had them when it began, drawn."""
    drawing = io.BytesIO()
    rule_graph.draw(**graph).savefig(drawing, format="svg", metadata={"Date": None})
    return data_uri(drawing.getvalue(), MEDIA[".svg"])


def pipeline_facts(frame: pd.DataFrame) -> dict[str, Any]:
    """The profile's rows, its slowest operation, and before over after."""
    slow_name, fast_name = frame.pipeline.unique()
    slow, fast = (frame[frame.pipeline == name] for name in (slow_name, fast_name))
    slowest, slowest_after = (part.loc[part.microseconds_per_image.idxmax()] for part in (slow, fast))
    before, after = (part.microseconds_per_image.sum() for part in (slow, fast))
    return {
        "rows": frame.to_dict("records"),
        "slowest": slowest.operation,
        "slowest_share": slowest.share,
        "slowest_after": slowest_after.operation,
        "slowest_after_microseconds": slowest_after.microseconds_per_image,
        "before": before,
        "after": after,
        "ratio": before / after,
        "images": int(frame.images.iloc[0]),
        "rounds": int(frame.rounds.iloc[0]),
    }


def table_library() -> str:
    """DataTables as a JavaScript module, in the form of a data URI."""
    code = importlib.resources.files("itables").joinpath("html/dt_bundle.js").read_bytes()
    return data_uri(code, "text/javascript")


def embed(path: Path) -> str:
    """A figure as a data URI."""
    return data_uri(path.read_bytes(), MEDIA[path.suffix])


def data_uri(content: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


if __name__ == "__main__":
    run_program(main)
