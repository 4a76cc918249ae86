"""Lookahead against a hand computation, and what it must leave alone."""

import pytest
import torch

from trainkit import optim
from trainkit.optim.lookahead import Lookahead
from trainkit.spec import Optimizer


def descend(weight: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step on the loss w^2 / 2, whose gradient is w."""
    optimizer.zero_grad()
    (weight.square().sum() / 2).backward()
    optimizer.step()


def quadratic(start: list[float], momentum: float = 0.0):
    weight = torch.nn.Parameter(torch.tensor(start))
    return weight, torch.optim.SGD([weight], lr=0.5, momentum=momentum)


def test_two_rounds_are_as_computed_by_hand():
    # With rate 0.5 each inner step halves w. From 8: fast 4, 2; slow 8 + (2 - 8) / 2 = 5.
    # From 5: fast 2.5, 1.25; slow 5 + (1.25 - 5) / 2 = 3.125.
    weight, inner = quadratic([8.0])
    lookahead = Lookahead([weight], k=2, alpha=0.5)
    path = []
    for _ in range(4):
        descend(weight, inner)
        lookahead.step()
        path.append((weight.item(), lookahead.slow[0].item()))
    assert path == [(4.0, 8.0), (5.0, 5.0), (2.5, 5.0), (3.125, 3.125)]


def test_slow_weights_are_those_of_the_model_within_the_block_only():
    weight, inner = quadratic([8.0, -4.0])
    lookahead = Lookahead([weight], k=10, alpha=0.5)
    descend(weight, inner)
    with lookahead.slow_weights():
        assert weight.tolist() == [8.0, -4.0]
    assert weight.tolist() == [4.0, -2.0]


def test_the_fast_weights_come_back_even_if_the_evaluation_fails():
    weight, inner = quadratic([8.0])
    lookahead = Lookahead([weight], k=10, alpha=0.5)
    descend(weight, inner)
    with pytest.raises(KeyError), lookahead.slow_weights():
        raise KeyError
    assert weight.item() == 4.0


def test_a_look_at_the_slow_weights_does_not_change_the_path():
    ends = []
    for look in (False, True):
        weight, inner = quadratic([8.0], momentum=0.9)
        lookahead = Lookahead([weight], k=3, alpha=0.3)
        for _ in range(7):
            descend(weight, inner)
            lookahead.step()
            if look:
                with lookahead.slow_weights():
                    pass
        ends.append(weight.item())
    assert ends[0] == ends[1]


def test_a_state_dict_brings_back_slow_weights_and_the_place_in_the_round():
    weight, inner = quadratic([8.0])
    lookahead = Lookahead([weight], k=2, alpha=0.5)
    for _ in range(3):
        descend(weight, inner)
        lookahead.step()
    state = lookahead.state_dict()

    copy, copy_inner = quadratic([weight.item()])
    again = Lookahead([copy], k=2, alpha=0.5)
    again.load_state_dict(state)
    for parameter, optimizer, outer in ((weight, inner, lookahead), (copy, copy_inner, again)):
        descend(parameter, optimizer)
        outer.step()
    assert again.count == lookahead.count == 4
    assert copy.item() == weight.item() == 3.125


def test_a_state_dict_does_not_change_when_training_goes_on():
    weight, inner = quadratic([8.0])
    lookahead = Lookahead([weight], k=1, alpha=0.5)
    state = lookahead.state_dict()
    descend(weight, inner)
    lookahead.step()
    assert (state["slow"][0].item(), state["count"]) == (8.0, 0)


def test_with_alpha_1_it_is_the_inner_optimiser():
    plain, plain_inner = quadratic([8.0, 3.0], momentum=0.9)
    weight, inner = quadratic([8.0, 3.0], momentum=0.9)
    lookahead = Lookahead([weight], k=3, alpha=1.0)
    for _ in range(10):
        descend(plain, plain_inner)
        descend(weight, inner)
        lookahead.step()
        assert torch.allclose(weight, plain, rtol=1e-6)


def test_a_synchronisation_leaves_the_inner_momentum_alone():
    weight, inner = quadratic([8.0], momentum=0.9)
    lookahead = Lookahead([weight], k=1, alpha=0.5)
    descend(weight, inner)
    before = inner.state[weight]["momentum_buffer"].clone()
    lookahead.step()
    assert torch.equal(inner.state[weight]["momentum_buffer"], before)
    assert before.item() == 8.0


def test_the_options_decide_whether_and_how_it_is_used():
    model = torch.nn.Linear(3, 2)
    plain = Optimizer(name="sgd", lr=0.1)
    wanted = Optimizer(name="sgd", lr=0.1, lookahead={"k": 7, "alpha": 0.25})
    inner = optim.build(wanted, model)
    assert optim.lookahead(plain, inner) is None
    lookahead = optim.lookahead(wanted, inner)
    assert (lookahead.k, lookahead.alpha) == (7, 0.25)
    assert {id(p) for p in lookahead.fast} == {id(p) for p in model.parameters()}
