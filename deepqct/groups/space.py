"""Where women are grouped: how indices become principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COMPONENTS = 3  # of 3, planted phenotypes were found as often as of 2, 4 or 6, or more often; ours
_SAME = 0.999  # correlation from which a column repeats an earlier one


@dataclass(frozen=True, eq=False)
class Space:
    """Where women are grouped: how indices become principal components.

    Parameters
    ----------
    columns : tuple of str
        The indices that vary and repeat no other.
    pipeline : sklearn Pipeline
        Standardised, made symmetric (Yeo and Johnson 2000), missing ones from the ten nearest women.
    components : sklearn PCA
        Of the result.
    covariates : sklearn Pipeline or None
        What age and size explain of each index, if that is taken out first.
    adjusted_for : tuple of str
        Those covariates.
    """

    columns: tuple[str, ...]
    pipeline: Any
    components: Any
    covariates: Any = None
    adjusted_for: tuple[str, ...] = ()

    def standardise(self, features: pd.DataFrame, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Indices as the groups were found on: symmetric, complete, mean 0, SD 1.

        Raises
        ------
        ValueError
            If a column that the groups were found on is not there.
        """
        absent = [column for column in self.columns if column not in features]
        if absent:
            raise ValueError(
                f"The new features lack {absent[0]!r}, which the groups were found on; add it, empty if unknown."
            )
        table = features[list(self.columns)].astype(float)
        if self.covariates is not None:
            table = table - _explained(self.covariates, covariates, names=self.adjusted_for, of=table)
        z = self.pipeline.transform(table.to_numpy())
        return pd.DataFrame(z, columns=list(self.columns), index=features.index)

    def scores(self, z: pd.DataFrame) -> NDArray[np.float64]:
        """Principal components of standardised indices, of variance 1 together with the first."""
        scores = self.components.transform(z.to_numpy())
        return scores / np.sqrt(self.components.explained_variance_[0])


def varying_columns(features: pd.DataFrame) -> list[str]:
    """Columns that vary, half of whose values are known, and that repeat no earlier one."""
    table = features.astype(float)
    # The SD of a constant column is not always 0 in floating point.
    kept = table.loc[:, (table.std() > 1e-9 * table.abs().max()) & (table.notna().mean() >= 0.5)]
    alike = np.triu(kept.corr().abs().to_numpy() >= _SAME, k=1)
    return [column for number, column in enumerate(kept.columns) if not alike[:, number].any()]


def fit_space(features: pd.DataFrame, columns: list[str], *, components: int, covariates: pd.DataFrame | None) -> Space:
    """The space of some indices, fitted on these women."""
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
        table = table - _explained(explained, known, names=names, of=table)
    pipeline = make_pipeline(StandardScaler(), PowerTransformer(), KNNImputer(n_neighbors=10))
    z = pipeline.fit_transform(table.to_numpy())
    rank = max(1, min(components, len(columns), len(table) // 5))
    axes = PCA(rank, svd_solver="full").fit(z)
    return Space(tuple(columns), pipeline, axes, explained, names)


def _explained(
    model: Any, covariates: pd.DataFrame | None, *, names: tuple[str, ...], of: pd.DataFrame
) -> pd.DataFrame:
    """What covariates explain of each index."""
    if covariates is None or any(name not in covariates for name in names):
        raise ValueError(f"The groups were found on indices adjusted for {', '.join(names)}; give these as covariates.")
    known = covariates.reindex(of.index)[list(names)].astype(float)
    return pd.DataFrame(model.predict(known), index=of.index, columns=of.columns)
