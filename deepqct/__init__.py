"""deepqct: from HR-pQCT scans to a fragility-fracture risk, for each bone separately.

``import deepqct as dq`` is light: what is named here is loaded when it is used (`__init__.pyi` lists it).
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
