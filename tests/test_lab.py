"""Notebooks by hand in JupyterLab, in a real browser: widgets that answer, decisions that survive a dead kernel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from deepqct.reviews import read_reviews, standing
from deepqct.virtual import new_cohort

pytestmark = pytest.mark.browser

REVIEW = """
from pathlib import Path
from deepqct.cohort import load_cohort
from deepqct.folder import Run
from deepqct.widgets import ReviewPanel

ReviewPanel(load_cohort({cohort!r}), run=Run(Path({run!r})), reviewer="AB", size=160)
"""
GROUPS = """
import numpy as np
import pandas as pd
from deepqct import embedding
from deepqct.widgets import group_explorer

rng = np.random.default_rng(0)
names = [f"radius {symbol}" for symbol in ("Tt.vBMD", "Tb.N", "Ct.Th", "Tb.Th")]
people = [f"sub-{i:04d}" for i in range(40)]
table = pd.DataFrame(rng.standard_normal((40, 4)), columns=names, index=people)
table.iloc[:16] -= 3
group_explorer(table, picture=embedding.embed(table, seed=1), max_groups=3, seed=1, virtual=True)
"""

BONE = """
import numpy as np
from deepqct.widgets import bone_view

z, y, x = np.mgrid[:40, :60, :60]
far = np.hypot(y - 30, x - 30)
mask = np.select([far < 16, far < 22], [1, 2], 0).astype(np.uint8)
bone_view(np.select([mask == 1, mask == 2], [250, 1000], -100), mask, voxel_mm=(0.4, 0.4, 0.4), virtual=True)
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Three virtual women at coarse voxels."""
    return new_cohort(tmp_path_factory.mktemp("virtual"), n=3, voxel_mm=0.5, slices=4, seed=4)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """JupyterLab on this machine alone: its address, and the folder of its notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "settings"
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--IdentityProvider.token=", "--ServerApp.password=", f"--notebook-dir={folder}", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    own = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    log = (folder / "lab.log").open("w")
    running = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log)
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                urlopen(f"http://127.0.0.1:{port}/api", timeout=2).close()
                break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}", folder
    finally:
        running.terminate()
        running.wait(20)
        log.close()


@pytest.fixture
def run_all(lab, browser: Browser) -> Iterator[Callable[[str, str], tuple[Page, list[str]]]]:
    """Write a notebook of one cell, open it, run it; returns the page and what went wrong."""
    address, folder = lab
    contexts = []

    def go(name: str, code: str) -> tuple[Page, list[str]]:
        cell = nbformat.v4.new_code_cell(code.strip())
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), folder / f"{name}.ipynb")
        context = browser.new_context(viewport={"width": 1400, "height": 1400})
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("request", lambda r: None if address in r.url or r.url.startswith(("data:", "blob:")) else
                wrong.append(f"asked for {r.url}"))  # fmt: skip
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.goto(f"{address}/lab/tree/{name}.ipynb?reset", wait_until="domcontentloaded")
        page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for(timeout=60_000)
        expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle", timeout=60_000)
        prompt = page.locator(".jp-InputPrompt").first
        for _ in range(6):  # a kernel that is still starting swallows the first call
            page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
            page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
            page.wait_for_timeout(3000)
            if prompt.inner_text().strip() != "[ ]:":
                break
        return page, wrong

    yield go
    for context in contexts:
        context.close()


def prompt_done(page: Page) -> None:
    """Wait until the only cell is not at [*] any more."""
    expect(page.locator(".jp-InputPrompt").first).to_have_text("[1]:", timeout=90_000)


def test_a_click_and_a_key_are_on_disk_and_a_dead_kernel_costs_nothing(lab, run_all, cohort, tmp_path):
    """A reader's hour of work must survive whatever happens to browser and kernel."""
    address, _ = lab
    (cohort / "review.csv").unlink(missing_ok=True)
    code = REVIEW.format(cohort=str(cohort), run=str(tmp_path))
    page, wrong = run_all("review", code)
    prompt_done(page)
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.get_by_text("1 of 6 judged")).to_be_visible(timeout=20_000)
    page.get_by_placeholder("a r 1–5 u s").click()
    page.keyboard.press("5")
    expect(page.locator(".widget-toggle-button.mod-active")).to_have_text("5", timeout=20_000)
    page.keyboard.press("r")
    expect(page.get_by_text("2 of 6 judged")).to_be_visible(timeout=20_000)
    page.screenshot(path=tmp_path / "review.png")
    found = standing(read_reviews(cohort))
    assert found["decision"].tolist() == ["accept", "reject"]
    assert found["motion_grade"].fillna(0).tolist() == [0, 5]
    kernels = json.load(urlopen(f"{address}/api/kernels", timeout=5))
    for kernel in kernels:
        page.request.delete(f"{address}/api/kernels/{kernel['id']}")
    page.close()
    again, _ = run_all("review_again", code)
    prompt_done(again)
    expect(again.get_by_text("2 of 6 judged")).to_be_visible(timeout=20_000)
    assert wrong == []


def test_the_groups_follow_the_hand(run_all, tmp_path):
    """Choosing a number must change the picture that is seen, not only a value in Python."""
    page, wrong = run_all("groups", GROUPS)
    prompt_done(page)
    expect(page.get_by_text("There are 2 groups")).to_be_visible(timeout=30_000)
    picture = page.locator(".widget-image").first
    before = picture.get_attribute("src")
    page.locator(".widget-dropdown select").first.select_option("3")
    expect(page.get_by_text("There are 3 groups")).to_be_visible(timeout=60_000)
    assert picture.get_attribute("src") != before
    page.screenshot(path=tmp_path / "groups.png")
    assert wrong == []


def test_a_bone_is_turned_by_mouse_and_its_compartments_hidden(run_all, tmp_path):
    """The viewer without internet: a canvas that stays blank would pass a test of Python alone."""
    page, wrong = run_all("bone", BONE)
    prompt_done(page)
    page.on("response", lambda answer: None if answer.status < 400 else wrong.append(f"{answer.status} {answer.url}"))
    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.wait_for(timeout=60_000)
    box = canvas.bounding_box()
    middle = {"x": box["x"] + box["width"] / 4, "y": box["y"] + box["height"] / 4,
              "width": box["width"] / 2, "height": box["height"] / 2}  # fmt: skip

    def seen() -> np.ndarray:
        page.wait_for_timeout(2500)
        return np.asarray(Image.open(BytesIO(page.screenshot(clip=middle))).convert("RGB"), int)

    def turn() -> None:
        x, y = (middle[a] + middle[b] / 2 for a, b in (("x", "width"), ("y", "height")))
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(1, 30):
            page.mouse.move(x + 4 * step, y + 2 * step)
        page.mouse.up()

    first = seen()
    assert first.std() > 10
    turn()
    turned = seen()
    assert np.abs(turned - first).mean() > 2
    page.screenshot(path=tmp_path / "bone.png")
    colourful = np.ptp(turned, axis=2).mean()
    page.get_by_label("Compartments").click()
    assert np.ptp(seen(), axis=2).mean() < colourful / 2
    expect(page.locator(".widget-image")).to_be_visible()
    page.evaluate("() => { window.drawn = 0; const f = () => { window.drawn++; requestAnimationFrame(f) }; f() }")
    start, before = time.perf_counter(), page.evaluate("window.drawn")
    turn()
    page.wait_for_timeout(500)
    print(f"{(page.evaluate('window.drawn') - before) / (time.perf_counter() - start):.0f} frames a second")  # noqa: T201
    assert wrong == []
