"""What a risk is worth when something is decided by it: thresholds, net benefit, women whose risk group changes."""

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
    """Choose the threshold between low and high risk from the scores of a training set.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    score : (n,) float
        Scores or risks of the same women, from models that were not trained on them; women with NaN are left out.
    sensitivity : float, optional
        If given, the largest threshold that finds at least this share of the events is chosen; if not, the threshold
        with the largest sum of sensitivity and specificity.

    Returns
    -------
    float
        The threshold: a woman whose score is at or above it counts as high risk. NaN if all outcomes are the same.

    Raises
    ------
    ValueError
        If the sensitivity is not above 0 and at most 1.

    References
    ----------
    Youden WJ (1950), Cancer 3:32.

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome, score = [0, 0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    >>> dq.evaluation.threshold_for(outcome, score), dq.evaluation.threshold_for(outcome, score, sensitivity=0.6)
    (0.4, 0.6)
    """
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}; give a share above 0 and at most 1.")
    label, s = np.asarray(y, float), np.asarray(score, float)
    there = np.isfinite(s)
    label, s = label[there] == 1, s[there]
    if not 0 < label.sum() < len(label):
        return float("nan")
    if sensitivity is not None:
        falling = np.sort(s[label])[::-1]
        return float(falling[int(np.ceil(sensitivity * len(falling) - 1e-9)) - 1])
    levels = np.unique(s)
    events, none = np.sort(s[label]), np.sort(s[~label])
    true = 1 - np.searchsorted(events, levels) / len(events)
    false = 1 - np.searchsorted(none, levels) / len(none)
    return float(levels[np.argmax(true - false)])


def classification(y: ArrayLike, high_risk: ArrayLike) -> pd.DataFrame:
    """Sensitivity, specificity, PPV and NPV of decisions by thresholds that were fixed beforehand.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    high_risk : (n,) of 0 and 1, NaN where no decision was taken
        1 if the woman was called high risk.

    Returns
    -------
    DataFrame
        measure, estimate, low, high (Wilson), n (the women of whom it is a share), events (those of them who are
        counted: for the specificity the non-events called low risk). NaN with fewer than 5 events or non-events, or if
        n is below 5.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1.

    References
    ----------
    Wilson EB (1927), J Am Stat Assoc 22:209.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.classification([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1, 1, 1, 0, 1])
    >>> table.set_index("measure")["estimate"].round(2).to_dict()
    {'sensitivity': 0.8, 'specificity': 0.6, 'PPV': 0.67, 'NPV': nan}
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
        figure = share(count, of) if enough else Estimate.unknown(n=of, events=count)
        rows.append({"measure": measure, **figure.row()})
    return pd.DataFrame(rows)


def share(count: int, of: int) -> Estimate:
    """A share of women with its 95 % interval (Wilson); not estimable with fewer than 5 women.

    Parameters
    ----------
    count : int
        The women who are counted.
    of : int
        All women of whom `count` is a share.

    Returns
    -------
    Estimate
        The share, with `of` as n and `count` as events.

    References
    ----------
    Wilson EB (1927), J Am Stat Assoc 22:209.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.share(8, 10))
    0.80 (95 % 0.49–0.94; n 10, 8 events)
    """
    if of < FEWEST:
        return Estimate.unknown(n=of, events=count)
    interval = stats.binomtest(count, of).proportion_ci(method="wilson")
    return Estimate(count / of, float(interval.low), float(interval.high), of, count)


def net_benefit(y: ArrayLike, risk: ArrayLike, *, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Net benefit of treating the women at or above each threshold, beside treating all and none (a decision curve).

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    risk : (n,) float
        Calibrated risks; women with NaN are left out.
    thresholds : sequence of float
        Risks from which one would treat, each above 0 and below 1.

    Returns
    -------
    DataFrame
        threshold, strategy (model, treat all, treat none), estimate (true positives less false positives weighted by
        the odds of the threshold, per woman), low, high (pointwise 95 %), n, events. Empty with fewer than 5 events or
        non-events.

    Raises
    ------
    ValueError
        If a threshold is not between 0 and 1, or the outcome holds anything but 0 and 1.

    References
    ----------
    Vickers AJ, Elkin EB (2006), Med Decis Making 26:565.

    Examples
    --------
    >>> import deepqct as dq
    >>> risk = [0.1, 0.2, 0.2, 0.4, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    >>> curve = dq.evaluation.net_benefit([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], risk, thresholds=[0.35])
    >>> curve.set_index("strategy")["estimate"].round(2).to_dict()
    {'model': 0.45, 'treat all': 0.23, 'treat none': 0.0}
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
    """How many women change between low and high risk if one model's decisions replace those of another.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    before, after : (n,) of 0 and 1, NaN where no decision was taken
        1 if the woman is at high risk by the old and by the new model; women without both decisions are left out.

    Returns
    -------
    DataFrame
        One row for the events and one for the non-events: group, up, down (women), estimate (net share who moved in the
        right direction: up for events, down for non-events), low, high (95 %, with half a woman added to each cell), n.
        NaN with fewer than 5 events or non-events. The two shares are not added up, since their sum, the net
        reclassification index, counts a missed event like a false alarm.

    References
    ----------
    Pencina MJ et al. (2008), Stat Med 27:157. Agresti A, Min Y (2005), Stat Med 24:729 (the interval). Kerr KF et al.
    (2014), Epidemiology 25:114 (why not to add them up).

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome, before = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 1, 1, 1]
    >>> table = dq.evaluation.reclassification(outcome, before=before, after=[0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    >>> table[["group", "up", "down", "estimate"]].values.tolist()
    [['events', 1, 0, 0.2], ['non-events', 0, 1, 0.2]]
    """
    label, old, new = (np.asarray(values, float) for values in (y, before, after))
    _check(label, old)
    _check(label, new)
    there = np.isfinite(old) & np.isfinite(new)
    label, old, new = label[there], old[there], new[there]
    enough = min((label == 1).sum(), (label == 0).sum()) >= FEWEST
    rows = []
    for name, rows_of, right in (("events", label == 1, 1), ("non-events", label == 0, -1)):
        move = new[rows_of] - old[rows_of]
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
    """Decisions by thresholds: 1 (high risk) for scores at or above the threshold, 0 for scores below it.

    Parameters
    ----------
    score, threshold : (n,) float
        Scores, and the threshold that is valid for each of them.

    Returns
    -------
    (n,) float
        The decisions; NaN where the score or the threshold is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> dq.evaluation.decided(np.array([0.2, 0.6, np.nan]), np.array([0.5, 0.5, 0.5])).tolist()
    [0.0, 1.0, nan]
    """
    return np.where(np.isfinite(score) & np.isfinite(threshold), (score >= threshold).astype(float), np.nan)
