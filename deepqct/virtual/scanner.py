"""What a scanner makes of a limb: blur, noise, and the numbers of its files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.scan import INTERCEPT, MU_SCALING, SLOPE, Scan, to_native

# A Gaussian point spread that gives a 10 % modulation at lines of 95 µm, as stated for the XtremeCT II; our reading.
BLUR_MM = 0.065
# mgHA/cm³ in soft tissue at 61 µm; our choice. Coarser voxels average some of it away.
NOISE = 75.0
NOISE_SIGMA_VOXELS = 0.87
_XCT2_VOXEL_MM = 0.0607


def scan_limb(density: NDArray[np.float32], *, voxel_mm: float, site: str, side: str, rng: np.random.Generator) -> Scan:
    """Scan a right limb; a left one is its mirror image.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        The limb.
    voxel_mm : float
        Edge of a voxel.
    site, side : str
        wrist or ankle; left or right.
    rng : numpy Generator
        Of this scan alone.

    Returns
    -------
    Scan
        Native 16-bit numbers in the default calibration.
    """
    blurred = ndimage.gaussian_filter(density, BLUR_MM / voxel_mm)
    noise = ndimage.gaussian_filter(rng.standard_normal(density.shape, dtype=np.float32), NOISE_SIGMA_VOXELS)
    noise *= NOISE * min(_XCT2_VOXEL_MM / voxel_mm, 1.0) / noise.std()
    native = to_native(blurred + noise)
    if side == "left":
        native = np.ascontiguousarray(native[:, :, ::-1])
    return Scan(native, SLOPE / MU_SCALING, INTERCEPT, (voxel_mm,) * 3, site, side)
