"""Controls: what a network scores when the bone, or its outcome, is taken away.

Permuted outcomes and images of noise must be at chance, else something leaks. The surroundings without the bone, and its
bare outline, show how much of a score is soft tissue, field of view or size rather than structure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepqct.cohort.splits import make_splits
from deepqct.evaluation.discrimination import NETWORKS_VARY, auc, better_than_chance, compare_auc, within_folds
from deepqct.evaluation.multiplicity import holm, permuted
from deepqct.folder import Run, write_table
from deepqct.networks.backbones import network
from deepqct.networks.cross_validation import cross_validate
from deepqct.networks.data import items_of
from deepqct.networks.images import BoneImage, normalised
from deepqct.networks.recipe import CONTROLS, Recipe
from deepqct.run_tables import groups_of
from deepqct.work import Progress, say

SHOWN = {
    "none": "the bone itself",
    "permuted": "outcomes permuted",
    "noise": "images of noise",
    "background": "surroundings only; the bones' outlines remain as holes",
    "silhouette": "outline only",
}
MUST_FAIL = ("permuted", "noise")  # a score here means a leak
ALARM = 0.01  # p after Holm over the controls of a bone that must fail; our choice
HEAD_C = 0.01  # ridge of the refitted head, on standardised features; our choice, fixed beforehand
_BATCH = 64


def run_controls(
    run: Run,
    *,
    bone: str,
    controls: str,
    recipe: Recipe,
    scores: pd.DataFrame,
    workers: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train each control with the same folds and recipe as the bone itself, and write controls_<bone>.csv.

    Parameters
    ----------
    run : Run
        A curated run.
    bone : str
        radius, ulna, tibia or fibula.
    controls : str
        Some of `CONTROLS`, separated by commas; or none.
    recipe : Recipe
        As the bone's own networks were trained.
    scores : DataFrame
        The bone's own scores, for the first row.
    workers, progress
        As in `deepqct.networks.train_fold`.

    Returns
    -------
    DataFrame
        bone, control, shown (what the networks saw), protocol, split, estimate (AUC), low, high, n, events, must_fail, p
        (one-sided, against chance, by an error wider than DeLong's; after Holm for those that must fail), at_chance (p is
        not below 0.01; empty where it is not estimable); empty without controls.

    Raises
    ------
    ValueError
        If a control is not known.
    """
    names = [name.strip() for name in controls.split(",") if name.strip() not in ("", "none")]
    unknown = sorted(set(names) - set(CONTROLS))
    if unknown:
        raise ValueError(f"controls names {unknown[0]!r}; use some of {', '.join(CONTROLS)}.")
    rows = [_row(run, scores, bone=bone, recipe=recipe)] if names else []
    for name in names:
        other = replace(recipe, control=name)
        table = cross_validate(run, bone=bone, recipe=other, workers=workers, progress=progress)
        rows.append(_row(run, table, bone=bone, recipe=other))
    found = pd.DataFrame(rows)
    if names:
        found.loc[found["must_fail"], "p"] = holm(found.loc[found["must_fail"], "p"])
        found["at_chance"] = (found["p"] >= ALARM).astype(object).where(found["p"].notna(), None)
        write_table(run.controls(bone), found)
    else:
        run.controls(bone).unlink(missing_ok=True)
    return found


def _row(run: Run, scores: pd.DataFrame, *, bone: str, recipe: Recipe) -> dict[Any, Any]:
    """AUC of one control, out of fold, of the first protocol and repeat."""
    protocol, repeat = scores["protocol"].iloc[0], int(scores["repeat"].iloc[0])
    part = scores.query("protocol == @protocol and repeat == @repeat and split == 'out-of-fold'")
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    outcome = items.drop_duplicates("participant_id").set_index("participant_id")["outcome"]
    true = part["participant_id"].map(outcome).astype(int)
    (figures,) = auc(true, part["score"]).to_dict("records")
    p = better_than_chance(true, part["score"], wider=NETWORKS_VARY)
    what: dict[Any, Any] = {"bone": bone, "control": recipe.control, "shown": SHOWN[recipe.control]}
    what |= {"protocol": protocol, "split": "out-of-fold"}
    return what | figures | {"must_fail": recipe.control in MUST_FAIL, "p": p}


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
    true, groups = items["outcome"].astype(int), groups_of(run)[items.index]
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(permutations + reference + 1):
        outcome = permuted(true, rng, groups=groups) if number else true.to_numpy()
        drawn = make_splits(
            pd.Series(outcome, items.index),
            groups=groups,
            protocols=["all"],
            folds=folds,
            seed=int(rng.integers(2**31)),
        )
        fold = drawn.set_index("participant_id").loc[items.index, "fold"].to_numpy()
        score = refitted_head(x, outcome=outcome, fold=fold)
        rows.append(
            {
                "permutation": number,
                "auc": auc(outcome, score)["estimate"].iloc[0],
                "auc_within": within_folds(outcome, score, fold),
                "p_delong": compare_auc(outcome, score, np.zeros(len(outcome)))["p"].iloc[0],
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
