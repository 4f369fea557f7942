"""Where networks looked in held-out women, kept in files so that it can be shown without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepqct.folder import Run, write_whole
from deepqct.scans.shown import card, slice_picture, times


@dataclass(frozen=True)
class Explained:
    """Pictures of one held-out woman's bone and of the places that her score rests on.

    Parameters
    ----------
    participant_id : str
        The woman, as in participants.tsv.
    outcome : int
        1 with the outcome, 0 without.
    score : float
        Mean logit over her images, from the network that has not seen her.
    density : (y, x) float32, mgHA/cm³
        The middle slab of her middle image.
    inside : (y, x) bool
        True where her bone lies in at least half of the slices.
    heat : (y, x) float32
        Saliency, mean over her images. It adds up to 1, or to 0 where no place moves her score.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> bone = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 12
    >>> woman = dq.networks.Explained("sub-0001", 1, 0.4, np.float32(300) * bone, bone, np.float32(bone / bone.sum()))
    >>> round(float(woman.heat[:16].sum()), 2)  # the upper half of an even spread
    0.5
    """

    participant_id: str
    outcome: int
    score: float
    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    heat: NDArray[np.float32]

    def __repr__(self) -> str:
        """Say who she is, her score and the size of the pictures; no array is shown."""
        of = "with" if self.outcome else "without"
        size = times(self.density.shape, "d")
        return f"Explained({self.participant_id}, {of} the outcome, score {self.score:.2f}, {size} pixels)"

    def _repr_html_(self) -> str:
        """Her bone with its outline, her score and what to call next, for a notebook."""
        height, width = self.density.shape
        shown = slice_picture(self.density, pixel_mm=(1 / height, 1 / height), outlines={"#F0E442": self.inside})
        rows = {
            "woman": self.participant_id,
            "outcome": "yes" if self.outcome else "no",
            "score (logit)": f"{self.score:.2f}",
            "pixels (y, x)": times((height, width), "d"),
        }
        return card(
            "Explained", rows, then={"dq.plots.one_saliency(woman)": "draws what her score rests on"}, picture=shown
        )


def keep_explained(run: Run, explained: Sequence[Explained], *, bone: str) -> Path:
    """Write saliency_<bone>.npz, in which the pictures of each woman can be read without those of the others.

    Parameters
    ----------
    run : Run
        The run whose folder the file is written to.
    explained : sequence of Explained
        From `explain`; densities and saliencies are kept at half precision.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> woman = dq.networks.load_explained(dq.run.example_run(), bone="radius", participant_id="sub-0001")
    >>> dq.networks.keep_explained(dq.Run(Path(tempfile.mkdtemp())), [woman], bone="radius").name
    'saliency_radius.npz'
    """
    path = run.saliency(bone)
    pictures: dict[str, Any] = {
        f"{kind}_{number}": picture
        for number, woman in enumerate(explained)
        for kind, picture in (
            ("density", woman.density.astype(np.float16)),
            ("inside", woman.inside),
            # Times its size, so that an even spread is 1 and not below what half precision can tell from 0.
            ("heat", (woman.heat * woman.heat.size).astype(np.float16)),
        )
    }
    with write_whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            participant_id=np.array([woman.participant_id for woman in explained], dtype=np.str_),
            outcome=np.array([woman.outcome for woman in explained], np.int8),
            score=np.array([woman.score for woman in explained], np.float64),
            **pictures,
        )
    return path


def load_explained(run: Run, *, bone: str, participant_id: str) -> Explained | None:
    """What `keep_explained` has kept of one held-out woman; the pictures of the others are not read.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    participant_id : str
        The woman, as in participants.tsv.

    Returns
    -------
    Explained or None
        None where 02_train_bone has not run, or has not explained her.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.networks.load_explained(dq.run.example_run(), bone="radius", participant_id="sub-0001")
    >>> woman.heat.shape, round(float(woman.heat.sum()), 2)
    ((32, 32), 1.0)
    """
    if not run.saliency(bone).exists():
        return None
    with np.load(run.saliency(bone), allow_pickle=False) as kept:
        (numbers,) = np.nonzero(kept["participant_id"] == participant_id)
        if not len(numbers):
            return None
        number = int(numbers[0])
        density, inside, heat = (kept[f"{kind}_{number}"] for kind in ("density", "inside", "heat"))
        return Explained(
            participant_id=participant_id, outcome=int(kept["outcome"][number]), score=float(kept["score"][number]),
            density=density.astype(np.float32), inside=inside, heat=heat.astype(np.float32) / heat.size,
        )  # fmt: skip


def load_extremes(run: Run, *, bone: str) -> list[Explained]:
    """What `keep_explained` has kept of the held-out women of lowest and of highest score.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    list of Explained
        The woman of lowest score and that of highest; empty where 02_train_bone has explained fewer than two women.

    Examples
    --------
    >>> import deepqct as dq
    >>> lowest, highest = dq.networks.load_extremes(dq.run.example_run(), bone="radius")
    >>> lowest.score <= highest.score
    True
    """
    if not run.saliency(bone).exists():
        return []
    with np.load(run.saliency(bone), allow_pickle=False) as kept:
        if len(kept["score"]) < 2:
            return []
        ends = [str(kept["participant_id"][place]) for place in (kept["score"].argmin(), kept["score"].argmax())]
    found = [load_explained(run, bone=bone, participant_id=person) for person in ends]
    return [woman for woman in found if woman is not None]
