"""What the virtual women are drawn from: means, spreads, age slopes and correlations, each with its source.

Women of about 70 years, XtremeCT II, one stack of 10.2 mm. Nothing is published for ulna and fibula: all of their
numbers are assumptions of ours, and so is every number marked "ours".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepqct.terms import BONES

# What is drawn for each bone; everything else follows. ``q`` is BV/TV over the product of Tb.Th and Tb.N: 0.60 to 0.72
# in all published means, low for rods, high for plates.
DRAWN = ("Tt.Ar", "Ct.Th", "Ct.vBMD", "Ct.Po", "Tb.N", "Tb.Th", "q")
LOGNORMAL = ("Ct.Po",)  # right-skewed in Neeteson 2023

# Mean and SD at 70 years. Radius and tibia: between Poncioni (doi:10.5281/zenodo.16882057, women, several stacks) and
# Neeteson 2023 (doi:10.1038/s41598-022-27350-0, women and men, one stack), moved towards Chinese women as Walker 2011
# (doi:10.1002/jbmr.352) found them: smaller radii, thicker cortices, fewer and thicker trabeculae; how far is ours.
STRUCTURE: dict[str, dict[str, tuple[float, float]]] = {
    "radius": {
        "Tt.Ar": (235, 38), "Ct.Th": (0.95, 0.18), "Ct.vBMD": (850, 60), "Ct.Po": (0.009, 0.006),
        "Tb.N": (1.25, 0.22), "Tb.Th": (0.220, 0.015), "q": (0.65, 0.04),
    },
    "ulna": {
        "Tt.Ar": (75, 15), "Ct.Th": (0.85, 0.17), "Ct.vBMD": (830, 60), "Ct.Po": (0.010, 0.007),
        "Tb.N": (1.20, 0.22), "Tb.Th": (0.220, 0.018), "q": (0.66, 0.04),
    },
    "tibia": {
        "Tt.Ar": (620, 95), "Ct.Th": (1.15, 0.24), "Ct.vBMD": (765, 70), "Ct.Po": (0.040, 0.019),
        "Tb.N": (1.20, 0.20), "Tb.Th": (0.255, 0.020), "q": (0.69, 0.04),
    },
    "fibula": {
        "Tt.Ar": (120, 25), "Ct.Th": (1.15, 0.25), "Ct.vBMD": (830, 70), "Ct.Po": (0.020, 0.012),
        "Tb.N": (1.00, 0.20), "Tb.Th": (0.240, 0.022), "q": (0.66, 0.04),
    },
}  # fmt: skip
# Drawn values stay within what Neeteson 2023 shows of radius and tibia (figure S1), and for all bones within what the
# drawing can make. The other indices stay within WIDEST_SD standard deviations; ours.
LIMITS = {"Ct.Th": (0.45, 2.7), "Ct.Po": (0.001, 0.10), "Tb.N": (0.55, 2.0), "Tb.Th": (0.185, 0.33), "q": (0.55, 0.78)}
WIDEST_SD = 2.8

# The young mean, and the change a year in % of it, women: Poncioni, table of descriptive statistics (median change per
# annum). Indices that are not listed do not change with age. The ulna changes as the radius, the fibula as the tibia;
# ours.
_CHANGE = {
    "radius": {"Ct.Th": (1.057, -0.79), "Ct.vBMD": (926, -0.41), "Ct.Po": (0.003, 3.0), "Tb.N": (1.456, -0.53)},
    "tibia": {"Ct.Th": (1.096, -0.87), "Ct.vBMD": (865, -0.66), "Ct.Po": (0.015, 1.1), "Tb.N": (1.590, 0.20)},
}
_LIKE = {"ulna": "radius", "fibula": "tibia"}

AGE = (70.0, 7.0)  # ours
YOUNGEST, OLDEST = 55.0, 90.0

# Correlations within a bone. Tb.N with Tb.Th, Ct.vBMD with Ct.Th, Ct.Po and Tt.Ar: mean of radius and tibia in Poncioni
# (his are over women and men of 20 to 92 years). Ct.Th with trabeculae: so that Tb.vBMD with Ct.Th comes near his 0.51.
# The others: ours.
_WITHIN = {
    ("Tb.N", "Tb.Th"): 0.35, ("Ct.vBMD", "Ct.Th"): 0.55, ("Ct.vBMD", "Ct.Po"): -0.39, ("Ct.vBMD", "Tt.Ar"): -0.46,
    ("Ct.Th", "Tb.N"): 0.38, ("Ct.Th", "Tb.Th"): 0.38, ("Ct.Th", "Tt.Ar"): -0.15, ("Ct.Th", "q"): 0.10,
    ("Ct.vBMD", "Tb.N"): 0.15, ("Ct.vBMD", "Tb.Th"): 0.15, ("Tb.N", "q"): 0.15, ("Tb.Th", "q"): 0.15,
    ("Ct.Po", "Ct.Th"): 0.10,
}  # fmt: skip
# Women of one age differ less than everybody of 20 to 92 years: correlations are taken a tenth smaller; ours.
_NARROWER = 0.9
# Between bones, of the same index; of different ones times their correlation within. 0.65 to 0.80 in adults from memory
# of the field, no readable source: ours.
_BETWEEN = {
    ("radius", "ulna"): 0.80, ("tibia", "fibula"): 0.75, ("radius", "tibia"): 0.70, ("ulna", "fibula"): 0.65,
    ("radius", "fibula"): 0.62, ("ulna", "tibia"): 0.62,
}  # fmt: skip

# DXA, mean and SD at 70 years (our interpolation) and at the young peak: Zhang 2007, doi:10.1016/j.jocd.2007.05.004.
DXA = {
    "lumbar_spine": (0.88, 0.15, 1.116, 0.12),
    "femoral_neck": (0.72, 0.11, 0.927, 0.12),
    "total_hip": (0.77, 0.12, 0.963, 0.13),
}
# With the first of bone quality (see population.py); femoral neck and Tt.vBMD of the tibia 0.71 in Poncioni; the spine
# less: ours. Loss a year in % of the peak: a third from peak to 85 years in Zhang 2007.
DXA_LOADING = {"lumbar_spine": 0.50, "femoral_neck": 0.65, "total_hip": 0.65}
# In the scenario deepqct-like: less, so that bone density carries less than indices do, as in the preprint (Chen 2024: best
# AUC 0.54 to 0.78 beside 0.80 to 0.93); ours.
DXA_LOADING_LOW = {"lumbar_spine": 0.25, "femoral_neck": 0.40, "total_hip": 0.40}
DXA_LOSS = -0.6


def columns() -> list[str]:
    """Return the names of all indices that are drawn, such as ``radius Ct.Th``, bone by bone.

    Returns
    -------
    list of str
        28 names: seven indices of radius, ulna, tibia and fibula.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.virtual.targets.columns()[:4]
    ['radius Tt.Ar', 'radius Ct.Th', 'radius Ct.vBMD', 'radius Ct.Po']
    """
    return [f"{bone} {index}" for bone in BONES for index in DRAWN]


def means() -> NDArray[np.float64]:
    """Return the mean of each drawn index at 70 years.

    Returns
    -------
    (28,)
        In the order of `columns`: mm, mm², mgHA/cm³, 1/mm or fractions; also of the log-normal index the plain mean.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.virtual.targets.means()[:4].tolist()
    [235.0, 0.95, 850.0, 0.009]
    """
    return np.array([STRUCTURE[bone][index][0] for bone in BONES for index in DRAWN])


def spreads() -> NDArray[np.float64]:
    """Return the standard deviation of each drawn index over women of all ages.

    Returns
    -------
    (28,)
        In the order of `columns`: mm, mm², mgHA/cm³, 1/mm or fractions.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.virtual.targets.spreads()[:4].tolist()
    [38.0, 0.18, 60.0, 0.006]
    """
    return np.array([STRUCTURE[bone][index][1] for bone in BONES for index in DRAWN])


def slopes() -> NDArray[np.float64]:
    """Return the change of each drawn index with one year of age.

    Returns
    -------
    (28,)
        In the order of `columns`: mm, mm², mgHA/cm³, 1/mm or fractions a year.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.virtual.targets.slopes()[:3].round(3).tolist()
    [0.0, -0.008, -3.797]
    """
    changes = []
    for bone in BONES:
        change = _CHANGE[_LIKE.get(bone, bone)]
        for index in DRAWN:
            young, percent = change.get(index, (0.0, 0.0))
            scale = STRUCTURE[bone][index][0] / STRUCTURE[_LIKE.get(bone, bone)][index][0]
            changes.append(young * percent / 100 * scale)
    return np.array(changes)


def correlations() -> NDArray[np.float64]:
    """Return the correlations among all drawn indices, between women of the same age.

    Returns
    -------
    (28, 28)
        In the order of `columns`; the log-normal index enters as its logarithm.

    Examples
    --------
    >>> import deepqct as dq
    >>> radius, ulna = (dq.virtual.targets.columns().index(f"{bone} Tb.N") for bone in ("radius", "ulna"))
    >>> round(float(dq.virtual.targets.correlations()[radius, ulna]), 2)
    0.8
    """
    within = np.eye(len(DRAWN))
    for (one, other), r in _WITHIN.items():
        i, j = DRAWN.index(one), DRAWN.index(other)
        within[i, j] = within[j, i] = _NARROWER * r
    between = np.eye(len(BONES))
    for (one, other), r in _BETWEEN.items():
        i, j = BONES.index(one), BONES.index(other)
        between[i, j] = between[j, i] = r
    return np.asarray(np.kron(between, within), np.float64)
