"""The same bone in two scans of one visit, each measured in the region that both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deepqct.bones.find import Bone, BoneError, find_bones
from deepqct.bones.indices import measure
from deepqct.bones.registration import common_region, register
from deepqct.cohort.cohort import Cohort
from deepqct.cohort.sessions import SESSION, session_key
from deepqct.curation.scan_stacks import part_of, stacks_of
from deepqct.folder import Run, read_json, write_json
from deepqct.reach import code_hash
from deepqct.scans.formats import scan_hash
from deepqct.scans.scan import read_scan
from deepqct.scans.seams import find_seams
from deepqct.scans.stored import ScanError
from deepqct.terms import SITES, UNITS
from deepqct.work import Progress, side_by_side

ALIKE = 0.5  # correlation of grey values below which a registration is not trusted; our choice
_LIMIT_S = 3600.0  # for one pair; a full-size one takes a few minutes; our choice
_SCAN = ["participant_id", "site"]


@dataclass(frozen=True)
class Pair:
    """Two scans of one site of one woman, to be registered.

    Parameters
    ----------
    participant_id, site : str
        Whose, and wrist or ankle.
    sessions : tuple of str
        The first and the second.
    paths : tuple of Path
        Their files.
    units : tuple of (str or None)
        The units that scans.tsv states.
    unusual : bool
        As in `deepqct.curate`.
    record : Path
        Where what was measured is kept.
    code : str
        A hash of the code that measures it.
    """

    participant_id: str
    site: str
    sessions: tuple[str, str]
    paths: tuple[Path, Path]
    units: tuple[str | None, str | None]
    unusual: bool
    record: Path
    code: str


def registered_indices(
    cohort: Cohort,
    run: Run,
    repeated: pd.DataFrame,
    *,
    unusual: str = "refuse",
    workers: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure the first two scans of each woman's visit on one scanner, as scanned and in the region that both show.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Its run; keeps each pair in ``sessions/registered/``, so that what was measured is not measured again.
    repeated : DataFrame
        From `deepqct.curation.repeats.repeated_indices`: which scans are of one side, visit, scanner and centre.
    unusual : str
        As in `deepqct.curate`.
    workers : int
        Pairs worked on side by side, as in `deepqct.curate`.
    progress : callable, optional
        Called after each pair with the number of pairs done and the total.

    Returns
    -------
    DataFrame
        participant_id, bone, session, way (as scanned, registered), alike (correlation of the grey values), and a column
        for each index. A bone that is not found in both scans, whose registration is not trusted (alike below .5), or with
        fewer than 3 common slices is left out.

    Notes
    -----
    Our own contours and the first stack of each scan are used. No voxel is resampled (`deepqct.bones.common_region`).
    """
    pairs = _pairs(cohort, run, repeated, unusual=unusual == "allow")
    rows: list[dict[str, Any]] = []
    done = side_by_side(measure_pair, pairs, workers=workers, lost=lambda *_: [], limit_s=_LIMIT_S)
    for number, measured in enumerate(done, start=1):
        rows += measured
        if progress is not None:
            progress(number, len(pairs))
    table = pd.DataFrame(rows, columns=["participant_id", "bone", "session", "way", "alike", *UNITS])
    return table.sort_values(["participant_id", "bone", "session", "way"], ignore_index=True)


def measure_pair(pair: Pair) -> list[dict[str, Any]]:
    """Measure one pair, unless its record says that the same files were measured by the same code.

    Parameters
    ----------
    pair : Pair
        The two scans.

    Returns
    -------
    list of dict
        Rows as of `registered_indices`; empty where a scan cannot be read.
    """
    made_from = {"sha256": [scan_hash(path) for path in pair.paths], "code": pair.code, "sessions": list(pair.sessions)}
    if pair.record.exists() and (kept := read_json(pair.record)).get("made_from") == made_from:
        return list(kept["rows"])
    try:
        found = [
            _first_stacks(path, unit=unit, unusual=pair.unusual)
            for path, unit in zip(pair.paths, pair.units, strict=True)
        ]
    except (ScanError, BoneError, OSError):  # the curation has said why
        return []
    rows: list[dict[str, Any]] = []
    for name in SITES[pair.site]:
        if name in found[0] and name in found[1]:
            rows += _both_ways(pair, found[0][name], found[1][name])
    write_json(pair.record, {"made_from": made_from, "rows": rows})
    return rows


def _first_stacks(path: Path, *, unit: str | None, unusual: bool) -> dict[str, Bone]:
    """The bones of the first stack of a scan."""
    scan = read_scan(path, unit=unit, unusual=unusual)
    span = stacks_of(scan, find_seams(scan))[0]
    parts = {name: part_of(bone, span) for name, bone in find_bones(scan).items()}
    return {name: part for name, part in parts.items() if part is not None}


def _both_ways(pair: Pair, first: Bone, second: Bone) -> list[dict[str, Any]]:
    """The indices of one bone in both scans, as scanned and registered."""
    try:
        found = register(first, second)
        if not found.alike >= ALIKE:
            return []
        common = common_region(first, second, found)
    except BoneError:
        return []
    known = {"participant_id": pair.participant_id, "bone": first.name, "alike": found.alike}
    return [
        {**known, "session": session, "way": way, **{str(name): float(value) for name, value in measure(bone).items()}}
        for way, both in (("as scanned", (first, second)), ("registered", common))
        for session, bone in zip(pair.sessions, both, strict=True)
    ]


def _pairs(cohort: Cohort, run: Run, repeated: pd.DataFrame, *, unusual: bool) -> list[Pair]:
    """The first two scans of a woman, site, side, visit, scanner and centre; of several visits the first that has two."""
    site_of = {bone: site for site, bones in SITES.items() for bone in bones}
    places = repeated.assign(site=repeated["bone"].map(site_of)).drop_duplicates([*_SCAN, SESSION])
    code = code_hash("from deepqct.curation.registered import measure_pair\nmeasure_pair")
    scans = {
        (row["participant_id"], row["site"], str(row[SESSION])): row for row in cohort.every_scan.to_dict("records")
    }
    pairs = list[Pair]()
    seen: set[tuple[str, str]] = set()
    for _, together in places.groupby([*_SCAN, "side", "years", "scanner", "centre"], dropna=False):
        person, site = str(together["participant_id"].iloc[0]), str(together["site"].iloc[0])
        if len(together) < 2 or (person, site) in seen:
            continue
        seen.add((person, site))
        names = sorted(map(str, together[SESSION]), key=session_key)[:2]
        rows = [scans[person, site, name] for name in names]
        pairs.append(
            Pair(
                person, site, _two(names), _two([cohort.folder / row["file"] for row in rows]),
                _two([row["unit"] if isinstance(row.get("unit"), str) else None for row in rows]),
                unusual, run.registered_pair(person, site), code,
            )
        )  # fmt: skip
    return pairs


def _two(values: Sequence[Any]) -> tuple[Any, Any]:
    """Two values as a pair."""
    first, second = values
    return first, second
