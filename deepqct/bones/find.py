"""Which voxels are radius, ulna, tibia or fibula, and which of those are cortical or trabecular.

A bone is looked for by its core, the marrow space that its shell encloses: cores stay apart even where shells touch.
Each voxel is then given to the core whose shell it lies in, and each bone gets an outline. Compartments follow the
idea of the dual threshold (Buie 2007): an outer contour from the dense shell, an inner one from the space within. All
radii are in mm, so that scanners of different voxel size give the same bone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones import planes
from deepqct.bones.cores import LEAK_MM, find_cores, numbered
from deepqct.bones.shape import shape_flags
from deepqct.scans.scan import Scan, crop, each_loaded
from deepqct.scans.shown import card, sizes, slice_picture, times
from deepqct.terms import SITES
from deepqct.work import each_slice

# Our choices, in mgHA/cm³ and mm, tried on phantoms and virtual scans at 0.06 to 0.24 mm.
SHELL_DENSITY = 350.0
CORTEX_DENSITY = 450.0
SMOOTHING_MM = 0.10
CLOSING_MM = 1.2
OPENING_MM = 1.0
THICKEST_STRUT_MM = 0.3  # of a trabecula, blur included
CORE_CLOSING_MM = 1.0
CORE_OPENING_MM = 0.5
PORE_MM = 0.2  # dark spots of up to twice this width are pores of the cortex, not marrow
THINNEST_CORTEX_MM = 0.3
SMALLEST_BONE_MM2 = 15.0
CONTACT_MM = 2.0  # the seam between two bones lies where the distances to their cores differ by less than this
WALL_DENSITY = 700.0
DARKNESS = 30.0  # how many times more a path through soft tissue costs than one through bone
CONTACT_DENSITY = 550.0
SHORTEST_CONTACT_MM = 0.5
SHORTEST_SHELL_MM = 5.0
SMALLEST_RING_MM2 = 1300.0  # the area that a ring such as a cast encloses; more than any tibia's
COARSE_MM = 0.5
FAINT = 0.7  # share of the shell's density that a thin shell keeps when averaged over the coarse grid
MARGIN_MM = 2.0
SOFT_TISSUE = 20.0
RIM_MM = 0.15  # how far the first outline may lie outside of the bone
METAL_DENSITY = 3000.0
SMALLEST_METAL_MM3 = 1.0
_CHUNK = 12  # slices that are smoothed at a time


class BoneError(ValueError):
    """A scan or a contour without the bones that are expected; the message says what to look at.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> dq.find_bones(dq.Scan(np.zeros((8, 40, 40), np.int16), 1.0, 0.0, (0.3, 0.3, 0.3)))
    Traceback (most recent call last):
    deepqct.bones.find.BoneError: The scan's site is None; it must be one of wrist, ankle.
    """


@dataclass(frozen=True)
class Bone:
    """One bone cut out of a scan with its compartments, left ones mirrored to right.

    Parameters
    ----------
    name : str
        radius, ulna, tibia or fibula.
    density : (z, y, x) float32, mgHA/cm³
        The box around the bone with a margin of 2 mm in the slice.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    total, cortical, trabecular : (z, y, x) bool
        The bone and its two compartments; cortical and trabecular fill the total and do not overlap.
    flags : tuple of str
        What a reviewer should look at, in words.
    origin : (z, y, x) int
        Where the box's first voxel lies in the scan.
    mirrored : bool
        True if x was reversed within the box, to make a left bone look like a right one.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="left", voxel_mm=0.3, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> radius.mirrored, bool((radius.total == (radius.cortical | radius.trabecular)).all())
    (True, True)
    >>> radius
    Bone(radius, 8 × 56 × 78 voxels of 0.3000 × 0.3000 × 0.3000 mm (z, y, x), mirrored, no flags)
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

    def __repr__(self) -> str:
        """Say which bone, its box, its voxel and how many flags it has; no array is shown."""
        flags = f"{len(self.flags) or 'no'} flag{'' if len(self.flags) == 1 else 's'}"
        return (
            f"Bone({self.name}, {times(self.density.shape, 'd')} voxels of {times(self.voxel_mm, '.4f')} mm (z, y, x), "
            f"{'mirrored' if self.mirrored else 'not mirrored'}, {flags})"
        )

    def _repr_html_(self) -> str:
        """The same for a notebook, with the middle slice, its two contours and every flag."""
        middle = len(self.density) // 2
        total, inner = self.total[middle], self.trabecular[middle]
        pixel_mm = self.voxel_mm[1:]
        areas = [np.count_nonzero(mask) * pixel_mm[0] * pixel_mm[1] for mask in (total, inner)]
        rows = {
            **sizes(self.density.shape, self.voxel_mm),
            "mirrored": "yes, a left one that looks like a right one" if self.mirrored else "no",
            "middle slice": f"bone {areas[0]:.0f} mm² (yellow), of it trabecular {areas[1]:.0f} mm² (blue)",
            "flags": "; ".join(self.flags) or "none",
        }
        picture = slice_picture(self.density[middle], pixel_mm=pixel_mm, outlines={"#F0E442": total, "#56B4E9": inner})
        then = {
            "dq.measure(bone)": "gives its indices",
            "dq.bones.measure_texture(bone)": "gives its texture features",
        }
        return card(f"Bone: {self.name}", rows, then=then, picture=picture)


def find_bones(scan: Scan) -> dict[str, Bone]:
    """Cut the two bones out of a wrist or ankle scan.

    Parameters
    ----------
    scan : Scan
        With its site set: a wrist holds radius and ulna, an ankle tibia and fibula.

    Returns
    -------
    dict of str to Bone
        radius and ulna, or tibia and fibula, in this order; the larger cross-section is radius or tibia. Whatever a
        person should look at, such as bones that touch or are cut, is among a bone's flags.

    Raises
    ------
    BoneError
        If the site is unknown, or the scan does not hold two separate bones.

    References
    ----------
    Buie HR et al. (2007), Bone 41:505.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> bones = dq.find_bones(scan)
    >>> {name: round(float(bone.density[bone.cortical].mean()), -2) for name, bone in bones.items()}
    {'radius': 800.0, 'ulna': 800.0}
    """
    if scan.site not in SITES:
        raise BoneError(f"The scan's site is {scan.site!r}; it must be one of {', '.join(SITES)}.")
    names = SITES[scan.site]
    box, ringed = _bones_box(scan)
    limb = crop(scan, box)
    outlines, others = _outlines(limb)
    if len(outlines) < 2:
        raise BoneError(
            f"{len(outlines)} bone{'' if len(outlines) == 1 else 's'} found where a {scan.site} scan holds {names[0]} and "
            f"{names[1]}; look at the scan for bones that are fused, cut off or missing."
        )
    flags = [
        *(["a ring around the limb (a cast?)"] if ringed else []),
        *([f"{others} more outline{'s' if others > 1 else ''} (fragments, a foreign body?)"] if others else []),
        *(["metal"] if _metal(limb) else []),
        *([f"{names[0]} and {names[1]} touch"] if _touch(outlines, limb) else []),
    ]
    corner = (box[0].start, box[1].start, box[2].start)
    return {
        name: _cut(name, limb, total, corner=corner, flags=tuple(flags))
        for name, total in zip(names, outlines, strict=True)
    }


def bone_within(
    scan: Scan, name: str, *, total: NDArray[np.bool_], trabecular: NDArray[np.bool_] | None = None
) -> Bone:
    """Cut one bone out of a scan within a given outline, left ones mirrored to right.

    Parameters
    ----------
    scan : Scan
        With its side set.
    name : str
        radius, ulna, tibia or fibula.
    total : (z, y, x) bool
        The bone, in the scan's array; taken as it is.
    trabecular : (z, y, x) bool, optional
        Its trabecular compartment; found as `find_bones` does it if not given.

    Returns
    -------
    Bone
        Its total is the given outline, without a new search for the edge.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.zeros((4, 40, 40), np.int16), 1.0, 0.0, (0.3, 0.3, 0.3), "wrist", "right")
    >>> total = np.zeros((4, 40, 40), bool)
    >>> total[:, 10:30, 10:30] = True
    >>> dq.bones.bone_within(scan, "radius", total=total, trabecular=total).flags
    ('36 mm² is outside the usual 140 to 530 of a radius (another site?)',)
    """
    return _cut(name, scan, total, corner=(0, 0, 0), flags=(), trabecular=trabecular, outline_given=True)


def _bones_box(scan: Scan) -> tuple[tuple[slice, slice, slice], bool]:
    """The box of everything bone-like, and whether a ring lies around it, from every eighth slice on a coarse grid.

    A whole scan of 2304 × 2304 × 168 voxels is 3.6 GB as densities; only this box is ever brought in.
    """
    step = max(round(COARSE_MM / scan.voxel_mm[1]), 1)
    level = (FAINT * SHELL_DENSITY - scan.intercept) / scan.slope
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    slices = each_loaded(scan.native, step=8)
    seen = np.logical_or.reduce([ndimage.uniform_filter(plane, step, np.float32)[grid] > level for plane in slices])
    labels, pieces = ndimage.label(seen, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=pieces + 1)
    # Noise lights up single cells of the grid; a shell of any bone is longer than that.
    shells = [i for i in range(1, pieces + 1) if sizes[i] * COARSE_MM > SHORTEST_SHELL_MM]
    rings = [i for i in shells if _encloses(labels, i, [k for k in shells if k != i])]
    boxes = [b for i, b in enumerate(ndimage.find_objects(labels), start=1) if i in shells and i not in rings]
    if not boxes:
        return (slice(0, scan.native.shape[0]), slice(0, 1), slice(0, 1)), bool(rings)
    sides = []
    for axis, (n, v) in enumerate(zip(scan.native.shape[1:], scan.voxel_mm[1:], strict=True)):
        margin = round((MARGIN_MM + 2 * COARSE_MM) / v)
        first = min(b[axis].start for b in boxes) * step - margin
        last = max(b[axis].stop for b in boxes) * step + margin
        sides.append(slice(max(0, first), min(n, last)))
    return (slice(0, scan.native.shape[0]), sides[0], sides[1]), bool(rings)


def _encloses(labels: NDArray[np.int32], ring: int, others: list[int]) -> bool:
    """Whether a shell is wider than any bone and goes around others."""
    within = ndimage.binary_fill_holes(labels == ring)
    return bool(within.sum() * COARSE_MM**2 > SMALLEST_RING_MM2 and np.isin(labels[within], others).any())


def _outlines(limb: Scan) -> tuple[list[NDArray[np.bool_]], int]:
    """The bones' filled cross-sections, at most two, the larger first, and how many more outlines there are."""
    pixel_mm = limb.voxel_mm[1:]
    nothing: list[NDArray[np.bool_]] = []
    shells = _smoothly(limb, lambda _, smooth: smooth > SHELL_DENSITY)
    if not shells.any():
        return nothing, 0
    smallest = SMALLEST_BONE_MM2 / (pixel_mm[0] * pixel_mm[1]) * len(shells)
    outlines = []
    for region, core in _regions(shells, limb):
        closed = planes.fill(planes.close(shells & region | core, CLOSING_MM, pixel_mm=pixel_mm)) & region
        labels, sizes = numbered(planes.open_(closed, OPENING_MM, pixel_mm=pixel_mm))
        outlines += [(int(size), labels == i) for i, size in enumerate(sizes, start=1) if size >= smallest]
    outlines.sort(key=lambda outline: outline[0], reverse=True)
    return [mask for _, mask in outlines[:2]], max(len(outlines) - 2, 0)


def _smoothly(scan: Scan, step: Callable[[slice, NDArray[np.float32]], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """The result of a step on smoothed densities, since noise would fray the edge that a threshold gives.

    The step gets the numbers of some slices and their smoothed densities; the whole stack is never held smoothed.
    """
    n = len(scan.native)
    sigma = [SMOOTHING_MM / v for v in scan.voxel_mm]
    reach = [int(3 * s + 0.5) for s in sigma]

    def chunk(first: int) -> NDArray[np.bool_]:
        last = min(first + _CHUNK, n)
        start, stop = max(first - reach[0], 0), min(last + reach[0], n)
        smooth = ndimage.gaussian_filter(scan.density_of(slice(start, stop)), sigma, radius=reach)
        return step(slice(first, last), smooth[first - start : last - start])

    return np.concatenate(each_slice(chunk, range(0, n, _CHUNK)))


def _regions(shells: NDArray[np.bool_], limb: Scan) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The region of each core, and the core; with fewer than two cores one region of everything, without a core."""
    pixel_mm = limb.voxel_mm[1:]
    cores = find_cores(shells, voxel_mm=limb.voxel_mm)
    if len(cores) < 2:
        return [(np.ones(shells.shape, bool), np.zeros(shells.shape, bool))]

    # Where a core is lost in a slice, since its shell leaks, its nearest slice tells where the bone is.
    nearest = [_nearest_slice(core) for core in cores]

    def divide(z: int) -> NDArray[np.uint8]:
        here = [core[near[z], None] for core, near in zip(cores, nearest, strict=True)]
        apart = np.stack([planes.distance(core, pixel_mm=pixel_mm, threads=1)[0] for core in here])
        owner = apart.argmin(axis=0).astype(np.uint8) + np.uint8(1)
        first, second = np.minimum(*apart[:2]), np.maximum(*apart[:2])
        for other in apart[2:]:
            second = np.minimum(second, np.maximum(first, other))
            first = np.minimum(first, other)
        # The seam is the darkest line between the two shells, not the line half-way between the cores.
        unsure = (second - first < CONTACT_MM) & (first > THINNEST_CORTEX_MM) & (first < 2 * CONTACT_MM)
        if unsure.any():
            (box,) = ndimage.find_objects(unsure.astype(np.uint8))
            box = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in box)
            label = np.where(unsure[box], 0, owner[box]).astype(np.uint8)
            dark = np.clip(1 - ndimage.gaussian_filter(limb.density_of((z, *box)), 0.5) / WALL_DENSITY, 0, 1)
            planes.spread(label, 1 + DARKNESS * dark)
            owner[box] = label
        return owner

    owner = np.stack(each_slice(divide, range(len(shells))))
    return [(owner == i, core) for i, core in enumerate(cores, start=1)]


def _nearest_slice(core: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each slice the nearest one that holds some of the core; the slice itself if it does."""
    present = np.flatnonzero(core.any(axis=(1, 2)))
    away = np.abs(present[:, None] - np.arange(len(core)))
    return np.asarray(present[away.argmin(axis=0)])


def _metal(limb: Scan) -> bool:
    """Whether there is more than a speck that is denser than any bone."""
    level = (METAL_DENSITY - limb.intercept) / limb.slope
    return bool(np.count_nonzero(limb.native > level) * np.prod(limb.voxel_mm) > SMALLEST_METAL_MM3)


def _touch(pair: list[NDArray[np.bool_]], limb: Scan) -> bool:
    """Whether the two bones meet, in some slice, along a seam that is as dense as bone."""
    large, small = pair
    for z in np.flatnonzero(large.any(axis=(1, 2)) & small.any(axis=(1, 2))):
        seam = ndimage.binary_dilation(large[z]) & small[z]
        if (
            seam.any()
            and np.count_nonzero(limb.density_of(z)[seam] > CONTACT_DENSITY) * limb.voxel_mm[2] > SHORTEST_CONTACT_MM
        ):
            return True
    return False


def _cut(
    name: str,
    limb: Scan,
    total: NDArray[np.bool_],
    *,
    corner: tuple[int, int, int],
    flags: tuple[str, ...],
    trabecular: NDArray[np.bool_] | None = None,
    outline_given: bool = False,
) -> Bone:
    """Cut one bone with a margin out of the limb, which begins at `corner` of the scan; left ones are mirrored."""
    (inner,) = ndimage.find_objects(total.astype(np.uint8))
    margin = [0, *(round(MARGIN_MM / v) for v in limb.voxel_mm[1:])]
    z, y, x = (
        slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(inner, margin, total.shape, strict=True)
    )
    box = (z, y, x)
    mirrored = limb.side == "left"
    step = np.s_[:, :, :: -1 if mirrored else 1]
    boxed = replace(limb, native=limb.native[box][step])
    mask = total[box][step] if outline_given else _half_height(total[box][step], boxed)
    spongy = _trabecular(mask, boxed) if trabecular is None else trabecular[box][step] & mask
    return Bone(
        name=name,
        density=boxed.density,
        voxel_mm=limb.voxel_mm,
        total=mask,
        cortical=mask & ~spongy,
        trabecular=spongy,
        flags=(*flags, *shape_flags(name, total, spongy, voxel_mm=limb.voxel_mm)),
        origin=(corner[0] + z.start, corner[1] + y.start, corner[2] + x.start),
        mirrored=mirrored,
    )


def _half_height(total: NDArray[np.bool_], boxed: Scan) -> NDArray[np.bool_]:
    """The outline moved to where the density is half-way between the shell's and that of soft tissue.

    The threshold that finds thin cortices is low: around thick ones its outline is too wide, by most of a voxel.
    """
    pixel_mm = boxed.voxel_mm[1:]
    reach = [1, *(2 * round(2 * RIM_MM / p) + 1 for p in pixel_mm)]
    rim = total & planes.dilate(~total, RIM_MM, pixel_mm=pixel_mm)

    def low(slices: slice, smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
        half = (ndimage.maximum_filter(smooth, reach) + SOFT_TISSUE) / 2
        return np.asarray(rim[slices] & (smooth < half))

    return total & planes.close(total & ~_smoothly(boxed, low), LEAK_MM, pixel_mm=pixel_mm)


def _trabecular(total: NDArray[np.bool_], boxed: Scan) -> NDArray[np.bool_]:
    """The space inside the cortex: what is not dense, without the cortex's pores, and with the trabeculae in it."""
    pixel_mm = boxed.voxel_mm[1:]
    outside = np.pad(~total, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    deep = ~planes.dilate(outside, THINNEST_CORTEX_MM, pixel_mm=pixel_mm)[:, 1:-1, 1:-1]
    # Trabeculae are too thin to survive an opening, pores too small to survive a closing: what is left is cortex.
    dense = _smoothly(boxed, lambda slices, smooth: total[slices] & (smooth > CORTEX_DENSITY) | ~total[slices])
    dense = planes.close(dense, PORE_MM, pixel_mm=pixel_mm)
    dense = planes.open_(dense, THICKEST_STRUT_MM / 2, pixel_mm=pixel_mm)
    labels, sizes = numbered(deep & ~dense)
    if not len(sizes):
        return np.zeros(total.shape, bool)
    core = np.concatenate([[False], sizes >= 0.05 * sizes.max()])[labels]
    core = planes.fill(planes.close(core, CORE_CLOSING_MM, pixel_mm=pixel_mm)) & deep
    return np.asarray(planes.open_(core, CORE_OPENING_MM, pixel_mm=pixel_mm))
