"""Two ways of measuring the same thing, side by side (Bland & Altman)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def limits_of_agreement(ours: ArrayLike, theirs: ArrayLike) -> dict[str, float]:
    """Bias and limits of agreement of two ways of measuring the same women or bones.

    Parameters
    ----------
    ours, theirs : (n,) float
        The measurements in pairs, in the same unit; pairs with a missing value are left out.

    Returns
    -------
    dict
        n; bias, the mean of ours − theirs, with its 95 % interval (bias_low, bias_high); sd of the differences; the 95 %
        limits of agreement (lower, upper) with their intervals (lower_low, lower_high, upper_low, upper_high); r
        (Pearson). NaN if there are fewer than 3 pairs.

    References
    ----------
    Bland JM, Altman DG (1999), Stat Methods Med Res 8:135. Carkeet A (2015), Optom Vis Sci 92:e71, for the exact
    intervals of the limits.

    Examples
    --------
    >>> import deepqct as dq
    >>> agreement = dq.evaluation.limits_of_agreement(ours=[10, 12, 14, 16], theirs=[9, 12, 13, 15])
    >>> {name: round(agreement[name], 2) for name in ("n", "bias", "lower", "upper", "r")}
    {'n': 4, 'bias': 0.75, 'lower': -0.23, 'upper': 1.73, 'r': 0.98}
    """
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b = a[kept], b[kept]
    n = len(a)
    names = (
        "bias",
        "bias_low",
        "bias_high",
        "sd",
        "lower",
        "upper",
        "lower_low",
        "lower_high",
        "upper_low",
        "upper_high",
    )
    if n < 3:
        return {"n": n} | dict.fromkeys((*names, "r"), np.nan)
    difference = a - b
    bias, sd = difference.mean(), difference.std(ddof=1)
    half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    # The limit is a quantile of a normal distribution: exact by the noncentral t.
    inner, outer = stats.nct.ppf([0.025, 0.975], n - 1, 1.959964 * np.sqrt(n)) * sd / np.sqrt(n)
    reach = 1.959964 * sd
    values = (
        bias, bias - half, bias + half, sd, bias - reach, bias + reach,
        bias - outer, bias - inner, bias + inner, bias + outer,
    )  # fmt: skip
    varied = a.std() > 0 and b.std() > 0
    r = float(np.corrcoef(a, b)[0, 1]) if varied else np.nan
    return {"n": n} | dict(zip(names, map(float, values), strict=True)) | {"r": r}
