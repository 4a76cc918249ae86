"""Compute tables from records: each as CSV, and as HTML for `snakemake --report`."""

import argparse
import json
from pathlib import Path

import pandas as pd

from trainkit.captions import of_results
from trainkit.errors import run_program
from trainkit.outputs import write_table
from trainkit.results import MissingRunsError, Results
from trainkit.tables import TABLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--study", type=Path, required=True, help="its results folder")
    parser.add_argument("--seeds", required=True, help="JSON: the seeds of each experiment")
    parser.add_argument("--declared", required=True, help="JSON: what each experiment's records are made of")
    args = parser.parse_args()
    results = Results.of_study(args.study, json.loads(args.seeds), json.loads(args.declared))
    for name in args.tables:
        try:
            rows = TABLES[name](results)
        except MissingRunsError:
            rows = []
        write_table(name, pd.DataFrame(rows), args.study / "tables", *of_results(name, results))


if __name__ == "__main__":
    run_program(main)
