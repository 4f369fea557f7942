"""A bone in 3D that can be turned (itkwidgets), and below it a static picture for pages without a kernel."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from deepqct import plots
from deepqct.curation.stacks import of_bone
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import figure_bytes

LONGEST = 96  # voxels along the longest edge; our choice: a browser without a graphics card still turns it
_BLEND = 0.35  # how strongly compartments, or energies, colour the bone
# Where the classes of strain energy end, as shares of the bone: the failure load rests on the highest 2 %.
_CLASSES = (0.5, 0.8, 0.98)


def thinned(
    density: NDArray[np.number],
    mask: NDArray[np.uint8],
    *,
    voxel_mm: tuple[float, float, float],
    longest: int = LONGEST,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], tuple[float, float, float]]:
    """Return a bone on a coarser grid: each block of voxels becomes one, with its mean density and its middle label.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        Densities of the bone.
    mask : (z, y, x) uint8
        The compartment of each voxel.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    longest : int
        At most so many voxels along the longest edge. Blocks are a whole number of voxels along each axis.

    Returns
    -------
    tuple
        Density (z, y, x) float32 in mgHA/cm³, mask (z, y, x) uint8 and voxel_mm in mm, all of the coarser grid.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.bone import thinned
    >>> density, mask = np.full((10, 40, 40), 900), np.full((10, 40, 40), 2, np.uint8)
    >>> small, labels, voxel_mm = thinned(density, mask, voxel_mm=(0.2, 0.1, 0.1), longest=20)
    >>> small.shape, voxel_mm, float(small.mean())
    ((10, 20, 20), (0.2, 0.2, 0.2), 900.0)
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


def energy_classes(energy: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Sort the voxels of a bone by their strain energy: 1 the lower half, 2 to 80 %, 3 to 98 %, 4 the highest 2 %.

    Parameters
    ----------
    energy : (z, y, x), MPa
        Strain energy density; 0 where there is no bone.

    Returns
    -------
    (z, y, x) uint8
        0 where there is no bone.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.bone import energy_classes
    >>> np.bincount(energy_classes(np.arange(101.0).reshape(1, 1, 101)).ravel()).tolist()
    [1, 50, 30, 18, 2]
    """
    classes = np.zeros(energy.shape, np.uint8)
    inside = energy > 0
    if inside.any():
        ends = np.quantile(energy[inside], _CLASSES)
        classes[inside] = 1 + np.searchsorted(ends, energy[inside])
    return classes


def bone_view(
    density: NDArray[np.number],
    mask: NDArray[np.uint8],
    *,
    voxel_mm: tuple[float, float, float],
    energy: NDArray[np.floating] | None = None,
    window: tuple[float, float] = (-400, 1400),
    longest: int = LONGEST,
    virtual: bool = False,
) -> widgets.VBox:
    """Return a bone that the mouse can turn, with compartments that can be coloured and a static picture below.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        Densities of the bone.
    mask : (z, y, x) uint8
        0 outside, 1 trabecular, 2 cortical, 3 another bone.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.
    energy : (z, y, x), MPa, optional
        Strain energy density, as `deepqct.bones.strain_energy` gives it; its classes are coloured in place of the
        compartments.
    window : (low, high), mgHA/cm³
        Densities shown as fully transparent and as fully opaque.
    longest : int
        At most so many voxels along the longest edge are sent to the browser.
    virtual : bool
        Whether the picture is marked as of a virtual woman.

    Returns
    -------
    ipywidgets.VBox
        The 3D view in grey, a checkbox that colours the compartments or the strain energy, and the static picture
        `plots.planes_and_projection`.

    Examples
    --------
    What the browser gets; ``dq.widgets.bone_view`` takes the same arguments and shows it:

    >>> import numpy as np
    >>> from deepqct.widgets.bone import thinned
    >>> density, mask = np.full((168, 400, 400), 900, np.int16), np.full((168, 400, 400), 2, np.uint8)
    >>> small, labels, voxel_mm = thinned(density, mask, voxel_mm=(0.0607, 0.0607, 0.0607))
    >>> small.shape, labels.shape, round(voxel_mm[0], 4)
    ((33, 80, 80), (33, 80, 80), 0.3035)
    """
    # Here, since itk takes a second and headless notebooks need neither.
    import itk
    import itkwidgets

    # The bone alone, in its window: soft tissue would hide it, and the viewer's scale starts at the lowest value.
    alone = np.where(of_bone(mask), np.clip(density, *window), window[0])
    compartments = np.where(of_bone(mask), mask, 0).astype(np.uint8)
    box = tuple(
        slice(max(int(at.min()) - 2, 0), int(at.max()) + 3) if len(at) else slice(None)
        for at in np.nonzero(compartments)
    )
    small, labels, edges = thinned(alone[box], compartments[box], voxel_mm=voxel_mm, longest=longest)
    if energy is not None:
        coarse, _, _ = thinned(energy[box], compartments[box], voxel_mm=voxel_mm, longest=longest)
        labels = energy_classes(coarse)
    images = [itk.image_from_array(np.ascontiguousarray(array)) for array in (small, labels)]
    for image in images:
        image.SetSpacing(edges[::-1])
    viewer = itkwidgets.view(
        image=images[0], label_image=images[1], label_image_blend=0.0, cmap="Grayscale", gradient_opacity=0.2,
        units="mm", ui_collapsed=True,
    )  # fmt: skip
    coloured = "Compartments" if energy is None else "Strain energy: half of the bone, to 80 %, to 98 %, highest 2 %"
    shown = widgets.Checkbox(value=False, description=coloured, indent=False, layout={"width": "auto"})
    shown.observe(lambda change: setattr(viewer, "label_image_blend", _BLEND * change["new"]), names="value")
    picture = Figure(alt="The bone in three planes, and alone, summed along y")
    planes = plots.planes_and_projection(density, mask, voxel_mm=voxel_mm, window=window)
    picture.value = figure_bytes(planes, virtual=virtual)
    return widgets.VBox([viewer, shown, picture])
