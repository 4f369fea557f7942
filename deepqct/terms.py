"""The words of the field, in one place: bones, sites, indices and units, known columns, and what a run predicts.

What is predicted follows from the parameter and the columns. ``outcome="fracture"`` names a column of 0 and 1,
``outcome="bmd_total_hip"`` one of numbers, and ``outcome="time_to_fracture, fracture_after"`` a pair: years until the
event, the death or the end of follow-up, and what came then (0 nothing, 1 the event, 2 death before it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

ROLES = ("id", "group", "clinical", "frax", "bmd", "outcome", "other")
YES_NO, NUMBER, TIME = "yes or no", "number", "time"  # the kinds of an outcome
# The figure by which models of each kind are compared, and what a model without information reaches in it.
FIGURE = {YES_NO: "AUC", NUMBER: "R²", TIME: "C-index"}
CHANCE = {"AUC": 0.5, "R²": 0.0, "C-index": 0.5}
LEFT_OUT = "left out"  # of a column that is neither known nor described in participants.json
# Rows of one patient (a second visit, the other limb) or of one family share the value of this column.
SAME_PATIENT = "patient_group"
# Column: (name, lowest, highest, unit, role). Ranges catch slips of the keyboard, not unusual women; our choice.
KNOWN: dict[str, tuple[str, float, float, str, str]] = {
    "age": ("age", 18, 110, "years", "clinical"),
    "height_cm": ("height", 100, 220, "cm", "other"),
    "weight_kg": ("weight", 25, 250, "kg", "other"),
    "bmi": ("body mass index", 10, 80, "kg/m²", "clinical"),
    "parental_hip_fracture": ("parental hip fracture", 0, 1, "", "clinical"),
    "smoking": ("smoking", 0, 1, "", "clinical"),
    "glucocorticoids": ("glucocorticoids", 0, 1, "", "clinical"),
    "rheumatoid_arthritis": ("rheumatoid arthritis", 0, 1, "", "clinical"),
    "alcohol": ("alcohol, 3 or more units a day", 0, 1, "", "clinical"),
    "frax_major": ("FRAX probability of a major fracture", 0, 100, "%", "frax"),
    "frax_hip": ("FRAX probability of a hip fracture", 0, 100, "%", "frax"),
    "bmd_lumbar_spine": ("aBMD lumbar spine", 0.2, 2.5, "g/cm²", "bmd"),
    "bmd_femoral_neck": ("aBMD femoral neck", 0.2, 2.0, "g/cm²", "bmd"),
    "bmd_total_hip": ("aBMD total hip", 0.2, 2.0, "g/cm²", "bmd"),
    "t_lumbar_spine": ("T-score lumbar spine", -8, 8, "", "other"),
    "t_femoral_neck": ("T-score femoral neck", -8, 8, "", "other"),
    "t_total_hip": ("T-score total hip", -8, 8, "", "other"),
}
BINARY = [name for name, (_, low, high, _, _) in KNOWN.items() if (low, high) == (0, 1)]
BONES = ("radius", "ulna", "tibia", "fibula")
COMPARTMENTS = ("total", "cortical", "trabecular")
SITES = {"wrist": ("radius", "ulna"), "ankle": ("tibia", "fibula")}
UNITS = {
    "Tt.vBMD": "mgHA/cm³",
    "Tb.vBMD": "mgHA/cm³",
    "Ct.vBMD": "mgHA/cm³",
    "Tb.Meta.vBMD": "mgHA/cm³",
    "Tb.Inn.vBMD": "mgHA/cm³",
    "Tt.Ar": "mm²",
    "Ct.Ar": "mm²",
    "Tb.Ar": "mm²",
    "Ct.Pm": "mm",
    "Ct.Th": "mm",
    "Ct.Po": "1",
    "Ct.Po.Dm": "mm",
    "Tb.BV/TV": "1",
    "Tb.N": "1/mm",
    "Tb.Th": "mm",
    "Tb.Sp": "mm",
    "Tb.1/N.SD": "mm",
}
# Of micro-finite elements, which are computed only where they are asked for.
STRENGTH_UNITS = {
    "Stiffness": "kN/mm",
    "F.Load": "kN",
    "E.App": "MPa",
    "Ct.Load.Dist": "1",
    "Ct.Load.Mid": "1",
    "Ct.Load.Prox": "1",
}
FALL_UNITS = {"Load/Strength": "1"}  # of strength and the woman's weight, so that it is no feature of a scan


def columns_by_role(dictionary: dict[str, Any], role: str) -> list[str]:
    """Find the columns of one role in the completed data dictionary of a cohort.

    Parameters
    ----------
    dictionary : dict
        The content of a run's participants.json: an entry for each column, with its ``Role``.
    role : str
        One of `ROLES`, such as ``clinical``.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.terms.columns_by_role({"age": {"Role": "clinical"}, "fracture": {"Role": "outcome"}}, "outcome")
    ['fracture']
    """
    return [name for name, entry in dictionary.items() if name != "virtual" and entry.get("Role") == role]


def short(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, never as a power of ten where it is large.

    Parameters
    ----------
    value : float
        The number; from ten to the power of `digits` upwards it is written whole.
    digits : int
        How many digits are kept of smaller numbers.

    Examples
    --------
    >>> import deepqct as dq
    >>> [dq.terms.short(value) for value in (0.7123, 71.23, 12345.6)]
    ['0.712', '71.2', '12346']
    >>> dq.terms.short(-112.3, 2)
    '−112'
    """
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e+" in text else text).replace("-", "−")


IN_UNITS = ("MAE", "RMSE", "mean difference")  # measures that are in the unit of the outcome, of any size


def together(*values: float) -> list[str]:
    """Numbers that stand side by side, with the decimals that give the largest of them three digits.

    Parameters
    ----------
    *values : float
        Such as a figure and the ends of its interval; not all NaN.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.terms.together(0.0012, -0.0159, 0.0183), dq.terms.together(12345.6, 11000.2)
    (['0.0012', '−0.0159', '0.0183'], ['12346', '11000'])
    """
    largest = np.nanmax(np.abs(values))
    decimals = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 2
    texts = [f"{value:.{decimals}f}" for value in values]
    return [text.removeprefix("-") if float(text) == 0 else text.replace("-", "−") for text in texts]


# Different values from which a column is one of numbers, and not of 0 and 1 with a slip of the keyboard; our choice.
_SOME = 6
_MOST_STRATA = 5
_BODY, _DENSITY = ("height", "weight"), ("bone density",)
_FACTORS = ("parental_hip_fracture", "smoking", "glucocorticoids", "rheumatoid_arthritis", "alcohol")
# What a column is made from: two that share it say nothing new of each other.
_MADE_FROM: dict[str, tuple[str, ...]] = {
    "height_cm": ("height",), "weight_kg": ("weight",), "bmi": _BODY, "age": ("age",),
    **{name: _DENSITY for name in KNOWN if name.startswith(("bmd_", "t_"))},
    **{name: (name,) for name in _FACTORS},
    **dict.fromkeys(("frax_major", "frax_hip"), ("age", *_BODY, *_FACTORS, *_DENSITY)),
    **dict.fromkeys(("osteoporosis", "osteopenia", "low_bone_mass"), _DENSITY),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The outcome of the women of a cohort or run.

    Parameters
    ----------
    name : str
        As the parameter names it: a column, or two with a comma between.
    kind : str
        ``yes or no``, ``number`` or ``time``.
    values : Series
        By participant_id: 0 or 1; a number; of times 0 (followed without it), 1 (the event) or 2 (death before it).
    times : Series, optional
        Years, of times alone.
    horizon : float
        Years at which times are judged; NaN for the other kinds.
    unit : str
        Of a number; may be empty.

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome = dq.run_tables.outcome_of(dq.run.example_run())
    >>> outcome
    Outcome(fracture, yes or no: 12 women, 5 with fracture)
    >>> outcome.figure, outcome.chance
    ('AUC', 0.5)
    """

    name: str
    kind: str
    values: pd.Series
    times: pd.Series | None = None
    horizon: float = float("nan")
    unit: str = ""

    @classmethod
    def of(cls, people: pd.DataFrame, dictionary: Mapping[str, Any]) -> Outcome:
        """The outcome of some women, as their data dictionary says.

        Parameters
        ----------
        people : DataFrame
            The columns of participants.csv, indexed by participant_id.
        dictionary : mapping
            The completed data dictionary, in which one column, or two, have the role outcome.
        """
        names = columns_by_role(dict(dictionary), "outcome")
        kinds = {name: dictionary[name].get("Kind", YES_NO) for name in names}
        if TIME in kinds.values():
            time, event = (next(n for n in names if kinds[n] == k) for k in (TIME, EVENT_KIND))
            years = people[time].astype(float)
            horizon = float(dictionary[time].get("Horizon", np.nan))
            return cls(f"{time}, {event}", TIME, people[event].astype(int), years, horizon, "years")
        name = names[0]
        if kinds[name] == NUMBER:
            return cls(name, NUMBER, people[name].astype(float), unit=str(dictionary[name].get("Units", "")))
        return cls(name, YES_NO, people[name].astype(int))

    def __repr__(self) -> str:
        """Say name, kind and counts; no woman's value is shown."""
        return f"Outcome({self.name}, {self.kind}: {len(self.values)} women, {self.counted})"

    @property
    def figure(self) -> str:
        """The figure by which models are compared: AUC, R² or C-index."""
        return FIGURE[self.kind]

    @property
    def chance(self) -> float:
        """What a model without information reaches in it."""
        return CHANCE[self.figure]

    @property
    def event(self) -> str:
        """What is called the event in words: a column, or that a number lies above its median."""
        if self.kind == NUMBER:
            median = self.values.median()
            return (
                f"{self.name} above {short(median)}" if self._some_above else f"{self.name} of {short(median)} or more"
            )
        return self.name.split(",")[-1].strip()

    @property
    def groups(self) -> pd.Series:
        """Two groups for tables and pictures: 1 with the event by the end of follow-up, or a number above the median."""
        if self.kind == NUMBER:
            median = self.values.median()
            upper = self.values > median if self._some_above else self.values >= median
            return upper.astype(int).rename(self.event)
        return (self.values == 1).astype(int).rename(self.event)

    @property
    def _some_above(self) -> bool:
        """Whether any number lies above the median; in most women it may be the highest there is, such as a full score."""
        return bool((self.values > self.values.median()).any())

    @property
    def events(self) -> int:
        """Women with the event; below 0 for a number, which has none."""
        return -1 if self.kind == NUMBER else int((self.values == 1).sum())

    @property
    def counted(self) -> str:
        """How the outcome is spread, in words."""
        if self.kind == NUMBER:
            unit = f" {self.unit}" if self.unit else ""
            return f"{self.name} {short(self.values.mean())} (SD {short(self.values.std(), 2)}){unit}"
        said = f"{self.events} with {self.event}"
        if self.times is not None:
            died = int((self.values == 2).sum())
            said += f", {died} died before it" if died else ""
            said += f", median follow-up {self.times.median():.1f} years"
        return said

    def strata(self, folds: int) -> pd.Series:
        """What folds are stratified by: the outcome, the event, or quantiles of a number.

        Parameters
        ----------
        folds : int
            How many folds are drawn; every stratum holds at least as many women.
        """
        if self.kind != NUMBER:
            return self.groups
        count = int(np.clip(len(self.values) // (2 * folds), 2, _MOST_STRATA))
        ranks = self.values.rank(method="first")
        return ((ranks - 1) * count // len(ranks)).astype(int).rename(self.name)

    def take(self, people: pd.Index) -> Outcome:
        """The outcome of some of the women, in this order.

        Parameters
        ----------
        people : Index
            Their participant_id.
        """
        times = None if self.times is None else self.times.reindex(people)
        return Outcome(self.name, self.kind, self.values.reindex(people), times, self.horizon, self.unit)

    def frame(self) -> pd.DataFrame:
        """``outcome``, and of times ``time``, by participant_id: as the tables of predictions carry them."""
        columns = {"outcome": self.values} | ({} if self.times is None else {"time": self.times})
        return pd.DataFrame(columns)

    def put_in_order(self, order: np.ndarray) -> Outcome:
        """The outcome with its women's values in another order, for permutations.

        Parameters
        ----------
        order : (n,) int
            For each woman the row whose value she gets.
        """
        values = pd.Series(self.values.to_numpy()[order], self.values.index)
        times = None if self.times is None else pd.Series(self.times.to_numpy()[order], self.times.index)
        return Outcome(self.name, self.kind, values, times, self.horizon, self.unit)


EVENT_KIND = "event"  # of the second column of a pair, as TIME is of the first


def columns_of(outcome: str) -> list[str]:
    """The columns that the parameter ``outcome`` names: one, or two of a time and an event.

    Parameters
    ----------
    outcome : str
        Such as ``fracture`` or ``time_to_fracture, fracture_after``.

    Raises
    ------
    ValueError
        If it names none, or more than two.

    Examples
    --------
    >>> from deepqct.terms import columns_of
    >>> columns_of("time_to_fracture, fracture_after")
    ['time_to_fracture', 'fracture_after']
    """
    names = [name.strip() for name in outcome.split(",")]
    if not all(names) or len(names) > 2 or len(set(names)) < len(names):
        raise ValueError(
            f"outcome is {outcome!r}; name one column of participants.tsv, or two, 'time, event', with a comma between."
        )
    return names


def kind_of(column: pd.Series, entry: Mapping[str, Any]) -> str:
    """Whether a column that is an outcome by itself holds 0 and 1, or numbers.

    Parameters
    ----------
    column : Series
        Its values, as text or as numbers.
    entry : mapping
        Its entry in participants.json; one with ``Units``, or with ``"Kind": "number"``, holds numbers.

    Returns
    -------
    str
        ``number``: of a known column that is no yes or no, of one with a unit, or of one with at least six different
        numbers (our choice); else ``yes or no``, so that a slip of the keyboard among 0 and 1 is found.
    """
    if entry.get("Kind") in (NUMBER, YES_NO):
        return str(entry["Kind"])
    name = str(column.name)
    if name in KNOWN:
        return YES_NO if KNOWN[name][1:3] == (0, 1) else NUMBER
    different = pd.to_numeric(column, errors="coerce").dropna().nunique()
    return NUMBER if entry.get("Units") or different >= _SOME else YES_NO


def barred(outcome: str, dictionary: Mapping[str, Any], columns: list[str]) -> dict[str, str]:
    """The columns that may not predict an outcome, since both are made from the same: each with what they share.

    Parameters
    ----------
    outcome : str
        The parameter.
    dictionary : mapping
        The content of participants.json; an outcome's entry may list columns under ``Made from``.
    columns : list of str
        The columns of participants.tsv.

    Examples
    --------
    >>> from deepqct.terms import barred
    >>> barred("osteoporosis", {}, ["age", "bmd_total_hip", "t_total_hip"])
    {'bmd_total_hip': 'bone density', 't_total_hip': 'bone density'}
    """
    own = columns_of(outcome)
    roots = {root for name in own for root in _MADE_FROM.get(name, ())}
    named = {one for name in own for one in dictionary.get(name, {}).get("Made from", ())}
    roots |= {root for name in named for root in _MADE_FROM.get(name, ())}
    found = {}
    for name in columns:
        shared = [root for root in _MADE_FROM.get(name, ()) if root in roots]
        if name not in own and (shared or name in named):
            found[name] = (shared or [name])[0].replace("_", " ")
    return found


def barred_words(dictionary: Mapping[str, Any]) -> str:
    """Which columns may not predict the outcome of a run, and why, in one sentence; empty where all may.

    Parameters
    ----------
    dictionary : mapping
        The completed data dictionary.
    """
    reasons: dict[str, list[str]] = {}
    for name, entry in dictionary.items():
        if name != "virtual" and entry.get("Shares"):
            reasons.setdefault(str(entry["Shares"]), []).append(str(name))
    if not reasons:
        return ""
    outcome = ", ".join(columns_by_role(dict(dictionary), "outcome"))
    said = "; ".join(f"{', '.join(names)} (made from {shared})" for shared, names in reasons.items())
    return f"Not among the predictors of {outcome}, since they are made from the same: {said}."
