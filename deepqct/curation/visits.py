"""One woman's indices over her visits, with the noise that women scanned twice at one visit give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from deepqct.cohort.sessions import YEARS
from deepqct.evaluation.change import Change, change_of
from deepqct.evaluation.repeats import ISCD_DEGREES
from deepqct.folder import Run, read_table
from deepqct.terms import STRENGTH_UNITS, UNITS


@dataclass(frozen=True)
class Visits:
    """One index of one bone of one woman over her visits.

    Parameters
    ----------
    participant_id, bone, symbol, unit : str
        Who, and what was measured.
    table : DataFrame
        session, years, value, and counted (whether it is of the side, the scanner and the centre of her first visit); a row
        for each scan, by years.
    sd : float
        SD of one measurement, from precision.csv; NaN where it is not known.
    basis : str
        What that rests on, or why it is not known, in words.
    degrees_of_freedom : float
        Those of `sd`.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.curation.visits import Visits
    >>> scans = pd.DataFrame({"session": ["1", "2"], "years": [0.0, 2.0], "value": [300.0, 290.0], "counted": True})
    >>> Visits("P1", "radius", "Tt.vBMD", "mgHA/cm³", scans, sd=1.5, basis="30 women")
    Visits(P1, Tt.vBMD of the radius, 2 scans)
    """

    participant_id: str
    bone: str
    symbol: str
    unit: str
    table: pd.DataFrame = field(repr=False)
    sd: float
    basis: str
    degrees_of_freedom: float = float("inf")

    def __repr__(self) -> str:
        """Say who, what and how many scans; no value is shown."""
        return f"Visits({self.participant_id}, {self.symbol} of the {self.bone}, {len(self.table)} scans)"

    @property
    def change(self) -> Change:
        """What the scans of the side and on the scanner of her first visit say about change."""
        counted = self.table[self.table["counted"]]
        return change_of(counted["years"], counted["value"], sd=self.sd, degrees_of_freedom=self.degrees_of_freedom)

    @property
    def words(self) -> str:
        """The change, and what it rests on, in sentences."""
        return f"{self.change.words('' if self.unit == '1' else self.unit)} {self.rests_on}".strip()

    @property
    def rests_on(self) -> str:
        """What the noise rests on, or why it is not known, and which scans do not count, in sentences."""
        left = int((~self.table["counted"]).sum())
        said = [f"Noise: {self.basis}."]
        if left:
            scans = f"{left} scan{'' if left == 1 else 's'}"
            said.append(f"Not counted: {scans} of the other side, on another scanner or in another centre.")
        return " ".join(said)

    def drawn(self) -> dict[str, Any]:
        """The arguments of `deepqct.plots.change_over_visits`."""
        unit = "" if self.unit == "1" else self.unit
        return {
            "years": self.table["years"].to_numpy(float), "value": self.table["value"].to_numpy(float), "sd": self.sd,
            "degrees_of_freedom": self.degrees_of_freedom,
            "label": f"{self.symbol} of the {self.bone}", "unit": unit, "bone": self.bone,
            "counted": self.table["counted"].to_numpy(bool), "title": self.participant_id,
        }  # fmt: skip


def visits_in(run: Run) -> pd.DataFrame:
    """The scans of a run's women who came to several visits, with their indices; empty where there are none.

    Parameters
    ----------
    run : Run
        A run after the stage 01_data_curation.

    Returns
    -------
    DataFrame
        The rows of repeats.csv of women and bones with scans of at least two visits.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.curation.visits import visits_in
    >>> len(visits_in(dq.run.example_run()))  # its women were scanned once
    0
    """
    table = read_table(run.repeats) if run.repeats.exists() else pd.DataFrame()
    if YEARS not in table:
        return pd.DataFrame(columns=["participant_id", "bone", "session", YEARS])
    times = table.groupby(["participant_id", "bone"])[YEARS].transform("nunique")
    return table[times > 1].reset_index(drop=True)


def visits_of(run: Run, participant_id: str, *, bone: str, symbol: str = "Tt.vBMD") -> Visits | None:
    """One index of one bone of one woman over her visits, with the noise that the run knows.

    Parameters
    ----------
    run : Run
        A run after the stage 01_data_curation, of a cohort whose scans.tsv has ``years``.
    participant_id : str
        The woman.
    bone : str
        radius, ulna, tibia or fibula.
    symbol : str
        The index.

    Returns
    -------
    Visits or None
        None where she came to one visit only, or the index was not measured.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.curation.visits_of(dq.run.example_run(), "sub-0001", bone="radius") is None
    True
    """
    table = visits_in(run)
    own = table[(table["participant_id"] == participant_id) & (table["bone"] == bone)]
    if symbol not in own or own[symbol].notna().sum() < 2:
        return None
    own = own.dropna(subset=symbol).sort_values(YEARS, kind="stable")
    if own[YEARS].nunique() < 2:
        return None
    place = own.get("side", "") + " " + own["scanner"].astype(str) + " " + own["centre"].fillna("").astype(str)
    scans = own[["session", YEARS]].assign(value=own[symbol].astype(float), counted=place == place.iloc[0])
    noise = _noise(run, bone=bone, symbol=symbol, scanner=float(own["scanner"].iloc[0]))
    unit = (UNITS | STRENGTH_UNITS)[symbol]
    return Visits(participant_id, bone, symbol, unit, scans.reset_index(drop=True), *noise)


def _noise(run: Run, *, bone: str, symbol: str, scanner: float) -> tuple[float, str, float]:
    """SD of one measurement on a scanner (NaN: not known), what it rests on or why it is not known, and its degrees."""
    known = read_table(run.precision) if run.precision.exists() else pd.DataFrame(columns=["bone", "symbol"])
    rows = known[(known["bone"] == bone) & (known["symbol"] == symbol)]
    each = rows.get("scanner", pd.Series(dtype=float)).dropna()
    rows = rows.loc[each.index[np.isclose(each, scanner)]] if len(each) else rows
    where = " on this scanner" if len(each) else ""
    if rows.empty:
        return float("nan"), f"nobody was scanned twice at one visit{where}", float("inf")
    sd, n, degrees = float(rows["rms_sd"].iloc[0]), int(rows["n"].iloc[0]), int(rows["degrees_of_freedom"].iloc[0])
    women = f"{n} {'woman' if n == 1 else 'women'} of this cohort scanned twice at one visit{where}"
    if not sd > 0:
        return float("nan"), f"in {women} this index was the same each time, which tells no noise", float("inf")
    few = "" if degrees >= ISCD_DEGREES else f" (the ISCD asks for {ISCD_DEGREES})"
    return sd, f"{women}, {degrees} degree{'' if degrees == 1 else 's'} of freedom{few}", degrees
