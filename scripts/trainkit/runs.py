"""From a run's spec to everything that it needs: data, model, pipeline, trainer."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from trainkit import datasets, models
from trainkit.augment import Pipeline
from trainkit.datasets import PARTS, Images, Splits
from trainkit.device import Numerics
from trainkit.engine import Trainer
from trainkit.errors import StudyError
from trainkit.files import manifest, verified
from trainkit.record import read_record
from trainkit.spec import Model, RunSpec


@dataclass
class Run:
    """A trainer with the facts about its model that the record carries."""

    trainer: Trainer
    params_total: int
    params_trainable: int
    multiply_adds: int
    features_seconds: float


def prepare(
    spec: RunSpec,
    seed: int,
    device: torch.device,
    numerics: Numerics,
    data: Path,
    weights: Path | None = None,
    features: Path | None = None,
) -> Run:
    """Set up one run. All its randomness comes from ``seed``."""
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    shape = datasets.SHAPES[spec.dataset]
    model = build_model(spec.dataset, spec.model, weights)
    count = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    pipeline = None
    base_count, base_multiply_adds, seconds = 0, 0, 0.0
    if features:
        splits, base = load_features(features), manifest(features)
        example = splits.train.x[:1]
        base_count, base_multiply_adds, seconds = base["params"], base["multiply_adds"], base["seconds"]
    else:
        splits = datasets.load_splits(data, spec.split, spec.recipe.train_images)
        pipeline = input_pipeline(spec, generator)
        example = torch.zeros(1, shape[2], shape[0], shape[1])
        if isinstance(model, models.NeedsImages):
            model.initialise(pipeline.evaluate(splits.train.x[: models.IMAGES_NEEDED].to(device)).cpu())
    on_device = Splits(*(getattr(splits, part).to(device) for part in PARTS))
    multiply_adds = base_multiply_adds + count_multiply_adds(model, example)
    trainer = Trainer(spec.recipe, model, on_device, pipeline, generator, numerics)
    return Run(trainer, base_count + count, trainable, multiply_adds, seconds)


def trained(record: Path) -> tuple[nn.Module, Pipeline]:
    """A finished run's network with its weights, in evaluation mode, and what its images go through.

    ``network(pipeline.evaluate(x))`` are the ``(N, classes)`` logits of ``(N, H, W, C) uint8`` images, on
    the CPU. Raises `StudyError` for a frozen base, whose run leaves the weights of its head alone.
    """
    spec = RunSpec.model_validate(read_record(record).spec)
    if spec.frozen:
        raise StudyError(f"{record}: its base was frozen, and model.safetensors holds its head alone")
    network = build_model(spec.dataset, from_random_weights(spec).model, None)
    network.load_state_dict(load_file(record.parent / "model.safetensors"))
    return network.eval(), input_pipeline(spec, torch.Generator())


def from_random_weights(spec: RunSpec) -> RunSpec:
    """The spec without pretrained weights."""
    if getattr(spec.model, "weights", None) != "imagenet":
        return spec
    return spec.model_copy(update={"model": spec.model.model_copy(update={"weights": "random"})})


def build_model(dataset: str, options: Model, weights: Path | None) -> nn.Module:
    """The network for a dataset's images, with pretrained weights where it takes them."""
    shape, classes = datasets.SHAPES[dataset], len(datasets.CLASSES[dataset])
    if options.name == "efficientnet_lite0":
        return models.module(options.name).build(options, shape, classes, weights)
    return models.build(options, shape, classes)


def input_pipeline(spec: RunSpec, generator: torch.Generator) -> Pipeline:
    """The pipeline with the dataset's statistics, or those that the pretrained model expects."""
    mean, std = datasets.MEAN[spec.dataset], datasets.STD[spec.dataset]
    if spec.model.name == "efficientnet_lite0":
        module = models.module(spec.model.name)
        mean, std = module.MEAN[: len(mean)], module.STD[: len(std)]
    return Pipeline(spec.recipe.augment, mean, std, generator)


def load_features(path: Path) -> Splits:
    """A frozen base's stored features by split, as float32."""
    tensors = load_file(verified(path))
    return Splits(*(Images(tensors[f"{part}_x"].float(), tensors[f"{part}_y"]) for part in PARTS))


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
