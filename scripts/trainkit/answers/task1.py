"""Sentences of the report: paired comparisons in words that claim no more than they support."""

from math import isnan

from trainkit.results import Results, Rows

LEVEL = 0.05
LEFT_OUT = "left out of this study"


def sorted_out(rows: Rows, if_none: str = LEFT_OUT) -> str:
    """Which rows of one family differ from their reference, after its correction."""
    compared = [row for row in rows if "p_holm" in row]
    if not compared:
        return if_none
    if all(row["pairs"] < 2 for row in compared):
        return "one seed each says nothing of the methods (n=1)"
    found = [row for row in compared if row["p_holm"] < LEVEL]
    parts = []
    for word, sign in (("more accurate", 1), ("less accurate", -1)):
        these = [row for row in found if sign * row["difference"] > 0]
        if these:
            named = ", ".join(
                f"{quoted(row)} ({row['difference']:+.2f} points, 95% interval "
                f"{row['difference_low']:+.2f} to {row['difference_high']:+.2f})"
                for row in sorted(these, key=lambda row: -abs(row["difference"]))
            )
            parts.append(f"{word}: {named}")
    rest = [row for row in compared if not row["p_holm"] < LEVEL]
    if rest:
        parts.append(f"no difference was found for {', '.join(quoted(row) for row in rest)}")
    pairs = sorted({row["pairs"] for row in compared})
    seeds = f"{pairs[0]} to {pairs[-1]}" if len(pairs) > 1 else pairs[0]
    few = len(compared)
    corrected = f", corrected for {few} comparisons" if few > 1 else ""
    return f"{'; '.join(parts)} ({seeds} paired seeds{corrected})"


def quoted(row: dict) -> str:
    return f"\u201c{row['title']}\u201d"


def mcnemar(results: Results, a: str, b: str) -> str:
    """A clause on how two experiments' trained networks differ on the test images.

    Nothing for one seed each, where the comparison itself is of the images.
    """
    if len(results.by_seed(a, "seed").keys() & results.by_seed(b, "seed").keys()) < 2:
        return ""
    images = results.disagreement(a, b)
    first, second = (f"\u201c{results.first(name).title}\u201d" for name in (a, b))
    return (
        f"; of these trained networks more of {first} read {images.only_a} test images right, and more of "
        f"{second} {images.only_b} (McNemar over images, {p_value(images.p)})"
    )


def p_value(p: float) -> str:
    """``p=0.012``, or that it is below what is worth a number."""
    return f"p={p:.2g}" if p >= 1e-9 else "p<1e-9"


def equal_seconds(results: Results, a: str, b: str) -> str:
    """Whether two experiments took equal training time, to 3%."""
    one, other = results.mean(a, "seconds.train"), results.mean(b, "seconds.train")
    flag = "so that this comparison is at equal seconds"
    if abs(one / other - 1) > 0.03:
        flag = "more than 3% apart, so that at equal seconds this comparison would not be quite the same"
    return f"{one:.1f} s of training against {other:.1f} s ({100 * (one / other - 1):+.1f}%), {flag}"


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
