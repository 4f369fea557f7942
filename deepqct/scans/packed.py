"""Voxels that an AIM keeps in another form than one number after the other: masks in runs or bits, floats of OpenVMS.

Every size is known from the bytes before anything is made of them: a file that promises more than its runs or bits hold is
refused before memory is taken for it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.stored import ScanError

_CHUNK = 1 << 16  # runs that are unfolded at a time, so that they take no memory of their own
_ON = 255  # a run of 254 after which the value stays


def unpack_two(data: NDArray[np.uint8], *, version: int, shape: tuple[int, ...], path: Path) -> NDArray[np.int8]:
    """Unfold runs of two values in turn (type 0x150001).

    Parameters
    ----------
    data : (bytes,)
        The data block: its length in 4 bytes (version 30: 8), two values, one byte a run.
    version : int
        20 or 30.
    shape : (z, y, x)
        The voxels that it must hold.
    path : Path
        For the error.

    Raises
    ------
    ScanError
        If the runs hold other than these voxels.
    """
    start = 8 if version == 30 else 4
    runs = data[start + 2 :]
    n = math.prod(shape)
    held = int(runs.sum(dtype=np.int64)) - int(np.count_nonzero(runs == _ON))
    if len(data) < start + 3 or held != n:
        raise _other(path, held, n)
    values = data[start : start + 2].view(np.int8)
    out = np.empty(n, np.int8)
    at, second = 0, 0
    for first in range(0, len(runs), _CHUNK):
        part = runs[first : first + _CHUNK]
        turns = part != _ON
        # The value of a run: that of the first, turned by every run before it that ends one.
        which = np.bitwise_xor.accumulate(np.concatenate([[second], turns[:-1]]).astype(np.uint8))
        lengths = np.where(turns, part, _ON - 1).astype(np.intp)
        end = at + int(lengths.sum())
        out[at:end] = np.repeat(values[which], lengths)
        at, second = end, int(which[-1] ^ turns[-1])
    return out.reshape(shape)


def unpack_runs(data: NDArray[np.uint8], *, version: int, shape: tuple[int, ...], path: Path) -> NDArray[np.int8]:
    """Unfold runs of any value (type 0x80002): pairs of a value and how often it stands.

    Parameters
    ----------
    data, version, shape, path
        As for `unpack_two`, without the two values.

    Raises
    ------
    ScanError
        If the runs hold other than these voxels.
    """
    pairs = data[8 if version == 30 else 4 :]
    n = math.prod(shape)
    held = int(pairs[1::2].sum(dtype=np.int64))
    if len(pairs) % 2 or held != n:
        raise _other(path, held, n)
    pairs = pairs.reshape(-1, 2)
    out = np.empty(n, np.int8)
    at = 0
    for first in range(0, len(pairs), _CHUNK):
        part = pairs[first : first + _CHUNK]
        end = at + int(part[:, 1].sum(dtype=np.int64))
        out[at:end] = np.repeat(part[:, 0].view(np.int8), part[:, 1])
        at = end
    return out.reshape(shape)


def unpack_bits(data: NDArray[np.uint8], *, shape: tuple[int, ...], path: Path) -> NDArray[np.int8]:
    """Unfold bits (types 0x60001 and 0x60003): a byte for 2 × 2 × 2 voxels, and last the value of a set one.

    Parameters
    ----------
    data, shape, path
        As for `unpack_two`.

    Raises
    ------
    ScanError
        If there are other than these voxels.
    """
    blocks = [(n + 1) // 2 for n in shape]
    if len(data) != math.prod(blocks) + 1:
        raise _other(path, 8 * max(len(data) - 1, 0), math.prod(shape))
    bits = np.unpackbits(data[:-1], bitorder="little").reshape(*blocks, 2, 2, 2)
    whole = bits.transpose(0, 3, 1, 4, 2, 5).reshape([2 * n for n in blocks])
    z, y, x = shape
    return whole[:z, :y, :x].view(np.int8) * data[-1:].view(np.int8)


def vax_floats(data: NDArray[np.uint8], *, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Floats as OpenVMS keeps them (type 0x40004 of version 20): words swapped, an exponent that is larger by two.

    Parameters
    ----------
    data : (bytes,)
        Four bytes a voxel.
    shape : (z, y, x)
        Of the result.
    """
    words = np.ascontiguousarray(data).view("<u4")
    swapped = words << np.uint32(16) | words >> np.uint32(16)
    small = (swapped & 0x7F800000) < (3 << 23)  # 0, and what has no room for a smaller exponent
    return np.where(small, np.uint32(0), swapped - np.uint32(2 << 23)).view(np.float32).reshape(shape)


def _other(path: Path, held: int, stated: int) -> ScanError:
    """The error of voxels that are not as many as the header states."""
    return ScanError(
        f"{path} holds {held} of the {stated} voxels that its header states; copy it again from the scanner."
    )
