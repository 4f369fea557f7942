"""Figures of scans, bones and indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepqct.curation.stacks import of_bone
from deepqct.evaluation.agreement import limits_of_agreement
from deepqct.folder import write_whole
from deepqct.plots.style import BONE_COLOURS, BONE_MARKERS, GREY, ON_DARK, dots, outcome_legend, styled
from deepqct.terms import BONES, FALL_UNITS, STRENGTH_UNITS, UNITS

_UNITS = {**UNITS, **STRENGTH_UNITS, **FALL_UNITS}


@styled
def montage(
    stacks: Mapping[str, NDArray[Any]], *, window: tuple[float, float] = (-400, 1400), columns: int = 6
) -> NDArray[Any]:
    """Draw the middle slice of each stack, all in the same density window.

    Parameters
    ----------
    stacks : mapping of str to (z, y, x), mgHA/cm³
        The stacks by the name to show above each; their shapes may differ.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.
    columns : int
        The largest number of slices side by side.

    Returns
    -------
    array of Axes
        One for each stack; without any stack a single one, which says that there are none.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> axes = dq.plots.montage({"radius": np.zeros((3, 8, 8)), "ulna": np.full((1, 6, 9), 900)})
    >>> [panel.get_title() for panel in axes]
    ['radius', 'ulna']
    """
    if not stacks:
        _, axes = plt.subplots(figsize=(5, 1.2))
        axes.text(0.5, 0.5, "no stacks to show", ha="center", va="center")
        axes.set_axis_off()
        return np.array([axes])
    columns = min(columns, len(stacks))
    rows = -(-len(stacks) // columns)
    heights = [stack.shape[1] / stack.shape[2] for stack in stacks.values()]
    size = min(2.2, 12 / columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(size * columns + 1, (size * max(heights) + 0.3) * rows),
        layout="compressed",
        squeeze=False,
    )
    for axes in grid.flat:
        axes.set_axis_off()
    shown = grid.ravel()[: len(stacks)]
    for axes, (name, stack) in zip(shown, stacks.items(), strict=True):
        image = axes.imshow(stack[stack.shape[0] // 2], cmap="gray", vmin=window[0], vmax=window[1])
        axes.set_title(name, fontsize=10, pad=3)
        axes.set_anchor("N")
    bar = figure.colorbar(image, ax=grid, extend="both", shrink=0.9 if rows > 1 else 1.0, aspect=14 * rows, pad=0.02)
    bar.set_label("density (mgHA/cm³)")
    return shown


@styled
def compartments(
    density: NDArray[Any],
    mask: NDArray[Any],
    *,
    voxel_mm: tuple[float, ...],
    window: tuple[float, float] = (-400, 1400),
) -> Axes:
    """Draw the middle slice of one bone with the outer and inner outline of its cortex, and a scale bar.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        The bone's stack.
    mask : (z, y, x) of 0 to 3
        What each voxel is: 1 trabecular, 2 cortical, 3 another bone, 0 none of these.
    voxel_mm : (z, y, x) mm
        The voxel's edge lengths.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.

    Returns
    -------
    Axes
        With axes in mm, which are hidden.

    Examples
    --------
    >>> import deepqct as dq
    >>> density, mask, voxel_mm = dq.curation.load_stack(dq.run.example_run(), "sub-0001", "radius")
    >>> axes = dq.plots.compartments(density, mask, voxel_mm=voxel_mm)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['outer contour of the bone', 'inner contour of the cortex']
    """
    figure, axes = plt.subplots(figsize=(6, 5.4))
    middle = density.shape[0] // 2
    height, width = density.shape[1] * voxel_mm[1], density.shape[2] * voxel_mm[2]
    image = axes.imshow(density[middle], cmap="gray", vmin=window[0], vmax=window[1], extent=(0, width, height, 0))
    x = (np.arange(density.shape[2]) + 0.5) * voxel_mm[2]
    y = (np.arange(density.shape[1]) + 0.5) * voxel_mm[1]
    outlines = {
        "outer contour of the bone": (of_bone(mask), ON_DARK[0]),
        "inner contour of the cortex": (mask == 1, ON_DARK[1]),
    }
    for inside, colour in outlines.values():
        if inside[middle].any():
            axes.contour(x, y, inside[middle].astype(float), levels=[0.5], colors=colour, linewidths=1.6)
    length = max(step for step in (1, 2, 5, 10, 20, 50) if step <= max(width / 4, 1))
    end, low = 0.96 * width, 0.94 * height
    axes.plot([end - length, end], [low, low], color="white", linewidth=3, solid_capstyle="butt")
    axes.annotate(
        f"{length} mm", (end - length / 2, low), (0, 5), textcoords="offset points", ha="center", color="white"
    )
    axes.set_axis_off()
    # The colours of the outlines are for a dark image, so the legend has the image's background.
    axes.legend(
        [Line2D([], [], color=colour, linewidth=2) for _, colour in outlines.values()], list(outlines),
        loc="upper left", labelcolor="white", frameon=True, facecolor="black", edgecolor="none", framealpha=0.6,
    )  # fmt: skip
    figure.colorbar(image, ax=axes, extend="both", shrink=0.9, aspect=22, pad=0.02).set_label("density (mgHA/cm³)")
    return axes


@styled
def outlined(
    bones: Mapping[str, Mapping[str, tuple[NDArray[Any], NDArray[Any]]]], *, window: tuple[float, float] = (-400, 1400)
) -> NDArray[Any]:
    """Draw the middle slice of each bone of a few women with the outlines of its compartments: a row for each bone.

    Parameters
    ----------
    bones : mapping of str to mapping of str to ((z, y, x), (z, y, x))
        For each bone the density in mgHA/cm³ and the labels of some women, by the name to show above each, as
        `deepqct.curation.load_stack` gives them.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.

    Returns
    -------
    array of Axes
        One for each picture, row by row.

    Examples
    --------
    >>> import deepqct as dq
    >>> density, mask, _ = dq.curation.load_stack(dq.run.example_run(), "sub-0001", "radius")
    >>> axes = dq.plots.outlined({"radius": {"sub-0001": (density, mask)}})
    >>> axes[0].get_ylabel(), axes[0].get_title()
    ('radius', 'sub-0001')
    """
    columns = max((len(women) for women in bones.values()), default=1)
    above: list[str] = []
    figure, grid = plt.subplots(
        max(len(bones), 1), columns, figsize=(1.55 * columns + 0.9, 1.6 * max(len(bones), 1) + 0.6), squeeze=False
    )
    for row, (bone, women) in zip(grid, bones.items(), strict=False):
        for axes in row[len(women) :]:
            axes.remove()
        for axes, (name, (density, mask)) in zip(row, women.items(), strict=False):
            middle = density.shape[0] // 2
            axes.imshow(density[middle], cmap="gray", vmin=window[0], vmax=window[1])
            for inside, colour in zip((of_bone(mask), mask == 1), ON_DARK, strict=True):
                if inside[middle].any():
                    axes.contour(inside[middle].astype(float), levels=[0.5], colors=colour, linewidths=1.2)
            axes.set(xticks=[], yticks=[])
            if list(women) != above:  # the same women are named once
                axes.set_title(name, fontsize=10, pad=3)
        above = list(women)
        row[0].set_ylabel(bone)
    names = ("outer contour of the bone", "inner contour of the cortex")
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in ON_DARK]
    # The colours of the outlines are for a dark image, so the legend has the image's background.
    figure.legend(handles, names, loc="outside upper center", ncols=2, labelcolor="white", frameon=True,
                  facecolor="#404040", edgecolor="none", framealpha=1)  # fmt: skip
    return grid.ravel()


@styled
def planes_and_projection(
    density: NDArray[Any],
    mask: NDArray[Any],
    *,
    voxel_mm: tuple[float, ...],
    window: tuple[float, float] = (-400, 1400),
) -> NDArray[Any]:
    """Draw one bone in three planes through its middle, and as a projection along y as on a radiograph.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        The bone's stack.
    mask : (z, y, x) of 0 to 3
        What each voxel is: 1 trabecular, 2 cortical, 3 another bone, 0 none of these.
    voxel_mm : (z, y, x) mm
        The voxel's edge lengths.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white in the planes.

    Returns
    -------
    array of Axes
        The axial, coronal and sagittal plane, and the projection (areal density in g/cm²).

    Examples
    --------
    >>> import deepqct as dq
    >>> density, mask, voxel_mm = dq.curation.load_stack(dq.run.example_run(), "sub-0001", "radius")
    >>> axes = dq.plots.planes_and_projection(density, mask, voxel_mm=voxel_mm)
    >>> [panel.get_title() for panel in axes]
    ['axial', 'coronal', 'sagittal', 'projection']
    """
    inside = of_bone(mask)
    middle = [int(np.median(places)) if len(places) else n // 2 for places, n in
              zip(np.nonzero(inside), density.shape, strict=True)]  # fmt: skip
    # Grams of hydroxyapatite per cm² of the bone alone: mgHA/cm³ × mm / 10 / 1000.
    areal = np.where(inside, density, 0).sum(axis=1) * voxel_mm[1] / 10_000
    planes = {
        "axial": (density[middle[0]], inside[middle[0]], (1, 2)),
        "coronal": (density[:, middle[1]], inside[:, middle[1]], (0, 2)),
        "sagittal": (density[:, :, middle[2]], inside[:, :, middle[2]], (0, 1)),
        "projection": (areal, None, (0, 2)),
    }
    tall = density.shape[0] * voxel_mm[0] > 0.5 * density.shape[1] * voxel_mm[1]
    figure = plt.figure(figsize=(11, 8 if tall else 5), layout="constrained")
    cells = figure.add_gridspec(3, 2, width_ratios=(1, 1.1))
    grid = np.array([figure.add_subplot(cells[place]) for place in ((slice(None), 0), (0, 1), (1, 1), (2, 1))])
    names = "zyx"
    for axes, (name, (plane, outline, (down, across))) in zip(grid, planes.items(), strict=True):
        extent = (0, plane.shape[1] * voxel_mm[across], plane.shape[0] * voxel_mm[down], 0)
        low, high = window if outline is not None else (0, max(float(plane.max()), 1e-6))
        image = axes.imshow(plane, cmap="gray", vmin=low, vmax=high, extent=extent)
        if outline is not None and outline.any() and min(outline.shape) > 1:
            x, y = ((np.arange(n) + 0.5) * voxel_mm[a] for n, a in zip(plane.shape[::-1], (across, down), strict=True))
            axes.contour(x, y, outline.astype(float), levels=[0.5], colors=ON_DARK[0], linewidths=1.0)
        axes.set(title=name, xlabel=f"{names[across]} (mm)", ylabel=f"{names[down]} (mm)")
        if name in ("axial", "projection"):
            bar = figure.colorbar(image, ax=axes, location="bottom", aspect=30, shrink=0.8)
            bar.set_label("density (mgHA/cm³)" if name == "axial" else "areal density (g/cm²)")
    return grid


@styled
def index_distributions(
    indices: pd.DataFrame, *, names: Sequence[str] | None = None, outcome: pd.Series | None = None
) -> NDArray[Any]:
    """Draw the values of each index by bone and outcome, with one dot for each woman.

    Parameters
    ----------
    indices : DataFrame
        participant_id, bone and one column for each index, as in indices.csv.
    names : sequence of str, optional
        The indices to show; without it, all columns of `deepqct.terms.UNITS`.
    outcome : Series of 0 and 1, optional
        The outcome by participant_id; its name is shown in the legend. Women without a value are left out.

    Returns
    -------
    array of Axes
        One for each index.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> indices, outcome = dq.folder.read_table(run.indices), dq.run_tables.run_outcome(run)
    >>> axes = dq.plots.index_distributions(indices, names=["Tt.vBMD", "Ct.Th"], outcome=outcome)
    >>> [panel.get_ylabel() for panel in axes]
    ['Tt.vBMD (mgHA/cm³)', 'Ct.Th (mm)']
    """
    names = [name for name in UNITS if name in indices] if names is None else list(names)
    groups = ["everybody"] if outcome is None else ["no", "yes"]
    table = indices.assign(group="everybody")
    if outcome is not None:
        table = table.assign(group=table["participant_id"].map(outcome.map({0: "no", 1: "yes"}))).dropna(subset="group")
    bones = [bone for bone in BONES if bone in set(table["bone"])]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.8 * columns, 2.3 * rows + 0.5), squeeze=False)
    for axes in grid.ravel()[len(names) :]:
        axes.remove()
    gap = 0.0 if outcome is None else 0.22
    for axes, name in zip(grid.flat, names, strict=False):
        for place, bone in enumerate(bones):
            for side, group in zip((-gap, gap), groups, strict=False):
                values = table.loc[(table["bone"] == bone) & (table["group"] == group), name]
                dots(axes, values, at=place + side, colour=BONE_COLOURS[bone], filled=group != "no", reach=0.17)
        unit = {"1": "fraction"}.get(_UNITS.get(name, ""), _UNITS.get(name, ""))
        axes.set(xticks=range(len(bones)), xticklabels=bones, xlim=(-0.6, max(len(bones), 1) - 0.4))
        axes.set_ylabel(f"{name} ({unit})" if unit else name)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    women = table.drop_duplicates("participant_id")["group"].value_counts()
    if outcome is not None:
        handles, labels = outcome_legend(women, str(outcome.name or "event"))
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return np.array(grid.ravel()[: len(names)])


@styled
def save_slice(density: NDArray[np.float32], path: Path, *, voxel_mm: tuple[float, float, float]) -> None:
    """Write the middle slice of a scan as a PNG with axes in mm; no title, caption or mark is added.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        The scan's densities.
    path : Path
        Where the PNG is written.
    voxel_mm : (z, y, x) mm
        The voxel's edge lengths.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepqct as dq
    >>> path = Path(tempfile.mkdtemp()) / "slice.png"
    >>> dq.plots.save_slice(np.zeros((1, 8, 8), np.float32), path, voxel_mm=(0.1, 0.1, 0.1))
    >>> [file.name for file in path.parent.iterdir()]
    ['slice.png']
    """
    figure, axes = plt.subplots(figsize=(6, 5))
    extent = (0, density.shape[2] * voxel_mm[2], density.shape[1] * voxel_mm[1], 0)
    image = axes.imshow(density[density.shape[0] // 2], cmap="gray", vmin=-400, vmax=1400, extent=extent)
    axes.set(xlabel="x (mm)", ylabel="y (mm)")
    figure.colorbar(image, ax=axes, extend="both", pad=0.02).set_label("density (mgHA/cm³)")
    with write_whole(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


@styled
def bland_altman(ours: pd.DataFrame, theirs: pd.DataFrame, *, names: Sequence[str]) -> NDArray[Any]:
    """Draw the difference of two ways of measuring against their mean, with one dot for each bone measured.

    Parameters
    ----------
    ours, theirs : DataFrame
        participant_id, bone and one column for each index, by this package and by the scanner's software; rows are
        paired by participant_id and bone.
    names : sequence of str
        The indices to show; each must be a name in `deepqct.terms.UNITS` or `deepqct.terms.STRENGTH_UNITS`.

    Returns
    -------
    array of Axes
        One for each index; bias (full line) and 95 % limits of agreement (dashed) are of all bones together.

    References
    ----------
    Bland JM, Altman DG (1999), Stat Methods Med Res 8:135.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> ours = pd.DataFrame({"participant_id": ["a", "b", "c"], "bone": "radius", "Ct.Th": [0.9, 1.1, 1.3]})
    >>> axes = dq.plots.bland_altman(ours, ours.assign(**{"Ct.Th": [0.8, 0.9, 1.0]}), names=["Ct.Th"])
    >>> axes[0].get_title()
    'n 3; bias 0.2'
    """
    key = ["participant_id", "bone"]
    pairs = ours.merge(theirs, on=key, suffixes=("", " of the scanner"))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.8 * columns, 2.8 * rows + 0.5), squeeze=False)
    for axes in grid.ravel()[len(names) :]:
        axes.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        scanners = f"{name} of the scanner"
        agreement = limits_of_agreement(pairs[name], pairs[scanners])
        for bone in (bone for bone in BONES if bone in set(pairs["bone"])):
            rows_of_bone = pairs[pairs["bone"] == bone]
            a, b = rows_of_bone[name], rows_of_bone[scanners]
            mean, difference = (a + b) / 2, a - b
            axes.plot(mean, difference, BONE_MARKERS[bone], color=BONE_COLOURS[bone], markersize=3.5, label=bone)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        axes.axhline(agreement["bias"], color="black", linewidth=1.2)
        for limit in ("lower", "upper"):
            axes.axhline(agreement[limit], color="black", linewidth=1.0, linestyle="--")
        unit = {"1": "fraction"}.get(_UNITS[name], _UNITS[name])
        axes.set(xlabel=f"mean {name} ({unit})", ylabel="ours − scanner's")
        axes.set_title(f"n {agreement['n']:.0f}; bias {agreement['bias']:.3g}", fontsize="medium")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return np.array(grid.ravel()[: len(names)])
