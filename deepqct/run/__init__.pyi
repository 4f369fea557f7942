from .cost import estimate
from .example import example_run
from .init import init_folder
from .jobs import run_job
from .parameters import STAGES, ParameterError
from .plan import Plan, load_preset, plan_run
from .stage import Stage, start
from .tidy import tidy
from .verify import verify
from .workflow import RunError, execute

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
    "run_job",
    "start",
    "tidy",
    "verify",
]
