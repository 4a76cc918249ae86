"""Compute tables from records: each as CSV, and as HTML for `snakemake --report`."""

import argparse
import json
from pathlib import Path

import pandas as pd

from trainkit.captions import of_results, write_caption
from trainkit.errors import run_program
from trainkit.files import write_text
from trainkit.results import MissingRunsError, Results
from trainkit.tables import TABLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--records", nargs="*", type=Path, required=True)
    parser.add_argument("--declared", required=True, help="JSON: what each experiment's records are made of")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    args = parser.parse_args()
    results = Results(args.records, json.loads(args.declared))
    for name in args.tables:
        try:
            rows = TABLES[name](results)
        except MissingRunsError:
            rows = []
        write_table(name, pd.DataFrame(rows), args.out, *of_results(name, results))


def write_table(name: str, frame: pd.DataFrame, folder: Path, *caption: str) -> None:
    """A table as CSV, as an HTML page and, for `snakemake --report`, the caption beside it."""
    write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    write_text(folder / f"{name}.html", as_page(name, frame))
    write_caption(folder / f"{name}.rst", *caption)


def as_page(name: str, frame: pd.DataFrame) -> str:
    table = frame.to_html(index=False, float_format="%.4g", na_rep="", border=0)
    style = (
        "body{font-family:system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}"
        "th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #ccc;white-space:nowrap}"
    )
    return f"<!doctype html><meta charset='utf-8'><title>{name}</title><style>{style}</style>{table}\n"


if __name__ == "__main__":
    run_program(main)
