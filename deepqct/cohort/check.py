"""A cohort folder: its tables and the headers of its scans, checked in one go, so that every fault is named at once.

A hospital's folder and a virtual one have the same form: participants.tsv with participants.json, its data dictionary
in the style of BIDS, scans.tsv, and the scans.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from deepqct.cohort import reviews, scanner_tables
from deepqct.cohort.cohort import Cohort, CohortError
from deepqct.cohort.hints import ALLOW, alike, leads_outside, other_spelling, unlisted_ids
from deepqct.cohort.pseudonyms import with_pseudonyms
from deepqct.cohort.scan_files import check_scans
from deepqct.cohort.sessions import analysed_and_others
from deepqct.cohort.tsv import read_tsv
from deepqct.cohort.typed import validate
from deepqct.folder import FileError, read_json, resolve
from deepqct.terms import BINARY, KNOWN, LEFT_OUT, ROLES, SAME_PATIENT

# Ids become file names, and must not be read as a missing value.
ID = r"^(?!(?i:na|nan|null|none|n-a)$)[A-Za-z0-9][A-Za-z0-9-]*$"


def load_cohort(
    folder: str | Path, *, outcome: str = "fracture", outside: str = "refuse", pseudonyms: str | Path = ""
) -> Cohort:
    """Read a cohort folder and check it; the cohort is returned only if it has no fault.

    Parameters
    ----------
    folder : str or Path
        The cohort folder; a relative path starts at the project root.
    outcome : str
        The name of the target column, 0 or 1 in every row.
    outside : str
        ``refuse``, or ``allow`` files that lie outside of the cohort folder: absolute paths, ``../`` and links.
    pseudonyms : str or Path
        A key file by which the tables get pseudonyms in place of ids; empty for the ids themselves.

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
    cohort, faults = check_cohort(resolve(folder), outcome=outcome, outside=outside)
    if cohort is None:
        raise CohortError("\n".join(faults))
    return with_pseudonyms(cohort, pseudonyms) if pseudonyms else cohort


def check_cohort(
    folder: Path, *, outcome: str = "fracture", outside: str = "refuse"
) -> tuple[Cohort | None, list[str]]:
    """Find every fault in the tables of a cohort folder at once.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    outcome : str
        The name of the target column, 0 or 1 in every row.
    outside : str
        As for `load_cohort`.

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
    anywhere = outside == "allow"
    faults = [] if anywhere else _tables_outside(folder)
    if faults:
        return None, faults
    participants = _read(folder / "participants.tsv", ("participant_id",), faults)
    scans = _read(folder / "scans.tsv", ("participant_id", "site", "side", "file"), faults)
    dictionary = _read_dictionary(folder / "participants.json", faults)
    known = None if participants is None else set(participants["participant_id"].dropna())
    if participants is not None:
        participants = _check_participants(participants, dictionary=dictionary, outcome=outcome, faults=faults)
    if scans is not None:
        scans = check_scans(scans, folder=folder, known=known, anywhere=anywhere, faults=faults)
    contours = scanner_tables.read_contours(folder, people=known or set(), anywhere=anywhere, faults=faults)
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
    scans, repeats = analysed_and_others(scans)
    return Cohort(folder, participants, scans, dictionary, outcome, contours, scanner_indices, rejected, repeats), []


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


def _tables_outside(folder: Path) -> list[str]:
    """A fault for each table that is a link out of the cohort folder: what it leads to may be anybody's."""
    names = ("participants.tsv", "participants.json", "scans.tsv", reviews.REVIEWS)
    return [
        f"{name} is a link that leaves the cohort folder; copy the table itself there{ALLOW}."
        for name in (*names, scanner_tables.CONTOURS, scanner_tables.INDICES)
        if leads_outside(folder / name, folder)
    ]


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
    except FileError as error:
        faults.append(str(error).replace(str(path), path.name))
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
        close = other_spelling(outcome, table.columns.drop("participant_id"))
        hint = f"did you mean {close!r}?" if close else f"add it, or name another column as outcome ({_some(table)})."
        faults.append(f"participants.tsv has no outcome column {outcome!r}; {hint}")
    columns = {
        "participant_id": pa.Column(str, pa.Check.str_matches(ID), unique=True, report_duplicates="exclude_first"),
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
    faults += _ids_alike(table["participant_id"])
    typed = validate(table, pa.DataFrameSchema(columns), file="participants.tsv", outcome=outcome, faults=faults)
    if typed is not None and outcome in typed and typed[outcome].nunique() == 1:
        faults.append(f"participants.tsv: {outcome} is {typed[outcome].iloc[0]:.0f} in every row; a model needs both.")
        return None
    return typed


def _ids_alike(ids: pd.Series) -> list[str]:
    """A fault for each id that differs from an earlier one by capitals or accents alone."""
    first: dict[str, tuple[int, str]] = {}
    faults = []
    for row, person in enumerate(ids, start=2):
        if not isinstance(person, str):
            continue
        before, other = first.setdefault(alike(person), (row, person))
        if other != person:
            faults.append(
                f"participants.tsv, row {row}: participant_id {person!r} differs from {other!r} in row {before} by "
                "capitals, accents or blanks alone, and many computers would keep both in one file; give one of them "
                "another id."
            )
    return faults


def _unlisted(decisions: pd.DataFrame, scans: pd.DataFrame) -> list[str]:
    """A fault for each standing rejection of a scan that scans.tsv does not list: with a wrong id, it has no effect."""
    listed = set(scans[["participant_id", "site"]].itertuples(index=False, name=None))
    unlisted = reviews.rejected(decisions) - listed
    meant = unlisted_ids((person for person, _ in unlisted), set(scans["participant_id"].dropna()))
    given = decisions[["participant_id", "site", "decision"]].itertuples(index=False, name=None)
    return [
        f"{reviews.REVIEWS}, row {row}: scans.tsv has no {site} of {person!r}; "
        + (meant.get(person) or "correct the id, or undo it there.")
        for row, (person, site, decision) in enumerate(given, start=2)
        if decision == "reject" and (person, site) in unlisted
    ]


def _some(table: pd.DataFrame) -> str:
    """The first few column names, for a hint."""
    names = [str(name) for name in table.columns if name != "participant_id"]
    return "it has " + ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
