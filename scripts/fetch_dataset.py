"""Bring one dataset from its first good source; leave verified tensors and a manifest."""

import argparse
from pathlib import Path

from trainkit.config import Dataset
from trainkit.decoding import DECODERS, prepare
from trainkit.errors import run_program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=DECODERS)
    parser.add_argument("--config", required=True, help="the dataset's configuration, as JSON")
    parser.add_argument("--tensors", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    args = parser.parse_args()
    prepare(args.name, Dataset.model_validate_json(args.config), args.tensors, args.manifest)


if __name__ == "__main__":
    run_program(main)
