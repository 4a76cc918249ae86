"""Means with intervals, paired differences, and what they allow to say. scipy underneath."""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
LEVEL = 0.05  # below it a p-value counts


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` values with its 95% interval; ``low`` and ``high`` are nan for n=1."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean paired difference, its interval, and the p-value of "no difference"."""

    p: float


def mean_interval(values: list[float], least: float = -inf, most: float = inf) -> Interval:
    """Mean and 95% interval by Student's t, cut to what such a value can be.

    The spread is that over the values (seeds).
    """
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, nan, nan, n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / sqrt(n))
    return Interval(mean, max(mean - half, least), min(mean + half, most), n)


def accuracy_interval(accuracies: list[float]) -> Interval:
    """`mean_interval` of fractions."""
    return mean_interval(accuracies, 0, 1)


def seconds_interval(seconds: list[float]) -> Interval:
    """`mean_interval` of times."""
    return mean_interval(seconds, 0)


def prediction_interval(values: list[float]) -> tuple[float, float]:
    """Where one more value of the same kind falls with 95% probability; nan for n=1."""
    n = len(values)
    if n < 2:
        return nan, nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) * sqrt(1 + 1 / n)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def paired_difference(a: dict[int, float], b: dict[int, float]) -> Difference | None:
    """``a - b`` over the seeds that both have; ``None`` where they share none."""
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    differences = [a[seed] - b[seed] for seed in seeds]
    interval = mean_interval(differences)
    if interval.n < 2:
        p = nan
    elif np.ptp(differences) < 1e-9:  # no spread to judge by
        p = 1.0 if interval.mean == 0 else nan
    else:
        p = float(stats.ttest_1samp(differences, 0).pvalue)
    return Difference(interval.mean, interval.low, interval.high, interval.n, p)


def detectable(differences: list[Difference], comparisons: int, power: float = 0.8) -> float:
    """The smallest true difference that paired seeds, as many and as spread as these, find with ``power``.

    By the two-sided paired t test at 5% over the number of ``comparisons`` (Bonferroni: Holm's first
    step), from the noncentral t distribution (Cohen 1988, section 2.5). The spread is pooled over the
    ``differences``; nan where there is none to judge by, infinite where no effect is large enough.
    """
    known = [d for d in differences if d.n > 1]
    if not known:
        return nan
    n = min(d.n for d in known)
    quantile = {d.n: float(stats.t.ppf((1 + CONFIDENCE) / 2, d.n - 1)) for d in known}
    spread = sqrt(np.mean([((d.high - d.mean) * sqrt(d.n) / quantile[d.n]) ** 2 for d in known]))
    if spread == 0:
        return nan
    critical = stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), n - 1)

    def missing(effect: float) -> float:
        return float(stats.nct.sf(critical, n - 1, effect * sqrt(n))) - power

    most = 1e3  # times the spread
    return spread * optimize.brentq(missing, 0, most) if missing(most) > 0 else inf


def mean_ranks(values: dict[str, dict[int, float]]) -> dict[str, Interval]:
    """Each method's rank (1 is the highest value) among all on the same seed, with its 95% interval.

    ``values`` are by method and seed; only seeds that all methods have count. Ties share their mean
    rank (Demsar 2006, section 3.2.2). The interval stays within 1 and the number of methods.
    """
    seeds = _shared_seeds(values)
    ranks = [stats.rankdata([-by_seed[seed] for by_seed in values.values()]) for seed in seeds]
    if not ranks:
        return {method: Interval(nan, nan, nan, 0) for method in values}
    of_methods = dict(zip(values, np.transpose(ranks), strict=True))
    intervals = {method: mean_interval(own.tolist()) for method, own in of_methods.items()}
    return {
        method: Interval(i.mean, *(np.clip([i.low, i.high], 1, len(values)).tolist()), i.n)
        for method, i in intervals.items()
    }


def any_difference(values: dict[str, dict[int, float]]) -> float:
    """Friedman's p-value of "all methods are alike" over the seeds that all have; nan if too few."""
    seeds = _shared_seeds(values)
    if len(values) < 3 or len(seeds) < 2:
        return nan
    columns = [[by_seed[seed] for seed in seeds] for by_seed in values.values()]
    return float(stats.friedmanchisquare(*columns).pvalue)


def _shared_seeds(values: dict[str, dict[int, float]]) -> list[int]:
    return sorted(set.intersection(*(set(by_seed) for by_seed in values.values()))) if values else []


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979); nan stays nan and does not count."""
    corrected = np.full(len(p_values), nan)
    known = [i for i, p in enumerate(p_values) if not np.isnan(p)]
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected.tolist()


@dataclass(frozen=True)
class Disagreement:
    """Test images that one of two classifiers reads better, and the p-value of an exact sign test."""

    only_a: int
    only_b: int
    p: float


def disagreement(a_right: np.ndarray, b_right: np.ndarray) -> Disagreement:
    """Compare two classifiers' hits on the same images, ``(N,) bool``: McNemar's exact test (1947).

    Or, by the same sign test, how many of several networks of each kind are right, ``(N,) int``: an image
    counts once, for the kind that reads it right more often, since networks do not err independently.
    """
    only_a, only_b = int((a_right > b_right).sum()), int((b_right > a_right).sum())
    p = 1.0 if only_a + only_b == 0 else float(stats.binomtest(only_a, only_a + only_b).pvalue)
    return Disagreement(only_a, only_b, p)


def verdict(difference: Difference | None, p: float, a: str, b: str) -> str:
    """What a paired comparison allows to say, in points of a percentage."""
    if difference is None or difference.n < 2:
        n = difference.n if difference else 0
        return f"no comparison: it needs at least two paired seeds (n={n})"
    if not p < LEVEL:  # nan too: nothing is known
        return f"no difference was found (n={difference.n})"
    winner, loser = (a, b) if difference.mean > 0 else (b, a)
    return f"{winner} beats {loser} by {abs(100 * difference.mean):.2f} points (n={difference.n})"
