"""Virtual trabecular texture beside real scans: spectrum, directional crossings, pictures."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from deepqct.bones import find_bones
from deepqct.scans import read_scan
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women

REAL = Path(__file__).parents[3] / "shared" / "real" / "TRAB_1237.AIM"
VOXEL, SIZE = 0.0607, (48, 56, 104)
BANDS = np.geomspace(0.4, 4.2, 13)  # cycles/mm


def real_cube() -> np.ndarray | None:
    """A piece of a real distal radius, if the files are there."""
    return read_scan(REAL).density[tuple(slice(n) for n in SIZE)] if REAL.exists() else None


def virtual_cubes(n: int) -> list[np.ndarray]:
    """Pieces of the same size from the trabecular middle of virtual radii of Tb.N near 0.95, as the real one has."""
    cubes = []
    for number, woman in enumerate(draw_women(n, seed=3).to_dict("records")):
        like = woman | {"radius Tb.N": 0.95, "radius Tb.Th": 0.21, "radius q": 0.63, "radius Tb.BV/TV": 0.126}
        scan = draw_scan(like, site="wrist", side="right", voxel_mm=VOXEL, slices=SIZE[0], seed=number)
        bone = find_bones(scan)["radius"]
        middle = [int(m) for m in np.argwhere(bone.trabecular[SIZE[0] // 2]).mean(axis=0)]
        rows, columns = (slice(m - size // 2, m - size // 2 + size) for m, size in zip(middle, SIZE[1:], strict=True))
        cubes.append(bone.density[:, rows, columns])
    return cubes


def spectrum(cube: np.ndarray) -> np.ndarray:
    """Power in bands of spatial frequency, of a windowed cube."""
    window = np.einsum("i,j,k->ijk", *(np.hanning(n) for n in cube.shape))
    power = np.abs(np.fft.fftn((cube - cube.mean()) * window)) ** 2 / (window**2).sum()
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n, VOXEL) for n in cube.shape), indexing="ij")))
    return np.array([power[(k >= low) & (k < high)].mean() for low, high in itertools.pairwise(BANDS)])


def crossings(cube: np.ndarray) -> list[float]:
    """Surfaces of bone crossed by a mm along z, y and x."""
    from scipy import ndimage

    bone = ndimage.gaussian_filter(cube, 0.8, radius=1) > 320
    return [float(np.mean(np.diff(bone.astype(int), axis=axis) != 0) / VOXEL) for axis in range(3)]


def draw(real: np.ndarray, virtual: list[np.ndarray], path: Path) -> None:
    """Slices side by side in one window, and the spectra."""
    figure, grid = plt.subplots(1, 4, figsize=(16, 3.4), layout="constrained")
    for axes, cube, name in zip(grid, [real, *virtual[:2]], ["real radius", "virtual", "virtual"], strict=False):
        axes.imshow(cube[SIZE[0] // 2], cmap="gray", vmin=-200, vmax=900)
        axes.set_title(name)
        axes.set_axis_off()
    middle = np.sqrt(BANDS[1:] * BANDS[:-1])
    for cube in virtual:
        grid[3].loglog(middle, spectrum(cube), color="#999999", linewidth=0.8)
    grid[3].loglog(middle, spectrum(real), color="#0072B2", linewidth=2)
    grid[3].set(xlabel="spatial frequency (1/mm)", ylabel="power", title="blue: real; grey: virtual")
    figure.savefig(path, dpi=110)


def montage(path: Path) -> None:
    """Twelve women a bone, middle slices in one window."""
    figure, grid = plt.subplots(8, 6, figsize=(18, 24), layout="constrained")
    women = draw_women(12, seed=12).to_dict("records")
    for column, woman in enumerate(women):
        for j, (site, bones) in enumerate(SITES.items()):
            found = find_bones(draw_scan(woman, site=site, side="right", voxel_mm=VOXEL, slices=6, seed=12))
            for i, bone in enumerate(bones):
                axes = grid[4 * j + 2 * i + column // 6, column % 6]
                axes.imshow(found[bone].density[3], cmap="gray", vmin=-200, vmax=1200)
                axes.set_title(bone, fontsize=8)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.savefig(path, dpi=60)
