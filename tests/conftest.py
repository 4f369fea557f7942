"""Shared fixtures: a small cohort folder, and the order of the tests, quick ones first."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pytest

from deepqct.scans import Scan, write_aim
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tiny import Whole

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests, then the chain, then the browser: what fails quickly fails first."""
    items.sort(key=lambda item: (item.get_closest_marker("browser") is not None) + (
        item.get_closest_marker("chain") is not None
    ))  # fmt: skip


@pytest.fixture(autouse=True)
def same_locale() -> Iterator[None]:
    """Fail a test that leaves the process in another locale, in which it cannot read what other programs say."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    after = locale.setlocale(locale.LC_CTYPE, None)
    locale.setlocale(locale.LC_CTYPE, before)
    assert after == before


@pytest.fixture
def make_cohort(tmp_path: Path):
    """Write a cohort folder with `n` women and tiny scans of nothing; its tables can be spoilt by the test."""

    def make(n: int = 8) -> Path:
        folder = tmp_path / "cohort"
        (folder / "scans").mkdir(parents=True)
        people = [f"sub-{i:04d}\t{60 + i}\t{0.6 + i / 100}\t{i % 2}" for i in range(n)]
        scans = [f"sub-{i:04d}\twrist\tleft\tscans/sub-{i:04d}_wrist.AIM" for i in range(n)]
        for i in range(n):
            native = np.full((3, 4, 4), i, np.int16)  # no scan is a copy of another
            scan = Scan(native, SLOPE / MU_SCALING, INTERCEPT, (0.061,) * 3, "wrist", "left")
            write_aim(folder / "scans" / f"sub-{i:04d}_wrist.AIM", scan)
        _write(folder / "participants.tsv", ["participant_id\tage\tbmd_total_hip\tfracture", *people])
        _write(folder / "scans.tsv", ["participant_id\tsite\tside\tfile", *scans])
        return folder

    return make


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def decoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an itkwidgets that leaves a file when somebody imports it: no headless notebook may."""
    folder = tmp_path_factory.mktemp("decoy")
    (folder / "itkwidgets.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n", encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, decoy: Path) -> Path:
    """The run folder of the whole chain at smoke size, made once for all tests that look at it."""
    out = tmp_path_factory.mktemp("smoke") / "run"
    command = [sys.executable, "-m", "deepqct", "run", "virtual", "--preset", "smoke", "--out", str(out)]
    own = os.environ | {"PYTHONPATH": os.pathsep.join([str(decoy), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, env=own, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The smallest run, in batches and by fold, that nobody interrupts; made once for all tests that repeat it."""
    from tiny import Whole

    return Whole.made(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; absent, the browser tests are skipped by hand and fail in CI."""
    found = shutil.which("chromium")
    if found is None:
        assert not os.environ.get("CI"), "CI has no chromium; .ci/run installs it"
        pytest.skip("chromium is not installed (Debian: apt install chromium)")
    return found


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-webgl", "--ignore-gpu-blocklist", "--disable-quic",
    "--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()
