"""Scans in; bone stacks, indices and quality flags out.

A scan is read once. What comes of it is written whole, its record last, so that a rerun does only what is missing; a
scan that fails is a row with its reason, and the others go on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct import __version__
from deepqct.bones.contours import contoured_bone, dice
from deepqct.bones.find import Bone, BoneError, find_bones
from deepqct.bones.indices import measure
from deepqct.bones.quality import MOTION_LIMIT, RING_LIMIT, flags_of_scores, motion_score, ring_score, unusual_indices
from deepqct.cohort.check import Cohort
from deepqct.cohort.scanner_tables import COMPARTMENTS
from deepqct.curation.beside_scanner import check_sources, in_place_of
from deepqct.curation.stacks import FIELD_MM, LABELS, cut_stack, of_bone
from deepqct.folder import Run, file_hash, read_json, write_json, write_table, write_whole
from deepqct.scans.formats import ScanError
from deepqct.scans.scan import Scan, read_scan
from deepqct.terms import BONES, SITES, UNITS
from deepqct.work import Progress, set_threads

SCORES = ("motion_score", "ring_score")
BLANK = {"flags": "", "motion_score": np.nan, "ring_score": np.nan, "sha256": ""}  # of a scan that was not curated


class CurationError(RuntimeError):
    """A cohort of which no scan could be curated."""


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
    contours: dict[str, dict[str, Path]]  # by bone and compartment, from the scanner's software
    use: str


def curate(
    cohort: Cohort,
    run: Run,
    *,
    image_px: int = 96,
    contours: str = "ours",
    indices: str = "ours",
    workers: int = 1,
    progress: Progress | None = None,
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
    contours : str
        ``ours``; ``scanner``: those of the scanner's software where the cohort has them; ``both``: ours, and the
        scanner's measured beside them.
    indices : str
        ``ours``, or ``scanner``: the manufacturer's values where indices.tsv has them.
    workers : int
        Scans curated side by side; the results do not depend on it.
    progress : callable, optional
        Called with the number done and the total.

    Returns
    -------
    DataFrame
        One row a scan: participant_id, site, side, status (curated, failed, or rejected by a reader), reason, flags,
        motion_score and ring_score (see quality.py), sha256 of the file.

    Raises
    ------
    ValueError
        If `contours` or `indices` is none of these, or asks for what the cohort does not have.
    CurationError
        If no scan could be curated; curation.csv is written and says why.
    """
    check_sources(cohort, contours=contours, indices=indices)
    tasks = [
        _Task(
            row["participant_id"], row["site"], row["side"], cohort.folder / row["file"], _unit(row), run, image_px,
            _contours(cohort, row) if contours != "ours" else {}, contours,
        )
        for row in cohort.scans.to_dict("records")
        if (row["participant_id"], row["site"]) not in cohort.rejected
    ]  # fmt: skip
    rows = [
        {"participant_id": person, "site": site, "side": side, "status": "rejected", "reason": "rejected in review.csv"}
        | BLANK
        for person, site, side in cohort.scans[["participant_id", "site", "side"]].itertuples(index=False)
        if (person, site) in cohort.rejected
    ]
    for number, row in enumerate(_each(tasks, workers=workers), start=1):
        rows.append(row)
        if progress is not None:
            progress(number, len(tasks))
    table = pd.DataFrame(rows).sort_values(["participant_id", "site"], ignore_index=True)
    _forget_others(run, table)
    ours, theirs = _indices(table, run, "indices"), _indices(table, run, "scanner_indices").assign(source="contours")
    if cohort.scanner_indices is not None:
        theirs = pd.concat([theirs, cohort.scanner_indices.assign(source="table")], ignore_index=True)
        if indices == "scanner":
            ours = in_place_of(ours, cohort.scanner_indices)
    write_table(run.indices, ours)
    write_table(run.curation, table)
    if len(theirs):
        write_table(run.scanner_indices, theirs[["participant_id", "bone", "source", *UNITS]])
    if not (table["status"] == "curated").any():
        raise CurationError(f"None of {len(table)} scans could be curated; the first: {table['reason'].iloc[0]}")
    return table


def _forget_others(run: Run, table: pd.DataFrame) -> None:
    """Remove the stacks of scans that are not curated now: networks read every bone that has a record."""
    good = table.loc[table["status"] == "curated", ["participant_id", "site"]].itertuples(index=False)
    kept = {(person, bone) for person, site in good for bone in SITES[site]}
    for record in sorted(run.bones.glob("*.json")):
        person, bone = record.stem.rsplit("_", 1)
        if (person, bone) not in kept:
            record.unlink()
            run.stack(person, bone).unlink(missing_ok=True)
            run.stack_mask(person, bone).unlink(missing_ok=True)


def _contours(cohort: Cohort, row: dict[Any, Any]) -> dict[str, dict[str, Path]]:
    """Files of the scanner's contours for the bones of one scan."""
    if cohort.contours is None:
        return {}
    own = cohort.contours.query("participant_id == @row['participant_id']")
    found: dict[str, dict[str, Path]] = {}
    for bone, compartment, file in own[["bone", "compartment", "file"]].itertuples(index=False):
        if bone in SITES[row["site"]]:
            found.setdefault(bone, {})[compartment] = cohort.folder / file
    return found


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
        recipe = _recipe(task)
        records = [_read_record(task.run.stack_record(task.participant_id, name)) for name in names]
        if any(record.get("recipe") != recipe for record in records):
            records = _curate_anew(task, recipe=recipe)
    except (ScanError, BoneError, OSError) as error:
        return row | {"status": "failed", "reason": _without_names(error, task)} | BLANK
    except Exception as error:  # whatever it is, the others go on; its text might quote a header
        return row | {"status": "failed", "reason": f"{type(error).__name__} in deepqct; please report it."} | BLANK
    flags = [f"{name}: {flag}" for name, record in zip(names, records, strict=True) for flag in record["flags"]]
    scores = {name: [record[name] for record in records if record[name] is not None] for name in SCORES}
    return (
        row
        | {"status": "curated", "reason": "", "flags": "; ".join(flags)}
        | {name: max(values, default=np.nan) for name, values in scores.items()}
        | {"sha256": recipe["sha256"]}
    )


def _recipe(task: _Task) -> dict[str, Any]:
    """Everything that the result depends on."""
    contours = {bone: {part: file_hash(path) for part, path in files.items()} for bone, files in task.contours.items()}
    return {
        "sha256": file_hash(task.path), "site": task.site, "side": task.side, "unit": task.unit,
        "image_px": task.image_px, "deepqct": __version__,
        "indices": list(UNITS), "limits": [MOTION_LIMIT, RING_LIMIT], "use": task.use, "contours": contours,
        "labels": LABELS,
    }  # fmt: skip


def _curate_anew(task: _Task, *, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a scan, cut its bones out, measure and write them."""
    scan = read_scan(task.path, unit=task.unit)
    if scan.site not in (None, task.site):
        raise ScanError(f"{task.path} is a scan of the {scan.site}, and scans.tsv says {task.site}; correct the table.")
    other_side = scan.side not in (None, task.side)
    notes = [f"its header says {scan.side}, scans.tsv {task.side} (which is it?)"] if other_side else []
    scan = replace(scan, site=task.site, side=task.side)
    theirs = {name: contoured_bone(scan, name, files) for name, files in task.contours.items()}
    names = SITES[task.site]
    if task.use == "scanner" and set(theirs) == set(names):
        bones = {name: theirs[name] for name in names}
    else:
        bones = find_bones(scan)
        if task.use == "scanner":
            bones |= theirs
    rings = ring_score(scan, bones)
    beside = theirs if task.use == "both" else {}
    return [
        _write_bone(name, bones, task, scan=scan, recipe=recipe, notes=notes, rings=rings, beside=beside.get(name))
        for name in bones
    ]


def _without_names(error: Exception, task: _Task) -> str:
    """The error's text without names of files and folders: tables travel, and a file may be called after a patient."""
    text = str(error)
    for bone, parts in task.contours.items():
        for part, path in parts.items():
            text = text.replace(str(path), f"the {part} contour of the {bone}")
    text = re.sub(re.escape(f"{task.path}/") + r"[^\s:;,]+", "one of its slices", text)
    return text.replace(str(task.path), "the scan")


def _read_record(path: Path) -> dict[str, Any]:
    """The record of one bone's stack; empty if there is none."""
    return read_json(path) if path.exists() else {}


def _write_bone(
    name: str,
    bones: dict[str, Bone],
    task: _Task,
    *,
    scan: Scan,
    recipe: dict[str, Any],
    notes: list[str],
    rings: float,
    beside: Bone | None,
) -> dict[str, Any]:
    """Write one bone's stack and mask, and last its record, which makes them count."""
    bone = bones[name]
    density, mask, first_mm = cut_stack(scan, name, bones, image_px=task.image_px)
    record_path = task.run.stack_record(task.participant_id, bone.name)
    record_path.unlink(missing_ok=True)
    indices, motion = measure(bone), motion_score(bone)
    flags = [
        *notes,
        *bone.flags,
        *flags_of_scores(motion, rings),
        *unusual_indices(indices, bone=bone.name, voxel_mm=bone.voxel_mm[1]),
    ]
    if of_bone(mask[:, [0, -1]]).any() or of_bone(mask[:, :, [0, -1]]).any():
        flags.append(f"wider than its field of {FIELD_MM[bone.name]:g} mm")
    for path, array in (
        (task.run.stack(task.participant_id, bone.name), density),
        (task.run.stack_mask(task.participant_id, bone.name), mask),
    ):
        with write_whole(path) as part, part.open("wb") as file:
            np.save(file, array)
    pixel = FIELD_MM[bone.name] / task.image_px
    record = {
        "recipe": recipe,
        "flags": flags,
        **_numbers({"motion_score": motion, "ring_score": rings}),
        "voxel_mm": [bone.voxel_mm[0], pixel, pixel],
        "scan_voxel_mm": list(bone.voxel_mm),
        "box_origin_voxels": list(bone.origin),
        "first_pixel_in_box_mm": list(first_mm),
        "mirrored": bone.mirrored,
        "indices": _numbers(indices.to_dict()),
        "scanner_indices": None if beside is None else _numbers(measure(beside).to_dict()),
        "dice": None
        if beside is None
        else _numbers({part: dice(bone, beside, compartment=part) for part in COMPARTMENTS}),
    }
    write_json(record_path, record)
    return record


def _numbers(values: dict[Any, float]) -> dict[Any, float | None]:
    """Numbers as JSON has them: it knows no NaN."""
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _indices(table: pd.DataFrame, run: Run, kind: str) -> pd.DataFrame:
    """One kind of indices from the records of all curated scans, one row a bone."""
    rows = []
    for person, site, status in table[["participant_id", "site", "status"]].itertuples(index=False):
        for bone in SITES[site] if status == "curated" else ():
            values = read_json(run.stack_record(person, bone))[kind]
            if values is not None:
                rows.append({"participant_id": person, "bone": bone, **values})
    indices = pd.DataFrame(rows, columns=["participant_id", "bone", *UNITS])
    order = indices["bone"].map({bone: i for i, bone in enumerate(BONES)})
    return indices.assign(order=order).sort_values(["participant_id", "order"], ignore_index=True).drop(columns="order")
