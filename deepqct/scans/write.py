"""Scans written as scanner files: AIM, ISQ, DICOM, and images of densities; what is written names nobody."""

from __future__ import annotations

import errno
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepqct.folder import write_whole
from deepqct.scans.images import read_image
from deepqct.scans.scan import Scan
from deepqct.scans.stored import SITE_CODES, ScanError

if TYPE_CHECKING:
    from pydicom import Dataset

_SITE_CODES = {place: code for code, place in SITE_CODES.items()}
_SCANNER_TYPES = {"XtremeCT": 9, "XtremeCT II": 9}  # one code for both
# The calibration that scans without one of their own are written with; a typical one of an XtremeCT II.
MU_SCALING = 8192
SLOPE, INTERCEPT = 1603.51904, -391.209015
_TUBE_V = {"XtremeCT": 60_000, "XtremeCT II": 68_000}
_BLOCK = 512  # bytes of an ISQ's header are counted in these
_DICOM_ROOT = "1.2.826.0.1.3680043.10.1561"  # of made-up series; the numbers stand for nothing


def write_image(path: Path, scan: Scan) -> Path:
    """Write a scan's densities as NIfTI, MHA or NRRD (float32, mgHA/cm³), with only the voxel size in the header.

    Reading it with ``unit="density"`` gives the same densities.

    Parameters
    ----------
    path : Path
        The file, whose ending says the format; it appears whole or not at all.
    scan : Scan
        What is written.

    Returns
    -------
    Path
        `path`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.array([[[2000, 4000]]], np.int16), 0.25, -391.0, (0.061, 0.061, 0.061))
    >>> path = dq.scans.write_image(Path(tempfile.mkdtemp()) / "wrist.nii.gz", scan)
    >>> dq.read_scan(path, unit="density").density.tolist()
    [[[109.0, 609.0]]]
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(scan.density)
    image.SetSpacing(scan.voxel_mm[::-1])
    image.SetOrigin(scan.origin_mm[::-1])
    with write_whole(path) as part, _said_by_libraries():
        SimpleITK.WriteImage(image, str(part))
        read_image(part, unusual=True)  # of a full disk it says nothing in some formats
    return path


@contextmanager
def _said_by_libraries() -> Iterator[None]:
    """Turn what a library raises where a file cannot be written, or did not become whole, into an error of the system."""
    try:
        yield
    except (RuntimeError, ScanError) as error:
        raise OSError(errno.EIO, "its disk may be full") from error


def to_native(density: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Return densities as the native numbers of the default calibration.

    Parameters
    ----------
    density : floats of any shape, mgHA/cm³
        What is to be written.

    Returns
    -------
    int16, of the same shape
        Rounded, and limited to what 16 bits can hold.
    """
    native = np.rint((density - INTERCEPT) * (MU_SCALING / SLOPE))
    return np.clip(native, -32768, 32767).astype(np.int16)


def write_aim(path: Path, scan: Scan) -> Path:
    """Write a scan as an AIM whose log holds technical fields only; its voxels come back exactly.

    Parameters
    ----------
    path : Path
        The file; it appears whole or not at all.
    scan : Scan
        What is written; its site and side become the log's site code.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ScanError
        If the voxels are not 16-bit integers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.array([[[2000, 4000]]], np.int16), 0.25, -391.0, (0.061, 0.061, 0.061), "ankle", "left")
    >>> back = dq.read_scan(dq.scans.write_aim(Path(tempfile.mkdtemp()) / "ankle.AIM", scan))
    >>> back.native.tolist(), back.site, back.side
    ([[[2000, 4000]]], 'ankle', 'left')
    """
    import py_aimio

    if scan.native.dtype != np.int16:
        raise ScanError(f"{path.name} cannot be written as an AIM, whose voxels are 16-bit integers; use write_image.")
    z, y, x = scan.voxel_mm
    log = {
        "Created by": "deepqct",
        "Orig-ISQ-Dim-p": [*(scan.grid or scan.native.shape[1:])[::-1], scan.native.shape[0]],
        "Site": _SITE_CODES.get((str(scan.site), str(scan.side)), 0),
        **({"Scanner type": _SCANNER_TYPES[scan.scanner]} if scan.scanner in _SCANNER_TYPES else {}),
        **({"Energy [V]": _TUBE_V[scan.scanner]} if scan.scanner in _TUBE_V else {}),
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
    with write_whole(path) as part, _said_by_libraries():
        py_aimio.write_aim(str(part), scan.native, meta, unit="native")
    return path


def write_isq(path: Path, scan: Scan) -> Path:
    """Write a scan as an ISQ with a calibrated header that names nobody; its voxels come back exactly.

    Parameters
    ----------
    path : Path
        The file; it appears whole or not at all.
    scan : Scan
        What is written; its site and side become the header's site code.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ScanError
        If the voxels are not 16-bit integers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.array([[[2000, 4000]]], np.int16), 0.25, -391.0, (0.061, 0.061, 0.061), "ankle", "left")
    >>> back = dq.read_scan(dq.scans.write_isq(Path(tempfile.mkdtemp()) / "ankle.ISQ", scan))
    >>> back.native.tolist(), back.site, back.side
    ([[[2000, 4000]]], 'ankle', 'left')
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
        168: (_TUBE_V.get(str(scan.scanner), 0),),
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
        for plane in scan.native:
            file.write(plane.astype("<i2").tobytes())
        file.write(bytes(-(size + len(header)) % _BLOCK))
    return path


def _vax_double(value: float) -> bytes:
    """Eight bytes of a VAX G_floating number, in which the scanner's computer writes its calibration."""
    if value == 0:
        return bytes(8)
    (bits,) = struct.unpack(">Q", struct.pack(">d", value))
    words = struct.pack(">Q", bits + (2 << 52))  # a VAX exponent is larger by two than an IEEE one
    return b"".join(words[i : i + 2][::-1] for i in (0, 2, 4, 6))


def write_dicom(folder: Path, scan: Scan) -> Path:
    """Write a scan's densities as a series of DICOM slices (mgHA/cm³, rounded) that name nobody.

    Reading it needs ``unit="density"``.

    Parameters
    ----------
    folder : Path
        Receives the slices, one file each; it appears whole or not at all.
    scan : Scan
        What is written.

    Returns
    -------
    Path
        `folder`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.full((3, 8, 8), 2000, np.int16), 0.25, -391.0, (0.061, 0.061, 0.061))
    >>> folder = dq.scans.write_dicom(Path(tempfile.mkdtemp()) / "wrist", scan)
    >>> sorted(file.name for file in folder.iterdir())
    ['0000.dcm', '0001.dcm', '0002.dcm']
    >>> float(dq.read_scan(folder, unit="density").density.mean())
    109.0
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for z in range(len(scan.native)):
        _dicom_slice(scan, z).save_as(part / f"{z:04d}.dcm", enforce_file_format=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def _dicom_slice(scan: Scan, z: int) -> Dataset:
    """One slice of a series: its densities, its place and its number."""
    # By pydicom: SimpleITK's writer leaves the whole process in the C locale, in which letters beyond ASCII are errors.
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    (z_mm, y_mm, x_mm), (z0, y0, x0) = scan.voxel_mm, scan.origin_mm
    density = np.clip(np.rint(scan.density_of(z)), -32768, 32767).astype("<i2")
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, f"{_DICOM_ROOT}.3.{z + 1}"
    one.Modality, one.InstanceCreationDate, one.InstanceCreationTime = "CT", "20000101", "000000"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = f"{_DICOM_ROOT}.1", f"{_DICOM_ROOT}.2", z + 1
    one.SliceThickness, one.PixelSpacing = f"{z_mm:.6g}", [f"{y_mm:.6g}", f"{x_mm:.6g}"]
    one.ImagePositionPatient = [f"{x0:.6g}", f"{y0:.6g}", f"{z0 + z * z_mm:.6g}"]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.Rows, one.Columns = density.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.RescaleIntercept, one.RescaleSlope = 0, 1
    one.PixelData = density.tobytes()
    return one
