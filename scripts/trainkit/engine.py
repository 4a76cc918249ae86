"""The training loop: one for every network of the study, plain enough to read in one go."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit import cuda_graphs, memory, optim
from trainkit.augment import PLAIN_VIEW, TEST_TIME_VIEWS, Pipeline, Views, mirrored
from trainkit.checkpoint import Checkpoints, State
from trainkit.datasets import Images, Splits
from trainkit.device import Clock, Numerics, autocast, without_search
from trainkit.errors import CudaGraphError, StudyError, first_line
from trainkit.interrupts import Interrupted, Interrupts
from trainkit.optim import schedules
from trainkit.progress import Progress
from trainkit.seconds import RunSeconds
from trainkit.spec import Recipe

EVAL_BATCH = 256  # images, or a larger training batch: more would need more memory than training does
WARM_UP_IMAGES = 128  # at most, on a CPU that compiles nothing: a larger batch's step takes long itself
COLUMNS = (
    "epoch", "step", "seconds", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
)  # fmt: skip


class DivergedError(StudyError):
    """The training loss is no number any more."""


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
    val_loss: float | None
    val_accuracy: float
    test: Evaluation | None
    tta: Evaluation | None
    history: list[dict[str, float]]
    resumed: int = 0
    diverged: bool = False


@dataclass
class Position:
    """How far training has come, between two of its steps."""

    done: int = 0  # steps
    epoch: int = 0
    first: int = 0  # steps that were done when the epoch began
    order: Tensor | None = None  # (N,) int64: the epoch's images; None between two epochs
    finished: bool = False  # `Trainer.finish` has been called
    converged: bool | None = None
    resumed: int = 0  # how many times a killed training went on
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
        self.seconds = RunSeconds(load=0, compile=0, train=0, evaluate=0, total=0)
        self.began = time.perf_counter()
        self.clock: Clock  # of what `fit` does
        self.at, self.steps, self.interrupts = Position(), 0, Interrupts()
        self.model = numerics.lay_out(model.to(self.device))
        self.forward = torch.compile(self.model, dynamic=False) if recipe.compile else self.model
        self._recorder = cuda_graphs.Recorder(generator) if numerics.cuda_graphs else None
        dtype = getattr(torch, numerics.precision)
        self.optimizer = optim.build(recipe.optimizer, self.model, dtype, capturable=numerics.cuda_graphs)
        self.recorded: dict[int | None, cuda_graphs.Step] = {}  # steps of each size of images
        self.slow = optim.slow(recipe, self.optimizer)
        self._finishes = bool(self.slow or recipe.precise_bn)  # something comes after the last step
        self.batch_size = min(recipe.batch_size, len(splits.train))
        self.steps_per_epoch = len(splits.train) // self.batch_size
        self._mirrored: Tensor | None = None  # (N,) bool: which training images lie mirrored
        self._convergence = schedules.Convergence(recipe) if recipe.until else None
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
        """One training step."""
        optim.set_rate(self.optimizer, lr)
        self.recorded.get(self.pixels, self._update)(batch)
        if self.slow:
            self.slow.step()

    def _update(self, batch: Images) -> None:
        """What of a step is the same each time, but for the values in tensors that stay where they are."""
        loss, logits = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            correct = (logits.argmax(1) == batch.y).sum()
            whole = self._counts[0] + loss.detach()
            self._counts += torch.stack(
                [loss.detach(), correct.to(loss.dtype), whole.isfinite().to(loss.dtype)]
            )

    def order(self) -> Tensor:
        """A new random order of the training images, ``(N,) int64``, for one epoch."""
        if self.recipe.augment.flip == "alternating":
            count = len(self.splits.train)
            if self._mirrored is None:
                self._mirror(torch.rand(count, generator=self.generator, device=self.device) < 0.5)
            else:
                self._mirror(~self._mirrored)
        return self._shuffled()

    def _shuffled(self) -> Tensor:
        return torch.randperm(len(self.splits.train), generator=self.generator, device=self.device)

    def _mirror(self, which: Tensor) -> None:
        """Let the training images ``which`` lie mirrored, and the others not."""
        x = self.splits.train.x
        x.copy_(mirrored(x, which if self._mirrored is None else which ^ self._mirrored))
        self._mirrored = which

    def batches(self, order: Tensor | None = None, skip: int = 0) -> Iterator[Images]:
        """One epoch from its batch ``skip`` on; an incomplete last batch is dropped."""
        order = self.order() if order is None else order
        for index in order.split(self.batch_size)[skip : self.steps_per_epoch]:
            yield self.splits.train.take(index)

    def warm_up(self) -> None:
        """Take what each kind of step costs once, record it where steps are recorded, and undo its effects.

        The time is kept apart. Compilers and libraries prepare themselves for a shape when they first meet
        it. Raises `StudyError` where a step would not fit into the device's memory.
        """
        clock = Clock(self.device)
        learnt = [*(p for p in self.model.parameters() if p.requires_grad), *self.model.buffers()]
        before = [value.detach().clone() for value in learnt]
        random_state, device_state = torch.get_rng_state(), self.generator.get_state()
        cuda_state = torch.cuda.get_rng_state() if self.device.type == "cuda" else None
        there = memory.free_bytes(self.device)
        first, sizes = self.splits.train.take, [resize.pixels for resize in self.recipe.resize]
        self.pixels = max([self.splits.train.x.shape[1], *sizes]) if sizes else None
        memory.check(
            self.device, self.model, lambda n: self.loss(first(slice(n)), False)[0], self.batch_size, there
        )
        whole = self.recipe.compile or self.device.type == "cuda"
        some = self.batch_size if whole else min(self.batch_size, WARM_UP_IMAGES)
        batch = first(self._shuffled()[:some])
        try:
            for pixels in (*dict.fromkeys(sizes), None):
                self.pixels = pixels
                self.loss(batch)[0].backward()
            if self._finishes and self._norms():
                with torch.no_grad():
                    self.loss(batch, compiled=False)  # as `finish` will
        except Exception as error:
            if not self.recipe.compile or isinstance(error, torch.OutOfMemoryError):
                raise
            raise StudyError(
                f"recipe.compile: torch.compile failed: {first_line(error)}. Say false, or where a compiler "
                "or Python's headers are missing, install them (Debian: g++ and python3-dev)"
            ) from error
        self.optimizer.step()
        optim.forget(self.optimizer)
        # cuDNN's search took what no step will; what a recorded step takes is seen while it is recorded.
        memory.reset_peak(self.device)
        if self._recorder:
            for pixels in (*dict.fromkeys(sizes), None):
                self.pixels = pixels
                self.recorded[pixels] = self._recorder.record(self._update, batch)
            try:  # beside the memory that recorded steps keep for themselves
                self.evaluate(self.splits.val.take(slice(max(EVAL_BATCH, self.batch_size))))
            except torch.OutOfMemoryError as error:
                raise CudaGraphError(
                    "a step recorded as a CUDA graph leaves too little memory for an evaluation"
                ) from error
        with torch.no_grad():
            for value, first_value in zip(learnt, before, strict=True):
                value.copy_(first_value)
            self._counts.zero_()
        optim.forget(self.optimizer)
        torch.set_rng_state(random_state)
        self.generator.set_state(device_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state)
        self.seconds.compile = clock.lap()

    # -- Evaluation ------------------------------------------------------------------------

    @without_search()
    @torch.inference_mode()
    def evaluate(self, images: Images, views: Views = PLAIN_VIEW) -> Evaluation:
        """Judge images by their logits, averaged over the weighted ``views`` of each."""
        self.model.eval()
        logits = []
        for x in images.x.split(max(EVAL_BATCH, self.batch_size)):
            self.interrupts.check()
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

    def fit(
        self,
        steps: int | None,
        say: Callable[[str], None],
        checkpoints: Checkpoints | None = None,
        watched: Path | None = None,
        trial: bool = False,
    ) -> Outcome:
        """Train for ``steps``, or until the recipe's convergence; then test, once.

        With ``checkpoints`` it goes on where a killed training was, and ends as that would have.
        The file ``watched`` tells meanwhile how far it is. A ``trial`` is not tested, and a loss that
        is no number is its outcome; any other run raises `DivergedError` then. Raises `Interrupted`
        when a signal asks it to stop, the state being saved.
        """
        if self.recipe.until:
            steps = self.recipe.until.max_epochs * self.steps_per_epoch
        assert steps is not None
        self.steps = steps
        self.model.train()
        self.warm_up()
        if checkpoints and (state := checkpoints.load()):
            self.load_state(state)
            say(f"goes on after step {self.at.done} of at most {steps}")
        at, epochs = self.at, steps / self.steps_per_epoch
        progress = Progress(say, at.done, steps, self.batch_size, epochs, at.history, watched)
        self.clock = Clock(self.device)
        try:
            self._train(progress, checkpoints)
            return self._judge(trial)
        except DivergedError as error:
            if not trial:
                raise
            self.seconds.train += self.clock.lap()
            say(str(error))
            epochs = self.at.done / self.steps_per_epoch
            return Outcome(
                steps=self.at.done, epochs=epochs, converged=None, val_loss=None, val_accuracy=0.0,
                test=None, tta=None, history=self.at.history, resumed=self.at.resumed, diverged=True,
            )  # fmt: skip
        except Interrupted:
            if checkpoints:
                checkpoints.save(self.at.done, self.state())
            raise

    def _train(self, progress: Progress, checkpoints: Checkpoints | None) -> None:
        """Epochs to the last step or to convergence, with a look at the validation images after them."""
        at = self.at
        while at.order is not None or (at.done < self.steps and not at.converged):
            if at.order is None:
                at.order, at.epoch, at.first = self.order(), at.epoch + 1, at.done
                self._counts.zero_()
            self._train_epoch(at.order, progress, checkpoints)
            loss, correct = self._read_counts()
            last = at.done == self.steps
            if last:
                self._finish_once()
            self.seconds.train += self.clock.lap()
            if last or at.epoch % self.recipe.validate_every == 0:
                at.history.append(self._validate(loss, correct))
                progress.epoch(at.history[-1])
                if self._convergence:
                    at.converged = self._convergence.update(at.history[-1]["val_loss"])
            at.order = None

    def _train_epoch(self, order: Tensor, progress: Progress, checkpoints: Checkpoints | None) -> None:
        """The steps of an epoch that are left of it, or of training."""
        at = self.at
        for batch in self.batches(order, at.done - at.first):
            if at.done == self.steps:
                break
            z = at.done / self.steps
            self.pixels = schedules.image_size(self.recipe, z)
            self.step(batch, self._rate(z))
            at.done += 1
            if progress.within(at.done, at.epoch):  # rarely: reading waits for the device
                self._read_counts()
            if checkpoints and checkpoints.due():
                self.seconds.train += self.clock.lap()
                checkpoints.save(at.done, self.state())
                self.seconds.checkpoint += self.clock.lap()
            if self.interrupts.signal:
                self.seconds.train += self.clock.lap()
                self.interrupts.check()

    def _validate(self, loss: float, correct: float) -> dict[str, float]:
        """A row of the history, with an epoch's summed training loss and correct answers."""
        at = self.at
        # Until the last synchronisation: the slow weights are what the run will return.
        slow = self.slow.slow_weights() if self.slow and not at.finished else nullcontext()
        with slow:
            val = self.evaluate(self.splits.val)
        self.seconds.evaluate += self.clock.lap()
        if not math.isfinite(val.loss):
            raise self._diverged("validation", val.loss, at.done - 1)
        return {
            "epoch": at.epoch, "step": at.done, "seconds": self.seconds.train,
            "lr": self._rate((at.done - 1) / self.steps),
            "train_loss": loss / (at.done - at.first),
            "train_accuracy": correct / ((at.done - at.first) * self.batch_size),
            "val_loss": val.loss, "val_accuracy": val.accuracy,
        }  # fmt: skip

    def _judge(self, trial: bool) -> Outcome:
        """The trained network's last look at the validation images, and its only one at the test images."""
        at = self.at
        val_loss, val_accuracy = at.history[-1]["val_loss"], at.history[-1]["val_accuracy"]
        if self._finishes and at.done < self.steps:  # stopped early: `finish` has not been called yet
            self._finish_once()
            self.seconds.train += self.clock.lap()
            val = self.evaluate(self.splits.val)
            val_loss, val_accuracy = val.loss, val.accuracy
        test = None if trial else self.evaluate(self.splits.test)
        self.seconds.evaluate += self.clock.lap()
        again = self.recipe.test_time_augmentation and not trial
        tta = self.evaluate(self.splits.test, TEST_TIME_VIEWS) if again else None
        self.seconds.evaluate_tta += self.clock.lap()
        epochs = at.done / self.steps_per_epoch
        return Outcome(
            at.done, epochs, at.converged, val_loss, val_accuracy, test, tta, at.history, at.resumed
        )

    def _rate(self, z: float) -> float:
        factor = schedules.factor(self.recipe.schedule, z)
        return self.recipe.optimizer.lr * factor * (self._convergence.factor if self._convergence else 1.0)

    def _read_counts(self) -> tuple[float, float]:
        """Summed loss and correct answers of the epoch so far.

        Stops a run whose loss is no number any more.
        """
        loss, correct, finite = self._counts.tolist()
        if not math.isfinite(loss):
            raise self._diverged("training", loss, self.at.first + int(finite))
        return loss, correct

    def _diverged(self, kind: str, loss: float, step: int) -> DivergedError:
        return DivergedError(
            f"the {kind} loss became {loss} in epoch {self.at.epoch}, step {step + 1}, at learning rate "
            f"{self._rate(step / self.steps):.4g}; lower recipe.optimizer.lr of this experiment or, where "
            "trials chose its rate, take the highest of contest.trials.factors out"
        )

    def _finish_once(self) -> None:
        if not self.at.finished:
            self.pixels = schedules.image_size(self.recipe, (self.at.done - 1) / self.steps)
            self.finish()
            self.at.finished = True

    def finish(self) -> None:
        """Take the slow weights, if there are some, and measure BatchNorm's statistics for the last weights.

        The running ones lag behind weights that still move, and are those of the fast ones (PreciseBN: Wu and
        Johnson 2021, arXiv 2105.07576, section 3). Nothing unless the recipe asks for one of the two. It is
        part of training, and of an equal-time budget.
        """
        if self.slow:
            self.slow.synchronize()
        norms = self._norms() if self._finishes else []
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        with torch.no_grad():
            for count, batch in enumerate(self.batches(), 1):
                for norm in norms:
                    norm.momentum = 1 / count  # a plain average; PyTorch's own waits for the device to count
                self.loss(batch, compiled=False)  # without gradients it would be compiled again
                if count == 20:
                    break
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def _norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        """The BatchNorms that measure statistics; frozen ones keep theirs."""
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        return [norm for norm in norms if norm.training]

    # -- Its state -------------------------------------------------------------------------

    def state(self) -> State:
        """All that the rest of training depends on, beside what its spec and data determine."""
        self.seconds.total += time.perf_counter() - self.began
        self.began = time.perf_counter()
        return {
            "at": vars(self.at),
            "model": self.model.state_dict(),
            "optimizer": optim.state(self.optimizer),
            "slow": self.slow and self.slow.state_dict(),
            "convergence": self._convergence and self._convergence.state(),
            "counts": self._counts,
            "mirrored": self._mirrored,
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "seconds": dict(self.seconds),
        }

    def load_state(self, state: State) -> None:
        """Go on from a `state`; the seconds that it took are added to this process's."""
        self.at = Position(**state["at"])
        self.at.resumed += 1
        self.model.load_state_dict(state["model"])
        optim.load_state(self.optimizer, state["optimizer"])
        if self.slow:
            self.slow.load_state_dict(state["slow"])
        if self._convergence:
            vars(self._convergence).update(state["convergence"])
        self._counts.copy_(state["counts"])
        if state["mirrored"] is not None:
            self._mirror(state["mirrored"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"])
        for part, seconds in state["seconds"].items():
            setattr(self.seconds, part, getattr(self.seconds, part) + seconds)
