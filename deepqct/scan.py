"""A scanner file as calibrated density, without a word about the patient.

Only technical fields of a header are kept, by a list of what may pass; names, dates, numbers and free text never enter a
`Scan`. Files are read natively and calibrated here, from the file's own log: density = native / Mu_Scaling × slope +
intercept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.folder import write_whole

# Codes of the log's Site field.
_SITES = {20: ("wrist", "left"), 21: ("wrist", "right"), 38: ("ankle", "left"), 39: ("ankle", "right")}
_SITE_CODES = {place: code for code, place in _SITES.items()}
# The calibration that scans without one of their own are written with; a typical one of an XtremeCT II.
MU_SCALING = 8192
SLOPE, INTERCEPT = 1603.51904, -391.209015
_AIM_HEADER_BYTES = 160


class ScanError(ValueError):
    """A scanner file that cannot be read; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan of a wrist or an ankle.

    Parameters
    ----------
    native : (z, y, x) int16
        The scanner's numbers, long axis of the limb along z.
    slope, intercept : float
        density = native × slope + intercept, in mgHA/cm³.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    site, side : str or None
        wrist or ankle; left or right; None where the file does not say.
    """

    native: NDArray[np.int16] = field(repr=False)
    slope: float
    intercept: float
    voxel_mm: tuple[float, float, float]
    site: str | None = None
    side: str | None = None

    @property
    def density(self) -> NDArray[np.float32]:
        """(z, y, x) float32, mgHA/cm³; computed anew at each call."""
        density = self.native.astype(np.float32)
        density *= np.float32(self.slope)
        density += np.float32(self.intercept)
        return density

    def __repr__(self) -> str:
        """Shape, voxel, site, side and range of densities."""
        low, high = (int(n) * self.slope + self.intercept for n in (self.native.min(), self.native.max()))
        voxel = " × ".join(f"{v:.4f}" for v in self.voxel_mm)
        return (
            f"Scan({' × '.join(map(str, self.native.shape))} voxels of {voxel} mm (z, y, x), "
            f"{self.site or 'site not stated'}, {self.side or 'side not stated'}, {low:.0f} to {high:.0f} mgHA/cm³)"
        )


def read_scan(path: str | Path, *, unit: str | None = None) -> Scan:
    """Read a scanner file.

    Parameters
    ----------
    path : str or Path
        An AIM; VMS version numbers behind the name (``;1``) are allowed.
    unit : str, optional
        ``density``, for a file without a calibration whose numbers are mgHA/cm³. Never needed for a scanner's own AIM.

    Returns
    -------
    Scan
        Calibrated by the file's own log.

    Raises
    ------
    ScanError
        If the file is missing, empty, cut off, no AIM, or without a calibration.
    """
    import py_aimio

    path = Path(path)
    if unit not in (None, "density"):
        raise ScanError(f"unit is {unit!r}; it can only be 'density', or left out.")
    _check_bytes(path)
    try:
        header = py_aimio.aim_info(str(path))
        _check_length(path, header)
        native, header = py_aimio.read_aim(str(path))
    except (RuntimeError, OSError, UnicodeDecodeError, IndexError) as error:
        raise ScanError(f"{path} cannot be read as an AIM; copy it again from the scanner.") from error
    if native.dtype not in (np.int16, np.int8, np.uint8):
        raise ScanError(f"{path} holds {native.dtype} voxels; export it as a 16-bit AIM.")
    log = header["processing_log"]
    slope, intercept = (1.0, 0.0) if unit == "density" else _calibration(log, path)
    site, side = _SITES.get(_whole(log.get("Site")), (None, None))
    x, y, z = (float(edge) for edge in header["element_size"])
    return Scan(native.astype(np.int16, copy=False), slope, intercept, (z, y, x), site, side)


def read_scans(folder: Path, scans: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Densities of the scans in some rows of scans.tsv, by patient and site."""
    return {
        f"{person} {site}": read_scan(folder / file).density
        for person, site, file in scans[["participant_id", "site", "file"]].itertuples(index=False)
    }


def to_native(density: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """mgHA/cm³ as the native numbers of the default calibration, rounded and kept within 16 bits."""
    native = np.rint((density - INTERCEPT) * (MU_SCALING / SLOPE))
    return np.clip(native, -32768, 32767).astype(np.int16)


def write_aim(path: Path, scan: Scan) -> Path:
    """Write a scan as an AIM with a log of technical fields; its voxels come back exactly.

    Parameters
    ----------
    path : Path
        The file; it appears whole or not at all.
    scan : Scan
        Its site and side become the log's site code.

    Returns
    -------
    Path
        `path`.
    """
    import py_aimio

    z, y, x = scan.voxel_mm
    log = {
        "Created by": "deepqct",
        "Orig-ISQ-Dim-p": list(scan.native.shape[::-1]),
        "Site": _SITE_CODES.get((str(scan.site), str(scan.side)), 0),
        "Energy [V]": 68000,
        "Intensity [uA]": 1470,
        "Mu_Scaling": MU_SCALING,
        "Calib. default unit type": "2 (Density)",
        "Density: unit": "mg HA/ccm",
        "Density: slope": scan.slope * MU_SCALING,
        "Density: intercept": scan.intercept,
        "HU: mu water": 0.2409,
    }
    meta = {
        "dimensions": scan.native.shape[::-1],
        "position": (0, 0, 0),
        "offset": (0, 0, 0),
        "element_size": (x, y, z),
        "processing_log": log,
        "processing_log_raw": py_aimio.dict_to_log(log),
    }
    with write_whole(path) as part:
        py_aimio.write_aim(str(part), scan.native, meta, unit="native")
    return path


def _check_bytes(path: Path) -> None:
    """Refuse what is no AIM before a reader guesses."""
    if not path.is_file():
        raise ScanError(f"{path} does not exist; correct the path.")
    if ".aim" not in path.name.lower():
        raise ScanError(f"{path} is not an AIM by its name, and only AIM files are read; export it as AIM.")
    with path.open("rb") as file:
        start = file.read(_AIM_HEADER_BYTES)
    if not start:
        raise ScanError(f"{path} is empty; copy it again from the scanner.")
    # A version 020 header opens with the lengths of its blocks, one of 030 with its name.
    if not (start.startswith((b"\x14\0\0\0\x8c\0\0\0", b"AIMDATA_V030"))):
        raise ScanError(f"{path} does not begin like an AIM; export it again from the scanner as AIM.")


def _check_length(path: Path, header: Mapping[str, Any]) -> None:
    """Refuse a file that ends before its last slice."""
    columns, rows, slices = (int(n) for n in header["dimensions"])
    if min(columns, rows, slices) < 1:
        raise ScanError(f"{path} states {columns} × {rows} × {slices} voxels; export it again from the scanner.")
    bytes_a_voxel = {131074: 2, 65537: 1}.get(int(header["aim_type"]))
    if bytes_a_voxel is None:
        return  # compressed or float: the reader knows its length
    there = path.stat().st_size - int(header["byte_offset"])
    whole = there // (columns * rows * bytes_a_voxel)
    if whole < slices:
        raise ScanError(f"{path} ends after {max(whole, 0)} of {slices} slices; copy it again from the scanner.")


def _calibration(log: Mapping[str, Any], path: Path) -> tuple[float, float]:
    """Slope and intercept from native numbers to mgHA/cm³."""
    try:
        scaling, slope, intercept = (float(log[k]) for k in ("Mu_Scaling", "Density: slope", "Density: intercept"))
    except (KeyError, TypeError, ValueError):
        raise ScanError(
            f"{path} has no density calibration in its log; export it with one, or say unit='density' if its numbers are "
            "mgHA/cm³ already."
        ) from None
    if scaling <= 0 or slope <= 0:
        raise ScanError(
            f"{path} has Mu_Scaling {scaling:g} and slope {slope:g}, which must be above 0; export it again."
        )
    return slope / scaling, intercept


def _whole(value: object) -> int:
    """The value as a whole number, -1 if it is none."""
    return value if isinstance(value, int) else -1
