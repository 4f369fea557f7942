"""NIfTI, MHA and NRRD: images without a density calibration, placed by their own headers.

Read by libraries in Python alone, so that a damaged file is an error and never the end of the process.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.stored import Head, ScanError, Stored, check_voxel, to_body_axes

# MetaImage's names of numbers.
_META = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NRRD = {
    name: code
    for code, names in {
        "i1": "signed char,int8,int8_t", "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t", "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t", "i8": "longlong,long long,long long int,signed long long,int64,int64_t",
        "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t", "f4": "float", "f8": "double",
    }.items()
    for name in names.split(",")
}  # fmt: skip
_MOST_HEADER = 65536  # bytes of an MHA's text
_FROM_NIFTI = np.diag([-1.0, -1.0, 1.0])  # NIfTI points right, front, up; here left, back, up


def read_image(path: Path, *, unusual: bool = False) -> Stored:
    """Read a NIfTI, MHA or NRRD.

    Parameters
    ----------
    path : Path
        .nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr; data beside a header must lie in its folder.
    unusual : bool
        Allow voxels that no HR-pQCT scanner has.

    Raises
    ------
    ScanError
        If it is cut off or damaged, has not three dimensions, or its axes are sheared or oblique.
    """
    return _read(path, unusual=unusual, voxels=True)


def read_image_head(path: Path, *, unusual: bool = False) -> Head:
    """What an image's header says, held against the file's length where its voxels are not compressed.

    Raises
    ------
    ScanError
        As `read_image`.
    """
    stored = _read(path, unusual=unusual, voxels=False)
    return Head(stored.voxel_mm, mask=stored.voxels.dtype.itemsize == 1)


def _read(path: Path, *, unusual: bool, voxels: bool) -> Stored:
    """An image; without its voxels one of none of them, of their type."""
    name = path.name.lower()
    read = _nifti if name.endswith((".nii", ".nii.gz")) else _meta if name.endswith((".mha", ".mhd")) else _nrrd
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, matrix, origin = read(path, voxels)
    except ScanError:
        raise
    except Exception as error:  # whatever a library raises on a damaged file
        raise ScanError(
            f"{path} cannot be read; it is cut off, damaged or not what its name says, so export it again."
        ) from error
    if array.dtype.kind not in "iuf" or origin.shape != (3,) or matrix.shape != (3, 3):
        raise ScanError(f"{path} has not one number a voxel, or no place and axes of three numbers; export it again.")
    edges = np.linalg.norm(matrix, axis=0)
    check_voxel(tuple(edges.tolist()), path, unusual=unusual)
    shape = array.shape if voxels else (1, 1, 1)
    native = array.dtype.newbyteorder("=")
    turned, voxel_mm, first = to_body_axes(
        array.astype(native, copy=False) if voxels else np.empty(shape, native),
        directions=matrix / edges,
        origin=origin,
        edges=edges,
        path=path,
    )
    return Stored(turned, None, voxel_mm, origin_mm=first)


def _nifti(path: Path, voxels: bool) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Voxels (k, j, i), axes as columns in mm, origin in mm; left, back, up."""
    import nibabel

    packed = path.name.lower().endswith(".gz")
    with nibabel.openers.ImageOpener(str(path)) as file:
        start = file.read(540)
    kind = nibabel.Nifti2Header if nibabel.Nifti2Header.may_contain_header(start) else nibabel.Nifti1Header
    with _quiet(nibabel.imageglobals.logger):
        header = kind(start[: kind.template_dtype.itemsize])
        stated = kind(start[: kind.template_dtype.itemsize], check=False)  # the check makes edges of 0 to 1 mm
    if not bytes(header["magic"]).startswith(b"n+") or int(header.get_data_offset()) < kind.template_dtype.itemsize:
        raise ScanError(f"{path} keeps its voxels in another file, or over its header; export it again as one file.")
    shape = _three(header.get_data_shape(), path)
    each, first = header.get_data_dtype().itemsize, int(header.get_data_offset())
    _check_room(path, first=0, needed=first + math.prod(shape) * each, packed=packed)
    affine = header.get_best_affine() if int(header["sform_code"]) or int(header["qform_code"]) else None
    scale = {"meter": 1000.0, "micron": 0.001}.get(header.get_xyzt_units()[0], 1.0)
    edges = np.array([float(edge) for edge in stated["pixdim"][1:4]])
    check_voxel(tuple(np.abs(edges).tolist()), path, unusual=True)
    # Without a stated orientation the axes are taken as they are stored.
    matrix = np.diag(edges) if affine is None else _FROM_NIFTI @ affine[:3, :3]
    origin = np.zeros(3) if affine is None else _FROM_NIFTI @ affine[:3, 3]
    if not voxels:
        return np.empty(0, header.get_data_dtype()), scale * matrix, scale * origin
    with nibabel.openers.ImageOpener(str(path)) as file:
        data = file.read(first + math.prod(shape) * each)
        file.read(1)  # to the end of a compressed stream, whose sum is checked there
    if len(data) < first + math.prod(shape) * each:
        raise ScanError(f"{path} ends before its last slice; copy it again.")
    array = np.frombuffer(data, header.get_data_dtype(), offset=first).reshape(shape[::-1])
    slope, inter = header.get_slope_inter()
    if slope is not None and (slope, inter or 0) != (1, 0):
        array = array.astype(np.float32)
        array *= np.float32(slope)
        array += np.float32(inter or 0)
    return array, scale * matrix, scale * origin


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Let a library say nothing of a header, whose words may be a patient's."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _nrrd(path: Path, voxels: bool) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Voxels, axes and origin of an NRRD, as `_nifti` gives them."""
    header, data, first = _nrrd_head(path)
    shape = _three(header["sizes"], path)
    dtype = np.dtype(_NRRD[str(header["type"])]).newbyteorder(">" if header.get("endian") == "big" else "<")
    size, encoding = math.prod(shape) * dtype.itemsize, header["encoding"]
    if encoding not in ("raw", "gzip", "gz"):
        raise ScanError(f"{path} is an NRRD whose encoding is not read; save it again as raw or gzip.")
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if int(header.get("line skip", header.get("lineskip", 0))) or (skip and (encoding != "raw" or skip < -1)):
        raise ScanError(f"{path} is an NRRD that skips lines or packed bytes; save it again without.")
    first = data.stat().st_size - size if skip == -1 else first + skip  # -1: the voxels are the last of the file
    _check_room(data, first=max(first, 0), needed=size, packed=encoding != "raw")
    space = str(header.get("space", "left-posterior-superior")).lower()
    to_body = {
        "left-posterior-superior": np.eye(3), "lps": np.eye(3), "right-anterior-superior": _FROM_NIFTI, "ras": _FROM_NIFTI,
        "left-anterior-superior": np.diag([1.0, -1.0, 1.0]), "las": np.diag([1.0, -1.0, 1.0]),
    }.get(space)  # fmt: skip
    if to_body is None:
        raise ScanError(f"{path} is placed in a space that is not read; export it in left-posterior-superior.")
    axes = header.get("space directions")
    spacings = np.asarray(header.get("spacings", [np.nan] * 3), float)
    if axes is None and not (spacings > 0).all():
        check_voxel(tuple(spacings.tolist()), path, unusual=True)
    matrix = np.diag(spacings) if axes is None else to_body @ np.asarray(axes, float).T
    origin = to_body @ np.asarray(header.get("space origin", np.zeros(3)), float)
    if not voxels:
        return np.empty(0, dtype), matrix, origin
    return _voxels(path, data, first, packed=encoding != "raw", dtype=dtype, shape=shape), matrix, origin


def _nrrd_head(path: Path) -> tuple[dict[str, Any], Path, int]:
    """The header of an NRRD, the file of its voxels, and where they begin there."""
    import nrrd

    with path.open("rb") as file:
        header = dict(nrrd.read_header(file))
        text_ends = file.tell()
    data_file = header.get("data file") or header.get("datafile")
    return (header, path, text_ends) if data_file is None else (header, _beside(path, str(data_file)), 0)


def _meta(path: Path, voxels: bool) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Voxels, axes and origin of a MetaImage, as `_nifti` gives them."""
    fields, data, first = _meta_head(path)
    shape = _three([int(n) for n in fields["DimSize"].split()], path)
    if (
        int(fields["NDims"]) != 3
        or int(fields.get("ElementNumberOfChannels", 1)) != 1
        or int(fields.get("HeaderSize", 0))
        or fields.get("BinaryData", "True").lower() != "true"
    ):
        raise ScanError(f"{path} has not one number a voxel in three dimensions; export it again as a plain MetaImage.")
    swapped = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    dtype = np.dtype(_META[fields["ElementType"]]).newbyteorder(">" if swapped else "<")
    packed, size = fields.get("CompressedData", "False").lower() == "true", math.prod(shape) * dtype.itemsize
    _check_room(data, first=first, needed=size, packed=packed)
    edges = np.array([float(n) for n in fields.get("ElementSpacing", fields.get("ElementSize", "nan nan nan")).split()])
    if not (edges > 0).all():
        check_voxel(tuple(edges.tolist()), path, unusual=True)
    turned = fields.get("TransformMatrix", fields.get("Rotation", fields.get("Orientation", "1 0 0 0 1 0 0 0 1")))
    matrix = np.array([float(n) for n in turned.split()]).reshape(3, 3).T * edges
    place = fields.get("Offset", fields.get("Position", fields.get("Origin", "0 0 0")))
    origin = np.array([float(n) for n in place.split()])
    if not voxels:
        return np.empty(0, dtype), matrix, origin
    return _voxels(path, data, first, packed=packed, dtype=dtype, shape=shape), matrix, origin


def _meta_head(path: Path) -> tuple[dict[str, str], Path, int]:
    """The fields of a MetaImage, the file of its voxels, and where they begin there."""
    with path.open("rb") as file:
        text = file.read(_MOST_HEADER)
    end = re.search(rb"^ElementDataFile[ \t]*=[ \t]*(.*?)[ \t\r]*\n", text, flags=re.MULTILINE)
    if end is None:
        raise ScanError(f"{path} has no line ElementDataFile as a MetaImage has; export it again.")
    lines = [line.partition("=") for line in text[: end.start()].decode("latin-1").splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    name = end.group(1).decode("utf-8", "replace")
    return (fields, path, end.end()) if name == "LOCAL" else (fields, _beside(path, name), 0)


def _voxels(
    path: Path, data: Path, first: int, *, packed: bool, dtype: np.dtype[Any], shape: tuple[int, int, int]
) -> NDArray[Any]:
    """The voxels (k, j, i) of an image that begin at a byte of its own file or of the one beside it."""
    size = math.prod(shape) * dtype.itemsize
    with data.open("rb") as file:
        file.seek(first)
        content = _inflated(file.read(), size) if packed else file.read(size)
    if len(content) < size:
        raise ScanError(f"{path} ends before its last slice, or is damaged; copy it again.")
    return np.frombuffer(content, dtype).reshape(shape[::-1])


def _inflated(packed: bytes, size: int) -> bytes:
    """So many bytes of a compressed stream; fewer if it ends before, or its sum is wrong at its end."""
    stream = zlib.decompressobj(wbits=47)  # zlib's own or gzip
    content = stream.decompress(packed, size)
    return content if not stream.decompress(stream.unconsumed_tail, 1) and stream.eof else b""


def data_beside(header: Path) -> Path | None:
    """The file beside an image in which its voxels lie; None where they lie in its own, or it cannot be read."""
    name = header.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, data, _ = (_meta_head if name.endswith((".mha", ".mhd")) else _nrrd_head)(header)
    except Exception:  # reading says what is wrong
        return None
    return None if data == header else data


def _three(sizes: Any, path: Path) -> tuple[int, int, int]:
    """The sizes (i, j, k) of an image of three dimensions; further ones of size 1 are let go."""
    shape = [int(n) for n in sizes]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3 or min(shape) < 1 or max(shape) > 100_000:
        raise ScanError(f"{path} holds an image of {' × '.join(map(str, shape))} voxels; a scan has three dimensions.")
    return shape[0], shape[1], shape[2]


def _check_room(path: Path, *, first: int, needed: int, packed: bool) -> None:
    """Refuse a file that is shorter than its header says, or that no compression makes so small."""
    there = path.stat().st_size - first
    if needed > (there * 1100 if packed else there):  # deflate packs 1,032 times at best
        raise ScanError(f"{path} ends before its last slice: {there} bytes for {needed}; copy it again.")


def _beside(header: Path, name: str) -> Path:
    """The file of the voxels beside their header; it may not lie elsewhere."""
    path = header.parent / name
    if Path(name).name != name or not path.is_file():
        raise ScanError(
            f"{header} keeps its voxels in a file that is not beside it; put both into one folder, or save one."
        )
    return path
