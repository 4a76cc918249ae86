"""Tiny images, networks and trainers, and what stops them: what several test files train with."""

import signal
from collections.abc import Callable
from typing import Any

import torch
from pydantic import TypeAdapter

from trainkit import models
from trainkit.augment import Pipeline
from trainkit.datasets import Images, Splits
from trainkit.device import Numerics
from trainkit.engine import Outcome, Trainer
from trainkit.interrupts import Interrupted
from trainkit.spec import ConvNet, Dense, Recipe

SILENT: Callable[[str], None] = lambda line: None  # noqa: E731
SHAPE, CLASSES, TRAIN = (8, 8, 1), 3, 60
CONVNET = ConvNet(name="convnet", stages=[[4], [6]], dropout=0.1)
PLAIN = Numerics()
DENSE = Dense(name="dense", hidden=8)


def images(count: int, seed: int) -> Images:
    """Noise with a bright row whose place is the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (count,), generator=generator)
    x = torch.randint(100, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    x[torch.arange(count), 2 * y + 1] = 220
    return Images(x, y)


def splits() -> Splits:
    return Splits(images(TRAIN, 1), images(24, 2), images(30, 3))


def recipe(**changes: Any) -> Recipe:
    optimizer = {"name": "sgd", "lr": 0.05} | changes.pop("optimizer", {})
    length = {} if "until" in changes else {"epochs": 1}
    return Recipe(**{"batch_size": 12, "optimizer": optimizer, **length, **changes})


def validated(kind: Any, **options: Any) -> Any:
    """The options of an optimiser or a schedule, as the configuration gives them."""
    return TypeAdapter(kind).validate_python(options)


def trainer(
    recipe: Recipe,
    seed: int = 0,
    data: Splits | None = None,
    model: Any = CONVNET,
    kind: type = Trainer,
    numerics: Numerics = PLAIN,
) -> Trainer:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pipeline = Pipeline(recipe.augment, (0.3,), (0.3,), generator)
    network = models.build(model, SHAPE, CLASSES)
    return kind(recipe, network, data or splits(), pipeline, generator, numerics)


def fit(steps: int | None, *args: Any, **options: Any) -> tuple[Trainer, Outcome]:
    subject = trainer(*args, **options)
    return subject, subject.fit(steps, SILENT)


def weights(subject: Trainer) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in subject.model.state_dict().values()])


def numbers(outcome: Outcome) -> list[dict[str, float]]:
    """The history without what the clock says."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in outcome.history]


class BreaksAtTheEighthStep(Trainer):
    seen = 0

    def step(self, *args: Any) -> None:
        self.seen += 1
        super().step(*args)

    def loss(self, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = super().loss(*args)
        return (loss * float("nan") if self.seen == 8 else loss), logits


class StopAt:
    """Stands for a signal that comes at the n-th moment at which a run looks for one."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    @property
    def signal(self) -> signal.Signals | None:
        self.left -= 1
        return signal.SIGTERM if self.left < 0 else None

    def check(self) -> None:
        if self.signal or self.left < 0:
            raise Interrupted("stopped")
