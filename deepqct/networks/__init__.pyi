from .controls import run_controls
from .covered import occlusion
from .cross_validation import cross_validate
from .data import bone_dataloaders, first_fold, show_images
from .explained import Explained, keep_explained, load_explained, load_extremes
from .features import frozen_features
from .folds import load_fold, top_losses, training_history, with_outcome
from .learned import out_of_fold, training_auc
from .pretraining import load_reader, pretrain
from .recipe import Recipe
from .repeats import score_precision, score_repeats
from .saliency import explain, mean_maps
from .stream import Pretraining
from .training import bone_learner, train_fold, use_device

__all__ = [
    "Explained",
    "Pretraining",
    "Recipe",
    "bone_dataloaders",
    "bone_learner",
    "cross_validate",
    "explain",
    "first_fold",
    "frozen_features",
    "keep_explained",
    "load_explained",
    "load_extremes",
    "load_fold",
    "load_reader",
    "mean_maps",
    "occlusion",
    "out_of_fold",
    "pretrain",
    "run_controls",
    "score_precision",
    "score_repeats",
    "show_images",
    "top_losses",
    "train_fold",
    "training_auc",
    "training_history",
    "use_device",
    "with_outcome",
]
