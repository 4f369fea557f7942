from .comparisons import bones_compared, calibration, decision_curves, differences, nomogram
from .groups import (
    agreement,
    consensus,
    embedding,
    group_differences,
    group_heatmap,
    numbers_of_groups,
    radar,
    several_embeddings,
)
from .models import headlines, performance, roc
from .networks import (
    controls,
    loss_curves,
    mean_saliency,
    occlusion,
    one_saliency,
    saliency,
    saliency_by_bone,
    score_distribution,
    scores_by_bone,
)
from .planning import planned_study
from .repeats import change_over_visits, precision_errors
from .scans import bland_altman, compartments, index_distributions, montage, outlined, planes_and_projection, save_slice
from .strength import strain_energy
from .style import BONE_COLOURS, mark_virtual, save, set_style
from .women import cohort_map, new_women, profile, thresholds

__all__ = [
    "BONE_COLOURS",
    "agreement",
    "bland_altman",
    "bones_compared",
    "calibration",
    "change_over_visits",
    "cohort_map",
    "compartments",
    "consensus",
    "controls",
    "decision_curves",
    "differences",
    "embedding",
    "group_differences",
    "group_heatmap",
    "headlines",
    "index_distributions",
    "loss_curves",
    "mark_virtual",
    "mean_saliency",
    "montage",
    "new_women",
    "nomogram",
    "numbers_of_groups",
    "occlusion",
    "one_saliency",
    "outlined",
    "performance",
    "planes_and_projection",
    "planned_study",
    "precision_errors",
    "profile",
    "radar",
    "roc",
    "saliency",
    "saliency_by_bone",
    "save",
    "save_slice",
    "score_distribution",
    "scores_by_bone",
    "set_style",
    "several_embeddings",
    "strain_energy",
    "thresholds",
]
