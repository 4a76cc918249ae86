"""Whether CUDA graphs work on this machine, give the weights that they must, and pay."""

from typing import Any

import torch
from torch import Tensor, nn

from trainkit.augment import Pipeline
from trainkit.datasets import Images, Splits
from trainkit.device import Clock, Numerics
from trainkit.engine import Trainer
from trainkit.errors import CudaGraphError, first_line
from trainkit.spec import SGD, AdamW, Augment, Muon, Recipe, Resize, RMSprop

IMAGES, BATCH = 1024, 128
CLOSE = 0.05  # two ways' distance over that trained: kernels that add in any order differ by less,
NOISE, FAR = 3.0, 0.3  # or by so many times what they differ by when launched twice, if that is not far
FASTER = 1.1  # timings of a shared machine differ by so much without a reason
ROUNDS, TIMED = 6, 40  # steps a round
OPTIMIZERS = [
    SGD(name="sgd", lr=0.05, weight_decay=5e-4),
    AdamW(name="adamw", lr=1e-3, weight_decay=0.05),
    RMSprop(name="rmsprop", lr=1e-4),
    Muon(name="muon", lr=0.05, momentum=0.6),
]


def measure(device: torch.device, precision: str) -> dict[str, Any]:
    """Images a second of a small network by launched and by recorded steps, and how far their weights differ.

    ``choice`` says whether steps should be recorded: where each optimiser's weights agree, in float32 and in
    the ``precision`` of convolutions here, and it is faster. After an ``error`` this process can compute
    nothing more on its GPU.
    """
    try:
        found = {
            f"{options.name}, {kind}": _distances(options, kind, device)
            for options in OPTIMIZERS
            for kind in dict.fromkeys(("float32", precision))
        }
        launched, recorded = _rates(precision, device)
    except (CudaGraphError, RuntimeError) as error:
        return {"choice": False, "error": first_line(error)}
    # False for a distance that is no number.
    agree = all(distance < min(max(CLOSE, NOISE * noise), FAR) for distance, noise in found.values())
    return {
        "launched": launched,
        "recorded": recorded,
        "relative_distance": {kind: distance for kind, (distance, _) in found.items()},
        "launched_twice": {kind: noise for kind, (_, noise) in found.items()},
        "choice": agree and recorded > FASTER * launched,
    }


def _distances(options: Any, precision: str, device: torch.device) -> tuple[float, float]:
    """How far the weights of recorded steps are from those of launched ones, over how far these moved.

    Then the same of steps that are launched once more: what kernels that add in any order do.
    """
    ways = []
    for recorded in (False, True, False):
        trainer = _trainer(options, Numerics(precision, cuda_graphs=recorded), device)
        begin = _weights(trainer)
        for count, batch in enumerate(trainer.batches()):  # at changing rates, and from one size to another
            trainer.pixels = 20 if count < 4 else None
            trainer.step(batch, options.lr * (1 + count % 3))
        ways.append(_weights(trainer) - begin)
    apart, noise = ((ways[0] - way).norm() / ways[0].norm() for way in ways[1:])
    return apart.item(), noise.item()


def _weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def _rates(precision: str, device: torch.device) -> tuple[float, float]:
    """Images a second of launched and of recorded steps, in turn; the fastest round of each."""
    both = [Numerics(precision, cuda_graphs=recorded) for recorded in (False, True)]
    trainers = [_trainer(OPTIMIZERS[0], numerics, device) for numerics in both]
    batch = trainers[0].splits.train.take(slice(BATCH))
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for trainer, times in zip(trainers, seconds, strict=True):
            clock = Clock(device)
            for _ in range(TIMED):
                trainer.step(batch, 1e-3)
            times.append(clock.lap())
    launched, recorded = (round(TIMED * BATCH / min(times), 1) for times in seconds)
    return launched, recorded


def _trainer(options: Any, numerics: Numerics, device: torch.device) -> Trainer:
    """A small network with all that draws random numbers in a step, warmed up; the same each time."""
    torch.manual_seed(0)
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randint(256, (IMAGES, 28, 28, 1), dtype=torch.uint8)
    images = Images(x, torch.randint(10, (IMAGES,))).to(device)
    augment = Augment(translate=2, flip=True, cutout=8, rotate=10)
    pipeline = Pipeline(augment, (0.5,), (0.3,), generator)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 10)),
    )
    recipe = Recipe(epochs=1, batch_size=BATCH, optimizer=options, resize=[Resize(until=0.5, pixels=20)])
    trainer = Trainer(recipe, model, Splits(images, images, images), pipeline, generator, numerics)
    trainer.model.train()
    trainer.warm_up()
    return trainer
