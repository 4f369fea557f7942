"""Stacks for the networks: what lies in the field is what lies in the scan, in place and with its labels."""

from __future__ import annotations

import numpy as np
import pytest

from deepqct.bones import Bone
from deepqct.curation import cut_stack, of_bone
from deepqct.curation.stacks import CORTICAL, FIELD_MM, OTHER_BONE, TRABECULAR
from deepqct.scans import Scan

VOXEL = 0.5


def wrist(*, side: str, at: int = 60) -> tuple[Scan, dict[str, Bone]]:
    """A scan whose voxels say where they are, a radius at column `at` and an ulna 20 voxels beside it."""
    y, x = np.mgrid[:100, :140]
    native = np.repeat((20 * y + 4 * x)[None], 2, axis=0).astype(np.int16)
    scan = Scan(native, 1.0, 0.0, (VOXEL,) * 3, site="wrist", side=side)
    turn = -1 if side == "left" else 1
    bones = {}
    for name, column, radius in (("radius", at, 8), ("ulna", at + 20, 5)):
        first = (0, 50 - radius - 2, max(column - radius - 2, 0))
        box = np.s_[:, first[1] : 50 + radius + 3, first[2] : column + radius + 3]
        far = np.repeat(np.hypot(y - 50, x - column)[None], 2, axis=0)[box][:, :, ::turn]
        total = far <= radius
        bones[name] = Bone(
            name=name,
            density=native[box][:, :, ::turn].astype(np.float32),
            voxel_mm=(VOXEL,) * 3,
            total=total,
            cortical=total & (far > radius - 2),
            trabecular=total & (far <= radius - 2),
            origin=first,
            mirrored=side == "left",
        )
    return scan, bones


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_field_shows_the_scan_around_the_bone(side):
    """Voxels beyond the bone's box must come from the scan: a control that sees only the surroundings rests on them."""
    scan, bones = wrist(side=side)
    size = round(FIELD_MM["radius"] / VOXEL)
    density, mask, first = cut_stack(scan, "radius", bones, image_px=size)
    i, j = np.mgrid[:size, :size] - (size - 1) / 2
    there = 20 * (50 + i) + 4 * (60 + (-1 if side == "left" else 1) * j)
    np.testing.assert_array_equal(density, np.repeat(there[None], 2, axis=0))
    assert np.argwhere(of_bone(mask[0])).mean(axis=0) == pytest.approx([(size - 1) / 2] * 2, abs=0.6)
    assert first == (-25.5 * VOXEL, -25.5 * VOXEL), "the field begins outside of the box"


def test_labels_of_both_bones():
    """The other bone must be known, or a picture of the radius alone would show the ulna."""
    scan, bones = wrist(side="left")
    mask = cut_stack(scan, "radius", bones, image_px=72)[1]
    assert {int(label) for label in np.unique(mask)} == {0, TRABECULAR, CORTICAL, OTHER_BONE}
    for name, label in (("radius", (TRABECULAR, CORTICAL)), ("ulna", (OTHER_BONE,))):
        assert np.isin(mask, label).sum() == pytest.approx(bones[name].total.sum(), rel=0.02)
    other = np.argwhere(mask[0] == OTHER_BONE).mean(axis=0)
    assert other[1] < 36 - 15, "right of the radius in a left wrist, left of it in the mirrored picture"


def test_a_field_beyond_the_scan_is_empty():
    """Repeating the last voxel would draw tissue that nobody scanned."""
    scan, bones = wrist(side="right", at=11)
    density = cut_stack(scan, "radius", bones, image_px=72)[0]
    assert (density[:, :, :20] == 0).all()
    assert (density[:, 36, 30:] > 0).all()
