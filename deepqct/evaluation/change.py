"""Change of a person over several visits, against what two measurements differ by noise alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

_Z = float(stats.norm.ppf(0.975))


def annual_change(person: ArrayLike, years: ArrayLike, value: ArrayLike, *, sd: float) -> pd.DataFrame:
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

    Returns
    -------
    DataFrame
        person, change (a year, by the straight line through her measurements), low, high (95 %, of the noise alone), n
        (measurements), years (from the first to the last), changed (True where the interval leaves out zero; for two
        measurements exactly where they differ by more than the least significant change).

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
    columns = {"person": np.asarray(person), "years": np.asarray(years, float), "value": np.asarray(value, float)}
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("person, years and value must be equally long; give one of each for each measurement.")
    rows = []
    for who, visits in pd.DataFrame(columns).dropna().groupby("person", sort=False):
        apart = visits["years"] - visits["years"].mean()
        spread = float((apart**2).sum())
        if spread == 0:
            continue
        slope, half = float((apart * visits["value"]).sum() / spread), _Z * sd / np.sqrt(spread)
        ends = {"low": slope - half, "high": slope + half, "n": len(visits)}
        span = float(visits["years"].max() - visits["years"].min())
        rows.append({"person": who, "change": slope, **ends, "years": span, "changed": abs(slope) > half})
    return pd.DataFrame(rows, columns=["person", "change", "low", "high", "n", "years", "changed"])
