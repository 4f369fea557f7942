"""What networks looked at in held-out women, kept so that it can be shown without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepqct.folder import Run, write_whole


@dataclass(frozen=True)
class Explained:
    """One held-out woman's bone and what her score rests on.

    Parameters
    ----------
    participant_id : str
    outcome : int
        0 or 1.
    score : float
        Mean logit over her images.
    density : (y, x) float32, mgHA/cm³
        The middle slab of her middle image.
    inside : (y, x) bool
        Where her bone is, in most of its slices.
    heat : (y, x) float32
        Saliency, mean over her images; its sum is 1, or 0 where nothing speaks for the outcome.
    """

    participant_id: str
    outcome: int
    score: float
    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    heat: NDArray[np.float32]


def keep_explained(run: Run, explained: Sequence[Explained], *, bone: str) -> Path:
    """Write saliency_<bone>.npz, densities and saliencies at half precision."""
    path = run.saliency(bone)
    with write_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            participant_id=np.array([one.participant_id for one in explained], dtype=np.str_),
            outcome=np.array([one.outcome for one in explained], np.int8),
            score=np.array([one.score for one in explained], np.float64),
            density=np.array([one.density for one in explained], np.float16),
            inside=np.array([one.inside for one in explained], np.bool_),
            # Times its size, so that an even spread is 1 and not below what half precision can tell from 0.
            heat=np.array([one.heat * one.heat.size for one in explained], np.float16),
        )
    return path


def load_explained(run: Run, *, bone: str) -> dict[str, Explained]:
    """The held-out women of a trained bone by participant_id; empty where 02_train_bone has not run.

    Parameters
    ----------
    run : Run
    bone : str
        radius, ulna, tibia or fibula.
    """
    if not run.saliency(bone).exists():
        return {}
    with np.load(run.saliency(bone), allow_pickle=False) as kept:
        names = ("participant_id", "outcome", "score", "density", "inside", "heat")
        columns = [kept[name] for name in names]
    return {
        str(person): Explained(
            participant_id=str(person), outcome=int(outcome), score=float(score), density=density.astype(np.float32),
            inside=inside, heat=heat.astype(np.float32) / heat.size,
        )
        for person, outcome, score, density, inside, heat in zip(*columns, strict=True)
    }  # fmt: skip
