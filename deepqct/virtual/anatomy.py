"""What the virtual bones look like: outlines, cortical shells, trabecular networks, soft tissue, in mgHA/cm³.

Coarse but of the right form: an outline from a few Fourier terms, a shell whose thickness varies around the ring, and a
network of plates where a band-passed random field is near zero. Outlines and tissue densities are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepqct.folder import SITES

Field = NDArray[np.float32]

AIR, SKIN, FAT, MUSCLE, MARROW, TISSUE = -391.0, 60.0, -50.0, 20.0, -30.0, 980.0


@dataclass(frozen=True)
class _Outline:
    """A cross-section: r(angle) = 1 + sum of amplitude × cos(order × angle + phase), before scaling to its area."""

    centre_mm: tuple[float, float]  # (y, x) from the middle of the scan
    terms: tuple[tuple[int, float, float], ...]  # order, amplitude, phase


# Right limbs. The gaps between the two bones stay above 3 mm for the largest women.
_OUTLINES = {
    "radius": _Outline((0.0, -9.0), ((2, 0.20, 0.0), (3, 0.07, np.pi / 2), (4, 0.03, 0.0))),
    "ulna": _Outline((-2.0, 15.5), ((2, 0.05, 0.6), (3, 0.04, 0.3))),
    "tibia": _Outline((-3.0, -8.0), ((2, 0.05, 0.5), (3, 0.08, -np.pi / 2), (4, 0.02, 0.0))),
    "fibula": _Outline((4.0, 20.5), ((2, 0.10, 0.9), (3, 0.07, 0.2))),
}
_FIELD_MM = {"wrist": (36.0, 56.0), "ankle": (46.0, 66.0)}
_LIMB_MM = {"wrist": (42.0, 60.0), "ankle": (56.0, 72.0)}


def draw_limb(
    woman: Mapping[str, float],
    *,
    site: str,
    voxel_mm: float,
    slices: int,
    rng: np.random.Generator,
    margin: int = 0,
) -> Field:
    """The densities of one right wrist or ankle, before the scanner.

    Parameters
    ----------
    woman : mapping
        The drawn structure: Tt.Ar in mm², Ct.Th in mm, Tb.BV/TV as a fraction, Tb.N in 1/mm of each bone.
    site : str
        wrist or ankle.
    voxel_mm : float
        Edge of a voxel.
    slices : int
        Along z.
    rng : numpy Generator
        Of this scan alone.
    margin : int
        Voxels around the usual field; it changes nothing within.

    Returns
    -------
    (z, y, x) float32, mgHA/cm³
    """
    shape = (slices, *(round(edge / voxel_mm) + 2 * margin for edge in _FIELD_MM[site]))
    y, x = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(voxel_mm) for n in shape[1:])
    density = np.broadcast_to(_soft_tissue(site, y[:, None], x[None, :]), shape).copy()
    for bone in SITES[site]:
        _draw_bone(density, bone, woman, y=y, x=x, voxel_mm=voxel_mm, rng=rng)
    return density


def _soft_tissue(site: str, y: Field, x: Field) -> Field:
    """Skin, fat and muscle of an elliptic limb that the field may cut."""
    half_y, half_x = (edge / 2 for edge in _LIMB_MM[site])
    inward = (1 - np.hypot(y / half_y, x / half_x)) * half_y  # about mm below the skin
    return np.select([inward < 0, inward < 1.5, inward < 4.0], [AIR, SKIN, FAT], MUSCLE).astype(np.float32)


def _draw_bone(
    density: Field,
    bone: str,
    woman: Mapping[str, float],
    *,
    y: Field,
    x: Field,
    voxel_mm: float,
    rng: np.random.Generator,
) -> None:
    """Draw one bone into the limb that is being made."""
    outline = _OUTLINES[bone]
    own = [(order, 0.02 / order * rng.standard_normal(), rng.uniform(0, 2 * np.pi)) for order in (2, 3, 4, 5)]
    radius = np.sqrt(woman[f"{bone} Tt.Ar"] / np.pi)
    reach = 1.5 * radius + 1.0
    rows = slice(*np.searchsorted(y, (outline.centre_mm[0] - reach, outline.centre_mm[0] + reach)))
    columns = slice(*np.searchsorted(x, (outline.centre_mm[1] - reach, outline.centre_mm[1] + reach)))
    dy, dx = y[rows, None] - outline.centre_mm[0], x[None, columns] - outline.centre_mm[1]
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    box = density[:, rows, columns]
    network = _band_passed(box.shape, frequency=0.6 * woman[f"{bone} Tb.N"], voxel_mm=voxel_mm, rng=rng)
    thick, thick2 = rng.uniform(0, 2 * np.pi, 2)
    shell = woman[f"{bone} Ct.Th"] * (1 + 0.25 * np.cos(angle - thick) + 0.12 * np.cos(2 * angle - thick2))
    shell = np.maximum(shell, 0.35)
    edge, slope = _radius_at(angle, (*outline.terms, *own))
    steepness = np.hypot(1, slope / edge)
    for z in range(box.shape[0]):
        along = z * voxel_mm  # mm towards the hand or foot, where the bone grows wider
        depth = (radius * (1 + 0.004 * along) * edge - distance) / steepness
        bone_part = np.clip(0.5 + depth / voxel_mm, 0, 1)
        core_part = np.clip(0.5 + (depth - shell) / voxel_mm, 0, 1)
        # Denser at the rim, sparser in the middle.
        wanted = woman[f"{bone} Tb.BV/TV"] * (1.25 - 0.5 * np.clip(depth / radius, 0, 1))
        spongy = MARROW + (TISSUE - MARROW) * _plates(network[z], wanted, voxel_mm * 0.6 * woman[f"{bone} Tb.N"])
        inside = core_part * spongy + (1 - core_part) * TISSUE
        box[z] += bone_part * (inside - box[z])


def _radius_at(angle: Field, terms: tuple[tuple[int, float, float], ...]) -> tuple[Field, Field]:
    """The outline and its derivative by angle, scaled to unit mean square, so that its area is that of the unit disc."""
    edge = 1 + sum(a * np.cos(n * angle + p) for n, a, p in terms)
    slope = -sum(n * a * np.sin(n * angle + p) for n, a, p in terms)
    by_order: dict[int, complex] = {}
    for n, a, p in terms:
        by_order[n] = by_order.get(n, 0) + a * np.exp(1j * p)
    norm = np.sqrt(1 + sum(abs(c) ** 2 for c in by_order.values()) / 2)
    return edge / norm, slope / norm


def _band_passed(shape: tuple[int, ...], *, frequency: float, voxel_mm: float, rng: np.random.Generator) -> Field:
    """A random field of unit variance whose waves have about one spatial frequency (1/mm), longer along z."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    kz = np.fft.fftfreq(shape[0], voxel_mm)[:, None, None] * 1.5
    ky = np.fft.fftfreq(shape[1], voxel_mm)[None, :, None]
    kx = np.fft.rfftfreq(shape[2], voxel_mm)[None, None, :]
    band = np.exp(-0.5 * ((np.sqrt(kz**2 + ky**2 + kx**2) / frequency - 1) / 0.3) ** 2)
    field = np.fft.irfftn(np.fft.rfftn(noise) * band, s=shape, axes=(0, 1, 2)).astype(np.float32)
    return field / field.std()


def _plates(field: Field, wanted: Field, waves_a_voxel: float) -> Field:
    """Bone fraction of each voxel: plates where the field is near zero, as thick as the wanted fraction asks."""
    from scipy.special import erfinv

    level = np.sqrt(2) * erfinv(np.clip(wanted, 0.0, 0.95))  # P(|field| < level) = wanted for a normal field
    change = 2 * np.pi * waves_a_voxel / np.sqrt(3)  # of the field across a voxel, root mean square along one axis
    return np.clip(0.5 + (level - np.abs(field)) / change, 0, 1).astype(np.float32)
