"""Simulated scores of networks that are trained several times, with the truth known: for tests and benches.

A woman's network score is her latent risk, noise that all trainings share, and noise of each training. The last has two
parts: one of its own for every woman, which averages out over a population, and a direction in features without signal,
which a training picks up more or less of, so that the AUC in the population differs from training to training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from deepqct.evaluation import calibrate_out_of_fold, calibration_measures

EVENTS, FEATURES = 0.33, 10
_SHARED, _OWN, _PICKED_UP, _INDEX = 0.6, 0.5, 0.8, 0.7  # SDs beside a latent risk of SD 1


def cohort(
    rng: np.random.Generator, *, n: int = 216, trainings: int = 3, unrest: float = 0.6
) -> tuple[NDArray[np.integer], NDArray[np.floating], NDArray[np.floating]]:
    """Outcome (n,), index score (n,), and network scores (n, trainings); `unrest` is how unlike trainings are."""
    y = (rng.random(n) < EVENTS).astype(int)
    latent = rng.standard_normal(n) + y
    index = latent + _INDEX * rng.standard_normal(n)
    shared = latent + _SHARED * rng.standard_normal(n)
    direction = rng.standard_normal((FEATURES, trainings))
    direction *= _PICKED_UP * np.exp(unrest * rng.standard_normal(trainings)) / np.linalg.norm(direction, axis=0)
    own = _OWN * rng.standard_normal((n, trainings))
    return y, index, shared[:, None] + own + rng.standard_normal((n, FEATURES)) @ direction


@cache
def truth(*, unrest: float = 0.6) -> tuple[float, float]:
    """The expected difference in AUC over trainings in the population, network minus index, and its SD over trainings."""
    picked_up = _PICKED_UP * np.exp(unrest * np.random.default_rng(0).standard_normal(200_000))
    network = stats.norm.cdf(1 / np.sqrt(2 * (1 + _SHARED**2 + _OWN**2 + picked_up**2)))
    index = stats.norm.cdf(1 / np.sqrt(2 * (1 + _INDEX**2)))
    return float(network.mean() - index), float(network.std())


def many_networks(
    rng: np.random.Generator, *, n: int = 195, test: int = 4000, folds: int = 6, noise: float = 1.0, level: float = 0.7
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Scores, test scores by network, and outcome, as `calibrate_out_of_fold` takes them.

    Each fold's network has a level of its own, with the SD `level`, and noise in every woman, with the SD `noise`.
    """
    y = (rng.random(n + test) < EVENTS).astype(int)
    people = pd.Index([f"sub-{i:05d}" for i in range(n + test)])
    latent = rng.standard_normal(n + test) + y
    own = latent[:, None] + level * rng.standard_normal(folds) + noise * rng.standard_normal((n + test, folds))
    fold = np.where(np.arange(n + test) < n, np.arange(n + test) % folds, -1)
    scores = pd.DataFrame({"protocol": "all", "repeat": 0, "participant_id": people})
    scores["score"] = np.where(fold < 0, own.mean(axis=1), own[np.arange(n + test), fold])
    scores = scores.assign(fold=np.where(fold < 0, "test", fold.astype(str)))
    scores = scores.assign(split=np.where(fold < 0, "test", "out-of-fold"))
    networks = pd.DataFrame(own[n:], index=people[n:], columns=[str(k) for k in range(folds)])
    long = (
        networks.rename_axis("participant_id").reset_index().melt("participant_id", var_name="fold", value_name="score")
    )
    return scores, long.assign(protocol="all", repeat=0), pd.Series(y, people)


def slopes(scores: pd.DataFrame, networks: pd.DataFrame, outcome: pd.Series) -> dict[str, float]:
    """The calibration slope of the test women by four ways to put their networks together; 1 is right."""
    known, test = scores[scores["split"] == "out-of-fold"], scores[scores["split"] == "test"]
    level = known.groupby("fold")["score"].mean()
    by_network = networks.pivot(index="participant_id", columns="fold", values="score")
    labels, truth = outcome[known["participant_id"]], outcome[by_network.index]

    def mapped(score: pd.Series, new: pd.DataFrame) -> NDArray[np.floating]:
        line = LogisticRegression(C=1e6).fit(score.to_numpy()[:, None], labels)
        return np.asarray(line.intercept_ + line.coef_[0, 0] * new.to_numpy())

    def slope(logit: NDArray[np.floating]) -> float:
        measures = calibration_measures(truth, special.expit(logit)).set_index("measure")
        return float(measures.loc["slope", "estimate"])

    off = mapped(known["score"] - known["fold"].map(level).astype(float), by_network - level)
    ours = calibrate_out_of_fold(scores, outcome=outcome, networks=networks).set_index("participant_id")["risk"]
    return {
        "mean logit, levels left": slope(mapped(known["score"], by_network).mean(axis=1)),
        "mean logit, levels off": slope(off.mean(axis=1)),
        "mean of risks": slope(special.logit(special.expit(off).mean(axis=1))),
        "stretched": slope(special.logit(ours[test["participant_id"]].reindex(truth.index))),
    }


def scores_of_noise(
    seed: int, *, n: int = 216, folds: int = 6, bones: int = 4, columns: int = 60
) -> tuple[NDArray[np.integer], pd.Series, list[Callable[[set[str]], NDArray[np.floating]]]]:
    """Outcome, fold, and for each bone the scores of everybody by a model of noise that is trained without some folds."""
    rng = np.random.default_rng([5, seed])
    y = (rng.permutation(n) < round(EVENTS * n)).astype(int)
    fold = pd.Series("", index=range(n))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(y[:, None], y)):
        fold.iloc[held_out] = str(number)

    def scorer(x: NDArray[np.floating]) -> Callable[[set[str]], NDArray[np.floating]]:
        def scores(without: set[str]) -> NDArray[np.floating]:
            train = ~fold.isin(without).to_numpy()
            model = LogisticRegression(C=1.0, solver="newton-cholesky").fit(x[train], y[train])
            return np.asarray(model.decision_function(x))

        return scores

    return y, fold, [scorer(rng.standard_normal((n, columns))) for _ in range(bones)]
