"""Convolutions by Winograd's algorithm compute what plain ones do, and as exactly as training needs."""

import copy

import pytest
import torch
from torch import nn

from trainkit import blocked, memory, side_by_side, winograd
from trainkit.models import build
from trainkit.spec import Airbench


def pair(inputs, outputs, dtype, bias=False):
    """A convolution, and the same by Winograd's algorithm."""
    torch.manual_seed(0)
    plain = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).to(dtype)
    other = copy.deepcopy(plain)
    winograd.use(other, "float32")
    assert type(other) is winograd.Conv2d
    return plain, other


def images(n, channels, height, width, dtype, memory_format=torch.channels_last):
    x = torch.randn(n, channels, height, width, dtype=dtype)
    return x.contiguous(memory_format=memory_format).requires_grad_()


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(side_by_side, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(winograd, "FEWEST", {"float32": 1, "bfloat16": 1})


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("n", "height", "width"), [(3, 8, 8), (5, 4, 12), (2, 7, 7), (2, 3, 5), (4, 1, 1), (1, 9, 2)]
)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    monkeypatch, n, height, width, memory_format
):
    plain, other = pair(3, 5, torch.float64, bias=True)
    x = images(n, 3, height, width, torch.float64, memory_format)
    expected = plain(x)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, [x, *plain.parameters()], upstream)
    for size in (1, winograd.FORWARD_CHUNK):  # image by image, and all at once
        monkeypatch.setattr(winograd, "FORWARD_CHUNK", size)
        monkeypatch.setattr(winograd, "BACKWARD_CHUNK", size)
        found = other(x)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(found, expected, atol=1e-12)
        for a, b in zip(
            gradients, torch.autograd.grad(found, [x, *other.parameters()], upstream), strict=True
        ):
            assert torch.allclose(a, b, atol=1e-12)


def test_chunks_cover_all_images_and_hold_about_so_many_bytes():
    x, weight = torch.zeros(10, 8, 8, 2), torch.zeros(6, 2, 3, 3)
    each = 4 * 36 * 2 * 2 * 6  # bytes: four tiles of an image, the more of the two numbers of channels
    assert [len(x[some]) for some in winograd.chunks(x, weight, 4 * each + 1)] == [4, 4, 2]


def test_in_float32_the_error_is_about_twice_that_of_the_plain_convolution():
    plain, other = pair(256, 256, torch.float32)
    x = images(4, 256, 8, 8, torch.float32)
    exact = copy.deepcopy(plain).double()(x.double())
    errors = [((network(x) - exact).norm() / exact.norm()).item() for network in (plain, other)]
    assert errors[0] < 1e-6
    assert errors[1] < 2e-6


@pytest.mark.skipif(not blocked.available(torch.bfloat16), reason="this CPU has no bfloat16 that is fast")
@pytest.mark.parametrize("size", [1, winograd.BACKWARD_CHUNK])  # filters' gradients are added up over chunks
def test_in_bfloat16_outputs_and_gradients_are_off_by_less_than_two_percent(monkeypatch, size):
    monkeypatch.setattr(winograd, "BACKWARD_CHUNK", size)
    plain, other = pair(128, 128, torch.float32, bias=True)
    x = images(32, 128, 8, 8, torch.float32)
    expected = plain(x)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, [x, plain.weight, plain.bias], upstream)
    with torch.autocast("cpu", torch.bfloat16):
        found = other(x)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    theirs = torch.autograd.grad(found, [x, other.weight, other.bias], upstream.bfloat16())
    assert {gradient.dtype for gradient in theirs} == {torch.float32}
    errors = [
        ((a - b).norm() / a.norm()).item()
        for a, b in zip([expected, *gradients], [found, *theirs], strict=True)
    ]
    assert max(errors) < 0.02
    assert min(errors[:3]) > 0.005  # it did compute by it, in bfloat16


def test_a_gradient_that_nobody_asks_for_is_left_out():
    _, other = pair(4, 4, torch.float32)
    x = images(2, 4, 8, 8, torch.float32)
    other.requires_grad_(False)
    other(x).sum().backward()
    assert x.grad is not None and other.weight.grad is None
    other.requires_grad_(True)
    other(x.detach()).sum().backward()
    assert other.weight.grad is not None


def test_between_the_passes_it_keeps_what_a_plain_convolution_keeps():
    networks = pair(16, 16, torch.float32)
    x = images(8, 16, 16, 16, torch.float32)
    kept = [memory.saved_bytes(lambda network=network: network(x)) for network in networks]
    assert kept[0] == kept[1] == 4 * (x.numel() + networks[0].weight.numel())


@pytest.mark.parametrize(
    ("precision", "widths", "ways"),
    [
        ("float32", [64, 256, 256], [False, False, False, False, True, True, True]),
        ("bfloat16", [64, 256, 256], [False, False, False, False, True, True, True]),
        ("float32", [64, 128, 256], [False, False, False, False, True, True, True]),
        ("bfloat16", [64, 128, 256], [False, False, False, False, False, True, True]),
    ],
)
def test_a_network_keeps_its_weights_and_narrow_convolutions_their_way(monkeypatch, precision, widths, ways):
    monkeypatch.undo()  # many channels only, as it is
    model = build(Airbench(name="airbench", widths=widths), (32, 32, 3), 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    winograd.use(model, precision)
    assert [type(m) is winograd.Conv2d for m in model.modules() if isinstance(m, nn.Conv2d)] == ways
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
