"""The data of a bone's networks: whose images they see, in which fold, with which outcome."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from fastai.data.block import CategoryBlock, DataBlock, RegressionBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.torch_core import default_device, no_random
from numpy.typing import NDArray

from deepqct.evaluation.multiplicity import permuted
from deepqct.folder import Run, read_table
from deepqct.networks.images import MEAN, SD, BoneImage, augmentation
from deepqct.networks.losses import RISK_SET
from deepqct.networks.recipe import Recipe
from deepqct.networks.stock import Stock, StockDL, targets_of
from deepqct.run_tables import outcome_of, patients_of
from deepqct.terms import NUMBER, TIME, Outcome


def measured(run: Run, *, bone: str) -> pd.DataFrame:
    """The rows of splits.csv of the patients who have a stack of this bone.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.

    Raises
    ------
    ValueError
        If nobody has this bone.
    """
    splits = read_table(run.require(run.splits, written_by="01_data_curation"))
    people = [person for person in splits["participant_id"].unique() if run.stack_record(person, bone).exists()]
    rows = splits[splits["participant_id"].isin(people)]
    if rows.empty:
        raise ValueError(
            f"Nobody has a stack of the {bone}; see curation.csv for the scans that failed, or leave it out by bone=…."
        )
    return rows


def first_fold(run: Run, *, bone: str) -> dict[str, Any]:
    """Protocol, repeat and fold of the first row in splits.csv whose patient has this bone and is not a test patient.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    dict
        protocol, repeat and fold, as the other functions of the networks take them.

    Examples
    --------
    >>> import deepqct as dq
    >>> "{protocol}, repeat {repeat}, fold {fold}".format(**dq.networks.first_fold(dq.run.example_run(), bone="radius"))
    'all, repeat 0, fold 0'
    """
    splits = measured(run, bone=bone).query("fold != 'test'")
    return {name: splits[name].iloc[0] for name in ("protocol", "repeat", "fold")}


def items_of(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> pd.DataFrame:
    """A table of the images of a bone, one row each; patients without a stack of this bone are left out.

    The control ``permuted`` permutes the outcomes among the patients within each fold. If they were permuted across
    folds, a fold that got more events would leave fewer to train on, and scores of all folds together would lie below
    chance.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        Which rows of splits.csv.
    recipe : Recipe
        How many images each patient has, and the control.

    Returns
    -------
    DataFrame
        participant_id, fold, outcome (0 or 1; a number; of a time what ended it), of a time also time, image (its
        number in the stack, from 0).

    Raises
    ------
    ValueError
        If nobody has this bone, or the splits lack the protocol or repeat.
    """
    splits = measured(run, bone=bone)
    rows = splits[(splits["protocol"] == protocol) & (splits["repeat"] == repeat)]
    if rows.empty:
        raise ValueError(
            f"splits.csv has no repeat {repeat} of protocol {protocol!r}; draw the splits with more repeats."
        )
    people = rows[["participant_id", "fold"]].sort_values("participant_id")
    outcome = outcome_of(run).take(pd.Index(people["participant_id"]))
    if recipe.control == "permuted":
        rng = np.random.default_rng(seed_of(recipe.seed, "permuted", bone, protocol, repeat))
        patients = patients_of(run)[people["participant_id"]]
        order = permuted(np.arange(len(people)), rng, within=people["fold"], patients=patients)
        outcome = outcome.put_in_order(order)
    people = people.assign(**{str(name): column.to_numpy() for name, column in outcome.frame().items()})
    return people.merge(pd.DataFrame({"image": range(recipe.images)}), how="cross")


def seed_of(seed: int, *place: object) -> int:
    """A separate seed for each fold, so that no fold depends on which folds were trained before it.

    Parameters
    ----------
    seed : int
        The seed of the recipe.
    *place : object
        Whatever tells one fold from another, such as the bone, the protocol, the repeat and the fold.

    Returns
    -------
    int
        From 0 to 2³² − 1, the same on every machine.
    """
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
    """Fastai data of one fold: the images of all other folds to train on, and its own as the validation set.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.
    fold : int or str
        The fold that is held out.
    without : int or str, optional
        Another fold, whose patients are neither trained on nor validated.
    protocol, repeat : str, int
        Which rows of splits.csv.
    recipe : Recipe, optional
        What the images are, and how many make a batch; by default that of `Recipe`.
    workers : int
        Number of processes that load images, 0 for none beside this one; the batches do not depend on it.

    Returns
    -------
    fastai DataLoaders
        Batches of images (batch, channels, y, x) and outcomes (batch,), 0 or 1 or numbers, or times and what ended them
        (batch, 2); with `Recipe.auxiliary` also of
        what was measured (batch, measured) in the women to train on.

    Raises
    ------
    ValueError
        If the fold does not exist, or leaves no patient on one side; if workers are asked for where processes are not
        forked.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> dls = dq.networks.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    >>> images, outcomes = dls.one_batch()
    >>> tuple(images.shape), tuple(outcomes.shape)
    ((4, 3, 32, 32), (4,))
    >>> set(dls.train.items["participant_id"]) & set(dls.valid.items["participant_id"])
    set()
    """
    recipe = recipe or Recipe()
    _can_fork(workers)
    everybody = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    items = everybody[~everybody["fold"].isin(["test", str(without)])].reset_index(drop=True)
    held_out = np.flatnonzero(items["fold"] == str(fold))
    if held_out.size in (0, len(items)):
        raise ValueError(
            f"Fold {fold} of protocol {protocol!r}, repeat {repeat}, holds {held_out.size} of {len(items)} images "
            f"of the {bone}; choose one of the folds in splits.csv."
        )
    outcome = outcome_of(run)
    shown, told = _shown(outcome)
    block = DataBlock(
        blocks=(TransformBlock(type_tfms=partial(BoneImage.of, run=run, bone=bone, recipe=recipe)), shown),
        get_y=told,
        splitter=IndexSplitter(held_out),
        batch_tfms=[
            *augmentation(recipe),
            Normalize.from_stats([MEAN] * recipe.channels, [SD] * recipe.channels),
        ],
    )
    training = items[items["fold"] != str(fold)]
    people = training["participant_id"].unique()
    targets = targets_of(run, people, bone=bone, told=recipe.told) if recipe.auxiliary else None
    device = default_device()
    stock = Stock.of(
        run, everybody["participant_id"].unique(), bone=bone, recipe=recipe, targets=targets,
        device=torch.device("cpu") if workers else device,  # processes that split off cannot share a card
    )  # fmt: skip
    # Of times, the held-out women are one batch, whose risk sets hold all of them.
    times = outcome.kind == TIME
    size = max(recipe.batch_size, RISK_SET) if times else recipe.batch_size
    return block.dataloaders(
        items,
        bs=min(size, len(training)),
        val_bs=int(held_out.size) if times else None,
        num_workers=workers,
        device=device,
        dl_type=StockDL,
        stock=stock,
    )


def _shown(outcome: Outcome) -> tuple[TransformBlock, Callable[[Any], Any]]:
    """How fastai shows an outcome beside an image, and from which value of a row of `items_of`."""
    if outcome.kind == NUMBER:
        return RegressionBlock(n_out=1), lambda item: float(item.outcome)
    if outcome.kind == TIME:
        return RegressionBlock(n_out=2), lambda item: [float(item.time), float(item.outcome)]
    name = outcome.event
    vocab = [f"no {name}", name]  # the outcome is 1
    return CategoryBlock(vocab=vocab, sort=False), lambda item: name if item.outcome else f"no {name}"


def show_images(dls: DataLoaders, *, most: int = 9, seed: int = 0) -> NDArray[Any]:
    """Draw some images of a training batch, as fastai shows them.

    Parameters
    ----------
    dls : fastai DataLoaders
        From `bone_dataloaders`.
    most : int
        The largest number of images that are drawn.
    seed : int
        Seed of the batch and of its augmentation; whatever is random afterwards does not depend on it.

    Returns
    -------
    array of Axes
        The axes of the figure, one for each image.

    Examples
    --------
    >>> import warnings
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> dls = dq.networks.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    >>> with warnings.catch_warnings(action="ignore"):  # NumPy's, of how matplotlib reads a tensor
    ...     len(dq.networks.show_images(dls, most=3))
    3
    """
    with no_random(seed):
        dls.show_batch(max_n=most)
    return np.array(plt.gcf().axes)


def _can_fork(workers: int) -> None:
    """Refuse workers where processes are not forked, since fastai's data cannot be sent to them."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if workers and method != "fork":
        raise ValueError(f"workers is {workers}, and processes are made by {method} here, not by fork; use workers=0.")
