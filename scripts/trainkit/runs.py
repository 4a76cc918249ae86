"""From a run's spec to everything that it needs: data, model, pipeline, trainer."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from trainkit import datasets, models
from trainkit.augment import Pipeline
from trainkit.datasets import Images, Splits
from trainkit.device import Precision
from trainkit.engine import Trainer
from trainkit.spec import RunSpec


@dataclass
class Run:
    """A trainer with the facts about its model that the record carries."""

    trainer: Trainer
    params_total: int
    params_trainable: int
    multiply_adds: int
    features_seconds: float

    def epochs_to_steps(self, epochs: int | None) -> int | None:
        return epochs and epochs * self.trainer.steps_per_epoch


def programs(spec: RunSpec) -> tuple[str, ...]:
    """The files whose code a run of ``spec`` really uses, below ``scripts/``."""
    return ("train.py", f"trainkit/models/{spec.model.name}.py")


def prepare(
    spec: RunSpec,
    seed: int,
    device: torch.device,
    precision: Precision,
    data: Path,
    weights: Path | None = None,
    features: Path | None = None,
) -> Run:
    """Set up one run. All its randomness comes from ``seed``."""
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    shape = datasets.SHAPES[spec.dataset]
    model = build_model(spec, weights)
    count = sum(p.numel() for p in model.parameters())
    pipeline = None
    base_count, base_multiply_adds, seconds = 0, 0, 0.0
    if features:
        splits, facts = load_features(features)
        example = splits.train.x[:1]
        base_count, base_multiply_adds = int(facts["params"]), int(facts["multiply_adds"])
        seconds = float(facts["seconds"])
    else:
        splits = datasets.load_splits(data, spec.split, spec.recipe.train_images)
        pipeline = input_pipeline(spec, generator)
        example = torch.zeros(1, shape[2], shape[0], shape[1])
    on_device = Splits(*(getattr(splits, part).to(device) for part in ("train", "val", "test")))
    multiply_adds = base_multiply_adds + count_multiply_adds(model, example)
    trainer = Trainer(spec.recipe, model, on_device, pipeline, generator, precision)
    return Run(trainer, base_count + count, count, multiply_adds, seconds)


def build_model(spec: RunSpec, weights: Path | None) -> nn.Module:
    shape, classes = datasets.SHAPES[spec.dataset], len(datasets.CLASSES[spec.dataset])
    if spec.model.name == "efficientnet_lite0":
        return models.module(spec.model.name).build(spec.model, shape, classes, weights)
    return models.build(spec.model, shape, classes)


def input_pipeline(spec: RunSpec, generator: torch.Generator) -> Pipeline:
    """The pipeline with the dataset's statistics, or those that the pretrained model expects."""
    mean, std = datasets.MEAN[spec.dataset], datasets.STD[spec.dataset]
    if spec.model.name == "efficientnet_lite0":
        module = models.module(spec.model.name)
        mean, std = module.MEAN[: len(mean)], module.STD[: len(std)]
    return Pipeline(spec.recipe.augment, mean, std, generator)


def load_features(path: Path) -> tuple[Splits, dict[str, str]]:
    """A frozen base's stored features by split, as float32, and what computing them cost."""
    with safe_open(path, framework="pt") as file:
        parts = [
            Images(file.get_tensor(f"{part}_x").float(), file.get_tensor(f"{part}_y"))
            for part in ("train", "val", "test")
        ]
        return Splits(*parts), file.metadata()


def count_multiply_adds(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of one forward pass of ``example``: convolutions and linear layers."""
    total = 0

    def hook(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += output.numel() * kernel * module.in_channels // module.groups
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    handles = [m.register_forward_hook(hook) for m in model.modules()]
    training = model.training
    model.eval()
    with torch.inference_mode():
        model(example)
    model.train(training)
    for handle in handles:
        handle.remove()
    return total
