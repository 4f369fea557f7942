"""Which voxels are radius, ulna, tibia or fibula, and which of those are cortical or trabecular.

Bones are the two largest closed outlines of a scan; the larger is the radius or the tibia. Compartments follow the idea
of the dual threshold (Buie 2007): an outer contour from the dense shell, an inner one from the space that the shell
encloses. All radii are in mm, so that scanners of different voxel size give the same bone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from edt import edt
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.folder import SITES
from deepqct.scan import Scan

# Our choices, in mgHA/cm³ and mm, tried on virtual scans at 0.06 to 0.24 mm.
SHELL_DENSITY = 350.0
CORTEX_DENSITY = 450.0
SMOOTHING_MM = 0.10
CLOSING_MM = 1.2
OPENING_MM = 1.0
CORE_CLOSING_MM = 2.0
THINNEST_CORTEX_MM = 0.3
SMALLEST_BONE_MM2 = 15.0
SHORTEST_SHELL_MM = 5.0
COARSE_MM = 0.5
MARGIN_MM = 2.0


class BoneError(ValueError):
    """A scan in which the expected bones cannot be told apart."""


@dataclass(frozen=True)
class Bone:
    """One bone cut out of a scan, left ones mirrored to right.

    Parameters
    ----------
    name : str
        radius, ulna, tibia or fibula.
    density : (z, y, x) float32, mgHA/cm³
        The box around the bone with a margin.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    total, cortical, trabecular : (z, y, x) bool
        The bone and its two compartments; cortical and trabecular fill the total and do not overlap.
    flags : tuple of str
        What a reviewer should look at, by name.
    origin : (z, y, x) int
        The box's first voxel in the scan.
    mirrored : bool
        True if x was reversed within the box, to make a left bone look like a right one.
    """

    name: str
    density: NDArray[np.float32]
    voxel_mm: tuple[float, float, float]
    total: NDArray[np.bool_]
    cortical: NDArray[np.bool_]
    trabecular: NDArray[np.bool_]
    flags: tuple[str, ...] = ()
    origin: tuple[int, int, int] = (0, 0, 0)
    mirrored: bool = False


def find_bones(scan: Scan) -> dict[str, Bone]:
    """Cut the two bones out of a wrist or ankle scan.

    Parameters
    ----------
    scan : Scan
        With its site set: a wrist holds radius and ulna, an ankle tibia and fibula.

    Returns
    -------
    dict of str to Bone
        Keys radius and ulna, or tibia and fibula; the larger cross-section is radius or tibia.

    Raises
    ------
    BoneError
        If the site is unknown, or the scan does not hold two separate bones.

    References
    ----------
    Buie HR et al. (2007), Bone 41:505.
    """
    if scan.site not in SITES:
        raise BoneError(f"The scan's site is {scan.site!r}; it must be one of {', '.join(SITES)}.")
    box = _bones_box(scan)
    density = replace(scan, native=scan.native[box]).density
    outlines = _outlines(density, voxel_mm=scan.voxel_mm)
    labels = np.zeros(outlines.shape, np.int16)
    found = ndimage.label(outlines, output=labels)
    sizes = ndimage.sum_labels(outlines, labels, range(1, found + 1))
    smallest = SMALLEST_BONE_MM2 / (scan.voxel_mm[1] * scan.voxel_mm[2]) * density.shape[0]
    large = [int(i) + 1 for i in np.argsort(sizes)[::-1] if sizes[i] >= smallest]
    names = SITES[scan.site]
    if len(large) < 2:
        raise BoneError(
            f"{len(large)} bone{'' if len(large) == 1 else 's'} found where a {scan.site} scan holds {names[0]} and "
            f"{names[1]}; look at the scan for bones that touch, are cut off or missing."
        )
    # A third large outline means fragments or metal: the reviewer is told, the two largest are measured.
    extra = (f"{len(large)} outlines, 2 expected",) if len(large) > 2 else ()
    return {
        name: _cut(
            name, density, labels == label, scan=scan, corner=(box[0].start, box[1].start, box[2].start), flags=extra
        )
        for name, label in zip(names, large[:2], strict=True)
    }


def _bones_box(scan: Scan) -> tuple[slice, slice, slice]:
    """The box of everything bone-like, from every eighth slice on a coarse grid.

    A whole scan of 2304 × 2304 × 168 voxels is 3.6 GB as densities; only this box is ever brought in.
    """
    step = max(round(COARSE_MM / scan.voxel_mm[1]), 1)
    level = (SHELL_DENSITY - scan.intercept) / scan.slope
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    slices = (scan.native[z].astype(np.float32) for z in range(0, scan.native.shape[0], 8))
    seen = np.logical_or.reduce([ndimage.uniform_filter(one, step)[grid] > level for one in slices])
    labels, _ = ndimage.label(seen, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel())
    # Noise lights up single cells of the grid; a shell of any bone is longer than that.
    boxes = [b for i, b in enumerate(ndimage.find_objects(labels), start=1) if sizes[i] * COARSE_MM > SHORTEST_SHELL_MM]
    if not boxes:
        return (slice(0, scan.native.shape[0]), slice(0, 1), slice(0, 1))
    sides = []
    for axis, (n, v) in enumerate(zip(scan.native.shape[1:], scan.voxel_mm[1:], strict=True)):
        margin = round((MARGIN_MM + 2 * COARSE_MM) / v)
        first = min(b[axis].start for b in boxes) * step - margin
        last = max(b[axis].stop for b in boxes) * step + margin
        sides.append(slice(max(0, first), min(n, last)))
    return (slice(0, scan.native.shape[0]), sides[0], sides[1])


def _outlines(density: NDArray[np.float32], *, voxel_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Filled cross-sections of everything with a dense shell, slice by slice."""
    shells = ndimage.gaussian_filter(density, [SMOOTHING_MM / v for v in voxel_mm]) > SHELL_DENSITY
    filled = np.zeros(density.shape, bool)
    if not shells.any():
        return filled
    # Most of a slice is soft tissue and air: only the box of all shells, with room for the closing, is worked on.
    (box,) = ndimage.find_objects(shells.any(axis=0).astype(np.uint8))
    room = [int(np.ceil(CLOSING_MM / v)) + 1 for v in voxel_mm[1:]]
    rows, columns = (slice(max(0, s.start - r), s.stop + r) for s, r in zip(box, room, strict=True))
    for z, shell in enumerate(shells[:, rows, columns]):
        closed = _close(shell, CLOSING_MM, voxel_mm[1:])
        filled[z, rows, columns] = _open(_fill(closed), OPENING_MM, voxel_mm[1:])
    return filled


def _cut(
    name: str,
    density: NDArray[np.float32],
    total: NDArray[np.bool_],
    *,
    scan: Scan,
    corner: tuple[int, int, int],
    flags: tuple[str, ...],
) -> Bone:
    """One bone's box with a margin, mirrored if left, with its compartments; `density` begins at `corner` of the scan."""
    (inner,) = ndimage.find_objects(total.astype(np.uint8))
    margin = [0, *(round(MARGIN_MM / v) for v in scan.voxel_mm[1:])]
    box = tuple(
        slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(inner, margin, density.shape, strict=True)
    )
    edges = (total[:, 0].any(), total[:, -1].any(), total[:, :, 0].any(), total[:, :, -1].any())
    if any(edges):
        flags = (*flags, "cut by the field of view")
    if not total.any(axis=(1, 2)).all():
        flags = (*flags, "missing in some slices")
    mirrored = scan.side == "left"
    step = (slice(None), slice(None), slice(None, None, -1 if mirrored else 1))
    cut, mask = density[box][step].copy(), total[box][step].copy()
    trabecular = _trabecular(cut, mask, voxel_mm=scan.voxel_mm)
    if not trabecular.any():
        flags = (*flags, "no trabecular compartment")
    return Bone(
        name=name,
        density=cut,
        voxel_mm=scan.voxel_mm,
        total=mask,
        cortical=mask & ~trabecular,
        trabecular=trabecular,
        flags=flags,
        origin=(corner[0] + box[0].start, corner[1] + box[1].start, corner[2] + box[2].start),
        mirrored=mirrored,
    )


def _trabecular(
    density: NDArray[np.float32], total: NDArray[np.bool_], *, voxel_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The space inside the cortex: what is not dense, closed over the trabeculae within it."""
    smooth = ndimage.gaussian_filter(density, [SMOOTHING_MM / v for v in voxel_mm])
    core = np.zeros(total.shape, bool)
    for z, mask in enumerate(total):
        depth = edt(np.pad(mask, 1), anisotropy=voxel_mm[1:])[1:-1, 1:-1]
        inside = depth > THINNEST_CORTEX_MM
        spongy = _open(inside & (smooth[z] < CORTEX_DENSITY), 2 * SMOOTHING_MM, voxel_mm[1:])
        core[z] = ndimage.binary_fill_holes(_close(spongy, CORE_CLOSING_MM, voxel_mm[1:])) & inside
    labels, found = ndimage.label(core)
    if found == 0:
        return core
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == int(np.argmax(sizes)) + 1)


def _fill(shell: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the rings of one slice; a ring that the field of view cuts is closed by the edge that it touches."""
    filled = ndimage.binary_fill_holes(shell)
    for axis in (0, 1):
        for edge in (0, -1):
            if shell.take(edge, axis).any():
                side = [(0, 0), (0, 0)]
                side[axis] = (1, 0) if edge == 0 else (0, 1)
                walled = ndimage.binary_fill_holes(np.pad(shell, side, constant_values=True))
                filled |= np.delete(walled, edge, axis)
    return np.asarray(filled)


def _close(mask: NDArray[np.bool_], radius_mm: float, pixel_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Closing of one slice with a disc; the border counts as background."""
    pad = [(int(np.ceil(radius_mm / p)) + 1,) * 2 for p in pixel_mm]
    grown = _dilate(np.pad(mask, pad), radius_mm, pixel_mm)
    closed = ~_dilate(~grown, radius_mm, pixel_mm)
    return closed[tuple(slice(a, -b) for a, b in pad)]


def _open(mask: NDArray[np.bool_], radius_mm: float, pixel_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Opening of one slice with a disc; what lies beyond the border counts as more of the same."""
    return _dilate(~_dilate(~mask, radius_mm, pixel_mm), radius_mm, pixel_mm)


def _dilate(mask: NDArray[np.bool_], radius_mm: float, pixel_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Dilation of one slice with a disc, by distance, so that the radius need not be a whole number of pixels."""
    return np.asarray(edt(~mask, anisotropy=pixel_mm) <= radius_mm)
