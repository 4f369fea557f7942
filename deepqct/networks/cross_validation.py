"""Training and scoring every fold of a bone: the networks' out-of-fold scores and risks."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd

from deepqct.evaluation.calibration import calibrate_out_of_fold
from deepqct.evaluation.judging import value_of
from deepqct.evaluation.maps import map_out_of_fold
from deepqct.folder import Run, write_table
from deepqct.networks.data import measured
from deepqct.networks.learned import training_auc
from deepqct.networks.recipe import Recipe
from deepqct.networks.training import train_fold
from deepqct.run_tables import outcome_of
from deepqct.terms import YES_NO


def cross_validate(
    run: Run,
    *,
    bone: str,
    recipe: Recipe | None = None,
    repeats: int = 1,
    stacking: str = "standard",
    workers: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train every fold of every protocol in splits.csv, and write scores_<bone>.csv and training_<bone>.csv.

    A recipe with a control trains the folds of the first protocol and repeat alone, and writes no scores.

    Parameters
    ----------
    run, bone, recipe, workers, progress
        As in `train_fold`.
    repeats : int
        How many of the repeats in splits.csv the networks are trained on, from the first.
    stacking : str
        ``standard`` trains one network a fold. ``strict`` trains a network without each pair of folds as well,
        K(K−1)/2 of them for K folds, and writes scores_<bone>_inner.csv.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold, split, score, risk. A test patient's score is the mean over the folds'
        networks; risk comes from a calibration map fitted on the out-of-fold scores of the other folds. Of a number it is
        ``predicted`` in place of risk; of a time the risk is that of the event by the horizon.

    Raises
    ------
    ValueError
        If nobody has this bone, or strict stacking is asked for with fewer than 3 folds; and as in `train_fold`.

    Examples
    --------
    >>> import deepqct as dq
    >>> scores = dq.cross_validate(dq.run.example_run(), bone="radius", recipe=dq.run.example.RECIPE)
    radius · all · repeat 0 · fold 0: trained before, kept
    radius · all · repeat 0 · fold 1: trained before, kept
    >>> len(scores), scores["participant_id"].nunique(), bool(scores["risk"].between(0, 1).all())
    (12, 12, True)
    """
    is_control = (recipe or Recipe()).control != "none"
    splits = _trained_on(run, bone=bone, repeats=repeats, control=is_control)
    folds = splits.loc[splits["fold"] != "test", "fold"].nunique()
    if stacking == "strict" and not is_control and folds < 3:
        raise ValueError(
            f"Strict stacking needs at least 3 folds, and splits.csv has {folds} with the {bone}; raise folds in 01."
        )
    if not is_control:
        run.inner_scores(bone).unlink(missing_ok=True)  # they would be of other networks than those trained now
    tables = []
    for place in _places(splits):
        scored = train_fold(run, bone=bone, recipe=recipe, workers=workers, progress=progress, **place)
        tables.append(scored.assign(**place))
    table = pd.concat(tables, ignore_index=True)
    each = table[table["split"] == "test"]  # the scores of test patients by each fold's network
    table["fold"] = table["fold"].mask(table["split"] == "test", "test")
    keys = ["protocol", "repeat", "participant_id", "fold", "split"]
    mean = table.groupby(keys)["score"].mean().reset_index()
    networks = each if len(each) else None
    outcome = outcome_of(run)
    if outcome.kind == YES_NO:
        scores = calibrate_out_of_fold(mean, outcome=outcome.values, networks=networks)[[*keys, "score", "risk"]]
    else:
        scores = map_out_of_fold(mean, outcome=outcome)[[*keys, "score", value_of(outcome)]]
    if not is_control:  # a control's scores must never be taken for the bone's
        write_table(run.scores(bone), scores)
        write_table(run.training(bone), training_auc(run, bone=bone))
        if stacking == "strict":
            pairs = splits[splits["fold"] != "test"]
            inner = _inner_scores(run, pairs, bone=bone, recipe=recipe, workers=workers, progress=progress)
            write_table(run.inner_scores(bone), inner)
    return scores


def _inner_scores(run: Run, splits: pd.DataFrame, *, bone: str, **settings: Any) -> pd.DataFrame:
    """The scores that strict stacking is fitted on: protocol, repeat, participant_id, held_out, fold, score.

    For each held-out fold, the patients of every other fold are scored by a network that saw neither of the two folds.
    """
    tables = []
    for place in _pairs(splits):
        of_repeat = splits[(splits["protocol"] == place["protocol"]) & (splits["repeat"] == place["repeat"])]
        fold_of = of_repeat.set_index("participant_id")["fold"]
        scored = train_fold(run, bone=bone, **place, **settings).drop(columns="split")
        first, second = place["fold"], place["without"]
        fold = scored["participant_id"].map(fold_of)
        where = {name: place[name] for name in ("protocol", "repeat")}
        tables.append(scored.assign(**where, fold=fold, held_out=fold.map({first: second, second: first})))
    columns = ["protocol", "repeat", "participant_id", "held_out", "fold", "score"]
    return pd.concat(tables, ignore_index=True)[columns]


def train_part(
    run: Run,
    *,
    bone: str,
    protocol: str,
    fold: str,
    recipe: Recipe,
    repeats: int = 1,
    stacking: str = "standard",
    controls: str = "none",
) -> int:
    """Train the networks of one protocol and fold, as `cross_validate` and `run_controls` would; no table is written.

    The files of folds that it leaves are those that they look for, so that many machines share the training of a bone.

    Parameters
    ----------
    run, bone, recipe, repeats, stacking
        As in `cross_validate`.
    protocol, fold : str
        As in splits.csv; a network that is held out from two folds belongs to the first of them.
    controls : str
        As in `run_controls`.

    Returns
    -------
    int
        How many networks there are; none if splits.csv has no such fold with this bone.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.networks.cross_validation import train_part
    >>> recipe = dq.run.example.RECIPE
    >>> train_part(dq.run.example_run(), bone="radius", protocol="all", fold="1", recipe=recipe)
    radius · all · repeat 0 · fold 1: trained before, kept
    1
    """
    splits = _trained_on(run, bone=bone, repeats=repeats, control=False)
    networks = [(recipe, place) for place in _places(splits)]
    networks += [(recipe, place) for place in _pairs(splits[splits["fold"] != "test"]) if stacking == "strict"]
    of_controls = _trained_on(run, bone=bone, repeats=repeats, control=True)
    for control in [name.strip() for name in controls.split(",") if name.strip() not in ("", "none")]:
        networks += [(replace(recipe, control=control), place) for place in _places(of_controls)]
    mine = [(how, place) for how, place in networks if (place["protocol"], place["fold"]) == (protocol, fold)]
    for how, place in mine:
        train_fold(run, bone=bone, recipe=how, **place)
    return len(mine)


def _trained_on(run: Run, *, bone: str, repeats: int, control: bool) -> pd.DataFrame:
    """The rows of splits.csv that the networks of a bone are trained on; a control has the first protocol and repeat."""
    splits = measured(run, bone=bone)
    splits = splits[splits["repeat"] < repeats]
    if not control:
        return splits
    first = splits.sort_values(["protocol", "repeat"]).iloc[0]
    return splits[(splits["protocol"] == first["protocol"]) & (splits["repeat"] == first["repeat"])]


def _places(splits: pd.DataFrame) -> list[dict[str, Any]]:
    """Protocol, repeat and held-out fold of every network."""
    places = splits[["protocol", "repeat", "fold"]].drop_duplicates().sort_values(["protocol", "repeat", "fold"])
    return [
        {"protocol": str(protocol), "repeat": int(repeat), "fold": str(fold)}
        for protocol, repeat, fold in places.itertuples(index=False)
        if fold != "test"
    ]


def _pairs(splits: pd.DataFrame) -> list[dict[str, Any]]:
    """Protocol, repeat and both folds of every network that is held out from two of them."""
    return [
        {"protocol": protocol, "repeat": repeat, "fold": first, "without": second}
        for (protocol, repeat), rows in splits.groupby(["protocol", "repeat"])
        for first, second in combinations(sorted(rows["fold"].unique()), 2)
    ]
