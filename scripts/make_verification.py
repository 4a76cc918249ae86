"""Say whether runs that were repeated by `snakemake verify` reproduce the finished ones."""

import argparse
import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from trainkit.errors import StudyError, run_program
from trainkit.outputs import write_table
from trainkit.progress import print_line
from trainkit.record import read_record
from trainkit.results import refuse_stale
from trainkit.verification import compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", nargs="+", type=Path, required=True, help="records below verify/")
    parser.add_argument("--declared", required=True, help="JSON: what each experiment's records are made of")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    declared = json.loads(args.declared)
    rows = []
    for again in args.again:
        seed, experiment, study = again.parents[0].name, again.parents[1].name, again.parents[3]
        original = study / "runs" / experiment / seed / "record.json"
        refuse_stale(original, read_record(original), declared)
        rows.append(compare(original, again, fresh(original.parents[1].glob("seed-*/record.json"), declared)))
    same = sum(row["same_weights_and_history"] for row in rows)
    said = f"{same} of {len(rows)} runs reproduce bit for bit"
    shows = "A sample of the finished runs, trained again, and whether each reproduces."
    write_table("verify", pd.DataFrame(rows), args.out, shows, f"{said}.")
    for row in rows:
        print_line(
            f"{row['experiment']} seed {row['seed']}: {row['verdict']} "
            f"({row['test_accuracy']:.2f}% then, {row['test_accuracy_again']:.2f}% now)"
        )
    print_line(f"{said}: {args.out / 'verify.csv'}")


def fresh(paths: Iterable[Path], declared: dict) -> list[Path]:
    """The records that are what the workflow declares: a leftover says nothing of the spread."""
    found = []
    for path in sorted(paths):
        with contextlib.suppress(StudyError):
            refuse_stale(path, read_record(path), declared)
            found.append(path)
    return found


if __name__ == "__main__":
    run_program(main)
