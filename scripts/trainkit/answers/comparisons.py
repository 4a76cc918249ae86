"""Paired comparisons in words that claim no more than they support."""

from math import isnan, nan

from trainkit import stats
from trainkit.results import Results, Rows
from trainkit.seconds import in_words
from trainkit.stats import LEVEL

LEFT_OUT = "left out of this study"


def compare(results: Results, a: str, b: str, family: Rows | tuple = ()) -> str:
    """What the paired difference between two experiments allows to say, in one sentence.

    ``family`` is the table that holds the comparison among others: its corrected p-value counts.
    """
    difference = results.difference(a, b)
    first, second = (quoted(results.first(name).title) for name in (a, b))
    if difference is None or difference.n < 2:
        images = results.disagreement(a, b)
        one_each = len(results.runs[a]) == len(results.runs[b]) == 1
        few = "one seed each" if one_each else f"{'no' if difference is None else 'one'} shared seed"
        return (
            f"{few}: the methods' difference may be chance; of these two trained networks {first} alone "
            f"is right on {images.only_a} test images and {second} alone on {images.only_b} "
            f"(McNemar, {p_value(images.p)})"
        )
    corrected = [row["p_holm"] for row in family if row["experiment"] in (a, b) and "p_holm" in row]
    assert len(corrected) < 2, f"{a} and {b} are both compared with another there"
    p = corrected[0] if corrected else difference.p
    comparisons = sum(not isnan(row.get("p_holm", nan)) for row in family) if corrected else 1
    verdict = stats.verdict(difference, p, first, second)
    mean, *ends = (100 * value for value in (difference.mean, difference.low, difference.high))
    if p < LEVEL:  # of the winner, whose difference is positive
        low, high = sorted(abs(end) for end in ends)
        said = f"{verdict}, 95% interval {low:.2f} to {high:.2f}"
    else:
        said = f"{verdict}: {mean:+.2f} points, 95% interval {ends[0]:+.2f} to {ends[1]:+.2f}"
    return (
        said
        + ("" if isnan(p) else f", {p_value(p)}")
        + (f" corrected for {comparisons} comparisons" if comparisons > 1 else "")
    )


def significant(row: dict) -> int:
    """Whether a row is significantly more accurate than its reference (1), less (-1), or neither (0)."""
    if not row.get("p_holm", 1) < LEVEL:
        return 0
    return (row["difference"] > 0) - (row["difference"] < 0)


def sorted_out(rows: Rows, if_none: str = LEFT_OUT) -> str:
    """Which rows of one family differ from their reference, after its correction."""
    compared = [row for row in rows if "p_holm" in row]
    if not compared:
        return if_none
    if all(row["pairs"] < 2 for row in compared):
        return "one seed each, so that any difference may be chance (n=1)"
    parts = []
    for word, sign in (("more accurate", 1), ("less accurate", -1)):
        these = [row for row in compared if significant(row) == sign]
        if these:
            named = ", ".join(
                f"{quoted(row['title'])} ({row['difference']:+.2f} points, 95% interval "
                f"{row['difference_low']:+.2f} to {row['difference_high']:+.2f})"
                for row in sorted(these, key=lambda row: -abs(row["difference"]))
            )
            parts.append(f"{word}: {named}")
    rest = [row for row in compared if not significant(row)]
    if rest:
        parts.append(f"no difference was found for {', '.join(quoted(row['title']) for row in rest)}")
    pairs = sorted({row["pairs"] for row in compared})
    seeds = f"{pairs[0]} to {pairs[-1]}" if len(pairs) > 1 else pairs[0]
    few = len(compared)
    corrected = f", corrected for {few} comparisons" if few > 1 else ""
    return f"{'; '.join(parts)} ({seeds} paired seeds{corrected})"


def supported(rows: Rows, column: str) -> str:
    """Whether more of a ``column`` is significantly better, in a family whose reference comes first."""
    compared = [row for row in rows if "p_holm" in row and row["pairs"] > 1]
    if not compared:
        return "not tested"
    borne_out = any(significant(row) * (row[column] - rows[0][column]) > 0 for row in compared)
    return "supported" if borne_out else "not supported"


def helped(row: dict) -> str:
    """Whether what a row is without helped its reference, which has it: yes, no, or not known."""
    if row["pairs"] < 2:
        return "Not known"
    return {0: "No effect was found", -1: "Yes", 1: "No, it hurt"}[significant(row)]


def quoted(title: str) -> str:
    return f"\u201c{title}\u201d"


def mcnemar(results: Results, a: str, b: str) -> str:
    """A clause on how two experiments' trained networks differ on the test images.

    Nothing for one seed each, where the comparison itself is of the images.
    """
    if len(results.by_seed(a, "seed").keys() & results.by_seed(b, "seed").keys()) < 2:
        return ""
    images = results.disagreement(a, b)
    first, second = (quoted(results.first(name).title) for name in (a, b))
    return (
        f"; on {images.only_a} test images more of {first}'s networks are right, on {images.only_b} more of "
        f"{second}'s (a sign test over images, {p_value(images.p)})"
    )


def p_value(p: float) -> str:
    """``p=0.012``, or that it is below what is worth a number."""
    return f"p={p:.2g}" if p >= 1e-9 else "p<1e-9"


def equal_seconds(results: Results, a: str, b: str) -> str:
    """Whether two experiments took equal training time, to 3%, or did equal work."""
    one, other = results.mean(a, "seconds.train"), results.mean(b, "seconds.train")
    works = [
        (run.steps, run.batch_size, run.params_trainable) for run in (results.first(a), results.first(b))
    ]
    flag = "equal to within 3%"
    if abs(one / other - 1) > 0.03 and works[0] == works[1]:
        flag = "for equal work: the same steps of the same network, at what speed the machine then had"
    elif abs(one / other - 1) > 0.03:
        flag = "so that this is not quite a comparison at equal time"
    return f"{in_words(one)} of training against {in_words(other)} ({100 * (one / other - 1):+.1f}%), {flag}"


def trend(rows: Rows, column: str, what: str, if_none: str = LEFT_OUT) -> str:
    """Mean accuracy along a column, ``what`` being its unit; says nothing of differences."""
    ordered = sorted(rows, key=lambda row: row[column])
    if len(ordered) < 2:
        return if_none
    return ", ".join(f"{row[column]} {what}: {row['test_accuracy']:.2f}%{interval(row)}" for row in ordered)


def interval(row: dict) -> str:
    if isnan(row["test_accuracy_low"]):
        return " (n=1)"
    return f" ({row['test_accuracy_low']:.2f} to {row['test_accuracy_high']:.2f})"
