"""What the networks see of a scan: each bone in the middle of a square field of fixed size, with what lies around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone
from deepqct.folder import Run, read_json, read_table
from deepqct.scans.scan import Scan

# Edge of the square field that each bone's stack shows; it holds the largest published cross-sections. Our choice.
FIELD_MM = {"radius": 36.0, "ulna": 22.0, "tibia": 48.0, "fibula": 26.0}
LABELS = {"trabecular": 1, "cortical": 2, "another bone": 3}  # of a stack's mask
TRABECULAR, CORTICAL, OTHER_BONE = LABELS.values()


def cut_stack(
    scan: Scan, name: str, bones: Mapping[str, Bone], *, image_px: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, float]]:
    """One bone in the middle of its square field, at a fixed number of pixels.

    Parameters
    ----------
    scan : Scan
        The scan that the bones were cut out of.
    name : str
        The bone in the middle.
    bones : mapping of str to Bone
        All bones of the scan, by name.
    image_px : int
        Pixels along each edge.

    Returns
    -------
    (z, image_px, image_px) int16, mgHA/cm³
        Density; 0 where the field is wider than the scan.
    (z, image_px, image_px) uint8
        1 trabecular, 2 cortical, 3 another bone of the scan, 0 elsewhere.
    (y, x) mm
        The first pixel's centre in the bone's box, measured from the centre of the box's first voxel.
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
    """Which pixels of a stack's mask belong to its own bone."""
    return (mask == TRABECULAR) | (mask == CORTICAL)


def load_stack(
    run: Run, participant_id: str, bone: str
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, ...]]:
    """One bone's stack, its labels, both memory-mapped (z, y, x), and its voxel (z, y, x) in mm."""
    record = read_json(run.require(run.stack_record(participant_id, bone), written_by="01_data_curation"))
    density = np.load(run.stack(participant_id, bone), mmap_mode="r")
    mask = np.load(run.stack_mask(participant_id, bone), mmap_mode="r")
    return density, mask, tuple(record["voxel_mm"])


def example_stacks(run: Run, *, bone: str, most: int = 12) -> dict[str, NDArray[np.int16]]:
    """The density stacks of the first patients who have this bone, by participant_id."""
    people = read_table(run.indices).query("bone == @bone")["participant_id"].head(most)
    return {person: load_stack(run, person, bone)[0] for person in people}


def _source(
    scan: Scan, bone: Bone, *, ends: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[slice, slice, NDArray[np.float64]]:
    """Rows and columns of the scan between two corners (y, x) in the bone's box, and the first one's place there."""
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
    """Labels of a part of one slice of the scan; the bone called `name` lies above the others."""
    labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    for bone in sorted(bones.values(), key=lambda bone: bone.name == name):
        level = z + bones[name].origin[0] - bone.origin[0]
        if not 0 <= level < bone.total.shape[0]:
            continue
        own = np.where(bone.trabecular[level], TRABECULAR, np.where(bone.cortical[level], CORTICAL, 0))
        if bone.name != name:
            own = np.where(own > 0, OTHER_BONE, 0)
        own = own[:, :: -1 if bone.mirrored else 1]
        (y, v), (x, u) = (
            _overlap(bone.origin[axis], own.shape[axis - 1], span) for axis, span in ((1, rows), (2, columns))
        )
        labels[y, x] = np.where(own[v, u] > 0, own[v, u], labels[y, x])
    return labels


def _overlap(origin: int, size: int, span: slice) -> tuple[slice, slice]:
    """The same stretch counted from the start of a span and from that of a box."""
    begin, end = max(origin, span.start), max(min(origin + size, span.stop), max(origin, span.start))
    return slice(begin - span.start, end - span.start), slice(begin - origin, end - origin)
