"""Curves: the ROC curve with its band, and the area under the precision–recall curve.

As in discrimination.py, a score may be several columns, the repeats of a repeated cross-validation.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.metrics import average_precision_score

from deepqct.evaluation.discrimination import FEWEST, Estimate, scored

_Z = float(stats.norm.ppf(0.975))


def auprc(y: ArrayLike, score: ArrayLike) -> Estimate:
    """Area under the precision–recall curve (average precision) with a 95 % interval.

    Parameters
    ----------
    y, score
        Outcome and scores, as in `auc`. A useless score has an area as large as the prevalence, not 0.5.

    References
    ----------
    Boyd K et al. (2013), ECML PKDD, LNCS 8190:451 (the logit interval).

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.auprc([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10]))
    0.97 (95 % 0.33–0.99; n 10, 5 events)
    """
    label, s = scored(y, score)
    events = int(label.sum())
    if min(events, len(label) - events) < FEWEST:
        return Estimate.unknown(n=len(label), events=events)
    area = float(np.mean([average_precision_score(label, column) for column in s.T]))
    inside = min(area, 1 - 0.5 / events)  # a perfect score has an interval too
    half = _Z / np.sqrt(events * inside * (1 - inside))
    low, high = special.expit(special.logit(inside) + np.array([-half, half]))
    return Estimate(area, float(low), max(float(high), area), len(label), events)


def roc_points(outcome: ArrayLike, score: ArrayLike, *, draws: int = 500, seed: int = 0) -> pd.DataFrame:
    """The ROC curve on a grid, with a pointwise 95 % band.

    Parameters
    ----------
    outcome, score
        As `y` and `score` in `auc`; for several columns the curve is the mean of theirs.
    draws, seed : int
        How many bootstrap samples of patients, drawn within each outcome, make the band, and their seed.

    Returns
    -------
    DataFrame
        false_positive_rate (101 steps from 0 to 1), true_positive_rate, low, high; empty if not estimable.

    Examples
    --------
    >>> import deepqct as dq
    >>> curve = dq.evaluation.roc_points([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10], draws=50)
    >>> curve.loc[[0, 50, 100], "true_positive_rate"].round(1).tolist()
    [0.8, 1.0, 1.0]
    """
    y, columns = scored(outcome, score)
    grid = np.linspace(0, 1, 101)
    if min(y.sum(), (~y).sum()) < FEWEST:
        return pd.DataFrame(columns=["false_positive_rate", "true_positive_rate", "low", "high"], dtype=float)
    curves = np.mean([_curves(y, column, grid, draws=draws, seed=seed) for column in columns.T], axis=0)
    low, high = np.percentile(curves[1:], [2.5, 97.5], axis=0)
    return pd.DataFrame({"false_positive_rate": grid, "true_positive_rate": curves[0], "low": low, "high": high})


def _curves(
    y: NDArray[np.bool_], score: NDArray[np.floating], grid: NDArray[np.floating], *, draws: int, seed: int
) -> NDArray[np.floating]:
    """The ROC curve of one score on a grid, and after it those of bootstrap samples."""
    # Patients by falling score, tied ones together; a bootstrap sample is how often each of them was drawn.
    _, place = np.unique(-score, return_inverse=True)
    rng = np.random.default_rng(seed)
    rates = []
    for group in (~y, y):
        size = int(group.sum())
        counts = np.vstack([np.ones(size, dtype=int), rng.multinomial(size, np.full(size, 1 / size), size=draws)])
        at = np.zeros((place.max() + 2, draws + 1))
        np.add.at(at, place[group] + 1, counts.T)
        rates.append(at.cumsum(axis=0).T / size)
    return np.array([np.interp(grid, false, true) for false, true in zip(*rates, strict=True)])
