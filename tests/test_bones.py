"""Bones, compartments and indices on phantoms whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapes

from deepqct.bones import BoneError, find_bones, local_thickness, measure
from deepqct.bones.cores import find_cores
from deepqct.bones.indices import cortical_pores, trabecular_indices
from deepqct.bones.shape import NECK, _neck
from deepqct.run_tables import wide_indices
from deepqct.scans import Scan
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native
from deepqct.terms import UNITS

VOXEL = 0.12


def phantom(*tubes: tuple[float, float, float, float], shape=(6, 260, 420), core=-30.0, **place) -> Scan:
    """Tubes of cortex (y, x, outer radius, thickness in mm) at 1000 mgHA/cm³ in muscle."""
    y, x = (np.arange(n)[:, None] * VOXEL if i == 0 else np.arange(n)[None] * VOXEL for i, n in enumerate(shape[1:]))
    density = np.full(shape[1:], 20.0)
    for cy, cx, radius, thickness in tubes:
        distance = np.hypot(y - cy, x - cx)
        density[distance <= radius] = 1000.0
        density[distance <= radius - thickness] = core
    native = to_native(np.broadcast_to(density, shape))
    return Scan(native, SLOPE / MU_SCALING, INTERCEPT, (VOXEL,) * 3, **({"site": "wrist", "side": "right"} | place))


RADIUS, ULNA = (15.0, 14.0, 9.0, 1.0), (15.0, 38.0, 5.0, 0.8)


def test_the_two_bones_of_each_site_are_told_apart_by_size():
    """Radius and ulna swapped would train each network on the other bone."""
    wrist = find_bones(phantom(RADIUS, ULNA))
    ankle = find_bones(phantom(ULNA, RADIUS, site="ankle"))
    assert list(wrist) == ["radius", "ulna"]
    assert list(ankle) == ["tibia", "fibula"]
    assert wrist["radius"].total.sum() > 2 * wrist["ulna"].total.sum()
    assert wrist["radius"].flags == ()


def test_areas_perimeter_and_thickness_of_a_tube():
    """Within 3 % of geometry at 0.12 mm; the shell is 8 voxels thick."""
    bone = find_bones(phantom(RADIUS, ULNA))["radius"]
    index = measure(bone)
    assert list(index.index) == list(UNITS)
    assert index["Tt.Ar"] == pytest.approx(np.pi * 81, rel=0.03)
    assert index["Ct.Ar"] == pytest.approx(np.pi * (81 - 64), rel=0.06)
    assert index["Tt.Ar"] == pytest.approx(index["Ct.Ar"] + index["Tb.Ar"], rel=1e-9)
    assert index["Ct.Pm"] == pytest.approx(2 * np.pi * 9, rel=0.02)
    assert index["Ct.vBMD"] == pytest.approx(1000, rel=0.10)
    assert index["Tb.vBMD"] == pytest.approx(-30, abs=12)
    assert index["Tb.BV/TV"] == pytest.approx(0.0, abs=0.01)
    assert not (bone.cortical & bone.trabecular).any()
    np.testing.assert_array_equal(bone.cortical | bone.trabecular, bone.total)


def test_a_left_bone_looks_like_its_mirror_image():
    """A network must not learn the side from the orientation."""
    right = find_bones(phantom(RADIUS, ULNA))
    scan = phantom(RADIUS, ULNA)
    left = find_bones(replace(scan, native=scan.native[:, :, ::-1].copy(), side="left"))
    assert left["radius"].mirrored
    np.testing.assert_array_equal(left["radius"].total, right["radius"].total)


def test_the_size_of_the_field_does_not_matter():
    """A whole scan is mostly air; only the bones' box is brought in, and it must be the right one."""
    small = find_bones(phantom(RADIUS, ULNA))
    large = find_bones(phantom(RADIUS, ULNA, shape=(6, 900, 1100)))
    for name, bone in small.items():
        assert large[name].origin == bone.origin
        np.testing.assert_array_equal(large[name].total, bone.total)
        np.testing.assert_array_equal(large[name].trabecular, bone.trabecular)


def test_one_bone_is_an_error_and_a_third_is_a_flag():
    """One bone that swallowed the other must not pass in silence."""
    with pytest.raises(BoneError, match="1 bone found where a wrist scan holds radius and ulna"):
        find_bones(phantom(RADIUS))
    three = find_bones(phantom(RADIUS, ULNA, (4.0, 46.0, 3.0, 0.8)))
    assert three["ulna"].flags == ("1 more outline (fragments, a foreign body?)",)
    with pytest.raises(BoneError, match="0 bones found"):
        find_bones(phantom())
    with pytest.raises(BoneError, match="site is None"):
        find_bones(phantom(RADIUS, ULNA, site=None))


def test_a_bone_at_the_edge_is_flagged():
    """A cut bone has a wrong area; a person must see it."""
    cut = find_bones(phantom((15.0, 7.0, 9.0, 1.0), ULNA))
    assert "cut by the field of view" in cut["radius"].flags
    assert cut["ulna"].flags == ()


def test_wide_indices_keep_every_bone():
    """A value under another bone's name would mix the bones' models."""
    bones = find_bones(phantom(RADIUS, ULNA))
    import pandas as pd

    long = pd.DataFrame([{"participant_id": "a", "bone": name, **measure(bone)} for name, bone in bones.items()])
    wide = wide_indices(long)
    assert wide.shape == (1, 2 * len(UNITS))
    assert wide.loc["a", "ulna Tt.Ar"] == long.loc[1, "Tt.Ar"]


@pytest.mark.parametrize("voxel", [0.12, 0.5])
@pytest.mark.parametrize("from_cortex", [1.5, 3.0, 6.0, 16.0])
def test_a_plate_does_not_cut_a_bone(from_cortex, voxel):
    """At 0.5 mm a plate is as thick as a cortex; what it cut off was lost, or taken for the second bone."""
    n = round(70 / voxel)
    y, x = np.mgrid[:n, :n] * voxel
    tibia = ((y - 34) / 16) ** 2 + ((x - 28) / 18) ** 2 <= 1
    marrow = ((y - 34) / 14.8) ** 2 + ((x - 28) / 16.8) ** 2 <= 1
    fibula, hollow = (((y - 38) / r) ** 2 + ((x - 56) / r) ** 2 <= 1 for r in (6, 4.8))
    plate = marrow & (np.abs(x - (28 - 16.8 + from_cortex)) <= 0.25)
    image = np.where((tibia & ~marrow) | (fibula & ~hollow), 950.0, 60.0)
    image[plate] = 700
    noise = np.random.default_rng(0).normal(0, 40, (6, n, n))
    bones = find_bones(Scan((image + noise).astype(np.int16), 1.0, 0.0, (voxel,) * 3, "ankle", "right"))
    for bone, drawn in zip(bones.values(), (tibia, fibula), strict=True):
        assert bone.total[0].sum() == pytest.approx(drawn.sum(), rel=0.05)
        assert bone.flags == ()


def test_a_pocket_between_touching_bones_does_not_join_them():
    """Soft tissue that two thin cortices enclose faces both; they must stay two bones."""
    voxel = 0.12
    shells = np.zeros((3, 250, 420), bool)
    shells[:, 20:230, 20:400] = True
    for rows, columns in ((30, 220), (30, 240)), ((30, 220), (280, 390)), ((100, 150), (245, 275)):
        shells[:, slice(*rows), slice(*columns)] = False
    cores = find_cores(shells, voxel_mm=(voxel,) * 3)
    assert len(cores) == 2
    assert not (cores[0][:, :, 290:].any() or cores[1][:, :, :230].any())


@pytest.mark.parametrize("leaky", [[3], [0, 1], [2, 5]])
def test_slices_in_which_a_shell_leaks_keep_their_bone(leaky):
    """A gap that no closing spans leaves a slice without a core: the bone was lost there, or cut into two along z."""
    whole = phantom(RADIUS, ULNA, shape=(8, 260, 420))
    native = whole.native.copy()
    native[leaky, 118:133, 35:55] = to_native(np.full(1, 20.0))  # 1.8 mm of the radius's shell
    bones = find_bones(replace(whole, native=native))
    drawn = find_bones(whole)["radius"].total[3].sum()
    areas = bones["radius"].total.sum(axis=(1, 2))
    assert areas.min() > 0.9 * drawn
    assert bones["radius"].flags == ()
    assert list(bones) == ["radius", "ulna"]


@pytest.mark.parametrize("site", ["wrist", "ankle"])
@pytest.mark.parametrize(
    ("gap", "degrees", "side"), [(20, 0, "right"), (6, 37, "left"), (2, 161, "right"), (0, 250, "left")]
)
def test_near_and_touching_bones_stay_two(site, gap, degrees, side):
    """One bone that swallows the other in silence would ruin two networks and 34 indices."""
    voxel = 0.0607
    rng = np.random.default_rng(gap)
    density, truth = shapes.two_bones(site, gap=gap, angle=np.deg2rad(degrees), voxel_mm=voxel, slices=3, rng=rng)
    native = to_native(density)
    if side == "left":
        native = np.ascontiguousarray(native[:, :, ::-1])
    bones = find_bones(Scan(native, SLOPE / MU_SCALING, INTERCEPT, (voxel,) * 3, site, side))
    for name, bone in bones.items():
        found = np.zeros(density.shape, bool)
        mask = bone.total[:, :, ::-1] if bone.mirrored else bone.total
        found[tuple(slice(o, o + n) for o, n in zip(bone.origin, mask.shape, strict=True))] = mask
        if side == "left":
            found = found[:, :, ::-1]
        dice = 2 * (found & truth[name]).sum() / (found.sum() + truth[name].sum())
        assert dice >= 0.98, name
        assert bone.flags == ((f"{next(iter(bones))} and {list(bones)[1]} touch",) if gap == 0 else ())


def test_trabecular_indices_and_shell_of_a_phantom():
    """Shell of 1.0 mm, plates of 3 voxels every 17."""
    voxel = 0.0607
    masks = shapes.phantom((20, 220, 260), voxel_mm=voxel)
    found = trabecular_indices(masks["bone"], domain=masks["trabecular"], voxel_mm=(voxel,) * 3)
    assert found["Tb.Th"] == pytest.approx(3 * voxel, rel=0.02)
    assert found["Tb.Sp"] == pytest.approx(14 * voxel, rel=0.04)  # smaller where plates end at the shell
    assert found["Tb.N"] == pytest.approx(1 / (17 * voxel), rel=0.03)
    shell = local_thickness(masks["cortical"], voxel_mm=(voxel,) * 3)[masks["cortical"]].mean()
    assert shell == pytest.approx(1.0, rel=0.02)


def test_pores_are_closed_voids_of_the_cortex():
    """Canals count; the frayed inner edge and specks of noise do not."""
    shape = (30, 60, 60)
    cortical = np.zeros(shape, bool)
    cortical[:, 5:25] = True
    void = np.zeros(shape, bool)
    void[:, 12:15, 20:23] = True  # a canal
    void[:, 22:25, 40:43] = True  # open to the marrow
    void[3, 18, 50] = True  # a speck
    pores = cortical_pores(void & cortical, cortical=cortical)
    assert pores.sum() == 30 * 9
    assert pores[:, 12:15, 20:23].all()


def test_values_derived_as_on_the_first_generation():
    index = measure(find_bones(phantom(RADIUS, ULNA, core=150.0))["radius"], derived=True)
    assert index["Tb.BV/TV"] == pytest.approx(index["Tb.vBMD"] / 1200)


def with_tissue(scan: Scan, where: np.ndarray, density: float) -> Scan:
    """The scan with something else drawn into it."""
    native = scan.native.copy()
    native[:, where] = to_native(np.array([density]))[0]
    return replace(scan, native=native)


def grid_mm(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.arange(n) * VOXEL for n in scan.native.shape[1:])


def test_what_does_not_belong_there_is_named():
    """Metal, a cast, a scan of another site, a bone of two: each has its own words."""
    scan = phantom(RADIUS, ULNA, shape=(6, 300, 460))
    y, x = grid_mm(scan)
    plate = (np.abs(y[:, None] - 15) < 1) & (np.abs(x[None] - 26) < 1.5)
    assert "metal" in find_bones(with_tissue(scan, plate, 5000.0))["radius"].flags
    moved = phantom((18.0, 16.0, 9.0, 1.0), (18.0, 38.0, 5.0, 0.8), shape=(6, 300, 460))
    ring = np.abs(np.hypot(y[:, None] / 17 - 18 / 17, x[None] / 26 - 27 / 26) - 1) < 0.05
    flags = find_bones(with_tissue(moved, ring, 900.0))["radius"].flags
    assert "a ring around the limb (a cast?)" in flags
    assert find_bones(moved)["radius"].flags == ()
    small = find_bones(phantom((15.0, 14.0, 5.0, 1.0), (15.0, 38.0, 2.6, 0.8)))
    assert any("outside the usual 140 to 530 of a radius" in flag for flag in small["radius"].flags)
    assert any("of a ulna" in flag for flag in small["ulna"].flags)
    double = phantom((15.0, 12.0, 6.0, 1.0), (15.0, 23.4, 6.0, 1.0), (15.0, 40.0, 4.6, 0.8))
    bar = (np.abs(y[:260, None] - 15) < 2.0) & (np.abs(x[None, :420] - 17.7) < 2.5)
    fused = find_bones(with_tissue(double, bar, -30.0))
    assert any("waist" in flag or "touch" in flag for flag in (*fused["radius"].flags, *fused["ulna"].flags))


def test_a_waist_is_between_two_parts_and_a_hollow_side_is_none():
    """The convex hull of a normal radius is not full where the ulna lies against it; only a neck makes two of one."""
    y, x = np.ogrid[:200, :320]

    def disc(cy: int, cx: int, r: int) -> np.ndarray:
        return np.hypot(y - cy, x - cx) < r

    one, hollow = disc(100, 160, 80), disc(100, 160, 80) & ~disc(100, 285, 80)
    joined = disc(100, 80, 60) | disc(100, 220, 60) | ((np.abs(y - 100) < 20) & (x > 80) & (x < 220))
    assert one.sum() - hollow.sum() > 0.1 * one.sum()
    assert _neck(np.zeros((9, 9), bool)) == _neck(one) == 0
    assert _neck(hollow) < NECK / 2
    assert _neck(joined) > NECK
    assert _neck(disc(100, 120, 60) | disc(100, 220, 60)) > NECK  # two that overlap


def test_an_empty_scan_is_an_error_not_a_bone():
    with pytest.raises(BoneError, match="0 bones found where a wrist scan holds radius and ulna"):
        find_bones(replace(phantom(RADIUS, ULNA), native=np.zeros((6, 260, 420), np.int16)))


def test_a_bone_that_ends_within_the_stack_is_flagged():
    scan = phantom(RADIUS, ULNA, shape=(12, 260, 420))
    native = scan.native.copy()
    native[8:] = to_native(np.array([20.0]))[0]
    assert "missing in some slices" in find_bones(replace(scan, native=native))["radius"].flags


def test_shells_with_gaps_in_different_slices_keep_both_bones():
    """A thin shell that leaks here and there must not make the pieces of one bone the two largest."""
    scan = phantom((15.0, 14.0, 9.0, 0.7), (15.0, 38.0, 5.0, 0.6), shape=(12, 260, 420))
    y, x = grid_mm(scan)
    native = scan.native.copy()
    for slices, centre, gap_mm in ((slice(0, 3), 14.0, 0.9), (slice(5, 8), 38.0, 0.9), (slice(9, 12), 38.0, 1.3)):
        gap = (np.abs(x[None] - centre) < gap_mm / 2) & (np.abs(y[:, None] - 15) > 3)
        native[slices, gap] = to_native(np.array([20.0]))[0]
    bones = find_bones(replace(scan, native=native))
    for name, radius in (("radius", 9.0), ("ulna", 5.0)):
        area = bones[name].total.sum(axis=(1, 2)) * VOXEL**2
        np.testing.assert_allclose(area, np.pi * radius**2, rtol=0.05)
        assert bones[name].flags == ()
