"""Figures of patient groups."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import NDArray

from deepqct.plots.style import BONE_COLOURS, OTHER_COLOURS, styled
from deepqct.terms import BONES, UNITS

_MARKERS = "os^DvP"


@styled
def numbers_of_groups(numbers: pd.DataFrame, *, chosen: int) -> NDArray[Any]:
    """What speaks for each number of groups: silhouette, gap statistic, BIC.

    Parameters
    ----------
    numbers : DataFrame
        silhouette, gap, gap_se, bic, indexed by the number of groups.
    chosen : int
        The number that was taken.

    Returns
    -------
    array of Axes
        One a measure.
    """
    _, grid = plt.subplots(1, 3, figsize=(10.5, 3.6))
    titles = {"silhouette": "mean silhouette\n(high is better)", "gap": "gap statistic, ± 1 SE\n(high is better)",
              "bic": "BIC less its lowest\n(low is better)"}  # fmt: skip
    for axes, (name, title) in zip(grid, titles.items(), strict=True):
        values = numbers[name] - numbers[name].min() if name == "bic" else numbers[name]
        axes.axvline(chosen, color="#E69F00", linewidth=7, alpha=0.35, zorder=0)
        error = numbers["gap_se"] if name == "gap" else None
        axes.errorbar(numbers.index, values, yerr=error, fmt="o-", color="#000000", linewidth=1.8, markersize=6)
        axes.set(title=title, xlabel="number of groups", xticks=list(numbers.index))
    grid[0].axhline(0.25, color="#7F7F7F", linestyle=":", linewidth=1.2)
    grid[0].set_ylim(
        min(0.0, float(numbers["silhouette"].min()) - 0.03), max(0.5, float(numbers["silhouette"].max()) + 0.05)
    )
    return grid


@styled
def several_embeddings(pictures: pd.DataFrame, labels: pd.Series) -> NDArray[Any]:
    """The same women by other seeds (columns) and neighbourhoods (rows) of UMAP.

    Parameters
    ----------
    pictures : DataFrame
        seed, neighbours, participant_id, umap_1, umap_2.
    labels : Series
        Group by participant_id.
    """
    seeds, sizes = list(dict.fromkeys(pictures["seed"])), list(dict.fromkeys(pictures["neighbours"]))
    figure, grid = plt.subplots(
        len(sizes), len(seeds), figsize=(2.9 * len(seeds), 2.6 * len(sizes) + 0.5), squeeze=False
    )
    for row, size in zip(grid, sizes, strict=True):
        for axes, seed in zip(row, seeds, strict=True):
            part = pictures[(pictures["seed"] == seed) & (pictures["neighbours"] == size)]
            group = part["participant_id"].map(labels)
            for number in sorted(labels.unique()):
                own = part[group == number]
                axes.scatter(own["umap_1"], own["umap_2"], s=14, marker=_MARKERS[number - 1], color=_colour(number),
                             label=f"group {number}")  # fmt: skip
            axes.set(xticks=[], yticks=[], title=f"seed {seed}, {size} neighbours")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, markerscale=2)
    return grid.ravel()


@styled
def consensus(table: pd.DataFrame, labels: pd.Series) -> Axes:
    """How often two women fell into one group when women were resampled, women sorted by group.

    Parameters
    ----------
    table : DataFrame
        Women by women, 0 to 1.
    labels : Series
        Group by participant_id.
    """
    order = labels.reindex(table.index).sort_values(kind="stable").index
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    image = axes.imshow(table.loc[order, order], cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    for edge in labels.reindex(order).value_counts().sort_index().cumsum().to_list()[:-1]:
        axes.axhline(edge - 0.5, color="white", linewidth=1.2)
        axes.axvline(edge - 0.5, color="white", linewidth=1.2)
    axes.set(xlabel="women, by group", ylabel="women, by group", xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, pad=0.02).set_label("share of resamples in one group")
    return axes


@styled
def agreement(table: pd.DataFrame) -> Axes:
    """Adjusted Rand index of every pair of partitions: 1 the same, 0 as by chance.

    Parameters
    ----------
    table : DataFrame
        Square, named by what made the partitions.
    """
    _, axes = plt.subplots(figsize=(0.95 * len(table) + 2.2, 0.6 * len(table) + 1.2))
    sns.heatmap(table, ax=axes, cmap="cividis", vmin=0, vmax=1, annot=True, fmt=".2f", annot_kws={"fontsize": 11},
                linewidths=1, linecolor="white", cbar=False)  # fmt: skip
    axes.tick_params(length=0, rotation=0)
    return axes


@styled
def radar(z: pd.DataFrame) -> NDArray[Any]:
    """The mean indices of every group around a circle, one circle a bone.

    Parameters
    ----------
    z : DataFrame
        One row a group; columns such as ``radius Tt.vBMD``; in SDs of all women.

    Returns
    -------
    array of Axes
        One a bone.
    """
    bones = [bone for bone in BONES if any(str(column).startswith(f"{bone} ") for column in z)]
    limit = max(1.0, float(np.nanmax(np.abs(z.to_numpy(float)))))
    rows = -(-len(bones) // 2)
    figure, grid = plt.subplots(
        rows, min(2, len(bones)), figsize=(4.6 * min(2, len(bones)), 4.4 * rows), squeeze=False,
        subplot_kw={"projection": "polar"},
    )  # fmt: skip
    for axes in grid.ravel()[len(bones) :]:
        axes.remove()
    for axes, bone in zip(grid.ravel(), bones, strict=False):
        own = z[sorted((c for c in z if str(c).startswith(f"{bone} ")), key=lambda c: _place(str(c).partition(" ")[2]))]
        angle = np.linspace(0, 2 * np.pi, len(own.columns), endpoint=False)
        for group, values in own.iterrows():
            axes.plot([*angle, angle[0]], [*values, values.iloc[0]], color=_colour(int(str(group))), linewidth=2,
                      marker=_MARKERS[int(str(group)) - 1], markersize=5, label=f"group {group}")  # fmt: skip
        axes.plot(np.linspace(0, 2 * np.pi, 100), np.zeros(100), color="#000000", linewidth=0.8)
        axes.set(title=bone, ylim=(-1.15 * limit, 1.05 * limit), yticks=[-1, 0, 1])
        axes.set_xticks(angle, [str(column).partition(" ")[2] for column in own], fontsize=9)
        axes.tick_params(axis="y", labelsize=9, colors="#595959")
        axes.tick_params(axis="x", pad=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return grid.ravel()[: len(bones)]


@styled
def group_differences(comparison: pd.DataFrame) -> NDArray[Any]:
    """How the last group differs from the others in what did not make the groups, with 95 % intervals.

    Parameters
    ----------
    comparison : DataFrame
        As `group_comparison.compare_groups` returns it.

    Returns
    -------
    array of Axes
        Odds ratios, and differences in SD.
    """
    shown = comparison.dropna(subset=["effect", "low", "high"])
    parts = [shown[shown["kind"] == kind] for kind in ("odds ratio", "difference in SD")]
    _, grid = plt.subplots(1, 2, figsize=(10.5, 0.42 * max(2, *(len(part) for part in parts)) + 1.2))
    for axes, part, none, label in zip(
        grid, parts, (1.0, 0.0), ("odds ratio", "difference (SD within groups)"), strict=True
    ):
        rows = np.arange(len(part))[::-1]
        error = [part["effect"] - part["low"], part["high"] - part["effect"]]
        axes.errorbar(part["effect"], rows, xerr=error, fmt="o", color="#0072B2", capsize=3, markersize=6)
        axes.axvline(none, color="#7F7F7F", linewidth=1)
        names = [
            f"{str(name).replace('_', ' ')} (n = {n})" for name, n in zip(part["variable"], part["n"], strict=True)
        ]
        axes.set_yticks(rows, names, fontsize=9)
        axes.set(xlabel=f"{label}, last group against the others", ylim=(-0.6, max(1, len(part)) - 0.4))
    if len(parts[0]):
        grid[0].set_xscale("log")
    return grid


def _place(symbol: str) -> int:
    """Of an index in the standard order, the last for others."""
    return list(UNITS).index(symbol) if symbol in UNITS else len(UNITS)


def _colour(group: int) -> str:
    """Of a group, one for all figures."""
    return OTHER_COLOURS[group % len(OTHER_COLOURS)]


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
                color=BONE_COLOURS.get(kind, _colour(number + 1)),
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
