"""Training the last stages only: what learns, what stays, and what a stopped run goes on with."""

import copy
from pathlib import Path

import pytest
import torch
from tiny import PLAIN, SILENT, StopAt, numbers, recipe, splits, weights

from trainkit.augment import Pipeline
from trainkit.checkpoint import Checkpoints
from trainkit.engine import Trainer
from trainkit.interrupts import Interrupted
from trainkit.models import efficientnet_lite0 as lite
from trainkit.spec import EfficientNetLite0

OPTIONS = EfficientNetLite0(name="efficientnet_lite0", image_size=32, cut=3, train_last=1)


@pytest.fixture
def model(monkeypatch) -> torch.nn.Module:
    monkeypatch.setattr(lite, "load_imagenet", lambda network, weights: None)
    torch.manual_seed(0)
    return lite.build(OPTIONS, (28, 28, 1), 10, Path("unused"))


def test_the_last_stage_and_the_head_get_gradients_and_nothing_else(model):
    model.train()
    model[1][1].weight.data.normal_()
    torch.nn.functional.cross_entropy(model(torch.randn(8, 1, 28, 28)), torch.arange(8)).backward()
    frozen, last = model[0][1][0], model[0][1][1]
    assert all(p.grad is None for p in frozen.parameters())
    assert all(p.grad is not None and p.grad.any() for p in last.parameters())
    assert all(p.grad is not None for p in model[1].parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == sum(p.numel() for p in [*last.parameters(), *model[1].parameters()])


def test_frozen_statistics_stay_and_the_others_move(model):
    model.train()
    before = copy.deepcopy(model.state_dict())
    model(3 + torch.randn(8, 1, 28, 28))
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and not any(key.startswith("0.1.0.") for key in moved)
    assert any(key.startswith("0.1.1.") for key in moved)


def test_it_computes_what_the_whole_network_does(model):
    whole = lite.build(OPTIONS.model_copy(update={"train_last": None}), (28, 28, 1), 10, Path("unused"))
    whole.load_state_dict(dict(zip(whole.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(model.eval()(x), whole.eval()(x))


@pytest.mark.parametrize("moment", [1, 4, 7])
def test_a_stopped_run_goes_on_to_the_same_weights_and_history(moment, model, tmp_path):
    def fit(checkpoints=None, stop=10**6):
        torch.manual_seed(0)  # of stochastic depth
        generator = torch.Generator().manual_seed(0)
        pipeline = Pipeline(recipe().augment, (0.3,), (0.3,), generator)
        subject = Trainer(recipe(), copy.deepcopy(model), splits(), pipeline, generator, PLAIN)
        subject.interrupts = StopAt(stop)
        return subject, subject.fit(8, SILENT, checkpoints)

    reference, expected = fit()
    with pytest.raises(Interrupted):
        fit(Checkpoints(tmp_path, "key"), moment)
    resumed, outcome = fit(Checkpoints(tmp_path, "key"))
    assert outcome.resumed == 1
    assert torch.equal(weights(resumed), weights(reference))
    assert numbers(outcome) == numbers(expected)
    assert not torch.equal(weights(reference), torch.cat([v.flatten() for v in model.state_dict().values()]))


@pytest.mark.parametrize("key", ["train", "weights"])
def test_it_goes_with_a_pretrained_base_that_is_trained(key):
    wrong = {"train": "head"} if key == "train" else {"weights": "random"}
    with pytest.raises(ValueError, match="train_last goes with train: all and weights: imagenet only"):
        EfficientNetLite0(name="efficientnet_lite0", train_last=1, **wrong)


def test_at_least_the_stem_stays():
    with pytest.raises(ValueError, match="give at most 4"):
        EfficientNetLite0(name="efficientnet_lite0", cut=4, train_last=5)
