"""Means of the weights along the way, against their definition."""

import pytest
import torch
from tiny import fit, recipe, trainer, weights

from trainkit.optim.averaging import Averaging
from trainkit.spec import Averaging as Options


def path(options: dict, steps: int = 8) -> tuple[list[float], Averaging, torch.nn.Module]:
    """A weight that is set to 1, 2, 4, 8 ... step by step, and its mean."""
    model = torch.nn.Linear(1, 1, bias=False)
    averaging = Averaging(list(model.parameters()), Options(**options))
    values = [float(2**step) for step in range(steps)]
    for step, value in enumerate(values):
        model.weight.data.fill_(value)
        averaging.step(step / steps)
    return values, averaging, model


def test_an_exponential_mean_is_as_defined():
    values, averaging, model = path({"name": "ema", "decay": 0.75})
    expected = values[0]
    for value in values[1:]:
        expected = 0.75 * expected + 0.25 * value
    averaging.synchronize()
    assert model.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(("last", "count"), [(0.25, 2), (0.5, 4), (1.0, 8)])
def test_a_tail_mean_is_that_of_the_last_part_of_training(last, count):
    values, averaging, model = path({"name": "tail", "last": last})
    averaging.synchronize()
    assert model.weight.item() == pytest.approx(sum(values[-count:]) / count)


def test_before_the_tail_begins_the_weights_are_the_models_own():
    model = torch.nn.Linear(1, 1)
    averaging = Averaging(list(model.parameters()), Options(name="tail", last=0.1))
    averaging.step(0.5)
    before = model.weight.item()
    with averaging.slow_weights():
        assert model.weight.item() == before


def test_the_mean_is_in_the_model_within_the_block_only():
    values, averaging, model = path({"name": "tail", "last": 1.0})
    with pytest.raises(KeyError), averaging.slow_weights():
        assert model.weight.item() == pytest.approx(sum(values) / len(values))
        raise KeyError
    assert model.weight.item() == values[-1]


def test_averaging_leaves_the_path_of_training_alone_and_ends_in_the_mean():
    plain, _ = fit(12, recipe())
    subject = trainer(recipe(averaging={"name": "ema", "decay": 0.5}))
    seen = []
    finish = subject.finish

    def finish_after_looking() -> None:
        seen.append(torch.cat([p.detach().flatten().clone() for p in subject.model.parameters()]))
        finish()

    subject.finish = finish_after_looking
    subject.fit(12, say=lambda line: None)
    assert torch.equal(seen[0], torch.cat([p.detach().flatten() for p in plain.model.parameters()]))
    for weight, mean in zip(subject.slow.weights, subject.slow.mean, strict=True):
        assert torch.equal(weight, mean)
    assert not torch.equal(weights(subject), weights(plain))
