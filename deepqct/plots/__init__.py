"""One function, one figure: each returns its Axes, and `save` keeps them with title and caption.

The four bones have one palette everywhere, safe for colour blindness. Nothing here is shown by itself, nothing is drawn
at random, and no function changes the style of other figures.
"""

from deepqct.drawing import BONE_COLOURS, mark_virtual, save, set_style
from deepqct.plots.comparisons import bones_compared, calibration, decision_curves, differences, nomogram
from deepqct.plots.groups import (
    agreement,
    consensus,
    embedding,
    group_differences,
    group_heatmap,
    numbers_of_groups,
    radar,
    several_embeddings,
)
from deepqct.plots.models import loss_curves, performance, roc, score_distribution
from deepqct.plots.networks import controls, mean_saliency, occlusion, one_saliency, saliency
from deepqct.plots.scans import (
    bland_altman,
    compartments,
    index_distributions,
    montage,
    planes_and_projection,
    save_slice,
)
from deepqct.plots.women import cohort_map, profile, thresholds

__all__ = [
    "BONE_COLOURS", "agreement", "bland_altman", "bones_compared", "calibration", "cohort_map", "compartments",
    "consensus", "controls", "decision_curves", "differences", "embedding", "group_differences", "group_heatmap",
    "index_distributions", "loss_curves", "mark_virtual", "mean_saliency", "montage", "nomogram", "numbers_of_groups",
    "occlusion", "one_saliency", "performance", "planes_and_projection", "profile", "radar", "roc", "saliency",
    "save", "save_slice", "score_distribution", "set_style", "several_embeddings", "thresholds",
]  # fmt: skip
