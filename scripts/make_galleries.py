"""Draw the figures that show images: augmented ones, confusion matrices, misread ones, filters."""

import argparse
from pathlib import Path

from safetensors.numpy import load_file

from trainkit import galleries
from trainkit.errors import run_program
from trainkit.files import verified
from trainkit.outputs import write_figure
from trainkit.record import read_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="of the run to look into")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--prefix", required=True, help="path and start of the figures' names")
    args = parser.parse_args()
    record, folder = read_record(args.record), args.record.parent
    data = load_file(verified(args.data))
    drawn = {
        "confusion.svg": galleries.confusion(record, folder),
        "misclassified.png": galleries.misclassified(record, folder, data["test_images"]),
        "augmented.png": galleries.augmented(record, data["train_images"]),
        "filters.png": galleries.filters(record, folder),
    }
    for name, figure in drawn.items():
        write_figure(figure, Path(f"{args.prefix}_{name}"))


if __name__ == "__main__":
    run_program(main)
