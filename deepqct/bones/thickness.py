"""Local thickness: the diameter of the largest sphere that fits inside a structure and covers each of its voxels.

The one measure behind Tb.Th, Tb.Sp, Tb.N, Ct.Th and Ct.Po.Dm (Hildebrand & Rüegsegger 1997). A distance between voxel
centres cannot tell plates of 3 and of 4 voxels apart, so distances are taken here to a surface laid between the voxels:

1. the surface, as small discs where the smoothed mask crosses one half, and on voxels' faces where it loses thin parts;
2. the nearest disc of every voxel (Felzenszwalb & Huttenlocher 2012, whose lines run in parallel);
3. the ridge, voxels whose sphere no neighbour's sphere holds, moved off the grid to the middle of what they touch;
4. the spheres, painted onto the voxels that they cover, the larger over the smaller.

Nothing is upsampled: memory stays near 10 bytes a voxel of the box around the structure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deepqct.bones import spheres
from deepqct.work import each_slice, share, workers

SMOOTHING = 0.8  # voxels, of the mask, sharpened so that curved surfaces do not shrink; our choice
CUBE_TOLERANCE = 0.01

# As the names are explained in `spheres`: site, place, normal, twin, outer.
_Surface = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint32]]


def local_thickness(
    mask: NDArray[np.bool_],
    *,
    voxel_mm: tuple[float, float, float],
    medial: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the thickness of a structure at each of its voxels, in mm.

    The structure is taken to go on beyond the border of the array, so that a plate which is cut there is not thinner.
    Details of a single voxel, too small to hold a sphere, count as one voxel thick.

    Parameters
    ----------
    mask : (z, y, x) bool
        True inside the structure.
    voxel_mm : (z, y, x) mm
        Edge lengths; must be equal within 1 %, since spheres are fitted in voxels.
    medial : (n, 4) float32, optional
        The spheres that `medial_spheres` gave for this mask, so that they need not be fitted again.
    threads : int, optional
        How many threads share the work; all processors by default. The result does not depend on it.

    Returns
    -------
    (z, y, x) float32, mm
        0 outside `mask`.

    Raises
    ------
    ValueError
        If `mask` is not three-dimensional, the voxels are not cubes, or the mask is True everywhere.

    References
    ----------
    Hildebrand T, Rüegsegger P (1997), J Microsc 185:67. Felzenszwalb P, Huttenlocher D (2012), Theory Comput 8:415.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> plate = np.zeros((20, 20, 20), bool)
    >>> plate[8:12] = True  # 4 voxels of 0.1 mm
    >>> round(float(dq.local_thickness(plate, voxel_mm=(0.1, 0.1, 0.1))[plate].mean()), 2)
    0.4
    """
    edge = _edge(mask, voxel_mm)
    out = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return out
    if mask.all():
        raise ValueError("The mask is True everywhere, so that nothing bounds a sphere; give it with its surroundings.")
    box = _box(mask)
    inside = np.ascontiguousarray(mask[box])
    centred = medial_spheres(mask, threads=threads) if medial is None else medial
    painted = _paint(inside, centred - _corner(box), threads=threads)
    share(spheres.fill_gaps, len(inside), inside, painted, out[box], threads=threads)
    out *= np.float32(edge)
    return out


def medial_spheres(mask: NDArray[np.bool_], *, threads: int | None = None) -> NDArray[np.float32]:
    """Return the maximal spheres that fit inside a structure and together make it up.

    Parameters
    ----------
    mask : (z, y, x) bool
        True inside the structure.
    threads : int, optional
        How many threads share the work; all processors by default. The result does not depend on it.

    Returns
    -------
    (n, 4) float32, voxels
        Centre (z, y, x) and radius of each sphere.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> plate = np.zeros((20, 20, 20), bool)
    >>> plate[8:12] = True  # 4 voxels, with the middle between the second and the third
    >>> z, y, x, radius = dq.bones.medial_spheres(plate).T.round(2)
    >>> np.unique(z).tolist(), np.unique(radius).tolist()
    ([9.5], [2.0])
    """
    if not mask.any():
        return np.zeros((0, 4), np.float32)
    box = _box(mask)
    inside = np.ascontiguousarray(mask[box])
    return _medial(inside, lambda: _discs(inside, threads=threads), around=inside, threads=threads) + _corner(box)


def axis_spacing(
    mask: NDArray[np.bool_],
    *,
    domain: NDArray[np.bool_],
    voxel_mm: tuple[float, float, float],
    medial: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the distance between the mid-axes of a structure, in mm.

    A mid-axis is where the spheres of `local_thickness` have their centres. The distance at a voxel is the diameter of
    the largest sphere that covers it, has its centre in a domain, and holds no mid-axis. Its mean over the domain is
    1 / Tb.N.

    Parameters
    ----------
    mask : (z, y, x) bool
        The structure, such as trabecular bone.
    domain : (z, y, x) bool
        Where the distance is wanted, such as the trabecular compartment.
    voxel_mm : (z, y, x) mm
        Edge lengths; must be equal within 1 %, since spheres are fitted in voxels.
    medial : (n, 4) float32, optional
        The spheres that `medial_spheres` gave for `mask`, so that they need not be fitted again.
    threads : int, optional
        How many threads share the work; all processors by default. The result does not depend on it.

    Returns
    -------
    (z, y, x) float32, mm
        0 outside `domain`, and where no sphere between mid-axes reaches: spheres that would grow beyond the domain's
        edge, where nothing bounds them, are left out.

    Raises
    ------
    ValueError
        If the arrays are not three-dimensional or the voxels are not cubes.

    References
    ----------
    Laib A, Hildebrand T, Häuselmann HJ, Rüegsegger P (1997), Bone 21:541, for the number from the spacing of mid-axes.
    The rule at the domain's edge is our choice.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> mask, domain = np.zeros((2, 30, 40, 40), bool)
    >>> mask[8:11] = mask[18:21] = True  # two plates, 10 voxels of 0.1 mm from middle to middle
    >>> domain[9:20, 5:35, 5:35] = True
    >>> round(float(dq.bones.axis_spacing(mask, domain=domain, voxel_mm=(0.1, 0.1, 0.1))[15, 20, 20]), 2)
    1.0
    """
    edge = _edge(domain, voxel_mm)
    out = np.zeros(domain.shape, np.float32)
    if not (mask & domain).any() or mask.all():
        return out
    box = _box(mask | domain)
    inside = np.ascontiguousarray(domain[box])
    centred = medial_spheres(mask, threads=threads) if medial is None else medial
    axes = np.ascontiguousarray((centred - _corner(box))[:, :3])
    between = _medial(inside, lambda: _points(axes, inside.shape), around=_grow(inside), threads=threads)
    out[box] = _paint(inside, between, threads=threads)
    out *= np.float32(edge)
    return out


def _edge(mask: NDArray[np.bool_], voxel_mm: tuple[float, float, float]) -> float:
    """The edge length of a voxel in mm; refuses voxels that are not cubes."""
    if mask.ndim != 3:
        raise ValueError(f"The mask has {mask.ndim} dimensions; it must have three, (z, y, x).")
    mean = float(np.mean(voxel_mm))
    if max(abs(v - mean) for v in voxel_mm) > CUBE_TOLERANCE * mean:
        raise ValueError(f"Voxels of {voxel_mm} mm are not cubes; resample the image before fitting spheres.")
    return mean


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The box around a mask, with one voxel of background where there is one, since background bounds the spheres."""
    sides = []
    for axis in range(3):
        seen = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append(slice(max(int(seen[0]) - 1, 0), int(seen[-1]) + 2))
    return (sides[0], sides[1], sides[2])


def _corner(box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
    """Where a box begins, to be added to spheres (z, y, x, radius)."""
    return np.array([*(side.start for side in box), 0], np.float32)


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its neighbours along the axes."""
    grown = mask.copy()
    for axis in range(3):
        to, back = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        to[1:] |= back[:-1]
        to[:-1] |= back[1:]
    return grown


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each slice's items begin, and at the end how many there are."""
    return np.concatenate([[0], np.cumsum(counts)])


def _taps(sigma: float) -> NDArray[np.float32]:
    """The seven weights of a Gaussian filter."""
    weights = np.exp(-(np.arange(-3, 4) ** 2) / (2 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def _discs(inside: NDArray[np.bool_], *, threads: int | None) -> _Surface:
    """The surface of a mask."""
    nz = len(inside)
    phi = np.empty(inside.shape, np.float32)
    share(spheres.smooth, nz, inside, _taps(SMOOTHING), _taps(SMOOTHING * np.sqrt(2)), phi, threads=threads)
    counts = np.zeros(nz, np.int64)
    share(spheres.count_discs, nz, inside, phi, counts, threads=threads)
    starts = _starts(counts)
    site = np.full(inside.shape, -1, np.int32)
    places, normals = (np.empty((starts[-1], 3), np.float32) for _ in range(2))
    twin, outer = np.zeros(starts[-1], np.uint8), np.zeros(starts[-1], np.uint32)
    share(spheres.lay_discs, nz, inside, phi, starts, site, places, normals, twin, outer, threads=threads)
    return site, places, normals, twin, outer


def _points(axes: NDArray[np.float32], shape: tuple[int, ...]) -> _Surface:
    """The points of mid-axes as a surface; they have no direction, no twin, and nothing outside."""
    site = np.full(shape, -1, np.int32)
    voxel = np.clip(np.rint(axes).astype(np.intp), 0, np.array(shape) - 1)
    site[tuple(voxel.T)] = np.arange(len(axes), dtype=np.int32)
    return site, axes, np.zeros_like(axes), np.zeros(len(axes), np.uint8), np.zeros(len(axes), np.uint32)


def _medial(
    inside: NDArray[np.bool_],
    surface: Callable[[], _Surface],
    *,
    around: NDArray[np.bool_],
    threads: int | None,
) -> NDArray[np.float32]:
    """Spheres centred inside, between the discs or points of a surface; distances are taken `around`.

    The surface is made here, so that each of its arrays can go as soon as it is used up.
    """
    site, places, normals, twin, outer = surface()
    if not len(places):
        return np.zeros((0, 4), np.float32)
    nz, ny, _ = inside.shape
    nearest = np.full(inside.shape, -1, np.int32)
    share(spheres.nearest_in_plane, nz, site, nearest, threads=threads)
    share(spheres.nearest_overall, ny, site, around, nearest, threads=threads)
    del site
    radius = np.zeros(inside.shape, np.float32)
    share(spheres.radii, nz, nearest, places, normals, twin, radius, threads=threads)
    keep, counts = np.zeros(inside.shape, np.bool_), np.zeros(nz, np.int64)
    share(spheres.ridge, nz, radius, inside, keep, counts, threads=threads)
    del radius
    starts = _starts(counts)
    fitted = np.empty((starts[-1], 4), np.float32)
    share(spheres.move_to_middle, nz, keep, starts, nearest, places, normals, twin, outer, fitted, threads=threads)
    del places, normals, twin, outer
    return fitted[_needed(keep, fitted, starts, nearest, threads=threads)]


def _needed(
    keep: NDArray[np.bool_],
    fitted: NDArray[np.float32],
    starts: NDArray[np.int64],
    index: NDArray[np.int32],
    *,
    threads: int | None,
) -> NDArray[np.bool_]:
    """Which spheres are needed to cover what all of them cover; `index` is written over."""
    nz = len(keep)
    voxel = np.empty((len(fitted), 3), np.int16)
    share(spheres.number, nz, keep, starts, voxel, index, threads=threads)
    # Ranked in steps of 1/32 voxel: spheres of one step stay in the order of their places, which is quick to walk.
    rank = np.iinfo(np.uint16).max - np.minimum(fitted[:, 3] * 32, np.iinfo(np.uint16).max - 1).astype(np.uint16)
    # One slab a thread, so that they come down in size together and seldom wait for each other.
    ends = starts[np.linspace(0, nz, min(nz, workers(threads)) + 1).astype(int)]
    slabs = [slice(first, last) for first, last in itertools.pairwise(ends)]
    falling = each_slice(lambda slab: np.argsort(rank[slab], kind="stable").astype(np.int32), slabs, threads=threads)
    order, left = np.concatenate([slab.start + own for slab, own in zip(slabs, falling, strict=True)]), np.diff(ends)
    while left.any():
        share(spheres.thin_out, len(slabs), ends, order, rank, fitted, voxel, index, left, threads=threads)
    return rank == 0


def _paint(mask: NDArray[np.bool_], fitted: NDArray[np.float32], *, threads: int | None) -> NDArray[np.float32]:
    """The largest diameter, in voxels, of the spheres that cover each voxel of the mask; 0 where none does."""
    out = np.zeros(mask.shape, np.float32)
    share(spheres.paint, len(mask), mask, fitted, out, threads=threads)
    return out
