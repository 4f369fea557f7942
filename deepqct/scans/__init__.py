"""Scanner files in and out, as calibrated density and without a word about the patient.

stored.py   what a file holds, the few header fields that may pass, and what cannot be
packed.py   voxels of an AIM in runs, in bits, or as floats of OpenVMS
scanco.py   AIM, ISQ and GOBJ of the scanner's own software
dicom.py    a DICOM series, or one file of many frames
images.py   NIfTI, MHA and NRRD
shown.py    how a scan, and what is made of it, shows itself in a notebook
formats.py  one reader a file format, found by the name
scan.py     a scan as calibrated density
seams.py    jumps between the stacks of a scan
write.py    scans written as scanner files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
