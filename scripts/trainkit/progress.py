"""What a program says while it works: a line now and then, on stderr."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS_BETWEEN_LINES = 5
SECONDS_BETWEEN_FILES = 2
FILE = "progress.json"  # in a run's folder, while it trains: what `make watch` reads


class Progress:
    """A line an epoch, and one within long epochs, every few seconds at most."""

    def __init__(
        self,
        say: Callable[[str], None],
        done: int,
        steps: int,
        batch_size: int,
        epochs: float = 0.0,
        history: list[dict[str, float]] | None = None,
        file: Path | None = None,
    ) -> None:
        """``epochs`` of training at most; ``history`` grows outside; ``file`` is kept up to date."""
        self.say, self.before, self.steps, self.batch_size = say, done, steps, batch_size
        self.epochs, self.history, self.file = epochs, [] if history is None else history, file
        self.began = self.shown = self.epoch_shown = time.monotonic()
        self.written = float("-inf")
        self._write(done)

    def within(self, done: int, epoch: int) -> bool:
        """Say something if nothing was said for long; whether it did."""
        due = time.monotonic() - self.shown > 2 * SECONDS_BETWEEN_LINES
        if due:
            self._line(done, f"epoch {epoch}")
            self._write(done)
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
        self._write(done)

    def _line(self, done: int, what: str) -> None:
        self.shown = time.monotonic()
        rate, left = self._pace(done)
        self.say(f"{what}, {rate * self.batch_size:.0f} images/s, at most {left:.0f} s left")

    def _pace(self, done: int) -> tuple[float, float]:
        """Steps a second of this process, and the seconds that the rest takes at that rate."""
        rate = max(1, done - self.before) / max(time.monotonic() - self.began, 1e-9)
        return rate, (self.steps - done) / rate

    def _write(self, done: int) -> None:
        """Leave the state for who watches, not too often; where it cannot be written, work goes on."""
        if self.file is None or time.monotonic() - self.written < SECONDS_BETWEEN_FILES:
            return
        self.written = time.monotonic()
        rate, left = self._pace(done)
        begun = done > self.before
        content = {
            "step": done,
            "steps": self.steps,
            "epochs": self.epochs,
            "images_per_second": rate * self.batch_size if begun else None,
            "seconds_left": left if begun else None,
            "time": time.time(),
            "history": [
                {key: row[key] for key in ("epoch", "train_loss", "val_accuracy")} for row in self.history
            ],
        }
        beside = self.file.with_name(f".{self.file.name}")
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # No fsync, unlike results: after a power cut nobody misses it.
            beside.write_text(json.dumps(content), encoding="utf-8")
            beside.replace(self.file)


def forget(folder: Path) -> None:
    """Remove the progress of a run that is over."""
    for name in (FILE, f".{FILE}"):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def print_line(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: work goes on
        print(line, file=sys.stderr, flush=True)
