"""Masks of an AIM in runs and bits, and floats of OpenVMS, held against a plain way of packing and the open library."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from files import write_aim_bytes

from deepqct.scans import ScanError
from deepqct.scans.packed import unpack_bits, unpack_runs, unpack_two, vax_floats

SHAPE = (3, 41, 37)
HERE = Path("m.AIM")


def mask(kind: str) -> np.ndarray:
    """A mask of small parts, of long runs, of nothing, or of chance."""
    rng = np.random.default_rng(3)
    return {
        "parts": (np.indices(SHAPE).sum(axis=0) % 7 > 2) * np.int8(127),
        "long": np.repeat(np.array([0, -3, 0], np.int8), 41 * 37).reshape(SHAPE),
        "nothing": np.zeros(SHAPE, np.int8),
        "chance": rng.integers(0, 2, SHAPE).astype(np.int8),
    }[kind].astype(np.int8)


def two(voxels: np.ndarray, version: int) -> bytes:
    """Runs of two values, one voxel at a time."""
    flat = voxels.ravel().tolist()
    values = [flat[0], next((v for v in flat if v != flat[0]), 0)]
    out, n, now = b"", 0, flat[0]
    for value in flat:
        if value != now:
            out, n, now = out + bytes([n]), 0, value
        elif n == 254:
            out, n = out + b"\xff", 0
        n += 1
    body = struct.pack("2b", *values) + out + bytes([n])
    return struct.pack("<q" if version == 30 else "<i", len(body) + (8 if version == 30 else 4)) + body


def runs(voxels: np.ndarray, version: int) -> bytes:
    """Pairs of value and length, one voxel at a time."""
    out: list[list[int]] = [[0, 0]]
    for value in voxels.ravel().tolist():
        if value == out[-1][0] and out[-1][1] < 255:
            out[-1][1] += 1
        else:
            out.append([value, 1])
    body = b"".join(struct.pack("bB", *pair) for pair in out)
    return struct.pack("<q" if version == 30 else "<i", len(body) + 4) + body


def bits(voxels: np.ndarray) -> bytes:
    """A byte for eight voxels, one voxel at a time."""
    z, y, x = ((n + 1) // 2 for n in voxels.shape)
    out = bytearray(z * y * x + 1)
    for k, j, i in np.argwhere(voxels).tolist():
        out[(k // 2 * y + j // 2) * x + i // 2] |= 1 << (4 * (k % 2) + 2 * (j % 2) + i % 2)
    out[-1] = int(voxels.max()) & 255
    return bytes(out)


def as_bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("version", [20, 30])
@pytest.mark.parametrize("kind", ["parts", "long", "nothing", "chance"])
def test_runs_come_back(kind, version):
    voxels = mask(kind)
    got = unpack_two(as_bytes(two(voxels, version)), version=version, shape=SHAPE, path=HERE)
    np.testing.assert_array_equal(got, voxels)
    got = unpack_runs(as_bytes(runs(voxels, version)), version=version, shape=SHAPE, path=HERE)
    np.testing.assert_array_equal(got, voxels)


@pytest.mark.parametrize("kind", ["parts", "nothing", "chance"])
def test_bits_come_back(kind):
    voxels = mask(kind)
    np.testing.assert_array_equal(unpack_bits(as_bytes(bits(voxels)), shape=SHAPE, path=HERE), voxels)


def test_more_runs_than_are_unfolded_at_once(monkeypatch):
    """Where one part ends, the value and the place must go on."""
    monkeypatch.setattr("deepqct.scans.packed._CHUNK", 7)
    for kind in ("parts", "long", "chance"):
        voxels = mask(kind)
        got = unpack_two(as_bytes(two(voxels, 30)), version=30, shape=SHAPE, path=HERE)
        np.testing.assert_array_equal(got, voxels)
        np.testing.assert_array_equal(
            unpack_runs(as_bytes(runs(voxels, 20)), version=20, shape=SHAPE, path=HERE), voxels
        )


@pytest.mark.parametrize("shape", [(10_000, 10_000, 10_000), (3, 41, 36), (1, 1, 1)])
def test_what_the_bytes_do_not_hold_takes_no_memory(shape):
    voxels = mask("parts")
    for unpack, data in ((unpack_two, two(voxels, 30)), (unpack_runs, runs(voxels, 30))):
        with pytest.raises(ScanError, match=r"of the .* voxels that its header states"):
            unpack(as_bytes(data), version=30, shape=shape, path=HERE)
    with pytest.raises(ScanError, match=r"of the .* voxels that its header states"):
        unpack_bits(as_bytes(bits(voxels)), shape=(shape[0], shape[1], 2 * shape[2] + 90), path=HERE)


@pytest.mark.parametrize("cut", [0, 3, 8, 9, 11])
def test_a_block_that_ends_at_once_is_refused(cut):
    for unpack in (unpack_two, unpack_runs):
        with pytest.raises(ScanError, match=r"of the .* voxels"):
            unpack(as_bytes(two(mask("parts"), 30)[:cut]), version=30, shape=SHAPE, path=HERE)


def test_the_open_library_packs_what_is_unpacked_here(tmp_path):
    import py_aimio

    from deepqct.scans import read_mask

    for kind in ("parts", "long", "chance"):
        voxels = mask(kind)
        place = {"dimensions": SHAPE[::-1], "position": (0,) * 3, "offset": (0,) * 3, "element_size": (0.1,) * 3}
        log = {"processing_log_raw": "Site  20\n", "processing_log": {}}
        py_aimio.write_aim(str(tmp_path / "m.AIM"), voxels, place | log, unit="native")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.AIM")[0], voxels != 0)


def test_floats_of_openvms_are_the_same_numbers(tmp_path):
    from deepqct.scans import read_scan

    numbers = np.array([0.0, 1.0, -1.0, 0.25, 1234.5, -3e-5, 7e8, 5e-39], np.float32)
    data = b"".join(
        struct.pack("<2H", bits >> 16, bits & 0xFFFF) if bits else bytes(4)
        for (bits,) in (struct.unpack("<I", struct.pack("<f", 4 * n)) for n in numbers[:-1].tolist())
    )
    assert vax_floats(as_bytes(data), shape=(1, 1, 7)).ravel().tolist() == numbers[:-1].tolist()
    assert vax_floats(as_bytes(b"\x80\x00\x01\x00"), shape=(1, 1, 1)).item() == 0  # smaller than IEEE can hold whole
    voxels = np.frombuffer(data + data[:4], np.uint8).view("<i4").reshape(2, 2, 2)
    path = write_aim_bytes(tmp_path / "f.AIM", voxels, kind=0x40004, version=20)
    assert read_scan(path).native.ravel().tolist() == [*numbers[:-1].tolist(), 0.0]
