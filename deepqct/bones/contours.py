"""A bone within contours that the scanner's own software drew, and how far two contours of it agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepqct.bones.find import Bone, BoneError, bone_within
from deepqct.scans.scan import Scan, read_mask_at

OFF_GRID = 0.1  # of a voxel, by which a contour may lie off the scan's voxels; rounded headers do


def contoured_bone(scan: Scan, name: str, files: Mapping[str, Path]) -> Bone:
    """Cut one bone out of a scan within the contours that the manufacturer's software drew.

    Parameters
    ----------
    scan : Scan
        With its side set.
    name : str
        radius, ulna, tibia or fibula.
    files : mapping of str to Path
        The mask of each compartment by its name: total, or cortical and trabecular. With total alone, the cortex is
        found as `find_bones` does it.

    Returns
    -------
    Bone
        Left ones mirrored to right.

    Raises
    ------
    ScanError
        If a file cannot be read.
    BoneError
        If a mask has another voxel size, lies outside of the scan, or the files do not make up a bone.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> total = np.pad(np.ones((2, 50, 50), np.int16), ((0, 0), (10, 10), (10, 10)))
    >>> marrow = np.pad(np.ones((2, 40, 40), np.int16), ((0, 0), (15, 15), (15, 15)))
    >>> scan = dq.Scan(900 * (total - marrow), 1.0, 0.0, (0.3, 0.3, 0.3), "wrist", "right")
    >>> contour = dq.Scan(total, 1.0, 0.0, scan.voxel_mm)
    >>> path = dq.scans.write_image(Path(tempfile.mkdtemp()) / "radius.mha", contour)
    >>> bone = dq.bones.contoured_bone(scan, "radius", {"total": path})
    >>> int(bone.total.sum()) == 2 * 50 * 50, bone.flags
    (True, ())
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
    """Return how far two cuts of the same bone agree on a compartment, from 0 (nowhere) to 1 (everywhere).

    Twice the voxels that both have, over the voxels of the first plus those of the second.

    Parameters
    ----------
    one, other : Bone
        The same bone, cut out of the same scan in two ways.
    compartment : str
        total, cortical or trabecular.

    Returns
    -------
    float
        NaN if the compartment is empty in both.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> scan = dq.Scan(np.zeros((4, 40, 40), np.int16), 1.0, 0.0, (0.3, 0.3, 0.3), "wrist", "right")
    >>> wide, narrow = np.zeros((2, 4, 40, 40), bool)
    >>> wide[:, 10:30, 10:30] = narrow[:, 10:30, 10:20] = True
    >>> bones = [dq.bones.bone_within(scan, "radius", total=mask, trabecular=mask) for mask in (wide, narrow)]
    >>> round(dq.bones.dice(*bones, compartment="total"), 2)
    0.67
    """
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
    """The mask of a file, laid onto the scan's array by the places that both headers state."""
    stored = read_mask_at(path)
    mask = np.asarray(stored.voxels != 0)
    if not np.allclose(stored.voxel_mm, scan.voxel_mm, rtol=0.01):
        raise BoneError(
            f"{path} has voxels of {stored.voxel_mm[0]:.4f} mm and the scan of {scan.voxel_mm[0]:.4f} mm; export it again."
        )
    places = [np.divide(one.origin_mm, one.voxel_mm) for one in (stored, scan)]  # each in its own voxels
    away = places[0] - places[1]
    shifts = np.rint(away).astype(int).tolist()
    if np.abs(away - shifts).max() > OFF_GRID:
        raise BoneError(
            f"{path} does not lie on the scan's voxels but between them; draw or export it on the scan's grid."
        )
    placed = np.zeros(scan.native.shape, bool)
    to = tuple(
        slice(max(s, 0), min(s + n, m)) for s, n, m in zip(shifts, mask.shape, scan.native.shape, strict=True)
    )  # fmt: skip
    if any(s.start >= s.stop for s in to):
        raise BoneError(f"{path} lies outside of the scan by its header; check that it belongs to this scan.")
    placed[to] = mask[tuple(slice(t.start - s, t.stop - s) for t, s in zip(to, shifts, strict=True))]
    if not placed.any():
        raise BoneError(f"{path} is empty within the scan; check that it belongs to this scan.")
    if placed.sum() < 0.99 * mask.sum():
        raise BoneError(f"{path} reaches beyond the scan by its header; check that it belongs to this scan.")
    return placed
