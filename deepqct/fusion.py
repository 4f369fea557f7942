"""The three families of models on the same patients and folds, and the late fusion of the bones' networks.

BMD, pQCT-index and DeepQCT, as the preprint names them (Chen 2024); which columns a model takes is our choice. Everything
that is fitted (imputing, scaling, regression, fusion) is fitted inside the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from deepqct.cohort import columns_by_role, run_outcome
from deepqct.evaluation import auc_interval
from deepqct.folder import BONES, SITES, Run, read_json, read_table, write_table
from deepqct.indices import wide_indices

FAMILIES = ("Clinical", "BMD", "pQCT-index", "DeepQCT")
RIDGE_C = 0.1  # on standardised columns; our choice, fixed beforehand
_PAIRS: dict[str, tuple[str, ...]] = {
    "radius + tibia": ("radius", "tibia"),  # the two bones of the standard analysis
    "non-weight-bearing (radius + ulna)": SITES["wrist"],
    "weight-bearing (tibia + fibula)": SITES["ankle"],
}


@dataclass(frozen=True)
class Model:
    """One model: its family, its name, its columns.

    Parameters
    ----------
    family, name : str
        As in the tables and figures.
    columns : tuple of str
        Columns of the feature table; networks' scores are called ``<bone> score``.
    fitted : bool
        False for a single network, whose own score and risk are taken as they are.
    """

    family: str
    name: str
    columns: tuple[str, ...]
    fitted: bool = True


def models_for(dictionary: Mapping[str, Any], *, indices: pd.DataFrame, bones: list[str]) -> list[Model]:
    """The models that a cohort's columns, indices and networks allow.

    Parameters
    ----------
    dictionary : mapping
        The completed data dictionary: bmd and clinical columns by role.
    indices : DataFrame
        One row a patient, columns such as ``radius Tt.vBMD``.
    bones : list of str
        The bones that have networks' scores.
    """
    clinical = tuple(columns_by_role(dict(dictionary), "clinical"))
    bmd = columns_by_role(dict(dictionary), "bmd")
    plus = " + clinical"
    models = [Model("Clinical", "clinical factors", clinical)] if clinical else []
    # Named after the column, which is unique; two columns may share a description.
    models += [Model("BMD", c.removeprefix("bmd_").replace("_", " "), (c,)) for c in bmd]
    if len(bmd) > 1:
        models.append(Model("BMD", "all sites", tuple(bmd)))
    if bmd and clinical:
        models.append(Model("BMD", "all sites" + plus, (*bmd, *clinical)))
    measured = {b: tuple(c for c in indices.columns if c.startswith(f"{b} ")) for b in BONES}
    measured = {bone: columns for bone, columns in measured.items() if columns}
    models += _over_bones("pQCT-index", measured, clinical, fitted=True)
    models += _over_bones("DeepQCT", {b: (f"{b} score",) for b in BONES if b in bones}, clinical, fitted=False)
    return models


def _over_bones(
    family: str, by_bone: dict[str, tuple[str, ...]], clinical: tuple[str, ...], *, fitted: bool
) -> list[Model]:
    """One model for each bone, each pair, all bones, and all with clinical factors."""
    models = [Model(family, bone, columns, fitted) for bone, columns in by_bone.items()]
    for name, pair in _PAIRS.items():
        if all(bone in by_bone for bone in pair):
            models.append(Model(family, name, sum((by_bone[bone] for bone in pair), ())))
    every = sum(by_bone.values(), ())
    if len(by_bone) > 1:
        named = next((name for name, bones in _PAIRS.items() if bones == tuple(by_bone)), None)
        name = "all four bones" if len(by_bone) == len(BONES) else named or " + ".join(by_bone)
        if named is None:
            models.append(Model(family, name, every))
        if clinical:
            models.append(Model(family, f"{name} + clinical", (*every, *clinical)))
    return models


def predict_all(
    participants: pd.DataFrame,
    *,
    indices: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    splits: pd.DataFrame,
    dictionary: Mapping[str, Any],
    outcome: pd.Series,
) -> pd.DataFrame:
    """Out-of-fold and test predictions of every model.

    Parameters
    ----------
    participants : DataFrame
        One row a patient.
    indices : DataFrame
        indices.csv.
    scores : mapping of str to DataFrame
        scores_<bone>.csv by bone.
    splits : DataFrame
        splits.csv.
    dictionary : mapping
        The completed data dictionary.
    outcome : Series of 0 and 1
        Indexed by participant_id.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold, split, family, model, outcome, score, risk. A patient without any value in
        a model's columns has no row for that model; a network's models are there for the protocols it was trained on.

    Raises
    ------
    ValueError
        If a patient of the splits is not in `participants`, or scores were made with other folds than `splits`: their
        networks may then have seen the patients they score.

    Notes
    -----
    Late fusion is fitted for each held-out fold on the out-of-fold scores of the other folds. Those come from networks that
    saw the held-out fold's patients (standard stacking); retraining inside each fold would avoid it at K times the cost.
    """
    wide = wide_indices(indices)
    tabular = participants.set_index("participant_id").join(wide)
    unknown = sorted(set(splits["participant_id"]) - set(tabular.index))
    if unknown:
        raise ValueError(f"splits.csv: {unknown[0]} is not in the participants; draw the splits again.")
    parts = []
    for (protocol, repeat), split in splits.groupby(["protocol", "repeat"]):
        fold = split.set_index("participant_id")["fold"]
        features, risks = tabular.reindex(fold.index), {}
        for bone, table in scores.items():
            mine = table[(table["protocol"] == protocol) & (table["repeat"] == repeat)].set_index("participant_id")
            if mine.empty:
                continue
            _check_folds(mine["fold"], fold=fold, bone=bone, protocol=str(protocol))
            features[f"{bone} score"] = mine["score"]
            risks[f"{bone} score"] = mine["risk"]
        labels = outcome.reindex(fold.index)
        trained = [bone for bone in scores if f"{bone} score" in features]
        for model in models_for(dictionary, indices=wide, bones=trained):
            if model.fitted:
                score = cross_predict(features[list(model.columns)].astype(float), outcome=labels, fold=fold)
                risk = pd.Series(special.expit(score.to_numpy()), index=score.index)
            else:
                (column,) = model.columns
                score, risk = features[column], risks[column].reindex(fold.index)
            parts.append(
                pd.DataFrame(
                    {
                        "protocol": protocol,
                        "repeat": repeat,
                        "participant_id": fold.index,
                        "fold": fold.to_numpy(),
                        "split": np.where(fold == "test", "test", "out-of-fold"),
                        "family": model.family,
                        "model": model.name,
                        "outcome": labels.to_numpy(),
                        "score": score.to_numpy(),
                        "risk": risk.to_numpy(),
                    }
                ).dropna(subset="score")
            )
    return pd.concat(parts, ignore_index=True)


def _check_folds(used: pd.Series, *, fold: pd.Series, bone: str, protocol: str) -> None:
    """Refuse scores that were made with other folds than the splits."""
    expected = fold.reindex(used.index)
    wrong = used.index[(used != expected) | expected.isna()]
    if len(wrong):
        raise ValueError(
            f"scores_{bone}.csv: {wrong[0]} was scored in fold {used[wrong[0]]} of protocol {protocol!r}, where splits.csv "
            f"has {expected[wrong[0]]}; run 02_train_bone for the {bone} again."
        )


def cross_predict(features: pd.DataFrame, *, outcome: pd.Series, fold: pd.Series) -> pd.Series:
    """Logits of one model: each fold from the other folds, the test set from all folds.

    Parameters
    ----------
    features : (patients, columns) DataFrame of float
        NaN where missing.
    outcome, fold : Series
        0 or 1; the fold or ``test``. Indexed as `features`.

    Returns
    -------
    Series
        A logit for every patient with a value in any column, NaN for the others, who take no part in the fits. It is 0
        where the training folds hold one outcome only, or none of the columns.
    """
    score = pd.Series(np.nan, index=features.index)
    measured = features.notna().any(axis=1)
    for held_out in fold.unique():
        train = measured & (fold != held_out) & (fold != "test")
        # A column without any value in the training folds says nothing; the imputer could only invent it.
        known = features.columns[features[train].notna().any()]
        rows = measured & (fold == held_out)
        if not rows.any():
            continue
        if known.empty or outcome[train].nunique() < 2:
            score[rows] = 0.0
            continue
        model = pipeline().fit(features.loc[train, known], outcome[train])
        score[rows] = model.decision_function(features.loc[rows, known])
    return score


def pipeline() -> Pipeline:
    """Median imputing, scaling and ridge logistic regression, fitted as one."""
    return make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=RIDGE_C, max_iter=1000)
    )


def summarise(predictions: pd.DataFrame) -> pd.DataFrame:
    """Each model's AUC with interval, n and events.

    Parameters
    ----------
    predictions : DataFrame
        From `predict_all`. With several repeats a patient's score is their mean; the interval is then of that mean score.

    Returns
    -------
    DataFrame
        protocol, split, family, model, measure, value, low, high, n, events; no value where it is not estimable.
    """
    rows = []
    keys = ["protocol", "split", "family", "model"]
    for key, part in predictions.groupby(keys, sort=False):
        mean = part.groupby("participant_id")[["outcome", "score"]].mean()
        auc = auc_interval(mean["outcome"], mean["score"])
        figures = {"value": auc.value, "low": auc.low, "high": auc.high, "n": auc.n, "events": auc.events}
        rows.append(dict(zip(keys, key, strict=True)) | {"measure": "AUC"} | figures)
    return pd.DataFrame(rows)


def compare_families(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict with every model of a run, and write predictions.csv and performance.csv.

    Returns
    -------
    DataFrame
        As `predict_all`.
    DataFrame
        As `summarise`.
    """
    predictions = predict_all(
        read_table(run.require(run.participants, written_by="01_data_curation")),
        indices=read_table(run.indices),
        scores={bone: read_table(run.scores(bone)) for bone in BONES if run.scores(bone).exists()},
        splits=read_table(run.splits),
        dictionary=read_json(run.dictionary),
        outcome=run_outcome(run),
    )
    performance = summarise(predictions)
    write_table(run.predictions, predictions)
    write_table(run.performance, performance)
    return predictions, performance


def attainable_auc(run: Run) -> float | None:
    """The AUC that nobody can exceed on a virtual cohort; None for a real one. For figures only."""
    virtual = read_json(run.dictionary).get("virtual")
    return None if virtual is None else float(virtual["attainable_auc"]["all"])
