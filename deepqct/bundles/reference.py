"""The training women as summary statistics: what is usual at an age, how far out is too far. No woman's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.covariance import LedoitWolf

from deepqct.groups.space import varying_columns
from deepqct.terms import SITES

LEVELS = (5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0)  # percentiles that are kept; finer ones would be single women
FAR_SD = 3.5  # SDs of the log distance above its mean from which a woman counts as outside; our choice
SIZE_SD = 3.5  # SDs of the logarithm of a cross-section from which a bone is of another size, or site; our choice
FOLDS = 5
AXES = 8  # directions of a network's features that are kept one by one; our choice
_FEWEST_FOR_A_LINE = 10


@dataclass(frozen=True)
class Usual:
    """One index in the training women, by age.

    Parameters
    ----------
    n : int
        Women who have it.
    mean, sd : float
        Of all of them, whatever their age.
    at_zero, per_year : float
        The straight line of its mean over age; its slope is 0 where ages are not known.
    spread : float
        The SD around that line.
    quantiles : tuple of float
        At `LEVELS`, of the distance from that line in units of `spread`.
    """

    n: int
    mean: float
    sd: float
    at_zero: float
    per_year: float
    spread: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """What is usual in the training women.

    Parameters
    ----------
    n, events : int
        Women, and those with the outcome among them.
    age_low, age_high : float
        Their ages, from the 1st to the 99th percentile, rounded outwards to five years; NaN where ages are not known.
    indices : dict of str to Usual
        By column, such as ``radius Tt.vBMD``.
    """

    n: int
    events: int
    age_low: float
    age_high: float
    indices: dict[str, Usual]

    def compare(self, indices: pd.Series, *, age: float) -> pd.DataFrame:
        """A new woman's indices beside those of training women of her age.

        Parameters
        ----------
        indices : Series
            Her indices, by column.
        age : float
            In years; NaN compares her with women of all ages.

        Returns
        -------
        DataFrame
            index, value, z (SDs from the mean at her age), percentile (5 for lower, 95 for higher; a straight line
            between those that are kept).
        """
        rows = []
        for column, usual in self.indices.items():
            value = float(indices.get(column, np.nan))
            if not np.isfinite(value) or not usual.spread > 0:
                continue
            by_age = np.isfinite(age)
            expected = usual.at_zero + usual.per_year * age if by_age else usual.mean
            z = (value - expected) / (usual.spread if by_age else usual.sd)
            rows.append({"index": column, "value": value, "z": z, "percentile": np.interp(z, usual.quantiles, LEVELS)})
        return pd.DataFrame(rows, columns=["index", "value", "z", "percentile"])


@dataclass(frozen=True)
class Cloud:
    """Where training women lie in some columns, by mean and covariance, and how far out is too far.

    Parameters
    ----------
    columns : tuple of str
        The columns.
    means, scales : tuple of float
        By which each is standardised.
    precision : tuple of tuple of float
        The inverse of their correlations, shrunk (Ledoit & Wolf 2004).
    limit : float
        The distance from which a woman counts as outside.
    """

    columns: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float

    def distance(self, values: pd.DataFrame) -> NDArray[np.floating]:
        """The Mahalanobis distance of each woman from the training women's mean.

        Parameters
        ----------
        values : (women, columns) DataFrame
            A missing value counts as the mean; a woman without any has NaN.

        Returns
        -------
        (women,) float
        """
        table = values.reindex(columns=list(self.columns)).astype(float)
        z = np.nan_to_num((table.to_numpy() - np.array(self.means)) / np.array(self.scales))
        apart = np.sqrt(np.einsum("ij,jk,ik->i", z, np.array(self.precision), z))
        return np.where(table.notna().any(axis=1), apart, np.nan)


def reference_of(indices: pd.DataFrame, *, age: pd.Series, events: int) -> Reference:
    """Summarise the indices of the training women by age.

    Parameters
    ----------
    indices : (women, columns) DataFrame
        One column a bone and index.
    age : Series
        In years, by participant_id; NaN where it is not known.
    events : int
        How many of the women have the outcome.
    """
    known = age.reindex(indices.index).astype(float)
    ends = known.quantile([0.01, 0.99])
    low, high = (
        (float("nan"), float("nan")) if known.isna().all() else (ends.iloc[0] // 5 * 5, -(-ends.iloc[1] // 5) * 5)
    )
    each = {str(column): _usual(indices[column].astype(float), known) for column in indices}
    usable = {column: usual for column, usual in each.items() if usual is not None}
    return Reference(len(indices), int(events), float(low), float(high), usable)


def _usual(values: pd.Series, age: pd.Series) -> Usual | None:
    """One index in the training women; None if too few have it."""
    there = values.dropna()
    if len(there) < 3:
        return None
    with_age = age[there.index].dropna()
    line = (float(there.mean()), 0.0)
    if len(with_age) >= _FEWEST_FOR_A_LINE and with_age.nunique() > 2:
        fitted = stats.linregress(with_age, there[with_age.index])
        line = (float(fitted.intercept), float(fitted.slope))
    years = age[there.index].fillna(age.mean()) if line[1] else pd.Series(0.0, there.index)
    rest = there - line[0] - line[1] * years
    spread = float(rest.std())
    quantiles = np.percentile(rest / spread, LEVELS) if spread > 0 else np.zeros(len(LEVELS))
    sizes = (float(there.mean()), float(there.std()))
    return Usual(len(there), *sizes, *line, spread, tuple(float(q) for q in quantiles))


def sizes_of(indices: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The cross-sections of radius and tibia that training women have, by which another site is noticed.

    Parameters
    ----------
    indices : (women, columns) DataFrame
        One column a bone and index.

    Returns
    -------
    dict of str to (float, float)
        For each such bone that is there, the smallest and the largest cross-section in mm² that still counts as theirs.
    """
    found: dict[str, tuple[float, float]] = {}
    for bones in SITES.values():
        column = f"{bones[0]} Tt.Ar"
        logs = np.log(indices[column].dropna().astype(float)) if column in indices else pd.Series(dtype=float)
        if len(logs) > 2:
            reach = SIZE_SD * float(logs.std())
            found[bones[0]] = (float(np.exp(logs.mean() - reach)), float(np.exp(logs.mean() + reach)))
    return found


def cloud_of(values: pd.DataFrame, *, seed: int = 0) -> Cloud | None:
    """Where the training women lie in some columns; the limit is from women left out of their own cloud.

    Parameters
    ----------
    values : (women, columns) DataFrame
        Of the training women.
    seed : int
        Of the five folds in which they are left out.

    Returns
    -------
    Cloud or None
        None if too few women or columns vary.
    """
    columns, table = varying_columns(values), values.astype(float).dropna(how="all")
    if len(table) < 2 * FOLDS or not columns:
        return None
    whole = _fitted(table[columns], limit=0.0)
    fold = np.random.default_rng(seed).permutation(len(table)) % FOLDS
    out = [_fitted(table.loc[fold != k, columns], limit=0.0).distance(table[fold == k]) for k in range(FOLDS)]
    limit = far_limit(np.concatenate(out))
    return Cloud(whole.columns, whole.means, whole.scales, whole.precision, limit)


def far_limit(distances: ArrayLike) -> float:
    """The distance from which a woman counts as outside of the training women's range.

    Parameters
    ----------
    distances : (women,) float
        Distances of training women from clouds that were made without them.

    Returns
    -------
    float
        `FAR_SD` SDs of the logarithm above its mean, which one of about 4,000 women exceeds if it is normal; a quantile of
        so few women would be a single one of them.
    """
    logs = np.log(np.maximum(np.asarray(distances, float), 1e-9))
    logs = logs[np.isfinite(logs)]
    return float(np.exp(logs.mean() + FAR_SD * logs.std())) if len(logs) else float("nan")


def _fitted(table: pd.DataFrame, *, limit: float) -> Cloud:
    """A cloud of some women."""
    means, scales = table.mean(), table.std().replace(0.0, 1.0).fillna(1.0)
    z = ((table - means) / scales).fillna(0.0).to_numpy()
    precision = LedoitWolf(assume_centered=True).fit(z).precision_
    return Cloud(
        tuple(map(str, table.columns)), tuple(map(float, means.fillna(0.0))), tuple(map(float, scales)),
        tuple(tuple(map(float, row)) for row in precision), limit,
    )  # fmt: skip


def axes_of(features: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
    """Where women lie in a network's many features: a few directions one by one, the rest together.

    Parameters
    ----------
    features : (women, features) float
        Of women whom the network learned from.

    Returns
    -------
    dict
        ``mean`` (features,), ``axes`` (directions, features), ``variances`` (directions,), ``rest`` (1,): the variance of
        each of the other directions.
    """
    mean = features.mean(axis=0)
    _, sizes, axes = np.linalg.svd(features - mean, full_matrices=False)
    variances = sizes**2 / max(len(features) - 1, 1)
    kept = max(1, min(AXES, len(features) // 5))
    others = max(variances[kept:].sum() / max(features.shape[1] - kept, 1), variances[0] * 1e-6, 1e-12)
    parts: dict[str, Any] = {
        "mean": mean,
        "axes": axes[:kept],
        "variances": np.maximum(variances[:kept], others),
        "rest": np.array([others]),
    }
    return {name: part.astype(np.float32) for name, part in parts.items()}


def axes_distance(features: NDArray[np.floating], parts: dict[str, NDArray[np.float32]]) -> NDArray[np.floating]:
    """The Mahalanobis distance of women from those whom `axes_of` describes.

    Parameters
    ----------
    features : (women, features) float
        As in `axes_of`.
    parts : dict
        From `axes_of`.

    Returns
    -------
    (women,) float
    """
    apart = np.asarray(features, float) - parts["mean"]
    along = apart @ parts["axes"].T.astype(float)
    rest = np.maximum((apart**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
    return np.asarray(np.sqrt((along**2 / parts["variances"]).sum(axis=1) + rest / parts["rest"][0]))
