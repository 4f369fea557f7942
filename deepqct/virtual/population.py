"""Who the virtual women are: age, body, bone density, clinical factors, structure of four bones, and fractures.

Structure is drawn for all four bones at once, as correlated normal variables with the means, spreads and correlations
of targets.py. Whether a woman fractures follows from a latent risk, which rests on structure, on age and on something
that no standard index sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from deepqct.terms import BONES
from deepqct.virtual import targets
from deepqct.virtual import years as after

# Bayes-optimal AUC of each scenario. literature: what 7 indices of two bones carry together, from the odds ratios of
# Burt 2018 (doi:10.1002/jbmr.3347); deepqct-like: what the preprint's figures imply (Chen 2024, its best AUCs).
SCENARIOS = {"null": 0.50, "literature": 0.75, "deepqct-like": 0.92}
# Two phenotypes, this many SDs apart along their mean difference, unless told otherwise.
SEPARATION = {"null": 0.0, "literature": 0.0, "deepqct-like": 3.0}
FRAIL_SHARE = 0.4  # of the phenotype of poorer bone; ours
RISK_FORMS = ("linear", "weakest")
HIDDEN_SHARE = 0.25  # of the risk that the standard indices do not see; ours
_HIDDEN_BETWEEN = 0.7  # bones of one woman; ours
# Risk by SD of each index and of age, before scaling: after the odds ratios of Burt 2018 (Ct.Th of the tibia and Tb.N
# of the radius the strongest); the other weights, and that ulna and fibula weigh less, are ours.
_RISK = {"Tt.Ar": 0.3, "Ct.Th": -1.0, "Ct.vBMD": -0.4, "Ct.Po": 0.3, "Tb.N": -0.8, "Tb.Th": -0.3, "q": -0.3}
_RISK_OF_BONE = {"radius": 1.0, "ulna": 0.6, "tibia": 1.0, "fibula": 0.6}
_RISK_OF_AGE = 2.0
# Where the risk follows the weakest bone: what a cortex that is thin and a network that is sparse add together, in SDs of
# a bone's weakness for each SD squared; how sharply the weakest counts; and the weight of age beyond structure. Ours.
_THIN_AND_SPARSE, _SHARPNESS, _WEAKEST_AGE = 0.6, 2.0, 0.5
# Share at average risk; ours.
FACTORS = {
    "parental_hip_fracture": 0.08,
    "smoking": 0.05,
    "glucocorticoids": 0.04,
    "rheumatoid_arthritis": 0.03,
    "alcohol": 0.02,
}
_FACTOR_SLOPE = 0.4
_MISSING = 0.03  # of each DXA and clinical value; ours
# Motion grades 1 to 5 of women of about 70 years; ours, near the mean of 2.7 and the 73 % of up to 3 in women and men
# over 65 of Arch Osteoporos 2023;18:142 (doi:10.1007/s11657-023-01352-5).
MOTION = (0.10, 0.35, 0.35, 0.15, 0.05)
CROWD = 200_000  # women of the simulated population


@dataclass(frozen=True)
class Causes:
    """What the risk of fracture follows from.

    Parameters
    ----------
    scenario : str
        A name in `SCENARIOS`.
    hidden_share, risk_form, separation
        As in `draw_women`.
    """

    scenario: str
    hidden_share: float
    risk_form: str
    separation: float

    @classmethod
    def of(cls, scenario: str, *, hidden_share: float, risk_form: str, separation: float | None) -> Self:
        """The causes that were asked for, checked, with the scenario's separation unless another one is given.

        Parameters
        ----------
        scenario, hidden_share, risk_form, separation
            As in `draw_women`.

        Raises
        ------
        ValueError
            If the scenario or the form of the risk is unknown, or a share or the separation is out of range.
        """
        if scenario not in SCENARIOS:
            raise ValueError(f"Unknown scenario {scenario!r}; use {', '.join(SCENARIOS)}.")
        if risk_form not in RISK_FORMS:
            raise ValueError(f"Unknown form of the risk {risk_form!r}; use {', '.join(RISK_FORMS)}.")
        if separation is not None and not 0 <= separation <= 10:
            raise ValueError(f"The separation of the phenotypes is {separation}; it must lie between 0 and 10.")
        if not 0 <= hidden_share <= 1:
            raise ValueError(f"The hidden share of the risk is {hidden_share}; it must lie between 0 and 1.")
        return cls(scenario, hidden_share, risk_form, SEPARATION[scenario] if separation is None else float(separation))


@dataclass(frozen=True)
class Crowd:
    """Women as arrays of numbers, one row for each.

    Parameters
    ----------
    age : (n,)
        Years.
    structure : (n, 28)
        Drawn indices, standardised over all ages, in the order of `targets.columns`.
    hidden : (n, 4)
        What indices do not see of each bone, standard normal.
    dxa : (n, 3)
        Bone density of each DXA site, standardised.
    frail : (n,) of 0 and 1
        1 for the phenotype of poorer bone.
    risk : (n,)
        Latent risk, mean 0 and SD 1 in the population.
    """

    age: NDArray[np.float64]
    structure: NDArray[np.float64]
    hidden: NDArray[np.float64]
    dxa: NDArray[np.float64]
    frail: NDArray[np.int64]
    risk: NDArray[np.float64]


def draw_women(
    n: int,
    *,
    scenario: str = "literature",
    prevalence: float = 0.33,
    hidden_share: float = HIDDEN_SHARE,
    risk_form: str = "linear",
    separation: float | None = None,
    seed: int = 7,
) -> pd.DataFrame:
    """Return a table of virtual women with their age, body, bones' structure and fracture history.

    Parameters
    ----------
    n : int
        Number of women.
    scenario : str
        null, literature or deepqct-like: how well the best possible model can do.
    prevalence : float
        Share with a fragility fracture. The preprint's is unknown; 0.33 is our choice.
    hidden_share : float
        Share of the risk's variance that no standard index sees; where the risk follows the weakest bone, share of the
        variance of each bone's weakness.
    risk_form : str
        How the risk depends on structure: ``linear``, a weighted sum over the bones; ``weakest``, the softened greatest
        of the bones' weaknesses, where a cortex and a network that are both poor weigh more than the two apart.
    separation : float, optional
        Distance between two phenotypes, in SDs along their mean difference; 0 for one kind of women. By default that
        of the scenario.
    seed : int
        The same seed draws the same women.

    Returns
    -------
    DataFrame
        participant_id, the columns of participants.tsv (``osteoporosis``, 1 for a lowest T-score of −2.5 or less, and what
        came after the scan among them: `deepqct.virtual.years`), and the truth: ``latent_risk`` (mean 0, SD 1),
        ``phenotype`` (1 for the poorer bone), the drawn structure, such as ``radius Ct.Th`` (mm; areas mm², Tb.N 1/mm,
        Tb.BV/TV and Ct.Po fractions, densities mgHA/cm³), and ``radius hidden``.

    Raises
    ------
    ValueError
        If the scenario or the form of the risk is unknown, or a share or the separation is out of range.

    Examples
    --------
    >>> import deepqct as dq
    >>> women = dq.virtual.draw_women(200, scenario="literature", prevalence=0.33, seed=1)
    >>> women.shape, int(women["fracture"].sum()), round(float(women["radius Ct.Th"].mean()), 2)
    ((200, 62), 66, 0.95)
    """
    causes = Causes.of(scenario, hidden_share=hidden_share, risk_form=risk_form, separation=separation)
    slope = slope_of(causes, prevalence=prevalence)
    rng = np.random.default_rng([seed, 2025])
    crowd = _draw(n, causes, rng=rng)
    structure = _in_units(crowd.structure)
    size = crowd.structure[:, targets.columns().index("tibia Tt.Ar")]
    # Kept within what occurs: the checks of a cohort would refuse a rare draw of 22 kg as a slip of the pen.
    height = np.clip(155 + 5.5 * (0.45 * size + 0.89 * rng.standard_normal(n)), 135, 180)
    weight = np.clip(58 + 8.5 * (0.30 * size + 0.95 * rng.standard_normal(n)), 35, 110)
    people: dict[str, NDArray[np.floating] | list[str]] = {
        "participant_id": [f"sub-{i + 1:04d}" for i in range(n)],
        "age": crowd.age.round(1),
        "height_cm": height.round(1),
        "weight_kg": weight.round(1),
        "bmi": (weight / (height / 100) ** 2).round(1),
    }
    for factor, share in FACTORS.items():
        odds = special.logit(share) + (_FACTOR_SLOPE * crowd.risk if slope > 0 else 0)
        people[factor] = (rng.random(n) < special.expit(odds)).astype(float)
    for k, (site, (mean, sd, peak, peak_sd)) in enumerate(targets.DXA.items()):
        bmd = np.clip(mean + sd * crowd.dxa[:, k], 0.3, 1.9)
        people[f"bmd_{site}"] = bmd.round(3)
        people[f"t_{site}"] = ((bmd - peak) / peak_sd).round(1)
    # The logistic model as a liability: women above a threshold have fractured. The threshold is set for these women,
    # so that a small cohort has its share of events too.
    liability = slope * crowd.risk + rng.logistic(size=n)
    fractured = stats.rankdata(-liability) <= max(round(prevalence * n), 1)
    lowest = pd.DataFrame({site: people[f"t_{site}"] for site in targets.DXA}).min(axis=1)
    women = pd.DataFrame(people | {"fracture": fractured.astype(int), "osteoporosis": (lowest <= -2.5).astype(int)})
    ratio = after.log_hazard_ratio(slope)
    later = after.draw_years(
        crowd.risk, crowd.age, ratio=ratio, base=after.base_hazard(crowd_of(causes).risk, ratio=ratio),
        rng=np.random.default_rng([seed, 2026]),
    )  # fmt: skip
    women = women.join(later)
    for column in (*FACTORS, *(f"bmd_{site}" for site in targets.DXA)):
        lost = rng.random(n) < _MISSING
        for name in {column, column.replace("bmd_", "t_")}:
            women.loc[lost, name] = np.nan
    hidden = pd.DataFrame(crowd.hidden, columns=[f"{bone} hidden" for bone in BONES])
    truth = pd.DataFrame({"latent_risk": crowd.risk, "phenotype": crowd.frail})
    return pd.concat([women, truth, structure, hidden], axis=1)


def _draw(n: int, causes: Causes, *, rng: np.random.Generator) -> Crowd:
    """Draw `n` women as arrays of numbers; see `Crowd`."""
    separation = causes.separation
    age = np.clip(rng.normal(*targets.AGE, n), targets.YOUNGEST, targets.OLDEST)
    years = (age - targets.AGE[0]) / targets.AGE[1]
    by_age = targets.slopes() * targets.AGE[1] / targets.spreads()
    rest = np.sqrt(1 - by_age**2)
    beyond_age = rest * (rng.standard_normal((n, len(rest))) @ np.linalg.cholesky(targets.correlations()).T)
    together = np.outer(by_age, by_age) + np.outer(rest, rest) * targets.correlations()
    variances, vectors = np.linalg.eigh(together)
    towards = vectors[:, -1] * np.sign(vectors[targets.columns().index("tibia Tt.Ar"), -1])  # larger, thinner, sparser
    # The phenotypes lie apart along the first principal axis; its variance, the part by age included, stays the same.
    frail = (rng.random(n) < FRAIL_SHARE).astype(np.int64)
    within = variances[-1] / (1 + separation**2 * FRAIL_SHARE * (1 - FRAIL_SHARE))
    along = beyond_age @ towards
    narrow = np.sqrt(max(within - (by_age @ towards) ** 2, 0.05) / (variances[-1] - (by_age @ towards) ** 2))
    apart = narrow * along + separation * np.sqrt(within) * (frail - FRAIL_SHARE)
    structure = by_age * years[:, None] + beyond_age + np.outer(apart - along, towards)
    common = rng.standard_normal((n, 1))
    hidden = np.sqrt(_HIDDEN_BETWEEN) * common + np.sqrt(1 - _HIDDEN_BETWEEN) * rng.standard_normal((n, len(BONES)))
    loadings = targets.DXA_LOADING_LOW if causes.scenario == "deepqct-like" else targets.DXA_LOADING
    loading = np.array([loadings[site] for site in targets.DXA])
    shared = 0.5 * rng.standard_normal((n, 1)) + np.sqrt(0.75) * rng.standard_normal((n, len(targets.DXA)))
    quality = -(apart / np.sqrt(variances[-1] - (by_age @ towards) ** 2))[:, None]
    loss = np.array([targets.DXA_LOSS / 100 * peak * targets.AGE[1] / sd for _, sd, peak, _ in targets.DXA.values()])
    dxa = loss * years[:, None] + np.sqrt(1 - loss**2) * (loading * quality + np.sqrt(1 - loading**2) * shared)
    if causes.risk_form == "weakest":
        centre, spread = _weakest_moments(causes)
        risk = (_weakest(structure, hidden, years, share=causes.hidden_share) - centre) / spread
    else:
        risk = _linear(structure, hidden, years, together=together, by_age=by_age, share=causes.hidden_share)
    return Crowd(age, structure, hidden, dxa, frail, risk)


def _linear(
    structure: NDArray[np.float64], hidden: NDArray[np.float64], years: NDArray[np.float64], *,
    together: NDArray[np.float64], by_age: NDArray[np.float64], share: float,
) -> NDArray[np.float64]:  # fmt: skip
    """The latent risk as a weighted sum over all bones, of mean 0 and SD 1 in the population."""
    weights = np.array([_RISK[index] * _RISK_OF_BONE[bone] for bone in BONES for index in targets.DRAWN])
    seen = structure @ weights + _RISK_OF_AGE * years
    # The variance of `seen` in the population follows from the targets, whether there are phenotypes or not.
    variance = weights @ together @ weights + 2 * _RISK_OF_AGE * (weights @ by_age) + _RISK_OF_AGE**2
    unseen = hidden.mean(axis=1) / np.sqrt(_HIDDEN_BETWEEN + (1 - _HIDDEN_BETWEEN) / len(BONES))
    return np.asarray(np.sqrt((1 - share) / variance) * seen + np.sqrt(share) * unseen)


def _weakest(
    structure: NDArray[np.float64], hidden: NDArray[np.float64], years: NDArray[np.float64], *, share: float
) -> NDArray[np.float64]:
    """The latent risk as the softened greatest of the bones' weaknesses, not scaled yet."""
    k, weights = len(targets.DRAWN), np.array([_RISK[index] for index in targets.DRAWN])
    thickness, number = (targets.DRAWN.index(name) for name in ("Ct.Th", "Tb.N"))
    weakness = []
    for i in range(len(BONES)):
        indices = structure[:, i * k : (i + 1) * k]
        spread = np.sqrt(weights @ targets.correlations()[i * k : (i + 1) * k, i * k : (i + 1) * k] @ weights)
        both_poor = np.maximum(-indices[:, thickness], 0) * np.maximum(-indices[:, number], 0)
        seen = indices @ weights / spread + _THIN_AND_SPARSE * both_poor
        weakness.append(np.sqrt(1 - share) * seen + np.sqrt(share) * hidden[:, i])
    greatest = special.logsumexp(_SHARPNESS * np.array(weakness), axis=0) / _SHARPNESS
    return np.asarray(greatest + _WEAKEST_AGE * years)


@cache
def _weakest_moments(causes: Causes) -> tuple[float, float]:
    """Mean and SD of the risk of `_weakest` in the population."""
    crowd = crowd_of(replace(causes, risk_form="linear"))
    years = (crowd.age - targets.AGE[0]) / targets.AGE[1]
    risk = _weakest(crowd.structure, crowd.hidden, years, share=causes.hidden_share)
    return float(risk.mean()), float(risk.std())


@cache
def crowd_of(causes: Causes) -> Crowd:
    """The simulated population, always the same.

    Parameters
    ----------
    causes : Causes
        What the risk follows from.
    """
    return _draw(CROWD, causes, rng=np.random.default_rng(1))


@cache
def slope_of(causes: Causes, *, prevalence: float) -> float:
    """The logistic slope on the latent risk that gives the scenario's AUC at this prevalence.

    Parameters
    ----------
    causes : Causes
        What the risk follows from.
    prevalence : float
        Share with a fragility fracture.

    Raises
    ------
    ValueError
        If the prevalence is out of range.
    """
    target = SCENARIOS[causes.scenario]
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}; it must lie between 0 and 1.")
    if target == 0.5:
        return 0.0
    risk = np.quantile(crowd_of(causes).risk, (np.arange(4000) + 0.5) / 4000)

    def excess(slope: float) -> float:
        intercept = optimize.brentq(lambda a: special.expit(a + slope * risk).mean() - prevalence, -80, 80)
        p = special.expit(intercept + slope * risk)
        event, none = p / p.sum(), (1 - p) / (1 - p).sum()
        return float(event @ (np.cumsum(none) - none / 2)) - target

    return float(optimize.brentq(excess, 0.0, 30.0))


def _in_units(z: NDArray[np.float64]) -> pd.DataFrame:
    """Structure in its units and within its limits, from standardised values; BV/TV and density follow from it."""
    table = pd.DataFrame(index=range(len(z)))
    for k, name in enumerate(targets.columns()):
        bone, index = name.split(" ")
        mean, sd = targets.STRUCTURE[bone][index]
        value = np.clip(z[:, k], -targets.WIDEST_SD, targets.WIDEST_SD)
        if index in targets.LOGNORMAL:
            spread = np.sqrt(np.log(1 + (sd / mean) ** 2))
            value = mean * np.exp(spread * value - spread**2 / 2)
        else:
            value = mean + sd * value
        table[name] = np.clip(value, *targets.LIMITS.get(index, (-np.inf, np.inf)))
    follow = {}
    for bone in BONES:
        follow[f"{bone} Tb.BV/TV"] = table[f"{bone} q"] * table[f"{bone} Tb.N"] * table[f"{bone} Tb.Th"]
        follow[f"{bone} Tb.vBMD"] = DENSITY_OF_BVTV * follow[f"{bone} Tb.BV/TV"]
    return pd.concat([table, pd.DataFrame(follow)], axis=1)


DENSITY_OF_BVTV = 690.0  # Tb.vBMD over BV/TV on the XtremeCT II: 694 and 689 in Poncioni, 700 and 652 in Neeteson 2023
