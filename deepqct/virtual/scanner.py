"""What a scanner makes of a limb: blur, cupping, noise, and the numbers of its files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.scans.scan import Scan
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native

# A Gaussian point spread that gives a 10 % modulation at lines of 95 µm, as stated for the XtremeCT II; our reading.
BLUR_MM = 0.065
# mgHA/cm³ in soft tissue at 61 µm, more in the thicker limb and towards its middle; our choice, within what published
# pictures show (55 to 130). Coarser voxels average some of it away.
NOISE = {"wrist": 75.0, "ankle": 95.0}
NOISE_SIGMA_VOXELS = 0.87  # gives the autocorrelation of real scans between neighbouring voxels
MORE_INSIDE = 0.15
CUPPING = 0.015  # what beam hardening leaves after its correction; our choice
XCT2_MM, XCT1_MM = 0.0607, 0.082
_GRID = {"xt2": 2304, "xt1": 1536}  # pixels along each edge of a slice
_NAMES = {"xt2": ("XtremeCT II", XCT2_MM), "xt1": ("XtremeCT", XCT1_MM)}
# The first XtremeCT resolves 130 µm where the second resolves 95 (Burghardt 2011, Clin Orthop Relat Res 469:2179).
BLUR_XT1_MM = BLUR_MM * 130 / 95


def scan_limb(
    density: NDArray[np.float32],
    *,
    voxel_mm: float,
    site: str,
    side: str,
    rng: np.random.Generator,
    scanner: str = "xt2",
    scale: float = 1.0,
) -> Scan:
    """Return the scan of a limb: blurred, with cupping and noise, as the numbers of a scanner's file.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        A right limb, after it moved.
    voxel_mm : float
        Edge of a voxel.
    site : str
        wrist or ankle.
    side : str
        left or right; a left limb is the mirror image of the right one.
    rng : numpy Generator
        Random numbers of this scan.
    scanner : str
        xt2, or xt1: more blur, and voxels that are coarser by 82 to 60.7.
    scale : float
        By which the scanner's densities are too high.

    Returns
    -------
    Scan
        Native 16-bit numbers in the default calibration, in the middle of the scanner's field.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.scanner import scan_limb
    >>> flat = np.full((4, 60, 60), 900, np.float32)
    >>> scan = scan_limb(flat, voxel_mm=0.12, site="wrist", side="left", rng=np.random.default_rng(1))
    >>> scan.native.dtype.name, round(float(scan.density.std()))
    ('int16', 37)
    """
    if scanner not in _NAMES:
        raise ValueError(f"The scanner is {scanner!r}; use {', '.join(_NAMES)}.")
    seen = ndimage.gaussian_filter(density, (BLUR_MM if scanner == "xt2" else BLUR_XT1_MM) / voxel_mm)
    if scanner == "xt1":
        seen = coarser(seen, XCT1_MM / XCT2_MM)
        voxel_mm *= XCT1_MM / XCT2_MM
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in seen.shape[1:])
    inside = np.clip(1 - y[:, None] ** 2 - x[None] ** 2, 0, 1)
    seen -= CUPPING * inside * np.clip(seen, 0, None)
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, NOISE_SIGMA_VOXELS, output=noise)
    noise *= NOISE[site] * min(XCT2_MM / voxel_mm, 1.0) / noise.std()
    noise *= 1 + MORE_INSIDE * (inside - np.float32(0.5))
    seen += noise
    if scale != 1.0:
        seen *= np.float32(scale)
    native = to_native(seen)
    if side == "left":
        native = np.ascontiguousarray(native[:, :, ::-1])
    name, edge = _NAMES[scanner]
    fine = abs(voxel_mm / edge - 1) < 0.01
    rows, columns = ((_GRID[scanner] - n) // 2 if fine else 0 for n in native.shape[1:])
    place = (site, side, name if fine else None, "header", (0, rows, columns))
    return Scan(native, SLOPE / MU_SCALING, INTERCEPT, (voxel_mm,) * 3, *place)


def coarser(density: NDArray[np.float32], ratio: float) -> NDArray[np.float32]:
    """The densities on a grid that is coarser by a ratio, around the same middle.

    Parameters
    ----------
    density : (z, y, x) float32
        On the finer grid.
    ratio : float
        Above 1.

    Returns
    -------
    (z, y, x) float32

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.scanner import coarser
    >>> coarser(np.ones((4, 8, 8), np.float32), 2.0).shape
    (2, 4, 4)
    """
    shape = np.floor(np.array(density.shape) / ratio).astype(int)
    offset = (np.array(density.shape) - 1) / 2 - ratio * (shape - 1) / 2
    return np.asarray(
        ndimage.affine_transform(density, np.full(3, ratio), offset=offset, output_shape=tuple(shape), order=1),
        np.float32,
    )
