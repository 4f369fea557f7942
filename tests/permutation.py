"""The whole protocol under permuted outcomes, with a frozen backbone and a refitted head: for tests and benches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepqct.cohort import make_splits
from deepqct.evaluation import auc, compare_auc, permuted, within_folds
from deepqct.folder import Run
from deepqct.networks import Recipe
from deepqct.networks.backbones import network
from deepqct.networks.data import items_of
from deepqct.networks.images import BoneImage, normalised
from deepqct.run_tables import patients_of
from deepqct.work import Progress, say

HEAD_C = 0.01  # ridge of the refitted head, on standardised features; our choice, fixed beforehand
_BATCH = 64


def frozen_features(run: Run, *, bone: str, protocol: str = "all", repeat: int = 0, recipe: Recipe) -> pd.DataFrame:
    """Each woman's mean features over her images from a backbone that is not trained further.

    Parameters
    ----------
    run, bone, protocol, repeat
        As in `deepqct.networks.bone_dataloaders`.
    recipe : Recipe
        Its backbone, weights (``none``: random ones of its seed) and images.

    Returns
    -------
    (patients, features) DataFrame
        Indexed by participant_id; means and maxima over the last map.
    """
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    torch.manual_seed(recipe.seed)
    body = network(arch=recipe.arch, channels=recipe.channels, weights=recipe.weights).get_submodule("0").eval()
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(items), _BATCH):
        part = items.iloc[start : start + _BATCH].itertuples()
        batch = torch.stack([BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in part])
        with torch.no_grad():
            maps = body(normalised(batch))
        rows.append(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1).numpy())
    features = pd.DataFrame(np.concatenate(rows), index=items["participant_id"])
    return features.groupby(level=0).mean()


def refitted_head(features: NDArray[np.floating], *, outcome: NDArray[np.integer], fold: NDArray[Any]) -> NDArray[Any]:
    """Out-of-fold logits of a ridge logistic head, scaled and fitted on the other folds.

    Parameters
    ----------
    features : (patients, features) float
        From `frozen_features`.
    outcome : (patients,) of 0 and 1
    fold : (patients,)
        Any labels.

    Returns
    -------
    (patients,) float
    """
    score = np.full(len(outcome), np.nan)
    for held_out in np.unique(fold):
        train = fold != held_out
        head = make_pipeline(StandardScaler(), LogisticRegression(C=HEAD_C, max_iter=500))
        head.fit(features[train], outcome[train])
        # Less the level of the training patients, which falls as events are held out (see classifiers.py).
        score[~train] = head.decision_function(features[~train]) - head.decision_function(features[train]).mean()
    return score


def permutation_test(
    run: Run,
    *,
    bone: str,
    recipe: Recipe,
    permutations: int = 200,
    reference: int = 999,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The whole protocol, folds drawn anew by outcome, under permuted outcomes, with a frozen backbone and refitted head.

    The p that counts is that of permutations: DeLong's variance takes scores as given, and cross-validated scores of
    many features on few patients vary more than that under the null, so that its p is too small.

    Parameters
    ----------
    run, bone, recipe
        As in `frozen_features`.
    permutations : int
        How often the outcomes are dealt out anew and judged.
    reference : int
        Further permutations, which p is read from.
    seed : int
        Of the permutations.
    progress : callable, optional
        Called with the number done and the total.

    Returns
    -------
    DataFrame
        permutation (0: the true outcomes), auc pooled over the folds, auc_within (mean of the folds'), p (one-sided: the
        share of the reference, and of itself, whose auc_within is at least as high), p_delong (two-sided, of auc).

    References
    ----------
    Ojala M, Garriga GC (2010), J Mach Learn Res 11:1833.
    """
    features = frozen_features(run, bone=bone, recipe=recipe)
    items = items_of(run, bone=bone, protocol="all", repeat=0, recipe=recipe).drop_duplicates("participant_id")
    items = items.set_index("participant_id").loc[features.index]
    folds, x = items["fold"].nunique(), features.to_numpy()
    true, patients = items["outcome"].astype(int), patients_of(run)[items.index]
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(permutations + reference + 1):
        outcome = permuted(true, rng, patients=patients) if number else true.to_numpy()
        drawn = make_splits(
            pd.Series(outcome, items.index),
            patients=patients,
            protocols=["all"],
            folds=folds,
            seed=int(rng.integers(2**31)),
        )
        fold = drawn.set_index("participant_id").loc[items.index, "fold"].to_numpy()
        score = refitted_head(x, outcome=outcome, fold=fold)
        rows.append(
            {
                "permutation": number,
                "auc": auc(outcome, score).estimate,
                "auc_within": within_folds(outcome, score, fold),
                "p_delong": compare_auc(outcome, score, np.zeros(len(outcome))).p,
            }
        )
        if progress is not None:
            progress(number, permutations + reference)
    found = pd.DataFrame(rows)
    judged = found.iloc[: permutations + 1]
    by_chance = np.sort(found["auc_within"].iloc[permutations + 1 :])
    as_high = len(by_chance) - np.searchsorted(by_chance, judged["auc_within"])
    say(f"{bone}: mean AUC of {permutations} permutations {judged['auc'].iloc[1:].mean():.3f}")
    return judged.assign(p=(1 + as_high) / (1 + reference))
