"""The scans of a cohort: where each file lies, what its header says, and how one is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.hints import ALLOW, is_there, leads_outside, leaves_folder, missing_files, unlisted_ids
from deepqct.cohort.tsv import is_date
from deepqct.cohort.twice import Named, copied, named_twice
from deepqct.cohort.typed import MOST_YEARS, validate
from deepqct.scans.formats import may_be_calibrated, read_head
from deepqct.scans.scan import Scan, read_scan
from deepqct.scans.stored import ScanError
from deepqct.terms import SITES

# It becomes the name of a folder, and must not be read as a missing value by whoever opens a table.
_SESSION = r"^(?!(?i:na|nan|null|none|n-a)$)[A-Za-z0-9][A-Za-z0-9-]*$"


def check_scans(
    table: pd.DataFrame, *, folder: Path, known: set[str] | None, faults: list[str], anywhere: bool = False
) -> pd.DataFrame | None:
    """The scans table with numbers as numbers; each fault is appended to `faults` with its row.

    With `anywhere`, scans may lie outside of the cohort folder.
    """
    schema = pa.DataFrameSchema(
        {
            "participant_id": pa.Column(str),
            "site": pa.Column(str, pa.Check.isin(list(SITES))),
            "side": pa.Column(str, pa.Check.isin(["left", "right"])),
            "file": pa.Column(str, unique=True, report_duplicates="exclude_first"),
            "unit": pa.Column(str, pa.Check.isin(["density"]), nullable=True, required=False),
            "session": pa.Column(str, pa.Check.str_matches(_SESSION), required=False),
            "years": pa.Column(float, pa.Check.in_range(0, MOST_YEARS), required=False),
            "motion_grade": pa.Column(float, pa.Check.isin([1, 2, 3, 4, 5]), nullable=True, required=False),
        }
    )
    typed = validate(table, schema, file="scans.tsv", kinds={}, faults=faults)
    unlisted = {} if known is None else unlisted_ids(table["participant_id"], known)
    missing = missing_files(table["file"], folder, anywhere=anywhere)
    there: list[Named] = []
    for row, scan in zip(table.index + 2, table.to_dict("records"), strict=True):
        person, file = scan["participant_id"], scan["file"]
        if person in unlisted:
            mend = unlisted[person] or "add her there or remove the row."
            faults.append(f"scans.tsv, row {row}: {person!r} is not in participants.tsv; {mend}")
        if not isinstance(file, str):
            continue
        if not anywhere and leaves_folder(file):
            faults.append(
                f"scans.tsv, row {row} ({person}): file {file!r} leaves the cohort folder; give a path within it{ALLOW}."
            )
            continue
        if file in missing:
            mend = missing[file] or "copy the scan there or remove the row."
            faults.append(f"scans.tsv, row {row} ({person}): {file} does not exist; {mend}")
            continue
        if not anywhere and leads_outside(folder / file, folder):
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} is or holds a link that leaves the cohort folder; copy the scan "
                f"itself there{ALLOW}."
            )
            continue
        if not (folder / file).is_file() and not (folder / file).is_dir():
            faults.append(f"scans.tsv, row {row} ({person}): {file} is no plain file; copy the scan itself there.")
            continue
        there.append(Named(int(row), person, file, folder / file))
        if (calibrated := may_be_calibrated(folder / file)) is None:
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} is no AIM, ISQ, DICOM, NIfTI, MHA or NRRD by name; convert it."
            )
        elif not calibrated and scan.get("unit") != "density":
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} has no calibration of its own; write density into the column "
                "unit if its numbers are mgHA/cm³."
            )
    faults += named_twice(there)
    for row, session in zip(table.index + 2, table.get("session", ()), strict=False):
        if is_date(session):
            faults.append(
                f"scans.tsv, row {row}: session {session!r} looks like a date, which runs keep; number sessions."
            )
    one = [name for name in ("participant_id", "site", "session") if name in table]
    repeated = table[table.duplicated(one, keep="first")]
    for row, scan in zip(repeated.index + 2, repeated.to_dict("records"), strict=True):
        again = f"a second {scan['site']} scan" + (f" of session {scan['session']}" if "session" in scan else "")
        mend = "keep one scan a site and session" if "session" in scan else "keep one, or give each a session"
        faults.append(f"scans.tsv, row {row} ({scan['participant_id']}): {again}; {mend}.")
    return typed


def check_heads(cohort: Cohort) -> list[str]:
    """Read the header of every scan, and say which scans could not be curated: cut off, no calibration, another site.

    A scan that is, byte for byte, the scan of an earlier row is a fault too, since one woman would be in two folds.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.

    Returns
    -------
    list of str
        One sentence a fault: row of scans.tsv, patient, file, what to do.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> swapped = replace(cohort, scans=cohort.scans.head(1).assign(site="ankle"))
    >>> print(*dq.cohort.check_heads(swapped))
    scans.tsv, row 2 (sub-0001): scans/sub-0001_wrist.AIM is a scan of the wrist, not of the ankle; correct site.
    """
    faults = []
    every = cohort.every_scan
    for row, scan in zip(every.index + 2, every.to_dict("records"), strict=True):
        path, where = cohort.folder / scan["file"], f"scans.tsv, row {row} ({scan['participant_id']})"
        try:
            head = read_head(path)
        except ScanError as error:
            faults.append(f"{where}: {str(error).replace(str(path), scan['file'])}")
            continue
        stated = scan.get("unit") == "density"
        if head.site not in (None, scan["site"]):
            faults.append(
                f"{where}: {scan['file']} is a scan of the {head.site}, not of the {scan['site']}; correct site."
            )
        if head.mask and not stated:
            faults.append(
                f"{where}: {scan['file']} holds voxels of 8 bits or fewer, as masks do; give the scan itself."
            )
        elif may_be_calibrated(path) and (head.calibration is None) is not stated:
            mend = (
                "leave its unit empty" if stated else "write density into the column unit if its numbers are mgHA/cm³"
            )
            has = "a" if stated else "no"
            faults.append(f"{where}: {scan['file']} has {has} calibration of its own; {mend}.")
    return faults + one_scan_twice(cohort)


def one_scan_twice(cohort: Cohort) -> list[str]:
    """Say which rows of scans.tsv name one scan: the same file by two names, or a copy of it, byte for byte.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.

    Returns
    -------
    list of str
        One sentence a fault, with both rows; what cannot be read is passed over.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import deepqct as dq
    >>> from deepqct.cohort.scan_files import one_scan_twice
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> scans = cohort.scans.head(3).assign(file=["scans/sub-0001_wrist.AIM", "./scans/sub-0001_wrist.AIM", "none.AIM"])
    >>> print(*one_scan_twice(replace(cohort, scans=scans)))
    scans.tsv, row 3 (sub-0001): ./scans/sub-0001_wrist.AIM is the same scan on disk as scans/sub-0001_wrist.AIM of row 2
    (sub-0001); name each scan in one row only.
    """
    named = [
        Named(int(row) + 2, person, file, cohort.folder / file)
        for row, person, file in cohort.every_scan[["participant_id", "file"]].itertuples(name=None)
        if is_there(cohort.folder / file)
    ]
    return named_twice(named) or copied(named)


def both_sides(cohort: Cohort) -> list[str]:
    """Warn of women whose sessions show the left limb and the right: neither repeats nor a change lie between those.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.

    Returns
    -------
    list of str
        One sentence a site, with the first woman; empty where each woman's sessions show one side.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import deepqct as dq
    >>> from deepqct.cohort.scan_files import both_sides
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> other = cohort.scans.head(1).assign(side="left")
    >>> print(*both_sides(replace(cohort, repeats=other.set_axis([99]))))
    Warning: sessions of 1 woman show the left wrist and the right, the first is sub-0001; they are taken neither for
    repeats nor for visits of one another: correct side if it is a slip.
    """
    sides = cohort.every_scan.groupby(["site", "participant_id"])["side"].nunique()
    return [
        f"Warning: sessions of {len(women)} {'woman' if len(women) == 1 else 'women'} show the left {site} and the right, "
        f"the first is {women[0][1]}; they are taken neither for repeats nor for visits of one another: correct side if it "
        "is a slip."
        for site in SITES
        if (women := [place for place in sides.index[sides > 1] if place[0] == site])
    ]


def read_scans(folder: Path, scans: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Read the scans that some rows of scans.tsv name.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    scans : DataFrame
        Rows of the cohort's table of scans: participant_id, site, file, perhaps unit.

    Returns
    -------
    dict of str to (z, y, x) float32, mgHA/cm³
        The density of each scan, by patient and site, such as ``"sub-0001 wrist"``.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> densities = dq.cohort.read_scans(cohort.folder, cohort.scans.head(2))
    >>> {name: density.shape for name, density in densities.items()}
    {'sub-0001 wrist': (6, 120, 187), 'sub-0001 ankle': (6, 153, 220)}
    """
    return {f"{row['participant_id']} {row['site']}": _read_row(folder, row).density for _, row in scans.iterrows()}


def middle_slices(folder: Path, scans: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Read the middle slice of each scan that some rows of scans.tsv name; one scan at a time is in memory.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    scans : DataFrame
        Rows of the cohort's table of scans: participant_id, site, file, perhaps unit.

    Returns
    -------
    dict of str to (1, y, x) float32, mgHA/cm³
        The slice of each scan, by patient and site, such as ``"sub-0001 wrist"``.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> slices = dq.cohort.middle_slices(cohort.folder, cohort.scans.head(1))
    >>> {name: density.shape for name, density in slices.items()}
    {'sub-0001 wrist': (1, 120, 187)}
    """
    found = {}
    for _, row in scans.iterrows():
        scan = _read_row(folder, row)
        middle = len(scan.native) // 2
        plane = np.asarray(scan.native[middle : middle + 1], np.float32)
        found[f"{row['participant_id']} {row['site']}"] = plane * np.float32(scan.slope) + np.float32(scan.intercept)
    return found


def scan_of(folder: Path, scans: pd.DataFrame, *, participant_id: str, site: str) -> Scan:
    """Read one scan of a cohort, with the unit that scans.tsv states for it.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    scans : DataFrame
        The cohort's table of scans: participant_id, site, file, perhaps unit.
    participant_id, site : str
        The patient, and wrist or ankle.

    Raises
    ------
    ScanError
        If scans.tsv has no such scan, or the file cannot be read.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> scan = dq.cohort.scan_of(cohort.folder, cohort.scans, participant_id="sub-0002", site="wrist")
    >>> scan.site, scan.side, scan.density.shape[0]
    ('wrist', 'right', 6)
    """
    rows = scans[(scans["participant_id"] == participant_id) & (scans["site"] == site)]
    if rows.empty:
        raise ScanError(f"scans.tsv has no {site} of {participant_id}; use a patient and a site that it lists.")
    return _read_row(folder, rows.iloc[0])


def _read_row(folder: Path, row: pd.Series) -> Scan:
    """The scan of one row of scans.tsv."""
    unit = row.get("unit")
    return read_scan(folder / row["file"], unit=unit if isinstance(unit, str) else None)
