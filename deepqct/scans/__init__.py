"""Scanner files in and out, as calibrated density and without a word about the patient.

formats.py  one reader a file format; the few header fields that may pass
scan.py     a scan as calibrated density
write.py    scans written as scanner files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
