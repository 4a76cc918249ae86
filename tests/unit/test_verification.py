"""What `snakemake verify` says of a run that was repeated."""

from pathlib import Path

import pytest

from trainkit import stats
from trainkit.config import load_study
from trainkit.verification import compare

NAME = "mnist-convnet"


@pytest.fixture
def study(write_run, tmp_path):
    """A function that writes three seeds and the first one again, with some of it changed."""

    def make(seeds: int = 3, weights: bytes = b"weights", **changes) -> dict:
        originals = [
            write_run(
                NAME,
                seed,
                test_accuracy=accuracy,
                deterministic=changes.get("deterministic", True),
                budget_seconds=changes.get("budget_seconds"),
            )
            for seed, accuracy in enumerate([0.90, 0.91, 0.92][:seeds])
        ]
        (tmp_path / "runs").rename(tmp_path / "study")
        originals = [tmp_path / "study" / path.relative_to(tmp_path / "runs") for path in originals]
        again = write_run(NAME, 0, **({"test_accuracy": 0.90} | changes))
        for path in originals:
            (path.parent / "model.safetensors").write_bytes(b"weights")
        (again.parent / "model.safetensors").write_bytes(weights)
        return compare(originals[0], again, originals)

    return make


def test_the_same_weights_and_history_reproduce(study):
    row = study()
    assert row["verdict"] == "reproduces bit for bit"
    assert row["machine"] == "the same" and row["same_weights_and_history"]


def test_other_seconds_do_not_matter(study):
    assert study(history=[(7.0, 0.5), (9.0, 0.9)])["verdict"] == "reproduces bit for bit"


def test_other_weights_on_the_same_machine_do_not_reproduce(study):
    row = study(weights=b"other")
    assert row["verdict"] == "DOES NOT REPRODUCE: on the same machine it differs from its weights on"


def test_the_first_epoch_that_differs_is_named(study):
    row = study(history=[(1.0, 0.5), (2.0, 0.8)])
    assert row["verdict"] == "DOES NOT REPRODUCE: on the same machine it differs from epoch 2 on"
    assert not row["same_weights_and_history"]


@pytest.mark.parametrize(("accuracy", "said"), [(0.93, "within"), (0.97, "OUTSIDE"), (0.80, "OUTSIDE")])
def test_on_another_machine_the_spread_of_the_seeds_is_the_measure(study, accuracy, said):
    row = study(weights=b"other", device="Another CPU", test_accuracy=accuracy)
    assert row["machine"] == "another"
    assert row["verdict"] == f"{said} what the spread of 3 seeds predicts"
    # Student's t with two degrees of freedom: 4.303 times 1 point times the root of 4/3.
    assert row["predicted_low"] == pytest.approx(91 - 4.9685, abs=1e-3)
    assert row["predicted_high"] == pytest.approx(91 + 4.9685, abs=1e-3)


def test_a_gpu_without_determinism_is_judged_by_the_spread_too(study):
    row = study(weights=b"other", deterministic=False)
    assert row["machine"] == "the same"
    assert row["verdict"] == "within what the spread of 3 seeds predicts"


def test_other_steps_do_not_reproduce_where_none_were_fitted_to_seconds(study):
    assert study(weights=b"other", steps=7)["verdict"].startswith("DOES NOT REPRODUCE: on the same machine")


def test_steps_that_were_fitted_to_other_seconds_are_not_comparable(study):
    verdict = study(weights=b"other", steps=7, budget_seconds=2.0)["verdict"]
    assert verdict.startswith("not comparable: 7 steps in place of")


def test_what_differs_between_two_machines_is_named(study):
    row = study(weights=b"other", device="Another CPU", packages={"torch": "9"})
    assert row["machine_differs"] == "device: Some CPU -> Another CPU; packages.torch: (absent) -> 9"


def test_one_seed_allows_no_judgement(study):
    row = study(seeds=1, weights=b"other", device="Another CPU")
    assert row["verdict"] == "not bit for bit, and one seed has no spread to judge it by"


def test_a_prediction_interval_covers_one_more_value():
    import numpy as np

    dice = np.random.default_rng(0)
    values = dice.normal(size=(4000, 6))
    inside = 0
    for *known, new in values.tolist():
        low, high = stats.prediction_interval(known)
        inside += low <= new <= high
    assert inside / len(values) == pytest.approx(0.95, abs=0.012)


# -- The sample ------------------------------------------------------------------------------------


def test_a_sample_is_always_the_same_and_of_as_many_experiments_as_possible(root: Path):
    study = load_study(root, {"preset": "smoke"})
    finished = [(name, seed) for name in study.experiments for seed in (0, 1, 2)]
    chosen = study.to_verify(finished)
    assert chosen == study.to_verify(finished[::-1])
    assert len(chosen) == study.verify_runs == len({name for name, _ in chosen})
    few = study.to_verify([(NAME, 0), (NAME, 1), ("cifar10-resnet", 5)])
    assert {name for name, _ in few[:2]} == {NAME, "cifar10-resnet"} and len(few) == 3
    assert study.to_verify([(NAME, 0)]) == [(NAME, 0)]
    assert study.to_verify([(name, 1000) for name in study.of_task("2.3-trials")]) == []
