"""Simulated cohorts as a planned study expects them, judged by the functions that judge real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepqct.evaluation import NETWORKS_VARY, Study, auc, compare_auc, noninferiority

Cohort = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]


def cohorts(study: Study, *, gain: float, number: int, seed: int) -> Iterator[Cohort]:
    """Outcomes and two scores of the same women, the AUC of the second lower by the gain."""
    rng = np.random.default_rng(seed)
    apart = np.sqrt(2) * special.ndtri([study.auc, study.auc - gain])
    for _ in range(number):
        outcome = (rng.random(study.n) < study.prevalence).astype(float)
        first, other = rng.normal(size=(2, study.n))
        second = study.correlation * first + np.sqrt(1 - study.correlation**2) * other
        yield outcome, first + apart[0] * outcome, second + apart[1] * outcome


def widths(study: Study, *, number: int, seed: int = 0) -> dict[str, float]:
    """Mean widths of the intervals of the AUC and of the difference, and how many cohorts have neither; with errors."""
    of_auc, of_difference, above = [], [], 0
    for outcome, one, other in cohorts(study, gain=0.0, number=number, seed=seed):
        area, difference = auc(outcome, one), compare_auc(outcome, one, other)
        if area.estimable:
            of_auc.append(area.high - area.low)
            above += area.low > 0.5
        if difference.estimable:
            of_difference.append(difference.high - difference.low)
    return {
        "auc_width": float(np.mean(of_auc)),
        "auc_width_error": float(np.std(of_auc) / np.sqrt(len(of_auc))),
        "difference_width": float(np.mean(of_difference)),
        "not_estimable": 1 - len(of_auc) / number,
        "above_chance": above / number,
    }


def shown(study: Study, *, margin: float, number: int, seed: int = 0) -> float:
    """How often simulated studies show superiority for the study's gain (margin 0), or non-inferiority of equals.

    The AUC of a score from networks varies from training to training as much as it is assumed to.
    """
    trained = (study.networks > 0, study.networks > 1)
    columns = study.trainings if study.networks else 1
    rng, count = np.random.default_rng([seed, 1]), 0
    for outcome, *scores in cohorts(study, gain=0.0 if margin else study.gain, number=number, seed=seed):
        one, other = (
            trainings(score, outcome, columns, rng) if network else np.repeat(score[:, None], columns, axis=1)
            for score, network in zip(scores, trained, strict=True)
        )
        found = (
            noninferiority(outcome, one, other, margin=margin, trained=trained)
            if margin
            else compare_auc(outcome, one, other, trained=trained)
        )
        count += bool(found.estimable and found.low > -margin)
    return count / number


def trainings(score: NDArray, outcome: NDArray, columns: int, rng: np.random.Generator) -> NDArray:
    """A score of several trainings: events are moved against non-events, and only the AUC varies."""
    area = auc(outcome, score)
    if not area.estimable:
        return np.repeat(score[:, None], columns, axis=1)
    error = (area.high - area.low) / (2 * 1.96) * np.sqrt(NETWORKS_VARY**2 - 1)
    slope = np.exp(-(special.ndtri(min(area.estimate, 0.99)) ** 2) / 2) / np.sqrt(2 * np.pi)  # of the AUC over ndtri
    moved = rng.normal(0, error / slope * np.sqrt(2), columns)
    return score[:, None] + outcome[:, None] * moved
