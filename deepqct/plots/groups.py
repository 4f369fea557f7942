"""Figures of patient groups."""

from __future__ import annotations

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from deepqct.plots.style import BONE_COLOURS, GREY, INK, ONE, OTHER_COLOURS, SOFT, styled
from deepqct.terms import BONES, UNITS

_MARKERS = "os^DvP"


@styled
def numbers_of_groups(numbers: pd.DataFrame, *, chosen: int) -> NDArray[Any]:
    """Draw what speaks for each number of groups: silhouette, gap statistic and BIC.

    Parameters
    ----------
    numbers : DataFrame
        silhouette, gap, gap_se, bic, indexed by the number of groups, as `deepqct.groups.Groups.numbers`.
    chosen : int
        The number of groups that was taken; it is marked.

    Returns
    -------
    array of Axes
        One for each of the three measures.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> numbers = pd.DataFrame({"silhouette": [None, 0.3], "gap": [0.2, 0.5], "gap_se": 0.1, "bic": [90.0, 85.0]})
    >>> axes = dq.plots.numbers_of_groups(numbers.set_index(pd.Index([1, 2])), chosen=2)
    >>> [panel.get_title().splitlines()[0] for panel in axes]
    ['mean silhouette', 'gap statistic, ± 1 SE', 'BIC less its lowest']
    """
    _, grid = plt.subplots(1, 3, figsize=(10.5, 3.6))
    titles = {"silhouette": "mean silhouette\n(high is better)", "gap": "gap statistic, ± 1 SE\n(high is better)",
              "bic": "BIC less its lowest\n(low is better)"}  # fmt: skip
    for axes, (name, title) in zip(grid, titles.items(), strict=True):
        values = numbers[name] - numbers[name].min() if name == "bic" else numbers[name]
        axes.axvline(chosen, color=GREY, linewidth=1.6, linestyle="--", zorder=0)
        error = numbers["gap_se"] if name == "gap" else None
        axes.errorbar(numbers.index, values, yerr=error, fmt="o-", color=INK, linewidth=1.8, markersize=6)
        axes.set(title=title, xlabel="number of groups", xticks=list(numbers.index))
    grid[0].axhline(0.25, color=GREY, linestyle=":", linewidth=1.2)
    grid[0].set_ylim(
        min(0.0, float(numbers["silhouette"].min()) - 0.03), max(0.5, float(numbers["silhouette"].max()) + 0.05)
    )
    return grid


@styled
def several_embeddings(pictures: pd.DataFrame, labels: pd.Series) -> NDArray[Any]:
    """Draw the same women as UMAP shows them with other seeds (columns) and numbers of neighbours (rows).

    Parameters
    ----------
    pictures : DataFrame
        seed, neighbours, participant_id, umap_1, umap_2, as `deepqct.groups.several` returns them.
    labels : Series of int
        The number of the group by participant_id, from 1.

    Returns
    -------
    array of Axes
        One for each seed and number of neighbours, row by row.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> places = {"participant_id": ["a", "b"] * 2, "umap_1": [0, 1, 1, 0], "umap_2": [0, 1, 0, 1]}
    >>> pictures = pd.DataFrame(places | {"seed": [0, 0, 1, 1], "neighbours": 15})
    >>> [axes.get_title() for axes in dq.plots.several_embeddings(pictures, pd.Series({"a": 1, "b": 2}))]
    ['seed 0, 15 neighbours', 'seed 1, 15 neighbours']
    """
    seeds, sizes = list(dict.fromkeys(pictures["seed"])), list(dict.fromkeys(pictures["neighbours"]))
    figure, grid = plt.subplots(
        len(sizes), len(seeds), figsize=(2.9 * len(seeds), 2.6 * len(sizes) + 0.5), squeeze=False
    )
    for row, size in zip(grid, sizes, strict=True):
        for axes, seed in zip(row, seeds, strict=True):
            picture = pictures[(pictures["seed"] == seed) & (pictures["neighbours"] == size)]
            group = picture["participant_id"].map(labels)
            for number in sorted(labels.unique()):
                members = picture[group == number]
                axes.scatter(members["umap_1"], members["umap_2"], s=14, marker=_marker(number),
                             color=_colour(number), label=f"group {number}")  # fmt: skip
            axes.set(xticks=[], yticks=[], title=f"seed {seed}, {size} neighbours")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, markerscale=2)
    return grid.ravel()


@styled
def consensus(table: pd.DataFrame, labels: pd.Series) -> Axes:
    """Draw how often two women were in the same group when women were resampled; the women are sorted by group.

    Parameters
    ----------
    table : DataFrame
        Women by women, the share of the resamples with both in which they were in the same group, 0 to 1.
    labels : Series of int
        The number of the group by participant_id.

    Returns
    -------
    Axes
        With one pixel for each pair of women.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> women = ["a", "b", "c"]
    >>> table = pd.DataFrame([[1, 0, 0.9], [0, 1, 0.1], [0.9, 0.1, 1]], index=women, columns=women)
    >>> dq.plots.consensus(table, pd.Series([1, 2, 1], index=women)).images[0].get_array().tolist()
    [[1.0, 0.9, 0.0], [0.9, 1.0, 0.1], [0.0, 0.1, 1.0]]
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
    """Draw the adjusted Rand index of every two ways to group the women: 1 is the same groups, 0 is chance.

    Parameters
    ----------
    table : DataFrame
        The index of each pair; rows and columns are named by what made the groups.

    Returns
    -------
    Axes
        A heat map with the numbers in it.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> methods = ["k-means", "mixture"]
    >>> axes = dq.plots.agreement(pd.DataFrame([[1, 0.8], [0.8, 1]], index=methods, columns=methods))
    >>> [text.get_text() for text in axes.texts]
    ['1.00', '0.80', '0.80', '1.00']
    """
    _, axes = plt.subplots(figsize=(0.95 * len(table) + 2.2, 0.6 * len(table) + 1.2))
    sns.heatmap(table, ax=axes, cmap="cividis", vmin=0, vmax=1, annot=True, fmt=".2f", annot_kws={"fontsize": 11},
                linewidths=1, linecolor="white", cbar=False)  # fmt: skip
    axes.tick_params(length=0, rotation=0)
    return axes


@styled
def radar(z: pd.DataFrame) -> NDArray[Any]:
    """Draw the mean indices of every group around a circle, with one circle for each bone.

    Parameters
    ----------
    z : DataFrame
        One row for each group, numbered from 1; columns such as ``radius Tt.vBMD``; in SDs of all women.

    Returns
    -------
    array of Axes
        One for each bone.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> z = {"radius Tt.vBMD": [0.6, -0.4], "radius Ct.Th": [0.3, -0.2], "tibia Tt.vBMD": [0.9, -0.6]}
    >>> [axes.get_title() for axes in dq.plots.radar(pd.DataFrame(z, index=[1, 2]))]
    ['radius', 'tibia']
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
        columns = sorted(
            (c for c in z if str(c).startswith(f"{bone} ")), key=lambda c: _place(str(c).partition(" ")[2])
        )
        angle = np.linspace(0, 2 * np.pi, len(columns), endpoint=False)
        for group, values in z[columns].iterrows():
            axes.plot([*angle, angle[0]], [*values, values.iloc[0]], color=_colour(int(str(group))), linewidth=2,
                      marker=_marker(int(str(group))), markersize=5, label=f"group {group}")  # fmt: skip
        axes.plot(np.linspace(0, 2 * np.pi, 100), np.zeros(100), color=INK, linewidth=0.8)
        axes.set(title=bone, ylim=(-1.15 * limit, 1.05 * limit), yticks=[-1, 0, 1])
        axes.set_xticks(angle, [str(column).partition(" ")[2] for column in columns], fontsize=9)
        axes.tick_params(axis="y", labelsize=9, colors=SOFT)
        axes.tick_params(axis="x", pad=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return grid.ravel()[: len(bones)]


@styled
def group_differences(comparison: pd.DataFrame) -> NDArray[Any]:
    """Draw how the last group differs from the others in what did not make the groups, with 95 % intervals.

    Parameters
    ----------
    comparison : DataFrame
        variable, a column for each group, kind (odds ratio, or difference in SD), effect, low, high, n, as
        `deepqct.groups.keep_comparison` returns it. Rows without an interval are not drawn, such as the variables
        that made the groups.

    Returns
    -------
    array of Axes
        Odds ratios, and differences in SD.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> rows = [("fracture", "odds ratio", 2.4, 1.1, 5.2, 60), ("age", "difference in SD", 0.3, -0.2, 0.8, 58)]
    >>> table = pd.DataFrame(rows, columns=["variable", "kind", "effect", "low", "high", "n"])
    >>> [axes.get_yticklabels()[0].get_text() for axes in dq.plots.group_differences(table)]
    ['fracture (n = 60)', 'age (n = 58)']
    """
    shown = comparison.dropna(subset=["effect", "low", "high"])
    tables = [shown[shown["kind"] == kind] for kind in ("odds ratio", "difference in SD")]
    _, grid = plt.subplots(1, 2, figsize=(10.5, 0.42 * max(2, *(len(rows) for rows in tables)) + 1.2))
    for axes, rows, none, label in zip(
        grid, tables, (1.0, 0.0), ("odds ratio", "difference (SD within groups)"), strict=True
    ):
        heights = np.arange(len(rows))[::-1]
        error = [rows["effect"] - rows["low"], rows["high"] - rows["effect"]]
        axes.errorbar(rows["effect"], heights, xerr=error, fmt="o", color=ONE, capsize=3, markersize=6)
        axes.axvline(none, color=GREY, linewidth=1)
        names = [f"{str(row['variable']).replace('_', ' ')} ({_counted(row)})" for row in rows.to_dict("records")]
        axes.set_yticks(heights, names, fontsize=9)
        axes.set(xlabel=f"{label}, last group against the others", ylim=(-0.6, max(1, len(rows)) - 0.4))
    if len(tables[0]):
        grid[0].set_xscale("log")
        low, high = grid[0].get_xlim()
        grid[0].xaxis.set_major_locator(LogLocator(subs=_steps(np.log10(high / low))))
        grid[0].xaxis.set_minor_locator(NullLocator())
        grid[0].xaxis.set_major_formatter("{x:g}")  # names in figures are no formulas, and powers of ten would be one
    return grid


def _steps(decades: float) -> tuple[float, ...]:
    """Which multiples of each power of ten are written along an axis of so many decades, so that they stand apart."""
    of = {0.8: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), 1.6: (1.0, 2.0, 5.0), 2.6: (1.0, 3.0)}
    return next((steps for most, steps in of.items() if decades < most), (1.0,))


def _counted(row: dict[Any, Any]) -> str:
    """How many women a row of a comparison is of, and of a share how many have it, as the columns of its groups say."""
    shares = [re.match(r"(\d+)/\d", str(cell)) for name, cell in row.items() if str(name).startswith("group ")]
    having = sum(int(share[1]) for share in shares if share)
    return f"n = {row['n']}" + (f", {having} with it" if row["kind"] == "odds ratio" and any(shares) else "")


def _place(symbol: str) -> int:
    """The place of an index in the standard order; unknown indices come last."""
    return list(UNITS).index(symbol) if symbol in UNITS else len(UNITS)


def _colour(group: int) -> str:
    """The colour of a group, the same in all figures."""
    return OTHER_COLOURS[group % len(OTHER_COLOURS)]


def _marker(group: int) -> str:
    """The marker of a group; of two groups with one colour it is another."""
    return _MARKERS[(group - 1 + (group - 1) // len(OTHER_COLOURS)) % len(_MARKERS)]


@styled
def embedding(table: pd.DataFrame, *, colour: str, label: str) -> Axes:
    """Draw a two-dimensional picture of the women, with one dot for each.

    Parameters
    ----------
    table : DataFrame
        umap_1, umap_2 and the column of the colour; women without a value there are drawn as hollow dots.
    colour : str
        The column that gives the colour. Up to six different whole numbers or texts are categories; other values are
        drawn on a colour scale.
    label : str
        What the colour means, with its unit if it has one.

    Returns
    -------
    Axes
        With a legend of categories and numbers of women, or with a colour bar.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> table = pd.DataFrame({"umap_1": [0.0, 1.0, 1.2], "umap_2": [0.0, 2.0, 2.1], "group": [1, 2, 2]})
    >>> axes = dq.plots.embedding(table, colour="group", label="group")
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['group 1 (n = 1)', 'group 2 (n = 2)']
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
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
            members = table[(values == kind).fillna(False).astype(bool)]
            axes.scatter(
                members["umap_1"], members["umap_2"], s=44, marker=_MARKERS[number], edgecolor="white", linewidth=0.5,
                color=BONE_COLOURS.get(kind, _colour(number + 1)),
                label=f"{label} {f'{kind:g}' if numbers else kind} (n = {len(members)})",
            )  # fmt: skip
    if len(missing):
        axes.scatter(missing["umap_1"], missing["umap_2"], s=36, facecolor="none", edgecolor=GREY,
                     label=f"{label} missing (n = {len(missing)})")  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


@styled
def group_heatmap(z: pd.DataFrame) -> NDArray[Any]:
    """Draw the mean indices of every group as a heat map, with one panel for each bone.

    Parameters
    ----------
    z : DataFrame
        One row for each group; columns such as ``radius Tt.vBMD``; in SDs of all women.

    Returns
    -------
    array of Axes
        One for each bone.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> z = pd.DataFrame({"radius Tt.vBMD": [0.6, -0.4], "tibia Tt.vBMD": [0.9, -0.6]}, index=[1, 2])
    >>> [(axes.get_title(), axes.texts[0].get_text()) for axes in dq.plots.group_heatmap(z)]
    [('radius', '+0.6'), ('tibia', '+0.9')]
    """
    named = pd.MultiIndex.from_tuples([tuple(str(name).partition(" ")[::2]) for name in z.columns])
    table = z.set_axis(named, axis=1)
    bones = [bone for bone in BONES if bone in named.levels[0]]
    present = dict.fromkeys(symbol for bone, symbol in named if bone in bones)
    symbols = [symbol for symbol in UNITS if symbol in present] + [symbol for symbol in present if symbol not in UNITS]
    limit = max(1.0, float(np.nanmax(np.abs(table.to_numpy(float)))))
    width = max(1.9, 0.62 * len(z))
    figure, grid = plt.subplots(
        1, len(bones), figsize=(width * len(bones) + 1.8, 0.34 * len(symbols) + 1.1), sharey=True, squeeze=False
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
