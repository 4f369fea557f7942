"""Figures that are sums over women: what each woman adds gives the interval, and that of a difference.

R² and C-index are judged by it, as DeLong's components do it for the AUC: the variance of a figure is the sum of the
squares of what each woman adds to it (the infinitesimal jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from deepqct.evaluation.discrimination import FEWEST_TRAININGS, NETWORKS_VARY, Difference, Estimate

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Figure:
    """A figure of some women, and what each of them adds to it.

    Parameters
    ----------
    value : float
        The figure; NaN where it is not estimable.
    parts : (n,) float
        What each woman adds: the parts sum to about 0, their squares to the variance.
    events : int
        Women with the event; below 0 where the outcome is a number.
    share : bool
        True for a figure between 0 and 1, whose interval is made on the logit scale; else it is symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> print(dq.evaluation.Figure(0.7, np.array([0.04, -0.02, -0.02]), events=-1).estimate())
    0.70 (95 % 0.60–0.80; n 3)
    """

    value: float
    parts: NDArray[np.floating]
    events: int
    share: bool = False

    @classmethod
    def mean(cls, figures: Sequence[Figure]) -> Self:
        """The mean of a figure over the repeats of a cross-validation of the same women.

        Parameters
        ----------
        figures : sequence of Figure
            One for each repeat.
        """
        first = figures[0]
        parts = np.mean([one.parts for one in figures], axis=0)
        return cls(float(np.mean([one.value for one in figures])), parts, first.events, first.share)

    @property
    def error(self) -> float:
        """The standard error of the figure."""
        return float(np.sqrt(np.sum(self.parts**2)))

    def estimate(self) -> Estimate:
        """The figure with its 95 % interval."""
        n = len(self.parts)
        if not np.isfinite(self.value):
            return Estimate.unknown(n=n, events=self.events)
        if not self.share:
            half = _Z * self.error
            return Estimate(self.value, self.value - half, self.value + half, n, self.events)
        if self.value in (0.0, 1.0):  # no variance: as for an AUC, the other bound is that of k successes in k trials
            far = 0.025 ** (1 / max(self.events, 1))
            low, high = (far, 1.0) if self.value == 1.0 else (0.0, 1 - far)
        else:
            spread = self.error or 0.5 / np.sqrt(max(self.events, 1))  # a score that is the same for everybody
            half = _Z * spread / (self.value * (1 - self.value))
            low, high = special.expit(special.logit(self.value) + np.array([-half, half]))
        return Estimate(self.value, float(low), float(high), n, self.events)

    def above(self, chance: float, *, wider: float = 1.0) -> float:
        """One-sided p value of a figure of `chance` or less; NaN where it is not estimable.

        Parameters
        ----------
        chance : float
            What a model without information reaches.
        wider : float
            How many times its error the figure varies, such as `NETWORKS_VARY`.
        """
        if not np.isfinite(self.value):
            return float("nan")
        if self.error == 0:
            return 0.5 ** max(self.events, 1) if self.value > chance else 1.0
        if self.share:
            error = self.error / max(self.value * (1 - self.value), 1e-12)
            return float(stats.norm.sf((special.logit(self.value) - special.logit(chance)) / (wider * error)))
        return float(stats.norm.sf((self.value - chance) / (wider * self.error)))


def compare_figures(
    a: Sequence[Figure], b: Sequence[Figure], *, trained: tuple[bool, bool] = (False, False), margin: float = 0.0
) -> Difference:
    """Difference of a figure between two models of the same women, a minus b.

    Parameters
    ----------
    a, b : sequence of Figure
        One for each repeat, of the same women in the same order.
    trained : (bool, bool)
        Whether a, and whether b, comes from networks, of which another training would give another figure; the repeats are
        then its trainings, as in `deepqct.evaluation.compare_auc`.
    margin : float
        Above 0, p is one-sided, of a loss of the margin or more; at 0 it is two-sided, of no difference.

    Returns
    -------
    Difference
        NaN where one of the two is not estimable.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> known, parts = np.arange(12.0), [1.0, -1.0] * 6
    >>> good, poor = (dq.evaluation.r_squared(known, known + size * np.array(parts)) for size in (0.5, 2))
    >>> print(dq.evaluation.compare_figures([good], [poor]))
    +0.31 (95 % +0.16 to +0.47; n 12; p 9.1e-05)
    """
    first, second = Figure.mean(a), Figure.mean(b)
    n = len(first.parts)
    if not (np.isfinite(first.value) and np.isfinite(second.value)):
        return Difference.unknown(n=n, events=first.events)
    difference = first.value - second.value
    variance, added, freedom = float(np.sum((first.parts - second.parts) ** 2)), 0.0, np.inf
    trainings = len(a)
    if any(trained) and trainings >= FEWEST_TRAININGS:
        added = float(np.var([x.value - y.value for x, y in zip(a, b, strict=True)], ddof=1)) / trainings
        if added > 0:
            freedom = (variance + added) ** 2 / (added**2 / (trainings - 1))
    elif any(trained):
        own = first.error**2 * trained[0] + second.error**2 * trained[1]
        added = (NETWORKS_VARY**2 - 1) * own / trainings
    error = float(np.sqrt(variance + added))
    spread = stats.norm if np.isinf(freedom) else stats.t(freedom)
    half = error * float(spread.ppf(0.975))
    if error == 0:
        p = 1.0 if margin == 0 else 0.0
    else:
        p = float(spread.sf((difference + margin) / error)) if margin else 2 * float(spread.sf(abs(difference) / error))
    return Difference(difference, difference - half, difference + half, n, first.events, p)
