"""Classifiers of tables: one call on the training patients fits everything, imputing and scaling included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from sklearn import config_context
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from deepqct.evaluation.decisions import threshold_for
from deepqct.evaluation.scales import averaged

RIDGE = "ridge"
OTHERS = ("random forest", "support vectors", "gradient boosting")  # beside the ridge; settings are our choice
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # on standardised columns; our choice
FEWEST_FOLDS = 2  # inner folds; a single training fold is divided anew


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier, and the logits of its own training patients from inner folds that left them out.

    Parameters
    ----------
    model : Pipeline or None
        None where nothing could be fitted: the logit is then 0 for everybody.
    columns : tuple of str
        The columns that have a value in at least one training patient.
    level : float
        The mean logit of the training patients.
    inner : (patients,) float
        Logits of the training patients, less the level, from inner folds that left them out; NaN for classifiers other than
        the ridge.
    """

    model: Pipeline | None
    columns: tuple[str, ...]
    level: float
    inner: NDArray[np.floating]

    def logit(self, features: pd.DataFrame) -> NDArray[np.floating]:
        """The logits of new patients; for support vectors, the values of the decision function.

        Parameters
        ----------
        features : (patients, columns) DataFrame of float
            Holds at least the columns of the model; NaN where missing.

        Returns
        -------
        (patients,) float
        """
        if self.model is None:
            return np.zeros(len(features))
        return _logit(self.model, features[list(self.columns)].to_numpy(float))


def fit(
    features: pd.DataFrame,
    *,
    outcome: pd.Series,
    fold: pd.Series,
    classifier: str = RIDGE,
    patients: pd.Series | None = None,
) -> Fitted:
    """Fit a classifier on the training patients, imputing and scaling included.

    Parameters
    ----------
    features : (patients, columns) DataFrame of float
        The features of the training patients; NaN where missing.
    outcome, fold : Series
        The outcome (0 or 1) and the fold of each training patient, indexed as `features`. These folds are the inner
        folds that choose the penalty of the ridge by log loss; if there is only one fold, it is divided again,
        stratified.
    classifier : str
        ridge (a logistic regression), random forest, support vectors or gradient boosting.
    patients : Series, optional
        Which rows are one patient: those with the same value. They stay together where a single fold is divided again.

    Returns
    -------
    Fitted
        The classifier and the held-out logits of its training patients.

    Raises
    ------
    ValueError
        If the classifier is not known.
    """
    if classifier not in (RIDGE, *OTHERS):
        raise ValueError(f"Unknown classifier {classifier!r}; use one of {', '.join((RIDGE, *OTHERS))}.")
    # A column without any value is left out: the imputer could only invent its values.
    columns = tuple(str(column) for column in features.columns[features.notna().any()])
    y = outcome.to_numpy(int)
    nothing = np.full(len(y), np.nan)
    if not columns or len(np.unique(y)) < 2:
        return Fitted(None, columns, 0.0, nothing)
    x = features[list(columns)].to_numpy(float)
    if classifier != RIDGE:
        model = _other(classifier).fit(x, y)
        return Fitted(model, columns, float(_logit(model, x).mean()), nothing)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # a third of the time of such small fits
        logits, levels = _inner_logits(x, y, _inner_folds(y, fold.to_numpy(), patients=patients))
    loss = (np.logaddexp(0, logits) - y * logits).mean(axis=1)
    best = int(np.argmin(np.round(loss, 12)))  # of equal ones the stronger penalty
    model = make_pipeline(*_prepared(), _logistic(C_GRID[best])).fit(x, y)
    return Fitted(model, columns, float(_logit(model, x).mean()), logits[best] - levels[best])


def cross_predict(
    features: pd.DataFrame,
    *,
    outcome: pd.Series,
    fold: pd.Series,
    classifier: str = RIDGE,
    sensitivity: float | None = None,
    training: Mapping[str, pd.DataFrame] | None = None,
    patients: pd.Series | None = None,
    views: Sequence[pd.DataFrame] = (),
) -> pd.DataFrame:
    """Scores of one model: each fold is scored by a fit on the other folds, the test set by a fit on all folds.

    Parameters
    ----------
    features : (patients, columns) DataFrame of float
        The features of all patients; NaN where missing.
    outcome, fold : Series
        The outcome (0 or 1), and the fold or ``test``, of each patient; indexed as `features`.
    classifier : str
        The name of the classifier, as in `fit`.
    sensitivity : float, optional
        The sensitivity that the threshold must reach, as in `deepqct.evaluation.threshold_for`.
    training : mapping of str to DataFrame, optional
        For each held-out fold, the features of the training patients while that fold is held out, where they differ
        from `features`: in strict stacking, scores of networks that did not see the held-out fold.
    patients : Series, optional
        Which rows are one patient, as in `fit`.
    views : sequence of DataFrame
        The features of the test patients by each fold's networks, indexed as `features`, where some of them are scores of
        networks. The logits that they give are averaged (`deepqct.evaluation.averaged`).

    Returns
    -------
    DataFrame
        Indexed as `features`: score (the logit less the mean logit of the training patients; 0 if the training folds
        hold one outcome only, or none of the columns), risk (from the whole logit), threshold (for the score, chosen by
        inner folds of the training folds; NaN for classifiers other than the ridge). Patients who have no value at all
        take no part in the fits; all three are NaN for them.

    Notes
    -----
    A fold with many events leaves few events in the other folds, so that the model for it has a low intercept. If the
    whole logits of all folds were pooled, those of a strongly shrunken model would rank women by this intercept,
    against the truth. Therefore the mean logit is subtracted from the score; the risk keeps it.
    """
    table = pd.DataFrame({"score": np.nan, "risk": np.nan, "threshold": np.nan}, index=features.index)
    measured = features.notna().any(axis=1)
    for held_out in fold.unique():
        trainable = fold.index[(fold != held_out) & (fold != "test")]
        known = (training or {}).get(str(held_out), features)
        train = known.loc[known.index.intersection(trainable)].dropna(how="all").index
        rows = measured & (fold == held_out)
        if not rows.any():
            continue
        together = None if patients is None else patients[train]
        model = fit(
            known.loc[train], outcome=outcome[train], fold=fold[train], classifier=classifier, patients=together
        )
        logit = model.logit(features[rows])
        if held_out == "test" and views and model.model is not None:
            each = np.column_stack([model.logit(view.loc[features.index[rows]]) for view in views])
            spread = float(model.logit(known.loc[train]).var())
            logit = averaged(each, variance=spread, prior=float(outcome[train].mean())).to_numpy()
        table.loc[rows, "score"] = logit - model.level
        table.loc[rows, "risk"] = special.expit(logit)
        table.loc[rows, "threshold"] = threshold_for(outcome[train], model.inner, sensitivity=sensitivity)
    return table


def _inner_folds(y: NDArray[np.integer], fold: NDArray[Any], *, patients: pd.Series | None) -> NDArray[Any]:
    """The folds of the training patients, or new folds if they have only one."""
    if len(np.unique(fold)) >= FEWEST_FOLDS:
        return fold
    drawn = np.zeros(len(y), int)
    together = np.arange(len(y)) if patients is None else pd.factorize(patients)[0]
    few = min(3, *(len(np.unique(together[y == outcome])) for outcome in (0, 1)))
    if few < 2:
        return drawn
    splitter = StratifiedGroupKFold(few, shuffle=True, random_state=0)
    for number, (_, held_out) in enumerate(splitter.split(y[:, None], y, together)):
        drawn[held_out] = number
    return drawn


def _inner_logits(
    x: NDArray[np.floating], y: NDArray[np.integer], fold: NDArray[Any]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Held-out logits of the training patients and the levels of the models behind them, both (penalties, patients)."""
    logits, levels = np.zeros((2, len(C_GRID), len(y)))
    for held_out in np.unique(fold):
        train = fold != held_out
        if len(np.unique(y[train])) < 2:
            continue
        imputer, scaler = _prepared()
        known = scaler.fit_transform(imputer.fit_transform(x[train]))
        new = scaler.transform(imputer.transform(x[~train]))
        for row, c in enumerate(C_GRID):
            model = _logistic(c).fit(known, y[train])
            logits[row, ~train] = model.decision_function(new)
            levels[row, ~train] = model.decision_function(known).mean()
    return logits, levels


def _logit(model: Pipeline, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logits by a fitted classifier; for support vectors the decision function, which has the same sign as a logit."""
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(x))
    return np.asarray(special.logit(np.clip(model.predict_proba(x)[:, 1], 1e-6, 1 - 1e-6)))


def _prepared() -> tuple[SimpleImputer, StandardScaler]:
    """The imputer (by medians) and the scaler; a column that is empty in an inner fold becomes constant there."""
    return SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()


def _logistic(c: float) -> LogisticRegression:
    """Ridge logistic regression by Newton's method, which is the fastest for tens of columns."""
    return LogisticRegression(C=c, solver="newton-cholesky", max_iter=200)


def _other(name: str) -> Pipeline:
    """The classifiers beside the ridge, with settings that were fixed beforehand."""
    models: dict[str, Any] = {
        "random forest": RandomForestClassifier(300, min_samples_leaf=5, random_state=0),
        "support vectors": SVC(C=1.0, gamma="scale"),
        "gradient boosting": HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=100, max_leaf_nodes=8, min_samples_leaf=10, random_state=0
        ),
    }
    return make_pipeline(*_prepared(), models[name])
