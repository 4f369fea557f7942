"""The palette: seen on white, told apart by the colour-blind, and kept in one place."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from deepqct.folder import PACKAGE
from deepqct.plots import style

# What is left of colours (linear RGB) without one kind of cones: Machado GM et al. (2009), IEEE TVCG 15:1291.
SEEN = {
    "all cones": np.eye(3),
    "no red cones": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green cones": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no blue cones": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
MARKS = {
    *style.BONE_COLOURS.values(), *style.FAMILY_COLOURS.values(), *style.OTHER_COLOURS, style.CALLED, style.NOT_CALLED,
    style.ONE, style.GREY,
}  # fmt: skip


def linear(colour: str) -> np.ndarray:
    """A colour as linear RGB, 0 to 1."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(colour: str) -> float:
    """The contrast with white, after WCAG 2.2."""
    return 1.05 / (float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB as CIE 1976 L*a*b*."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_ruler_is_right():
    """Black on white is 21:1, and sky blue, which the palette had, is not seen."""
    assert contrast("#000000") == pytest.approx(21)
    assert contrast("#56B4E9") < 2.5


@pytest.mark.parametrize("colour", sorted(MARKS))
def test_marks_are_seen_on_white(colour):
    """WCAG 2.2 asks for 3:1 of what must be seen to be understood."""
    assert contrast(colour) >= 3


@pytest.mark.parametrize("colour", [style.INK, style.SOFT, style.ALARM, style.VIRTUAL])
def test_words_are_read_on_white(colour):
    """WCAG 2.2 asks for 4.5:1 of text."""
    assert contrast(colour) >= 4.5


@pytest.mark.parametrize("cones", SEEN)
@pytest.mark.parametrize(("palette", "least"), [(style.BONE_COLOURS, 25), (style.FAMILY_COLOURS, 12)])
def test_colours_are_told_apart(palette, least, cones):
    """Every twelfth man sees fewer colours; two that differ by 10 in L*a*b* are two colours at a glance."""
    seen = {name: lab(SEEN[cones] @ linear(colour)) for name, colour in palette.items()}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) >= least, (one, other)


def test_figures_take_their_colours_from_the_palette():
    """A colour in another file is one that nobody checked; greys behind the data tell nothing."""
    behind = {"#F2F2F2", "#E3E3E3", "#DDDDDD", "#404040"}
    for path in sorted((PACKAGE / "plots").glob("*.py")):
        if path.name != "style.py":
            assert set(re.findall(r"#[0-9A-Fa-f]{6}\b", path.read_text(encoding="utf-8"))) <= behind, path.name
