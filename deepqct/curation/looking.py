"""Which scans a person should look at, and in which order: those first that may spoil the most."""

from __future__ import annotations

import pandas as pd

FIRST, THEN = "first", "then"
_MOTION = "(motion?)"  # the end of a flag that is motion alone; every other doubts what was found or measured


def to_look_at(table: pd.DataFrame) -> pd.DataFrame:
    """The scans that a person should look at, by weight, in two levels.

    Scans that failed come first, then flagged ones: those in which a bone is doubted before those with motion alone, and
    these by their motion score. The second level are scans with nothing but notes, which are no reason to doubt them.
    Scans that a reader rejected are not among them.

    Parameters
    ----------
    table : DataFrame
        The content of curation.csv, as `deepqct.curate` returns it.

    Returns
    -------
    DataFrame
        participant_id, site, status, level (``first`` or ``then``), what, motion_score; the heaviest first.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scans = {"participant_id": ["a", "b", "c"], "site": "wrist", "status": "curated", "reason": ""}
    >>> flags = {"flags": ["", "radius: streaks (motion?)", "ulna: touches its neighbour"], "notes": ["rings", "", ""]}
    >>> dq.curation.to_look_at(pd.DataFrame(scans | flags | {"motion_score": [20.0, 60.0, 30.0]}))["level"].to_dict()
    {0: 'first', 1: 'first', 2: 'then'}
    """
    text = {name: table[name].astype(object).where(table[name].notna(), "") for name in ("reason", "flags", "notes")}
    table = table.assign(**text)
    failed = table["status"] == "failed"
    table = table[failed | ((table["status"] == "curated") & ((table["flags"] != "") | (table["notes"] != "")))]
    failed, flagged = failed[table.index], table["flags"] != ""
    reason, both = "failed: " + table["reason"], table["flags"].where(flagged, table["notes"])
    found = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "site": table["site"],
            "status": table["status"],
            "level": (failed | flagged).map({True: FIRST, False: THEN}),
            "what": reason.where(failed, both),
            "motion_score": table["motion_score"].astype(float),
            "failed": failed,
            "doubts": [
                sum(bool(flag) and _MOTION not in flag for flag in flags.split("; ")) for flags in table["flags"]
            ],
        }
    )
    order = ["level", "failed", "doubts", "motion_score"]
    found = found.sort_values(order, ascending=[True, False, False, False], kind="stable", ignore_index=True)
    return found.drop(columns=["failed", "doubts"])
