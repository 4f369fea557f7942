"""The patient groups of a run as plain numbers, from which a new woman is given a group, or is like none of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from deepqct.groups.find import Groups
from deepqct.groups.methods import memberships
from deepqct.groups.space import distances

_RIDGE = 1e-6


@dataclass(frozen=True)
class Grouping:
    """The groups of a run, without any woman of it.

    Parameters
    ----------
    columns, adjusted_for : tuple of str
        The indices that the groups were found on, and the covariates that they were adjusted for.
    covariate_means : tuple of float
        What stands for a missing covariate.
    slopes, offsets : tuple
        What the covariates explain of each index: (indices, covariates), and (indices,).
    means, scales, powers, power_means, power_scales : tuple of float
        For each index: standardised, made symmetric (Yeo & Johnson 2000), and standardised again.
    covariance : tuple of tuple of float
        Of the transformed indices; a missing one is filled by what the others make likely.
    axes, axes_mean : tuple
        Principal components (components, indices), and what is subtracted before.
    first : float
        The variance of the first component, by whose root all are divided.
    weights, centres, precision : tuple
        Of a mixture: the shares of its groups, their centres (groups, components), and the inverse of their covariance.
        Of other methods: no shares, and no precision.
    order : tuple of int
        Which of them is called group 1, 2 and so on.
    middles, inverse, far : tuple and float
        The groups' means in all indices, the inverse of the covariance within them, and the distance beyond which a woman
        is like none of them.
    sizes : tuple of int
        Women in each group.
    """

    columns: tuple[str, ...]
    adjusted_for: tuple[str, ...]
    covariate_means: tuple[float, ...]
    slopes: tuple[tuple[float, ...], ...]
    offsets: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    powers: tuple[float, ...]
    power_means: tuple[float, ...]
    power_scales: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    axes: tuple[tuple[float, ...], ...]
    axes_mean: tuple[float, ...]
    first: float
    weights: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]
    precision: tuple[tuple[float, ...], ...]
    order: tuple[int, ...]
    middles: tuple[tuple[float, ...], ...]
    inverse: tuple[tuple[float, ...], ...]
    far: float
    sizes: tuple[int, ...]

    def assign(self, features: pd.DataFrame) -> pd.DataFrame:
        """Give new women their groups, as `deepqct.groups.Groups.assign` does.

        Parameters
        ----------
        features : DataFrame
            Indices, and covariates where the groups were adjusted for some; columns may be missing.

        Returns
        -------
        DataFrame
            group, membership, distance, like_none; NaN for women without any of the indices.
        """
        z = self._standardised(features)
        scores = (z - self.axes_mean) @ np.array(self.axes).T / np.sqrt(self.first)
        centres = np.array(self.centres)
        if self.weights:
            apart = scores[:, None] - centres[None]
            squares = np.einsum("ngi,ij,ngj->ng", apart, np.array(self.precision), apart)
            share = special.softmax(np.log(self.weights) - squares / 2, axis=1)
        else:
            share = memberships(scores, centres)
        share = share[:, list(self.order)]
        group = share.argmax(axis=1)
        distance = distances(z, group, (np.array(self.middles), np.array(self.inverse)))
        table = pd.DataFrame(
            {"group": group + 1.0, "membership": share.max(axis=1), "distance": distance},
            index=features.index,
        ).assign(like_none=distance > self.far)
        there = features.reindex(columns=list(self.columns)).notna().any(axis=1)
        return table.astype({"like_none": float}).where(there)

    def _standardised(self, features: pd.DataFrame) -> NDArray[np.float64]:
        """The indices as they were grouped, complete."""
        x = features.reindex(columns=list(self.columns)).astype(float).to_numpy()
        if self.adjusted_for:
            known = features.reindex(columns=list(self.adjusted_for)).astype(float).to_numpy()
            known = np.where(np.isnan(known), self.covariate_means, known)
            x = x - (known @ np.array(self.slopes).T + self.offsets)
        z = _yeo_johnson((x - self.means) / self.scales, np.array(self.powers))
        z = (z - self.power_means) / self.power_scales
        covariance = np.array(self.covariance)
        for row in z:
            missing = np.isnan(row)
            if missing.all():
                row[:] = 0.0
            elif missing.any():
                known_part = covariance[np.ix_(~missing, ~missing)] + _RIDGE * np.eye(int((~missing).sum()))
                row[missing] = covariance[np.ix_(missing, ~missing)] @ np.linalg.solve(known_part, row[~missing])
        return np.asarray(z, np.float64)


def grouping_of(groups: Groups, z: pd.DataFrame) -> Grouping:
    """The numbers of a run's groups.

    Parameters
    ----------
    groups : Groups
        From `find_groups`.
    z : DataFrame
        The standardised indices of the grouped women, of which only the covariance is kept.
    """
    space, fitted = groups.space, groups.fitted
    scaler, power = space.pipeline[0], space.pipeline[1]
    again = power._scaler
    names = len(space.adjusted_for)
    imputer, line = (space.covariates[0], space.covariates[1]) if names else (None, None)
    mixture = hasattr(fitted, "predict_proba")
    return Grouping(
        columns=space.columns,
        adjusted_for=space.adjusted_for,
        covariate_means=_row(imputer.statistics_) if imputer is not None else (),
        slopes=_rows(line.coef_) if line is not None else (),
        offsets=_row(line.intercept_) if line is not None else (),
        means=_row(scaler.mean_),
        scales=_row(scaler.scale_),
        powers=_row(power.lambdas_),
        power_means=_row(again.mean_),
        power_scales=_row(again.scale_),
        covariance=_rows(np.atleast_2d(np.cov(z.to_numpy().T))),
        axes=_rows(space.components.components_),
        axes_mean=_row(space.components.mean_),
        first=float(space.components.explained_variance_[0]),
        weights=_row(fitted.weights_) if mixture else (),
        centres=_rows(fitted.means_ if mixture else fitted),
        precision=_rows(fitted.precisions_) if mixture else (),
        order=tuple(int(number) for number in groups.order),
        middles=_rows(groups.shape[0]),
        inverse=_rows(groups.shape[1]),
        far=float(groups.far),
        sizes=tuple(int((groups.labels == group).sum()) for group in range(1, groups.n_groups + 1)),
    )


def _yeo_johnson(x: NDArray[np.floating], powers: NDArray[np.floating]) -> NDArray[np.floating]:
    """Yeo and Johnson's transform of each column; NaN stays NaN."""
    out = np.full_like(x, np.nan)
    for column, power in enumerate(powers):
        value = x[:, column]
        up, down = value >= 0, value < 0
        for rows, way, edge in ((up, 1.0, power), (down, -1.0, 2.0 - power)):
            size = np.log1p(way * value[rows])
            out[rows, column] = way * (size if abs(edge) < 1e-12 else np.expm1(edge * size) / edge)
    return out


def _row(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _rows(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(_row(row) for row in values)
