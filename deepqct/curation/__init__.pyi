from .beside_scanner import compare_with_scanner
from .curation import CurationError, curate
from .looking import to_look_at
from .repeats import curate_repeats, precision_table
from .scan_stacks import measure_stacks, stacks_of
from .stacks import cut_stack, example_bones, example_stacks, load_stack, of_bone
from .under_load import UnderLoad, bone_under_load
from .visits import Visits, visits_of

__all__ = [
    "CurationError",
    "UnderLoad",
    "Visits",
    "bone_under_load",
    "compare_with_scanner",
    "curate",
    "curate_repeats",
    "cut_stack",
    "example_bones",
    "example_stacks",
    "load_stack",
    "measure_stacks",
    "of_bone",
    "precision_table",
    "stacks_of",
    "to_look_at",
    "visits_of",
]
