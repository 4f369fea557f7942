"""A scan as the first XtremeCT would have made it, out of one of the XtremeCT II: wider blur, other noise, 82 µm voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.scans.scan import Scan
from deepqct.scans.stored import ScanError
from deepqct.virtual.scanner import (
    BLUR_MM,
    BLUR_XT1_MM,
    NOISE,
    NOISE_SIGMA_VOXELS,
    XCT1_MM,
    XCT2_MM,
    coarser,
)

_PATCH = 64  # voxels along an edge of the noise that is followed through the blur
_LOWEST, _HIGHEST = -32768, 32767  # of the 16 bits of a scanner's file


def as_first_xtremect(scan: Scan, *, noise: tuple[float, float] | None = None, seed: int = 0) -> Scan:
    """Make the scan of a first XtremeCT out of one of an XtremeCT II, by what is published of both.

    Parameters
    ----------
    scan : Scan
        Of an XtremeCT II, cut to the limb: all of it is held in memory four times as 32-bit floats.
    noise : (second, first), mgHA/cm³, optional
        SD of the noise in soft tissue of the scan as it is, and as it shall be. By default those of virtual scans
        (`deepqct.virtual.scanner.NOISE`), which are our choice.
    seed : int
        Of the noise that is added.

    Returns
    -------
    Scan
        With voxels that are 82/60.7 as wide, in the calibration of `scan`.

    Raises
    ------
    ScanError
        If the scan says that it is no scan of an XtremeCT II.

    Notes
    -----
    The point spreads are Gaussian with a 10 % modulation at lines of 95 µm (XtremeCT II, as its maker states) and 130 µm
    (XtremeCT): what is added is the difference of their variances, an SD of 0.061 mm. Voxels of 82 µm are taken from
    between those of 60.7 µm by straight lines. Of the noise, what blur and new voxels leave is computed, and the rest is
    added, with the same correlation between neighbouring voxels. Beam hardening, scatter and motion are those of the first
    scan.

    References
    ----------
    Burghardt AJ et al. (2011), Clin Orthop Relat Res 469:2179, for the 130 µm.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.2, slices=8, seed=1)
    >>> coarse = dq.virtual.as_first_xtremect(scan)
    >>> scan.native.shape[0], coarse.native.shape[0], round(coarse.voxel_mm[1], 3)
    (8, 5, 0.27)
    """
    if scan.scanner not in (None, "XtremeCT II"):
        raise ScanError(f"The scan is of an {scan.scanner}; give one of an XtremeCT II.")
    ratio, edges = XCT1_MM / XCT2_MM, np.array(scan.voxel_mm)
    before, wanted = noise or _usual_noise(scan, ratio=ratio)
    wider = np.sqrt(BLUR_XT1_MM**2 - BLUR_MM**2) / edges
    seen = coarser(ndimage.gaussian_filter(scan.density, wider), ratio)
    left = before * _kept(wider, ratio=ratio)
    missing = float(np.sqrt(max(wanted**2 - left**2, 0.0)))
    if missing > 0:
        seen += missing * _noise(seen.shape, np.random.default_rng([seed, 82]))
    native = np.rint((seen - scan.intercept) / scan.slope)
    whole = scan.native.dtype == np.int16
    stored = native.clip(_LOWEST, _HIGHEST).astype(np.int16) if whole else native.astype(np.float32)
    z, y, x = (float(edge * ratio) for edge in edges)
    fine = abs(scan.voxel_mm[1] / XCT2_MM - 1) < 0.01
    return replace(
        scan,
        native=stored,
        voxel_mm=(z, y, x),
        scanner="XtremeCT" if fine else None,
        origin_mm=(0.0, 0.0, 0.0),
        grid=None,
    )


def _usual_noise(scan: Scan, *, ratio: float) -> tuple[float, float]:
    """The noise of virtual scans of this site and voxel, on both scanners."""
    edge = scan.voxel_mm[1]
    usual = NOISE.get(scan.site or "", NOISE["wrist"])
    return usual * min(XCT2_MM / edge, 1.0), usual * min(XCT2_MM / (edge * ratio), 1.0)


def _kept(wider: NDArray[np.floating], *, ratio: float) -> float:
    """Which share of the SD of a scan's noise blur and coarser voxels leave."""
    noise = _noise((_PATCH,) * 3, np.random.default_rng(0))
    return float(coarser(ndimage.gaussian_filter(noise, wider), ratio).std())


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of SD 1 with the correlation of real scans between neighbouring voxels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, NOISE_SIGMA_VOXELS, output=noise)
    return noise / noise.std()
