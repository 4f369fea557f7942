from .content import Bundle, load_bundle
from .example import example_bundle
from .make import bundle
from .prediction import Predictions, predict
from .sheet import show_sheet, write_predictions
from .source import BundleError
from .validation import Validation, validate

__all__ = [
    "Bundle",
    "BundleError",
    "Predictions",
    "Validation",
    "bundle",
    "example_bundle",
    "load_bundle",
    "predict",
    "show_sheet",
    "validate",
    "write_predictions",
]
