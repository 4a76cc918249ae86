"""Bring one pretrained model's weight file from its first good source, verified."""

import argparse
from pathlib import Path

from trainkit.config import Weights
from trainkit.errors import StudyError, run_program
from trainkit.files import sha256_of_file, write_bytes, write_json
from trainkit.progress import print_line
from trainkit.sources import first_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--config", required=True, help="the weights' configuration, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    args = parser.parse_args()
    config = Weights.model_validate_json(args.config)

    def read(folder: Path) -> bytes:
        candidates = sorted(folder.rglob("*.pth"))
        good = [path for path in candidates if sha256_of_file(path) == config.sha256]
        if not good:
            found = ", ".join(path.name for path in candidates) or "no .pth file"
            raise StudyError(f"{found}: none has SHA-256 {config.sha256}")
        return good[0].read_bytes()

    content, source = first_good(
        args.name, config.sources, read,
        f"To supply the file by hand, put it into a folder and add {{kind: folder, path: FOLDER}} "
        f"as the first of weights.{args.name}.sources in config/config.yaml",
    )  # fmt: skip
    print_line(f"{args.name}: from {source}")
    write_bytes(args.out, content)
    write_json(args.manifest, {"weights": args.name, "file_sha256": config.sha256})


if __name__ == "__main__":
    run_program(main)
