"""One function, one figure: each returns its Axes, and `save` keeps them with title and caption.

The four bones have one palette everywhere, safe for colour blindness. Nothing here is shown by itself, nothing is drawn
at random, and no function changes the style of other figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepqct.drawing import BONE_COLOURS, OTHER_COLOURS, dots, mark_virtual, outcome_legend, save, set_style, styled
from deepqct.evaluation import auc_interval, roc_points
from deepqct.folder import BONES, write_whole
from deepqct.indices import UNITS

__all__ = [
    "BONE_COLOURS", "compartments", "embedding", "group_heatmap", "index_distributions", "loss_curves", "mark_virtual",
    "montage", "performance", "roc", "save", "save_slice", "score_distribution", "set_style", "silhouettes",
]  # fmt: skip

_FAMILY_COLOURS = {"Clinical": "#7F7F7F", "BMD": "#CC79A7", "pQCT-index": "#009E73", "DeepQCT": "#000000"}
_MARKERS = "os^DvP"
_NOT_ESTIMABLE = "not estimable"


@styled
def montage(
    stacks: Mapping[str, NDArray[Any]], *, window: tuple[float, float] = (-400, 1400), columns: int = 6
) -> NDArray[Any]:
    """The middle slice of each stack, in one density window for all.

    Parameters
    ----------
    stacks : mapping of str to (z, y, x), mgHA/cm³
        By the name to show; their shapes may differ.
    window : (low, high), mgHA/cm³
        Black and white.
    columns : int
        Slices side by side, at most.

    Returns
    -------
    array of Axes
        One a stack; a single empty one that says so if there are none.
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
    """The middle slice of one bone with the outlines of its cortex, and a scale bar.

    Parameters
    ----------
    density : (z, y, x), mgHA/cm³
        The bone's stack.
    mask : (z, y, x) of 0, 1, 2
        1 trabecular, 2 cortical.
    voxel_mm : (z, y, x) mm
        Edge lengths.
    window : (low, high), mgHA/cm³
        Black and white.
    """
    figure, axes = plt.subplots(figsize=(6, 5.4))
    middle = density.shape[0] // 2
    height, width = density.shape[1] * voxel_mm[1], density.shape[2] * voxel_mm[2]
    image = axes.imshow(density[middle], cmap="gray", vmin=window[0], vmax=window[1], extent=(0, width, height, 0))
    x = (np.arange(density.shape[2]) + 0.5) * voxel_mm[2]
    y = (np.arange(density.shape[1]) + 0.5) * voxel_mm[1]
    outlines = {
        "outer contour of the bone": (mask > 0, "#F0E442"),
        "inner contour of the cortex": (mask == 1, "#56B4E9"),
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
def index_distributions(
    indices: pd.DataFrame, *, names: Sequence[str] | None = None, outcome: pd.Series | None = None
) -> NDArray[Any]:
    """Every index by bone and outcome, one dot a woman.

    Parameters
    ----------
    indices : DataFrame
        participant_id, bone and one column an index, as in indices.csv.
    names : sequence of str, optional
        The indices to show; all that have a unit by default.
    outcome : Series of 0 and 1, optional
        Indexed by participant_id, named after its column. Patients without a value are left out.

    Returns
    -------
    array of Axes
        One an index.
    """
    names = [name for name in UNITS if name in indices] if names is None else list(names)
    groups = ["everybody"] if outcome is None else ["no", "yes"]
    table = indices.assign(group="everybody")
    if outcome is not None:
        table = table.assign(group=table["participant_id"].map(outcome.map({0: "no", 1: "yes"}))).dropna(subset="group")
    bones = [bone for bone in BONES if bone in set(table["bone"])]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.8 * columns, 2.6 * rows + 0.5), squeeze=False)
    for axes in grid.ravel()[len(names) :]:
        axes.remove()
    gap = 0.0 if outcome is None else 0.22
    for axes, name in zip(grid.flat, names, strict=False):
        for place, bone in enumerate(bones):
            for side, group in zip((-gap, gap), groups, strict=False):
                part = table[(table["bone"] == bone) & (table["group"] == group)]
                dots(axes, part[name], at=place + side, colour=BONE_COLOURS[bone], filled=group != "no", reach=0.17)
        unit = {"1": "fraction"}.get(UNITS.get(name, ""), UNITS.get(name, ""))
        axes.set(xticks=range(len(bones)), xticklabels=bones, xlim=(-0.6, max(len(bones), 1) - 0.4))
        axes.set_ylabel(f"{name} ({unit})" if unit else name)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    women = table.drop_duplicates("participant_id")["group"].value_counts()
    if outcome is not None:
        handles, labels = outcome_legend(women, str(outcome.name or "event"))
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return np.array(grid.ravel()[: len(names)])


@styled
def loss_curves(history: pd.DataFrame) -> NDArray[Any]:
    """Training and validation loss by epoch, one line a fold, one panel a protocol.

    Parameters
    ----------
    history : DataFrame
        protocol, repeat, fold, epoch, train_loss, valid_loss (cross-entropy in nats).

    Returns
    -------
    array of Axes
        One a protocol.
    """
    protocols = list(history["protocol"].unique())
    figure, grid = plt.subplots(1, len(protocols), figsize=(3 + 3.6 * len(protocols), 3.8), sharey=True, squeeze=False)
    lines: dict[str, Any] = {"train_loss": ("training", "#7F7F7F", "--"), "valid_loss": ("validation", "#0072B2", "-")}
    for axes, protocol in zip(grid.flat, protocols, strict=True):
        part = history[history["protocol"] == protocol]
        folds = part.groupby(["repeat", "fold"])
        for column, (_, colour, dash) in lines.items():
            for _, fold in folds:
                axes.plot(
                    fold["epoch"], fold[column], dash, color=colour, linewidth=1, alpha=0.6, marker="o", markersize=3
                )
            mean = part.groupby("epoch")[column].mean()
            axes.plot(mean.index, mean, dash, color=colour, linewidth=2.6)
        axes.set(xlabel="epoch", title=f"protocol '{protocol}', {folds.ngroups} folds")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    grid[0, 0].set_ylabel("cross-entropy (nats)")
    handles = [Line2D([], [], color=colour, linestyle=dash, linewidth=2.6) for _, colour, dash in lines.values()]
    figure.legend(
        handles, [f"{name}, mean in bold" for name, _, _ in lines.values()], loc="outside upper center", ncols=2
    )
    return grid.ravel()


@styled
def score_distribution(scores: pd.DataFrame, *, bone: str) -> Axes:
    """The scores of one bone by outcome, one dot a woman.

    Parameters
    ----------
    scores : DataFrame
        participant_id, outcome (0 or 1), score (a logit); repeats of a woman are averaged.
    bone : str
        radius, ulna, tibia or fibula; gives the colour.
    """
    women = scores.groupby("participant_id", as_index=False)[["outcome", "score"]].mean()
    _, axes = plt.subplots(figsize=(7, 3.2))
    colour = BONE_COLOURS.get(bone, "#000000")
    for event in (0, 1):
        part = women.loc[women["outcome"] == event, "score"]
        dots(axes, part, at=event, colour=colour, filled=event == 1, reach=0.36, size=34, flat=True)
    counts = women["outcome"].map({0: "no", 1: "yes"}).value_counts()
    axes.set(yticks=(0, 1), yticklabels=("no event", "event"), ylim=(-0.6, 1.6), xlabel=f"score of the {bone} (logit)")
    handles, labels = outcome_legend(counts, "event", colour=colour)
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


@styled
def roc(
    predictions: pd.DataFrame,
    *,
    family: str,
    protocol: str = "all",
    split: str = "out-of-fold",
    models: Sequence[str] | None = None,
) -> NDArray[Any]:
    """ROC curves of one family, one panel a model: its curve and pointwise band before the other curves in grey.

    Parameters
    ----------
    predictions : DataFrame
        As predictions.csv; repeats of a patient are averaged.
    family, protocol, split : str
        Which rows to draw.
    models : sequence of str, optional
        Which models, and in which order; all of the family by default.

    Returns
    -------
    array of Axes
        One a model; the AUC with its interval stands in its title.
    """
    part = predictions.query("family == @family and protocol == @protocol and split == @split")
    names = list(part["model"].unique()) if models is None else list(models)
    columns = min(len(names), 3 if len(names) in (5, 6) else 4)
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3 * columns + 0.4, 3.4 * rows + 0.3), squeeze=False)
    panels = grid.ravel()[: len(names)]
    for axes in grid.ravel()[len(names) :]:
        axes.remove()
    people = {
        name: part[part["model"] == name].groupby("participant_id")[["outcome", "score"]].mean() for name in names
    }
    curves = {name: roc_points(women["outcome"], women["score"]) for name, women in people.items()}
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        estimate = auc_interval(people[name]["outcome"], people[name]["score"])
        axes.plot([0, 1], [0, 1], ":", color="#7F7F7F", linewidth=1, zorder=1)
        for other in names:
            axes.plot(
                curves[other]["false_positive_rate"], curves[other]["true_positive_rate"], color="#D9D9D9", zorder=0
            )
        colour = BONE_COLOURS.get(name, "#000000")
        rate, height = curves[name]["false_positive_rate"], curves[name]["true_positive_rate"]
        axes.fill_between(
            rate, curves[name]["low"], curves[name]["high"], color=colour, alpha=0.18, linewidth=0, zorder=2
        )
        axes.plot(rate, height, color=colour, linewidth=2, zorder=3)
        text = (
            f"AUC {estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"
            if estimate.estimable
            else _NOT_ESTIMABLE
        )
        axes.set_title(f"{name}\n{text}", fontsize=10)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
        axes.set_ylabel("true-positive rate" if number % columns == 0 else "")
        axes.set_xlabel("false-positive rate" if number + columns >= len(names) else "")
    women = part.drop_duplicates("participant_id")["outcome"]
    figure.suptitle(f"{len(women)} women, {int(women.sum())} events; bands and intervals 95 %", fontsize=11)
    return panels


@styled
def performance(performance: pd.DataFrame, *, protocol: str, split: str, attainable: float | None = None) -> Axes:
    """Forest plot of the AUC of every model with its interval, by family.

    Parameters
    ----------
    performance : DataFrame
        As performance.csv.
    protocol, split : str
        Which rows to draw.
    attainable : float, optional
        The best AUC that anyone could reach on virtual data.
    """
    part = performance.query("protocol == @protocol and split == @split and measure == 'AUC'")
    counts = part[["n", "events"]].drop_duplicates()
    n, events = ("–".join(str(v) for v in sorted({counts[c].min(), counts[c].max()})) for c in ("n", "events"))
    people = f"{n} women, {events} events"
    if part["value"].isna().all():
        _, axes = plt.subplots(figsize=(8.6, 1.2))
        axes.text(0.5, 0.5, f"AUC: {_NOT_ESTIMABLE} for any of {len(part)} models ({people})", ha="center", va="center")
        axes.set_axis_off()
        return axes
    _, axes = plt.subplots(figsize=(8.6, 1.3 + 0.3 * (len(part) + 1.4 * part["family"].nunique())))
    beside = axes.get_yaxis_transform()
    ticks: list[float] = []
    y = 0.0
    for number, (family, rows) in enumerate(part.groupby("family", sort=False)):
        colour = _FAMILY_COLOURS.get(str(family), "#000000")
        axes.text(-0.01, y, str(family), transform=beside, va="center", ha="right", fontweight="bold")
        for row in rows.to_dict("records"):
            y += 1
            ticks.append(y)
            text = _NOT_ESTIMABLE
            if not pd.isna(row["value"]):
                axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
                axes.plot(row["value"], y, _MARKERS[number % len(_MARKERS)], color=colour, markersize=7)
                text = f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
            if len(counts) > 1:
                text += f", n {row['n']}, {row['events']} events"
            axes.text(1.02, y, text, transform=beside, va="center", fontsize=10)
        y += 1.4
    marks = {0.5: ("chance", ":")} | (
        {} if attainable is None else {attainable: (f"attainable {attainable:.2f}", "--")}
    )
    for place, (text, dash) in marks.items():
        axes.axvline(place, color="#7F7F7F", linestyle=dash, linewidth=1.2, zorder=0)
        side = "right" if text == "chance" and attainable is not None and attainable - 0.5 < 0.15 else "center"
        axes.annotate(text, (place, 1), (0, 4), xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha=side,
                      fontsize=10, color="#595959")  # fmt: skip
    lowest = np.floor(min(0.3, part["low"].min()) * 10) / 10
    axes.set(xlim=(lowest, 1.0), ylim=(y - 0.6, -0.8), yticks=ticks, yticklabels=part["model"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"AUC with 95 % interval ({people})")
    return axes


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
    symbols = list(dict.fromkeys(symbol for bone, symbol in named if bone in bones))
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


@styled
def save_slice(density: NDArray[np.float32], path: Path, *, voxel_mm: tuple[float, float, float]) -> None:
    """Write the middle slice of a scan as a PNG with axes in mm, and not a word beside it.

    Parameters
    ----------
    density : (z, y, x) float32, mgHA/cm³
        The scan.
    path : Path
        The PNG.
    voxel_mm : (z, y, x) mm
        Edge lengths.
    """
    figure, axes = plt.subplots(figsize=(6, 5))
    extent = (0, density.shape[2] * voxel_mm[2], density.shape[1] * voxel_mm[1], 0)
    image = axes.imshow(density[density.shape[0] // 2], cmap="gray", vmin=-400, vmax=1400, extent=extent)
    axes.set(xlabel="x (mm)", ylabel="y (mm)")
    figure.colorbar(image, ax=axes, extend="both", pad=0.02).set_label("density (mgHA/cm³)")
    with write_whole(path) as part:
        figure.savefig(part, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
