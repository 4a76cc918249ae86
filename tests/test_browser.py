"""The reports in a real browser: no errors, no requests, every link leads somewhere, tables sort."""

import csv
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from project import Project, under_ci

pytestmark = pytest.mark.slow

OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if under_ci():
            pytest.fail("CI must install chromium")
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own for each test: the window's size and colours are as they were."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def opened(page: Page, path: Path) -> tuple[list[str], list[str]]:
    """Open a file; the errors that its console shows, and what it asks of the network."""
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    return errors, [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]


def test_the_report_opens_without_errors_or_requests(smoke: Project, page: Page):
    assert opened(page, smoke.results / "report.html") == ([], [])
    assert page.locator("main h2").count() >= 5


def test_every_link_of_the_report_leads_to_a_place_in_it(smoke: Project, page: Page):
    opened(page, smoke.results / "report.html")
    links = page.eval_on_selector_all("a", "links => links.map(link => link.getAttribute('href'))")
    assert len(links) > 15
    for link in links:
        assert link.startswith("#"), link
        assert page.locator(f"[id='{link[1:]}']").count() == 1, link


def test_every_picture_is_there_and_described(smoke: Project, page: Page):
    opened(page, smoke.results / "report.html")
    pictures = page.eval_on_selector_all("img", "all => all.map(i => [i.alt, i.naturalWidth])")
    assert len(pictures) >= 12
    for alt, width in pictures:
        assert len(alt) > 10
        assert width > 100, alt


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_never_wider_than_the_window(smoke: Project, page: Page, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, smoke.results / "report.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(smoke: Project, page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)
    opened(page, smoke.results / "report.html")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_tables_sort_filter_and_download(smoke: Project, page: Page):
    opened(page, smoke.results / "report.html")
    page.wait_for_selector("html[data-ready]")
    runs = page.get_by_role("region", name="All runs")
    train = [text.strip() for text in runs.locator("th").all_inner_texts()].index("Train, s") + 1
    head = runs.locator(f"th:nth-child({train})")
    head.click()
    expect(head).to_have_attribute("aria-sort", "ascending")  # DataTables sorts in a task of its own
    seconds = [float(text) for text in runs.locator(f"tbody td:nth-child({train})").all_inner_texts()]
    assert len(seconds) == 25 and seconds == sorted(seconds)

    pages = runs.get_by_role("navigation")  # one row of buttons, not styled as the page's own contents
    assert pages.bounding_box()["height"] < 60
    expect(pages.locator(".dt-paging-button.current")).to_have_text("1")

    runs.get_by_label("Filter").fill("cifar10-shallow")
    expect(runs.locator("tbody tr")).to_have_count(1)
    assert "cifar10-shallow" in runs.locator("tbody tr").inner_text()

    with page.expect_download() as download:
        runs.get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    header, *rows = csv.reader(text.splitlines())
    assert header[:2] == ["Experiment", "Seed"]
    assert [row[0] for row in rows if row] == ["cifar10-shallow"]


def test_the_legend_hides_and_shows_a_method(smoke: Project, page: Page):
    opened(page, smoke.results / "report.html")
    hidden = """count => Bokeh.documents.flatMap(chart => [...chart.all_models])
        .filter(model => model.type === "GlyphRenderer" && !model.visible).length === count"""
    entry = page.locator(".live figure").first.get_by_text("Exponential decay", exact=True)
    page.wait_for_function(hidden, arg=0)
    entry.click()
    page.wait_for_function(hidden, arg=3)  # its line, points and band
    entry.click()
    page.wait_for_function(hidden, arg=0)


def test_print_shows_still_pictures_and_every_row(smoke: Project, page: Page):
    opened(page, smoke.results / "report.html")
    page.wait_for_selector("html[data-ready]")
    live, still = page.locator(".live"), page.locator(".still")
    assert live.first.is_visible() and not still.first.is_visible()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(picture.is_visible() for picture in still.all()) and not live.first.is_visible()
    rows = page.get_by_role("region", name="All runs").locator("tbody tr").count()
    assert rows == len(list(smoke.results.glob("runs/*/seed-*/record.json")))
    page.emulate_media(media="screen")


def test_the_report_of_a_thousand_runs_stays_small_and_usable(editable: Project, page: Page):
    study = editable.results
    records = sorted(study.glob("runs/*/seed-*/record.json"))
    first = study / "runs/cifar10-shallow/seed-0"
    for seed in range(1, 1001 - len(records)):
        folder = first.with_name(f"seed-{seed}")
        shutil.copytree(first, folder)
        record = json.loads((folder / "record.json").read_text()) | {"seed": seed}
        (folder / "record.json").write_text(json.dumps(record))
    records = sorted(study.glob("runs/*/seed-*/record.json"))
    shown = [path for folder in ("figures", "tables") for path in sorted((study / folder).iterdir())]
    out = study / "thousand.html"
    seeds = {}
    for record in records:
        seeds.setdefault(record.parent.parent.name, []).append(int(record.parent.name.removeprefix("seed-")))
    options = ["--preset", "smoke", "--study", study, "--seeds", json.dumps(seeds)]
    options += ["--shown", *shown, "--out", out]
    subprocess.run([sys.executable, editable.folder / "scripts/make_report.py", *options], check=True)
    assert out.stat().st_size < 8e6
    assert opened(page, out) == ([], [])
    runs = page.get_by_role("region", name="All runs")
    runs.locator(".dt-paging").get_by_text("»", exact=True).click()  # the last of 40 pages
    expect(runs.locator(".dt-paging")).to_contain_text("40")
    expect(runs.locator("tbody tr")).to_have_count(25)
    expect(runs.locator("tbody tr").last).to_contain_text(records[-1].parent.parent.name)
    runs.get_by_label("Filter").fill("mnist-dense")
    expect(runs.locator("tbody tr", has_text="cifar10-shallow")).to_have_count(0)
    assert "mnist-dense" in runs.locator("tbody tr").first.inner_text()


def test_the_comparison_of_two_studies_opens_and_axe_finds_no_barrier(
    smoke: Project, editable: Project, page: Page
):
    out, program = editable.folder / "compare.html", smoke.folder / "scripts/compare_studies.py"
    command = [sys.executable, program, smoke.results, editable.results, "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    assert opened(page, out) == ([], [])
    assert page.locator("#accuracy tbody tr").count() >= 20
    assert Axe().run(page).response["violations"] == []


def test_snakemakes_own_report_shows_the_same_outputs(smoke: Project, page: Page):
    smoke.snakemake("--report", "report.html")
    errors, requests = opened(page, smoke.folder / "report.html")
    assert requests == []
    assert errors == []
    for category in ("Task 1: MNIST", "Task 2: CIFAR-10", "Task 3: a newer network"):
        assert page.get_by_text(category, exact=False).count() >= 1, category
    page.get_by_text("Task 3: a newer network", exact=False).first.click()
    page.locator("tr", has_text="equal").locator("a[iconname=information-circle]").click()
    caption = page.get_by_text("Ordered by mean accuracy")
    assert re.search(r"at equal parameters: \w+", caption.inner_text())


def test_snakemakes_report_as_an_archive(smoke: Project):
    smoke.snakemake("--report", "report.zip")
    with zipfile.ZipFile(smoke.folder / "report.zip") as archive:
        names = archive.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert sum(name.endswith(".svg") for name in names) >= 9
