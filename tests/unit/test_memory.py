"""The memory of a training step: counted exactly, and refused before it is taken."""

import psutil
import pytest
import torch
from torch import nn

from trainkit import memory, side_by_side
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
    x = torch.randn(4, 100)
    needed = 64 * 4 * (100 + 50) + 4 * 4 * 5000  # of each weight: itself once more, its gradient, two moments

    def loss_of(count: int) -> torch.Tensor:
        return model(x[:count].clone()).relu().mean()

    memory.check(CPU, model, loss_of, 64, needed)
    with pytest.raises(StudyError, match=rf"\({needed} bytes\) for 64 images.*\({needed - 1} bytes\)"):
        memory.check(CPU, model, loss_of, 64, needed - 1)


def test_rows_of_small_images_are_counted_with_their_copies(monkeypatch):
    monkeypatch.setattr(side_by_side, "FEWEST_CHANNELS", 1)
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
    side_by_side.use(model)
    x = torch.randn(64, 2, 3, 3).contiguous(memory_format=torch.channels_last)
    weights = sum(p.numel() for p in model.parameters())
    row, image = 2 * 3 * 4, 2 * 3 * 3  # numbers of an image with its column of zeros, and without
    kept = memory.saved_bytes(lambda: model(x).mean())
    assert kept == 4 * (64 * (row + image + row) + sum(m.weight.numel() for m in model[::2]))
    needed = 64 * 4 * (row + image + row) + 4 * 4 * weights
    memory.check(CPU, model, lambda n: model(x[:n]).mean(), 64, needed)
    with pytest.raises(StudyError, match=rf"\({needed} bytes\)"):
        memory.check(CPU, model, lambda n: model(x[:n]).mean(), 64, needed - 1)


def test_free_memory_is_less_than_what_the_machine_has():
    assert 0 < memory.free_bytes(CPU) <= psutil.virtual_memory().total


def test_of_a_containers_memory_only_what_it_has_left_is_free(monkeypatch):
    held = psutil.Process().memory_info().rss
    monkeypatch.setattr(memory, "limits", lambda: {"memory_mb_by_cgroup": held / 2**20 + 100})
    assert memory.free_bytes(CPU) == pytest.approx(100 * 2**20, abs=50 * 2**20)
