"""Controls: what a network scores when the bone, or its outcome, is taken away.

Permuted outcomes and images of noise must be at chance, else something leaks. The surroundings without the bone, and its
bare outline, show how much of a score is soft tissue, field of view or size rather than structure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from deepqct.evaluation.discrimination import NETWORKS_VARY, auc, better_than_chance
from deepqct.evaluation.multiplicity import holm
from deepqct.folder import Run, write_table
from deepqct.networks.cross_validation import cross_validate
from deepqct.networks.data import items_of
from deepqct.networks.recipe import CONTROLS, Recipe
from deepqct.run_tables import main_rows, rows_of

SHOWN = {
    "none": "the bone itself",
    "permuted": "outcomes permuted",
    "noise": "images of noise",
    "background": "surroundings only; the bones' outlines remain as holes",
    "silhouette": "outline only",
}
MUST_FAIL = ("permuted", "noise")  # a score here means a leak
ALARM = 0.01  # p after Holm over the controls of a bone that must fail; our choice


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
    part = main_rows(rows_of(scores, protocol, repeat))
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    outcome = items.drop_duplicates("participant_id").set_index("participant_id")["outcome"]
    true = part["participant_id"].map(outcome).astype(int)
    p = better_than_chance(true, part["score"], wider=NETWORKS_VARY)
    what: dict[Any, Any] = {"bone": bone, "control": recipe.control, "shown": SHOWN[recipe.control]}
    what |= {"protocol": protocol, "split": "out-of-fold"}
    return what | auc(true, part["score"]).row() | {"must_fail": recipe.control in MUST_FAIL, "p": p}
