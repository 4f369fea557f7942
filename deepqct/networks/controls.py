"""Controls: what a network scores when the bone is taken out of its images, or its outcomes are permuted.

Networks trained on permuted outcomes or on images of noise must score at chance; if they do not, something leaks. The
surroundings without the bone, and its outline alone, show how much of a score comes from soft tissue, field of view or
size, and not from structure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from deepqct.evaluation.discrimination import NETWORKS_VARY
from deepqct.evaluation.judging import above_chance_p, judged
from deepqct.evaluation.maps import map_out_of_fold
from deepqct.evaluation.multiplicity import holm
from deepqct.folder import Run, write_table
from deepqct.networks.cross_validation import cross_validate
from deepqct.networks.data import items_of
from deepqct.networks.recipe import CONTROLS, Recipe
from deepqct.run_tables import main_rows, outcome_of, rows_of
from deepqct.terms import NUMBER

SHOWN = {
    "none": "the bone itself",
    "permuted": "outcomes permuted",
    "noise": "images of noise",
    "background": "surroundings only; the bones' outlines remain as holes",
    "silhouette": "outline only",
}
MUST_FAIL = ("permuted", "noise")  # where these score above chance, something leaks
ALARM = 0.01  # below this p a control is above chance; p after Holm over those of a bone that must fail; our choice


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
        Some of permuted, noise, background and silhouette, separated by commas; or none, which removes the file.
    recipe : Recipe
        The recipe that the bone's networks were trained with.
    scores : DataFrame
        From `cross_validate` of the bone itself, for the first row.
    workers, progress
        As in `deepqct.networks.train_fold`.

    Returns
    -------
    DataFrame
        bone, control, shown (what the networks saw), protocol, split, estimate (AUC, R² or C-index, as measure says), low,
        high, n, events, measure, must_fail
        (whether it must score at chance), p (one-sided, against chance, by an error wider than DeLong's; after Holm for
        those that must fail), at_chance (p is not below 0.01; empty where p cannot be estimated). No rows without
        controls.

    Raises
    ------
    ValueError
        If a control is not known.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> scores = dq.folder.read_table(run.scores("radius"))
    >>> table = dq.networks.run_controls(run, bone="radius", controls="noise", recipe=recipe, scores=scores)
    radius · control noise · all · repeat 0 · fold 0...
    >>> dict(zip(table["shown"], table["must_fail"], strict=True))
    {'the bone itself': False, 'images of noise': True}
    >>> len(dq.networks.run_controls(run, bone="radius", controls="none", recipe=recipe, scores=scores))
    0
    """
    names = [name.strip() for name in controls.split(",") if name.strip() not in ("", "none")]
    unknown = sorted(set(names) - set(CONTROLS))
    if unknown:
        raise ValueError(f"controls names {unknown[0]!r}; use some of {', '.join(CONTROLS)}.")
    rows = [_row(run, scores, bone=bone, recipe=recipe)] if names else []
    for name in names:
        control_recipe = replace(recipe, control=name)
        control_scores = cross_validate(run, bone=bone, recipe=control_recipe, workers=workers, progress=progress)
        rows.append(_row(run, control_scores, bone=bone, recipe=control_recipe))
    table = pd.DataFrame(rows)
    if names:
        table.loc[table["must_fail"], "p"] = holm(table.loc[table["must_fail"], "p"])
        table["at_chance"] = (table["p"] >= ALARM).astype(object).where(table["p"].notna(), None)
        write_table(run.controls(bone), table)
    else:
        run.controls(bone).unlink(missing_ok=True)
    return table


def _row(run: Run, scores: pd.DataFrame, *, bone: str, recipe: Recipe) -> dict[Any, Any]:
    """The row of one control: its out-of-fold AUC in the first protocol and repeat."""
    protocol, repeat = scores["protocol"].iloc[0], int(scores["repeat"].iloc[0])
    held_out = main_rows(rows_of(scores, protocol, repeat))
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    women = items.drop_duplicates("participant_id").set_index("participant_id")
    outcome = replace(outcome_of(run), values=women["outcome"], times=women.get("time"))
    if outcome.kind == NUMBER:  # mapped anew, since a control may have learnt permuted numbers
        held_out = map_out_of_fold(held_out.drop(columns="predicted"), outcome=outcome)
    told = held_out["predicted" if outcome.kind == NUMBER else "score"].to_numpy(float)
    own = outcome.take(pd.Index(held_out["participant_id"]))
    p = above_chance_p(own, told, wider=NETWORKS_VARY)
    row: dict[Any, Any] = {"bone": bone, "control": recipe.control, "shown": SHOWN[recipe.control]}
    row |= {"protocol": protocol, "split": "out-of-fold"}
    row |= judged(own, told).row() | {"measure": own.figure}
    return row | {"must_fail": recipe.control in MUST_FAIL, "p": p}
