"""Shapes of known size, digitised as a scanner would: a voxel belongs to a shape that holds its centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grid(size: int, *, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(size, size, size, 3) places of the voxels from a centre."""
    axes = [np.arange(size) - c for c in centre]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """A direction in space, all equally likely."""
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def plate(thickness: float, *, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A plate at a random place and orientation."""
    centre = np.full(3, (size - 1) / 2) + rng.uniform(-0.5, 0.5, 3)
    return np.abs(grid(size, centre=centre) @ direction(rng)) < thickness / 2


def rod(diameter: float, *, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A rod at a random place and orientation."""
    place = grid(size, centre=np.full(3, (size - 1) / 2) + rng.uniform(-0.5, 0.5, 3))
    return (place**2).sum(-1) - (place @ direction(rng)) ** 2 <= (diameter / 2) ** 2


def ball(diameter: float, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A ball at a random place, with room around it."""
    size = int(diameter) + 7
    place = grid(size, centre=np.full(3, (size - 1) / 2) + rng.uniform(-0.5, 0.5, 3))
    return (place**2).sum(-1) <= (diameter / 2) ** 2


def flat_plates(*, thickness: int, gap: int, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Parallel plates along z and y, whole gaps at both ends."""
    along = np.arange(shape[2]) % (thickness + gap) >= gap
    return np.broadcast_to(along, shape).copy()


def phantom(
    shape: tuple[int, int, int], *, voxel_mm: float = 0.0607, shell_mm: float = 1.0
) -> dict[str, NDArray[np.bool_]]:
    """An elliptic shell around plates of 3 voxels with gaps of 14: total, cortical, trabecular, bone within it."""
    from edt import edt

    y, x = np.ogrid[: shape[1], : shape[2]]
    middle = ((shape[1] - 1) / 2, (shape[2] - 1) / 2)
    outline = ((y - middle[0]) / (middle[0] - 11.5)) ** 2 + ((x - middle[1]) / (middle[1] - 11.5)) ** 2 <= 1
    core = edt(outline) - 0.5 > shell_mm / voxel_mm
    plates = (np.arange(shape[2]) % 17 < 3)[None, :]
    flat = {"total": outline, "cortical": outline & ~core, "trabecular": core, "bone": core & plates}
    return {name: np.ascontiguousarray(np.broadcast_to(mask, shape)) for name, mask in flat.items()}
