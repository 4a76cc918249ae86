"""The memory of a training step: counted exactly, and refused before it is taken."""

import pytest
import torch
from torch import nn

from trainkit import memory
from trainkit.errors import StudyError

CPU = torch.device("cpu")


def test_saved_bytes_are_those_that_the_backward_pass_needs():
    x = torch.randn(6, 100)
    layer = nn.Linear(100, 50, bias=False)
    # The linear layer keeps its input (its weight only where the input needs a gradient, too),
    # ReLU its result, the mean nothing.
    assert memory.saved_bytes(lambda: layer(x).relu().mean()) == 4 * (6 * 100 + 6 * 50)


def test_a_step_that_does_not_fit_is_refused_with_both_numbers():
    model = nn.Linear(100, 50, bias=False)
    x = torch.randn(6, 100)
    needed = 64 * 4 * (100 + 50) + 3 * 4 * 5000

    def loss_of(count: int) -> torch.Tensor:
        return model(x[:count].clone()).relu().mean()

    memory.check(CPU, model, loss_of, 64, needed)
    with pytest.raises(StudyError, match=rf"\({needed} bytes\) for 64 images.*\({needed - 1} bytes\)"):
        memory.check(CPU, model, loss_of, 64, needed - 1)


def test_free_memory_is_less_than_what_the_machine_has():
    assert 0 < memory.free_bytes(CPU) < 2**50
