"""Our indices beside those of the scanner's own software, or with those in their place."""

from __future__ import annotations

import pandas as pd

from deepqct.cohort.check import Cohort
from deepqct.cohort.scanner_tables import SOURCES
from deepqct.evaluation.agreement import limits_of_agreement
from deepqct.folder import Run, read_table, write_table
from deepqct.terms import UNITS


def compare_with_scanner(run: Run) -> pd.DataFrame:
    """Agreement of our indices with those of the scanner's software; written to agreement.csv.

    Returns
    -------
    DataFrame
        source (contours: the same measures within the scanner's contours; table: the manufacturer's values), bone, symbol
        and the columns of `deepqct.evaluation.limits_of_agreement`; empty if the cohort has no work of the scanner's
        software.
    """
    if not run.scanner_indices.exists():
        return pd.DataFrame(columns=["source", "bone", "symbol"])
    key = ["participant_id", "bone"]
    ours, theirs = read_table(run.indices).set_index(key), read_table(run.scanner_indices)
    rows = []
    for (source, bone), part in theirs.groupby(["source", "bone"], sort=False):
        both = ours.join(part.set_index(key).add_suffix(" of the scanner"), how="inner")
        rows += [
            {"source": source, "bone": bone, "symbol": symbol, "unit": unit}
            | limits_of_agreement(both[symbol], both[f"{symbol} of the scanner"])
            for symbol, unit in UNITS.items()
            if both[f"{symbol} of the scanner"].notna().any()
        ]
    table = pd.DataFrame(rows)
    write_table(run.agreement, table)
    return table


def in_place_of(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Our indices with the manufacturer's values where there are any."""
    key = ["participant_id", "bone"]
    values = theirs.set_index(key).reindex(index=ours.set_index(key).index, columns=list(UNITS))
    return values.combine_first(ours.set_index(key))[list(UNITS)].reindex(values.index).reset_index()


def check_sources(cohort: Cohort, *, contours: str, indices: str) -> None:
    """Refuse what the cohort folder cannot give."""
    for name, value, known, there in (
        ("contours", contours, SOURCES, cohort.contours is not None),
        ("indices", indices, SOURCES[:2], cohort.scanner_indices is not None),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}.")
        if value != "ours" and not there:
            raise ValueError(f"{name} is {value!r}, and the cohort folder has no {name}.tsv; add it or use ours.")
