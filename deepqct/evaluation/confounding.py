"""Scanner or centre that goes with the outcome: how far, and what a model that reads nothing else would reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation.discrimination import FEWEST, Estimate, auc

CONFOUNDED_V = 0.2  # Cramér's V from which scanner and outcome are said to go together; our choice


def cramers_v(y: ArrayLike, group: ArrayLike) -> float:
    """How closely an outcome and a grouping go together: Cramér's V, corrected for what chance would give.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    group : (n,) of text or numbers
        The group of each patient, such as her scanner; who has none is left out.

    Returns
    -------
    float
        From 0 (nothing in common) to 1 (the group tells the outcome); NaN with one outcome or one group.

    References
    ----------
    Bergsma W (2013), J Korean Stat Soc 42:323, for the correction.

    Examples
    --------
    >>> import deepqct as dq
    >>> scanner = ["old"] * 50 + ["new"] * 50
    >>> round(dq.evaluation.cramers_v([1] * 30 + [0] * 20 + [1] * 10 + [0] * 40, scanner), 2)
    0.4
    >>> dq.evaluation.cramers_v([1, 0] * 50, scanner)
    0.0
    """
    counts = _counts(y, group)
    if min(counts.shape) < 2:
        return float("nan")
    n = counts.sum()
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / n
    phi = float(((counts - expected) ** 2 / expected).sum() / n)
    rows, columns = counts.shape
    less = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    most = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns)) - 1
    return float(min(1.0, np.sqrt(less / most)))


def outcome_by_group(y: ArrayLike, group: ArrayLike) -> Estimate:
    """AUC of a model that reads nothing but the group: what scanner or centre alone tells about the outcome.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    group : (n,) of text or numbers
        The group of each patient; who has none is left out.

    Returns
    -------
    Estimate
        Each patient's score is the share of events in her group, so that by chance alone it lies a little above 0.5. NaN
        with fewer than 5 events or non-events.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.outcome_by_group([1] * 30 + [0] * 20 + [1] * 10 + [0] * 40, ["old"] * 50 + ["new"] * 50))
    0.71 (95 % 0.61–0.79; n 100, 40 events)
    """
    label, groups = _known(y, group)
    frame = pd.DataFrame({"y": label, "group": groups})
    events, size = (frame.groupby("group")["y"].transform(what).to_numpy() for what in ("sum", "size"))
    n, all_events = len(frame), float(label.sum())
    if min(all_events, n - all_events) < FEWEST:
        return Estimate.unknown(n=n, events=int(all_events))
    return auc(label, events / size)


def _counts(y: ArrayLike, group: ArrayLike) -> NDArray[np.floating]:
    """How many patients there are of each group and outcome."""
    label, groups = _known(y, group)
    return pd.crosstab(groups, label).to_numpy(float)


def _known(y: ArrayLike, group: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.generic]]:
    """Outcome and group of the patients whose group is known."""
    label, groups = np.asarray(y, float), pd.Series(np.asarray(group, dtype=object))
    if len(label) != len(groups) or not np.isin(label, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every group; leave out patients whose outcome is not known.")
    there = groups.notna().to_numpy()
    return label[there], groups[there].astype(str).to_numpy()
