"""Who the virtual women are: age, body, bone density, clinical factors, the structure of four bones, and their fractures.

Means and SDs of radius and tibia follow published cohorts for women of about 70 years; nothing is published for ulna and
fibula, whose numbers are assumptions. Everything hangs together through a few latent factors.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from deepqct.folder import BONES

# Bayes-optimal AUC of each scenario. literature: what 7 indices of two bones carry together, from the odds ratios of
# Burt 2018 (doi:10.1002/jbmr.3347); deepqct-like: what the preprint's figures imply (Chen 2024, its best AUCs).
SCENARIOS = {"null": 0.50, "literature": 0.75, "deepqct-like": 0.92}

# Mean and SD at about 70 years. Radius and tibia: rounded from Poncioni (doi:10.5281/zenodo.16882057) and Neeteson 2023
# (doi:10.1038/s41598-022-27350-0), moved towards Chinese women as in Walker 2011 (doi:10.1002/jbmr.352) by our choice.
# Ulna and fibula: assumptions, no source.
_STRUCTURE: dict[str, dict[str, tuple[float, float]]] = {
    "radius": {"Tt.Ar": (235, 38), "Ct.Th": (0.95, 0.18), "Tb.BV/TV": (0.18, 0.05), "Tb.N": (1.25, 0.22)},
    "ulna": {"Tt.Ar": (75, 15), "Ct.Th": (0.85, 0.17), "Tb.BV/TV": (0.19, 0.06), "Tb.N": (1.20, 0.25)},
    "tibia": {"Tt.Ar": (620, 95), "Ct.Th": (1.15, 0.24), "Tb.BV/TV": (0.21, 0.05), "Tb.N": (1.20, 0.20)},
    "fibula": {"Tt.Ar": (120, 25), "Ct.Th": (1.15, 0.25), "Tb.BV/TV": (0.16, 0.06), "Tb.N": (1.00, 0.25)},
}
# How each follows the latent factors (size, trabecular, cortical) and age; the rest is the bone's own. Our choice, near
# the correlations of Poncioni: across sites about 0.7, Tb.N with BV/TV about 0.7.
_LOADINGS = {
    "Tt.Ar": (0.85, 0.0, -0.2, 0.1),
    "Ct.Th": (0.1, 0.0, 0.8, -0.3),
    "Tb.BV/TV": (0.0, 0.8, 0.0, -0.2),
    "Tb.N": (0.0, 0.75, 0.0, -0.15),
}
# Mean, SD at 70 years (our interpolation) and at the young peak: Zhang 2007, doi:10.1016/j.jocd.2007.05.004.
_DXA = {
    "lumbar_spine": (0.88, 0.15, 1.116, 0.12),
    "femoral_neck": (0.72, 0.11, 0.927, 0.12),
    "total_hip": (0.77, 0.12, 0.963, 0.13),
}
# Share at average risk; our choice.
_FACTORS = {
    "parental_hip_fracture": 0.08,
    "smoking": 0.05,
    "glucocorticoids": 0.04,
    "rheumatoid_arthritis": 0.03,
    "alcohol": 0.02,
}
_AGE = (70.0, 7.0)
_MISSING = 0.03  # of each DXA and clinical value; our choice


def draw_women(n: int, *, scenario: str = "literature", prevalence: float = 0.33, seed: int = 7) -> pd.DataFrame:
    """Draw women with their bones' structure and their fracture history.

    Parameters
    ----------
    n : int
        Number of women.
    scenario : str
        null, literature or deepqct-like: how well the best possible model can do.
    prevalence : float
        Share with a fragility fracture. The preprint's is unknown; 0.33 is our choice.
    seed : int
        The same seed draws the same women.

    Returns
    -------
    DataFrame
        participant_id, the columns of participants.tsv, ``latent_risk`` (standard normal) and the drawn structure, such as
        ``radius Ct.Th`` (mm; areas mm², Tb.N 1/mm, Tb.BV/TV a fraction).

    Raises
    ------
    ValueError
        If the scenario is unknown or the prevalence is not between 0 and 1.
    """
    slope = _slope(scenario, prevalence)
    rng = np.random.default_rng([seed, 2024])
    age = np.clip(rng.normal(*_AGE, n), 55, 90)
    age_z = (age - _AGE[0]) / _AGE[1]
    size, trabecular, noise = rng.standard_normal((3, n))
    cortical = 0.5 * trabecular + np.sqrt(0.75) * noise
    table: dict[str, NDArray[np.floating] | list[str]] = {
        "participant_id": [f"sub-{i + 1:04d}" for i in range(n)],
        "age": age.round(1),
    }
    # Kept within what lives: a rare draw of 22 kg would be refused as a slip of the pen.
    height = np.clip(rng.normal(155, 5.5, n) + 1.5 * size, 135, 180)
    weight = np.clip(rng.normal(58, 8.5, n) + 2.0 * size, 35, 110)
    table |= {
        "height_cm": height.round(1),
        "weight_kg": weight.round(1),
        "bmi": (weight / (height / 100) ** 2).round(1),
    }
    # Women of poor bone and higher age are at risk; weights are our choice.
    risk = -0.65 * trabecular - 0.65 * cortical + 0.45 * age_z
    risk /= np.sqrt(0.65**2 + 0.65**2 + 2 * 0.65**2 * 0.5 + 0.45**2)
    for factor, share in _FACTORS.items():
        table[factor] = (rng.random(n) < special.expit(special.logit(share) + 0.4 * risk)).astype(float)
    for site, (mean, sd, peak, peak_sd) in _DXA.items():
        z = 0.3 * trabecular + 0.3 * cortical - 0.2 * age_z
        bmd = mean + sd * (z + np.sqrt(1 - 0.31) * rng.standard_normal(n))
        table[f"bmd_{site}"] = bmd.clip(0.3).round(3)
        table[f"t_{site}"] = ((bmd.clip(0.3) - peak) / peak_sd).round(1)
    # The logistic model as a liability: who is above the threshold has fractured. The threshold is that of these women,
    # so that a small cohort has its share of events too.
    liability = slope * risk + rng.logistic(size=n)
    table["fracture"] = (stats.rankdata(-liability) <= max(round(prevalence * n), 1)).astype(int)
    table["latent_risk"] = risk
    for bone in BONES:
        for index, (mean, sd) in _STRUCTURE[bone].items():
            on_size, on_trabecular, on_cortical, on_age = _LOADINGS[index]
            z = on_size * size + on_trabecular * trabecular + on_cortical * cortical + on_age * age_z
            own = np.sqrt(max(1 - on_size**2 - on_trabecular**2 - on_cortical**2 - on_age**2, 0.0))
            z = z + own * rng.standard_normal(n)
            table[f"{bone} {index}"] = mean + sd * np.clip(z, -2.5, 2.5)
    women = pd.DataFrame(table)
    for column in [name for name in women.columns if name.startswith(("bmd_", *_FACTORS))]:
        lost = rng.random(n) < _MISSING
        for name in {column, column.replace("bmd_", "t_")}:
            women.loc[lost, name] = np.nan
    return women


def attainable_auc(scenario: str) -> dict[str, float]:
    """The AUC of whoever knows every woman's latent risk; nobody can do better.

    Returns
    -------
    dict of str to float
        ``all``: from everything together.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"Unknown scenario {scenario!r}; use {', '.join(SCENARIOS)}.")
    return {"all": SCENARIOS[scenario]}


def _slope(scenario: str, prevalence: float) -> float:
    """The logistic slope on a standard normal risk that gives the scenario's AUC at this prevalence."""
    target = attainable_auc(scenario)["all"]
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}; it must lie between 0 and 1.")
    z = np.linspace(-6, 6, 4001)
    density = stats.norm.pdf(z) / stats.norm.pdf(z).sum()

    def intercept(slope: float) -> float:
        return float(optimize.brentq(lambda a: density @ special.expit(a + slope * z) - prevalence, -60, 60))

    def excess(slope: float) -> float:
        p = special.expit(intercept(slope) + slope * z)
        event, none = density * p / prevalence, density * (1 - p) / (1 - prevalence)
        return float(event @ (np.cumsum(none) - none / 2)) - target

    return 0.0 if target == 0.5 else float(optimize.brentq(excess, 0.0, 20.0))
