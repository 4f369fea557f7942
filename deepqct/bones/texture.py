"""Texture of a bone: how density varies from place to place within its compartments, at several scales.

The features were chosen from the literature of trabecular texture before any model saw them, not by what predicts: energy
in bands of scale and its unevenness (Unser 1995), lacunarity (Dougherty & Henebry 2002), run lengths (Galloway 1975), the
slope of the variogram, on which the trabecular bone score rests (Pothuaud 2008), quantiles of density (the grey-level
histogram), and how much runs and variogram differ between the two directions of the slice (after the mean intercept
lengths of Harrigan & Mann 1984). The last were added when the virtual bones were given a direction. Scales are in mm, so
that one table holds for several voxel sizes; which scales, and what stands for the cortex, are our choice.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone
from deepqct.bones.indices import CORTICAL_BONE, TRABECULAR_BONE
from deepqct.work import each_slice

Field = NDArray[np.float32]

SCALES_MM = (0.12, 0.24, 0.48, 0.96, 1.92)  # standard deviations of the Gaussians between which the bands lie
BOXES_MM = (0.5, 1.0, 2.0, 4.0)  # edges of the boxes of lacunarity
TILE_MM = 2.0  # edge of the tiles over which the energy of a band is uneven
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LAGS_MM = (0.25, 0.5, 1.0)
SECTORS = 12  # of the cortex, seen from the middle of the bone


def measure_texture(bone: Bone) -> pd.Series:
    """Measure the texture of one bone.

    Parameters
    ----------
    bone : Bone
        As `find_bones` cuts it out.

    Returns
    -------
    pandas.Series
        By name; `texture_table` says what each is. NaN where there is nothing to measure.

    References
    ----------
    Unser M (1995), IEEE Trans Image Process 4:1549. Dougherty G, Henebry GM (2002), Med Eng Phys 24:129. Galloway MM
    (1975), Comput Graph Image Process 4:172. Pothuaud L et al. (2008), Bone 42:775. Harrigan TP, Mann RW (1984), J Mater
    Sci 19:761.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> features = dq.bones.measure_texture(dq.find_bones(scan)["radius"])
    >>> len(features), bool(features["Tb.Lac.1"] < features["Tb.Lac.0.5"])
    (37, True)
    """
    bone = _coarse(bone)
    pixel = bone.voxel_mm[1]
    smooth = np.stack(each_slice(lambda plane: ndimage.gaussian_filter(plane, SCALES_MM[0] / pixel), bone.density))
    solid = bone.trabecular & (smooth > TRABECULAR_BONE)
    values = {
        **{f"Tb.{name}": value for name, value in _bands(bone.density, bone.trabecular, pixel).items()},
        **_lacunarity(solid, bone.trabecular, bone.voxel_mm),
        **_runs(solid, bone.trabecular, pixel),
        **_variogram(smooth, bone.trabecular, pixel),
        **_quantiles("Tb", smooth[bone.trabecular]),
        **{f"Ct.{name}": value for name, value in _bands(bone.density, bone.cortical, pixel, most=2).items()},
        **_quantiles("Ct", smooth[bone.cortical]),
        **_sides(smooth, bone),
    }
    return pd.Series(values, name=bone.name, dtype=float)


def _coarse(bone: Bone) -> Bone:
    """The bone alone, on a grid of voxels of about the smallest scale: a fine scan then tells what a coarse one does."""
    for box in ndimage.find_objects(bone.total.astype(np.uint8)):  # the one box of the bone, if there is a bone
        masks = {name: getattr(bone, name)[box] for name in ("total", "cortical", "trabecular")}
        bone = replace(bone, density=bone.density[box], **masks)
    many = [max(round(SCALES_MM[0] / v), 1) for v in bone.voxel_mm]
    whole = tuple(slice(0, n // k * k) for n, k in zip(bone.density.shape, many, strict=True))
    blocks = [number for n, k in zip(bone.density.shape, many, strict=True) for number in (n // k, k)]

    def pooled(field: NDArray[Any]) -> Field:
        return np.asarray(field[whole].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32))

    total, trabecular = pooled(bone.total) >= 0.5, pooled(bone.trabecular) >= 0.5
    return replace(
        bone,
        density=pooled(bone.density),
        voxel_mm=(bone.voxel_mm[0] * many[0], bone.voxel_mm[1] * many[1], bone.voxel_mm[2] * many[2]),
        total=total,
        trabecular=trabecular & total,
        cortical=total & ~trabecular,
    )


def _bands(density: Field, mask: NDArray[np.bool_], pixel: float, *, most: int = len(SCALES_MM)) -> dict[str, float]:
    """The energy between each two scales, as the logarithm of its SD, and how uneven it is from tile to tile.

    Larger scales are taken from pooled slices. What varies more slowly than the largest scale is in no band.
    """
    weight = mask.astype(np.float32)
    held, found = density * weight, dict[str, float]()
    finer: Field | None = None
    for sigma in SCALES_MM[: most + 1]:
        while pixel <= 0.51 * sigma:
            held, weight, pixel = _pooled(held), _pooled(weight), 2 * pixel
            finer = None if finer is None else _pooled(finer)
        mean = _blurred(held, weight, sigma / pixel)
        if finer is not None:
            band = np.where(weight > 0.5, finer - mean, 0)
            size = float((band**2).sum() / max((weight > 0.5).sum(), 1))
            found[f"Band.{sigma / 2:g}"] = 0.5 * float(np.log10(size)) if size > 0 else float("nan")
            if sigma <= TILE_MM / 2:  # larger waves do not fit into a tile
                found[f"Uneven.{sigma / 2:g}"] = _spread(band**2, weight > 0.5, max(round(TILE_MM / pixel), 1))
        finer = mean
    return found


def _pooled(field: Field) -> Field:
    """Means of two by two pixels of each slice; an odd last row or column is left out."""
    z, y, x = field.shape
    return field[:, : y // 2 * 2, : x // 2 * 2].reshape(z, y // 2, 2, x // 2, 2).mean(axis=(2, 4))


def _blurred(held: Field, weight: Field, sigma: float) -> Field:
    """Mean of what is held, by a Gaussian in the slice that sees the compartment alone; 0 where it sees nothing."""

    def blur(planes: tuple[Field, Field]) -> Field:
        over, under = (ndimage.gaussian_filter(plane, sigma, truncate=3.0) for plane in planes)
        return np.asarray(np.divide(over, under, out=np.zeros_like(over), where=under > 1e-3))

    return np.stack(each_slice(blur, zip(held, weight, strict=True)))


def _spread(energy: Field, inside: NDArray[np.bool_], tile: int) -> float:
    """Coefficient of variation of the mean energy of tiles that lie at least half inside, each through all slices."""
    rows, columns = (_starts(n, tile) for n in energy.shape[1:])

    def tiles(field: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.add.reduceat(np.add.reduceat(field.sum(axis=0), rows, axis=0), columns, axis=1)

    count = tiles(inside.astype(np.float64))
    full = count >= 0.5 * tile * tile * len(energy)
    if full.sum() < 3:
        return float("nan")
    mean = tiles(np.where(inside, energy, 0).astype(np.float64))[full] / count[full]
    return float(mean.std() / mean.mean()) if mean.mean() > 0 else float("nan")


def _lacunarity(
    solid: NDArray[np.bool_], mask: NDArray[np.bool_], voxel_mm: tuple[float, float, float]
) -> dict[str, float]:
    """Lacunarity of trabecular bone less one: the squared coefficient of variation of its share in boxes."""
    found = {}
    for edge in BOXES_MM:
        starts = [_starts(n, max(round(edge / v), 1)) for n, v in zip(mask.shape, voxel_mm, strict=True)]
        box = np.prod([min(max(round(edge / v), 1), n) for n, v in zip(mask.shape, voxel_mm, strict=True)])
        bone, space = (_boxes(field, starts) for field in (solid, mask))
        full = space >= 0.5 * box
        share = bone[full] / space[full]
        found[f"Tb.Lac.{edge:g}"] = float(share.var() / share.mean() ** 2) if full.sum() > 2 and share.any() else np.nan
    return found


def _starts(n: int, edge: int) -> NDArray[np.intp]:
    """Where boxes of an edge begin, the same from both ends, so that a mirrored bone has the same boxes."""
    return np.unique(np.concatenate([[0], np.arange(n % edge // 2, n, edge)])).astype(np.intp)


def _boxes(mask: NDArray[np.bool_], starts: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """How many voxels of a mask lie in each box."""
    count = mask.astype(np.float64)
    for axis, first in enumerate(starts):
        count = np.add.reduceat(count, first, axis=axis)
    return count


def _runs(solid: NDArray[np.bool_], mask: NDArray[np.bool_], pixel: float) -> dict[str, float]:
    """Logarithms of the mean run of bone and of marrow in the slice, in mm, of the long runs' weight, and of x over y."""
    found = {}
    for name, phase in (("bone", solid), ("marrow", mask & ~solid)):
        along_x, along_y = (_lengths(field) * pixel for field in (phase, np.swapaxes(phase, 1, 2)))
        lengths = np.concatenate([along_x, along_y])
        found[f"Tb.Run.{name}"] = float(np.log(lengths.mean())) if lengths.size else np.nan
        weight = (lengths**2).mean() / lengths.mean() ** 2 if lengths.size else np.nan
        found[f"Tb.Long.{name}"] = float(np.log(weight))
        ways = along_x.size and along_y.size
        found[f"Tb.Lean.{name}"] = float(np.log(along_x.mean() / along_y.mean())) if ways else np.nan
    return found


def _lengths(phase: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lengths, in pixels, of the runs of True along the last axis."""
    padded = np.pad(phase, ((0, 0), (0, 0), (1, 1))).ravel()
    change = np.flatnonzero(np.diff(padded))
    return (change[1::2] - change[::2]).astype(np.float64)


def _variogram(density: Field, mask: NDArray[np.bool_], pixel: float) -> dict[str, float]:
    """The slope of the logarithm of the variogram over the logarithm of the lag, in the slice, and how it leans."""
    points, ways = [], []
    for lag_mm in LAGS_MM:
        lag = max(round(lag_mm / pixel), 1)
        squares = []
        for axis in (1, 2):
            one, other = (np.moveaxis(density, axis, 0)[s] for s in (slice(lag, None), slice(None, -lag)))
            both = np.moveaxis(mask, axis, 0)[lag:] & np.moveaxis(mask, axis, 0)[:-lag]
            squares.append((one[both] - other[both]) ** 2)
        both_ways = np.concatenate(squares)
        y, x = (way.mean(dtype=np.float64) if way.size else np.nan for way in squares)
        ways.append(float(np.log(y / x)) if x > 0 and y > 0 else np.nan)
        points.append((lag * pixel, both_ways.mean(dtype=np.float64) if both_ways.size else np.nan))
    lags, values = np.log(np.array(points)).T
    known = len(set(lags)) > 1 and np.isfinite(values).all()
    return {
        "Tb.Vario": float(np.polyfit(lags, values, 1)[0]) if known else np.nan,
        **{f"Tb.Lean.{lag:g}": way for lag, way in zip(LAGS_MM, ways, strict=True)},
    }


def _quantiles(compartment: str, density: Field) -> dict[str, float]:
    """Quantiles of the density of a compartment, in mgHA/cm³."""
    values = np.quantile(density, QUANTILES) if density.size else np.full(len(QUANTILES), np.nan)
    return {f"{compartment}.Q{100 * q:g}": float(value) for q, value in zip(QUANTILES, values, strict=True)}


def _sides(density: Field, bone: Bone) -> dict[str, float]:
    """How the cortex differs from side to side: coefficients of variation, over sectors, of its area and its pores."""
    middle = [float(m) for m in np.argwhere(bone.total.any(axis=0)).mean(axis=0)] if bone.total.any() else [0.0, 0.0]
    y, x = np.nonzero(bone.cortical.any(axis=0))
    sector = ((np.arctan2(y - middle[0], x - middle[1]) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    area = np.bincount(sector, bone.cortical[:, y, x].sum(axis=0), SECTORS)
    dark = np.bincount(sector, (bone.cortical & (density < CORTICAL_BONE))[:, y, x].sum(axis=0), SECTORS)
    if (area == 0).any():
        return {"Ct.Sides.area": np.nan, "Ct.Sides.dark": np.nan}
    return {
        "Ct.Sides.area": float(area.std() / area.mean()),
        "Ct.Sides.dark": float((dark / area).std() / max((dark / area).mean(), 1e-3)),
    }


def texture_table() -> pd.DataFrame:
    """List every texture feature with its definition and its source.

    Returns
    -------
    DataFrame
        One row a feature, with the columns feature, definition and source.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.bones.texture_table().set_index("feature").loc["Tb.Vario", "source"]
    'Pothuaud 2008'
    """
    rows = []
    for compartment, scales in (("Tb", SCALES_MM), ("Ct", SCALES_MM[:3])):
        for fine, coarse in itertools.pairwise(scales):
            between = f"density between Gaussians of {fine:g} and {coarse:g} mm"
            uneven = f"unevenness over tiles of {TILE_MM:g} mm of the energy of {between}"
            rows.append((f"{compartment}.Band.{fine:g}", f"log10 of the SD of {between}", "Unser 1995"))
            if coarse <= TILE_MM / 2:
                rows.append((f"{compartment}.Uneven.{fine:g}", uneven, "Unser 1995; tiles: ours"))
        rows += [
            (f"{compartment}.Q{100 * q:g}", f"quantile {q:g} of density", "grey-level histogram") for q in QUANTILES
        ]
    rows += [
        (f"Tb.Lac.{edge:g}", f"lacunarity of bone in boxes of {edge:g} mm, less one", "Dougherty 2002")
        for edge in BOXES_MM
    ]
    for phase in ("bone", "marrow"):
        rows.append((f"Tb.Run.{phase}", f"log of the mean run of {phase} in the slice, in mm", "Galloway 1975"))
        rows.append(
            (f"Tb.Long.{phase}", f"log of the mean square over the squared mean of runs of {phase}", "Galloway 1975")
        )
        lean = f"log of the mean run of {phase} along x of the stack over that along y"
        rows.append((f"Tb.Lean.{phase}", lean, "Harrigan 1984"))
    rows.append(("Tb.Vario", "slope of the log variogram over 0.25 to 1 mm, in the slice", "Pothuaud 2008"))
    rows += [
        (
            f"Tb.Lean.{lag:g}",
            f"log of the variogram at {lag:g} mm along y of the stack over that along x",
            "Harrigan 1984",
        )
        for lag in LAGS_MM
    ]
    sides = f"coefficient of variation over {SECTORS} sectors of"
    rows.append(("Ct.Sides.area", f"{sides} cortical area", "ours"))
    rows.append(("Ct.Sides.dark", f"{sides} the share of cortex under {CORTICAL_BONE:g} mgHA/cm³", "ours"))
    return pd.DataFrame(rows, columns=["feature", "definition", "source"])
