"""The families judged and compared: every table of the report that is made from predictions.csv.

AUC and AUPRC are means over the repeats of the folds; everything else is of the first repeat, the one that the networks
share. Comparisons are planned, paired on the patients and repeats that both models have, and adjusted for their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from deepqct import evaluation
from deepqct.evaluation.discrimination import NETWORKS_VARY
from deepqct.folder import Run, read_table, write_table
from deepqct.models.classifiers import RIDGE, cross_predict
from deepqct.models.families import Model, models_for, models_table
from deepqct.models.optimism import adequacy, optimism
from deepqct.models.predict import models_of, tables
from deepqct.run_tables import first_repeat, headlines, main_rows, osteoporosis_of, rows_of
from deepqct.terms import BONES, SITES
from deepqct.work import Progress

MARGIN = 0.05  # of non-inferiority, in AUC; our choice
ONE_SIDED = 0.025  # level of a verdict of non-inferiority
STANDARD = "standard stacking"
OLD = 75  # years, where the subgroups of age part; our choice
_BLOCK = ["protocol", "split"]
_MODEL = ["family", "model"]


def summarise(predictions: pd.DataFrame, *, models: pd.DataFrame, strict: bool = False) -> pd.DataFrame:
    """Every measure of every model, with interval, n and events.

    Parameters
    ----------
    predictions : DataFrame
        As predictions.csv.
    models : DataFrame
        As models.csv.
    strict : bool
        True if fused models come from strict stacking; those of standard stacking are not tested, since it favours them
        where there is nothing to find.

    Returns
    -------
    DataFrame
        protocol, split, family, model, measure, estimate, low, high, n, events, repeats, p (of the AUC: one-sided, against
        chance; of networks by an error wider than DeLong's), p_holm (adjusted for all models of the protocol and split).
        Measures: AUC, AUPRC; of the first repeat: sensitivity, specificity, PPV, NPV at the thresholds that the training
        folds chose, intercept, slope, Brier, scaled Brier. No value where it is not estimable.
    """
    rows: list[dict[str, Any]] = []
    fused = _fused(models)
    for key, part in predictions.groupby([*_BLOCK, *_MODEL], sort=False):
        outcome, scores = _repeats(part)
        what: dict[str, Any] = dict(zip([*_BLOCK, *_MODEL], key, strict=True)) | {"repeats": scores.shape[1]}
        biased = not strict and (what["family"], what["model"]) in fused
        wider = NETWORKS_VARY if what["family"] == "DeepQCT" else 1.0
        p = np.nan if biased else evaluation.better_than_chance(outcome, scores, wider=wider)
        rows.append(what | {"measure": "AUC", "p": p} | evaluation.auc(outcome, scores).row())
        rows.append(what | {"measure": "AUPRC"} | evaluation.auprc(outcome, scores).row())
        first = first_repeat(part)
        called = evaluation.decided(first["score"].to_numpy(float), first["threshold"].to_numpy(float))
        figures = [
            evaluation.classification(first["outcome"], called),
            evaluation.calibration_measures(first["outcome"], first["risk"]),
        ]
        rows += [
            what | {"repeats": 1} | {str(k): v for k, v in row.items()} for row in pd.concat(figures).to_dict("records")
        ]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(_BLOCK)["p"].transform(evaluation.holm)
    return table[[*_BLOCK, *_MODEL, "measure", "estimate", "low", "high", "n", "events", "repeats", "p", "p_holm"]]


def planned(
    predictions: pd.DataFrame, *, models: pd.DataFrame, margin: float = MARGIN, strict: bool = False
) -> pd.DataFrame:
    """The comparisons that were fixed beforehand.

    Parameters
    ----------
    predictions : DataFrame
        As predictions.csv.
    models : DataFrame
        As models.csv.
    margin : float
        Of non-inferiority.
    strict : bool
        True if fused models come from strict stacking.

    Returns
    -------
    DataFrame
        protocol, split, question, family_a, model_a, family_b, model_b, estimate (AUC of a minus AUC of b), low, high, p,
        p_holm, margin, p_margin, p_margin_holm, non_inferior (at 2.5 % one-sided, adjusted), n, events, repeats, caveat.
        Those of the margin only where non-inferiority was the question: DeepQCT against indices, non-weight-bearing
        against weight-bearing bones. With a fused model of standard stacking, the caveat, there are no p values and no
        verdict: that stacking favours fused models where there is nothing to find.
    """
    tables, fused = [], _fused(models)
    for (protocol, split), block in predictions.groupby(_BLOCK, sort=False):
        rows = []
        for question, one, other, with_margin in _questions(block, models):
            a, b = (block[(block["family"] == f) & (block["model"] == m)] for f, m in (one, other))
            outcome, score_a, score_b = _both(a, b)
            row = {"protocol": protocol, "split": split, "question": question, "family_a": one[0], "model_a": one[1]}
            row |= {"family_b": other[0], "model_b": other[1]}
            row |= evaluation.compare_auc(outcome, score_a, score_b).row()
            row |= {"margin": np.nan, "p_margin": np.nan, "repeats": score_a.shape[1], "caveat": ""}
            if with_margin:
                against = evaluation.noninferiority(outcome, score_a, score_b, margin=margin)
                row |= {"margin": margin, "p_margin": against.p}
            if not strict and {one, other} & fused:
                row |= {"p": np.nan, "p_margin": np.nan, "caveat": STANDARD}
            rows.append(row)
        if rows:
            table = pd.DataFrame(rows)
            table["p_holm"] = evaluation.holm(table["p"])
            table["p_margin_holm"] = evaluation.holm(table["p_margin"])
            verdict = (table["p_margin_holm"] < ONE_SIDED).astype(object)
            tables.append(table.assign(non_inferior=verdict.where(table["p_margin_holm"].notna(), None)))
    order = [
        "protocol",
        "split",
        "question",
        "family_a",
        "model_a",
        "family_b",
        "model_b",
        "estimate",
        "low",
        "high",
        "p",
    ]
    order += ["p_holm", "margin", "p_margin", "p_margin_holm", "non_inferior", "n", "events", "repeats", "caveat"]
    return pd.concat(tables, ignore_index=True)[order] if tables else pd.DataFrame(columns=order)


def _fused(models: pd.DataFrame) -> set[tuple[str, str]]:
    """Family and model of those that are fitted on scores of networks."""
    return set(models.loc[models["fused"], _MODEL].itertuples(index=False, name=None))


def _questions(
    block: pd.DataFrame, models: pd.DataFrame
) -> Iterator[tuple[str, tuple[str, str], tuple[str, str], bool]]:
    """The planned questions that the models at hand allow."""
    there = set(block[_MODEL].itertuples(index=False, name=None))
    known = models[[pair in there for pair in models[_MODEL].itertuples(index=False, name=None)]]
    wide = {family: (family, model) for family, model in known.loc[known["headline"], _MODEL].itertuples(index=False)}
    own = known[known["own"]].set_index(["family", "bones"])["model"]
    pairs = [("DeepQCT", "pQCT-index", True), ("pQCT-index", "BMD", False), ("DeepQCT", "BMD", False)]
    pairs += [("DeepQCT", "FRAX", False), ("DeepQCT", "Clinical", False)]
    for one, other, with_margin in pairs:
        if one in wide and other in wide:
            yield f"{one} − {other}", wide[one], wide[other], with_margin
    by_bones = [(f"DeepQCT − pQCT-index, {b}", ("DeepQCT", b), ("pQCT-index", b)) for b in BONES]
    wrist, ankle = (("DeepQCT", ", ".join(SITES[site])) for site in ("wrist", "ankle"))
    for question, first, second in [*by_bones, ("non-weight-bearing − weight-bearing", wrist, ankle)]:
        if first in own.index and second in own.index:
            yield question, (first[0], own[first]), (second[0], own[second]), True


def curves(predictions: pd.DataFrame, *, models: pd.DataFrame) -> pd.DataFrame:
    """Calibration curves and decision curves of each family's widest model, out of fold, first protocol and repeat.

    Returns
    -------
    DataFrame
        curve (calibration, decision), family, model, strategy, x (predicted risk, or threshold), y (observed share, or net
        benefit per woman), low, high, n, events.
    """
    parts = []
    for family, model, part in _headlines(predictions, models):
        first = first_repeat(part)
        n, events = len(first), int(first["outcome"].sum())
        smooth = evaluation.calibration_curve(first["outcome"], first["risk"]).rename(
            columns={"risk": "x", "observed": "y"}
        )
        parts.append(
            smooth.assign(curve="calibration", strategy="model", n=n, events=events, family=family, model=model)
        )
        worth = evaluation.net_benefit(first["outcome"], first["risk"]).rename(
            columns={"threshold": "x", "estimate": "y"}
        )
        parts.append(worth.assign(curve="decision", family=family, model=model))
    names = ["curve", "family", "model", "strategy", "x", "y", "low", "high", "n", "events"]
    kept = [part[names] for part in parts if len(part)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=names)


def reclassified(predictions: pd.DataFrame, *, models: pd.DataFrame) -> pd.DataFrame:
    """Women who change side when indices or DeepQCT replace bone density, out of fold, first protocol and repeat.

    Returns
    -------
    DataFrame
        before, after (family and model), and the columns of `deepqct.evaluation.reclassification`.
    """
    found = {
        family: (model, first_repeat(part).set_index("participant_id"))
        for family, model, part in _headlines(predictions, models)
    }
    parts = []
    for family in ("pQCT-index", "DeepQCT"):
        if "BMD" not in found or family not in found:
            continue
        (one, old), (other, new) = found["BMD"], found[family]
        both = old.index.intersection(new.index)
        before, after = (
            evaluation.decided(t.loc[both, "score"].to_numpy(float), t.loc[both, "threshold"].to_numpy(float))
            for t in (old, new)
        )
        table = evaluation.reclassification(old.loc[both, "outcome"], before=before, after=after)
        parts.append(table.assign(before=f"BMD, {one}", after=f"{family}, {other}"))
    names = ["before", "after", "group", "up", "down", "estimate", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def by_subgroup(predictions: pd.DataFrame, participants: pd.DataFrame, *, models: pd.DataFrame) -> pd.DataFrame:
    """The AUC of each family's widest model by age and by osteoporosis, out of fold, first protocol.

    Parameters
    ----------
    predictions : DataFrame
        As predictions.csv.
    participants : DataFrame
        Column ``age`` and T-scores (``t_…``) as far as the cohort has them; women who lack them are in no subgroup.

    Returns
    -------
    DataFrame
        subgroup, family, model, estimate, low, high, n, events.
    """
    people = participants.set_index("participant_id")
    subgroups: dict[str, pd.Series] = {}
    if "age" in people:
        subgroups |= {f"younger than {OLD}": people["age"] < OLD, f"{OLD} and older": people["age"] >= OLD}
    osteoporosis = osteoporosis_of(people)
    if osteoporosis.notna().any():
        subgroups |= {"osteoporosis (T ≤ −2.5)": osteoporosis == 1, "no osteoporosis": osteoporosis == 0}
    rows = []
    for name, members in subgroups.items():
        for family, model, part in _headlines(predictions, models):
            inside = part[part["participant_id"].isin(members.index[members])]
            if len(inside):
                figures = evaluation.auc(*_repeats(inside)).row()
                rows.append({"subgroup": name, "family": family, "model": model} | figures)
    return pd.DataFrame(rows, columns=["subgroup", "family", "model", "estimate", "low", "high", "n", "events"])


def compare_run(
    run: Run,
    predictions: pd.DataFrame,
    *,
    stacking: str = "standard",
    margin: float = MARGIN,
    permutations: int = 200,
    bootstraps: int = 100,
    classifiers: str = "none",
    workers: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Judge and compare a run's predictions, and write every table of it.

    Parameters
    ----------
    run : Run
        With predictions.csv.
    predictions : DataFrame
        Its content.
    stacking : str
        That the predictions were made with.
    margin, permutations, bootstraps, workers, seed, progress
        As in `planned` and `optimism`.
    classifiers : str
        As in `other_classifiers`.

    Returns
    -------
    dict of str to DataFrame
        performance, comparisons, curves, reclassification, subgroups, sample_size, optimism, classifiers.
    """
    data, strict = tables(run, stacking=stacking), stacking == "strict"
    others = other_classifiers(run, classifiers=classifiers, workers=workers)
    models = models_table(models_of(data))
    found = {
        "performance": summarise(predictions, models=models, strict=strict),
        "comparisons": planned(predictions, models=models, margin=margin, strict=strict),
        "curves": curves(predictions, models=models),
        "reclassification": reclassified(predictions, models=models),
        "subgroups": by_subgroup(predictions, read_table(run.participants), models=models),
        "sample_size": adequacy(data),
        "optimism": optimism(
            data,
            predictions,
            models=models,
            permutations=permutations,
            bootstraps=bootstraps,
            workers=workers,
            seed=seed,
            progress=progress,
        ),
        "classifiers": _classifiers(others),
    }
    for name, table in found.items():
        write_table(getattr(run, name), table)
    return found


def _classifiers(scores: pd.DataFrame) -> pd.DataFrame:
    """AUC by model and classifier."""
    names = ["family", "model", "classifier", "estimate", "low", "high", "n", "events"]
    if scores.empty:
        return pd.DataFrame(columns=names)
    rows = [
        dict(zip(names, key, strict=False)) | evaluation.auc(part["outcome"], part["score"]).row()
        for key, part in scores.groupby(names[:3], sort=False)
    ]
    return pd.DataFrame(rows)[names]


def _headlines(predictions: pd.DataFrame, models: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each family's headline model with the rows of the main result."""
    for (family, model), part in headlines(main_rows(predictions), models).groupby(_MODEL, sort=False):
        yield str(family), str(model), part


def _repeats(part: pd.DataFrame) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Outcome (patients,) and scores (patients, repeats) of one model."""
    scores = part.pivot(index="participant_id", columns="repeat", values="score")
    outcome = part.drop_duplicates("participant_id").set_index("participant_id")["outcome"].reindex(scores.index)
    return outcome.to_numpy(float), scores.to_numpy(float)


def _both(a: pd.DataFrame, b: pd.DataFrame) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Outcome and both models' scores, on the patients and repeats that both have."""
    one, other = (part.pivot(index="participant_id", columns="repeat", values="score") for part in (a, b))
    people, repeats = one.index.intersection(other.index), one.columns.intersection(other.columns)
    outcome = a.drop_duplicates("participant_id").set_index("participant_id")["outcome"].reindex(people)
    return outcome.to_numpy(float), one.loc[people, repeats].to_numpy(float), other.loc[people, repeats].to_numpy(float)


def other_classifiers(run: Run, *, classifiers: str, workers: int = 1) -> pd.DataFrame:
    """The tabular models once more with other classifiers, on the first protocol's first repeat.

    Parameters
    ----------
    run : Run
        With the curation's tables.
    classifiers : str
        Names of `deepqct.models.classifiers.OTHERS`, separated by commas; empty or none: nothing.
    workers : int
        Models side by side.

    Returns
    -------
    DataFrame
        family, model, classifier, participant_id, outcome, score; empty without classifiers.
    """
    names = [name.strip() for name in classifiers.split(",") if name.strip() not in ("", "none")]
    data = tables(run)
    first = data.splits.iloc[0]
    fold = rows_of(data.splits, first["protocol"], first["repeat"]).set_index("participant_id")["fold"]
    features, labels = data.features.reindex(fold.index), data.outcome.reindex(fold.index)
    models = models_for(data.dictionary, indices=features[data.indices], bones=[])

    def one(model: Model, name: str) -> pd.DataFrame:
        columns = features[list(model.columns)].astype(float)
        score = cross_predict(columns, outcome=labels, fold=fold, classifier=name, patients=data.patients)["score"]
        rows = pd.DataFrame({"participant_id": fold.index, "outcome": labels, "score": score})[fold != "test"]
        return rows.dropna().assign(family=model.family, model=model.name, classifier=name)

    found = Parallel(n_jobs=workers)(
        delayed(one)(model, name) for name in dict.fromkeys((RIDGE, *names)) for model in models if names
    )
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
