from .alone import RunError
from .cost import estimate
from .example import example_run
from .init import init_folder
from .integrity import verify
from .jobs import run_job
from .parameters import STAGES, ParameterError
from .plan import Plan, load_preset, plan_run
from .repetition import reproduce
from .stage import Stage, start
from .tidying import tidy
from .workflow import execute

__all__ = [
    "STAGES",
    "ParameterError",
    "Plan",
    "RunError",
    "Stage",
    "estimate",
    "example_run",
    "execute",
    "init_folder",
    "load_preset",
    "plan_run",
    "reproduce",
    "run_job",
    "start",
    "tidy",
    "verify",
]
