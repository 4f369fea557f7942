"""A bone within contours that the scanner's own software drew, and how far two contours of it agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepqct.bones.find import Bone, BoneError, bone_within
from deepqct.scans.scan import Scan, read_mask_at


def contoured_bone(scan: Scan, name: str, files: Mapping[str, Path]) -> Bone:
    """A bone within the manufacturer's contours.

    Parameters
    ----------
    scan : Scan
        With its side set.
    name : str
        radius, ulna, tibia or fibula.
    files : mapping of compartment to Path
        total, or cortical and trabecular; with total alone the cortex is told apart as for our own contours.

    Raises
    ------
    ScanError
        If a file cannot be read.
    BoneError
        If a mask has another voxel size, lies outside of the scan, or the files do not make up a bone.
    """
    masks = {compartment: _placed(path, scan) for compartment, path in files.items()}
    if "total" not in masks and not {"cortical", "trabecular"} <= set(masks):
        raise BoneError(f"The {name} has only a {', '.join(masks)} contour; give total, or cortical and trabecular.")
    trabecular = masks.get("trabecular")
    if trabecular is None and "cortical" in masks:
        trabecular = masks["total"] & ~masks["cortical"]
    total = masks["total"] if "total" in masks else masks["cortical"] | masks["trabecular"]
    return bone_within(scan, name, total=total, trabecular=trabecular)


def dice(one: Bone, other: Bone, *, compartment: str) -> float:
    """Overlap of a compartment of two cuts of the same bone: twice what they share over what they have, 0 to 1."""
    a, b = getattr(one, compartment), getattr(other, compartment)
    if one.mirrored:
        a, b = a[:, :, ::-1], b[:, :, ::-1]
    first = np.maximum(one.origin, other.origin)
    last = np.minimum(np.add(one.origin, a.shape), np.add(other.origin, b.shape))
    if (first >= last).any():
        return 0.0
    both = [
        mask[tuple(slice(*ends) for ends in zip(first - bone.origin, last - bone.origin, strict=True))]
        for mask, bone in ((a, one), (b, other))
    ]
    whole = int(a.sum()) + int(b.sum())
    return 2 * int((both[0] & both[1]).sum()) / whole if whole else float("nan")


def _placed(path: Path, scan: Scan) -> NDArray[np.bool_]:
    """A mask laid onto the scan's array."""
    mask, voxel_mm, position = read_mask_at(path)
    if not np.allclose(voxel_mm, scan.voxel_mm, rtol=0.01):
        raise BoneError(
            f"{path} has voxels of {voxel_mm[0]:.4f} mm and the scan of {scan.voxel_mm[0]:.4f} mm; export it again."
        )
    out = np.zeros(scan.native.shape, bool)
    shifts = [p - q for p, q in zip(position, scan.position, strict=True)]
    to = tuple(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(shifts, mask.shape, scan.native.shape, strict=True))
    if any(s.start >= s.stop for s in to):
        raise BoneError(f"{path} lies outside of the scan; check that it belongs to this scan.")
    out[to] = mask[tuple(slice(t.start - s, t.stop - s) for t, s in zip(to, shifts, strict=True))]
    if not out.any():
        raise BoneError(f"{path} is empty within the scan; check that it belongs to this scan.")
    return out
