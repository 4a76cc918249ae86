"""The training loop: one for every network of the study, plain enough to read in one go."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit import memory, optim
from trainkit.augment import PLAIN_VIEW, TEST_TIME_VIEWS, Pipeline, Views, mirror_half
from trainkit.datasets import Images, Splits
from trainkit.device import Clock, Numerics, autocast
from trainkit.errors import StudyError
from trainkit.optim import schedules
from trainkit.spec import Recipe

EVAL_BATCH = 500
SECONDS_BETWEEN_LINES = 5


@dataclass
class Seconds:
    """Where the time of a run went, each part with the device synchronised."""

    load: float = 0.0
    compile: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0
    evaluate_tta: float = 0.0
    total: float = 0.0


@dataclass
class Evaluation:
    """Mean cross-entropy, accuracy (a fraction), and ``(N, classes) float32`` logits."""

    loss: float
    accuracy: float
    logits: Tensor


@dataclass
class Outcome:
    """What training leaves behind, before it becomes a record."""

    steps: int
    epochs: float
    converged: bool | None
    val: Evaluation
    test: Evaluation
    tta: Evaluation | None
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains one model by one recipe; the same recipe, data and seed give the same weights.

    Data lies on the device. A step slices, augments, and updates there, and never waits for it.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        splits: Splits,
        pipeline: Pipeline | None,
        generator: torch.Generator,
        numerics: Numerics,
    ) -> None:
        self.recipe, self.splits, self.pipeline, self.generator = recipe, splits, pipeline, generator
        self.device, self.numerics = generator.device, numerics
        self.seconds = Seconds()
        self.model = model.to(self.device, memory_format=numerics.memory_format)
        self.forward = torch.compile(self.model) if recipe.compile else self.model
        self.optimizer = optim.build(recipe.optimizer, self.model)
        self.lookahead = optim.lookahead(recipe.optimizer, self.optimizer)
        self.batch_size = min(recipe.batch_size, len(splits.train))
        self.steps_per_epoch = len(splits.train) // self.batch_size
        self._mirrored = False  # whether a half of the training images lies mirrored already
        self.pixels: int | None = None  # images are resized to so many a side in training
        # Of the epoch so far: summed loss, correct answers, steps while the loss was finite.
        self._counts = torch.zeros(3, device=self.device)

    # -- One step --------------------------------------------------------------------------

    def loss(self, batch: Images, compiled: bool = True) -> tuple[Tensor, Tensor]:
        """The training loss of a batch of raw images, and its ``(N, classes)`` logits."""
        x = self.pipeline.train(batch.x) if self.pipeline else batch.x
        if self.pixels:
            x = F.interpolate(x, (self.pixels, self.pixels), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=self.numerics.memory_format) if self.pipeline else x
        with autocast(self.device, self.numerics.precision):
            logits = self.forward(x) if compiled else self.model(x)
        return F.cross_entropy(logits.float(), batch.y, label_smoothing=self.recipe.label_smoothing), logits

    def step(self, batch: Images, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        loss, logits = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.lookahead:
            self.lookahead.step()
        with torch.no_grad():
            correct = (logits.argmax(1) == batch.y).sum()
            whole = self._counts[0] + loss.detach()
            self._counts += torch.stack(
                [loss.detach(), correct.to(loss.dtype), whole.isfinite().to(loss.dtype)]
            )

    def batches(self) -> Iterator[Images]:
        """One epoch in a new random order; images that fill no batch wait for another epoch."""
        train = self.splits.train
        if self.recipe.augment.flip == "alternating":
            train.x.copy_(train.x.flip(2) if self._mirrored else mirror_half(train.x, self.generator))
            self._mirrored = True
        order = torch.randperm(len(train), generator=self.generator, device=self.device)
        for index in order.split(self.batch_size)[: self.steps_per_epoch]:
            yield train.take(index)

    def warm_up(self) -> None:
        """Compile and initialise by a step whose effects are undone; its time is kept apart.

        A CPU that compiles nothing needs a small one only: it just loads its libraries.

        Raises `StudyError` where the step would not fit into the device's memory.
        """
        clock = Clock(self.device)
        buffers = {key: value.clone() for key, value in self.model.named_buffers()}
        random_state, device_state = torch.get_rng_state(), self.generator.get_state()
        cuda_state = torch.cuda.get_rng_state() if self.device.type == "cuda" else None
        there = memory.free_bytes(self.device)
        first = self.splits.train.take
        memory.check(
            self.device, self.model, lambda n: self.loss(first(slice(n)), False)[0], self.batch_size, there
        )
        whole = self.recipe.compile or self.device.type == "cuda"
        count = self.batch_size if whole else min(self.batch_size, 16)
        self.loss(first(slice(count)))[0].backward()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for key, value in self.model.named_buffers():
                value.copy_(buffers[key])
        torch.set_rng_state(random_state)
        self.generator.set_state(device_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state)
        self.seconds.compile = clock.lap()

    # -- Evaluation ------------------------------------------------------------------------

    @torch.inference_mode()
    def evaluate(self, images: Images, views: Views = PLAIN_VIEW) -> Evaluation:
        """Judge images by their logits, averaged over the weighted ``views`` of each."""
        self.model.eval()
        logits = []
        for start in range(0, len(images), EVAL_BATCH):
            x = images.x[start : start + EVAL_BATCH]
            if self.pipeline:
                x = self.pipeline.evaluate(x).contiguous(memory_format=self.numerics.memory_format)
            with autocast(self.device, self.numerics.precision):
                logits.append(sum(weight * self.model(view(x)).float() for weight, view in views))
        self.model.train()
        together = torch.cat(logits)
        loss = F.cross_entropy(together, images.y).item()
        accuracy = (together.argmax(1) == images.y).sum().item() / len(images)
        return Evaluation(loss, accuracy, together.cpu())

    # -- The whole of it -------------------------------------------------------------------

    def fit(self, steps: int | None, say: Callable[[str], None]) -> Outcome:
        """Train for ``steps``, or until the recipe's convergence; then test, once."""
        until = self.recipe.until
        if until:
            steps = until.max_epochs * self.steps_per_epoch
        assert steps is not None
        plateau = _Plateau(self.recipe) if until else None
        history: list[dict[str, float]] = []
        done, epoch, converged = 0, 0, None
        progress = _Progress(say, steps, self.batch_size)
        self.model.train()
        self.warm_up()
        clock = Clock(self.device)
        while done < steps and not converged:
            epoch += 1
            first = done
            for batch in self.batches():
                self.pixels = schedules.image_size(self.recipe, done / steps)
                lr = self._rate(done / steps, plateau)
                self.step(batch, lr)
                done += 1
                if progress.within(done, epoch):  # rarely: reading the counts waits for the device
                    self._read_counts(first, epoch, steps, plateau)
                if done == steps:
                    break
            loss, correct = self._read_counts(first, epoch, steps, plateau)
            self._counts.zero_()
            if done == steps:
                self.finish()
            self.seconds.train += clock.lap()
            # Before the last synchronisation the fast weights are on trial, not the answer.
            slow = self.lookahead.slow_weights() if self.lookahead and done < steps else nullcontext()
            with slow:
                val = self.evaluate(self.splits.val)
            self.seconds.evaluate += clock.lap()
            history.append(
                {
                    "epoch": epoch, "step": done, "seconds": self.seconds.train, "lr": lr,
                    "train_loss": loss / (done - first),
                    "train_accuracy": correct / ((done - first) * self.batch_size),
                    "val_loss": val.loss, "val_accuracy": val.accuracy,
                }
            )  # fmt: skip
            progress.epoch(history[-1])
            if plateau:
                converged = plateau.update(val.loss)
        if self.lookahead and done < steps:  # it converged: the end came unannounced
            self.finish()
            self.seconds.train += clock.lap()
            val = self.evaluate(self.splits.val)
        test = self.evaluate(self.splits.test)
        self.seconds.evaluate += clock.lap()
        tta = self.evaluate(self.splits.test, TEST_TIME_VIEWS) if self.recipe.test_time_augmentation else None
        self.seconds.evaluate_tta = clock.lap()
        return Outcome(done, done / self.steps_per_epoch, converged, val, test, tta, history)

    def _rate(self, z: float, plateau: "_Plateau | None") -> float:
        factor = schedules.factor(self.recipe.schedule, z)
        return self.recipe.optimizer.lr * factor * (plateau.factor if plateau else 1.0)

    def _read_counts(
        self, first: int, epoch: int, steps: int, plateau: "_Plateau | None"
    ) -> tuple[float, float]:
        """Summed loss and correct answers of the epoch so far; ``first`` steps came before it.

        Stops a run whose loss is no number any more.
        """
        loss, correct, finite = self._counts.tolist()
        if not math.isfinite(loss):
            step = first + int(finite)
            raise StudyError(
                f"the training loss became {loss} in epoch {epoch}, step {step + 1}, at learning rate "
                f"{self._rate(step / steps, plateau):.4g}; lower recipe.optimizer.lr of this experiment"
            )
        return loss, correct

    def finish(self) -> None:
        """Lookahead's end: synchronise, and measure BatchNorm's statistics for the slow weights.

        Nothing without Lookahead. It is part of training, and of an equal-time budget.
        """
        if not self.lookahead:
            return
        self.lookahead.synchronize()
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        with torch.no_grad():
            for count, batch in enumerate(self.batches()):
                if count == 20:
                    break
                self.loss(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class _Plateau:
    """Drops the learning rate, and in the end stops, when validation loss no longer improves."""

    def __init__(self, recipe: Recipe) -> None:
        assert recipe.until
        self.until, self.schedule = recipe.until, recipe.schedule
        self.factor, self.best, self.waited, self.since_drop = 1.0, math.inf, 0, 0

    def update(self, val_loss: float) -> bool:
        """Take an epoch's validation loss; whether training has converged."""
        if val_loss < self.best - self.until.min_delta:
            self.best, self.waited, self.since_drop = val_loss, 0, 0
            return False
        self.waited += 1
        self.since_drop += 1
        if self.schedule.name == "plateau" and self.since_drop >= self.schedule.patience:
            self.factor *= self.schedule.gamma
            self.since_drop = 0
        return self.waited >= self.until.patience


class _Progress:
    """A line an epoch, and one within long epochs, every few seconds at most."""

    def __init__(self, say: Callable[[str], None], steps: int, batch_size: int) -> None:
        self.say, self.steps, self.batch_size = say, steps, batch_size
        self.began = self.shown = self.epoch_shown = time.monotonic()

    def within(self, done: int, epoch: int) -> bool:
        """Say something if nothing was said for long; whether it did."""
        due = time.monotonic() - self.shown > 2 * SECONDS_BETWEEN_LINES
        if due:
            self._line(done, f"epoch {epoch}")
        return due

    def epoch(self, row: dict[str, float]) -> None:
        done = int(row["step"])
        if time.monotonic() - self.epoch_shown > SECONDS_BETWEEN_LINES or done == self.steps:
            self._line(
                done,
                f"epoch {row['epoch']} done, loss {row['train_loss']:.3f}, "
                f"validation {100 * row['val_accuracy']:.2f}%",
            )
            self.epoch_shown = self.shown

    def _line(self, done: int, what: str) -> None:
        self.shown = time.monotonic()
        rate = done / (self.shown - self.began)
        left = (self.steps - done) / rate
        self.say(f"{what}, {rate * self.batch_size:.0f} images/s, at most {left:.0f} s left")


def print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
