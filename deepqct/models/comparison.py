"""The families judged and compared: every table of the report that is made from predictions.csv.

AUC and AUPRC are means over the repeats of the folds; everything else is from the first repeat, for which the networks
are trained too. Comparisons are planned, use the patients and repeats that both models have, and are adjusted for their
number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from deepqct import evaluation
from deepqct.evaluation.discrimination import FEWEST_TRAININGS, NETWORKS_VARY
from deepqct.evaluation.judging import (
    above_chance_p,
    calibration_groups,
    compared,
    judged,
    not_worse_p,
    other_measures,
    told_by,
    told_by_both,
)
from deepqct.folder import Run, read_table, write_table
from deepqct.models.classifiers import RIDGE, cross_predict
from deepqct.models.families import PLUS_STRENGTH, Model, models_for, models_table
from deepqct.models.inputs import tables
from deepqct.models.optimism import adequacy, optimism
from deepqct.models.predict import models_of
from deepqct.models.regressions import cross_fit
from deepqct.models.scanners import on_one_scale
from deepqct.run_tables import first_repeat, headlines, main_rows, margins_of, osteoporosis_of, rows_of
from deepqct.terms import BONES, NUMBER, SITES, TIME, YES_NO, Outcome, barred
from deepqct.work import Progress, say

# Of non-inferiority, in AUC; our choice. 0.05 is as much as images are expected to add to indices, 0.03 somewhat less.
MARGINS = (0.03, 0.05)
ONE_SIDED = 0.025  # level of a verdict of non-inferiority
STANDARD = "standard stacking"
MEASURED, ASSUMED = "measured", "assumed"  # where the variance of training comes from
STRENGTH_ADDS = "pQCT-index + strength − pQCT-index"  # the question what strength adds to the indices
OLD = 75  # years, where the subgroups of age part; our choice
_BLOCK = ["protocol", "split"]
_MODEL = ["family", "model"]


def summarise(
    predictions: pd.DataFrame, *, models: pd.DataFrame, strict: bool = False, target: Outcome | None = None
) -> pd.DataFrame:
    """Every measure of every model, with interval, n and events.

    Parameters
    ----------
    predictions : DataFrame
        The predictions, with the columns of predictions.csv.
    models : DataFrame
        What each model is, with the columns of models.csv.
    strict : bool
        True if fused models come from strict stacking. Those of standard stacking get no p value: that stacking makes
        them look better than chance even if there is nothing to find.
    target : Outcome, optional
        The outcome with its kind; by default it is of 0 and 1, as in the predictions.

    Returns
    -------
    DataFrame
        protocol, split, family, model, measure, estimate, low, high, n, events, repeats, p (of the AUC, one-sided
        against chance; for DeepQCT with an error wider than DeLong's), p_holm (adjusted for all models of the protocol
        and split). Measures: AUC, AUPRC; of the first repeat: sensitivity, specificity, PPV, NPV at the thresholds that
        the training folds chose, intercept, slope, Brier, scaled Brier. Of a number: R², and
        `deepqct.evaluation.number_measures`; of a time: C-index, and `deepqct.evaluation.time_measures`. NaN where a
        measure is not estimable.
    """
    rows: list[dict[str, Any]] = []
    fused = _fused(models)
    for key, model_rows in predictions.groupby([*_BLOCK, *_MODEL], sort=False):
        own, scores = told_by(target or _as_given(model_rows), model_rows)
        what: dict[str, Any] = dict(zip([*_BLOCK, *_MODEL], key, strict=True)) | {"repeats": scores.shape[1]}
        biased = not strict and (what["family"], what["model"]) in fused
        wider = NETWORKS_VARY if what["family"] == "DeepQCT" else 1.0
        p = np.nan if biased else above_chance_p(own, scores, wider=wider)
        rows.append(what | {"measure": own.figure, "p": p} | judged(own, scores).row())
        if own.kind == YES_NO:
            rows.append(what | {"measure": "AUPRC"} | evaluation.auprc(own.values, scores).row())
        figures = other_measures(own, model_rows)
        rows += [
            what | {"repeats": 1} | {str(k): v for k, v in row.items()} for row in pd.concat(figures).to_dict("records")
        ]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(_BLOCK)["p"].transform(evaluation.holm)
    return table[[*_BLOCK, *_MODEL, "measure", "estimate", "low", "high", "n", "events", "repeats", "p", "p_holm"]]


def planned(
    predictions: pd.DataFrame,
    *,
    models: pd.DataFrame,
    margins: Sequence[float] = MARGINS,
    strict: bool = False,
    target: Outcome | None = None,
) -> pd.DataFrame:
    """The comparisons of two models that were fixed beforehand.

    Parameters
    ----------
    predictions, models : DataFrame
        As in `summarise`.
    margins : sequence of float
        The margins of non-inferiority, in AUC; of a number in R², of a time in C-index.
    strict : bool
        True if fused models come from strict stacking.
    target : Outcome, optional
        As in `summarise`.

    Returns
    -------
    DataFrame
        protocol, split, question, family_a, model_a, family_b, model_b, estimate (AUC of a minus AUC of b), low, high,
        p, p_holm, n, events, repeats, training, with_margin, caveat, measure (AUC, R² or C-index); and for each margin,
        such as 0.03, p_margin_0.03, p_margin_0.03_holm and non_inferior_0.03 (at 2.5 % one-sided, adjusted for the
        questions of this margin). with_margin is True where non-inferiority was the question: for DeepQCT against
        indices and texture, and for non-weight-bearing against weight-bearing bones; elsewhere those columns are empty.

        training says where the variance of training comes from, which intervals and p of differences with networks
        carry: measured, from 3 or more repeats with networks of their own; assumed, from `NETWORKS_VARY`; empty without
        networks. The estimand is the expected difference over trainings (`deepqct.evaluation.compare_auc`).

        If a model is fused by standard stacking, the caveat says so, and there are no p values and no verdict, since
        that stacking favours fused models even if there is nothing to find. DeepQCT is then compared by the mean of its
        bones, which nothing is fitted for.
    """
    tables, fused = [], _fused(models)
    for (protocol, split), block in predictions.groupby(_BLOCK, sort=False):
        rows = []
        for question, first, second, with_margin in _questions(block, models, strict=strict):
            a, b = (block[(block["family"] == f) & (block["model"] == m)] for f, m in (first, second))
            own, score_a, score_b = told_by_both(target or _as_given(a), a, b)
            trained = (first[0] == "DeepQCT", second[0] == "DeepQCT")
            biased, repeats = not strict and bool({first, second} & fused), score_a.shape[1]
            row = {"protocol": protocol, "split": split, "question": question}
            row |= {"family_a": first[0], "model_a": first[1], "family_b": second[0], "model_b": second[1]}
            row |= compared(own, score_a, score_b, trained=trained).row() | {"measure": own.figure}
            row |= {"repeats": repeats, "with_margin": with_margin, "caveat": STANDARD if biased else ""}
            row["training"] = "" if not any(trained) else MEASURED if repeats >= FEWEST_TRAININGS else ASSUMED
            for margin in margins:
                against = not_worse_p(own, score_a, score_b, margin=margin, trained=trained)
                row[f"p_margin_{margin:g}"] = np.nan if biased or not with_margin else against
            rows.append(row | ({"p": np.nan} if biased else {}))
        if rows:
            tables.append(_adjusted(pd.DataFrame(rows), margins))
    of_margins = [name for m in margins for name in (f"p_margin_{m:g}", f"p_margin_{m:g}_holm", f"non_inferior_{m:g}")]
    order = [
        *_BLOCK,
        "question",
        "family_a",
        "model_a",
        "family_b",
        "model_b",
        "estimate",
        "low",
        "high",
        "p",
        "p_holm",
    ]
    order += ["with_margin", *of_margins, "n", "events", "repeats", "training", "caveat", "measure"]
    return pd.concat(tables, ignore_index=True)[order] if tables else pd.DataFrame(columns=order)


def _adjusted(table: pd.DataFrame, margins: Sequence[float]) -> pd.DataFrame:
    """The comparisons of one protocol and split with p values after Holm, and verdicts by them."""
    table = table.assign(p_holm=evaluation.holm(table["p"]))
    for margin in margins:
        p = pd.Series(evaluation.holm(table[f"p_margin_{margin:g}"]), table.index)
        verdict = (p < ONE_SIDED).astype(object).where(p.notna(), None)
        table = table.assign(**{f"p_margin_{margin:g}_holm": p, f"non_inferior_{margin:g}": verdict})
    return table


def _fused(models: pd.DataFrame) -> set[tuple[str, str]]:
    """Family and name of the models that are fitted on scores of networks."""
    return set(models.loc[models["fused"], _MODEL].itertuples(index=False, name=None))


def _questions(
    block: pd.DataFrame, models: pd.DataFrame, *, strict: bool
) -> Iterator[tuple[str, tuple[str, str], tuple[str, str], bool]]:
    """The planned comparisons for which both models are there: question, two models, whether it has a margin."""
    there = set(block[_MODEL].itertuples(index=False, name=None))
    known = models[[pair in there for pair in models[_MODEL].itertuples(index=False, name=None)]]
    wide = {family: (family, model) for family, model in known.loc[known["headline"], _MODEL].itertuples(index=False)}
    # Several bones have a fusion and a mean: the fusion speaks in strict stacking, the mean in standard stacking.
    own = known[known["own"]].sort_values("fused", ascending=not strict, kind="stable")
    names = own.drop_duplicates(["family", "bones"]).set_index(["family", "bones"])["model"]
    pairs = [("DeepQCT", "pQCT-index", True), ("pQCT-index", "BMD", False), ("DeepQCT", "BMD", False)]
    pairs += [("DeepQCT", "FRAX", False), ("DeepQCT", "Clinical", False)]
    pairs += [("DeepQCT", "Texture", True), ("Texture", "pQCT-index", False)]
    for family_a, family_b, with_margin in pairs:
        if family_a in wide and family_b in wide:
            yield f"{family_a} − {family_b}", wide[family_a], wide[family_b], with_margin
    indices = wide.get("pQCT-index", ("", ""))
    stronger = (indices[0], indices[1] + PLUS_STRENGTH)
    if stronger in there:
        yield STRENGTH_ADDS, stronger, indices, False
    by_bones = [(f"DeepQCT − pQCT-index, {b}", ("DeepQCT", b), ("pQCT-index", b)) for b in BONES]
    wrist, ankle = (("DeepQCT", ", ".join(SITES[site])) for site in ("wrist", "ankle"))
    for question, first, second in [*by_bones, ("non-weight-bearing − weight-bearing", wrist, ankle)]:
        if first in names.index and second in names.index:
            yield question, (first[0], names[first]), (second[0], names[second]), True
    fusions = known[known["own"] & known["fused"]]
    if not strict and len(fusions) and "pQCT-index" in wide:  # as in the preprint, beside what speaks for DeepQCT
        fusion = str(fusions["model"].iloc[int(fusions["bones"].str.count(",").argmax())])
        yield "late fusion − pQCT-index", ("DeepQCT", fusion), wide["pQCT-index"], True


def curves(predictions: pd.DataFrame, *, models: pd.DataFrame, target: Outcome | None = None) -> pd.DataFrame:
    """Calibration curves and decision curves of each family's headline model, out of fold, first protocol and repeat.

    Parameters
    ----------
    predictions, models, target
        As in `summarise`. Of a number or a time there are groups of women in place of a curve, and no decision curves.

    Returns
    -------
    DataFrame
        curve (calibration, decision), family, model, strategy, x (predicted risk, or threshold), y (observed share, or net
        benefit per woman), low, high, n, events.
    """
    curve_tables = []
    for family, model, model_rows in _headlines(predictions, models):
        if target is not None and target.kind != YES_NO:
            groups = calibration_groups(target, model_rows).assign(curve="calibration", strategy="group")
            curve_tables.append(groups.assign(family=family, model=model))
            continue
        first = first_repeat(model_rows)
        n, events = len(first), int(first["outcome"].sum())
        smooth = evaluation.calibration_curve(first["outcome"], first["risk"]).rename(
            columns={"risk": "x", "observed": "y"}
        )
        curve_tables.append(
            smooth.assign(curve="calibration", strategy="model", n=n, events=events, family=family, model=model)
        )
        worth = evaluation.net_benefit(first["outcome"], first["risk"]).rename(
            columns={"threshold": "x", "estimate": "y"}
        )
        curve_tables.append(worth.assign(curve="decision", family=family, model=model))
    names = ["curve", "family", "model", "strategy", "x", "y", "low", "high", "n", "events"]
    kept = [table[names] for table in curve_tables if len(table)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=names)


def reclassified(predictions: pd.DataFrame, *, models: pd.DataFrame) -> pd.DataFrame:
    """How many women change risk group if indices or DeepQCT replace bone density; first protocol and repeat.

    Parameters
    ----------
    predictions, models : DataFrame
        As in `summarise`.

    Returns
    -------
    DataFrame
        before, after (family and model), and the columns of `deepqct.evaluation.reclassification`.
    """
    if "threshold" not in predictions:  # of a number or a time: nobody is called
        return pd.DataFrame(columns=["before", "after", "group", "up", "down", "estimate", "low", "high", "n"])
    by_family = {
        family: (model, first_repeat(model_rows).set_index("participant_id"))
        for family, model, model_rows in _headlines(predictions, models)
    }
    changes = []
    for family in ("pQCT-index", "DeepQCT"):
        if "BMD" not in by_family or family not in by_family:
            continue
        (old_model, old), (new_model, new) = by_family["BMD"], by_family[family]
        both = old.index.intersection(new.index)
        before, after = (
            evaluation.decided(t.loc[both, "score"].to_numpy(float), t.loc[both, "threshold"].to_numpy(float))
            for t in (old, new)
        )
        table = evaluation.reclassification(old.loc[both, "outcome"], before=before, after=after)
        changes.append(table.assign(before=f"BMD, {old_model}", after=f"{family}, {new_model}"))
    names = ["before", "after", "group", "up", "down", "estimate", "low", "high", "n"]
    return pd.concat(changes, ignore_index=True)[names] if changes else pd.DataFrame(columns=names)


def by_subgroup(
    predictions: pd.DataFrame, participants: pd.DataFrame, *, models: pd.DataFrame, target: Outcome | None = None
) -> pd.DataFrame:
    """The AUC of each family's headline model by age and by osteoporosis, out of fold, first protocol.

    Parameters
    ----------
    predictions, models : DataFrame
        As in `summarise`.
    participants : DataFrame
        participant_id, and ``age`` and T-scores (``t_…``) if the cohort has them; women without them are in no
        subgroup. What the outcome itself is made from makes no subgroups.
    target : Outcome, optional
        As in `summarise`.

    Returns
    -------
    DataFrame
        subgroup, family, model, estimate, low, high, n, events.
    """
    people = participants.set_index("participant_id")
    subgroups: dict[str, pd.Series] = {}
    taken = set() if target is None else set(barred(target.name, {}, ["t_total_hip"])) | {target.name}
    if "age" in people and "age" not in taken:
        subgroups |= {f"younger than {OLD}": people["age"] < OLD, f"{OLD} and older": people["age"] >= OLD}
    osteoporosis = osteoporosis_of(people)
    if osteoporosis.notna().any() and "t_total_hip" not in taken:
        subgroups |= {"osteoporosis (T ≤ −2.5)": osteoporosis == 1, "no osteoporosis": osteoporosis == 0}
    rows = []
    for name, members in subgroups.items():
        for family, model, model_rows in _headlines(predictions, models):
            inside = model_rows[model_rows["participant_id"].isin(members.index[members])]
            if len(inside):
                figures = judged(*told_by(target or _as_given(inside), inside)).row()
                rows.append({"subgroup": name, "family": family, "model": model} | figures)
    return pd.DataFrame(rows, columns=["subgroup", "family", "model", "estimate", "low", "high", "n", "events"])


def compare_run(
    run: Run,
    predictions: pd.DataFrame,
    *,
    stacking: str = "standard",
    cross_calibrate: str = "none",
    margins: str = "0.03, 0.05",
    permutations: int = 200,
    bootstraps: int = 100,
    classifiers: str = "none",
    workers: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Judge and compare the models of a run by their predictions, and write the tables.

    Parameters
    ----------
    run : Run
        A run with the tables of the curation; the new tables are written into its folder.
    predictions : DataFrame
        The run's predictions, as `predict_run` returns them.
    stacking : str
        The stacking by which the predictions were made, standard or strict.
    cross_calibrate : str
        As in `predict_run`: other classifiers, permutations and bootstraps take indices on one scale too, each fitted anew
        inside its training folds or its bootstrap sample.
    margins : str
        The margins of non-inferiority, in AUC, separated by commas.
    permutations, bootstraps : int
        How often the outcomes are put in random order, and how many bootstrap samples are drawn, to estimate the
        optimism; with 0 that part is left out.
    classifiers : str
        Classifiers to try beside the ridge, separated by commas: random forest, support vectors, gradient boosting;
        none for no others.
    workers : int
        How many fits run at the same time; the results do not depend on it.
    seed : int
        Seed of permutations and bootstraps.
    progress : callable, optional
        Called with the number of models fitted again, and their total.

    Returns
    -------
    dict of str to DataFrame
        performance, comparisons, curves, reclassification, subgroups, sample_size, optimism, classifiers; each is also
        the name of its file.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> tables = dq.compare_run(run, dq.predict_run(run), permutations=0, bootstraps=0)
    >>> tables["comparisons"]["question"].tolist()[:3]
    ['DeepQCT − pQCT-index', 'pQCT-index − BMD', 'DeepQCT − BMD']
    """
    of_non_inferiority = margins_of(margins)
    data, strict = tables(run, stacking=stacking, cross_calibrate=cross_calibrate), stacking == "strict"
    target = data.predicted
    others = other_classifiers(run, classifiers=classifiers, cross_calibrate=cross_calibrate, workers=workers)
    models = models_table(models_of(data))
    made = {
        "performance": summarise(predictions, models=models, strict=strict, target=target),
        "comparisons": planned(predictions, models=models, margins=of_non_inferiority, strict=strict, target=target),
        "curves": curves(predictions, models=models, target=target),
        "reclassification": reclassified(predictions, models=models),
        "subgroups": by_subgroup(predictions, read_table(run.participants), models=models, target=target),
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
        "classifiers": _classifiers(others, target),
    }
    for name, table in made.items():
        write_table(getattr(run, name), table)
    return made


def _classifiers(scores: pd.DataFrame, target: Outcome) -> pd.DataFrame:
    """The AUC, or R², of each tabular model by each classifier."""
    names = ["family", "model", "classifier", "estimate", "low", "high", "n", "events"]
    if scores.empty:
        return pd.DataFrame(columns=names)
    rows = [
        dict(zip(names, key, strict=False))
        | judged(target.take(pd.Index(scored["participant_id"])), scored["score"].to_numpy(float)).row()
        for key, scored in scores.groupby(names[:3], sort=False)
    ]
    return pd.DataFrame(rows)[names]


def _headlines(predictions: pd.DataFrame, models: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Family and name of each family's headline model, with its predictions out of fold in the first protocol."""
    for (family, model), model_rows in headlines(main_rows(predictions), models).groupby(_MODEL, sort=False):
        yield str(family), str(model), model_rows


def _as_given(rows: pd.DataFrame) -> Outcome:
    """The outcome of 0 and 1 that stands in the predictions themselves."""
    values = rows.drop_duplicates("participant_id").set_index("participant_id")["outcome"]
    return Outcome("outcome", YES_NO, values)


def other_classifiers(run: Run, *, classifiers: str, cross_calibrate: str = "none", workers: int = 1) -> pd.DataFrame:
    """The models of tables fitted once more with other classifiers, in the first repeat of the first protocol.

    Parameters
    ----------
    run : Run
        A run with the tables of the curation.
    classifiers : str
        Names from `deepqct.models.classifiers.OTHERS`, separated by commas; with none or an empty text, and for times,
        nothing is fitted. Of a number they are regressions, and the score is what they predict.
    cross_calibrate : str
        As in `predict_run`.
    workers : int
        How many models are fitted at the same time.

    Returns
    -------
    DataFrame
        family, model, classifier, participant_id, outcome, score; empty without classifiers.
    """
    names = [name.strip() for name in classifiers.split(",") if name.strip() not in ("", "none")]
    data = tables(run, cross_calibrate=cross_calibrate)
    first = data.splits.iloc[0]
    fold = rows_of(data.splits, first["protocol"], first["repeat"]).set_index("participant_id")["fold"]
    features, target = data.features.reindex(fold.index), data.predicted.take(fold.index)
    if target.kind == TIME and names:
        say("No other classifiers: they would take a time for a number, and lose who was not followed to the end.")
        names = []
    models = models_for(data.dictionary, indices=features[data.indices], bones=[])

    def scored(model: Model, name: str) -> pd.DataFrame:
        columns, training = on_one_scale(
            data, features[list(model.columns)].astype(float), outcome=target.values, fold=fold
        )
        how: dict[str, Any] = {"fold": fold, "training": training, "patients": data.patients}
        if target.kind == NUMBER:
            score = cross_fit(columns, outcome=target, method=name, **how)["predicted"]
        else:
            score = cross_predict(columns, outcome=target.values, classifier=name, **how)["score"]
        rows = pd.DataFrame({"participant_id": fold.index, "outcome": target.values, "score": score})[fold != "test"]
        return rows.dropna().assign(family=model.family, model=model.name, classifier=name)

    score_tables = Parallel(n_jobs=workers)(
        delayed(scored)(model, name) for name in dict.fromkeys((RIDGE, *names)) for model in models if names
    )
    return pd.concat(score_tables, ignore_index=True) if score_tables else pd.DataFrame()
