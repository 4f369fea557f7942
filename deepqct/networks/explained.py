"""What networks looked at in held-out women, kept so that it can be shown without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        Saliency, mean over her images; its sum is 1, or 0 where nothing moves her score.
    """

    participant_id: str
    outcome: int
    score: float
    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    heat: NDArray[np.float32]


def keep_explained(run: Run, explained: Sequence[Explained], *, bone: str) -> Path:
    """Write saliency_<bone>.npz: pictures of each woman by themselves, densities and saliencies at half precision."""
    path = run.saliency(bone)
    pictures: dict[str, Any] = {
        f"{kind}_{number}": picture
        for number, one in enumerate(explained)
        for kind, picture in (
            ("density", one.density.astype(np.float16)),
            ("inside", one.inside),
            # Times its size, so that an even spread is 1 and not below what half precision can tell from 0.
            ("heat", (one.heat * one.heat.size).astype(np.float16)),
        )
    }
    with write_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            participant_id=np.array([one.participant_id for one in explained], dtype=np.str_),
            outcome=np.array([one.outcome for one in explained], np.int8),
            score=np.array([one.score for one in explained], np.float64),
            **pictures,
        )
    return path


def load_explained(run: Run, *, bone: str, participant_id: str) -> Explained | None:
    """One held-out woman of a trained bone; only her pictures are read.

    Parameters
    ----------
    run : Run
    bone : str
        radius, ulna, tibia or fibula.
    participant_id : str
        Whose.

    Returns
    -------
    Explained or None
        None where 02_train_bone has not run, or has not explained her.
    """
    if not run.saliency(bone).exists():
        return None
    with np.load(run.saliency(bone), allow_pickle=False) as kept:
        (there,) = np.nonzero(kept["participant_id"] == participant_id)
        if not len(there):
            return None
        number = int(there[0])
        density, inside, heat = (kept[f"{kind}_{number}"] for kind in ("density", "inside", "heat"))
        return Explained(
            participant_id=participant_id, outcome=int(kept["outcome"][number]), score=float(kept["score"][number]),
            density=density.astype(np.float32), inside=inside, heat=heat.astype(np.float32) / heat.size,
        )  # fmt: skip
