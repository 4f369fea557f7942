"""What the scanner's own software already made: contours and index tables, in the toolkit's terms.

Both are optional tables of the cohort folder. ``contours.tsv`` names a file (AIM mask, GOBJ, NIfTI …) for a bone's
compartment; ``indices.tsv`` has one row a bone with the manufacturer's values. They can be used in place of ours or
beside them.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from deepqct.cohort.tsv import decimal_commas, read_tsv
from deepqct.terms import BONES, COMPARTMENTS, UNITS

CONTOURS, INDICES = "contours.tsv", "indices.tsv"
SOURCES = ("ours", "scanner", "both")
# Names that evaluation programmes of the XtremeCT print.
ALIASES = {
    "Tt.BMD": "Tt.vBMD", "D100": "Tt.vBMD", "Tb.BMD": "Tb.vBMD", "Dtrab": "Tb.vBMD", "Ct.BMD": "Ct.vBMD",
    "Dcomp": "Ct.vBMD", "Tb.Meta.BMD": "Tb.Meta.vBMD", "Meta.Tb.BMD": "Tb.Meta.vBMD", "Dmeta": "Tb.Meta.vBMD",
    "Tb.Inn.BMD": "Tb.Inn.vBMD", "Inn.Tb.BMD": "Tb.Inn.vBMD", "Dinn": "Tb.Inn.vBMD", "BV/TV": "Tb.BV/TV",
    "1/N.SD": "Tb.1/N.SD", "Tb.N.SD": "Tb.1/N.SD",
}  # fmt: skip
_PERCENT = re.compile(r"\s*[(\[]?\s*%\s*[)\]]?$")
_SHARES = [symbol for symbol, unit in UNITS.items() if unit == "1"]


def read_contours(folder: Path, *, people: set[str], faults: list[str]) -> pd.DataFrame | None:
    """Read the table of contours, and check it.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    people : set of str
        participant_id of every patient in participants.tsv.
    faults : list of str
        Receives a sentence for each thing that is wrong.

    Returns
    -------
    DataFrame or None
        participant_id, bone, compartment, file; None if the folder has no such table, or if it has faults.
    """
    if not (folder / CONTOURS).exists():
        return None
    table = read_tsv(folder / CONTOURS, ("participant_id", "bone", "compartment", "file"), faults)
    if table is None:
        return None
    before = len(faults)
    for row, (person, bone, compartment, file) in _rows(table, ["participant_id", "bone", "compartment", "file"]):
        where = f"{CONTOURS}, row {row} ({person})"
        faults += _who(where, person, bone, people)
        if compartment not in COMPARTMENTS:
            faults.append(f"{where}: compartment is {compartment!r}, not one of {', '.join(COMPARTMENTS)}; correct it.")
        if Path(file).is_absolute() or ".." in Path(file).parts:
            faults.append(f"{where}: file {file!r} leaves the cohort folder; give a path within it.")
        elif not (folder / file).exists():
            faults.append(f"{where}: {file} does not exist; copy it there or remove the row.")
    faults += _repeated(table, ["participant_id", "bone", "compartment"], CONTOURS)
    return table if len(faults) == before else None


def read_index_table(folder: Path, *, people: set[str], faults: list[str]) -> pd.DataFrame | None:
    """Read the manufacturer's indices under the standard symbols, in the units of `deepqct.terms.UNITS`.

    Other names that are known (`ALIASES`) are replaced by the symbol; a column whose name ends in % is divided by 100.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    people : set of str
        participant_id of every patient in participants.tsv.
    faults : list of str
        Receives a sentence for each thing that is wrong.

    Returns
    -------
    DataFrame or None
        participant_id, bone, and the symbols that the table has; None if the folder has no such table, or if it has
        faults.
    """
    if not (folder / INDICES).exists():
        return None
    table = read_tsv(folder / INDICES, ("participant_id", "bone"), faults)
    if table is None:
        return None
    before = len(faults)
    out = table[["participant_id", "bone"]].copy()
    for name in table.columns.drop(["participant_id", "bone"]):
        plain = _PERCENT.sub("", name)
        symbol = ALIASES.get(plain, plain)
        if symbol not in UNITS:
            close = difflib.get_close_matches(symbol, [*UNITS, *ALIASES], n=1)
            hint = f"rename it to {close[0]!r}" if close else "remove it"
            faults.append(f"{INDICES}: no index is called {name!r}; {hint}.")
            continue
        values = pd.to_numeric(table[name], errors="coerce")
        commas, sentence = decimal_commas(table, name, file=INDICES)
        faults += sentence + [
            f"{INDICES}, row {row + 2}: {name} is {table[name].iloc[row]!r}, not a number; correct it."
            for row in np.flatnonzero(table[name].notna() & values.isna())
            if row not in commas
        ]
        if symbol in _SHARES and plain == name and values.max() > 1:
            faults.append(f"{INDICES}: {name} has values over 1; if they are percent, name the column '{name} %'.")
        out[symbol] = values / (1 if plain == name else 100)
    for row, (person, bone) in _rows(table, ["participant_id", "bone"]):
        faults += _who(f"{INDICES}, row {row} ({person})", person, bone, people)
    faults += _repeated(table, ["participant_id", "bone"], INDICES)
    return out if len(faults) == before else None


def _rows(table: pd.DataFrame, columns: list[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Each row's cells with its number in the file, whose header is row 1."""
    rows = table[columns].fillna("").itertuples(index=False, name=None)
    return list(enumerate(rows, start=2))


def _who(where: str, person: str, bone: str, people: set[str]) -> list[str]:
    """Faults in the patient and the bone of one row."""
    faults = []
    if person not in people:
        faults.append(f"{where}: {person!r} is not in participants.tsv; add her there or remove the row.")
    if bone not in BONES:
        faults.append(f"{where}: bone is {bone!r}, not one of {', '.join(BONES)}; correct it.")
    return faults


def _repeated(table: pd.DataFrame, key: list[str], file: str) -> list[str]:
    """A fault for each row that repeats the key columns of an earlier row."""
    again = table.index[table.duplicated(key)] + 2
    return [f"{file}, row {row}: {', '.join(key)} stand already in an earlier row; keep one row each." for row in again]
