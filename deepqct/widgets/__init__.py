"""What is moved by hand in a notebook; papermill shows each one's static twin instead."""

from deepqct.widgets.groups import group_explorer

__all__ = ["group_explorer"]
