"""The errors that a user can mend: one family, one clear line each."""

import atexit
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from trainkit.interrupts import Interrupted


class StudyError(Exception):
    """A mistake or a fault that its message explains: where, what was expected, what to do."""


def run_program(main: Callable[[], None]) -> None:
    """Run a program's ``main``: a `StudyError`, or a GPU out of memory, becomes one line and exit code 1.

    Set ``STUDY_TRACEBACK=1`` to see where it came from.
    """
    try:
        main()
    except StudyError as error:
        if os.environ.get("STUDY_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
    except Interrupted as stop:
        sys.exit(f"{stop}; the next snakemake call goes on from here")
    except Exception as error:
        torch = sys.modules.get("torch")
        if not torch or not isinstance(error, torch.OutOfMemoryError) or os.environ.get("STUDY_TRACEBACK"):
            raise
        said = (str(error).strip() or "out of memory").splitlines()[0]
        remedy = "Lower recipe.batch_size or the size of the model, or end what else uses the device"
        sys.exit(f"error: {said} {remedy}")
    except KeyboardInterrupt:
        sys.exit("interrupted: no result was written")
    if "torch" in sys.modules:
        end_at_once()


def end_at_once() -> NoReturn:
    """End a program that has done its work; Python would first spend a second on taking PyTorch apart."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
