"""Many models, few women: how good the best model would be by chance alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from deepqct.evaluation.discrimination import FEWEST


@dataclass(frozen=True)
class Chance:
    """A figure, such as an AUC, beside the figures that chance alone gives; NaN where it is not estimable.

    Parameters
    ----------
    observed : float
        The figure with the true outcomes.
    expected, upper : float
        Mean and 95th percentile of the figures by chance.
    p : float
        How often chance gave a figure at least as high.
    """

    observed: float
    expected: float
    upper: float
    p: float

    def row(self) -> dict[str, Any]:
        """The figures as columns of a table, by their names."""
        return asdict(self)


@dataclass(frozen=True)
class BestByChance(Chance):
    """The AUC of the best of several models beside the best AUC that chance alone gives.

    Parameters
    ----------
    observed, expected, upper, p
        As in `Chance`.
    models : int
        How many models are estimable.
    best : object
        The column of the best model; None if no model is estimable.
    n, events : int
        Patients of the best model, and those of them with the outcome.
    """

    models: int
    best: Any
    n: int
    events: int


@dataclass(frozen=True)
class Corrected:
    """An AUC corrected for optimism; NaN where it is not estimable.

    Parameters
    ----------
    apparent, left_out, estimate : float
        The AUC in the women on whom the model was fitted; the mean AUC in the women left out of each bootstrap sample;
        the AUC corrected by the .632+ rule.
    n, events : int
        Patients, and those with the outcome.
    """

    apparent: float
    left_out: float
    estimate: float
    n: int
    events: int


def holm(p: ArrayLike) -> NDArray[np.floating]:
    """P values adjusted for their number by Holm's method.

    With adjusted p values below 0.05 called significant, the chance of even one false claim is at most 5 %.

    Parameters
    ----------
    p : (k,) float
        P values; NaN are not counted.

    Returns
    -------
    (k,) float
        The adjusted p values in the same order; NaN stays NaN.

    References
    ----------
    Holm S (1979), Scand J Stat 6:65.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(values[there], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * values[order]
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def permuted(
    y: ArrayLike, rng: np.random.Generator, *, within: ArrayLike | None = None, patients: ArrayLike | None = None
) -> NDArray[Any]:
    """Outcomes in random order; the outcomes of one patient go together to a patient with as many rows.

    Parameters
    ----------
    y : (n,)
        The outcome of each row.
    rng : Generator
        Draws the random order.
    within : (n,), optional
        The stratum of each row, such as its fold: outcomes are exchanged only within it. All rows of a patient must lie
        in one stratum.
    patients : (n,), optional
        Which rows are one patient: those with the same value. By default each row is a patient.

    Returns
    -------
    (n,)
        The outcomes in their new order.

    Raises
    ------
    ValueError
        If a patient lies in two strata.

    References
    ----------
    Winkler AM et al. (2015), NeuroImage 123:253, whole blocks exchanged.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> rng = np.random.default_rng(2)
    >>> dq.evaluation.permuted([0, 0, 1, 1, 0, 1], rng, patients=["a", "a", "b", "b", "c", "d"]).tolist()
    [1, 1, 0, 0, 0, 1]
    """
    label = np.asarray(y)
    stratum = np.zeros(len(label), int) if within is None else pd.factorize(np.asarray(within))[0]
    patient = np.arange(len(label)) if patients is None else pd.factorize(np.asarray(patients))[0]
    size = np.bincount(patient)[patient]
    if len(set(zip(patient.tolist(), stratum.tolist(), strict=True))) > patient.max(initial=-1) + 1:
        raise ValueError("A patient lies in two strata; draw the folds by patient.")
    exchanged = label.copy()
    order = np.argsort(patient, kind="stable")
    for key in sorted(set(zip(stratum.tolist(), size.tolist(), strict=True))):
        rows = order[(stratum[order] == key[0]) & (size[order] == key[1])].reshape(-1, key[1])
        exchanged[rows] = label[rows[rng.permutation(len(rows))]]
    return exchanged


def best_by_chance(
    y: ArrayLike, scores: pd.DataFrame, *, patients: ArrayLike | None = None, draws: int = 2000, seed: int = 0
) -> BestByChance:
    """The best AUC of several scores, beside the best AUC that the same scores reach for outcomes in random order.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    scores : (n, models) DataFrame
        One column for each model, judged on the women who have a score in it.
    patients : (n,), optional
        Which rows are one patient, as in `permuted`.
    draws : int
        How often the outcomes are put in random order.
    seed : int
        Seed of the random orders.

    Returns
    -------
    BestByChance
        The best AUC beside those by chance. A model with fewer than 5 events or non-events does not take part.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1.

    Notes
    -----
    The models are not fitted again to the outcomes in random order, so that the optimism of fitting is left out.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scores = pd.DataFrame({"a": [1, 2, 3, 4, 6, 5, 7, 8, 9, 10], "b": [2, 5, 1, 8, 3, 4, 6, 9, 7, 10]})
    >>> chance = dq.evaluation.best_by_chance([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], scores, draws=999)
    >>> f"best of {chance.models}: {chance.observed:.2f}, by chance {chance.expected:.1f}"
    'best of 2: 0.96, by chance 0.6'
    """
    label = np.asarray(y, float)
    if len(label) != len(scores) or not np.isin(label, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every patient; leave out those whose outcome is not known.")
    rng = np.random.default_rng(seed)
    labels = np.vstack([label, *(permuted(label, rng, patients=patients) for _ in range(draws))])
    known = {}
    for name in scores:
        score = scores[name].to_numpy(float)
        there = np.isfinite(score)
        if min(label[there].sum(), (1 - label[there]).sum()) >= FEWEST:
            scored_labels = labels[:, there]
            events = scored_labels.sum(axis=1)
            pairs = np.maximum(events * (there.sum() - events), 1)
            areas = (scored_labels @ stats.rankdata(score[there]) - events * (events + 1) / 2) / pairs
            known[name] = (areas, int(there.sum()), int(events[0]))
    if not known:
        return BestByChance(np.nan, np.nan, np.nan, np.nan, models=0, best=None, n=len(label), events=int(label.sum()))
    table = np.array([areas for areas, _, _ in known.values()])
    best, name = table.max(axis=0), list(known)[int(table[:, 0].argmax())]
    by_chance = best[1:]
    p = float((1 + (by_chance >= best[0] - 1e-12).sum()) / (draws + 1))
    expected, upper = float(by_chance.mean()), float(np.quantile(by_chance, 0.95))
    _, n, events = known[name]
    return BestByChance(float(best[0]), expected, upper, p, models=len(known), best=name, n=n, events=events)


def permutation_p(
    observed: float,
    refit: Callable[[np.random.Generator], float],
    *,
    permutations: int = 200,
    seed: int = 0,
) -> Chance:
    """How often a whole procedure does as well with outcomes in random order as with the true ones.

    Parameters
    ----------
    observed : float
        The figure with the true outcomes.
    refit : callable
        Takes a random generator, puts the outcomes in random order with it, repeats everything that was fitted, and
        returns the figure.
    permutations : int
        How often `refit` is called.
    seed : int
        Seed of the generators.

    Returns
    -------
    Chance
        The figure beside those with outcomes in random order; p is never below 1 / (permutations + 1). All NaN if one
        of the figures is NaN.

    References
    ----------
    Ojala M, Garriga GC (2010), J Mach Learn Res 11:1833.

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome, score = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 3, 4, 6, 5, 7, 8, 9, 10]
    >>> chance = dq.evaluation.permutation_p(
    ...     0.96, lambda rng: dq.evaluation.auc(rng.permutation(outcome), score).estimate, permutations=99)
    >>> round(chance.expected, 1), chance.p
    (0.5, 0.01)
    """
    by_chance = np.array([refit(np.random.default_rng([seed, number])) for number in range(permutations)])
    if not (np.isfinite(observed) and np.isfinite(by_chance).all()):
        return Chance(np.nan, np.nan, np.nan, np.nan)
    p = float((1 + (by_chance >= observed - 1e-12).sum()) / (permutations + 1))
    return Chance(float(observed), float(by_chance.mean()), float(np.quantile(by_chance, 0.95)), p)


def auc_632_plus(
    y: ArrayLike,
    x: NDArray[np.floating],
    fit_predict: Callable[[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]], NDArray[np.floating]],
    *,
    patients: ArrayLike | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Corrected:
    """AUC of a model corrected for optimism by the .632+ bootstrap.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    x : (n, columns) float
        The predictors of the model.
    fit_predict : callable
        ``fit_predict(x, y, new)`` fits the model on (x, y) and returns the scores of the rows `new`.
    patients : (n,), optional
        Which rows are one patient, as in `permuted`; they are drawn or left out together.
    draws : int
        How many bootstrap samples of patients are drawn; the patients left out of each are scored.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Corrected
        The AUC before and after correction; NaN with fewer than 5 events or non-events.

    References
    ----------
    Efron B, Tibshirani R (1997), J Am Stat Assoc 92:548; for the AUC, Sahiner B et al. (2008), Med Phys 35:1559.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> noise, outcome = np.random.default_rng(1).normal(size=(20, 5)), [0, 1] * 10
    >>> def least_squares(x, y, new):
    ...     return new @ np.linalg.lstsq(x, y - y.mean())[0]
    >>> corrected = dq.evaluation.auc_632_plus(outcome, noise, least_squares)
    >>> round(corrected.apparent, 2), round(corrected.estimate, 2)
    (0.75, 0.5)
    """
    label = np.asarray(y, float)
    n, events = len(label), int(label.sum())
    if min(events, n - events) < FEWEST:
        return Corrected(np.nan, np.nan, np.nan, n, events)
    rng = np.random.default_rng(seed)
    patient = np.arange(len(label)) if patients is None else pd.factorize(np.asarray(patients))[0]
    rows_of = [np.flatnonzero(patient == number) for number in range(patient.max() + 1)]
    areas = []
    for _ in range(draws):
        taken = rng.choice(len(rows_of), len(rows_of))
        drawn = np.concatenate([rows_of[number] for number in taken])
        out = np.setdiff1d(np.arange(len(label)), drawn)
        if len(np.unique(label[drawn])) == 2 and len(np.unique(label[out])) == 2:
            areas.append(_area(label[out], fit_predict(x[drawn], label[drawn], x[out])))
    apparent, left_out = _area(label, fit_predict(x, label, x)), float(np.mean(areas))
    # An AUC below 0.5 in the women left out does not tell how much is overfitted.
    bounded = max(left_out, 0.5)
    overfit = (apparent - bounded) / (apparent - 0.5) if apparent > bounded else 0.0
    weight = 0.632 / (1 - 0.368 * overfit)
    estimate = (1 - weight) * apparent + weight * bounded
    return Corrected(apparent, left_out, estimate, n, events)


def _area(label: NDArray[np.floating], score: NDArray[np.floating]) -> float:
    """Area under the ROC curve by ranks."""
    events = label.sum()
    return float(
        (stats.rankdata(score)[label == 1].sum() - events * (events + 1) / 2) / (events * (len(label) - events))
    )
