"""Simulated scores of networks that are trained several times, with the truth known: for tests and benches.

A woman's network score is her latent risk, noise that all trainings share, and noise of each training. The last has two
parts: one of its own for every woman, which averages out over a population, and a direction in features without signal,
which a training picks up more or less of, so that the AUC in the population differs from training to training.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

EVENTS, FEATURES = 0.33, 10
_SHARED, _OWN, _PICKED_UP, _INDEX = 0.6, 0.5, 0.8, 0.7  # SDs beside a latent risk of SD 1


def cohort(
    rng: np.random.Generator, *, n: int = 216, trainings: int = 3, unrest: float = 0.6
) -> tuple[NDArray[np.integer], NDArray[np.floating], NDArray[np.floating]]:
    """Outcome (n,), index score (n,), and network scores (n, trainings); `unrest` is how unlike trainings are."""
    y = (rng.random(n) < EVENTS).astype(int)
    latent = rng.standard_normal(n) + y
    index = latent + _INDEX * rng.standard_normal(n)
    shared = latent + _SHARED * rng.standard_normal(n)
    direction = rng.standard_normal((FEATURES, trainings))
    direction *= _PICKED_UP * np.exp(unrest * rng.standard_normal(trainings)) / np.linalg.norm(direction, axis=0)
    own = _OWN * rng.standard_normal((n, trainings))
    return y, index, shared[:, None] + own + rng.standard_normal((n, FEATURES)) @ direction


@cache
def truth(*, unrest: float = 0.6) -> tuple[float, float]:
    """The expected difference in AUC over trainings in the population, network minus index, and its SD over trainings."""
    picked_up = _PICKED_UP * np.exp(unrest * np.random.default_rng(0).standard_normal(200_000))
    network = stats.norm.cdf(1 / np.sqrt(2 * (1 + _SHARED**2 + _OWN**2 + picked_up**2)))
    index = stats.norm.cdf(1 / np.sqrt(2 * (1 + _INDEX**2)))
    return float(network.mean() - index), float(network.std())
