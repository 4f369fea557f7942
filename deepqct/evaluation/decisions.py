"""What a risk is worth when something is decided by it: thresholds, net benefit, women who change side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from deepqct.evaluation.discrimination import FEWEST, Estimate

THRESHOLDS = tuple(np.round(np.arange(0.05, 0.605, 0.01), 2).tolist())  # of decision curves; our choice
_Z = float(stats.norm.ppf(0.975))


def threshold_for(y: ArrayLike, score: ArrayLike, *, sensitivity: float | None = None) -> float:
    """The threshold that a training set chooses.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    score : (n,) float
        Scores or risks of the same women, of models that have not seen them; the others are left out.
    sensitivity : float, optional
        The largest threshold at which at least this share of the events is found; by default the threshold of the largest
        sum of sensitivity and specificity.

    Returns
    -------
    float
        A woman at it or above counts as high risk. NaN where only one outcome is known.

    Raises
    ------
    ValueError
        If the sensitivity is not above 0 and at most 1.

    References
    ----------
    Youden WJ (1950), Cancer 3:32.
    """
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}; give a share above 0 and at most 1.")
    label, s = np.asarray(y, float), np.asarray(score, float)
    there = np.isfinite(s)
    label, s = label[there] == 1, s[there]
    if not 0 < label.sum() < len(label):
        return float("nan")
    if sensitivity is not None:
        found = np.sort(s[label])[::-1]
        return float(found[int(np.ceil(sensitivity * len(found) - 1e-9)) - 1])
    levels = np.unique(s)
    events, none = np.sort(s[label]), np.sort(s[~label])
    true = 1 - np.searchsorted(events, levels) / len(events)
    false = 1 - np.searchsorted(none, levels) / len(none)
    return float(levels[np.argmax(true - false)])


def classification(y: ArrayLike, high_risk: ArrayLike) -> pd.DataFrame:
    """Sensitivity, specificity, PPV and NPV of decisions taken with thresholds that were fixed before.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    high_risk : (n,) of 0 and 1, NaN where no decision was taken
        The decisions.

    Returns
    -------
    DataFrame
        measure, estimate, low, high (Wilson), n (the women whom the share is of), events (those of them who are counted);
        no estimate from fewer than 5 events or non-events, nor of fewer than 5 women.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1.

    References
    ----------
    Wilson EB (1927), J Am Stat Assoc 22:209.
    """
    label, called = np.asarray(y, float), np.asarray(high_risk, float)
    _check(label, called)
    there = np.isfinite(called)
    label, called = label[there] == 1, called[there] == 1
    enough = min(label.sum(), (~label).sum()) >= FEWEST
    pairs = {
        "sensitivity": (called, label),
        "specificity": (~called, ~label),
        "PPV": (label, called),
        "NPV": (~label, ~called),
    }
    rows = []
    for measure, (hit, among) in pairs.items():
        count, of = int((hit & among).sum()), int(among.sum())
        found = share(count, of) if enough else Estimate.unknown(n=of, events=count)
        rows.append({"measure": measure, **found.row()})
    return pd.DataFrame(rows)


def share(count: int, of: int) -> Estimate:
    """A share with its Wilson interval; not estimable of fewer than 5."""
    if of < FEWEST:
        return Estimate.unknown(n=of, events=count)
    interval = stats.binomtest(count, of).proportion_ci(method="wilson")
    return Estimate(count / of, float(interval.low), float(interval.high), of, count)


def net_benefit(y: ArrayLike, risk: ArrayLike, *, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Decision curve: what treating the women above each threshold is worth, beside treating all and none.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    risk : (n,) float
        Calibrated risks; women without one are left out.
    thresholds : sequence of float
        Risks from which one would treat, each above 0 and below 1.

    Returns
    -------
    DataFrame
        threshold, strategy (model, treat all, treat none), estimate (true positives less false positives at the odds of the
        threshold, per woman), low, high (pointwise 95 %), n, events. Empty where it is not estimable.

    Raises
    ------
    ValueError
        If a threshold is not between 0 and 1, or the outcome holds anything but 0 and 1.

    References
    ----------
    Vickers AJ, Elkin EB (2006), Med Decis Making 26:565.
    """
    label, r = np.asarray(y, float), np.asarray(risk, float)
    _check(label, r)
    if wrong := [t for t in thresholds if not 0 < t < 1]:
        raise ValueError(f"The threshold {wrong[0]} is not between 0 and 1; give risks from which one would treat.")
    label, r = label[np.isfinite(r)], r[np.isfinite(r)]
    n, events = len(label), int(label.sum())
    columns = ["threshold", "strategy", "estimate", "low", "high", "n", "events"]
    if min(events, n - events) < FEWEST:
        return pd.DataFrame(columns=columns)
    rows = []
    for t in thresholds:
        worth = label - (1 - label) * t / (1 - t)
        for strategy, treated in (("model", r >= t), ("treat all", np.ones(n)), ("treat none", np.zeros(n))):
            gain = worth * treated
            half = _Z * gain.std(ddof=1) / np.sqrt(n)
            rows.append([t, strategy, gain.mean(), gain.mean() - half, gain.mean() + half, n, events])
    return pd.DataFrame(rows, columns=columns)


def reclassification(y: ArrayLike, *, before: ArrayLike, after: ArrayLike) -> pd.DataFrame:
    """How many women change side when one model's decisions replace another's, events and non-events apart.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    before, after : (n,) of 0 and 1, NaN where no decision was taken
        High risk by the one and by the other model; women who lack either are left out.

    Returns
    -------
    DataFrame
        For events and non-events: group, up, down (women), estimate (net share moved to the right side: up for events, down
        for non-events), low, high (95 %, with half a woman added to each cell), n; no estimate from fewer than 5 events or
        non-events. The two are not added up: their sum, the net reclassification index, weighs a
        missed event like a false alarm.

    References
    ----------
    Pencina MJ et al. (2008), Stat Med 27:157. Agresti A, Min Y (2005), Stat Med 24:729 (the interval). Kerr KF et al.
    (2014), Epidemiology 25:114 (why not to add them up).
    """
    label, one, other = (np.asarray(part, float) for part in (y, before, after))
    _check(label, one)
    _check(label, other)
    there = np.isfinite(one) & np.isfinite(other)
    label, one, other = label[there], one[there], other[there]
    enough = min((label == 1).sum(), (label == 0).sum()) >= FEWEST
    rows = []
    for name, rows_of, right in (("events", label == 1, 1), ("non-events", label == 0, -1)):
        move = other[rows_of] - one[rows_of]
        n, up, down = len(move), int((move > 0).sum()), int((move < 0).sum())
        centre = right * (up - down) / (n + 2)
        half = _Z * np.sqrt((up + down + 1) / (n + 2) - centre**2) / np.sqrt(n + 2)
        figures = {"estimate": right * (up - down) / max(n, 1), "low": centre - half, "high": centre + half}
        figures = figures if enough else dict.fromkeys(figures, np.nan)
        rows.append({"group": name, "up": up, "down": down} | figures | {"n": n})
    return pd.DataFrame(rows)


def _check(label: NDArray[np.floating], values: NDArray[np.floating]) -> None:
    """Refuse outcomes that are not known, and lists of unlike length."""
    if label.shape != values.shape or not np.isin(label, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every patient; leave out those whose outcome is not known.")


def decided(score: NDArray[np.floating], threshold: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 at the threshold or above, 0 below it, NaN where there is no score or no threshold."""
    return np.where(np.isfinite(score) & np.isfinite(threshold), (score >= threshold).astype(float), np.nan)
