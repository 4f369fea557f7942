"""How a bone has to be drawn so that it measures as wanted: blur, noise and thresholds change every index on the way.

The maps below were fitted to 216 virtual bones that were drawn with knobs spread over their ranges, scanned at 61 µm in
stacks of 24 slices and measured with deepqct's own indices (tests/bench/calibrate.py, several batches). They hold for
that scanner, those thresholds and this drawing; a change of any of them needs a new fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from deepqct.virtual.trabeculae import Knobs

Array = NDArray[np.float64]

# log Tb.N, log Tb.Th, log Tb.BV/TV and log Tb.vBMD by `features` of the knobs.
NETWORK = np.array(
    [
        [-0.108, 0.986, 0.572, 1.597, -0.192, -1.100, -1.338, -0.354, -0.760, -6.229],
        [-1.406, 0.337, 0.731, 0.909, 0.023, -0.097, -3.711, -0.051, 0.181, -0.441],
        [-1.864, 1.713, 1.682, 4.214, -0.329, -1.329, -7.712, -0.663, -2.661, -9.965],
        [4.633, 2.188, 1.528, 3.850, -1.102, -0.326, -1.714, -1.036, -3.664, -5.353],
    ]
)
# The range of knobs that the maps were fitted to; they do not hold beyond it.
LOWEST, HIGHEST = Knobs(0.40, 0.09, -0.02), Knobs(1.70, 0.24, 0.22)
# How closely each index is aimed at, relative. Three knobs cannot reach four indices at once: plates thin enough for
# few and slender trabeculae fall below the threshold of bone, so that density would grow but BV/TV would not.
_PRECISION = np.array([0.04, 0.03, 0.06, 0.06])
# Ct.Th = a + b × drawn + c × Tb.BV/TV: plates that lie flat on the cortex count as cortex.
SHELL = (0.006, 1.042, 0.272)
# Ct.vBMD = a + b × tissue + c / Ct.Th + d × Ct.Po, the last two as drawn.
TISSUE = (150.5, 0.818, -51.0, -813.1)
# Ct.Po = porosity × (a + b / thickness drawn), by bone: canals that open to an edge of the cortex are no pores.
PORES = {"radius": (1.005, -0.414), "ulna": (1.133, -0.434), "tibia": (1.042, -0.434), "fibula": (1.195, -0.552)}
MOST_PORES = 0.25


@dataclass(frozen=True)
class Aim:
    """The numbers that say how one bone is drawn.

    Parameters
    ----------
    knobs : Knobs
        How its trabecular network is drawn.
    shell_mm : float
        Mean thickness of the cortex, mm.
    cortical_tissue : float
        Density of the cortex between its canals, mgHA/cm³.
    porosity : float
        Share of canals in the cortex, whether the scanner sees them or not.
    clustering : float
        How strongly canals gather on one side of the bone, 0 to 1.
    turn_rad : float
        Direction in the slice of the first family of trabecular sheets, 0 to a right angle.
    """

    knobs: Knobs
    shell_mm: float
    cortical_tissue: float
    porosity: float
    clustering: float
    turn_rad: float


def aim_of(woman: Mapping[str, float], bone: str) -> Aim:
    """Return how a woman's bone has to be drawn, so that its indices measure as her row of the table says.

    Parameters
    ----------
    woman : mapping
        A row of `draw_women`.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    Aim

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.virtual.steering import aim_of
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> round(float(woman["radius Ct.Th"]), 2), round(aim_of(woman, "radius").shell_mm, 2)
    (0.9, 0.81)
    """
    names = ("Ct.Th", "Ct.vBMD", "Ct.Po", "Tb.BV/TV", "hidden")
    thick, dense, porous, fraction, hidden = (float(woman[f"{bone} {name}"]) for name in names)
    shell = max((thick - SHELL[0] - SHELL[2] * fraction) / SHELL[1], 0.35)
    porosity = porous / max(PORES[bone][0] + PORES[bone][1] / shell, 0.15)
    return Aim(
        knobs=_knobs(*(float(woman[f"{bone} {name}"]) for name in ("Tb.N", "Tb.Th", "Tb.BV/TV", "Tb.vBMD"))),
        shell_mm=shell,
        cortical_tissue=(dense - TISSUE[0] - TISSUE[2] / shell - TISSUE[3] * porosity) / TISSUE[1],
        porosity=float(np.clip(porosity, 0.0, MOST_PORES)),
        clustering=float(np.clip(0.5 + 0.3 * hidden, 0.0, 1.0)),
        turn_rad=float(np.pi / 4 * (1 + np.clip(0.5 * hidden, -1, 1))),  # two SDs each way are the whole right angle
    )


def features(log_frequency: Array, log_thickness: Array, reach: Array) -> Array:
    """Return the ten terms of which the map `NETWORK` is a weighted sum, up to squares and products of the knobs.

    Parameters
    ----------
    log_frequency, log_thickness : (n,) or a number
        Logarithms of the frequency (1/mm) and of the thickness (mm) of `Knobs`.
    reach : (n,) or a number
        The reach of `Knobs`, mm.

    Returns
    -------
    (n, 10), or (10,) of numbers
    """
    k, t, w = log_frequency - np.log(0.65), log_thickness - np.log(0.16), reach - 0.10
    return np.stack([np.ones_like(k), k, t, w, k * k, t * t, w * w, k * t, k * w, t * w], axis=-1)


def _knobs(number: float, thickness: float, fraction: float, density: float) -> Knobs:
    """The knobs whose network measures nearest to these indices."""
    wanted = np.log([number, thickness, fraction, density])
    low, high = (np.array([np.log(k.frequency), np.log(k.thickness_mm), k.reach_mm]) for k in (LOWEST, HIGHEST))

    def miss(knobs: Array) -> Array:
        return np.asarray((NETWORK @ features(*knobs) - wanted) / _PRECISION)

    k, t, w = optimize.least_squares(miss, (low + high) / 2, bounds=(low, high)).x
    return Knobs(float(np.exp(k)), float(np.exp(t)), float(w))
