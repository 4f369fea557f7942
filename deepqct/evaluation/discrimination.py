"""Discrimination: areas under curves and their differences, with intervals.

A score may be one column or several, the repeats of a repeated cross-validation: the figure is then the mean of the
repeats' areas, and its interval is of that mean. From fewer than 5 events or non-events nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.metrics import average_precision_score

# Scores of a head refitted to permuted outcomes, on a network that is not trained, vary more than DeLong's error says,
# which takes them as given: over 200 permutations of each bone an SD of the AUC of 0.055 to 0.061 beside 0.042
# (`make bench-networks PART=permutations`). It stands in for networks that are trained: 20 trainings of the radius on as
# many permutations had a mean of 0.514 and an SD of 0.049, 1.2 times DeLong's.
NETWORKS_VARY = 1.4

NOT_ESTIMABLE = "not estimable"
FEWEST = 5  # events, and non-events, below which no figure is given; our choice
METHODS = ("delong", "wald", "bca")
DRAWS = 2000  # bootstrap samples
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and what it rests on; NaN where it is not estimable.

    Parameters
    ----------
    estimate, low, high : float
        The figure and its interval.
    n, events : int
        Patients, and those with the outcome.
    """

    estimate: float
    low: float
    high: float
    n: int
    events: int

    @classmethod
    def of(cls, row: Mapping[Any, Any] | pd.Series) -> Self:
        """The estimate that a row of a table holds in columns of these names."""
        values = {field.name: row[field.name] for field in fields(cls)}
        return cls(**values | {"n": int(values["n"]), "events": int(values["events"])})

    @classmethod
    def unknown(cls, *, n: int, events: int, **others: Any) -> Self:
        """What stands in place of an estimate that too few women allow."""
        known = {"n": n, "events": events, **others}
        return cls(**dict.fromkeys((field.name for field in fields(cls)), float("nan")) | known)

    @property
    def estimable(self) -> bool:
        """True if there were enough events and non-events."""
        return bool(np.isfinite(self.estimate))

    @property
    def basis(self) -> str:
        """What it rests on in words, such as n 216, 71 events."""
        return f"n {self.n}, {self.events} event{'' if self.events == 1 else 's'}"

    def __str__(self) -> str:
        """The figure in words, such as 0.71 (95 % 0.64–0.78; n 216, 71 events)."""
        if not self.estimable:
            return f"{NOT_ESTIMABLE} ({self.basis})"
        return f"{self.estimate:.2f} (95 % {self.low:.2f}–{self.high:.2f}; {self.basis})"

    def row(self) -> dict[str, Any]:
        """The figures as columns of a table, by their names."""
        return asdict(self)


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference of two figures of the same patients, with p.

    Parameters
    ----------
    estimate, low, high, n, events
        As in `Estimate`.
    p : float
        Two-sided, of no difference.
    """

    p: float

    def __str__(self) -> str:
        """The difference in words, such as −0.02 (95 % −0.05 to +0.02; n 216, 71 events; p 0.31)."""
        if not self.estimable:
            return f"{NOT_ESTIMABLE} ({self.basis})"
        return f"{signed(self.estimate)} (95 % {signed(self.low)} to {signed(self.high)}; {self.basis}; p {self.p:.2g})"


@dataclass(frozen=True)
class Noninferiority(Difference):
    """A difference held against a margin that was fixed beforehand.

    Parameters
    ----------
    estimate, low, high, n, events
        As in `Estimate`.
    p : float
        One-sided, of a loss of `margin` or more.
    margin : float
        The largest loss that one would accept.
    non_inferior : bool or None
        Whether the whole interval lies above −margin; None where it is not estimable.
    """

    margin: float
    non_inferior: bool | None


def signed(value: float) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def auc(y: ArrayLike, score: ArrayLike, *, method: str = "delong", seed: int = 0) -> Estimate:
    """Area under the ROC curve with a 95 % interval.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    score : (n,) or (n, repeats) float
        Higher means more risk; patients without a score are left out. Of several columns the mean of the areas is given.
    method : str
        ``delong``: DeLong's variance on the logit scale, so that the interval stays within 0 and 1 (our choice; it covers
        where the symmetric one falls short); ``wald``: DeLong's symmetric interval, as in pROC, cut at 0 and 1; ``bca``:
        bias-corrected and accelerated bootstrap of patients, within each outcome.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Estimate
        Where the AUC is 0 or 1 its variance is 0: with k the fewer of events and non-events, k disjoint pairs are then all
        in the same order, so that the far bound is that of k successes in k trials (our choice; it errs on the wide side).
        A score that is the same for everybody has variance 0 too; 0.25 / k stands in for it.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1, or the method is not known.

    Notes
    -----
    The interval is of the scores as they are. Those of a cross-validation come from models that were fitted on overlapping
    patients; what the interval leaves out is how much other models of the same kind would differ.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837. Sun X, Xu W (2014), IEEE Signal Process Lett 21:1389. Efron B (1987), J Am
    Stat Assoc 82:171.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; use one of {', '.join(METHODS)}.")
    label, s = _scored(y, score)
    events, none = int(label.sum()), int((~label).sum())
    if min(events, none) < FEWEST:
        return Estimate.unknown(n=len(label), events=events)
    above, below = _components(label, s)
    area = float(above.mean())
    variance = above.var(ddof=1) / events + below.var(ddof=1) / none
    fewer = min(events, none)
    if area in (0.0, 1.0):
        far = 0.025 ** (1 / fewer)
        low, high = (far, 1.0) if area == 1.0 else (0.0, 1 - far)
    elif method == "bca" and variance > 0:
        low, high = _bca(label, _kernel(label, s), seed=seed)
    elif method == "wald":
        low, high = np.clip(area + _Z * np.sqrt(variance) * np.array([-1, 1]), 0, 1)
    else:
        half = _Z * np.sqrt(variance or 0.25 / fewer) / (area * (1 - area))
        low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high), len(label), events)


def better_than_chance(y: ArrayLike, score: ArrayLike, *, wider: float = 1.0) -> float:
    """One-sided p of an AUC of 0.5 or less, by DeLong's error on the logit scale; NaN where it is not estimable.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    score : (n,) or (n, repeats) float
        As in `auc`.
    wider : float
        How many times DeLong's the error is, where scores vary more than they would if they were fixed.
    """
    found = auc(y, score)
    if not found.estimable:
        return float("nan")
    if found.low in (0.0, 1.0) or found.high in (0.0, 1.0):
        return 0.5 ** (min(found.events, found.n - found.events) / wider**2) if found.estimate > 0.5 else 1.0
    error = wider * (special.logit(found.high) - special.logit(found.low)) / (2 * _Z)
    return float(stats.norm.sf(special.logit(found.estimate) / error))


def compare_auc(
    y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike, *, method: str = "delong", seed: int = 0
) -> Difference:
    """Difference of the AUCs of two scores of the same patients.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    score_a, score_b : (n,) or (n, repeats) float
        Two scores; patients who lack either are left out.
    method : str
        Of the interval: ``delong`` (symmetric) or ``bca``. p is DeLong's in both.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Difference
        AUC of a minus AUC of b; not estimable from fewer than 5 events or non-events, nor where unlike scores leave no
        variance, as two that both separate the outcomes.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837.
    """
    if method not in ("delong", "bca"):
        raise ValueError(f"Unknown method {method!r}; use delong or bca.")
    label, a, b = _paired(y, score_a, score_b)
    n, events = len(label), int(label.sum())
    if min(events, n - events) < FEWEST:
        return Difference.unknown(n=n, events=events)
    difference, error = _difference(label, a, b)
    if error == 0 and not np.array_equal(stats.rankdata(a, axis=0), stats.rankdata(b, axis=0)):
        return Difference.unknown(n=n, events=events)
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else 1.0
    low, high = difference - _Z * error, difference + _Z * error
    if method == "bca" and error > 0:
        low, high = _bca(label, _kernel(label, a) - _kernel(label, b), seed=seed)
    return Difference(difference, float(low), float(high), n, events, p)


def noninferiority(y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike, *, margin: float = 0.05) -> Noninferiority:
    """Whether the AUC of a is at most `margin` below that of b, the margin fixed beforehand.

    Parameters
    ----------
    y, score_a, score_b
        As in `compare_auc`.
    margin : float
        The largest loss of AUC that one would accept (0.05: our choice).

    Returns
    -------
    Noninferiority
        AUC of a minus AUC of b, and whether its whole interval lies above −margin.

    Raises
    ------
    ValueError
        If the margin is not above 0.

    References
    ----------
    Liu JP et al. (2006), Stat Med 25:1219 (paired AUCs).
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; a margin of non-inferiority is above 0.")
    found = compare_auc(y, score_a, score_b)
    if not found.estimable:
        return Noninferiority.unknown(n=found.n, events=found.events, margin=margin, non_inferior=None)
    error = (found.high - found.low) / (2 * _Z)
    p = float(stats.norm.sf((found.estimate + margin) / error)) if error > 0 else 0.0
    return Noninferiority(**found.row() | {"p": p}, margin=margin, non_inferior=bool(found.low > -margin))


def auprc(y: ArrayLike, score: ArrayLike) -> Estimate:
    """Area under the precision–recall curve (average precision) with a 95 % interval.

    Parameters
    ----------
    y, score
        As in `auc`. A useless score has the prevalence, not 0.5.

    References
    ----------
    Boyd K et al. (2013), ECML PKDD, LNCS 8190:451 (the logit interval).
    """
    label, s = _scored(y, score)
    events = int(label.sum())
    if min(events, len(label) - events) < FEWEST:
        return Estimate.unknown(n=len(label), events=events)
    area = float(np.mean([average_precision_score(label, column) for column in s.T]))
    inside = min(area, 1 - 0.5 / events)  # a perfect score has an interval too
    half = _Z / np.sqrt(events * inside * (1 - inside))
    low, high = special.expit(special.logit(inside) + np.array([-half, half]))
    return Estimate(area, float(low), max(float(high), area), len(label), events)


def within_folds(y: ArrayLike, score: ArrayLike, fold: ArrayLike) -> float:
    """Mean AUC of the folds, whose scores may differ in level; folds with one outcome only are left out."""
    label, s, k = np.asarray(y, float) == 1, np.asarray(score, float), np.asarray(fold)
    found = []
    for one in np.unique(k):
        rows = (k == one) & np.isfinite(s)
        if 0 < label[rows].sum() < rows.sum():
            found.append(float(_placements(label[rows], s[rows])[0].mean()))
    return float(np.mean(found)) if found else float("nan")


def roc_points(outcome: ArrayLike, score: ArrayLike, *, draws: int = 500, seed: int = 0) -> pd.DataFrame:
    """The ROC curve on a grid, with a pointwise 95 % band.

    Parameters
    ----------
    outcome, score
        As in `auc`; of several columns the mean of their curves is drawn.
    draws : int
        Bootstrap samples of patients, drawn within each outcome.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        false_positive_rate (101 steps from 0 to 1), true_positive_rate, low, high; empty if not estimable.
    """
    y, columns = _scored(outcome, score)
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


def _scored(outcome: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Outcome and score, a column a repeat, of the patients who have every score."""
    y, s = np.asarray(outcome, dtype=float), np.asarray(score, dtype=float)
    s = s[:, None] if s.ndim == 1 else s
    if y.shape != s.shape[:1] or not np.isin(y, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every score; leave out patients whose outcome is not known.")
    there = np.isfinite(s).all(axis=1)
    return y[there] == 1, s[there]


def _paired(
    y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.floating], NDArray[np.floating]]:
    """Outcome and both scores of the patients who have both."""
    a, b = (np.asarray(s, float) for s in (score_a, score_b))
    a, b = (s[:, None] if s.ndim == 1 else s for s in (a, b))
    if not len(np.asarray(y)) == len(a) == len(b):
        raise ValueError(f"{len(np.asarray(y))} outcomes, {len(a)} and {len(b)} scores; give one of each a patient.")
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    label, a = _scored(np.asarray(y, float)[both], a[both])
    return label, a, b[both]


def _difference(label: NDArray[np.bool_], a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[float, float]:
    """Difference of two areas and DeLong's standard error of it."""
    (above_a, below_a), (above_b, below_b) = _components(label, a), _components(label, b)
    variance = (above_a - above_b).var(ddof=1) / len(above_a) + (below_a - below_b).var(ddof=1) / len(below_a)
    return float(above_a.mean() - above_b.mean()), float(np.sqrt(variance))


def _components(
    label: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """DeLong's components of events and non-events, averaged over the repeats."""
    parts = [_placements(label, column) for column in score.T]
    return np.mean([above for above, _ in parts], axis=0), np.mean([below for _, below in parts], axis=0)


def _placements(
    label: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """For each event the share of non-events below her, for each non-event that of events above; ties count half."""
    events, none = label.sum(), (~label).sum()
    ranks = stats.rankdata(score)
    above = (ranks[label] - stats.rankdata(score[label])) / none
    return above, 1 - (ranks[~label] - stats.rankdata(score[~label])) / events


def _kernel(label: NDArray[np.bool_], score: NDArray[np.floating]) -> NDArray[np.floating]:
    """For each pair of an event and a non-event 1, 0.5 or 0, averaged over the repeats."""
    pairs = [np.sign(column[label][:, None] - column[~label][None]) for column in score.T]
    return np.mean(pairs, axis=0) / 2 + 0.5


def _bca(label: NDArray[np.bool_], kernel: NDArray[np.floating], *, seed: int) -> tuple[float, float]:
    """BCa interval of the mean of `kernel` over patients drawn within each outcome."""

    def counts(drawn: NDArray[np.integer], size: int) -> NDArray[np.floating]:
        flat = drawn.reshape(-1, drawn.shape[-1])
        cells = (np.arange(len(flat))[:, None] * size + flat).ravel()
        return np.bincount(cells, minlength=len(flat) * size).reshape(*drawn.shape[:-1], size).astype(float)

    def mean(
        events: NDArray[np.integer], none: NDArray[np.integer], axis: int = -1
    ) -> NDArray[np.floating]:  # scipy asks for an axis, which is always the last
        drawn = (counts(events, kernel.shape[0]) @ kernel * counts(none, kernel.shape[1])).sum(axis)
        return np.asarray(drawn / (events.shape[-1] * none.shape[-1]))

    found = stats.bootstrap(
        (np.arange(kernel.shape[0]), np.arange(kernel.shape[1])), mean, n_resamples=DRAWS, vectorized=True,
        method="BCa", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
