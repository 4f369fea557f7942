"""The pictures of README and documentation, of a finished run of virtual women: ``python docs/pictures.py reports/quick``.

Chromium opens the report, and the pages that ``deepqct app`` serves, without a network; each picture is reduced to few
colours, so that all together stay small. The run must be of virtual women: no picture of a patient may come into the
repository.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from deepqct.folder import PACKAGE, Run, resolve
from deepqct.run_tables import virtual_of

PICTURES = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 1280, 900  # of the window
COLOURS = 256
MOST_BYTES = 3_000_000  # of all pictures together
FLAGS = ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-webgl", "--ignore-gpu-blocklist"]
WIDEST = 1100  # pixels of a figure
# Figures of the run that pages show: the picture's name, the job, the figure's name.
FIGURES = {
    "steps": ("00_virtual_cohort", "steps_wrist"),
    "images": ("02_train_bone_radius", "images"),
    "saliency": ("02_train_bone_radius", "saliency_mean"),
    "differences": ("03_fusion_and_baselines", "differences"),
    "groups": ("04_clustering", "umap_groups"),
}
PATIENCE_MS = 120_000  # a page's kernel imports torch and draws


def main(folder: str) -> None:
    """Take every picture of a run.

    Parameters
    ----------
    folder : str
        The run folder; its report must be there.

    Raises
    ------
    ValueError
        If the run is not of virtual women, or the pictures are too large.
    """
    run = Run(resolve(folder))
    run.require(run.report, written_by="deepqct run")
    if not virtual_of(run):
        raise ValueError(f"{folder} is a run of patients; take pictures of virtual women alone.")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        shots = report_shots(browser, run)
        with served(run) as address:
            shots |= page_shots(browser, address)
        browser.close()
    shots |= figures(run)
    for name, image in shots.items():
        keep(image, PICTURES / f"{name}.png")
    keep(composed(shots["report"], shots["review"], shots["explorer"]), PICTURES / "overview.png")
    size = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    if size > MOST_BYTES:
        raise ValueError(f"The pictures take {size / 1e6:.1f} MB; lower COLOURS or HEIGHT in docs/pictures.py.")
    for path in sorted(PICTURES.glob("*.png")):
        print(
            f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}: {path.stat().st_size // 1000} kB"
        )


def report_shots(browser: Browser, run: Run) -> dict[str, Image.Image]:
    """The report's first screen, and its comparison of the families.

    Parameters
    ----------
    browser : Browser
        Chromium.
    run : Run
        The finished run.
    """
    page = browser.new_context(viewport={"width": WIDTH, "height": 1000}, offline=True).new_page()
    page.goto(run.report.as_uri())
    page.wait_for_load_state("load")
    shots = {"report": shot(page)}
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.locator("#performance").first.scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#performance').scrollIntoView({block: 'start'})")
    page.wait_for_timeout(500)
    return shots | {"report_models": shot(page)}


def figures(run: Run) -> dict[str, Image.Image]:
    """Figures of the run that explain something.

    Parameters
    ----------
    run : Run
        The finished run.

    Raises
    ------
    FileNotFoundError
        If the run has left one of them out, as a run at smoke size does.
    """
    found = {}
    for name, (job, figure) in FIGURES.items():
        path = run.require(run.figures(job) / f"{figure}.png", written_by=f"{job} of a run that finds something")
        image = Image.open(path).convert("RGB")
        share = min(1, WIDEST / image.width)
        found[name] = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    return found


def page_shots(browser: Browser, address: str) -> dict[str, Image.Image]:
    """The start page, the review and the explorer, as they are after their kernels have drawn.

    Parameters
    ----------
    browser : Browser
        Chromium.
    address : str
        Where the pages are served, with the token.
    """
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("a[href*='.ipynb']", timeout=PATIENCE_MS)
    page.wait_for_timeout(500)
    shots = {"start": shot(page).crop((0, 0, WIDTH, 600))}
    links = {a.get_attribute("href") for a in page.locator("a[href*='.ipynb'], a[href*='render']").all()}
    for name, word in (("review", "Judge"), ("explorer", "single")):
        (link,) = {href for href in links if href and word in href}
        opened = context.new_page()
        opened.goto(page.evaluate("href => new URL(href, document.baseURI).href", link), timeout=PATIENCE_MS)
        opened.wait_for_selector(".jupyter-widgets input, .jupyter-widgets button", timeout=PATIENCE_MS)
        initials = opened.get_by_placeholder("initials")  # until a reader is known, no scan is shown
        if initials.count():
            initials.first.fill("AB")
            initials.first.press("Enter")
        settled(opened)
        shots[name] = shot(opened)
        opened.close()
    return shots


def settled(page: Page) -> None:
    """Wait until the widgets are there and the page no longer changes.

    Parameters
    ----------
    page : Page
        A page whose kernel is at work.
    """
    page.wait_for_selector(".jupyter-widgets img, .jupyter-widgets canvas, img.widget-image", timeout=PATIENCE_MS)
    before = b""
    for _ in range(40):
        page.wait_for_timeout(1500)
        now = page.screenshot()
        if now == before:
            return
        before = now


def shot(page: Page) -> Image.Image:
    """What the window shows.

    Parameters
    ----------
    page : Page
        The page.
    """
    return Image.open(BytesIO(page.screenshot())).convert("RGB")


def composed(report: Image.Image, review: Image.Image, explorer: Image.Image) -> Image.Image:
    """The picture of the README: the report on the left, review and explorer beside it.

    Parameters
    ----------
    report, review, explorer : Image
        The three pictures.
    """
    gap, high = 16, 860
    left = report.resize((round(report.width * high / report.height), high), Image.Resampling.LANCZOS)
    each = (high - gap) // 2
    right = [p.resize((round(p.width * each / p.height), each), Image.Resampling.LANCZOS) for p in (review, explorer)]
    whole = Image.new("RGB", (left.width + gap + max(p.width for p in right) + 2, high + 2), "white")
    for image, (x, y) in zip(
        (left, *right), ((1, 1), (left.width + gap, 1), (left.width + gap, 1 + each + gap)), strict=True
    ):
        framed = Image.new("RGB", (image.width + 2, image.height + 2), "#BBBBBB")
        framed.paste(image, (1, 1))
        whole.paste(framed, (x - 1, y - 1))
    return whole


def keep(image: Image.Image, path: Path) -> None:
    """Write a picture with few colours.

    Parameters
    ----------
    image : Image
        The picture.
    path : Path
        Its PNG file.
    """
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def served(run: Run) -> Iterator[str]:
    """Serve the pages of a run, and give their address.

    Parameters
    ----------
    run : Run
        The finished run.

    Raises
    ------
    RuntimeError
        If no address is printed.
    """
    command = [sys.executable, "-u", "-m", "deepqct", "app", str(run.folder), "--no-browser", "--port", "8990"]
    jupyter = Path(tempfile.mkdtemp(prefix="deepqct-pictures-"))  # the extension of this checkout, not an older one
    shutil.copytree(PACKAGE / "widgets" / "labextension", jupyter / "labextensions" / "deepqct-itkwidgets")
    own = os.environ | {"JUPYTER_PATH": str(jupyter)}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=own)
    try:
        for line in running.stdout or []:
            if line.startswith("Pages: "):
                yield line.removeprefix("Pages: ").strip()
                return
        raise RuntimeError(f"The pages of {run.folder} are not served; try deepqct app {run.folder}.")
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)
        shutil.rmtree(jupyter, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Give one finished run of virtual women, such as reports/quick.")
    main(sys.argv[1])
