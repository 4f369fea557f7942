"""Scans in; bone stacks, indices and quality flags out.

A scan is read once. What comes of it is written whole, its record last, so that a rerun does only what is missing; a
scan that fails is a row with its reason, and the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from deepqct import __version__
from deepqct.bones import Bone, BoneError, find_bones
from deepqct.cohort import Cohort
from deepqct.folder import BONES, SITES, Run, file_hash, read_json, read_table, write_json, write_table, write_whole
from deepqct.indices import UNITS, measure
from deepqct.parallel import set_threads
from deepqct.scan import ScanError, read_scan

# Edge of the square field that each bone's stack shows; it holds the largest published cross-sections. Our choice.
FIELD_MM = {"radius": 36.0, "ulna": 22.0, "tibia": 48.0, "fibula": 26.0}


@dataclass(frozen=True)
class _Task:
    """One scan to curate."""

    participant_id: str
    site: str
    side: str
    path: Path
    unit: str | None
    run: Run
    image_px: int


def curate(
    cohort: Cohort,
    run: Run,
    *,
    image_px: int = 96,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Cut the bones out of every scan, measure them, and write what the later stages read.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives bones/, indices.csv, curation.csv.
    image_px : int
        Pixels along each edge of the square density stacks; the field in mm is fixed for each bone (`FIELD_MM`).
    workers : int
        Scans curated side by side; the results do not depend on it.
    progress : callable, optional
        Called with the number done and the total.

    Returns
    -------
    DataFrame
        One row a scan: participant_id, site, side, status (curated, failed), reason, flags, sha256 of the file.
    """
    tasks = [
        _Task(row["participant_id"], row["site"], row["side"], cohort.folder / row["file"], _unit(row), run, image_px)
        for row in cohort.scans.to_dict("records")
    ]
    rows = []
    for number, row in enumerate(_each(tasks, workers=workers), start=1):
        rows.append(row)
        if progress is not None:
            progress(number, len(tasks))
    table = pd.DataFrame(rows).sort_values(["participant_id", "site"], ignore_index=True)
    write_table(run.indices, _indices(table, run))
    write_table(run.curation, table)
    return table


def _unit(row: dict[Any, Any]) -> str | None:
    """The unit that scans.tsv states for a file without a calibration of its own."""
    unit = row.get("unit")
    return unit if isinstance(unit, str) else None


def _each(tasks: list[_Task], *, workers: int) -> Iterable[dict[str, Any]]:
    """Rows as they are done; with several workers in no fixed order."""
    if workers <= 1:
        yield from map(_curate_scan, tasks)
        return
    threads = max((os.cpu_count() or 1) // workers, 1)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=set_threads, initargs=(threads,)) as pool:
        for future in as_completed([pool.submit(_curate_scan, task) for task in tasks]):
            yield future.result()


def _curate_scan(task: _Task) -> dict[str, Any]:
    """Curate one scan, unless its records say that the same file was curated the same way already."""
    row = {"participant_id": task.participant_id, "site": task.site, "side": task.side}
    names = SITES[task.site]
    try:
        recipe = {
            "sha256": file_hash(task.path), "unit": task.unit, "image_px": task.image_px, "deepqct": __version__,
            "indices": list(UNITS),
        }  # fmt: skip
        records = [_read_record(task.run.stack_record(task.participant_id, name)) for name in names]
        if any(record.get("recipe") != recipe for record in records):
            scan = read_scan(task.path, unit=task.unit)
            if scan.site not in (None, task.site):
                raise ScanError(
                    f"{task.path.name} is a scan of the {scan.site}, and scans.tsv says {task.site}; correct the table."
                )
            bones = find_bones(replace(scan, site=task.site, side=task.side))
            records = [_write_bone(bone, task, recipe=recipe) for bone in bones.values()]
    except (ScanError, BoneError, OSError) as error:
        return row | {"status": "failed", "reason": _without_folder(error, task.path), "flags": "", "sha256": ""}
    flags = [f"{name}: {flag}" for name, record in zip(names, records, strict=True) for flag in record["flags"]]
    return row | {"status": "curated", "reason": "", "flags": "; ".join(flags), "sha256": recipe["sha256"]}


def _without_folder(error: Exception, path: Path) -> str:
    """The error's text with the bare file name: tables travel, and a hospital's folders need not."""
    return str(error).replace(str(path), path.name).replace(f"{path.parent}/", "")


def _read_record(path: Path) -> dict[str, Any]:
    """The record of one bone's stack; empty if there is none."""
    return read_json(path) if path.exists() else {}


def _write_bone(bone: Bone, task: _Task, *, recipe: dict[str, Any]) -> dict[str, Any]:
    """Write one bone's stack and mask, and last its record, which makes them count."""
    density, mask, first_mm = to_stack(bone, image_px=task.image_px)
    record_path = task.run.stack_record(task.participant_id, bone.name)
    record_path.unlink(missing_ok=True)
    flags = bone.flags
    if mask[:, [0, -1]].any() or mask[:, :, [0, -1]].any():
        flags = (*flags, f"wider than its field of {FIELD_MM[bone.name]:g} mm")
    for path, array in (
        (task.run.stack(task.participant_id, bone.name), density),
        (task.run.stack_mask(task.participant_id, bone.name), mask),
    ):
        with write_whole(path) as part, part.open("wb") as file:
            np.save(file, array)
    pixel = FIELD_MM[bone.name] / task.image_px
    record = {
        "recipe": recipe,
        "flags": list(flags),
        "voxel_mm": [bone.voxel_mm[0], pixel, pixel],
        "scan_voxel_mm": list(bone.voxel_mm),
        "box_origin_voxels": list(bone.origin),
        "first_pixel_in_box_mm": list(first_mm),
        "mirrored": bone.mirrored,
        "indices": {symbol: None if np.isnan(value) else value for symbol, value in measure(bone).items()},
    }
    write_json(record_path, record)
    return record


def to_stack(bone: Bone, *, image_px: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, float]]:
    """The bone in the middle of its square field, at a fixed number of pixels.

    Parameters
    ----------
    bone : Bone
        The bone with its compartments.
    image_px : int
        Pixels along each edge.

    Returns
    -------
    (z, image_px, image_px) int16, mgHA/cm³
        Density; where the field is wider than the scan, the nearest scanned voxel.
    (z, image_px, image_px) uint8
        1 trabecular, 2 cortical, 0 elsewhere.
    (y, x) mm
        The first pixel's centre in the bone's box, measured from the centre of the box's first voxel.
    """
    pixel = FIELD_MM[bone.name] / image_px
    voxel = np.array(bone.voxel_mm[1:])
    centre = np.array(ndimage.center_of_mass(bone.total.any(axis=0))) * voxel
    first = centre - pixel * (image_px - 1) / 2
    step = pixel / voxel
    # Averages over a coarser pixel instead of picking single voxels, whose noise would alias.
    smooth = ndimage.gaussian_filter(bone.density, (0.0, *np.maximum((step - 1) / 2, 0)))
    labels = bone.trabecular * np.uint8(1) + bone.cortical * np.uint8(2)
    shape = (image_px, image_px)
    place = {"matrix": step, "offset": first / voxel, "output_shape": shape}
    density = np.stack([ndimage.affine_transform(z, order=1, mode="nearest", **place) for z in smooth])
    mask = np.stack([ndimage.affine_transform(z, order=0, mode="constant", **place) for z in labels])
    return np.rint(density).astype(np.int16), mask, (float(first[0]), float(first[1]))


def load_stack(
    run: Run, participant_id: str, bone: str
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, ...]]:
    """One bone's stack, its compartments, both memory-mapped (z, y, x), and its voxel (z, y, x) in mm."""
    record = read_json(run.require(run.stack_record(participant_id, bone), written_by="01_data_curation"))
    density = np.load(run.stack(participant_id, bone), mmap_mode="r")
    mask = np.load(run.stack_mask(participant_id, bone), mmap_mode="r")
    return density, mask, tuple(record["voxel_mm"])


def example_stacks(run: Run, *, bone: str, most: int = 12) -> dict[str, NDArray[np.int16]]:
    """The density stacks of the first patients who have this bone, by participant_id."""
    people = read_table(run.indices).query("bone == @bone")["participant_id"].head(most)
    return {person: load_stack(run, person, bone)[0] for person in people}


def _indices(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """indices.csv from the records of all curated scans."""
    rows = [
        {"participant_id": person, "bone": bone, **read_json(run.stack_record(person, bone))["indices"]}
        for person, site, status in table[["participant_id", "site", "status"]].itertuples(index=False)
        if status == "curated"
        for bone in SITES[site]
    ]
    indices = pd.DataFrame(rows, columns=["participant_id", "bone", *UNITS])
    order = indices["bone"].map({bone: i for i, bone in enumerate(BONES)})
    return indices.assign(order=order).sort_values(["participant_id", "order"], ignore_index=True).drop(columns="order")
