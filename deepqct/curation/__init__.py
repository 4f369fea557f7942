"""Stage 01: scans in; bone stacks, indices and quality flags out.

stacks.py          each bone in the middle of its field: what the networks see of a scan
scan_stacks.py     a scan that was made in several stacks: each measured, or one chosen
beside_scanner.py  our indices beside those of the scanner's own software
one_scan.py        one scan read, its bones cut out, measured and written
under_load.py      one bone under load, for a picture of where it is strained
looking.py         which scans a person should look at, those first that may spoil the most
curation.py        every scan of a cohort curated; a scan that fails is a row with its reason
registered.py      two scans of one bone, each measured in the region that both show
repeats.py         other sessions of the same women, and the precision of indices from them
visits.py          one woman's indices over her visits, beside the noise
batches.py         some scans curated by themselves, on another machine
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
