"""One reader a file format: voxels as they are stored, and the few technical fields of a header that may pass.

What may pass is a short list: size, voxel, calibration, site code. Names, dates, patient numbers and free text are
never handed on. AIM and ISQ carry their calibration (density = native / Mu_Scaling × slope + intercept, in mgHA/cm³);
the other formats do not, and no calibration is guessed for them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Codes of the Site field in the headers of AIM and ISQ.
SITE_CODES = {20: ("wrist", "left"), 21: ("wrist", "right"), 38: ("ankle", "left"), 39: ("ankle", "right")}
# Codes of the Scanner type field, as in files of scanners whose generation is known.
SCANNER_CODES = {9: "XtremeCT II"}
_POSITION = "0020|0032"  # of a DICOM slice
_AIM_NAMES = ("Mu_Scaling", "Density: slope", "Density: intercept")
_UNREADABLE = (
    RuntimeError,
    OSError,
    UnicodeDecodeError,
    IndexError,
    MemoryError,
)  # what py_aimio raises on a damaged file
_IMAGES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


class ScanError(ValueError):
    """A scanner file that cannot be read or written; the message says what to do.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.read_scan("none.AIM")
    Traceback (most recent call last):
    deepqct.scans.formats.ScanError: none.AIM does not exist; correct the path.
    """


@dataclass(frozen=True, eq=False)
class Stored:
    """The voxels of a file and the few fields of its header that may pass.

    Parameters
    ----------
    voxels : (z, y, x)
        The numbers as the file stores them; memory-mapped for an ISQ.
    calibration : (slope, intercept) or None
        density = voxels × slope + intercept in mgHA/cm³; None if the file has none.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    site, side : str or None
        wrist or ankle, and left or right, from the header's code; None where it does not say.
    scanner : str or None
        The generation, from the header's code.
    position : (z, y, x) int
        Where the first voxel lies in the scanner's whole grid; with it, masks of another size are laid onto a scan.
    """

    voxels: NDArray[Any]
    calibration: tuple[float, float] | None
    voxel_mm: tuple[float, float, float]
    site: str | None = None
    side: str | None = None
    scanner: str | None = None
    position: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Head:
    """What the header of a file says, without its voxels.

    Parameters
    ----------
    calibration : (slope, intercept) or None
        density = voxels × slope + intercept in mgHA/cm³; None if the header has none.
    site, side : str or None
        wrist or ankle, and left or right, from the header's code; None where it does not say.
    eight_bit : bool
        Whether its voxels have 8 bits, as those of masks do; False where the header does not tell.
    """

    calibration: tuple[float, float] | None = None
    site: str | None = None
    side: str | None = None
    eight_bit: bool = False


def read_stored(path: Path) -> Stored:
    """Read a scanner file, or a folder of DICOM slices; the name tells the format.

    Parameters
    ----------
    path : Path
        .aim, .isq, .gobj (VMS version numbers such as ``;1`` may follow), .nii, .nii.gz, .mha, .mhd, .nrrd, .dcm, or a
        folder of DICOM slices.

    Returns
    -------
    Stored
        The voxels as stored, with what the header says.

    Raises
    ------
    ScanError
        If it is missing, empty, cut off, or not what its name says.
    """
    return _known_reader(path)(path)


def read_head(path: Path) -> Head:
    """Read only the header of an AIM or ISQ, in milliseconds; of other formats, check only that the file is not empty.

    Parameters
    ----------
    path : Path
        As for `read_stored`.

    Returns
    -------
    Head
        What the header says; without anything for the other formats.

    Raises
    ------
    ScanError
        As `read_stored`, as far as the header or the length of the file shows it.
    """
    reader = _known_reader(path)
    if reader is _read_aim:
        header = _aim_header(path)
        log = _log(header)
        return Head(_calibration(log, _AIM_NAMES, path), *_place(log.get("Site")), _aim_bytes(header) == 1)
    if reader is _read_isq:
        header = _isq_header(path)
        return Head(_isq_calibration(header, path), *_place(header.get("site")))
    if path.is_dir() and not any(file.is_file() and file.stat().st_size > 0 for file in path.iterdir()):
        raise ScanError(f"{path} is a folder without slices; copy the series again.")
    return Head()


def _known_reader(path: Path) -> Callable[[Path], Stored]:
    """The reader of a file, which must exist and not be empty."""
    if not path.exists():
        raise ScanError(f"{path} does not exist; correct the path.")
    reader = _reader(path)
    if reader is None:
        raise ScanError(f"{path} has a name that no reader knows; use AIM, ISQ, GOBJ, DICOM, NIfTI, MHA or NRRD.")
    if path.is_file() and path.stat().st_size == 0:
        raise ScanError(f"{path} is empty; copy it again from the scanner.")
    return reader


def may_be_calibrated(path: Path) -> bool | None:
    """Tell by a file's name whether its format carries a calibration.

    Parameters
    ----------
    path : Path
        The file, which need not exist.

    Returns
    -------
    bool or None
        True for AIM and ISQ, False for the other formats, None for a name that no reader knows.
    """
    reader = _reader(path)
    return None if reader is None else reader in (_read_aim, _read_isq)


def _reader(path: Path) -> Callable[[Path], Stored] | None:
    """The reader of a file or folder by its name."""
    name = path.name.lower().partition(";")[0]
    if path.is_dir() or name.endswith(".dcm"):
        return _read_dicom
    readers = {".aim": _read_aim, ".isq": _read_isq, ".gobj": _read_gobj} | dict.fromkeys(_IMAGES, _read_image)
    return next((reader for ending, reader in readers.items() if name.endswith(ending)), None)


def _read_aim(path: Path) -> Stored:
    """Read an AIM, the manufacturer's format of images, version 020 or 030."""
    import py_aimio

    _aim_header(path)
    try:
        voxels, header = py_aimio.read_aim(str(path))
    except _UNREADABLE as error:
        raise ScanError(f"{path} cannot be read as an AIM; copy it again from the scanner.") from error
    log = _log(header)
    x, y, z = (float(edge) for edge in header["element_size"])
    place = (*_place(log.get("Site")), _scanner(log.get("Scanner type")), _reversed(header["position"]))
    return Stored(voxels, _calibration(log, _AIM_NAMES, path), (z, y, x), *place)


def _aim_header(path: Path) -> Mapping[str, Any]:
    """The header of an AIM; refuses a file that is shorter than its header says."""
    import py_aimio

    with path.open("rb") as file:
        start = file.read(56)
    # A version 020 header opens with the lengths of its blocks, one of 030 with its name.
    if not start.startswith((b"\x14\0\0\0\x8c\0\0\0", b"AIMDATA_V030")):
        raise ScanError(f"{path} does not begin like an AIM; export it again from the scanner as AIM.")
    try:
        header: Mapping[str, Any] = py_aimio.aim_info(str(path))
        each = _aim_bytes(header)
        if each is not None:
            _check_length(path, header["dimensions"], first=int(header["byte_offset"]), each=each)
    except _UNREADABLE as error:
        raise ScanError(f"{path} cannot be read as an AIM; copy it again from the scanner.") from error
    if each is None and len(start) == 56:  # compressed or float: the file is as long as its blocks together
        new = start.startswith(b"AIM")
        stated = 16 + sum(struct.unpack("<4q", start[16:48])) if new else sum(struct.unpack("<4i", start[:16]))
        if path.stat().st_size < stated:
            raise ScanError(f"{path} ends before its last slice; copy it again from the scanner.")
    return header


def _aim_bytes(header: Mapping[str, Any]) -> int | None:
    """How many bytes each voxel of an AIM takes; None if its voxels are compressed or floats."""
    return {131074: 2, 65537: 1}.get(int(header["aim_type"]))


def _log(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of an AIM's processing log; the log is still text if only the header was read."""
    import py_aimio

    log = header["processing_log"]
    fields: object = py_aimio.log_to_dict(log) if isinstance(log, str) else log
    return fields if isinstance(fields, Mapping) else {}


def _read_isq(path: Path) -> Stored:
    """Open an ISQ, the manufacturer's format of whole scans; memory-mapped, since one can have 1.8 GB."""
    header = _isq_header(path)
    dimensions = header["dimensions_p"]
    shape = tuple(int(n) for n in dimensions[::-1])
    voxels = np.memmap(path, dtype="<i2", mode="r", offset=int(header["data_offset"]), shape=shape)
    edges = [um / n / 1000 for um, n in zip(header["dimensions_um"], dimensions, strict=True)]
    place = (*_place(header.get("site")), _scanner(header.get("scanner_type")))
    return Stored(voxels, _isq_calibration(header, path), (edges[2], edges[1], edges[0]), *place)


def _isq_header(path: Path) -> Mapping[str, Any]:
    """The header of an ISQ; refuses one that is not of 16 bits, or shorter than its header says."""
    import py_aimio

    with path.open("rb") as file:
        if not file.read(16).startswith(b"CTDATA-HEADER"):
            raise ScanError(f"{path} does not begin like an ISQ; export it again from the scanner as ISQ.")
    try:
        header: Mapping[str, Any] = py_aimio.isq_info(str(path))
    except _UNREADABLE as error:
        raise ScanError(f"{path} cannot be read as an ISQ; copy it again from the scanner.") from error
    if int(header["data_type"]) != 3:
        raise ScanError(
            f"{path} is an ISQ of type {header['data_type']}, and only 16-bit ones are read; export it as AIM."
        )
    _check_length(path, header["dimensions_p"], first=int(header["data_offset"]), each=2)
    return header


def _isq_calibration(header: Mapping[str, Any], path: Path) -> tuple[float, float] | None:
    """Slope and intercept of an ISQ whose unit is mgHA/cm³; None for any other unit."""
    density = "HA" in str(header.get("rescale_units", ""))
    return _calibration(header, ("mu_scaling", "rescale_slope", "rescale_intercept"), path) if density else None


def _read_gobj(path: Path) -> Stored:
    """Read contours of the manufacturer's software as a mask of the box that holds them."""
    import py_aimio

    try:
        voxels, header = py_aimio.read_gobj(path)
    except (ValueError, OSError, IndexError) as error:
        raise ScanError(f"{path} cannot be read as a GOBJ; export the contours again.") from error
    x, y, z = (float(edge) for edge in header["spacing"])
    return Stored(voxels, None, (z, y, x), position=_reversed(header["position"]))


def _read_dicom(path: Path) -> Stored:
    """Read a series of DICOM slices, given its folder or one of the files."""
    import SimpleITK

    folder = path if path.is_dir() else path.parent
    reader = SimpleITK.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise ScanError(f"{folder} holds {len(series)} DICOM series; give a folder with one.")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    stored = _from_itk(reader.Execute, path)
    _check_gaps([reader.GetMetaData(i, _POSITION) for i in range(len(stored.voxels))], path)
    return stored


def _check_gaps(positions: list[str], path: Path) -> None:
    """Refuse a series whose slices are not equally far apart: some are missing."""
    places = np.array([[float(number) for number in position.split("\\")] for position in positions])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    wide = np.flatnonzero(steps > 1.5 * np.median(steps)) if len(steps) else steps
    if len(wide):
        raise ScanError(
            f"{path} lacks slices after its slice {wide[0] + 1} of {len(places)}; copy the whole series again."
        )


def _read_image(path: Path) -> Stored:
    """Read a NIfTI, MHA or NRRD."""
    import SimpleITK

    return _from_itk(lambda: SimpleITK.ReadImage(str(path)), path)


def _from_itk(read: Callable[[], Any], path: Path) -> Stored:
    """Voxels and voxel size of an image that ITK reads, turned to the body's axes; no other field is kept."""
    import SimpleITK

    try:
        image = read()
        if image.GetDimension() == 3:
            image = SimpleITK.DICOMOrient(image, "LPS")
    except RuntimeError as error:
        raise ScanError(
            f"{path} cannot be read; it is damaged or not what its name says, so export it again."
        ) from error
    voxels = SimpleITK.GetArrayFromImage(image)
    if voxels.ndim != 3 or min(voxels.shape) < 1:
        raise ScanError(f"{path} holds an image of shape {voxels.shape}; a scan has three dimensions.")
    x, y, z = image.GetSpacing()
    return Stored(voxels, None, (z, y, x))


def _check_length(path: Path, dimensions: tuple[int, int, int], *, first: int, each: int) -> None:
    """Refuse a file that ends before its last slice."""
    columns, rows, slices = (int(n) for n in dimensions)
    if min(columns, rows, slices) < 1:
        raise ScanError(f"{path} states {columns} × {rows} × {slices} voxels; export it again from the scanner.")
    whole = (path.stat().st_size - first) // (columns * rows * each)
    if whole < slices:
        raise ScanError(f"{path} ends after {max(whole, 0)} of {slices} slices; copy it again from the scanner.")


def _calibration(fields: Mapping[str, Any], names: tuple[str, str, str], path: Path) -> tuple[float, float] | None:
    """Slope and intercept that turn stored numbers into mgHA/cm³; None if the header lacks them."""
    try:
        scaling, slope, intercept = (float(fields[name]) for name in names)
    except (KeyError, TypeError, ValueError):
        return None
    if scaling <= 0 or slope <= 0:
        raise ScanError(
            f"{path} has Mu_Scaling {scaling:g} and slope {slope:g}, which must be above 0; export it again."
        )
    return slope / scaling, intercept


def _place(code: object) -> tuple[str | None, str | None]:
    """Site and side that a header's code stands for; None for an unknown code."""
    return SITE_CODES.get(code, (None, None)) if isinstance(code, int) else (None, None)


def _scanner(code: object) -> str | None:
    """Scanner generation that a header's code stands for; None for an unknown code."""
    return SCANNER_CODES.get(code) if isinstance(code, int) else None


def _reversed(xyz: tuple[int, ...]) -> tuple[int, int, int]:
    """Turn (x, y, z) into (z, y, x)."""
    x, y, z = (int(n) for n in xyz)
    return z, y, x
