"""Cox's proportional hazards with a ridge, and the risk at a horizon that follows from it where death may come first.

The partial likelihood is Efron's or Breslow's for tied times. Newton's method, so that a nested choice of the penalty
takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepqct.evaluation.times import DEATH, EVENT, Times

TIES = ("efron", "breslow")
_SLIGHT = 0.01  # penalty of a slope on one standardised score, so that it stays finite; our choice


def fit_cox(
    x: NDArray[np.floating], times: Times, *, penalty: float = 0.0, ties: str = "efron", of: int = EVENT
) -> NDArray[np.floating]:
    """Coefficients of Cox's model of one cause: other causes end the follow-up.

    Parameters
    ----------
    x : (n, p) float
        Predictors without missing values.
    times : Times
        The women.
    penalty : float
        Half of it times the sum of the squared coefficients is taken off the log partial likelihood. Standardise `x`
        before.
    ties : str
        efron or breslow.
    of : int
        1 for the event, 2 for death before it.

    Returns
    -------
    (p,) float
        Log hazard ratios per unit of each column; 0 for all without an event.

    Raises
    ------
    ValueError
        If the ties are neither efron nor breslow.

    References
    ----------
    Cox DR (1972), J R Stat Soc B 34:187. Efron B (1977), J Am Stat Assoc 72:557. Breslow N (1974), Biometrics 30:89.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> times = dq.evaluation.Times.of([5, 3, 9, 2, 7, 4, 8, 6], [1, 1, 0, 1, 1, 0, 1, 1])
    >>> x = np.array([[0.4], [1.2], [-0.5], [0.3], [0.2], [1.1], [-0.8], [0.1]])
    >>> dq.evaluation.fit_cox(x, times).round(3).tolist()
    [1.981]
    """
    if ties not in TIES:
        raise ValueError(f"Unknown ties {ties!r}; use one of {', '.join(TIES)}.")
    width = x.shape[1]
    if not (times.event == of).any() or not width:
        return np.zeros(width)
    turned, back = x, None
    if penalty > 0 and width > len(x):  # the ridge's solution lies in the space of the rows
        u, sizes, back = np.linalg.svd(x, full_matrices=False)
        turned = u * sizes
    likelihood = _Partial(turned, times, ties=ties, of=of)
    beta = np.zeros(turned.shape[1])
    value = likelihood.value(beta) - penalty / 2 * beta @ beta
    for _ in range(60):
        gradient, information = likelihood.slopes(beta)
        gradient, information = gradient - penalty * beta, information + penalty * np.eye(len(beta))
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            step = np.linalg.lstsq(information, gradient, rcond=None)[0]
        size = 1.0
        while size > 1e-10:
            new = beta + size * step
            reached = likelihood.value(new) - penalty / 2 * new @ new
            if np.isfinite(reached) and reached >= value - 1e-12 * abs(value):
                break
            size /= 2
        else:
            break
        beta, value = new, reached
        if np.abs(size * step).max() < 1e-10:
            break
    return beta if back is None else beta @ back


def partial_likelihood(score: NDArray[np.floating], times: Times, *, ties: str = "efron", of: int = EVENT) -> float:
    """Log partial likelihood of scores that are given.

    Parameters
    ----------
    score : (n,) float
        Log hazard of each woman.
    times, ties, of
        As in `fit_cox`.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> times = dq.evaluation.Times.of([1, 2, 3], [1, 1, 0])
    >>> round(dq.evaluation.partial_likelihood(np.zeros(3), times), 4)  # of 3, then of 2 women
    -1.7918
    """
    return _Partial(np.asarray(score, float)[:, None], times, ties=ties, of=of).value(np.ones(1))


@dataclass(frozen=True)
class RiskMap:
    """From a log hazard to the probability of the event by a horizon, where death may come first.

    Parameters
    ----------
    centre, slope : float
        The log hazard of the event is slope × (score − centre).
    death_slope : float
        The same of death before it.
    event, death : (k,) float
        Increments of the baseline hazards up to the horizon, moment after moment.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> times = dq.evaluation.Times.of([1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 2, 1, 0, 1, 0, 0])
    >>> risks = dq.evaluation.RiskMap.fit(np.array([2.0, 1, 2, 0, 1, 0, -1, -2]), times, horizon=4)
    >>> risks(np.array([1.0, -1.0])).round(2).tolist()
    [0.5, 0.08]
    """

    centre: float
    slope: float
    death_slope: float
    event: NDArray[np.floating]
    death: NDArray[np.floating]

    @classmethod
    def fit(cls, score: NDArray[np.floating], times: Times, *, horizon: float, slope: float | None = None) -> RiskMap:
        """Fit the map on women whose times are known: cause-specific Cox on the one score, and Breslow's baseline.

        Parameters
        ----------
        score : (n,) float
            Scores of these women.
        times : Times
            Their times.
        horizon : float
            Years.
        slope : float, optional
            Of the event's log hazard on the score, if it is known already; else it is fitted, nearly without a penalty.
        """
        centre, spread = float(score.mean()), float(score.std()) or 1.0
        z = ((score - centre) / spread)[:, None]
        own = slope if slope is not None else float(fit_cox(z, times, penalty=_SLIGHT)[0]) / spread
        of_death = float(fit_cox(z, times, penalty=1.0, of=DEATH)[0]) / spread  # fewer deaths: a prior of SD 1
        moments = np.unique(times.time[times.time <= horizon])
        steps = [
            _baseline(exponent * (score - centre), times, moments, of=cause)
            for cause, exponent in ((EVENT, own), (DEATH, of_death))
        ]
        return cls(centre, own, of_death, *steps)

    def __call__(self, score: NDArray[np.floating]) -> NDArray[np.floating]:
        """The risks of (n,) scores; NaN where there is no score."""
        off = np.asarray(score, float) - self.centre
        event = np.exp(np.clip(self.slope * off, -50, 50))[:, None] * self.event
        death = np.exp(np.clip(self.death_slope * off, -50, 50))[:, None] * self.death
        both = event + death
        before = np.exp(-(np.cumsum(both, axis=1) - both))
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.where(both > 0, before * -np.expm1(-both) * event / both, 0.0)
        return np.where(np.isfinite(off), own.sum(axis=1), np.nan)


def _baseline(
    score: NDArray[np.floating], times: Times, moments: NDArray[np.floating], *, of: int
) -> NDArray[np.floating]:
    """Breslow's increments of the baseline hazard of one cause at some moments."""
    order = np.argsort(times.time)
    left = np.cumsum(np.exp(score[order])[::-1])[::-1]
    at_risk = left[np.searchsorted(times.time[order], moments, side="left")]
    own = times.time[times.event == of]
    count = (
        np.bincount(np.searchsorted(moments, own[own <= moments[-1]]), minlength=len(moments)) if len(moments) else 0
    )
    return np.asarray(count / at_risk) if len(moments) else np.zeros(0)


class _Partial:
    """The partial likelihood of some women, with all that does not depend on the coefficients.

    One term for each event; ``share`` is the part of the tied events' own hazards that it leaves out (Efron; 0 for
    Breslow).
    """

    def __init__(self, x: NDArray[np.floating], times: Times, *, ties: str, of: int) -> None:
        order = np.argsort(-times.time, kind="stable")  # those at risk at a time are then the first rows
        self.x, time, had = x[order], times.time[order], times.event[order] == of
        self.had = np.flatnonzero(had)
        last = np.searchsorted(-time, -time, side="right") - 1  # the last row that is at risk with each row
        self.last = last[self.had]
        moments, self.group = np.unique(-time[self.had], return_inverse=True)
        size = np.bincount(self.group, minlength=len(moments))
        nth = np.arange(len(self.had)) - np.searchsorted(self.group, self.group)  # rows of one time are neighbours
        self.share = nth / size[self.group] if ties == "efron" else np.zeros(len(self.had))
        self.terms = np.searchsorted(-time[self.had], -time, side="left")  # terms of later times than a row's own
        self.tied = self.share.any()

    def _sums(self, beta: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
        """Hazards of all rows, the sum at each term, and the logarithm that was taken off."""
        score = self.x @ beta
        top = float(score.max())
        hazard = np.exp(score - top)
        total = np.cumsum(hazard)[self.last]
        if self.tied:
            own = np.bincount(self.group, weights=hazard[self.had])
            total = total - self.share * own[self.group]
        return hazard, total, top

    def value(self, beta: NDArray[np.floating]) -> float:
        """The log partial likelihood."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            _, total, top = self._sums(beta)
            return float((self.x[self.had] @ beta - top - np.log(total)).sum())

    def slopes(self, beta: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Gradient and information of the log partial likelihood."""
        hazard, total, _ = self._sums(beta)
        weighted = hazard[:, None] * self.x
        means = np.cumsum(weighted, axis=0)[self.last]
        if self.tied:
            own = np.zeros((self.group.max() + 1, self.x.shape[1]))
            np.add.at(own, self.group, weighted[self.had])
            means = means - self.share[:, None] * own[self.group]
        means = means / total[:, None]
        # Each row is at risk in the terms of all events that are not later than it.
        over = np.concatenate([np.cumsum((1 / total)[::-1])[::-1], [0.0]])
        weight = hazard * over[self.terms]
        if self.tied:
            left_out = np.bincount(self.group, weights=self.share / total)
            weight[self.had] -= hazard[self.had] * left_out[self.group]
        information = (self.x * weight[:, None]).T @ self.x - means.T @ means
        return self.x[self.had].sum(axis=0) - means.sum(axis=0), information
