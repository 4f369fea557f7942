"""The structure of a bone's image, place by place, as `deepqct.bones` measures it: what pretraining reads.

Everything here is computed from a `Bone`, which is densities and compartments, and from nothing else: no woman, no
outcome, and nothing of how a virtual bone was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepqct.bones.find import Bone
from deepqct.bones.indices import tissue_of
from deepqct.bones.thickness import local_thickness

TARGETS = ("Tb.BV/TV", "Tb.Th", "Tb.Sp", "Ct.Th", "Ct.Po", "Tb.Or.cos", "Tb.Or.sin")
LENGTHS = ("Tb.Th", "Tb.Sp", "Ct.Th")  # mm
CONVENTIONS = {
    "Tb.BV/TV": "share of bone in the trabecular compartment",
    "Tb.Th": "mean local thickness of trabecular bone, mm",
    "Tb.Sp": "mean local thickness of the space between trabeculae, mm",
    "Ct.Th": "mean local thickness of the cortical compartment, mm",
    "Ct.Po": "share of pores in the cortex",
    "Tb.Or.cos": "cos 2θ times coherence of the trabeculae in the slice, by the structure tensor; θ from the x axis",
    "Tb.Or.sin": "sin 2θ times coherence",
}
# Our choices: what must be in a window for its mean to mean anything.
LEAST_TRABECULAR, LEAST_CORTICAL, LEAST_BONE = 0.15, 0.04, 0.01
GRADIENT_MM = 0.12
RIM_MM = 0.4  # next to the cortex, whose edge would outshine the trabeculae

Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Structure:
    """The structure of one bone, voxel by voxel.

    Parameters
    ----------
    trabecular, cortical : (z, y, x) bool
        The compartments.
    bone, solid, pores : (z, y, x) bool
        Trabecular bone, cortical bone, and the pores of the cortex.
    thickness : (z, y, x) float32, mm
        Local thickness of what a voxel belongs to: trabecular bone, the space within the trabecular compartment, or the
        cortical compartment.
    tensor : (3, z, y, x) float32
        The structure tensor in the slice, xx − yy, 2 xy and xx + yy, where trabeculae are away from the cortex.
    """

    trabecular: NDArray[np.bool_]
    cortical: NDArray[np.bool_]
    bone: NDArray[np.bool_]
    solid: NDArray[np.bool_]
    pores: NDArray[np.bool_]
    thickness: NDArray[np.float32]
    tensor: NDArray[np.float32]

    def within(self, window: Window) -> NDArray[np.float64]:
        """The means over a window.

        Parameters
        ----------
        window : (z, y, x) slices
            A part of the bone's box.

        Returns
        -------
        (targets,) float
            In the order of `TARGETS`; NaN where the window holds too little of a compartment.
        """
        spongy, cortex, bone = (part[window] for part in (self.trabecular, self.cortical, self.bone))
        thickness = self.thickness[window]
        found = dict.fromkeys(TARGETS, np.nan)
        if spongy.mean() >= LEAST_TRABECULAR:
            found["Tb.BV/TV"] = bone.sum() / spongy.sum()
            if bone.sum() >= LEAST_BONE * spongy.sum():
                found["Tb.Th"] = thickness[bone].mean(dtype=np.float64)
                found["Tb.Sp"] = thickness[spongy & ~bone].mean(dtype=np.float64)
                apart, across, both = self.tensor[(slice(None), *window)].sum(axis=(1, 2, 3), dtype=np.float64)
                if both > 0:  # trabeculae run across the gradient
                    found["Tb.Or.cos"], found["Tb.Or.sin"] = -apart / both, -across / both
        if cortex.mean() >= LEAST_CORTICAL:
            found["Ct.Th"] = thickness[cortex].mean(dtype=np.float64)
            found["Ct.Po"] = self.pores[window].sum() / max((self.pores | self.solid)[window].sum(), 1)
        return np.array([found[name] for name in TARGETS], np.float64)


def structure_of(bone: Bone) -> Structure:
    """Measure the structure of one bone, voxel by voxel.

    Parameters
    ----------
    bone : Bone
        With cubic voxels.

    Returns
    -------
    Structure

    Raises
    ------
    ValueError
        If the voxels are not cubes.

    References
    ----------
    Hildebrand T, Rüegsegger P (1997), J Microsc 185:67. Bigün J, Granlund GH (1987), Proc ICCV:433, for the structure
    tensor.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.networks.structure import TARGETS, structure_of
    >>> from deepqct.virtual.pieces import draw_piece
    >>> piece = draw_piece(np.random.default_rng(0), edge=64, slices=6)
    >>> everywhere = (slice(None),) * 3
    >>> found = dict(zip(TARGETS, structure_of(piece).within(everywhere), strict=True))
    >>> 0 < float(found["Tb.BV/TV"]) < 1, bool(0.1 < found["Tb.Th"] < found["Tb.Sp"])
    (True, True)
    """
    trabeculae, solid, pores = tissue_of(bone)
    thickness = np.zeros(bone.density.shape, np.float32)
    for part in (trabeculae, bone.trabecular & ~trabeculae, bone.cortical):
        if part.any() and not part.all():
            thickness += local_thickness(part, voxel_mm=bone.voxel_mm)
    return Structure(bone.trabecular, bone.cortical, trabeculae, solid, pores, thickness, _tensor(bone))


def _tensor(bone: Bone) -> NDArray[np.float32]:
    """The structure tensor of the trabeculae in each slice; 0 next to the cortex."""
    pixel = bone.voxel_mm[1]
    sigma = GRADIENT_MM / pixel
    y, x = (ndimage.gaussian_filter(bone.density, (0, sigma, sigma), order=(0, *order)) for order in ((1, 0), (0, 1)))
    reach = round(RIM_MM / pixel)
    away = np.arange(-reach, reach + 1)
    disc = np.hypot(away[:, None], away[None]) <= reach
    inner = ndimage.binary_erosion(bone.trabecular, disc[None], border_value=1)
    return np.stack([x * x - y * y, 2 * x * y, x * x + y * y]) * inner
