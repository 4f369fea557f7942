"""Trabecular bone: perforated plates and rods where three families of wavy sheets run and cross.

Three random fields, each a band of waves around one of three axes (upright sheets, those across them, and level ones),
are divided by the length of their gradient, which makes them distances in mm from their sheets. Bone is where two
sheets cross (rods) and on the first family near the others (ribbons): a narrow reach leaves rods, a wide one plates with
holes. So thickness, number and the share of plates each have a knob. The construction is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]

BANDWIDTH = 0.35  # of the waves, relative
GATHERING = 5.0  # how closely the waves keep to their axis
SPACING = (1.0, 0.75, 0.5)  # frequencies of the three families, relative
ROD = 1.15  # diameter of rods over thickness of plates
UNEVEN = 0.25  # spread of thickness from place to place
COARSEST_MM = 0.12  # grid of the waves; a fifth of the shortest
PATCH_MM = 4.0  # size of the patches in which perforations gather


@dataclass(frozen=True)
class Knobs:
    """What steers a network.

    Parameters
    ----------
    frequency : float
        Of the first family's waves, 1/mm.
    thickness_mm : float
        Of plates, before the scanner.
    reach_mm : float
        How far from the other families plates extend.
    """

    frequency: float
    thickness_mm: float
    reach_mm: float


@dataclass(frozen=True)
class Waves:
    """The fields of one bone on their own grid.

    Parameters
    ----------
    sheets : (3, z, y, x) float32
        Unit variance.
    patches : (z, y, x) float32
        Slow, unit variance.
    step_mm : float
        Of their grid.
    """

    sheets: Field
    patches: Field
    step_mm: float


def draw_waves(
    extent_mm: tuple[float, float, float], *, voxel_mm: float, knobs: Knobs, rng: np.random.Generator
) -> Waves:
    """Waves for a box of so many mm (z, y, x)."""
    step = max(voxel_mm, COARSEST_MM)
    shape = tuple(int(edge / step) + 4 for edge in extent_mm)
    size = tuple(fft.next_fast_len(n, real=True) for n in shape)
    kz, ky, kx = (np.fft.fftfreq(n, step).astype(np.float32) for n in size)
    kx = kx[: size[2] // 2 + 1]
    kx[-1] = abs(kx[-1])
    kz, ky, kx = kz[:, None, None], ky[None, :, None], kx[None, None]
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    k[0, 0, 0] = 1.0
    turn = rng.uniform(0, np.pi)
    axes = [(0.0, np.sin(turn), np.cos(turn)), (0.0, np.cos(turn), -np.sin(turn)), (1.0, 0.0, 0.0)]
    sheets = []
    for (az, ay, ax), relative in zip(axes, SPACING, strict=True):
        cosine = (az * kz + ay * ky + ax * kx) / k
        band = np.exp(-0.5 * ((k / (knobs.frequency * relative) - 1) / BANDWIDTH) ** 2)
        band *= np.exp(-GATHERING / 2 * (1 - cosine**2))
        sheets.append(_filtered(band, size=size, shape=shape, rng=rng))
    patches = _filtered(np.exp(-0.5 * (k * PATCH_MM / 1.2) ** 2), size=size, shape=shape, rng=rng)
    return Waves(np.stack(sheets), patches, step)


def _filtered(band: Field, *, size: tuple[int, ...], shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """White noise through a band, of unit variance."""
    noise = fft.rfftn(rng.standard_normal(size, dtype=np.float32), workers=-1)
    noise *= band
    noise[0, 0, 0] = 0
    field = fft.irfftn(noise, s=size, workers=-1)[tuple(slice(n) for n in shape)]
    return np.asarray(field / field.std(), np.float32)


@njit(nogil=True, cache=True)
def _at(field: Any, z: Any, y: Any, x: Any) -> Any:
    """Linear interpolation."""
    i, j, k = int(z), int(y), int(x)
    a, b, c = z - i, y - j, x - k
    top = (field[i, j, k] * (1 - c) + field[i, j, k + 1] * c) * (1 - b)
    top += (field[i, j + 1, k] * (1 - c) + field[i, j + 1, k + 1] * c) * b
    low = (field[i + 1, j, k] * (1 - c) + field[i + 1, j, k + 1] * c) * (1 - b)
    low += (field[i + 1, j + 1, k] * (1 - c) + field[i + 1, j + 1, k + 1] * c) * b
    return top * (1 - a) + low * a


@njit(nogil=True, cache=True)
def bone_fraction(
    z: Any, depth: Any, sheets: Any, patches: Any, ratio: Any, step: Any, voxel: Any,
    thickness: Any, reach: Any, deepest: Any, patchiness: Any, out: Any,
) -> None:  # fmt: skip
    """Share of bone in each voxel of slice `z` with a depth above 0, into `out`.

    `ratio` is the voxel over the waves' step. At the rim are rather plates, in the middle fewer and thicker trabeculae.
    """
    ny, nx = depth.shape
    s = np.empty(3)
    for y in range(ny):
        for x in range(nx):
            if depth[y, x] <= -voxel:
                out[y, x] = 0.0
                continue
            pz, py, px = 1 + z * ratio, 1 + y * ratio, 1 + x * ratio
            for f in range(3):
                field = sheets[f]
                gz = _at(field, pz + 0.5, py, px) - _at(field, pz - 0.5, py, px)
                gy = _at(field, pz, py + 0.5, px) - _at(field, pz, py - 0.5, px)
                gx = _at(field, pz, py, px + 0.5) - _at(field, pz, py, px - 0.5)
                slope = np.sqrt(gz * gz + gy * gy + gx * gx) / step + 1e-6
                s[f] = abs(_at(field, pz, py, px)) / slope
            patch = _at(patches, pz, py, px)
            inward = min(max(depth[y, x] / deepest, 0.0), 1.0)
            thick = thickness * (0.90 + 0.20 * inward) * np.exp(UNEVEN * 0.5 * patch)
            wide = reach * (1.7 - 1.4 * inward) * np.exp(patchiness * patch)
            rod = np.sqrt(s[0] * s[0] + s[1] * s[1])
            rod = min(rod, np.sqrt(s[0] * s[0] + s[2] * s[2]))
            rod = min(rod, np.sqrt(s[1] * s[1] + s[2] * s[2])) - ROD * thick / 2
            plate = max(s[0] - thick / 2, min(s[1], s[2]) - wide)
            out[y, x] = min(max(0.5 - min(rod, plate) / voxel, 0.0), 1.0)
