"""Convolutions that put small images side by side compute what plain ones do."""

import copy

import pytest
import torch
from torch import nn

from trainkit import side_by_side
from trainkit.models import build
from trainkit.spec import ResNet


@pytest.mark.parametrize(
    ("n", "height", "width", "count"),
    [
        *[(32, 1, 1, 16), (16, 2, 3, 8), (8, 4, 4, 8), (24, 5, 5, 8), (8, 7, 7, 4), (4, 8, 8, 4)],
        *[(12, 4, 4, 4), (6, 7, 7, 2)],  # so many as divide the batch
        *[(7, 7, 7, 1), (8, 9, 9, 1)],  # no row, or too large: as they are
    ],
)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(monkeypatch, n, height, width, count):
    monkeypatch.setattr(side_by_side, "FEWEST_CHANNELS", 1)
    generator = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(3, 5, 3, padding=1).double()
    rows = copy.deepcopy(plain)
    side_by_side.use(rows)
    x = torch.randn(n, 3, height, width, dtype=torch.float64, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    used = []
    together = side_by_side.together
    monkeypatch.setattr(side_by_side, "together", lambda x, k: used.append(k) or together(x, k))
    expected, found = plain(x), rows(x)
    assert used == ([count] if count > 1 else [])
    assert torch.allclose(found, expected, atol=1e-12)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    for a, b in zip(
        torch.autograd.grad(expected, [x, *plain.parameters()], upstream),
        torch.autograd.grad(found, [x, *rows.parameters()], upstream),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_images_come_apart_as_they_went_together_and_zeros_stand_between_them():
    x = torch.arange(1.0, 1 + 8 * 2 * 3 * 4).view(8, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    row = side_by_side.together(x, 4)
    assert row.shape == (2, 2, 3, 20)
    assert row.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(row[1, :, :, 5:9], x[5])
    assert not row[:, :, :, 4::5].any()
    assert torch.equal(side_by_side.apart(row, 4), x)


@pytest.mark.parametrize(
    "options",
    [
        *[{"stride": 2}, {"padding": 0}, {"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect"}],
        *[{"kernel_size": 5}, {"in_channels": 64}],
    ],
)
def test_other_convolutions_stay_as_they_are(options):
    plain = {"in_channels": 128, "out_channels": 128, "kernel_size": 3, "padding": 1}
    model = nn.Sequential(nn.Conv2d(**plain | options))
    side_by_side.use(model)
    assert type(model[0]) is nn.Conv2d


def test_a_network_keeps_its_weights_and_their_names():
    model = build(ResNet(name="resnet", depth=8, width=64), (32, 32, 3), 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    side_by_side.use(model)
    assert sum(isinstance(m, side_by_side.Conv2d) for m in model.modules()) == 2
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert before.keys() == after.keys()
