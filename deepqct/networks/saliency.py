"""Where a network looks: Grad-CAM on women whom it has not seen.

Grad-CAM (Selvaraju 2017, doi:10.1109/ICCV.2017.74) weighs a network's maps by their gradients. Two things differ here.
The gradient is the mean over each cell's neighbourhood, not over the whole map (compare HiResCAM: Draelos and Carin
2020, arXiv:2011.08891). And the map of a reference woman, the mean over women of the other folds, is subtracted first:
parts that look like the reference woman's do not change the score, and a woman of low risk is explained as well as one
of high risk. For what a network loses when a part of the bone is covered, see covered.py.
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

from deepqct.curation.stacks import of_bone
from deepqct.folder import Run
from deepqct.networks.ensemble import members_of
from deepqct.networks.explained import Explained
from deepqct.networks.folds import batch_of, held_out_folds, items_of_others
from deepqct.networks.images import bone_images, normalised, seen_mask
from deepqct.networks.readers import Patched
from deepqct.networks.recipe import Recipe
from deepqct.run_tables import run_outcome
from deepqct.work import say

FINEST = 12  # the last map with at least this many cells along an edge is explained: at 96 px stage 2 of ResNet's 4
MOST_USUAL = 64  # at most so many women of the other folds, evenly taken, make the reference woman; our choice
# Two boxes of four cells, one after the other, so that the strides of the two stages after the map leave no lattice.
_NEIGHBOURHOOD = torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]) / 16
ANGLES, RADII = 72, 24  # cells of the registered bone, around its centre and from the centre to the outline


class NoMapsError(ValueError):
    """The network has no maps (channels, y, x), so that Grad-CAM cannot be computed."""


@dataclass(frozen=True)
class Usual:
    """The reference woman of a network: the means over some women whom it has seen.

    Parameters
    ----------
    features : (images, channels, y, x) Tensor
        Mean of the explained map over the women, for each image along the bone separately.
    logit : float
        Mean logit over the women and their images.
    """

    features: torch.Tensor
    logit: float


def usual(model: torch.nn.Module, women: Iterable[torch.Tensor], *, finest: int = FINEST) -> Usual:
    """The reference woman of a network, to whom others are compared.

    Parameters
    ----------
    model : Module
        A body and a head, as from `deepqct.networks.load_fold`.
    women : iterable of (images, channels, y, x) Tensor
        Each woman's images, as `BoneImage` gives them, the same number for each; of women whom the network has seen.
    finest : int
        The last map with at least so many cells along an edge is explained; later ones are too coarse to tell the
        cortex from the marrow.

    Raises
    ------
    NoMapsError
        If the network has no maps, as a transformer.
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
    """How much each place of a woman's images raises or lowers their logits, compared with the reference woman.

    Parameters
    ----------
    model : Module
        A body and a head, as from `deepqct.networks.load_fold`.
    images : (images, channels, y, x) Tensor
        As `BoneImage` gives them.
    reference : Usual
        From `usual`, of the same network and with the same `finest`.
    finest : int
        As in `usual`.

    Returns
    -------
    (images, y, x) float32, logits a cell of the map
        Above 0 where the logit is raised. The cells of the map add up to the woman's logit minus the reference woman's,
        as far as the network is linear between the two and its gradient is the same within each neighbourhood.

    Raises
    ------
    NoMapsError
        If the network has no maps, as a transformer.
    """
    with torch.enable_grad():
        logits, features = _seen(model, images, finest=finest)
        (gradient,) = torch.autograd.grad(logits.sum(), features)
    heat = (_local_mean(gradient) * (features.detach() - reference.features)).sum(dim=1, keepdim=True).float()
    heat = torch.nn.functional.interpolate(heat, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return np.asarray(heat[:, 0].numpy(), np.float32)


def _local_mean(maps: torch.Tensor) -> torch.Tensor:
    """Maps averaged over `_NEIGHBOURHOOD`, along y and x; at an edge only cells inside of the map count."""
    stack, half = maps.flatten(0, 1)[:, None], len(_NEIGHBOURHOOD) // 2
    whole = torch.ones_like(stack[:1])
    for shape, padding in (((1, 1, -1, 1), (half, 0)), ((1, 1, 1, -1), (0, half))):
        kernel = _NEIGHBOURHOOD.to(stack.dtype).reshape(shape)
        stack, whole = (torch.nn.functional.conv2d(summed, kernel, padding=padding) for summed in (stack, whole))
    return (stack / whole).reshape(maps.shape)


def _seen(model: torch.nn.Module, images: torch.Tensor, *, finest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a batch, and the map that is explained."""
    if isinstance(model, Patched):
        raise NoMapsError("A network of patches keeps no map of an image.")
    layer = _layer(model.get_submodule("0"), images, finest=finest)
    keep = Hook(layer, lambda _, __, output: output, detach=False)
    try:
        logits = model(normalised(images).requires_grad_())
        return logits, keep.stored
    finally:
        keep.remove()


def _layer(body: torch.nn.Module, images: torch.Tensor, *, finest: int) -> torch.nn.Module:
    """The last layer, or block of layers, whose map still has `finest` cells along an edge.

    Raises
    ------
    NoMapsError
        If no layer has maps, as in a transformer.
    """
    layers = list(body.children())
    while len(layers) == 1:
        layers = list(layers[0].children())
    sizes: dict[int, int] = {}

    def note(number: int) -> Callable[..., None]:
        def keep(_: Any, __: Any, output: Any) -> None:
            # Images are square; where a map's last two axes are not, the channels come last.
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3]:
                sizes[number] = min(output.shape[-2:])

        return keep

    hooks = [layer.register_forward_hook(note(number)) for number, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            body(normalised(images[:1]))
    finally:
        for hook in hooks:
            hook.remove()
    if not sizes:
        raise NoMapsError(
            f"{type(layers[0]).__name__ if layers else type(body).__name__} has no maps (channels, y, x)."
        )
    fine = [number for number, size in sizes.items() if size >= finest]
    return layers[max(fine) if fine else min(sizes)]


def explain(
    run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe, most: int | None = None
) -> list[Explained]:
    """Grad-CAM of every woman, by the network of the fold that held her out.

    She is compared with a reference woman, the mean over women of the other folds, whom the network has seen.
    The heat of a woman whose score lies above the reference woman's shows the places that raise it; the heat of a woman
    whose score lies below shows the places that lower it.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        The protocol and repeat in splits.csv whose networks are explained.
    recipe : Recipe
        The recipe that they were trained with.
    most : int, optional
        The largest number of women of each fold; all by default.

    Returns
    -------
    list of Explained
        Empty for a network that has no maps, which a printed line says; `occlusion` works without maps.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> explained = dq.networks.explain(run, bone="radius", protocol="all", repeat=0, recipe=recipe, most=1)
    >>> [(woman.heat.shape, round(float(woman.heat.sum()), 2)) for woman in explained]  # one of each fold
    [((32, 32), 1.0), ((32, 32), 1.0)]
    """
    explained: list[Explained] = []
    groups = run_outcome(run)
    where: dict[str, Any] = {"bone": bone, "protocol": protocol, "repeat": repeat, "recipe": recipe}
    for model, items in held_out_folds(run, **where):
        others = items_of_others(run, items, **where)
        taken = others["participant_id"].unique()[:: max(-(-others["participant_id"].nunique() // MOST_USUAL), 1)]
        seen = (others[others["participant_id"] == person] for person in taken)
        women = [batch_of(run, her_items, bone=bone, recipe=recipe) for her_items in seen]
        try:
            references = [usual(member, women) for member in members_of(model)]
        except NoMapsError:
            why = (
                "A network of patches keeps no map of an image"
                if recipe.patches
                else f"{recipe.arch} keeps no maps of places"
            )
            say(f"{why}, so that there is no saliency; see what covering a part costs.")
            return []
        usual_logit = float(np.mean([reference.logit for reference in references]))
        for person in list(items["participant_id"].unique())[:most]:
            her_items = items[items["participant_id"] == person]
            images = batch_of(run, her_items, bone=bone, recipe=recipe)
            with torch.no_grad():
                score = float(model(normalised(images)).mean())
            sign = 1.0 if score >= usual_logit else -1.0
            # The logit of an ensemble is a mean, and so is what each place adds to it.
            of_members = [
                grad_cam(member, images, reference=reference)
                for member, reference in zip(members_of(model), references, strict=True)
            ]
            heat = np.clip(sign * np.mean(of_members, axis=0).mean(axis=0), 0, None)
            density = bone_images(run, person, bone, view=recipe.view)
            mask = seen_mask(run, person, bone, view=recipe.view)
            explained.append(
                Explained(
                    participant_id=str(person),
                    outcome=int(groups[str(person)]),
                    score=score,
                    density=density[len(density) // 2, density.shape[1] // 2].astype(np.float32),
                    inside=np.asarray(of_bone(mask).mean(axis=0) >= 0.5),
                    heat=np.asarray(heat / max(float(heat.sum()), 1e-12), np.float32),
                )
            )
    return explained


def registered(plane: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A picture in coordinates of the bone itself, so that bones of any size and shape can be averaged.

    Every outline becomes a circle.

    Parameters
    ----------
    plane : (y, x) array
        The picture.
    inside : (y, x) bool
        True inside the bone.

    Returns
    -------
    (ANGLES, RADII) float
        Rows go around the bone's centre, from the right of the picture over its lower side; columns go from the centre
        to the outline. NaN everywhere if there is no bone.
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
    """Mean saliency of the women with and of those without the outcome, in coordinates of the bone itself.

    Parameters
    ----------
    explained : sequence of Explained
        From `explain`.

    Returns
    -------
    dict
        For outcome 0 and 1, where there are such women: (72, 24) float, around the bone's centre, from the right of the
        picture over its lower side, and from the centre to the outline. 1 is the saliency of an even spread.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> bone = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 12
    >>> even = dq.networks.Explained("sub-0001", 1, 0.4, np.float32(300) * bone, bone, np.float32(bone / bone.sum()))
    >>> maps = dq.networks.mean_maps([even])
    >>> list(maps), maps[1].shape, round(float(np.median(maps[1])), 2)
    ([1], (72, 24), 1.0)
    """
    mean_of: dict[int, NDArray[np.float64]] = {}
    for outcome in (0, 1):
        maps = [registered(e.heat * e.inside.sum(), e.inside) for e in explained if e.outcome == outcome]
        if maps:
            mean_of[outcome] = np.nanmean(maps, axis=0)
    return mean_of
