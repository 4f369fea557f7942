"""From what a woman is to measure to what is drawn: blur, noise and thresholds change every index on the way.

The maps below were fitted to virtual bones that were drawn with knobs spread over their ranges, scanned at 61 µm in
stacks of 24 slices and measured with deepqct's own indices (`python tests/bench/calibrate.py`). They hold for that scanner,
those thresholds and this drawing; a change of any of them wants a new fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from deepqct.virtual.network import Knobs

Array = NDArray[np.float64]

# log Tb.N, log Tb.Th and log Tb.BV/TV by `features` of the knobs.
NETWORK = np.array(
    [
        [-0.118, 0.986, 0.604, 1.331, -0.160, -0.985, -0.417, 0.057, 0.414, -2.851],
        [-1.408, 0.318, 0.795, 1.067, -0.051, 0.167, -3.151, 0.080, -0.265, -0.606],
        [-1.890, 1.730, 1.771, 3.940, -0.446, -0.715, -3.792, 0.008, -0.962, -6.032],
    ]
)
# Knobs that were tried; beyond them the maps say nothing.
LOWEST, HIGHEST = Knobs(0.40, 0.09, -0.02), Knobs(1.70, 0.24, 0.22)
_PRECISION = np.array([0.05, 0.02, 0.08])  # how closely each index is aimed at, relative; thickness varies least
# Ct.Th = a + b × drawn + c × Tb.BV/TV: plates that lie flat on the cortex count as cortex.
SHELL = (0.003, 1.043, 0.331)
# Ct.vBMD = a + b × tissue + c / Ct.Th + d × Ct.Po, the last two as drawn.
TISSUE = (167.6, 0.807, -59.1, -839.2)
# Ct.Po = porosity × (a + b / thickness drawn), by bone: canals that open to an edge of the cortex are no pores.
PORES = {"radius": (0.995, -0.385), "ulna": (1.032, -0.355), "tibia": (0.992, -0.366), "fibula": (1.098, -0.476)}
MOST_PORES = 0.25


@dataclass(frozen=True)
class Aim:
    """How one bone is drawn.

    Parameters
    ----------
    knobs : Knobs
        Of the trabecular network.
    shell_mm : float
        Mean thickness of the cortex.
    cortical_tissue : float
        mgHA/cm³ of the cortex between its canals.
    porosity : float
        Share of canals in the cortex, seen by the scanner or not.
    patchiness : float
        How strongly perforations gather in patches.
    clustering : float
        How strongly canals gather on one side, 0 to 1.
    """

    knobs: Knobs
    shell_mm: float
    cortical_tissue: float
    porosity: float
    patchiness: float
    clustering: float


def aim_of(woman: Mapping[str, float], bone: str) -> Aim:
    """How a woman's bone is drawn, so that it measures as she was drawn.

    Parameters
    ----------
    woman : mapping
        A row of `draw_women`.
    bone : str
        radius, ulna, tibia or fibula.
    """
    names = ("Ct.Th", "Ct.vBMD", "Ct.Po", "Tb.N", "Tb.Th", "Tb.BV/TV", "hidden")
    thick, dense, porous, number, thickness, fraction, hidden = (float(woman[f"{bone} {name}"]) for name in names)
    shell = max((thick - SHELL[0] - SHELL[2] * fraction) / SHELL[1], 0.35)
    porosity = porous / max(PORES[bone][0] + PORES[bone][1] / shell, 0.15)
    return Aim(
        knobs=_knobs(number, thickness, fraction),
        shell_mm=shell,
        cortical_tissue=(dense - TISSUE[0] - TISSUE[2] / shell - TISSUE[3] * porosity) / TISSUE[1],
        porosity=float(np.clip(porosity, 0.0, MOST_PORES)),
        patchiness=float(np.clip(0.30 + 0.25 * hidden, 0.0, 0.8)),
        clustering=float(np.clip(0.5 + 0.3 * hidden, 0.0, 1.0)),
    )


def features(log_frequency: Array, log_thickness: Array, reach: Array) -> Array:
    """What the map of the network is linear in, (n, 10), of the knobs; frequency and thickness as logarithms."""
    k, t, w = log_frequency - np.log(0.65), log_thickness - np.log(0.16), reach - 0.10
    return np.stack([np.ones_like(k), k, t, w, k * k, t * t, w * w, k * t, k * w, t * w], axis=-1)


def _knobs(number: float, thickness: float, fraction: float) -> Knobs:
    """The knobs whose network measures nearest to these indices."""
    wanted = np.log([number, thickness, fraction])
    low, high = (np.array([np.log(k.frequency), np.log(k.thickness_mm), k.reach_mm]) for k in (LOWEST, HIGHEST))

    def miss(knobs: Array) -> Array:
        return np.asarray((NETWORK @ features(*knobs) - wanted) / _PRECISION)

    k, t, w = optimize.least_squares(miss, (low + high) / 2, bounds=(low, high)).x
    return Knobs(float(np.exp(k)), float(np.exp(t)), float(w))
