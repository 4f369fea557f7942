"""Scanner or centre that goes with the outcome: how far, and what a model that reads nothing else would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation.discrimination import FEWEST, Estimate, auc

CONFOUNDED_V = 0.2  # Cramér's V from which scanner and outcome are said to go together; our choice
CONFOUNDED_P = 0.05  # and below which chance must reach that V
_NOTHING = 1e-12  # what is left of nothing by rounding


@dataclass(frozen=True)
class ByChance:
    """What chance gives where a grouping has nothing to do with an outcome; NaN where it is not estimable.

    Parameters
    ----------
    p : float
        How often chance makes outcome and grouping go together at least as closely as they do.
    auc : float
        The AUC that a model that reads nothing but the group has by chance, on average: with many small groups well above
        0.5.
    n, events : int
        Patients whose group is known, and those with the outcome.

    Examples
    --------
    >>> import deepqct as dq
    >>> centre = list("abcdefghijkl") * 5
    >>> chance = dq.evaluation.by_chance([1, 0, 0] * 10 + [0, 1, 1] * 10, centre)
    >>> round(chance.auc, 2), chance.n, chance.events
    (0.73, 60, 30)
    """

    p: float
    auc: float
    n: int
    events: int


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
        From 0 (nothing in common) to 1 (the group tells the outcome); NaN with one outcome or one group, and where each
        patient is a group of her own, of which nothing can be told.

    Notes
    -----
    Small groups reach a V by chance that would be high in large ones; `by_chance` says how often.

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
    return min(1.0, float(np.sqrt(less / most))) if most > _NOTHING else float("nan")


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
        Each patient's score is the share of events in her group, so that by chance alone it lies above 0.5, with many small
        groups far above (`by_chance` says how far). NaN with fewer than 5 events or non-events.

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


def by_chance(y: ArrayLike, group: ArrayLike, *, draws: int = 1000, seed: int = 0) -> ByChance:
    """What `cramers_v` and `outcome_by_group` would give if the outcome were dealt out among the patients anew.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    group : (n,) of text or numbers
        The group of each patient; who has none is left out.
    draws : int
        How often the outcome is dealt out.
    seed : int
        Of the draws.

    Returns
    -------
    ByChance
        NaN with one outcome or one group.

    Examples
    --------
    >>> import deepqct as dq
    >>> scanner = ["old"] * 50 + ["new"] * 50
    >>> chance = dq.evaluation.by_chance([1] * 30 + [0] * 20 + [1] * 10 + [0] * 40, scanner)
    >>> chance.p < 0.05, round(chance.auc, 2)
    (True, 0.54)
    """
    label, groups = _known(y, group)
    n, events = len(label), int(label.sum())
    _, of = np.unique(groups, return_inverse=True)
    size = np.bincount(of)
    if len(size) < 2 or events in (0, n):
        return ByChance(float("nan"), float("nan"), n, events)
    rng = np.random.default_rng(seed)
    dealt = rng.multivariate_hypergeometric(size, events, size=draws)  # events of each group, as permutations give them
    # With these sizes, V rises with this sum alone.
    together = ((dealt - size * events / n) ** 2 / size).sum(axis=1)
    here = ((np.bincount(of, label) - size * events / n) ** 2 / size).sum()
    p = (1 + int((together >= here * (1 - _NOTHING)).sum())) / (1 + draws)
    if min(events, n - events) < FEWEST:
        return ByChance(p, float("nan"), n, events)
    # Groups by their shares of events; of two with one share, either order gives the half that ties count.
    order = np.argsort(dealt / size, axis=1)
    with_it = np.take_along_axis(dealt, order, axis=1)
    without = size[order] - with_it
    below = without.cumsum(axis=1) - without / 2
    return ByChance(p, float((with_it * below).sum(axis=1).mean() / (events * (n - events))), n, events)


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
