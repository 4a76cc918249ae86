"""Time the input pipeline, operation by operation: image by image with PIL, and batched here.

Both do what the augmented ConvNet's recipe asks for. The per-image one is written as most
tutorials write it: torchvision's transforms on PIL images, then collation into a batch.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torchvision import transforms

from trainkit import datasets, runs
from trainkit import device as devices
from trainkit.device import Clock
from trainkit.errors import run_program
from trainkit.files import write_csv
from trainkit.progress import print_line
from trainkit.spec import RunSpec

ROUNDS = 5
Timings = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the augmented run's spec, as JSON")
    parser.add_argument("--data", type=Path, required=True, help="the dataset's tensors")
    parser.add_argument("--images", type=int, required=True, help="how many images to time")
    parser.add_argument("--threads", type=int, default=1024, help="CPU threads at most")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    spec = RunSpec.model_validate_json(args.spec)
    device = devices.acquire(args.threads, spec.deterministic)
    images = datasets.load_splits(args.data, spec.split).train.x[: args.images]
    before: Timings = {}
    after: Timings = {}
    for _ in range(ROUNDS):  # in turn, so that a change of the machine's speed hits both
        one_by_one(images, spec, before)
        batched(images.to(device), spec, after)
    rows = as_rows("image by image (PIL)", before, len(images)) + as_rows("batched", after, len(images))
    write_csv(args.out, rows[0], (row.values() for row in rows))
    slow, fast = (sum(row["microseconds_per_image"] for row in rows if row["pipeline"] == name)
                  for name in ("image by image (PIL)", "batched"))  # fmt: skip
    print_line(f"input pipeline: {slow:.1f} and {fast:.1f} microseconds an image, {slow / fast:.0f} times")


def one_by_one(images: Tensor, spec: RunSpec, timings: Timings) -> None:
    """``images`` ``(N, H, W, 1) uint8`` through the usual pipeline; adds seconds by operation."""
    augment, side = spec.recipe.augment, images.shape[1]
    shift = augment.translate / side
    change = transforms.RandomAffine(
        augment.rotate, (shift, shift), (1 - augment.scale, 1 + augment.scale), augment.shear or None,
        transforms.InterpolationMode.BILINEAR,
    )  # fmt: skip
    mean, std = datasets.MEAN[spec.dataset], datasets.STD[spec.dataset]
    steps: dict[str, Callable[[Any], Any]] = {
        "array to PIL image": transforms.ToPILImage(),
        "random affine": change,
        "PIL image to tensor": transforms.ToTensor(),
        "normalize": transforms.Normalize(mean, std),
    }
    items: list[Any] = list(images.squeeze(-1).numpy())
    cpu = torch.device("cpu")
    for name, step in steps.items():
        clock = Clock(cpu)
        items = [step(item) for item in items]
        timings.setdefault(name, []).append(clock.lap())
    clock = Clock(cpu)
    for start in range(0, len(items), spec.recipe.batch_size):
        torch.stack(items[start : start + spec.recipe.batch_size])
    timings.setdefault("collate into a batch", []).append(clock.lap())


def batched(images: Tensor, spec: RunSpec, timings: Timings) -> None:
    """The same ``images``, resident on the device, through this project's pipeline."""
    pipeline = runs.input_pipeline(spec, torch.Generator(images.device).manual_seed(0))
    order = torch.randperm(len(images), device=images.device)
    spent: dict[str, float] = {}
    parts = order.split(spec.recipe.batch_size)
    at_once = len(parts) if images.is_cuda else 1  # a GPU's clock waits: once an operation, not once a batch
    clock = Clock(images.device)
    for first in range(0, len(parts), at_once):
        batches = [images.index_select(0, index) for index in parts[first : first + at_once]]
        spent["slice the batch"] = spent.get("slice the batch", 0.0) + clock.lap()
        for name, operation in pipeline.operations.items():
            batches = [operation(x) for x in batches]
            spent[name] = spent.get(name, 0.0) + clock.lap()
    for name, seconds in spent.items():
        timings.setdefault(name, []).append(seconds)


def as_rows(pipeline: str, timings: Timings, images: int) -> list[dict[str, Any]]:
    """Medians over the rounds, with each operation's share and the pipeline's whole range."""
    typical = {name: median(seconds) for name, seconds in timings.items()}
    total = sum(typical.values())
    return [
        {
            "pipeline": pipeline,
            "operation": name,
            "microseconds_per_image": 1e6 * seconds / images,
            "low": 1e6 * min(timings[name]) / images,
            "high": 1e6 * max(timings[name]) / images,
            "share": seconds / total,
            "images": images,
            "rounds": ROUNDS,
        }
        for name, seconds in typical.items()
    ]


if __name__ == "__main__":
    run_program(main)
