"""What a network that learned without an outcome makes of each woman: a table that a ridge can read.

A few hundred women are enough for a penalised regression on fixed features where they are too few to train a network.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from fastai.torch_core import default_device

from deepqct.folder import Run, resolve
from deepqct.networks.backbones import given, network
from deepqct.networks.data import measured, seed_of
from deepqct.networks.folds import batch_of, scans_of, scans_seen
from deepqct.networks.images import normalised
from deepqct.networks.recipe import Recipe


def frozen_features(run: Run, *, bone: str, weights: str, recipe: Recipe | None = None) -> pd.DataFrame:
    """The mean and the spread of a frozen network's maps over each woman's images of one bone.

    Nothing is fitted, so that a table of all women may be made at once; what is fitted on it belongs into training folds,
    as in `deepqct.models.classifiers.cross_predict`.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.
    weights : str
        As in `Recipe`: the file of `pretrain`, or imagenet; none gives the features of random weights, to compare with.
    recipe : Recipe, optional
        What the images are, and the backbone.

    Returns
    -------
    DataFrame
        Indexed by participant_id: mean and SD, over images and places, of each map of the body's last layer.

    Raises
    ------
    ValueError
        If the weights learned from scans of these women, or are of another backbone.
    RuntimeError
        If ImageNet weights can neither be found nor fetched.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> dq.networks.frozen_features(run, bone="radius", weights="none", recipe=recipe).shape
    (12, 1024)
    """
    recipe = recipe or Recipe()
    people = sorted(measured(run, bone=bone)["participant_id"].unique())
    if given(weights) and (seen := scans_seen(resolve(weights)) & scans_of(run, people)):
        raise ValueError(
            f"weights is {weights!r}, which learned from {len(seen)} scans of these women; give one that learned from "
            "others."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(recipe.seed, "frozen features"))
        model = network(arch=recipe.arch, channels=recipe.channels, weights=weights)
    body = model.get_submodule("0").eval().to(default_device())
    rows = {}
    for person in people:
        items = pd.DataFrame({"participant_id": person, "image": range(recipe.images)})
        images = normalised(batch_of(run, items, bone=bone, recipe=recipe)).to(default_device())
        with torch.no_grad():
            maps = body(images).float().transpose(0, 1).flatten(1).cpu().numpy()
        rows[person] = np.concatenate([maps.mean(axis=1), maps.std(axis=1)])
    many = len(next(iter(rows.values()))) // 2
    columns = [f"{bone} {what}.{i}" for what in ("mean", "SD") for i in range(many)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("participant_id")
