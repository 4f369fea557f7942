"""What a trained network makes of women whom it has not seen: their logits, its features of them, where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from fastai.data.core import Pipeline
from fastai.torch_core import no_random
from numpy.typing import NDArray

from deepqct.folder import Run
from deepqct.networks.folds import batch_of
from deepqct.networks.images import BoneImage, augmentation, normalised
from deepqct.networks.readers import Patched
from deepqct.networks.recipe import Recipe


@dataclass(frozen=True)
class Read:
    """What the networks of one fold make of some women.

    Parameters
    ----------
    logits : Series of float
        The mean logit of each woman over her images, by participant_id; the mean over networks.
    features : tuple of DataFrame
        For each network, what its last layer before the head makes of each woman: the mean of its maps over her images and
        their places (women, features).
    """

    logits: pd.Series
    features: tuple[pd.DataFrame, ...]


def read_women(
    members: Sequence[torch.nn.Module], run: Run, people: Sequence[str], *, bone: str, recipe: Recipe
) -> Read:
    """Score women as training scores those whom a fold has not seen.

    Parameters
    ----------
    members : sequence of Module
        The networks of one fold.
    run : Run
        Where the stacks of the women lie.
    people : sequence of str
        Their participant_id.
    bone : str
        radius, ulna, tibia or fibula.
    recipe : Recipe
        What the networks see.

    Returns
    -------
    Read
        Augmented views (`Recipe.tta`) are drawn from a fixed seed.

    Notes
    -----
    The same women in the same order give the same bits. In another batch the sums of a convolution may be taken in
    another order, which can move the sixth digit.
    """
    items = pd.DataFrame({"participant_id": sorted(people)}).merge(
        pd.DataFrame({"image": range(recipe.images)}), how="cross"
    )
    scores, features = [], []
    for member in members:
        with no_random(recipe.seed):
            views = [
                _view(member, run, items, bone=bone, recipe=recipe, augmented=n > 0) for n in range(1 + recipe.tta)
            ]
        scored = items.assign(score=np.mean([logits for logits, _ in views], axis=0))
        scores.append(scored.groupby("participant_id")["score"].mean())
        features.append(pd.DataFrame(views[0][1]).groupby(items["participant_id"]).mean())
    # As the tables of a run keep them: in the fewest digits that tell one number from the next.
    kept = pd.concat([score.map(lambda value: float(str(value))) for score in scores], axis=1).mean(axis=1)
    return Read(kept, tuple(features))


def _view(
    member: torch.nn.Module, run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe, augmented: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The logits of images, as they are or augmented, in batches of the size that training had; and their features."""
    moved = Pipeline(augmentation(recipe), split_idx=0 if augmented else 1)
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    maps: list[torch.Tensor] = []
    hook = member.get_submodule("0").register_forward_hook(lambda _, __, output: maps.append(output))
    try:
        with torch.no_grad():
            for start in range(0, len(items), recipe.batch_size):
                rows = items.iloc[start : start + recipe.batch_size]
                images: list[torch.Tensor] = [
                    BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in rows.itertuples()
                ]
                batch = moved(BoneImage(torch.stack(images)))
                logits.append(member(normalised(batch)).float().numpy().reshape(-1))
                features.append(_pooled(maps.pop(), images=len(rows)).numpy())
    finally:
        hook.remove()
    return np.concatenate(logits), np.concatenate(features)


def _pooled(maps: torch.Tensor, *, images: int) -> torch.Tensor:
    """The mean of a map over its places, and over the patches of an image where the network reads patches."""
    places = tuple(range(2, maps.ndim)) if maps.ndim == 4 else tuple(range(1, maps.ndim - 1))
    means = maps.float().mean(dim=places) if places else maps.float()
    return means.unflatten(0, (images, -1)).mean(dim=1)


def her_images(run: Run, person: str, *, bone: str, recipe: Recipe) -> torch.Tensor:
    """All images of one woman, as they are when they are scored.

    Parameters
    ----------
    run : Run
        Where her stacks lie.
    person, bone : str
        The woman, and which of her bones.
    recipe : Recipe
        What the images are.

    Returns
    -------
    (images, channels, y, x) Tensor
    """
    items = pd.DataFrame({"participant_id": person, "image": range(recipe.images)})
    return batch_of(run, items, bone=bone, recipe=recipe)


def keeps_maps(model: torch.nn.Module) -> bool:
    """True for a network that reads whole images; one of patches keeps no map of an image.

    Parameters
    ----------
    model : Module
        One network.
    """
    return not isinstance(model, Patched)
