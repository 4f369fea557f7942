from .comparison import compare_run
from .families import Model, models_for
from .frozen import frozen_models
from .inputs import tables
from .predict import predict_all, predict_run
from .repeats import fuse_repeats, risk_precision
from .sheet import score_sheet

__all__ = [
    "Model",
    "compare_run",
    "frozen_models",
    "fuse_repeats",
    "models_for",
    "predict_all",
    "predict_run",
    "risk_precision",
    "score_sheet",
    "tables",
]
