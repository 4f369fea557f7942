"""The standard HR-pQCT index set of one bone, in the field's symbols and units.

Densities are means of the calibrated, unfiltered voxels of a compartment; areas are means over the slices; bone is
segmented after a light Gaussian; thickness, spacing and number come from spheres (thickness.py).
"""

from __future__ import annotations

import contourpy
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones import planes
from deepqct.bones.find import Bone
from deepqct.bones.thickness import axis_spacing, local_thickness, medial_spheres
from deepqct.terms import FALL_UNITS, STRENGTH_UNITS, UNITS
from deepqct.work import each_slice

CONVENTIONS = {
    "vBMD": "mean of all calibrated, unfiltered voxels of the compartment",
    "Tb.Meta.vBMD": "outer 40 % of the trabecular area of each slice, by depth",
    "Tb.Inn.vBMD": "inner 60 % of the trabecular area of each slice, by depth",
    "Ar": "mean over the slices",
    "Ct.Pm": "length of the outer contour of the bone, mean over the slices",
    "Ct.Th": "maximal spheres in the cortical compartment, pores filled",
    "Ct.Po": "pores / (pores + cortical bone); bone over 450 mgHA/cm³ after a Gaussian of 0.8 voxel within 1 voxel, "
    "rims of pores before it",
    "Ct.Po.Dm": "maximal spheres in the pores; empty where there is no pore",
    "Tb.BV/TV": "bone over 320 mgHA/cm³ after a Gaussian of 0.8 voxel within 1 voxel, pieces under 64 voxels left out",
    "Tb.N": "1 / mean distance between the mid-axes of trabecular bone",
    "Tb.Th": "maximal spheres in the bone within the trabecular compartment",
    "Tb.Sp": "maximal spheres in the space within the trabecular compartment",
    "Tb.1/N.SD": "SD of the distance between mid-axes",
}
STRENGTH_CONVENTIONS = {
    "Stiffness": "reaction over displacement in compression of 1 % between plates with friction; all voxels of bone of one "
    "modulus",
    "F.Load": "load at which 2 % of the bone have an effective strain above 0.007 (Pistoia 2002)",
    "E.App": "stiffness times height over the mean area within the outline",
    "Ct.Load.Dist": "share of the load that the cortical compartment carries in the last slice of the stack",
    "Ct.Load.Mid": "the same in the middle slice",
    "Ct.Load.Prox": "the same in the first slice",
    "Load/Strength": "load of a fall on the hand, 1.7 body weights, over F.Load; of the radius alone, where her weight is "
    "known",
}
DERIVED_CONVENTIONS = {
    "Tb.BV/TV": "Tb.vBMD / 1200 mgHA/cm³, as on the XtremeCT I",
    "Tb.Th": "BV/TV / Tb.N, as on the XtremeCT I",
    "Tb.Sp": "(1 − BV/TV) / Tb.N, as on the XtremeCT I",
}
# Burghardt 2010 and the XtremeCT II's protocol, as in Whittier 2020.
TRABECULAR_BONE, CORTICAL_BONE = 320.0, 450.0
SIGMA_VOXELS, SUPPORT_VOXELS = 0.8, 1
SMALLEST_PIECE_VOXELS = 64
SMALLEST_PORE_VOXELS = 5  # smaller ones are noise; our choice
OUTER_SHARE = 0.4
BONE_TISSUE = 1200.0


def measure(bone: Bone, *, derived: bool = False) -> pd.Series:
    """Measure the standard indices of one bone.

    Parameters
    ----------
    bone : Bone
        Density in mgHA/cm³ with its compartments.
    derived : bool
        True to derive Tb.BV/TV, Tb.Th and Tb.Sp from Tb.vBMD and Tb.N as the XtremeCT I does, to compare with old data.

    Returns
    -------
    pandas.Series
        By standard symbol; `convention_table` has the units and definitions. NaN where there is nothing to measure.

    References
    ----------
    Whittier DE et al. (2020), Osteoporos Int 31:1607. Bouxsein ML et al. (2010), J Bone Miner Res 25:1468. Burghardt
    AJ et al. (2010), J Bone Miner Res 25:983, for the pores.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> dq.measure(dq.find_bones(scan)["radius"])[["Tt.vBMD", "Tt.Ar", "Ct.Th"]].round(1).to_dict()
    {'Tt.vBMD': 273.0, 'Tt.Ar': 204.1, 'Ct.Th': 1.0}
    """
    trabeculae, solid, pores = tissue_of(bone)
    values = _densities(bone) | _areas(bone)
    values["Ct.Th"] = _mean_thickness(bone.cortical, bone.voxel_mm)
    values["Ct.Po"] = _share(pores.sum(), pores.sum() + solid.sum())
    values["Ct.Po.Dm"] = _mean_thickness(pores, bone.voxel_mm)
    values |= trabecular_indices(trabeculae, domain=bone.trabecular, voxel_mm=bone.voxel_mm)
    if derived:
        fraction, number = max(values["Tb.vBMD"], 0.0) / BONE_TISSUE, values["Tb.N"]
        values |= {"Tb.BV/TV": fraction, "Tb.Th": fraction / number, "Tb.Sp": (1 - fraction) / number}
    return pd.Series(values, index=list(UNITS), name=bone.name, dtype=float)


def tissue_of(bone: Bone) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell bone tissue from the space in it, as `measure` does.

    Parameters
    ----------
    bone : Bone
        Density in mgHA/cm³ with its compartments.

    Returns
    -------
    three (z, y, x) bool
        Trabecular bone, cortical bone, and the pores of the cortex.
    """
    smooth = ndimage.gaussian_filter(bone.density, SIGMA_VOXELS, radius=SUPPORT_VOXELS)
    trabeculae = _without_small((smooth > TRABECULAR_BONE) & bone.trabecular, SMALLEST_PIECE_VOXELS)
    solid = (smooth > CORTICAL_BONE) & bone.cortical
    del smooth
    pores = cortical_pores(bone.cortical & ~solid, cortical=bone.cortical)
    # The Gaussian keeps noise from making pores, and narrows small ones; their rims are taken from unfiltered voxels.
    pores |= _with_neighbours(pores) & bone.cortical & (bone.density < CORTICAL_BONE)
    return trabeculae, solid & ~pores, pores


def trabecular_indices(
    bone: NDArray[np.bool_], *, domain: NDArray[np.bool_], voxel_mm: tuple[float, float, float]
) -> dict[str, float]:
    """Measure Tb.BV/TV, Tb.N, Tb.Th, Tb.Sp and Tb.1/N.SD of segmented trabecular bone.

    Parameters
    ----------
    bone : (z, y, x) bool
        Trabecular bone; what lies outside of `domain` does not count.
    domain : (z, y, x) bool
        The trabecular compartment.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel; must be equal within 1 %.

    Returns
    -------
    dict of str to float
        By symbol: Tb.BV/TV without a unit, Tb.N in 1/mm, the others in mm; NaN where there is nothing to measure.
    """
    bone = bone & domain
    medial = medial_spheres(bone)
    apart = axis_spacing(bone, domain=domain, voxel_mm=voxel_mm, medial=medial)
    apart = apart[apart > 0]
    number = float(1 / apart.mean(dtype=np.float64)) if apart.size else np.nan
    spread = float(apart.std(dtype=np.float64)) if apart.size else np.nan
    del apart  # as large as a bone, and the spheres below need the room
    return {
        "Tb.BV/TV": _share(bone.sum(), domain.sum()),
        "Tb.N": number,
        "Tb.Th": _mean_thickness(bone, voxel_mm, medial=medial),
        "Tb.Sp": _mean_thickness(domain & ~bone, voxel_mm),
        "Tb.1/N.SD": spread,
    }


def cortical_pores(void: NDArray[np.bool_], *, cortical: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the pores of the cortex: dark places that bone encloses within a slice.

    Parameters
    ----------
    void : (z, y, x) bool
        Cortical voxels that are not bone.
    cortical : (z, y, x) bool
        The cortical compartment. A void that touches the marrow or the outside in its slice is no pore.

    Returns
    -------
    (z, y, x) bool
        True in the pores. Those that hang together over the slices count as one; pores under 5 voxels are left out.

    References
    ----------
    Burghardt AJ et al. (2010), J Bone Miner Res 25:983; simplified: no growing along a pore's axis into open voids.
    """

    def closed(slices: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        dark, shell = slices
        labels, voids = ndimage.label(dark)
        if not voids:
            return dark
        open_to = ndimage.binary_dilation(~shell) & dark
        is_open = np.zeros(voids + 1, bool)
        is_open[labels[open_to]] = True
        is_open[0] = True
        return np.asarray(~is_open[labels])

    return _without_small(np.stack(each_slice(closed, zip(void, cortical, strict=True))), SMALLEST_PORE_VOXELS)


def convention_table(*, derived: bool = False) -> pd.DataFrame:
    """List every index with its unit and how it is measured here.

    Parameters
    ----------
    derived : bool
        True for the definitions that `measure` follows with ``derived=True``.

    Returns
    -------
    DataFrame
        One row an index, with the columns index, unit and convention; those of micro-finite elements (`strength`) come
        last.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.bones.convention_table().set_index("index").loc["Ct.Th"].to_dict()
    {'unit': 'mm', 'convention': 'maximal spheres in the cortical compartment, pores filled'}
    """
    special = {**CONVENTIONS, **(DERIVED_CONVENTIONS if derived else {})}
    rows = [(symbol, unit, special.get(symbol) or special[symbol.partition(".")[2]]) for symbol, unit in UNITS.items()]
    rows += [(name, unit, STRENGTH_CONVENTIONS[name]) for name, unit in {**STRENGTH_UNITS, **FALL_UNITS}.items()]
    return pd.DataFrame(rows, columns=["index", "unit", "convention"])


def _densities(bone: Bone) -> dict[str, float]:
    """Mean densities of the compartments, of the trabecular one also of its outer and inner part."""
    outer = np.zeros(bone.trabecular.shape, bool)
    depth = planes.distance(~bone.trabecular, pixel_mm=bone.voxel_mm[1:])
    for z, mask in enumerate(bone.trabecular):
        deep = depth[z][mask]
        if deep.size and np.isfinite(deep).all():
            outer[z] = mask & (depth[z] <= np.quantile(deep, OUTER_SHARE))
    return {
        "Tt.vBMD": _mean(bone.density, bone.total),
        "Tb.vBMD": _mean(bone.density, bone.trabecular),
        "Ct.vBMD": _mean(bone.density, bone.cortical),
        "Tb.Meta.vBMD": _mean(bone.density, outer),
        "Tb.Inn.vBMD": _mean(bone.density, bone.trabecular & ~outer),
    }


def _areas(bone: Bone) -> dict[str, float]:
    """Mean areas and perimeter of the slices that hold the bone."""
    present = bone.total.any(axis=(1, 2))
    slices = max(int(present.sum()), 1)
    pixel_mm2 = bone.voxel_mm[1] * bone.voxel_mm[2]
    masks = {"Tt.Ar": bone.total, "Ct.Ar": bone.cortical, "Tb.Ar": bone.trabecular}
    areas = {symbol: float(mask.sum()) * pixel_mm2 / slices for symbol, mask in masks.items()}
    rounds = each_slice(lambda mask: _perimeter(mask, bone.voxel_mm[1:]), bone.total[present])
    return areas | {"Ct.Pm": float(np.mean(rounds)) if rounds else np.nan}


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and the 26 neighbours of each voxel, one axis after the other."""
    for axis in range(3):
        before = np.moveaxis(mask, axis, 0)
        grown = before.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        mask = np.moveaxis(grown, 0, axis)
    return mask


def _without_small(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """The mask without its pieces of fewer voxels; voxels that share only a corner are one piece."""
    out = np.zeros(mask.shape, bool)
    for box in ndimage.find_objects(mask.astype(np.uint8)):  # the one box of all
        labels, _ = ndimage.label(mask[box], np.ones((3, 3, 3), bool))
        large = np.bincount(labels.ravel()) >= voxels
        large[0] = False
        out[box] = large[labels]
    return out


def _mean_thickness(
    mask: NDArray[np.bool_], voxel_mm: tuple[float, float, float], *, medial: NDArray[np.float32] | None = None
) -> float:
    """Mean local thickness in mm; NaN for an empty mask."""
    if not mask.any():
        return float("nan")
    return float(local_thickness(mask, voxel_mm=voxel_mm, medial=medial)[mask].mean(dtype=np.float64))


def _mean(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Mean over a mask in double precision; NaN where the mask is empty."""
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else float("nan")


def _share(count: np.integer, whole: np.integer) -> float:
    """A count as a fraction of the whole; NaN if the whole is 0."""
    return float(count) / float(whole) if whole else float("nan")


def _perimeter(mask: NDArray[np.bool_], pixel_mm: tuple[float, ...]) -> float:
    """Length in mm of the outlines of one slice, smoothed first since the steps of voxels would make it too long."""
    level = ndimage.gaussian_filter(np.pad(mask, 4).astype(np.float32), 1.0)
    lines = [np.asarray(line) for line in contourpy.contour_generator(z=level).lines(0.5)]
    scale = np.array([pixel_mm[1], pixel_mm[0]])
    return float(sum(np.linalg.norm(np.diff(line * scale, axis=0), axis=1).sum() for line in lines))
