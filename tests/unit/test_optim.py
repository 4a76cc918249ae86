"""Optimisers by name, and what weight decay touches."""

import pytest
import torch
from tiny import validated
from torch import nn

from trainkit import optim
from trainkit.spec import Optimizer

NAMES = ["sgd", "adamw", "rmsprop"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    # No bias before the norm: its gradient is rounding noise, which Adam would magnify.
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    x = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_biases_and_norms_have_no_weight_decay_and_all_else_has(name):
    model = network()
    optimizer = optim.build(validated(Optimizer, name=name, lr=0.1, weight_decay=0.02), model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(p): 0.02 if p.ndim > 1 else 0.0 for p in model.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients_only_decayed_weights_shrink(name):
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = optim.build(validated(Optimizer, name=name, lr=0.01, weight_decay=0.5), model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for old, new in zip(before, model.parameters(), strict=True):
        if old.ndim > 1:
            assert new.norm() < old.norm()
        else:
            assert torch.equal(new, old)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_that_needs_no_gradient_is_left_out(name):
    model = network()
    model[0].requires_grad_(False)
    optimizer = optim.build(validated(Optimizer, name=name, lr=0.1, weight_decay=0.1), model)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for layer in (model[1], model[3]) for p in layer.parameters()}


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        (
            validated(Optimizer, name="sgd", lr=0.05, momentum=0.8),
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True),
        ),
        (
            validated(Optimizer, name="sgd", lr=0.05, momentum=0.8, nesterov=False),
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.8),
        ),
        (validated(Optimizer, name="sgd", lr=0.05, momentum=0.0), lambda p: torch.optim.SGD(p, 0.05)),
        (validated(Optimizer, name="adamw", lr=0.01), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0)),
        (validated(Optimizer, name="rmsprop", lr=0.01), lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9)),
    ],
    ids=["nesterov", "heavy ball", "plain sgd", "adamw", "rmsprop"],
)
def test_an_optimiser_walks_as_pytorchs_of_that_name(options, theirs):
    ours, reference = network(), network()
    train(ours, optim.build(options, ours))
    train(reference, theirs(reference.parameters()))
    for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_adamws_decay_is_decoupled_from_the_gradient():
    model = nn.Linear(4, 2, bias=False)
    before = model.weight.detach().clone()
    optimizer = optim.build(validated(Optimizer, name="adamw", lr=0.1, weight_decay=0.5), model)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert torch.allclose(model.weight, before * (1 - 0.1 * 0.5))
