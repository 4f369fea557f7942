"""Scans in; bone stacks, indices and quality flags out. A scan that fails is a row with its reason; others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct.bones.failure_load import FALLS_ON, load_to_strength
from deepqct.bones.texture import texture_table
from deepqct.cohort.cohort import Cohort
from deepqct.cohort.scanner_names import INDEX_UNITS
from deepqct.curation.beside_scanner import check_sources, in_place_of
from deepqct.curation.one_scan import BLANK, Task, curate_scan, lost_scan, scan_code
from deepqct.folder import Run, read_json, write_table
from deepqct.terms import BONES, FALL_UNITS, SITES, STRENGTH_UNITS, UNITS
from deepqct.work import Progress, side_by_side

LIMIT_S = 1800.0  # for one scan; a full-size one takes about a minute; our choice
FULL_LIMIT_S = 4 * LIMIT_S  # with one brick a voxel, some ten minutes a bone; our choice
STRENGTHS = ("none", "coarse", "full")


class CurationError(RuntimeError):
    """No scan of a cohort could be curated; the message gives the reason of the first.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> dq.curate(replace(cohort, scans=cohort.scans.head(1).assign(site="ankle")), dq.Run(Path(tempfile.mkdtemp())))
    Traceback (most recent call last):
    deepqct.curation.curation.CurationError: None of 1 scans could be curated; the first: the scan is a scan of ...
    """


def curate(
    cohort: Cohort,
    run: Run,
    *,
    image_px: int = 96,
    contours: str = "ours",
    indices: str = "ours",
    unusual: str = "refuse",
    scan_stack: str = "each",
    strength: str = "none",
    workers: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Cut the bones out of every scan, measure them, and write what the later stages read.

    A scan that was curated the same way before, by the same code, is not curated again.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives bones/, indices.csv, texture.csv and curation.csv, and indices_scanner.csv if there is anything of the
        scanner's.
    image_px : int
        Pixels along each edge of the square density stacks; the field in mm is fixed for each bone (`FIELD_MM`).
    contours : str
        ``ours``; ``scanner``: those of the scanner's software where the cohort has them; ``both``: ours, and beside
        them the indices measured within the scanner's.
    indices : str
        ``ours``, or ``scanner``: the manufacturer's values where indices.tsv has them.
    unusual : str
        ``refuse``, or ``allow`` voxels and calibrations that no HR-pQCT scanner has.
    scan_stack : str
        Of a scan that was made in several stacks: ``each`` keeps all, measures one by one and averages; ``1``, ``2`` or
        ``3`` takes that one alone.
    strength : str
        ``full`` or ``coarse`` adds stiffness and failure load of each bone by micro-finite elements to indices.csv, as
        `deepqct.strength` computes them; ``none`` does not.
    workers : int
        Number of processes that curate scans, in each of which a file that crashes its reader, or takes longer than
        `LIMIT_S` (with strength=full `FULL_LIMIT_S`), costs that scan only; the results do not depend on it. 0: in this
        process, where nothing is kept apart.
    progress : callable, optional
        Called after each scan with the number of scans done and the total.

    Returns
    -------
    DataFrame
        One row a scan: participant_id, site, side, status (curated, failed, or rejected by a reader), reason, flags
        (what a person should look at), notes (what is unusual, but no reason to doubt the scan), motion_score and
        ring_score (see quality.py), sha256 of the file.

    Raises
    ------
    ValueError
        If `contours`, `indices` or `strength` is none of these, or asks for what the cohort does not have.
    CurationError
        If no scan could be curated; curation.csv is written and says why.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> cohort, run = dq.load_cohort(dq.run.example_run().virtual / "cohort"), dq.Run(Path(tempfile.mkdtemp()))
    >>> dq.curate(replace(cohort, scans=cohort.scans.head(1)), run, image_px=32)["status"].tolist()
    ['curated']
    >>> sorted(file.name for file in run.bones.glob("*.npy"))
    ['sub-0001_radius.npy', 'sub-0001_radius_mask.npy', 'sub-0001_ulna.npy', 'sub-0001_ulna_mask.npy']
    """
    check_sources(cohort, contours=contours, indices=indices)
    if strength not in STRENGTHS:
        raise ValueError(f"strength is {strength!r}; use one of {', '.join(STRENGTHS)}.")
    tasks = scan_tasks(
        cohort, run, image_px=image_px, contours=contours, unusual=unusual, scan_stack=scan_stack, strength=strength
    )
    rows = [
        {"participant_id": person, "site": site, "side": side, "status": "rejected", "reason": "rejected in review.csv"}
        | BLANK
        for person, site, side in cohort.scans[["participant_id", "site", "side"]].itertuples(index=False)
        if (person, site) in cohort.rejected
    ]
    for number, row in enumerate(each_curated(tasks, strength=strength, workers=workers), start=1):
        rows.append(row)
        if progress is not None:
            progress(number, len(tasks))
    table = _copies_flagged(pd.DataFrame(rows).sort_values(["participant_id", "site"], ignore_index=True))
    _forget_others(run, table)
    ours, theirs = _indices(table, run, "indices"), _indices(table, run, "scanner_indices").assign(source="contours")
    key = ["participant_id", "bone"]
    strong = ours[key] if strength == "none" else _indices(table, run, "strength")
    if cohort.scanner_indices is not None:
        theirs = pd.concat([theirs, cohort.scanner_indices.assign(source="table")], ignore_index=True)
        if indices == "scanner":
            ours = in_place_of(ours, cohort.scanner_indices)
            strong = _scanners_strength(strong, cohort.scanner_indices)
    if "F.Load" in strong:
        strong = _with_a_fall(strong, cohort.participants)
    ours = ours.merge(strong, on=key, how="left", validate="1:1")
    write_table(run.indices, ours)
    write_table(run.texture, _indices(table, run, "texture"))
    write_table(run.curation, table)
    if len(theirs):
        write_table(run.scanner_indices, theirs[[*key, "source", *(name for name in INDEX_UNITS if name in theirs)]])
    else:
        run.scanner_indices.unlink(missing_ok=True)  # of a cohort that had them once
    if not (table["status"] == "curated").any():
        raise CurationError(f"None of {len(table)} scans could be curated; the first: {table['reason'].iloc[0]}")
    return table


def measured_by_us(table: pd.DataFrame, run: Run, *, people: pd.DataFrame) -> pd.DataFrame:
    """Our own indices and strength of all curated scans, also where indices.csv has the scanner's in their place.

    Parameters
    ----------
    table : DataFrame
        The content of curation.csv.
    run : Run
        The run, or one session of it.
    people : DataFrame
        The participants of the cohort, whose weight the load of a fall needs.
    """
    ours, strong = _indices(table, run, "indices"), _indices(table, run, "strength")
    return ours.merge(_with_a_fall(strong, people), on=["participant_id", "bone"], how="left") if len(strong) else ours


def scan_tasks(
    cohort: Cohort,
    run: Run,
    *,
    image_px: int = 96,
    contours: str = "ours",
    unusual: str = "refuse",
    scan_stack: str = "each",
    strength: str = "none",
) -> list[Task]:
    """The scans of a cohort that are curated, in the order of its table: all that no reader rejected.

    Parameters
    ----------
    cohort, run, image_px, contours, unusual, scan_stack, strength
        As in `curate`.
    """
    code = scan_code()
    return [
        Task(
            row["participant_id"], row["site"], row["side"], cohort.folder / row["file"], _unit(row), run, image_px,
            _contours(cohort, row) if contours != "ours" else {}, contours, unusual == "allow", scan_stack, strength, code,
        )
        for row in cohort.scans.to_dict("records")
        if (row["participant_id"], row["site"]) not in cohort.rejected
    ]  # fmt: skip


def each_curated(tasks: Sequence[Task], *, strength: str, workers: int) -> Iterator[dict[str, Any]]:
    """Curate scans, and yield the row of each as soon as it is done; with several workers in no fixed order.

    Parameters
    ----------
    tasks : sequence of Task
        From `scan_tasks`.
    strength, workers
        As in `curate`.
    """
    limit_s = FULL_LIMIT_S if strength == "full" else LIMIT_S
    yield from side_by_side(curate_scan, tasks, workers=workers, lost=lost_scan, limit_s=limit_s)


def _scanners_strength(strong: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Strength with the scanner's values in place of ours, where it has some."""
    names = [name for name in STRENGTH_UNITS if name in strong or name in theirs]
    return in_place_of(strong, theirs, names=names) if set(names) & set(theirs) else strong


def _with_a_fall(strong: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Strength with the load of a fall over the failure load of the radius, where the woman's weight is known."""
    if "weight_kg" not in people:
        return strong.assign(**dict.fromkeys(FALL_UNITS, np.nan))
    weight = strong["participant_id"].map(people.set_index("participant_id")["weight_kg"])
    ratio = load_to_strength(strong["F.Load"], weight_kg=weight).where(strong["bone"] == FALLS_ON)
    return strong.assign(**dict.fromkeys(FALL_UNITS, ratio))


def _copies_flagged(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a flag on scans whose files are the same: in two folds, one would tell the outcome of the other."""
    flags = table["flags"].copy()
    for _, same in table[table["sha256"] != ""].groupby("sha256"):
        for row in same.index if len(same) > 1 else []:
            others = same.drop(row)[["participant_id", "site"]].agg(" ".join, axis=1)
            flags[row] = "; ".join([f"the same file as {', '.join(others)}", *filter(None, [flags[row]])])
    return table.assign(flags=flags)


def _forget_others(run: Run, table: pd.DataFrame) -> None:
    """Remove the stacks of scans that are not curated now: networks read every bone that has a record."""
    good = table.loc[table["status"] == "curated", ["participant_id", "site"]].itertuples(index=False)
    kept = {(person, bone) for person, site in good for bone in SITES[site]}
    for record in sorted(run.bones.glob("*.json")):
        if record.name.startswith("."):  # left by a process that was killed while it wrote
            record.unlink()
            continue
        person, bone = record.stem.rsplit("_", 1)
        if (person, bone) not in kept:
            record.unlink()
            run.stack(person, bone).unlink(missing_ok=True)
            run.stack_mask(person, bone).unlink(missing_ok=True)


def _contours(cohort: Cohort, row: dict[Any, Any]) -> dict[str, dict[str, Path]]:
    """Files of the scanner's contours for the bones of one scan."""
    if cohort.contours is None:
        return {}
    rows = cohort.contours.query("participant_id == @row['participant_id']")
    files: dict[str, dict[str, Path]] = {}
    for bone, compartment, file in rows[["bone", "compartment", "file"]].itertuples(index=False):
        if bone in SITES[row["site"]]:
            files.setdefault(bone, {})[compartment] = cohort.folder / file
    return files


def _unit(row: dict[Any, Any]) -> str | None:
    """The unit that scans.tsv states for a file without a calibration of its own."""
    unit = row.get("unit")
    return unit if isinstance(unit, str) else None


def _indices(table: pd.DataFrame, run: Run, kind: str) -> pd.DataFrame:
    """Our indices, the scanner's, texture or strength (`kind`) from the records of all curated scans, one row a bone."""
    rows = []
    for person, site, status in table[["participant_id", "site", "status"]].itertuples(index=False):
        for bone in SITES[site] if status == "curated" else ():
            values = read_json(run.stack_record(person, bone))[kind]
            if values is not None:
                rows.append({"participant_id": person, "bone": bone, **values})
    names = {"texture": list(texture_table()["feature"]), "strength": list(STRENGTH_UNITS)}.get(kind, list(UNITS))
    indices = pd.DataFrame(rows, columns=["participant_id", "bone", *names])
    order = indices["bone"].map({bone: i for i, bone in enumerate(BONES)})
    return indices.assign(order=order).sort_values(["participant_id", "order"], ignore_index=True).drop(columns="order")
