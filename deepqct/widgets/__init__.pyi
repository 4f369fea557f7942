from .bone import bone_view
from .explorer import Explorer
from .groups import group_explorer
from .planner import study_planner
from .review import ReviewPanel
from .slices import SliceViewer, link
from .slider import slice_slider

__all__ = [
    "Explorer",
    "ReviewPanel",
    "SliceViewer",
    "bone_view",
    "group_explorer",
    "link",
    "slice_slider",
    "study_planner",
]
