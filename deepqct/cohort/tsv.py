"""Tab-separated tables as people save them: a fault is named by file, row and value, and never read as a value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from deepqct.cohort.hints import other_spelling

_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_COMPACT = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_DATE = rf"(?:19|20)\d\d-{_MONTH}-{_DAY}|{_COMPACT}|{_DAY}-{_MONTH}-(?:19|20)?\d\d"
_MISSING = ("", "n/a")
_DECIMAL_COMMA = r"[-+]?\d+,\d+"
_SAVE = "save it again as tab-separated text in UTF-8"


def read_tsv(
    path: Path, required: tuple[str, ...], faults: list[str], *, named: Mapping[str, str] | None = None
) -> pd.DataFrame | None:
    """Read a tab-separated table, every cell as text.

    Parameters
    ----------
    path : Path
        The file; it must be there.
    required : tuple of str
        Columns that it must have.
    faults : list of str
        Receives a sentence for each thing that is wrong.
    named : mapping of str to str, optional
        Other names of required columns, for where a column itself is not there.

    Returns
    -------
    DataFrame or None
        Every cell a text, NaN where it is empty or n/a; None if something is wrong, with the reasons in `faults`. Blank
        rows are left out; the index is that of a row in the file, less 2, so that the row below the header is 0.
    """
    text = _text(path, faults)
    if text is None:
        return None
    lines, read = csv.reader(io.StringIO(text, newline=""), delimiter="\t"), list[list[str]]()
    try:
        read += lines  # row by row, so that those before a fault are kept
    except csv.Error:  # a cell that is longer than any: a whole table in quotation marks
        number = 1 + sum(any(cell.strip() for cell in row) for row in read)
        rest = '"' in "".join(text.splitlines(keepends=True)[sum(1 + "".join(row).count("\n") for row in read) :])
        why = (
            'a quotation mark (") is never closed; remove it' if rest else f"a cell is longer than any can be; {_SAVE}"
        )
        faults.append(f"{path.name}, row {number}: {why}.")
        return None
    header, *rows = read if text.strip() else [[]]
    header = [name.strip() for name in header]
    header = [name if (wanted := (named or {}).get(name, name)) in header else wanted for name in header]
    for sign in (";", ","):
        if len(header) == 1 and sign in header[0]:
            faults.append(f"{path.name} has its columns separated by {sign!r}; {_SAVE}.")
            return None
    before = len(faults)
    missing = [name for name in required if name not in header]
    for name in missing:
        close = other_spelling(name, [one for one in header if one and one not in required])
        faults.append(f"{path.name} has no column {name!r}; {f'rename {close!r}' if close else 'add it'}.")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    faults += [f"{path.name} has two columns {name!r}; keep one." for name in twice]
    cells = {
        number: [*row, *[""] * (len(header) - len(row))]
        for number, row in enumerate(rows)
        if any(cell.strip() for cell in row)
    }
    for number, row in cells.items():
        if any("\n" in cell for cell in row):
            faults.append(f'{path.name}, row {number + 2}: a quotation mark (") is never closed; remove it.')
        elif any(cell.strip() for cell in row[len(header) :]):
            faults.append(
                f"{path.name}, row {number + 2} has {len(row)} cells, and the header {len(header)}; correct it."
            )
    if len(faults) > before:
        return None
    table = pd.DataFrame(
        [row[: len(header)] for row in cells.values()],
        index=pd.Index(list(cells), dtype=int),
        columns=header,
        dtype=object,
    )
    table = table.loc[:, [bool(name) for name in header]]
    return table.mask(table.isin(_MISSING))


def _text(path: Path, faults: list[str]) -> str | None:
    """The text of a table; None if its encoding is not UTF-8, with the reason in `faults`."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:200]:
        faults.append(f"{path.name} is UTF-16, which Excel calls Unicode Text; {_SAVE}.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        faults.append(f"{path.name}, row {row} has a letter that is not UTF-8; {_SAVE}.")
        return None


def numbers(column: pd.Series) -> pd.Series:
    """Texts as numbers; NaN where one is none, or is infinite.

    Parameters
    ----------
    column : Series
        Every cell a text, NaN where it is empty.
    """
    values = pd.to_numeric(column, errors="coerce").astype(float)
    return values.where(np.isfinite(values))


def decimal_commas(table: pd.DataFrame, column: str, *, file: str) -> tuple[list[int], list[str]]:
    """Find the numbers of a column that are written with a decimal comma.

    Parameters
    ----------
    table : DataFrame
        Every cell a text, from `read_tsv`.
    column : str
        The name of the column.
    file : str
        The name of the file, for the sentence.

    Returns
    -------
    list of int
        Those rows, by the index of the table.
    list of str
        One sentence about all of them; empty if there are none.
    """
    written = table[column].astype("string").str.fullmatch(_DECIMAL_COMMA).fillna(False)
    places = table.index[written.to_numpy(bool)].tolist()
    if not places:
        return [], []
    first = table[column][places[0]]
    rows = f"in {len(places)} rows, the first row {places[0] + 2}" if len(places) > 1 else f"in row {places[0] + 2}"
    return places, [f"{file}: {column} has decimal commas {rows} ({first!r}); write points."]


def is_date(text: object) -> bool:
    """True for a text that looks like a date, such as a day of a visit.

    Parameters
    ----------
    text : object
        A cell of a table.
    """
    return isinstance(text, str) and re.fullmatch(_DATE, text) is not None


def like_dates(ids: pd.Series) -> str:
    """A warning about ids that look like a date, such as a date of birth; empty if none does.

    Parameters
    ----------
    ids : Series
        participant_id of each patient.
    """
    dates = ids[ids.astype("string").str.fullmatch(_DATE).fillna(False)]
    if dates.empty:
        return ""
    return f"{len(dates)} of {len(ids)} ids look like dates, the first {dates.iloc[0]!r}; choose ids that name nobody."
