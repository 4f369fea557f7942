"""What a virtual limb looks like: two bones of cortex, canals and trabeculae in muscle, tendons, fat and skin.

Densities are in mgHA/cm³. A number without a source is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.terms import SITES
from deepqct.virtual.outlines import WIDER_A_MM, Outline, draw_outline, widened
from deepqct.virtual.steering import Aim, aim_of
from deepqct.virtual.trabeculae import PATCHINESS, ROD, UNEVEN, bone_fraction, draw_waves
from deepqct.work import compiled, each_slice

Field = NDArray[np.float32]

AIR, SKIN, FAT, MUSCLE, TENDON, MARROW = -391.0, 60.0, -50.0, 20.0, 75.0, -30.0
TRABECULAR_TISSUE = 950.0
FIELD_MM = {"wrist": (36.0, 56.0), "ankle": (46.0, 66.0)}  # what is kept of a scan, y by x
_GAP_MM = {"wrist": (3.0, 6.0), "ankle": (2.5, 5.0)}
_FAT_MM, _SKIN_MM = {"wrist": (1.5, 4.0), "ankle": (2.0, 5.0)}, 1.3
_DEEP_MM = {"wrist": 5.5, "ankle": 4.5}  # thickness of muscle and tendons around the bones
_OFF_CENTRE = 0.02  # share of limbs that lie so far off that the edge of the field cuts a bone
_CANAL_MM = {"radius": 0.24, "ulna": 0.24, "tibia": 0.28, "fibula": 0.26}  # median; ours
_CANAL_SPREAD, _CANAL_LENGTH_MM, _CANAL_TILT = 0.25, 3.0, 0.12
_THINNEST_SHELL_MM = 0.30


@dataclass(frozen=True)
class _Limb:
    """Where the bones of a limb lie, and how large the limb is; all in mm.

    Parameters
    ----------
    outlines : dict of str to Outline
        The outline of each bone.
    centres : dict of str to (y, x)
        The centre of each bone, from the middle of the field.
    half : (y, x)
        Half axes of the limb.
    fat_mm : float
        Thickness of the fat below the skin.
    """

    outlines: dict[str, Outline]
    centres: dict[str, tuple[float, float]]
    half: tuple[float, float]
    fat_mm: float


def draw_limb(
    woman: Mapping[str, float],
    *,
    site: str,
    voxel_mm: float,
    slices: int,
    rng: np.random.Generator,
    margin: int = 0,
) -> Field:
    """Return the densities of one right wrist or ankle as drawn, before a scanner sees them.

    Parameters
    ----------
    woman : mapping
        A row of `draw_women`.
    site : str
        wrist or ankle.
    voxel_mm : float
        Edge of a voxel.
    slices : int
        Number of slices along z.
    rng : numpy Generator
        Random numbers of this scan.
    margin : int
        Voxels of air around the usual field, so that a limb that moves stays within it.

    Returns
    -------
    (z, y, x) float32, mgHA/cm³

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> from deepqct.virtual.anatomy import draw_limb
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> density = draw_limb(woman, site="wrist", voxel_mm=0.3, slices=4, rng=np.random.default_rng(1))
    >>> density.shape, float(density.min())
    ((4, 120, 187), -391.0)
    """
    limb = _lay_out(woman, site, rng)
    shape = tuple(round(edge / voxel_mm) + 2 * margin for edge in FIELD_MM[site])
    y, x = ((np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape)
    density = np.empty((slices, *shape), np.float32)
    density[:] = _soft_tissue(limb, y, x, rng)
    for bone, bone_rng in zip(SITES[site], rng.spawn(2), strict=True):
        _draw_bone(density, bone, woman, limb, y=y, x=x, voxel_mm=voxel_mm, rng=bone_rng)
    return density


def _lay_out(woman: Mapping[str, float], site: str, rng: np.random.Generator) -> _Limb:
    """Draw the outlines of the two bones and decide where they lie in the limb."""
    large, small = SITES[site]
    outlines = {bone: draw_outline(bone, area_mm2=woman[f"{bone} Tt.Ar"], rng=rng) for bone in (large, small)}
    ends = {bone: (outline.points.min(axis=0), outline.points.max(axis=0)) for bone, outline in outlines.items()}
    gap = rng.uniform(*_GAP_MM[site])
    at = ends[large][1][1] + gap - ends[small][0][1]
    up = rng.uniform(-2.5, 0.5) if site == "wrist" else rng.uniform(1.0, 4.0)
    middle = (ends[large][0][1] + at + ends[small][1][1]) / 2
    shift = np.array([rng.normal(0, 0.8), rng.normal(0, 0.8)])
    if rng.random() < _OFF_CENTRE:
        shift[1] += FIELD_MM[site][1] / 2 - (at + ends[small][1][1] - middle) + 2.0
    centres = {large: (shift[0], shift[1] - middle), small: (shift[0] + up, shift[1] + at - middle)}
    bmi = woman["weight_kg"] / (woman["height_cm"] / 100) ** 2
    fat = float(np.clip(rng.uniform(*_FAT_MM[site]) + 0.15 * (bmi - 24), 1, 8))
    reach_y = max(abs(end) for bone in ends for end in (ends[bone][0][0], ends[bone][1][0])) + abs(up) / 2
    reach_x = (ends[large][1][1] - ends[large][0][1] + gap + ends[small][1][1] - ends[small][0][1]) / 2
    soft = _DEEP_MM[site] + fat + _SKIN_MM
    return _Limb(outlines, centres, (reach_y + soft + 1.5, reach_x + 0.6 * soft), fat)


def _soft_tissue(
    limb: _Limb, y: NDArray[np.floating[Any]], x: NDArray[np.floating[Any]], rng: np.random.Generator
) -> Field:
    """Skin, fat, muscle and tendons of one slice."""
    half_y, half_x = limb.half
    n = 2.4  # a rounded oval
    level = (np.abs(y[:, None] / half_y) ** n + np.abs(x[None] / half_x) ** n) ** (1 / n)
    inward = (1 - level) * half_y
    tissue = np.select([inward < 0, inward < _SKIN_MM, inward < _SKIN_MM + limb.fat_mm], [AIR, SKIN, FAT], MUSCLE)
    deep = _SKIN_MM + limb.fat_mm + 1.2
    for angle in np.linspace(0, 2 * np.pi, 18, endpoint=False) + rng.normal(0, 0.08, 18):
        big, small = rng.uniform(1.6, 2.8), rng.uniform(0.9, 1.4)
        cy, cx = (half_y - deep - small) * np.sin(angle), (half_x - deep - big) * np.cos(angle)
        u, v = x[None] - cx, y[:, None] - cy
        tangent = np.arctan2(half_y * np.cos(angle), -half_x * np.sin(angle))
        along, across = u * np.cos(tangent) + v * np.sin(tangent), -u * np.sin(tangent) + v * np.cos(tangent)
        reach = np.hypot(along / big, across / small)
        tissue = np.where((reach < 1.35) & (inward > _SKIN_MM), FAT, tissue)
        tissue = np.where((reach < 1) & (inward > _SKIN_MM), TENDON, tissue)
    return tissue.astype(np.float32)


def _draw_bone(
    density: Field,
    bone: str,
    woman: Mapping[str, float],
    limb: _Limb,
    *,
    y: NDArray[np.floating[Any]],
    x: NDArray[np.floating[Any]],
    voxel_mm: float,
    rng: np.random.Generator,
) -> None:
    """Draw one bone into the limb that is being made."""
    aim = aim_of(woman, bone)
    outline = limb.outlines[bone]
    length = len(density) * voxel_mm
    reach = np.abs(outline.points).max(axis=0) * (1 + WIDER_A_MM * length) + 1.0
    centre = limb.centres[bone]
    rows, columns = (
        slice(*np.searchsorted(axis, (c - r, c + r))) for axis, c, r in zip((y, x), centre, reach, strict=True)
    )
    box = density[:, rows, columns]
    if not box.size:
        return
    bone_y, bone_x = y[rows] - centre[0], x[columns] - centre[1]
    ends = [widened(outline, along).depth(bone_y, bone_x) for along in (-length / 2, length / 2)]
    shell = _shell(ends[0][1], aim, rng)
    waves = draw_waves(
        (length, *(n * voxel_mm for n in box.shape[1:])),
        voxel_mm=voxel_mm,
        knobs=aim.knobs,
        turn_rad=aim.turn_rad,
        rng=rng,
    )
    patches = waves.patches - _mean_within(waves.patches, ends[0][0] - shell, voxel_mm / waves.step_mm)
    canals = _canals(aim, outline, shell_mm=aim.shell_mm, length_mm=length, bone=bone, rng=rng)
    deepest = max(float((ends[0][0] - shell).max()) * 0.8, 1.0)
    thickness, reach_mm = aim.knobs.thickness_mm, aim.knobs.reach_mm

    def draw(z: int) -> None:
        share = (z + 0.5) / len(box)
        depth = (1 - share) * ends[0][0] + share * ends[1][0]
        inner = depth - shell
        fraction = np.empty(depth.shape, np.float32)
        bone_fraction(
            z, inner, waves.sheets, patches, voxel_mm / waves.step_mm, waves.step_mm, voxel_mm, thickness,
            reach_mm, deepest, PATCHINESS, ROD, UNEVEN, fraction,
        )  # fmt: skip
        cortex = np.full(depth.shape, aim.cortical_tissue, np.float32)
        _bore(canals, z * voxel_mm, float(bone_y[0]), float(bone_x[0]), voxel_mm, cortex)
        spongy = MARROW + (TRABECULAR_TISSUE - MARROW) * fraction
        core = np.clip(0.5 + inner / voxel_mm, 0, 1)
        inside = core * spongy + (1 - core) * cortex
        box[z] += np.clip(0.5 + depth / voxel_mm, 0, 1) * (inside - box[z])

    each_slice(draw, range(len(box)))


def _mean_within(field: Field, inner: Field, ratio: float) -> np.float32:
    """Mean of a field within the marrow space; without it, patches change where bone is and not how much there is.

    `ratio` is the edge of a voxel over the step of the field's grid.
    """
    rows, columns = ((1 + np.arange(n) * ratio).astype(int) for n in inner.shape)
    within = field[:: max(len(field) // 8, 1), rows[:, None], columns[None]][:, inner > 0]
    return np.float32(within.mean() if within.size else 0.0)


def _shell(place: Field, aim: Aim, rng: np.random.Generator) -> Field:
    """Thickness of the cortex in mm at each place along the outline: a few slow waves around its mean."""
    waves = sum(
        amplitude * np.cos(2 * np.pi * n * place + rng.uniform(0, 2 * np.pi))
        for n, amplitude in ((1, 0.22), (2, 0.12), (3, 0.08), (7, 0.04))
    )
    return np.maximum(aim.shell_mm * (1 + waves), _THINNEST_SHELL_MM).astype(np.float32)


def _canals(
    aim: Aim, outline: Outline, *, shell_mm: float, length_mm: float, bone: str, rng: np.random.Generator
) -> NDArray[np.floating[Any]]:
    """Draw the canals of the cortex, one a row, in mm.

    Columns are first and last z, y and x at the first z, change of y and x for each mm of z, and radius. The higher the
    part of the risk that no index sees, the more the canals gather on one side of the bone.
    """
    n = len(outline.points)
    around = np.hypot(*np.diff(outline.points, axis=0, append=outline.points[:1]).T).sum()
    mean_area = np.pi / 4 * _CANAL_MM[bone] ** 2 * np.exp(2 * _CANAL_SPREAD**2)
    volume = aim.porosity * around * shell_mm * (length_mm + _CANAL_LENGTH_MM)
    many = rng.poisson(volume / (mean_area * _CANAL_LENGTH_MM))
    place = rng.random(4 * many + 8)
    phase = rng.uniform(0, 1)
    kept = rng.random(len(place)) < (1 + aim.clustering * np.cos(2 * np.pi * (place - phase))) / 2
    place = place[kept][:many]
    many = len(place)
    at = (place * n).astype(int) % n
    deep = shell_mm * rng.uniform(0.25, 0.75, many)
    start = outline.points[at] - deep[:, None] * outline.normals[at]
    first = rng.uniform(-_CANAL_LENGTH_MM, length_mm, many)
    tilt = rng.normal(0, _CANAL_TILT, many)
    tangent = np.stack([-outline.normals[at, 1], outline.normals[at, 0]], axis=1)
    radius = _CANAL_MM[bone] / 2 * np.exp(rng.normal(0, _CANAL_SPREAD, many))
    return np.column_stack([first, first + _CANAL_LENGTH_MM, start, tilt[:, None] * tangent, radius])


@compiled()
def _bore(canals: Any, z_mm: Any, y0: Any, x0: Any, voxel: Any, cortex: Any) -> None:
    """Bore the canals that pass a slice into its cortex."""
    ny, nx = cortex.shape
    for i in range(len(canals)):
        if z_mm < canals[i, 0] or z_mm > canals[i, 1]:
            continue
        run = z_mm - canals[i, 0]
        cy = (canals[i, 2] + run * canals[i, 4] - y0) / voxel
        cx = (canals[i, 3] + run * canals[i, 5] - x0) / voxel
        radius = canals[i, 6] / voxel
        for y in range(max(int(cy - radius - 1), 0), min(int(cy + radius + 2), ny)):
            for x in range(max(int(cx - radius - 1), 0), min(int(cx + radius + 2), nx)):
                share = min(max(0.5 + radius - np.sqrt((y - cy) ** 2 + (x - cx) ** 2), 0.0), 1.0)
                cortex[y, x] += share * (MARROW - cortex[y, x])
