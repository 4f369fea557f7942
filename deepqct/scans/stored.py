"""What a scanner file holds: voxels as they are stored, and the few technical fields of a header that may pass.

What may pass is a short list: size, voxel, calibration, site and scanner code, place in the scanner's grid. Names, dates,
numbers and free text are never handed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Edges of a voxel in mm. Scanners have 0.0607 (XtremeCT II) and 0.082 (XtremeCT); coarser ones are averaged, finer ones of
# other scanners. Outside of it stands a unit that was taken for another, or none. Our choice.
VOXEL_MM = (0.02, 0.5)
# mgHA/cm³ that one step of the stored numbers means, and what 0 means: about 0.2 and 0.4 at Mu_Scaling 8192 and 4096, and
# −320 to −400. Outside of it stands the Hounsfield line in place of the density line, or another scaling. Our choice.
SLOPE_MGHA = (0.05, 1.0)
INTERCEPT_MGHA = (-700.0, 100.0)
# Codes of the Site field in the headers of AIM and ISQ.
SITE_CODES = {20: ("wrist", "left"), 21: ("wrist", "right"), 38: ("ankle", "left"), 39: ("ankle", "right")}
UNCLEAR = "unclear"  # of a scanner whose header names one generation and whose voxel, grid or tube another
# Generation: its voxel (mm), the width of its grid (voxels), its tube (V); Bouxsein 2010, Whittier 2020.
GENERATIONS = {
    "XtremeCT": ((0.075, 0.090), 1536, (55_000, 63_000)),
    "XtremeCT II": ((0.055, 0.066), 2304, (64_000, 72_000)),
}
# How a scan was made, by what its header says: numbers only, none of which tells who or when.
PROTOCOL = (
    "slices",
    "voxel, mm",
    "energy, kV",
    "current, µA",
    "integration time, ms",
    "projections",
    "first slice from the reference line, mm",
    "reconstruction",
    "Mu_Scaling",
)
SOFTWARE = "software version"
_VERSION = re.compile(r"[Vv]?\d{1,3}(\.\d{1,3}){0,3}[a-z]?")
_DATED = re.compile(r"\d{2}\.\d{2}\.\d{2,4}")


def version_of(text: object) -> str:
    """The version of software that a header states; empty for whatever could be a date or a name.

    Parameters
    ----------
    text : object
        What the header says, perhaps nothing.

    Examples
    --------
    >>> from deepqct.scans.stored import version_of
    >>> [version_of(text) for text in ("V6.1", "6.6.1a", "01.02.24", "Doe 1950", None)]
    ['V6.1', '6.6.1a', '', '', '']
    """
    said = str(text or "").strip()
    return said if _VERSION.fullmatch(said) and not _DATED.fullmatch(said) else ""


class ScanError(ValueError):
    """A scanner file that cannot be read; the message says what to do.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.read_scan("/nowhere.AIM")
    Traceback (most recent call last):
    deepqct.scans.stored.ScanError: ...
    """


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds.

    Parameters
    ----------
    voxels : (z, y, x)
        As stored; of an ISQ memory-mapped.
    calibration : (slope, intercept) or None
        density = voxels × slope + intercept in mgHA/cm³; None if the file has none.
    voxel_mm : (z, y, x) mm
        Edge lengths.
    site, side : str or None
        From the header's code.
    scanner : str or None
        The generation by voxel, grid and tube together (`generation`).
    origin_mm : (z, y, x) mm
        Where the first voxel lies in the scanner's whole grid, to lay contours and masks of other extent onto it.
    grid : (y, x) voxels or None
        Size of the scanner's whole grid, of which the file may hold a box.
    """

    voxels: NDArray[Any]
    calibration: tuple[float, float] | None
    voxel_mm: tuple[float, float, float]
    site: str | None = None
    side: str | None = None
    scanner: str | None = None
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Head:
    """What a file says before its voxels.

    Parameters
    ----------
    voxel_mm : (z, y, x) mm or None
        Edge lengths; None where only the voxels' files tell.
    calibration : (slope, intercept) or None
        As in `Stored`.
    site, side : str or None
        From the header's code.
    mask : bool
        Whether its voxels have 8 bits or fewer, as masks do; False where only the voxels tell.
    scanner : str or None
        As in `Stored`.
    protocol : mapping of str to float or str
        How it was scanned, by the names of `PROTOCOL` (numbers) and `SOFTWARE` (the version of the software, or of its
        files); what the header does not state is absent.
    """

    voxel_mm: tuple[float, float, float] | None = None
    calibration: tuple[float, float] | None = None
    site: str | None = None
    side: str | None = None
    mask: bool = False
    scanner: str | None = None
    protocol: Mapping[str, float | str] = field(default_factory=dict)


def check_voxel(voxel_mm: tuple[float, ...], path: Path, *, unusual: bool) -> None:
    """Refuse a voxel that cannot be: not above 0, or outside of `VOXEL_MM` unless `unusual` ones are allowed.

    Raises
    ------
    ScanError
        With the number.
    """
    edges = " × ".join(f"{edge:g}" for edge in voxel_mm)
    if not all(np.isfinite(edge) and edge > 0 for edge in voxel_mm):
        raise ScanError(f"{path} states voxels of {edges} mm, which cannot be; export it again with its voxel size.")
    low, high = VOXEL_MM
    if not unusual and not all(low <= edge <= high for edge in voxel_mm):
        raise ScanError(
            f"{path} states voxels of {edges} mm, outside of the {low:g} to {high:g} mm of such scanners (micrometres, or "
            "none stated?); export it again with its voxel size in mm, or allow it (unusual=allow in a run, --unusual of "
            "inspect)."
        )


def check_calibration(calibration: tuple[float, float], path: Path, *, unusual: bool) -> None:
    """Refuse a calibration that cannot be: no number, slope not above 0, or one of another unit or scaling.

    Raises
    ------
    ScanError
        With both numbers.
    """
    slope, intercept = calibration
    stated = f"{path} states density = native × {slope:.4g} {intercept:+.4g} mgHA/cm³"
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope > 0):
        raise ScanError(f"{stated}, which cannot be; export it again with its density calibration.")
    usual = SLOPE_MGHA[0] <= slope <= SLOPE_MGHA[1] and INTERCEPT_MGHA[0] <= intercept <= INTERCEPT_MGHA[1]
    if not unusual and not usual:
        raise ScanError(
            f"{stated}, outside of slopes of {SLOPE_MGHA[0]:g} to {SLOPE_MGHA[1]:g} and intercepts of "
            f"{INTERCEPT_MGHA[0]:g} to {INTERCEPT_MGHA[1]:g} (Hounsfield units, or another scaling?); export it again, "
            "or allow it (unusual=allow in a run, --unusual of inspect)."
        )


def generation(*, voxel_mm: float, grid: int | None, tube_v: float | None, code: int | None) -> str | None:
    """The scanner's generation by voxel, grid and tube together: one type code stands on headers of both.

    Parameters
    ----------
    voxel_mm : float
        Edge in the plane of a slice.
    grid : int or None
        Width of the whole grid in voxels, where the header states it.
    tube_v : float or None
        Voltage of the tube, where the header states it.
    code : int or None
        The header's type code; without one the file does not say which scanner it comes from.

    Returns
    -------
    str or None
        XtremeCT or XtremeCT II; ``unclear`` where what is stated disagrees; None where nothing is stated.
    """
    if not code:
        return None
    votes = set()
    for name, (edge, width, tube) in GENERATIONS.items():
        if edge[0] <= voxel_mm <= edge[1] or grid == width or (tube_v is not None and tube[0] <= tube_v <= tube[1]):
            votes.add(name)
    return votes.pop() if len(votes) == 1 else UNCLEAR if votes else None


def site_of(code: object) -> tuple[str | None, str | None]:
    """Site and side of a header's code."""
    return SITE_CODES.get(code, (None, None)) if isinstance(code, int) else (None, None)


def to_body_axes(
    voxels: NDArray[Any], *, directions: NDArray[np.float64], origin: NDArray[np.float64], edges: NDArray[np.float64],
    path: Path,
) -> tuple[NDArray[Any], tuple[float, float, float], tuple[float, float, float]]:  # fmt: skip
    """An image turned so that its axes are the body's: z up, y to the back, x to the left.

    Parameters
    ----------
    voxels : (k, j, i)
        As stored.
    directions : (3, 3)
        Columns: where i, j and k point, in the patient's (left, back, up).
    origin, edges : (3,) mm
        Centre of the first voxel in the same coordinates; edge lengths along i, j, k.
    path : Path
        For the error.

    Returns
    -------
    (z, y, x) array, edges (z, y, x) in mm, origin (z, y, x) in mm

    Raises
    ------
    ScanError
        If the axes are sheared, or oblique to the body's: the file is no scan as the scanner wrote it.
    """
    # Rounded cosines of four digits pass; half a degree does not.
    if not np.isfinite(directions).all() or not np.isfinite(origin).all():
        raise ScanError(f"{path} states axes that are no numbers; export it again.")
    if not np.allclose(directions.T @ directions, np.eye(3), atol=5e-3):
        raise ScanError(f"{path} has sheared axes, as of a tilted gantry; give the scan as the scanner wrote it.")
    nearest = np.argmax(np.abs(directions), axis=0)
    along = directions[nearest, np.arange(3)]
    if len(set(nearest.tolist())) < 3 or (np.abs(along) < 1 - 4e-5).any():
        raise ScanError(f"{path} has axes that are oblique to the body's; give the scan as the scanner wrote it.")
    first = origin.copy()
    flips = [slice(None)] * 3
    for axis, (body, cosine) in enumerate(zip(nearest, along, strict=True)):
        if cosine < 0:
            flips[2 - axis] = slice(None, None, -1)
            first[body] += cosine * edges[axis] * (voxels.shape[2 - axis] - 1)
    order = [2 - int(np.flatnonzero(nearest == body)[0]) for body in (2, 1, 0)]
    turned = voxels[tuple(flips)].transpose(order)
    by_body = np.array([edges[int(np.flatnonzero(nearest == body)[0])] for body in range(3)])
    z, y, x = (float(n) for n in by_body[::-1])
    return np.ascontiguousarray(turned), (z, y, x), (float(first[2]), float(first[1]), float(first[0]))
