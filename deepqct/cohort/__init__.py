"""A cohort folder: its tables checked, its scans judged by readers, its patients split.

hints.py           what a person may have meant: ids, files and columns of nearly the same name
tsv.py             tab-separated tables as people save them
scanner_names.py   names and units of the scanner's software and of laboratories' exports
scanner_tables.py  contours and index tables of the scanner's own software
reviews.py         what readers decided about scans, line by line in review.csv; how far two readers agree
typed.py           values of a table against its dictionary
sessions.py        of several scans of one woman, which is analysed
cohort.py          a cohort as the stages take it: tables and dictionaries
pseudonyms.py      pseudonyms in place of ids, by a key file that stays outside of the run
twice.py           one scan under two rows, by another path or as a copy
scan_files.py      the scans table: one row for each scan, and each file's header
scanners.py        scanners and protocols by the headers, and whether they go with the outcome
check.py           participants and scans: every fault named at once
keep.py            what a run keeps of its cohort, and Table 1 (the cohort by outcome)
splits.py          who is held out: folds and test sets by patient, drawn once
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
