"""Intervals, paired differences, corrections and verdicts against values computed elsewhere."""

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from scipy import stats as scipy_stats

from trainkit.stats import (
    Difference,
    accuracy_interval,
    detectable,
    disagreement,
    holm,
    mean_interval,
    paired_difference,
    seconds_interval,
    verdict,
)


def test_an_interval_stays_within_what_its_values_can_be():
    wide = [0.1, 0.9]
    assert mean_interval(wide).low < 0 and mean_interval(wide).high > 1
    assert (accuracy_interval(wide).low, accuracy_interval(wide).high) == (0, 1)
    assert seconds_interval(wide).low == 0 and seconds_interval(wide).high == mean_interval(wide).high
    assert isnan(accuracy_interval([0.5]).low)


def difference(mean: float, n: int = 5) -> Difference:
    return Difference(mean, mean - 0.01, mean + 0.01, n, 0.5)


# Student's t quantiles at 0.975, from any textbook's table.
@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_an_interval_is_the_textbooks(n, quantile):
    values = [0.9 + 0.01 * i for i in range(n)]
    interval = mean_interval(values)
    half = quantile * np.std(values, ddof=1) / sqrt(n)
    assert interval.n == n
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(interval.mean - half, rel=1e-3)
    assert interval.high == pytest.approx(interval.mean + half, rel=1e-3)


def test_one_value_has_a_mean_and_no_interval():
    interval = mean_interval([0.97])
    assert (interval.mean, interval.n) == (0.97, 1)
    assert isnan(interval.low)
    assert isnan(interval.high)


def test_95_percent_of_the_intervals_hold_the_truth():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        interval = mean_interval(random.normal(3.0, 2.0, 5).tolist())
        held += interval.low <= 3.0 <= interval.high
    assert held / 1000 == pytest.approx(0.95, abs=0.02)


# -- Paired differences ---------------------------------------------------------------------


def test_a_paired_difference_is_students_own_example():
    # Student 1908, "The probable error of a mean": hours of sleep gained with two drugs.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_difference(dict(enumerate(second)), dict(enumerate(first)))
    assert found.mean == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.7001, abs=1e-4), pytest.approx(2.4599, abs=1e-4))
    assert found.n == 10


def test_pairs_are_made_by_seed_whatever_the_order():
    a = {2: 0.92, 0: 0.90, 1: 0.91}
    b = {0: 0.80, 1: 0.83, 2: 0.80}
    assert paired_difference(a, b).mean == pytest.approx((0.10 + 0.08 + 0.12) / 3)
    assert paired_difference(a, b) == paired_difference(dict(sorted(a.items())), b)


def test_only_seeds_that_both_have_are_compared():
    found = paired_difference({0: 0.9, 1: 0.8, 5: 0.1}, {0: 0.7, 1: 0.7, 9: 0.9})
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 0.9}, {1: 0.9}) is None


def test_one_pair_has_a_difference_and_no_p_value():
    found = paired_difference({0: 0.9}, {0: 0.8})
    assert found.mean == pytest.approx(0.1)
    assert isnan(found.p)
    assert isnan(found.low)


def test_swapping_the_two_mirrors_the_difference():
    a, b = {0: 0.91, 1: 0.93, 2: 0.90}, {0: 0.90, 1: 0.90, 2: 0.91}
    ab, ba = paired_difference(a, b), paired_difference(b, a)
    assert (ba.mean, ba.low, ba.high, ba.p) == pytest.approx((-ab.mean, -ab.high, -ab.low, ab.p))


def test_equal_results_are_no_difference():
    found = paired_difference({0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.8})
    assert (found.mean, found.p) == (0, 1)


# -- Holm ------------------------------------------------------------------------------------


def test_holm_is_the_example_computed_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04; times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> 0.06 by monotony.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_lowers_a_p_value_nor_exceeds_one_nor_changes_the_order():
    random = np.random.default_rng(1)
    for _ in range(50):
        p_values = random.uniform(0, 1, 7)
        corrected = np.array(holm(p_values.tolist()))
        assert (corrected >= p_values).all()
        assert (corrected <= 1).all()
        assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()


def test_holm_lies_between_no_correction_and_bonferroni():
    p_values = [0.001, 0.02, 0.3]
    for p, corrected in zip(p_values, holm(p_values), strict=True):
        assert p <= corrected <= min(1, 3 * p)
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_a_missing_p_value_stays_missing_and_does_not_count():
    corrected = holm([0.01, nan, 0.04])
    assert corrected[::2] == pytest.approx([0.02, 0.04])
    assert isnan(corrected[1])


# -- McNemar -----------------------------------------------------------------------------------


def test_mcnemar_counts_only_where_the_two_disagree():
    a = np.array([True] * 12 + [False] * 3 + [True] * 500 + [False] * 40)
    b = np.array([False] * 12 + [True] * 3 + [True] * 500 + [False] * 40)
    # Two-sided binomial, 3 or fewer of 15: 2 (1 + 15 + 105 + 455) / 2^15.
    assert (disagreement(a, b).only_a, disagreement(a, b).only_b) == (12, 3)
    assert disagreement(a, b).p == pytest.approx(2 * 576 / 2**15)
    assert disagreement(a, b).p == disagreement(b, a).p
    assert disagreement(a[:15], b[:15]) == disagreement(a, b)


def test_classifiers_that_never_disagree_are_not_told_apart():
    hits = np.array([True, False, True])
    assert disagreement(hits, hits).p == 1.0


# -- Verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.01, 0.5, nan])
@pytest.mark.parametrize("one", [None, Difference(0.3, nan, nan, 1, nan)], ids=["no pair", "one pair"])
def test_fewer_than_two_pairs_never_make_a_claim(one, p):
    said = verdict(one, p, "A", "B")
    assert "beats" not in said
    assert f"n={one.n if one else 0}" in said


@pytest.mark.parametrize("p", [0.05, 0.0500001, 0.2, 1.0])
def test_no_claim_is_made_at_five_percent_or_more(p):
    assert verdict(difference(0.2), p, "A", "B") == "no difference was found (n=5)"


def test_a_claim_names_the_winner_the_points_and_the_pairs():
    assert verdict(difference(0.0123), 0.049, "A", "B") == "A beats B by 1.23 points (n=5)"
    assert verdict(difference(-0.0123), 0.049, "A", "B") == "B beats A by 1.23 points (n=5)"


def test_equal_methods_are_called_different_in_about_one_of_twenty_comparisons():
    random = np.random.default_rng(2)
    claims = 0
    for _ in range(600):
        a, b = random.normal(0.9, 0.01, (2, 4))
        found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
        assert found.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
        claims += "beats" in verdict(found, found.p, "A", "B")
    assert claims / 600 == pytest.approx(0.05, abs=0.03)


def test_equal_differences_without_spread_prove_nothing():
    difference = paired_difference({0: 0.5, 1: 0.5}, {0: 0.25, 1: 0.25})
    assert isnan(difference.p)
    assert verdict(difference, difference.p, "A", "B") == "no difference was found (n=2)"


def test_differences_that_are_equal_but_for_rounding_have_no_p_value():
    # Both are ten of 10,000 images, and as fractions differ in their last bit.
    a, b = {0: 0.9885, 1: 0.9884}, {0: 0.9875, 1: 0.9874}
    assert a[0] - b[0] != a[1] - b[1]
    assert isnan(paired_difference(a, b).p)


def test_so_few_seeds_that_no_effect_is_large_enough_are_said_to_find_none():
    pair = Difference(0.0, -12.7 / sqrt(2), 12.7 / sqrt(2), 2, 1.0)
    assert detectable([pair], 3) < detectable([pair], 60) < detectable([pair], 1000) == inf
