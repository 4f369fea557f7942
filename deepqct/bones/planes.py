"""Discs rolled over every slice of a stack: dilation, closing, opening, filling, depth; radii in mm.

All are made from distances, so that a radius need not be a whole number of pixels, and in mm means the same at any
voxel size. In all of them `mask` is (z, y, x) bool, and each slice is treated without the others; `pixel_mm` are the
edge lengths (y, x) of a pixel in mm; `threads` is how many threads share the work, all processors by default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.work import compiled, each_slice, share

Mask = NDArray[np.bool_]
Pixel = tuple[float, float]


def distance(mask: Mask, *, pixel_mm: Pixel, threads: int | None = None) -> NDArray[np.float32]:
    """Return the distance in mm of every pixel to the nearest True one of its slice; infinite where there is none."""
    out = np.empty(mask.shape, np.float32)
    share(_distances, len(mask), np.ascontiguousarray(mask), *pixel_mm, out, threads=threads)
    return out


def dilate(mask: Mask, radius_mm: float, *, pixel_mm: Pixel, threads: int | None = None) -> Mask:
    """Return every pixel that is within a radius, in mm, of the mask in its slice."""
    out = np.empty(mask.shape, np.bool_)
    share(_dilate, len(mask), np.ascontiguousarray(mask), *pixel_mm, radius_mm, out, threads=threads)
    return out


def close(mask: Mask, radius_mm: float, *, pixel_mm: Pixel, threads: int | None = None) -> Mask:
    """Close gaps narrower than twice a radius, in mm; beyond the border of a slice lies background."""
    y, x = (int(np.ceil(radius_mm / p)) + 1 for p in pixel_mm)
    grown = dilate(np.pad(mask, ((0, 0), (y, y), (x, x))), radius_mm, pixel_mm=pixel_mm, threads=threads)
    return ~dilate(~grown, radius_mm, pixel_mm=pixel_mm, threads=threads)[:, y:-y, x:-x]


def open_(mask: Mask, radius_mm: float, *, pixel_mm: Pixel, threads: int | None = None) -> Mask:
    """Remove what is narrower than twice a radius, in mm; beyond the border of a slice the mask is taken to go on."""
    core = ~dilate(~mask, radius_mm, pixel_mm=pixel_mm, threads=threads)
    return dilate(core, radius_mm, pixel_mm=pixel_mm, threads=threads)


def fill(mask: Mask, *, threads: int | None = None) -> Mask:
    """Fill everything that is enclosed within a slice; a ring that the border cuts is closed by the side it touches."""
    return np.stack(each_slice(_fill_slice, mask, threads=threads))


def _fill_slice(mask: Mask) -> Mask:
    """Fill what is enclosed in one slice, as `fill` does."""
    holes, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled = holes[1:-1, 1:-1] != holes[0, 0]
    sides = [((0, 0), (1, 0)), ((0, 0), (0, 1)), ((1, 0), (0, 0)), ((0, 1), (0, 0))]
    edges = [mask[:, 0], mask[:, -1], mask[0], mask[-1]]
    for (rows, columns), edge in zip(sides, edges, strict=True):
        if not edge.any():
            continue
        walled = np.pad(mask, (rows, columns), constant_values=True)
        holes, _ = ndimage.label(np.pad(~walled, 1, constant_values=True))
        inner = holes[1:-1, 1:-1] != holes[0, 0]
        filled |= inner[rows[0] : inner.shape[0] - rows[1], columns[0] : inner.shape[1] - columns[1]]
    return np.asarray(filled)


@compiled()
def envelope(height: Any, valid: Any, n: Any, at: Any, until: Any) -> Any:
    """Find the lower envelope of the parabolas (i - q)² + height[q] - q², which gives the nearest point along a line.

    Parameters
    ----------
    height, valid : (n,) float, bool
        The height of each parabola as above, and which of the parabolas exist.
    n : int
        Length of the line.
    at, until : (n,) int, float
        Receive the parabolas of the envelope from left to right, and up to where each is the lowest.

    Returns
    -------
    int
        How many parabolas the envelope has.

    References
    ----------
    Felzenszwalb P, Huttenlocher D (2012), Theory Comput 8:415.
    """
    k = -1
    for q in range(n):
        if not valid[q]:
            continue
        meet = -1e18
        while k >= 0:
            meet = (height[q] - height[at[k]]) / (2.0 * (q - at[k]))
            if k > 0 and meet <= until[k - 1]:
                k -= 1
            else:
                break
        if k >= 0:
            until[k] = meet
        k += 1
        at[k] = q
        until[k] = 1e18
    return k + 1


@compiled()
def _squared(mask: Any, dy: Any, dx: Any, out: Any) -> Any:
    """Squared distance to the nearest True pixel of one slice (Felzenszwalb & Huttenlocher 2012)."""
    ny, nx = mask.shape
    far = 1e12
    for y in range(ny):
        last = -1
        for x in range(nx):
            if mask[y, x]:
                last = x
            out[y, x] = ((x - last) * dx) ** 2 if last >= 0 else far
        last = -1
        for x in range(nx - 1, -1, -1):
            if mask[y, x]:
                last = x
            if last >= 0:
                out[y, x] = min(out[y, x], ((last - x) * dx) ** 2)
    at, until, height = np.empty(ny, np.int32), np.empty(ny, np.float64), np.empty(ny, np.float64)
    valid = np.empty(ny, np.bool_)
    for x in range(nx):
        for y in range(ny):
            valid[y] = out[y, x] < far
            height[y] = out[y, x] / (dy * dy) + y * y
        if envelope(height, valid, ny, at, until) == 0:
            continue
        j = 0
        for y in range(ny):
            while until[j] < y:
                j += 1
            out[y, x] = (height[at[j]] + y * y - 2.0 * y * at[j]) * dy * dy


@compiled()
def _distances(first: Any, last: Any, mask: Any, dy: Any, dx: Any, out: Any) -> Any:
    """Write the distances of the slices from `first` to `last` into `out`."""
    squared = np.empty(mask.shape[1:], np.float64)
    for z in range(first, last):
        _squared(mask[z], dy, dx, squared)
        for y in range(mask.shape[1]):
            for x in range(mask.shape[2]):
                out[z, y, x] = np.sqrt(squared[y, x]) if squared[y, x] < 1e12 else np.inf


@compiled()
def _dilate(first: Any, last: Any, mask: Any, dy: Any, dx: Any, radius: Any, out: Any) -> Any:
    """Write into `out` which pixels of the slices from `first` to `last` are within a radius of the mask.

    A disc is a pile of rows, each of its own half-width: so distances along the rows are enough, which is many times
    faster than distances in the plane.
    """
    ny, nx = mask.shape[1:]
    limit = radius * radius * (1 + 1e-9)
    reach = int(np.sqrt(limit) / dy)
    half = np.empty(reach + 1, np.int32)
    for step in range(reach + 1):
        width = int(np.sqrt(max(limit - (step * dy) ** 2, 0.0)) / dx)
        while (width + 1) ** 2 * dx * dx + (step * dy) ** 2 <= limit:  # the root is rounded
            width += 1
        while width > 0 and width**2 * dx * dx + (step * dy) ** 2 > limit:
            width -= 1
        half[step] = width
    along = np.empty((ny, nx), np.int32)  # pixels to the nearest True one of the row
    empty = np.empty(ny, np.bool_)
    far = ny + nx + half[0] + 1
    for z in range(first, last):
        for y in range(ny):
            apart = far
            for x in range(nx):
                apart = 0 if mask[z, y, x] else apart + 1
                along[y, x] = apart
            empty[y] = apart >= far
            apart = far
            for x in range(nx - 1, -1, -1):
                apart = 0 if mask[z, y, x] else apart + 1
                along[y, x] = min(along[y, x], apart)
        for y in range(ny):
            out[z, y] = False
            for q in range(max(y - reach, 0), min(y + reach + 1, ny)):
                if not empty[q]:
                    width = half[abs(q - y)]
                    for x in range(nx):
                        out[z, y, x] |= along[q, x] <= width


@compiled()
def spread(label: Any, cost: Any) -> Any:
    """Give each pixel without a label the label that reaches it along the cheapest path; changes `label` in place.

    A path goes from neighbour to neighbour, corners included, and costs its length times the mean of `cost` on the way.
    So the seam between two labels lies where crossing costs most.

    Parameters
    ----------
    label : (y, x) int
        The labels of one slice; 0 where a pixel has none yet.
    cost : (y, x) float
        What a step over each pixel costs.
    """
    ny, nx = label.shape
    spent = np.where(label > 0, 0.0, 1e18)
    changed = True
    forward = True
    while changed or not forward:
        if forward:
            changed = False
        for j in range(ny):
            y = j if forward else ny - 1 - j
            for i in range(nx):
                x = i if forward else nx - 1 - i
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        qy, qx = y + dy, x + dx
                        if qy < 0 or qx < 0 or qy >= ny or qx >= nx or spent[qy, qx] >= 1e18:
                            continue
                        total = spent[qy, qx] + np.sqrt(float(dy * dy + dx * dx)) * 0.5 * (cost[y, x] + cost[qy, qx])
                        if total < spent[y, x] - 1e-9:
                            spent[y, x] = total
                            label[y, x] = label[qy, qx]
                            changed = True
        forward = not forward
