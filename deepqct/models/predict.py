"""The families' predictions on the same patients and folds, and the late fusion of the bones' networks.

Everything that is fitted (imputing, scaling, penalty, regression, threshold, fusion) is fitted inside the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from deepqct.evaluation.decisions import threshold_for
from deepqct.folder import Run, read_json, read_table, write_table
from deepqct.models.classifiers import cross_predict
from deepqct.models.families import INDEX_SCORE, Model, models_for, models_table, widest
from deepqct.run_tables import bones_of, patients_of, rows_of, run_outcome, wide_indices
from deepqct.terms import BONES
from deepqct.work import say

STACKING = ("standard", "strict")
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


@dataclass(frozen=True)
class Tables:
    """What the models are made from.

    Parameters
    ----------
    features : DataFrame
        Indexed by participant_id: the columns of participants.csv, and one a bone and index.
    indices : list of str
        Those that are indices.
    scores : mapping of str to DataFrame
        scores_<bone>.csv by bone.
    inner : mapping of str to DataFrame
        By bone, scores of networks that saw neither fold (scores_<bone>_inner.csv); empty for standard stacking.
    splits : DataFrame
        splits.csv.
    dictionary : mapping
        The completed data dictionary.
    outcome : Series of 0 and 1
        Indexed by participant_id.
    patients : Series
        Which rows are one patient (`deepqct.run_tables.patients_of`), indexed by participant_id.
    """

    features: pd.DataFrame
    indices: list[str]
    scores: Mapping[str, pd.DataFrame]
    inner: Mapping[str, pd.DataFrame]
    splits: pd.DataFrame
    dictionary: Mapping[str, Any]
    outcome: pd.Series
    patients: pd.Series


def tables(run: Run, *, stacking: str = "standard") -> Tables:
    """What a run's models are made from.

    Raises
    ------
    FileNotFoundError
        If the curation has not run, or strict stacking lacks its networks.
    ValueError
        If the stacking is not known.
    """
    if stacking not in STACKING:
        raise ValueError(f"stacking is {stacking!r}; use one of {', '.join(STACKING)}.")
    participants = read_table(run.require(run.participants, written_by="01_data_curation"))
    wide = wide_indices(read_table(run.indices))
    scored = [bone for bone in bones_of(run) if run.scores(bone).exists()]
    for bone in set(BONES) - set(bones_of(run)):
        if run.scores(bone).exists():
            say(f"{run.scores(bone).name} is left out, since this run was asked for {', '.join(bones_of(run))}.")
    inner = {}
    if stacking == "strict":
        for bone in scored:
            inner[bone] = read_table(
                run.require(run.inner_scores(bone), written_by="02_train_bone with stacking=strict")
            )
    return Tables(
        features=participants.set_index("participant_id").join(wide),
        indices=list(wide.columns),
        scores={bone: read_table(run.scores(bone)) for bone in scored},
        inner=inner,
        splits=read_table(run.splits),
        dictionary=read_json(run.dictionary),
        outcome=run_outcome(run),
        patients=patients_of(run),
    )


def models_of(data: Tables) -> list[Model]:
    """Every model of a run; the bones that have networks may differ between protocols and repeats."""
    places = data.splits[["protocol", "repeat"]].drop_duplicates().itertuples(index=False)
    sets = dict.fromkeys(tuple(_bones_scored(data, str(protocol), int(repeat))) for protocol, repeat in places)
    return [
        model
        for bones in sets
        for model in models_for(data.dictionary, indices=data.features[data.indices], bones=list(bones))
    ]


def _bones_scored(data: Tables, protocol: str, repeat: int) -> list[str]:
    """The bones whose networks were trained on one protocol and repeat."""
    return [bone for bone, table in data.scores.items() if len(rows_of(table, protocol, repeat))]


def predict_all(data: Tables, *, sensitivity: float | None = None, workers: int = 1) -> pd.DataFrame:
    """Out-of-fold and test predictions of every model.

    Parameters
    ----------
    data : Tables
        What the models are made from.
    sensitivity : float, optional
        Of the thresholds, as in `deepqct.evaluation.threshold_for`.
    workers : int
        Protocols and repeats side by side; the results do not depend on it.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold, split, family, model, outcome, score (a logit), risk, threshold (of the
        score, from the training folds). A patient without any value in a model's columns has no row for that model; a
        network's models are there for the protocols and repeats it was trained on.

    Raises
    ------
    ValueError
        If a patient of the splits is not among the participants, or scores were made with other folds than the splits:
        their networks may then have seen the patients they score.

    Notes
    -----
    Late fusion is fitted for each held-out fold on the out-of-fold scores of the other folds. In standard stacking those
    come from networks that saw the held-out fold's patients; in strict stacking from networks that saw neither fold.
    """
    unknown = sorted(set(data.splits["participant_id"]) - set(data.features.index))
    if unknown:
        raise ValueError(f"splits.csv: {unknown[0]} is not in the participants; draw the splits again.")
    jobs = [
        delayed(_predict)(data, str(protocol), int(repeat), sensitivity)
        for protocol, repeat in data.splits[["protocol", "repeat"]].drop_duplicates().itertuples(index=False)
    ]
    return pd.concat(Parallel(n_jobs=workers)(jobs), ignore_index=True)


def _predict(data: Tables, protocol: str, repeat: int, sensitivity: float | None) -> pd.DataFrame:
    """Every model's predictions for one protocol and repeat."""
    part = data.splits[(data.splits["protocol"] == protocol) & (data.splits["repeat"] == repeat)]
    fold = part.set_index("participant_id")["fold"]
    features, labels = data.features.reindex(fold.index), data.outcome.reindex(fold.index)
    risks: dict[str, pd.Series] = {}
    bones = _bones_scored(data, protocol, repeat)
    for bone in bones:
        mine = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id")
        _check_folds(mine["fold"], fold=fold, bone=bone, protocol=protocol)
        features[f"{bone} score"] = mine["score"]
        risks[f"{bone} score"] = mine["risk"]
    models = models_for(data.dictionary, indices=features[data.indices], bones=bones)
    if not models:
        raise ValueError(
            "There is nothing to predict from: the run has no clinical factors, bone density, indices or networks' scores; "
            "give participants.json roles, or see curation.csv for why no bone was measured."
        )
    parts: dict[tuple[str, str], pd.DataFrame] = {}
    for model in models:
        if INDEX_SCORE in model.columns:  # its columns are known once the index models are
            continue
        training = _inner(data, model, protocol, repeat, fold)
        parts[model.family, model.name] = _rows(
            model, features, risks, labels, fold, data.patients, sensitivity, training
        )
    index_model = widest(models, "pQCT-index")
    for model in (m for m in models if INDEX_SCORE in m.columns):
        assert index_model is not None, "a model on the index score is made only where there are index models"
        own = parts["pQCT-index", index_model.name]
        features[INDEX_SCORE] = own.set_index("participant_id")["score"]
        training = _inner(data, model, protocol, repeat, fold)
        if training:
            columns = features[list(index_model.columns)].astype(float)
            training = _with_index_scores(training, columns, labels, fold, data.patients)
        parts[model.family, model.name] = _rows(
            model, features, risks, labels, fold, data.patients, sensitivity, training
        )
    return pd.concat([part for part in parts.values() if len(part)], ignore_index=True).assign(
        protocol=protocol, repeat=repeat
    )[list(COLUMNS)]


def _rows(
    model: Model,
    features: pd.DataFrame,
    risks: Mapping[str, pd.Series],
    labels: pd.Series,
    fold: pd.Series,
    patients: pd.Series,
    sensitivity: float | None,
    training: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """One model's rows."""
    if model.fitted:
        columns = features[list(model.columns)].astype(float)
        known = {
            held_out: table.join(columns[[c for c in columns if c not in table]])[list(columns)].astype(float)
            for held_out, table in training.items()
        }
        found = cross_predict(
            columns, outcome=labels, fold=fold, sensitivity=sensitivity, training=known, patients=patients
        )
    else:
        (column,) = model.columns
        found = pd.DataFrame(
            {"score": features[column], "risk": risks[column].reindex(fold.index), "threshold": np.nan}
        )
        for held_out in fold.unique():  # a network has no inner folds: the other folds' scores, as in standard stacking
            others = (fold != held_out) & (fold != "test")
            level = threshold_for(labels[others], found.loc[others, "score"], sensitivity=sensitivity)
            found.loc[fold == held_out, "threshold"] = level
    table = found.assign(
        participant_id=fold.index,
        fold=fold,
        split=np.where(fold == "test", "test", "out-of-fold"),
        family=model.family,
        model=model.name,
        outcome=labels,
    )
    return table.dropna(subset="score").reset_index(drop=True)


def _inner(data: Tables, model: Model, protocol: str, repeat: int, fold: pd.Series) -> dict[str, pd.DataFrame]:
    """By held-out fold the training patients' scores by networks that did not see it; nothing for standard stacking."""
    if not data.inner or not model.fused:
        return {}
    found: dict[str, pd.DataFrame] = {}
    for held_out in sorted(set(fold) - {"test"}):
        women = fold.index[(fold != held_out) & (fold != "test")]
        found[held_out] = pd.DataFrame(index=women)
        for bone, table in data.inner.items():
            if bone in model.bones:
                mine = rows_of(table, protocol, repeat)
                mine = mine[mine["held_out"] == held_out].set_index("participant_id")
                scored = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id").index
                if mine.empty or set(mine.index) != set(scored) & set(women):
                    raise ValueError(
                        f"scores_{bone}_inner.csv lacks networks without fold {held_out} of protocol {protocol!r}, or has "
                        f"those of other women; run 02_train_bone for the {bone} with stacking=strict again."
                    )
                _check_folds(mine["fold"], fold=fold, bone=f"{bone}_inner", protocol=protocol)
                found[held_out][f"{bone} score"] = mine["score"]
    return found


def _with_index_scores(
    training: Mapping[str, pd.DataFrame],
    columns: pd.DataFrame,
    labels: pd.Series,
    fold: pd.Series,
    patients: pd.Series,
) -> dict[str, pd.DataFrame]:
    """Strict inner scores, with the index model's from fits that saw neither fold."""
    found = {}
    for held_out, table in training.items():
        rows = fold.index[(fold != held_out) & (fold != "test")]
        inner = cross_predict(columns.loc[rows], outcome=labels[rows], fold=fold[rows], patients=patients)["score"]
        found[held_out] = table.assign(**{INDEX_SCORE: inner.reindex(table.index)})
    return found


def _check_folds(used: pd.Series, *, fold: pd.Series, bone: str, protocol: str) -> None:
    """Refuse scores that were made with other folds than the splits."""
    expected = fold.reindex(used.index)
    wrong = used.index[(used != expected) | expected.isna()]
    if len(wrong):
        raise ValueError(
            f"scores_{bone}.csv: {wrong[0]} was scored in fold {used[wrong[0]]} of protocol {protocol!r}, where splits.csv "
            f"has {expected[wrong[0]]}; run 02_train_bone for the {bone} again."
        )


def predict_run(run: Run, *, stacking: str = "standard", sensitivity: float = 0.0, workers: int = 1) -> pd.DataFrame:
    """Predict with every model of a run, and write predictions.csv, and models.csv: what each model is.

    Parameters
    ----------
    run : Run
        With the curation's tables and the networks' scores.
    stacking : str
        standard, or strict where 02_train_bone made the inner networks.
    sensitivity : float
        Of the thresholds; 0: the largest sum of sensitivity and specificity.
    workers : int
        Protocols and repeats side by side.

    Returns
    -------
    DataFrame
        As `predict_all`.
    """
    data = tables(run, stacking=stacking)
    predictions = predict_all(data, sensitivity=sensitivity or None, workers=workers)
    write_table(run.models_table, models_table(models_of(data)))
    write_table(run.predictions, predictions)
    return predictions
