"""The spaces that the shells of bones enclose: one for each bone, whatever plates, leaks and pockets do to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones import planes

# Our choices, in mm, tried on phantoms and virtual scans at 0.06 to 0.5 mm.
LEAK_MM = 0.2  # gaps in a shell of up to twice this width are closed
LEAKY = 0.5  # a space leaks in a slice where it is smaller than this share of its median area
LEAK_TRIES = 3  # where a thin shell leaks, up to this many times LEAK_MM is tried
STRUT_MM = 0.3  # trabeculae of up to twice this thickness do not divide a core
THINNEST_WALL_MM = 1.0  # between the spaces of two bones
PLATE_SHARE = 0.25  # of a space's rim: along a plate lies 0.29 and more, where two bones touch 0
SLIT_MM = 0.6  # a space of up to twice this width between two shells is no core
SMALLEST_CORE_MM2 = 5.0
_SEAM_SLICES = 40  # among which spaces are held against each other
AROUND_MM = 1.2  # about a core, where its shell is looked for


def find_cores(shells: NDArray[np.bool_], *, voxel_mm: tuple[float, float, float]) -> list[NDArray[np.bool_]]:
    """The spaces that shells enclose, the largest first; not divided by trabeculae, without slits between two shells.

    Where a thin shell leaks in some slices, larger gaps are closed, until two spaces go through the whole stack. If
    that never happens, the try that encloses most is taken; a slice that still leaks takes the space of the nearest one
    that does not.

    Parameters
    ----------
    shells : (z, y, x) bool
        What is dense enough for a cortex, in the whole limb.
    voxel_mm : (z, y, x) mm
        Edges of a voxel.

    Returns
    -------
    list of (z, y, x) bool
        One for each bone, and any others; empty if nothing is enclosed.
    """
    leak = max(LEAK_MM, *voxel_mm[1:])
    tries = [_spaces(shells, leak, voxel_mm=voxel_mm)]
    while len(tries) < LEAK_TRIES and not _go_through(tries[-1]):
        tries.append(_spaces(shells, (len(tries) + 1) * leak, voxel_mm=voxel_mm))
    cores = tries[-1] if _go_through(tries[-1]) else max(tries, key=_enclosed)
    pieces = len(cores) + 1
    while len(cores) < pieces:  # what is joined may face what its parts did not
        pieces = len(cores)
        cores = _joined(cores, voxel_mm=voxel_mm)
    return [_mended(core, shells, pixel_mm=voxel_mm[1:]) for core in cores]


def _joined(cores: list[NDArray[np.bool_]], *, voxel_mm: tuple[float, float, float]) -> list[NDArray[np.bool_]]:
    """Spaces, each joined to the one larger space of whose bone it is, if there is one; the largest first.

    To one only: a pocket between two bones that touch must not join the two.
    """
    whole: list[NDArray[np.bool_]] = []
    for core in cores:
        seams = [_seam(core, other, voxel_mm=voxel_mm) for other in whole]
        facing, best = max(((facing, i) for i, (facing, _) in enumerate(seams)), default=(0.0, 0))
        away, nearest = min(((away, i) for i, (_, away) in enumerate(seams)), default=(np.inf, 0))
        if facing > PLATE_SHARE:
            whole[best] = whole[best] | core
        elif len(whole) > 1 and away < THINNEST_WALL_MM:  # beside two bones, the nearer one's
            whole[nearest] = whole[nearest] | core
        else:
            whole.append(core)
    return sorted(whole, key=np.count_nonzero, reverse=True)


def _mended(core: NDArray[np.bool_], shells: NDArray[np.bool_], *, pixel_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """A core that goes on through slices in which its shell leaks: there it is that of the nearest slice which does not.

    A slice without most of the shell around the core holds no bone, and stays as it is.
    """
    area = core.sum(axis=(1, 2))
    closed = np.flatnonzero(area >= LEAKY * np.median(area[area > 0]))
    mended = core.copy()
    for z in np.flatnonzero(area < LEAKY * np.median(area[area > 0])):
        near = closed[np.abs(closed - z).argmin()]
        around = planes.dilate(core[[near]], AROUND_MM, pixel_mm=pixel_mm, threads=1)[0] & ~core[near]
        if (shells[z] & around).sum() > 0.5 * (shells[near] & around).sum():
            mended[z] |= core[near]
    return mended


def _seam(
    small: NDArray[np.bool_], large: NDArray[np.bool_], *, voxel_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """How much of a space's rim faces another space across no more than a plate, and how far they are apart, in mm.

    A plate is thin wherever the spaces face each other; two bones that touch are round, and have two cortices between
    them. Spaces one above the other are what a leak in the slices between them has left of one bone: all of the rim.
    """
    below, above = small.any(axis=0), large.any(axis=0)
    if (below & above).sum() > 0.5 * min(below.sum(), above.sum()):
        return 1.0, 0.0
    step = max(len(small) // _SEAM_SLICES, 1)
    small, large = small[::step], large[::step]
    away = planes.distance(large, pixel_mm=voxel_mm[1:])
    rim = small & ~ndimage.binary_erosion(small, np.ones((1, 3, 3), bool))
    facing = away[rim] <= max(THINNEST_WALL_MM, 3 * max(voxel_mm[1:])) * 1.01
    return (float(facing.mean()) if facing.size else 0.0), float(away[small].min(initial=np.inf))


def _enclosed(cores: list[NDArray[np.bool_]]) -> int:
    """How many voxels the two largest spaces have."""
    return sum(int(np.count_nonzero(core)) for core in cores[:2])


def _go_through(cores: list[NDArray[np.bool_]]) -> bool:
    """Whether at least two spaces go through all slices, and in no slice are much smaller than in the others."""
    areas = [core.sum(axis=(1, 2)) for core in cores]
    return sum(bool(area.min() > LEAKY * np.median(area)) for area in areas) >= 2


def _spaces(
    shells: NDArray[np.bool_], leak_mm: float, *, voxel_mm: tuple[float, float, float]
) -> list[NDArray[np.bool_]]:
    """The spaces that shells enclose if gaps of up to twice `leak_mm` are closed, the largest first."""
    pixel_mm = (voxel_mm[1], voxel_mm[2])
    tight = planes.close(shells, leak_mm, pixel_mm=pixel_mm)
    space = planes.close(planes.fill(tight) & ~shells, STRUT_MM, pixel_mm=pixel_mm)
    labels, sizes = numbered(planes.open_(space, SLIT_MM, pixel_mm=pixel_mm))
    smallest = SMALLEST_CORE_MM2 / (voxel_mm[1] * voxel_mm[2]) * len(shells)
    return [labels == i + 1 for i in np.argsort(sizes)[::-1] if sizes[i] >= smallest]


def numbered(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer[Any]], NDArray[np.intp]]:
    """Number the pieces that hang together, in 16 bits if that is enough, and count the voxels of each.

    Parameters
    ----------
    mask : (z, y, x) bool
        What is divided into pieces.

    Returns
    -------
    (z, y, x) int
        0 outside of the mask, else the number of the piece, from 1.
    (pieces,) int
        The voxels of each piece.
    """
    try:
        labels, n = ndimage.label(mask, output=np.int16)
    except RuntimeError:  # more pieces than 16 bits count
        labels, n = ndimage.label(mask)
    # Slice by slice, since bincount makes 64-bit copies.
    sizes = sum((np.bincount(plane.ravel(), minlength=n + 1) for plane in labels), np.zeros(n + 1, np.intp))
    return labels, sizes[1:]
