from .comparison import compare_run
from .families import Model, models_for
from .predict import predict_all, predict_run, tables
from .sheet import score_sheet

__all__ = ["Model", "compare_run", "models_for", "predict_all", "predict_run", "score_sheet", "tables"]
