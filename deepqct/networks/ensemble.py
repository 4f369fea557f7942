"""Networks that are trained alike but from different seeds, and scored as one: the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Ensemble(torch.nn.Module):
    """The mean logit of some networks.

    Parameters
    ----------
    members : sequence of Module
        Networks that give one logit for each image.
    """

    def __init__(self, members: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, y, x) to (batch, 1)."""
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


def members_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The networks of an ensemble; of a single network, itself.

    Parameters
    ----------
    model : Module
        From `deepqct.networks.load_fold`.
    """
    return list(model.members) if isinstance(model, Ensemble) else [model]
