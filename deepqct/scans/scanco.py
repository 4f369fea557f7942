"""Scanco's own files: AIM (versions 020 and 030), ISQ, GOBJ.

Headers are read here, byte by byte, before any library sees the file: what they promise is held against the file's length,
and letters of any encoding in names do no harm. AIM and ISQ carry their calibration: density = native / Mu_Scaling × slope
+ intercept, in mgHA/cm³.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.packed import unpack_bits, unpack_runs, unpack_two, vax_floats
from deepqct.scans.stored import (
    PROTOCOL,
    SOFTWARE,
    Head,
    ScanError,
    Stored,
    check_calibration,
    check_voxel,
    generation,
    site_of,
)

_BLOCK = 512  # bytes; an ISQ counts its header in these
_AGAIN = "copy it again from the scanner"
# Type codes of an AIM that are plain numbers: what they are. Float is IEEE in version 030 and where ITK wrote it.
_PLAIN = {0x20002: "<i2", 0x10001: "i1", 0x160001: "u1", 0x30004: "<i4", 0x1A0004: "<f4"}
_TWO, _RUNS, _BITS = 0x150001, 0x80002, (0x60001, 0x60003)  # compressed masks: packed.py
_FLOAT = 0x40004  # IEEE in version 030, VAX in 020
_COMPRESSED = {_TWO, _RUNS, *_BITS}
_MASKS = {0x10001, 0x160001, *_COMPRESSED}  # chars, plain or compressed, and bits
_LOGGED = (
    "Mu_Scaling",
    "Density: slope",
    "Density: intercept",
    "Site",
    "Scanner type",
    "Orig-ISQ-Dim-p",
    "Energy [V]",
    "Intensity [uA]",
    "Integration time [us]",
    "No. projections per 180",
    "Position Slice 1 [um]",
    "Reference line [um]",
    "Reconstruction-Alg.",
)  # lines of a processing log that are read
_MOST_PER_BYTE = 255  # voxels that a byte of a compressed mask can stand for
_WIDEST = 3000  # voxels along an edge of a grid in which contours are drawn; the XtremeCT II has 2304; our choice


@dataclass(frozen=True)
class _Aim:
    """The header of an AIM; positions and sizes as (x, y, z)."""

    kind: int
    version: int
    position: tuple[int, ...]
    dimensions: tuple[int, ...]
    margin: tuple[int, ...]  # voxels at each side that are no part of the image
    edges_mm: tuple[float, ...]
    log: dict[str, str]
    data: int  # where its voxels begin
    length: int  # their bytes


def read_aim_head(path: Path, *, unusual: bool = False) -> Head:
    """Read what the header of an AIM says.

    Raises
    ------
    ScanError
        If it is cut off, is none, or states what cannot be.
    """
    aim = _aim(path, unusual=unusual)
    x, y, z = aim.edges_mm
    return Head(
        (z, y, x),
        _aim_calibration(aim, path, unusual=unusual),
        *site_of(_whole(aim.log, "Site")),
        aim.kind in _MASKS,
        _aim_scanner(aim),
        {**_aim_protocol(aim), SOFTWARE: f"AIM {aim.version:03d}"},
    )


def _aim_scanner(aim: _Aim) -> str | None:
    """The generation by voxel, grid and tube of an AIM."""
    grid = [int(n) for n in _numbers(aim.log, "Orig-ISQ-Dim-p") if math.isfinite(n)]
    tube, code = _numbers(aim.log, "Energy [V]"), _whole(aim.log, "Scanner type")
    return generation(
        voxel_mm=aim.edges_mm[0], grid=grid[0] if grid else None, tube_v=tube[0] if tube else None, code=code
    )


def _aim_protocol(aim: _Aim) -> dict[str, float]:
    """How the scan behind an AIM was made, as far as its log says."""
    logged = [
        (_numbers(aim.log, name) or [math.nan])[0]
        for name in (
            "Energy [V]", "Intensity [uA]", "Integration time [us]", "No. projections per 180", "Position Slice 1 [um]",
            "Reference line [um]", "Reconstruction-Alg.", "Mu_Scaling",
        )
    ]  # fmt: skip
    grid = _numbers(aim.log, "Orig-ISQ-Dim-p")
    slices = grid[2] if len(grid) == 3 else aim.dimensions[2] - 2 * aim.margin[2]
    return _protocol(slices, aim.edges_mm[0], *logged)


def _protocol(
    slices: float, voxel_mm: float, tube_v: float, current: float, integration_us: float, projections: float,
    first_um: float, reference_um: float, reconstruction: float, scaling: float,
) -> dict[str, float]:  # fmt: skip
    """What a header says of how a scan was made; 0 stands for what it does not say."""
    # The stage moves along the limb: what is further in is scanned at a larger number on one model, a smaller on another.
    offset = abs(first_um - reference_um) / 1000 if first_um and reference_um else math.nan
    stated = (
        slices, round(voxel_mm, 4), tube_v / 1000, current, integration_us / 1000, projections, round(offset, 1),
        reconstruction, scaling,
    )  # fmt: skip
    return {name: float(value) for name, value in zip(PROTOCOL, stated, strict=True) if math.isfinite(value) and value}


def read_aim(path: Path, *, unusual: bool = False) -> Stored:
    """Read an AIM with its voxels.

    Raises
    ------
    ScanError
        As `read_aim_head`, and for a type of voxels that is not read.
    """
    aim = _aim(path, unusual=unusual)
    voxels = _voxels(path, aim)
    x, y, z = aim.edges_mm
    grid = [int(n) for n in _numbers(aim.log, "Orig-ISQ-Dim-p") if math.isfinite(n)]
    first = [(p + m) * edge for p, m, edge in zip(aim.position, aim.margin, aim.edges_mm, strict=True)]
    return Stored(
        voxels, _aim_calibration(aim, path, unusual=unusual), (z, y, x), *site_of(_whole(aim.log, "Site")),
        _aim_scanner(aim), (first[2], first[1], first[0]), (grid[1], grid[0]) if len(grid) > 1 else None,
    )  # fmt: skip


def _aim(path: Path, *, unusual: bool) -> _Aim:
    """The header of an AIM that is as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(284)
        if start.startswith(b"\x14\0\0\0\x8c\0\0\0") and len(start) >= 160:
            blocks, first, version = struct.unpack("<5i", start[:20]), 20, 20
            kind, *numbers = struct.unpack("<i21i", start[40:128])
            edges = [_vax_float(start[at : at + 4]) for at in (128, 132, 136)]
        elif start.startswith(b"AIMDATA_V030") and len(start) >= 280:
            blocks, first, version = struct.unpack("<5q", start[16:56]), 56, 30
            kind, *numbers = struct.unpack("<i21q", start[68:240])
            edges = [nm / 1e6 for nm in struct.unpack("<3q", start[240:264])]
        else:
            raise ScanError(f"{path} does not begin like an AIM; export it again from the scanner as AIM.")
        _, struct_bytes, log_bytes, length, _ = blocks
        log_at = first + struct_bytes
        data = log_at + log_bytes
        if min(blocks) < 0 or data > size:
            raise ScanError(f"{path} ends before its first slice; {_AGAIN}.")
        file.seek(log_at)
        log = _log(file.read(log_bytes))
    position, dimensions, margin = numbers[:3], numbers[3:6], numbers[6:9]
    _check_dimensions(dimensions, path)
    if any(m < 0 or 2 * m >= n for m, n in zip(margin, dimensions, strict=True)):
        raise ScanError(f"{path} states a margin of {margin} voxels around {dimensions}; {_AGAIN}.")
    check_voxel(tuple(edges), path, unusual=unusual)
    voxels, each = math.prod(dimensions), kind & 0xFFFF
    if data + length > size:
        whole = (size - data) * dimensions[2] // length
        raise ScanError(f"{path} ends after {whole} of {dimensions[2]} slices; {_AGAIN}.")
    if kind not in _COMPRESSED and each in (1, 2, 4) and length != voxels * each:
        whole = length // max(dimensions[0] * dimensions[1] * each, 1)
        raise ScanError(f"{path} holds {whole} of {dimensions[2]} slices by its own header; {_AGAIN}.")
    inner = math.prod(n - 2 * m for n, m in zip(dimensions, margin, strict=True))
    if kind in _COMPRESSED and inner > length * _MOST_PER_BYTE:
        raise ScanError(f"{path} states {dimensions} voxels, more than its {length} bytes can hold; {_AGAIN}.")
    return _Aim(
        kind, version, tuple(position), tuple(dimensions), tuple(margin), tuple(edges), log, data, length
    )  # fmt: skip


def _voxels(path: Path, aim: _Aim) -> NDArray[Any]:
    """The voxels of an AIM (z, y, x), without the margin around them."""
    whole = tuple(aim.dimensions[::-1])
    inside = tuple(slice(m, n - m) for m, n in zip(aim.margin[::-1], whole, strict=True))
    plain = _PLAIN.get(aim.kind) or ("<f4" if aim.kind == _FLOAT and aim.version == 30 else None)
    if plain is not None:
        return np.fromfile(path, plain, count=math.prod(whole), offset=aim.data).reshape(whole)[inside]
    data = np.fromfile(path, np.uint8, count=aim.length, offset=aim.data)
    if aim.kind in (_TWO, _RUNS):  # of these, the margin is not kept
        unpack = unpack_two if aim.kind == _TWO else unpack_runs
        return unpack(data, version=aim.version, shape=tuple(s.stop - s.start for s in inside), path=path)
    if aim.kind in _BITS:
        return unpack_bits(data, shape=whole, path=path)[inside]
    if aim.kind == _FLOAT:
        return vax_floats(data, shape=whole)[inside]
    raise ScanError(f"{path} holds voxels of type {aim.kind:#x}, which is not read; save it as 16-bit AIM (short).")


def _aim_calibration(aim: _Aim, path: Path, *, unusual: bool) -> tuple[float, float] | None:
    """Slope and intercept of an AIM's log; None if it has none, or for a mask, whose numbers mean nothing."""
    fields = [_numbers(aim.log, name) for name in ("Mu_Scaling", "Density: slope", "Density: intercept")]
    if aim.kind in _MASKS or not all(fields):
        return None
    return _calibration(*(field[0] for field in fields), path=path, unusual=unusual)


def _calibration(
    scaling: float, slope: float, intercept: float, *, path: Path, unusual: bool
) -> tuple[float, float]:  # fmt: skip
    """Slope and intercept from native numbers to mgHA/cm³, checked."""
    calibration = (slope / scaling if scaling else math.nan, intercept)
    if not scaling > 0 or not slope > 0:
        raise ScanError(
            f"{path} has Mu_Scaling {scaling:g} and slope {slope:g}, which must be above 0; export it again."
        )
    check_calibration(calibration, path, unusual=unusual)
    return calibration


def _log(data: bytes) -> dict[str, str]:
    """The technical lines of an AIM's processing log; letters of any encoding in the others do no harm."""
    lines = data.decode("latin-1").splitlines()
    return {name: line.removeprefix(name).strip() for line in lines for name in _LOGGED if line.startswith(f"{name} ")}


def _numbers(log: dict[str, str], name: str) -> list[float]:
    """The numbers of one line of a log; none where it is absent or holds other things."""
    try:
        return [float(part) for part in log.get(name, "").split()]
    except ValueError:
        return []


def _whole(log: dict[str, str], name: str) -> int | None:
    """The whole number of one line of a log."""
    numbers = _numbers(log, name)
    return int(numbers[0]) if numbers and math.isfinite(numbers[0]) else None


@dataclass(frozen=True)
class _Isq:
    """The header of an ISQ; sizes as (x, y, z)."""

    dimensions: tuple[int, ...]
    edges_mm: tuple[float, ...]
    mu_scaling: int
    scanner: int
    site: int
    tube_v: int
    # Current, integration time, projections, first slice, reference line, reconstruction, Mu_Scaling.
    way: tuple[int, int, int, int, int, int, int]
    data: int  # where its voxels begin
    density: tuple[float, float] | None  # slope and intercept of the extended header


def read_isq_head(path: Path, *, unusual: bool = False) -> Head:
    """What an ISQ says of itself.

    Raises
    ------
    ScanError
        If it is cut off, is none, or states what cannot be.
    """
    isq = _isq(path, unusual=unusual)
    x, y, z = isq.edges_mm
    return Head(
        (z, y, x),
        _isq_calibration(isq, path, unusual=unusual),
        *site_of(isq.site),
        scanner=_isq_scanner(isq),
        protocol=_protocol(isq.dimensions[2], x, isq.tube_v, *isq.way),
    )


def _isq_scanner(isq: _Isq) -> str | None:
    """The generation by voxel, grid and tube of an ISQ."""
    return generation(voxel_mm=isq.edges_mm[0], grid=isq.dimensions[0], tube_v=isq.tube_v or None, code=isq.scanner)


def read_isq(path: Path, *, unusual: bool = False) -> Stored:
    """Read an ISQ, memory-mapped: a whole one is 1.8 GB.

    Raises
    ------
    ScanError
        As `read_isq_head`.
    """
    isq = _isq(path, unusual=unusual)
    voxels = np.memmap(path, dtype="<i2", mode="r", offset=isq.data, shape=tuple(isq.dimensions[::-1]))
    x, y, z = isq.edges_mm
    width, height, _ = isq.dimensions
    return Stored(
        voxels, _isq_calibration(isq, path, unusual=unusual), (z, y, x), *site_of(isq.site), _isq_scanner(isq),
        grid=(height, width),
    )  # fmt: skip


def _isq(path: Path, *, unusual: bool) -> _Isq:
    """The header of an ISQ of 16 bits that is as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        if not head.startswith(b"CTDATA-HEADER") or len(head) < _BLOCK:
            raise ScanError(f"{path} does not begin like an ISQ; export it again from the scanner as ISQ.")
        kind, dimensions = struct.unpack_from("<i", head, 16)[0], struct.unpack_from("<3i", head, 44)
        micrometres, (blocks,) = struct.unpack_from("<3i", head, 56), struct.unpack_from("<i", head, 508)
        if kind != 3:
            raise ScanError(f"{path} is an ISQ of type {kind}, and only 16-bit ones are read; export it as AIM.")
        _check_dimensions(dimensions, path)
        data = (blocks + 1) * _BLOCK
        if not _BLOCK <= data <= size:
            raise ScanError(f"{path} says that its voxels begin at byte {data} of {size}; {_AGAIN}.")
        whole = (size - data) // (2 * dimensions[0] * dimensions[1])
        if whole < dimensions[2]:
            raise ScanError(f"{path} ends after {whole} of {dimensions[2]} slices; {_AGAIN}.")
        extended = file.read(min(data - _BLOCK, 64 * _BLOCK))
    edges = tuple(um / n / 1000 for um, n in zip(micrometres, dimensions, strict=True))
    check_voxel(edges, path, unusual=unusual)
    scaling, scanner, site, tube = (struct.unpack_from("<i", head, at)[0] for at in (88, 104, 116, 168))
    current, integration, projections, first, reference, algorithm = (
        struct.unpack_from("<i", head, at)[0] for at in (172, 108, 96, 76, 120, 124)
    )
    way = (current, integration, projections, first, reference, algorithm, scaling)
    return _Isq(dimensions, edges, scaling, scanner, site, tube, way, data, _density_block(extended))


def _density_block(extended: bytes) -> tuple[float, float] | None:
    """Slope and intercept of the block "Calibration" of an ISQ's extended header, if its unit is a density."""
    if extended[8:24] != b"MultiHeader     ":
        return None
    at = 2 * _BLOCK  # of the first block that is listed; the list itself takes one
    for number in range(4):
        name = extended[_BLOCK + number * 128 + 8 : _BLOCK + number * 128 + 24]
        blocks = int.from_bytes(extended[_BLOCK + number * 128 + 24 : _BLOCK + number * 128 + 28], "little")
        if name == b"Calibration     ":
            block = extended[at : at + blocks * _BLOCK]
            if len(block) < 2 * _BLOCK or b"HA" not in block[648:664]:
                return None
            return _vax_double(block[664:672]), _vax_double(block[672:680])
        at += blocks * _BLOCK
    return None


def _isq_calibration(isq: _Isq, path: Path, *, unusual: bool) -> tuple[float, float] | None:
    """Slope and intercept of an ISQ that states densities; None for another unit."""
    return None if isq.density is None else _calibration(isq.mu_scaling, *isq.density, path=path, unusual=unusual)


def read_gobj(path: Path, *, unusual: bool = False) -> Stored:
    """Read contours of Scanco's, drawn as a mask of the box that holds them.

    Raises
    ------
    ScanError
        If it cannot be read.
    """
    from py_aimio.gobj import gobj_info, read_gobj  # in Python alone

    try:
        header = gobj_info(path)
        x, y, z = (float(edge) for edge in header["spacing"])
        first = [float(p) * edge for p, edge in zip(header["position"], (x, y, z), strict=True)]
        if drawn := _drawn(header):
            raise ScanError(f"{path} {drawn}; export the contours again.")
        voxels, _ = read_gobj(path)
    except ScanError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise ScanError(f"{path} cannot be read as a GOBJ; export the contours again.") from error
    check_voxel((z, y, x), path, unusual=unusual)
    return Stored(voxels, None, (z, y, x), origin_mm=(first[2], first[1], first[0]))


def _drawn(header: dict[str, Any]) -> str:
    """What is wrong with the contours of a GOBJ before they are drawn; empty if nothing is."""
    size, slices = header["dimensions"], int(header["slice_count"])
    if any(not 1 <= n <= _WIDEST for n in size):
        return f"states contours of {' × '.join(map(str, size))} voxels"
    if size[2] > 2 * slices + 1:
        return f"holds contours on {slices} slices that lie over {size[2]}"
    if any(max(one["width"], one["height"]) > one["step_count"] // 2 + 2 for one in header["contours"]):
        return "holds a contour that is wider than its line is long"
    widest: dict[str, dict[int, int]] = {"width": {}, "height": {}}
    for one in (*header["contours"], *header["primitives"]):
        for edge, of_slice in widest.items():
            of_slice[one["z"]] = max(of_slice.get(one["z"], 1), one.get(edge, 1))
    for edge, whole in (("width", size[0]), ("height", size[1])):
        if whole > 4 * sorted(widest[edge].values())[len(widest[edge]) // 2]:
            return f"holds contours that lie apart: together they have a {edge} of {whole} voxels"
    return ""


def _check_dimensions(dimensions: Any, path: Path) -> None:
    """Refuse sizes that no scan has."""
    if not all(1 <= n <= 100_000 for n in dimensions):
        stated = " × ".join(str(n) for n in dimensions)
        raise ScanError(f"{path} states {stated} voxels; export it again from the scanner.")


def _vax_float(data: bytes) -> float:
    """A VAX F_floating number of four bytes, in which version 020 states its edges."""
    low, high = struct.unpack("<2H", data)
    bits = low << 16 | high
    sign, exponent, fraction = bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF
    return 0.0 if exponent == 0 else (-1.0 if sign else 1.0) * (0x800000 | fraction) * 2.0 ** (exponent - 152)


def _vax_double(data: bytes) -> float:
    """A VAX G_floating number of eight bytes, in which an ISQ states its calibration."""
    bits = int.from_bytes(b"".join(data[at : at + 2][::-1] for at in (0, 2, 4, 6)), "big")
    sign, exponent, fraction = bits >> 63, bits >> 52 & 0x7FF, bits & (1 << 52) - 1
    value = 0.0 if exponent == 0 else ((1 << 52) | fraction) * 2.0 ** (exponent - 1077)
    return -value if sign else value
