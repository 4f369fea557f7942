from .formats import ScanError
from .scan import Scan, crop, each_loaded, read_mask, read_scan
from .write import write_aim, write_dicom, write_image, write_isq

__all__ = [
    "Scan",
    "ScanError",
    "crop",
    "each_loaded",
    "read_mask",
    "read_scan",
    "write_aim",
    "write_dicom",
    "write_image",
    "write_isq",
]
