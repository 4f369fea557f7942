from .contours import contoured_bone, dice
from .find import Bone, BoneError, bone_within, find_bones
from .indices import convention_table, measure
from .quality import motion_score, ring_score, unusual_indices
from .thickness import axis_spacing, local_thickness, medial_spheres

__all__ = [
    "Bone",
    "BoneError",
    "axis_spacing",
    "bone_within",
    "contoured_bone",
    "convention_table",
    "dice",
    "find_bones",
    "local_thickness",
    "measure",
    "medial_spheres",
    "motion_score",
    "ring_score",
    "unusual_indices",
]
