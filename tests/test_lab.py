"""Notebooks by hand in JupyterLab, and pages by Voila, in a real browser: widgets that answer, decisions that survive."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
import synthetic
from conftest import FLAGS
from matplotlib.colors import rgb_to_hsv, to_rgb
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from deepqct.cohort import load_cohort, read_reviews
from deepqct.cohort.reviews import standing
from deepqct.curation import curate
from deepqct.folder import PACKAGE, Run, read_json, read_table, write_json, write_text
from deepqct.run.parameters import notebook_source
from deepqct.virtual import new_cohort
from deepqct.widgets import Explorer

pytestmark = pytest.mark.browser

REVIEW = """
from pathlib import Path
from deepqct.cohort import load_cohort
from deepqct.folder import Run
from deepqct.widgets import ReviewPanel

ReviewPanel(load_cohort({cohort!r}), run=Run(Path({run!r})), reviewer="AB", height="260px")
"""
GROUPS = """
import numpy as np
import pandas as pd
from deepqct.groups import embed
from deepqct.widgets import group_explorer

rng = np.random.default_rng(0)
names = [f"radius {symbol}" for symbol in ("Tt.vBMD", "Tb.N", "Ct.Th", "Tb.Th")]
people = [f"sub-{i:04d}" for i in range(40)]
table = pd.DataFrame(rng.standard_normal((40, 4)), columns=names, index=people)
table.iloc[:16] -= 3
group_explorer(table, picture=embed(table, seed=1), max_groups=3, seed=1, virtual=True)
"""

BONE = """
import numpy as np
from deepqct.widgets import bone_view

z, y, x = np.mgrid[:40, :60, :60]
far = np.hypot(y - 30, x - 30)
mask = np.select([far < 16, far < 22], [1, 2], 0).astype(np.uint8)
bone_view(np.select([mask == 1, mask == 2], [250, 1000], -100), mask, voxel_mm=(0.4, 0.4, 0.4), virtual=True)
"""

LOADED = """
from deepqct.bones import find_bones, strain_energy
from deepqct.virtual import draw_scan, draw_women
from deepqct.widgets import bone_view

woman = next(draw_women(1, seed=3).iterrows())[1]
bone = find_bones(draw_scan(woman, site="wrist", side="left", voxel_mm=0.24, slices=20, seed=3))["radius"]
bone_view(bone.density, bone.total.astype("uint8"), voxel_mm=bone.voxel_mm, energy=strain_energy(bone), virtual=True)
"""


SLICES = """
import numpy as np
from deepqct.scans import Scan
from deepqct.widgets import SliceViewer

native = np.zeros((20, 60, 80), np.int16)
native[:, 10:30, 20:40] = 1000
display(SliceViewer(Scan(native=native, slope=1.0, intercept=0.0, voxel_mm=(0.5, 0.25, 0.25)), size=240))
"""

EXPLORER = """
from pathlib import Path
from deepqct.folder import Run
from deepqct.widgets import Explorer

explorer = Explorer(Run(Path({run!r})), size=160)
display(explorer)
print("place", *(explorer.pictures.points[1][2].round().astype(int)), *explorer.pictures.points[0].min(axis=0).astype(int),
      *explorer.pictures.points[0].max(axis=0).astype(int))
"""

CURATION = """participant_id,site,status,reason,flags,notes,motion_score
sub-0001,wrist,curated,,,,10
sub-0001,ankle,curated,,tibia: cut by the field of view,,12
"""
BY_HAND = ("00_virtual_cohort", "01_data_curation", "02_train_bone_radius", "03_fusion_and_baselines", "04_clustering",
           "05_explore", "06_new_patients", "07_external_validation", "08_study_planner", "review")  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Three virtual women at coarse voxels."""
    return new_cohort(tmp_path_factory.mktemp("virtual"), n=3, voxel_mm=0.5, slices=4, seed=4)


@pytest.fixture(scope="module")
def extension(tmp_path_factory) -> Path:
    """A Jupyter folder with the extension of this checkout, which may be newer than the installed one."""
    folder = tmp_path_factory.mktemp("jupyter")
    shutil.copytree(PACKAGE / "widgets" / "labextension", folder / "labextensions" / "deepqct-itkwidgets")
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory, extension) -> Iterator[tuple[str, Path]]:
    """JupyterLab on this machine alone: its address, and the folder of its notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "settings"
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--IdentityProvider.token=", "--ServerApp.password=", f"--notebook-dir={folder}",
    ]  # fmt: skip
    own = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_CONFIG_PATH": str(PACKAGE / "widgets" / "config"),  # as make lab does
        "JUPYTER_PATH": str(extension),
    }
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


def open_and_run(
    lab, browser: Browser, name: str, content: str | NotebookNode, *, width: int = 1400
) -> tuple[Page, list[str]]:
    """Write a notebook, perhaps of one cell of code, open it, run it; returns the page and what went wrong."""
    address, folder = lab
    if isinstance(content, str):
        content = notebook_of(content)
    nbformat.write(content, folder / f"{name}.ipynb")
    page, wrong = browser.new_context(viewport={"width": width, "height": 1400}).new_page(), []
    page.on("request", lambda r: None if address in r.url or r.url.startswith(("data:", "blob:")) else
            wrong.append(f"asked for {r.url}"))  # fmt: skip
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("response", lambda r: None if r.status < 400 else wrong.append(f"{r.status} {r.url}"))
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset", wait_until="domcontentloaded")
    page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for(timeout=60_000)
    expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle", timeout=60_000)
    expect(page.locator(".jp-Toolbar-kernelName")).to_contain_text("Python 3", timeout=60_000)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    for _ in range(20):  # a kernel that is still starting swallows the first call
        press_run_all(page)
        for _ in range(15):
            page.wait_for_timeout(200)
            if prompt.inner_text().strip() != "[ ]:":
                return page, wrong
    return page, wrong


def notebook_of(*cells: str) -> NotebookNode:
    """A notebook of some cells of code."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip()) for code in cells], metadata=kernel)


@pytest.fixture
def run_all(lab, browser: Browser) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Open and run a notebook of this test's own."""
    pages = []

    def go(name: str, content: str | NotebookNode, *, by: Browser = browser, **how: int) -> tuple[Page, list[str]]:
        page, wrong = open_and_run(lab, by, name, content, **how)
        pages.append(page)
        return page, wrong

    yield go
    for page in pages:
        page.context.close()


@dataclass
class Desk:
    """One notebook in which several widgets wait, each in a cell of its own: JupyterLab opens only once for them."""

    page: Page
    wrong: list[str]
    names: tuple[str, ...]

    def cell(self, name: str) -> Locator:
        """The cell of a widget, scrolled to, when all cells have run: before that the kernel answers nobody."""
        last = self.page.locator(".jp-CodeCell .jp-InputPrompt").nth(len(self.names) - 1)
        expect(last).to_have_text(f"[{len(self.names)}]:", timeout=180_000)
        cell = self.page.locator(".jp-CodeCell").nth(self.names.index(name))
        cell.scroll_into_view_if_needed()
        return cell


@pytest.fixture(scope="module")
def desk(lab, browser: Browser, cohort, tmp_path_factory) -> Iterator[Desk]:
    """The widgets that need no notebook of their own."""
    folder = tmp_path_factory.mktemp("desk")
    (cohort / "review.csv").unlink(missing_ok=True)
    run = synthetic.explored_run(folder / "run")
    cells = {
        "slices": SLICES,
        "review": REVIEW.format(cohort=str(cohort), run=str(folder)),
        "explorer": EXPLORER.format(run=str(run.folder)),
        "groups": GROUPS,
    }
    page, wrong = open_and_run(lab, browser, "desk", notebook_of(*cells.values()))
    yield Desk(page, wrong, tuple(cells))
    page.context.close()


def press_run_all(page: Page) -> None:
    """Choose Run All Cells in the menu, which closes by itself when JupyterLab gets the focus meanwhile."""
    for _ in range(10):
        try:
            page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click(timeout=5000)
            page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click(timeout=5000)
            return
        except PlaywrightTimeout:
            page.keyboard.press("Escape")


def prompt_done(page: Page) -> None:
    """Wait until the only cell is not at [*] any more."""
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").first).to_have_text("[1]:", timeout=180_000)


def test_the_groups_follow_the_hand(desk, tmp_path):
    """Choosing a number must change the picture that is seen, not only a value in Python."""
    cell = desk.cell("groups")
    expect(cell.get_by_text("There are 2 groups")).to_be_visible(timeout=30_000)
    picture = cell.locator(".dq-figure").first
    before = picture.get_attribute("src")
    cell.locator(".widget-dropdown select").first.select_option("3")
    expect(cell.get_by_text("There are 3 groups")).to_be_visible(timeout=60_000)
    assert picture.get_attribute("src") != before
    assert picture.get_attribute("alt")
    assert not desk.page.get_by_text("official Jupyter news").count(), "nobody is asked about news"
    desk.page.screenshot(path=tmp_path / "groups.png")
    assert desk.wrong == []


def test_slices_follow_the_mouse(desk, tmp_path):
    """Click, wheel and pointer reach the kernel, and the page does not scroll away under the wheel."""
    cell, page = desk.cell("slices"), desk.page
    axial = cell.locator(".dq-picture").first
    box = axial.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    expect(cell.get_by_text(re.compile(r"Mouse: z 10, y 1, x 1: 0 mgHA"))).to_be_visible(timeout=20_000)
    page.mouse.click(box["x"] + 91, box["y"] + 61)
    expect(cell.get_by_text(re.compile(r"^z 10, y 20, x 30: 1000 mgHA"))).to_be_visible(timeout=20_000)
    page.keyboard.down("Shift")
    page.mouse.wheel(0, 120)
    page.keyboard.up("Shift")
    expect(cell.get_by_text(re.compile(r"^z 11, y 20, x 30"))).to_be_visible(timeout=20_000)
    before = Image.open(BytesIO(axial.screenshot())).convert("L")
    page.mouse.wheel(0, -120)
    page.mouse.wheel(0, -120)
    cell.get_by_role("button", name="Ruler").click()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 20, steps=3)
    page.mouse.up()
    scale = float(axial.locator("..").get_attribute("data-scale"))
    assert scale == 5, "two steps of the wheel from 3 screen pixels a voxel"
    expect(cell.get_by_text(f"Ruler, axial: {120 / scale * 0.25:.2f} mm")).to_be_visible(timeout=20_000)
    zoomed = Image.open(BytesIO(axial.screenshot())).convert("L")
    assert np.abs(np.asarray(before, int) - np.asarray(zoomed, int)).mean() > 5
    assert axial.bounding_box() == box
    assert "Axial slice 12 of 20" in axial.get_attribute("aria-label")
    page.screenshot(path=tmp_path / "slices.png")
    assert desk.wrong == []


def test_a_click_and_a_key_are_on_disk(desk, cohort, tmp_path):
    """A reader's hour of work must survive whatever happens to browser and kernel, and a held key costs no scan."""
    cell, page = desk.cell("review"), desk.page
    cell.get_by_role("radio", name="2").or_(cell.get_by_role("button", name="2", exact=True)).first.click()
    cell.get_by_role("button", name="Accept (a)").click()
    expect(cell.get_by_text("1 of 6 judged")).to_be_visible(timeout=20_000)
    page.wait_for_timeout(1000)  # until the next scan is drawn: a key before it counts for nothing
    cell.locator(".dq-picture").first.click()
    page.keyboard.press("5")
    expect(cell.get_by_text("1 none to 5 severe): 5")).to_be_visible(timeout=20_000)
    for _ in range(6):  # held down: the second and later ones are repeats
        page.keyboard.down("r")
    page.keyboard.up("r")
    expect(cell.get_by_text("2 of 6 judged")).to_be_visible(timeout=20_000)
    page.wait_for_timeout(1000)
    page.keyboard.press("a")
    expect(cell.get_by_text("No motion grade")).to_be_visible(timeout=20_000)
    page.screenshot(path=tmp_path / "review.png")
    assert page.locator(".jp-CodeCell").count() == len(desk.names), "a is no key of JupyterLab here"
    found = standing(read_reviews(cohort))
    assert found["decision"].tolist() == ["accept", "reject"]
    assert found["motion_grade"].tolist() == [2, 5]
    assert desk.wrong == []


def test_the_explorer_follows_the_hand(desk, tmp_path):
    """In a browser a click, a box and a slider must arrive, and their answers be seen."""
    cell = desk.cell("explorer")
    said = cell.get_by_text(re.compile(r"^place ")).first.inner_text()
    follows_the_hand(desk.page, [int(number) for number in said.split()[1:]], tmp_path / "explorer.png")
    assert desk.wrong == []


def test_a_dead_kernel_costs_nothing(lab, desk, run_all, cohort, tmp_path):
    """A reader's hour of work is in the file: the next panel goes on."""
    address, _ = lab
    judged = len(standing(read_reviews(cohort)))
    for kernel in json.load(urlopen(f"{address}/api/kernels", timeout=5)):  # the last test at the desk
        desk.page.request.delete(f"{address}/api/kernels/{kernel['id']}")
    again, wrong = run_all("review_again", REVIEW.format(cohort=str(cohort), run=str(tmp_path)))
    prompt_done(again)
    expect(again.get_by_text(f"{judged} of 6 judged")).to_be_visible(timeout=20_000)
    assert wrong == []


def test_a_bone_is_turned_and_zoomed_by_mouse_and_its_compartments_coloured(run_all, tmp_path):
    """The viewer without internet: a canvas that stays blank would pass a test of Python alone."""
    page, wrong = run_all("bone", BONE, width=900)  # fewer pixels are drawn sooner without a graphics card
    prompt_done(page)
    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.wait_for(timeout=150_000)
    box = canvas.bounding_box()
    middle = {"x": box["x"] + box["width"] / 4, "y": box["y"] + box["height"] / 4,
              "width": box["width"] / 2, "height": box["height"] / 2}  # fmt: skip

    def seen() -> np.ndarray:
        return np.asarray(Image.open(BytesIO(page.screenshot(clip=middle))).convert("RGB"), int)

    def until(changed: Callable[[np.ndarray], bool]) -> np.ndarray:
        """The picture as soon as it is as it should be; drawn without a graphics card it takes its time."""
        for _ in range(60):
            page.wait_for_timeout(250)
            if changed(now := seen()):
                return now
        return now

    first = until(lambda now: now.std() > 10)
    assert first.std() > 10
    grey = np.ptp(first, axis=2).mean()
    x, y = (middle[a] + middle[b] / 2 for a, b in (("x", "width"), ("y", "height")))

    def turn() -> np.ndarray:
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(1, 5):  # each waits until the bone is drawn
            page.mouse.move(x + 20 * step, y + 10 * step)
        page.mouse.up()
        return until(lambda now: np.abs(now - first).mean() > 2)

    turned = turn()
    if np.abs(turned - first).mean() <= 2:  # the viewer hears nothing until it has made ready, which it does not tell
        turned = turn()
    assert np.abs(turned - first).mean() > 2
    page.mouse.wheel(0, -120)  # one click of it
    larger = until(lambda now: np.abs(now - turned).mean() > 2)
    assert np.abs(larger - turned).mean() > 2
    page.screenshot(path=tmp_path / "bone.png")
    expect(page.locator(".dq-key")).to_be_hidden()
    picture = page.locator(".dq-figure").get_attribute("src")
    page.get_by_label("Compartments").click()
    coloured = until(lambda now: np.ptp(now, axis=2).mean() > 2 * grey + 5)
    assert np.ptp(coloured, axis=2).mean() > 2 * grey + 5
    page.screenshot(path=tmp_path / "compartments.png")
    assert key_of(page) == {"trabecular": "#009e73", "cortical": "#e69f00"}
    found = hues(coloured)
    assert all(near(found, colour).sum() > 50 for colour in key_of(page).values())
    assert ((found > 25) & (found < 180)).mean() > 0.98, "from orange to green, and none of red, blue or purple"
    expect(page.locator(".dq-figure")).to_be_visible()
    assert page.locator(".dq-figure").get_attribute("src") != picture
    assert wrong == []


@pytest.mark.long
def test_the_strain_energy_of_a_bone_is_coloured(run_all, tmp_path):
    """Four classes, in the colours of the key; the highest 2 % must be there to be seen."""
    page, wrong = run_all("loaded", LOADED, width=900)
    prompt_done(page)
    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.wait_for(timeout=150_000)

    def seen() -> np.ndarray:
        picture = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("RGB"), int)
        return picture[len(picture) // 7 : -len(picture) // 5]  # without the viewer's own marks, which are coloured

    page.wait_for_timeout(5000)
    grey = np.ptp(seen(), axis=2).mean()
    page.get_by_label("Strain energy").click()
    key = key_of(page)
    for _ in range(60):
        page.wait_for_timeout(500)
        coloured = seen()
        if all(near(hues(coloured), colour).sum() > 20 for colour in key.values()):
            break
    page.screenshot(path=tmp_path / "loaded.png")
    assert np.ptp(coloured, axis=2).mean() > 2 * grey + 5
    assert list(key.values()) == ["#f4ed27", "#f2844b", "#ab2494", "#2a0593"]
    assert all(re.fullmatch(r"(up to )?[\d.]+( to [\d.]+)? MPa", words) for words in key)
    found = hues(coloured)
    assert all(near(found, colour).sum() > 20 for colour in key.values())
    assert ((found > 80) & (found < 220)).mean() < 0.02, "from blue over red to yellow, and no green"
    assert wrong == []


def key_of(page: Page) -> dict[str, str]:
    """The words of the key and the colour that the browser shows beside them."""
    expect(page.locator(".dq-key")).to_be_visible(
        timeout=60_000
    )  # drawing a bone without a graphics card takes its time
    shown = {}
    for row in page.locator(".dq-key tr").all():
        colour = row.locator("span").evaluate("part => getComputedStyle(part).backgroundColor")
        red, green, blue = (int(number) for number in re.findall(r"\d+", colour))
        shown[row.locator("td").nth(1).inner_text()] = f"#{red:02x}{green:02x}{blue:02x}"
    return shown


def hues(picture: np.ndarray) -> np.ndarray:
    """The hues in degrees of all pixels that have one; mixed with any grey a colour keeps its own."""
    pixels = picture.reshape(-1, 3)
    return 360 * rgb_to_hsv(pixels[np.ptp(pixels, axis=1) > 40] / 255)[:, 0]


def near(found: np.ndarray, colour: str) -> np.ndarray:
    """Which of some hues are within 12 degrees of a colour's."""
    return np.abs((found - 360 * rgb_to_hsv(to_rgb(colour))[0] + 180) % 360 - 180) < 12


def test_without_webgl_the_picture_stays_and_says_why(run_all, browser, chromium, tmp_path):
    """A hospital's remote desktop often has no WebGL; an empty box would look like a fault of the scan."""
    flags = [flag for flag in FLAGS if "webgl" not in flag and "swiftshader" not in flag]
    without = browser.browser_type.launch(executable_path=chromium, args=[*flags, "--disable-3d-apis"])
    try:
        page, wrong = run_all("bone_flat", BONE, by=without)
        prompt_done(page)
        expect(page.get_by_text("This browser has no WebGL")).to_be_visible(timeout=60_000)
        expect(page.locator(".dq-figure")).to_be_visible()
        picture = page.locator(".dq-figure").get_attribute("src")
        page.get_by_label("Compartments").click()
        expect(page.locator(".dq-figure")).not_to_have_attribute("src", picture, timeout=20_000)
        assert len(key_of(page)) == 2, "the picture has the key's colours too"
        page.screenshot(path=tmp_path / "flat.png")
    finally:
        without.close()
    assert wrong == []


@pytest.fixture(scope="module")
def by_hand(smoke_run: Path, tmp_path_factory) -> Run:
    """A copy of the smoke run, which people may change."""
    return Run(Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("by-hand") / "run")))


@pytest.mark.chain
@pytest.mark.parametrize("job", BY_HAND)
def test_every_notebook_runs_by_hand(lab, run_all, by_hand, job):
    """Run All in JupyterLab with all widgets: no error, no failed request, nothing left at [*]."""
    _, folder = lab
    stage = re.sub("_radius$", "", job)
    given = read_json(by_hand.parameters(job))["parameters"] if by_hand.parameters(job).exists() else {"reviewer": "AB"}
    given |= {"run_dir": str(by_hand.folder), "interactive": True}
    if stage in ("06_new_patients", "07_external_validation"):
        given |= {"voxel_mm": 0.24, "slices": 12}  # as the run's own scans
    if stage in ("01_data_curation", "review"):
        given["cohort_dir"] = str(by_hand.virtual / "cohort")
    source = load_notebook_node(str(notebook_source(stage)))
    name = f"by_hand_{job}"  # another notebook of that name would leave its kernel to this one
    page, wrong = run_all(name, parameterize_notebook(source, given))
    status = page.locator(".jp-Notebook-ExecutionIndicator")
    for _ in range(300):
        page.wait_for_timeout(1000)
        if status.get_attribute("data-status") != "idle" or page.locator(".jp-InputPrompt", has_text="[*]").count():
            continue
        page.keyboard.press("Control+s")
        page.wait_for_timeout(2000)
        cells = [c for c in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells if c.cell_type == "code"]
        if any(cell.execution_count for cell in cells):
            break
        press_run_all(page)  # a kernel that was still connecting dropped what it was asked for
    assert [output.ename for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output')].map(e => e.textContent).join(' ')")
    assert "Error displaying widget" not in shown
    assert wrong == []


def follows_the_hand(page: Page, place: list[int], shown: Path) -> None:
    """Click a woman, drag a box, move the threshold: what must change in an explorer of the synthetic women."""
    picture = page.locator(".dq-figure[alt^='The women']").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    scale = box["width"] / picture.evaluate("image => image.naturalWidth")  # a narrow page shows it smaller
    place = [round(pixels * scale) for pixels in place]
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    expect(page.get_by_text(re.compile(r"^sub-0003, risk 0\.\d\d$"))).to_be_visible()
    page.mouse.click(box["x"] + place[0], box["y"] + place[1])
    expect(page.get_by_role("heading", name="sub-0003")).to_be_visible(timeout=20_000)
    women = page.locator(".widget-select select").first
    women.focus()
    women.press("ArrowDown")
    expect(page.get_by_role("heading", name="sub-0004")).to_be_visible(timeout=20_000)
    standing_at = women.bounding_box()
    expect(page.get_by_text("Click a woman; drag a box around several.")).to_be_visible()
    page.wait_for_timeout(500)  # until the figure of the woman now chosen has replaced the last one
    box = picture.bounding_box()
    page.mouse.move(box["x"] + place[2] - 9, box["y"] + place[3] - 9)
    page.mouse.down()
    page.mouse.move(box["x"] + place[4] + 9, box["y"] + place[5] + 9, steps=10)
    page.mouse.up()
    expect(page.get_by_text("60 selected, 20 with fracture")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("called from 0.50")).to_be_visible()
    before = page.get_by_text("sensitivity").locator("..").inner_text()
    slider = page.locator(".widget-hslider", has_text="Threshold").locator(".ui-slider-handle").first
    slider.focus()
    for _ in range(25):
        slider.press("ArrowRight")
    expect(page.get_by_text("called from 0.75")).to_be_visible(timeout=20_000)
    assert page.get_by_text("sensitivity").locator("..").inner_text() != before
    expect(page.get_by_text(re.compile(r"^\d+ of 60 change side against 0.50"))).to_be_visible()
    now = women.bounding_box()
    assert now["y"] == standing_at["y"] and abs(now["x"] - standing_at["x"]) < 12, (
        "nothing jumps; a scroll bar may come"
    )
    page.screenshot(path=shown)


def test_the_application_shows_pages_without_code(browser: Browser, cohort, extension, tmp_path):
    """Somebody who never saw a notebook explores, and judges a scan; the next curation leaves out what she rejects."""
    (cohort / "review.csv").unlink(missing_ok=True)
    run = synthetic.explored_run(tmp_path / "run")
    given = {"run_dir": "run", "cohort_dir": os.path.relpath(cohort, tmp_path), "outcome": "fracture"}
    write_json(run.parameters("01_data_curation"), {"parameters": given})  # as a run from another working directory
    write_text(run.report, "<h1>The report</h1>")
    write_text(run.curation, CURATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "app.log"
    command = [sys.executable, "-m", "deepqct", "app", str(run.folder), f"--port={port}", "--no-browser"]
    with log.open("w") as out:
        own = os.environ | {"JUPYTER_PATH": str(extension)}
        running = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, env=own)
    try:
        for _ in range(120):
            time.sleep(0.5)
            if found := re.search(r"http://127\S+token=\S+", log.read_text(encoding="utf-8")):
                break
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        page, wrong = context.new_page(), []
        page.on("request", lambda r: None if f":{port}/" in r.url or r.url.startswith(("data:", "blob:")) else
                wrong.append(f"asked for {r.url}"))  # fmt: skip
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("response", lambda r: None if r.status < 400 else wrong.append(f"{r.status} {r.url}"))
        page.goto(found[0])
        expect(page.get_by_text("0 of 2 scans judged, 2 left")).to_be_visible(timeout=20_000)
        expect(page.get_by_text("It shows who had the outcome")).to_be_visible()
        page.get_by_role("link", name="Report of this run").click()
        expect(page.get_by_role("heading", name="The report")).to_be_visible()
        assert browser.new_context().request.get(page.url.replace("shown-", "shown-x")).status == 404, "a secret place"
        page.goto(found[0])
        page.get_by_role("link", name="Look at single women").click()
        page.get_by_text("called from 0.50").wait_for(timeout=90_000)
        assert page.get_by_text("no patient is behind any number on this page").is_visible()
        assert not page.get_by_text("import deepqct").count()
        assert not page.get_by_text("papermill").count()
        points = Explorer(run).pictures.points
        place = [*points[1][2], *points[0].min(axis=0), *points[0].max(axis=0)]
        follows_the_hand(page, [int(number) for number in place], tmp_path / "explore.png")
        page.get_by_role("button", name="Save selection").click()
        expect(page.get_by_text("60 women are in selection.csv")).to_be_visible(timeout=20_000)
        assert len(read_table(run.selection)) == 60
        page.goto(found[0])
        page.get_by_role("link", name="Judge the scans").click()
        page.get_by_placeholder("initials").wait_for(timeout=90_000)
        page.get_by_placeholder("initials").fill("CD")
        page.get_by_placeholder("initials").press("Enter")
        expect(page.get_by_text("0 of 6 judged")).to_be_visible(timeout=20_000)
        page.locator("[data-scale]").first.wait_for(timeout=20_000)
        assert float(page.locator("[data-scale]").first.get_attribute("data-scale")).is_integer(), "its own pixels"
        for seen in (page.locator(".dq-picture").first, page.get_by_role("button", name="Reject (r)"),
                     page.get_by_text("Keys: 1 to 5 motion grade")):  # fmt: skip
            box = seen.bounding_box()
            assert box["y"] > 0 and box["y"] + box["height"] <= 768, "all of it on one screen"
        page.screenshot(path=tmp_path / "review.png")
        page.wait_for_timeout(500)  # until the picture is drawn: a key before it counts for nothing
        page.keyboard.press("4")
        page.keyboard.press("r")
        expect(page.get_by_text("1 of 6 judged")).to_be_visible(timeout=20_000)
        page.goto(found[0])
        expect(page.get_by_text("By reader: CD: 1 judged")).to_be_visible(timeout=20_000)
        context.close()
    finally:
        running.terminate()
        running.wait(20)
    assert running.returncode == 0, "stopped by a signal, it tidies up"
    assert wrong == []
    refused = standing(read_reviews(cohort)).iloc[0]
    curated = curate(load_cohort(cohort), Run(tmp_path / "again"), image_px=48, workers=1)
    status = curated.set_index(["participant_id", "site"])["status"]
    assert status[refused["participant_id"], refused["site"]] == "rejected"
    assert (status == "curated").sum() == 5
