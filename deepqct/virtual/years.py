"""The years after the scan: when a virtual woman fractures, when she dies, and when nobody follows her any longer.

The hazard of a fracture is constant over the years and rests on the same latent risk as the fracture history. All rates
are our choice.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

TIME, EVENT = "time_to_fracture", "fracture_after"
PAIR = f"{TIME}, {EVENT}"
BY_FIVE_YEARS = 0.2  # share with a fracture within 5 years, if nobody died
_FOLLOWED = (3.0, 10.0)  # years until the end of the study: women join it one after the other
_LOST = 0.02  # a year, who move away or do not come back
# Death a year at 70 and the years in which it doubles, near life tables of women.
_DEATH_AT_70, _DOUBLES = 0.012, 7.0
# A hazard ratio that parts women as far as the odds ratio of the fracture history does: the SD of a logarithm of
# exponential time over that of a logistic variable.
_AS_FAR = float(np.sqrt(0.5))


def log_hazard_ratio(slope: float) -> float:
    """The log hazard ratio by SD of the latent risk, from the log odds ratio of the fracture history.

    Parameters
    ----------
    slope : float
        From `deepqct.virtual.population.slope_of`.
    """
    return slope * _AS_FAR


def base_hazard(risk: NDArray[np.floating], *, ratio: float) -> float:
    """The yearly hazard at a latent risk of 0 that gives the share with a fracture within 5 years.

    Parameters
    ----------
    risk : (n,) float
        Latent risks of the population.
    ratio : float
        From `log_hazard_ratio`.
    """
    of = np.quantile(risk, (np.arange(2000) + 0.5) / 2000)

    def excess(log_base: float) -> float:
        return float(-np.expm1(-5 * np.exp(log_base + ratio * of)).mean() - BY_FIVE_YEARS)

    return float(np.exp(optimize.brentq(excess, -60, 10)))


def draw_years(
    risk: NDArray[np.floating], age: NDArray[np.floating], *, ratio: float, base: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw what happens to women after their scan.

    Parameters
    ----------
    risk, age : (n,) float
        Latent risk, and age in years.
    ratio, base : float
        From `log_hazard_ratio` and `base_hazard`.
    rng : Generator
        Draws everything.

    Returns
    -------
    DataFrame
        ``time_to_fracture``: years to a tenth, at least 0.1, until the first of fracture, death and the end of follow-up;
        ``fracture_after``: 1 fracture, 2 death before it, 0 neither.
    """
    n = len(risk)
    fracture = rng.exponential(size=n) / (base * np.exp(ratio * risk))
    # Gompertz: the hazard of death at age a is h·2^((a − 70)/doubling).
    speed = np.log(2) / _DOUBLES
    hazard = _DEATH_AT_70 * np.exp(speed * (age - 70))
    death = np.log1p(speed * rng.exponential(size=n) / hazard) / speed
    end = np.minimum(rng.uniform(*_FOLLOWED, n), rng.exponential(1 / _LOST, n))
    first = np.minimum(np.minimum(fracture, death), end)
    event = np.select([first == fracture, first == death], [1, 2], 0)
    return pd.DataFrame({TIME: np.maximum(first, 0.1).round(1), EVENT: event})
