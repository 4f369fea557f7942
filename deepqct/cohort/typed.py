"""Tables typed and checked value by value: every value that cannot be is one sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa

from deepqct.cohort.tsv import decimal_commas, numbers
from deepqct.terms import BINARY, EVENT_KIND, KNOWN, SITES, TIME, YES_NO

MOST_YEARS = 50  # between visits of one woman


def validate(
    table: pd.DataFrame, schema: pa.DataFrameSchema, *, file: str, kinds: Mapping[str, str], faults: list[str]
) -> pd.DataFrame | None:
    """The table with its numbers as numbers; None if a value fails, and then `faults` has one sentence for each."""
    typed = table.copy()
    said = set()
    for name, column in schema.columns.items():
        if name in table.columns and column.dtype.type == np.float64:
            typed[name] = numbers(table[name])
            commas, sentence = decimal_commas(table, name, file=file)
            said |= {(row, name) for row in commas}
            faults += sentence
            for row in table.index[table[name].notna() & typed[name].isna()]:
                if (int(row), name) not in said:
                    said.add((int(row), name))
                    faults.append(_sentence(table, file, int(row), name, "number", kinds))
    try:
        schema.validate(typed, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for name, check, row in errors.failure_cases[["column", "check", "index"]].itertuples(index=False):
            if (int(row), name) not in said:
                said.add((int(row), name))
                faults.append(_sentence(table, file, int(row), name, str(check), kinds))
    return None if said else typed


def _sentence(table: pd.DataFrame, file: str, row: int, column: str, check: str, kinds: Mapping[str, str]) -> str:
    """One fault as one sentence: what, where, what to do."""
    value, person = table[column][row], table["participant_id"][row]
    where = f"{file}, row {row + 2}" + (
        f" ({person})" if isinstance(person, str) and column != "participant_id" else ""
    )
    if pd.isna(value):
        what = {YES_NO: "0 or 1", EVENT_KIND: "0, 1 or 2", TIME: "years"}.get(kinds.get(column, ""), "")
        mend = f"enter {what}, or remove the patient" if what else "fill it in"
        return f"{where}: {column} is missing; {mend}."
    if check == "field_uniqueness":
        first = table.index[table[column] == value][0] + 2
        return f"{where}: {column} {value!r} stands already in row {first}; keep one row each."
    mend = (
        "correct it"
        if column in ("participant_id", "site", "side", "years", *kinds)
        else "correct it or leave it empty"
    )
    if check == "number":
        return f"{where}: {column} is {value!r}, not a number; {mend}."
    if column == "participant_id":
        return (
            f"{where}: participant_id {value!r} has characters other than letters, digits and hyphens, or stands for a "
            f"missing value; {mend}."
        )
    if column == "session":
        return (
            f"{where}: session {value!r} has characters other than letters, digits and hyphens, or stands for a missing "
            "value; correct it."
        )
    if column == "years":
        return f"{where}: years is {value!r}; it must be years since her first visit, 0 to {MOST_YEARS}; {mend}."
    if kinds.get(column) == TIME:
        return f"{where}: {column} is {value!r}; it must be years above 0; {mend}."
    if column in KNOWN and column not in BINARY:
        _, low, high, unit, _ = KNOWN[column]
        return f"{where}: {column} is {value}, outside {low:g}–{high:g}{unit and f' {unit}'}; {mend}."
    allowed = {
        "site": ", ".join(SITES),
        "side": "left, right",
        "motion_grade": "1 to 5",
        "unit": "density (for files without a calibration)",
    }.get(column, "0, 1, 2" if kinds.get(column) == EVENT_KIND else "0, 1")
    return f"{where}: {column} is {value!r}, not one of {allowed}; {mend}."
