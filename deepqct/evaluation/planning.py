"""A study that is planned: how wide its intervals will be, and what its comparisons can show.

Scores are taken as normal with equal spread in both outcomes (our choice): the variance of an AUC then follows from the
AUC and the numbers of events and of non-events. The widths are those of the intervals that `auc` and `compare_auc` give,
averaged over cohorts, in which the number of events varies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from deepqct.evaluation.discrimination import FEWEST, FEWEST_TRAININGS, NETWORKS_VARY

MARGINS = (0.03, 0.05)  # of non-inferiority; our choice
ENOUGH = 0.8  # the power at which a study is called large enough; a convention
# Of two scores among women of one outcome; our choice. In 60 virtual women, 20 with fracture, scores of networks had 0.55
# to 0.71 with those of indices (the middle half of all pairs), and 0.21 to 0.35 with those of BMD.
CORRELATION = 0.6
_LARGEST = 1_000_000  # women, beyond which no study is looked for
_COHORTS = 25  # numbers of events over which a figure is averaged, equally likely ones
_Z = float(special.ndtri(0.975))
_LEGENDRE = np.polynomial.legendre.leggauss(32)


def _hermite(nodes: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Nodes and weights whose weighted sum is an expectation over a standard normal variable."""
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    return at, weight / weight.sum()


_FINE, _COARSE = _hermite(40), _hermite(9)


@dataclass(frozen=True)
class Study:
    """A cohort that is planned, with what one expects of it.

    Parameters
    ----------
    n : int
        Women with all scans.
    prevalence : float
        Expected share of women with the outcome.
    auc : float
        Expected AUC of the score in women whom its model has not seen.
    predictors : int
        Candidate predictors of a model that would be developed in this cohort, as in `sizes_to_develop`.
    gain : float
        By how much the AUC of another score is expected to be lower; superiority is planned for this gain,
        non-inferiority for two scores of equal AUC.
    correlation : float
        Expected correlation of the two scores among women of the same outcome.
    margins : tuple of float
        Margins of non-inferiority.
    networks : int
        How many of the two scores come from networks: 0, 1 or 2. Their AUC varies from training to training.
    trainings : int
        How often the networks are trained; the score's AUC is the mean of its trainings.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> import deepqct as dq
    >>> study = dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8)
    >>> round(dq.evaluation.auc_width(study), 3), round(dq.evaluation.power(study, margin=0.05), 2)
    (0.124, 0.38)
    """

    n: int
    prevalence: float
    auc: float
    predictors: int = 20
    gain: float = 0.05
    correlation: float = CORRELATION
    margins: tuple[float, ...] = MARGINS
    networks: int = 0
    trainings: int = 3

    def __post_init__(self) -> None:
        """Refuse values that no study has."""
        ranges = [
            ("n", 2 * FEWEST <= self.n <= _LARGEST, f"a study has {2 * FEWEST} to {_LARGEST} women"),
            ("prevalence", 0 < self.prevalence < 1, "a share of women with the outcome is above 0 and below 1"),
            ("auc", 0.5 < self.auc < 1, "an expected AUC is above 0.5 and below 1"),
            ("predictors", self.predictors >= 1, "a model has at least one candidate predictor"),
            (
                "gain",
                0 < self.gain <= self.auc - 0.5,
                "it lies above 0 and leaves the other score an AUC of 0.5 or more",
            ),
            ("correlation", -1 < self.correlation < 1, "two scores have one above −1 and below 1"),
            ("margins", all(0 < margin < 0.5 for margin in self.margins), "margins lie above 0 and below 0.5"),
            ("networks", self.networks in (0, 1, 2), "0, 1 or 2 of two scores come from networks"),
            ("trainings", self.trainings >= 1, "networks are trained at least once"),
        ]
        for name, fits, why in ranges:
            if not fits:
                raise ValueError(f"{name} is {getattr(self, name)}; {why}.")

    @property
    def events(self) -> int:
        """Women with the outcome, as expected."""
        return round(self.n * self.prevalence)


def estimable_share(study: Study) -> float:
    """The share of cohorts with enough events and non-events for an AUC: 5 of each.

    Parameters
    ----------
    study : Study
        The planned study.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.estimable_share(dq.evaluation.Study(n=30, prevalence=0.2, auc=0.8)), 2)
    0.74
    """
    return min(_numbers(study)[2], 1.0)


def auc_width(study: Study) -> float:
    """The expected width of the 95 % interval of the AUC, as `auc` makes it by default (DeLong on the logit scale).

    Parameters
    ----------
    study : Study
        The planned study.

    Returns
    -------
    float
        The mean width over cohorts in which the AUC is estimable.

    Notes
    -----
    In a cohort with a higher AUC than expected, DeLong's variance comes out smaller. Both are drawn together: the
    logit of the AUC and the log of the variance as two normal variables, whose moments are those of DeLong's components.
    Beside 1,000 simulated cohorts the width is right within 10 % for AUCs from 0.6 to 0.9 with 10 events or more.

    References
    ----------
    DeLong ER et al. (1988), Biometrics 44:837. Bamber D (1975), J Math Psychol 12:387 (the variance of an AUC).

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.auc_width(dq.evaluation.Study(n=60, prevalence=0.33, auc=0.8)), 2)
    0.24
    """
    events, none, _ = _numbers(study)
    single, shared = _pairs(study.auc)
    one, weight = _FINE
    placement = special.ndtr(np.sqrt(2) * special.ndtri(study.auc) + one)
    truth, delong = _variances(single, shared, events, none)
    (second, third, fourth), odds = _moments(placement, weight), study.auc * (1 - study.auc)
    spread = np.sqrt(truth) / odds
    wobble = np.sqrt(np.log1p(_variance_of_variance(second, fourth, events, none) / delong**2))
    together = third * (1 / events**2 + 1 / none**2) / (odds * delong) / (spread * wobble)
    together = np.clip(together, -0.99, 0.99)
    at, weight = _COARSE
    first, other = np.meshgrid(at, at)
    spread, wobble, together, delong = (value[:, None, None] for value in (spread, wobble, together, delong))
    middle = special.logit(study.auc) + spread * first
    log_variance = np.log(delong) - wobble**2 / 2 + wobble * (together * first + np.sqrt(1 - together**2) * other)
    half = _Z * np.exp(log_variance / 2) / (special.expit(middle) * special.expit(-middle))
    width = special.expit(middle + half) - special.expit(middle - half)
    return float((width @ weight @ weight).mean())


def above_chance(study: Study) -> float:
    """How often the whole 95 % interval of the AUC lies above 0.5.

    Parameters
    ----------
    study : Study
        The planned study.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.above_chance(dq.evaluation.Study(n=60, prevalence=0.33, auc=0.7)), 2)
    0.7
    """
    events, none, share = _numbers(study)
    tried = np.linspace(0.505, 0.995, 99)
    single, shared = np.transpose([_pairs(float(auc)) for auc in tried])
    _, delong = _variances(single, shared, events[:, None], none[:, None])
    # The lowest AUC whose interval lies above 0.5 has the variance of such an AUC, not that of the expected one.
    distance = special.logit(tried) * tried * (1 - tried) / np.sqrt(delong)
    lowest = np.array([np.interp(_Z, along, tried) for along in np.maximum.accumulate(distance, axis=1)])
    truth, _ = _variances(*_pairs(study.auc), events, none)
    spread = np.sqrt(truth) / (study.auc * (1 - study.auc))
    return float(share * special.ndtr((special.logit(study.auc) - special.logit(lowest)) / spread).mean())


def usual_interval(study: Study) -> tuple[float, float]:
    """An interval as wide as expected around the expected AUC: its bounds.

    Parameters
    ----------
    study : Study
        The planned study.

    Examples
    --------
    >>> import deepqct as dq
    >>> low, high = dq.evaluation.usual_interval(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8))
    >>> round(low, 2), round(high, 2)
    (0.73, 0.85)
    """
    width, middle = auc_width(study), special.logit(study.auc)

    def bounds(half: float) -> tuple[float, float]:
        return float(special.expit(middle - half)), float(special.expit(middle + half))

    return bounds(optimize.brentq(lambda half: bounds(half)[1] - bounds(half)[0] - width, 1e-9, 50))


def difference_width(study: Study, *, gain: float = 0.0) -> float:
    """The expected width of the 95 % interval of a difference of two AUCs in the same women, as `compare_auc` makes it.

    Parameters
    ----------
    study : Study
        The planned study.
    gain : float
        By how much the other score's AUC is lower.

    Returns
    -------
    float
        The mean width over cohorts in which the difference is estimable.

    Examples
    --------
    >>> import deepqct as dq
    >>> study = dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8)
    >>> round(dq.evaluation.difference_width(study), 3)
    0.118
    """
    _, half, _ = _difference(study, gain)
    return float(2 * half.mean())


def power(study: Study, *, margin: float = 0.0, gain: float | None = None) -> float:
    """How often a study shows what is true: that a score is better than another, or not worse by a margin.

    Parameters
    ----------
    study : Study
        The planned study.
    margin : float
        0: the 95 % interval of the difference must lie above 0. Above 0: it must lie above −margin, as in
        `noninferiority`.
    gain : float, optional
        The true difference; by default that of the study with a margin of 0, and 0 with a margin.

    Returns
    -------
    float
        The share of such studies; one in which the difference is not estimable shows nothing.

    Raises
    ------
    ValueError
        If the margin is below 0.

    References
    ----------
    Liu JP et al. (2006), Stat Med 25:1219 (non-inferiority of paired AUCs). Obuchowski NA, McClish DK (1997), Stat Med
    16:1529 (planning with normal scores).

    Examples
    --------
    >>> import deepqct as dq
    >>> study = dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8, gain=0.05)
    >>> round(dq.evaluation.power(study), 2), round(dq.evaluation.power(study, margin=0.03), 2)
    (0.35, 0.17)
    """
    if margin < 0:
        raise ValueError(f"margin is {margin:g}; a margin of non-inferiority is above 0, and 0 asks for superiority.")
    true = gain if gain is not None else 0.0 if margin else study.gain
    error, half, share = _difference(study, true)
    return float(share * special.ndtr((true + margin - half) / error).mean())


def smallest_gain(study: Study, *, power_wanted: float = ENOUGH) -> float:
    """The smallest true gain in AUC that the study shows with some power; NaN if there is none.

    Parameters
    ----------
    study : Study
        The planned study.
    power_wanted : float
        The share of such studies that show it.

    Examples
    --------
    >>> import deepqct as dq
    >>> round(dq.evaluation.smallest_gain(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8)), 2)
    0.09
    """
    most = study.auc - 0.5
    if power(study, gain=most) < power_wanted:
        return float("nan")
    return float(optimize.brentq(lambda gain: power(study, gain=gain) - power_wanted, 1e-9, most, xtol=1e-4))


def women_needed(study: Study, *, margin: float = 0.0, power_wanted: float = ENOUGH) -> int | None:
    """How many women a study needs for some power in place of its own number; None if a million are too few.

    Parameters
    ----------
    study : Study
        The planned study.
    margin : float
        As in `power`.
    power_wanted : float
        The share of such studies that are to show it.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.evaluation.women_needed(dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8), margin=0.05)
    602
    """

    def enough(n: int) -> bool:
        return power(replace(study, n=n), margin=margin) >= power_wanted

    low, high = 2 * FEWEST - 1, 2 * FEWEST
    while not enough(high):
        if high == _LARGEST:
            return None
        low, high = high, min(2 * high, _LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def over_numbers(study: Study, numbers: ArrayLike | None = None) -> pd.DataFrame:
    """The widths of intervals and the powers of a study by the number of its women.

    Parameters
    ----------
    study : Study
        The planned study.
    numbers : (k,) int, optional
        Numbers of women; by default 40 from 30, or a quarter of the study's, to four times the study's.

    Returns
    -------
    DataFrame
        n, events (expected), estimable (share of cohorts), auc_width, difference_width, superior (power for the study's
        gain), and non_inferior_<margin> for each margin.

    Examples
    --------
    >>> import deepqct as dq
    >>> study = dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8)
    >>> dq.evaluation.over_numbers(study, [216, 432])[["n", "events", "auc_width"]].round(3).values.tolist()
    [[216.0, 71.0, 0.124], [432.0, 143.0, 0.087]]
    """
    if numbers is None:
        least = max(2 * FEWEST, min(30, study.n // 4))
        numbers = np.unique(np.geomspace(least, min(4 * study.n, _LARGEST), 40).round().astype(int))
    rows = []
    for n in np.asarray(numbers, int).tolist():
        other = replace(study, n=n)
        row = {
            "n": n,
            "events": other.events,
            "estimable": estimable_share(other),
            "auc_width": auc_width(other),
            "difference_width": difference_width(other),
            "superior": power(other),
        }
        rows.append(row | {f"non_inferior_{margin:g}": power(other, margin=margin) for margin in study.margins})
    return pd.DataFrame(rows)


def _numbers(study: Study) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
    """Equally likely numbers of events and of non-events where both are enough, and how often they are."""
    n, prevalence = study.n, study.prevalence
    low, high = special.bdtr([FEWEST - 1.0, float(n - FEWEST)], n, prevalence)
    at = low + (high - low) * (np.arange(_COHORTS) + 0.5) / _COHORTS
    events = np.clip(np.ceil(special.bdtrik(at, n, prevalence) - 1e-9), FEWEST, n - FEWEST)
    return events, study.n - events, float(high - low)


def _both(one: float, other: float, correlation: float) -> float:
    """The probability that two normal variables of these means, variance 1 and this correlation are both above 0.

    Plackett RL (1954), Biometrika 41:351.
    """
    reach = np.arcsin(correlation)
    angle = reach * (_LEGENDRE[0] + 1) / 2
    density = np.exp(-(one**2 - 2 * one * other * np.sin(angle) + other**2) / (2 * np.cos(angle) ** 2)) / (2 * np.pi)
    return float(special.ndtr(one) * special.ndtr(other) + reach / 2 * (density @ _LEGENDRE[1]))


@lru_cache(maxsize=4096)
def _pairs(auc: float) -> tuple[float, float]:
    """Variance of one pair of an event and a non-event (in order or not), covariance of two pairs that share a woman."""
    middle = float(special.ndtri(auc))
    return auc * (1 - auc), _both(middle, middle, 0.5) - auc**2


def _variances(
    single: ArrayLike, shared: ArrayLike, events: NDArray[np.floating], none: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The variance of a mean over all pairs, and the mean of what DeLong takes for it, which is a little more."""
    single, shared = np.asarray(single), np.asarray(shared)
    pairs, n = events * none, events + none
    return (single + (n - 2) * shared) / pairs, (2 * single + (n - 4) * shared) / pairs


@lru_cache(maxsize=4096)
def _contrast(auc: float, other_auc: float, correlation: float) -> tuple[float, float, float, float]:
    """Variance of a pair's difference between two scores, covariance of two pairs that share a woman, moments.

    The moments are the second and the fourth of a difference of DeLong's components.
    """
    one, other = (float(special.ndtri(area)) for area in (auc, other_auc))
    (single, shared), (other_single, other_shared) = _pairs(auc), _pairs(other_auc)
    single += other_single - 2 * (_both(one, other, correlation) - auc * other_auc)
    shared += other_shared - 2 * (_both(one, other, correlation / 2) - auc * other_auc)
    first, second = np.meshgrid(_FINE[0], _FINE[0])
    second = correlation * first + np.sqrt(1 - correlation**2) * second
    placements = special.ndtr(np.sqrt(2) * one + first) - special.ndtr(np.sqrt(2) * other + second)
    variance, _, fourth = _moments(placements, np.outer(_FINE[1], _FINE[1]))
    return single, shared, variance, fourth


def _moments(values: NDArray[np.floating], weight: NDArray[np.floating]) -> tuple[float, float, float]:
    """Second, third and fourth central moments."""
    centred = values - (weight * values).sum()
    second, third, fourth = (float((weight * centred**power).sum()) for power in (2, 3, 4))
    return second, third, fourth


def _variance_of_variance(
    second: float, fourth: float, events: NDArray[np.floating], none: NDArray[np.floating]
) -> NDArray[np.floating]:
    """How much DeLong's variance itself varies, from the moments of its components."""
    of_events, of_none = ((fourth - second**2 * (k - 3) / (k - 1)) / k**3 for k in (events, none))
    return of_events + of_none


def _difference(study: Study, gain: float) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
    """Standard error of a difference and half its interval, equally likely ones, and the share that is estimable.

    One row for each number of events, one column for each variance of training that might be measured.
    """
    events, none, share = _numbers(study)
    single, shared, variance, fourth = _contrast(study.auc, study.auc - gain, study.correlation)
    truth, delong = (column[:, None] for column in _variances(single, shared, events, none))
    # The mean of a root is less than the root of a mean, here as for a log-normal variance.
    wobble = _variance_of_variance(variance, fourth, events, none)[:, None] / delong**2
    shorter = (1 + wobble) ** -0.125
    if not study.networks:
        return np.sqrt(truth), _Z * np.sqrt(delong) * shorter, share
    from_networks = (study.auc, study.auc - gain)[: study.networks]
    own = sum(_variances(*_pairs(auc), events, none)[1] for auc in from_networks)
    added = (NETWORKS_VARY**2 - 1) * np.asarray(own)[:, None] / study.trainings
    if study.trainings < FEWEST_TRAININGS:
        return np.sqrt(truth + added), _Z * np.sqrt(delong + added) * shorter, share
    free = study.trainings - 1
    measured = added * special.gammaincinv(free / 2, (np.arange(_COHORTS) + 0.5) / _COHORTS) * 2 / free
    quantile = special.stdtrit((delong + measured) ** 2 / (measured**2 / free), 0.975)
    return np.sqrt(truth + added), quantile * np.sqrt(delong + measured) * shorter, share
