"""A scanner file as calibrated density, without a word about the patient.

Only technical fields of a header are kept, by a list of what may pass; names, dates, numbers and free text never enter
a `Scan` (see stored.py). Native numbers are kept, densities computed from them on demand.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.formats import read_stored
from deepqct.scans.shown import card, sizes, slice_picture, times
from deepqct.scans.stored import ScanError, Stored

MOST_LABELS = 64  # of a mask, which has one number a compartment; our choice


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan of a wrist or an ankle.

    Parameters
    ----------
    native : (z, y, x) int16, or float32
        The numbers as the file stores them, the long axis of the limb along z; memory-mapped for an ISQ. Floats only
        where the file itself holds floats.
    slope, intercept : float
        density = native × slope + intercept, in mgHA/cm³.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    site, side : str or None
        wrist or ankle, and left or right; None where the file does not say.
    scanner : str or None
        The generation, such as XtremeCT II; ``unclear`` where the header's voxel, grid and tube disagree; None where it
        does not say.
    calibrated_by : str
        ``header``, or ``caller`` where whoever read the file stated its unit.
    origin_mm : (z, y, x) mm
        Where the first voxel lies in the scanner's whole grid, or in the patient's coordinates of a DICOM series.
    grid : (y, x) or None
        Voxels of the scanner's whole grid, of which the scan may be a box; None where the file does not say.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.array([[[2000, 4000]]], np.int16), 0.25, -391.0, (0.061, 0.061, 0.061), "wrist", "right")
    >>> scan.density.tolist()
    [[[109.0, 609.0]]]
    """

    native: NDArray[np.int16] | NDArray[np.float32] = field(repr=False)
    slope: float
    intercept: float
    voxel_mm: tuple[float, float, float]
    site: str | None = None
    side: str | None = None
    scanner: str | None = None
    calibrated_by: str = "header"
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grid: tuple[int, int] | None = None

    @property
    def position(self) -> tuple[int, int, int]:
        """The first voxel (z, y, x) in the scanner's whole grid, in voxels."""
        z, y, x = (round(mm / edge) for mm, edge in zip(self.origin_mm, self.voxel_mm, strict=True))
        return z, y, x

    @property
    def density(self) -> NDArray[np.float32]:
        """The densities of all voxels, (z, y, x) float32, in mgHA/cm³; they are computed anew at each call."""
        return self.density_of(...)

    def density_of(self, part: Any) -> NDArray[np.float32]:
        """Return the densities of a part of the array; only that part is brought into memory.

        Parameters
        ----------
        part : index
            Whatever NumPy accepts between the brackets of `native`: a slice number, slices, or ``...`` for everything.

        Returns
        -------
        float32, mgHA/cm³
            Of the shape that `native` has there.
        """
        density = self.native[part].astype(np.float32)
        density *= np.float32(self.slope)
        density += np.float32(self.intercept)
        return density

    def __repr__(self) -> str:
        """Say shape, voxel, site, side, scanner and calibration, and nothing about the patient; no voxel is read."""
        return (
            f"Scan({times(self.native.shape, 'd')} voxels of {times(self.voxel_mm, '.4f')} mm (z, y, x), {self._place},\n"
            f"     {self._line} by the {self.calibrated_by})"
        )

    def _repr_html_(self) -> str:
        """The same for a notebook, with the middle slice, which is the only one that is read."""
        middle = self.density_of(len(self.native) // 2)
        rows = {
            **sizes(self.native.shape, self.voxel_mm),
            "site, side, scanner": self._place,
            "calibration": f"{self._line} by the {self.calibrated_by}",
            "middle slice": f"{middle.min():.0f} to {middle.max():.0f} mgHA/cm³, mean {middle.mean():.0f}".replace(
                "-", "−"
            ),
        }
        then = {"dq.find_bones(scan)": "cuts its two bones out", "dq.SliceViewer(scan)": "shows it slice by slice"}
        return card("Scan", rows, then=then, picture=slice_picture(middle, pixel_mm=self.voxel_mm[1:]))

    @property
    def _place(self) -> str:
        """Site, side and scanner in words."""
        return ", ".join(getattr(self, name) or f"{name} not stated" for name in ("site", "side", "scanner"))

    @property
    def _line(self) -> str:
        """The calibration as a formula."""
        sign = "−" if self.intercept < 0 else "+"
        return f"density = native × {self.slope:.6g} {sign} {abs(self.intercept):.6g} mgHA/cm³"


def each_loaded(
    native: NDArray[Any], *, part: tuple[slice, slice, slice] | None = None, step: int = 1
) -> Iterator[NDArray[Any]]:
    """Yield the slices of an array one after the other, each as a copy in memory.

    Of a memory-mapped file only one slice is held in memory at a time.

    Parameters
    ----------
    native : (z, y, x)
        An array, perhaps memory-mapped.
    part : tuple of slices, optional
        The box (z, y, x) that is wanted; everything by default.
    step : int
        1 for all slices of the box, 2 for every second one, and so on.

    Yields
    ------
    (y, x)
        One slice of the box.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> native = np.arange(60).reshape(5, 3, 4)
    >>> [int(plane[0, 0]) for plane in dq.scans.each_loaded(native, step=2)]
    [0, 24, 48]
    """
    z, y, x = part or (slice(None), slice(None), slice(None))
    owner: Any = native
    while isinstance(owner, np.ndarray):
        owner = owner.base
    for plane in native[z][::step]:
        yield np.array(plane[y, x])
        if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
            owner.madvise(mmap.MADV_DONTNEED)


def crop(scan: Scan, box: tuple[slice, slice, slice]) -> Scan:
    """Return the part of a scan that lies in a box, as a scan of its own in memory.

    Parameters
    ----------
    scan : Scan
        The whole scan; it is not changed.
    box : tuple of slices
        Which voxels (z, y, x) to keep.

    Returns
    -------
    Scan
        Its `origin_mm` is that of the box.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.zeros((5, 30, 40), np.int16), 0.25, -391.0, (0.061, 0.061, 0.061))
    >>> smaller = dq.scans.crop(scan, (slice(1, 4), slice(10, 20), slice(None)))
    >>> smaller.native.shape, smaller.position
    ((3, 10, 40), (1, 10, 0))
    """
    starts = (s.indices(n)[0] for s, n in zip(box, scan.native.shape, strict=True))
    z, y, x = (mm + start * edge for mm, start, edge in zip(scan.origin_mm, starts, scan.voxel_mm, strict=True))
    return replace(scan, native=np.stack(list(each_loaded(scan.native, part=box))), origin_mm=(z, y, x))


def read_scan(path: str | Path, *, unit: str | None = None, unusual: bool = False) -> Scan:
    """Read a scanner file as a scan with calibrated densities.

    Parameters
    ----------
    path : str or Path
        An AIM, an ISQ (memory-mapped), a folder of DICOM slices, a NIfTI, MHA or NRRD.
    unit : str, optional
        ``density`` says that the numbers of a file without a calibration are mgHA/cm³ already. Nothing is guessed.
    unusual : bool
        Allow voxels and calibrations that no HR-pQCT scanner has (stored.py states the bounds).

    Returns
    -------
    Scan
        Calibrated by the file's own header, or by `unit`.

    Raises
    ------
    ScanError
        If the file is missing, empty, cut off, damaged, a mask, or without a calibration; if its voxels or its calibration
        cannot be; or if `unit` is given for a file that has a calibration.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.array([[[2000, 4000]]], np.int16), 0.25, -391.0, (0.061, 0.061, 0.061), "wrist", "right")
    >>> dq.read_scan(dq.scans.write_aim(Path(tempfile.mkdtemp()) / "wrist.AIM", scan))
    Scan(1 × 1 × 2 voxels of 0.0610 × 0.0610 × 0.0610 mm (z, y, x), wrist, right, scanner not stated,
    density = native × 0.25 − 391 mgHA/cm³ by the header)
    """
    path = Path(path)
    if unit not in (None, "density"):
        raise ScanError(f"unit is {unit!r}; it can only be 'density', or left out.")
    stored = read_stored(path, unusual=unusual)
    voxels = stored.voxels
    if unit is None and voxels.dtype.itemsize == 1:
        raise ScanError(f"{path} holds 8-bit voxels, as masks do, which have no density; give the scan itself.")
    if unit is None and stored.calibration is None:
        raise ScanError(
            f"{path} has no density calibration; state the unit density if its numbers are mgHA/cm³ already (column unit "
            "of scans.tsv, --unit of inspect)."
        )
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize > 2 or voxels.dtype == np.uint16:
        voxels = voxels.astype(np.float32, copy=False)
    elif voxels.dtype.itemsize == 1:
        voxels = voxels.astype(np.int16)
    if unit == "density" and stored.calibration is not None:
        raise ScanError(f"{path} is calibrated by its own header; leave its unit empty, which would throw that away.")
    slope, intercept = stored.calibration or (1.0, 0.0)
    by = "header" if stored.calibration else "caller"
    place = (stored.site, stored.side, stored.scanner, by, stored.origin_mm, stored.grid)
    return Scan(voxels, slope, intercept, stored.voxel_mm, *place)


def read_mask(path: str | Path) -> tuple[NDArray[np.bool_], tuple[float, float, float]]:
    """Read a mask: True wherever the file's number is not 0.

    Masks have no density and are never calibrated.

    Parameters
    ----------
    path : str or Path
        A file of any format that `read_scan` reads, or contours as GOBJ.

    Returns
    -------
    (z, y, x) bool
        The mask.
    (z, y, x) mm
        Edge lengths of a voxel.

    Raises
    ------
    ScanError
        If the file is missing, empty, cut off, damaged, or not what its name says.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> drawn = dq.Scan(np.array([[[0, 1, 127]]], np.int16), 1.0, 0.0, (0.082, 0.082, 0.082))
    >>> mask, voxel_mm = dq.scans.read_mask(dq.scans.write_image(Path(tempfile.mkdtemp()) / "radius.mha", drawn))
    >>> mask.tolist(), voxel_mm
    ([[[False, True, True]]], (0.082, 0.082, 0.082))
    """
    stored = read_mask_at(path)
    return np.asarray(stored.voxels != 0), stored.voxel_mm


def read_mask_at(path: str | Path) -> Stored:
    """Read a mask with its place in the scanner's whole grid: what the file stores, not 0 where the mask is.

    Parameters
    ----------
    path : str or Path
        As for `read_mask`.

    Raises
    ------
    ScanError
        As `read_mask`, and for a scan in place of a mask: more numbers than a mask has labels.
    """
    stored = read_stored(Path(path), unusual=True)
    if (
        stored.voxels.dtype.itemsize > 1
        and len(np.unique(stored.voxels[:: max(len(stored.voxels) // 8, 1)])) > MOST_LABELS
    ):
        raise ScanError(
            f"{path} holds a scan and no mask: its voxels have more than {MOST_LABELS} values; give the contour."
        )
    return stored
