"""What chance, fitting and small numbers do to a comparison: best of many models, permuted outcomes, .632+, Riley."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from deepqct import evaluation
from deepqct.evaluation.judging import judged
from deepqct.models.classifiers import cross_predict, fit
from deepqct.models.families import Model, models_for, widest
from deepqct.models.inputs import Tables
from deepqct.models.regressions import cross_fit
from deepqct.models.scanners import on_one_scale, scale_of
from deepqct.run_tables import first_repeat, main_rows
from deepqct.terms import NUMBER, YES_NO, Outcome
from deepqct.work import Progress, followed

NAGELKERKE = 0.15  # anticipated, as Riley et al. (2020) advise where nothing better is known


def optimism(
    data: Tables,
    predictions: pd.DataFrame,
    *,
    models: pd.DataFrame,
    permutations: int = 200,
    bootstraps: int = 100,
    workers: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """How much of the AUCs comes from chance and fitting: best of all models, permuted outcomes, .632+ bootstrap.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    predictions : DataFrame
        The predictions, with the columns of predictions.csv; those of the first protocol and repeat are used.
    models : DataFrame
        What each model is, with the columns of models.csv.
    permutations, bootstraps : int
        How often the outcomes are put in random order, and how many bootstrap samples are drawn; with 0 that part is
        left out.
    workers : int
        How many fits run at the same time; the results do not depend on it.
    seed : int
        Seed of permutations and bootstraps.
    progress : callable, optional
        Called with the number of models fitted again, and their total.

    Returns
    -------
    DataFrame
        what, family, model, observed, expected, upper, p, n, events. Row ``best of k models``: the best AUC beside the
        best that the same scores reach for outcomes in random order; fused models of standard stacking are not among
        them. Row ``permuted outcomes``: the headline index model, fitted again to outcomes in random order (for DeepQCT
        all networks would have to be trained again); of a number or a time it is the only row. Rows ``.632+``: observed
        is the apparent AUC, expected the corrected one.
    """
    rows: list[dict[str, Any]] = []
    if data.kind != YES_NO:
        return _of_other_kinds(data, permutations=permutations, workers=workers, seed=seed, progress=progress)
    first = first_repeat(main_rows(predictions))
    wide = first.pivot(index="participant_id", columns=["family", "model"], values="score")
    outcome = data.outcome.reindex(wide.index)
    if not data.strict:
        fused = models.loc[models["fused"], ["family", "model"]].itertuples(index=False, name=None)
        wide = wide.drop(columns=[name for name in fused if name in wide.columns])
    best = evaluation.best_by_chance(outcome, wide, patients=data.patients.reindex(wide.index))
    family, model = best.best or ("", "")
    what = {"what": f"best of {best.models} models", "family": family, "model": model}
    rows.append(what | best.row())
    permuted = _named_model(data, "pQCT-index") if permutations else None
    # The index model takes many times as long; it is drawn where its scale is one more thing that is fitted.
    families = ("Clinical", "FRAX", "BMD", *(("pQCT-index",) if data.scanner is not None else ()))
    drawn = [_named_model(data, name) for name in families] if bootstraps else []
    resampled = [model for model in drawn if model is not None]
    # Each bootstrap has one fit more, on the women themselves.
    fits = [permutations] * (permuted is not None) + [bootstraps + 1] * len(resampled)
    steps = followed(range(sum(fits)), progress, total=sum(fits))
    if permuted is not None:
        rows.append(_permuted(data, permuted, permutations=permutations, workers=workers, seed=seed, steps=steps))
    rows += [_bootstrapped(data, model, draws=bootstraps, seed=seed, steps=steps) for model in resampled]
    for _ in steps:  # those of bootstrap samples that were not fitted, since they had one outcome only
        pass
    return pd.DataFrame(rows).reindex(columns=list(_NAMES))


_NAMES = ("what", "family", "model", "observed", "expected", "upper", "p", "n", "events")


def _of_other_kinds(
    data: Tables, *, permutations: int, workers: int, seed: int, progress: Progress | None
) -> pd.DataFrame:
    """The row ``permuted outcomes`` of a number or of times: R² or C-index of the index model beside chance."""
    model = _named_model(data, "pQCT-index") if permutations else None
    if model is None:
        return pd.DataFrame(columns=list(_NAMES))
    fold = _development(data)
    x = data.features.reindex(fold.index)[list(model.columns)].astype(float).dropna(how="all")
    fold, patients = fold[x.index], data.patients.reindex(x.index)
    target, value = data.predicted.take(x.index), "predicted" if data.kind == NUMBER else "score"

    def figure(outcome: Outcome) -> float:
        number = outcome.values if outcome.kind == NUMBER else outcome.groups
        columns, training = on_one_scale(data, x, outcome=number, fold=fold)
        told = cross_fit(columns, outcome=outcome, fold=fold, training=training, patients=patients)
        return judged(outcome, told[value].to_numpy()).estimate

    def refit(rng: np.random.Generator) -> float:
        order = evaluation.permuted(np.arange(len(x)), rng, within=fold, patients=patients)
        return figure(target.put_in_order(np.asarray(order, int)))

    draws = [np.random.default_rng([seed, number]) for number in range(permutations)]
    steps = followed(range(permutations), progress, total=permutations)
    figures = Parallel(n_jobs=workers, return_as="generator")(delayed(refit)(rng) for rng in draws)

    def taken(_: np.random.Generator) -> float:
        value = float(next(figures))
        next(steps, None)
        return value

    chance = evaluation.permutation_p(figure(target), taken, permutations=permutations, seed=seed)
    for _ in steps:
        pass
    row = {"what": f"permuted outcomes, {permutations} times", "family": model.family, "model": model.name}
    row |= chance.row() | {"n": len(x), "events": np.nan if target.events < 0 else target.events}
    return pd.DataFrame([row]).reindex(columns=list(_NAMES))


def _development(data: Tables) -> pd.Series:
    """The folds of the first protocol and repeat by participant_id, without its test set."""
    first = data.splits.iloc[0]
    rows = data.splits[(data.splits["protocol"] == first["protocol"]) & (data.splits["repeat"] == first["repeat"])]
    return rows[rows["fold"] != "test"].set_index("participant_id")["fold"]


def _named_model(data: Tables, family: str) -> Model | None:
    """The own model of a family with the most columns."""
    return widest(models_for(data.dictionary, indices=data.features[data.indices], bones=list(data.scores)), family)


def _permuted(
    data: Tables, model: Model, *, permutations: int, workers: int, seed: int, steps: Iterator[int]
) -> dict[str, Any]:
    """The AUC of one model, pooled over folds, beside those with permuted outcomes; each of these takes one step."""
    fold = _development(data)
    x = data.features.reindex(fold.index)[list(model.columns)].astype(float).dropna(how="all")
    fold, labels, patients = fold[x.index], data.outcome.reindex(x.index), data.patients.reindex(x.index)

    def area(outcome: pd.Series) -> float:
        columns, training = on_one_scale(data, x, outcome=outcome, fold=fold)
        score = cross_predict(columns, outcome=outcome, fold=fold, training=training, patients=patients)["score"]
        return evaluation.auc(outcome, score).estimate

    def refit(rng: np.random.Generator) -> float:
        # Within folds, so that each fold keeps its number of events: more events in a fold leave fewer to train on.
        return area(pd.Series(evaluation.permuted(labels, rng, within=fold, patients=patients), labels.index))

    draws = [np.random.default_rng([seed, number]) for number in range(permutations)]
    areas = Parallel(n_jobs=workers, return_as="generator")(delayed(refit)(rng) for rng in draws)

    def taken(_: np.random.Generator) -> float:
        value = float(next(areas))
        next(steps, None)
        return value

    chance = evaluation.permutation_p(area(labels), taken, permutations=permutations, seed=seed)
    what = f"permuted outcomes, {permutations} times"
    n, events = len(labels), int(labels.sum())
    return {"what": what, "family": model.family, "model": model.name} | chance.row() | {"n": n, "events": events}


def _bootstrapped(data: Tables, model: Model, *, draws: int, seed: int, steps: Iterator[int]) -> dict[str, Any]:
    """The apparent AUC of one model beside the .632+ one; each fit chooses the penalty anew and takes one step."""
    x = data.features.loc[_development(data).index, list(model.columns)].astype(float).dropna(how="all")
    y, patients = data.outcome.reindex(x.index).to_numpy(float), pd.factorize(data.patients.reindex(x.index))[0]
    names, scanner = list(model.columns), data.scanner
    of_bones = [name for name in names if name in set(data.measured)] if scanner is not None else []
    codes, known_names = pd.factorize(pd.Series(None, x.index, dtype=object) if scanner is None else scanner[x.index])
    named = [str(name) for name in known_names]

    def fit_predict(
        known: NDArray[np.floating], label: NDArray[np.floating], new: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        next(steps, None)
        table, others = (pd.DataFrame(rows[:, :-2], columns=names) for rows in (known, new))
        if of_bones:  # on the scale that the women of this sample tell
            own, theirs = (
                pd.Series([named[int(k)] if k >= 0 else None for k in rows[:, -2]], dtype="string")
                for rows in (known, new)
            )
            everybody = pd.Series("0", table.index)
            with suppress(ValueError):  # a sample whose scanner tells the outcome has no scale of its own
                scale = scale_of(table[of_bones], scanner=own, outcome=pd.Series(label), fold=everybody)
                table, others = scale.applied(table, own), scale.applied(others, theirs)
        # Copies of one woman stay in one inner fold, or the penalty would be chosen on women it has seen.
        fitted = fit(table, outcome=pd.Series(label), fold=pd.Series(known[:, -1] % 5))
        return fitted.logit(others)

    columns = np.column_stack([x.to_numpy(), codes, patients])
    area = evaluation.auc_632_plus(y, columns, fit_predict, patients=patients, draws=draws, seed=seed)
    figures = {"observed": area.apparent, "expected": area.estimate, "n": area.n, "events": area.events}
    return {"what": f".632+ of {draws} bootstraps", "family": model.family, "model": model.name} | figures


def adequacy(data: Tables) -> pd.DataFrame:
    """How many women each model that is fitted on tables needs by Riley's criteria.

    Fused models are left out, since the score of a network stands for far more than one parameter.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.

    Returns
    -------
    DataFrame
        family, model, and the row "all three" of `deepqct.evaluation.sample_size`; empty for a number or a time.
    """
    rows = []
    if data.kind != YES_NO:
        return pd.DataFrame(columns=["family", "model", "needed", "n", "events", "parameters", "enough"])
    features = data.features.loc[_development(data).index]
    for model in models_for(data.dictionary, indices=features[data.indices], bones=[]):
        measured = features[list(model.columns)].notna().any(axis=1)
        women = data.outcome[data.outcome.index.intersection(measured.index[measured])]
        n, events = len(women), int(women.sum())
        if 0 < events < n:
            needs = evaluation.sample_size(n=n, events=events, parameters=len(model.columns), nagelkerke=NAGELKERKE)
            row = needs[needs["criterion"] == "all three"].drop(columns="criterion").iloc[0].to_dict()
            rows.append({"family": model.family, "model": model.name} | row)
    return pd.DataFrame(rows, columns=["family", "model", "needed", "n", "events", "parameters", "enough"])
