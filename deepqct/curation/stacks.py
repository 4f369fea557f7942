"""Stacks, which the networks see of a scan: each bone in the middle of a square field, with what lies around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone
from deepqct.folder import Run, read_json, read_table
from deepqct.scans.scan import Scan
from deepqct.terms import BONES

# Edge of the square field that each bone's stack shows; it holds the largest published cross-sections. Our choice.
FIELD_MM = {"radius": 36.0, "ulna": 22.0, "tibia": 48.0, "fibula": 26.0}
LABELS = {"trabecular": 1, "cortical": 2, "another bone": 3}  # of a stack's mask
TRABECULAR, CORTICAL, OTHER_BONE = LABELS.values()


def cut_stack(
    scan: Scan, name: str, bones: Mapping[str, Bone], *, image_px: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, float]]:
    """Cut out one bone in the middle of its square field (`FIELD_MM`), at a fixed number of pixels.

    Parameters
    ----------
    scan : Scan
        The scan in which the bones were found.
    name : str
        The bone in the middle.
    bones : mapping of str to Bone
        All bones of the scan, by name.
    image_px : int
        Pixels along each edge of the field.

    Returns
    -------
    (z, image_px, image_px) int16, mgHA/cm³
        Density; 0 where the field is wider than the scan.
    (z, image_px, image_px) uint8
        1 trabecular, 2 cortical, 3 another bone of the scan, 0 elsewhere.
    (y, x) mm
        The first pixel's centre in the bone's box, measured from the centre of the box's first voxel.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> density, mask, first_mm = dq.curation.cut_stack(scan, "radius", dq.find_bones(scan), image_px=48)
    >>> density.shape, str(density.dtype), sorted({int(label) for label in mask.flat})
    ((8, 48, 48), 'int16', [0, 1, 2, 3])
    """
    bone = bones[name]
    pixel, voxel = FIELD_MM[name] / image_px, np.array(bone.voxel_mm[1:])
    centre = np.array(ndimage.center_of_mass(bone.total.any(axis=0))) * voxel
    first = centre - pixel * (image_px - 1) / 2
    step = pixel / voxel
    # Averages over a coarser pixel instead of picking single voxels, whose noise would alias.
    blur = np.maximum((step - 1) / 2, 0)
    reach = np.ceil(4 * blur) + 1
    ends = np.floor(first / voxel) - reach, np.ceil(first / voxel + step * (image_px - 1)) + reach + 1
    rows, columns, start = _source(scan, bone, ends=ends)
    turn = np.s_[:, :: -1 if bone.mirrored else 1]
    place = {"matrix": step, "offset": first / voxel - start, "output_shape": (image_px, image_px), "mode": "constant"}
    depth = bone.total.shape[0]
    density, mask = np.empty((depth, image_px, image_px), np.int16), np.empty((depth, image_px, image_px), np.uint8)
    for z in range(depth):
        smooth = ndimage.gaussian_filter(scan.density_of((bone.origin[0] + z, rows, columns))[turn], blur)
        density[z] = np.rint(ndimage.affine_transform(smooth, order=1, **place))
        labels = _labels(bones, name, z=z, rows=rows, columns=columns)[turn]
        mask[z] = ndimage.affine_transform(labels, order=0, **place)
    return density, mask, (float(first[0]), float(first[1]))


def of_bone(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the pixels of a stack's mask that belong to its own bone: trabecular or cortical, not another bone.

    Parameters
    ----------
    mask : uint8 of any shape
        Labels of a stack, from `cut_stack` or `load_stack`.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> dq.curation.of_bone(np.array([0, 1, 2, 3], np.uint8)).tolist()
    [False, True, True, False]
    """
    return (mask == TRABECULAR) | (mask == CORTICAL)


def load_stack(
    run: Run, participant_id: str, bone: str
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, ...]]:
    """Open one bone's stack of a curated run.

    Parameters
    ----------
    run : Run
        The curated run.
    participant_id, bone : str
        The patient, and the bone.

    Returns
    -------
    (z, y, x) int16, mgHA/cm³
        Density, memory-mapped.
    (z, y, x) uint8
        Labels as `cut_stack` gives them, memory-mapped.
    (z, y, x) mm
        Edge lengths of the stack's voxel.

    Raises
    ------
    FileNotFoundError
        If the run has no stack of this bone.

    Examples
    --------
    >>> import deepqct as dq
    >>> density, mask, voxel_mm = dq.curation.load_stack(dq.run.example_run(), "sub-0001", "radius")
    >>> density.shape, mask.shape, [round(edge, 3) for edge in voxel_mm]
    ((6, 32, 32), (6, 32, 32), [0.3, 1.125, 1.125])
    """
    record = read_json(run.require(run.stack_record(participant_id, bone), written_by="01_data_curation"))
    stack, labels = run.stack(participant_id, bone), run.stack_mask(participant_id, bone)
    density, mask = (
        np.load(run.require(path, written_by="01_data_curation"), mmap_mode="r") for path in (stack, labels)
    )
    return density, mask, tuple(record["voxel_mm"])


def example_stacks(run: Run, *, bone: str, most: int = 12) -> dict[str, NDArray[np.int16]]:
    """Open the density stacks of the first patients who have this bone.

    Parameters
    ----------
    run : Run
        The curated run.
    bone : str
        The bone to show.
    most : int
        The greatest number of patients.

    Returns
    -------
    dict of str to (z, y, x) int16, mgHA/cm³
        The density of each, by participant_id.

    Examples
    --------
    >>> import deepqct as dq
    >>> stacks = dq.curation.example_stacks(dq.run.example_run(), bone="tibia", most=2)
    >>> {person: stack.shape for person, stack in stacks.items()}
    {'sub-0001': (6, 32, 32), 'sub-0002': (6, 32, 32)}
    """
    people = read_table(run.indices).query("bone == @bone")["participant_id"].head(most)
    return {person: load_stack(run, person, bone)[0] for person in people}


def example_bones(run: Run, *, most: int = 6) -> dict[str, dict[str, tuple[NDArray[np.int16], NDArray[np.uint8]]]]:
    """Open the density stacks and labels of all bones of the first patients, for one picture of them.

    Parameters
    ----------
    run : Run
        The curated run.
    most : int
        The greatest number of patients.

    Returns
    -------
    dict of str to dict of str to ((z, y, x) int16, (z, y, x) uint8)
        For each bone the density in mgHA/cm³ and the labels of each patient who has it, by participant_id.

    Examples
    --------
    >>> import deepqct as dq
    >>> bones = dq.curation.example_bones(dq.run.example_run(), most=2)
    >>> {bone: list(women) for bone, women in bones.items()}["ulna"]
    ['sub-0001', 'sub-0002']
    """
    table = read_table(run.indices)
    people = table["participant_id"].drop_duplicates().head(most)
    found: dict[str, dict[str, tuple[NDArray[np.int16], NDArray[np.uint8]]]] = {}
    for bone in BONES:
        theirs = set(table.loc[table["bone"] == bone, "participant_id"])
        women = {person: load_stack(run, person, bone)[:2] for person in people if person in theirs}
        if women:
            found[bone] = women
    return found


def _source(
    scan: Scan, bone: Bone, *, ends: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[slice, slice, NDArray[np.float64]]:
    """The scan's rows and columns between two corners (y, x) of the bone's box, and where in the box they begin."""
    spans, start = [], []
    for axis, turned in ((1, False), (2, bone.mirrored)):
        origin, size = bone.origin[axis], bone.total.shape[axis]
        low, high = (end[axis - 1] for end in ends)
        begin, end = (origin + size - high, origin + size - low) if turned else (origin + low, origin + high)
        span = slice(max(int(begin), 0), min(int(end), scan.native.shape[axis]))
        spans.append(span)
        start.append(origin + size - span.stop if turned else span.start - origin)
    return spans[0], spans[1], np.array(start, float)


def _labels(bones: Mapping[str, Bone], name: str, *, z: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Labels of some rows and columns of one slice of the scan; where bones overlap, the one called `name` counts."""
    labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    for bone in sorted(bones.values(), key=lambda bone: bone.name == name):
        level = z + bones[name].origin[0] - bone.origin[0]
        if not 0 <= level < bone.total.shape[0]:
            continue
        in_box = np.where(bone.trabecular[level], TRABECULAR, np.where(bone.cortical[level], CORTICAL, 0))
        if bone.name != name:
            in_box = np.where(in_box > 0, OTHER_BONE, 0)
        in_box = in_box[:, :: -1 if bone.mirrored else 1]
        (y, v), (x, u) = (
            _overlap(bone.origin[axis], in_box.shape[axis - 1], span) for axis, span in ((1, rows), (2, columns))
        )
        labels[y, x] = np.where(in_box[v, u] > 0, in_box[v, u], labels[y, x])
    return labels


def _overlap(origin: int, size: int, span: slice) -> tuple[slice, slice]:
    """Where a span and a box overlap along one axis, counted from the start of the span and from that of the box."""
    begin, end = max(origin, span.start), max(min(origin + size, span.stop), max(origin, span.start))
    return slice(begin - span.start, end - span.start), slice(begin - origin, end - origin)
