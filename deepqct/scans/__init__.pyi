from .scan import Scan, crop, each_loaded, read_mask, read_scan
from .seams import Seam, find_seams
from .stored import ScanError
from .write import write_aim, write_dicom, write_image, write_isq

__all__ = [
    "Scan",
    "ScanError",
    "Seam",
    "crop",
    "each_loaded",
    "find_seams",
    "read_mask",
    "read_scan",
    "write_aim",
    "write_dicom",
    "write_image",
    "write_isq",
]
