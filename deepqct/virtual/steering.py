"""From what a woman is to measure to what is drawn: blur, noise and thresholds change every index on the way.

The maps were fitted to bones that were drawn, scanned and measured at 61 µm with deepqct's own indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepqct.virtual.network import Knobs


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
    number, thickness, q = (woman[f"{bone} {name}"] for name in ("Tb.N", "Tb.Th", "q"))
    hidden = woman[f"{bone} hidden"]
    knobs = Knobs(0.53 * number, float(np.clip(thickness - 0.065, 0.11, 0.3)), 0.2 + 1.0 * (q - 0.65))
    return Aim(
        knobs=knobs,
        shell_mm=woman[f"{bone} Ct.Th"],
        cortical_tissue=woman[f"{bone} Ct.vBMD"] + 120.0,
        porosity=woman[f"{bone} Ct.Po"],
        patchiness=float(np.clip(0.30 + 0.25 * hidden, 0.0, 1.0)),
        clustering=float(np.clip(0.5 + 0.3 * hidden, 0.0, 1.0)),
    )
