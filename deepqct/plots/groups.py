"""Figures of patient groups."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import NDArray

from deepqct.drawing import BONE_COLOURS, OTHER_COLOURS, styled
from deepqct.folder import BONES
from deepqct.indices import UNITS

_MARKERS = "os^DvP"


@styled
def silhouettes(silhouette: pd.Series) -> Axes:
    """Mean silhouette by number of groups.

    Parameters
    ----------
    silhouette : Series
        −1 to 1, indexed by the number of groups.
    """
    _, axes = plt.subplots(figsize=(6, 3.6))
    axes.axhline(0.25, color="#7F7F7F", linestyle=":", linewidth=1.2)
    axes.annotate(
        "rule of thumb: no structure below", (1, 0.25), (-2, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=10, color="#595959",
    )  # fmt: skip
    axes.plot(silhouette.index, silhouette, "o-", color="#000000", linewidth=1.8, markersize=7)
    for groups, value in silhouette.items():
        axes.annotate(f"{value:.2f}", (groups, value), (0, 9), textcoords="offset points", ha="center", fontsize=10,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    lowest, highest = min(0.0, silhouette.min()), max(0.5, silhouette.max() + 0.1)
    axes.set(xlabel="number of groups", ylabel="mean silhouette", xticks=list(silhouette.index), ylim=(lowest, highest))
    return axes


@styled
def embedding(table: pd.DataFrame, *, colour: str, label: str) -> Axes:
    """A two-dimensional picture of the patients, one dot each.

    Parameters
    ----------
    table : DataFrame
        umap_1, umap_2 and the column of the colour; missing values are drawn as hollow dots.
    colour : str
        The column; up to six different whole numbers or texts are categories, the rest a scale.
    label : str
        What the colour means, with its unit if it has one.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.8))
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    values = table[colour]
    missing = table[values.isna()]
    numbers = pd.api.types.is_numeric_dtype(values)
    kinds = sorted(values.dropna().unique())
    if len(kinds) > len(_MARKERS) or (numbers and any(float(kind) != round(float(kind)) for kind in kinds)):
        known = table[values.notna()]
        dots = axes.scatter(
            known["umap_1"],
            known["umap_2"],
            c=known[colour].astype(float),
            cmap="viridis",
            s=40,
            edgecolor="white",
            linewidth=0.5,
        )
        figure.colorbar(dots, ax=axes, pad=0.02).set_label(label)
    else:
        for number, kind in enumerate(kinds):
            part = table[(values == kind).fillna(False).astype(bool)]
            axes.scatter(
                part["umap_1"], part["umap_2"], s=44, marker=_MARKERS[number], edgecolor="white", linewidth=0.5,
                color=BONE_COLOURS.get(kind, OTHER_COLOURS[number + 1 if len(kinds) < len(OTHER_COLOURS) else number]),
                label=f"{label} {f'{kind:g}' if numbers else kind} (n = {len(part)})",
            )  # fmt: skip
    if len(missing):
        axes.scatter(missing["umap_1"], missing["umap_2"], s=36, facecolor="none", edgecolor="#7F7F7F",
                     label=f"{label} missing (n = {len(missing)})")  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


@styled
def group_heatmap(z: pd.DataFrame) -> NDArray[Any]:
    """The mean indices of every group in standard deviations, one panel a bone.

    Parameters
    ----------
    z : DataFrame
        One row a group; columns such as ``radius Tt.vBMD``.

    Returns
    -------
    array of Axes
        One a bone.
    """
    named = pd.MultiIndex.from_tuples([tuple(str(name).partition(" ")[::2]) for name in z.columns])
    table = z.set_axis(named, axis=1)
    bones = [bone for bone in BONES if bone in named.levels[0]]
    present = dict.fromkeys(symbol for bone, symbol in named if bone in bones)
    symbols = [symbol for symbol in UNITS if symbol in present] + [symbol for symbol in present if symbol not in UNITS]
    limit = max(1.0, float(np.nanmax(np.abs(table.to_numpy(float)))))
    width = max(1.9, 0.62 * len(z))
    figure, grid = plt.subplots(
        1, len(bones), figsize=(width * len(bones) + 1.8, 0.42 * len(symbols) + 1.1), sharey=True, squeeze=False
    )
    for axes, bone in zip(grid.flat, bones, strict=True):
        sns.heatmap(
            table[bone].T.reindex(symbols), ax=axes, cmap="RdBu_r", vmin=-limit, vmax=limit, annot=True, fmt="+.1f",
            annot_kws={"fontsize": 10}, linewidths=1, linecolor="white", cbar=False,
        )  # fmt: skip
        axes.set(title=bone, xlabel="group", ylabel="")
        axes.tick_params(length=0, rotation=0)
        axes.set_facecolor("#DDDDDD")
    bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, pad=0.02, aspect=24)
    bar.set_label("mean (SD of all women)")
    return grid.ravel()
