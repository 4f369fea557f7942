"""Scans of new women: whose they are, curated as 01 curates, and what speaks against using them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct.bundles.content import Bundle, Curated
from deepqct.cohort.hints import ID, leads_outside, leaves_folder
from deepqct.cohort.reviews import read_reviews, rejected
from deepqct.cohort.sessions import SESSION, analysed_and_others
from deepqct.cohort.tsv import read_tsv
from deepqct.curation.curation import LIMIT_S
from deepqct.curation.one_scan import BLANK, Task, curate_scan, lost_scan, scan_code, without_scan
from deepqct.folder import Run, read_json
from deepqct.scans.formats import read_head
from deepqct.scans.scan import read_scan
from deepqct.scans.stored import ScanError
from deepqct.terms import KNOWN, SITES
from deepqct.work import Progress, followed, side_by_side

SIDES = ("left", "right")
VOXEL_TOLERANCE = 0.03  # share by which an edge may differ from the training scans'; our choice
LENGTH_TOLERANCE = 0.25  # share by which a stack may be shorter or longer without a note; our choice
# Beginnings of flags of a scan on which no risk is given: the bone is not whole, or not the bone.
_UNUSABLE = (
    "cut by the field of view", "missing in some slices", "no trabecular compartment", "wider than its field", "metal",
)  # fmt: skip


@dataclass(frozen=True)
class NewScan:
    """One scan of a new woman.

    Parameters
    ----------
    participant_id : str
        The woman.
    path : Path
        The file, or the folder of DICOM slices.
    site, side : str
        Wrist or ankle, left or right; empty where neither a table nor the file's name says so.
    unit : str or None
        The unit of a file without a calibration of its own.
    rejected : bool
        Whether a reader rejects it in the ``review.csv`` beside ``scans.tsv``.
    """

    participant_id: str
    path: Path
    site: str = ""
    side: str = ""
    unit: str | None = None
    rejected: bool = False


@dataclass(frozen=True)
class Curation:
    """What became of one new scan.

    Parameters
    ----------
    scan : NewScan
        The scan, with site and side as far as they are known.
    row : dict
        Its row, as `deepqct.curate` gives it.
    reasons : tuple of str
        Why no risk is given on it; empty if it can be used.
    notes : tuple of str
        What a person should know of it.
    """

    scan: NewScan
    row: dict[str, Any]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def scans_given(
    scans: Sequence[str | Path], participants: str | Path | pd.DataFrame | None
) -> tuple[list[NewScan], pd.DataFrame]:
    """Whose scans were given, and what is known of these women.

    Parameters
    ----------
    scans : sequence of str or Path
        Scans; a ``scans.tsv``; or a folder that holds one, with ``participants.tsv`` beside it. A scan by itself belongs to
        the woman whom its name begins with: ``P0042_wrist_left.AIM`` is the left wrist of P0042. Of several sessions in a
        ``scans.tsv`` the one that a run analyses is taken. No risk is given on scans that a reader rejects in the
        ``review.csv`` beside it.
    participants : str, Path or DataFrame, optional
        Their clinical factors and bone densities, one row a woman, as in participants.tsv.

    Returns
    -------
    list of NewScan
        By woman and site.
    DataFrame
        The table of participants as it was given, by participant_id; empty without one.

    Raises
    ------
    ValueError
        If a table or ``review.csv`` cannot be read, nothing was given, or a woman has two scans of one site, or rows in
        two tables.
    """
    found: list[NewScan] = []
    known = [] if participants is None else [Path(participants) if isinstance(participants, str) else participants]
    for given in map(Path, scans):
        listed = given if given.name == "scans.tsv" else given / "scans.tsv"
        if listed.is_file():
            found += _listed(listed)
            beside = listed.parent / "participants.tsv"
            known += [beside] if participants is None and beside.is_file() and beside not in known else []
        else:
            found.append(_by_name(given))
    if not found:
        raise ValueError("No scan is given; name scans, or a folder with scans.tsv.")
    seen: dict[tuple[str, str], NewScan] = {}
    for scan in found:
        first = seen.setdefault((scan.participant_id, scan.site or str(scan.path)), scan)
        if first is not scan:
            raise ValueError(
                f"{scan.path.name} and {first.path.name} are both the {scan.site} of one woman; give one of them."
            )
    order = sorted(found, key=lambda scan: (scan.participant_id, scan.site))
    people = pd.concat(map(_people, known)) if known else pd.DataFrame()
    if people.index.has_duplicates:
        twice = people.index[people.index.duplicated()][0]
        raise ValueError(
            f"{twice} has a row in the participants.tsv of two folders; keep one, or give one table for all."
        )
    return order, people


def _listed(path: Path) -> list[NewScan]:
    """The scans that a scans.tsv lists; of several sessions the one that a run analyses."""
    faults: list[str] = []
    table = read_tsv(path, ("participant_id", "site", "side", "file"), faults)
    if table is None or faults:
        raise ValueError(faults[0] if faults else f"{path.name} cannot be read.")
    for name, known in (("site", tuple(SITES)), ("side", SIDES)):
        wrong = table[~table[name].isin(known)]
        if len(wrong):
            raise ValueError(
                f"{path.name}, row {wrong.index[0] + 2}: {name} is {wrong[name].iloc[0]!r}, not one of {', '.join(known)}; "
                "correct it."
            )
    if SESSION in table:
        grade = pd.to_numeric(table.get("motion_grade", pd.Series(np.nan, table.index)), errors="coerce")
        table, _ = analysed_and_others(table.assign(motion_grade=grade))
    for row, person, file in zip(table.index + 2, table["participant_id"], table["file"], strict=True):
        if not isinstance(person, str) or not re.fullmatch(ID, person):
            raise ValueError(f"{path.name}, row {row}: an id is letters, digits and hyphens; correct {person!r}.")
        if not isinstance(file, str) or leaves_folder(file) or leads_outside(path.parent / file, path.parent):
            raise ValueError(
                f"{path.name}, row {row} ({person}): file {file!r} is missing or leaves the folder, perhaps by a link; "
                "give a path within it, or name the scans themselves."
            )
    unit = table["unit"] if "unit" in table else pd.Series(None, table.index, dtype=object)
    refused = rejected(read_reviews(path.parent))
    return [
        NewScan(
            person, path.parent / file, site, side, unit if isinstance(unit, str) else None, (person, site) in refused
        )
        for person, site, side, file, unit in zip(
            table["participant_id"], table["site"], table["side"], table["file"], unit, strict=True
        )
    ]


def _by_name(path: Path) -> NewScan:
    """A scan by itself: the woman, the site and the side that its name says."""
    words = re.split(r"[_ ]+", path.name.partition(";")[0].split(".")[0])
    kept = [word for word in words if word.lower() not in (*SITES, *SIDES)]
    person = re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(kept)).strip("-") or "woman"
    said = [word.lower() for word in words]
    site = next((word for word in said if word in SITES), "")
    return NewScan(person, path, site, next((word for word in said if word in SIDES), ""))


def _people(table: Path | pd.DataFrame) -> pd.DataFrame:
    """A table of participants by participant_id, its known columns as numbers in their plausible ranges."""
    if isinstance(table, pd.DataFrame):
        name, people = "The table of participants", table.reset_index() if table.index.name else table.copy()
    else:
        name, faults = table.name, list[str]()
        if not table.is_file():
            raise ValueError(f"{table} does not exist; correct the path of the participants.")
        read = read_tsv(table, ("participant_id",), faults)
        if read is None or faults:
            raise ValueError(faults[0] if faults else f"{name} cannot be read.")
        people = read
    if "participant_id" not in people or people["participant_id"].duplicated().any():
        raise ValueError(f"{name} needs a column participant_id, with one row a woman; correct it.")
    people = people.astype({"participant_id": str}).set_index("participant_id")
    for column in people:
        numbers = pd.to_numeric(people[column], errors="coerce")
        _, low, high, _, _ = KNOWN.get(str(column), ("", -np.inf, np.inf, "", ""))
        wrong = people.index[(people[column].notna() & numbers.isna()) | (numbers < low) | (numbers > high)]
        if str(column) in KNOWN and len(wrong):
            raise ValueError(
                f"{name}: {column} of {wrong[0]} is {people[column][wrong[0]]}, no number from {low:g} to {high:g}; "
                "correct it or leave it empty."
            )
        if str(column) in KNOWN:
            people[column] = numbers.astype(float)
    return people


def curate_new(
    bundle: Bundle, scans: Sequence[NewScan], run: Run, *, workers: int = 0, progress: Progress | None = None
) -> list[Curation]:
    """Curate new scans as the bundle's own were, and say of each why it cannot be used, if it cannot.

    Parameters
    ----------
    bundle : Bundle
        Its settings of the curation count.
    scans : sequence of NewScan
        From `scans_given`.
    run : Run
        Receives the stacks.
    workers : int
        As in `deepqct.curate`.
    progress : callable, optional
        Called after each scan with the number of scans done and the total.

    Returns
    -------
    list of Curation
        One a scan, in their order.
    """
    curated = bundle.content.curated
    networks = bundle.content.networks
    match_mm = {
        site: min((networks[bone].recipe.match_mm for bone in bones if bone in networks), default=0.0)
        for site, bones in SITES.items()
    }
    known = [_with_head(scan, curated, match_mm=match_mm) for scan in scans]
    times = Counter((scan.participant_id, scan.site) for scan, reasons in known if not reasons)
    known = [
        (scan, reasons if times[scan.participant_id, scan.site] < 2 or reasons else
         [f"{times[scan.participant_id, scan.site]} scans of her {scan.site} are given; give one of them."])
        for scan, reasons in known
    ]  # fmt: skip
    code = scan_code()
    tasks = {
        (scan.participant_id, scan.site): Task(
            scan.participant_id, scan.site, scan.side, scan.path, scan.unit, run, curated.image_px, {}, "ours",
            curated.unusual, curated.scan_stack, curated.strength, code,
        )
        for scan, reasons in known
        if not reasons
    }  # fmt: skip
    done = side_by_side(curate_scan, list(tasks.values()), workers=workers, lost=lost_scan, limit_s=LIMIT_S)
    rows = {(row["participant_id"], row["site"]): row for row in followed(done, progress, total=len(tasks))}
    found = []
    for scan, reasons in known:
        if reasons:
            row = {"participant_id": scan.participant_id, "site": scan.site, "side": scan.side, "status": "not used"}
            found.append(Curation(scan, row | {"reason": reasons[0]} | BLANK, tuple(reasons), ()))
        else:
            row = rows[scan.participant_id, scan.site]
            judged = _judged(scan, row, run, curated=curated, same_code=code == curated.code)
            found.append(_coarser(judged, run, curated=curated))
    return found


def _with_head(scan: NewScan, curated: Curated, *, match_mm: dict[str, float]) -> tuple[NewScan, list[str]]:
    """A scan with what its header says of itself, and what already speaks against it.

    Where all networks of a site see every scan at the resolution of voxels of `match_mm`, they take scans up to those.
    """
    where = f"the {scan.site} scan" if scan.site else "a scan"
    if scan.rejected:
        return scan, [f"a reader rejected {where} in review.csv."]
    try:
        head = read_head(scan.path, unusual=curated.unusual)
        site, side, voxel = head.site, head.side, head.voxel_mm
        if voxel is None:
            whole = read_scan(scan.path, unit=scan.unit, unusual=curated.unusual)
            site, side, voxel = whole.site, whole.side, whole.voxel_mm
    except (ScanError, OSError) as error:
        return scan, [f"{where} cannot be read: {_plain(error, scan)}"]
    except Exception as error:  # whatever it is, the others go on; its text might quote a header
        return scan, [f"{where} cannot be read: {type(error).__name__} in deepqct; please report it."]
    if scan.site and site not in (None, scan.site):
        return scan, [f"the scan that was given as {scan.site} is one of the {site} by its header; correct the site."]
    complete = replace(scan, site=scan.site or site or "", side=scan.side or side or "")
    if complete.site not in curated.voxel_mm:
        given = ", ".join(curated.voxel_mm)
        said = f"it is one of the {complete.site}" if complete.site else "neither header nor name says of which site"
        return complete, [f"{where} is none that the bundle knows: {said}, and its women were scanned at {given}."]
    if complete.side not in SIDES:
        return complete, [f"{where} does not say its side; name the file <id>_{complete.site}_left, or list it."]
    low_z, high_z, low, high = curated.voxel_mm[complete.site]
    matched = match_mm[complete.site]
    high_z, high = max(high_z, matched), max(high, matched)
    edges = ((voxel[0], low_z, high_z), (voxel[1], low, high), (voxel[2], low, high))
    if any(not (1 - VOXEL_TOLERANCE) * a <= edge <= (1 + VOXEL_TOLERANCE) * b for edge, a, b in edges):
        return complete, [
            f"{where} has voxels of {voxel[1]:.4g} mm, and the bundle's women {low:.4g} mm: another generation of scanner "
            "or another protocol."
        ]
    return complete, []


def _coarser(judged: Curation, run: Run, *, curated: Curated) -> Curation:
    """A scan with a note if its voxels are coarser than any of the bundle's women, which `match_mm` allows."""
    scan = judged.scan
    path = run.stack_record(scan.participant_id, SITES[scan.site][0])
    if judged.row["status"] != "curated" or not path.exists():
        return judged
    edge, most = read_json(path)["scan_voxel_mm"][1], curated.voxel_mm[scan.site][3]
    if edge <= (1 + VOXEL_TOLERANCE) * most:
        return judged
    note = (
        f"the {scan.site} scan has voxels of {edge:.4g} mm, the bundle's women at most {most:.4g} mm: networks see all at "
        "one resolution, but indices are as measured"
    )
    return replace(judged, notes=(note, *judged.notes))


def _plain(error: Exception, scan: NewScan) -> str:
    """The text of an error without the file's path, which may name a patient."""
    return without_scan(str(error), scan.path, words="the file").replace(scan.path.name, "the file")


def _judged(scan: NewScan, row: dict[str, Any], run: Run, *, curated: Curated, same_code: bool) -> Curation:
    """What speaks against a scan that was curated, and what should be known of it."""
    where = f"the {scan.site} scan"
    if row["status"] != "curated":
        return Curation(scan, row, (f"{where} could not be curated: {row['reason']}",), ())
    flags = [flag for flag in str(row["flags"]).split("; ") if flag]
    reasons: list[str] = []
    notes: list[str] = []
    for flag in flags:
        text = flag.split(": ", 1)[-1]
        (reasons if text.startswith(_UNUSABLE) else notes).append(f"{scan.site}, {flag}")
    score = float(row["motion_score"])
    if score > curated.motion_limit:
        reasons.append(f"{where} shows motion: its score is {score:.0f}, over {curated.motion_limit:g}.")
        notes = [note for note in notes if "(motion?)" not in note]
    notes += [f"{scan.site}, {note}" for note in str(row["notes"]).split("; ") if note]
    shortest, longest = curated.length_mm[scan.site]
    bone = SITES[scan.site][0]
    record = read_json(run.stack_record(scan.participant_id, bone))
    length = np.load(run.stack(scan.participant_id, bone), mmap_mode="r").shape[0] * record["scan_voxel_mm"][0]
    if not (1 - LENGTH_TOLERANCE) * shortest <= length <= (1 + LENGTH_TOLERANCE) * longest:
        notes.append(f"{where} is {length:.1f} mm long, and the bundle's were {shortest:.1f} to {longest:.1f} mm")
    if not same_code:
        notes.append("curated by another version of deepqct than the bundle's scans were")
    return Curation(scan, row, tuple(reasons), tuple(dict.fromkeys(notes)))
