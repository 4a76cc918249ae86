"""Render the study's report: one HTML file that needs nothing else."""

import argparse
import base64
import importlib.resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from trainkit import answers, charts, provenance, stats, tables
from trainkit.errors import run_program
from trainkit.files import write_text
from trainkit.results import Results, Rows, percent

TEMPLATES = Path(__file__).resolve().parent.parent / "report"
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", nargs="+", type=Path, required=True)
    parser.add_argument("--study", type=Path, required=True, help="the study's results folder")
    parser.add_argument("--preset", required=True, help="the preset that was run")
    parser.add_argument("--left-out", nargs="*", default=[], help="experiments that this study does not run")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    results = Results(args.records)
    write_text(args.out, render(results, args.study, args.preset, args.left_out))


def render(results: Results, study: Path, preset: str, left_out: list[str]) -> str:
    """The report as HTML, from records, tables and figures alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "accuracy": lambda name: percent(results.interval(name, "test_accuracy")),
        "mean": results.mean,
        "first": results.first,
        "of_task": results.of_task,
        "runs_of": lambda name: results.runs[name],
        "compare": lambda a, b, family=(): compare(results, a, b, family),
        "mcnemar": lambda a, b: answers.task1.mcnemar(results, a, b),
        "equal_seconds": lambda a, b: answers.task1.equal_seconds(results, a, b),
        "sorted_out": answers.task1.sorted_out,
        "trend": answers.task1.trend,
        "seconds": seconds,
        "count": lambda number: f"{number:,.0f}".replace(",", "\u202f"),
        "figure": lambda name: embed(study / "figures" / name),
        "explanations": answers.schedules.EXPLANATIONS,
        "reasons": answers.schedules.REASONS,
    }
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    equal_time = tables.contest.equal_time(results)
    run = next(iter(results.runs.values()))[0]
    return environment.get_template("report.html.j2").render(
        study=study.name,
        preset=preset,
        left_out=left_out,
        timeline=charts.timeline(results),
        spent=provenance.where_the_time_went(results),
        span=provenance.span(results),
        hardware=pd.read_csv(study / "tables" / "task2.1.1_hardware.csv").to_dict("records"),
        run=run,
        runs=[record for runs in results.runs.values() for record in runs],
        task1=tables.task1.mnist(results.only("1.1", "1.2", "1.3", "1.4")),
        transfer=tables.task1.transfer(results),
        parts=tables.task1.parts(results),
        augmentation=tables.task1.augmentation(results),
        more=tables.task1.more(results),
        pipeline=pipeline_facts(pd.read_csv(study / "tables" / "task1.3_input_pipeline.csv")),
        baselines=tables.task2.baselines(results),
        fast=tables.contest.fast_training(results),
        chart_library=charts.library(),
        anytime=charts.accuracy_against_seconds(results),
        table_library=table_library(),
        contest=equal_time,
        contest_answer=answers.contest.equal_time(equal_time),
        contest_tested=answers.contest.any_difference(results),
        over_budgets=answers.contest.over_budgets(results),
        surprises=answers.contest.surprises(results),
        tuning_answer=answers.contest.tuning(results),
        tuning=tables.contest.tuning(results),
        crossed=tables.contest.crossed(results),
        budgets=tables.contest.budgets(results),
        architectures=tables.task3.architectures(results),
        **league(results, optional_rows(study / "tables" / "task3_inference.csv")),
        benchmark=optional_rows(study / "tables" / "benchmark.csv"),
        speedrun=optional_rows(study / "tables" / "speedrun.csv"),
        ablation=optional_rows(study / "tables" / "speedrun_ablation.csv"),
    )


def league(results: Results, inference: Rows) -> dict[str, Any]:
    """Task 3's comparisons at equal cost, and what they say of each paper."""
    equal, ablation = tables.task3.equal(results), tables.task3.ablation(results)
    for row in equal + ablation:
        row["said"] = answers.task3.short(row)
        row.setdefault("difference", None)
    checked = {model: answers.task3.against_control(equal, model) for model in tables.task3.ARCHITECTURES}
    checked["convnextv2"] += answers.task3.ingredients(ablation)
    checked["repvgg"] += answers.task3.folding(inference)
    checked["fasternet"] += answers.task3.partial_convolution(inference, tables.task3.CONTROL)
    return {
        "league": equal,
        "league_ablation": ablation,
        "league_not_run": tables.task3.not_run(results),
        "inference": inference,
        "checked": checked | {"rankings": answers.task3.rankings(equal)},
    }


def optional_rows(path: Path) -> Rows:
    """A table of a part of the study that is run on demand; none where it has not been."""
    return pd.read_csv(path).to_dict("records") if path.exists() else []


def compare(results: Results, a: str, b: str, family: Rows | tuple = ()) -> str:
    """What the paired difference between two experiments allows to say, in one sentence.

    ``family`` is the table that holds the comparison among others: its corrected p-value counts.
    """
    difference = results.difference(a, b)
    first, second = (f"\u201c{results.first(name).title}\u201d" for name in (a, b))
    if difference is None or difference.n < 2:
        images = results.disagreement(a, b)
        return (
            f"one seed each says nothing of the methods; of these two trained networks {first} alone "
            f"is right on {images.only_a} test images and {second} alone on {images.only_b} "
            f"(McNemar, p={images.p:.2g})"
        )
    corrected = [row["p_holm"] for row in family if row["experiment"] in (a, b) and "p_holm" in row]
    p = corrected[0] if corrected else difference.p
    return (
        f"{stats.verdict(difference, p, first, second)}; paired difference "
        f"{100 * difference.mean:+.2f} points, "
        f"95% interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
    )


def seconds(value: float) -> str:
    """Seconds for people: ``4.2 s`` or ``3 min 20 s``."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"


def pipeline_facts(frame: pd.DataFrame) -> dict[str, Any]:
    """The profile's rows, its slowest operation, and before over after."""
    slow_name, fast_name = frame.pipeline.unique()
    slow, fast = (frame[frame.pipeline == name] for name in (slow_name, fast_name))
    slowest = slow.loc[slow.microseconds_per_image.idxmax()]
    before, after = (part.microseconds_per_image.sum() for part in (slow, fast))
    return {
        "rows": frame.to_dict("records"),
        "slowest": slowest.operation,
        "slowest_share": slowest.share,
        "before": before,
        "after": after,
        "ratio": before / after,
        "images": int(frame.images.iloc[0]),
        "rounds": int(frame.rounds.iloc[0]),
    }


def table_library() -> str:
    """DataTables as a JavaScript module, in the form of a data URI."""
    code = importlib.resources.files("itables").joinpath("html/dt_bundle.js").read_bytes()
    return f"data:text/javascript;base64,{base64.b64encode(code).decode()}"


def embed(path: Path) -> str:
    """A figure as a data URI."""
    return f"data:{MEDIA[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


if __name__ == "__main__":
    run_program(main)
