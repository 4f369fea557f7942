"""A frozen model on other women: what recalibration gains, how unlike the women are, and how it does by group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from deepqct.evaluation.calibration import calibration_measures
from deepqct.evaluation.discrimination import FEWEST, auc

METHODS = ("as it is", "intercept", "intercept and slope")
_FIGURES = ("intercept", "slope", "log_loss", "estimate", "low", "high")
_EDGE, _Z = 1e-6, float(stats.norm.ppf(0.975))


def recalibration(y: ArrayLike, risk: ArrayLike, *, folds: int = 10, seed: int = 0) -> pd.DataFrame:
    """What mending the intercept, or intercept and slope, of frozen risks would gain in women like these.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome of women whom the model has not seen.
    risk : (n,) float
        Its risks; women with NaN are left out.
    folds : int
        In how many parts the women are put: each part is judged by what the others teach.
    seed : int
        Of the parts.

    Returns
    -------
    DataFrame
        method (as it is, intercept, intercept and slope), intercept, slope (fitted on all women; of the logit of the risk),
        log_loss (of women left out), estimate (by how much less it is than as it is: the gain), low, high (95 %), n,
        events. NaN with fewer than 5 events or non-events, and a slope where everybody has the same risk.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1, or a risk lies outside of 0 and 1.

    References
    ----------
    Steyerberg EW et al. (2004), Stat Med 23:2567. Janssen KJM et al. (2008), J Clin Epidemiol 61:76.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.uniform(0.05, 0.5, 400)
    >>> outcome = (rng.random(400) < 2 * risk).astype(int)  # everybody has twice the risk that she was told
    >>> table = dq.evaluation.recalibration(outcome, risk).set_index("method")
    >>> [bool(gain > 0) for gain in table["low"]]
    [False, True, True]
    """
    label, logit = _known(y, risk)
    n, events = len(label), int(label.sum())
    if min(events, n - events) < FEWEST:
        empty = dict.fromkeys(_FIGURES, np.nan)
        return pd.DataFrame([{"method": method, **empty, "n": n, "events": events} for method in METHODS])
    # Not stratified: parts with the same share of events would tell each other how many there are in all.
    part = np.random.default_rng(seed).permutation(n) % min(folds, n)
    rows, before = [], _loss(label, logit)
    for method in METHODS:
        if method == METHODS[2] and np.ptp(logit) == 0:
            rows.append({"method": method, **dict.fromkeys(_FIGURES, np.nan), "n": n, "events": events})
            continue
        held_out = np.empty(n)
        for number in np.unique(part):
            intercept, slope = _fit(label[part != number], logit[part != number], method=method)
            held_out[part == number] = intercept + slope * logit[part == number]
        gain = before - _loss(label, held_out)
        half = _Z * gain.std(ddof=1) / np.sqrt(n)
        intercept, slope = _fit(label, logit, method=method)
        figures = {"log_loss": float(_loss(label, held_out).mean()), "estimate": float(gain.mean())}
        ends = {"low": float(gain.mean() - half), "high": float(gain.mean() + half), "n": n, "events": events}
        rows.append({"method": method, "intercept": intercept, "slope": slope, **figures, **ends})
    return pd.DataFrame(rows)


def recalibrated(risk: ArrayLike, *, intercept: float, slope: float) -> NDArray[np.floating]:
    """Risks after their logits are multiplied by a slope and moved by an intercept, as `recalibration` gives them.

    Parameters
    ----------
    risk : (n,) float
        Risks between 0 and 1.
    intercept, slope : float
        From `recalibration`.

    Returns
    -------
    (n,) float

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.recalibrated([0.2, 0.5], intercept=0.7, slope=1.0).round(2).tolist()
    [0.33, 0.67]
    """
    logit = special.logit(np.clip(np.asarray(risk, float), _EDGE, 1 - _EDGE))
    return np.asarray(special.expit(intercept + slope * logit))


def membership(z: ArrayLike, *, precision: ArrayLike, known: int, draws: int = 500, seed: int = 0) -> dict[str, float]:
    """How well women of another cohort can be told from those whom a model was made from, by means and covariances alone.

    Parameters
    ----------
    z : (n, columns) float
        The new women's values, less the mean and divided by the SD of the women whom the model was made from; NaN counts as
        the mean.
    precision : (columns, columns) float
        The inverse of the correlations in those women.
    known : int
        How many of them there were.
    draws : int
        Bootstrap samples of the new women.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        estimate (the AUC of the best linear rule between two clouds of that covariance: 0.5 for the same case mix), low,
        high (95 %; the women whom the model was made from are taken as they are), n.

    Notes
    -----
    A membership model (Debray TPA et al. 2015, J Clin Epidemiol 68:279) without rows: the squared distance of the
    means, less what chance gives it, and the AUC of two normal clouds so far apart.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> others = np.random.default_rng(0).normal([1.0, 0.0], 1, (200, 2))
    >>> found = dq.evaluation.membership(others, precision=np.eye(2), known=200)
    >>> 0.7 < found["estimate"] < 0.82
    True
    """
    values, inverse = np.nan_to_num(np.asarray(z, float)), np.asarray(precision, float)
    n, columns = values.shape
    if n < FEWEST:
        return {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": n}

    def told(rows: NDArray[np.floating], chance: float) -> float:
        middle = rows.mean(axis=0)
        square = max(float(middle @ inverse @ middle) - chance, 0.0)
        return float(stats.norm.cdf(np.sqrt(square / 2)))

    chance = columns * (1 / n + 1 / known)
    rng = np.random.default_rng(seed)
    # A sample of the sample is as far from it again as it is from the women at large.
    drawn = [told(values[rng.integers(0, n, n)], chance + columns / n) for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"estimate": told(values, chance), "low": float(low), "high": float(high), "n": n}


def by_group(y: ArrayLike, risk: ArrayLike, groups: pd.Series) -> pd.DataFrame:
    """How frozen risks do in each group of women, such as those of one centre or one scanner.

    Parameters
    ----------
    y, risk
        As in `recalibration`.
    groups : Series
        The group of each woman, in the same order, NaN for those who belong to none; named after what it divides by.

    Returns
    -------
    DataFrame
        by, group, measure (AUC; intercept, the log odds by which risks are too low), estimate, low, high, n, events.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> outcome, risk = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0.1, 0.2, 0.2, 0.3, 0.6, 0.3, 0.5, 0.6, 0.7, 0.9]
    >>> table = dq.evaluation.by_group(outcome, risk, pd.Series(["Basel"] * 10, name="centre"))
    >>> table[["by", "group", "measure", "n"]].values.tolist()
    [['centre', 'Basel', 'AUC', 10], ['centre', 'Basel', 'intercept', 10]]
    """
    label, r, rows = np.asarray(y, float), np.asarray(risk, float), []
    names = groups.reset_index(drop=True)
    for group in sorted(names.dropna().unique(), key=str):
        of_group = (names == group).to_numpy() & np.isfinite(r)
        where = {"by": str(groups.name), "group": str(group)}
        rows.append(where | {"measure": "AUC"} | auc(label[of_group], r[of_group]).row())
        measures = calibration_measures(label[of_group], r[of_group]).set_index("measure")
        rows.append(where | {"measure": "intercept"} | measures.loc["intercept"].to_dict())
    table = pd.DataFrame(rows, columns=["by", "group", "measure", "estimate", "low", "high", "n", "events"])
    return table.astype({"n": int, "events": int})


def _known(y: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Outcome and logit of the women whose risk is known."""
    label, r = np.asarray(y, float), np.asarray(risk, float)
    if label.shape != r.shape or not np.isin(label, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every risk; leave out women whose outcome is not known.")
    there = np.isfinite(r)
    if (r[there] < 0).any() or (r[there] > 1).any():
        raise ValueError("A risk lies outside of 0 and 1; give probabilities, not scores.")
    return label[there], special.logit(np.clip(r[there], _EDGE, 1 - _EDGE))


def _loss(label: NDArray[np.floating], logit: NDArray[np.floating]) -> NDArray[np.floating]:
    """The logarithmic loss of each woman, in nats."""
    return np.asarray(np.logaddexp(0, logit) - label * logit)


def _fit(label: NDArray[np.floating], logit: NDArray[np.floating], *, method: str) -> tuple[float, float]:
    """Intercept and slope of a recalibration, by maximum likelihood."""
    if method == METHODS[0]:
        return 0.0, 1.0
    if method == METHODS[1]:
        found = optimize.minimize_scalar(
            lambda move: _loss(label, logit + move).sum(), bounds=(-10, 10), method="bounded"
        )
        return float(found.x), 1.0
    start = np.array([0.0, 1.0])
    best = optimize.minimize(lambda at: _loss(label, at[0] + at[1] * logit).sum(), start, bounds=[(-10, 10), (-5, 5)])
    return float(best.x[0]), float(best.x[1])
