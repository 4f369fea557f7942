"""The evaluation judged: what its intervals cover, what stacking adds, how often noise is a finding, how long it takes.

`make bench-evaluation`; about an hour on 2 cores. PART=coverage does one part; `permuted` and `speed` take the indices of a
curated run (the cohort that `make bench-networks` leaves).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import table
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.parallel import Parallel, delayed

sys.path.insert(0, str(Path(__file__).parents[1]))

import trainings

from deepqct import evaluation
from deepqct.cohort import make_splits
from deepqct.folder import Run
from deepqct.models import comparison, predict
from deepqct.models.classifiers import cross_predict, fit
from deepqct.models.families import models_table
from deepqct.models.levels import Levelled, mean_of_bones

N, EVENTS = 216, 0.33
AUCS = (0.65, 0.75, 0.85, 0.92)
METHODS = ("wald", "delong", "bca")


def coverage(_: Path, *, sets: int) -> None:
    """Fixed scores of two normal populations: how often each interval holds the truth."""
    for n in (N, 21):
        rows = []
        for auc in AUCS:
            found = pd.DataFrame(_parallel(_covers, [(n, auc, seed) for seed in range(sets)]))
            rows.append([f"{auc:.2f}", *(f"{100 * found[name].mean():.1f}" for name in found)])
        header = ["AUC", *METHODS, "difference: delong", "bca", "unlike pair: delong", "bca"]
        table(
            f"Coverage (%) of 95 % intervals, N = {n}, {sets} data sets each; not estimable ones left out.",
            header,
            rows,
        )


def _covers(n: int, auc: float, seed: int) -> dict[str, float]:
    """Whether each interval of one data set holds the truth; NaN where there is none."""
    rng = np.random.default_rng([n, round(auc * 100), seed])
    y = rng.random(n) < EVENTS
    shared = rng.standard_normal(n)
    scores = [
        np.sqrt(0.5) * (shared + rng.standard_normal(n)) + np.sqrt(2) * stats.norm.ppf(area) * y
        for area in (auc, auc, auc - 0.05)
    ]

    def inside(row: dict[str, Any], truth: float) -> float:
        return float(row["low"] <= truth <= row["high"]) if np.isfinite(row["estimate"]) else np.nan

    found = {m: inside(evaluation.auc(y, scores[0], method=m, seed=seed).row(), auc) for m in METHODS}
    for name, other, truth in (("like", scores[1], 0.0), ("unlike", scores[2], 0.05)):
        for m in ("delong", "bca"):
            row = evaluation.compare_auc(y, scores[0], other, method=m, seed=seed).row()
            found[f"{name} {m}"] = inside(row, truth)
    return found


def cross_validated(_: Path, *, sets: int) -> None:
    """Pooled out-of-fold scores of a nested ridge: what DeLong's interval covers then."""
    rows = []
    for n, columns in ((N, 8), (N, 68), (60, 8)):
        found = pd.DataFrame(_parallel(_cross_validated, [(n, columns, seed) for seed in range(sets // 10)]))
        usual = found["true of the folds"].mean()
        such = (found["low"] <= usual) & (usual <= found["high"])
        rows.append([n, columns, f"{found['out of fold'].mean():.3f}", f"{found['true of the folds'].mean():.3f}",
                     f"{100 * found['covers'].mean():.1f}", f"{100 * found['covers whole'].mean():.1f}",
                     f"{100 * such.mean():.1f}"])  # fmt: skip
    table(
        f"Cross-validated scores, attainable AUC 0.80, {sets // 10} data sets each; coverage (%) of DeLong's for …",
        [
            "n",
            "columns",
            "mean AUC out of fold",
            "mean true AUC",
            "these models",
            "the model on everybody",
            "such models",
        ],
        rows,
    )


def _cross_validated(n: int, columns: int, seed: int) -> dict[str, float]:
    """One data set: the pooled AUC, the true one of its models, and what the interval holds."""
    rng = np.random.default_rng([n, columns, seed])
    shift = np.zeros(columns)
    shift[:4] = np.sqrt(2) * stats.norm.ppf(0.80) / 2
    y = pd.Series((rng.permutation(n) < round(EVENTS * n)).astype(int))
    x = pd.DataFrame(
        rng.standard_normal((n, columns)) + y.to_numpy()[:, None] * shift, columns=[f"c{i}" for i in range(columns)]
    )
    fold = _folds(y, seed)

    def true(model: Any) -> float:
        origin = pd.DataFrame(np.vstack([np.zeros(columns), np.eye(columns)]), columns=x.columns)
        logit = model.logit(origin)
        weight = logit[1:] - logit[0]
        return float(stats.norm.cdf(weight @ shift / np.sqrt(2 * weight @ weight))) if np.any(weight) else 0.5

    models = [fit(x[fold != k], outcome=y[fold != k], fold=fold[fold != k]) for k in sorted(fold.unique())]
    areas = np.mean([true(model) for model in models])
    whole = true(fit(x, outcome=y, fold=fold))
    row = evaluation.auc(y, cross_predict(x, outcome=y, fold=fold)["score"])
    return {
        "out of fold": row.estimate, "true of the folds": float(areas), "covers": row.low <= areas <= row.high,
        "covers whole": row.low <= whole <= row.high, "low": row.low, "high": row.high,
    }  # fmt: skip


def trained(_: Path, *, sets: int) -> None:
    """Networks trained once or several times, minus indices: what the interval of the difference covers."""
    rows = []
    for unrest in (0.0, 0.3, 0.6, 1.0):
        spread = trainings.truth(unrest=unrest)[1]
        for number in (1, 2, 3, 5, 10):
            found = pd.DataFrame(_parallel(_trained, [(unrest, number, seed) for seed in range(sets // 10)]))
            rows.append([f"{spread:.3f}", number, f"{100 * found['plain'].mean():.1f}",
                         f"{100 * found['trained'].mean():.1f}", f"{found['width plain'].mean():.3f}",
                         f"{found['width trained'].mean():.3f}"])  # fmt: skip
    table(
        f"Coverage (%) of the expected difference over trainings, N = {N}, {sets // 10} cohorts each.",
        ["SD of the AUC over trainings", "trainings", "DeLong", "with training", "width", "width with training"],
        rows,
    )


def _trained(unrest: float, number: int, seed: int) -> dict[str, float]:
    """Whether the interval of one cohort holds the truth, without and with the variance of training."""
    rng = np.random.default_rng([round(10 * unrest), number, seed])
    y, index, network = trainings.cohort(rng, n=N, trainings=number, unrest=unrest)
    true, other = trainings.truth(unrest=unrest)[0], np.tile(index[:, None], number)
    found = {}
    for name, is_trained in (("plain", False), ("trained", True)):
        row = evaluation.compare_auc(y, network, other, trained=(is_trained, False))
        found |= {name: row.low <= true <= row.high, f"width {name}": row.high - row.low}
    return found


def stacking(_: Path, *, sets: int) -> None:
    """Four overfitting scores of noise, fused: what standard stacking gains beside strict stacking."""
    found = pd.DataFrame(_parallel(_stacked, [(seed,) for seed in range(sets // 10)]))
    rows = [[name, f"{part.mean():.3f}", f"{part.std() / np.sqrt(len(part)):.3f}"] for name, part in found.items()]
    table(
        f"Late fusion of four scores of pure noise, N = {N}, 6 folds, {len(found)} data sets.",
        ["", "mean AUC", "± SE"],
        rows,
    )


def _stacked(seed: int) -> dict[str, float]:
    """AUC of both stackings and of means on one null data set; the four scores are weakly penalised models of noise."""
    label, fold, scorers = trainings.scores_of_noise(seed, n=N)
    y, names = pd.Series(label), sorted(fold.unique())
    columns = ["radius score", "ulna score", "tibia score", "fibula score"]

    def scores(without: set[str]) -> NDArray[np.floating]:
        return np.column_stack([scorer(without) for scorer in scorers])

    outer, training = pd.DataFrame(np.nan, index=y.index, columns=columns), {}
    for k in names:
        outer.loc[fold == k] = scores({k})[fold == k]
        inner = pd.DataFrame(np.nan, index=y.index, columns=columns)
        for other in names:
            if other != k:
                inner.loc[fold == other] = scores({k, other})[fold == other]
        training[k] = inner[fold != k]

    def area(**more: Any) -> float:
        return evaluation.auc(y, cross_predict(outer, outcome=y, fold=fold, **more)["score"]).estimate

    mean, _ = mean_of_bones(Levelled(outer, {}), columns=columns, fold=fold)
    place = {"protocol": "all", "repeat": 0, "split": "out-of-fold", "fold": fold, "participant_id": y.index}
    calibrated = [
        evaluation.calibrate_out_of_fold(pd.DataFrame(place | {"score": outer[c]}), outcome=y) for c in columns
    ]
    logits = np.mean(
        [special.logit(table.set_index("participant_id")["risk"].reindex(y.index)) for table in calibrated], 0
    )
    return {
        "one score": evaluation.auc(y, outer["radius score"]).estimate,
        "late fusion, standard stacking": area(),
        "late fusion, strict stacking": area(training=training),
        "mean of four scores": evaluation.auc(y, mean).estimate,
        "mean of four calibrated scores": evaluation.auc(y, logits).estimate,
    }


def averaged(_: Path, *, sets: int) -> None:
    """Calibration slope of test women who are scored by six networks: by the mean logit alone, and by what we do."""
    rows = []
    for noise in (0.5, 1.0, 1.5):
        for level in (0.0, 0.7):
            found = pd.DataFrame(_parallel(_averaged, [(noise, level, seed) for seed in range(sets // 20)]))
            rows.append([f"{noise:g}", f"{level:g}", *(f"{found[name].median():.2f}" for name in found)])
    names = list(found)
    table(
        f"Median calibration slope in 4,000 test women, maps fitted on 195 women in 6 folds, {sets // 20} cohorts each.",
        ["noise of a network", "SD of levels", *names],
        rows,
    )


def _averaged(noise: float, level: float, seed: int) -> dict[str, float]:
    """The calibration slopes of one cohort by four ways to put networks together."""
    rng = np.random.default_rng([round(10 * noise), round(10 * level), seed])
    return trainings.slopes(*trainings.many_networks(rng, noise=noise, level=level))


def permuted(folder: Path, *, sets: int) -> None:
    """Outcomes permuted on a measured cohort: how often a Holm-adjusted p below 0.05 appears in BMD and indices."""
    data = predict.tables(Run(folder))
    found = pd.DataFrame(_parallel(_permuted, [(data, seed) for seed in range(sets // 20)]))
    rows = [
        [
            len(found),
            f"{100 * (found['p'] < 0.05).mean():.1f} %",
            f"{found['auc'].mean():.3f}",
            f"{found['best'].mean():.3f}",
        ]
    ]
    header = ["permutations", "any Holm p < 0.05", "mean AUC", "mean best AUC"]
    table("Permuted outcomes, all models of the BMD and pQCT-index families.", header, rows)


def _permuted(data: predict.Tables, seed: int) -> dict[str, float]:
    """The smallest adjusted p, the mean and the best AUC of one permutation."""
    rng = np.random.default_rng([7, seed])
    outcome = pd.Series(rng.permutation(data.outcome.to_numpy()), index=data.outcome.index, name=data.outcome.name)
    splits = make_splits(outcome, protocols=("all",), folds=6, repeats=1, seed=seed)
    null = replace(data, outcome=outcome, splits=splits, scores={})
    auc = comparison.summarise(
        predict.predict_all(null).query("family in ('BMD', 'pQCT-index')"), models=models_table(predict.models_of(null))
    ).query("measure == 'AUC'")
    return {"p": auc["p_holm"].min(), "auc": auc["estimate"].mean(), "best": auc["estimate"].max()}


def speed(folder: Path, *, sets: int) -> None:
    """All tabular families, nested 6-fold, repeated 20 times; the other classifiers once. `sets` has no say here."""
    data = predict.tables(Run(folder))
    outcome = data.outcome
    splits = make_splits(outcome, protocols=("all",), folds=6, repeats=20, seed=1)
    start = time.perf_counter()
    found = predict.predict_all(replace(data, splits=splits, scores={}), workers=2)
    seconds = time.perf_counter() - start
    rows = [["ridge, 20 repeats", found.groupby(["family", "model"]).ngroups, f"{seconds:.0f}"]]
    start = time.perf_counter()
    others = comparison.other_classifiers(
        Run(folder), classifiers="random forest, support vectors, gradient boosting", workers=2
    )
    rows.append(
        ["three classifiers, once", others.groupby(["family", "model"]).ngroups, f"{time.perf_counter() - start:.0f}"]
    )
    table(f"{len(outcome)} women, all tabular families, 2 processes.", ["", "models", "seconds"], rows)


def _folds(y: pd.Series, seed: int) -> pd.Series:
    """Six folds, stratified."""
    fold = pd.Series("", index=y.index)
    for number, (_, held_out) in enumerate(StratifiedKFold(6, shuffle=True, random_state=seed).split(y.to_frame(), y)):
        fold.iloc[held_out] = str(number)
    return fold


def _parallel(work: Callable[..., dict[str, float]], arguments: list[tuple[Any, ...]]) -> list[dict[str, float]]:
    """`work` on every tuple of arguments, on two cores."""
    return list(Parallel(n_jobs=2, batch_size=8)(delayed(work)(*one) for one in arguments))


PARTS = {
    "coverage": coverage, "cross-validated": cross_validated, "trained": trained, "stacking": stacking,
    "averaged": averaged, "permuted": permuted, "speed": speed,
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a curated run")
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--sets", type=int, default=4000, help="simulated data sets; other parts take a share of it")
    given = parser.parse_args()
    for part in given.part or PARTS:
        PARTS[part](given.folder, sets=given.sets)
