"""Task 3 at equal cost: its sizes in every preset, its words, and networks in use."""

import pytest
import torch

from trainkit import datasets, inference, models, stats
from trainkit.answers import task3 as answers
from trainkit.config import PRESETS, load_study
from trainkit.device import Numerics
from trainkit.errors import StudyError
from trainkit.models.repvgg import fold
from trainkit.results import Results
from trainkit.runs import count_multiply_adds
from trainkit.spec import RepVGG
from trainkit.tables import task3

CPU = torch.device("cpu")
ARMS = ("convnextv2", "repvgg", "fasternet")


def size(study, name: str) -> tuple[int, int]:
    """Parameters and multiply-adds of an experiment's network."""
    model = models.build(study.experiments[name].model, datasets.SHAPES["cifar10"], 10)
    return sum(p.numel() for p in model.parameters()), count_multiply_adds(model, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_called_equal_is_within_5_percent_of_the_control_in_every_preset(root, preset):
    study = load_study(root, {"preset": preset})
    control = size(study, task3.CONTROL)
    for which, comparison in enumerate(("params", "multiply-adds")):
        for arch in ARMS:
            own = size(study, task3.arm(comparison, arch))
            assert own[which] / control[which] == pytest.approx(1, abs=0.05), (comparison, arch)
            assert own[1 - which] / control[1 - which] != pytest.approx(1, abs=0.05), "the same comparison"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_arms_differ_from_the_control_in_network_optimiser_and_length_alone(root, preset):
    study = load_study(root, {"preset": preset})
    varying = {"optimizer", "epochs", "budget"}
    control = study.run_spec(task3.CONTROL)
    for name in study.of_task("3-more"):
        spec = study.run_spec(name)
        assert spec.recipe.model_dump(exclude=varying) == control.recipe.model_dump(exclude=varying), name
        assert study.experiments[name].seeds == study.experiments[task3.CONTROL].seeds
        budget = spec.recipe.budget
        assert (budget.epochs if budget else spec.recipe.epochs) == control.recipe.epochs
        if spec.model.name != "convnextv2":
            assert spec.recipe.optimizer == control.recipe.optimizer


def test_a_budget_without_epochs_needs_a_reference_of_fixed_epochs(root):
    budget = {"recipe": {"budget": {"reference": "cifar10-shallow", "epochs": None}}}
    with pytest.raises(StudyError, match=r"budget\.epochs: is missing, and cifar10-shallow has no fixed"):
        load_study(root, {"preset": "cpu", "experiments": {"cifar10-equal-seconds-convnextv2": budget}})


# -- The tables and their words --------------------------------------------------------------------


@pytest.fixture
def results(write_run) -> Results:
    def run(name, seed, accuracy, model, **changes):
        return write_run(name, seed, task="3-more", model=model, test_accuracy=accuracy, **changes)

    paths = []
    for seed in (0, 1):
        paths += [
            run(task3.CONTROL, seed, 0.50 + 0.01 * seed, "resnet"),
            run(task3.WHOLE, seed, 0.60 + 0.0101 * seed, "convnextv2", params_total=1049),
            run(task3.arm("params", "repvgg"), seed, 0.48 + 0.05 * seed, "repvgg", params_total=1070),
            run(task3.arm("seconds", "convnextv2"), seed, 0.45, "convnextv2", train_seconds=10.4),
            run("cifar10-convnextv2-without-grn", seed, 0.40, "convnextv2", train_seconds=8.0),
        ]
    return Results(paths)


def test_an_arm_that_misses_its_equality_is_said_in_words(results):
    rows = {row["experiment"]: row for row in task3.equal(results)}
    assert rows[task3.CONTROL]["equality"] == ""
    assert rows[task3.WHOLE]["equality"] == "equal"
    missed = rows[task3.arm("params", "repvgg")]
    assert missed["equality"] == "misses: 1.07 times the control's parameters"
    late = rows[task3.arm("seconds", "convnextv2")]
    assert late["equality"] == "misses: 1.04 times the control's training seconds"
    assert late["p"] == late["p_holm"]  # alone in its comparison
    assert missed["p_holm"] == max(missed["p"], 2 * min(missed["p"], rows[task3.WHOLE]["p"]))  # of two


def test_what_was_left_out_is_named(results):
    left_out = task3.not_run(results)
    assert "FasterNet at equal parameters" in left_out
    assert "ConvNeXt V2 at equal parameters" not in left_out
    assert len(left_out) == 9 - 3


def test_an_ablation_is_against_the_whole_network_and_its_seconds(results):
    whole, without = task3.ablation(results)
    assert (whole["verdict"], whole["train_seconds_over_whole"]) == ("the reference", 1.0)
    assert without["train_seconds_over_whole"] == pytest.approx(0.8)
    assert without["difference"] == pytest.approx(-20.505)
    (said,) = answers.ingredients([whole, without])
    assert "-20.50 points on average (n=2), significantly worse" in said
    assert "0.80 times the training seconds" in said


def test_words_say_no_more_than_the_verdict(results):
    (said,) = answers.against_control(task3.equal(results), "repvgg")
    assert "no difference was found" in said
    assert "better" not in said
    assert [answers.short(row) for row in task3.equal(results)][:3] == [
        "the reference",
        "better",
        "none found",
    ]
    assert "(misses: 1.07 times the control's parameters)" in said
    assert "of those that were run" in answers.rankings(task3.equal(results))


def test_of_one_seed_each_nothing_is_called_significant_or_not(results):
    said = answers.differences([row | {"pairs": 1} for row in task3.equal(results)])
    assert said == "One seed each, so that any difference may be chance (n=1)."


def test_the_answer_names_what_is_significant_and_what_would_be_found(results):
    said = answers.rankings(task3.equal(results))
    assert "Significantly different from the ResNet: ConvNeXt V2 at equal parameters (+10.0" in said
    assert "RepVGG" not in said.partition("Significantly")[2]
    found = {row["smallest_detectable"] for row in task3.equal(results) if row["comparison"] == "params"}
    smallest = 100 * stats.detectable(
        [results.difference(name, task3.CONTROL) for name in (task3.WHOLE, task3.arm("params", "repvgg"))], 2
    )
    assert found == {smallest}
    assert f"to {smallest:.0f} points, by comparison, would be found four times out of five" in said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(2.3, "multiply-adds do not tell the time"), (1.1, "multiply-adds tell the time well")],
)
def test_equal_arithmetic_is_told_from_equal_time(seconds, said):
    row = {"comparison": "multiply-adds", "equality": "equal", "model": "repvgg"}
    words = answers.time_at_equal_arithmetic([row | {"train_seconds_over_control": seconds}])
    assert f"RepVGG {seconds:.2f}; on this machine {said}." in words
    assert answers.time_at_equal_arithmetic([]) == ""


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(21, 25, "faster in every round"), (8, 9, "slower in every round"), (9, 30, "within the spread")],
)
def test_a_rate_is_faster_only_where_the_rounds_do_not_overlap(low, high, said):
    keys = ("images_per_second", "images_per_second_low", "images_per_second_high")
    a, b = dict(zip(keys, (20, low, high), strict=True)), dict(zip(keys, (15, 10, 20), strict=True))
    assert said in answers.compared(a, b, "the other")


# -- Networks in use -------------------------------------------------------------------------------


def test_a_folded_repvgg_has_equal_outputs_and_holds_less():
    torch.manual_seed(0)
    model = models.build(RepVGG(name="repvgg", depths=[2, 2], widths=[8, 8]), (16, 16, 3), 10)
    model(torch.randn(16, 3, 16, 16))  # running statistics that are not those of a new network
    x, model = torch.randn(4, 3, 16, 16), model.eval()
    folded = fold(model)
    assert 0 < inference.largest_difference(model, folded, x) < 1e-4
    assert inference.weight_mb(folded) < inference.weight_mb(model)
    held = [inference.activation_mb(inference.forward(m, x, Numerics()), CPU) for m in (model, folded)]
    assert held[1] < held[0]
    assert held[1] >= 4 * 8 * 16 * 16 * 4 / 2**20  # one feature map at the least


@pytest.mark.parametrize("arm", ARMS)
def test_weights_that_are_cast_once_give_the_logits_that_autocast_gives(root, arm):
    torch.manual_seed(0)
    options = load_study(root, {"preset": "smoke"}).experiments[f"cifar10-equal-params-{arm}"].model
    model, x = models.build(options, (32, 32, 3), 10).eval(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
    logits = inference.forward(model, x, Numerics("bfloat16"))()
    assert logits.dtype == torch.bfloat16
    assert torch.allclose(logits.float(), expected.float(), rtol=0.02, atol=0.01)
    assert {p.dtype for p in model.parameters()} == {torch.float32}  # its own are left alone


def test_each_case_is_measured_in_every_round_in_turn():
    calls = []
    cases = {(name, batch): lambda name=name, batch=batch: calls.append((name, batch))
             for name in "ab" for batch in (1, 4)}  # fmt: skip
    measured = inference.rates(cases, CPU, rounds=3, seconds=1e-6)
    assert {case: len(values) for case, values in measured.items()} == dict.fromkeys(cases, 3)
    assert all(value > 0 for values in measured.values() for value in values)
    assert calls[-8:] == 2 * list(cases)
