"""What a run keeps of its cohort: the checked participants, their data dictionary, Table 1 (the cohort by outcome)."""

from __future__ import annotations

import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.folder import Run, write_json, write_spreadsheet, write_table
from deepqct.terms import LEFT_OUT, SAME_PATIENT, barred_words
from deepqct.work import say


def keep_cohort(cohort: Cohort, run: Run) -> pd.DataFrame:
    """Write the participants, their data dictionary and Table 1 into the run folder, where later stages read them.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives participants.csv, participants.json and table_one.csv.

    Returns
    -------
    DataFrame
        Table 1, as `table_one`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> dq.cohort.keep_cohort(dq.load_cohort(dq.run.example_run().virtual / "cohort"), run)["variable"].head(3).tolist()
    ['n', 'age, years', 'height, cm']
    >>> sorted(file.name for file in run.folder.iterdir())
    ['participants.csv', 'participants.json', 'table_one.csv']
    """
    table = table_one(cohort)
    people = kept(cohort)
    if barred := barred_words(cohort.dictionary):
        say(barred)
    write_table(run.participants, people)
    write_json(
        run.dictionary, {name: entry for name, entry in cohort.dictionary.items() if name in ("virtual", *people)}
    )
    write_spreadsheet(run.table_one, table)
    return table


def kept(cohort: Cohort) -> pd.DataFrame:
    """The participants without columns that nobody described, since those may be names or dates of birth.

    Who belongs together is a number, since the values of such a column may be ids of a hospital.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    """
    names = [name for name in cohort.participants if cohort.dictionary[str(name)]["Role"] != LEFT_OUT]
    people = cohort.participants[names]
    if SAME_PATIENT in people:
        codes, _ = pd.factorize(people[SAME_PATIENT])
        people = people.assign(**{SAME_PATIENT: pd.Series(codes + 1, people.index, "Int64").where(codes >= 0)})
    return people


def table_one(cohort: Cohort) -> pd.DataFrame:
    """Table 1: the cohort by outcome, with mean (SD) or n (%) of each variable and the number of missing values.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.

    Returns
    -------
    DataFrame
        variable; all; ``no <outcome>`` and ``<outcome>``, such as ``no fracture`` and ``fracture``; missing. The first
        row counts the patients. A number is parted at its median, a time by the event within follow-up.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> dq.cohort.table_one(cohort).drop(columns="missing").head(2).to_dict("records")
    [{'variable': 'n', 'all': '12', 'no fracture': '7', 'fracture': '5'},
     {'variable': 'age, years', 'all': '70.2 (7.6)', 'no fracture': '68.4 (3.9)', 'fracture': '72.8 (11.0)'}]
    """
    table, event = cohort.participants, cohort.target.groups
    name, there = str(event.name), event.to_numpy() == 1
    groups = {"all": table, f"no {name}": table[~there], name: table[there]}
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
    """The text of one cell of Table 1: mean (SD), or n (%) of a variable of 0 and 1; a dash if nothing is known."""
    if values.empty:
        return "–"
    if binary:
        return f"{int(values.sum())} ({100 * values.mean():.0f} %)"
    digits = 2 if values.abs().max() < 10 else 1
    spread = f" ({values.std():.{digits}f})" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}".replace("-", "−")
