"""Slow weights against hand computations, and what they must leave alone."""

import pytest
import torch
from tiny import fit, recipe, trainer, validated, weights

from trainkit import optim
from trainkit.optim.slow import EMA, Lookahead
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


def test_kept_momentum_goes_on():
    # k=2, alpha=0.5, rate 0.5. From w = 4 with m = 8: m = 4 + 4 = 8, w = 0; m = 4 + 0, w = -2; slow
    # 4 + (-2 - 4) / 2 = 1.
    weight, inner = quadratic([8.0], momentum=0.5)
    lookahead, found = Lookahead([weight], 2, 0.5), []
    for _ in range(4):
        descend(weight, inner)
        lookahead.step()
        found.append((weight.item(), inner.state[weight]["momentum_buffer"].item()))
    assert found[1::2] == [(4.0, 8.0), (1.0, 4.0)]


def test_the_options_decide_whether_and_how_it_is_used():
    model = torch.nn.Linear(3, 2)
    inner = optim.build(validated(Optimizer, name="sgd", lr=0.1), model)

    def slow(**changes):
        options = {"optimizer": {"name": "sgd", "lr": 0.1}} | changes
        return optim.slow(Recipe(epochs=1, **options), inner)

    assert slow() is None
    wanted = {"k": 7, "alpha": 0.25}
    lookahead = slow(optimizer={"name": "sgd", "lr": 0.1, "lookahead": wanted})
    assert (lookahead.k, lookahead.alpha) == (7, 0.25)
    assert {id(p) for p in lookahead.fast} == {id(p) for p in model.parameters()}
    assert isinstance(slow(ema={}), EMA)


# -- The exponential moving average -----------------------------------------------------------


def test_an_exponential_mean_is_as_defined_and_in_the_model_within_the_block_only():
    weight = torch.zeros(1)
    ema, values = EMA([weight], decay=0.25), [float(2**step) for step in range(8)]
    for value in values:
        weight.fill_(value)
        ema.step()
    expected = values[0]
    for done, value in enumerate(values[1:], 1):
        decay = min(0.25, done / (10 + done))  # from the fourth step on as asked
        expected = decay * expected + (1 - decay) * value
    with pytest.raises(KeyError), ema.slow_weights():
        assert weight.item() == pytest.approx(expected)
        raise KeyError
    assert weight.item() == values[-1]
    ema.synchronize()
    assert weight.item() == pytest.approx(expected)


def test_averaging_leaves_the_path_of_training_alone_and_ends_in_the_mean():
    plain, _ = fit(12, recipe())
    subject = trainer(recipe(ema={"decay": 0.5}))
    seen = []
    finish = subject.finish

    def finish_after_looking() -> None:
        seen.append(torch.cat([p.detach().flatten().clone() for p in subject.model.parameters()]))
        finish()

    subject.finish = finish_after_looking
    subject.fit(12, say=lambda line: None)
    assert torch.equal(seen[0], torch.cat([p.detach().flatten() for p in plain.model.parameters()]))
    for weight, mean in zip(subject.slow.fast, subject.slow.slow, strict=True):
        assert torch.equal(weight, mean)
    assert not torch.equal(weights(subject), weights(plain))
