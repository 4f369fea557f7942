"""A picture for each index and each kind of texture: what is measured, on one virtual radius.

The masks, spheres and thresholds come from the functions that measure, so that a picture shows what the code does. Pictures
are drawn when the pages are built, and again only when that code has changed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import deepqct as dq
from deepqct.bones import failure_load, indices, micro_fe, planes, texture
from deepqct.reach import code_hash

VOXEL_MM, SLICES, SEED = 0.0607, 16, 3
FILL, SECOND = "#E69F00", "#56B4E9"
_CODE = (
    "from deepqct.bones import indices, micro_fe, planes, strain_energy, texture, find_bones\n"
    "from deepqct.plots import strength\nfrom deepqct.virtual import draw_scan\n"
)
# Features of texture whose names begin alike are one picture.
KINDS = ("Band", "Uneven", "Lac", "Run", "Long", "Lean", "Vario", "Q", "Sides")


def file_name(name: str) -> str:
    """The file of a picture: the index without signs that a path may not hold.

    Parameters
    ----------
    name : str
        An index or a kind of texture, such as ``Tb.BV/TV``.
    """
    kind = "index" if name in (*dq.terms.UNITS, *dq.terms.STRENGTH_UNITS, *dq.terms.FALL_UNITS) else "texture"
    return f"{kind}_{name.replace('/', '-').replace('.', '-')}.png"


def draw_all(folder: Path) -> None:
    """Draw every picture into a folder, unless the same code drew them there before.

    Parameters
    ----------
    folder : Path
        Receives the PNG files, and ``code.txt`` with the hash of the code that drew them.
    """
    note = folder / "code.txt"
    made_by = code_hash(_CODE + Path(__file__).read_text(encoding="utf-8"))
    if note.exists() and note.read_text(encoding="utf-8") == made_by:
        return
    folder.mkdir(parents=True, exist_ok=True)
    woman = dq.virtual.draw_women(1, scenario="literature", seed=SEED).iloc[0]
    scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=VOXEL_MM, slices=SLICES, seed=SEED)
    bone = dq.find_bones(scan)["radius"]
    for name, panel in {**index_panels(bone), **texture_panels(bone)}.items():
        figure, axes = plt.subplots(figsize=(2.6, 1.8))
        panel(axes)
        _save(figure, folder / file_name(name))
    scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.1, slices=60, seed=SEED)
    higher = dq.find_bones(scan)["radius"]
    _save(dq.plots.strain_energy(higher, dq.bones.strain_energy(higher))[0].figure, folder / "strain_energy.png")
    note.write_text(made_by, encoding="utf-8")


def _save(figure: Any, path: Path) -> None:
    """Write a figure as a small PNG, and close it."""
    with BytesIO() as drawn:
        figure.savefig(drawn, dpi=130, bbox_inches="tight", pad_inches=0.02)
        Image.open(drawn).convert("RGB").quantize(96).save(path, optimize=True)
    plt.close(figure)


def index_panels(bone: Any) -> dict[str, Any]:
    """What draws the picture of each index, by its symbol.

    Parameters
    ----------
    bone : Bone
        As `find_bones` cuts it out.
    """
    trabeculae, solid, pores = indices.tissue_of(bone)
    z = int(pores.sum(axis=(1, 2)).argmax())
    depth = planes.distance(~bone.trabecular, pixel_mm=bone.voxel_mm[1:])[z]
    inside = bone.trabecular[z]
    outer = inside & (depth <= np.quantile(depth[inside], indices.OUTER_SHARE))
    voxel = {"voxel_mm": bone.voxel_mm}
    spheres = dq.local_thickness(trabeculae, **voxel)[z]
    gaps = dq.local_thickness(bone.trabecular & ~trabeculae, **voxel)[z]
    apart = dq.bones.axis_spacing(trabeculae, domain=bone.trabecular, **voxel)[z]
    thick = dq.local_thickness(bone.cortical, **voxel)[z]
    holes = dq.local_thickness(pores, **voxel)[z]

    def region(*masks: NDArray[np.bool_], near: NDArray[np.bool_] | None = None) -> Any:
        return lambda axes: _regions(axes, bone, z, masks, near=near)

    def lengths(values: NDArray[np.float32], *, near: NDArray[np.bool_] | None = None) -> Any:
        return lambda axes: _lengths(axes, bone, z, values, near=near)

    loaded = micro_fe.solve((trabeculae | solid) * failure_load.MODULUS_MPA["II"], **voxel)

    def strains(axes: Axes) -> None:
        _field(axes, bone, z, np.where(loaded.effective_strain[z] > 0, loaded.effective_strain[z], np.nan), "viridis")

    def stresses(at: int) -> Any:
        stress = np.where(loaded.effective_strain[at] > 0, -loaded.axial_stress[at], np.nan)
        return lambda axes: _field(axes, bone, at, stress, "viridis")

    total, cortex = bone.total[z], bone.cortical[z]
    rim = total & ~ndimage.binary_erosion(total, iterations=3)
    return {
        "Tt.vBMD": region(total), "Tb.vBMD": region(inside), "Ct.vBMD": region(cortex),
        "Tb.Meta.vBMD": region(outer), "Tb.Inn.vBMD": region(inside & ~outer),
        "Tt.Ar": region(total), "Ct.Ar": region(cortex), "Tb.Ar": region(inside), "Ct.Pm": region(rim),
        "Ct.Th": lengths(thick),
        "Ct.Po": region(pores[z], solid[z], near=pores[z]), "Ct.Po.Dm": lengths(holes, near=pores[z]),
        "Tb.BV/TV": region(trabeculae[z], inside & ~trabeculae[z]),
        "Tb.N": lengths(apart), "Tb.Th": lengths(spheres), "Tb.Sp": lengths(gaps), "Tb.1/N.SD": lengths(apart),
        "Stiffness": strains, "F.Load": strains, "E.App": strains, "Load/Strength": strains,
        "Ct.Load.Dist": stresses(-1), "Ct.Load.Mid": stresses(len(bone.total) // 2), "Ct.Load.Prox": stresses(0),
    }  # fmt: skip


def texture_panels(bone: Any) -> dict[str, Any]:
    """What draws the picture of each kind of texture feature.

    Parameters
    ----------
    bone : Bone
        As `find_bones` cuts it out.
    """
    z = len(bone.density) // 2
    pixel = bone.voxel_mm[1]
    inside, density = bone.trabecular[z], bone.density[z]
    fine, coarse = (ndimage.gaussian_filter(density, s / pixel) for s in texture.SCALES_MM[1:3])
    band = np.where(inside, fine - coarse, np.nan)
    smooth = ndimage.gaussian_filter(density, texture.SCALES_MM[0] / pixel)
    solid = inside & (smooth > indices.TRABECULAR_BONE)

    def field(values: NDArray[np.floating], cmap: str = "RdBu_r") -> Any:
        return lambda axes: _field(axes, bone, z, values, cmap)

    def boxes(edge_mm: float) -> Any:
        edge = max(round(edge_mm / pixel), 1)
        return field(_box_means(solid, inside, edge), "viridis")

    energy = _box_means(np.nan_to_num(band) ** 2, inside, round(texture.TILE_MM / pixel))
    lag = round(texture.LAGS_MM[1] / pixel)
    step = np.full(density.shape, np.nan)
    step[:, lag:] = np.where(inside[:, lag:] & inside[:, :-lag], np.abs(smooth[:, lag:] - smooth[:, :-lag]), np.nan)
    return {
        "Band": field(band), "Uneven": field(np.sqrt(energy), "viridis"), "Lac": boxes(texture.BOXES_MM[2]),
        "Run": lambda axes: _runs(axes, bone, z, solid), "Long": lambda axes: _runs(axes, bone, z, solid),
        "Lean": lambda axes: _runs(axes, bone, z, solid, both=True), "Vario": field(step, "viridis"),
        "Q": lambda axes: _quantiles(axes, smooth[inside]), "Sides": lambda axes: _sectors(axes, bone, z),
    }  # fmt: skip


def _window(bone: Any, z: int) -> tuple[slice, slice]:
    """The box of the bone in one slice, with a small rim."""
    rows, columns = (np.flatnonzero(bone.total[z].any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - 6, 0), rows[-1] + 7), slice(max(columns[0] - 6, 0), columns[-1] + 7)


def _gray(axes: Axes, bone: Any, z: int) -> tuple[slice, slice]:
    """The slice in grey, cut to the bone, with a bar of 5 mm."""
    window = _window(bone, z)
    axes.imshow(bone.density[z][window], cmap="gray", vmin=-300, vmax=1300)
    axes.set_axis_off()
    high = bone.density[z][window].shape[0]
    axes.plot([3, 3 + 5 / bone.voxel_mm[2]], [high - 4, high - 4], color="white", lw=2)
    axes.text(3, high - 8, "5 mm", color="white", fontsize=6, va="bottom")
    return window


def _regions(
    axes: Axes, bone: Any, z: int, masks: tuple[NDArray[np.bool_], ...], *, near: NDArray[np.bool_] | None
) -> None:
    """The voxels that count, in colour over the slice; `near` cuts the picture to a place where there are some."""
    window = _gray(axes, bone, z)
    for mask, colour in zip(masks, (FILL, SECOND), strict=False):
        layer = np.zeros((*mask[window].shape, 4))
        layer[mask[window]] = (*mpl.colors.to_rgb(colour), 0.6)
        axes.imshow(layer)
    _cut_to(axes, near, window)


def _cut_to(axes: Axes, near: NDArray[np.bool_] | None, window: tuple[slice, slice]) -> None:
    """Show only what lies around the largest piece of a mask."""
    if near is not None and near.any():
        labels, _ = ndimage.label(near[window])
        y, x = ndimage.center_of_mass(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1)
        axes.set_xlim(x - 35, x + 35)
        axes.set_ylim(y + 24, y - 24)


def _lengths(axes: Axes, bone: Any, z: int, values: NDArray[np.float32], *, near: NDArray[np.bool_] | None) -> None:
    """Diameters of spheres in mm; `near` cuts the picture to a place where there are some."""
    window = _gray(axes, bone, z)
    shown = np.where(values[window] > 0, values[window], np.nan)
    image = axes.imshow(shown, cmap="viridis", vmin=0)
    _cut_to(axes, near, window)
    bar = plt.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("mm", fontsize=6)


def _field(axes: Axes, bone: Any, z: int, values: NDArray[np.floating], cmap: str) -> None:
    """A map over the slice."""
    window = _gray(axes, bone, z)
    low, high = np.nanpercentile(values, [2, 98])
    if cmap == "RdBu_r":
        low, high = -max(-low, high), max(-low, high)
    axes.imshow(values[window], cmap=cmap, vmin=low, vmax=high)


def _box_means(values: NDArray[Any], inside: NDArray[np.bool_], edge: int) -> NDArray[np.float64]:
    """The mean of each box over the pixels inside, on those pixels; boxes that lie less than half inside are left out."""
    out = np.full(inside.shape, np.nan)
    for y in range(0, inside.shape[0], edge):
        for x in range(0, inside.shape[1], edge):
            box = (slice(y, y + edge), slice(x, x + edge))
            if inside[box].mean() >= 0.5:
                out[box] = np.where(inside[box], values[box][inside[box]].mean(), np.nan)
    return out


def _runs(axes: Axes, bone: Any, z: int, solid: NDArray[np.bool_], *, both: bool = False) -> None:
    """Some lines through the slice, coloured where they run through bone."""
    window = _gray(axes, bone, z)
    cut, inside = solid[window], bone.trabecular[z][window]
    for fraction in (0.3, 0.5, 0.7):
        line = int(fraction * len(cut))
        _line(axes, cut[line], inside[line], line, along_x=True)
        if both:
            line = int(fraction * cut.shape[1])
            _line(axes, cut[:, line], inside[:, line], line, along_x=False)


def _line(axes: Axes, bone: NDArray[np.bool_], inside: NDArray[np.bool_], at: int, *, along_x: bool) -> None:
    """One line: orange in bone, blue in marrow."""
    places = np.arange(len(bone))
    for mask, colour in ((inside & ~bone, SECOND), (bone, FILL)):
        shown = np.where(mask, at, np.nan)
        axes.plot(*((places, shown) if along_x else (shown, places)), color=colour, lw=1.8)


def _quantiles(axes: Axes, values: NDArray[np.float32]) -> None:
    """The histogram of density with its quantiles."""
    axes.hist(values, bins=40, color="#BBBBBB")
    for q in texture.QUANTILES:
        axes.axvline(np.quantile(values, q), color=FILL, lw=1)
    axes.set_xlabel("mgHA/cm³", fontsize=7)
    axes.set_yticks([])
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _sectors(axes: Axes, bone: Any, z: int) -> None:
    """The sectors of the cortex."""
    window = _gray(axes, bone, z)
    cortex = bone.cortical[z][window]
    y, x = (float(m) for m in np.argwhere(bone.total[z][window]).mean(axis=0))
    rows, columns = np.nonzero(cortex)
    sector = ((np.arctan2(rows - y, columns - x) / (2 * np.pi) + 0.5) * texture.SECTORS).astype(int) % texture.SECTORS
    layer = np.full(cortex.shape, np.nan)
    layer[rows, columns] = sector % 2
    axes.imshow(layer, cmap=mpl.colors.ListedColormap([FILL, SECOND]), alpha=0.7)
