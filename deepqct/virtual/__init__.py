"""Virtual women: a cohort in a hospital's form whose truth is known.

targets, population: who they are · outlines, network, anatomy: what their bones look like · steering: from indices to
drawings · motion, scanner: what a scanner makes of it · cohort: the folder.
"""

from deepqct.virtual import targets
from deepqct.virtual.cohort import draw_scan, new_cohort, scan_in_steps
from deepqct.virtual.population import SCENARIOS, attainable_auc, draw_women

__all__ = ["SCENARIOS", "attainable_auc", "draw_scan", "draw_women", "new_cohort", "scan_in_steps", "targets"]
