"""Compute a frozen base's features of a whole dataset, once for all seeds."""

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save

from trainkit import datasets, runs
from trainkit import device as devices
from trainkit.augment import Pipeline
from trainkit.datasets import Images
from trainkit.device import Clock, Numerics, autocast, without_search
from trainkit.errors import run_program
from trainkit.files import read_json, sha256_of_file, write_bytes, write_json
from trainkit.models import efficientnet_lite0
from trainkit.progress import SECONDS_BETWEEN_LINES, print_line
from trainkit.spec import Augment, FeatureSpec

BATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="a FeatureSpec, as JSON")
    parser.add_argument("--hardware", type=Path, required=True, help="hardware.json")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--weights", type=Path, required=True, help="pretrained weights")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--made-of", help="a digest of all that decides the result, to be kept with it")
    parser.add_argument("--out", type=Path, required=True, help="the features; beside them, what they cost")
    args = parser.parse_args()
    spec = FeatureSpec.model_validate_json(args.spec)
    hardware = read_json(args.hardware)
    device = devices.acquire(args.threads, spec.deterministic, hardware)
    numerics = devices.numerics(spec, hardware)
    base = efficientnet_lite0.base(spec.model, args.weights)
    base.to(device, memory_format=numerics.memory_format).eval()  # BatchNorm's statistics stay too
    height, width, channels = datasets.SHAPES[spec.dataset]
    mean, std = efficientnet_lite0.MEAN[:channels], efficientnet_lite0.STD[:channels]
    pipeline = Pipeline(Augment(), mean, std, torch.Generator(device))
    splits = datasets.load_splits(args.data, spec.split, spec.train_images)
    parts = {part: getattr(splits, part).to(device) for part in datasets.PARTS}
    # As a training's warm-up: what libraries do once for a shape is no part of the features' time.
    compute(base, parts["train"].take(slice(BATCH)), pipeline, numerics, spec.name)
    clock = Clock(device)
    tensors, seconds = {}, {}
    for part, images in parts.items():
        tensors[f"{part}_x"] = compute(base, images, pipeline, numerics, f"{spec.name}: {part} features")
        tensors[f"{part}_y"] = images.y.cpu()
        seconds[part] = clock.lap()
    facts = {
        "made_of": args.made_of,
        "seconds": seconds["train"],  # as a training's own, without validation and test
        "seconds_of_all": sum(seconds.values()),
        "params": sum(p.numel() for p in base.parameters()),
        "multiply_adds": runs.count_multiply_adds(
            base, torch.zeros(1, channels, height, width, device=device)
        ),
        "precision": numerics.precision,
    }
    write_bytes(args.out, save(tensors))
    write_json(args.out.with_suffix(".json"), {**facts, "file_sha256": sha256_of_file(args.out)})
    print_line(f"{spec.name}: {facts['seconds_of_all']:.1f} s for the features, {numerics.precision}")


@without_search()
@torch.inference_mode()
def compute(
    base: torch.nn.Module, images: Images, pipeline: Pipeline, numerics: Numerics, what: str
) -> torch.Tensor:
    """``(N, features) float16`` of images of ``(N, H, W, C) uint8``."""
    done, began, shown = [], time.monotonic(), time.monotonic()
    for start in range(0, len(images), BATCH):
        x = pipeline.evaluate(images.x[start : start + BATCH])
        x = x.contiguous(memory_format=numerics.memory_format)
        with autocast(images.x.device, numerics.precision):
            done.append(base(x).to(torch.float16).cpu())
        now = time.monotonic()
        if now - shown > SECONDS_BETWEEN_LINES:
            left = (now - began) * (len(images) - start - BATCH) / (start + BATCH)
            print_line(f"{what}: {start + BATCH} of {len(images)} images, {left:.0f} s left")
            shown = now
    return torch.cat(done)


if __name__ == "__main__":
    run_program(main)
