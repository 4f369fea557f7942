"""Where a network looks: Grad-CAM on held-out patients, and what it loses when a part of the bone is covered.

Grad-CAM (Selvaraju 2017, doi:10.1109/ICCV.2017.74) weighs a network's maps by their gradients. Here the gradient is that of
each cell's neighbourhood, not of the whole map (as in HiResCAM: Draelos and Carin 2020, arXiv:2011.08891), and the map
counts from the usual woman of the other folds: what is as usual moves no score, and a woman of low risk is explained
as well as one of high risk. Covering a part and scoring again asks the network itself, without any model of it. Both
look at patients whom the network has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fastai.callback.hook import Hook
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.curation.stacks import load_stack, of_bone
from deepqct.folder import Run
from deepqct.networks.explained import Explained
from deepqct.networks.folds import batch_of, held_out_folds, items_of_others
from deepqct.networks.images import bone_images, cropped, normalised
from deepqct.networks.recipe import Recipe
from deepqct.work import say

FINEST = 12  # the last map of at least this many cells along an edge is explained: the second of four stages at 96 px
MOST_USUAL = 64  # women of the other folds, evenly taken, whose mean is the usual woman; our choice
# Two boxes of four cells: the strides of the two stages after the map leave no lattice in the gradient.
_NEIGHBOURHOOD = torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]) / 16
ANGLES, RADII = 72, 24  # cells of the registered bone, around and outwards


class NoMapsError(ValueError):
    """A network that keeps no maps of places."""


@dataclass(frozen=True)
class Usual:
    """What a network makes of the usual woman.

    Parameters
    ----------
    features : (images, channels, y, x) Tensor
        Mean of the explained map, for each image along the bone.
    logit : float
        Mean over women and images.
    """

    features: torch.Tensor
    logit: float


def usual(model: torch.nn.Module, women: Iterable[torch.Tensor], *, finest: int = FINEST) -> Usual:
    """The usual woman of a network.

    Parameters
    ----------
    model : Module
        A body and a head, as from `deepqct.networks.load_fold`.
    women : iterable of (images, channels, y, x) Tensor
        Each woman's images, as `BoneImage` gives them, all of the same number; of women whom the network has seen.
    finest : int
        The last map with at least so many cells along an edge is taken: later ones do not tell a cortex from its marrow.
    """
    total, logits = torch.zeros(1), []
    for images in women:
        with torch.no_grad():
            score, features = _seen(model, images, finest=finest)
        total = total + features
        logits.append(float(score.mean()))
    return Usual(features=total / max(len(logits), 1), logit=float(np.mean(logits)))


def grad_cam(
    model: torch.nn.Module, images: torch.Tensor, *, reference: Usual, finest: int = FINEST
) -> NDArray[np.float32]:
    """What each place of a woman's images adds to their logits beyond the usual woman's.

    Parameters
    ----------
    model : Module
        A body and a head, as from `deepqct.networks.load_fold`.
    images : (images, channels, y, x) Tensor
        As `BoneImage` gives them.
    reference : Usual
        From `usual`, of the same network and `finest`.
    finest : int
        As in `usual`.

    Returns
    -------
    (images, y, x) float32, logits a cell of the map
        Above 0 where the logit is raised. All cells of the map add up to what the logit gains over the usual woman's, as
        far as the network is linear between the two and its gradient even within a neighbourhood.
    """
    with torch.enable_grad():
        logits, features = _seen(model, images, finest=finest)
        (gradient,) = torch.autograd.grad(logits.sum(), features)
    heat = (_local_mean(gradient) * (features.detach() - reference.features)).sum(dim=1, keepdim=True).float()
    heat = torch.nn.functional.interpolate(heat, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return np.asarray(heat[:, 0].numpy(), np.float32)


def _local_mean(maps: torch.Tensor) -> torch.Tensor:
    """Maps averaged over `_NEIGHBOURHOOD`, along y and x, without what lies beyond the edge."""
    stack, half = maps.flatten(0, 1)[:, None], len(_NEIGHBOURHOOD) // 2
    whole = torch.ones_like(stack[:1])
    for shape, padding in (((1, 1, -1, 1), (half, 0)), ((1, 1, 1, -1), (0, half))):
        kernel = _NEIGHBOURHOOD.to(stack.dtype).reshape(shape)
        stack, whole = (torch.nn.functional.conv2d(part, kernel, padding=padding) for part in (stack, whole))
    return (stack / whole).reshape(maps.shape)


def _seen(model: torch.nn.Module, images: torch.Tensor, *, finest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a batch and the map that is explained."""
    layer = _layer(model.get_submodule("0"), images, finest=finest)
    keep = Hook(layer, lambda _, __, output: output, detach=False)
    try:
        logits = model(normalised(images).requires_grad_())
        return logits, keep.stored
    finally:
        keep.remove()


def _layer(body: torch.nn.Module, images: torch.Tensor, *, finest: int) -> torch.nn.Module:
    """The deepest part of the body whose map still has `finest` cells along an edge.

    Raises
    ------
    NoMapsError
        If no part has maps, as in a transformer.
    """
    parts = list(body.children())
    while len(parts) == 1:
        parts = list(parts[0].children())
    sizes: dict[int, int] = {}

    def note(number: int) -> Callable[..., None]:
        def keep(_: Any, __: Any, output: Any) -> None:
            # Images are square; where a map's last two axes are not, the channels come last.
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3]:
                sizes[number] = min(output.shape[-2:])

        return keep

    hooks = [part.register_forward_hook(note(number)) for number, part in enumerate(parts)]
    try:
        with torch.no_grad():
            body(normalised(images[:1]))
    finally:
        for hook in hooks:
            hook.remove()
    if not sizes:
        raise NoMapsError(f"{type(parts[0]).__name__ if parts else type(body).__name__} has no maps (channels, y, x).")
    fine = [number for number, size in sizes.items() if size >= finest]
    return parts[max(fine) if fine else min(sizes)]


def explain(
    run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe, most: int | None = None
) -> list[Explained]:
    """Grad-CAM of every woman by the network of the fold that held her out, against the usual woman of the other folds.

    Her heat is what moves her score the way it went: up for a woman above the usual score, down for one below.

    Parameters
    ----------
    run, bone, protocol, repeat
        A trained bone of a run.
    recipe : Recipe
        As it was trained.
    most : int, optional
        Women of each fold; all by default.

    Returns
    -------
    list of Explained
        Empty, and said, for a network that has no maps; `occlusion` needs none.
    """
    found: list[Explained] = []
    where: dict[str, Any] = {"bone": bone, "protocol": protocol, "repeat": repeat, "recipe": recipe}
    for model, items in held_out_folds(run, **where):
        others = items_of_others(run, items, **where)
        taken = others["participant_id"].unique()[:: max(-(-others["participant_id"].nunique() // MOST_USUAL), 1)]
        seen = (others[others["participant_id"] == person] for person in taken)
        try:
            reference = usual(model, (batch_of(run, part, bone=bone, recipe=recipe) for part in seen))
        except NoMapsError:
            say(f"{recipe.arch} keeps no maps of places, so that there is no saliency; see what covering a part costs.")
            return []
        for person in list(items["participant_id"].unique())[:most]:
            part = items[items["participant_id"] == person]
            images = batch_of(run, part, bone=bone, recipe=recipe)
            with torch.no_grad():
                score = float(model(normalised(images)).mean())
            way = 1.0 if score >= reference.logit else -1.0
            heat = np.clip(way * grad_cam(model, images, reference=reference).mean(axis=0), 0, None)
            density = bone_images(run, person, bone, view=recipe.view)
            mask = cropped(load_stack(run, person, bone)[1], recipe.crop)
            found.append(
                Explained(
                    participant_id=str(person),
                    outcome=int(part["outcome"].iloc[0]),
                    score=score,
                    density=density[len(density) // 2, density.shape[1] // 2].astype(np.float32),
                    inside=np.asarray(of_bone(mask).mean(axis=0) >= 0.5),
                    heat=np.asarray(heat / max(float(heat.sum()), 1e-12), np.float32),
                )
            )
    return found


def registered(plane: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A picture on the registered bone: (ANGLES, RADII), around from the right by way of below, from centre to outline.

    Every outline becomes a circle, so that bones of any size and shape can be averaged. NaN where there is no bone.
    """
    if not inside.any():
        return np.full((ANGLES, RADII), np.nan)
    centre = np.array(ndimage.center_of_mass(inside))
    angle = np.arange(ANGLES) * 2 * np.pi / ANGLES
    ways = np.stack([np.sin(angle), np.cos(angle)])
    steps = np.arange(0, np.hypot(*inside.shape), 0.25)
    along = centre[:, None, None] + ways[:, :, None] * steps
    within = ndimage.map_coordinates(inside.astype(np.float32), along, order=1) >= 0.5
    edge = np.array([steps[row].max() if row.any() else 0.0 for row in within])
    share = (np.arange(RADII) + 0.5) / RADII
    places = centre[:, None, None] + ways[:, :, None] * (edge[:, None] * share)
    return np.asarray(ndimage.map_coordinates(plane.astype(np.float64), places, order=1, mode="nearest"))


def mean_maps(explained: Sequence[Explained]) -> dict[int, NDArray[np.float64]]:
    """Mean saliency on the registered bone by outcome: (ANGLES, RADII), 1 where it is as an even spread would have it."""
    found = {}
    for outcome in (0, 1):
        maps = [registered(e.heat * e.inside.sum(), e.inside) for e in explained if e.outcome == outcome]
        if maps:
            found[outcome] = np.nanmean(maps, axis=0)
    return found
