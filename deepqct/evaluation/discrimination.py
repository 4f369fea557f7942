"""Discrimination: areas under ROC curves and their differences, with intervals.

A score may be one column or several: the repeats of a repeated cross-validation. The figure is then the mean of the
repeats' areas, and its interval is that of the mean. With fewer than 5 events or non-events nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

# How many times DeLong's error the AUC of networks varies by chance: DeLong takes the scores as given. Measured on an
# untrained network, its head refitted to permuted outcomes 200 times for each bone: SD of the AUC 0.055 to 0.061, by
# DeLong 0.042 (`make bench-networks PART=permutations`). Networks of the radius, trained on 20 permutations, had a mean
# of 0.514 and an SD of 0.049, 1.2 times DeLong's.
NETWORKS_VARY = 1.4
FEWEST_TRAININGS = 3  # from which the variance between trainings is measured, not assumed; our choice

NOT_ESTIMABLE = "not estimable"
FEWEST = 5  # events, and non-events, below which no figure is given; our choice
METHODS = ("delong", "wald", "bca")
DRAWS = 2000  # bootstrap samples
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of women behind it; NaN where it is not estimable.

    Parameters
    ----------
    estimate, low, high : float
        The figure and the bounds of its interval.
    n, events : int
        Patients, and those with the outcome; events are below 0 where the outcome is a number and has none.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.Estimate(0.712, 0.641, 0.783, n=216, events=71))
    0.71 (95 % 0.64–0.78; n 216, 71 events)
    """

    estimate: float
    low: float
    high: float
    n: int
    events: int

    @classmethod
    def of(cls, row: Mapping[Any, Any] | pd.Series) -> Self:
        """The estimate in a row of a table whose columns are called estimate, low, high, n, events."""
        values = {field.name: row[field.name] for field in fields(cls)}
        events = -1 if pd.isna(values["events"]) else int(values["events"])
        return cls(**values | {"n": int(values["n"]), "events": events})

    @classmethod
    def unknown(cls, *, n: int, events: int, **others: Any) -> Self:
        """An estimate without figures, for use where there are too few women."""
        known = {"n": n, "events": events, **others}
        return cls(**dict.fromkeys((field.name for field in fields(cls)), float("nan")) | known)

    @property
    def estimable(self) -> bool:
        """True if there were enough events and non-events."""
        return bool(np.isfinite(self.estimate))

    @property
    def basis(self) -> str:
        """The numbers behind the figure in words, such as n 216, 71 events."""
        if self.events < 0:
            return f"n {self.n}"
        return f"n {self.n}, {self.events} event{'' if self.events == 1 else 's'}"

    def __str__(self) -> str:
        """The figure in words, such as 0.71 (95 % 0.64–0.78; n 216, 71 events)."""
        if not self.estimable:
            return f"{NOT_ESTIMABLE} ({self.basis})"
        return f"{plain(self.estimate)} (95 % {interval(self.low, self.high)}; {self.basis})"

    def row(self) -> dict[str, Any]:
        """The figures as columns of a table, by their names; the number of events is empty where there are none."""
        return asdict(self) | ({} if self.events >= 0 else {"events": float("nan")})


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference of two figures of the same patients, with its p value.

    Parameters
    ----------
    estimate, low, high, n, events
        As in `Estimate`.
    p : float
        Two-sided p value of no difference.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.Difference(-0.02, -0.05, 0.02, n=216, events=71, p=0.31))
    −0.02 (95 % −0.05 to +0.02; n 216, 71 events; p 0.31)
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
        One-sided p value of a loss of `margin` or more.
    margin : float
        The largest loss that one would accept.
    non_inferior : bool or None
        Whether the whole interval lies above −margin; None where it is not estimable.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.Noninferiority(0.02, -0.03, 0.07, 216, 71, p=0.003, margin=0.05, non_inferior=True))
    +0.02 (95 % −0.03 to +0.07; n 216, 71 events; p 0.003)
    """

    margin: float
    non_inferior: bool | None


def plain(value: float) -> str:
    """A number in words: two decimals, with a true minus below 0."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def interval(low: float, high: float) -> str:
    """The ends of an interval in words: 0.64–0.78; where one is below 0, −0.21 to 0.04."""
    ends = plain(low), plain(high)
    return (" to " if "−" in "".join(ends) else "–").join(ends)


def signed(value: float) -> str:
    """A difference in words: two decimals, always with a sign, and with a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def auc(y: ArrayLike, score: ArrayLike, *, method: str = "delong", seed: int = 0) -> Estimate:
    """Area under the ROC curve with a 95 % interval.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    score : (n,) or (n, repeats) float
        Higher means more risk; patients with NaN are left out. The AUC is the mean of the areas of the columns.
    method : str
        ``delong``: DeLong's variance on the logit scale, so that the interval stays within 0 and 1 (our choice; it
        covers the true AUC more often than the symmetric one); ``wald``: DeLong's symmetric interval, as in pROC, cut
        at 0 and 1; ``bca``: bias-corrected and accelerated bootstrap of patients, within each outcome.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        An AUC of 0 or 1 has a variance of 0. Let k be the number of events or of non-events, whichever is smaller: k
        disjoint pairs are then all in the same order, so the other bound is that of k successes in k trials (our
        choice, rather too wide). A score that is the same for everybody has a variance of 0 too; 0.25 / k is used.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1, or the method is not known.

    Notes
    -----
    The interval takes the scores as given. Those of a cross-validation come from models that were fitted on overlapping
    patients; how much the scores of other models of the same kind would differ is not in the interval.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837. Sun X, Xu W (2014), IEEE Signal Process Lett 21:1389. Efron B (1987), J Am
    Stat Assoc 82:171.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.auc([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10]))
    0.96 (95 % 0.57–1.00; n 10, 5 events)
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; use one of {', '.join(METHODS)}.")
    label, s = scored(y, score)
    events, none = int(label.sum()), int((~label).sum())
    if min(events, none) < FEWEST:
        return Estimate.unknown(n=len(label), events=events)
    above, below = _components(label, s)
    area = float(above.mean())
    variance = _variance(above, below)
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
    """One-sided p value of an AUC of 0.5 or less, by DeLong's error on the logit scale; NaN where it is not estimable.

    Parameters
    ----------
    y, score
        Outcome and scores, as in `auc`.
    wider : float
        How many times DeLong's error the AUC varies, such as `NETWORKS_VARY`; DeLong takes the scores as given.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.better_than_chance([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10]), 3)
    0.015
    """
    area = auc(y, score)
    if not area.estimable:
        return float("nan")
    if area.low in (0.0, 1.0) or area.high in (0.0, 1.0):
        return 0.5 ** (min(area.events, area.n - area.events) / wider**2) if area.estimate > 0.5 else 1.0
    error = wider * (special.logit(area.high) - special.logit(area.low)) / (2 * _Z)
    return float(stats.norm.sf(special.logit(area.estimate) / error))


def compare_auc(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    method: str = "delong",
    trained: tuple[bool, bool] = (False, False),
    seed: int = 0,
) -> Difference:
    """Difference of the AUCs of two scores of the same patients.

    Parameters
    ----------
    y, score_a, score_b
        Outcome and two scores, each as in `auc`; patients without both scores are left out.
    method : str
        How the interval is made: ``delong`` (symmetric) or ``bca``. p is DeLong's in both cases.
    trained : (bool, bool)
        Whether a, and whether b, comes from networks, of which another training would give another AUC. The columns of
        such a score are its trainings, and the interval is of the expected difference over trainings.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Difference
        AUC of a minus AUC of b. Not estimable with fewer than 5 events or non-events, nor if two scores differ although
        the difference of their AUCs has no variance, as when both separate the outcomes.

    Raises
    ------
    ValueError
        If the method is not known, or is ``bca`` for a trained score, which the bootstrap of patients takes as given.

    Notes
    -----
    With a trained score the estimand is the mean over trainings of the difference in the population of patients, for
    trainings on this cohort; what other patients to train on would give is not in the interval. Its variance is DeLong's
    of the mean over the columns, plus the variance between the columns' differences divided by their number. That is the
    rule of multiple imputation (Rubin 1987) for trainings, and it errs on the wide side, since the columns differ by
    the luck of the patients too; its degrees of freedom are Satterthwaite's. With fewer than 3 columns the variance
    of training is not measured but assumed: `NETWORKS_VARY` squared, less 1, times DeLong's variance of the trained AUC.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837. Rubin DB (1987), Multiple Imputation for Nonresponse in Surveys.
    Satterthwaite FE (1946), Biometrics Bull 2:110.

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome, a, b = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10], [2, 5, 1, 8, 3, 4, 6, 9, 7, 10]
    >>> print(dq.evaluation.compare_auc(outcome, a, b))
    +0.12 (95 % −0.16 to +0.40; n 10, 5 events; p 0.41)
    >>> print(dq.evaluation.compare_auc(outcome, a, b, trained=(True, False)))
    +0.12 (95 % −0.18 to +0.42; n 10, 5 events; p 0.44)
    """
    if method not in ("delong", "bca"):
        raise ValueError(f"Unknown method {method!r}; use delong or bca.")
    if method == "bca" and any(trained):
        raise ValueError(
            "method is 'bca' for a trained score; use delong, which has room for the variance of training."
        )
    label, a, b = _paired(y, score_a, score_b)
    n, events = len(label), int(label.sum())
    if min(events, n - events) < FEWEST:
        return Difference.unknown(n=n, events=events)
    found = _compared(label, a, b, trained)
    if found.delong == 0 and not np.array_equal(stats.rankdata(a, axis=0), stats.rankdata(b, axis=0)):
        return Difference.unknown(n=n, events=events)
    p = 2 * found.beyond(abs(found.difference)) if found.error > 0 else 1.0
    low, high = found.difference - found.half, found.difference + found.half
    if method == "bca" and found.error > 0:
        low, high = _bca(label, _kernel(label, a) - _kernel(label, b), seed=seed)
    return Difference(found.difference, float(low), float(high), n, events, p)


def noninferiority(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    margin: float = 0.05,
    trained: tuple[bool, bool] = (False, False),
) -> Noninferiority:
    """Test whether the AUC of a is less than `margin` below the AUC of b, for a margin that was fixed beforehand.

    Parameters
    ----------
    y, score_a, score_b
        Outcome and the two scores, as in `compare_auc`.
    margin : float
        The largest loss of AUC that one would accept (0.05: our choice).
    trained : (bool, bool)
        As in `compare_auc`.

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

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome, a, b = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10], [2, 5, 1, 8, 3, 4, 6, 9, 7, 10]
    >>> dq.evaluation.noninferiority(outcome, a, b, margin=0.05).non_inferior
    False
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; a margin of non-inferiority is above 0.")
    difference = compare_auc(y, score_a, score_b, trained=trained)
    if not difference.estimable:
        return Noninferiority.unknown(n=difference.n, events=difference.events, margin=margin, non_inferior=None)
    found = _compared(*_paired(y, score_a, score_b), trained)
    p = found.beyond(found.difference + margin) if found.error > 0 else 0.0
    return Noninferiority(**difference.row() | {"p": p}, margin=margin, non_inferior=bool(difference.low > -margin))


def within_folds(y: ArrayLike, score: ArrayLike, fold: ArrayLike) -> float:
    """Mean of the AUCs within each fold, for scores whose level differs between folds.

    Parameters
    ----------
    y, score, fold : (n,)
        Outcome (0 or 1), score and fold of each patient. Folds without events or without non-events are
        left out; NaN if none is left.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.within_folds([0, 1, 0, 1], [1, 2, 11, 12], fold=[0, 0, 1, 1])
    1.0
    """
    label, s, k = np.asarray(y, float) == 1, np.asarray(score, float), np.asarray(fold)
    areas = []
    for number in np.unique(k):
        rows = (k == number) & np.isfinite(s)
        if 0 < label[rows].sum() < rows.sum():
            areas.append(float(_placements(label[rows], s[rows])[0].mean()))
    return float(np.mean(areas)) if areas else float("nan")


def scored(outcome: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """Outcome and scores, one column for each repeat, of the patients who have a score in every column."""
    y, s = np.asarray(outcome, dtype=float), np.asarray(score, dtype=float)
    s = s[:, None] if s.ndim == 1 else s
    if y.shape != s.shape[:1] or not np.isin(y, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every score; leave out patients whose outcome is not known.")
    there = np.isfinite(s).all(axis=1)
    return y[there] == 1, s[there]


def _paired(
    y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.floating], NDArray[np.floating]]:
    """Outcome and two scores of the patients who have both scores."""
    a, b = (np.asarray(s, float) for s in (score_a, score_b))
    a, b = (s[:, None] if s.ndim == 1 else s for s in (a, b))
    if not len(np.asarray(y)) == len(a) == len(b):
        raise ValueError(f"{len(np.asarray(y))} outcomes, {len(a)} and {len(b)} scores; give one of each a patient.")
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    label, a = scored(np.asarray(y, float)[both], a[both])
    return label, a, b[both]


@dataclass(frozen=True)
class _Compared:
    """A difference of two AUCs, DeLong's error of it, its whole error, and the degrees of freedom of that."""

    difference: float
    delong: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval."""
        return self.error * (_Z if np.isinf(self.freedom) else float(stats.t.ppf(0.975, self.freedom)))

    def beyond(self, distance: float) -> float:
        """The probability that chance alone gives a difference larger than this."""
        size = distance / self.error
        return float(stats.norm.sf(size) if np.isinf(self.freedom) else stats.t.sf(size, self.freedom))


def _compared(
    label: NDArray[np.bool_], a: NDArray[np.floating], b: NDArray[np.floating], trained: tuple[bool, bool]
) -> _Compared:
    """Difference of two areas with DeLong's error, and with what training adds to it."""
    (above_a, below_a), (above_b, below_b) = _components(label, a), _components(label, b)
    variance = _variance(above_a - above_b, below_a - below_b)
    difference, trainings = float(above_a.mean() - above_b.mean()), a.shape[1]
    if not any(trained):
        return _Compared(difference, float(np.sqrt(variance)), float(np.sqrt(variance)), np.inf)
    freedom = np.inf
    if trainings >= FEWEST_TRAININGS:
        area_a, area_b = ([_placements(label, column)[0].mean() for column in s.T] for s in (a, b))
        added = float(np.subtract(area_a, area_b).var(ddof=1)) / trainings
        if added > 0:
            freedom = (variance + added) ** 2 / (added**2 / (trainings - 1))
    else:
        own = [_variance(above_a, below_a) * trained[0], _variance(above_b, below_b) * trained[1]]
        added = (NETWORKS_VARY**2 - 1) * sum(own) / trainings
    return _Compared(difference, float(np.sqrt(variance)), float(np.sqrt(variance + added)), freedom)


def _variance(above: NDArray[np.floating], below: NDArray[np.floating]) -> float:
    """DeLong's variance of a figure from its components of events and of non-events."""
    return float(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))


def _components(
    label: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """DeLong's components of events and non-events, averaged over the repeats."""
    by_repeat = [_placements(label, column) for column in score.T]
    return np.mean([above for above, _ in by_repeat], axis=0), np.mean([below for _, below in by_repeat], axis=0)


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

    # scipy asks for an axis, which is always the last
    def mean(events: NDArray[np.integer], none: NDArray[np.integer], axis: int = -1) -> NDArray[np.floating]:
        drawn = (counts(events, kernel.shape[0]) @ kernel * counts(none, kernel.shape[1])).sum(axis)
        return np.asarray(drawn / (events.shape[-1] * none.shape[-1]))

    result = stats.bootstrap(
        (np.arange(kernel.shape[0]), np.arange(kernel.shape[1])), mean, n_resamples=DRAWS, vectorized=True,
        method="BCa", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
