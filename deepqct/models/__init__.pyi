from .comparison import compare_run
from .families import Model, models_for
from .frozen import frozen_models
from .inputs import tables
from .noise_cost import noise_costs
from .predict import predict_all, predict_run
from .repeats import fuse_repeats, risk_precision
from .sheet import score_sheet

__all__ = [
    "Model",
    "compare_run",
    "frozen_models",
    "fuse_repeats",
    "models_for",
    "noise_costs",
    "predict_all",
    "predict_run",
    "risk_precision",
    "score_sheet",
    "tables",
]
