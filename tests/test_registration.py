"""The same region of one bone in two scans: where the truth is known, registration finds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepqct.bones import Bone, BoneError, area_match, common_region, find_bones, register
from deepqct.virtual import draw_women
from deepqct.virtual.cohort import draw_scan
from deepqct.virtual.twins import Laid

VOXEL, SLICES = 0.25, 10


def laid(how: Laid) -> tuple[Bone, np.ndarray]:
    """The radius of one virtual woman, laid down in some way, and the middle of her scan in mm."""
    woman = draw_women(1, seed=1).iloc[0]
    scan = draw_scan(woman, site="wrist", side="right", voxel_mm=VOXEL, slices=SLICES, seed=3, how=how)
    return find_bones(scan)["radius"], (np.array(scan.native.shape[1:]) - 1) / 2 * VOXEL


@pytest.fixture(scope="module")
def still() -> tuple[Bone, np.ndarray]:
    """As drawn."""
    return laid(Laid(1, "xt2", "", 0.0, 0.0, 0.0, 0, 1.0))


@pytest.mark.parametrize(("slices", "degrees"), [(0, 0.0), (1, 3.0), (2, -6.0)])
def test_registration_finds_what_was_done(still, slices, degrees):
    """Within a twentieth of a voxel on average over the bone, by shifts of 0 to 2 slices and turns of 0 to 6°."""
    (first, middle), how = still, Laid(2, "xt2", "", -0.8, 0.7, degrees, slices, 1.0)
    second, _ = laid(how)
    found = register(first, second)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    index = np.argwhere(first.total)[::101]
    place = (index + np.array(first.origin)) * VOXEL
    true = place - [slices * VOXEL, 0, 0]
    true[:, 1:] = (place[:, 1:] - middle) @ np.array([[c, -s], [s, c]]) + middle + [how.y_mm, how.x_mm]
    apart = np.linalg.norm(found.to_second(index * VOXEL) + np.array(second.origin) * VOXEL - true, axis=1)
    assert apart.mean() < VOXEL / 20 and found.alike > 0.9
    assert found.degrees == pytest.approx(abs(degrees), abs=0.5)
    assert np.allclose(found.to_first(found.to_second(index * VOXEL)), index * VOXEL)
    a, b = common_region(first, second, found)
    assert len(a.density) == len(b.density) == SLICES - slices
    assert a.origin[0] - first.origin[0] == slices and b.origin[0] == second.origin[0]
    assert np.shares_memory(a.density, first.density)  # nothing is resampled


def test_slices_matched_by_area_follow_a_shift_along_the_bone(still):
    """The older way: a bone that widens along its axis tells where a slice lies."""
    first, _ = still
    wider = np.stack([first.total.any(axis=0) & (np.arange(first.total.shape[2]) < 12 + 2 * z) for z in range(SLICES)])
    bone = replace(first, total=wider)
    cut = replace(
        bone, total=wider[3:], cortical=bone.cortical[3:], trabecular=bone.trabecular[3:], density=bone.density[3:]
    )
    a, b = area_match(bone, cut)
    assert len(a.total) == len(b.total) == SLICES - 3 and np.array_equal(a.total, b.total)
    assert a.origin[0] == bone.origin[0] + 3


def test_what_cannot_be_the_same_region_is_refused(still):
    """Two bones, two sides, scans that hardly overlap, slices of two thicknesses: one sentence each."""
    first, _ = still
    for other, says in (
        (replace(first, name="ulna"), "A radius and a ulna cannot"),
        (replace(first, mirrored=True), "of the other side"),
    ):
        with pytest.raises(BoneError, match=says):
            register(first, other)
    three = {part: getattr(first, part)[:3] for part in ("density", "total", "cortical", "trabecular")}
    with pytest.raises(BoneError, match="fewer than 4 voxels along one axis"):
        register(first, replace(first, **three))
    with pytest.raises(BoneError, match="no finite numbers"):
        register(first, replace(first, density=np.full_like(first.density, np.nan)))
    assert np.isnan(register(first, replace(first, density=np.zeros_like(first.density))).alike)
    with pytest.raises(BoneError, match="without voxels"):
        register(first, replace(first, total=np.zeros_like(first.total)))
    with pytest.raises(BoneError, match="one thickness only"):
        area_match(first, replace(first, voxel_mm=(0.3, 0.25, 0.25)))
    found = register(first, first)
    with pytest.raises(BoneError, match="fewer than 3 slices"):
        common_region(first, first, replace(found, offset=found.offset + np.array([8 * VOXEL, 0, 0])))
