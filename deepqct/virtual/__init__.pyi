from . import targets
from .cohort import draw_scan, new_cohort, scan_in_steps
from .population import SCENARIOS, attainable_auc, draw_women

__all__ = ["SCENARIOS", "attainable_auc", "draw_scan", "draw_women", "new_cohort", "scan_in_steps", "targets"]
