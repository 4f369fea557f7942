from . import targets
from .attainable import attainable_auc, attainable_of_others
from .cohort import draw_scan, new_cohort, scan_in_steps
from .generations import as_first_xtremect
from .population import RISK_FORMS, SCENARIOS, draw_women

__all__ = [
    "RISK_FORMS",
    "SCENARIOS",
    "as_first_xtremect",
    "attainable_auc",
    "attainable_of_others",
    "draw_scan",
    "draw_women",
    "new_cohort",
    "scan_in_steps",
    "targets",
]
