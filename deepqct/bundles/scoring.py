"""What a trained network makes of women whom it has not seen: their logits, its features of them, where it looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from fastai.data.core import Pipeline
from fastai.torch_core import no_random
from numpy.typing import NDArray

from deepqct.folder import Run
from deepqct.networks.ensemble import Ensemble
from deepqct.networks.folds import batch_of
from deepqct.networks.images import BoneImage, augmentation, normalised
from deepqct.networks.readers import Patched
from deepqct.networks.recipe import Recipe


def women_logits(
    members: Sequence[torch.nn.Module], run: Run, people: Sequence[str], *, bone: str, recipe: Recipe
) -> pd.Series:
    """The mean logit of each woman over her images, as training scores the women whom a fold has not seen.

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
    Series of float
        By participant_id; the mean over networks. Augmented views (`Recipe.tta`) are drawn from a fixed seed.

    Notes
    -----
    The same women in the same order give the same bits. In another batch the sums of a convolution may be taken in
    another order, which can move the sixth digit.
    """
    items = pd.DataFrame({"participant_id": sorted(people)}).merge(
        pd.DataFrame({"image": range(recipe.images)}), how="cross"
    )
    scores = []
    for member in members:
        with no_random(recipe.seed):
            views = [
                _view(member, run, items, bone=bone, recipe=recipe, augmented=n > 0) for n in range(1 + recipe.tta)
            ]
        scored = items.assign(score=np.mean(views, axis=0))
        scores.append(scored.groupby("participant_id")["score"].mean())
    # As the tables of a run keep them: in the fewest digits that tell one number from the next.
    return pd.concat([score.map(lambda value: float(str(value))) for score in scores], axis=1).mean(axis=1)


def _view(
    member: torch.nn.Module, run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe, augmented: bool
) -> NDArray[np.float32]:
    """The logits of images, as they are or augmented, in batches of the size that training had."""
    moved = Pipeline(augmentation(recipe), split_idx=0 if augmented else 1)
    logits = []
    with torch.no_grad():
        for start in range(0, len(items), recipe.batch_size):
            rows = items.iloc[start : start + recipe.batch_size]
            images: list[torch.Tensor] = [
                BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in rows.itertuples()
            ]
            batch = moved(BoneImage(torch.stack(images)))
            logits.append(member(normalised(batch)).float().numpy().reshape(-1))
    return np.concatenate(logits)


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


def features_of(model: torch.nn.Module, images: torch.Tensor) -> NDArray[np.floating]:
    """What the last layer before the head makes of one woman: the mean of its maps over her images and places.

    Parameters
    ----------
    model : Module
        One network.
    images : (images, channels, y, x) Tensor
        From `her_images`.

    Returns
    -------
    (features,) float
    """
    body = model.get_submodule("0")
    with torch.no_grad():
        maps = body(normalised(images)).float()
    if maps.ndim == 4:
        maps = maps.mean(dim=(2, 3))
    elif maps.ndim == 3:
        maps = maps.mean(dim=1)
    return np.asarray(maps.mean(dim=0).numpy(), float)


def as_one(members: Sequence[torch.nn.Module]) -> torch.nn.Module:
    """The networks of one fold as one, which gives their mean logit.

    Parameters
    ----------
    members : sequence of Module
        At least one.
    """
    return members[0] if len(members) == 1 else Ensemble(list(members)).eval()


def keeps_maps(model: torch.nn.Module) -> bool:
    """True for a network that reads whole images; one of patches keeps no map of an image.

    Parameters
    ----------
    model : Module
        One network.
    """
    return not isinstance(model, Patched)
