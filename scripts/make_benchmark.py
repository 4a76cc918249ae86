"""Put the benchmark's workloads into tables and a figure."""

import argparse
from pathlib import Path

import pandas as pd

from trainkit import benchmarks
from trainkit.errors import run_program
from trainkit.figures.benchmark import speeds
from trainkit.files import read_json
from trainkit.outputs import write_figure, write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", nargs="+", type=Path, required=True, help="one JSON file a workload")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--figure", type=Path, required=True, help="SVG")
    args = parser.parse_args()
    facts = [read_json(path) for path in args.facts]
    rates, breakdown = pd.DataFrame(benchmarks.rates(facts)), pd.DataFrame(benchmarks.breakdown(facts))
    shows = "This project's trainer against the usual PyTorch pipeline, interleaved: medians, ranges."
    ratios = "; ".join(
        f"{row.workload}: {row.ratio:.2f} times as many images a second ({row.ratio_low:.2f} to "
        f"{row.ratio_high:.2f}, {row.pairs} pairs)"
        for row in rates.itertuples()
    )
    write_table("benchmark", rates, args.tables, shows, f"{ratios}.")
    shows_steps = "From the usual script to this project, one thing at a time: what each of them brings."
    write_table("benchmark_ladder", pd.DataFrame(benchmarks.ladder(facts)), args.tables, shows_steps)
    shows_parts = "Where the time of a training step goes, by kind of operator, from PyTorch's profiler."
    write_table("benchmark_breakdown", breakdown, args.tables, shows_parts)
    write_figure(speeds(rates, breakdown), args.figure, shows, f"{ratios}.")


if __name__ == "__main__":
    run_program(main)
