"""Figures of a bone under load: where it stores the energy of its strain."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepqct.bones.find import Bone
from deepqct.plots.style import ON_DARK, styled

_MOST_SECTORS = 120  # of the outline, 3° each; fewer where voxels are wider than that; our choice
_COLOURS = "plasma"
_LEAST = 0.02  # of the brightest energy; what is less is drawn as this


@styled
def strain_energy(bone: Bone, energy: NDArray[np.floating]) -> NDArray[Any]:
    """Draw the strain energy density of a bone in three planes through its middle, and of its cortex along the outline.

    Parameters
    ----------
    bone : Bone
        The bone that was loaded.
    energy : (z, y, x), MPa
        Its strain energy density, as `deepqct.bones.strain_energy` gives it; 0 where there is no bone.

    Returns
    -------
    array of Axes
        The axial, coronal and sagittal plane, and the cortex unrolled: directions from the middle of the bone along x,
        height along z, the mean over the depth of the cortex as colour.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> radius = dq.find_bones(scan)["radius"]
    >>> axes = dq.plots.strain_energy(radius, dq.bones.strain_energy(radius))
    >>> [panel.get_title() for panel in axes]
    ['axial', 'coronal', 'sagittal', 'cortex along the outline']
    """
    middle = [int(np.median(places)) if len(places) else n // 2 for places, n in
              zip(np.nonzero(bone.total), bone.total.shape, strict=True)]  # fmt: skip
    loaded = energy[energy > 0]
    top = float(np.percentile(loaded, 99)) if loaded.size else 1.0
    least = _LEAST * top
    norm = LogNorm(least, top)
    figure, grid = plt.subplot_mosaic(
        [["axial", "coronal"], ["axial", "sagittal"], ["outline", "outline"]],
        figsize=(9, 6.4),
        height_ratios=[1, 1, 1.1],
    )
    names = ("z", "y", "x")
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        down, across = (a for a in range(3) if a != axis)
        place: tuple[Any, ...] = tuple(middle[a] if a == axis else slice(None) for a in range(3))
        grey, values, outline = bone.density[place], energy[place], bone.total[place]
        extent = (0, grey.shape[1] * bone.voxel_mm[across], grey.shape[0] * bone.voxel_mm[down], 0)
        axes = grid[name]
        axes.imshow(grey, cmap="gray", vmin=-400, vmax=1400, extent=extent)
        shown = np.ma.masked_where(values <= 0, np.maximum(values, least))
        image = axes.imshow(shown, cmap=_COLOURS, norm=norm, extent=extent, interpolation="nearest")
        if outline.any() and min(outline.shape) > 1:
            x, y = (
                (np.arange(n) + 0.5) * bone.voxel_mm[a]
                for n, a in zip(outline.shape[::-1], (across, down), strict=True)
            )
            axes.contour(x, y, outline.astype(float), levels=[0.5], colors=ON_DARK[1], linewidths=0.8)
        axes.set(title=name, xlabel=f"{names[across]} (mm)", ylabel=f"{names[down]} (mm)")
        axes.yaxis.set_major_locator(MaxNLocator(6 if name == "axial" else 2))  # a stack is low
    around = _along_the_outline(bone, energy)
    height = len(bone.total) * bone.voxel_mm[0]
    axes = grid["outline"]
    shown = np.ma.masked_invalid(np.maximum(around, least))
    axes.imshow(shown, cmap=_COLOURS, norm=norm, extent=(-180, 180, height, 0), aspect="auto", interpolation="nearest")
    axes.set(
        title="cortex along the outline", xlabel="direction from the middle (°; 0 along x, 90 along y)", ylabel="z (mm)"
    )
    axes.set_xticks(range(-180, 181, 45))
    bar = figure.colorbar(image, ax=list(grid.values()), extend="both", aspect=40, pad=0.02)
    bar.set_label("strain energy density at the failure load (MPa)")
    return np.array([grid[name] for name in ("axial", "coronal", "sagittal", "outline")])


def _along_the_outline(bone: Bone, energy: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean energy of the cortex's bone by slice and direction (z, sectors); NaN where it has none."""
    across = np.sqrt(bone.total.sum(axis=(1, 2)).mean() * 4 / np.pi)  # voxels, of a disc as large as the bone
    sectors = int(np.clip(np.pi * across / 3, 8, _MOST_SECTORS))
    found = np.full((len(bone.total), sectors), np.nan)
    for z, (cortex, total) in enumerate(zip(bone.cortical, bone.total, strict=True)):
        y, x = np.nonzero(cortex & (energy[z] > 0))
        if not len(y):
            continue
        rows, columns = np.nonzero(total)
        up, along = (y - rows.mean()) * bone.voxel_mm[1], (x - columns.mean()) * bone.voxel_mm[2]
        sector = ((np.arctan2(up, along) / (2 * np.pi) + 0.5) * sectors).astype(int) % sectors
        n = np.bincount(sector, minlength=sectors)
        total_energy = np.bincount(sector, weights=energy[z][y, x], minlength=sectors)
        found[z] = np.divide(total_energy, n, out=np.full(sectors, np.nan), where=n > 0)
    return found
