"""Where women are grouped: how indices become principal components, and how far women lie from their groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COMPONENTS = 3  # our choice: with 3, planted groups were found at least as often as with 2, 4 or 6
STRANGE = 0.01  # share of the grouped women who lie as far out as "like none of them"; our choice
_SAME = 0.999  # correlation from which a column repeats an earlier one


@dataclass(frozen=True, eq=False)
class Space:
    """The space in which women are grouped: it turns indices into principal components.

    Parameters
    ----------
    columns : tuple of str
        The indices that it is made of: they vary, and none repeats another.
    pipeline : sklearn Pipeline
        Standardises the indices, makes them symmetric (Yeo and Johnson 2000), and fills a missing value from the ten
        nearest women.
    components : sklearn PCA
        Principal components of what `pipeline` returns.
    covariates : sklearn Pipeline or None
        Predicts each index from covariates such as age and height, if what they explain is taken out first.
    adjusted_for : tuple of str
        Names of these covariates.
    """

    columns: tuple[str, ...]
    pipeline: Any
    components: Any
    covariates: Any = None
    adjusted_for: tuple[str, ...] = ()

    def standardise(self, features: pd.DataFrame, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Transform indices as the space was fitted: symmetric and complete, with mean 0 and SD 1 in the fitted women.

        Parameters
        ----------
        features : DataFrame
            One row a woman, with all of `columns`; missing values are allowed.
        covariates : DataFrame, optional
            One row a woman, with all of `adjusted_for`; needed if there are any.

        Returns
        -------
        DataFrame
            One row a woman, one column for each of `columns`.

        Raises
        ------
        ValueError
            If a column that the groups were found on, or a covariate, is not there.
        """
        absent = [column for column in self.columns if column not in features]
        if absent:
            raise ValueError(
                f"The new features lack {absent[0]!r}, which the groups were found on; add it, empty if unknown."
            )
        table = features[list(self.columns)].astype(float)
        if self.covariates is not None:
            table = table - _explained(self.covariates, covariates, names=self.adjusted_for, table=table)
        z = self.pipeline.transform(table.to_numpy())
        return pd.DataFrame(z, columns=list(self.columns), index=features.index)

    def scores(self, z: pd.DataFrame) -> NDArray[np.float64]:
        """Principal components of standardised indices, divided by one number so that the first has variance 1.

        Parameters
        ----------
        z : DataFrame
            Standardised indices, as `standardise` returns them.

        Returns
        -------
        (n, d) float
            One row a woman, one column a component.
        """
        scores = self.components.transform(z.to_numpy())
        return scores / np.sqrt(self.components.explained_variance_[0])


def named(features: pd.DataFrame, names: str = "all") -> pd.DataFrame:
    """Choose columns of indices by bone, by symbol or by their whole name.

    Parameters
    ----------
    features : DataFrame
        One row a patient, with columns such as ``radius Tt.vBMD``.
    names : str
        ``all``, or bones, symbols or whole columns, separated by commas: ``radius, tibia``, ``Tt.vBMD, Tb.N``.

    Returns
    -------
    DataFrame
        The columns that fit any of the names, in the order of the table.

    Raises
    ------
    ValueError
        If a name fits no column.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame(columns=["radius Tt.vBMD", "radius Tb.N", "tibia Tt.vBMD"])
    >>> list(dq.groups.named(features, "Tt.vBMD"))
    ['radius Tt.vBMD', 'tibia Tt.vBMD']
    """
    if names.strip() == "all":
        return features
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    kept: list[Any] = []
    for name in wanted:
        fits = [column for column in features if name in (column, *str(column).split(" "))]
        if not fits:
            raise ValueError(
                f"cluster_on names {name!r}, neither a bone nor an index here; use all, or some of indices.csv."
            )
        kept += fits
    return features[[column for column in features if column in set(kept)]]


def covariates_of(people: pd.DataFrame, names: str = "none", *, outcome: str = "") -> pd.DataFrame | None:
    """Choose the columns of the participants that indices are adjusted for.

    Parameters
    ----------
    people : DataFrame
        participants.csv, indexed by participant_id.
    names : str
        ``none``, or columns of numbers separated by commas, such as ``age, height_cm``.
    outcome : str
        The outcome of the run, as its parameter names it; groups that were adjusted for it would know it.

    Returns
    -------
    DataFrame or None
        The columns as numbers, one row a participant; None for ``none``.

    Raises
    ------
    ValueError
        If a column is absent, is not of numbers, holds none, or is the outcome.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> people = pd.DataFrame({"age": [61, 72], "centre": ["Basel", "Bern"]}, index=["P01", "P02"])
    >>> dq.groups.covariates_of(people, "age").to_dict()
    {'age': {'P01': 61.0, 'P02': 72.0}}
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip() not in ("", "none")))
    for name in wanted:
        if name in [column.strip() for column in outcome.split(",")]:
            raise ValueError(f"adjust_for names {name!r}, the outcome: the groups would know it; leave it out.")
        if name in people and people[name].isna().all():
            raise ValueError(f"adjust_for names {name!r}, which no participant has a value of; leave it out.")
        if name not in people or not pd.api.types.is_numeric_dtype(people[name]):
            raise ValueError(f"adjust_for names {name!r}, which is no column of numbers of the participants.")
    return people[wanted].astype(float) if wanted else None


def varying_columns(features: pd.DataFrame) -> list[str]:
    """Names of the columns that vary, have at least half of their values, and do not repeat an earlier column.

    Parameters
    ----------
    features : DataFrame
        One row a woman, one column an index.

    Returns
    -------
    list of str
        In the order of the table; a correlation of 0.999 or more with an earlier column counts as repeating it.
    """
    table = features.astype(float)
    # The SD of a constant column is not always 0 in floating point.
    kept = table.loc[:, (table.std() > 1e-9 * table.abs().max()) & (table.notna().mean() >= 0.5)]
    alike = np.triu(kept.corr().abs().to_numpy() >= _SAME, k=1)
    return [column for number, column in enumerate(kept.columns) if not alike[:, number].any()]


def fit_space(features: pd.DataFrame, columns: list[str], *, components: int, covariates: pd.DataFrame | None) -> Space:
    """Fit the space of some indices on these women.

    Parameters
    ----------
    features : DataFrame
        One row a woman, one column an index; missing values are allowed.
    columns : list of str
        The indices to use, such as `varying_columns` names them.
    components : int
        Number of principal components; at most one for each index and one for every five women are kept.
    covariates : DataFrame or None
        Columns of numbers, indexed like `features`; what they explain linearly is taken out of each index first.

    Returns
    -------
    Space
    """
    from sklearn.decomposition import PCA
    from sklearn.impute import KNNImputer, SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, StandardScaler

    table = features[columns].astype(float)
    explained: Any = None
    names: tuple[str, ...] = ()
    if covariates is not None:
        known = covariates.reindex(table.index).astype(float)
        names = tuple(known.columns)
        # An unknown covariate counts as average, a new woman's too.
        explained = make_pipeline(SimpleImputer(), LinearRegression()).fit(known, table.fillna(table.mean()))
        table = table - _explained(explained, known, names=names, table=table)
    pipeline = make_pipeline(StandardScaler(), PowerTransformer(), KNNImputer(n_neighbors=10))
    z = pipeline.fit_transform(table.to_numpy())
    rank = max(1, min(components, len(columns), len(table) // 5))
    axes = PCA(rank, svd_solver="full").fit(z)
    return Space(tuple(columns), pipeline, axes, explained, names)


def _explained(
    model: Any, covariates: pd.DataFrame | None, *, names: tuple[str, ...], table: pd.DataFrame
) -> pd.DataFrame:
    """What the covariates explain of each index of a table, in the units of the index."""
    if covariates is None or any(name not in covariates for name in names):
        raise ValueError(f"The groups were found on indices adjusted for {', '.join(names)}; give these as covariates.")
    known = covariates.reindex(table.index)[list(names)].astype(float)
    return pd.DataFrame(model.predict(known), index=table.index, columns=table.columns)


def by_density(z: pd.DataFrame, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the groups, the highest mean Tt.vBMD first; without Tt.vBMD by the mean of all indices.

    Parameters
    ----------
    z : DataFrame
        Standardised indices, one row a woman.
    labels : (n,) int
        The group of each woman.

    Returns
    -------
    (groups,) int
    """
    density = [column for column in z if str(column).endswith("Tt.vBMD")] or list(z.columns)
    return z[density].mean(axis=1).groupby(labels).mean().sort_values(ascending=False).index.to_numpy()


def shape_of(z: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[Any, Any]:
    """Means of the groups, and the shrunken precision matrix within them.

    Parameters
    ----------
    z : (n, columns) float
        Standardised indices.
    labels : (n,) int
        The group of each woman, 0 to groups − 1.

    Returns
    -------
    (groups, columns) float
        The means.
    (columns, columns) float
        The precision matrix, of a covariance by Ledoit and Wolf that all groups share.
    """
    from sklearn.covariance import LedoitWolf

    means = np.array([z[labels == group].mean(axis=0) for group in range(labels.max() + 1)])
    return means, LedoitWolf(assume_centered=True).fit(z - means[labels]).precision_


def distances(z: NDArray[np.float64], labels: NDArray[np.int64], shape: tuple[Any, Any]) -> NDArray[np.float64]:
    """Mahalanobis distance of each woman to the mean of her group.

    Parameters
    ----------
    z : (n, columns) float
        Standardised indices.
    labels : (n,) int
        The group of each woman, 0 to groups − 1.
    shape : tuple
        Means and precision matrix, as `shape_of` returns them.

    Returns
    -------
    (n,) float
    """
    apart = z - shape[0][labels]
    return np.sqrt(np.einsum("ij,jk,ik->i", apart, shape[1], apart, optimize=True))


def far_out(z: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int) -> float:
    """The distance to their group that one in a hundred women exceeds.

    The women are put into five folds, and each is measured from groups that were computed without her fold.

    Parameters
    ----------
    z : (n, columns) float
        Standardised indices.
    labels : (n,) int
        The group of each woman, 0 to groups − 1.
    seed : int
        Seed of the folds.

    Returns
    -------
    float
    """
    fold = np.random.default_rng(seed).permutation(len(z)) % 5
    distance = np.zeros(len(z))
    for number in range(5):
        others, held_out = fold != number, fold == number
        means = np.array([z[others & (labels == g)].mean(axis=0) if (others & (labels == g)).any()
                          else z[labels == g].mean(axis=0) for g in range(labels.max() + 1)])  # fmt: skip
        precision = shape_of(z[others], np.unique(labels[others], return_inverse=True)[1])[1]
        distance[held_out] = distances(z[held_out], labels[held_out], (means, precision))
    return float(np.quantile(distance, 1 - STRANGE))
