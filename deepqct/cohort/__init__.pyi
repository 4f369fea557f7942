from .check import check_cohort, load_cohort
from .cohort import Cohort, CohortError
from .keep import keep_cohort, table_one
from .reviews import ReviewError, decide, read_reviews, reader_agreement, reviewed
from .scan_files import check_heads, middle_slices, read_scans, scan_of
from .scanners import keep_protocol, protocol_table, scanner_and_outcome
from .splits import keep_splits, make_splits

__all__ = [
    "Cohort",
    "CohortError",
    "ReviewError",
    "check_cohort",
    "check_heads",
    "decide",
    "keep_cohort",
    "keep_protocol",
    "keep_splits",
    "load_cohort",
    "make_splits",
    "middle_slices",
    "protocol_table",
    "read_reviews",
    "read_scans",
    "reader_agreement",
    "reviewed",
    "scan_of",
    "scanner_and_outcome",
    "table_one",
]
