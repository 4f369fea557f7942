from .comparison import beside_preprint, keep_comparison
from .embedding import embed, several
from .find import (
    Groups,
    agreement_between_bones,
    agreement_between_methods,
    find_groups,
    keep_groups,
    verdict,
    z_means,
)
from .methods import METHODS
from .space import covariates_of, named

__all__ = [
    "METHODS",
    "Groups",
    "agreement_between_bones",
    "agreement_between_methods",
    "beside_preprint",
    "covariates_of",
    "embed",
    "find_groups",
    "keep_comparison",
    "keep_groups",
    "named",
    "several",
    "verdict",
    "z_means",
]
