"""A cohort folder: its tables and the headers of its scans, checked in one go, so that every fault is named at once.

A hospital's folder and a virtual one have the same form: participants.tsv with participants.json, its data dictionary
in the style of BIDS, scans.tsv, and the scans.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa
from numpy.typing import NDArray

from deepqct.cohort import reviews, scanner_tables
from deepqct.cohort.tsv import decimal_commas, read_tsv
from deepqct.folder import read_json, resolve
from deepqct.scans.formats import ScanError, may_be_calibrated, read_head
from deepqct.scans.scan import Scan, read_scan
from deepqct.terms import BINARY, KNOWN, LEFT_OUT, ROLES, SAME_PATIENT, SITES

# Ids become file names, and must not be read as a missing value.
_ID = r"^(?!(?i:na|nan|null|none|n-a)$)[A-Za-z0-9][A-Za-z0-9-]*$"


class CohortError(ValueError):
    """A cohort folder that cannot be used as it is; the message names every fault.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.load_cohort("/nowhere")
    Traceback (most recent call last):
    deepqct.cohort.check.CohortError: /nowhere is not a folder; give the cohort folder, ...
    """


@dataclass(frozen=True)
class Cohort:
    """A cohort whose tables were checked; `load_cohort` makes it.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    participants : DataFrame
        One row a patient; numbers as float, ``participant_id`` as text, the outcome as 0 or 1.
    scans : DataFrame
        One row a scan: participant_id, site, side, file; perhaps motion_grade; perhaps unit, ``density`` for a file
        without a calibration of its own whose numbers are mgHA/cm³.
    dictionary : dict
        The data dictionary of participants.json, completed: each column has a description and a role.
    outcome : str
        The name of the target column.
    contours, scanner_indices : DataFrame or None
        The tables of what the scanner's own software made, where the folder has them (scanner_tables.py).
    rejected : frozenset of (str, str)
        Scans (participant_id, site) that a reader rejected (reviews.py).

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> len(cohort.participants), len(cohort.scans), cohort.outcome, cohort.virtual["scenario"]
    (12, 24, 'fracture', 'deepqct-like')
    """

    folder: Path
    participants: pd.DataFrame
    scans: pd.DataFrame
    dictionary: dict[str, Any]
    outcome: str
    contours: pd.DataFrame | None = None
    scanner_indices: pd.DataFrame | None = None
    rejected: frozenset[tuple[str, str]] = frozenset()

    @property
    def virtual(self) -> dict[str, Any] | None:
        """Scenario and attainable AUC of a virtual cohort; None for real patients."""
        return self.dictionary.get("virtual")


def load_cohort(folder: str | Path, *, outcome: str = "fracture") -> Cohort:
    """Read a cohort folder and check it; the cohort is returned only if it has no fault.

    Parameters
    ----------
    folder : str or Path
        The cohort folder; a relative path starts at the project root.
    outcome : str
        The name of the target column, 0 or 1 in every row.

    Raises
    ------
    CohortError
        With every fault, one a line, if there is any.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> cohort.scans.columns.tolist()
    ['participant_id', 'site', 'side', 'file', 'motion_grade']
    """
    cohort, faults = check_cohort(resolve(folder), outcome=outcome)
    if cohort is None:
        raise CohortError("\n".join(faults))
    return cohort


def check_cohort(folder: Path, *, outcome: str = "fracture") -> tuple[Cohort | None, list[str]]:
    """Find every fault in the tables of a cohort folder at once.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    outcome : str
        The name of the target column, 0 or 1 in every row.

    Returns
    -------
    Cohort or None
        None if there are faults.
    list of str
        One sentence a fault: file, row (the header is row 1), value, what to do.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort, faults = dq.cohort.check_cohort(dq.run.example_run().virtual / "cohort", outcome="fractur")
    >>> faults
    ["participants.tsv has no outcome column 'fractur'; did you mean 'fracture'?"]
    """
    if not folder.is_dir():
        return None, [f"{folder} is not a folder; give the cohort folder, which holds participants.tsv and scans.tsv."]
    faults: list[str] = []
    participants = _read(folder / "participants.tsv", ("participant_id",), faults)
    scans = _read(folder / "scans.tsv", ("participant_id", "site", "side", "file"), faults)
    dictionary = _read_dictionary(folder / "participants.json", faults)
    known = None if participants is None else set(participants["participant_id"])
    if participants is not None:
        participants = _check_participants(participants, dictionary=dictionary, outcome=outcome, faults=faults)
    if scans is not None:
        scans = _check_scans(scans, folder=folder, known=known, faults=faults)
    contours = scanner_tables.read_contours(folder, people=known or set(), faults=faults)
    scanner_indices = scanner_tables.read_index_table(folder, people=known or set(), faults=faults)
    try:
        read = reviews.read_reviews(folder)
        rejected = frozenset(reviews.rejected(read))
        faults += [] if scans is None else _unlisted(read, scans)
    except reviews.ReviewError as error:
        faults.append(str(error))
    if faults or participants is None or scans is None:
        return None, faults
    dictionary = complete_dictionary(dictionary, participants, outcome=outcome)
    return Cohort(folder, participants, scans, dictionary, outcome, contours, scanner_indices, rejected), []


def check_heads(cohort: Cohort) -> list[str]:
    """Read the header of every scan, and say which scans could not be curated: cut off, no calibration, another site.

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
    for row, scan in enumerate(cohort.scans.to_dict("records"), start=2):
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
        if may_be_calibrated(path) and head.eight_bit and not stated:
            faults.append(f"{where}: {scan['file']} holds 8-bit voxels, as masks do; give the scan itself.")
        elif may_be_calibrated(path) and (head.calibration is None) is not stated:
            mend = (
                "leave its unit empty" if stated else "write density into the column unit if its numbers are mgHA/cm³"
            )
            has = "a" if stated else "no"
            faults.append(f"{where}: {scan['file']} has {has} calibration of its own; {mend}.")
    return faults


def complete_dictionary(dictionary: dict[str, Any], participants: pd.DataFrame, *, outcome: str) -> dict[str, Any]:
    """The data dictionary with an entry and a role for every column; the usual columns have one without being told.

    Parameters
    ----------
    dictionary : dict
        The content of participants.json; it may be empty.
    participants : DataFrame
        The table of participants, one row a patient.
    outcome : str
        The name of the target column.
    """
    complete: dict[str, Any] = {"virtual": dictionary["virtual"]} if "virtual" in dictionary else {}
    for name in participants.columns:
        unknown = "other" if name in dictionary else LEFT_OUT
        description, _, _, unit, role = KNOWN.get(name, (name.replace("_", " "), 0, 0, "", unknown))
        entry = {"Description": description, "Role": role} | ({"Units": unit} if unit else {})
        entry |= dictionary.get(name, {})
        if name == "participant_id":
            entry["Role"] = "id"
        elif name == SAME_PATIENT:
            entry["Role"] = "group"
        elif name == outcome:
            entry["Role"] = "outcome"
        elif entry["Role"] == "outcome":
            entry["Role"] = "other"  # another possible target must not become a predictor of this one
        complete[name] = entry
    return complete


def _read(path: Path, required: tuple[str, ...], faults: list[str]) -> pd.DataFrame | None:
    """A tab-separated table as text, or None with the reason in `faults`."""
    if not path.exists():
        other = next(
            (f.name for f in path.parent.glob(f"{path.stem}.*") if f.suffix in (".csv", ".txt", ".xlsx")), None
        )
        hint = "see the README for its form" if other is None else f"save {other} as tab-separated text under that name"
        faults.append(f"{path.name} is missing from the cohort folder; {hint}.")
        return None
    table = read_tsv(path, required, faults)
    if table is not None and table.empty:
        faults.append(f"{path.name} has no rows; list the patients, one a row.")
        return None
    return table


def _read_dictionary(path: Path, faults: list[str]) -> dict[str, Any]:
    """The data dictionary; an empty one if the file is absent, since the usual columns explain themselves."""
    if not path.exists():
        return {}
    try:
        dictionary = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "an encoding other than UTF-8"
        faults.append(f"{path.name} is not valid JSON ({where}); correct it or remove the file.")
        return {}
    if not isinstance(dictionary, dict) or not all(isinstance(entry, dict) for entry in dictionary.values()):
        faults.append(f'{path.name} must map each column to an object such as {{"Role": "clinical"}}; correct it.')
        return {}
    for name, entry in dictionary.items():
        if name != "virtual" and entry.get("Role", "other") not in ROLES:
            faults.append(f"{path.name}: the Role of {name!r} is {entry['Role']!r}; use one of {', '.join(ROLES)}.")
    return dictionary


def _check_participants(
    table: pd.DataFrame, *, dictionary: dict[str, Any], outcome: str, faults: list[str]
) -> pd.DataFrame | None:
    """The participants table with numbers as numbers; each fault is appended to `faults` with its row."""
    if outcome not in table.columns:
        close = difflib.get_close_matches(outcome, table.columns, n=1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"add it, or name another column as outcome ({_some(table)})."
        )
        faults.append(f"participants.tsv has no outcome column {outcome!r}; {hint}")
    columns = {
        "participant_id": pa.Column(str, pa.Check.str_matches(_ID), unique=True, report_duplicates="exclude_first"),
    }
    if outcome in table.columns:
        columns[outcome] = pa.Column(float, pa.Check.isin([0.0, 1.0]), nullable=False)
    for name, (_, low, high, _, _) in KNOWN.items():
        if name != outcome:
            check = pa.Check.isin([0.0, 1.0]) if name in BINARY else pa.Check.in_range(low, high)
            columns[name] = pa.Column(float, check, nullable=True, required=False)
    for name, entry in dictionary.items():
        if name not in columns and name in table.columns and entry.get("Role") in ("clinical", "frax", "bmd"):
            columns[name] = pa.Column(float, nullable=True)
    typed = _validate(table, pa.DataFrameSchema(columns), file="participants.tsv", outcome=outcome, faults=faults)
    if typed is not None and outcome in typed and typed[outcome].nunique() == 1:
        faults.append(f"participants.tsv: {outcome} is {typed[outcome].iloc[0]:.0f} in every row; a model needs both.")
        return None
    return typed


def _check_scans(
    table: pd.DataFrame, *, folder: Path, known: set[str] | None, faults: list[str]
) -> pd.DataFrame | None:
    """The scans table with numbers as numbers; each fault is appended to `faults` with its row."""
    schema = pa.DataFrameSchema(
        {
            "participant_id": pa.Column(str),
            "site": pa.Column(str, pa.Check.isin(list(SITES))),
            "side": pa.Column(str, pa.Check.isin(["left", "right"])),
            "file": pa.Column(str, unique=True, report_duplicates="exclude_first"),
            "unit": pa.Column(str, pa.Check.isin(["density"]), nullable=True, required=False),
            "motion_grade": pa.Column(float, pa.Check.isin([1, 2, 3, 4, 5]), nullable=True, required=False),
        }
    )
    typed = _validate(table, schema, file="scans.tsv", outcome=None, faults=faults)
    for row, scan in zip(table.index + 2, table.to_dict("records"), strict=True):
        person, file = scan["participant_id"], scan["file"]
        if known is not None and isinstance(person, str) and person not in known:
            faults.append(
                f"scans.tsv, row {row}: {person!r} is not in participants.tsv; add her there or remove the row."
            )
        if not isinstance(file, str):
            continue
        if Path(file).is_absolute() or ".." in Path(file).parts:
            faults.append(
                f"scans.tsv, row {row} ({person}): file {file!r} leaves the cohort folder; give a path within it."
            )
        elif not (folder / file).exists():
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} does not exist; copy the scan there or remove the row."
            )
        elif (calibrated := may_be_calibrated(folder / file)) is None:
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} is no AIM, ISQ, DICOM, NIfTI, MHA or NRRD by name; convert it."
            )
        elif not calibrated and scan.get("unit") != "density":
            faults.append(
                f"scans.tsv, row {row} ({person}): {file} has no calibration of its own; write density into the column "
                "unit if its numbers are mgHA/cm³."
            )
    repeated = table[table.duplicated(["participant_id", "site"], keep="first")]
    for row, scan in zip(repeated.index + 2, repeated.to_dict("records"), strict=True):
        faults.append(
            f"scans.tsv, row {row} ({scan['participant_id']}): a second {scan['site']} scan; "
            "keep one scan a site and patient."
        )
    return typed


def _unlisted(decisions: pd.DataFrame, scans: pd.DataFrame) -> list[str]:
    """A fault for each standing rejection of a scan that scans.tsv does not list: with a wrong id, it has no effect."""
    listed = set(scans[["participant_id", "site"]].itertuples(index=False, name=None))
    unlisted = reviews.rejected(decisions) - listed
    given = decisions[["participant_id", "site", "decision"]].itertuples(index=False, name=None)
    return [
        f"{reviews.REVIEWS}, row {row}: scans.tsv has no {site} of {person!r}; correct the id, or undo it there."
        for row, (person, site, decision) in enumerate(given, start=2)
        if decision == "reject" and (person, site) in unlisted
    ]


def _validate(
    table: pd.DataFrame, schema: pa.DataFrameSchema, *, file: str, outcome: str | None, faults: list[str]
) -> pd.DataFrame | None:
    """The table with its numbers as numbers; None if a value fails, and then `faults` has one sentence for each."""
    typed = table.copy()
    said = set()
    for name, column in schema.columns.items():
        if name in table.columns and column.dtype.type == np.float64:
            typed[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
            commas, sentence = decimal_commas(table, name, file=file)
            said |= {(row, name) for row in commas}
            faults += sentence
            for row in np.flatnonzero(table[name].notna() & typed[name].isna()):
                if (int(row), name) not in said:
                    said.add((int(row), name))
                    faults.append(_sentence(table, file, int(row), name, "number", outcome))
    try:
        schema.validate(typed, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for name, check, row in errors.failure_cases[["column", "check", "index"]].itertuples(index=False):
            if (int(row), name) not in said:
                said.add((int(row), name))
                faults.append(_sentence(table, file, int(row), name, str(check), outcome))
    return None if said else typed


def _sentence(table: pd.DataFrame, file: str, row: int, column: str, check: str, outcome: str | None) -> str:
    """One fault as one sentence: what, where, what to do."""
    value = table[column].iloc[row]
    person = table["participant_id"].iloc[row]
    where = f"{file}, row {row + 2}" + (
        f" ({person})" if isinstance(person, str) and column != "participant_id" else ""
    )
    if pd.isna(value):
        mend = "enter 0 or 1, or remove the patient" if column == outcome else "fill it in"
        return f"{where}: {column} is missing; {mend}."
    if check == "field_uniqueness":
        first = int(np.flatnonzero(table[column] == value)[0]) + 2
        return f"{where}: {column} {value!r} stands already in row {first}; keep one row each."
    mend = "correct it" if column in ("participant_id", "site", "side", outcome) else "correct it or leave it empty"
    if check == "number":
        return f"{where}: {column} is {value!r}, not a number; {mend}."
    if column == "participant_id":
        return (
            f"{where}: participant_id {value!r} has characters other than letters, digits and hyphens, or stands for a "
            f"missing value; {mend}."
        )
    if column in KNOWN and column not in BINARY and column != outcome:
        _, low, high, unit, _ = KNOWN[column]
        return f"{where}: {column} is {value}, outside {low:g}–{high:g}{unit and f' {unit}'}; {mend}."
    allowed = {
        "site": ", ".join(SITES),
        "side": "left, right",
        "motion_grade": "1 to 5",
        "unit": "density (for files without a calibration)",
    }.get(column, "0, 1")
    return f"{where}: {column} is {value!r}, not one of {allowed}; {mend}."


def _some(table: pd.DataFrame) -> str:
    """The first few column names, for a hint."""
    names = [str(name) for name in table.columns if name != "participant_id"]
    return "it has " + ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


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
