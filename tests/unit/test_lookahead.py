"""Lookahead against a hand computation, and what it must leave alone."""

import pytest
import torch

from trainkit import optim
from trainkit.optim.averaging import Averaging
from trainkit.optim.lookahead import Lookahead
from trainkit.spec import Optimizer, Recipe


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


def synchronised(momentum: str, rounds: int) -> list[tuple[float, float]]:
    """The weight and its momentum after each synchronisation; k=2, alpha=0.5, rate 0.5, from 8."""
    weight, inner = quadratic([8.0], momentum=0.5)
    momenta = lambda: [inner.state[weight]["momentum_buffer"]]  # noqa: E731
    lookahead = Lookahead([weight], 2, 0.5, momentum, momenta)
    found = []
    for _ in range(rounds):
        for _ in range(2):
            descend(weight, inner)
            lookahead.step()
        found.append((weight.item(), momenta()[0].item()))
    return found


def test_pulled_back_momentum_is_a_mean_of_copies_and_not_the_live_buffer():
    # m = 8 after two steps: pulled back to 8 / 2 = 4. From w = 4: m = 2 + 4 = 6, w = 1; m = 3 + 1 = 4,
    # w = -1; slow 4 + (-1 - 4) / 2 = 1.5 and m (4 + 4) / 2 = 4. An alias would give 4 as well, and then
    # in the third round: m = 2 + 1.5 = 3.5, w = -0.25; m = 1.75 - 0.25 = 1.5, w = -1; (4 + 1.5) / 2.
    assert synchronised("pullback", 3) == [(4.0, 4.0), (1.5, 4.0), (0.25, 2.75)]


def test_reset_momentum_starts_again_from_zero():
    # From w = 4 with m = 0: m = 4, w = 2; m = 2 + 2 = 4, w = 0; slow 2.
    assert synchronised("reset", 2) == [(4.0, 0.0), (2.0, 0.0)]


def test_kept_momentum_goes_on():
    # From w = 4 with m = 8: m = 4 + 4 = 8, w = 0; m = 4 + 0, w = -2; slow 4 + (-2 - 4) / 2 = 1.
    assert synchronised("keep", 2) == [(4.0, 8.0), (1.0, 4.0)]


def test_the_options_decide_whether_and_how_it_is_used():
    model = torch.nn.Linear(3, 2)
    inner = optim.build(Optimizer(name="sgd", lr=0.1), model)

    def slow(**changes):
        options = {"optimizer": {"name": "sgd", "lr": 0.1}} | changes
        return optim.slow(Recipe(epochs=1, **options), inner)

    assert slow() is None
    wanted = {"k": 7, "alpha": 0.25, "momentum": "pullback"}
    lookahead = slow(optimizer={"name": "sgd", "lr": 0.1, "lookahead": wanted})
    assert (lookahead.k, lookahead.alpha, lookahead.momentum) == (7, 0.25, "pullback")
    assert {id(p) for p in lookahead.fast} == {id(p) for p in model.parameters()}
    assert isinstance(slow(averaging={"name": "ema"}), Averaging)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_the_momenta_of_every_optimiser_are_found(name):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2, 2))
    options = {"name": name, "lr": 0.1, "lookahead": {"k": 1, "momentum": "reset"}}
    recipe = Recipe(epochs=1, optimizer=options)
    inner = optim.build(recipe.optimizer, model)
    lookahead = optim.slow(recipe, inner)
    model(torch.ones(1, 1, 3, 3)).sum().backward()
    inner.step()
    assert len(lookahead.momenta()) == 4
    assert any(m.any() for m in lookahead.momenta())
    lookahead.step()
    assert not any(m.any() for m in lookahead.momenta())
