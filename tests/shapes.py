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
    from scipy import ndimage

    y, x = np.ogrid[: shape[1], : shape[2]]
    middle = ((shape[1] - 1) / 2, (shape[2] - 1) / 2)
    outline = ((y - middle[0]) / (middle[0] - 11.5)) ** 2 + ((x - middle[1]) / (middle[1] - 11.5)) ** 2 <= 1
    core = ndimage.distance_transform_edt(outline) - 0.5 > shell_mm / voxel_mm
    plates = (np.arange(shape[2]) % 17 < 3)[None, :]
    flat = {"total": outline, "cortical": outline & ~core, "trabecular": core, "bone": core & plates}
    return {name: np.ascontiguousarray(np.broadcast_to(mask, shape)) for name, mask in flat.items()}


def two_bones(
    site: str,
    *,
    gap: float,
    angle: float,
    voxel_mm: float,
    slices: int,
    rng: np.random.Generator,
    blur_mm: float = 0.065,
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]]]:
    """A large and a small elliptic bone, a gap of so many voxels apart, as a scanner sees them, and where each is.

    The smaller lies at an angle (radians) from the larger. Shells of 1.0 and 0.8 mm at 1000 mgHA/cm³, plates within.
    """
    from scipy import ndimage

    names, large, small = {
        "wrist": (("radius", "ulna"), (11.0, 7.2), (5.2, 4.6)),
        "ankle": (("tibia", "fibula"), (15.5, 13.0), (6.6, 5.6)),
    }[site]
    reach = large[0] + 2 * small[0] + 3.0 + gap * voxel_mm
    n = int(2 * reach / voxel_mm)
    y, x = (np.arange(n) - (n - 1) / 2)[:, None] * voxel_mm, (np.arange(n) - (n - 1) / 2)[None] * voxel_mm
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)  # the bones lie along u
    centre = large[0] + gap * voxel_mm + small[0]
    density = np.full((slices, n, n), 20.0, np.float32)
    truth = {}
    for name, (a, b), at, shell in zip(names, (large, small), (0.0, centre), (1.0, 0.8), strict=True):
        outer = ((u - at) / a) ** 2 + (v / b) ** 2 <= 1
        core = ((u - at) / (a - shell)) ** 2 + (v / (b - shell)) ** 2 <= 1
        plates = core & (np.sin(2 * np.pi * 1.2 * (u + 0.3 * v)) > 0.8)
        density[:, outer] = 1000
        density[:, core & ~plates] = -30
        truth[name] = np.broadcast_to(outer, density.shape)
    noise = ndimage.gaussian_filter(rng.standard_normal(density.shape, dtype=np.float32), 0.87)
    return ndimage.gaussian_filter(density, blur_mm / voxel_mm) + 75 * noise / noise.std(), truth
