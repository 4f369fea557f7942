"""Local thickness against shapes of known size; the limits are those that the README states."""

from __future__ import annotations

import numpy as np
import pytest
import shapes
from scipy import ndimage
from scipy.spatial import cKDTree

from deepqct.bones import axis_spacing, local_thickness, medial_spheres
from deepqct.bones.indices import trabecular_indices

CUBE = (1.0, 1.0, 1.0)


def _mean_inside(mask, margin):
    """Mean thickness away from the border of the array, in voxels."""
    inner = (slice(margin, -margin),) * 3
    return float(local_thickness(mask, voxel_mm=CUBE)[inner][mask[inner]].mean())


@pytest.mark.parametrize("voxels", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plates_of_even_and_odd_width_are_exact(voxels, axis):
    """A distance between voxel centres gives 1, 1, 3, 3, 5, 5 or 2, 2, 4, 4, 6, 6 here."""
    mask = np.zeros((14, 14, 14), bool)
    np.moveaxis(mask, axis, 0)[4 : 4 + voxels] = True
    thickness = local_thickness(mask, voxel_mm=CUBE)
    assert np.abs(thickness[mask] - voxels).max() < 0.1
    assert not thickness[~mask].any()


def _struts(voxels, *, lattice):
    """Struts so many voxels thick and 14 voxels apart, along one axis or along all three."""
    mask = np.zeros((42, 42, 42), bool)
    on = np.arange(42) % 14 // voxels == 7 // voxels
    mask[:, on[:, None] & on] = True
    if lattice:
        mask |= mask.transpose(1, 0, 2) | mask.transpose(1, 2, 0)
    return mask


def _network(seed, *, size=48):
    """A network of struts and plates of a few voxels: the middle fifth of a smooth random field."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size,) * 3), 3.0)
    return np.abs(field) < np.quantile(np.abs(field), 0.2)


@pytest.mark.parametrize("voxels", [1, 2])
@pytest.mark.parametrize("lattice", [False, True])
def test_thin_struts_bound_spheres_and_are_measured(voxels, lattice):
    """Smoothing takes struts of one voxel away; without them the space between has no bounds."""
    mask = _struts(voxels, lattice=lattice)
    found = trabecular_indices(mask, domain=np.ones_like(mask), voxel_mm=CUBE)
    widest = 2 * ndimage.distance_transform_edt(~mask).max()
    assert 0.8 * widest < found["Tb.Sp"] < 1.05 * widest
    assert voxels <= found["Tb.Th"] < 1.3 * voxels  # the nodes of a lattice hold larger spheres
    assert 1 / found["Tb.N"] == pytest.approx(14 * np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("thin", [1, 2])
def test_thin_plates_and_gaps_bound_spheres(thin):
    mask = np.zeros((40, 24, 24), bool)
    mask[8 : 8 + thin] = mask[20 : 20 + thin] = True
    middle = np.s_[8 : 20 + thin, 12, 12]
    for one in (mask, ~mask):
        thickness = local_thickness(one, voxel_mm=CUBE)[middle]
        widths = np.where(mask[middle], thin, 12 - thin)
        np.testing.assert_allclose(thickness[one[middle]], widths[one[middle]], atol=0.1)


def test_spheres_are_within_half_a_voxel_of_plain_ones():
    """No sphere leaves the bounds that distances between voxel centres give, in whatever shape."""
    rng = np.random.default_rng(0)
    shown = [_struts(1, lattice=True), _struts(2, lattice=True), _network(0), shapes.ball(9, rng=rng)]
    shown += [shapes.plate(width, size=24, rng=rng) for width in (1, 2, 3)] + [rng.random((20, 20, 20)) < 0.1]
    for mask in shown:
        for one in (mask, ~mask):
            spheres = medial_spheres(one)
            plain, _ = cKDTree(np.argwhere(~one)).query(spheres[:, :3])
            assert np.abs(spheres[:, 3] - plain).max() < 0.51


def test_a_doubled_mask_keeps_its_thickness():
    """Only flat faces say the same on both grids; the steps of slanting ones are two voxels high on the finer."""
    mask = shapes.flat_plates(thickness=3, gap=9, shape=(12, 12, 60))
    doubled = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    for one, two in ((mask, doubled), (~mask, ~doubled)):
        coarse = local_thickness(one, voxel_mm=CUBE)[one].mean()
        assert local_thickness(two, voxel_mm=(0.5,) * 3)[two].mean() == pytest.approx(coarse, rel=0.03)


@pytest.mark.parametrize("voxels", [3, 5, 8, 12])
def test_oblique_plates(voxels):
    rng = np.random.default_rng(voxels)
    size = max(24, 3 * voxels)
    errors = [_mean_inside(shapes.plate(voxels, size=size, rng=rng), size // 4) / voxels - 1 for _ in range(10)]
    assert np.mean(np.abs(errors)) < 0.05
    assert np.max(np.abs(errors)) < 0.10


def test_rods_and_balls_near_their_diameter():
    """Curved surfaces made of voxels hold smaller spheres than they mean; the error falls with size and is stated."""
    rng = np.random.default_rng(1)
    for diameter, rods, balls in ((4, 0.12, 0.20), (8, 0.06, 0.11), (12, 0.04, 0.08)):
        rod = np.mean([_mean_inside(shapes.rod(diameter, size=30, rng=rng), 9) for _ in range(6)]) / diameter - 1
        masks = [shapes.ball(diameter, rng=rng) for _ in range(6)]
        ball = np.mean([local_thickness(mask, voxel_mm=CUBE)[mask].mean() for mask in masks]) / diameter - 1
        assert -rods < rod < 0.02
        assert -balls < ball < 0.02


def test_two_sizes_keep_their_own_thickness():
    """A thin plate that meets a thick one is thin up to where the thick one's spheres end."""
    mask = np.zeros((20, 60, 60), bool)
    mask[:, 20:32] = True
    mask[:, 32:60, 28:32] = True
    thickness = local_thickness(mask, voxel_mm=CUBE)[10]
    assert thickness[26, 10] == pytest.approx(12, abs=0.1)
    assert thickness[45, 30] == pytest.approx(4, abs=0.1)


def test_millimetres_threads_and_specks():
    mask = shapes.flat_plates(thickness=4, gap=9, shape=(12, 12, 40))
    mask[6, 6, 4] = True
    one = local_thickness(mask, voxel_mm=(0.06, 0.06, 0.06), threads=1)
    np.testing.assert_array_equal(one, local_thickness(mask, voxel_mm=(0.06, 0.06, 0.06), threads=3))
    assert one[6, 6, 11] == pytest.approx(0.24, abs=0.006)
    assert one[6, 6, 4] == pytest.approx(0.06)  # a single voxel has no inside


def test_the_structure_goes_on_beyond_the_array():
    mask = np.zeros((6, 6, 20), bool)
    mask[:, :, :8] = True
    assert local_thickness(mask, voxel_mm=CUBE)[3, 3, 7] > 8  # the rest of the plate is not in the image


@pytest.mark.parametrize(("thickness", "gap"), [(3, 14), (4, 9), (3, 20)])
def test_number_of_parallel_plates(thickness, gap):
    period = thickness + gap
    mask = shapes.flat_plates(thickness=thickness, gap=gap, shape=(30, 30, 8 * period))
    domain = np.zeros_like(mask)
    domain[:, 2:-2, 2:-2] = True
    spacing = axis_spacing(mask & domain, domain=domain, voxel_mm=CUBE)
    inner = spacing[:, 8:-8]  # at their ends plates leave room for larger spheres
    assert inner[inner > 0].mean() == pytest.approx(period, rel=0.03)


def test_what_cannot_be_measured():
    assert not local_thickness(np.zeros((4, 4, 4), bool), voxel_mm=CUBE).any()
    assert not axis_spacing(np.zeros((4, 4, 4), bool), domain=np.ones((4, 4, 4), bool), voxel_mm=CUBE).any()
    with pytest.raises(ValueError, match="True everywhere"):
        local_thickness(np.ones((4, 4, 4), bool), voxel_mm=CUBE)
    with pytest.raises(ValueError, match="not cubes"):
        local_thickness(np.ones((4, 4, 4), bool), voxel_mm=(1.0, 1.0, 2.0))
    with pytest.raises(ValueError, match="2 dimensions"):
        local_thickness(np.ones((4, 4), bool), voxel_mm=CUBE)
