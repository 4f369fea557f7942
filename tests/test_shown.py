"""What a person sees who types a name: three lines in a terminal, a small picture in a notebook, never a whole array."""

from __future__ import annotations

import base64
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepqct as dq
from deepqct.scans.shown import MOST_PIXELS, slice_picture

MOST_LETTERS = 240  # three lines of a terminal of 80


class Guarded(np.ndarray):
    """An array that notes which part of it is read, and refuses to be read as a whole."""

    read: list[object]

    def __getitem__(self, part):
        """Note the part."""
        self.read.append(part)
        return np.asarray(self).view(np.ndarray)[part]

    def __array_ufunc__(self, *_: object, **__: object):
        """Refuse sums, comparisons and the like."""
        raise AssertionError("the whole array was read")


def guarded(shape: tuple[int, ...], dtype: type) -> Guarded:
    array = np.zeros(shape, dtype).view(Guarded)
    array.read = []
    return array


@pytest.fixture
def scan() -> dq.Scan:
    return dq.Scan(guarded((9, 700, 400), np.int16), 0.25, -391.0, (0.0607,) * 3, "wrist", "left", "XtremeCT II")


@pytest.fixture
def bone() -> dq.Bone:
    total = np.zeros((9, 60, 40), bool)
    total[:, 10:50, 5:35] = True
    inner = np.zeros_like(total)
    inner[:, 20:40, 10:30] = True
    density = np.where(total, 800, 0).astype(np.float32)
    flags = ("36 mm² is outside the usual <140> to 530 of a radius", "metal")
    return dq.Bone("radius", density, (0.1, 0.1, 0.1), total, total & ~inner, inner, flags, mirrored=True)


@pytest.fixture
def cohort(make_cohort) -> dq.cohort.Cohort:
    return dq.load_cohort(make_cohort())


class _Tags(HTMLParser):
    """Notes every tag, and fails for one that is closed and was not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(html: str) -> list[str]:
    """The tags of some HTML that is well formed."""
    parser = _Tags()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser.seen


def picture(html: str) -> np.ndarray:
    """The pixels of the one picture in some HTML."""
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.array(Image.open(BytesIO(base64.b64decode(data))))


def test_a_scan_in_a_terminal_reads_no_voxel(scan):
    """A memory-mapped ISQ has gigabytes, and its name is typed often."""
    words = repr(scan)
    assert scan.native.read == []
    assert len(words.splitlines()) == 2
    assert len(words) <= MOST_LETTERS
    for known in ("9 × 700 × 400 voxels of 0.0607", "wrist, left, XtremeCT II", "native × 0.25 − 391 mgHA/cm³"):
        assert known in words
    assert str(scan) == words


def test_a_memory_mapped_scan_stays_on_disk(tmp_path):
    """A file of 2 GB that holds nothing is shown at once, in both forms, without being brought in."""
    native = np.memmap(tmp_path / "large", np.int16, "w+", shape=(160, 2500, 2500))
    scan = dq.Scan(native, 0.25, -391.0, (0.0607,) * 3)
    held = _resident_mb()
    assert "160 × 2500 × 2500" in repr(scan)
    assert "160 × 2500 × 2500" in scan._repr_html_()
    assert _resident_mb() - held < 300


def _resident_mb() -> float:
    """Memory of this process in MB, the parts of mapped files that were brought in among it."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux says how much memory a process holds")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def test_a_scan_in_a_notebook_reads_its_middle_slice_alone(scan):
    """The picture is of one slice, small, and as wide as it is in mm."""
    html = scan._repr_html_()
    assert scan.native.read == [4]
    assert "img" in tags(html)
    pixels = picture(html)
    assert max(pixels.shape[:2]) <= MOST_PIXELS
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(700 / 400, abs=0.02)
    assert "0.5 × 42.5 × 24.3 mm" in html
    assert "dq.find_bones(scan)" in html
    assert len(html) < 30_000


def test_a_bone_shows_its_contours_and_flags_and_no_array(bone):
    """The repr of a dataclass prints every array that it has."""
    words = repr(bone)
    assert words == "Bone(radius, 9 × 60 × 40 voxels of 0.1000 × 0.1000 × 0.1000 mm (z, y, x), mirrored, 2 flags)"
    html = bone._repr_html_()
    tags(html)
    assert "outside the usual &lt;140&gt; to 530" in html
    assert "bone 12 mm² (yellow), of it trabecular 4 mm² (blue)" in html
    pixels = picture(html)
    assert pixels[10, 20].tolist() == [0xF0, 0xE4, 0x42]
    assert pixels[20, 20].tolist() == [0x56, 0xB4, 0xE9]
    assert pixels[15, 20].tolist() == [170, 170, 170]  # 800 mgHA/cm³ between −400 and 1400
    guards = {
        f.name: guarded((9, 60, 40), bool) for f in fields(dq.Bone) if f.name in ("total", "cortical", "trabecular")
    }
    repr(replace(bone, density=guarded((9, 60, 40), np.float32), **guards))
    assert all(array.read == [] for array in guards.values())


def test_a_thin_contour_survives_a_large_slice():
    """An outline drawn before the slice is made smaller would fade away."""
    inside = np.zeros((2000, 1500), bool)
    inside[400:1600, 300:1200] = True
    html = slice_picture(np.zeros((2000, 1500), np.float32), pixel_mm=(0.06, 0.06), outlines={"#FF0000": inside})
    red = (picture(html) == [255, 0, 0]).all(axis=-1)
    assert red.any(axis=0).sum() == pytest.approx(900 / 7, abs=2)
    assert red.any(axis=1).sum() == pytest.approx(1200 / 7, abs=2)


def test_a_picture_takes_any_density_and_shape():
    """Metal, air and a file of one row are still shown."""
    extreme = np.array([[-1e6, 1e6, 500.0]], np.float32)
    assert picture(slice_picture(extreme, pixel_mm=(0.06, 0.06)))[0, :, 0].tolist() == [0, 255, 127]


def test_a_cohort_shows_counts_and_no_patient(cohort):
    """The repr of a dataclass prints both tables, with every patient's row."""
    assert repr(cohort) == "Cohort(8 patients, 4 with fracture; scans: 8 wrist)"
    html = cohort._repr_html_()
    tags(html)
    for known in ("8 patients, 4 with fracture", "8 wrist", "age", "bmd_total_hip", "dq.cohort.table_one(cohort)"):
        assert known in html
    for words in (repr(cohort), html):
        assert "sub-" not in words
        assert ".AIM" not in words
        assert str(cohort.folder.parent) not in words
    rejected = replace(cohort, rejected=frozenset({("sub-0001", "wrist")}))
    assert repr(rejected) == "Cohort(8 patients, 4 with fracture; scans: 8 wrist; 1 rejected)"


def test_a_run_says_what_there_is_and_opens_nothing(tmp_path):
    """A run folder may hold thousands of files, or be on a slow disk."""
    run = dq.Run(tmp_path / "hip <study>")
    assert repr(run) == f"Run({run.folder})"
    html = run._repr_html_()
    tags(html)
    assert html.count("not yet") == 6
    assert "hip &lt;study&gt;" in html
    assert "deepqct run COHORT" in html
    assert not run.folder.exists()
    run.folder.mkdir()
    for path in (run.indices, run.scores("tibia"), run.performance):
        path.write_bytes(b"\xff\x00 no table at all")
    html = run._repr_html_()
    assert html.count("not yet") == 3
    for known in ("indices.csv", "scores_tibia.csv", "performance.csv", "dq.folder.read_table(run.performance)"):
        assert known in html


def test_a_recipe_is_the_call_that_makes_it():
    """Of 27 settings a person wants to see what is not as usual."""
    assert repr(dq.Recipe()) == "Recipe()"
    recipe = dq.Recipe(epochs=20, crop=0.75, pooling="spread", background="keep", augment=False)
    assert eval(repr(recipe), {"Recipe": dq.Recipe}) == recipe
    assert len(repr(recipe)) <= MOST_LETTERS
    html = recipe._repr_html_()
    tags(html)
    for field in fields(recipe):
        assert re.search(rf"\b{field.name}\b", html), "every setting is shown"
    assert "<th>crop (changed)</th><td>0.75</td>" in html
    assert "<th>lr (changed)</th>" not in html


def test_what_is_made_of_women_shows_no_array_and_no_row():
    """The repr of a dataclass prints a table of every woman, or an array."""
    run = dq.run.example_run()
    features = dq.run_tables.wide_indices(dq.folder.read_table(run.indices))
    woman = dq.networks.load_explained(run, bone="radius", participant_id="sub-0001")
    shown = [
        (dq.find_groups(features, groups=2, draws=19, bootstraps=0), "groups.assign(her_indices)"),
        (dq.exploration.reference_of(run), "reference.of(participant_id)"),
        (dq.models.tables(run, stacking="standard"), "dq.models.score_sheet(tables)"),
    ]
    for thing, call in shown:
        assert len(repr(thing)) <= MOST_LETTERS
        html = thing._repr_html_()
        tags(html)
        assert call in html
        for words in (repr(thing), html):
            assert "sub-" not in words
    assert repr(woman).startswith("Explained(sub-0001, ")
    assert len(repr(woman)) <= MOST_LETTERS
    tags(woman._repr_html_())
    assert picture(woman._repr_html_()).shape == (32, 32, 3)
