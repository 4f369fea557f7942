"""What is unusual about the outline of a bone: cut, missing in slices, of another size, two bones in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.work import each_slice

# How much narrower than the thinner of two parts an outline must be between them; one bone stays under 0.1.
NECK = 1 / 3
_STEPS = 24
_PART = 0.3  # a part counts if its widest circle has this share of the whole outline's
# Mean cross-sections in mm². Radius, tibia: what Neeteson 2023 (doi:10.1038/s41598-022-27350-0) shows of women and men;
# ulna, fibula: our assumption, for want of any publication.
USUAL_AREA = {"radius": (140.0, 530.0), "ulna": (30.0, 170.0), "tibia": (400.0, 1100.0), "fibula": (50.0, 260.0)}


def shape_flags(
    name: str, total: NDArray[np.bool_], trabecular: NDArray[np.bool_], *, voxel_mm: tuple[float, float, float]
) -> list[str]:
    """Say what is unusual about the outline of a bone and its trabecular compartment; a person should look at it.

    Parameters
    ----------
    name : str
        radius, ulna, tibia or fibula.
    total : (z, y, x) bool
        The bone in the whole limb.
    trabecular : (z, y, x) bool
        Its trabecular compartment, in any box.
    voxel_mm : tuple of float
        Edges (z, y, x) of a voxel.

    Returns
    -------
    list of str
        Empty if nothing is unusual.
    """
    flags = []
    if total[:, [0, -1]].any() or total[:, :, [0, -1]].any():
        flags.append("cut by the field of view")
    if not total.any(axis=(1, 2)).all():
        flags.append("missing in some slices")
    if not trabecular.any():
        flags.append("no trabecular compartment")
    area = total.sum() * voxel_mm[1] * voxel_mm[2] / len(total)
    low, high = USUAL_AREA[name]
    if not low <= area <= high:
        flags.append(f"{area:.0f} mm² is outside the usual {low:.0f} to {high:.0f} of a {name} (another site?)")
    if max(each_slice(_neck, [total[len(total) * k // 4] for k in (1, 2, 3)])) > NECK:
        flags.append("an outline with a waist (two bones in one?)")
    return flags


def _neck(mask: NDArray[np.bool_]) -> float:
    """How much narrower than the thinner of its two parts an outline is where they meet; 0 if it has no two parts.

    The widths are those of the widest circles within: an outline that is merely hollow on one side, as the radius is
    beside the ulna, has no second part, while its convex hull is far from full.
    """
    if not mask.any():
        return 0.0
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(mask[box], 1))
    widest, narrowest = float(depth.max()), 0.0
    for level in np.linspace(0, widest, _STEPS, endpoint=False)[1:]:
        parts, n = ndimage.label(depth > level)
        if n > 1:
            thinner = float(np.sort(ndimage.maximum(depth, parts, np.arange(1, n + 1)))[-2])
            if thinner > _PART * widest:
                narrowest = max(narrowest, 1 - float(level) / thinner)
    return narrowest
