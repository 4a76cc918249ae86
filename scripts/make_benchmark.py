"""Put the benchmark's workloads into tables and a figure."""

import argparse
from pathlib import Path

import pandas as pd

from make_figures import save
from make_tables import write_table
from trainkit import benchmarks
from trainkit.errors import run_program
from trainkit.figures.benchmark import speeds
from trainkit.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", nargs="+", type=Path, required=True, help="one JSON file a workload")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--figure", type=Path, required=True)
    args = parser.parse_args()
    facts = [read_json(path) for path in args.facts]
    rates, breakdown = pd.DataFrame(benchmarks.rates(facts)), pd.DataFrame(benchmarks.breakdown(facts))
    write_table("benchmark", rates, args.tables)
    write_table("benchmark_breakdown", breakdown, args.tables)
    save(speeds(rates, breakdown), args.figure)


if __name__ == "__main__":
    run_program(main)
