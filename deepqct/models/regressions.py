"""Models of tables for numbers and for times: ridge regression and Cox's model with a ridge; `classifiers` is for 0 and 1.

One call on the training women fits everything, imputing, scaling and the penalty included. The penalty is chosen by
inner folds: of numbers by the squared error, of times by the cross-validated partial likelihood (Verweij & van
Houwelingen 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from deepqct.evaluation.cox import RiskMap, fit_cox, partial_likelihood
from deepqct.evaluation.judging import times_of, value_of
from deepqct.models.classifiers import FEWEST_FOLDS, OTHERS, RIDGE
from deepqct.terms import NUMBER, TIME, Outcome

PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0)  # on standardised columns, as the inverses of C for 0 and 1; our choice
_INNER = 3  # folds, where the training women are of one fold alone


@dataclass(frozen=True)
class Line:
    """A straight line from standardised columns: of a number its value, of a time the log hazard.

    Parameters
    ----------
    columns : tuple of str
        The columns that have a value in at least one training woman.
    imputer, scaler : fitted transformers
        Medians; means and SDs.
    weights : (columns,) float
        Per SD of each column.
    constant : float
        The mean number of the training women; 0 for times.
    """

    columns: tuple[str, ...]
    imputer: SimpleImputer
    scaler: StandardScaler
    weights: NDArray[np.floating]
    constant: float

    def __call__(self, features: pd.DataFrame) -> NDArray[np.floating]:
        """The values of (women, columns) features."""
        x = self.scaler.transform(self.imputer.transform(features[list(self.columns)].to_numpy(float)))
        return np.asarray(x @ self.weights + self.constant)


def fit_line(
    features: pd.DataFrame, *, outcome: Outcome, fold: pd.Series, patients: pd.Series | None = None
) -> Line | None:
    """Fit a ridge regression, or Cox's model with a ridge, on the training women.

    Parameters
    ----------
    features : (women, columns) DataFrame of float
        NaN where missing.
    outcome : Outcome
        Of the same women in the same order; a number or a time.
    fold : Series
        The fold of each: the inner folds by which the penalty is chosen; if there is one alone, it is divided again.
    patients : Series, optional
        Which rows are one patient, who stays together where a fold is divided again.

    Returns
    -------
    Line or None
        None where nothing can be fitted: no column has a value, all numbers are the same, or nobody had the event.
    """
    columns = tuple(str(column) for column in features.columns[features.notna().any()])
    if not columns or not _varies(outcome):
        return None
    x, inner = features[list(columns)].to_numpy(float), _inner_folds(fold.to_numpy(), patients)
    loss = np.zeros(len(PENALTIES))
    for held_out in np.unique(inner):
        train = inner != held_out
        known = outcome.take(outcome.values.index[train])
        if not train.any() or not _varies(known):
            continue
        imputer, scaler, table = _prepared(x[train])
        new = scaler.transform(imputer.transform(x[~train]))
        for row, penalty in enumerate(PENALTIES):
            weights, constant = _solve(table, known, penalty)
            if outcome.kind == NUMBER:
                missed = outcome.values.to_numpy(float)[~train] - new @ weights - constant
                loss[row] += float(missed @ missed)
            else:
                score = np.zeros(len(x))
                score[train], score[~train] = table @ weights, new @ weights
                whole, part = times_of(outcome), times_of(known)
                loss[row] -= partial_likelihood(score, whole) - partial_likelihood(score[train], part)
    best = PENALTIES[int(np.argmin(np.round(loss, 9)))]  # of equal ones the stronger penalty
    imputer, scaler, table = _prepared(x)
    return Line(columns, imputer, scaler, *_solve(table, outcome, best))


def cross_fit(
    features: pd.DataFrame,
    *,
    outcome: Outcome,
    fold: pd.Series,
    training: Mapping[str, pd.DataFrame] | None = None,
    patients: pd.Series | None = None,
    views: Sequence[pd.DataFrame] = (),
    method: str = RIDGE,
) -> pd.DataFrame:
    """Predictions of one model: each fold by a fit on the other folds, the test set by a fit on all folds.

    Parameters
    ----------
    features : (women, columns) DataFrame of float
        NaN where missing.
    outcome : Outcome
        Of the same women; a number or a time.
    fold : Series
        The fold or ``test`` of each.
    training, patients, views
        As in `deepqct.models.classifiers.cross_predict`.
    method : str
        ridge; for numbers also random forest, support vectors or gradient boosting.

    Returns
    -------
    DataFrame
        Indexed as `features`: score (less its mean in the training women, so that no fold stands above another), and of
        numbers ``predicted``, of times ``risk``, the probability of the event by the horizon, with death before it
        taken into account. NaN for women without any value.
    """
    value = value_of(outcome)
    table = pd.DataFrame({"score": np.nan, value: np.nan}, index=features.index)
    measured = features.notna().any(axis=1)
    for held_out in fold.unique():
        trainable = fold.index[(fold != held_out) & (fold != "test")]
        known = (training or {}).get(str(held_out), features)
        train = known.loc[known.index.intersection(trainable)].dropna(how="all").index
        rows = measured & (fold == held_out)
        if not rows.any():
            continue
        own = outcome.take(train)
        line: Any = _other(known.loc[train], own, method=method) if method != RIDGE else fit_line(
            known.loc[train], outcome=own, fold=fold[train], patients=None if patients is None else patients[train]
        )  # fmt: skip
        told = np.zeros(len(train)) if line is None else line(known.loc[train])
        new = np.zeros(int(rows.sum())) if line is None else line(features[rows])
        if held_out == "test" and views and line is not None:
            new = np.mean([line(view.loc[features.index[rows]]) for view in views], axis=0)
        table.loc[rows, "score"] = new - told.mean()
        if outcome.kind == NUMBER:
            table.loc[rows, value] = new if line is not None else own.values.mean()
        else:
            # The line's own scale: its penalty was chosen so that it is right in women whom it has not seen.
            mapped = RiskMap.fit(told, times_of(own), horizon=outcome.horizon, slope=1.0)
            table.loc[rows, value] = mapped(new)
    return table


def _varies(outcome: Outcome) -> bool:
    """Whether something can be learnt from these women."""
    if outcome.kind == NUMBER:
        return outcome.values.nunique() > 1
    return bool((outcome.values == 1).any())


def _inner_folds(fold: NDArray[Any], patients: pd.Series | None) -> NDArray[Any]:
    """The folds of the training women, or new folds if they have only one."""
    if len(np.unique(fold)) >= FEWEST_FOLDS:
        return fold
    together = np.arange(len(fold)) if patients is None else pd.factorize(patients)[0]
    count, drawn = min(_INNER, len(np.unique(together))), np.zeros(len(fold), int)
    if count < FEWEST_FOLDS:
        return drawn
    splitter = GroupKFold(count, shuffle=True, random_state=0)
    for number, (_, held_out) in enumerate(splitter.split(drawn[:, None], groups=together)):
        drawn[held_out] = number
    return drawn


def _prepared(x: NDArray[np.floating]) -> tuple[SimpleImputer, StandardScaler, NDArray[np.floating]]:
    """An imputer by medians and a scaler, fitted, and the table that they make."""
    imputer, scaler = SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    return imputer, scaler, np.asarray(scaler.fit_transform(imputer.fit_transform(x)))


def _solve(x: NDArray[np.floating], outcome: Outcome, penalty: float) -> tuple[NDArray[np.floating], float]:
    """Weights and constant of one penalty."""
    if outcome.kind == TIME:
        return fit_cox(x, times_of(outcome), penalty=penalty), 0.0
    y = outcome.values.to_numpy(float)
    constant = float(y.mean())
    if x.shape[1] > len(x):
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y - constant)
    else:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - constant))
    return np.asarray(weights), constant


def _other(features: pd.DataFrame, outcome: Outcome, *, method: str) -> Any:
    """Another way of predicting numbers from tables, with settings that were fixed beforehand."""
    if method not in OTHERS or outcome.kind != NUMBER:
        raise ValueError(f"Unknown method {method!r}; use one of {', '.join((RIDGE, *OTHERS))}, which are for numbers.")
    columns = list(features.columns[features.notna().any()])
    if not columns or not _varies(outcome):
        return None
    y = outcome.values.to_numpy(float)
    centre, spread = float(y.mean()), float(y.std())
    models: dict[str, Any] = {
        "random forest": RandomForestRegressor(300, min_samples_leaf=5, random_state=0),
        "support vectors": SVR(C=1.0, gamma="scale"),
        "gradient boosting": HistGradientBoostingRegressor(
            learning_rate=0.05, max_iter=100, max_leaf_nodes=8, min_samples_leaf=10, random_state=0
        ),
    }
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    model: Pipeline = make_pipeline(imputer, StandardScaler(), models[method])
    model.fit(features[columns].to_numpy(float), (y - centre) / spread)
    return lambda new: centre + spread * np.asarray(model.predict(new[columns].to_numpy(float)))
