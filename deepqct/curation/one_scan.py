"""One scan curated: read once, its bones cut out, measured and written, the record of each bone last.

A rerun does only what is missing: a scan whose records say that the same file was curated the same way, by the same
code, is left as it is.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct import __version__
from deepqct.bones.contours import contoured_bone, dice
from deepqct.bones.failure_load import strength
from deepqct.bones.find import Bone, BoneError, find_bones
from deepqct.bones.quality import flags_of_scores, motion_score, ring_score, unusual_indices, unusual_strength
from deepqct.bones.texture import measure_texture
from deepqct.curation.scan_stacks import Span, chosen_stack, measure_stacks, part_of, stacks_of
from deepqct.curation.stacks import FIELD_MM, cut_stack, of_bone
from deepqct.folder import NotWrittenError, Run, is_full, not_written, read_json, write_array, write_json
from deepqct.reach import code_hash
from deepqct.scans.formats import files_of, scan_hash
from deepqct.scans.scan import Scan, crop, read_scan
from deepqct.scans.seams import find_seams
from deepqct.scans.stored import ScanError
from deepqct.terms import COMPARTMENTS, SITES, STRENGTH_UNITS

SCORES = ("motion_score", "ring_score")
BLANK = {
    "flags": "",
    "notes": "",
    "motion_score": np.nan,
    "ring_score": np.nan,
    "sha256": "",
}  # of a scan that was not curated


@dataclass(frozen=True)
class Task:
    """One scan to curate.

    Parameters
    ----------
    participant_id, site, side : str
        The patient; wrist or ankle; left or right.
    path : Path
        The file of the scan.
    unit : str or None
        The unit that scans.tsv states for a file without a calibration of its own.
    run : Run
        Receives the stacks of the bones.
    image_px : int
        Pixels along each edge of the square density stacks.
    contours : dict
        Files of the contours of the scanner's software, by bone and compartment.
    use : str
        Which contours are used: ours, scanner or both, as `contours` of `curate`.
    unusual : bool
        Allow voxels and calibrations that no HR-pQCT scanner has.
    scan_stack : str
        Of a scan of several stacks: ``each``, or the number of the one that is curated.
    strength : str
        ``none``, ``coarse`` or ``full``, as `strength` of `curate`.
    code : str
        Hash of the code that curates a scan (`scan_code`).
    """

    participant_id: str
    site: str
    side: str
    path: Path
    unit: str | None
    run: Run
    image_px: int
    contours: dict[str, dict[str, Path]]
    use: str
    unusual: bool
    scan_stack: str
    strength: str
    code: str


def scan_code() -> str:
    """A hash of the code that curates a scan, and of all that it reaches by import; another hash curates scans anew."""
    return code_hash("from deepqct.curation.one_scan import curate_scan\ncurate_scan")


def curate_scan(task: Task) -> dict[str, Any]:
    """Curate one scan, unless its records say that the same file was curated the same way already.

    Parameters
    ----------
    task : Task
        The scan, and how to curate it.

    Returns
    -------
    dict
        Its row of curation.csv, with the columns that `curate` names; an error becomes a row with status ``failed`` and
        its reason.

    Raises
    ------
    NotWrittenError
        If the run folder cannot be written, as when its disk is full.
    """
    row = {"participant_id": task.participant_id, "site": task.site, "side": task.side}
    names = SITES[task.site]
    try:
        before = _state(task)
        made_from = _made_from(task)
        records = [_read_record(task.run.stack_record(task.participant_id, name)) for name in names]
        # `deepqct tidy` removes stacks and leaves their records.
        there = all(
            path(task.participant_id, name).exists() for name in names for path in (task.run.stack, task.run.stack_mask)
        )
        if not there or any(record.get("made_from") != made_from for record in records):
            records = _curate_anew(task, made_from=made_from)
            # Times alone may change with the content as it was.
            if _state(task) != before and _made_from(task) != made_from:
                for name in names:
                    task.run.stack_record(task.participant_id, name).unlink(missing_ok=True)
                raise ScanError(
                    "the scan or a contour of it changed while it was read; run again when nobody writes there."
                )
    except NotWrittenError:  # no fault of this scan: all others would go the same way
        raise
    except (ScanError, BoneError, OSError) as error:
        if is_full(error):
            raise not_written(task.run.bones, error) from error
        return row | {"status": "failed", "reason": _without_names(error, task)} | BLANK
    except Exception as error:  # whatever it is, the others go on; its text might quote a header
        return row | {"status": "failed", "reason": f"{type(error).__name__} in deepqct; please report it."} | BLANK
    said = {
        level: "; ".join(
            f"{name}: {text}" for name, record in zip(names, records, strict=True) for text in record[level]
        )
        for level in ("flags", "notes")
    }
    scores = {name: [record[name] for record in records if record[name] is not None] for name in SCORES}
    return (
        row
        | {"status": "curated", "reason": "", **said}
        | {name: max(values, default=np.nan) for name, values in scores.items()}
        | {"sha256": made_from["sha256"]}
    )


def lost_scan(task: Task, why: str) -> dict[str, Any]:
    """The row of a scan whose process was lost.

    Parameters
    ----------
    task : Task
        The scan.
    why : str
        What became of the process, such as ``crashed``.
    """
    reason = f"the scan could not be read or measured: its process {why}; look at the file with deepqct inspect."
    row = {"participant_id": task.participant_id, "site": task.site, "side": task.side}
    return row | {"status": "failed", "reason": reason} | BLANK


def _state(task: Task) -> list[tuple[int, ...]]:
    """What changes whenever somebody writes to a scan or its contours, or puts another file in their place."""
    scans = [task.path, *(path for files in task.contours.values() for path in files.values())]
    stats = [file.stat() for path in scans for file in files_of(path)]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]


def _made_from(task: Task) -> dict[str, Any]:
    """Everything that the result depends on, as the record of each bone keeps it."""
    contours = {
        bone: {compartment: scan_hash(path) for compartment, path in files.items()}
        for bone, files in task.contours.items()
    }
    return {
        "sha256": scan_hash(task.path), "site": task.site, "side": task.side, "unit": task.unit,
        "image_px": task.image_px, "use": task.use, "unusual": task.unusual, "scan_stack": task.scan_stack,
        "strength": task.strength, "contours": contours, "deepqct": __version__, "code": task.code,
    }  # fmt: skip


def _curate_anew(task: Task, *, made_from: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a scan, cut its bones out, measure and write them."""
    scan = read_scan(task.path, unit=task.unit, unusual=task.unusual)
    if scan.site not in (None, task.site):
        raise ScanError(f"{task.path} is a scan of the {scan.site}, and scans.tsv says {task.site}; correct the table.")
    other_side = scan.side not in (None, task.side)
    doubts = [f"its header says {scan.side}, scans.tsv {task.side} (which is it?)"] if other_side else []
    scan = replace(scan, site=task.site, side=task.side)
    seams = find_seams(scan)
    spans = stacks_of(scan, seams)
    theirs = {name: contoured_bone(scan, name, files) for name, files in task.contours.items()}
    if (span := chosen_stack(spans, task.scan_stack)) != (0, len(scan.native)):
        scan, spans = crop(scan, (slice(*span), slice(None), slice(None))), [(0, span[1] - span[0])]
        theirs = {name: part for name, bone in theirs.items() if (part := part_of(bone, span)) is not None}
    else:
        doubts += [str(seam) for seam in seams]
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
        _write_bone(
            name,
            bones,
            task,
            scan=scan,
            made_from=made_from,
            spans=spans,
            doubts=doubts,
            rings=rings,
            beside=beside.get(name),
        )
        for name in bones
    ]


def _without_names(error: Exception, task: Task) -> str:
    """The error's text without names of files and folders: tables travel, and a file may be called after a patient."""
    text = str(error)
    for bone, files in task.contours.items():
        for compartment, path in files.items():
            text = text.replace(str(path), f"the {compartment} contour of the {bone}")
    masks = {path for files in task.contours.values() for path in files.values()}
    return without_scan(text, task.path, *masks, words="the scan")


def without_scan(text: str, scan: Path, *others: Path, words: str) -> str:
    """The text without the path of a scan, and without names of the files that it and others are made of.

    Parameters
    ----------
    text : str
        Of an error.
    scan : Path
        The scan.
    *others : Path
        Further scans or masks of which no slice is to be named.
    words : str
        What stands in place of the path.
    """
    text = text.replace(f"{scan} ", f"{words} ").replace(f"{scan}:", f"{words}:")
    slices = set[Path]()
    for path in (scan, *others):
        with suppress(OSError):  # they may go while they are looked at
            slices |= set(files_of(path))
    for file in sorted(slices - {scan, *others}, key=lambda file: len(file.name), reverse=True):
        # A name that is a number only is nobody's, and may be a count.
        spellings = [str(file), *([] if file.name.isdigit() else [file.name])]
        text = re.sub(
            "|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in spellings), "one of its slices", text
        )
    text = re.sub(rf"{re.escape(str(scan))}/[^'\":;]+", "one of its slices", text)  # one that has just gone
    text = text.replace(str(scan), words)
    return re.sub(rf"{re.escape(str(scan.parent))}/[^'\":;]+", "a file beside it", text)


def _read_record(path: Path) -> dict[str, Any]:
    """The record of one bone's stack; empty if there is none, or if what is there cannot be read and is made anew."""
    try:
        return dict(read_json(path)) if path.exists() else {}
    except ValueError:
        return {}


def _write_bone(
    name: str,
    bones: dict[str, Bone],
    task: Task,
    *,
    scan: Scan,
    made_from: dict[str, Any],
    spans: list[Span],
    doubts: list[str],
    rings: float,
    beside: Bone | None,
) -> dict[str, Any]:
    """Write one bone's stack and mask, and last its record: a stack without a record is not used."""
    bone = bones[name]
    density, mask, first_mm = cut_stack(scan, name, bones, image_px=task.image_px)
    record_path = task.run.stack_record(task.participant_id, bone.name)
    record_path.unlink(missing_ok=True)
    indices, motion = measure_stacks(bone, spans), motion_score(bone)
    flags, notes = flags_of_scores(motion, rings)
    flags = [*doubts, *bone.flags, *flags]
    notes += unusual_indices(indices, bone=bone.name, voxel_mm=bone.voxel_mm[1])
    strong, doubt = _strength_of(bone, spans, mode=task.strength)
    notes += doubt
    if of_bone(mask[:, [0, -1]]).any() or of_bone(mask[:, :, [0, -1]]).any():
        flags.append(f"wider than its field of {FIELD_MM[bone.name]:g} mm")
    for path, array in (
        (task.run.stack(task.participant_id, bone.name), density),
        (task.run.stack_mask(task.participant_id, bone.name), mask),
    ):
        write_array(path, array)
    pixel = FIELD_MM[bone.name] / task.image_px
    record = {
        "made_from": made_from,
        "flags": flags,
        "notes": notes,
        **_numbers({"motion_score": motion, "ring_score": rings}),
        "voxel_mm": [bone.voxel_mm[0], pixel, pixel],
        "scan_voxel_mm": list(bone.voxel_mm),
        "box_origin_voxels": list(bone.origin),
        "first_pixel_in_box_mm": list(first_mm),
        "mirrored": bone.mirrored,
        "indices": _numbers(indices.to_dict()),
        "strength": None if strong is None else _numbers(strong.to_dict()),
        "texture": _numbers(measure_stacks(bone, spans, by=measure_texture).to_dict()),
        "scanner_indices": None if beside is None else _numbers(measure_stacks(beside, spans).to_dict()),
        "dice": None
        if beside is None
        else _numbers({name: dice(bone, beside, compartment=name) for name in COMPARTMENTS}),
    }
    write_json(record_path, record)
    return record


def _strength_of(bone: Bone, spans: list[Span], *, mode: str) -> tuple[pd.Series | None, list[str]]:
    """The strength of a bone, if it is asked for, and what is to be said where there is none."""
    if mode == "none":
        return None, []
    try:
        found = measure_stacks(bone, spans, by=partial(strength, mode=mode))
    except ValueError as error:
        return pd.Series(np.nan, index=list(STRENGTH_UNITS)), [f"no strength: {str(error).partition(';')[0]}"]
    found = found[list(STRENGTH_UNITS)]
    height = len(bone.density) / len(spans) * bone.voxel_mm[0]
    return found, unusual_strength(found, bone=bone.name, height_mm=height, voxel_mm=bone.voxel_mm[1])


def _numbers(values: dict[Any, float]) -> dict[Any, float | None]:
    """Numbers for JSON, which has no NaN: None in its place."""
    return {name: None if np.isnan(value) else value for name, value in values.items()}
