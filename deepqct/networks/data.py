"""Which images a bone's networks see: whose, in which fold, with which outcome."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.torch_core import default_device, no_random
from numpy.typing import NDArray

from deepqct.evaluation.multiplicity import permuted
from deepqct.folder import Run, read_table
from deepqct.networks.images import MEAN, SD, BoneImage, augmentation, bone_images
from deepqct.networks.recipe import Recipe
from deepqct.run_tables import patients_of, run_outcome


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
        patients = patients_of(run)[people["participant_id"]]
        people["outcome"] = permuted(people["outcome"], rng, within=people["fold"], patients=patients)
    return people.merge(pd.DataFrame({"image": range(recipe.images)}), how="cross")


def seed_of(seed: int, *place: object) -> int:
    """A seed of its own for each fold, so that no fold depends on which were trained before it."""
    digest = hashlib.sha256(json.dumps([seed, *map(str, place)]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def bone_dataloaders(
    run: Run,
    *,
    bone: str,
    fold: int | str,
    without: int | str | None = None,
    protocol: str = "all",
    repeat: int = 0,
    recipe: Recipe | None = None,
    workers: int = 0,
) -> DataLoaders:
    """Training images of every other fold, and the held-out fold as the validation set.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.
    fold : int or str
        The fold that is held out.
    without : int or str, optional
        Another fold that takes no part.
    protocol, repeat : str, int
        Which rows of splits.csv.
    recipe : Recipe, optional
        Images and batch size.
    workers : int
        Processes that load images; the batches do not depend on it.

    Returns
    -------
    fastai DataLoaders
        Batches of (batch, 3, y, x) and the outcome.

    Raises
    ------
    ValueError
        If the fold does not exist, or leaves no patient on one side; if workers are asked for where processes are not
        forked.
    """
    recipe = recipe or Recipe()
    _can_fork(workers)
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    items = items[~items["fold"].isin(["test", str(without)])].reset_index(drop=True)
    held_out = np.flatnonzero(items["fold"] == str(fold))
    if held_out.size in (0, len(items)):
        raise ValueError(
            f"Fold {fold} of protocol {protocol!r}, repeat {repeat}, holds {held_out.size} of {len(items)} images "
            f"of the {bone}; choose one of the folds in splits.csv."
        )
    name = run_outcome(run).name
    block = DataBlock(
        blocks=(
            TransformBlock(type_tfms=partial(BoneImage.of, run=run, bone=bone, recipe=recipe)),
            CategoryBlock(vocab=[f"no {name}", str(name)], sort=False),  # the outcome is 1
        ),
        get_y=lambda item: str(name) if item.outcome else f"no {name}",
        splitter=IndexSplitter(held_out),
        batch_tfms=[
            *augmentation(recipe),
            Normalize.from_stats([MEAN] * recipe.channels, [SD] * recipe.channels),
        ],
    )
    for person in items["participant_id"].unique():  # before any worker splits off, so that all share one copy
        bone_images(run, person, bone, view=recipe.view)
    training = len(items) - held_out.size
    return block.dataloaders(items, bs=min(recipe.batch_size, training), num_workers=workers, device=default_device())


def show_images(dls: DataLoaders, *, most: int = 9, seed: int = 0) -> NDArray[Any]:
    """Draw some images of a training batch, as fastai shows them.

    Parameters
    ----------
    dls : fastai DataLoaders
        From `bone_dataloaders`.
    most : int
        Images at most.
    seed : int
        Of the batch and its augmentation; what is drawn at random afterwards does not depend on it.

    Returns
    -------
    array of Axes
        One an image.
    """
    with no_random(seed):
        dls.show_batch(max_n=most)
    return np.array(plt.gcf().axes)


def _can_fork(workers: int) -> None:
    """Refuse workers where a process begins anew: fastai's data cannot be sent to it."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if workers and method != "fork":
        raise ValueError(f"workers is {workers}, and processes are made by {method} here, not by fork; use workers=0.")
