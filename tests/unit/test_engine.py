"""The trainer on tiny images: reproducible, exact in its steps, blind to validation and test."""

from typing import Any

import pytest
import torch
from tiny import (
    CLASSES,
    CONVNET,
    DENSE,
    TRAIN,
    BreaksAtTheEighthStep,
    fit,
    numbers,
    recipe,
    splits,
    trainer,
    validated,
    weights,
)

from trainkit import memory, optim, side_by_side, winograd
from trainkit.augment import TEST_TIME_VIEWS
from trainkit.datasets import PARTS, Images, Splits
from trainkit.device import Numerics
from trainkit.engine import Evaluation, Trainer
from trainkit.errors import StudyError
from trainkit.spec import Augment, Optimizer, ResNet

AUGMENTED = recipe(augment=Augment(translate=1, rotate=10), optimizer={"lookahead": {"k": 2, "alpha": 0.5}})


def test_the_same_seed_gives_the_same_weights_and_history_bit_for_bit():
    (one, a), (two, b) = fit(12, AUGMENTED, 7), fit(12, AUGMENTED, 7)
    assert torch.equal(weights(one), weights(two))
    assert numbers(a) == numbers(b)
    assert torch.equal(a.test.logits, b.test.logits)


def test_another_seed_gives_other_weights_and_another_history():
    (one, a), (two, b) = fit(12, AUGMENTED, 7), fit(12, AUGMENTED, 8)
    assert not torch.equal(weights(one), weights(two))
    assert numbers(a) != numbers(b)


def test_training_learns():
    outcome = fit(40, recipe(optimizer={"lr": 0.1}))[1]
    assert outcome.history[-1]["train_loss"] < 0.5 * outcome.history[0]["train_loss"]
    assert outcome.test.accuracy > 0.8


# -- Warming up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "rmsprop"])
def test_warming_up_leaves_weights_buffers_and_random_states_untouched(optimizer):
    options = validated(Optimizer, name=optimizer, lr=0.05, lookahead=AUGMENTED.optimizer.lookahead)
    subject = trainer(AUGMENTED.model_copy(update={"optimizer": options}))
    steps, step = [], subject.optimizer.step
    subject.optimizer.step = lambda: steps.append(step())

    def state() -> list[torch.Tensor]:
        return [weights(subject), torch.get_rng_state(), subject.generator.get_state(), *subject.slow.slow]

    before = [tensor.clone() for tensor in state()]
    subject.model.train()
    subject.warm_up()
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    assert len(steps) == 1
    assert all(p.grad is None for p in subject.model.parameters())
    remembered = [value for each in optim.state(subject.optimizer) for value in each.values()]
    assert remembered and not any(value.any() for value in remembered)
    assert subject.seconds.compile > 0


def test_cudnn_searches_for_the_shapes_of_training_alone(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    subject, searched = trainer(recipe(batch_size=20)), {}

    def note(_: object, inputs: tuple, __: object) -> None:
        searched.setdefault(len(inputs[0]), set()).add(torch.backends.cudnn.benchmark)

    subject.model.register_forward_hook(note)
    subject.fit(3, say=lambda line: None)
    # Two and four images to foretell the memory of a step, 24 and 30 to validate and to test.
    assert searched == {2: {False}, 4: {False}, 20: {True}, 24: {False}, 30: {False}}
    assert torch.backends.cudnn.benchmark


def test_a_compiler_that_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/no/such/compiler"))
    subject = trainer(recipe(compile=True))
    subject.model.train()
    with pytest.raises(
        StudyError, match=r"recipe\.compile: .*/no/such/compiler.*install them \(Debian: g\+\+"
    ):
        subject.warm_up()


# -- Steps and epochs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "ends"), [(1, [1]), (5, [5]), (7, [5, 7]), (12, [5, 10, 12])], ids=lambda value: f"{value}"
)
def test_a_run_takes_exactly_its_steps_also_for_a_fraction_of_an_epoch(steps, ends):
    outcome = fit(steps, recipe())[1]
    assert (outcome.steps, outcome.epochs) == (steps, steps / 5)
    assert [row["step"] for row in outcome.history] == ends
    assert [row["epoch"] for row in outcome.history] == list(range(1, len(ends) + 1))


def test_an_epoch_sees_no_image_twice_and_each_epoch_has_its_own_order():
    data = splits()
    marked = Splits(Images(data.train.x, torch.arange(TRAIN)), data.val, data.test)
    subject = trainer(recipe(batch_size=16), data=marked)
    first, second = (torch.cat([batch.y for batch in subject.batches()]) for _ in range(2))
    assert len(first) == len(first.unique()) == 48  # 12 images fill no batch
    assert not torch.equal(first, second)


def test_a_batch_larger_than_the_data_becomes_the_data():
    subject, outcome = fit(2, recipe(batch_size=500))
    assert (subject.batch_size, subject.steps_per_epoch, outcome.epochs) == (TRAIN, 1, 2.0)


def test_the_learning_rate_is_the_peak_times_the_schedules_factor_at_the_step():
    outcome = fit(10, recipe(schedule={"name": "linear"}))[1]
    # The last of an epoch's steps is shown: steps 4 and 9 of 10, counted from 0.
    assert [row["lr"] for row in outcome.history] == pytest.approx([0.05 * 0.6, 0.05 * 0.1])


def test_the_history_holds_the_loss_and_accuracy_of_what_was_trained_on():
    still = recipe(optimizer={"lr": 1e-12, "momentum": 0}, batch_size=20)
    subject, outcome = fit(3, still, model=DENSE)
    seen = subject.evaluate(subject.splits.train)
    assert outcome.history[0]["train_loss"] == pytest.approx(seen.loss, rel=1e-5)
    assert outcome.history[0]["train_accuracy"] == pytest.approx(seen.accuracy)


def test_an_evaluation_counts_every_image_once_and_is_not_augmented(monkeypatch):
    subject = trainer(AUGMENTED)
    whole = subject.evaluate(subject.splits.test)
    monkeypatch.setattr("trainkit.engine.EVAL_BATCH", 7)
    parts = subject.evaluate(subject.splits.test)
    assert torch.allclose(parts.logits, whole.logits, atol=1e-5)
    hits = (whole.logits.argmax(1) == subject.splits.test.y).float()
    assert whole.accuracy == pytest.approx(hits.mean().item())
    assert subject.model.training


# -- Diverging and converging ------------------------------------------------------------------------


def test_a_run_that_diverges_stops_and_names_epoch_and_learning_rate():
    with pytest.raises(StudyError) as caught:
        fit(50, recipe(optimizer={"lr": 100.0}), model=DENSE)
    message = str(caught.value)
    assert message.startswith("the training loss became ")
    assert "in epoch 1, step " in message or "in epoch 2, step " in message
    assert "at learning rate 100; lower recipe.optimizer.lr" in message


def test_weights_that_break_at_the_last_step_are_found_by_validation():
    class BreaksAfterTheLast(Trainer):
        def step(self, *args: Any) -> None:
            super().step(*args)
            if self.at.done == 4:
                next(self.model.parameters()).data.fill_(float("nan"))

    with pytest.raises(
        StudyError, match="the validation loss became nan in epoch 1, step 5, at learning rate"
    ):
        fit(5, recipe(), kind=BreaksAfterTheLast)


def test_the_message_names_the_first_step_whose_loss_is_no_number_and_its_rate():
    halving = recipe(schedule={"name": "step", "milestones": [0.65], "gamma": 0.5})
    with pytest.raises(StudyError, match=r"became nan in epoch 2, step 8, at learning rate 0\.025; lower"):
        fit(10, halving, kind=BreaksAtTheEighthStep)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists every call by which a program waits for its device to read from it."""
    calls: list[str] = []
    for name in (
        "item",
        "tolist",
        "numpy",
        "cpu",
        "nonzero",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
    ):
        original = getattr(torch.Tensor, name)

        def counting(self, *args, name=name, original=original, **options):
            calls.append(name)
            return original(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, counting)
    return calls


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": Augment(flip=True, translate=2, rotate=10, cutout=3), "label_smoothing": 0.1},
        {"optimizer": {"name": "adamw", "lr": 0.01, "lookahead": {"k": 2, "alpha": 0.5}}},
        {"optimizer": {"name": "muon", "lr": 0.1, "momentum": 0.5}, "augment": Augment(flip="alternating")},
        {"optimizer": {"name": "rmsprop", "lr": 0.01}},
        {"ema": {}},
    ],
)
def test_no_step_waits_for_the_device(changes, waits):
    subject = trainer(recipe(**changes))
    subject.warm_up()
    waits.clear()
    for batch in subject.batches():
        subject.step(batch, 0.01)
    assert waits == []
    subject._read_counts()
    assert waits == ["tolist"]  # reading the counts is what waits: this check can fail


def until(**changes: Any) -> dict[str, Any]:
    # No loss falls by ten: only the first epoch improves on nothing at all.
    return {"patience": 3, "min_delta": 10, "max_epochs": 9} | changes


def test_training_stops_when_validation_no_longer_improves_and_says_so():
    outcome = fit(None, recipe(until=until()))[1]
    assert outcome.converged is True
    assert len(outcome.history) == 1 + 3
    assert outcome.steps == 4 * 5


def test_a_run_that_reaches_its_most_epochs_says_that_it_did_not_converge():
    outcome = fit(None, recipe(until=until(max_epochs=3)))[1]
    assert outcome.converged is False
    assert len(outcome.history) == 3


def test_a_run_of_fixed_length_does_not_speak_of_convergence():
    assert fit(5, recipe())[1].converged is None


def test_the_rate_drops_each_time_the_plateau_has_lasted_its_patience():
    schedule = {"name": "plateau", "gamma": 0.1, "patience": 2}
    outcome = fit(None, recipe(until=until(patience=5), schedule=schedule))[1]
    rates = [row["lr"] for row in outcome.history]
    assert rates == pytest.approx([0.05, 0.05, 0.05, 0.005, 0.005, 0.0005])


# -- What training must not see -------------------------------------------------------------------


def poisoned(part: str, what: str) -> Splits:
    """Splits with wrong labels, or other images, in one part."""
    data = splits()
    clean = getattr(data, part)
    wrong = {"labels": Images(clean.x, (clean.y + 1) % CLASSES), "images": Images(255 - clean.x, clean.y)}
    return Splits(**{name: getattr(data, name) for name in PARTS} | {part: wrong[what]})


@pytest.mark.parametrize("what", ["labels", "images"])
@pytest.mark.parametrize("part", ["val", "test"])
def test_validation_and_test_never_enter_training(part, what):
    clean, outcome = fit(7, AUGMENTED)
    other, changed = fit(7, AUGMENTED, data=poisoned(part, what))
    assert torch.equal(weights(other), weights(clean))
    losses = [(each.val_loss, each.test.loss)[part == "test"] for each in (changed, outcome)]
    assert losses[0] != losses[1]


def test_a_wrong_label_in_training_does_change_the_weights():
    assert not torch.equal(
        weights(fit(7, AUGMENTED, data=poisoned("train", "labels"))[0]), weights(fit(7, AUGMENTED)[0])
    )


def test_the_end_of_training_is_found_without_the_test_images():
    rule = recipe(until=until(min_delta=0.0))
    outcomes = [fit(None, rule, data=data)[1] for data in (splits(), poisoned("test", "labels"))]
    assert numbers(outcomes[0]) == numbers(outcomes[1])


class Counting(Trainer):
    """A trainer that notes what it evaluates, and after how many epochs."""

    def evaluate(self, images: Images) -> Evaluation:
        part = next(name for name in PARTS if images is getattr(self.splits, name))
        self.__dict__.setdefault("evaluated", []).append(part)
        return super().evaluate(images)


def test_test_images_are_evaluated_once_at_the_very_end():
    subject, _ = fit(12, recipe(), kind=Counting)
    assert subject.evaluated == ["val", "val", "val", "test"]


# -- Lookahead ----------------------------------------------------------------------------------------


def test_a_run_with_lookahead_ends_in_its_slow_weights():
    plain = recipe()
    ahead = recipe(optimizer={"lookahead": {"k": 1000, "alpha": 0.25}})
    start = weights(trainer(plain, model=DENSE))
    end = weights(fit(7, plain, model=DENSE)[0])
    # No synchronisation falls within the seven steps; the one at the end goes a quarter of the way.
    assert torch.allclose(weights(fit(7, ahead, model=DENSE)[0]), start + 0.25 * (end - start), atol=1e-6)


def test_within_a_run_lookahead_validates_its_slow_weights():
    ahead = recipe(optimizer={"lookahead": {"k": 1000, "alpha": 0.25}})
    subject = trainer(ahead, model=DENSE)
    untrained = subject.evaluate(subject.splits.val).loss
    history = subject.fit(10, say=lambda line: None).history
    assert history[0]["val_loss"] == pytest.approx(untrained)
    assert history[1]["val_loss"] != pytest.approx(untrained)


@pytest.mark.parametrize("end", [{"lookahead": {"k": 2, "alpha": 0.2}}, {"precise_bn": True}, {}])
def test_the_norms_statistics_are_measured_for_the_last_weights_where_the_recipe_says_so(end):
    lookahead = {key: value for key, value in end.items() if key == "lookahead"}
    options = {"precise_bn": end.get("precise_bn", False), "batch_size": 30}
    ahead = recipe(optimizer={"lr": 0.3, **lookahead}, **options)
    subject, _ = fit(8, ahead, model=CONVNET.model_copy(update={"dropout": 0.0}))
    norm = next(m for m in subject.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    subject.evaluate(subject.splits.train)
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-4) == bool(end)
    assert norm.momentum == 0.1


def test_measuring_the_norms_anew_changes_no_weight():
    plain, precise = (fit(8, recipe(precise_bn=precise))[0] for precise in (False, True))
    parameters = [torch.cat([p.flatten() for p in each.model.parameters()]) for each in (plain, precise)]
    assert torch.equal(*parameters)
    assert not torch.equal(weights(plain), weights(precise))


def test_lookahead_that_converges_saves_the_weights_it_was_judged_by():
    patient = recipe(until={"patience": 1, "min_delta": 10.0}, optimizer={"lookahead": {"k": 1000}})
    subject, outcome = fit(None, patient, model=DENSE)
    assert outcome.converged
    assert subject.evaluate(subject.splits.val).loss == outcome.val_loss


def test_alternating_flips_show_every_image_from_either_side_in_turn():
    subject = trainer(recipe(augment=Augment(flip="alternating")))
    original = subject.splits.train.x.clone()
    sides = []
    for _ in range(4):
        list(subject.batches())
        as_it_was = (subject.splits.train.x == original).all(dim=(1, 2, 3))
        assert torch.equal(subject.splits.train.x[~as_it_was], original[~as_it_was].flip(2))
        sides.append(as_it_was)
    assert 0.2 < sides[0].float().mean() < 0.8
    assert torch.equal(sides[1], ~sides[0]) and torch.equal(sides[2], sides[0])


def test_images_are_smaller_until_the_fraction_of_training_that_the_recipe_names(monkeypatch):
    sizes = [{"until": 0.25, "pixels": 16}, {"until": 0.5, "pixels": 20}]
    subject = trainer(recipe(epochs=4, resize=sizes), model=ResNet(name="resnet", depth=8, width=2))
    seen = []
    subject.forward = lambda x: (seen.append(x.shape[-1]), subject.model(x))[1]
    checked = []
    monkeypatch.setattr(memory, "check", lambda *_: checked.append(subject.pixels))
    subject.fit(20, say=lambda line: None)
    assert checked == [20]  # the largest images need the most memory
    assert seen[:3] == [16, 20, 8]  # each is met in the warm-up first
    assert seen[3:] == [16] * 5 + [20] * 5 + [8] * 10


def test_test_time_augmentation_averages_logits_and_leaves_the_plain_test_alone():
    plain_trainer, plain = fit(5, recipe())
    with_trainer, outcome = fit(5, recipe(test_time_augmentation=True))
    assert plain.tta is None and outcome.tta is not None
    assert torch.equal(plain.test.logits, outcome.test.logits)
    assert torch.equal(weights(plain_trainer), weights(with_trainer))
    model, x = with_trainer.model.eval(), with_trainer.pipeline.evaluate(with_trainer.splits.test.x)
    with torch.no_grad():
        expected = sum(weight * model(view(x)) for weight, view in TEST_TIME_VIEWS)
    assert torch.allclose(outcome.tta.logits, expected, atol=1e-5)


def test_biases_learn_at_their_own_multiple_of_the_rate():
    subject = trainer(recipe(optimizer={"bias_factor": 10.0}))
    subject.step(next(subject.batches()), lr=0.01)
    assert [group["lr"] for group in subject.optimizer.param_groups] == [0.01, pytest.approx(0.1)]


def test_the_memory_layout_changes_where_numbers_lie_and_not_what_is_learnt(monkeypatch):
    monkeypatch.setattr(side_by_side, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(winograd, "FEWEST", {"float32": 1})
    last, contiguous, *others = (
        fit(5, recipe(augment=Augment(translate=1)), numerics=Numerics("float32", layout))[0]
        for layout in ("channels_last", "contiguous", "side_by_side", "winograd")
    )
    for module, other in zip((side_by_side, winograd), others, strict=True):
        assert any(isinstance(m, module.Conv2d) for m in other.model.modules())
        assert torch.allclose(weights(last), weights(other), atol=1e-4)
    conv = next(m for m in contiguous.model.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 1)
    assert conv.weight.is_contiguous()
    assert torch.allclose(weights(last), weights(contiguous), atol=1e-4)
