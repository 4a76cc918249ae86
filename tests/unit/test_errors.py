"""How programs end."""

import subprocess
import sys

WORK = """
import atexit, torch
from trainkit.errors import run_program
atexit.register(print, "tidied up")
run_program(lambda: print("done"))
print("never reached")
"""


def run(root, stdout) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", WORK], cwd=root / "scripts", stdout=stdout, text=True)


def test_a_program_that_has_imported_torch_ends_at_once_but_tidily(root):
    done = run(root, subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, "done\ntidied up\n")


def test_what_could_not_be_printed_is_a_failure(root):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        assert run(root, full).returncode != 0


def test_a_device_out_of_memory_is_one_line_that_says_what_to_do(root):
    work = """
import torch
from trainkit.errors import run_program
def main():
    raise torch.OutOfMemoryError("CUDA out of memory.\\nSee the documentation")
run_program(main)
"""
    command = [sys.executable, "-c", work]
    done = subprocess.run(command, cwd=root / "scripts", stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    said = "Lower recipe.batch_size or the size of the model, or end what else uses the device"
    assert done.stderr == f"error: CUDA out of memory. {said}\n"
