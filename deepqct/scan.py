"""A scanner file as calibrated density, without a word about the patient.

Only technical fields of a header are kept, by a list of what may pass; names, dates, numbers and free text never enter a
`Scan` (see formats.py). Native numbers are kept, densities computed from them on demand.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.folder import write_whole
from deepqct.formats import SCANNER_CODES, SITE_CODES, ScanError, read_stored

__all__ = [
    "Scan",
    "ScanError",
    "crop",
    "each_loaded",
    "read_mask",
    "read_mask_at",
    "read_scan",
    "read_scans",
    "to_native",
    "write_aim",
    "write_dicom",
    "write_image",
    "write_isq",
]

_SITE_CODES = {place: code for code, place in SITE_CODES.items()}
_SCANNER_TYPES = {name: code for code, name in SCANNER_CODES.items()}
# The calibration that scans without one of their own are written with; a typical one of an XtremeCT II.
MU_SCALING = 8192
SLOPE, INTERCEPT = 1603.51904, -391.209015
_BLOCK = 512  # bytes of an ISQ's header are counted in these
_DICOM_ROOT = "1.2.826.0.1.3680043.10.1561"  # of made-up series; the numbers stand for nothing


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


def write_image(path: Path, scan: Scan) -> Path:
    """Write a scan's densities as NIfTI, MHA or NRRD (float32, mgHA/cm³), with nothing else in the header.

    Reading it with ``unit="density"`` gives the same densities.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(scan.density)
    image.SetSpacing(scan.voxel_mm[::-1])
    with write_whole(path) as part:
        SimpleITK.WriteImage(image, str(part))
    return path


def read_scans(folder: Path, scans: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Densities of the scans in some rows of scans.tsv, by patient and site."""
    return {f"{row['participant_id']} {row['site']}": _read_row(folder, row).density for _, row in scans.iterrows()}


def scan_of(folder: Path, scans: pd.DataFrame, *, participant_id: str, site: str) -> Scan:
    """One scan of a cohort, read as scans.tsv says.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    scans : DataFrame
        participant_id, site, file, perhaps unit.
    participant_id, site : str
        Whose, and wrist or ankle.

    Raises
    ------
    ScanError
        If scans.tsv has no such scan, or the file cannot be read.
    """
    own = scans[(scans["participant_id"] == participant_id) & (scans["site"] == site)]
    if own.empty:
        raise ScanError(f"scans.tsv has no {site} of {participant_id}; use a patient and a site that it lists.")
    return _read_row(folder, own.iloc[0])


def _read_row(folder: Path, row: pd.Series) -> Scan:
    """The scan of one row of scans.tsv."""
    unit = row.get("unit")
    return read_scan(folder / row["file"], unit=unit if isinstance(unit, str) else None)


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

    Raises
    ------
    ScanError
        If the voxels are not 16-bit integers.
    """
    import py_aimio

    if scan.native.dtype != np.int16:
        raise ScanError(f"{path.name} cannot be written as an AIM, whose voxels are 16-bit integers; use write_image.")
    z, y, x = scan.voxel_mm
    log = {
        "Created by": "deepqct",
        "Orig-ISQ-Dim-p": list(scan.native.shape[::-1]),
        "Site": _SITE_CODES.get((str(scan.site), str(scan.side)), 0),
        **({"Scanner type": _SCANNER_TYPES[scan.scanner]} if scan.scanner in _SCANNER_TYPES else {}),
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
        "position": scan.position[::-1],
        "offset": (0, 0, 0),
        "element_size": (x, y, z),
        "processing_log": log,
        "processing_log_raw": py_aimio.dict_to_log(log),
    }
    with write_whole(path) as part:
        py_aimio.write_aim(str(part), scan.native, meta, unit="native")
    return path


def write_isq(path: Path, scan: Scan) -> Path:
    """Write a scan as an ISQ with a calibrated header that names nobody; its voxels come back exactly.

    Parameters
    ----------
    path : Path
        The file; it appears whole or not at all.
    scan : Scan
        Its site and side become the header's site code.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ScanError
        If the voxels are not 16-bit integers.
    """
    if scan.native.dtype != np.int16:
        raise ScanError(f"{path.name} cannot be written as an ISQ, whose voxels are 16-bit integers; use write_image.")
    header = bytearray(5 * _BLOCK)
    header[:16] = b"CTDATA-HEADER_V1"
    n = scan.native.shape[::-1]
    edges = [round(1000 * v * k) for v, k in zip(scan.voxel_mm[::-1], n, strict=True)]
    size = scan.native.nbytes
    site = _SITE_CODES.get((str(scan.site), str(scan.side)), 0)
    for at, values in {
        16: (3, min(size, 2**31 - 1), -(-size // _BLOCK)),
        44: (*n, *edges),
        80: (int(scan.native.min()), int(scan.native.max()), MU_SCALING),
        104: (_SCANNER_TYPES.get(str(scan.scanner), 0),),
        116: (site,),
        168: (68000, 1470),
        508: (4,),
    }.items():
        struct.pack_into(f"<{len(values)}i", header, at, *values)
    header[520:540] = b"MultiHeader     " + struct.pack("<i", 1)
    header[1032:1052] = b"Calibration     " + struct.pack("<i", 2)
    struct.pack_into("<i", header, 2168, 1)
    header[2184:2193] = b"mg HA/ccm"
    for at, value in ((2200, scan.slope * MU_SCALING), (2208, scan.intercept), (2224, 0.2409)):
        header[at : at + 8] = _vax_double(value)
    with write_whole(path) as part, part.open("wb") as file:
        file.write(header)
        for one in scan.native:
            file.write(one.astype("<i2").tobytes())
        file.write(bytes(-(size + len(header)) % _BLOCK))
    return path


def _vax_double(value: float) -> bytes:
    """Eight bytes of a VAX G_floating number, in which the scanner's computer writes its calibration."""
    if value == 0:
        return bytes(8)
    (bits,) = struct.unpack(">Q", struct.pack(">d", value))
    words = struct.pack(">Q", bits + (2 << 52))  # its exponent counts from two less
    return b"".join(words[i : i + 2][::-1] for i in (0, 2, 4, 6))


def write_dicom(folder: Path, scan: Scan) -> Path:
    """Write a scan's densities as a series of DICOM slices (mgHA/cm³, rounded) that name nobody.

    Reading it needs ``unit="density"``.

    Parameters
    ----------
    folder : Path
        Receives the slices; it appears whole or not at all.
    scan : Scan

    Returns
    -------
    Path
        `folder`.
    """
    import SimpleITK

    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    z_mm, y_mm, x_mm = scan.voxel_mm
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for z, density in enumerate(scan.density_of(k) for k in range(len(scan.native))):
        image = SimpleITK.GetImageFromArray(np.clip(np.rint(density), -32768, 32767).astype(np.int16))
        image.SetSpacing((x_mm, y_mm))
        for tag, value in {
            "0008|0060": "CT", "0020|000d": f"{_DICOM_ROOT}.1", "0020|000e": f"{_DICOM_ROOT}.2",
            "0008|0018": f"{_DICOM_ROOT}.3.{z + 1}", "0020|0013": str(z + 1), "0018|0050": f"{z_mm:.6g}",
            "0020|0032": f"0\\0\\{z * z_mm:.6g}", "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():  # fmt: skip
            image.SetMetaData(tag, value)
        writer.SetFileName(str(part / f"{z:04d}.dcm"))
        writer.Execute(image)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder
