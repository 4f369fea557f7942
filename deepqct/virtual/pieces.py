"""Pieces of virtual bones, each drawn with constants of its own: a stream of them never ends and never repeats.

A piece is a square field of some slices with a part of one bone in it, scanned, outlined and divided into its
compartments by `deepqct.bones`. It belongs to no woman and has no outcome. All ranges are our choice: around those of the
virtual women, and wider, so that what is learned of pieces does not hang on one drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone, bone_within
from deepqct.bones.shape import USUAL_AREA
from deepqct.scans.scan import Scan
from deepqct.terms import BONES
from deepqct.virtual.outlines import Outline, draw_outline
from deepqct.virtual.trabeculae import Constants, Knobs, bone_fraction, draw_waves

Field = NDArray[np.float32]

VOXEL_MM = (0.10, 0.15)
SLICES = 9
EDGE_VOXELS = 104
_MARGIN_VOXELS = 7  # drawn around a piece and cut off again: the edge of a scan is no edge of a bone
_FREQUENCY, _THICKNESS_MM, _REACH_MM = (0.40, 1.4), (0.12, 0.28), (0.0, 0.20)  # of `Knobs`
_FILLED = (0.07, 0.20)  # frequency times thickness; with more, marrow is closed off, and with less, nothing is left
_SHELL_MM = (0.4, 2.4)
_CANAL_MM, _CANAL_LENGTH_MM, _CANAL_TILT, _MOST_CANALS = (0.16, 0.40), 3.0, 0.12, 0.12
_TISSUE, _CORTEX, _MARROW, _AROUND = (800.0, 1050.0), (800.0, 1150.0), (-70.0, 20.0), (-30.0, 60.0)  # mgHA/cm³
_BLUR_MM = (0.05, 0.13)
_NOISE, _NOISE_SIGMA = (12.0, 75.0), (0.6, 1.2)  # mgHA/cm³, voxels


@dataclass(frozen=True)
class Ground:
    """Where the bone of a piece lies.

    Parameters
    ----------
    bone : str
        radius, ulna, tibia or fibula.
    voxel_mm : float
        Edge of a voxel.
    depth : (y, x) float32, mm
        Depth below the outline; negative outside.
    shell : (y, x) float32, mm
        Thickness of the cortex nearest to each pixel.
    """

    bone: str
    voxel_mm: float
    depth: Field
    shell: Field


def draw_piece(rng: np.random.Generator, *, edge: int = EDGE_VOXELS, slices: int = SLICES) -> Bone:
    """Draw a piece of a virtual bone, scan it, and find its compartments.

    Parameters
    ----------
    rng : numpy Generator
        Random numbers of this piece; they decide everything about it.
    edge, slices : int
        Voxels along each edge of the field, and slices.

    Returns
    -------
    Bone
        Of the shape (slices, edge, edge), with cubic voxels of 0.10 to 0.15 mm.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.pieces import draw_piece
    >>> piece = draw_piece(np.random.default_rng(1), edge=48, slices=6)
    >>> piece.density.shape, piece.name, bool(piece.total.any())
    ((6, 48, 48), 'ulna', True)
    """
    while True:
        ground = _lie(edge + 2 * _MARGIN_VOXELS, rng)
        middle = ground.depth[_MARGIN_VOXELS:-_MARGIN_VOXELS, _MARGIN_VOXELS:-_MARGIN_VOXELS]
        if (middle > 0).mean() > 0.35:
            break
    deep = slices + 2 * (_MARGIN_VOXELS // 3)
    density = _scanned(_drawn(ground, _fraction(ground, deep, rng), rng), ground.voxel_mm, rng)
    return _cut(ground, density)


def _lie(edge: int, rng: np.random.Generator) -> Ground:
    """Choose a bone, how it is turned, and where in it or at its edge the field lies."""
    bone = str(rng.choice(BONES))
    outline = draw_outline(bone, area_mm2=rng.uniform(*USUAL_AREA[bone]), rng=rng)
    turn = rng.uniform(0, 2 * np.pi)
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    outline = Outline(outline.points @ turned, outline.normals @ turned)
    voxel = float(rng.uniform(*VOXEL_MM))
    centre = outline.points[rng.integers(len(outline.points))] * np.sqrt(rng.random())
    y, x = ((np.arange(edge) - (edge - 1) / 2) * voxel + c for c in centre)
    depth, place = outline.depth(y, x)
    mean = float(np.exp(rng.uniform(*np.log(_SHELL_MM))))
    amplitudes = ((1, 0.25), (2, 0.15), (3, 0.10), (7, 0.05))
    waves = sum(rng.uniform(0, a) * np.cos(2 * np.pi * n * place + rng.uniform(0, 2 * np.pi)) for n, a in amplitudes)
    return Ground(bone, voxel, depth, np.maximum(mean * (1 + waves), 0.3).astype(np.float32))


def _fraction(ground: Ground, slices: int, rng: np.random.Generator) -> Field:
    """The share of trabecular bone in each voxel. Nothing else here knows how trabeculae are drawn."""
    constants = Constants(
        bandwidth=rng.uniform(0.22, 0.5),
        gathering=float(np.exp(rng.uniform(0.0, np.log(12.0)))),
        spacing=(1.0, rng.uniform(0.55, 1.0), rng.uniform(0.4, 0.9)),
        rod=rng.uniform(1.0, 1.4),
        uneven=rng.uniform(0.1, 0.4),
        patch_mm=rng.uniform(2.0, 6.0),
    )
    frequency, filled = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (_FREQUENCY, _FILLED))
    knobs = Knobs(frequency, float(np.clip(filled / frequency, *_THICKNESS_MM)), float(rng.uniform(*_REACH_MM)))
    voxel, inner = ground.voxel_mm, ground.depth - ground.shell
    extent = (slices * voxel, *(n * voxel for n in inner.shape))
    turn = rng.uniform(0, np.pi)
    waves = draw_waves(extent, voxel_mm=voxel, knobs=knobs, turn_rad=turn, rng=rng, constants=constants)
    patchiness, deepest = rng.uniform(0.0, 0.8), rng.uniform(2.0, 8.0)
    share = np.empty((slices, *inner.shape), np.float32)
    for z in range(slices):
        bone_fraction(
            z, inner, waves.sheets, waves.patches, voxel / waves.step_mm, waves.step_mm, voxel, knobs.thickness_mm,
            knobs.reach_mm, deepest, patchiness, constants.rod, constants.uneven, share[z],
        )  # fmt: skip
    return share


def _drawn(ground: Ground, share: Field, rng: np.random.Generator) -> Field:
    """Densities before the scanner: trabeculae in marrow, a cortex with canals around them, soft tissue outside."""
    marrow, tissue, around = (rng.uniform(*range_) for range_ in (_MARROW, _TISSUE, _AROUND))
    spongy = marrow + (tissue - marrow) * share
    cortex = np.full(share.shape, rng.uniform(*_CORTEX), np.float32)
    _bore(cortex, ground, marrow=marrow, porosity=_MOST_CANALS * rng.random() ** 2, rng=rng)
    core = np.clip(0.5 + (ground.depth - ground.shell) / ground.voxel_mm, 0, 1)
    inside = core * spongy + (1 - core) * cortex
    whole = np.clip(0.5 + ground.depth / ground.voxel_mm, 0, 1)
    return np.asarray(around + whole * (inside - around), np.float32)


def _bore(cortex: Field, ground: Ground, *, marrow: float, porosity: float, rng: np.random.Generator) -> None:
    """Bore canals of random width and slight tilt into the cortex that is being drawn."""
    voxel, deep = ground.voxel_mm, len(cortex)
    rows, columns = np.nonzero((ground.depth > 0) & (ground.depth < ground.shell))
    if not len(rows):
        return
    length = _CANAL_LENGTH_MM / voxel
    size = np.exp(rng.uniform(*np.log(_CANAL_MM))) / voxel
    many = rng.poisson(porosity * len(rows) * (deep + length) / (np.pi / 4 * size**2 * length))
    for i in rng.integers(len(rows), size=many):
        first = rng.uniform(-length, deep)
        tilt, radius = rng.normal(0, _CANAL_TILT, 2), size / 2 * np.exp(rng.normal(0, 0.25))
        for z in range(max(int(first), 0), min(int(first + length) + 1, deep)):
            cy, cx = rows[i] + tilt[0] * (z - first), columns[i] + tilt[1] * (z - first)
            y, x = (slice(max(int(c - radius - 1), 0), int(c + radius + 2)) for c in (cy, cx))
            box = cortex[z, y, x]
            rows_, columns_ = np.ogrid[y.start : y.start + box.shape[0], x.start : x.start + box.shape[1]]
            apart = np.hypot(rows_ - cy, columns_ - cx)
            box += np.clip(0.5 + radius - apart, 0, 1) * (marrow - box)


def _scanned(density: Field, voxel_mm: float, rng: np.random.Generator) -> Field:
    """What a scanner makes of it: blur, noise, and a slight error of its calibration."""
    seen = ndimage.gaussian_filter(density, rng.uniform(*_BLUR_MM) / voxel_mm)
    noise = ndimage.gaussian_filter(rng.standard_normal(density.shape, dtype=np.float32), rng.uniform(*_NOISE_SIGMA))
    size = np.exp(rng.uniform(*np.log(_NOISE)))
    return np.asarray(seen * rng.normal(1, 0.01) + noise * (size / noise.std()), np.float32)


def _cut(ground: Ground, density: Field) -> Bone:
    """The piece without its margin, and its compartments, found as those of any bone within a given outline."""
    whole = np.broadcast_to(ground.depth > 0, density.shape)
    scan = Scan(np.rint(density).astype(np.int16), 1.0, 0.0, (ground.voxel_mm,) * 3, None, "right")
    bone = bone_within(scan, ground.bone, total=whole)
    spongy = np.zeros(density.shape, bool)
    spongy[tuple(slice(o, o + n) for o, n in zip(bone.origin, bone.total.shape, strict=True))] = bone.trabecular
    ends = _MARGIN_VOXELS // 3
    part = np.s_[ends:-ends, _MARGIN_VOXELS:-_MARGIN_VOXELS, _MARGIN_VOXELS:-_MARGIN_VOXELS]
    total, spongy = np.ascontiguousarray(whole[part]), np.ascontiguousarray(spongy[part])
    return replace(
        bone,
        density=scan.density[part],
        total=total,
        trabecular=spongy,
        cortical=total & ~spongy,
        flags=(),
        origin=(0, 0, 0),
    )
