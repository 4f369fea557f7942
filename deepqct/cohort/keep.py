"""What a run keeps of its cohort: the checked participants, their dictionary, Table 1."""

from __future__ import annotations

import pandas as pd

from deepqct.cohort.check import Cohort
from deepqct.folder import Run, write_json, write_table
from deepqct.terms import LEFT_OUT


def keep_cohort(cohort: Cohort, run: Run) -> pd.DataFrame:
    """Write the checked tables and Table 1 into the run folder, for the later stages; return Table 1."""
    table = table_one(cohort)
    people = kept(cohort)
    write_table(run.participants, people)
    write_json(
        run.dictionary, {name: entry for name, entry in cohort.dictionary.items() if name in ("virtual", *people)}
    )
    write_table(run.table_one, table)
    return table


def kept(cohort: Cohort) -> pd.DataFrame:
    """The participants without columns that nobody described: they may be names or dates of birth."""
    names = [name for name in cohort.participants if cohort.dictionary[str(name)]["Role"] != LEFT_OUT]
    return cohort.participants[names]


def table_one(cohort: Cohort) -> pd.DataFrame:
    """The cohort by outcome: mean (SD) or n (%), with the number of missing values.

    Returns
    -------
    DataFrame
        variable, all, without, with, missing; the first row counts the patients.
    """
    table, outcome = cohort.participants, cohort.outcome
    event = table[outcome] == 1
    groups = {"all": table, f"no {outcome}": table[~event], outcome: table[event]}
    rows = [{"variable": "n"} | {name: str(len(group)) for name, group in groups.items()} | {"missing": ""}]
    for column in table.columns:
        entry = cohort.dictionary[column]
        if entry["Role"] in ("id", "outcome", LEFT_OUT) or not pd.api.types.is_numeric_dtype(table[column]):
            continue
        binary = set(table[column].dropna().unique()) <= {0.0, 1.0}
        unit = "n (%)" if binary else entry.get("Units", "")
        row = {"variable": f"{entry['Description']}{f', {unit}' if unit else ''}"}
        row |= {name: _cell(group[column].dropna(), binary=binary) for name, group in groups.items()}
        rows.append(row | {"missing": str(int(table[column].isna().sum()))})
    return pd.DataFrame(rows)


def _cell(values: pd.Series, *, binary: bool) -> str:
    """One cell of Table 1."""
    if values.empty:
        return "–"
    if binary:
        return f"{int(values.sum())} ({100 * values.mean():.0f} %)"
    digits = 2 if values.abs().max() < 10 else 1
    spread = f" ({values.std():.{digits}f})" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}".replace("-", "−")
