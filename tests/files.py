"""Scanner files as scanners write them, patient and all, for tests."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deepqct import scans
from deepqct.scans import Scan, ScanError, read_scan

if TYPE_CHECKING:
    from pydicom import Dataset

SECRETS = ("Jane", "Mustermann", "19500229", "PID-778899", "St. Elsewhere", "aching wrist")


def write_isq_header(shape: tuple[int, int, int], *, um: float, name: str = "Doe^Jane") -> bytes:
    """The header of an ISQ, five blocks, for voxels of 16 bits."""
    header = bytearray(2560)
    z, y, x = shape
    header[:16] = b"CTDATA-HEADER_V1"
    edges = [round(um * n) for n in (x, y, z)]
    numbers = [3, min(2 * x * y * z, 2**31 - 1), 0, 4242, 9, 0, 0, x, y, z, *edges]
    header[16 : 16 + 4 * len(numbers)] = struct.pack(f"<{len(numbers)}i", *numbers)
    header[128:168] = name.encode().ljust(40)
    header[508:512] = struct.pack("<i", 4)
    return bytes(header)


def write_isq(
    path: Path, native: NDArray[np.int16], *, pad: bool = True, um: float = 82, name: str = "Doe^Jane"
) -> Path:
    """An ISQ of the scanner's own layout: the header, then the voxels."""
    data = write_isq_header(native.shape, um=um, name=name) + native.astype("<i2").tobytes()
    path.write_bytes(data + bytes(-len(data) % 512 if pad else 0))
    return path


def write_dicom(folder: Path, native: NDArray[np.int16], *, voxel_mm: tuple[float, float, float]) -> Path:
    """A series of DICOM slices full of words about a patient."""
    import pydicom
    from pydicom.datadict import dictionary_VR

    series = "1.2.826.0.1.3680043.2.1125"
    about = {
        0x00100010: f"{SECRETS[1]}^{SECRETS[0]}", 0x00100030: SECRETS[2], 0x00100020: SECRETS[3], 0x00080080: SECRETS[4],
        0x0008103E: SECRETS[5], 0x0020000E: f"{series}.1", 0x0020000D: f"{series}.2",
    }  # fmt: skip
    for z, path in enumerate(sorted(scans.write_dicom(folder, Scan(native, 1.0, 0.0, voxel_mm)).iterdir())):
        one = pydicom.dcmread(path)
        for tag, value in about.items():
            one.add_new(tag, dictionary_VR(tag), value)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{series}.3.{z + 1}"
        one.save_as(path)
    return folder


def name_the_patient(aim: Path) -> Path:
    """Plant words about a patient in the log of an AIM, in place of lines of the same length."""
    data = aim.read_bytes()
    start = data.index(b"Created by")
    end = data.index(b"\n", start)
    words = f"Patient Name  {' '.join(SECRETS)}".encode()
    assert len(words) <= end - start
    aim.write_bytes(data[:start] + words.ljust(end - start) + data[end:])
    return aim


LOG = "Site  20\nMu_Scaling  8192\nDensity: slope  1600\nDensity: intercept  -390\n"  # of an AIM: a left wrist


def refused(path: Path, **how: Any) -> str:
    """The sentence with which a scan is refused; it never holds a patient."""
    with pytest.raises(ScanError) as error:
        read_scan(path, **how)
    text = str(error.value)
    assert str(path) in text or str(path.parent) in text
    assert "\n" not in text
    assert not any(secret in text for secret in SECRETS)
    return text


def write_aim_bytes(
    path: Path, voxels: NDArray[Any], *, kind: int = 0x20002, version: int = 30, position: tuple[int, ...] = (0, 0, 0),
    margin: tuple[int, ...] = (0, 0, 0), edge_mm: float = 0.0607, log: str = LOG,
) -> Path:  # fmt: skip
    """An AIM byte by byte; `position` and `margin` as (x, y, z)."""
    data, text = voxels.tobytes(), log.encode("latin-1")
    numbers = [*position, *voxels.shape[::-1], *margin, *[0] * 12]
    if version == 30:
        head = b"AIMDATA_V030   \0" + struct.pack("<5q", 40, 224, len(text), len(data), 0) + bytes(12)
        head += struct.pack("<i21q3q", kind, *numbers, *[round(edge_mm * 1e6)] * 3) + bytes(16)
    else:
        bits = struct.unpack("<I", struct.pack("<f", edge_mm))[0] + (2 << 23)  # a VAX exponent is larger by two
        edge = struct.pack("<2H", bits >> 16, bits & 0xFFFF)
        head = struct.pack("<5i", 20, 140, len(text), len(data), 0) + bytes(20)
        head += struct.pack("<i21i", kind, *numbers) + 3 * edge + bytes(20)
    path.write_bytes(head + text + data)
    return path


def write_picture(
    path: Path, voxels: NDArray[Any], *, voxel_mm: tuple[float, ...] = (0.1, 0.1, 0.1),
    origin_mm: tuple[float, ...] = (0.0, 0.0, 0.0), axes: Any = None, packed: bool = False,
) -> Path:  # fmt: skip
    """A NIfTI, MHA or NRRD of (z, y, x), placed by its header; `axes` are the columns where x, y and z point."""
    axes = np.eye(3) if axes is None else np.asarray(axes, float)
    edges, origin, sizes = np.array(voxel_mm[::-1]), np.array(origin_mm[::-1]), voxels.shape[::-1]
    if path.name.endswith((".nii", ".nii.gz")):
        import nibabel

        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes * edges, origin
        nibabel.save(nibabel.Nifti1Image(voxels.transpose(), np.diag([-1, -1, 1, 1]) @ affine), path)
        return path
    words = lambda numbers: " ".join(f"{n:.12g}" for n in np.ravel(numbers))  # noqa: E731
    beside = path.with_suffix(".raw") if path.suffix in (".mhd", ".nhdr") else None
    kind = voxels.dtype.str[1:]
    if path.suffix in (".mha", ".mhd"):
        data = zlib.compress(voxels.tobytes()) if packed else voxels.tobytes()
        name = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "f4": "FLOAT"}[kind]
        head = (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {voxels.dtype.str[0] == '>'}\n"
            f"CompressedData = {packed}\nTransformMatrix = {words(axes.T)}\nOffset = {words(origin)}\n"
            f"ElementSpacing = {words(edges)}\nDimSize = {words(sizes)}\nElementType = MET_{name}\n"
            f"ElementDataFile = {beside.name if beside else 'LOCAL'}\n"
        )
    else:
        data = gzip.compress(voxels.tobytes()) if packed else voxels.tobytes()
        name = {"i1": "int8", "u1": "uint8", "i2": "short", "u2": "ushort", "f4": "float"}[kind]
        directions = " ".join(f"({','.join(words(row).split())})" for row in (axes * edges).T)
        head = (
            f"NRRD0004\ntype: {name}\ndimension: 3\nspace: left-posterior-superior\nsizes: {words(sizes)}\n"
            f"space directions: {directions}\nendian: {'big' if voxels.dtype.str[0] == '>' else 'little'}\n"
            f"encoding: {'gzip' if packed else 'raw'}\nspace origin: ({','.join(words(origin).split())})\n"
            + (f"data file: {beside.name}\n" if beside else "\n")
        )
    path.write_bytes(head.encode() + (b"" if beside else data))
    if beside:
        beside.write_bytes(data)
    return path


def dicom_slice(
    pixels: NDArray[Any], first: tuple[float, ...], *, row: tuple[float, ...] = (1, 0, 0),
    column: tuple[float, ...] = (0, 1, 0), series: int = 1,
) -> Dataset:  # fmt: skip
    """A DICOM image full of words about a patient: one slice, or frames for pixels (frame, y, x)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.PatientName, one.PatientBirthDate, one.PatientID = f"{SECRETS[1]}^{SECRETS[0]}", SECRETS[2], SECRETS[3]
    one.InstitutionName, one.SeriesDescription = SECRETS[4], SECRETS[5]
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.SeriesInstanceUID, one.Modality = f"1.2.826.0.1.3680043.2.1125.{series}", "CT"
    one.ImagePositionPatient = [float(n) for n in first]
    one.ImageOrientationPatient, one.PixelSpacing = [*row, *column], [0.1, 0.1]
    one.Rows, one.Columns, one.SamplesPerPixel = *pixels.shape[-2:], 1
    one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", int(pixels.dtype.kind == "i")
    one.BitsAllocated = one.BitsStored = 8 * pixels.dtype.itemsize
    one.HighBit = one.BitsStored - 1
    if pixels.ndim == 3:
        one.NumberOfFrames = len(pixels)
    one.PixelData = pixels.tobytes()
    return one


def write_series(folder: Path, slices: Iterable[Dataset]) -> Path:
    """A folder of DICOM files, 000.dcm and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(slices):
        one.save_as(folder / f"{k:03d}.dcm", enforce_file_format=True)
    return folder


def edit(path: Path, row: int, column: str, value: str) -> None:
    """Change one cell; row as a spreadsheet counts, the header being row 1."""
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[row - 1].split("\t")
    cells[lines[0].split("\t").index(column)] = value
    lines[row - 1] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
