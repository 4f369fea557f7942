"""What is moved by hand in a notebook; where papermill runs it, a static picture or table is shown instead.

lab.py labextension/  what lets JupyterLab 4 show live.py and itkwidgets without internet
live.py               pictures that are zoomed, measured and pointed at in the browser
pictures.py           pictures as bytes for the browser
slices.py             a scan slice by slice in three planes
slider.py             a slider of slices that needs no kernel
bone_key.py           what the colours of a bone in 3D say
bone.py               a bone in 3D
flags.py              what the program thinks of each scan, and small pictures of the flagged ones
review.py             scans judged one after the other, by button or key
groups.py             other numbers, methods and indices for the patient groups
woman.py              one woman: her numbers, a bone of hers, her indices, what moves her score
explorer.py           single women, their bones, indices and risk
planner.py            a study planned by sliders
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
