"""Times to an event judged: the C-index, the AUC at a horizon, and predicted risks beside what was observed.

Times may end before the event (censored), and death may come first. A woman's ``event`` is 0 where she was followed
without it, 1 for the event, 2 for a death that came first. Death is not taken for the end of follow-up: a woman who
died without the event never has it (Wolbers 2009), and what is observed at a horizon is the cumulative incidence of
Aalen and Johansen, which without deaths is 1 minus Kaplan and Meier's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from deepqct.evaluation.discrimination import FEWEST, Estimate
from deepqct.evaluation.influence import Figure
from deepqct.evaluation.numbers import groups_of

CENSORED, EVENT, DEATH = 0, 1, 2
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Times:
    """Times to an event of some women.

    Parameters
    ----------
    time : (n,) float
        Years until the event, the death, or the end of follow-up; above 0.
    event : (n,) int
        0 followed without it, 1 the event, 2 death before it.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> followed = dq.evaluation.Times(np.array([2.0, 5.0, 3.5]), np.array([1, 0, 2]))
    >>> followed.events, followed.deaths, followed.known_at(3).tolist()
    (1, 1, [1.0, 0.0, 0.0])
    """

    time: NDArray[np.floating]
    event: NDArray[np.integer]

    @classmethod
    def of(cls, time: ArrayLike, event: ArrayLike) -> Times:
        """Times and events, checked.

        Parameters
        ----------
        time, event
            As of the class.

        Raises
        ------
        ValueError
            If a time is not above 0, or an event is none of 0, 1 and 2.
        """
        t, e = np.asarray(time, float), np.asarray(event, float)
        if t.shape != e.shape or not (t > 0).all() or not np.isin(e, (CENSORED, EVENT, DEATH)).all():
            raise ValueError("Every woman needs a time above 0 and an event of 0, 1 or 2; leave out the others.")
        return cls(t, e.astype(int))

    def __getitem__(self, rows: Any) -> Times:
        """The times of some women."""
        return Times(self.time[rows], self.event[rows])

    @property
    def events(self) -> int:
        """Women with the event."""
        return int((self.event == EVENT).sum())

    @property
    def deaths(self) -> int:
        """Women who died before the event."""
        return int((self.event == DEATH).sum())

    def known_at(self, horizon: float) -> NDArray[np.floating]:
        """Whether each woman had the event by the horizon: 1, 0, or NaN where her follow-up ended before.

        Parameters
        ----------
        horizon : float
            Years.
        """
        by_then = (self.event == EVENT) & (self.time <= horizon)
        ended = (self.event == CENSORED) & (self.time < horizon)
        return np.where(ended, np.nan, by_then.astype(float))


def incidence(times: Times, at: ArrayLike, *, of: int = EVENT) -> NDArray[np.floating]:
    """Cumulative incidence by Aalen and Johansen, and its standard error.

    Parameters
    ----------
    times : Times
        The women.
    at : float or (k,) float
        Years.
    of : int
        1 for the event, 2 for death before it.

    Returns
    -------
    (k, 2) float
        The share who had it by then, and the standard error. Without deaths the share is 1 minus Kaplan and Meier's
        survival, and the error is Greenwood's.

    References
    ----------
    Aalen OO, Johansen S (1978), Scand J Stat 5:141. Marubini E, Valsecchi MG (1995), Analysing Survival Data, 10.2.3
    (error).

    Examples
    --------
    >>> import deepqct as dq
    >>> followed = dq.evaluation.Times.of([1, 2, 3, 4, 5], [1, 0, 2, 1, 0])
    >>> dq.evaluation.incidence(followed, 4)[0].round(3).tolist()
    [0.467, 0.248]
    """
    points = np.atleast_1d(np.asarray(at, float))
    moments, at_risk, of_any = _counts(times, times.event != CENSORED)
    of_one = _tally(moments, times.time[times.event == of])
    survival = np.cumprod(1 - of_any / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    curve = np.cumsum(before * of_one / at_risk)
    found = np.zeros((len(points), 2))
    for row, point in enumerate(points):
        upto = moments <= point
        if not upto.any():
            continue
        share = curve[upto][-1]
        n, d, d1, s = at_risk[upto], of_any[upto], of_one[upto], before[upto]
        rest = share - curve[upto]
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.where(n > d, rest**2 * d / (n * (n - d)), 0.0)
        variance = first + s**2 * (n - d1) * d1 / n**3 - 2 * rest * s * d1 / n**2
        found[row] = share, np.sqrt(max(variance.sum(), 0.0))
    return found


def free_of_censoring(times: Times, at: NDArray[np.floating], *, before: bool) -> NDArray[np.floating]:
    """Probability of not being censored by each of some moments, by Kaplan and Meier.

    Parameters
    ----------
    times : Times
        The women whose censoring is estimated.
    at : (k,) float
        Years.
    before : bool
        True for the moment just before, which leaves out who is censored at it.
    """
    moments, at_risk, censored = _counts(times, times.event == CENSORED)
    # At a tied time events come before the censored, who are then still at risk of both.
    events = _tally(moments, times.time[times.event != CENSORED])
    left = np.cumprod(1 - censored / np.maximum(at_risk - events, 1e-12))
    place = np.searchsorted(moments, at, side="left" if before else "right")
    return np.concatenate([[1.0], left])[place]


def concordance(
    time: ArrayLike, event: ArrayLike, score: ArrayLike, *, uno: bool = False, horizon: float = np.inf
) -> Figure:
    """C-index: of pairs of women of whom one had the event first, the share in which she has the higher score.

    Parameters
    ----------
    time, event : (n,)
        As in `Times`.
    score : (n,) float
        Higher means earlier; women with NaN are left out. Equal scores count half.
    uno : bool
        False for Harrell's index; True for Uno's, in which pairs are weighted by the inverse of the squared probability
        of not being censored, so that it does not depend on the follow-up.
    horizon : float
        Only events up to here count, in years.

    Returns
    -------
    Figure
        NaN with fewer than 5 events. The interval takes the scores as given, and Uno's weights too.

    References
    ----------
    Harrell FE et al. (1996), Stat Med 15:361. Uno H et al. (2011), Stat Med 30:1105. Wolbers M et al. (2009),
    Epidemiology 20:555 (death first). The error is R's of `survival::concordance`.

    Examples
    --------
    >>> import deepqct as dq
    >>> time, event = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 1, 0, 1, 2, 1, 1, 0, 0, 1]
    >>> print(dq.evaluation.concordance(time, event, [9, 10, 5, 8, 4, 3, 6, 1, 2, 2]).estimate())
    0.88 (95 % 0.69–0.96; n 10, 6 events)
    """
    s = np.asarray(score, float)
    there = np.isfinite(s)
    times, s = Times.of(time, event)[there], s[there]
    n, events = len(s), int(((times.event == EVENT) & (times.time <= horizon)).sum())
    if events < FEWEST:
        return Figure(float("nan"), np.zeros(n), times.events, share=True)
    first = np.flatnonzero((times.event == EVENT) & (times.time <= horizon))
    until = np.where(times.event == DEATH, np.inf, times.time)  # she stays among those without the event
    later = until[None] > times.time[first][:, None]
    later |= (times.time[None] == times.time[first][:, None]) & (times.event[None] == CENSORED)
    weight = later.astype(float)
    if uno:
        weight /= free_of_censoring(times, times.time[first], before=True)[:, None] ** 2
    right = weight * (0.5 + 0.5 * np.sign(s[first][:, None] - s[None]))
    return _ratio(right, weight, first, events=times.events)


def auc_at(time: ArrayLike, event: ArrayLike, score: ArrayLike, *, horizon: float) -> Figure:
    """AUC at a horizon: women with the event by then against all others, weighted by the inverse of being still followed.

    Parameters
    ----------
    time, event, score
        As in `concordance`.
    horizon : float
        Years.

    Returns
    -------
    Figure
        NaN with fewer than 5 women with the event by then, or without it. Women who died before are among those without it.
        The interval takes the weights as given, and is rather too wide.

    References
    ----------
    Blanche P et al. (2013), Stat Med 32:5381 (definition 2 of those without the event).

    Examples
    --------
    >>> import deepqct as dq
    >>> time, event = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [1, 1, 0, 1, 1, 1, 2, 0, 0, 0, 0, 1]
    >>> round(dq.evaluation.auc_at(time, event, [9, 8, 3, 7, 2, 6, 4, 1, 3, 2, 5, 1], horizon=6).value, 3)
    0.878
    """
    s = np.asarray(score, float)
    there = np.isfinite(s)
    times, s = Times.of(time, event)[there], s[there]
    known = times.known_at(horizon)
    had, none = np.flatnonzero(known == 1), np.flatnonzero(known == 0)
    if min(len(had), len(none)) < FEWEST:
        return Figure(float("nan"), np.zeros(len(s)), len(had), share=True)
    weights = inverse_weights(times, horizon=horizon)
    weight = np.zeros((len(had), len(s)))
    weight[:, none] = weights[had][:, None] * weights[none][None]
    right = weight * (0.5 + 0.5 * np.sign(s[had][:, None] - s[None]))
    return _ratio(right, weight, had, events=len(had))


def inverse_weights(times: Times, *, horizon: float) -> NDArray[np.floating]:
    """What each woman whose state at the horizon is known stands for; 0 where her follow-up ended before.

    Parameters
    ----------
    times : Times
        The women.
    horizon : float
        Years.
    """
    known = np.isfinite(times.known_at(horizon))
    reached = free_of_censoring(times, np.minimum(times.time, horizon), before=True)
    beyond = times.time > horizon
    reached[beyond] = free_of_censoring(times, np.full(int(beyond.sum()), horizon), before=False)
    return np.where(known, 1 / np.maximum(reached, 1e-12), 0.0)


def horizon_groups(time: ArrayLike, event: ArrayLike, risk: ArrayLike, *, horizon: float) -> pd.DataFrame:
    """Observed beside predicted risk at a horizon, in groups of women with like predictions.

    Parameters
    ----------
    time, event
        As in `Times`.
    risk : (n,) float
        Predicted probability of the event by the horizon; women with NaN are left out.
    horizon : float
        Years.

    Returns
    -------
    DataFrame
        predicted (mean risk), observed (`incidence`), low, high (95 %, on the scale of log(−log)), n, events by the
        horizon; up to five groups of equal size, with at least 10 women each (our choice).

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> time, event, risk = np.arange(1.0, 21), np.tile([1, 0], 10), np.linspace(0.9, 0.1, 20)
    >>> dq.evaluation.horizon_groups(time, event, risk, horizon=10)[["observed", "events"]].round(2).to_numpy().tolist()
    [[0.0, 0.0], [0.75, 5.0]]
    """
    told = np.asarray(risk, float)
    there = np.isfinite(told)
    times, told = Times.of(time, event)[there], told[there]
    rows = []
    for members in groups_of(told):
        own = times[members]
        share, error = incidence(own, horizon)[0]
        had = int(((own.event == EVENT) & (own.time <= horizon)).sum())
        low, high = _share_interval(share, error)
        known = int(np.isfinite(own.known_at(horizon)).sum())
        if known and error == 0:  # nobody, or everybody: as of a binomial share, the other bound is exact
            far = 0.025 ** (1 / known)
            low, high = (0.0, 1 - far) if share == 0 else (far, 1.0)
        rows.append((told[members].mean(), share, low, high, len(members), had))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n", "events"])


def time_measures(
    time: ArrayLike, event: ArrayLike, score: ArrayLike, risk: ArrayLike, *, horizon: float
) -> pd.DataFrame:
    """Uno's C-index, the AUC at a horizon, and calibration at that horizon, with 95 % intervals.

    Parameters
    ----------
    time, event, score
        As in `concordance`.
    risk : (n,) float
        Predicted probability of the event by the horizon.
    horizon : float
        Years.

    Returns
    -------
    DataFrame
        measure, estimate, low, high, n, events. Measures: ``C-index (Uno)``; ``AUC at 5 years``; ``observed at 5 years``
        (`incidence`) and ``predicted at 5 years`` (mean risk, without an interval); ``observed / predicted`` (ideal 1);
        ``slope``: of the log odds of the event by the horizon on those predicted, weighted as in `auc_at` (ideal 1; below 1
        the risks are too extreme). NaN with fewer than 5 events.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> rng = np.random.default_rng(1)
    >>> risk = rng.uniform(0.1, 0.6, 300)
    >>> time = rng.exponential(-5 / np.log1p(-risk))
    >>> table = dq.evaluation.time_measures(np.minimum(time, 8), time < 8, risk, risk, horizon=5).set_index("measure")
    >>> table.loc[["AUC at 5 years", "observed / predicted"], "estimate"].round(2).to_dict()
    {'AUC at 5 years': 0.68, 'observed / predicted': 1.09}
    """
    s, told = np.asarray(score, float), np.asarray(risk, float)
    there = np.isfinite(s) & np.isfinite(told)
    times, s, told = Times.of(time, event)[there], s[there], told[there]
    n, had = len(s), int(((times.event == EVENT) & (times.time <= horizon)).sum())
    found: dict[str, Estimate] = {
        "C-index (Uno)": concordance(times.time, times.event, s, uno=True, horizon=horizon).estimate(),
        f"AUC at {horizon:g} years": auc_at(times.time, times.event, s, horizon=horizon).estimate(),
    }
    names = (f"observed at {horizon:g} years", f"predicted at {horizon:g} years", "observed / predicted", "slope")
    if had < FEWEST:
        found |= {name: Estimate.unknown(n=n, events=had) for name in names}
    else:
        share, error = incidence(times, horizon)[0]
        mean = float(told.mean())
        low, high = _share_interval(share, error)
        wide = np.exp(_Z * error / share)
        found[names[0]] = Estimate(float(share), low, high, n, had)
        found[names[1]] = Estimate(mean, np.nan, np.nan, n, had)
        found[names[2]] = Estimate(share / mean, share / mean / wide, share / mean * wide, n, had)
        found[names[3]] = _slope(times, told, horizon=horizon, events=had)
    return pd.DataFrame([{"measure": name} | one.row() for name, one in found.items()])


def _slope(times: Times, risk: NDArray[np.floating], *, horizon: float, events: int) -> Estimate:
    """Weighted logistic slope of the event by the horizon on the predicted logit, with a robust error."""
    n, known = len(risk), times.known_at(horizon)
    there = np.isfinite(known)
    told = np.clip(risk[there], 1e-6, 1 - 1e-6)
    x, y = np.log(told / (1 - told)), known[there]
    w = inverse_weights(times, horizon=horizon)[there]
    if np.ptp(x) < 1e-9 or not 0 < y.sum() < len(y):
        return Estimate.unknown(n=n, events=events)
    design, beta = np.column_stack([np.ones(len(x)), x - x.mean()]), np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        information = (design * (w * p * (1 - p))[:, None]).T @ design
        if np.linalg.cond(information) > 1e12 or np.abs(beta).max() > 50:
            return Estimate.unknown(n=n, events=events)
        step = np.linalg.solve(information, design.T @ (w * (y - p)))
        beta = beta + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    scores = design * (w * (y - p))[:, None]
    inverse = np.linalg.inv(information)
    error = float(np.sqrt((inverse @ scores.T @ scores @ inverse)[1, 1]))
    return Estimate(float(beta[1]), float(beta[1] - _Z * error), float(beta[1] + _Z * error), n, events)


def _share_interval(share: float, error: float) -> tuple[float, float]:
    """95 % interval of a share on the scale of log(−log(1 − share)); without an error, none."""
    if not 0 < share < 1 or error == 0:
        return float("nan"), float("nan")
    left = np.log1p(-share)
    wide = np.exp(_Z * error / ((1 - share) * abs(left)))
    low, high = -np.expm1(left / wide), -np.expm1(left * wide)
    return float(low), float(high)


def _ratio(
    right: NDArray[np.floating], weight: NDArray[np.floating], first: Sequence[int] | NDArray[np.intp], *, events: int
) -> Figure:
    """A share of weighted pairs, the rows of whose first women are given, and what each woman adds to it."""
    total = float(weight.sum())
    if total == 0:
        return Figure(float("nan"), np.zeros(weight.shape[1]), events, share=True)
    value = float(right.sum()) / total
    rest = right - value * weight
    parts = rest.sum(axis=0)
    np.add.at(parts, np.asarray(first), rest.sum(axis=1))
    return Figure(value, parts / total, events, share=True)


def _counts(times: Times, counted: NDArray[np.bool_]) -> tuple[NDArray[np.floating], ...]:
    """The moments of all times, how many are at risk at each, and how many of the counted have it there."""
    moments = np.unique(times.time)
    at_risk = len(times.time) - np.searchsorted(np.sort(times.time), moments, side="left")
    return moments, at_risk.astype(float), _tally(moments, times.time[counted])


def _tally(moments: NDArray[np.floating], times: NDArray[np.floating]) -> NDArray[np.floating]:
    """How many of some times are each of the moments."""
    return np.bincount(np.searchsorted(moments, times), minlength=len(moments)).astype(float)
