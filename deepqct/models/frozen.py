"""Every model refitted on all training patients of a run, as plain numbers that can be kept, carried and read again.

A frozen model scores new patients as a run scores those of its test set: by the networks of all folds, whose logits are
averaged and stretched. In a run with a test set it gives exactly the numbers that the run gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from deepqct.evaluation.calibration import CalibrationMap, fit_map
from deepqct.evaluation.decisions import threshold_for
from deepqct.evaluation.scales import averaged, levels, noise_of, spread, stretch
from deepqct.models.classifiers import Fitted, cross_predict, fit
from deepqct.models.families import INDEX_SCORE, Model, widest
from deepqct.models.inputs import Tables
from deepqct.models.levels import Levelled, mean_of_bones
from deepqct.models.predict import Prepared, prepared
from deepqct.models.scanners import CrossCalibrated, Scale, calibrated_of, scale_of
from deepqct.run_tables import rows_of

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Line:
    """A ridge logistic regression as its numbers: medians for missing values, standardisation, coefficients.

    Parameters
    ----------
    columns : tuple of str
        The columns that it takes.
    medians, means, scales, coefficients : tuple of float
        For each column: what stands for a missing value, what is subtracted, what it is divided by, and the weight of
        the result.
    intercept : float
        Added to the weighted sum.
    level : float
        The mean logit of the training patients; the score is the logit less it.
    """

    columns: tuple[str, ...]
    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    level: float

    @classmethod
    def of(cls, fitted: Fitted) -> Line:
        """The numbers of a fitted ridge.

        Parameters
        ----------
        fitted : Fitted
            From `deepqct.models.classifiers.fit`; where nothing could be fitted, the logit is 0 for everybody.
        """
        if fitted.model is None:
            return cls((), (), (), (), (), 0.0, 0.0)
        imputer, scaler, logistic = (step for _, step in fitted.model.steps)
        parts = (imputer.statistics_, scaler.mean_, scaler.scale_, logistic.coef_[0])
        medians, means, scales, weights = (tuple(float(number) for number in part) for part in parts)
        return cls(fitted.columns, medians, means, scales, weights, float(logistic.intercept_[0]), fitted.level)

    def standardised(self, features: pd.DataFrame) -> NDArray[np.floating]:
        """The columns as the weights take them.

        Parameters
        ----------
        features : (patients, columns) DataFrame
            With at least the columns of the model; NaN where missing.

        Returns
        -------
        (patients, columns) float
        """
        x = features[list(self.columns)].to_numpy(float)
        return (np.where(np.isnan(x), self.medians, x) - self.means) / self.scales

    def logit(self, features: pd.DataFrame) -> NDArray[np.floating]:
        """The logits of new patients.

        Parameters
        ----------
        features : (patients, columns) DataFrame
            As in `standardised`.

        Returns
        -------
        (patients,) float
        """
        if not self.columns:
            return np.full(len(features), self.intercept)
        weights = np.array(self.coefficients)[None]
        return np.asarray((self.standardised(features) @ weights.T + self.intercept).ravel())


@dataclass(frozen=True)
class Mean:
    """The score of one bone's networks, or the mean over bones, and the map from it to a calibrated logit.

    Parameters
    ----------
    columns : tuple of str
        The scores that are averaged.
    sizes : tuple of float
        What each is divided by, its SD over training patients; 1 for a single bone.
    levels : mapping of str to float
        For each fold, the mean of this score over its patients, which is taken off before the map.
    calibration : CalibrationMap
        Fitted on the out-of-fold scores of all training patients.
    """

    columns: tuple[str, ...]
    sizes: tuple[float, ...]
    levels: Mapping[str, float]
    calibration: CalibrationMap

    def score(self, scores: pd.DataFrame) -> pd.Series:
        """The mean of the scores that a patient has.

        Parameters
        ----------
        scores : (patients, columns) DataFrame
            Levelled scores; NaN without the bone.

        Returns
        -------
        Series of float
        """
        names = list(self.columns)
        if len(names) == 1:
            return scores[names[0]]
        return (scores[names] / pd.Series(self.sizes, names)).mean(axis=1)

    def logit(self, score: pd.Series, *, fold: str = "") -> NDArray[np.floating]:
        """The calibrated logits of scores by the networks of one fold, or of their means over folds.

        Parameters
        ----------
        score : Series of float
            From `score`.
        fold : str
            Whose networks gave the score; empty for means.
        """
        mean = float(pd.Series(dict(self.levels)).mean())
        return self.calibration((score - self.levels.get(fold, mean)).to_numpy())


@dataclass(frozen=True)
class Frozen:
    """One model, refitted on all training patients.

    Parameters
    ----------
    model : Model
        What it is.
    how : Line or Mean
        Its numbers.
    threshold : float
        For the score; NaN where there is none.
    variance, prior : float
        The variance of its logits over training patients, and the share of events among them.
    noise : float
        The mean variance of one patient's logits over the folds' networks; NaN where it is not known.
    networks : int
        How many folds' networks are averaged; 0 for a model without networks.
    """

    model: Model
    how: Line | Mean
    threshold: float
    variance: float
    prior: float
    noise: float
    networks: int

    def each(self, features: pd.DataFrame, networks: Levelled) -> pd.DataFrame:
        """The logits of new patients by each fold's networks.

        Parameters
        ----------
        features : DataFrame
            Their features, by participant_id.
        networks : Levelled
            Their scores by the networks.

        Returns
        -------
        (patients, networks) DataFrame of float
            Without columns for a model that takes no networks' scores.
        """
        logits: dict[str, NDArray[np.floating]] = {}
        for fold, table in networks.by_network.items():
            if isinstance(self.how, Mean):
                logits[fold] = self.how.logit(self.how.score(table), fold=fold)
            elif scored := [name for name in self.how.columns if name in table]:
                own = features.drop(columns=scored, errors="ignore").join(table[scored])
                logits[fold] = self.how.logit(own)
        return pd.DataFrame(logits, index=features.index)

    def predict(self, features: pd.DataFrame, networks: Levelled) -> pd.DataFrame:
        """Score, risk and spread of new patients, as a run predicts those of its test set.

        Parameters
        ----------
        features, networks
            As in `each`; `features` has the means of the networks' scores, too.

        Returns
        -------
        DataFrame
            score, risk, low, high (the risk when its logit lies 1.96 standard errors lower or higher, of a mean over
            networks: NaN without networks), threshold. NaN for patients who have no value at all in the model's columns.
        """
        names = [name for name in self.model.columns if name in features]
        measured = features[names].notna().any(axis=1)
        each = self.each(features, networks)
        if isinstance(self.how, Mean):
            score = self.how.score(features)
            logit = pd.Series(self.how.logit(score), features.index)
        else:
            logit = pd.Series(self.how.logit(features), features.index)
            score = logit - self.how.level
        fitted = not isinstance(self.how, Line) or bool(self.how.columns)
        if each.shape[1] and fitted:
            # Never the noise of these patients: a risk must not depend on who else is scored.
            noise = self.noise if np.isfinite(self.noise) else 0.0
            logit = averaged(each, variance=self.variance, prior=self.prior, noise=noise)
            if isinstance(self.how, Line):
                score = logit - self.how.level
        error = self._error(each)
        ends = {"low": special.expit(logit - _Z * error), "high": special.expit(logit + _Z * error)}
        table = pd.DataFrame({"score": score, "risk": special.expit(logit), **ends, "threshold": self.threshold})
        return table.where(measured)

    def shares(self, features: pd.DataFrame) -> pd.DataFrame:
        """What each column adds to a patient's log odds, compared with the mean of the training patients.

        Parameters
        ----------
        features : DataFrame
            As in `predict`.

        Returns
        -------
        (patients, columns) DataFrame of float
            0 where a value is missing and stands for the mean.
        """
        names = [name for name in self.how.columns if name in features]
        if isinstance(self.how, Mean):
            scores = features[names] / pd.Series(self.how.sizes, list(self.how.columns))[names]
            calibration, present = self.how.calibration, scores.notna().sum(axis=1)
            parts = scores.div(present, axis="index") * calibration.slope / calibration.scale
        else:
            weighted = self.how.standardised(features) * np.array(self.how.coefficients)
            parts = pd.DataFrame(weighted, features.index, list(self.how.columns)).where(features[names].notna())
        return parts.fillna(0.0) * self.factor

    @property
    def factor(self) -> float:
        """By how much the mean of the networks' logits is stretched."""
        return stretch(self.noise, variance=self.variance, networks=self.networks)

    def _error(self, each: pd.DataFrame) -> pd.Series:
        """The standard error of the stretched mean over networks; never less than that of the training patients."""
        count = each.shape[1]
        if count < 2:
            return pd.Series(np.nan, each.index)
        variance = each.var(axis=1).clip(lower=self.noise if np.isfinite(self.noise) else None)
        return np.sqrt(variance / count) * self.factor


def frozen_models(
    data: Tables,
    *,
    protocol: str,
    repeat: int = 0,
    sensitivity: float | None = None,
    seen: Mapping[str, pd.DataFrame] | None = None,
) -> list[Frozen]:
    """Refit every model of one protocol and repeat on all its training patients.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    protocol, repeat : str, int
        As in splits.csv.
    sensitivity : float, optional
        As in `predict_all`.
    seen : mapping of str to DataFrame, optional
        For each bone, participant_id, fold and score of training patients by the networks that did learn from them. From
        these the noise of single networks is taken where the protocol has no test set.

    Returns
    -------
    list of Frozen
        In the order of `models_for`. Where `data` is cross-calibrated, they take indices on the scale of
        `frozen_scale`.

    Raises
    ------
    ValueError
        As `predict_all`.

    Examples
    --------
    >>> import deepqct as dq
    >>> frozen = dq.models.frozen_models(dq.models.tables(dq.run.example_run()), protocol="all")
    >>> [one.model.name for one in frozen if one.model.family == "DeepQCT" and one.model.headline]
    ['mean of radius + tibia']
    """
    given = prepared(data, protocol, repeat)
    found = calibrated_of(data, given.features, target=given.target, labels=given.labels, fold=given.fold)
    if (scale := frozen_scale(data, given)) is not None and data.scanner is not None:
        given = replace(given, features=scale.applied(given.features, data.scanner))
    index_model, features = widest(given.models, "pQCT-index"), given.features
    made: dict[tuple[str, str], Frozen] = {}
    for model in sorted(given.models, key=lambda model: INDEX_SCORE in model.columns):
        if INDEX_SCORE in model.columns and index_model is not None:
            features = _with_index_score(data, given, index_model, found)
        made[model.family, model.name] = _frozen(
            model, replace(given, features=features), patients=data.patients, sensitivity=sensitivity
        )
    noise = _seen_by_network(data, given, protocol=protocol, repeat=repeat, seen=seen or {})
    if not given.networks.by_network and noise is not None:
        made = {key: replace(one, noise=_noise(one, features, noise)) for key, one in made.items()}
    return [made[model.family, model.name] for model in given.models]


def frozen_scale(data: Tables, given: Prepared) -> Scale | None:
    """The scale of indices that the frozen models take, as all training women tell it.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    given : Prepared
        Of the protocol and repeat.

    Returns
    -------
    Scale or None
        None where nothing is cross-calibrated.
    """
    if data.scanner is None:
        return None
    return scale_of(given.features[data.measured], scanner=data.scanner, outcome=given.labels, fold=given.fold)


def _frozen(model: Model, given: Prepared, *, patients: pd.Series, sensitivity: float | None) -> Frozen:
    """One model fitted on everybody who is not in the test set, as `cross_predict` fits it for that set."""
    fold, labels = given.fold, given.labels
    training = fold.index[fold != "test"]
    columns = given.features[list(model.columns)].astype(float)
    how: Line | Mean
    if model.fitted:
        train = columns.loc[training].dropna(how="all").index
        fitted = fit(columns.loc[train], outcome=labels[train], fold=fold[train], patients=patients[train])
        how = Line.of(fitted)
        threshold = threshold_for(labels[train], fitted.inner, sensitivity=sensitivity)
        variance = float(fitted.logit(columns.loc[train]).var())
    else:
        how, score = _mean(model, given)
        there = score[training].dropna()
        level = fold[there.index].map(dict(how.levels)).astype(float)
        train, variance = there.index, float(how.calibration((there - level).to_numpy()).var())
        threshold = threshold_for(labels[training], score[training], sensitivity=sensitivity)
    networks = fold[training].nunique() if set(model.columns) & set(given.networks.scores) else 0
    one = Frozen(model, how, threshold, variance, float(labels[train].mean()), float("nan"), networks)
    test = columns.loc[fold == "test"]
    each = one.each(given.features.loc[test.index], given.networks)
    # A patient without any value has no logits; medians in their place are the same for all networks, and no noise.
    return replace(one, noise=noise_of(each[test.notna().any(axis=1)])) if each.shape[1] else one


def _mean(model: Model, given: Prepared) -> tuple[Mean, pd.Series]:
    """The numbers of a model that no outcome takes part in, and its scores of everybody."""
    names, fold = list(model.columns), given.fold
    score, _ = mean_of_bones(given.networks, columns=names, fold=fold)
    known = score[fold != "test"].dropna()
    level = levels(known, fold[known.index])
    off = (known - fold[known.index].map(level).astype(float)).to_numpy()
    sizes = given.networks.scores.loc[fold != "test", names].apply(spread) if len(names) > 1 else pd.Series(1.0, names)
    by_fold = {str(key): float(value) for key, value in level.items()}
    calibration = fit_map(off, given.labels[known.index].to_numpy())
    return Mean(tuple(names), tuple(float(size) for size in sizes), by_fold, calibration), score


def _with_index_score(data: Tables, given: Prepared, index_model: Model, found: CrossCalibrated | None) -> pd.DataFrame:
    """The features with the index model's score: out of fold of training patients, by its refit of test patients."""
    names, training = list(index_model.columns), dict[str, pd.DataFrame]()
    columns = given.features[names].astype(float)
    if found is not None:  # out of fold, so that the scale is that of the other folds
        columns, training = found.features[names], {key: table[names] for key, table in found.training.items()}
    score = cross_predict(columns, outcome=given.labels, fold=given.fold, training=training, patients=data.patients)[
        "score"
    ]
    return given.features.assign(**{INDEX_SCORE: score})


def _seen_by_network(
    data: Tables, given: Prepared, *, protocol: str, repeat: int, seen: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame] | None:
    """For each fold, its networks' levelled scores of the patients whom they learned from; None if they are not known."""
    if not seen or set(given.networks.scores) != {f"{bone} score" for bone in seen}:
        return None
    tables: dict[str, pd.DataFrame] = {}
    for bone, rows in seen.items():
        own = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id")
        level = levels(own["score"], own["fold"])
        for fold, of_fold in rows.groupby("fold"):
            score = of_fold.set_index("participant_id")["score"] - level[fold]
            tables.setdefault(str(fold), pd.DataFrame(index=given.fold.index))[f"{bone} score"] = score
    return tables


def _noise(one: Frozen, features: pd.DataFrame, seen: Mapping[str, pd.DataFrame]) -> float:
    """The noise of single networks in the patients whom they learned from; NaN for a model without networks."""
    whole = {fold: table.reindex(columns=sorted(table)) for fold, table in seen.items()}
    each = one.each(features, Levelled(pd.DataFrame(index=features.index), whole))
    there = pd.DataFrame({fold: whole[str(fold)].notna().any(axis=1) for fold in each}, index=each.index)
    return noise_of(each.where(there)) if each.shape[1] else float("nan")


def new_levelled(each: Mapping[str, pd.DataFrame], *, level: Mapping[str, Mapping[str, float]]) -> Levelled:
    """The scores of new patients by the folds' networks, as the models take those of a test set.

    Parameters
    ----------
    each : mapping of str to (patients, folds) DataFrame
        For each bone, the mean logits by the networks of each fold; NaN without the bone.
    level : mapping of str to mapping
        For each bone and fold, the mean score of the fold's own patients.

    Returns
    -------
    Levelled
        With every bone in both tables.
    """
    index = next(iter(each.values())).index
    scores, by_network = pd.DataFrame(index=index), dict[str, pd.DataFrame]()
    for bone, table in each.items():
        of_bone = pd.Series(dict(level[bone]))
        scores[f"{bone} score"] = table.mean(axis=1) - of_bone.mean()
        for fold in table:
            own = by_network.setdefault(str(fold), pd.DataFrame(index=index))
            own[f"{bone} score"] = table[fold] - of_bone[str(fold)]
    return Levelled(scores, dict(sorted(by_network.items())))


def new_features(features: pd.DataFrame, networks: Levelled, models: Sequence[Frozen]) -> pd.DataFrame:
    """The features of new patients with all that the models make of them: networks' scores and the index score.

    Parameters
    ----------
    features : DataFrame
        Clinical factors, bone density, indices and texture; a column that is missing is empty.
    networks : Levelled
        From `new_levelled`.
    models : sequence of Frozen
        All models, the index models among them.

    Returns
    -------
    DataFrame
    """
    wanted = dict.fromkeys(name for one in models for name in one.how.columns)
    whole = features.reindex(
        columns=[*features, *(n for n in wanted if n not in features and n not in networks.scores)]
    )
    whole = whole.astype(float).join(networks.scores)
    index_model = next((one for one in models if one.model.family == "pQCT-index" and one.model.headline), None)
    if index_model is not None:
        whole[INDEX_SCORE] = index_model.predict(whole, networks)["score"]
    return whole
