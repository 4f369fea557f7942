"""The standard HR-pQCT index set of one bone, in the field's symbols and units.

Densities are means of the calibrated, unfiltered voxels of a compartment; areas are means over the slices. Trabeculae
are segmented after a Gaussian of 0.8 voxel at 320 mgHA/cm³ (Whittier 2020; Bouxsein 2010).
"""

from __future__ import annotations

import contourpy
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones import Bone

UNITS = {
    "Tt.vBMD": "mgHA/cm³",
    "Tb.vBMD": "mgHA/cm³",
    "Ct.vBMD": "mgHA/cm³",
    "Tt.Ar": "mm²",
    "Ct.Ar": "mm²",
    "Tb.Ar": "mm²",
    "Ct.Pm": "mm",
    "Ct.Th": "mm",
    "Tb.BV/TV": "1",
}
CONVENTIONS = {
    "Ct.Th": "Ct.Ar / Ct.Pm, the mean thickness of an unrolled shell; our choice until spheres are fitted",
    "Ct.Pm": "length of the outer contour of the bone, mean over slices",
    "Tb.BV/TV": "share of voxels over 320 mgHA/cm³ after a Gaussian of 0.8 voxel, in the trabecular compartment",
}
BONE_DENSITY = 320.0
SEGMENTATION_SIGMA_VOXELS = 0.8


def measure(bone: Bone) -> pd.Series:
    """Indices of one bone.

    Parameters
    ----------
    bone : Bone
        Density in mgHA/cm³ with its compartments.

    Returns
    -------
    pandas.Series
        Standard symbols as index, units in `UNITS`; NaN where a compartment is empty.

    References
    ----------
    Bouxsein ML et al. (2010), J Bone Miner Res 25:1468. Whittier DE et al. (2020), Osteoporos Int 31:1607.
    """
    present = bone.total.any(axis=(1, 2))
    slices = max(int(present.sum()), 1)
    pixel_mm2 = bone.voxel_mm[1] * bone.voxel_mm[2]
    areas = {
        symbol: float(mask.sum()) * pixel_mm2 / slices
        for symbol, mask in (("Tt.Ar", bone.total), ("Ct.Ar", bone.cortical), ("Tb.Ar", bone.trabecular))
    }
    perimeter = np.mean([_perimeter(mask, bone.voxel_mm[1:]) for mask in bone.total[present]]) if present.any() else 0.0
    smooth = ndimage.gaussian_filter(bone.density, SEGMENTATION_SIGMA_VOXELS, truncate=3.0)
    values = {
        "Tt.vBMD": _mean(bone.density, bone.total),
        "Tb.vBMD": _mean(bone.density, bone.trabecular),
        "Ct.vBMD": _mean(bone.density, bone.cortical),
        **areas,
        "Ct.Pm": float(perimeter),
        "Ct.Th": areas["Ct.Ar"] / float(perimeter) if perimeter else np.nan,
        "Tb.BV/TV": _mean((smooth > BONE_DENSITY).astype(np.float32), bone.trabecular),
    }
    return pd.Series(values, index=list(UNITS), name=bone.name, dtype=float)


def wide_indices(indices: pd.DataFrame) -> pd.DataFrame:
    """One row a patient, columns such as ``radius Tt.vBMD``, from the one row a bone of indices.csv."""
    long = indices.melt(["participant_id", "bone"], var_name="symbol")
    return long.assign(column=long["bone"] + " " + long["symbol"]).pivot(
        index="participant_id", columns="column", values="value"
    )


def _mean(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Mean over a mask in double precision; NaN where the mask is empty."""
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else float("nan")


def _perimeter(mask: NDArray[np.bool_], pixel_mm: tuple[float, ...]) -> float:
    """Length in mm of the outlines of one slice, smoothed by a voxel first: a staircase is longer than its edge."""
    level = ndimage.gaussian_filter(np.pad(mask, 4).astype(np.float32), 1.0)
    lines = [np.asarray(line) for line in contourpy.contour_generator(z=level).lines(0.5)]
    scale = np.array([pixel_mm[1], pixel_mm[0]])
    return float(sum(np.linalg.norm(np.diff(line * scale, axis=0), axis=1).sum() for line in lines))
