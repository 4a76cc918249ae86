"""What a program says while it works: a line now and then, on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 5


class Progress:
    """A line an epoch, and one within long epochs, every few seconds at most."""

    def __init__(self, say: Callable[[str], None], done: int, steps: int, batch_size: int) -> None:
        self.say, self.before, self.steps, self.batch_size = say, done, steps, batch_size
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
        rate = max(1, done - self.before) / (self.shown - self.began)
        left = (self.steps - done) / rate
        self.say(f"{what}, {rate * self.batch_size:.0f} images/s, at most {left:.0f} s left")


def print_line(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: work goes on
        print(line, file=sys.stderr, flush=True)
