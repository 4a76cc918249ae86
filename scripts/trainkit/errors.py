"""The errors that a user can mend: one family, one clear line each."""

import atexit
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from trainkit.interrupts import Interrupted


class StudyError(Exception):
    """A mistake or a fault that its message explains: where, what was expected, what to do."""


def first_line(error: BaseException) -> str:
    """What an error says first, or else its name."""
    return (str(error).strip() or repr(error)).splitlines()[0]


class CudaGraphError(StudyError):
    """A training step that could not be recorded as a CUDA graph, in a process that is of no use any more."""


WITHOUT_CUDA_GRAPHS = "STUDY_WITHOUT_CUDA_GRAPHS"  # the variable that programs start again with then


def run_program(main: Callable[[], None]) -> None:
    """Run a program's ``main``: a `StudyError`, or a GPU out of memory, becomes one line and exit code 1.

    After a `CudaGraphError` it starts again, without CUDA graphs.
    Set ``STUDY_TRACEBACK=1`` to see where an error came from, and not to start again.
    """
    try:
        main()
    except CudaGraphError as error:
        if os.environ.get("STUDY_TRACEBACK"):
            raise
        if WITHOUT_CUDA_GRAPHS in os.environ:
            sys.exit(f"error: {error}")
        from trainkit import lease  # which imports this module

        print(
            f"warning: {error}; it starts again without CUDA graphs, as recipe.cuda_graphs: false does "
            "(where its steps were fitted to seconds, these were measured with them)"
        )
        sys.stdout.flush()
        os.environ[WITHOUT_CUDA_GRAPHS] = "1"
        os.environ.pop(lease.HELD, None)  # its lock ends with this program
        os.execv(sys.executable, [sys.executable, *sys.argv])
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
        remedy = "Lower recipe.batch_size or the size of the model, or end what else uses the device"
        sys.exit(f"error: {first_line(error)} {remedy}")
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
