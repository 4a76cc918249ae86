"""Points 2.2 and 2.3 in words."""

from math import isnan

from trainkit import stats
from trainkit.answers.comparisons import quoted, significant
from trainkit.results import Results, Rows
from trainkit.seconds import digits, in_words
from trainkit.stats import LEVEL
from trainkit.tables import contest as tables


def equal_time(rows: Rows) -> str:
    """Which method is best at one budget, from its table's rows (the best mean comes first)."""
    best = rows[0]
    named = f"{quoted(best['title'])} has the highest mean, {best['test_accuracy']:.2f}%"
    compared = [row for row in rows if "p_holm" in row]
    if best["n"] < 2:
        return f"{named}, from one seed (n=1), so that no method can be called better than another."
    if not compared:
        return f"{named} (n={best['n']}); no two methods have two seeds in common to be compared on."
    better, worse = ([row for row in compared if significant(row) == sign] for sign in (1, -1))
    known = [row for row in compared if not isnan(row["p_holm"])] or compared
    pairs = sorted({row["pairs"] for row in known})
    tested = f"on {pairs[0]} to {pairs[-1]} paired seeds" if len(pairs) > 1 else f"on {pairs[0]} paired seeds"
    if len(known) > 1:
        tested += f", after correction for {len(known)} comparisons"
    sentences = [f"{named}. {_ahead_of(rows)}"]
    if better:
        sentences.append(f"Significantly better than the constant rate {tested}: {_listed(better)}.")
    else:
        sentences.append(f"No method was significantly better than the constant rate {tested}.")
    if worse:
        sentences.append(f"Significantly worse: {_listed(worse)}.")
    smallest = best["smallest_detectable"]
    if smallest >= 100:
        sentences.append("So few seeds would miss any difference more often than once in five times.")
    elif not isnan(smallest):
        sentences.append(
            f"With these seeds a true difference of {smallest:.1f} points to the constant rate would be "
            "found four times out of five, a smaller one less often."
        )
    return " ".join(sentences)


def _ahead_of(rows: Rows) -> str:
    """Which of the other methods, but for the control, the first one is significantly better than."""
    others = [row for row in rows[1:] if "p_holm" in row and not isnan(row["p_behind_first"])]
    if not others or "p_holm" not in rows[0]:  # where the control is the first, its own comparisons tell
        return ""
    behind = [row for row in others if row["p_behind_first"] < LEVEL]
    rest = [row for row in others if row not in behind]
    corrected = f"corrected for all {rows[0]['pairs_of_all']} pairs of methods beside the constant rate"
    if not rest:
        behind_it = ", ".join(quoted(row["title"]) for row in behind)
        return f"It is significantly better than {behind_it} ({corrected})."
    level_with = ", ".join(quoted(row["title"]) for row in rest)
    if not behind:
        return f"There is no single best: it is not significantly better than {level_with} ({corrected})."
    return (
        "There is no single best: it is significantly better than "
        f"{', '.join(quoted(row['title']) for row in behind)}, but not than {level_with} ({corrected})."
    )


def steps_and_seconds(rows: Rows) -> str:
    """What the budget was fitted to, and how far the seconds really used lie from it."""
    off, runs = (sum(row[key] for row in rows) for key in ("runs_outside_3_percent", "n"))
    fewest, most = (pick(row["steps"] for row in rows) for pick in (min, max))
    steps = f"{fewest:.0f}" if round(fewest) == round(most) else f"{fewest:.0f} to {most:.0f}"
    if not off:
        return f"Each made {steps} steps, in seconds within 3% of the budget."
    low, high = (pick(rows, key=lambda row: row["seconds_used"]) for pick in (min, max))
    return (
        f"Each made {steps} steps, fitted to the budget by measured seconds a step; they took "
        f"{digits(low['seconds_used'])} to {in_words(high['seconds_used'])} in the mean, "
        f"{100 * low['used_over_budget']:.0f}% to {100 * high['used_over_budget']:.0f}% of the budget, and "
        f"{off} of {runs} runs {'is' if off == 1 else 'are'} more than 3% off it: where steps are alike, by "
        "the machine's changing speed, which changes no accuracy."
    )


def soonest(results: Results) -> str:
    """Which schedules alone first reach the validation accuracy that all methods reach in the mean."""
    rows = [
        row
        for row in tables.fast_training(results)
        if row["runs_that_reach_it"] == row["n"] and not (row["lookahead"] or row["ema"])
    ]
    if not rows:
        return ""
    seconds = min(row["seconds_to_target"] for row in rows)
    first = [row for row in rows if row["seconds_to_target"] < 1.001 * seconds]
    named = " and ".join(f"{quoted(row['title'])} (n={row['n']})" for row in first)
    return (
        f"Of the schedules alone, the first to reach {first[0]['target_val_accuracy']:.0f}% validation "
        f"accuracy in every run {'is' if len(first) == 1 else 'are'} {named}, after {in_words(seconds)} in "
        "the mean, looked at once an epoch."
    )


def _listed(rows: Rows) -> str:
    return ", ".join(
        f"{quoted(row['title'])} ({row['difference']:+.2f} points, in "
        f"{100 * row['used_over_budget']:.0f}% of the budget)"
        for row in rows
    )


def over_budgets(results: Results) -> list[str]:
    """How the order changes with the budget: one sentence a budget, the shortest first."""
    sentences = []
    for label, rows in _by_budget(results).items():
        best, better = rows[0], [row for row in rows if significant(row) > 0]
        verdict = "no method was significantly better than the constant rate"
        if better:
            verdict = f"{len(better)} of {len(rows) - 1} methods beat the constant rate"
        rank = f"mean rank {best['rank']:.1f} of {len(rows)}"
        if best["rank_low"] < best["rank_high"]:  # equal ranks in a few seeds are no certainty
            rank += f", 95% interval {best['rank_low']:.1f} to {best['rank_high']:.1f}"
        sentences.append(
            f"At {_budget(label)} ({in_words(best['budget_seconds'])}): {quoted(_method(results, best))} has "
            f"the highest mean with {best['test_accuracy']:.2f}% ({rank}, n={best['n']}); {verdict}. "
            f"{steps_and_seconds(rows) if label else ''}".rstrip()  # of B itself its own answer tells
        )
    return sentences


def _by_budget(results: Results) -> dict[str, Rows]:
    rows = tables.budgets(results)
    labels = dict.fromkeys(row["budget"] for row in rows)
    return {label: [row for row in rows if row["budget"] == label] for label in labels}


def _budget(label: str) -> str:
    return tables.budget_name(label) if label else "B itself"


def _method(results: Results, row: dict) -> str:
    """A contestant's title without its budget's."""
    return results.first(tables.method_of(row["experiment"])).title


def tuning(results: Results) -> str:
    """What choosing the learning rates cost, beside the contest itself."""
    rows = tables.tuning(results)
    if not rows:
        return "The learning rates are those of the configuration; nothing was tuned."
    each = len(tables.tried_rates(results)) / len({row["experiment"] for row in rows})
    count = len({row["seed"] for row in rows})
    seeds = "one seed" if count == 1 else f"{count} seeds"
    length = rows[0]["epochs"] / results.mean(rows[0]["experiment"], "epochs")
    spent = sum(row["train_seconds"] for row in rows)
    own = sum(sum(results.values(name, "seconds.train")) for name in results.of_task("2.2"))
    diverged = sum(row["diverged"] for row in rows)
    return (
        f"For each method {each:.0f} learning rates were tried, from {seeds} each: {len(rows)} trials, each "
        f"of {length:.2g} times the contest's steps; the best mean on validation images won. They took "
        f"{spent:.0f} s of training, {spent / own:.2f} times what the contest at B took."
        + (f" {diverged} of them diverged." if diverged else "")
    )


def surprises(results: Results) -> list[str]:
    """What did not come out as the methods' papers let one expect; each sentence from the records."""
    found = []
    falling = [
        row
        for row in tables.equal_time(results)
        if row.get("difference", 0) < 0 and not tables.slow_weights(results, row["experiment"])
    ]
    if falling:
        worst = falling[-1]
        sure = "these seeds cannot tell it from chance"
        if significant(worst):
            sure = "the seeds support it"
        found.append(
            f"A schedule is not better as such: {quoted(worst['title'])} ended {-worst['difference']:.2f} "
            f"points below the constant rate in the same time ({sure})."
        )
    found += unequal_gains(results)
    leaders = {label: _method(results, rows[0]) for label, rows in _by_budget(results).items()}
    if len(set(leaders.values())) > 1:
        listed = ", ".join(f"{quoted(title)} at {_budget(label)}" for label, title in leaders.items())
        found.append(
            f"The highest mean changes hands with the budget: {listed}; whether by more than chance is not "
            "tested."
        )
    return found


def slow_weights(results: Results) -> list[str]:
    """What Lookahead and averages bring at B: to which schedules, and over all of them."""
    found = []
    rows = tables.crossed(results)
    of_all = [row for row in rows if not row["experiment"]]
    tested = sum(not isnan(row["p"]) for row in of_all)
    for row in of_all:
        if row["budget"] or row["pairs"] < 2:
            continue
        kind = row["slow_weights"]
        each = [
            own for own in rows if own["experiment"] and (own["budget"], own["slow_weights"]) == ("", kind)
        ]
        sure = "" if isnan(row["p_holm"]) else f", p={row['p_holm']:.2g}"
        if sure and tested > 1:  # over kinds of slow weights and budgets
            sure += f" corrected for the {tested} kinds and budgets that this is asked of"
        found.append(
            f"{kind} at B, against the same schedule without it: {_by_schedule(each)}. Over all schedules "
            f"{VERBS[significant(row)]}: {row['difference']:+.2f} points "
            f"(95% interval {row['difference_low']:+.2f} to {row['difference_high']:+.2f}, "
            f"n={row['pairs']} seeds{sure}). Runs with it took {row['train_seconds_over_plain']:.2f} times "
            "as long as without."
        )
    return found


VERBS = {0: "no effect was found", 1: "it helped", -1: "it hurt"}


def _by_schedule(rows: Rows) -> str:
    """Which schedules slow weights helped or hurt significantly; of the others their mean gain."""
    parts = []
    for sign in (1, -1):
        these = [row for row in rows if significant(row) == sign]
        if these:
            named = ", ".join(
                f"{quoted(row['title'])} ({row['difference']:+.2f} points, p={row['p_holm']:.2g})"
                for row in these
            )
            parts.append(f"{VERBS[sign]} {named}")
    rest = [row for row in rows if not significant(row)]
    if rest:
        mean = sum(row["difference"] for row in rest) / len(rest)
        listed = ", ".join(quoted(row["title"]) for row in rest)
        parts.append(
            f"no effect was found with {listed} ({mean:+.2f} points{' in the mean' * (len(rest) > 1)})"
        )
    return "; ".join(parts)


def unequal_gains(results: Results) -> list[str]:
    """Whether slow weights serve the schedules differently at B, by Friedman's test of their gains.

    Corrected for the kinds of slow weights.
    """
    by_kind: dict[str, dict[str, dict[int, float]]] = {}
    for kind, pairs in tables.twins(results, results.some_of_task("2.2")).items():
        gains = by_kind[kind] = {}
        for name, plain in pairs:
            own, without = (results.by_seed(each, "test_accuracy") for each in (name, plain))
            gains[plain] = {seed: 100 * (own[seed] - without[seed]) for seed in own.keys() & without.keys()}
    corrected = stats.holm([stats.any_difference(gains) for gains in by_kind.values()])
    found = []
    for (kind, gains), p in zip(by_kind.items(), corrected, strict=True):
        if p < LEVEL:
            means = {plain: sum(gain.values()) / len(gain) for plain, gain in gains.items()}
            least, most = (
                f"{means[plain]:+.2f} points to {quoted(results.first(plain).title)}"
                for plain in (min(means, key=means.__getitem__), max(means, key=means.__getitem__))
            )
            found.append(
                f"{kind} does not serve all schedules alike (Friedman's test of its gains, p={p:.2g}): "
                f"in the mean it brings {most} and {least}."
            )
    return found


def any_difference(results: Results) -> str:
    """Friedman's test of all methods at once, in words."""
    names = results.some_of_task("2.2")
    p = stats.any_difference({name: results.by_seed(name, "test_accuracy") for name in names})
    if isnan(p):
        return "There are too few seeds or methods to test all of them at once."
    verdict = "they are not all alike" if p < LEVEL else "it finds no difference among them"
    return f"Friedman's test of all {len(names)} methods at B: {verdict} (p={p:.2g})."
