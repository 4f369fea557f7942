"""What the scanner's own software already made: contours and index tables, in the toolkit's terms.

Both are optional tables of the cohort folder. ``contours.tsv`` names a file (AIM mask, GOBJ, NIfTI …) for a bone's
compartment; ``indices.tsv`` has one row a bone with the manufacturer's values. They can be used in place of ours or
beside them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deepqct.cohort.hints import ALLOW, leads_outside, leaves_folder, missing_files, plain, unlisted_ids
from deepqct.cohort.scanner_names import (
    COLUMNS,
    INDEX_UNITS,
    PASSED_OVER,
    SITE_CODES,
    advice_on,
    factor_by_size,
    meaning_of,
    without_direction,
)
from deepqct.cohort.tsv import decimal_commas, numbers, read_tsv
from deepqct.terms import BONES, COMPARTMENTS

CONTOURS, INDICES = "contours.tsv", "indices.tsv"
SOURCES = ("ours", "scanner", "both")
_SHARES = [symbol for symbol, unit in INDEX_UNITS.items() if unit == "1"]


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
    """Read the manufacturer's indices under the standard symbols, in the units of `deepqct.terms`.

    Names of evaluation programmes and exports (`deepqct.cohort.scanner_names`) are replaced by the symbol, and units that a
    name states by ours. Forces without a unit are newtons or kilonewtons by their size, and lose the minus sign of
    compression. Names that say nothing for certain are faults.

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
    table = read_tsv(folder / INDICES, ("participant_id", "bone"), faults, named=COLUMNS)
    if table is None:
        return None
    before, unknown = len(faults), list[str]()
    table = table.assign(bone=table["bone"].replace(SITE_CODES))
    passed_over = {plain(name) for name in PASSED_OVER}
    out = table[["participant_id", "bone"]].copy()
    for name in table.columns.drop(["participant_id", "bone"]):
        if plain(name) in passed_over:
            continue
        meaning = meaning_of(name)
        if meaning is None:
            if (advice := advice_on(name)) == "remove it":
                unknown.append(name)
            else:
                faults.append(f"{INDICES}: no index is called {name!r}; {advice}.")
            continue
        symbol = meaning.symbol
        if symbol in out:
            faults.append(f"{INDICES}: {name!r} is {symbol}, and another column is too; keep one.")
        values = numbers(table[name])
        commas, sentence = decimal_commas(table, name, file=INDICES)
        faults += sentence + [
            f"{INDICES}, row {row + 2}: {name} is {table[name][row]!r}, not a number; correct it."
            for row in table.index[table[name].notna() & values.isna()]
            if row not in commas
        ]
        faults += [
            f"{INDICES}, row {row + 2}: {name} is {table[name][row]!r}, and cannot be below 0; correct it."
            for row in table.index[values < 0]
            if "mg" not in INDEX_UNITS[symbol] and not without_direction(symbol)
        ]
        if symbol in _SHARES and meaning.factor == 1 and values.max() > 1:
            faults.append(f"{INDICES}: {name} has values over 1; if they are percent, name the column '{name} %'.")
        out[symbol] = _in_our_unit(values, name=name, symbol=symbol, factor=meaning.factor, faults=faults)
    if unknown:
        they = f"{unknown[0]!r}; remove it" if len(unknown) == 1 else f"{', '.join(map(repr, unknown))}; remove them"
        faults.append(f"{INDICES}: no index is called {they}.")
    unlisted = unlisted_ids(table["participant_id"], people)
    for row, (person, bone) in _rows(table, ["participant_id", "bone"]):
        faults += _who(f"{INDICES}, row {row} ({person})", person, bone, people, unlisted)
    faults += _repeated(table, ["participant_id", "bone"], INDICES)
    return out if len(faults) == before else None


def _rows(table: pd.DataFrame, columns: list[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Each row's cells with its number in the file, whose header is row 1."""
    rows = table[columns].fillna("").itertuples(index=False, name=None)
    return list(zip((table.index + 2).tolist(), rows, strict=True))


def _in_our_unit(values: pd.Series, *, name: str, symbol: str, factor: float | None, faults: list[str]) -> pd.Series:
    """The values of a column in the unit of its symbol; what keeps that from being certain is a fault."""
    if without_direction(symbol):
        if values.min() < 0 < values.max():
            faults.append(f"{INDICES}: {name} has values above and below 0; give all loads one sign.")
        values = values.abs()
    if factor is None and values.notna().any():
        factor = factor_by_size(symbol, float(values.max()), float(values.min()))
        if factor is None:
            unit = INDEX_UNITS[symbol]
            faults.append(
                f"{INDICES}: {name} has values of N and of kN; name the column '{name} [{unit}]' or "
                f"'{name} [{unit.removeprefix('k')}]', and give all values in that unit."
            )
    return values * (1 if factor is None else factor)


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
