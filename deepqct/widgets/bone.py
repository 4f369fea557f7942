"""A bone that can be turned, by itkwidgets, over the picture that stays where it cannot."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from deepqct import plots
from deepqct.curation.stacks import of_bone
from deepqct.widgets.pictures import figure_bytes, image_widget

LONGEST = 96  # voxels along the longest edge; our choice: a browser without a graphics card still turns it
_BLEND = 0.35  # how strongly compartments colour the bone


def thinned(
    density: NDArray[np.number],
    mask: NDArray[np.uint8],
    *,
    voxel_mm: tuple[float, float, float],
    longest: int = LONGEST,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], tuple[float, float, float]]:
    """A bone with fewer voxels, whole steps along each axis: means of densities, the middle label of each block.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        The bone.
    mask : (z, y, x) uint8
        Its compartments.
    voxel_mm : (z, y, x) mm
        Edge lengths.
    longest : int
        Voxels along the longest edge at most.

    Returns
    -------
    tuple
        Density float32, mask uint8, voxel_mm, of the smaller grid.
    """
    edge = max(length / longest for length in (n * v for n, v in zip(density.shape, voxel_mm, strict=True)))
    steps = [max(1, int(np.ceil(edge / v - 1e-6))) for v in voxel_mm]
    counts = [max(1, n // step) for n, step in zip(density.shape, steps, strict=True)]
    steps = [min(step, n) for step, n in zip(steps, density.shape, strict=True)]
    kept = tuple(slice(0, count * step) for count, step in zip(counts, steps, strict=True))
    blocks = [edge for count, step in zip(counts, steps, strict=True) for edge in (count, step)]
    small = density[kept].astype(np.float32).reshape(blocks).mean(axis=(1, 3, 5))
    middles = tuple(slice(step // 2, count * step, step) for count, step in zip(counts, steps, strict=True))
    z, y, x = (v * step for v, step in zip(voxel_mm, steps, strict=True))
    return small, np.ascontiguousarray(mask[middles]), (z, y, x)


def bone_view(
    density: NDArray[np.number],
    mask: NDArray[np.uint8],
    *,
    voxel_mm: tuple[float, float, float],
    window: tuple[float, float] = (-400, 1400),
    longest: int = LONGEST,
    virtual: bool = False,
) -> widgets.VBox:
    """A bone to be turned by mouse, its compartments as a layer that can be hidden, and its static twin below.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        The bone.
    mask : (z, y, x) uint8
        1 trabecular, 2 cortical, 3 another bone.
    voxel_mm : (z, y, x) mm
        Edge lengths.
    window : (low, high), mgHA/cm³
        From transparent to opaque.
    longest : int
        Voxels along the longest edge that the browser gets.
    virtual : bool
        Say that the woman is virtual.

    Returns
    -------
    ipywidgets.VBox
        Its static twin is `plots.planes_and_projection`.
    """
    # Here, since itk takes a second and headless notebooks need neither.
    import itk
    import itkwidgets

    # The bone alone, in its window: soft tissue would hide it, and the viewer's scale starts at the lowest value.
    alone = np.where(of_bone(mask), np.clip(density, *window), window[0])
    own = np.where(of_bone(mask), mask, 0).astype(np.uint8)
    box = tuple(
        slice(max(int(at.min()) - 2, 0), int(at.max()) + 3) if len(at) else slice(None) for at in np.nonzero(own)
    )
    small, labels, edges = thinned(alone[box], own[box], voxel_mm=voxel_mm, longest=longest)
    images = [itk.image_from_array(np.ascontiguousarray(part)) for part in (small, labels)]
    for image in images:
        image.SetSpacing(edges[::-1])
    viewer = itkwidgets.view(
        image=images[0], label_image=images[1], label_image_blend=_BLEND, cmap="Grayscale", gradient_opacity=0.2,
        units="mm", ui_collapsed=True,
    )  # fmt: skip
    shown = widgets.Checkbox(value=True, description="Compartments", indent=False)
    shown.observe(lambda change: setattr(viewer, "label_image_blend", _BLEND * change["new"]), names="value")
    twin = image_widget()
    planes = plots.planes_and_projection(density, mask, voxel_mm=voxel_mm, window=window)
    twin.value = figure_bytes(planes, virtual=virtual)
    return widgets.VBox([viewer, shown, twin])
