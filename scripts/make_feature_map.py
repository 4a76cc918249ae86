"""Draw what a pretrained base makes of test images in two dimensions, before and after training."""

import argparse
from pathlib import Path

import numpy as np
import torch

from trainkit import datasets, runs
from trainkit.errors import run_program
from trainkit.figures.features import Panel, maps, neighbours_agree, two_dimensions
from trainkit.models import efficientnet_lite0
from trainkit.outputs import write_figure
from trainkit.record import read_record
from trainkit.spec import RunSpec

IMAGES, BATCH = 2000, 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--records", nargs="+", type=Path, required=True, help="of runs that trained the base"
    )
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--weights", type=Path, required=True, help="pretrained weights")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    records = [read_record(path) for path in args.records]
    first = RunSpec.model_validate(records[0].spec)
    test = datasets.load_splits(args.data, first.split).test
    images, labels = test.x[:IMAGES], test.y[:IMAGES].numpy()
    bases = {
        "ImageNet weights, untrained here": efficientnet_lite0.base(
            first.model.model_copy(update={"weights": "imagenet"}), args.weights
        )
    }
    bases |= {
        record.title: runs.trained(path)[0][0] for record, path in zip(records, args.records, strict=True)
    }
    panels = []
    for title, base in bases.items():
        found = features(base, images, first)
        panels.append(Panel(title, two_dimensions(found), neighbours_agree(found, labels)))
    shows = (
        f"{len(labels)} test digits as the base's features show them: first two principal components of the "
        "standardised features, a colour a digit. No test image was trained on."
    )
    said = "; ".join(f"{panel.title}: {100 * panel.agree:.1f}%" for panel in panels)
    write_figure(
        maps(panels, labels),
        args.out,
        shows,
        f"Digits whose nearest other in all dimensions is of their class: {said}.",
    )


@torch.inference_mode()
def features(base: torch.nn.Module, images: torch.Tensor, spec: RunSpec) -> np.ndarray:
    """``(N, features) float32`` of images of ``(N, H, W, C) uint8``."""
    pipeline = runs.input_pipeline(spec, torch.Generator())
    return torch.cat([base.eval()(pipeline.evaluate(part)) for part in images.split(BATCH)]).float().numpy()


if __name__ == "__main__":
    run_program(main)
