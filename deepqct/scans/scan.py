"""A scanner file as calibrated density, without a word about the patient.

Only technical fields of a header are kept, by a list of what may pass; names, dates, numbers and free text never enter a
`Scan` (see formats.py). Native numbers are kept, densities computed from them on demand.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.formats import ScanError, read_stored


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan of a wrist or an ankle.

    Parameters
    ----------
    native : (z, y, x) int16, or float32
        The file's numbers, long axis of the limb along z; of an ISQ memory-mapped. Floats only where the file has them.
    slope, intercept : float
        density = native × slope + intercept, in mgHA/cm³.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    site, side : str or None
        wrist or ankle; left or right; None where the file does not say.
    scanner : str or None
        The generation, such as XtremeCT II; None where the header's code does not say.
    calibrated_by : str
        header, or the caller, who stated a unit.
    position : (z, y, x) int
        The first voxel in the scanner's whole grid.
    """

    native: NDArray[np.int16] | NDArray[np.float32] = field(repr=False)
    slope: float
    intercept: float
    voxel_mm: tuple[float, float, float]
    site: str | None = None
    side: str | None = None
    scanner: str | None = None
    calibrated_by: str = "header"
    position: tuple[int, int, int] = (0, 0, 0)

    @property
    def density(self) -> NDArray[np.float32]:
        """(z, y, x) float32, mgHA/cm³; computed anew at each call."""
        return self.density_of(...)

    def density_of(self, part: Any) -> NDArray[np.float32]:
        """Densities of a part of the array, float32, mgHA/cm³; only that part is brought into memory."""
        density = self.native[part].astype(np.float32)
        density *= np.float32(self.slope)
        density += np.float32(self.intercept)
        return density

    def __repr__(self) -> str:
        """Shape, voxel, site, side, scanner, calibration and range of densities; all that is known, nothing personal."""
        low, high = (float(n) * self.slope + self.intercept for n in _range(self.native))
        shape = " × ".join(map(str, self.native.shape))
        voxel = " × ".join(f"{v:.4f}" for v in self.voxel_mm)
        sign = "−" if self.intercept < 0 else "+"
        return (
            f"Scan({shape} voxels of {voxel} mm (z, y, x), {self.site or 'site not stated'}, "
            f"{self.side or 'side not stated'}, {self.scanner or 'scanner not stated'}, "
            f"density = native × {self.slope:.6g} {sign} {abs(self.intercept):.6g} by the {self.calibrated_by}, "
            f"{low:.0f} to {high:.0f} mgHA/cm³)"
        )


def _range(native: NDArray[Any]) -> tuple[Any, Any]:
    """Smallest and largest number, read slice by slice."""
    ends = [(one.min(), one.max()) for one in each_loaded(native)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def each_loaded(
    native: NDArray[Any], *, part: tuple[slice, slice, slice] | None = None, step: int = 1
) -> Iterator[NDArray[Any]]:
    """Slices of an array in memory, one after the other; of a mapped file, pages that were read are let go again.

    Parameters
    ----------
    native : (z, y, x)
        An array, perhaps memory-mapped.
    part : tuple of slices, optional
        The box that is wanted; everything by default.
    step : int
        Every so many slices.
    """
    z, y, x = part or (slice(None), slice(None), slice(None))
    owner: Any = native
    while isinstance(owner, np.ndarray):
        owner = owner.base
    for one in native[z][::step]:
        yield np.array(one[y, x])
        if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
            owner.madvise(mmap.MADV_DONTNEED)


def crop(scan: Scan, box: tuple[slice, slice, slice]) -> Scan:
    """The scan of a box, in memory."""
    starts = (s.indices(n)[0] for s, n in zip(box, scan.native.shape, strict=True))
    z, y, x = (first + start for first, start in zip(scan.position, starts, strict=True))
    return replace(scan, native=np.stack(list(each_loaded(scan.native, part=box))), position=(z, y, x))


def read_scan(path: str | Path, *, unit: str | None = None) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : str or Path
        An AIM, an ISQ (memory-mapped), a folder of DICOM slices, a NIfTI, MHA or NRRD.
    unit : str, optional
        ``density``, for a file without a calibration of its own whose numbers are mgHA/cm³. Nothing is guessed.

    Returns
    -------
    Scan
        Calibrated by the file's own header.

    Raises
    ------
    ScanError
        If the file is missing, empty, cut off, damaged, a mask, or without a calibration; or if a unit is stated beside
        one.
    """
    path = Path(path)
    if unit not in (None, "density"):
        raise ScanError(f"unit is {unit!r}; it can only be 'density', or left out.")
    stored = read_stored(path)
    voxels = stored.voxels
    if unit is None and voxels.dtype.itemsize == 1:
        raise ScanError(f"{path} holds 8-bit voxels, as masks do, which have no density; read it with read_mask.")
    if unit is None and stored.calibration is None:
        raise ScanError(f"{path} has no density calibration; say unit='density' if its numbers are mgHA/cm³ already.")
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize > 2 or voxels.dtype == np.uint16:
        voxels = voxels.astype(np.float32, copy=False)
    elif voxels.dtype.itemsize == 1:
        voxels = voxels.astype(np.int16)
    if unit == "density" and stored.calibration is not None:
        raise ScanError(f"{path} is calibrated by its own header; leave out unit, which would throw that away.")
    slope, intercept = stored.calibration or (1.0, 0.0)
    by = "header" if stored.calibration else "caller"
    place = (stored.site, stored.side, stored.scanner, by, stored.position)
    return Scan(voxels, slope, intercept, stored.voxel_mm, *place)


def read_mask(path: str | Path) -> tuple[NDArray[np.bool_], tuple[float, float, float]]:
    """Read a mask: everything that is not 0. Masks have no density and are never calibrated.

    Returns
    -------
    (z, y, x) bool
        The mask.
    (z, y, x) mm
        Edge lengths of a voxel.

    Raises
    ------
    ScanError
        As `read_scan`.
    """
    mask, voxel_mm, _ = read_mask_at(path)
    return mask, voxel_mm


def read_mask_at(
    path: str | Path,
) -> tuple[NDArray[np.bool_], tuple[float, float, float], tuple[int, int, int]]:
    """As `read_mask`, and where the mask's first voxel (z, y, x) lies in the scanner's whole grid."""
    stored = read_stored(Path(path))
    return np.asarray(stored.voxels != 0), stored.voxel_mm, stored.position
