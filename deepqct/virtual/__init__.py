"""Virtual women: a cohort in a hospital's form whose truth is known.

population: who they are · anatomy: what their bones look like · scanner: what a scanner makes of it · cohort: the folder.
"""

from deepqct.virtual.cohort import draw_scan, new_cohort
from deepqct.virtual.population import SCENARIOS, attainable_auc, draw_women

__all__ = ["SCENARIOS", "attainable_auc", "draw_scan", "draw_women", "new_cohort"]
