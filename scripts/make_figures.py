"""Draw a task's figures from its records."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from trainkit.errors import run_program
from trainkit.figures import FIGURES, task1
from trainkit.files import atomic
from trainkit.results import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=FIGURES)
    parser.add_argument("--records", nargs="+", type=Path, required=True)
    parser.add_argument("--input-pipeline", type=Path, help="the input pipeline's profile, CSV")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    args = parser.parse_args()
    results = Results(args.records)
    for name, draw in FIGURES[args.task].items():
        save(draw(results), args.out / f"{name}.svg")
    if args.input_pipeline:
        figure = task1.input_pipeline(pd.read_csv(args.input_pipeline))
        save(figure, args.out / "task1.3_input_pipeline.svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure; as SVG without the date, so that the same figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    with atomic(path) as temporary:
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    run_program(main)
