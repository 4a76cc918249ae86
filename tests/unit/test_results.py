"""Tables from synthetic records: their columns, differences and words."""

import json
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from trainkit.results import MissingRunsError, Results, percent
from trainkit.tables import TABLES, speedrun
from trainkit.tables.contest import part_to_reach, target_accuracy

SUMMARY = {
    *("experiment", "title", "n", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "val_accuracy"),
    *("epochs", "train_seconds", "train_seconds_low", "train_seconds_high", "total_seconds"),
    *("params_total", "params_trainable"),
}
PAIRED = {"difference", "difference_low", "difference_high", "pairs", "p", "p_holm", "verdict"}
NETWORKS = {"model", "multiply_adds", "train_images_per_second", "peak_memory_mb", "precision"}
EQUAL_TIME = {
    *("learning_rate", "budget_seconds", "seconds_used", "used_over_budget"),
    *("runs_outside_3_percent", "trials", "tuning_seconds", "rank", "rank_low", "rank_high", "differs_in"),
    *("smallest_detectable", "flags", "train_images", "steps", "p_behind_first"),
    "pairs_of_all",
}
WHOLE = {  # tables whose rows are no experiments
    "speedrun": {
        *("experiment", "seed", "test_accuracy", "test_accuracy_tta", "val_accuracy", "epochs"),
        *("seconds_train", "seconds_total", "seconds_total_tta", "precision", "layout", "device"),
    },
    "task2.3_crossed": {
        *("budget", "slow_weights", "experiment", "reference", "title", "difference", "difference_low"),
        *("difference_high", "pairs", "p", "p_holm", "verdict"),
    },
    "task2.3_tuning": {
        *("experiment", "title", "learning_rate", "seed", "val_accuracy", "diverged", "chosen", "epochs"),
        *("train_seconds", "total_seconds"),
    },
}
COLUMNS = {
    "task1_mnist": {"task"},
    "task1.5_transfer": {"features_seconds", "seconds_per_epoch", "multiply_adds"} | PAIRED,
    "task2.1_baselines": {"task", "converged", "train_images"},
    "task2.2_fast_training": {
        *("schedule", "lookahead", "ema", "learning_rate", "target_val_accuracy"),
        *("runs_that_reach_it", "seconds_to_target", "train_images"),
    },
    "task2.2_whole": {"steps", "train_seconds_over_constant"} | PAIRED,
    "task2.3_equal_time": EQUAL_TIME | PAIRED,
    "task2.3_budgets": EQUAL_TIME | PAIRED | {"budget"},
    "task3_architectures": NETWORKS | PAIRED,
    "task3_equal": NETWORKS
    | {"comparison", "params_over_control", "multiply_adds_over_control", "train_seconds_over_control"}
    | {"train_images", "equality", "smallest_detectable"}
    | PAIRED,
    "task3_ablation": NETWORKS | {"train_seconds_over_whole"} | PAIRED,
    "speedrun_ablation": PAIRED,
}
CONTROL, COSINE, AHEAD = (f"cifar10-fast-{name}" for name in ("constant", "cosine", "constant-lookahead"))


@pytest.fixture
def contest(write_run):
    """A function that writes the contest's runs, with these test accuracies by seed."""

    def write(accuracies: dict[str, list[float]], **changes) -> Results:
        facts = {"task": "2.2", "reference": CONTROL, "budget_seconds": 10.0} | changes
        return Results(
            [
                write_run(
                    name, seed, test_accuracy=accuracy, **facts,
                    schedule="cosine" if name == COSINE else "constant", lookahead=name == AHEAD,
                )
                for name, values in accuracies.items()
                for seed, accuracy in enumerate(values)
            ]
        )  # fmt: skip

    return write


@pytest.fixture
def everything(write_run) -> Results:
    """A study with two seeds of every kind of run."""
    tasks = {"mnist-dense-baseline": "1.1", "mnist-convnet": "1.2", "cifar10-shallow": "2.1.2"}
    tasks |= {"mnist-transfer-finetuned": "1.4", "mnist-transfer-frozen": "1.4", "cifar10-resnet": "2.1.3"}
    tasks |= {"cifar10-resnet-constant": "2.2-whole", "cifar10-resnet-half": "2.2-whole"}
    tasks |= {CONTROL: "2.2", COSINE: "2.2", AHEAD: "2.2", "cifar10-convnextv2": "3"}
    tasks |= {f"{CONTROL}-trial-1": "2.3-trials"}
    tasks |= {"cifar10-repvgg": "3-more"}
    equal_cost = ("equal-resnet", "equal-params-convnextv2", "equal-seconds-repvgg", "convnextv2-without-grn")
    tasks |= {f"cifar10-{name}": "3-more" for name in equal_cost}
    tasks |= {"speedrun": "speedrun", "speedrun-whole": "ablation", "speedrun-plain": "ablation"}
    paths = []
    for number, (name, task) in enumerate(tasks.items()):
        contest = {"reference": CONTROL, "budget_seconds": 10.0} if task == "2.2" else {}
        if task == "2.2":
            contest |= {"tuned_by": (f"{CONTROL}-trial-1",), "lookahead": name == AHEAD}
            contest |= {"schedule": "cosine" if name == COSINE else "constant"}
        for seed in (0, 1):
            accuracy = 0.8 + 0.01 * number + 0.003 * seed * (-1) ** number
            paths.append(write_run(name, seed, task=task, test_accuracy=accuracy, **contest))
    return Results(paths)


def by_name(rows: list[dict]) -> dict[str, dict]:
    return {row["experiment"]: row for row in rows}


@pytest.mark.parametrize("name", [*COLUMNS, "speedrun"])
def test_a_table_has_its_columns(everything, name):
    rows = TABLES[name](everything)
    assert rows
    assert set(pd.DataFrame(rows).columns) == (WHOLE.get(name) or SUMMARY | COLUMNS[name])


def test_each_table_holds_the_runs_of_its_tasks(everything):
    tasks = {
        name: {everything.first(row["experiment"]).task for row in table(everything)}
        for name, table in TABLES.items()
    }
    assert tasks["task1.5_transfer"] == {"1.4"}
    assert tasks["task2.1_baselines"] == {"2.1.2", "2.1.3"}
    assert tasks["task2.2_fast_training"] == tasks["task2.3_equal_time"] == {"2.2"}
    assert tasks["task2.2_whole"] == {"2.1.3", "2.2-whole"}
    assert tasks["task3_architectures"] == {"2.1.2", "2.1.3", "3"}
    assert tasks["task3_equal"] == tasks["task3_ablation"] == {"3-more"}


def test_accuracies_are_percent_and_means_over_the_seeds(write_run):
    paths = [
        write_run("mnist-convnet", seed, test_accuracy=accuracy, train_seconds=seconds)
        for seed, (accuracy, seconds) in enumerate([(0.88, 10.0), (0.89, 12.0), (0.87, 14.0)])
    ]
    (row,) = TABLES["task1_mnist"](Results(paths))
    assert row["n"] == 3
    assert row["test_accuracy"] == pytest.approx(88)
    # Student's t with 2 degrees of freedom: 4.303 times 1 point over the root of 3.
    assert row["test_accuracy_high"] - 88 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert row["train_seconds"] == pytest.approx(12)
    assert row["total_seconds"] == pytest.approx(16)


def test_an_accuracys_interval_ends_at_100_percent_and_that_of_seconds_where_it_will(write_run):
    paths = [
        write_run("mnist-convnet", seed, test_accuracy=accuracy, train_seconds=seconds)
        for seed, (accuracy, seconds) in enumerate([(0.99, 10.0), (0.97, 90.0)])
    ]
    results = Results(paths)
    accuracy = results.interval("mnist-convnet", "test_accuracy")
    assert (accuracy.low, accuracy.high) == (pytest.approx(0.98 - 12.706 * 0.01, rel=1e-3), 1)
    assert results.interval("mnist-convnet", "seconds.train").high > 500


def test_one_seeds_interval_stays_unknown(write_run):
    accuracy = Results([write_run("mnist-convnet")]).interval("mnist-convnet", "test_accuracy")
    assert isnan(accuracy.low) and isnan(accuracy.high)


# -- Paired differences --------------------------------------------------------------------------


def test_differences_are_points_over_the_control_on_the_same_seeds(contest):
    rows = by_name(
        TABLES["task2.3_equal_time"](contest({CONTROL: [0.80, 0.82, 0.81], COSINE: [0.83, 0.84, 0.85]}))
    )
    row = rows[COSINE]
    assert row["difference"] == pytest.approx((3 + 2 + 4) / 3)
    assert row["pairs"] == 3
    # t = 3 / (1 / root 3) = 5.196 with 2 degrees of freedom.
    assert row["p"] == row["p_holm"] == pytest.approx(0.0351, abs=1e-4)
    assert row["verdict"] == f"{COSINE} beats {CONTROL} by 3.00 points (n=3)"
    assert rows[CONTROL]["verdict"] == "the reference"
    assert "difference" not in rows[CONTROL]


def test_seeds_that_only_one_arm_has_make_no_pair(contest):
    rows = by_name(TABLES["task2.3_equal_time"](contest({CONTROL: [0.80, 0.82], COSINE: [0.83, 0.84, 0.99]})))
    assert rows[COSINE]["pairs"] == 2
    assert rows[COSINE]["difference"] == pytest.approx(2.5)
    assert rows[COSINE]["n"] == 3


def test_two_comparisons_are_corrected_for_their_number(contest):
    rows = by_name(
        TABLES["task2.3_equal_time"](
            contest({CONTROL: [0.80, 0.82, 0.81], COSINE: [0.83, 0.84, 0.85], AHEAD: [0.80, 0.83, 0.80]})
        )
    )
    assert rows[COSINE]["p_holm"] == pytest.approx(2 * rows[COSINE]["p"])
    assert rows[COSINE]["verdict"] == "no difference was found (n=3)"  # 0.035 is no longer below 0.05
    assert rows[AHEAD]["p_holm"] == pytest.approx(1)


def test_the_contest_is_ordered_by_accuracy_and_says_how_much_of_the_time_was_used(contest):
    results = contest({CONTROL: [0.80], COSINE: [0.90], AHEAD: [0.85]}, train_seconds=10.5)
    results.first(COSINE).seconds.train = 11.55
    rows = TABLES["task2.3_equal_time"](results)
    assert [row["experiment"] for row in rows] == [COSINE, AHEAD, CONTROL]
    assert {row["budget_seconds"] for row in rows} == {10.5}  # what the control's runs took
    assert [row["used_over_budget"] for row in rows] == pytest.approx([1.1, 1, 1])
    assert "1 of 1 runs outside 3% of the budget" in rows[0]["flags"]


@pytest.mark.parametrize("name", ["task2.3_equal_time", "task3_architectures", "task1.5_transfer"])
def test_a_study_of_one_seed_compares_nothing(write_run, name):
    tasks = {CONTROL: "2.2", COSINE: "2.2", "cifar10-resnet": "2.1.3", "cifar10-shallow": "2.1.2"}
    tasks |= {"mnist-transfer-finetuned": "1.4", "mnist-transfer-frozen": "1.4"}
    results = Results(
        [
            write_run(
                experiment, task=task, reference=CONTROL, budget_seconds=9.0, test_accuracy=0.5 + 0.1 * number
            )
            for number, (experiment, task) in enumerate(tasks.items())
        ]
    )
    rows = TABLES[name](results)
    verdicts = {row["verdict"] for row in rows}
    assert verdicts == {"the reference", "no comparison: it needs at least two paired seeds (n=1)"}
    assert all(row["n"] == 1 and isnan(row["test_accuracy_low"]) for row in rows)


def test_an_interval_is_said_with_its_n_and_one_run_without_interval(contest):
    results = contest({CONTROL: [0.80, 0.82], COSINE: [0.9]})
    assert percent(results.interval(CONTROL, "test_accuracy")) == "81.00% (95% interval 68.29 to 93.71, n=2)"
    assert percent(results.interval(COSINE, "test_accuracy")) == "90.00% (n=1)"


def test_single_runs_are_compared_on_their_test_images(contest):
    results = contest({CONTROL: [0.6], COSINE: [0.8]})
    labels = np.array([0, 1, 2, 0, 1])
    answers = {CONTROL: np.array([0, 1, 2, 1, 2]), COSINE: np.array([0, 1, 0, 0, 1])}
    for name, answer in answers.items():
        logits = np.eye(3, dtype=np.float32)[answer]
        path = results.folders[name, 0] / "predictions.safetensors"
        save_file({"test_logits": logits, "test_labels": labels}, path)
    found = results.disagreement(COSINE, CONTROL)
    assert (found.only_a, found.only_b, found.p) == (2, 1, 1.0)


# -- Particular columns ----------------------------------------------------------------------------


def test_seconds_to_the_target_are_those_of_the_first_epoch_that_reaches_it(write_run):
    slow = [(5.0, 0.60), (10.0, 0.71), (15.0, 0.75)]
    fast = [(4.0, 0.72), (8.0, 0.69), (12.0, 0.90)]
    paths = [
        write_run(name, task="2.2", reference=CONTROL, history=history, val_accuracy=last, train_seconds=15)
        for name, history, last in ((CONTROL, slow, 0.703), (COSINE, fast, 0.90))
    ]
    rows = by_name(TABLES["task2.2_fast_training"](Results(paths)))
    assert [row["target_val_accuracy"] for row in rows.values()] == pytest.approx([70, 70])
    assert {name: row["seconds_to_target"] for name, row in rows.items()} == {
        CONTROL: 10,
        COSINE: 5,
    }  # 2 and 1 of 3 epochs' steps in 15 s, whatever each run's clock said


def test_the_target_is_reached_by_every_methods_mean(contest):
    for accuracy in (0.29, 0.57, 0.999, 0.701):
        results = contest({f"{CONTROL}-{accuracy}": [0.5]}, val_accuracy=accuracy)
        target = target_accuracy(results, list(results.runs))
        assert accuracy - 0.0099 < target <= accuracy
    assert part_to_reach(pd.DataFrame({"val_accuracy": [0.1], "step": [1]}), 0.2) is None


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([None, None], "fixed epochs"),
        ([True, True], "yes"),
        ([True, False], "no, stopped at its most epochs"),
    ],
)
def test_a_baseline_has_converged_only_if_all_its_seeds_have(write_run, seeds, said):
    paths = [
        write_run("cifar10-shallow", seed, task="2.1.2", converged=converged)
        for seed, converged in enumerate(seeds)
    ]
    assert TABLES["task2.1_baselines"](Results(paths))[0]["converged"] == said


def test_speed_and_cost_are_those_of_the_runs(write_run):
    paths = [
        write_run(
            "cifar10-resnet",
            seed,
            task="2.1.3",
            steps=27,  # an epoch's last images fill no batch, and are not trained on
            batch_size=100,
            train_seconds=seconds,
            peak_memory_mb=seconds,
        )
        for seed, seconds in enumerate((5.0, 7.0))
    ] + [write_run("mnist-transfer-frozen", task="1.4", epochs=5.0, train_seconds=10.0, features_seconds=3.0)]
    results = Results(paths)
    (row,) = TABLES["task3_architectures"](results)
    assert row["train_images_per_second"] == pytest.approx(2700 / 6)
    assert row["peak_memory_mb"] == 7.0
    (row,) = TABLES["task1.5_transfer"](results)
    assert (row["seconds_per_epoch"], row["features_seconds"]) == (2.0, 3.0)


def test_an_ablation_is_judged_on_validation_images_alone(write_run):
    paths = [
        write_run(name, seed, task="ablation", val_accuracy=val + 0.001 * seed, test_accuracy=test)
        for name, val, test in [("speedrun-without", 0.88, 0.95), ("speedrun-whole", 0.90, 0.80)]
        for seed in (0, 1)
    ]
    rows = by_name(TABLES["speedrun_ablation"](Results(paths)))
    assert rows["speedrun-without"]["difference"] == pytest.approx(-2.0)
    with pytest.raises(MissingRunsError, match="speedrun-whole"):
        TABLES["speedrun_ablation"](Results(paths[:2]))


def test_the_speedrun_counts_the_augmented_test_for_the_augmented_accuracy_only(write_run):
    path = write_run("speedrun", 3, task="speedrun", test_accuracy=0.94, test_accuracy_tta=0.945)
    record = json.loads(path.read_text())
    record["seconds"] |= {"train": 100.0, "evaluate_tta": 7.0, "total": 120.0}
    path.write_text(json.dumps(record))
    (row,) = TABLES["speedrun"](Results([path]))
    assert (row["seed"], row["test_accuracy"], row["test_accuracy_tta"]) == (3, 94.0, pytest.approx(94.5))
    assert (row["seconds_train"], row["seconds_total"], row["seconds_total_tta"]) == (100, 113, 120)


def test_the_speedruns_means_are_over_the_seeds_of_a_recipe_and_lack_what_a_run_lacks():
    rows = [
        {"experiment": name, "test_accuracy": plain, "test_accuracy_tta": tta}
        | {"seconds_total": 100.0 + seed, "seconds_total_tta": 110.0 + seed}
        for name, plain, tta in [("speedrun", 94.0, 95.0), ("speedrun-plain", 93.0, nan)]
        for seed in (0, 1)
    ]
    first, second = speedrun.means(rows)
    assert (first["experiment"], second["experiment"]) == ("speedrun", "speedrun-plain")
    assert percent(first["plain"]["accuracy"]) == "94.00% (95% interval 94.00 to 94.00, n=2)"
    assert (first["plain"]["seconds"], first["tta"]["seconds"]) == (100.5, 110.5)
    assert first["tta"]["accuracy"].mean == pytest.approx(0.95)
    assert second["plain"]["accuracy"].mean == pytest.approx(0.93) and second["tta"] is None


def test_the_resnet_on_all_images_is_compared_with_a_constant_rate_in_accuracy_and_seconds(write_run):
    arms = {
        "cifar10-resnet-constant": ([0.60, 0.62, 0.61], 10.0),
        "cifar10-resnet": ([0.70, 0.72, 0.715], 12.0),
        "cifar10-resnet-half": ([0.60, 0.65, 0.64], 5.0),
    }
    results = Results(
        [
            write_run(
                name, seed, task="2.1.3" if name == "cifar10-resnet" else "2.2-whole",
                test_accuracy=accuracy, train_seconds=seconds,
            )
            for name, (accuracies, seconds) in arms.items()
            for seed, accuracy in enumerate(accuracies)
        ]
    )  # fmt: skip
    constant, resnet, half = TABLES["task2.2_whole"](results)
    assert [row["verdict"] for row in (constant, half)] == ["the reference", "no difference was found (n=3)"]
    assert resnet["difference"] == pytest.approx((10 + 10 + 10.5) / 3)
    assert resnet["p_holm"] == pytest.approx(2 * resnet["p"])
    assert [row["train_seconds_over_constant"] for row in (constant, resnet, half)] == [1, 1.2, 0.5]


def test_a_frozen_bases_curve_begins_when_its_features_are_there(write_run):
    history = [(1.0, 0.5), (2.0, 0.6)]
    results = Results(
        [write_run("a", history=history), write_run("b", history=history, features_seconds=14.0)]
    )
    assert list(results.histories("a").seconds) == [1, 2]
    assert list(results.histories("b").seconds) == [15, 16]
