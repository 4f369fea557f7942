"""One reader a file format, found by the file's name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from deepqct.folder import file_hash
from deepqct.scans.dicom import read_dicom, read_dicom_head, series_files
from deepqct.scans.images import data_beside, read_image, read_image_head
from deepqct.scans.scanco import read_aim, read_aim_head, read_gobj, read_isq, read_isq_head
from deepqct.scans.stored import Head, ScanError, Stored

_IMAGES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_READERS: dict[str, Callable[..., Stored]] = {".aim": read_aim, ".isq": read_isq, ".gobj": read_gobj}
_READERS |= dict.fromkeys(_IMAGES, read_image)
_HEADS: dict[Callable[..., Stored], Callable[..., Head]] = {
    read_aim: read_aim_head,
    read_isq: read_isq_head,
    read_dicom: read_dicom_head,
    read_image: read_image_head,
}


def read_stored(path: Path, *, unusual: bool = False) -> Stored:
    """Read a file, or a folder of DICOM slices, by what its name says it is.

    Parameters
    ----------
    path : Path
        .aim, .isq, .gobj (VMS version numbers such as ``;1`` may follow), .nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr, .dcm,
        or a folder of DICOM slices.
    unusual : bool
        Allow voxels and calibrations that no HR-pQCT scanner has.

    Raises
    ------
    ScanError
        If it is missing, empty, cut off, or not what its name says.
    """
    return _known_reader(path)(path, unusual=unusual)


def read_head(path: Path, *, unusual: bool = False) -> Head:
    """Read what a file says of itself before its voxels; of a DICOM series, what its first slice says.

    Parameters
    ----------
    path, unusual
        As for `read_stored`.

    Raises
    ------
    ScanError
        As `read_stored`, where the header or the file's length tells.
    """
    reader = _known_reader(path)
    return _HEADS[reader](path, unusual=unusual) if reader in _HEADS else Head(mask=True)  # a GOBJ is one


def may_be_calibrated(path: Path) -> bool | None:
    """True for the name of a format that can carry a calibration of its own, False for others, None for no format."""
    reader = _reader(path)
    return None if reader is None else reader in (read_aim, read_isq, read_dicom)


def files_of(path: Path) -> list[Path]:
    """Every file that a scan or mask is read from: itself, the slices of its series, or the voxels beside its header.

    Parameters
    ----------
    path : Path
        As for `read_stored`.
    """
    reader = _reader(path)
    if reader is read_dicom:
        return series_files(path)
    beside = data_beside(path) if reader is read_image and path.is_file() else None
    return [path] if beside is None else [path, beside]


def size_of(path: Path) -> int:
    """The size of a scan or mask in bytes, with every file that it is made of; 0 where that cannot be told.

    Parameters
    ----------
    path : Path
        As for `read_stored`.
    """
    try:
        return sum(file.stat().st_size for file in files_of(path))
    except (OSError, ValueError):
        return 0


def scan_hash(path: Path) -> str:
    """SHA-256 of a scan or mask, with every file that it is made of, in hexadecimal.

    Parameters
    ----------
    path : Path
        As for `read_stored`.
    """
    files = files_of(path)
    if files == [path]:
        return file_hash(path)
    names = "".join(f"{file.name} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def _known_reader(path: Path) -> Callable[..., Stored]:
    """The reader of a file that is there, plain and not empty."""
    if not path.exists():
        raise ScanError(f"{path} does not exist; correct the path.")
    reader = _reader(path)
    if reader is None:
        raise ScanError(f"{path} has a name that no reader knows; use AIM, ISQ, GOBJ, DICOM, NIfTI, MHA or NRRD.")
    if not path.is_file() and not path.is_dir():
        raise ScanError(f"{path} is no plain file; copy the scan itself there.")
    if path.is_file() and path.stat().st_size == 0:
        raise ScanError(f"{path} is empty; copy it again from the scanner.")
    return reader


def _reader(path: Path) -> Callable[..., Stored] | None:
    """The reader of a file or folder by its name."""
    name = path.name.lower().partition(";")[0]
    if path.is_dir() or name.endswith((".dcm", ".ima")):
        return read_dicom
    return next((reader for ending, reader in _READERS.items() if name.endswith(ending)), None)
