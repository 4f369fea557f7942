from . import micro_fe
from .contours import contoured_bone, dice
from .failure_load import load_to_strength, strain_energy, strength
from .find import Bone, BoneError, bone_within, find_bones
from .indices import convention_table, measure
from .quality import motion_score, ring_score, unusual_indices, unusual_strength
from .registration import Registration, area_match, common_region, register
from .texture import measure_texture, texture_table
from .thickness import axis_spacing, local_thickness, medial_spheres

__all__ = [
    "Bone",
    "BoneError",
    "Registration",
    "area_match",
    "axis_spacing",
    "bone_within",
    "common_region",
    "contoured_bone",
    "convention_table",
    "dice",
    "find_bones",
    "load_to_strength",
    "local_thickness",
    "measure",
    "measure_texture",
    "medial_spheres",
    "micro_fe",
    "motion_score",
    "register",
    "ring_score",
    "strain_energy",
    "strength",
    "texture_table",
    "unusual_indices",
    "unusual_strength",
]
