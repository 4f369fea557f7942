"""A checked cohort: its tables, its data dictionary, and what is rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from deepqct.cohort.reviews import read_reviews
from deepqct.scans.shown import card
from deepqct.terms import Outcome, columns_by_role


class CohortError(ValueError):
    """A cohort folder that cannot be used as it is; the message names every fault.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.load_cohort("/nowhere")
    Traceback (most recent call last):
    deepqct.cohort.cohort.CohortError: /nowhere is not a folder; give the cohort folder, ...
    """


@dataclass(frozen=True)
class Cohort:
    """A cohort whose tables were checked; `load_cohort` makes it.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    participants : DataFrame
        One row a patient; numbers as float, ``participant_id`` as text, the outcome as 0 or 1. Where scans.tsv states
        centre or scanner, they are those of the scans that are analysed.
    scans : DataFrame
        One row a scan: participant_id, site, side, file; perhaps motion_grade; perhaps unit, ``density`` for a file
        without a calibration of its own whose numbers are mgHA/cm³.
    dictionary : dict
        The data dictionary of participants.json, completed: each column has a description and a role.
    outcome : str
        The name of the target column, or of a time and an event with a comma between.
    contours, scanner_indices : DataFrame or None
        The tables of what the scanner's own software made, where the folder has them (scanner_tables.py).
    rejected : frozenset of (str, str)
        Scans (participant_id, site) that a reader rejected (reviews.py).
    ids : dict of str to str
        Where the tables hold pseudonyms, the cohort folder's own id of each; empty otherwise.
    repeats : DataFrame or None
        The scans of other sessions than the one that is analysed, where scans.tsv has the column session (sessions.py);
        `scans` then holds the analysed ones alone.
    without_outcome : int
        Women of participants.tsv who are left out, since their number is not known.

    Examples
    --------
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> len(cohort.participants), len(cohort.scans), cohort.outcome, cohort.virtual["scenario"]
    (12, 24, 'fracture', 'deepqct-like')
    >>> cohort
    Cohort(12 patients, 5 with fracture; scans: 12 ankle, 12 wrist; virtual, scenario deepqct-like)
    """

    folder: Path
    participants: pd.DataFrame
    scans: pd.DataFrame
    dictionary: dict[str, Any]
    outcome: str
    contours: pd.DataFrame | None = None
    scanner_indices: pd.DataFrame | None = None
    rejected: frozenset[tuple[str, str]] = frozenset()
    repeats: pd.DataFrame | None = None
    without_outcome: int = 0
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Outcome:
        """The outcome of every woman, with its kind."""
        return Outcome.of(self.participants.set_index("participant_id"), self.dictionary)

    @property
    def every_scan(self) -> pd.DataFrame:
        """The scans of all sessions, in the order of scans.tsv."""
        return self.scans if self.repeats is None else pd.concat([self.scans, self.repeats]).sort_index()

    @property
    def virtual(self) -> dict[str, Any] | None:
        """Scenario and attainable AUC of a virtual cohort; None for real patients."""
        return self.dictionary.get("virtual")

    def reviews(self) -> pd.DataFrame:
        """What readers decided, as `read_reviews` gives it, by the pseudonyms of these tables where they have some."""
        table, pseudonyms = read_reviews(self.folder), {own: name for name, own in self.ids.items()}
        return table.assign(participant_id=[pseudonyms.get(person, person) for person in table["participant_id"]])

    def __repr__(self) -> str:
        """Say how many patients, events and scans there are; no row of a table is shown."""
        parts = [f"{self._people}; scans: {self._sites}", *([f"{n} rejected"] if (n := len(self.rejected)) else [])]
        if self.repeats is not None:
            parts.append(f"{len(self.repeats)} more of other sessions")
        if self.virtual is not None:
            parts.append(f"virtual, scenario {self.virtual.get('scenario')}")
        return f"Cohort({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """The same for a notebook, with the columns that models take, by their role."""
        columns = {role: ", ".join(columns_by_role(self.dictionary, role)) for role in ("clinical", "frax", "bmd")}
        rows = {
            "patients": self._people,
            "scans": self._sites,
            "rejected by readers": len(self.rejected),
            **{f"columns, {role}": names for role, names in columns.items() if names},
            "virtual": "no" if self.virtual is None else f"yes, scenario {self.virtual.get('scenario')}",
        }
        then = {
            "dq.cohort.table_one(cohort)": "is the cohort by outcome",
            "dq.curate(cohort, run)": "cuts out and measures every bone",
        }
        return card("Cohort", rows, then=then)

    @property
    def _people(self) -> str:
        """The patients and events in words."""
        return f"{len(self.participants)} patients, {self.target.counted}"

    @property
    def _sites(self) -> str:
        """The number of scans of each site in words."""
        counts = self.scans["site"].value_counts().sort_index()
        return ", ".join(f"{n} {site}" for site, n in counts.items()) or "none"
