"""Two generations of scanners: one made out of the other, and networks that see both at one resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from deepqct.networks import Recipe
from deepqct.networks.images import POINT_SPREAD, matched
from deepqct.scans.stored import ScanError
from deepqct.virtual import as_first_xtremect
from deepqct.virtual.scanner import BLUR_MM, BLUR_XT1_MM, XCT1_MM, XCT2_MM, scan_limb


def edge_and_noise(scan) -> tuple[float, float]:
    """Where a step from 0 to 900 mgHA/cm³ across x rises from 10 to 90 %, in mm, and the SD of the flat half."""
    density, n = scan.density, scan.native.shape
    inner = density[2:-2, 4:-4]
    profile = inner.mean(axis=(0, 1))
    flat = inner[..., 4 : n[2] // 2 - 6]
    low, high = profile[4 : n[2] // 2 - 6].mean(), profile[n[2] // 2 + 6 : -4].mean()
    share = (profile - low) / (high - low)
    middle = slice(n[2] // 2 - 6, n[2] // 2 + 6)
    places = np.interp([0.1, 0.9], np.maximum.accumulate(share[middle]), np.arange(12))
    return float(np.diff(places)[0] * scan.voxel_mm[2]), float((flat - flat.mean(axis=(0, 1))).std())


def step(shape: tuple[int, int, int] = (40, 96, 96)) -> np.ndarray:
    """A flat half and a dense half."""
    limb = np.zeros(shape, np.float32)
    limb[..., shape[2] // 2 :] = 900
    return limb


def test_a_scan_made_coarser_is_what_the_coarser_scanner_makes_of_the_same_limb():
    """Its edges as wide, its noise as strong, its voxels as large; only the draws of the noise differ."""
    drawn = {"voxel_mm": XCT2_MM, "site": "wrist", "side": "right"}
    fine = scan_limb(step(), rng=np.random.default_rng(1), **drawn)
    direct = scan_limb(step(), rng=np.random.default_rng(2), scanner="xt1", **drawn)
    made = as_first_xtremect(fine, seed=3)
    assert made.scanner == direct.scanner == "XtremeCT" and made.voxel_mm == pytest.approx(direct.voxel_mm)
    assert made.native.shape == direct.native.shape and made.native.dtype == np.int16
    (width, noise), (wanted_width, wanted_noise), (finer, _) = map(edge_and_noise, (made, direct, fine))
    assert width == pytest.approx(wanted_width, rel=0.08) and noise == pytest.approx(wanted_noise, rel=0.08)
    assert width > 1.15 * finer
    np.testing.assert_array_equal(as_first_xtremect(fine, seed=3).native, made.native)
    quiet = as_first_xtremect(fine, noise=(75.0, 20.0))  # less than is left: nothing can be taken away
    assert edge_and_noise(quiet)[1] < noise
    with pytest.raises(ScanError, match="is of an XtremeCT; give one of an XtremeCT II"):
        as_first_xtremect(made)


def test_the_point_spreads_are_those_of_ten_percent_modulation():
    """Lines of 95 and of 130 µm are seen with a tenth of their contrast; the spread is one share of a voxel for both."""
    for blur, line, edge in ((BLUR_MM, 0.095, XCT2_MM), (BLUR_XT1_MM, 0.130, XCT1_MM)):
        assert np.exp(-2 * (np.pi * blur / (2 * line)) ** 2) == pytest.approx(0.1, abs=0.002)
        assert blur / edge == pytest.approx(POINT_SPREAD, rel=0.01)


def test_finer_scans_are_smoothed_to_the_coarser_and_coarser_ones_turned_by_the_line():
    """A step that both scanners blurred lies alike afterwards; without the match it does not."""
    view = Recipe(match_mm=XCT1_MM, match_slope=1.02, match_intercept=-5.0).view
    size = 40
    places = (np.arange(size) - (size - 1) / 2) * XCT2_MM
    blurred = [
        np.broadcast_to(ndimage.gaussian_filter1d((places > 0) * 1000.0, sigma / XCT2_MM), (size,) * 3).astype(np.int16)
        for sigma in (POINT_SPREAD * XCT2_MM, POINT_SPREAD * XCT1_MM)
    ]
    smooth = matched(blurred[0], view=view, voxel_mm=(XCT2_MM,) * 3, scan_mm=XCT2_MM)
    apart = [np.abs(one.astype(float) - blurred[1])[8:-8, 8:-8, 8:-8].max() for one in (smooth, blurred[0])]
    assert apart[0] < 12 and apart[1] > 4 * apart[0]
    turned = matched(blurred[1], view=view, voxel_mm=(XCT1_MM,) * 3, scan_mm=XCT1_MM)
    np.testing.assert_allclose(turned, 1.02 * blurred[1] - 5, atol=1)


def test_a_match_that_cannot_be_is_refused():
    """By name and with what to give."""
    for wrong, says in (
        ({"match_mm": -0.1}, "match_mm is the edge of a voxel"),
        ({"match_mm": 0.082, "match_slope": 0.0}, "match_slope must lie above 0"),
        ({"match_slope": 1.1}, "give match_mm too"),
    ):
        with pytest.raises(ValueError, match=says):
            Recipe(**wrong)
    assert replace(Recipe(), match_mm=0.082).view != Recipe().view
