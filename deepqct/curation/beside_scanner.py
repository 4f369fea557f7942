"""Our indices beside those of the scanner's own software, or with those in their place."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.scanner_tables import SOURCES
from deepqct.evaluation.agreement import limits_of_agreement
from deepqct.folder import Run, read_table, write_table
from deepqct.terms import STRENGTH_UNITS, UNITS


def compare_with_scanner(run: Run) -> pd.DataFrame:
    """Compare our indices with those of the scanner's software, and write the agreement to agreement.csv.

    Parameters
    ----------
    run : Run
        A curated run; receives agreement.csv if the cohort has contours or indices of the scanner's software.

    Returns
    -------
    DataFrame
        source (contours: our measures within the scanner's contours; table: the manufacturer's values), bone, symbol,
        unit and the columns of `deepqct.evaluation.limits_of_agreement`; empty if the cohort has nothing of the
        scanner's software.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> run, ours = dq.Run(Path(tempfile.mkdtemp())), dq.folder.read_table(dq.run.example_run().indices)
    >>> scanner = ours.assign(source="table", **{"Tt.Ar": ours["Tt.Ar"] + 3})
    >>> _ = dq.folder.write_table(run.indices, ours), dq.folder.write_table(run.scanner_indices, scanner)
    >>> row = dq.curation.compare_with_scanner(run).set_index(["bone", "symbol"]).loc[("radius", "Tt.Ar")]
    >>> int(row["n"]), row["unit"], round(float(row["bias"]), 3)
    (12, 'mm²', -3.0)
    """
    if not run.scanner_indices.exists():
        run.agreement.unlink(missing_ok=True)  # of a cohort that had them once
        return pd.DataFrame(columns=["source", "bone", "symbol"])
    key = ["participant_id", "bone"]
    ours, theirs = read_table(run.indices).set_index(key), read_table(run.scanner_indices)
    rows = []
    for (source, bone), values in theirs.groupby(["source", "bone"], sort=False):
        both = ours.join(values.set_index(key).add_suffix(" of the scanner"), how="inner")
        rows += [
            {"source": source, "bone": bone, "symbol": symbol, "unit": unit}
            | limits_of_agreement(both[symbol], both[f"{symbol} of the scanner"])
            for symbol, unit in {**UNITS, **STRENGTH_UNITS}.items()
            if {symbol, f"{symbol} of the scanner"} <= set(both) and both[f"{symbol} of the scanner"].notna().any()
        ]
    table = pd.DataFrame(rows)
    write_table(run.agreement, table)
    return table


def in_place_of(ours: pd.DataFrame, theirs: pd.DataFrame, *, names: Iterable[str] = UNITS) -> pd.DataFrame:
    """Our indices, replaced by the manufacturer's values where there are any.

    Parameters
    ----------
    ours, theirs : DataFrame
        participant_id, bone and a column for each index: ours for every bone, and those of indices.tsv.
    names : iterable of str
        The columns of the result.
    """
    key, columns = ["participant_id", "bone"], list(names)
    values = theirs.set_index(key).reindex(index=ours.set_index(key).index, columns=columns)
    return values.combine_first(ours.set_index(key))[columns].reindex(values.index).reset_index()


def check_sources(cohort: Cohort, *, contours: str, indices: str) -> None:
    """Refuse contours or indices of the scanner's software that the cohort folder does not have.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    contours, indices : str
        As for `curate`.

    Raises
    ------
    ValueError
        If the word is unknown, or the cohort folder lacks the table.
    """
    for name, value, known, there in (
        ("contours", contours, SOURCES, cohort.contours is not None),
        ("indices", indices, SOURCES[:2], cohort.scanner_indices is not None),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}.")
        if value != "ours" and not there:
            raise ValueError(f"{name} is {value!r}, and the cohort folder has no {name}.tsv; add it or use ours.")
