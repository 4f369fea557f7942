"""Scans of one woman on several occasions: which one is analysed, and which serve to measure precision."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

WORST_MOTION = 3  # of an acceptable scan, on the manufacturer's scale of 1 to 5 (Whittier 2020)
SESSION = "session"
YEARS = "years"  # since the woman's first visit: scans of one visit tell noise, visits tell change
BY = ("centre", "scanner")  # columns of participants.tsv or scans.tsv that say where or on what a woman was scanned
_ONE = ["participant_id", "site"]


def analysed_and_others(scans: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Divide the scans of a cohort into those of the analysis and the other sessions, by a rule fixed beforehand.

    Of each woman and site the first session whose scan has a motion grade of 3 or better, or none, is analysed; where there
    is none such, the first. Sessions are put in the order of their names, numbers by their size (2 before 10).

    Parameters
    ----------
    scans : DataFrame
        The checked table of scans, perhaps with the column ``session``.

    Returns
    -------
    DataFrame
        The scans of the analysis, one for each woman and site.
    DataFrame or None
        All others; None if the table has no sessions.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.cohort.sessions import analysed_and_others
    >>> scans = pd.DataFrame({"participant_id": "P1", "site": "wrist", "session": ["2", "1"], "motion_grade": [1.0, 4.0]})
    >>> first, others = analysed_and_others(scans)
    >>> first["session"].tolist(), others["session"].tolist()
    (['2'], ['1'])
    """
    if SESSION not in scans:
        return scans, None
    moved = scans["motion_grade"] > WORST_MOTION if "motion_grade" in scans else pd.Series(False, scans.index)
    order = sorted(scans.index, key=lambda row: (bool(moved[row]), session_key(scans.loc[row, SESSION])))
    first = scans.loc[order].drop_duplicates(_ONE, keep="first").index
    analysed = scans.index.isin(first)
    return scans[analysed], scans[~analysed]


def where_analysed(participants: pd.DataFrame, analysed: pd.DataFrame) -> pd.DataFrame:
    """The participants with centre and scanner of the scans that are analysed, where scans.tsv states them.

    What models and readers see was made there, wherever a woman came first.

    Parameters
    ----------
    participants : DataFrame
        One row a patient.
    analysed : DataFrame
        The scans of the analysis, perhaps with the columns ``centre`` and ``scanner``.

    Returns
    -------
    DataFrame
        Like `participants`; ``A and B`` where her wrist was scanned in one and her ankle in the other. Who has no scan with
        such a statement keeps that of participants.tsv.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.cohort.sessions import where_analysed
    >>> people = pd.DataFrame({"participant_id": ["P1", "P2", "P3"], "centre": "A"})
    >>> scans = pd.DataFrame({"participant_id": ["P1", "P2", "P2"], "centre": ["B", "B", "A"]})
    >>> where_analysed(people, scans)["centre"].tolist()
    ['B', 'A and B', 'A']
    """
    stated = {}
    for name in [name for name in BY if name in analysed]:
        known = analysed.dropna(subset=name).groupby("participant_id")[name]
        at = participants["participant_id"].map(known.agg(lambda names: " and ".join(sorted(set(map(str, names))))))
        if name in participants and pd.api.types.is_numeric_dtype(participants[name]):  # a predictor stays a number
            at = pd.to_numeric(at, errors="coerce")
        stated[name] = at.fillna(participants[name]) if name in participants else at
    return participants.assign(**stated)


def session_key(name: Any) -> list[tuple[int, int | str]]:
    """A key that puts the names of sessions in order, the numbers in them by their size."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", str(name))]
