"""A bone in 3D that can be turned (itkwidgets), and below it a static picture for pages without a kernel."""

from __future__ import annotations

from functools import cache
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from scipy import ndimage

from deepqct import plots
from deepqct.curation.stacks import of_bone
from deepqct.widgets.bone_key import COMPARTMENTS, Key, energy_classes, energy_key, energy_limits
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import figure_bytes

LONGEST = 96  # voxels along the longest edge; our choice: a browser without a graphics card still turns it
_BLEND = 0.6  # how strongly compartments, or energies, colour the bone
# How opacity rises with density, in the viewer's words: softly, its own way; and firmly, from 0.3 of the window on, so
# that no energy shines through another: mixed colours are not in the key.
_SOFT = [[{"position": 0.5, "height": 1.0, "width": 0.5, "xBias": 0.51, "yBias": 0.4}]]
_FIRM = [[{"position": 0.7, "height": 1.0, "width": 0.4, "xBias": 0.0, "yBias": 2.0}]]


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
        Strain energy density, as `deepqct.bones.strain_energy` gives it; four classes of it are coloured in place
        of the compartments.
    window : (low, high), mgHA/cm³
        Densities shown as fully transparent and as fully opaque.
    longest : int
        At most so many voxels along the longest edge are sent to the browser.
    virtual : bool
        Whether the picture is marked as of a virtual woman.

    Returns
    -------
    ipywidgets.VBox
        The 3D view in grey, a checkbox that colours the compartments or the strain energy, with it a key that says
        what each colour is, and the static picture `plots.planes_and_projection`, in the same colours.

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
    key = COMPARTMENTS
    if energy is not None:
        means = _means(energy[box], voxel_mm=voxel_mm, longest=longest)
        limits = energy_limits(means)
        labels = energy_classes(means, limits=limits)
        key = energy_key(limits, blocks_mm=None if np.allclose(edges, voxel_mm) else edges)
    images = [itk.image_from_array(np.ascontiguousarray(array)) for array in (small, one_further(labels))]
    for image in images:
        image.SetSpacing(edges[::-1])
    viewer = itkwidgets.view(
        image=images[0], label_image=images[1], label_image_blend=0.0, cmap="Grayscale", gradient_opacity=0.2,
        units="mm", ui_collapsed=True, lut=key.lut, label_image_names=list(enumerate(key.names, start=1)),
    )  # fmt: skip
    # The viewer lets one choose a list of colours, beside which the key would be wrong.
    viewer.observe(lambda _: setattr(viewer, "lut", key.lut), names="lut")

    what = "Compartments" if energy is None else "Strain energy"

    @cache
    def drawn(*, coloured: bool) -> bytes:
        planes = plots.planes_and_projection(density, mask, voxel_mm=voxel_mm, window=window)
        if coloured:
            whole = compartments if energy is None else _at_full_size(labels, edges, voxel_mm, box, mask.shape)
            _paint(planes, whole, mask, key, alpha=_BLEND if energy is None else 1.0)
        return figure_bytes(planes, virtual=virtual)

    picture = Figure()
    legend = widgets.HTML(key.html({int(label) for label in np.unique(labels)}))
    shown = widgets.Checkbox(value=False, description=what, indent=False, layout={"width": "auto"})

    def show(_: Any = None) -> None:
        viewer.label_image_blend = _BLEND * shown.value
        if energy is not None:
            viewer.opacity_gaussians = _FIRM if shown.value else _SOFT
        legend.layout.display = None if shown.value else "none"
        picture.value = drawn(coloured=shown.value)
        in_colour = f", with its {what.lower()} in colour" if shown.value else ""
        picture.alt = f"The bone in three planes{in_colour}, and alone, summed along y"

    shown.observe(show, names="value")
    show()
    return widgets.VBox([viewer, shown, legend, picture])


def one_further(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels that reach one voxel further: the viewer blends neighbours, and 4 beside 0 would show 1, 2 and 3.

    Parameters
    ----------
    labels : (z, y, x) uint8
        The label of each voxel; 0 for none.

    Returns
    -------
    (z, y, x) uint8
        A voxel without a label that touches one has the label of the nearest.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.bone import one_further
    >>> one_further(np.array([[[0, 0, 4, 1, 0, 0]]], np.uint8)).tolist()
    [[[0, 4, 4, 1, 1, 0]]]
    """
    if not labels.any():
        return labels
    away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    return np.where(away < 2, labels[tuple(nearest)], 0).astype(np.uint8)


def _means(energy: NDArray[np.floating], *, voxel_mm: tuple[float, float, float], longest: int) -> NDArray[np.float32]:
    """The mean energy of each block's bone in MPa; marrow beside it does not lower it."""
    loaded = (energy > 0).astype(np.uint8)
    total, _, _ = thinned(energy, loaded, voxel_mm=voxel_mm, longest=longest)
    share, _, _ = thinned(loaded, loaded, voxel_mm=voxel_mm, longest=longest)
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0)


def _at_full_size(
    labels: NDArray[np.uint8],
    edges: tuple[float, float, float],
    voxel_mm: tuple[float, float, float],
    box: tuple[slice, ...],
    shape: tuple[int, ...],
) -> NDArray[np.uint8]:
    """The labels of blocks as labels of the voxels in them, in their place in the stack."""
    for axis, (edge, voxel) in enumerate(zip(edges, voxel_mm, strict=True)):
        labels = labels.repeat(round(edge / voxel), axis=axis)
    whole = np.zeros(shape, np.uint8)
    whole[tuple(slice(at.start or 0, (at.start or 0) + n) for at, n in zip(box, labels.shape, strict=True))] = labels
    return whole


def _paint(planes: NDArray[Any], labels: NDArray[np.uint8], mask: NDArray[np.uint8], key: Key, *, alpha: float) -> None:
    """Colour the three planes of a drawn bone by its labels."""
    same = plots.planes_and_projection(labels, mask, voxel_mm=(1.0, 1.0, 1.0))  # cuts the labels where the bone is cut
    for axes, of_labels in zip(planes[:3], same[:3], strict=True):
        plane = of_labels.get_images()[0].get_array()
        axes.imshow(
            np.ma.masked_equal(plane, 0), cmap=ListedColormap(key.colours), vmin=0.5, vmax=len(key.colours) + 0.5,
            alpha=alpha, extent=axes.get_images()[0].get_extent(), interpolation="nearest",
        )  # fmt: skip
    plt.close(same[0].figure)
