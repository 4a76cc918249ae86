"""Draw a task's figures from its records."""

import argparse
import json
from pathlib import Path

import pandas as pd

from trainkit.captions import of_results
from trainkit.errors import run_program
from trainkit.figures import FIGURES, drawn, task1
from trainkit.outputs import write_figure
from trainkit.results import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=FIGURES)
    parser.add_argument("--study", type=Path, required=True, help="its results folder")
    parser.add_argument("--seeds", required=True, help="JSON: the seeds of each experiment")
    parser.add_argument("--input-pipeline", type=Path, help="the input pipeline's profile, CSV")
    args = parser.parse_args()
    results, folder = Results.of_study(args.study, json.loads(args.seeds)), args.study / "figures"
    for name, draw in FIGURES[args.task].items():
        write_figure(drawn(draw, results), folder / f"{name}.svg", *of_results(name, results))
    if args.input_pipeline:
        profile = pd.read_csv(args.input_pipeline)
        seconds = profile.groupby("pipeline", sort=False).microseconds_per_image.sum()
        said = "; ".join(f"{name}: {value:.1f}" for name, value in seconds.items())
        shows = "Microseconds an image of the input pipeline, by operation (a logarithmic axis)."
        path = folder / "task1.3_input_pipeline.svg"
        write_figure(task1.input_pipeline(profile), path, shows, f"All operations together, {said}.")


if __name__ == "__main__":
    run_program(main)
