"""Take the README's pictures, and the answers in words, from a finished study: `make pictures`."""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parent
PICTURES = {
    "histories": "figure.live >> nth=0",
    "features": "img[alt^='Test digits']",
    "contest": ".live[role=group] figure >> nth=1",  # B itself, between a third and three times of it
    "time": "#time figure.live",
}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="its results folder")
    report = parser.parse_args().study.resolve() / "report.html"
    if not report.exists():
        sys.exit(f"error: {report}: no such file; run the study first")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: no Chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1180, "height": 760}, reduced_motion="reduce")
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.wait_for_function("Bokeh.documents.length > 0")
        page.screenshot(path=FOLDER / "report.png")
        for name, place in PICTURES.items():
            page.locator(place).scroll_into_view_if_needed()
            page.wait_for_timeout(500)
            page.locator(place).screenshot(path=FOLDER / f"{name}.png")
            print(f"docs/{name}.png")
        (FOLDER / "answers.md").write_text(answers(page))
        print("docs/answers.md")
        browser.close()


def answers(page: Page) -> str:
    """The findings and what is said of each point as Markdown, word by word."""
    parts = page.evaluate(
        """() => [...document.querySelectorAll(
            `header p, #findings li, main h2, main h3, main h4, .answer p, .answer li,
            section[id^=task] > p:not(.question), section[id^=task] > ul > li`)].map(node => {
          const point = node.querySelector(':scope > .point');
          const kept = part => part !== point && (!point || part.nodeName === '#text');
          const words = [...node.childNodes].filter(kept);
          const text = words.map(part => part.textContent).join("");
          return [node.tagName, point ? point.textContent : "", text];
        })"""
    )
    marks = {"H2": "## ", "H3": "### ", "H4": "#### ", "LI": "- "}
    lines = [
        "# What the report says",
        "The answers of the study whose pictures are here, in the report's words, without its tables and "
        "figures (`make pictures`).",
    ]
    said: list[tuple[str, str, str]] = []
    for tag, point, text in reversed(parts):
        below = said[-1][0] if said else "H1"
        if not (tag.startswith("H") and below.startswith("H") and below <= tag):  # else nothing is below it
            said.append((tag, point, text))
    for tag, point, text in reversed(said):
        words = " ".join(f"{point} {text}".split()).replace("*", r"\*")
        words = words.rstrip(" ,")  # commas between a finding's links
        lines.append(f"{marks.get(tag, '')}{words}")
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
