"""Which images a bone's networks see: whose, in which fold, with which outcome."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from deepqct.cohort import run_outcome
from deepqct.evaluation import permuted
from deepqct.folder import Run, read_table
from deepqct.recipe import Recipe
from deepqct.splits import groups_of


def measured(run: Run, *, bone: str) -> pd.DataFrame:
    """The rows of splits.csv whose patient has this bone's stack.

    Raises
    ------
    ValueError
        If nobody has this bone.
    """
    splits = read_table(run.require(run.splits, written_by="01_data_curation"))
    there = [person for person in splits["participant_id"].unique() if run.stack_record(person, bone).exists()]
    part = splits[splits["participant_id"].isin(there)]
    if part.empty:
        raise ValueError(
            f"Nobody has a stack of the {bone}; see curation.csv for the scans that failed, or leave it out by bone=…."
        )
    return part


def first_fold(run: Run, *, bone: str) -> dict[str, Any]:
    """protocol, repeat and fold of the first row of splits.csv with this bone that is no test patient."""
    splits = measured(run, bone=bone).query("fold != 'test'")
    return {name: splits[name].iloc[0] for name in ("protocol", "repeat", "fold")}


def items_of(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> pd.DataFrame:
    """One row an image: participant_id, fold, outcome, image; patients without this bone's stack are left out.

    The control ``permuted`` deals the outcomes out anew among the patients of each fold: across folds, a fold with more
    events would leave fewer to train on, and pooled scores would come out below chance.

    Raises
    ------
    ValueError
        If nobody has this bone, or the splits lack the protocol or repeat.
    """
    splits = measured(run, bone=bone)
    part = splits[(splits["protocol"] == protocol) & (splits["repeat"] == repeat)]
    if part.empty:
        raise ValueError(
            f"splits.csv has no repeat {repeat} of protocol {protocol!r}; draw the splits with more repeats."
        )
    outcome = part["participant_id"].map(run_outcome(run)).to_numpy()
    people = part[["participant_id", "fold"]].assign(outcome=outcome).sort_values("participant_id")
    if recipe.control == "permuted":
        rng = np.random.default_rng(seed_of(recipe.seed, "permuted", bone, protocol, repeat))
        groups = groups_of(run)[people["participant_id"]]
        people["outcome"] = permuted(people["outcome"], rng, within=people["fold"], groups=groups)
    return people.merge(pd.DataFrame({"image": range(recipe.images)}), how="cross")


def seed_of(seed: int, *place: object) -> int:
    """A seed of its own for each fold, so that no fold depends on which were trained before it."""
    digest = hashlib.sha256(json.dumps([seed, *map(str, place)]).encode()).digest()
    return int.from_bytes(digest[:4], "big")
