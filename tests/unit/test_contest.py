"""The contest: what it is made of, how rates are chosen, and what its tables and words may say."""

from math import isnan, nan

import numpy as np
import pytest
from scipy import stats as scipy_stats

from trainkit import stats
from trainkit.answers import contest as answers
from trainkit.config import load_study
from trainkit.errors import StudyError
from trainkit.results import Results
from trainkit.tables import contest as tables
from trainkit.tuning import best_rate, chosen_rate

CONTROL, LINEAR = "cifar10-fast-constant", "cifar10-fast-linear"
FACTORS = ("0.3", "1", "3", "10")  # of the methods' rates, in their trials


@pytest.fixture
def write_contest(write_run):
    """A function that writes methods with these accuracies by seed; names tell schedule and slow weights."""

    def write(accuracies: dict[str, list[float]], **changes) -> Results:
        paths = []
        for name, values in accuracies.items():
            facts = {"task": "2.3-budgets" if "-at-" in name else "2.2", "reference": CONTROL}
            schedule = next((kind for kind in ("linear", "cosine") if kind in name), "constant")
            facts |= {"schedule": schedule, "title": name}
            facts |= {"lookahead": "lookahead" in name, "ema": "ema" in name} | changes.get(name, {})
            paths += [write_run(name, s, test_accuracy=a, **facts) for s, a in enumerate(values)]
        for name, facts in changes.items():
            if "-trial-" in name:
                paths.append(write_run(name, 1000, task="2.3-trials", test_accuracy=None, **facts))
        return Results(paths)

    return write


# -- What the configuration makes of it ------------------------------------------------------------


def test_each_method_is_crossed_tried_and_run_at_every_budget(root):
    study = load_study(root, {"preset": "gpu"})
    methods = study.of_task("2.2")
    plain = [name for name in methods if not name.endswith(("-lookahead", "-ema"))]
    assert len(plain) == 11
    assert len(methods) == 3 * len(plain)
    assert set(study.of_task("2.3-budgets")) == {f"{m}-at-{b}" for m in methods for b in ("third", "triple")}
    assert set(study.of_task("2.3-trials")) == {f"{m}-trial-{f}" for m in methods for f in FACTORS}
    assert {len(study.experiments[name].seeds) for name in methods} == {10}
    assert study.experiments[f"{CONTROL}-lookahead"].recipe.optimizer.lookahead.k == 5
    assert study.experiments[f"{LINEAR}-ema"].recipe.ema.decay == 0.99


def test_trials_and_budgets_differ_from_their_method_in_the_named_thing_alone(root):
    study = load_study(root, {"preset": "gpu"})
    method = study.run_spec(LINEAR).recipe
    trial = study.run_spec(f"{LINEAR}-trial-3").recipe
    longer = study.run_spec(f"{LINEAR}-at-triple").recipe
    assert trial.optimizer.lr == pytest.approx(3 * method.optimizer.lr)
    assert trial.budget == method.budget  # as long as it will be used
    assert longer.budget.epochs == 3 * method.budget.epochs
    same = {"budget": method.budget, "optimizer": method.optimizer}
    assert trial.model_copy(update=same) == longer.model_copy(update=same) == method


def test_every_budget_of_a_method_takes_the_rate_that_its_own_trials_chose(root):
    study = load_study(root, {"preset": "gpu"})
    trials = [f"{LINEAR}-lookahead-trial-{factor}" for factor in FACTORS]
    for name in (f"{LINEAR}-lookahead", f"{LINEAR}-lookahead-at-third"):
        assert study.run_spec(name).tuned_by == trials
    assert study.run_spec(trials[0]).tuned_by == study.run_spec("cifar10-resnet").tuned_by == []


def test_a_method_of_ones_own_joins_by_one_entry(root):
    entry = {"like": CONTROL, "title": "Mine", "recipe": {"schedule": {"name": "linear"}}}
    study = load_study(root, {"preset": "cpu", "experiments": {"cifar10-fast-mine": entry}})
    made = {name for name in study.experiments if name.startswith("cifar10-fast-mine")}
    suffixes = ["", "-at-third", "-at-triple", *(f"-trial-{factor}" for factor in FACTORS)]
    assert made == {f"cifar10-fast-mine{cross}{s}" for cross in ("", "-lookahead") for s in suffixes}


def test_a_method_with_slow_weights_of_its_own_is_not_crossed(root):
    entry = {"like": CONTROL, "title": "Slow average", "recipe": {"ema": {"decay": 0.999}}}
    study = load_study(root, {"preset": "cpu", "experiments": {"cifar10-fast-slow": entry}})
    assert "cifar10-fast-slow-at-third" in study.experiments
    assert "cifar10-fast-slow-lookahead" not in study.experiments


def test_what_the_contest_makes_can_be_overlaid_or_left_out_by_its_name(root):
    over = {f"{LINEAR}-at-third": {"seeds": [7]}, f"{LINEAR}-lookahead": None}
    study = load_study(root, {"preset": "gpu", "experiments": over})
    assert study.experiments[f"{LINEAR}-at-third"].seeds == [7]
    assert f"{LINEAR}-lookahead" not in study.experiments
    assert f"{LINEAR}-lookahead-at-third" not in study.experiments


@pytest.mark.parametrize(
    ("contest", "said"),
    [
        ({"trials": {"seeds": [0]}}, "contest.trials.seeds: 0 is a seed of"),
        ({"trials": {"factors": []}}, "contest.trials.factors: expected at least one, got none"),
        ({"trials": {"scale": 2.0}}, "contest.trials.scale: input should be less than or equal to 1"),
        (
            {"budgets": {"triple": {"scale": 0}}},
            "budgets.triple.scale: input should be greater than 0",
        ),
        ({"crossed": {"sam": {"recipe": {"sharpness": 1}}}}, "recipe.sharpness: unknown key"),
        ({"cross": {}}, "contest.cross: unknown key; did you mean 'crossed'?"),
    ],
)
def test_a_mistake_in_the_contest_is_one_line(root, contest, said):
    with pytest.raises(StudyError, match=r"^[^\n]*$") as error:
        load_study(root, {"preset": "cpu", "contest": contest})
    assert said in str(error.value)


def test_no_trial_has_a_seed_of_the_contest_by_an_entry_of_its_own(root):
    trial = next(name for name in load_study(root, {"preset": "cpu"}).of_task("2.3-trials"))
    with pytest.raises(StudyError, match=rf"experiments\.{trial}\.seeds: 0 is a seed of .* take others$"):
        load_study(root, {"preset": "cpu", "experiments": {trial: {"seeds": [0]}}})


def test_a_method_that_is_tuned_in_parts_of_its_epochs_says_how_many_it_has(root):
    method = {"like": LINEAR, "title": "Mine", "recipe": {"budget": {"reference": "cifar10-resnet"}}}
    method["recipe"]["budget"]["epochs"] = None
    with pytest.raises(
        StudyError, match=r"experiments\.cifar10-fast-mine\.recipe\.budget\.epochs: is missing"
    ):
        load_study(root, {"preset": "cpu", "experiments": {"cifar10-fast-mine": method}})


@pytest.mark.parametrize("name", ["cifar10-fast-stop-at-half", "cifar10-fast-cyclical-trial-run"])
def test_a_method_may_not_be_named_as_what_is_made_of_methods(root, name):
    mine = {name: {"like": LINEAR, "title": "Mine"}}
    with pytest.raises(
        StudyError, match=rf"experiments\.{name}: a method's name may not have '-(at|trial)-'"
    ):
        load_study(root, {"preset": "gpu", "experiments": mine})


# -- Choosing a rate -------------------------------------------------------------------------------


def test_the_rate_with_the_best_mean_validation_accuracy_is_chosen(write_run):
    trials = {0.03: [0.50, 0.40], 0.1: [0.45, 0.47], 0.3: [0.60, 0.10]}
    paths = [
        write_run(f"trial-{lr}", seed, learning_rate=lr, val_accuracy=val, test_accuracy=None)
        for lr, values in trials.items()
        for seed, val in enumerate(values)
    ]
    assert chosen_rate(paths) == 0.1


def test_of_equal_rates_the_smaller_is_chosen_and_one_that_diverged_never(write_run):
    facts = [(0.3, 0.5, False), (0.1, 0.5, False), (1.0, 0.0, True)]
    runs = Results(
        [
            write_run(f"trial-{lr}", learning_rate=lr, val_accuracy=val, diverged=diverged)
            for lr, val, diverged in facts
        ]
    ).runs
    assert best_rate([run for runs_ in runs.values() for run in runs_]) == 0.1


# -- Statistics ------------------------------------------------------------------------------------


def test_the_smallest_detectable_difference_is_found_as_often_as_it_says():
    random = np.random.default_rng(0)
    n, spread, comparisons = 5, 0.02, 3
    of_five = stats.Difference(0, -scipy_stats.t.ppf(0.975, n - 1) * spread / n**0.5,
                               scipy_stats.t.ppf(0.975, n - 1) * spread / n**0.5, n, 1.0)  # fmt: skip
    smallest = stats.detectable([of_five], comparisons)
    trials = random.normal(smallest, spread, (4000, n))
    found = scipy_stats.ttest_1samp(trials, 0, axis=1).pvalue < 0.05 / comparisons
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_nothing_is_said_of_detection_where_there_is_no_spread_to_judge_by():
    one = stats.paired_difference({0: 0.5}, {0: 0.4})
    same = stats.paired_difference({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5})
    assert isnan(stats.detectable([one], 1))
    assert isnan(stats.detectable([], 1))
    assert isnan(stats.detectable([same], 1)) or stats.detectable([same], 1) < 1e-6


def test_ranks_are_means_over_seeds_and_stay_within_the_number_of_methods():
    values = {"a": {0: 3.0, 1: 2.0}, "b": {0: 2.0, 1: 3.0}, "c": {0: 1.0, 1: 1.0, 2: 9.0}}
    ranks = stats.mean_ranks(values)
    assert [ranks[name].mean for name in "abc"] == [1.5, 1.5, 3.0]
    assert {rank.n for rank in ranks.values()} == {2}  # a third seed has c alone
    assert (ranks["a"].low, ranks["a"].high) == (1.0, 3.0)
    assert stats.mean_ranks({"a": {0: 1.0}, "b": {0: 1.0}})["a"].mean == 1.5  # ties share


def test_friedman_sees_an_order_that_every_seed_repeats_and_none_in_noise():
    ordered = {name: {seed: rank + 0.01 * seed for seed in range(6)} for rank, name in enumerate("abcd")}
    random = np.random.default_rng(1)
    noise = {name: dict(enumerate(random.normal(size=6))) for name in "abcd"}
    assert stats.any_difference(ordered) < 0.001
    assert stats.any_difference(noise) > 0.05
    assert isnan(stats.any_difference({"a": {0: 1.0}, "b": {0: 2.0}}))


# -- Tables ----------------------------------------------------------------------------------------


def test_each_budget_has_its_own_control_and_its_own_seconds(write_contest):
    results = write_contest(
        {
            CONTROL: [0.5, 0.52],
            LINEAR: [0.6, 0.62],
            f"{CONTROL}-at-third": [0.3, 0.31],
            f"{LINEAR}-at-third": [0.29, 0.3],
        },
        **{f"{CONTROL}-at-third": {"train_seconds": 3.0}, f"{LINEAR}-at-third": {"train_seconds": 3.05}},
    )  # fmt: skip
    results.first(f"{CONTROL}-at-third").spec["recipe"]["budget"]["epochs"] = 1.6
    rows = {(row["budget"], row["experiment"]): row for row in tables.budgets(results)}
    assert rows["third", f"{LINEAR}-at-third"]["difference"] == pytest.approx(-1)
    assert rows["", LINEAR]["difference"] == pytest.approx(10)
    assert rows["third", f"{LINEAR}-at-third"]["used_over_budget"] == pytest.approx(3.05 / 3)
    assert next(iter(rows))[0] == "third"  # the shortest first


def test_arms_that_differ_in_more_than_the_named_thing_are_flagged_in_words(write_contest):
    results = write_contest({CONTROL: [0.5, 0.52], LINEAR: [0.6, 0.62], "cifar10-fast-mine": [0.7, 0.7]})
    results.first("cifar10-fast-mine").spec["recipe"]["optimizer"]["name"] = "adamw"
    rows = {row["experiment"]: row for row in tables.equal_time(results)}
    assert rows[LINEAR]["differs_in"] == "schedule"
    assert "differs" not in rows[LINEAR]["flags"]
    assert "differs from the control in optimizer.name too" in rows["cifar10-fast-mine"]["flags"]


def test_one_seed_less_than_an_epoch_and_a_rate_at_the_edge_are_flagged(write_contest):
    trials = {f"{CONTROL}-trial-{lr}": {"learning_rate": lr, "val_accuracy": lr} for lr in (0.03, 0.1, 0.3)}
    results = write_contest(
        {CONTROL: [0.5]},
        **trials,
        **{CONTROL: {"epochs": 0.8, "learning_rate": 0.3, "tuned_by": tuple(trials)}},
    )
    (row,) = tables.equal_time(results)
    assert row["flags"].split("; ") == [
        "one seed", "less than one epoch", "its best rate is the outermost that was tried",
    ]  # fmt: skip
    assert (row["trials"], row["tuning_seconds"]) == (3, 30.0)
    rows = tables.tuning(results)
    assert [row["chosen"] for row in rows] == [False, False, True]
    assert [row["val_accuracy"] for row in tables.tried_rates(results)] == pytest.approx([3, 10, 30])
    assert results.first(f"{CONTROL}-trial-0.1").test_accuracy is None


def test_lookahead_is_compared_with_its_own_schedule_and_over_all_of_them(write_contest):
    results = write_contest(
        {
            CONTROL: [0.50, 0.52, 0.51], f"{CONTROL}-lookahead": [0.51, 0.53, 0.53],
            LINEAR: [0.60, 0.61, 0.60], f"{LINEAR}-lookahead": [0.63, 0.63, 0.64],
        }
    )  # fmt: skip
    rows = {row["title"]: row for row in tables.crossed(results)}
    assert rows[CONTROL]["difference"] == pytest.approx(100 * (0.01 + 0.01 + 0.02) / 3)
    assert rows[LINEAR]["difference"] == pytest.approx(100 * (0.03 + 0.02 + 0.04) / 3)
    together = rows["All 2 schedules"]
    assert together["difference"] == pytest.approx(
        (rows[CONTROL]["difference"] + rows[LINEAR]["difference"]) / 2
    )
    # The seeds' own means are 2, 1.5 and 3 points: their interval, not that of six numbers.
    interval = stats.mean_interval([2.0, 1.5, 3.0])
    assert together["difference_high"] == pytest.approx(interval.high)


# -- Words -----------------------------------------------------------------------------------------


def test_the_answer_names_no_winner_that_the_seeds_do_not_support(write_contest):
    results = write_contest({CONTROL: [0.50, 0.60, 0.55], LINEAR: [0.60, 0.55, 0.61]})
    said = answers.equal_time(tables.equal_time(results))
    assert "No method was significantly better than the constant rate" in said
    assert "no single best" not in said  # the control's is another question
    assert "With these seeds a true difference of" in said


def test_a_difference_beyond_all_accuracies_is_not_called_one_to_be_found(write_contest):
    results = write_contest({CONTROL: [0.50, 0.60], LINEAR: [0.60, 0.55]})
    rows = tables.equal_time(results)
    assert rows[0]["smallest_detectable"] > 100
    said = answers.equal_time(rows)
    assert "So few seeds would miss any difference more often than once in five times." in said
    assert "a true difference of" not in said


def test_the_answer_says_of_seconds_that_are_equal_that_they_are(write_contest):
    accuracies = {CONTROL: [0.50, 0.51], LINEAR: [0.60, 0.62]}
    equal = answers.steps_and_seconds(tables.equal_time(write_contest(accuracies)))
    assert equal == "Each made 20 steps, in seconds within 3% of the budget."


def test_the_answer_says_how_far_the_seconds_lie_from_the_budget(write_contest):
    accuracies = {CONTROL: [0.50, 0.51], LINEAR: [0.60, 0.62]}
    slower = write_contest(accuracies, **{LINEAR: {"train_seconds": 12.0, "steps": 19}})
    said = answers.steps_and_seconds(tables.equal_time(slower))
    assert said == (
        "Each made 19 to 20 steps, fitted to the budget by measured seconds a step; they took 10.0 to 12.0 s "
        "in the mean, 100% to 120% of the budget, and 2 of 4 runs are more than 3% off it: where steps are "
        "alike, by the machine's changing speed, which changes no accuracy."
    )
    assert "steps" not in answers.over_budgets(slower)[0]  # said of B once


def test_the_answer_names_the_winners_and_the_losers_with_their_differences(write_contest):
    results = write_contest(
        {CONTROL: [0.50, 0.51, 0.52], LINEAR: [0.60, 0.611, 0.62], "cifar10-fast-worse": [0.40, 0.411, 0.42]}
    )
    said = answers.equal_time(tables.equal_time(results))
    assert "on 3 paired seeds, after correction for 2 comparisons" in said
    assert f"comparisons: “{LINEAR}” (+10.03 points, in 100% of the budget)" in said
    assert "Significantly worse: “cifar10-fast-worse” (-9.97 points, in 100% of the budget)" in said


def test_a_control_that_comes_first_is_judged_by_its_own_comparisons_alone(write_contest):
    results = write_contest(
        {CONTROL: [0.7, 0.71, 0.72], LINEAR: [0.5, 0.6, 0.5], "fast-mine": [0.4, 0.5, 0.6]}
    )
    said = answers.equal_time(tables.equal_time(results))
    assert said.startswith(f"“{CONTROL}” has the highest mean") and "single best" not in said


def test_the_first_is_called_better_than_those_alone_that_all_pairs_together_allow(write_contest):
    cosine = "cifar10-fast-cosine"
    accuracies = {
        f"{LINEAR}-lookahead": [0.600, 0.620, 0.615, 0.605],
        LINEAR: [0.6000, 0.6105, 0.6200, 0.6003],
        cosine: [0.50, 0.52, 0.515, 0.505],  # a tenth below the first on each seed but one
        CONTROL: [0.40, 0.41, 0.42, 0.40],
    }
    accuracies[cosine][0] -= 0.001
    results = write_contest(accuracies)
    rows = tables.equal_time(results)
    first, second, third, control = (row["experiment"] for row in rows)
    assert (first, second, third, control) == tuple(accuracies)
    pairs = [(first, second), (first, third), (second, third)]
    expected = stats.holm([results.difference(*pair).p for pair in pairs])
    assert [row["p_behind_first"] for row in rows[1:3]] == expected[:2]
    assert isnan(rows[0]["p_behind_first"]) and isnan(rows[3]["p_behind_first"])  # the control is no method
    assert (
        f"“{first}” has the highest mean, 61.00%. There is no single best: it is significantly better "
        f"than “{third}”, but not than “{second}” (corrected for all 3 pairs of methods beside "
        "the constant rate). Significantly"
    ) in answers.equal_time(rows)


def test_who_reaches_the_target_with_as_many_steps_is_first_with_the_other(write_contest):
    cosine = "cifar10-fast-cosine"
    histories = {LINEAR: [(2.0, 0.4), (4.0, 0.96)], cosine: [(6.0, 0.5), (12.0, 0.96)]}
    facts = {name: {"history": history, "val_accuracy": 0.96} for name, history in histories.items()}
    said = answers.soonest(write_contest({LINEAR: [0.6], cosine: [0.6, 0.7]}, **facts))
    assert f"are “{LINEAR}” (n=1) and “cifar10-fast-cosine” (n=2), after 10.0 s in the mean" in said


def test_only_comparisons_that_were_tested_are_counted(write_contest):
    results = write_contest({CONTROL: [0.50, 0.52], LINEAR: [0.51, 0.54], f"{LINEAR}-lookahead": [0.49]})
    said = answers.equal_time(tables.equal_time(results))
    assert "No method was significantly better than the constant rate on 2 paired seeds. " in said
    assert "comparisons" not in said


def test_a_method_that_nothing_is_paired_with_is_not_said_to_have_one_seed(write_contest):
    said = answers.equal_time(tables.equal_time(write_contest({CONTROL: [0.50, 0.52]})))
    assert "(n=2); no two methods have two seeds in common to be compared on" in said
    assert "one seed" not in said


def test_one_seed_is_said_to_be_one(write_contest):
    assert "from one seed (n=1)" in answers.equal_time(
        tables.equal_time(write_contest({CONTROL: [0.5], LINEAR: [0.6]}))
    )


def test_surprises_come_from_the_records_and_are_absent_where_there_are_none(write_contest):
    expected = write_contest({CONTROL: [0.50, 0.51], LINEAR: [0.60, 0.61]})
    assert answers.surprises(expected) == []


def test_lookahead_that_hurts_is_said_with_its_interval(write_contest):
    results = write_contest(
        {
            CONTROL: [0.50, 0.52, 0.51], f"{CONTROL}-lookahead": [0.45, 0.47, 0.455],
            LINEAR: [0.60, 0.61, 0.60], f"{LINEAR}-lookahead": [0.55, 0.56, 0.55],
        },
        **{f"{LINEAR}-lookahead": {"train_seconds": 14.0}},
    )  # fmt: skip
    (sentence,) = answers.slow_weights(results)
    assert sentence.startswith("Lookahead at B, against the same schedule without it: it hurt “")
    assert "Over all schedules it hurt: -5." in sentence
    assert "n=3 seeds, p=" in sentence and "corrected for" not in sentence
    assert sentence.endswith("). Runs with it took 1.20 times as long as without.")
    assert answers.unequal_gains(results) == []


GAINS = {
    CONTROL: [0.60, 0.62, 0.612, 0.60],
    LINEAR: [0.51, 0.529, 0.52, 0.511],
    "cifar10-fast-cosine": [0.55, 0.57, 0.561, 0.55],
}


def test_lookahead_that_serves_one_schedule_more_than_another_is_a_surprise(write_contest):
    plain = {name: [0.50, 0.52, 0.51, 0.50] for name in GAINS}
    results = write_contest(plain | {f"{name}-lookahead": values for name, values in GAINS.items()})
    (sentence,) = answers.unequal_gains(results)
    assert sentence in answers.surprises(results)
    assert "does not serve all schedules alike (Friedman's test of its gains, p=0.018)" in sentence
    assert sentence.endswith(f"brings +10.05 points to “{CONTROL}” and +1.00 points to “{LINEAR}”.")


def test_gains_of_several_kinds_of_slow_weights_are_corrected_for_their_number(write_contest):
    plain = {name: [0.50, 0.52, 0.51, 0.50] for name in GAINS}
    both = {f"{name}-{kind}": values for kind in ("lookahead", "ema") for name, values in GAINS.items()}
    said = answers.unequal_gains(write_contest(plain | both))
    assert len(said) == 2
    assert all("Friedman's test of its gains, p=0.037)" in sentence for sentence in said)


def test_gains_that_chance_explains_are_no_surprise(write_contest):
    plain = {name: [0.50, 0.52, 0.51, 0.50] for name in GAINS}
    ahead = {f"{name}-lookahead": [0.60, 0.63, 0.61, 0.59][n:] + [0.6] * n for n, name in enumerate(GAINS)}
    assert answers.unequal_gains(write_contest(plain | ahead)) == []


def test_verdicts_on_lookahead_at_several_budgets_are_corrected_for_their_number(write_contest):
    plain, ahead = [0.50, 0.51, 0.52], [0.53, 0.545, 0.54]
    methods = dict.fromkeys((CONTROL, LINEAR), plain)
    methods |= {f"{name}-lookahead": ahead for name in (CONTROL, LINEAR)}
    others = {f"{name}-at-{at}": [0.50, 0.53, 0.5] for name in methods for at in ("third", "triple")}
    others |= {f"{name}-at-triple": [0.51, 0.50, 0.5] for name in methods if name.endswith("-lookahead")}
    others |= {f"{name}-at-third": [0.52, 0.50, 0.5] for name in methods if name.endswith("-lookahead")}
    results = write_contest(methods | others)
    rows = {row["budget"]: row for row in tables.crossed(results) if not row["experiment"]}
    assert rows.keys() == {"", "third", "triple"}
    assert rows[""]["verdict"] == "no difference was found (n=3)"
    assert rows[""]["p"] < 0.05 < rows[""]["p_holm"] == pytest.approx(3 * rows[""]["p"])
    said = answers.slow_weights(results)[0]
    assert f"it helped “{CONTROL}” (+2.83 points, p=0.047), “{LINEAR}” (+2.83 points, p=0.047). Over" in said
    assert "Over all schedules no effect was found: +2.83 points" in said
    asked = "corrected for the 3 kinds and budgets that this is asked of)"
    assert f"n=3 seeds, p={rows['']['p_holm']:.2g} {asked}" in said


def test_what_tuning_cost_is_counted(write_contest):
    trials = {f"{CONTROL}-trial-{lr}": {"learning_rate": lr, "train_seconds": 2.5} for lr in (0.03, 0.1)}
    results = write_contest({CONTROL: [0.5, 0.6]}, **trials, **{CONTROL: {"tuned_by": tuple(trials)}})
    said = answers.tuning(results)
    assert "2 learning rates were tried, from one seed each: 2 trials, each of" in said
    assert "They took 5 s of training, 0.25 times what the contest at B took" in said
    untuned = answers.tuning(write_contest({LINEAR: [0.5]}))
    assert untuned.startswith("The learning rates are those of the configuration")


def test_nan_is_never_printed(write_contest):
    results = write_contest(
        {CONTROL: [0.5], f"{CONTROL}-lookahead": [0.6], LINEAR: [0.4], f"{LINEAR}-lookahead": [0.5]}
    )
    words = [
        answers.equal_time(tables.equal_time(results)),
        *answers.over_budgets(results),
        *answers.surprises(results),
        *answers.slow_weights(results),
    ]
    words += [answers.any_difference(results), answers.tuning(results)]
    assert str(nan) not in " ".join(words).lower().replace("nance", "")


def test_a_method_of_the_same_schedule_and_another_optimizer_is_nobodys_twin(write_contest):
    ahead, adamw = f"{CONTROL}-lookahead", "cifar10-fast-adamw"
    plain = write_contest({CONTROL: [0.5]}).first(CONTROL).spec
    other = plain | {"recipe": plain["recipe"] | {"optimizer": {"name": "adamw", "lookahead": None}}}
    results = write_contest(
        {f"{CONTROL}-b": [0.5, 0.6], ahead: [0.5, 0.6], adamw: [0.5, 0.6]}, **{adamw: {"spec": other}}
    )
    assert tables.twins(results, list(results.runs)) == {"Lookahead": [(ahead, f"{CONTROL}-b")]}
