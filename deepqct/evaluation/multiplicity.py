"""Many models, few women: what the best of them owes to chance, and whether the cohort is large enough for any."""

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
    """A figure beside what chance alone would have given; NaN where it is not estimable.

    Parameters
    ----------
    observed : float
        The figure.
    expected, upper : float
        Mean and 95th percentile by chance.
    p : float
        How often chance was as good.
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
    """The best of several models beside the best that chance alone would have given.

    Parameters
    ----------
    observed, expected, upper, p
        As in `Chance`.
    models : int
        Of those that are estimable.
    best : object
        The column of the best one; None if there is none.
    n, events : int
        Its patients, and those with the outcome.
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
        On the women it was fitted on; on those left out of each bootstrap sample; by the .632+ rule.
    n, events : int
        Patients, and those with the outcome.
    """

    apparent: float
    left_out: float
    estimate: float
    n: int
    events: int


def holm(p: ArrayLike) -> NDArray[np.floating]:
    """P values adjusted so that the chance of any false claim among them stays at the level; NaN stays NaN.

    Parameters
    ----------
    p : (k,) float

    References
    ----------
    Holm S (1979), Scand J Stat 6:65.
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
    """Outcomes dealt out anew, those of a patient together to another patient of its size.

    Parameters
    ----------
    y : (n,)
        The outcome.
    rng : Generator
        Of the draw.
    within : (n,), optional
        Outcomes stay in their stratum, such as a fold, which must not part a patient.
    patients : (n,), optional
        Rows of one value are one patient; each row alone by default.

    Raises
    ------
    ValueError
        If a patient lies in two strata.

    References
    ----------
    Winkler AM et al. (2015), NeuroImage 123:253, whole blocks exchanged.
    """
    label = np.asarray(y)
    stratum = np.zeros(len(label), int) if within is None else pd.factorize(np.asarray(within))[0]
    patient = np.arange(len(label)) if patients is None else pd.factorize(np.asarray(patients))[0]
    size = np.bincount(patient)[patient]
    if len(set(zip(patient.tolist(), stratum.tolist(), strict=True))) > patient.max(initial=-1) + 1:
        raise ValueError("A patient lies in two strata; draw the folds by patient.")
    found = label.copy()
    order = np.argsort(patient, kind="stable")
    for key in sorted(set(zip(stratum.tolist(), size.tolist(), strict=True))):
        rows = order[(stratum[order] == key[0]) & (size[order] == key[1])].reshape(-1, key[1])
        found[rows] = label[rows[rng.permutation(len(rows))]]
    return found


def best_by_chance(
    y: ArrayLike, scores: pd.DataFrame, *, patients: ArrayLike | None = None, draws: int = 2000, seed: int = 0
) -> BestByChance:
    """The best AUC that as many scores, as alike as these, reach when the outcome has nothing to do with them.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    scores : (n, models) DataFrame
        One column a model; each is judged on the women who have it.
    patients : (n,), optional
        As in `permuted`.
    draws : int
        How often the outcomes are dealt out anew.
    seed : int
        Of the draws.

    Returns
    -------
    BestByChance
        The best AUC beside those of chance; no figures from fewer than 5 events or non-events.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1.

    Notes
    -----
    The scores stay as they are, so that what refitting adds is left out.
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
            mine = labels[:, there]
            events = mine.sum(axis=1)
            pairs = np.maximum(events * (there.sum() - events), 1)
            areas = (mine @ stats.rankdata(score[there]) - events * (events + 1) / 2) / pairs
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
    """How often a whole procedure does as well on permuted outcomes.

    Parameters
    ----------
    observed : float
        The figure with the true outcomes.
    refit : callable
        Deals out the outcomes anew with the generator it is given, repeats everything that was fitted, returns the figure.
    permutations : int
        How often.
    seed : int
        Of the permutations.

    Returns
    -------
    Chance
        The figure beside those of permuted outcomes; p is never below 1 / (permutations + 1). No figures where one of
        them is not known.

    References
    ----------
    Ojala M, Garriga GC (2010), J Mach Learn Res 11:1833.
    """
    found = np.array([refit(np.random.default_rng([seed, number])) for number in range(permutations)])
    if not (np.isfinite(observed) and np.isfinite(found).all()):
        return Chance(np.nan, np.nan, np.nan, np.nan)
    p = float((1 + (found >= observed - 1e-12).sum()) / (permutations + 1))
    return Chance(float(observed), float(found.mean()), float(np.quantile(found, 0.95)), p)


def auc_632_plus(
    y: ArrayLike,
    x: NDArray[np.floating],
    fit_predict: Callable[[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]], NDArray[np.floating]],
    *,
    patients: ArrayLike | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Corrected:
    """AUC corrected for optimism by the .632+ bootstrap.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    x : (n, columns) float
        The predictors.
    fit_predict : callable
        Fits on (x, y) and scores new rows: ``fit_predict(x, y, new)``.
    patients : (n,), optional
        Rows of one value are one patient, drawn or left out together; each row alone by default.
    draws : int
        Bootstrap samples of patients; the patients left out of each are scored.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Corrected
        No figures from fewer than 5 events or non-events.

    References
    ----------
    Efron B, Tibshirani R (1997), J Am Stat Assoc 92:548; for the AUC, Sahiner B et al. (2008), Med Phys 35:1559.
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
    # Left-out areas below chance carry no information on how much is overfitted.
    bounded = max(left_out, 0.5)
    overfit = (apparent - bounded) / (apparent - 0.5) if apparent > bounded else 0.0
    weight = 0.632 / (1 - 0.368 * overfit)
    estimate = (1 - weight) * apparent + weight * bounded
    return Corrected(apparent, left_out, estimate, n, events)


def sample_size(
    *, n: int, events: int, parameters: int, nagelkerke: float = 0.15, shrinkage: float = 0.9
) -> pd.DataFrame:
    """Riley's criteria: how many women a model of so many parameters needs, and whether there are as many.

    Parameters
    ----------
    n, events : int
        Patients, and those with the outcome.
    parameters : int
        Candidate predictor parameters, the intercept not counted.
    nagelkerke : float
        Anticipated share of the largest possible R² (0.15 where nothing better is known, as Riley et al. advise).
    shrinkage : float
        The smallest uniform shrinkage that one accepts.

    Returns
    -------
    DataFrame
        criterion (shrinkage, optimism of R² at most 0.05, overall risk within 0.05), needed, n, events, parameters,
        enough; the last row is the largest of the three.

    Raises
    ------
    ValueError
        If there are no events, no non-events or no parameters.

    References
    ----------
    Riley RD et al. (2020), BMJ 368:m441; Riley RD et al. (2019), Stat Med 38:1276.
    """
    if not 0 < events < n or parameters < 1:
        raise ValueError(
            f"{n} women, {events} events, {parameters} parameters: each outcome and one parameter are needed."
        )
    prevalence = events / n
    log_likelihood = prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence)
    largest = 1 - np.exp(2 * log_likelihood)
    cox_snell = nagelkerke * largest
    tight = cox_snell / (cox_snell + 0.05 * largest)
    needed = {
        f"shrinkage {shrinkage:g}": parameters / ((shrinkage - 1) * np.log(1 - cox_snell / shrinkage)),
        "R² optimism 0.05": parameters / ((tight - 1) * np.log(1 - cox_snell / tight)),
        "overall risk ± 0.05": (1.96 / 0.05) ** 2 * prevalence * (1 - prevalence),
    }
    whole = {name: int(np.ceil(value)) for name, value in needed.items()}
    whole["all three"] = max(whole.values())
    rows = [{"criterion": name, "needed": value, "enough": n >= value} for name, value in whole.items()]
    table = pd.DataFrame(rows).assign(n=n, events=events, parameters=parameters)
    return table[["criterion", "needed", "n", "events", "parameters", "enough"]]


def _area(label: NDArray[np.floating], score: NDArray[np.floating]) -> float:
    """Area under the ROC curve by ranks."""
    events = label.sum()
    return float(
        (stats.rankdata(score)[label == 1].sum() - events * (events + 1) / 2) / (events * (len(label) - events))
    )
