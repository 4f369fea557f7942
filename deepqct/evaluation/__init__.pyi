from .agreement import limits_of_agreement
from .calibration import calibrate_out_of_fold, calibration_curve, calibration_measures
from .curves import auprc, roc_points
from .decisions import THRESHOLDS, classification, decided, net_benefit, reclassification, share, threshold_for
from .discrimination import (
    FEWEST,
    FEWEST_TRAININGS,
    NETWORKS_VARY,
    Difference,
    Estimate,
    Noninferiority,
    auc,
    better_than_chance,
    compare_auc,
    noninferiority,
    within_folds,
)
from .multiplicity import auc_632_plus, best_by_chance, holm, permutation_p, permuted, sample_size
from .scales import averaged, levels, spread

__all__ = [
    "FEWEST",
    "FEWEST_TRAININGS",
    "NETWORKS_VARY",
    "THRESHOLDS",
    "Difference",
    "Estimate",
    "Noninferiority",
    "auc",
    "auc_632_plus",
    "auprc",
    "averaged",
    "best_by_chance",
    "better_than_chance",
    "calibrate_out_of_fold",
    "calibration_curve",
    "calibration_measures",
    "classification",
    "compare_auc",
    "decided",
    "holm",
    "levels",
    "limits_of_agreement",
    "net_benefit",
    "noninferiority",
    "permutation_p",
    "permuted",
    "reclassification",
    "roc_points",
    "sample_size",
    "share",
    "spread",
    "threshold_for",
    "within_folds",
]
