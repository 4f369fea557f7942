"""Texture: features that follow what is planted, do not follow what is not, and hold for two voxel sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from deepqct.bones import Bone, find_bones, measure_texture, texture_table
from deepqct.virtual import draw_scan, draw_women


def bone_of(core: np.ndarray, *, voxel: float = 0.12, rim: int = 8) -> Bone:
    """A square bone with a cortex of 900 mgHA/cm³ around a core."""
    density = np.pad(core.astype(np.float32), ((0, 0), (rim, rim), (rim, rim)), constant_values=900)
    trabecular = np.pad(np.ones(core.shape, bool), ((0, 0), (rim, rim), (rim, rim)))
    density = np.pad(density, ((0, 0), (4, 4), (4, 4)))
    trabecular = np.pad(trabecular, ((0, 0), (4, 4), (4, 4)))
    total = np.zeros(density.shape, bool)
    total[:, 4:-4, 4:-4] = True
    return Bone("radius", density, (voxel,) * 3, total, total & ~trabecular, trabecular)


def waves(period_mm: float, *, voxel: float = 0.12, n: int = 128, slices: int = 8) -> np.ndarray:
    """A core whose density swings along x."""
    x = np.arange(n) * voxel
    return np.broadcast_to(200 + 150 * np.sin(2 * np.pi * x / period_mm), (slices, n, n)).copy()


def test_every_feature_has_a_definition_and_a_source():
    """A column that nobody can look up is of no use in a paper."""
    table = texture_table()
    assert list(table["feature"]) and table["feature"].is_unique
    assert set(table["feature"]) == set(measure_texture(bone_of(waves(2.0))).index)
    assert table["source"].str.len().min() > 3


def test_energy_lies_in_the_band_of_the_waves():
    """A Gaussian between two scales passes waves of about six to nine times its width."""
    bands = [f"Tb.Band.{s:g}" for s in (0.12, 0.24, 0.48, 0.96)]
    for period, strongest in ((1.0, "Tb.Band.0.12"), (2.0, "Tb.Band.0.24"), (4.2, "Tb.Band.0.48")):
        assert measure_texture(bone_of(waves(period)))[bands].idxmax() == strongest


def test_lacunarity_is_that_of_the_share_in_boxes():
    """Bone in every other tile of 2 mm: boxes of that edge hold all or nothing, and those of 4 mm a half."""
    tile = round(2.0 / 0.125)
    y, x = np.indices((128, 128)) // tile
    core = np.broadcast_to(np.where((y + x) % 2, 800.0, 0.0), (16, 128, 128))
    found = measure_texture(bone_of(core, voxel=0.125, rim=16))
    assert found["Tb.Lac.4"] < 0.1 * found["Tb.Lac.2"]
    assert found["Tb.Lac.2"] == pytest.approx(found["Tb.Lac.1"], rel=0.35)


def test_gathered_perforations_are_seen_where_the_mean_is_the_same():
    """The same amount of bone, in patches or evenly: unevenness and lacunarity tell them apart, the mean does not."""
    rng = np.random.default_rng(0)
    grain = ndimage.gaussian_filter(rng.standard_normal((8, 128, 128)), 1.5)
    patch = ndimage.gaussian_filter(rng.standard_normal((8, 128, 128)), (4, 16, 16))
    grain, patch = grain / grain.std(), patch / patch.std()
    even, gathered = (250 + 150 * grain * np.exp(0.5 * share * patch - 0.125 * share**2) for share in (0.0, 1.0))
    one, other = (measure_texture(bone_of(core)) for core in (even, gathered))
    assert other["Tb.Uneven.0.12"] > 1.5 * one["Tb.Uneven.0.12"]
    assert other["Tb.Q50"] == pytest.approx(one["Tb.Q50"], rel=0.05)


def test_the_direction_of_sheets_is_seen_and_no_other_feature_knows_it():
    """Sheets across x have short runs of bone along x; turned by a right angle they change sign, not strength."""
    core = np.broadcast_to(300 + 200 * np.sin(2 * np.pi * np.arange(128) * 0.125 / 2.0), (8, 128, 128))
    across_x, across_y = measure_texture(bone_of(core)), measure_texture(bone_of(np.swapaxes(core, 1, 2)))
    lean = [name for name in across_x.index if ".Lean." in name]
    assert (across_x[["Tb.Lean.bone", "Tb.Lean.marrow", "Tb.Lean.0.5"]] < -0.5).all()
    np.testing.assert_allclose(across_y[lean], -across_x[lean], atol=1e-3)
    rest = across_x.index.difference(lean)
    np.testing.assert_allclose(across_y[rest], across_x[rest], rtol=1e-3, atol=1e-3)


def test_a_fine_and_a_coarse_scan_tell_the_same():
    """A model of one voxel size would otherwise be useless at another."""
    core = waves(2.0, voxel=0.06, n=256, slices=16)
    fine, coarse = measure_texture(bone_of(core, voxel=0.06, rim=16)), measure_texture(bone_of(waves(2.0)))
    shared = ["Tb.Band.0.12", "Tb.Band.0.24", "Tb.Vario", "Tb.Q50", "Tb.Run.bone"]
    np.testing.assert_allclose(fine[shared], coarse[shared], atol=0.12, rtol=0.06)


def test_density_outside_of_the_bone_changes_nothing():
    """Soft tissue differs by how a limb lies, and must not tell who she is."""
    bone = bone_of(waves(2.0))
    outside = np.where(bone.total, bone.density, 300.0).astype(np.float32)
    changed = measure_texture(replace(bone, density=outside))
    trabecular = [name for name in changed.index if name.startswith("Tb.")]
    np.testing.assert_allclose(changed[trabecular], measure_texture(bone)[trabecular], rtol=1e-4, atol=1e-4)


def test_a_bone_without_a_compartment_has_no_values_and_no_error():
    """One odd bone must not end a curation."""
    bone = bone_of(waves(2.0))
    nothing = np.zeros_like(bone.total)
    for changed in (
        replace(bone, trabecular=nothing, cortical=bone.total),
        replace(bone, total=nothing, trabecular=nothing, cortical=nothing),
    ):
        values = measure_texture(changed)
        assert values.filter(like="Tb.").isna().all()


def test_both_sides_are_read_alike():
    """Left bones are mirrored: a feature that depended on the side would be another one in half of the women."""
    woman = draw_women(1, seed=3).iloc[0]
    scan = draw_scan(woman, site="wrist", side="right", voxel_mm=0.24, slices=6, seed=3)
    bone = find_bones(scan)["radius"]
    turned = replace(
        bone,
        **{
            name: np.ascontiguousarray(getattr(bone, name)[:, :, ::-1])
            for name in ("density", "total", "cortical", "trabecular")
        },
    )
    np.testing.assert_allclose(measure_texture(turned), measure_texture(bone), rtol=0.25, atol=0.05)
