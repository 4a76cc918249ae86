"""Take the README's pictures from a finished study: `make pictures STUDY=results/cpu`."""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parent
PICTURES = {"report": "header", "contest": ".live", "league": "[id='t3.equal']", "time": "#time"}
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
        for name, place in PICTURES.items():
            take(page, name, place)
        browser.close()


def take(page: Page, name: str, place: str) -> None:
    page.locator(place).first.evaluate("element => element.scrollIntoView()")
    page.wait_for_timeout(500)
    page.screenshot(path=FOLDER / f"{name}.png")
    print(f"docs/{name}.png")


if __name__ == "__main__":
    main()
