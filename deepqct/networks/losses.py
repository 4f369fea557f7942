"""What a network's output is held against: 0 and 1, a number, or a time to an event; and what was measured beside it."""

from __future__ import annotations

from typing import Any

import torch
from fastai.losses import BCEWithLogitsLossFlat

from deepqct.terms import NUMBER, TIME, Outcome

# Images of a batch at least, where times are learnt: its risk sets are made of them alone. Our choice.
RISK_SET = 16


class SquaredError(torch.nn.Module):
    """The squared error of a number, in SDs of the women whom the network is trained on.

    Parameters
    ----------
    mean, spread : float
        Of the number in these women.
    """

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread

    def forward(self, outputs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, 1) against numbers (batch,)."""
        wanted = (numbers.reshape(-1).float() - self.mean) / self.spread
        return ((outputs.reshape(-1).float() - wanted) ** 2).mean()


class CoxLoss(torch.nn.Module):
    """Minus the log partial likelihood of Cox for each event, over the images of one batch.

    The risk set of an event is the images of the batch whose women were followed at least as long, her own among them. Ties
    are Breslow's: images of one woman share her time, and are no ties that Efron's would be better for. A woman who died
    leaves the risk sets when she dies (the hazard of the event is learnt, not that of death). A batch without an event
    teaches nothing.
    """

    def forward(self, outputs: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, 1), log hazards, against times and events (batch, 2)."""
        score = outputs.reshape(-1).float()
        time, event = outcome[:, 0].float(), outcome[:, 1] == 1
        if not event.any():
            return score.sum() * 0.0
        at_risk = time[None, :] >= time[event][:, None]
        everybody = score[None, :].expand(at_risk.shape).masked_fill(~at_risk, float("-inf"))
        return (torch.logsumexp(everybody, dim=1) - score[event]).mean()


class OutcomeAndIndices(torch.nn.Module):
    """The loss of the outcome, and the squared error of the indices in the women whom it is trained on.

    Parameters
    ----------
    weight : float
        Of the squared error.
    outcome : Module, optional
        The loss of the outcome; by default cross-entropy.
    """

    def __init__(self, weight: float, outcome: Any = None) -> None:
        super().__init__()
        self.outcome, self.weight = outcome or BCEWithLogitsLossFlat(), weight

    def forward(self, outputs: torch.Tensor, outcome: torch.Tensor, indices: torch.Tensor) -> Any:
        """Outputs (batch, 1 + indices), or (batch, 1) when held-out women are scored, whose indices do not count."""
        loss = self.outcome(outputs[:, :1], outcome)
        if outputs.shape[1] == 1:
            return loss
        known = torch.isfinite(indices)
        error = (outputs[:, 1:].float() - indices.nan_to_num()) ** 2
        return loss + self.weight * (error * known).sum() / known.sum().clamp(min=1)


def loss_of(outcome: Outcome) -> Any:
    """The loss by which a network learns an outcome.

    Parameters
    ----------
    outcome : Outcome
        Of the women whom it is trained on.

    Returns
    -------
    Module
        Cross-entropy of 0 and 1, squared error of a number, Cox's partial likelihood of a time.
    """
    if outcome.kind == NUMBER:
        spread = float(outcome.values.std(ddof=0))
        return SquaredError(float(outcome.values.mean()), spread or 1.0)
    return CoxLoss() if outcome.kind == TIME else BCEWithLogitsLossFlat()
