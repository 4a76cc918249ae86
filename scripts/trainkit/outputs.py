"""Tables and figures as files, each with its caption for `snakemake --report` beside it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from trainkit.files import atomic, write_text

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).resolve().parents[2] / "report"


def write_table(name: str, frame: pd.DataFrame, folder: Path, *caption: str) -> None:
    """A table as CSV, and as an HTML page, for Snakemake's report has no viewer for CSV."""
    write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    write_text(folder / f"{name}.html", _page(name, frame))
    write_caption(folder / f"{name}.rst", *caption)


def _page(name: str, frame: pd.DataFrame) -> str:
    table = frame.to_html(index=False, float_format="%.4g", na_rep="", border=0)
    style = (
        "body{font-family:system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}"
        "th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #ccc;white-space:nowrap}"
    )
    return f"<!doctype html><meta charset='utf-8'><title>{name}</title><style>{style}</style>{table}\n"


def write_figure(figure: "Figure", path: Path, *caption: str) -> None:
    """A figure; as SVG without the date, so that the same figure gives the same bytes."""
    import matplotlib.pyplot as plt  # who has drawn the figure has imported it

    kind = path.suffix.removeprefix(".")
    with atomic(path) as temporary:
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)
    if caption:
        write_caption(path.with_suffix(".rst"), *caption)


def templates() -> "jinja2.Environment":
    """The pages' templates, in which a name that is not known is an error."""
    import jinja2  # tables and figures take none

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_caption(path: Path, *sentences: str) -> None:
    """A caption as reStructuredText that Snakemake takes for a Jinja template, so both are escaped."""
    text = re.sub(r"([*`_|\\])", r"\\\1", " ".join(filter(None, sentences)))
    write_text(path, re.sub(r"[{}]", lambda brace: f"{{{{ '{brace[0]}' }}}}", text) + "\n")
