"""What many women and more workers cost: stages of 100 and of 2,000 virtual women, two workers against one.

`make bench-scale`; `PART=workers` runs 60 women with one worker and with two (20 minutes), `PART=women` 100 and 2,000 women
with the tables of quick and the images of smoke, and opens report and explorer in Chromium (an hour). What was interrupted
goes on where it was; the times of stages are kept, those of whole runs are then of the last call alone. Nothing else should
be at work.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from measure import table

from deepqct.folder import Run, file_hash, read_json

PARTS = ("workers", "women")
# Of quick what decides the tables: folds, repeats, permutations, bootstraps.
TABLES = (
    "protocols=all",
    "folds=3",
    "repeats=5",
    "permutations=100",
    "03_fusion_and_baselines.bootstraps=50",
    "neighbours=15",
)
SEEN = ("n=60", "bone=radius,tibia", "epochs=6")


def made(out: Path, *settings: str, preset: str, cores: int) -> float:
    """Minutes of a run of virtual women; one that is done takes seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "deepqct", "run", "virtual", *settings, "--preset", preset, "--out", str(out)]
    bound = partial(os.sched_setaffinity, 0, range(cores))  # one worker is one processor
    subprocess.run([*command, "--cores", str(cores)], check=True, preexec_fn=bound)
    return (time.monotonic() - began) / 60


def tables_of(run: Path) -> dict[str, str]:
    """The hash of every table and network."""
    kept = [path for path in run.rglob("[!.]*") if path.suffix in (".csv", ".npz", ".safetensors")]
    return {str(path.relative_to(run)): file_hash(path) for path in kept if ".snakemake" not in path.parts}


def workers(folder: Path) -> None:
    """Sixty women with one and with two workers: the same tables, and how much sooner."""
    minutes, found = {}, {}
    for cores in (2, 1):
        out = folder / f"workers-{cores}"
        minutes[cores] = made(out, *SEEN, f"workers={cores}", preset="quick", cores=cores)
        found[cores] = tables_of(out)
    same = sum(found[1][name] == told for name, told in found[2].items() if name in found[1])
    rows = [[cores, minutes[cores], minutes[1] / minutes[cores]] for cores in (1, 2)]
    title = f"60 women, {' '.join(SEEN)}: {same} of {len(found[1])} tables and networks the same."
    table(title, ["workers", "minutes", "times faster"], rows)


def opened(run: Run) -> list[object]:
    """MB and seconds of a run's report, and seconds of its explorer, in Chromium."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "deepqct", "app", str(run.folder), "--no-browser"]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")
    assert app.stdout is not None
    address = re.search(r"http://127\S+token=\S+", app.stdout.readline())
    assert address is not None
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page, began = browser.new_page(), time.monotonic()
            page.goto(run.report.resolve().as_uri(), wait_until="load")
            for details in page.locator("details").all():
                details.evaluate("d => d.open = true")
            report_s = time.monotonic() - began
            page.goto(address.group())
            began = time.monotonic()
            page.get_by_role("link", name="Look at single women").click()
            page.get_by_text("called from 0.50").wait_for(timeout=600_000)
            explorer_s, began = time.monotonic() - began, time.monotonic()
            slider = (
                page.locator(".widget-hslider", has_text="Threshold").locator(".ui-slider-handle, .noUi-handle").first
            )
            slider.focus()
            slider.press("ArrowRight")
            page.get_by_text("called from 0.51").wait_for(timeout=60_000)
            browser.close()
            return [run.report.stat().st_size / 1e6, report_s, explorer_s, time.monotonic() - began]
    finally:
        app.terminate()
        app.wait(30)


def women(folder: Path) -> None:
    """Stages of 100 and of 2,000 women: seconds, memory and disk, and how they grow."""
    numbers = (100, 2000)
    stages, pages = {}, []
    for n in numbers:
        run = Run(folder / f"women-{n}")
        made(run.folder, f"n={n}", "prevalence=0.33", *TABLES, preset="smoke", cores=os.cpu_count() or 1)
        stages[n] = read_json(run.record)["stages"]
        pages.append([n, *opened(run)])
    rows = []
    for name in stages[numbers[0]]:
        few, many = (stages[n][name] for n in numbers)
        for one, unit in (("seconds", "s"), ("peak_mb", "MB"), ("disk_mb", "MB on the disk")):
            rows.append([name, unit, few[one], many[one], 1000 * (many[one] - few[one]) / (numbers[1] - numbers[0])])
    table("By stage.", ["stage", "", *map(str, numbers), "for each 1,000 women more"], rows)
    table(
        "In Chromium.",
        [
            "women",
            "report, MB",
            "s to open with all sections",
            "explorer, s to open",
            "s until a new threshold is drawn",
        ],
        pages,
    )


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", choices=PARTS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for part in [given.part] if given.part else PARTS:
        {"workers": workers, "women": women}[part](given.out)


if __name__ == "__main__":
    main()
