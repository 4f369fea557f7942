"""What is moved by hand in a notebook; papermill shows each one's static twin instead."""

from deepqct.widgets.bone import bone_view
from deepqct.widgets.explorer import Explorer
from deepqct.widgets.groups import group_explorer
from deepqct.widgets.review import ReviewPanel
from deepqct.widgets.slices import SliceViewer, link
from deepqct.widgets.slider import slice_slider

__all__ = ["Explorer", "ReviewPanel", "SliceViewer", "bone_view", "group_explorer", "link", "slice_slider"]
