"""Discrimination and calibration with their uncertainty: arrays in, tables out.

A number comes with n, events and an interval; from fewer than 5 events or non-events nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

FEWEST = 5  # events, and non-events, below which no figure is given; our choice


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and what it rests on; NaN where it is not estimable.

    Parameters
    ----------
    value, low, high : float
        The figure and its interval.
    n, events : int
        Patients, and those with the outcome.
    """

    value: float
    low: float
    high: float
    n: int
    events: int

    @property
    def estimable(self) -> bool:
        """True if there were enough events and non-events."""
        return bool(np.isfinite(self.value))

    def __str__(self) -> str:
        """The figure in words, such as 0.71 (95 % 0.64–0.78; n 216, 71 events)."""
        basis = f"n {self.n}, {self.events} event{'' if self.events == 1 else 's'}"
        if not self.estimable:
            return f"not estimable ({basis})"
        return f"{self.value:.2f} (95 % {self.low:.2f}–{self.high:.2f}; {basis})"


def auc_interval(outcome: ArrayLike, score: ArrayLike) -> Estimate:
    """Area under the ROC curve with a 95 % interval for one fixed score.

    Parameters
    ----------
    outcome : (n,) of 0 and 1
        The outcome.
    score : (n,) float
        Higher means more risk; patients without a score are left out.

    Returns
    -------
    Estimate
        The interval is DeLong's, on the logit scale, so that it stays within 0 and 1 (our choice). Where the AUC is 0 or 1
        DeLong's variance is 0: with k the fewer of events and non-events, k disjoint pairs are then all in the same order,
        so that the far bound is that of k successes in k trials (our choice; it errs on the wide side). A score that is
        the same for everybody has variance 0 too; 0.25 / k stands in for it.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837. Sun X, Xu W (2014), IEEE Signal Process Lett 21:1389.
    """
    y, s = _scored(outcome, score)
    events, none = int(y.sum()), int((~y).sum())
    if min(events, none) < FEWEST:
        return Estimate(np.nan, np.nan, np.nan, len(y), events)
    above, below = _placements(y, s)
    area = float(above.mean())
    variance = above.var(ddof=1) / events + below.var(ddof=1) / none
    fewer = min(events, none)
    if area in (0.0, 1.0):
        far = 0.025 ** (1 / fewer)
        low, high = (far, 1.0) if area == 1.0 else (0.0, 1 - far)
    else:
        half = stats.norm.ppf(0.975) * np.sqrt(variance or 0.25 / fewer) / (area * (1 - area))
        low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high), len(y), events)


def auc(y: ArrayLike, score: ArrayLike) -> pd.DataFrame:
    """`auc_interval` as a table of one row: estimate, low, high, n, events.

    Parameters
    ----------
    y, score
        As in `auc_interval`.
    """
    found = auc_interval(y, score)
    values = {"estimate": found.value, "low": found.low, "high": found.high, "n": found.n, "events": found.events}
    return pd.DataFrame([values])


def compare_auc(y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> pd.DataFrame:
    """Difference of the AUCs of two fixed scores of the same patients.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    score_a, score_b : (n,) float
        Two scores; patients who lack either are left out.

    Returns
    -------
    DataFrame
        One row: estimate (AUC of a minus AUC of b), low, high (95 %), p (two-sided), n, events; no estimate from fewer than
        5 events or non-events.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837.
    """
    a, b = np.asarray(score_a, float), np.asarray(score_b, float)
    both = np.isfinite(a) & np.isfinite(b)
    label, a = _scored(np.asarray(y, float)[both], a[both])
    b = b[both]
    n, events = len(label), int(label.sum())
    if min(events, n - events) < FEWEST:
        return pd.DataFrame([dict.fromkeys(("estimate", "low", "high", "p"), np.nan) | {"n": n, "events": events}])
    (above_a, below_a), (above_b, below_b) = _placements(label, a), _placements(label, b)
    difference = float(above_a.mean() - above_b.mean())
    error = np.sqrt((above_a - above_b).var(ddof=1) / events + (below_a - below_b).var(ddof=1) / (n - events))
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else 1.0
    half = stats.norm.ppf(0.975) * error
    values = {"estimate": difference, "low": difference - half, "high": difference + half, "p": p}
    return pd.DataFrame([values | {"n": n, "events": events}])


def within_folds(y: ArrayLike, score: ArrayLike, fold: ArrayLike) -> float:
    """Mean AUC of the folds, whose scores may differ in level; folds with one outcome only are left out."""
    label, s, k = np.asarray(y, float) == 1, np.asarray(score, float), np.asarray(fold)
    found = []
    for one in np.unique(k):
        rows = (k == one) & np.isfinite(s)
        if 0 < label[rows].sum() < rows.sum():
            found.append(float(_placements(label[rows], s[rows])[0].mean()))
    return float(np.mean(found)) if found else float("nan")


def _placements(
    label: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """For each event the share of non-events below her, for each non-event that of events above; ties count half."""
    events, none = label.sum(), (~label).sum()
    ranks = stats.rankdata(score)
    above = (ranks[label] - stats.rankdata(score[label])) / none
    return above, 1 - (ranks[~label] - stats.rankdata(score[~label])) / events


def roc_points(outcome: ArrayLike, score: ArrayLike, *, draws: int = 500, seed: int = 0) -> pd.DataFrame:
    """The ROC curve on a grid, with a pointwise 95 % band.

    Parameters
    ----------
    outcome, score
        As in `auc_interval`.
    draws : int
        Bootstrap samples of patients, drawn within each outcome.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        false_positive_rate (101 steps from 0 to 1), true_positive_rate, low, high; empty if not estimable.
    """
    y, s = _scored(outcome, score)
    grid = np.linspace(0, 1, 101)
    if min(y.sum(), (~y).sum()) < FEWEST:
        return pd.DataFrame(columns=["false_positive_rate", "true_positive_rate", "low", "high"], dtype=float)

    # Patients by falling score, tied ones together; a bootstrap sample is how often each of them was drawn.
    _, place = np.unique(-s, return_inverse=True)
    rng = np.random.default_rng(seed)
    rates = []
    for group in (~y, y):
        size = int(group.sum())
        counts = np.vstack([np.ones(size, dtype=int), rng.multinomial(size, np.full(size, 1 / size), size=draws)])
        at = np.zeros((place.max() + 2, draws + 1))
        np.add.at(at, place[group] + 1, counts.T)
        rates.append(at.cumsum(axis=0).T / size)
    curves = np.array([np.interp(grid, false, true) for false, true in zip(*rates, strict=True)])
    low, high = np.percentile(curves[1:], [2.5, 97.5], axis=0)
    columns = {"false_positive_rate": grid, "true_positive_rate": curves[0], "low": low, "high": high}
    return pd.DataFrame(columns)


def calibrate_out_of_fold(scores: pd.DataFrame, *, outcome: pd.Series) -> pd.DataFrame:
    """Turn scores into risks by maps that never saw the patients they are applied to.

    Parameters
    ----------
    scores : DataFrame
        protocol, repeat, participant_id, fold, split (out-of-fold, test), score (a logit).
    outcome : Series of 0 and 1
        Indexed by participant_id.

    Returns
    -------
    DataFrame
        `scores` with ``risk``: for each fold by a logistic map fitted on the out-of-fold scores of the other folds, for
        the test set by one fitted on all of them.

    References
    ----------
    Platt J (1999), Advances in Large Margin Classifiers, 61.
    """
    parts = []
    for _, part in scores.groupby(["protocol", "repeat"]):
        known = part[part["split"] == "out-of-fold"]
        risk = pd.Series(np.nan, index=part.index)
        for fold in part["fold"].unique():
            rows = part["fold"] == fold
            fitted_on = known[known["fold"] != fold]
            labels = outcome.reindex(fitted_on["participant_id"]).to_numpy()
            risk[rows] = _platt(fitted_on["score"].to_numpy(), labels, part.loc[rows, "score"].to_numpy())
        parts.append(part.assign(risk=risk))
    return pd.concat(parts, ignore_index=True)


def _platt(score: NDArray[np.floating], label: NDArray[np.integer], new: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logistic map from score to risk; the share of events where only one outcome is known."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(label)) < 2:
        return np.full(len(new), label.mean() if len(label) else np.nan)
    # The scale makes the slight penalty, our choice, the same for scores of any spread.
    centre, scale = score.mean(), score.std() or 1.0
    model = LogisticRegression(C=100.0).fit(((score - centre) / scale)[:, None], label)
    return np.asarray(model.predict_proba(((new - centre) / scale)[:, None])[:, 1])


def _scored(outcome: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Outcome and score of the patients who have a score."""
    y, s = np.asarray(outcome, dtype=float), np.asarray(score, dtype=float)
    if y.shape != s.shape or not np.isin(y, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every score; leave out patients whose outcome is not known.")
    there = np.isfinite(s)
    return y[there] == 1, s[there]
