from . import (
    bones,
    bundles,
    cohort,
    curation,
    evaluation,
    exploration,
    folder,
    groups,
    models,
    networks,
    plots,
    reach,
    report,
    run,
    run_tables,
    scans,
    terms,
    virtual,
    widgets,
    work,
)
from .bones import Bone, find_bones, local_thickness, measure, strength
from .bundles import bundle, load_bundle, predict
from .cohort import load_cohort
from .curation import curate
from .folder import Run
from .groups import find_groups
from .models import compare_run, predict_run
from .networks import Recipe, cross_validate
from .run import start
from .scans import Scan, read_scan
from .widgets import SliceViewer

__version__: str

__all__ = [
    "Bone",
    "Recipe",
    "Run",
    "Scan",
    "SliceViewer",
    "bones",
    "bundle",
    "bundles",
    "cohort",
    "compare_run",
    "cross_validate",
    "curate",
    "curation",
    "evaluation",
    "exploration",
    "find_bones",
    "find_groups",
    "folder",
    "groups",
    "load_bundle",
    "load_cohort",
    "local_thickness",
    "measure",
    "models",
    "networks",
    "plots",
    "predict",
    "predict_run",
    "reach",
    "read_scan",
    "report",
    "run",
    "run_tables",
    "scans",
    "start",
    "strength",
    "terms",
    "virtual",
    "widgets",
    "work",
]
