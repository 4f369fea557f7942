"""Prediction models judged: arrays in, tidy tables out.

Usable alone: nothing here knows of bones, folders or networks. Every figure comes with n, events and an interval; from
fewer than 5 events or non-events nothing is estimated.
"""

from deepqct.evaluation.calibration import calibrate_out_of_fold, calibration, calibration_curve
from deepqct.evaluation.decisions import (
    THRESHOLDS,
    classification,
    decided,
    net_benefit,
    reclassification,
    share,
    threshold_for,
)
from deepqct.evaluation.discrimination import (
    FEWEST,
    Estimate,
    auc,
    auc_interval,
    auprc,
    better_than_chance,
    compare_auc,
    noninferiority,
    only_row,
    roc_points,
    within_folds,
)
from deepqct.evaluation.multiplicity import auc_632_plus, best_by_chance, holm, permutation_p, permuted, sample_size

__all__ = [
    "FEWEST",
    "THRESHOLDS",
    "Estimate",
    "auc",
    "auc_632_plus",
    "auc_interval",
    "auprc",
    "best_by_chance",
    "better_than_chance",
    "calibrate_out_of_fold",
    "calibration",
    "calibration_curve",
    "classification",
    "compare_auc",
    "decided",
    "holm",
    "net_benefit",
    "noninferiority",
    "only_row",
    "permutation_p",
    "permuted",
    "reclassification",
    "roc_points",
    "sample_size",
    "share",
    "threshold_for",
    "within_folds",
]
