"""How many women a model needs: to be developed, and to be validated in other women (Riley and others).

Every criterion is one published formula; a study needs the largest number.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

SHRINKAGE = 0.9  # the smallest that is accepted (Riley 2020)
WIDTHS = {"O/E": 0.2, "calibration slope": 0.2, "AUC": 0.1, "net benefit": 0.2}  # of 95 % intervals (Riley 2021)
_LOSS = 0.05  # of Nagelkerke's R², of the overall risk, and of single risks on average (Riley 2020)
_MOST_TRIED = 30  # parameters in the simulations behind the formula of van Smeden 2019
_Z = 1.96  # as the papers have it
_GRID = np.linspace(-9, 9, 20001)  # standard normal scores over which risks are summed up


def cox_snell(auc: float, *, prevalence: float) -> float:
    """R² of Cox and Snell that a model with this AUC has, if its scores are normal with equal spread in both outcomes.

    Parameters
    ----------
    auc : float
        Expected AUC (C-statistic), above 0.5 and below 1.
    prevalence : float
        Expected share of women with the outcome.

    Returns
    -------
    float
        R², without a unit. `largest_cox_snell` is its upper end.

    Raises
    ------
    ValueError
        If the AUC or the prevalence is out of its range.

    Notes
    -----
    Riley et al. draw a million scores; here the same expectation is an integral, so that the last digit does not depend
    on a seed.

    References
    ----------
    Riley RD et al. (2021), Stat Med 40:859.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.cox_snell(0.8, prevalence=0.33), 3)
    0.237
    """
    logit, weight = _logits(auc, prevalence)
    risk = special.expit(logit)
    known = weight @ (risk * special.log_expit(logit) + (1 - risk) * special.log_expit(-logit))
    return float(1 - np.exp(2 * (_blind(prevalence) - known)))


def largest_cox_snell(prevalence: float) -> float:
    """The R² of Cox and Snell of a model that knows every outcome.

    Parameters
    ----------
    prevalence : float
        Share of women with the outcome.

    References
    ----------
    Riley RD et al. (2019), Stat Med 38:1276, equation 23.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.largest_cox_snell(0.05), 2)
    0.33
    """
    return float(1 - np.exp(2 * _blind(prevalence)))


def sizes_to_develop(
    predictors: int, *, prevalence: float, auc: float | None = None, r2: float | None = None
) -> pd.DataFrame:
    """How many women it takes to develop a model from a number of candidate predictors: four criteria.

    Parameters
    ----------
    predictors : int
        Candidate predictor parameters without the intercept: all that are tried, not only those that are kept. A
        category of k levels counts k − 1.
    prevalence : float
        Expected share of women with the outcome.
    auc : float, optional
        Expected AUC of the model in women whom it has not seen.
    r2 : float, optional
        R² of Cox and Snell in place of the AUC.

    Returns
    -------
    DataFrame
        criterion, needed (women), source; the last row is the largest number. The criteria: shrinkage of at least 0.9, a
        loss of Nagelkerke's R² of at most 0.05, the overall risk within 0.05, and single risks within 0.05 on average.
        The last was found by simulation of up to 30 predictors and prevalences up to 0.5; of more predictors it is an
        extrapolation.

    Raises
    ------
    ValueError
        If not exactly one of `auc` and `r2` is given, or a value is out of its range.

    Notes
    -----
    The first criterion asks for too few women if the AUC is above 0.8: Pavlou et al. had to add half or more for the same
    shrinkage.

    References
    ----------
    Riley RD et al. (2019), Stat Med 38:1276; Riley RD et al. (2020), BMJ 368:m441; van Smeden M et al. (2019), Stat
    Methods Med Res 28:2455 (single risks); Pavlou M et al. (2024), BMC Med Res Methodol 24:146.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.sizes_to_develop(30, prevalence=0.05, r2=0.05)  # example 1 of Riley 2020
    >>> table["criterion"].tolist()
    ['shrinkage 0.9', 'R² optimism 0.05', 'overall risk ± 0.05', 'single risks ± 0.05', 'all four']
    >>> table["needed"].tolist()
    [5249, 1770, 73, 544, 5249]
    """
    if (auc is None) == (r2 is None):
        raise ValueError("Give either the expected auc or its r2, not both and not none.")
    _check(prevalence)
    if predictors < 1:
        raise ValueError(f"predictors is {predictors}; a model has at least one candidate predictor.")
    known = cox_snell(auc, prevalence=prevalence) if auc is not None else float(r2 or 0)
    largest = largest_cox_snell(prevalence)
    if not 0 < known < largest:
        raise ValueError(f"r2 is {known:g}; at a prevalence of {prevalence:g} it lies above 0 and below {largest:.2f}.")
    needed = _criteria(predictors, prevalence=prevalence, r2=known, shrinkage=SHRINKAGE)
    rarer = min(prevalence, 1 - prevalence)
    needed[f"single risks ± {_LOSS:g}"] = float(
        np.exp((-0.508 + 0.259 * np.log(rarer) + 0.504 * np.log(predictors) - np.log(_LOSS)) / 0.544)
    )
    source = [
        "Riley 2019, criterion (i)",
        "Riley 2019, criterion (ii)",
        "Riley 2019, criterion (iii)",
        "van Smeden 2019",
    ]
    return _largest(needed, source, "all four")


def most_predictors(n: int, *, prevalence: float, auc: float) -> int:
    """The most candidate predictors that so many women allow; perhaps 0.

    Parameters
    ----------
    n : int
        Women.
    prevalence, auc : float
        As in `sizes_to_develop`.

    Returns
    -------
    int
        By those criteria of `sizes_to_develop` that depend on the number of predictors: all but that of the overall risk.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.most_predictors(216, prevalence=0.33, auc=0.8)
    4
    """
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        table = sizes_to_develop(middle, prevalence=prevalence, auc=auc)
        of_predictors = table[~table["criterion"].str.startswith(("overall", "all"))]
        low, high = (middle, high) if (of_predictors["needed"] <= n).all() else (low, middle - 1)
    return low


def sizes_to_validate(
    auc: float,
    *,
    prevalence: float,
    threshold: float | None = None,
    logit: ArrayLike | None = None,
    widths: dict[str, float] | None = None,
) -> pd.DataFrame:
    """How many other women it takes to validate a model that exists: each measure with a narrow enough 95 % interval.

    Parameters
    ----------
    auc : float
        Expected AUC in these women.
    prevalence : float
        Expected share of women with the outcome.
    threshold : float, optional
        The risk from which one would treat; without it there is no row of the net benefit.
    logit : (k,) float, optional
        Logits of the model's risks in women like these, such as those of an earlier cohort. By default they are normal
        with equal spread in both outcomes, and follow from the AUC and the prevalence.
    widths : dict of str to float, optional
        Widths of intervals in place of those of `WIDTHS`, by its names.

    Returns
    -------
    DataFrame
        criterion, needed (women), source; the last row is the largest number. The model is taken as well calibrated: O/E,
        observed over expected events, and the slope are 1. The net benefit is standardised, its largest value being 1.

    Raises
    ------
    ValueError
        If a value is out of its range, or a width has a name that is not in `WIDTHS`.

    References
    ----------
    Riley RD et al. (2021), Stat Med 40:4230; Riley RD et al. (2024), BMJ 384:e074821. For the AUC they take Newcombe RG
    (2006), Stat Med 25:559; for the net benefit Marsh TL et al. (2020), Biometrics 76:843.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.sizes_to_validate(0.8, prevalence=0.33, threshold=0.33)
    >>> table.set_index("criterion")["needed"].to_dict()
    {'O/E 0.2 wide': 783, 'calibration slope 0.2 wide': 2095, 'AUC 0.1 wide': 342, 'net benefit 0.2 wide': 480, 'all': 2095}
    """
    _check(prevalence)
    if strange := set(widths or {}) - set(WIDTHS):
        raise ValueError(f"widths has {min(strange)!r}; use some of {', '.join(WIDTHS)}.")
    wide = WIDTHS | (widths or {})
    if wrong := [name for name, width in wide.items() if not width > 0]:
        raise ValueError(f"The width of {wrong[0]} is {wide[wrong[0]]:g}; an interval is wider than 0.")
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold:g}; a risk is above 0 and below 1.")
    logits, weight = _logits(auc, prevalence)
    if logit is not None:
        logits = np.asarray(logit, float).ravel()
        logits = logits[np.isfinite(logits)]
        weight = np.full(len(logits), 1 / max(len(logits), 1))
    error = {name: width / 2 / _Z for name, width in wide.items()}
    needed = {
        "O/E": (1 - prevalence) / prevalence / (np.arcsinh(wide["O/E"] / 2) / _Z) ** 2,
        "calibration slope": _slope_variance(logits, weight) / error["calibration slope"] ** 2,
        "AUC": _newcombe(auc, prevalence=prevalence, error=error["AUC"]),
    }
    source = ["Riley 2021, O/E", "Riley 2021, calibration slope", "Newcombe 2006, as in Riley 2021"]
    if threshold is not None:
        variance = _net_benefit_variance(logits, weight, prevalence=prevalence, threshold=threshold)
        needed["net benefit"] = variance / error["net benefit"] ** 2
        source.append("Marsh 2020, as in Riley 2021")
    return _largest({f"{name} {wide[name]:g} wide": value for name, value in needed.items()}, source, "all")


def sample_size(
    *, n: int, events: int, parameters: int, nagelkerke: float = 0.15, shrinkage: float = 0.9
) -> pd.DataFrame:
    """How many women a model with a number of parameters needs by Riley's criteria, and whether the cohort has as many.

    Parameters
    ----------
    n, events : int
        Patients of the cohort, and those with the outcome.
    parameters : int
        Candidate predictor parameters of the model, without the intercept.
    nagelkerke : float
        Anticipated share of the largest possible R² (0.15 where nothing better is known, as Riley et al. advise).
    shrinkage : float
        The smallest uniform shrinkage factor of the coefficients that is accepted.

    Returns
    -------
    DataFrame
        criterion (shrinkage, optimism of R² at most 0.05, overall risk within 0.05), needed (women), n, events,
        parameters, enough (True if n is at least needed); the last row needs the largest of the three numbers.

    Raises
    ------
    ValueError
        If there are no events, no non-events or no parameters.

    References
    ----------
    Riley RD et al. (2020), BMJ 368:m441; Riley RD et al. (2019), Stat Med 38:1276.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.evaluation.sample_size(n=216, events=71, parameters=5)
    >>> table.set_index("criterion")["needed"].to_dict()
    {'shrinkage 0.9': 393, 'R² optimism 0.05': 129, 'overall risk ± 0.05': 340, 'all three': 393}
    """
    if not 0 < events < n or parameters < 1:
        raise ValueError(
            f"{n} women, {events} events, {parameters} parameters: each outcome and one parameter are needed."
        )
    prevalence = events / n
    cox_snell_r2 = nagelkerke * largest_cox_snell(prevalence)
    needed = _criteria(parameters, prevalence=prevalence, r2=cox_snell_r2, shrinkage=shrinkage)
    table = _largest(needed, [""] * len(needed), "all three").drop(columns="source")
    table = table.assign(enough=n >= table["needed"], n=n, events=events, parameters=parameters)
    return table[["criterion", "needed", "n", "events", "parameters", "enough"]]


def _criteria(parameters: int, *, prevalence: float, r2: float, shrinkage: float) -> dict[str, float]:
    """The first three criteria of Riley et al., as numbers that are not yet whole women."""
    tight = r2 / (r2 + _LOSS * largest_cox_snell(prevalence))
    return {
        f"shrinkage {shrinkage:g}": parameters / ((shrinkage - 1) * np.log1p(-r2 / shrinkage)),
        f"R² optimism {_LOSS:g}": parameters / ((tight - 1) * np.log1p(-r2 / tight)),
        f"overall risk ± {_LOSS:g}": (_Z / _LOSS) ** 2 * prevalence * (1 - prevalence),
    }


def _largest(needed: dict[str, float], source: list[str], name: str) -> pd.DataFrame:
    """Whole women for each criterion, and the largest number under a name of its own."""
    whole = [int(np.ceil(value)) for value in needed.values()]
    return pd.DataFrame(
        {"criterion": [*needed, name], "needed": [*whole, max(whole)], "source": [*source, "the largest of these"]}
    )


def _check(prevalence: float) -> None:
    """Refuse a share of events that is none."""
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence:g}; a share of women with the outcome is above 0 and below 1.")


def _blind(prevalence: float) -> float:
    """Log likelihood of one woman for a model that knows the prevalence alone."""
    _check(prevalence)
    return float(prevalence * np.log(prevalence) + (1 - prevalence) * np.log1p(-prevalence))


def _logits(auc: float, prevalence: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Logits of the true risks of women with normal scores of equal spread in both outcomes, with their weights."""
    _check(prevalence)
    if not 0.5 < auc < 1:
        raise ValueError(f"auc is {auc:g}; an expected AUC is above 0.5 and below 1.")
    apart = np.sqrt(2) * special.ndtri(auc)
    score = _GRID + apart / 2
    density = (1 - prevalence) * np.exp(-(score**2) / 2) + prevalence * np.exp(-((score - apart) ** 2) / 2)
    return special.logit(prevalence) + apart * (score - apart / 2), density / density.sum()


def _slope_variance(logit: NDArray[np.floating], weight: NDArray[np.floating]) -> float:
    """Variance of the calibration slope, times the number of women, by Fisher's information at a slope of 1."""
    information = weight * special.expit(logit) * special.expit(-logit)
    level, cross, slope = (float(information @ logit**power) for power in (0, 1, 2))
    return level / (level * slope - cross**2)


def _newcombe(auc: float, *, prevalence: float, error: float) -> float:
    """The number of women at which Newcombe's standard error of the AUC is so large: the root of a quadratic."""
    per_pair = auc * (1 - auc) / (prevalence * (1 - prevalence) * error**2)
    shared = (1 - auc) / (2 - auc) + auc / (1 + auc)
    # error² n² = per_pair error² (1 + (n / 2 − 1) shared)
    linear, constant = per_pair * shared / 2, per_pair * (1 - shared)
    return float((linear + np.sqrt(linear**2 + 4 * constant)) / 2)


def _net_benefit_variance(
    logit: NDArray[np.floating], weight: NDArray[np.floating], *, prevalence: float, threshold: float
) -> float:
    """Variance of the standardised net benefit of a well calibrated model, times the number of women."""
    risk = special.expit(logit)
    treated = risk >= threshold
    sensitivity = float((weight * risk)[treated].sum() / (weight @ risk))
    alarms = float((weight * (1 - risk))[treated].sum() / (weight @ (1 - risk)))
    odds = (1 - prevalence) / prevalence * threshold / (1 - threshold)
    return (
        sensitivity * (1 - sensitivity) / prevalence
        + odds**2 * alarms * (1 - alarms) / (1 - prevalence)
        + odds**2 * alarms**2 / (prevalence * (1 - prevalence))
    )
