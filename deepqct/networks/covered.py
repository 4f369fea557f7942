"""What a network loses when a part of the bone is covered; it asks the network itself, without any model of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.curation.stacks import CORTICAL, TRABECULAR, of_bone
from deepqct.evaluation.discrimination import auc, compare_auc
from deepqct.folder import Run
from deepqct.networks.folds import batch_of, held_out_folds, items_of_others
from deepqct.networks.images import bone_images, image_masks, normalised
from deepqct.networks.recipe import Recipe

QUARTERS = ("lower", "right", "upper", "left")  # of the picture of a right limb: files do not say what is posterior


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
    for model, items in held_out_folds(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe):
        fill = _fill(run, items, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
        for person, part in items.groupby("participant_id"):
            images = batch_of(run, part, bone=bone, recipe=recipe)
            mask = image_masks(run, str(person), bone, view=recipe.view)
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
        lost = compare_auc(whole["outcome"], whole["score"], part["score"])
        moved = float((part["score"] - whole["score"]).abs().mean())
        ends = {"lost": lost.estimate, "lost_low": lost.low, "lost_high": lost.high}
        found.append(
            {"part": name, "area": float(part["area"].mean()), "moved": moved}
            | auc(part["outcome"], part["score"]).row()
            | ends
        )
    return pd.DataFrame(found)


def _covers(mask: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """The parts that are covered in turn, image by image: a bone is not as thick at its end as it is above."""
    inside = of_bone(mask)
    around = np.stack([quarters(image) if image.any() else np.zeros(image.shape, np.intp) for image in inside])
    parts = {"cortex": mask == CORTICAL, "trabecular core": mask == TRABECULAR}
    return parts | {f"{name} quarter": inside & (around == k) for k, name in enumerate(QUARTERS)}


def _covered(
    images: torch.Tensor, mask: NDArray[np.uint8], cover: NDArray[np.bool_], fill: dict[int, float]
) -> torch.Tensor:
    """Images with a part at its compartment's mean."""
    done = images.clone()
    for label, value in fill.items():
        done[torch.from_numpy(cover & (mask == label))[:, None].expand_as(done)] = value
    return done


def _fill(run: Run, items: pd.DataFrame, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> dict[int, float]:
    """Mean of each compartment over the women of the other folds, in units of the window."""
    others = items_of_others(run, items, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)[
        "participant_id"
    ].unique()
    sums = {TRABECULAR: [0.0, 0], CORTICAL: [0.0, 0]}
    for person in others:
        density = bone_images(run, person, bone, view=recipe.view).mean(axis=1)
        mask = image_masks(run, person, bone, view=recipe.view)
        for label, total in sums.items():
            total[0] += float(density[mask == label].sum())
            total[1] += int((mask == label).sum())
    return {
        label: float(np.clip((total / max(count, 1) - recipe.low) / (recipe.high - recipe.low), 0, 1))
        for label, (total, count) in sums.items()
    }
