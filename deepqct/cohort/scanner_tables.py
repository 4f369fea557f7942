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

from deepqct.cohort.hints import ALLOW, leads_outside, leaves_folder, missing_files, plain, unlisted_ids
from deepqct.cohort.tsv import decimal_commas, numbers, read_tsv
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
# What else evaluation programmes and papers print, without capitals and signs. It is suggested only: which volume was
# evaluated, a name does not say.
_MAY_BE = {
    "totvbmd": "Tt.vBMD", "totbmd": "Tt.vBMD", "vbmdtot": "Tt.vBMD", "mean1": "Tt.vBMD, Tb.vBMD", "trabvbmd": "Tb.vBMD",
    "trabbmd": "Tb.vBMD", "cortvbmd": "Ct.vBMD", "cortbmd": "Ct.vBMD", "totar": "Tt.Ar", "totarea": "Tt.Ar",
    "ttarea": "Tt.Ar", "cortar": "Ct.Ar", "cortarea": "Ct.Ar", "ctarea": "Ct.Ar", "trabar": "Tb.Ar", "trabarea": "Tb.Ar",
    "tbarea": "Tb.Ar", "cpm": "Ct.Pm", "cortpm": "Ct.Pm", "ctperimeter": "Ct.Pm", "cortth": "Ct.Th", "dtctth": "Ct.Th",
    "copo": "Ct.Po", "cortpo": "Ct.Po", "porosity": "Ct.Po", "ctporosity": "Ct.Po", "copodm": "Ct.Po.Dm",
    "podm": "Ct.Po.Dm", "voxbvtv": "Tb.BV/TV", "trabbvtv": "Tb.BV/TV", "dttbn": "Tb.N", "dttbth": "Tb.Th",
    "dttbsp": "Tb.Sp", "trabn": "Tb.N", "trabth": "Tb.Th", "trabsp": "Tb.Sp", "dttb1nsd": "Tb.1/N.SD",
    "dt1nsd": "Tb.1/N.SD",
}  # fmt: skip
# Parts of names of what is not one of ours, though its name is near one: other densities, spreads, other structure.
_OTHERS = re.compile(r"tmd|sd$|smi|conn|^mean|^[bt]v$|^da$|matv?bmd|^vox")
_PERCENT = re.compile(r"\s*[(\[]?\s*%\s*[)\]]?$")
_SHARES = [symbol for symbol, unit in UNITS.items() if unit == "1"]


def read_contours(folder: Path, *, people: set[str], faults: list[str], anywhere: bool = False) -> pd.DataFrame | None:
    """Read the table of contours, and check it.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    people : set of str
        participant_id of every patient in participants.tsv.
    faults : list of str
        Receives a sentence for each thing that is wrong.
    anywhere : bool
        True if contours may lie outside of the cohort folder.

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
    unlisted, missing = (
        unlisted_ids(table["participant_id"], people),
        missing_files(table["file"], folder, anywhere=anywhere),
    )
    for row, (person, bone, compartment, file) in _rows(table, ["participant_id", "bone", "compartment", "file"]):
        where = f"{CONTOURS}, row {row} ({person})"
        faults += _who(where, person, bone, people, unlisted)
        if compartment not in COMPARTMENTS:
            faults.append(f"{where}: compartment is {compartment!r}, not one of {', '.join(COMPARTMENTS)}; correct it.")
        if not anywhere and leaves_folder(file):
            faults.append(f"{where}: file {file!r} leaves the cohort folder; give a path within it{ALLOW}.")
        elif file in missing:
            faults.append(f"{where}: {file} does not exist; {missing[file] or 'copy it there or remove the row.'}")
        elif not anywhere and leads_outside(folder / file, folder):
            faults.append(
                f"{where}: {file} is or holds a link that leaves the cohort folder; copy the contour itself there{ALLOW}."
            )
        elif file and not (folder / file).is_file() and not (folder / file).is_dir():
            faults.append(f"{where}: {file} is no plain file; copy the contour itself there.")
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
            faults.append(f"{INDICES}: no index is called {name!r}; {_index_meant(symbol)}.")
            continue
        if symbol in out:
            faults.append(f"{INDICES}: {name!r} is {symbol}, and another column is too; keep one.")
        values = numbers(table[name])
        commas, sentence = decimal_commas(table, name, file=INDICES)
        faults += sentence + [
            f"{INDICES}, row {row + 2}: {name} is {table[name].iloc[row]!r}, not a number; correct it."
            for row in np.flatnonzero(table[name].notna() & values.isna())
            if row not in commas
        ]
        faults += [
            f"{INDICES}, row {row + 2}: {name} is {table[name].iloc[row]!r}, and cannot be below 0; correct it."
            for row in np.flatnonzero(values < 0)
            if "mg" not in UNITS[symbol]
        ]
        if symbol in _SHARES and plain == name and values.max() > 1:
            faults.append(f"{INDICES}: {name} has values over 1; if they are percent, name the column '{name} %'.")
        out[symbol] = values / (1 if plain == name else 100)
    unlisted = unlisted_ids(table["participant_id"], people)
    for row, (person, bone) in _rows(table, ["participant_id", "bone"]):
        faults += _who(f"{INDICES}, row {row} ({person})", person, bone, people, unlisted)
    faults += _repeated(table, ["participant_id", "bone"], INDICES)
    return out if len(faults) == before else None


def _rows(table: pd.DataFrame, columns: list[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Each row's cells with its number in the file, whose header is row 1."""
    rows = table[columns].fillna("").itertuples(index=False, name=None)
    return list(enumerate(rows, start=2))


def _index_meant(name: str) -> str:
    """What to do about a column that no index is called: rename it, if it may be one of ours, or remove it."""
    key = plain(re.sub(r"\s*[\[(].*[\])]$", "", name))  # without a unit
    maybe = [known for known in (*UNITS, *ALIASES) if plain(known) == key][:1]
    if not maybe and key in _MAY_BE:
        maybe = _MAY_BE[key].split(", ")
    if not maybe and not _OTHERS.search(key):
        maybe = difflib.get_close_matches(name, [*UNITS, *ALIASES], n=1)
    if not maybe:
        return "remove it"
    unit = UNITS[ALIASES.get(maybe[0], maybe[0])]
    return (
        f"rename it to {' or '.join(map(repr, maybe))} if it is that index{f' in {unit}' * (unit != '1')}, or remove it"
    )


def _who(where: str, person: str, bone: str, people: set[str], unlisted: dict[str, str]) -> list[str]:
    """Faults in the patient and the bone of one row; `unlisted` says of ids that are not there what may be meant."""
    faults = []
    if person not in people:
        mend = unlisted.get(person) or "add her there or remove the row."
        faults.append(f"{where}: {person!r} is not in participants.tsv; {mend}")
    if bone not in BONES:
        faults.append(f"{where}: bone is {bone!r}, not one of {', '.join(BONES)}; correct it.")
    return faults


def _repeated(table: pd.DataFrame, key: list[str], file: str) -> list[str]:
    """A fault for each row that repeats the key columns of an earlier row."""
    again = table.index[table.duplicated(key)] + 2
    return [f"{file}, row {row}: {', '.join(key)} stand already in an earlier row; keep one row each." for row in again]
