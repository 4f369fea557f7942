from .check import Cohort, CohortError, check_cohort, check_heads, load_cohort, read_scans, scan_of
from .keep import keep_cohort, table_one
from .reviews import ReviewError, decide, read_reviews, reader_agreement, reviewed
from .splits import keep_splits, make_splits

__all__ = [
    "Cohort",
    "CohortError",
    "ReviewError",
    "check_cohort",
    "check_heads",
    "decide",
    "keep_cohort",
    "keep_splits",
    "load_cohort",
    "make_splits",
    "read_reviews",
    "read_scans",
    "reader_agreement",
    "reviewed",
    "scan_of",
    "table_one",
]
