"""Stopping at a moment of one's own choice when the kernel, a scheduler or the user says stop."""

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818
    """The program was told to stop, and has brought what it had to safety."""


class Interrupts:
    """Notes signals in place of dying of them; a second one has its usual effect.

    A signal that whoever started the program has it ignore stays ignored.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def watch(self) -> None:
        """From now on, signals are noted. For the main thread only."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                usual = signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL
                signal.signal(each, usual)

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come."""
        if self.signal:
            raise Interrupted(f"stopped by {self.signal.name}")
