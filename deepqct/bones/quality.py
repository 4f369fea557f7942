"""What a reviewer should know of a scan before she trusts it: motion, rings, indices outside of published ranges.

Nothing is decided here: scores and flags are shown, and a person accepts or rejects the scan.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones import planes
from deepqct.bones.find import Bone
from deepqct.scans.scan import Scan, each_loaded
from deepqct.scans.stored import GENERATIONS
from deepqct.terms import STRENGTH_UNITS

# Our choices, in mgHA/cm³: of 119 virtual scans with grades as in life, 10 of the 11 above the limit were drawn with grade
# 4 or 5, and 52 of 54 scans of grades 1 and 2 lie below the faint score, under which no eye sees motion.
MOTION_LIMIT = 52.0
MOTION_FAINT = 35.0
RING_LIMIT = 12.0
# Read off figure S1 of Neeteson 2023 (doi:10.1038/s41598-022-27350-0): women and men, XtremeCT II, one stack. No range is
# published for ulna and fibula.
PUBLISHED = {
    "radius": {
        "Tt.vBMD": (150, 530), "Ct.vBMD": (670, 1030), "Tb.vBMD": (40, 295), "Ct.Th": (0.6, 1.8), "Ct.Po": (0, 0.035),
        "Tb.BV/TV": (0.09, 0.41), "Tb.N": (0.4, 2.0), "Tb.Th": (0.19, 0.31), "Tb.Sp": (0.42, 2.6),
        "Tt.Ar": (140, 530), "Ct.Ar": (35, 115), "Tb.Ar": (100, 450),
    },
    "tibia": {
        "Tt.vBMD": (140, 440), "Ct.vBMD": (490, 1040), "Tb.vBMD": (65, 275), "Ct.Th": (0.8, 2.7), "Ct.Po": (0.003, 0.09),
        "Tb.BV/TV": (0.12, 0.40), "Tb.N": (0.55, 1.95), "Tb.Th": (0.21, 0.39), "Tb.Sp": (0.46, 1.85),
        "Tt.Ar": (400, 1100), "Ct.Ar": (65, 230), "Tb.Ar": (300, 930),
    },
}  # fmt: skip
# Of strength the sources have other models or other people, so that these are wide bounds, our choice. Lowest: of 28 adults
# with brittle bones (osteogenesis imperfecta) on XtremeCT I and II, by linear micro-finite elements, in the data of
# Mikolajewicz 2021 (Bone 147:115880; Hosseinitabatabaei 2022, J Bone Miner Res 37:908). Highest failure load: mean and 3 SD
# of healthy women up to 37 years, by a nonlinear model of longer sections (Poncioni, doi:10.5281/zenodo.16882057).
PUBLISHED_STRENGTH = {
    "radius": {"F.Load": (1.0, 7.6), "Stiffness": (19.1, np.inf), "E.App": (579, np.inf)},
    "tibia": {"F.Load": (2.5, 21.0), "Stiffness": (52.1, np.inf), "E.App": (848, np.inf)},
}
STACK_MM = (8.1, 11.2)  # one stack of an XtremeCT I is 9.0 mm high, of an II 10.2; within a tenth, our choice
COARSEST_MM = 0.09
_ACROSS_GENERATIONS = ("Tt.vBMD", "Ct.vBMD", "Tb.vBMD", "Tt.Ar", "Tb.Ar")
FINEST_MM = 0.07  # the other ranges hold for the voxels of an XtremeCT II only
_REACH_MM = (0.3, 1.8)  # from the bone: from where its blur ends to within the margin of its box
_STEP_MM = 0.15
_DIRECTIONS = 72
_GRIDS = {name: (width, width) for name, (_, width, _) in GENERATIONS.items()}
_SMOOTH_MM = 0.5
_SOFT = (-150.0, 200.0)  # mgHA/cm³ of fat to skin
_CIRCLE = 100  # pixels that a circle must have for its mean to count
_MARGIN_MM = 6.0


def motion_score(bone: Bone) -> float:
    """Return how uneven the soft tissue just outside of a bone is, in mgHA/cm³; motion makes it uneven.

    A limb that moves while it is scanned leaves double contours and streaks beside its bones, the same in every slice.
    So densities are averaged over the slices by direction and by distance from the bone; what depends on direction
    alone (a tendon here, fat there) or on distance alone (blur) is taken away, and the standard deviation of the rest
    is the score.

    Parameters
    ----------
    bone : Bone
        Its box must reach 2 mm beyond the bone, as `find_bones` cuts it.

    Returns
    -------
    float
        NaN if the box holds too little around the bone, or its voxels are too coarse.

    Notes
    -----
    A measure of ours, tried on virtual motion in the sinogram; it is not the manufacturer's grade.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> drawn = {"site": "wrist", "side": "right", "voxel_mm": 0.15, "slices": 8, "seed": 1}
    >>> still, moved = (dq.virtual.draw_scan(woman, motion_grade=grade, **drawn) for grade in (1, 5))
    >>> scores = [dq.bones.motion_score(dq.find_bones(scan)["radius"]) for scan in (still, moved)]
    >>> [round(score, -1) for score in scores]
    [20.0, 60.0]
    """
    pixel_mm = bone.voxel_mm[1:]
    apart = planes.distance(bone.total, pixel_mm=pixel_mm)
    y, x = (np.arange(n) - c for n, c in zip(bone.total.shape[1:], _centre(bone.total), strict=True))
    angle = np.arctan2(y[:, None] * pixel_mm[0], x[None] * pixel_mm[1])
    direction = ((angle + np.pi) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
    low, high = _REACH_MM
    steps = round((high - low) / _STEP_MM)
    around = (apart > low) & (apart < high)
    ring = np.minimum(((apart[around] - low) / _STEP_MM).astype(int), steps - 1)
    cell = np.broadcast_to(direction, apart.shape)[around] * steps + ring
    n = np.bincount(cell, minlength=_DIRECTIONS * steps)
    total = np.bincount(cell, weights=bone.density[around], minlength=_DIRECTIONS * steps)
    profile = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).reshape(_DIRECTIONS, steps)
    profile = profile[np.isfinite(profile).all(axis=1)]
    if len(profile) < _DIRECTIONS / 2:
        return float("nan")
    rest = profile - np.median(profile, axis=0)
    rest -= np.median(rest, axis=1, keepdims=True)
    return float(rest.std())


def ring_score(scan: Scan, bones: dict[str, Bone]) -> float:
    """Return how strong the rings around the scanner's axis are in soft tissue, in mgHA/cm³.

    A few slices are averaged, and what is smooth in this picture is taken away. The rest is averaged along circles
    around the axis. The score says how much more these means differ than means along circles around other points do.

    Parameters
    ----------
    scan : Scan
        The whole scan, or a part of it whose position in the scanner's grid is known.
    bones : dict of str to Bone
        The bones of this scan, which are left out.

    Returns
    -------
    float
        NaN where the axis is unknown: the array is a part of the scanner's grid and the file does not say which.

    Notes
    -----
    A measure of ours.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> total = np.zeros((4, 100, 100), bool)
    >>> total[:, 40:60, 5:25] = True
    >>> rings = np.where(np.hypot(*(np.indices((100, 100)) - 49.5)) % 10 < 5, 0, 30)
    >>> for tissue in (np.zeros((100, 100)), rings):
    ...     place = {"scanner": "XtremeCT", "origin_mm": (0, 718 * 0.082, 718 * 0.082)}  # the axis in the middle
    ...     scan = dq.Scan(np.stack([tissue] * 4).astype(np.int16), 1.0, 0.0, (0.082, 0.082, 0.082), **place)
    ...     bone = dq.bones.bone_within(scan, "radius", total=total, trabecular=total)
    ...     round(dq.bones.ring_score(scan, {"radius": bone}))
    0
    15
    """
    axis = _axis(scan)
    if axis is None:
        return float("nan")
    box, outside = _around(scan, bones)
    every = max(len(scan.native) // 16, 1)
    slices = [plane.astype(np.float32) for plane in each_loaded(scan.native, part=box, step=every)]
    mean = np.mean(slices, axis=0) * np.float32(scan.slope) + np.float32(scan.intercept)
    smooth = ndimage.gaussian_filter(mean, [_SMOOTH_MM / v for v in scan.voxel_mm[1:]])
    soft = outside & (smooth > _SOFT[0]) & (smooth < _SOFT[1])
    y, x = (np.arange(n) + s.start for n, s in zip(mean.shape, box[1:], strict=True))

    def spread(centre: tuple[float, float]) -> float:
        radius = np.hypot(y[:, None] - centre[0], x[None] - centre[1])[soft].astype(int)
        n = np.bincount(radius)
        means = np.bincount(radius, weights=(mean - smooth)[soft])[n >= _CIRCLE] / n[n >= _CIRCLE]
        return float(means.var()) if len(means) > 1 else 0.0

    elsewhere = [spread((axis[0] + dy, axis[1] + dx)) for dy, dx in ((40, 25), (-25, 40), (-40, -25), (25, -40))]
    return float(np.sqrt(max(spread(axis) - np.median(elsewhere), 0)))


def unusual_indices(indices: pd.Series, *, bone: str, voxel_mm: float) -> list[str]:
    """List the indices that lie outside of their published range, each in a sentence for the reviewer.

    Parameters
    ----------
    indices : Series
        The indices of one bone by their symbols, as `measure` gives them.
    bone : str
        radius, ulna, tibia or fibula; only radius and tibia have published ranges.
    voxel_mm : float
        Edge length of a voxel, in mm. With voxels coarser than an XtremeCT II's only areas and mean densities are
        compared, since the other indices depend on the voxel size.

    Returns
    -------
    list of str
        Empty if nothing is unusual.

    References
    ----------
    Neeteson 2023 (doi:10.1038/s41598-022-27350-0), figure S1.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> indices = pd.Series({"Tt.vBMD": 612, "Ct.vBMD": 850, "Tb.vBMD": 150, "Tt.Ar": 200, "Tb.Ar": 150})
    >>> dq.bones.unusual_indices(indices, bone="radius", voxel_mm=0.082)
    ['Tt.vBMD 612 is outside the published 150 to 530 (Neeteson 2023)']
    """
    return [
        f"{symbol} {indices[symbol]:.3g} is outside the published {low:g} to {high:g} (Neeteson 2023)"
        for symbol, (low, high) in PUBLISHED.get(bone, {}).items()
        if (voxel_mm <= FINEST_MM or symbol in _ACROSS_GENERATIONS) and not low <= indices[symbol] <= high
    ]


def unusual_strength(found: pd.Series, *, bone: str, height_mm: float, voxel_mm: float) -> list[str]:
    """List the values of strength that lie outside of published ones, each in a sentence for the reviewer.

    Parameters
    ----------
    found : Series
        What `strength` gave of one bone.
    bone : str
        radius, ulna, tibia or fibula; of ulna and fibula nothing is published.
    height_mm : float, mm
        Height of the stack that was loaded. Only stacks about as high as a scanner's are compared: a low one is stiffer.
    voxel_mm : float
        Edge length of a voxel, in mm; coarser ones than an XtremeCT's are not compared.

    Returns
    -------
    list of str
        Empty if nothing is unusual.

    References
    ----------
    Mikolajewicz N et al. (2021), Bone 147:115880. Hosseinitabatabaei S et al. (2022), J Bone Miner Res 37:908. Poncioni S
    et al., doi:10.5281/zenodo.16882057.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> found = pd.Series({"F.Load": 0.7, "Stiffness": 31.0, "E.App": 900.0})
    >>> dq.bones.unusual_strength(found, bone="radius", height_mm=10.2, voxel_mm=0.0607)
    ['F.Load 0.7 kN is outside of the published 1 to 7.6 kN (Mikolajewicz 2021, Poncioni)']
    >>> dq.bones.unusual_strength(found, bone="ulna", height_mm=10.2, voxel_mm=0.0607)
    []
    """
    if not STACK_MM[0] <= height_mm <= STACK_MM[1] or voxel_mm > COARSEST_MM:
        return []
    said = []
    for symbol, (low, high) in PUBLISHED_STRENGTH.get(bone, {}).items():
        value, unit = float(found[symbol]), STRENGTH_UNITS[symbol]
        if low <= value <= high or np.isnan(value):
            continue
        published = f"{low:g} to {high:g} {unit} (Mikolajewicz 2021, Poncioni)"
        if np.isinf(high):
            published = f"{low:g} {unit} and more (Mikolajewicz 2021)"
        said.append(f"{symbol} {value:.3g} {unit} is outside of the published {published}")
    return said


def flags_of_scores(motion: float, rings: float) -> tuple[list[str], list[str]]:
    """Say in words which of a scan's scores are above their limits, and which only come near.

    Parameters
    ----------
    motion, rings : float, mgHA/cm³
        What `motion_score` and `ring_score` gave; NaN is never above a limit.

    Returns
    -------
    flags : list of str
        One flag for each score above its limit: a person should look at the scan.
    notes : list of str
        What is faint: rings, which move densities little, and a motion score just under its limit.

    Examples
    --------
    >>> from deepqct.bones.quality import flags_of_scores
    >>> flags_of_scores(60.0, 3.0)
    (['double contours or streaks, score 60.0 over 52 (motion?)'], [])
    >>> flags_of_scores(40.0, 3.0)
    ([], ['faint double contours or streaks, score 40.0 over 35 (motion?)'])
    """
    flags, notes = [], []
    if motion > MOTION_LIMIT:
        flags.append(f"double contours or streaks, score {motion:.1f} over {MOTION_LIMIT:g} (motion?)")
    elif motion > MOTION_FAINT:
        notes.append(f"faint double contours or streaks, score {motion:.1f} over {MOTION_FAINT:g} (motion?)")
    if rings > RING_LIMIT:
        notes.append(f"rings, score {rings:.1f} over {RING_LIMIT:g}")
    return flags, notes


def _axis(scan: Scan) -> tuple[float, float] | None:
    """The scanner's axis (y, x) in the array's pixels, which is the middle of the whole grid; None if unknown."""
    height, width = scan.native.shape[1:]
    grid = scan.grid
    if grid not in _GRIDS.values() and (height, width) in _GRIDS.values():  # whole; its place may be the patient's
        return (height - 1) / 2, (width - 1) / 2
    if grid not in _GRIDS.values() and any(scan.position):  # a box whose header does not say of which grid
        grid = _GRIDS.get(str(scan.scanner))
    if grid is None or grid not in _GRIDS.values():
        return None
    return (grid[0] - 1) / 2 - scan.position[1], (grid[1] - 1) / 2 - scan.position[2]


def _around(scan: Scan, bones: dict[str, Bone]) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """A box around all bones within the scan, and which of its pixels lie clear of every bone in every slice."""
    spans = []
    for axis in (1, 2):
        margin = round(_MARGIN_MM / scan.voxel_mm[axis])
        first = min(bone.origin[axis] for bone in bones.values()) - margin
        last = max(bone.origin[axis] + bone.total.shape[axis] for bone in bones.values()) + margin
        spans.append(slice(max(first, 0), min(last, scan.native.shape[axis])))
    taken = np.zeros((spans[0].stop - spans[0].start, spans[1].stop - spans[1].start), bool)
    for bone in bones.values():
        flat = np.asarray(bone.total.any(axis=0))[:, :: -1 if bone.mirrored else 1]
        corner = (bone.origin[1] - spans[0].start, bone.origin[2] - spans[1].start)
        rows, columns = (slice(c, c + n) for c, n in zip(corner, flat.shape, strict=True))
        taken[rows, columns] |= flat
    clear = planes.distance(taken[None], pixel_mm=scan.voxel_mm[1:])[0] > _REACH_MM[0]
    return (slice(None), spans[0], spans[1]), clear


def _centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Centre (y, x) of a mask over all its slices, in pixels."""
    y, x = ndimage.center_of_mass(mask.sum(axis=0))
    return float(y), float(x)
