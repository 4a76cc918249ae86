"""Compare two studies: in a few lines on the terminal, and as one HTML page that needs nothing else."""

import argparse
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from trainkit.comparison import Comparison, Row, Side, compare, in_words
from trainkit.errors import run_program
from trainkit.files import write_text
from trainkit.outputs import templates
from trainkit.stats import Difference, Interval

WIDTH, HEIGHT, LEFT, BOTTOM = 320, 170, 42, 22  # of a chart, and of the room for its axes' numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", type=Path, help="a study's folder, such as results/cpu")
    parser.add_argument("b", type=Path, help="another study's folder; differences are B less A")
    parser.add_argument("--out", type=Path, help="the page (default: compare-A-B.html beside B's folder)")
    args = parser.parse_args()
    comparison = compare(args.a, args.b)
    # A file, not a folder: beside the studies it is taken for none of them.
    names = [folder.resolve().name for folder in (args.a, args.b)]
    out = args.out or args.b.resolve().parent / f"compare-{names[0]}-{names[1]}.html"
    write_text(out, render(comparison))
    print("\n".join(map(printable, lines(comparison))))
    print(f"\nThe whole comparison, with curves: {shown(out)}")


# -- The terminal --------------------------------------------------------------------------


def lines(comparison: Comparison) -> list[str]:
    """The comparison for a terminal."""
    a, b = comparison.a, comparison.b
    text = [f"A: {a.folder} ({len(a.records)} runs)", f"B: {b.folder} ({len(b.records)} runs)"]
    text += [f"left out: {reason}" for side in (a, b) for reason in side.unread]
    text += [f"only in {label}: {', '.join(names)}" for label, names in only(comparison)]
    for kind, found in comparison.facts.items():
        if found and not kind.startswith("Measured"):
            text += ["", kind, *(f"  {shortened(in_words(change))}" for change in found)]
    if not comparison.rows:
        return [*text, "", "No experiment is in both studies."]
    table = pd.DataFrame(
        {
            "experiment": row.name,
            "A %": f"{100 * row.a.mean:.2f} (n={row.a.n})",
            "B %": f"{100 * row.b.mean:.2f} (n={row.b.n})",
            "B - A, points": "identical" if row.same else points(row.difference),
            "p (Holm)": f"{row.p_holm:.3f}" if isfinite(row.p_holm) else "",
            "seconds, B / A": ratio(row.ratio),
        }
        for row in comparison.rows
    )
    text += ["", "Test accuracy with 95% intervals over the paired seeds", table.to_string(index=False)]
    text += ["", comparison.times, ""]
    for row in comparison.rows:
        notes = [row.verdict, row.unpaired, *row.flags, *(shortened(in_words(change)) for change in row.spec)]
        if notes != ["identical"]:
            text.append(f"{row.name}: " + "; ".join(filter(None, notes)))
    return text


def printable(line: str) -> str:
    """Without what would steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in line)


def shortened(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown(path: Path) -> Path:
    """A path from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def only(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """The experiments that one of the studies has alone; nothing for a study that has none."""
    sides = [("A", comparison.only_a), ("B", comparison.only_b)]
    return [(label, names) for label, names in sides if names]


# -- Numbers in words ----------------------------------------------------------------------


def points(difference: Difference | None) -> str:
    """A difference of accuracies in points of a percentage."""
    if difference is None:
        return "no paired seeds"
    mean = f"{100 * difference.mean:+.2f}"
    if difference.n < 2:
        return f"{mean} (n=1)"
    return f"{mean} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f}, n={difference.n})"


def ratio(of: Interval | None) -> str:
    if of is None:
        return "no paired seeds"
    return f"{of.mean:.2f} (n=1)" if of.n < 2 else f"{of.mean:.2f} ({of.low:.2f} to {of.high:.2f}, n={of.n})"


# -- The page ------------------------------------------------------------------------------


def render(comparison: Comparison) -> str:
    """The page as HTML."""
    environment = templates()
    environment.globals |= {"points": points, "ratio": ratio}
    charts = [(row, chart(comparison.a, comparison.b, row)) for row in comparison.rows]
    return environment.get_template("compare.html.j2").render(
        comparison=comparison,
        a=comparison.a,
        b=comparison.b,
        sides=[("A", comparison.a), ("B", comparison.b)],
        only=only(comparison),
        charts=[(row, drawn) for row, drawn in charts if drawn],
        size=(WIDTH, HEIGHT, LEFT, BOTTOM),
    )


def chart(a: Side, b: Side, row: Row) -> dict[str, Any] | None:
    """Validation accuracy (%) against the epoch, a line a seed: SVG points, and the axes' ends."""
    frames = {
        (label, seed): frame
        for label, side in (("A", a), ("B", b))
        for seed in side.runs[row.name]
        if (frame := side.history(row.name, seed)) is not None
        and {"epoch", "val_accuracy"} <= {*frame.columns}
        and len(frame)
    }
    if not frames:
        return None
    every = pd.concat(frames.values())
    low, high = 100 * every.val_accuracy.min(), 100 * every.val_accuracy.max()
    low, high = (low, high) if high > low else (low - 1, high + 1)
    last = int(every.epoch.max())

    def place(epoch: float, accuracy: float) -> str:
        x = LEFT + (WIDTH - LEFT - 8) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)
        y = 8 + (HEIGHT - BOTTOM - 8) * (high - 100 * accuracy) / (high - low)
        return f"{x:.1f},{y:.1f}"

    return {
        "low": low,
        "high": high,
        "last": last,
        "curves": [
            (label, [place(*pair) for pair in zip(frame.epoch, frame.val_accuracy, strict=True)])
            for (label, _), frame in frames.items()
        ],
    }


if __name__ == "__main__":
    run_program(main)
