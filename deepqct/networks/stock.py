"""All images of a bone in one array, from which batches are taken whole, and the indices that training women are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import TensorCategory

from deepqct.folder import Run, read_table
from deepqct.networks.images import BoneImage, bone_images
from deepqct.networks.recipe import Recipe
from deepqct.terms import FALL_UNITS, STRENGTH_UNITS


@dataclass(frozen=True)
class Stock:
    """The images of some women's bones in one array.

    Parameters
    ----------
    density : (women × images, channels, y, x) int16 Tensor, mgHA/cm³
        Woman after woman, from the first image of her stack to the last.
    first : Series of int
        The row of each woman's first image, by participant_id.
    low, high : float, mgHA/cm³
        The edges of the density window.
    indices : (women, targets) float32 Tensor
        Standardised indices of each woman, in the order of `first`; NaN in women whom a network is not trained on.
    images : int
        Of each woman.
    """

    density: torch.Tensor
    first: pd.Series
    low: float
    high: float
    indices: torch.Tensor
    images: int

    @classmethod
    def of(
        cls, run: Run, people: Iterable[str], *, bone: str, recipe: Recipe, targets: pd.DataFrame | None, device: Any
    ) -> Self:
        """The stock of some women.

        Parameters
        ----------
        run : Run
            A curated run.
        people : iterable of str
            Their participant_id.
        bone : str
            radius, ulna, tibia or fibula.
        recipe : Recipe
            What the images are.
        targets : DataFrame, optional
            From `targets_of`.
        device : torch device
            Where the array lies.

        Raises
        ------
        ValueError
            If a woman's stack cannot give such images.
        """
        women = list(people)
        images = [bone_images(run, person, bone, view=recipe.view) for person in women]
        told = pd.DataFrame(index=women) if targets is None else targets.reindex(women)
        return cls(
            density=torch.from_numpy(np.concatenate(images)).to(device),
            first=pd.Series(np.arange(len(women)) * recipe.images, index=women),
            low=recipe.low,
            high=recipe.high,
            indices=torch.tensor(told.to_numpy(np.float32, copy=True), device=device),
            images=recipe.images,
        )

    def rows(self, items: pd.DataFrame) -> torch.Tensor:
        """The rows of the array that some rows of `items_of` name.

        Parameters
        ----------
        items : DataFrame
            participant_id and image.
        """
        rows = self.first[items["participant_id"]].to_numpy() + items["image"].to_numpy()
        return torch.from_numpy(rows).to(self.density.device)

    def batch(self, rows: torch.Tensor) -> BoneImage:
        """The images of some rows, as `BoneImage.of` gives each of them.

        Parameters
        ----------
        rows : (batch,) int Tensor
            From `rows`.
        """
        shares = (self.density[rows].float() - self.low) / (self.high - self.low)
        return BoneImage(shares.clamp_(0.0, 1.0))


class StockDL(TfmdDL):
    """A fastai data loader whose batches are taken from a stock at once, and not image by image.

    Parameters
    ----------
    dataset : Datasets
        Of rows of `items_of`; what it would make of each is what a batch holds.
    stock : Stock
        With the images of all of them.
    **kwargs
        As in `TfmdDL`.
    """

    def __init__(self, dataset: Any, *, stock: Stock, **kwargs: Any) -> None:
        self.stock = stock
        items = dataset.items
        self.rows = stock.rows(items)
        self.outcome = torch.tensor(items["outcome"].to_list(), device=self.rows.device)
        if "time" in items:
            times = torch.tensor(items["time"].to_list(), device=self.rows.device)
            self.outcome = torch.stack([times, self.outcome.to(times.dtype)], dim=1)
        super().__init__(dataset, **kwargs)

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> Any:  # noqa: D102
        return super().new(dataset, cls, **{"stock": self.stock} | kwargs)

    def decode(self, b: Any) -> Any:  # noqa: D102
        return super().decode(b[: len(self.dataset.tls)])  # indices are not shown

    def do_item(self, s: int | None) -> int:  # noqa: D102
        return s or 0

    def do_batch(self, b: Any) -> tuple[Any, ...]:  # noqa: D102
        numbers = torch.tensor(b, device=self.rows.device)
        rows = self.rows[numbers]
        images = self.stock.batch(rows)
        if len(self.dataset.tls) == 1:  # without outcomes, of women who are scored
            return (images,)
        outcome = self.outcome[numbers]
        outcome = outcome.float() if outcome.is_floating_point() else TensorCategory(outcome)
        if not self.stock.indices.shape[1]:
            return images, outcome
        return images, outcome, self.stock.indices[rows // self.stock.images]


def targets_of(run: Run, people: Iterable[str], *, bone: str, told: str = "indices") -> pd.DataFrame:
    """What was measured in a bone, for a network to tell beside the outcome: of the women whom it is trained on alone.

    Parameters
    ----------
    run : Run
        A curated run.
    people : iterable of str
        The participant_id of the women whom it is trained on.
    bone : str
        radius, ulna, tibia or fibula.
    told : str
        indices, texture or both.

    Returns
    -------
    (women, measured) float DataFrame
        By participant_id; standardised by mean and standard deviation of these women. NaN where a value is missing.
        What fewer than half of them have, or what is the same in all, is left out.

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    ValueError
        If nothing is left.
    """
    tables = {"indices": [run.indices], "texture": [run.texture], "both": [run.indices, run.texture]}[told]
    wanted, parts = list(people), []
    for path in tables:
        table = read_table(run.require(path, written_by="01_data_curation"))
        rows = table[(table["bone"] == bone) & table["participant_id"].isin(wanted)].set_index("participant_id")
        parts.append(
            rows.drop(columns=["bone", *STRENGTH_UNITS, *FALL_UNITS], errors="ignore")
            .select_dtypes("number")
            .astype(float)
        )
    values = pd.concat(parts, axis=1)
    spread = values.std()
    kept = values.columns[(values.notna().mean() >= 0.5) & (spread > 0)]
    if kept.empty:
        names = " and ".join(path.name for path in tables)
        raise ValueError(f"{names} hold nothing of the {bone} that a network could tell; set auxiliary=0.")
    return (values[kept] - values[kept].mean()) / spread[kept]
