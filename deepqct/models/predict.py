"""The families' predictions on the same patients and folds, and the late fusion of the bones' networks.

Everything that is fitted (imputing, scaling, penalty, regression, threshold, fusion) is fitted inside the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from deepqct.evaluation.calibration import calibrate_out_of_fold
from deepqct.evaluation.decisions import threshold_for
from deepqct.evaluation.judging import value_of
from deepqct.evaluation.maps import map_out_of_fold
from deepqct.evaluation.scales import levels
from deepqct.folder import Run, write_table
from deepqct.models.classifiers import cross_predict
from deepqct.models.families import INDEX_SCORE, Model, models_for, models_table, widest
from deepqct.models.inputs import Tables, tables
from deepqct.models.levels import Levelled, levelled, mean_of_bones
from deepqct.models.regressions import cross_fit
from deepqct.models.scanners import CrossCalibrated, calibrated_of
from deepqct.run_tables import rows_of
from deepqct.terms import NUMBER, TIME, YES_NO, Outcome

COLUMNS = (
    "protocol",
    "repeat",
    "participant_id",
    "fold",
    "split",
    "family",
    "model",
    "outcome",
    "score",
    "risk",
    "threshold",
)

_FIRST = ("protocol", "repeat", "participant_id", "fold", "split", "family", "model", "outcome")
# By the kind of the outcome; a threshold is of a risk that is known for everybody.
COLUMNS_OF = {YES_NO: COLUMNS, NUMBER: (*_FIRST, "score", "predicted"), TIME: (*_FIRST, "time", "score", "risk")}


def models_of(data: Tables) -> list[Model]:
    """Every model of a run, for each set of bones that have networks in some protocol and repeat."""
    repeats = data.splits[["protocol", "repeat"]].drop_duplicates().itertuples(index=False)
    bone_sets = dict.fromkeys(tuple(_bones_scored(data, str(protocol), int(repeat))) for protocol, repeat in repeats)
    return [
        model
        for bones in bone_sets
        for model in models_for(
            data.dictionary,
            indices=data.features[data.indices],
            bones=list(bones),
            texture=data.texture,
            strength=data.strength,
            strict=data.strict,
        )
    ]


def _bones_scored(data: Tables, protocol: str, repeat: int) -> list[str]:
    """The bones that have networks trained for one protocol and repeat."""
    return [bone for bone, table in data.scores.items() if len(rows_of(table, protocol, repeat))]


def predict_all(data: Tables, *, sensitivity: float | None = None, workers: int = 1) -> pd.DataFrame:
    """Out-of-fold and test predictions of every model.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    sensitivity : float, optional
        The sensitivity that the thresholds must reach, as in `deepqct.evaluation.threshold_for`.
    workers : int
        How many protocols and repeats are worked on at the same time; the results do not depend on it.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold, split, family, model, outcome, score (a logit), risk, threshold (for the
        score, from the training folds). For a number ``predicted`` stands in place of risk and threshold, and the score is
        what is predicted, or a network's score, less its level; for a time ``time`` is beside the outcome, the score is
        a log hazard, and the risk is that of the event by the horizon. A patient without any value in a model's columns
        has no row for that model. Models that need a network have rows only for the protocols and repeats for which it
        was trained.

    Raises
    ------
    ValueError
        If a patient of the splits is not among the participants, or if scores were made with other folds than those of
        the splits, since their networks may then have seen the patients whom they score.

    Notes
    -----
    Late fusion is fitted for each held-out fold on the out-of-fold scores of the other folds. In standard stacking
    these come from networks that saw the patients of the held-out fold; in strict stacking from networks that saw
    neither fold. Scores of networks are taken less the level of their fold (`deepqct.models.levels`), as ridge scores are
    taken less the mean logit of their training patients. A model of the test set gets each fold's networks by
    themselves, and its logits are averaged (`deepqct.evaluation.averaged`).

    Examples
    --------
    >>> import deepqct as dq
    >>> predictions = dq.models.predict_all(dq.models.tables(dq.run.example_run()))
    >>> predictions.groupby("family")["model"].nunique().to_dict()
    {'BMD': 8, 'Clinical': 1, 'DeepQCT': 6, 'Texture': 9, 'pQCT-index': 9}
    """
    unknown = sorted(set(data.splits["participant_id"]) - set(data.features.index))
    if unknown:
        raise ValueError(f"splits.csv: {unknown[0]} is not in the participants; draw the splits again.")
    jobs = [
        delayed(_predict)(data, str(protocol), int(repeat), sensitivity)
        for protocol, repeat in data.splits[["protocol", "repeat"]].drop_duplicates().itertuples(index=False)
    ]
    return pd.concat(Parallel(n_jobs=workers)(jobs), ignore_index=True)


@dataclass(frozen=True)
class Prepared:
    """All that the models of one protocol and repeat are fitted on.

    Parameters
    ----------
    fold : Series of str
        The fold, or ``test``, of each patient, by participant_id.
    labels : Series of 0 and 1
        Their outcome.
    features : DataFrame
        Their features, the levelled scores of the networks among them.
    networks : Levelled
        These scores, and those of the test patients by each network.
    models : list of Model
        The models that the cohort's columns, indices and networks allow.
    target : Outcome
        The outcome of these patients with its kind; of 0 and 1 it is `labels`.
    """

    fold: pd.Series
    labels: pd.Series
    features: pd.DataFrame
    networks: Levelled
    models: list[Model]
    target: Outcome


def prepared(data: Tables, protocol: str, repeat: int) -> Prepared:
    """What the models of one protocol and repeat are fitted on.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    protocol, repeat : str, int
        As in splits.csv.

    Raises
    ------
    ValueError
        If there is nothing to predict from, or if scores were made with other folds than those of the splits.
    """
    split_rows = data.splits[(data.splits["protocol"] == protocol) & (data.splits["repeat"] == repeat)]
    fold = split_rows.set_index("participant_id")["fold"]
    features, labels = data.features.reindex(fold.index), data.outcome.reindex(fold.index)
    bones = _bones_scored(data, protocol, repeat)
    for bone in bones:
        used = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id")["fold"]
        _check_folds(used, fold=fold, bone=bone, protocol=protocol)
    networks = levelled(data, bones=bones, protocol=protocol, repeat=repeat, fold=fold)
    features = features.join(networks.scores)
    models = models_for(
        data.dictionary,
        indices=features[data.indices],
        bones=bones,
        texture=data.texture,
        strength=data.strength,
        strict=data.strict,
    )
    if not models:
        raise ValueError(
            "There is nothing to predict from: the run has no clinical factors, bone density, indices or networks' scores; "
            "give participants.json roles, or see curation.csv for why no bone was measured."
        )
    return Prepared(fold, labels, features, networks, models, data.predicted.take(fold.index))


def _predict(data: Tables, protocol: str, repeat: int, sensitivity: float | None) -> pd.DataFrame:
    """The predictions of every model for one protocol and repeat."""
    given = prepared(data, protocol, repeat)
    fold, features, networks, models, target = (
        given.fold, given.features, given.networks, given.models, given.target,
    )  # fmt: skip
    made: dict[tuple[str, str], pd.DataFrame] = {}
    found = calibrated_of(data, features, target=target, labels=given.labels, fold=fold)
    calibrated = {} if found is None else dict(found.training)
    if found is not None:
        features = features.drop(columns=list(found.features)).join(found.features)
    for model in models:
        if INDEX_SCORE in model.columns:  # made below, when the index model has its scores
            continue
        training = _training(data, model, protocol, repeat, fold, calibrated=calibrated)
        made[model.family, model.name] = _rows(
            model, features, networks, target, fold, data.patients, sensitivity, training
        )
    index_model = widest(models, "pQCT-index")
    for model in (m for m in models if INDEX_SCORE in m.columns):
        assert index_model is not None, "a model on the index score is made only where there are index models"
        index_rows = made["pQCT-index", index_model.name]
        features[INDEX_SCORE] = index_rows.set_index("participant_id")["score"]
        training = _inner(data, model, protocol, repeat, fold)
        if training:
            columns = features[list(index_model.columns)].astype(float)
            of_fold = {held_out: table.reindex(columns=columns.columns) for held_out, table in calibrated.items()}
            training = _with_index_scores(training, columns, target, fold, data.patients, of_fold=of_fold)
        made[model.family, model.name] = _rows(
            model, features, networks, target, fold, data.patients, sensitivity, training
        )
    table = pd.concat([rows for rows in made.values() if len(rows)], ignore_index=True)
    return table.assign(protocol=protocol, repeat=repeat)[list(COLUMNS_OF[target.kind])]


def _rows(
    model: Model,
    features: pd.DataFrame,
    networks: Levelled,
    target: Outcome,
    fold: pd.Series,
    patients: pd.Series,
    sensitivity: float | None,
    training: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """The rows of one model in predictions.csv, for one protocol and repeat."""
    if model.fitted:
        columns = features[list(model.columns)].astype(float)
        known = {held_out: _completed(table, columns) for held_out, table in training.items()}
        scored = [c for c in columns if c in networks.scores]
        views = [
            columns.drop(columns=scored).join(table[scored])[list(columns)]
            for table in networks.by_network.values()
            if scored
        ]
        if target.kind == YES_NO:
            predicted = cross_predict(
                columns,
                outcome=target.values,
                fold=fold,
                sensitivity=sensitivity,
                training=known,
                patients=patients,
                views=views,
            )
        else:
            predicted = cross_fit(columns, outcome=target, fold=fold, training=known, patients=patients, views=views)
    elif target.kind == YES_NO:
        predicted = _unfitted(model, networks, target.values, fold, sensitivity)
    else:
        predicted = _mapped(model, networks, target, fold)
    table = predicted.join(target.frame()).assign(
        participant_id=fold.index,
        fold=fold,
        split=np.where(fold == "test", "test", "out-of-fold"),
        family=model.family,
        model=model.name,
    )
    return table.dropna(subset="score").reset_index(drop=True)


def _mapped(model: Model, networks: Levelled, target: Outcome, fold: pd.Series) -> pd.DataFrame:
    """Score of a network, or of the mean of several bones, and the number or the risk that it is mapped to."""
    score, _ = mean_of_bones(networks, columns=model.columns, fold=fold)
    frame = pd.DataFrame({"protocol": "this", "repeat": 0, "participant_id": fold.index, "fold": fold, "score": score})
    frame["split"] = np.where(fold == "test", "test", "out-of-fold")
    value = value_of(target)
    told = map_out_of_fold(frame.dropna(subset="score"), outcome=target).set_index("participant_id")[value]
    return pd.DataFrame({"score": score, value: told.reindex(fold.index)})


def _unfitted(
    model: Model, networks: Levelled, labels: pd.Series, fold: pd.Series, sensitivity: float | None
) -> pd.DataFrame:
    """Score, risk and threshold of a network, or of the mean of several bones: no outcome has a say in the score."""
    score, by_network = mean_of_bones(networks, columns=model.columns, fold=fold)
    # The first two are there for the frame that calibration asks for.
    frame = pd.DataFrame({"protocol": "this", "repeat": 0, "participant_id": fold.index, "fold": fold, "score": score})
    frame["split"] = np.where(fold == "test", "test", "out-of-fold")
    each = [
        pd.DataFrame({"protocol": "this", "repeat": 0, "participant_id": own.index, "fold": network, "score": own})
        for network, own in by_network.items()
    ]
    there = frame.dropna(subset="score")
    risk = calibrate_out_of_fold(
        there, outcome=labels, networks=pd.concat(each, ignore_index=True) if each else None
    ).set_index("participant_id")["risk"]
    predicted = pd.DataFrame({"score": score, "risk": risk.reindex(fold.index), "threshold": np.nan})
    # A network has no inner folds: its threshold comes from the scores of the other folds, as in standard stacking.
    for held_out in fold.unique():
        others = (fold != held_out) & (fold != "test")
        level = threshold_for(labels[others], predicted.loc[others, "score"], sensitivity=sensitivity)
        predicted.loc[fold == held_out, "threshold"] = level
    return predicted


def _training(
    data: Tables, model: Model, protocol: str, repeat: int, fold: pd.Series, *, calibrated: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """For each held-out fold, the training patients' columns that are others while it is held out."""
    training = _inner(data, model, protocol, repeat, fold)
    if calibrated and (of_bones := [name for name in model.columns if name in next(iter(calibrated.values()))]):
        training = {held_out: table[of_bones] for held_out, table in calibrated.items()}
    return training


def training_of(
    data: Tables,
    model: Model,
    given: Prepared,
    held_out: str,
    *,
    found: CrossCalibrated | None,
    place: tuple[str, int],
) -> pd.DataFrame:
    """The columns that a model is fitted on while one fold is held out, as `predict_all` fits it.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    model : Model
        A fitted model without the index score.
    given : Prepared
        Of the same protocol and repeat.
    held_out : str
        The fold.
    found : CrossCalibrated or None
        Indices and texture on one scale, if they are cross-calibrated.
    place : tuple of str and int
        Protocol and repeat.

    Returns
    -------
    (patients, columns) DataFrame of float
        With at least the training patients.
    """
    columns = given.features[list(model.columns)].astype(float)
    calibrated = {} if found is None else dict(found.training)
    table = _training(data, model, *place, given.fold, calibrated=calibrated).get(held_out)
    return columns if table is None else _completed(table, columns)


def _completed(table: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """Columns of training patients that are others while a fold is held out, with the rest of the model's columns."""
    return table.join(columns[[c for c in columns if c not in table]])[list(columns)].astype(float)


def _inner(data: Tables, model: Model, protocol: str, repeat: int, fold: pd.Series) -> dict[str, pd.DataFrame]:
    """For each held-out fold, training patients' scores by networks that did not see it; empty in standard stacking.

    These too are taken less the level of their network, which is that of its fold of training patients.
    """
    if not data.inner or not model.fused:
        return {}
    by_fold: dict[str, pd.DataFrame] = {}
    for held_out in sorted(set(fold) - {"test"}):
        women = fold.index[(fold != held_out) & (fold != "test")]
        by_fold[held_out] = pd.DataFrame(index=women)
        for bone, table in data.inner.items():
            if bone in model.bones:
                inner_rows = rows_of(table, protocol, repeat)
                inner_rows = inner_rows[inner_rows["held_out"] == held_out].set_index("participant_id")
                scored = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id").index
                if inner_rows.empty or set(inner_rows.index) != set(scored) & set(women):
                    raise ValueError(
                        f"scores_{bone}_inner.csv lacks networks without fold {held_out} of protocol {protocol!r}, or has "
                        f"those of other women; run 02_train_bone for the {bone} with stacking=strict again."
                    )
                _check_folds(inner_rows["fold"], fold=fold, bone=f"{bone}_inner", protocol=protocol)
                level = levels(inner_rows["score"], inner_rows["fold"])
                by_fold[held_out][f"{bone} score"] = inner_rows["score"] - inner_rows["fold"].map(level).astype(float)
    return by_fold


def _with_index_scores(
    training: Mapping[str, pd.DataFrame],
    columns: pd.DataFrame,
    target: Outcome,
    fold: pd.Series,
    patients: pd.Series,
    *,
    of_fold: Mapping[str, pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    """The scores of strict stacking, completed by those of the index model from fits that saw neither fold.

    Where indices are cross-calibrated, `of_fold` has them for each held-out fold.
    """
    by_fold = {}
    for held_out, table in training.items():
        rows = fold.index[(fold != held_out) & (fold != "test")]
        known = of_fold[held_out].fillna(columns).loc[rows] if held_out in of_fold else columns.loc[rows]
        own = target.take(rows)
        if target.kind == YES_NO:
            table_of = cross_predict(known, outcome=own.values, fold=fold[rows], patients=patients)
        else:
            table_of = cross_fit(known, outcome=own, fold=fold[rows], patients=patients)
        inner = table_of["score"]
        by_fold[held_out] = table.assign(**{INDEX_SCORE: inner.reindex(table.index)})
    return by_fold


def _check_folds(used: pd.Series, *, fold: pd.Series, bone: str, protocol: str) -> None:
    """Refuse scores that were made with other folds than those of the splits."""
    expected = fold.reindex(used.index)
    wrong = used.index[(used != expected) | expected.isna()]
    if len(wrong):
        raise ValueError(
            f"scores_{bone}.csv: {wrong[0]} was scored in fold {used[wrong[0]]} of protocol {protocol!r}, where splits.csv "
            f"has {expected[wrong[0]]}; run 02_train_bone for the {bone} again."
        )


def predict_run(
    run: Run,
    *,
    stacking: str = "standard",
    sensitivity: float = 0.0,
    cross_calibrate: str = "none",
    workers: int = 1,
) -> pd.DataFrame:
    """Predict with every model of a run; write predictions.csv, and models.csv, which says what each model is.

    Parameters
    ----------
    run : Run
        A run with the tables of the curation and the scores of the networks.
    stacking : str
        standard, or strict if 02_train_bone trained the inner networks.
    sensitivity : float
        The sensitivity that the thresholds must reach; with 0 they have the largest sum of sensitivity and specificity.
    cross_calibrate : str
        none, or a column of participants.csv such as centre: what each of them adds to indices and texture is taken off, as
        the women of the training folds tell it (`deepqct.models.scanners`). Scores of networks stay as they are.
    workers : int
        How many protocols and repeats are worked on at the same time.

    Returns
    -------
    DataFrame
        The predictions, as in `predict_all`.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> predictions = dq.predict_run(run)
    >>> f"{predictions['participant_id'].nunique()} women, {len(predictions)} rows in {run.predictions.name}"
    '12 women, 396 rows in predictions.csv'
    """
    data = tables(run, stacking=stacking, cross_calibrate=cross_calibrate)
    predictions = predict_all(data, sensitivity=sensitivity or None, workers=workers)
    write_table(run.models_table, models_table(models_of(data)))
    write_table(run.predictions, predictions)
    return predictions
