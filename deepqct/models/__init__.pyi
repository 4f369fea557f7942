from .comparison import compare_run
from .families import Model, models_for
from .inputs import tables
from .predict import predict_all, predict_run
from .sheet import score_sheet

__all__ = ["Model", "compare_run", "models_for", "predict_all", "predict_run", "score_sheet", "tables"]
