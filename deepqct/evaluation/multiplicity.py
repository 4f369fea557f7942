"""Many models, few women: what the best of them owes to chance, and whether the cohort is large enough for any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from deepqct.evaluation.discrimination import FEWEST


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
    y: ArrayLike, rng: np.random.Generator, *, within: ArrayLike | None = None, groups: ArrayLike | None = None
) -> NDArray[Any]:
    """Outcomes dealt out anew, those of a group together to another group of its size.

    Parameters
    ----------
    y : (n,)
        The outcome.
    rng : Generator
        Of the draw.
    within : (n,), optional
        Outcomes stay in their stratum, such as a fold, which must not part a group.
    groups : (n,), optional
        Rows of one value are one patient; each row alone by default.

    Raises
    ------
    ValueError
        If a group lies in two strata.

    References
    ----------
    Winkler AM et al. (2015), NeuroImage 123:253, whole blocks exchanged.
    """
    label = np.asarray(y)
    stratum = np.zeros(len(label), int) if within is None else pd.factorize(np.asarray(within))[0]
    group = np.arange(len(label)) if groups is None else pd.factorize(np.asarray(groups))[0]
    size = np.bincount(group)[group]
    if len(set(zip(group.tolist(), stratum.tolist(), strict=True))) > group.max(initial=-1) + 1:
        raise ValueError("A group lies in two strata; draw the folds by group.")
    found = label.copy()
    order = np.argsort(group, kind="stable")
    for key in sorted(set(zip(stratum.tolist(), size.tolist(), strict=True))):
        rows = order[(stratum[order] == key[0]) & (size[order] == key[1])].reshape(-1, key[1])
        found[rows] = label[rows[rng.permutation(len(rows))]]
    return found


def best_by_chance(
    y: ArrayLike, scores: pd.DataFrame, *, groups: ArrayLike | None = None, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The best AUC that as many scores, as alike as these, reach when the outcome has nothing to do with them.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    scores : (n, models) DataFrame
        One column a model; each is judged on the women who have it.
    groups : (n,), optional
        As in `permuted`.
    draws : int
        How often the outcomes are dealt out anew.
    seed : int
        Of the draws.

    Returns
    -------
    DataFrame
        One row: models (of those that are estimable), best (its column), observed (its AUC), expected (mean best by
        chance), upper (its 95th percentile), p (how often chance was as good), n, events (of the best one). No figures from
        fewer than 5 events or non-events.

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
    labels = np.vstack([label, *(permuted(label, rng, groups=groups) for _ in range(draws))])
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
        figures = dict.fromkeys(("observed", "expected", "upper", "p"), np.nan)
        return pd.DataFrame([{"models": 0, "best": None} | figures | {"n": len(label), "events": int(label.sum())}])
    table = np.array([areas for areas, _, _ in known.values()])
    best, name = table.max(axis=0), list(known)[int(table[:, 0].argmax())]
    row: dict[str, Any] = {"models": len(known), "best": name, "observed": best[0], "expected": best[1:].mean()}
    row |= {"upper": np.quantile(best[1:], 0.95), "p": (1 + (best[1:] >= best[0] - 1e-12).sum()) / (draws + 1)}
    return pd.DataFrame([row | {"n": known[name][1], "events": known[name][2]}])


def permutation_p(
    observed: float,
    refit: Callable[[np.random.Generator], float],
    *,
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
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
    DataFrame
        One row: observed, expected (mean under permutation), upper (95th percentile), p (never below
        1 / (permutations + 1)), permutations; no figures where one of them is not known.

    References
    ----------
    Ojala M, Garriga GC (2010), J Mach Learn Res 11:1833.
    """
    found = np.array([refit(np.random.default_rng([seed, number])) for number in range(permutations)])
    figures = dict.fromkeys(("observed", "expected", "upper", "p"), np.nan)
    if np.isfinite(observed) and np.isfinite(found).all():
        p = (1 + (found >= observed - 1e-12).sum()) / (permutations + 1)
        figures = {"observed": observed, "expected": found.mean(), "upper": np.quantile(found, 0.95), "p": p}
    return pd.DataFrame([figures | {"permutations": permutations}])


def auc_632_plus(
    y: ArrayLike,
    x: NDArray[np.floating],
    fit_predict: Callable[[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]], NDArray[np.floating]],
    *,
    groups: ArrayLike | None = None,
    draws: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC corrected for optimism by the .632+ bootstrap.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    x : (n, columns) float
        The predictors.
    fit_predict : callable
        Fits on (x, y) and scores new rows: ``fit_predict(x, y, new)``.
    groups : (n,), optional
        Rows of one value are one patient, drawn or left out together; each row alone by default.
    draws : int
        Bootstrap samples of patients; the patients left out of each are scored.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row: apparent, left_out, estimate (.632+), n, events; no figures from fewer than 5 events or non-events.

    References
    ----------
    Efron B, Tibshirani R (1997), J Am Stat Assoc 92:548; for the AUC, Sahiner B et al. (2008), Med Phys 35:1559.
    """
    label = np.asarray(y, float)
    basis = {"n": len(label), "events": int(label.sum())}
    if min(basis["events"], len(label) - basis["events"]) < FEWEST:
        return pd.DataFrame([dict.fromkeys(("apparent", "left_out", "estimate"), np.nan) | basis])
    rng = np.random.default_rng(seed)
    group = np.arange(len(label)) if groups is None else pd.factorize(np.asarray(groups))[0]
    rows_of = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
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
    figures = {"apparent": apparent, "left_out": left_out, "estimate": estimate}
    return pd.DataFrame([figures | basis])


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
