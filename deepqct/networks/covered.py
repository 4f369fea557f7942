"""What a network loses when a part of the bone is covered: it scores the covered images itself, nothing is modelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.curation.stacks import CORTICAL, TRABECULAR, of_bone
from deepqct.evaluation.judging import as_told, compared, judged
from deepqct.folder import Run
from deepqct.networks.folds import batch_of, held_out_folds, items_of_others
from deepqct.networks.images import bone_images, image_masks, normalised
from deepqct.networks.recipe import Recipe
from deepqct.run_tables import outcome_of

QUARTERS = ("lower", "right", "upper", "left")  # as a right limb is pictured: files do not say which side is posterior


def quarters(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which quarter of the bone each pixel lies in, as seen from the middle of the bone.

    Parameters
    ----------
    inside : (y, x) bool
        True inside the bone, in at least one pixel.

    Returns
    -------
    (y, x) int
        The position of the quarter's name in `QUARTERS`.
    """
    y, x = ndimage.center_of_mass(inside)
    down, right = np.indices(inside.shape)[0] - y, np.indices(inside.shape)[1] - x
    return np.asarray(np.select([down >= np.abs(right), right > np.abs(down), -down >= np.abs(right)], [0, 1, 2], 3))


def occlusion(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> pd.DataFrame:
    """What the scores of held-out women lose when the cortex, the trabecular core, or a quarter of the bone is covered.

    A covered part is filled with the mean density of its compartment in the fold's training women. This hides how much
    bone there is, and the picture still looks like a bone.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        The protocol and repeat in splits.csv whose networks are asked.
    recipe : Recipe
        The recipe that they were trained with.

    Returns
    -------
    DataFrame
        part, area (its mean share of the bone), moved (mean absolute change of the score, logits), estimate, low, high
        (the AUC with the part covered; R² of a number, C-index of a time), n, events, lost (before minus after), lost_low,
        lost_high, measure. In the first row nothing is covered.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> table = dq.networks.occlusion(run, bone="radius", protocol="all", repeat=0, recipe=recipe)
    >>> table["part"].tolist()
    ['nothing', 'cortex', 'trabecular core', 'lower quarter', 'right quarter', 'upper quarter', 'left quarter']
    >>> float(table["area"][1:3].sum().round(3))  # cortex and core are the whole bone
    1.0
    """
    rows: list[dict[str, Any]] = []
    for model, items in held_out_folds(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe):
        fill = _fill(run, items, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
        for person, her_items in items.groupby("participant_id"):
            images = batch_of(run, her_items, bone=bone, recipe=recipe)
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
                    "part": name,
                    "area": area,
                    "score": logit,
                }
                for name, area, logit in zip(("nothing", *covers), areas, logits, strict=True)
            ]
    table, outcome = pd.DataFrame(rows), outcome_of(run)
    whole = table[table["part"] == "nothing"].set_index("participant_id")
    losses = []
    for name, of_part in table.groupby("part", sort=False):
        covered = of_part.set_index("participant_id").loc[whole.index]
        before, after = (as_told(outcome, scores["score"], like=whole["score"]) for scores in (whole, covered))
        own = outcome.take(whole.index)
        lost = compared(own, before[:, None], after[:, None], trained=(False, False))
        moved = float((covered["score"] - whole["score"]).abs().mean())
        ends = {"lost": lost.estimate, "lost_low": lost.low, "lost_high": lost.high}
        losses.append(
            {"part": name, "area": float(covered["area"].mean()), "moved": moved}
            | judged(own, after).row()
            | ends
            | {"measure": own.figure}
        )
    return pd.DataFrame(losses)


def _covers(mask: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """Masks of the parts that are covered, one after the other.

    Each image has its own masks, since a bone is wider at its end than above.
    """
    inside = of_bone(mask)
    around = np.stack([quarters(image) if image.any() else np.zeros(image.shape, np.intp) for image in inside])
    parts = {"cortex": mask == CORTICAL, "trabecular core": mask == TRABECULAR}
    return parts | {f"{name} quarter": inside & (around == k) for k, name in enumerate(QUARTERS)}


def _covered(
    images: torch.Tensor, mask: NDArray[np.uint8], cover: NDArray[np.bool_], fill: dict[int, float]
) -> torch.Tensor:
    """Images in which a part shows the mean density of its compartment."""
    done = images.clone()
    for label, value in fill.items():
        done[torch.from_numpy(cover & (mask == label))[:, None].expand_as(done)] = value
    return done


def _fill(run: Run, items: pd.DataFrame, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> dict[int, float]:
    """Mean density of each compartment in the women of the other folds, as a share of the density window."""
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
