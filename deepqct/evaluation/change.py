"""Change of a person over several visits, against what two measurements differ by noise alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from deepqct.evaluation.repeats import names_of


@dataclass(frozen=True)
class Change:
    """What the visits of one person say about change; NaN where there is one visit, or nothing is known of the noise.

    Parameters
    ----------
    change, low, high : float
        Change a year by the straight line through the measurements, with the 95 % interval of the noise alone.
    difference : float
        What that line changes by from the first to the last visit.
    lsc : float
        Least significant change: a smaller difference of two measurements is noise, at 95 %. The fewer repeats the noise is
        known from, the larger it is.
    years : float
        From the first to the last visit.
    n : int
        Measurements.
    changed : bool
        True where the interval leaves out zero and the difference is larger than the least significant change.
    degrees_of_freedom : float
        From how many the noise is known; infinite if it was taken as known.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.change_of([0.0, 2.0], [300.0, 297.0], sd=1.5))
    Not a change: −3 in 2 years is less than the least significant change (4.16), and may be noise. −1.5 a year (95 %
    −3.58 to +0.579, n 2).
    """

    change: float
    low: float
    high: float
    difference: float
    lsc: float
    years: float
    n: int
    changed: bool
    degrees_of_freedom: float = float("inf")

    def __str__(self) -> str:
        """The change in words; nothing below the least significant change is called one."""
        return self.words()

    def words(self, unit: str = "") -> str:
        """The change in words, with a unit; nothing below the least significant change is called one.

        Parameters
        ----------
        unit : str
            Of the measurements; empty for none.
        """
        of = f" {unit}" if unit else ""
        if not np.isfinite(self.change):
            return "One visit: nothing to compare."
        moved = f"{_signed(self.difference)}{of} in {self.years:.3g} years"
        if not np.isfinite(self.lsc):
            return f"Nothing is called a change: the noise is not known. {moved}."
        rate = f"{_signed(self.change)}{of} a year (95 % {_signed(self.low)} to {_signed(self.high)}, n {self.n})"
        known = f"{self.degrees_of_freedom:g} degree{'' if self.degrees_of_freedom == 1 else 's'} of freedom"
        least = f"{self.lsc:.3g}" + (f", by {known}" if np.isfinite(self.degrees_of_freedom) else "")
        if self.changed:
            return f"More than noise: {moved}, and the least significant change is {least}. {rate}."
        if abs(self.difference) > self.lsc:
            return f"Not shown to be a change: {moved}, but the interval of its slope holds 0. {rate}."
        return f"Not a change: {moved} is less than the least significant change ({least}), and may be noise. {rate}."


def change_of(years: ArrayLike, value: ArrayLike, *, sd: float, degrees_of_freedom: float = float("inf")) -> Change:
    """Change of one person over her visits; what the noise could have made is not called a change.

    Parameters
    ----------
    years : (n,) float
        When, in years from any day; several measurements may be of one visit.
    value : (n,) float
        The measurements; NaN is left out.
    sd : float
        SD of one measurement, such as `precision(...).rms_sd` of repeats within days, in the unit of `value`; NaN where it
        is not known, and then nothing is called a change.
    degrees_of_freedom : float
        Those of `sd`, such as `precision(...).degrees_of_freedom`: an SD from few repeats may be far too small, so that
        interval and limit are those of Student's t. Infinite for an SD that is known.

    Returns
    -------
    Change

    Raises
    ------
    ValueError
        If the two are not equally long, or `sd` or `degrees_of_freedom` is not above 0.

    Examples
    --------
    >>> import deepqct as dq
    >>> found = dq.evaluation.change_of([0, 1, 3], [300.0, 297.0, 288.0], sd=1.5)
    >>> round(found.change, 2), round(found.lsc, 2), found.changed
    (-4.07, 4.16, True)
    >>> dq.evaluation.change_of([0, 1, 3], [300.0, 297.0, 288.0], sd=1.5, degrees_of_freedom=1).changed  # one woman twice
    False
    """
    if sd <= 0:
        raise ValueError(f"sd is {sd}; give the SD of one measurement, above 0.")
    if not degrees_of_freedom > 0:
        raise ValueError(f"degrees_of_freedom is {degrees_of_freedom}; give those of sd, above 0, or leave it out.")
    when, values = np.asarray(years, float), np.asarray(value, float)
    if when.shape != values.shape or when.ndim != 1:
        raise ValueError("years and value must be equally long; give one of each for each measurement.")
    there = np.isfinite(when) & np.isfinite(values)
    when, values = when[there], values[there]
    apart = when - when.mean() if len(when) else when
    least_sds = float(stats.t.ppf(0.975, degrees_of_freedom))
    spread, lsc = float((apart**2).sum()), least_sds * float(np.sqrt(2)) * sd
    if spread == 0:
        nan = float("nan")
        return Change(nan, nan, nan, nan, lsc, 0.0, len(when), False, degrees_of_freedom)
    slope, half, span = float((apart * values).sum() / spread), least_sds * sd / np.sqrt(spread), float(np.ptp(when))
    changed = bool(abs(slope) > half and abs(slope) * span > lsc * (1 - 1e-12))
    return Change(slope, slope - half, slope + half, slope * span, lsc, span, len(when), changed, degrees_of_freedom)


def annual_change(
    person: ArrayLike, years: ArrayLike, value: ArrayLike, *, sd: float, degrees_of_freedom: float = float("inf")
) -> pd.DataFrame:
    """Change a year of each person with several visits; what the noise could have made is not called a change.

    Parameters
    ----------
    person : (n,) of text or numbers
        Who was measured; who was measured at one time only has no row.
    years : (n,) float
        When, in years from any day.
    value : (n,) float
        The measurements; NaN is left out.
    sd : float
        SD of one measurement, such as `precision(...).rms_sd` of repeats within days, in the unit of `value`.
    degrees_of_freedom : float
        Those of `sd`, as for `change_of`.

    Returns
    -------
    DataFrame
        person, change (a year, by the straight line through her measurements), low, high (95 %, of the noise alone), n
        (measurements), years (from the first to the last), changed (as in `Change`: True where the interval leaves out zero
        and the line changes by more than the least significant change).

    Raises
    ------
    ValueError
        If the columns are not equally long, or `sd` is not above 0.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.annual_change(["A", "A", "B", "B"], [0, 2, 0, 2], [300.0, 294.0, 280.0, 281.0], sd=1.5)
    >>> table[["person", "change", "changed"]].values.tolist()
    [['A', -3.0, True], ['B', 0.5, False]]
    """
    if not sd > 0:
        raise ValueError(f"sd is {sd}; give the SD of one measurement, above 0.")
    columns: dict[str, Any] = {
        "person": names_of(person), "years": np.asarray(years, float), "value": np.asarray(value, float),
    }  # fmt: skip
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("person, years and value must be equally long; give one of each for each measurement.")
    names = ["person", "change", "low", "high", "n", "years", "changed"]
    noise = {"sd": sd, "degrees_of_freedom": degrees_of_freedom}
    rows = [
        {"person": who, **asdict(found)}
        for who, visits in pd.DataFrame(columns).dropna().groupby("person", sort=False)
        if np.isfinite((found := change_of(visits["years"], visits["value"], **noise)).change)
    ]
    return pd.DataFrame(rows, columns=names)


def _signed(value: float) -> str:
    """A number with its sign, to three figures."""
    return f"{value:+.3g}".replace("-", "−")
