"""Trabecular bone: perforated plates and rods where three families of wavy sheets run and cross.

Each of three random fields is a band of waves around one of three axes; where a field is zero lies a family of wavy
sheets (upright ones, upright ones across them, and level ones). Divided by the length of its gradient, a field is the
distance in mm from its nearest sheet. Bone is where two sheets cross (rods), and on sheets of the first family near the
other two (ribbons): a narrow reach leaves rods, a wide one plates with holes. So thickness, number and the share of
plates each have a knob. The construction is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from deepqct.work import compiled

Field = NDArray[np.float32]

BANDWIDTH = 0.35  # of the waves, relative
GATHERING = 5.0  # how closely the waves keep to their axis
SPACING = (1.0, 0.75, 0.5)  # frequencies of the three families, relative
STRAY_RAD = 0.05  # spread of the direction of a bone's first family; ours
ROD = 1.15  # diameter of rods over thickness of plates
UNEVEN = 0.25  # spread of thickness from place to place
COARSEST_MM = 0.12  # grid of the waves; a fifth of the shortest
PATCH_MM, PATCHINESS = 4.0, 0.3  # size of the patches in which perforations gather, and how strongly they do


@dataclass(frozen=True)
class Knobs:
    """The three numbers that steer how a trabecular network is drawn.

    Parameters
    ----------
    frequency : float
        Frequency of the first family's waves, 1/mm.
    thickness_mm : float
        Thickness of plates, before the scanner blurs them.
    reach_mm : float
        How far plates extend from the sheets of the other two families, mm.
    """

    frequency: float
    thickness_mm: float
    reach_mm: float


@dataclass(frozen=True)
class Constants:
    """The numbers of the drawing itself, which are the same in all virtual women.

    Parameters
    ----------
    bandwidth : float
        Width of the band of waves, relative to its frequency.
    gathering : float
        How closely the waves keep to their axis.
    spacing : tuple of three float
        Frequencies of the three families, relative to the knob.
    rod : float
        Diameter of rods over thickness of plates.
    uneven : float
        Spread of thickness from place to place.
    patch_mm : float
        Size of the patches in which perforations gather, mm.
    """

    bandwidth: float = BANDWIDTH
    gathering: float = GATHERING
    spacing: tuple[float, float, float] = SPACING
    rod: float = ROD
    uneven: float = UNEVEN
    patch_mm: float = PATCH_MM


@dataclass(frozen=True)
class Waves:
    """The random fields of one bone, on a grid that may be coarser than the voxels.

    Parameters
    ----------
    sheets : (3, z, y, x) float32
        One field for each family of sheets, of unit variance.
    patches : (z, y, x) float32
        A slowly changing field of unit variance: where it is high, plates are wider and thicker.
    step_mm : float
        Distance between points of the grid.
    """

    sheets: Field
    patches: Field
    step_mm: float


def draw_waves(
    extent_mm: tuple[float, float, float],
    *,
    voxel_mm: float,
    knobs: Knobs,
    turn_rad: float,
    rng: np.random.Generator,
    constants: Constants | None = None,
) -> Waves:
    """Return the random fields for a box around one bone.

    Parameters
    ----------
    extent_mm : (z, y, x) mm
        Edges of the box.
    voxel_mm : float
        Edge of a voxel; the grid of the fields is never finer.
    knobs : Knobs
        Steer the network; only the frequency counts here.
    turn_rad : float
        Direction in the slice across which the sheets of the first family lie: 0 for x, a right angle for y. It changes
        no index that is the same whichever way a bone is turned.
    rng : numpy Generator
        Random numbers of this bone.
    constants : Constants, optional
        Of the drawing; by default those of all virtual women.

    Returns
    -------
    Waves

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.virtual.trabeculae import Knobs, draw_waves
    >>> knobs = Knobs(frequency=0.8, thickness_mm=0.15, reach_mm=0.1)
    >>> waves = draw_waves((2, 5, 5), voxel_mm=0.2, knobs=knobs, turn_rad=0.5, rng=np.random.default_rng(1))
    >>> waves.sheets.shape
    (3, 14, 29, 29)
    """
    constants = constants or Constants()
    step = max(voxel_mm, COARSEST_MM)
    shape = tuple(int(edge / step) + 4 for edge in extent_mm)
    size = tuple(fft.next_fast_len(n, real=True) for n in shape)
    kz, ky, kx = (np.fft.fftfreq(n, step).astype(np.float32) for n in size)
    kx = kx[: size[2] // 2 + 1]
    kx[-1] = abs(kx[-1])
    kz, ky, kx = kz[:, None, None], ky[None, :, None], kx[None, None]
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    k[0, 0, 0] = 1.0
    turn = turn_rad + rng.normal(0, STRAY_RAD)
    axes = [(0.0, np.sin(turn), np.cos(turn)), (0.0, np.cos(turn), -np.sin(turn)), (1.0, 0.0, 0.0)]
    sheets = []
    for (az, ay, ax), relative in zip(axes, constants.spacing, strict=True):
        cosine = (az * kz + ay * ky + ax * kx) / k
        band = np.exp(-0.5 * ((k / (knobs.frequency * relative) - 1) / constants.bandwidth) ** 2)
        band *= np.exp(-constants.gathering / 2 * (1 - cosine**2))
        sheets.append(_filtered(band, size=size, shape=shape, rng=rng))
    patches = _filtered(np.exp(-0.5 * (k * constants.patch_mm / 1.2) ** 2), size=size, shape=shape, rng=rng)
    return Waves(np.stack(sheets), patches, step)


def _filtered(band: Field, *, size: tuple[int, ...], shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """White noise filtered by a band of frequencies, scaled to unit variance."""
    noise = fft.rfftn(rng.standard_normal(size, dtype=np.float32), workers=-1)
    noise *= band
    noise[0, 0, 0] = 0
    field = fft.irfftn(noise, s=size, workers=-1)[tuple(slice(n) for n in shape)]
    return np.asarray(field / field.std(), np.float32)


@compiled()
def _at(field: Any, z: Any, y: Any, x: Any) -> Any:
    """Value of a field at a point between its grid points, by linear interpolation."""
    i, j, k = int(z), int(y), int(x)
    a, b, c = z - i, y - j, x - k
    top = (field[i, j, k] * (1 - c) + field[i, j, k + 1] * c) * (1 - b)
    top += (field[i, j + 1, k] * (1 - c) + field[i, j + 1, k + 1] * c) * b
    low = (field[i + 1, j, k] * (1 - c) + field[i + 1, j, k + 1] * c) * (1 - b)
    low += (field[i + 1, j + 1, k] * (1 - c) + field[i + 1, j + 1, k + 1] * c) * b
    return top * (1 - a) + low * a


@compiled()
def bone_fraction(
    z: Any, depth: Any, sheets: Any, patches: Any, ratio: Any, step: Any, voxel: Any,
    thickness: Any, reach: Any, deepest: Any, patchiness: Any, rod_size: Any, uneven: Any, out: Any,
) -> None:  # fmt: skip
    """Write the share of bone in each voxel of one slice into `out`.

    Near the cortex plates are wider, in the middle of the bone they are narrower and thicker.

    Parameters
    ----------
    z : int
        The slice.
    depth : (y, x) mm
        Depth below the inner face of the cortex; more than a voxel outside of it there is no bone.
    sheets, patches : (3, z, y, x) and (z, y, x)
        The fields of `Waves`.
    ratio : float
        Edge of a voxel over the step of the fields.
    step, voxel : float
        Step of the fields and edge of a voxel, mm.
    thickness, reach : float
        As in `Knobs`, mm.
    deepest : float
        Depth from which trabeculae no longer change towards the middle, mm.
    patchiness : float
        How strongly the reach follows the patches.
    rod_size, uneven : float
        The `rod` and `uneven` of `Constants`.
    out : (y, x)
        Receives the share, 0 to 1.
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
            thick = thickness * (0.90 + 0.20 * inward) * np.exp(uneven * 0.5 * patch)
            wide = reach * (1.7 - 1.4 * inward) * np.exp(patchiness * patch)
            rod = np.sqrt(s[0] * s[0] + s[1] * s[1])
            rod = min(rod, np.sqrt(s[0] * s[0] + s[2] * s[2]))
            rod = min(rod, np.sqrt(s[1] * s[1] + s[2] * s[2])) - rod_size * thick / 2
            plate = max(s[0] - thick / 2, min(s[1], s[2]) - wide)
            out[y, x] = min(max(0.5 - min(rod, plate) / voxel, 0.0), 1.0)
