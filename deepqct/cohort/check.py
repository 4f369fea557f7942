"""A cohort folder: its tables and the headers of its scans, checked in one go, so that every fault is named at once.

A hospital's folder and a virtual one have the same form: participants.tsv with participants.json, its data dictionary
in the style of BIDS, scans.tsv, and the scans.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from deepqct.cohort import reviews, scanner_tables
from deepqct.cohort.cohort import Cohort, CohortError
from deepqct.cohort.hints import ALLOW, ID, alike, leads_outside, other_spelling, unlisted_ids
from deepqct.cohort.pseudonyms import with_pseudonyms
from deepqct.cohort.scan_files import check_scans
from deepqct.cohort.sessions import BY, analysed_and_others, where_analysed
from deepqct.cohort.tsv import read_tsv
from deepqct.cohort.typed import validate
from deepqct.folder import FileError, read_json, resolve
from deepqct.terms import (
    BINARY,
    BONES,
    EVENT_KIND,
    FALL_UNITS,
    KNOWN,
    LEFT_OUT,
    NUMBER,
    ROLES,
    SAME_PATIENT,
    STRENGTH_UNITS,
    TIME,
    YES_NO,
    barred,
    columns_of,
    kind_of,
)
from deepqct.work import say

_PREDICTORS = ("clinical", "frax", "bmd")  # roles whose columns models take
HORIZON = 5.0  # years; our choice


def load_cohort(
    folder: str | Path,
    *,
    outcome: str = "fracture",
    horizon: float = HORIZON,
    outside: str = "refuse",
    pseudonyms: str | Path = "",
) -> Cohort:
    """Read a cohort folder and check it; the cohort is returned only if it has no fault.

    Parameters
    ----------
    folder : str or Path
        The cohort folder; a relative path starts at the project root.
    outcome : str
        The target column of participants.tsv: of 0 and 1 in every row, or of numbers; or two with a comma between, a
        time in years and an event, 0 for followed without it, 1 for the event, 2 for death before it. Women whose
        number is not known are left out.
    horizon : float
        Years at which a time to an event is judged; of no account for other outcomes.
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
    cohort, faults = check_cohort(resolve(folder), outcome=outcome, horizon=horizon, outside=outside)
    if cohort is None:
        raise CohortError("\n".join(faults))
    if cohort.without_outcome:
        say(f"{cohort.without_outcome} women are left out, since their {outcome} is not known.")
    return with_pseudonyms(cohort, pseudonyms) if pseudonyms else cohort


def check_cohort(
    folder: Path, *, outcome: str = "fracture", horizon: float = HORIZON, outside: str = "refuse"
) -> tuple[Cohort | None, list[str]]:
    """Find every fault in the tables of a cohort folder at once.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    outcome, horizon, outside
        As in `load_cohort`.

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
    kinds: dict[str, str] = {}
    if participants is not None:
        kinds = _kinds(outcome, participants, dictionary, faults)
        participants = _check_participants(
            participants, dictionary=dictionary, kinds=kinds, horizon=horizon, faults=faults
        )
        faults += _barred_roles(outcome, kinds, dictionary)
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
    analysed, _ = analysed_and_others(scans)
    stated, participants = participants, where_analysed(participants, analysed)
    for name in [name for name in BY if name in stated]:
        if moved := int((stated[name].notna() & (stated[name] != participants[name])).sum()):
            say(f"{moved} women count to the {name} of the scan that is analysed, not to that of participants.tsv.")
    dictionary = complete_dictionary(dictionary, participants, outcome=outcome, kinds=kinds, horizon=horizon)
    there = participants[next(iter(kinds))].notna()
    left_out = int((~there).sum())
    participants = participants[there].reset_index(drop=True)
    # Scans keep the numbers of their rows, which later faults name.
    scans = scans[scans["participant_id"].isin(participants["participant_id"])]
    contours, scanner_indices = (
        None
        if table is None
        else table[table["participant_id"].isin(participants["participant_id"])].reset_index(drop=True)
        for table in (contours, scanner_indices)
    )
    scans, repeats = analysed_and_others(scans)
    return Cohort(
        folder, participants, scans, dictionary, outcome, contours, scanner_indices, rejected, repeats, left_out
    ), []


def complete_dictionary(
    dictionary: dict[str, Any],
    participants: pd.DataFrame,
    *,
    outcome: str,
    kinds: Mapping[str, str] | None = None,
    horizon: float = HORIZON,
) -> dict[str, Any]:
    """The data dictionary with an entry and a role for every column; the usual columns have one without being told.

    Parameters
    ----------
    dictionary : dict
        The content of participants.json; it may be empty.
    participants : DataFrame
        The table of participants, one row a patient.
    outcome : str
        As in `load_cohort`.
    kinds : mapping of str to str, optional
        The kind of each of its columns; by default it is one of 0 and 1.
    horizon : float
        As in `load_cohort`.
    """
    kinds = kinds or {outcome: YES_NO}
    shares = barred(outcome, dictionary, list(participants.columns))
    complete: dict[str, Any] = {"virtual": dictionary["virtual"]} if "virtual" in dictionary else {}
    for name in participants.columns:
        unknown = "other" if name in dictionary else LEFT_OUT
        description, _, _, unit, role = KNOWN.get(name, (name.replace("_", " "), 0, 0, "", unknown))
        entry: dict[str, Any] = {"Description": description, "Role": role} | ({"Units": unit} if unit else {})
        entry |= dictionary.get(name, {})
        if name == "participant_id":
            entry["Role"] = "id"
        elif name == SAME_PATIENT:
            entry["Role"] = "group"
        elif name in kinds:
            entry |= {"Role": "outcome"} | ({"Kind": kinds[name]} if kinds[name] != YES_NO else {})
            if kinds[name] == TIME:
                entry["Horizon"] = float(horizon)
        elif name in shares and entry["Role"] in _PREDICTORS:
            entry |= {"Role": "other", "Shares": shares[name]}
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
    table: pd.DataFrame, *, dictionary: dict[str, Any], kinds: Mapping[str, str], horizon: float, faults: list[str]
) -> pd.DataFrame | None:
    """The participants table with numbers as numbers; each fault is appended to `faults` with its row."""
    columns = {
        "participant_id": pa.Column(str, pa.Check.str_matches(ID), unique=True, report_duplicates="exclude_first"),
    }
    for name, kind in kinds.items():
        columns[name] = _outcome_column(name, kind)
    for name, (_, low, high, _, _) in KNOWN.items():
        if name not in kinds:
            check = pa.Check.isin([0.0, 1.0]) if name in BINARY else pa.Check.in_range(low, high)
            columns[name] = pa.Column(float, check, nullable=True, required=False)
    for name, entry in dictionary.items():
        if name not in columns and name in table.columns and entry.get("Role") in ("clinical", "frax", "bmd"):
            columns[name] = pa.Column(float, nullable=True)
            if _is_measured(name):
                faults.append(
                    f"participants.tsv: {name!r} is called as what deepqct measures of a bone; rename the column, or give "
                    "it the Role other."
                )
    faults += _ids_alike(table["participant_id"])
    typed = validate(table, pa.DataFrameSchema(columns), file="participants.tsv", kinds=kinds, faults=faults)
    if typed is None or not (said := _too_alike(typed, kinds, horizon)):
        return typed
    faults.append(f"participants.tsv: {said}")
    return None


def _is_measured(name: str) -> bool:
    """Whether a column is called as an index, a texture or a strength of a bone in tables of a row a woman."""
    bone, _, symbol = name.partition(" ")
    return bone in BONES and (symbol.startswith(("Tt.", "Tb.", "Ct.")) or symbol in STRENGTH_UNITS | FALL_UNITS)


def _kinds(outcome: str, table: pd.DataFrame, dictionary: dict[str, Any], faults: list[str]) -> dict[str, str]:
    """The kind of each column of the outcome that is there; a fault for each that is not."""
    try:
        names = columns_of(outcome)
    except ValueError as error:
        faults.append(str(error))
        return {}
    for name in names:
        if name not in table.columns or name == "participant_id":
            close = other_spelling(name, table.columns.drop("participant_id"))
            hint = (
                f"did you mean {close!r}?" if close else f"add it, or name another column as outcome ({_some(table)})."
            )
            faults.append(f"participants.tsv has no outcome column {name!r}; {hint}")
    if any(name not in table.columns or name == "participant_id" for name in names):
        return {}
    if len(names) == 2:
        return dict(zip(names, (TIME, EVENT_KIND), strict=True))
    return {names[0]: kind_of(table[names[0]], dictionary.get(names[0], {}))}


def _outcome_column(name: str, kind: str) -> pa.Column:
    """What the values of a column of the outcome may be."""
    if kind == NUMBER:
        ends = KNOWN.get(name, ("", -np.inf, np.inf))
        return pa.Column(float, pa.Check.in_range(ends[1], ends[2]), nullable=True)
    if kind == TIME:
        return pa.Column(float, [pa.Check.gt(0), pa.Check.lt(np.inf)], nullable=False)
    return pa.Column(float, pa.Check.isin([0.0, 1.0, 2.0] if kind == EVENT_KIND else [0.0, 1.0]), nullable=False)


def _too_alike(table: pd.DataFrame, kinds: Mapping[str, str], horizon: float) -> str:
    """Why nothing can be learnt from an outcome; empty where something can."""
    for name, kind in kinds.items():
        known = table[name].dropna()
        if kind == YES_NO and known.nunique() == 1:
            return f"{name} is {known.iloc[0]:.0f} in every row; a model needs both."
        if kind == NUMBER and known.nunique() < 3:
            return f"{name} has {known.nunique()} different numbers in all rows; a model needs more."
        if kind == EVENT_KIND and not (known == 1).any():
            return f"{name} is 1 in no row; a model needs women with the event."
        if kind == TIME and not 0 < horizon < known.max():
            return (
                f"horizon is {horizon:g} and the longest {name} is {known.max():.3g} years; give one above 0 that women "
                "were followed beyond."
            )
    return ""


def _barred_roles(outcome: str, kinds: Mapping[str, str], dictionary: dict[str, Any]) -> list[str]:
    """A fault for each column that participants.json names a predictor and that may not predict this outcome."""
    if not kinds:
        return []
    given = {name: entry.get("Role") for name, entry in dictionary.items() if name != "virtual" and name not in kinds}
    return [
        f"participants.json: the Role of {name!r} is {given[name]!r}, and it may not predict {outcome}, since both are "
        f"made from {shared}; give it the Role other."
        for name, shared in barred(outcome, dictionary, list(given)).items()
        if given[name] in _PREDICTORS
    ]


def _ids_alike(ids: pd.Series) -> list[str]:
    """A fault for each id that differs from an earlier one by capitals or accents alone."""
    first: dict[str, tuple[int, str]] = {}
    faults = []
    for row, person in zip(ids.index + 2, ids, strict=True):
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
        for row, (person, site, decision) in zip(decisions.index + 2, given, strict=True)
        if decision == "reject" and (person, site) in unlisted
    ]


def _some(table: pd.DataFrame) -> str:
    """The first few column names, for a hint."""
    names = [str(name) for name in table.columns if name != "participant_id"]
    return "it has " + ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
