"""Predicted numbers judged: the share of the spread that they explain (R²), their error, and whether their mean is right.

With fewer than 10 women nothing is estimated.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from deepqct.evaluation.influence import Figure

FEWEST_NUMBERS = 10  # women, below which no figure of a number is given; our choice
_MOST_GROUPS, _OF_GROUP = 5, 10  # of a calibration picture: groups, and women in each at least; our choice
_NO_EVENTS = -1


def r_squared(y: ArrayLike, predicted: ArrayLike) -> Figure:
    """Share of the variance that predictions explain: 1 minus their mean squared error over that of the mean of all.

    It is 1 for perfect predictions, 0 for what the mean would do, and below 0 for what is worse than the mean.

    Parameters
    ----------
    y : (n,) float
        The numbers.
    predicted : (n,) float
        What was predicted of women whom the model has not seen; women with NaN are left out.

    Returns
    -------
    Figure
        Its interval takes the predictions as given.

    Raises
    ------
    ValueError
        If a number is not known.

    Examples
    --------
    >>> import deepqct as dq
    >>> known = [61, 64, 66, 68, 70, 71, 73, 76, 79, 84]
    >>> print(dq.evaluation.r_squared(known, [66, 65, 66, 69, 68, 72, 71, 75, 74, 79]).estimate())
    0.80 (95 % 0.72–0.89; n 10)
    """
    known, told = _both(y, predicted)
    if len(known) < FEWEST_NUMBERS or np.ptp(known) == 0:
        return Figure(float("nan"), np.zeros(len(known)), _NO_EVENTS)
    errors, spread = (known - told) ** 2, (known - known.mean()) ** 2
    missed = errors.sum() / spread.sum()
    return Figure(float(1 - missed), -(errors - missed * spread) / spread.sum(), _NO_EVENTS)


def number_measures(y: ArrayLike, predicted: ArrayLike) -> pd.DataFrame:
    """Mean absolute error, mean difference and calibration slope of predicted numbers, with 95 % intervals.

    Parameters
    ----------
    y, predicted
        As in `r_squared`.

    Returns
    -------
    DataFrame
        measure, estimate, low, high, n, events (empty). ``MAE``: mean absolute error, in the unit of the outcome; ``RMSE``:
        root of the mean squared error; ``mean difference``: observed minus predicted, ideally 0, which is calibration
        of the mean; ``slope``: of the observed number on the predicted one (ideal 1; below 1 the predictions are too
        extreme).

    Notes
    -----
    Errors of the slope are robust to unequal spread (HC3; MacKinnon & White 1985, J Econometrics 29:305).

    Examples
    --------
    >>> import deepqct as dq
    >>> known = [61, 64, 66, 68, 70, 71, 73, 76, 79, 84]
    >>> table = dq.evaluation.number_measures(known, [66, 65, 66, 69, 68, 72, 71, 75, 74, 79])
    >>> table.set_index("measure")["estimate"].round(2).to_dict()
    {'MAE': 2.3, 'RMSE': 2.95, 'mean difference': 0.7, 'slope': 1.47}
    """
    known, told = _both(y, predicted)
    n = len(known)
    nothing = (np.nan, np.nan, np.nan)
    figures = dict.fromkeys(("MAE", "RMSE", "mean difference", "slope"), nothing)
    if n >= FEWEST_NUMBERS:
        missed = known - told
        half = stats.t.ppf(0.975, n - 1) / np.sqrt(n)
        off, squares = np.abs(missed), missed**2
        figures["MAE"] = _around(off.mean(), half * off.std(ddof=1))
        root = np.sqrt(squares.mean())
        figures["RMSE"] = _around(root, half * squares.std(ddof=1) / (2 * root)) if root > 0 else nothing
        figures["mean difference"] = _around(missed.mean(), half * missed.std(ddof=1))
        figures["slope"] = _slope(told, known)
    rows = [{"measure": k} | dict(zip(("estimate", "low", "high"), v, strict=True)) for k, v in figures.items()]
    return pd.DataFrame(rows).assign(n=n, events=np.nan)


def number_groups(y: ArrayLike, predicted: ArrayLike) -> pd.DataFrame:
    """Observed beside predicted means in groups of women with like predictions.

    Parameters
    ----------
    y, predicted
        As in `r_squared`.

    Returns
    -------
    DataFrame
        predicted, observed (means), low, high (95 % of the observed mean, Student's t), n. Five groups of equal size, or
        fewer with fewer than 10 women in each (our choice); empty with fewer than 10 women.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.number_groups(range(20), range(20))
    >>> table[["predicted", "observed", "n"]].to_numpy().tolist()
    [[4.5, 4.5, 10.0], [14.5, 14.5, 10.0]]
    """
    known, told = _both(y, predicted)
    rows = []
    for members in groups_of(told):
        own = known[members]
        half = stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own))
        rows.append((told[members].mean(), own.mean(), own.mean() - half, own.mean() + half, len(own)))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n"])


def groups_of(predicted: NDArray[np.floating]) -> list[NDArray[np.intp]]:
    """The rows of up to five groups of like predictions, the lowest first; none with fewer than 10 women."""
    count = min(_MOST_GROUPS, len(predicted) // _OF_GROUP)
    return list(np.array_split(np.argsort(predicted, kind="stable"), count)) if count else []


def _both(y: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Numbers and predictions of the women who have a prediction."""
    known, told = np.asarray(y, float), np.asarray(predicted, float)
    if known.shape != told.shape or not np.isfinite(known).all():
        raise ValueError("Every prediction needs its number; leave out women whose number is not known.")
    there = np.isfinite(told)
    return known[there], told[there]


def _around(value: float, half: float) -> tuple[float, float, float]:
    """A figure with its symmetric interval."""
    return float(value), float(value - half), float(value + half)


def _slope(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[float, float, float]:
    """Slope of y on x with its robust interval; NaN where x does not vary."""
    centred = x - x.mean()
    size = float(centred @ centred)
    if size <= 1e-12 * max(1.0, float(x @ x)):
        return float("nan"), float("nan"), float("nan")
    slope = float(centred @ y) / size
    rest = y - y.mean() - slope * centred
    leverage = 1 / len(x) + centred**2 / size
    error = np.sqrt(np.sum((centred * rest / (1 - leverage).clip(min=1e-6)) ** 2)) / size
    return _around(slope, float(stats.t.ppf(0.975, len(x) - 2) * error))
