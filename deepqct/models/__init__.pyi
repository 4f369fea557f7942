from .comparison import compare_run
from .families import Model, models_for
from .frozen import frozen_models
from .inputs import tables
from .predict import predict_all, predict_run
from .sheet import score_sheet

__all__ = [
    "Model",
    "compare_run",
    "frozen_models",
    "models_for",
    "predict_all",
    "predict_run",
    "score_sheet",
    "tables",
]
