"""Where a network looks: Grad-CAM on held-out patients, and what it loses when a part of the bone is covered.

Grad-CAM (Selvaraju 2017, doi:10.1109/ICCV.2017.74) shows where the score could be moved; covering a part and scoring again
asks the network itself, without any model of it. Both look at patients whom the network has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.hook import Hook
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.evaluation import auc, compare_auc
from deepqct.folder import Run
from deepqct.heatmaps import Explained
from deepqct.images import BoneImage, bone_images, cropped, normalised
from deepqct.learner import items_of, load_fold
from deepqct.recipe import Recipe
from deepqct.stacks import CORTICAL, TRABECULAR, load_stack, of_bone

FINEST = 6  # the last map of at least this many cells along an edge is explained; at 224 px the very last; our choice
ANGLES, RADII = 72, 24  # cells of the registered bone, around and outwards
QUARTERS = ("lower", "right", "upper", "left")  # of the picture of a right limb: files do not say what is posterior


def grad_cam(model: torch.nn.Module, images: torch.Tensor, *, finest: int = FINEST) -> NDArray[np.float32]:
    """Grad-CAM of a batch towards a higher logit.

    Parameters
    ----------
    model : Module
        A body and a head, as from `deepqct.learner.load_fold`.
    images : (n, channels, y, x) Tensor
        As `BoneImage` gives them.
    finest : int
        The last map with at least so many cells along an edge is taken: at small images the very last has too few.

    Returns
    -------
    (n, y, x) float32
        0 or more; channels of the map are weighed by their mean gradient, as in the first Grad-CAM.
    """
    layer = _layer(model.get_submodule("0"), images, finest=finest)
    keep = Hook(layer, lambda _, __, output: output, detach=False)
    try:
        with torch.enable_grad():
            logits = model(normalised(images).requires_grad_())
            (gradient,) = torch.autograd.grad(logits.sum(), keep.stored)
            weights = gradient.mean(dim=(2, 3), keepdim=True)
            heat = (weights * keep.stored).sum(dim=1, keepdim=True).clamp(min=0)
            heat = torch.nn.functional.interpolate(heat, size=images.shape[-2:], mode="bilinear", align_corners=False)
    finally:
        keep.remove()
    return np.asarray(heat[:, 0].detach().float().numpy(), np.float32)


def _layer(body: torch.nn.Module, images: torch.Tensor, *, finest: int) -> torch.nn.Module:
    """The deepest part of the body whose map still has `finest` cells along an edge."""
    parts = list(body.children())
    while len(parts) == 1:
        parts = list(parts[0].children())
    sizes: dict[int, int] = {}

    def note(number: int) -> Callable[..., None]:
        def keep(_: Any, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                sizes[number] = min(output.shape[-2:])

        return keep

    hooks = [part.register_forward_hook(note(number)) for number, part in enumerate(parts)]
    try:
        with torch.no_grad():
            body(normalised(images[:1]))
    finally:
        for hook in hooks:
            hook.remove()
    fine = [number for number, size in sizes.items() if size >= finest]
    return parts[max(fine) if fine else min(sizes)]


def explain(
    run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe, most: int | None = None
) -> list[Explained]:
    """Grad-CAM of every woman by the network of the fold that held her out.

    Parameters
    ----------
    run, bone, protocol, repeat
        A trained bone of a run.
    recipe : Recipe
        As it was trained.
    most : int, optional
        Women of each fold; all by default.
    """
    found = []
    for model, items in _held_out(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe):
        for person in list(items["participant_id"].unique())[:most]:
            part = items[items["participant_id"] == person]
            images = _images(run, part, bone=bone, recipe=recipe)
            heat = grad_cam(model, images).mean(axis=0)
            with torch.no_grad():
                score = float(model(normalised(images)).mean())
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


def _held_out(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> Any:
    """Each fold's network with the items that it has not seen."""
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    for fold in sorted(set(items["fold"]) - {"test"}):
        yield load_fold(run, bone=bone, protocol=protocol, repeat=repeat, fold=fold), items[items["fold"] == fold]


def _images(run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe) -> torch.Tensor:
    """The images of some items as one batch."""
    return torch.stack([BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in items.itertuples()])


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


def quarters(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The quarter of each pixel around the middle of the bone: a place in `QUARTERS`."""
    y, x = ndimage.center_of_mass(inside)
    down, right = np.indices(inside.shape)[0] - y, np.indices(inside.shape)[1] - x
    return np.asarray(np.select([down >= np.abs(right), right > np.abs(down), -down >= np.abs(right)], [0, 1, 2], 3))


def occlusion(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> pd.DataFrame:
    """What the scores of held-out women lose when the cortex, the trabecular core, or a quarter of the bone is covered.

    A covered part shows the mean density that it has in the fold's training women, so that its amount is hidden and the
    picture stays a bone.

    Returns
    -------
    DataFrame
        part, area (its mean share of the bone), moved (mean absolute change of the score, logits), estimate, low, high (the
        AUC with the part covered), lost (AUC before minus after), lost_low, lost_high, n, events; first ``nothing``.
    """
    rows: list[dict[str, Any]] = []
    for model, items in _held_out(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe):
        fill = _fill(run, items, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
        for person, part in items.groupby("participant_id"):
            images = _images(run, part, bone=bone, recipe=recipe)
            labels = cropped(load_stack(run, str(person), bone)[1], recipe.crop)
            mask = np.median(labels, axis=0).astype(np.uint8)
            covers = _covers(mask)
            batch = torch.cat([images, *(_covered(images, mask, cover, fill) for cover in covers.values())])
            with torch.no_grad():
                logits = model(normalised(batch)).reshape(len(covers) + 1, -1).mean(dim=1).tolist()
            size = max(int(of_bone(mask).sum()), 1)
            areas = [0.0, *(float(cover.sum() / size) for cover in covers.values())]
            rows += [
                {
                    "participant_id": person,
                    "outcome": int(part["outcome"].iloc[0]),
                    "part": name,
                    "area": area,
                    "score": x,
                }
                for name, area, x in zip(("nothing", *covers), areas, logits, strict=True)
            ]
    table = pd.DataFrame(rows)
    whole = table[table["part"] == "nothing"].set_index("participant_id")
    found = []
    for name, part in table.groupby("part", sort=False):
        part = part.set_index("participant_id").loc[whole.index]
        lost = compare_auc(whole["outcome"], whole["score"], part["score"]).add_prefix("lost_").iloc[0]
        (figures,) = auc(part["outcome"], part["score"]).to_dict("records")
        moved = float((part["score"] - whole["score"]).abs().mean())
        ends = {"lost": lost["lost_estimate"], "lost_low": lost["lost_low"], "lost_high": lost["lost_high"]}
        found.append({"part": name, "area": float(part["area"].mean()), "moved": moved} | dict(figures) | ends)
    return pd.DataFrame(found)


def _covers(mask: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """The parts that are covered in turn."""
    inside, around = of_bone(mask), quarters(of_bone(mask))
    parts = {"cortex": mask == CORTICAL, "trabecular core": mask == TRABECULAR}
    return parts | {f"{name} quarter": inside & (around == k) for k, name in enumerate(QUARTERS)}


def _covered(
    images: torch.Tensor, mask: NDArray[np.uint8], cover: NDArray[np.bool_], fill: dict[int, float]
) -> torch.Tensor:
    """Images with a part at its compartment's mean."""
    done = images.clone()
    for label, value in fill.items():
        done[:, :, torch.from_numpy(cover & (mask == label))] = value
    return done


def _fill(run: Run, items: pd.DataFrame, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> dict[int, float]:
    """Mean of each compartment over the women of the other folds, in units of the window."""
    everybody = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    others = everybody[~everybody["fold"].isin(["test", *items["fold"].unique()])]["participant_id"].unique()
    sums = {TRABECULAR: [0.0, 0], CORTICAL: [0.0, 0]}
    for person in others:
        density = bone_images(run, person, bone, view=recipe.view).mean(axis=(0, 1))
        mask = np.median(cropped(load_stack(run, person, bone)[1], recipe.crop), axis=0)
        for label, total in sums.items():
            total[0] += float(density[mask == label].sum())
            total[1] += int((mask == label).sum())
    return {
        label: float(np.clip((total / max(count, 1) - recipe.low) / (recipe.high - recipe.low), 0, 1))
        for label, (total, count) in sums.items()
    }
