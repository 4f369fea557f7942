"""The report and a notebook's page in a real browser without a network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import pytest
import synthetic
from playwright.sync_api import Browser, Page

from deepqct.folder import Run
from deepqct.report import notebook_page, write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    """A finished run with some figures and one notebook's page."""
    run = synthetic.finished_run(tmp_path_factory.mktemp("browser") / "run", figures=list(synthetic.gallery()))
    notebook = run.folder / "nb.ipynb"
    nbformat.write(synthetic.notebook(), notebook)
    notebook_page(notebook, run.page("01_data_curation"), virtual="literature")
    write_report(run)
    return run


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Open a file without a network; returns the page and a growing list of what it asked for or complained of."""
    contexts = []

    def go(path: Path, *, width: int = 1200, offline: bool = True, scripts: bool = True) -> tuple[Page, list[str]]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=offline, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        seen: list[str] = []
        page.on(
            "request", lambda r: None if r.url.startswith(("file:", "data:")) else seen.append(f"asked for {r.url}")
        )
        page.on("requestfailed", lambda r: seen.append(f"failed: {r.url[:200]}"))
        page.on("console", lambda m: seen.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: seen.append(f"page error: {error}"))
        page.goto(path.as_uri(), wait_until="load")
        return page, seen

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its address, and the growing list of what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def test_the_listener_hears(visit, tmp_path):
    """If a page that asks the network passes, the tests below guard nothing."""
    path = tmp_path / "loud.html"
    path.write_text(
        '<img src="http://127.0.0.1:9/a.png"><img src="missing.png"><script>nothing()</script>', encoding="utf-8"
    )
    page, seen = visit(path)
    page.wait_for_timeout(300)
    assert any(line.startswith("asked for http://127.0.0.1:9/a.png") for line in seen)
    assert any("missing.png" in line for line in seen)
    assert any(line.startswith("page error") for line in seen)


@pytest.mark.parametrize("width", [1200, 390])
def test_the_report_needs_no_network_and_fits(finished, visit, width):
    """Broken pictures, a page wider than a phone, a request to anywhere."""
    page, seen = visit(finished.report, width=width)
    pictures = len(synthetic.gallery()) + 1  # the figure of the first screen is drawn by the report
    assert page.evaluate("[...document.images].filter(i => i.naturalWidth).length") == pictures
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.locator("details").all():
        details.evaluate("d => d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_text("no patient is behind any number on this page").is_visible()
    assert seen == []


def test_from_the_report_to_a_notebook_and_back(finished, visit):
    """The links work in a folder that was copied anywhere, and the notebook's page stays silent too."""
    page, seen = visit(finished.report)
    page.get_by_role("heading", name="Run record").click()
    page.get_by_role("link", name="Notebook of 01_data_curation").click()
    page.wait_for_url("**/notebooks/01_data_curation.html")
    assert page.get_by_text("ValueError: No scan.").first.is_visible()
    assert page.get_by_alt_text("A bone.").evaluate("i => i.naturalWidth") == 1
    page.get_by_role("link", name="Report").click()
    page.wait_for_url("**/index.html")
    assert seen == []


def test_a_notebook_that_tries_reaches_nobody(visit, tmp_path, server):
    """Some library will one day print a script or a picture from its server; the page's own policy must hold online."""
    address, asked = server
    html = f'<img src="{address}/pixel.png"><script>fetch("{address}/spy")</script><b>shown</b>'
    loud = tmp_path / "loud.html"
    loud.write_text(html, encoding="utf-8")
    page, _ = visit(loud, offline=False)
    page.wait_for_timeout(300)
    assert sorted(asked) == ["/pixel.png", "/spy"]  # so the server hears
    asked.clear()
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    notebook = tmp_path / "nb.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])]), notebook)
    page, _ = visit(notebook_page(notebook, tmp_path / "notebooks" / "nb.html", virtual=None), offline=False)
    page.wait_for_timeout(300)
    assert page.get_by_text("shown").is_visible()
    assert asked == []


def test_a_figure_shows_at_its_size_on_paper(finished, visit):
    """At 150 dots an inch the letters of a figure would be half again as large as the text around it."""
    page, _ = visit(finished.report)
    page.get_by_role("heading", name="Women and scans").click()
    image = page.get_by_alt_text("Compartments of a radius. Look for gaps in the shell.")
    natural, shown = image.evaluate("i => [i.naturalWidth, i.clientWidth]")
    assert shown == pytest.approx(natural * 96 / 150, abs=1)
    source = image.get_attribute("src").partition(",")[2]
    assert base64.b64decode(source)[8:12] == b"WEBP"


def test_a_busy_reader_can_stop_at_the_first_screen(finished, visit):
    """Who must scroll for the answer, or for what it leaves open, reads one without the other."""
    page, _ = visit(finished.report, width=1280)
    summary = page.locator("#summary")
    box = summary.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 900
    words = " ".join(summary.inner_text().split())
    for said in (
        "60 virtual women, 20 with fracture", "Do the networks tell women with fracture from women without?",
        "out-of-fold AUC 0.83 (95 % 0.69–0.92; n 60, 20 events)", "What to look at", "What it cannot tell",
        "Anything about patients: these women are virtual.",
    ):  # fmt: skip
        assert said in words, said
    assert summary.locator("img").count() == 1
    assert page.locator("details.part").count() >= 7
    assert page.locator("details.part[open]").count() == 0
    assert page.evaluate("document.documentElement.scrollHeight") < 3000
    page.get_by_role("link", name="Scans to look at").click()
    assert page.get_by_text("sub-0002_wrist.AIM ends after 12 of 24 slices").is_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_everything_is_open_and_nothing_is_cut(finished, visit, scripts):
    """What is folded on a screen cannot be opened on paper; a table wider than the sheet loses its last columns."""
    page, _ = visit(finished.report, width=688, scripts=scripts)  # A4 within its margins, at 96 dots an inch
    page.emulate_media(media="print")
    for name in ("Scans to look at", "TRIPOD+AI", "Read with care"):
        assert page.get_by_role("heading", name=name).is_visible()
    assert page.get_by_text("open: to be written by the authors").first.is_visible()
    assert page.get_by_text("cd" * 32).is_visible() is False  # hashes are for machines
    size = page.get_by_alt_text("Compartments of a radius. Look for gaps in the shell.").bounding_box()
    assert size is not None
    assert 100 < size["height"] <= 492  # 130 mm
    right = [box["x"] + box["width"] for table in page.locator("table").all() if (box := table.bounding_box())]
    assert len(right) > 5
    assert max(right) <= 688
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_tables_sort_by_a_click_and_copy(finished, visit):
    """1, 10, 2 is no order, what is not estimable is neither lowest nor highest, and a copied table is pasted as cells."""
    page, seen = visit(finished.report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("heading", name="Models compared").click()
    page.get_by_text("Every model: the AUC of").click()
    table = page.locator("table", has_text="Of many models the best looks better")
    head = table.get_by_role("button", name="“all”, out-of-fold")

    def column(family: int) -> list[str]:
        return table.locator("tbody").nth(family).locator("tr td:nth-child(2)").all_inner_texts()

    before = column(2)
    head.click()
    up = column(2)
    head.press("Enter")
    assert up == sorted(before, key=lambda cell: float(cell.split()[0]))
    assert column(2) == up[::-1]
    assert table.locator("tbody").nth(2).locator("tr").first.inner_text().strip() == "DeepQCT"
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.locator("button.copy", has_text="copy").nth(2).click()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[-1] == "Virtual cohort: no patient is behind any number"
    assert ["DeepQCT", *before][0] in lines
    assert any(line.startswith("mean of all four bones\t0.83 (0.69–0.92)\t") for line in lines)
    assert seen == []


def test_without_a_script_there_is_no_dead_button(finished, visit):
    """A button that does nothing is worse than none."""
    page, _ = visit(finished.report, scripts=False)
    assert page.get_by_role("button").count() == 0
    page.get_by_role("heading", name="Models compared").click()
    page.get_by_text("Every model: the AUC of").click()
    assert page.get_by_text("Of many models the best looks better than it is.").is_visible()
