"""Scores of several networks on one scale: the level of each fold taken off, and a mean of networks stretched."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special


def levels(score: pd.Series, fold: pd.Series) -> pd.Series:
    """The level of each fold's network: the mean of its scores of the patients whom it has not seen.

    Each network has a level of its own, which says nothing of its patients; of scores that are pooled over folds it would
    make an order by fold. No outcome is looked at. Folds are drawn with equal shares of events, so that their levels
    differ by chance and by network alone.

    Parameters
    ----------
    score, fold : Series
        The out-of-fold score (NaN where a patient has none) and the fold of each patient.

    Returns
    -------
    Series of float
        The level by fold.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> score, fold = pd.Series([-1.0, 0.0, 4.0, 6.0]), pd.Series(["0", "0", "1", "1"])
    >>> dq.evaluation.levels(score, fold).to_dict()
    {'0': -0.5, '1': 5.0}
    """
    return score.groupby(fold).mean()


def averaged(
    logits: pd.DataFrame | ArrayLike, *, variance: float, prior: float, noise: float | None = None
) -> pd.Series:
    """The mean logit of several networks, stretched by as much as a mean has less noise than a single network.

    Parameters
    ----------
    logits : (patients, networks) float
        Logits of the same patients by each network, each calibrated for a single network; NaN for patients without.
    variance : float
        The variance of a single network's calibrated logits over patients whom it has not seen.
    prior : float
        The share of events where the logits were calibrated; the mean is stretched around its logit.
    noise : float, optional
        The mean variance of one patient's logits over networks, if it is known from other patients; by default that of
        these patients.

    Returns
    -------
    Series of float
        One logit a patient.

    Notes
    -----
    A map fitted on scores of single networks allows for their noise. The mean of K networks has less of it, so that the
    map makes its risks too timid; the mean of their risks is more timid still (Ranjan & Gneiting 2010). With normal
    scores of equal variance in both outcomes, log odds are the score times the distance of the outcomes over the
    variance: the factor is therefore V / (V − E (1 − 1/K)), V the variance above and E the mean variance of the logits of
    one patient over networks. V is of all patients, not within outcomes: it makes the factor a little smaller, as much
    as a map fitted on few patients is too steep.

    References
    ----------
    Ranjan R, Gneiting T (2010), J R Stat Soc B 72:71.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.averaged([[1.0, 3.0], [-1.0, -1.0]], variance=4.0, prior=0.5).round(2).tolist()
    [2.29, -1.14]
    """
    each = logits if isinstance(logits, pd.DataFrame) else pd.DataFrame(np.asarray(logits, float))
    mean, networks = each.mean(axis=1), each.shape[1]
    factor = stretch(noise_of(each) if noise is None else noise, variance=variance, networks=networks)
    if factor == 1.0:
        return mean
    middle = float(special.logit(prior))
    return middle + factor * (mean - middle)


def noise_of(logits: pd.DataFrame) -> float:
    """The mean variance of one patient's logits over networks; NaN for a single network.

    Parameters
    ----------
    logits : (patients, networks) DataFrame
        Logits of the same patients by each network; NaN for patients without.
    """
    return float(logits.var(axis=1).mean())


def stretch(noise: float, *, variance: float, networks: int) -> float:
    """By how much `averaged` stretches a mean of networks.

    Parameters
    ----------
    noise : float
        The mean variance of one patient's logits over networks.
    variance : float
        The variance of a single network's calibrated logits over patients.
    networks : int
        How many networks are averaged.

    Returns
    -------
    float
        1 where nothing is known of the noise.
    """
    less = noise * (1 - 1 / networks) if networks > 1 else 0.0
    if not less > 0 or not variance > 0:
        return 1.0
    # Noise cannot be more than all of the variance; with few patients its estimate can.
    return variance / max(variance - less, variance / networks)


def spread(score: ArrayLike) -> float:
    """The SD of some scores, by which others are divided; 1 where all are the same.

    Parameters
    ----------
    score : (patients,) float
        Patients with NaN are left out.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.spread([1.0, 3.0]), dq.evaluation.spread([2.0, 2.0])
    (1.0, 1.0)
    """
    known = np.asarray(score, float)
    known = known[np.isfinite(known)]
    size = float(known.std()) if len(known) else 0.0
    return size if size > 0 else 1.0
