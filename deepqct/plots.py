"""One function, one figure: each returns its Axes, and `save` keeps them with title and caption.

The four bones have one palette everywhere, safe for colour blindness. Nothing here is shown by itself, nothing is drawn
at random, and no function changes the style of other figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation import auc_interval, roc_points
from deepqct.folder import BONES, write_json, write_whole
from deepqct.indices import UNITS

# Okabe & Ito (2008), "Color Universal Design": blues for the wrist, oranges for the ankle; the rest for other things.
BONE_COLOURS = {"radius": "#0072B2", "ulna": "#56B4E9", "tibia": "#D55E00", "fibula": "#E69F00"}
OTHER_COLOURS = ("#000000", "#009E73", "#CC79A7", "#7F7F7F", "#8C6D00", "#4B3F8F")
STYLE: dict[str, Any] = {
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "svg.hashsalt": "deepqct",  # the same figure gives the same bytes
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}
_MARKERS = "os^DvP"
_NOT_ESTIMABLE = "not estimable"

P = ParamSpec("P")
R = TypeVar("R")


def set_style() -> None:
    """Give a notebook's own figures the style of this module, whose functions have it anyway."""
    plt.rcParams.update(STYLE)


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` in the style of this module, which ends with it."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


@_styled
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
        rows, columns, figsize=(size * columns + 1, (size * max(heights) + 0.3) * rows), squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    shown = grid.ravel()[: len(stacks)]
    for axes, (name, stack) in zip(shown, stacks.items(), strict=True):
        image = axes.imshow(stack[stack.shape[0] // 2], cmap="gray", vmin=window[0], vmax=window[1])
        axes.set_title(name, fontsize=10, pad=3)
    bar = figure.colorbar(image, ax=grid, extend="both", shrink=0.9 if rows > 1 else 1.0, aspect=14 * rows, pad=0.02)
    bar.set_label("density (mgHA/cm³)")
    return shown


@_styled
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
    _, height, width = voxel_mm[0], density.shape[1] * voxel_mm[1], density.shape[2] * voxel_mm[2]
    place = {"extent": (0, width, height, 0)}
    image = axes.imshow(density[middle], cmap="gray", vmin=window[0], vmax=window[1], **place)
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
    bar = AnchoredSizeBar(
        axes.transData, length, f"{length} mm", "lower right", color="white", frameon=False, size_vertical=width / 150,
        sep=4, borderpad=0.8,
    )  # fmt: skip
    axes.add_artist(bar)
    axes.set_axis_off()
    # The colours of the outlines are for a dark image, so the legend has the image's background.
    axes.legend(
        [Line2D([], [], color=colour, linewidth=2) for _, colour in outlines.values()], list(outlines),
        loc="upper left", labelcolor="white", frameon=True, facecolor="black", edgecolor="none", framealpha=0.6,
    )  # fmt: skip
    figure.colorbar(image, ax=axes, extend="both", shrink=0.9, aspect=22, pad=0.02).set_label("density (mgHA/cm³)")
    return axes


@_styled
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
                _dots(axes, part[name], at=place + side, colour=BONE_COLOURS[bone], filled=group != "no", reach=0.17)
        unit = {"1": "fraction"}.get(UNITS.get(name, ""), UNITS.get(name, ""))
        axes.set(xticks=range(len(bones)), xticklabels=bones, xlim=(-0.6, max(len(bones), 1) - 0.4))
        axes.set_ylabel(f"{name} ({unit})" if unit else name)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    women = table.drop_duplicates("participant_id")["group"].value_counts()
    if outcome is not None:
        figure.legend(*_outcome_legend(women, str(outcome.name or "event")), loc="outside upper center", ncols=3)
    return np.array(grid.ravel()[: len(names)])


@_styled
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
    figure, grid = plt.subplots(
        1, len(protocols), figsize=(3 + 3.6 * len(protocols), 3.8), sharey=True, squeeze=False
    )  # fmt: skip
    lines = {"train_loss": ("training", "#7F7F7F", "--"), "valid_loss": ("validation", "#0072B2", "-")}
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
        handles, [f"{name}, mean in bold" for name, _, _ in lines.values()], loc="outside lower center", ncols=2
    )
    return grid.ravel()


@_styled
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
    for place, group in enumerate((0, 1)):
        part = women.loc[women["outcome"] == group, "score"]
        _dots(
            axes,
            part,
            at=place,
            colour=BONE_COLOURS.get(bone, "#000000"),
            filled=group == 1,
            reach=0.36,
            size=34,
            flat=True,
        )
    counts = women["outcome"].map({0: "no", 1: "yes"}).value_counts()
    axes.set(yticks=(0, 1), yticklabels=("no event", "event"), ylim=(-0.6, 1.6), xlabel=f"score of the {bone} (logit)")
    axes.legend(*_outcome_legend(counts, "event", colour=BONE_COLOURS.get(bone, "#000000")), loc="lower center",
                bbox_to_anchor=(0.5, 1.0), ncols=3)  # fmt: skip
    return axes


@_styled
def roc(
    predictions: pd.DataFrame,
    *,
    family: str,
    protocol: str = "all",
    split: str = "out-of-fold",
    models: Sequence[str] | None = None,
) -> NDArray[Any]:
    """ROC curves of one family with pointwise bands; the AUC with its interval stands in the legend.

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
        One for up to four models; beyond, where bands would hide each other, one a model.
    """
    part = predictions.query("family == @family and protocol == @protocol and split == @split")
    names = list(part["model"].unique()) if models is None else list(models)
    together = len(names) <= 4
    columns = 1 if together else 3
    rows = 1 if together else -(-len(names) // columns)
    size = (5.6, 5.6) if together else (3.4 * columns, 3.6 * rows + 0.3)
    _, grid = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes in grid.ravel()[1 if together else len(names) :]:
        axes.remove()
    panels = grid.ravel()[: 1 if together else len(names)]
    spare = iter(OTHER_COLOURS * len(names))
    for number, name in enumerate(names):
        axes = panels[0 if together else number]
        women = part[part["model"] == name].groupby("participant_id")[["outcome", "score"]].mean()
        colour = BONE_COLOURS.get(name) or next(spare)
        label = _draw_roc(axes, women["outcome"].to_numpy(int), women["score"].to_numpy(), colour=colour, name=name)
        if not together:
            axes.set_title(label, fontsize=10)
    for axes in panels:
        axes.plot([0, 1], [0, 1], ":", color="#7F7F7F", linewidth=1, zorder=0)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("true-positive rate")
        if not together and list(panels).index(axes) + columns >= len(names):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("false-positive rate")
    if together:
        panels[0].set_xlabel("false-positive rate")
        panels[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), title=f"AUC (95 % interval), {_people(part)}")
    else:
        panels[0].get_figure().suptitle(f"AUC (95 % interval), {_people(part)}", fontsize=11)
    return panels


@_styled
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
    one_count = len(counts) == 1
    _, axes = plt.subplots(figsize=(8.6, 1.5 + 0.34 * (len(part) + part["family"].nunique())))
    y, ticks, labels = 0.0, [], []
    right = axes.get_yaxis_transform()
    for number, (family, rows) in enumerate(part.groupby("family", sort=False)):
        colour = OTHER_COLOURS[number % len(OTHER_COLOURS)]
        axes.text(0, y, f" {family}", transform=right, va="center", ha="left", fontweight="bold", color=colour)
        for row in rows.itertuples():
            y += 1
            ticks.append(y)
            labels.append(row.model if one_count else f"{row.model} ({row.n:.0f}, {row.events:.0f})")
            if pd.isna(row.value):
                text = _NOT_ESTIMABLE
            else:
                axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
                axes.plot(row.value, y, _MARKERS[number % len(_MARKERS)], color=colour, markersize=7)
                text = f"{row.value:.2f} ({row.low:.2f}–{row.high:.2f})"
            axes.text(1.02, y, text, transform=right, va="center", fontsize=10)
        y += 1.4
    axes.axvline(0.5, color="#7F7F7F", linestyle=":", linewidth=1.2, zorder=0)
    over = axes.get_xaxis_transform()
    axes.text(0.5, 1.01, "chance", transform=over, ha="center", va="bottom", fontsize=10, color="#595959")
    if attainable is not None:
        axes.axvline(attainable, color="#009E73", linestyle="--", linewidth=1.2, zorder=0)
        axes.text(
            attainable, 1.01, f"attainable {attainable:.2f}", transform=over, ha="center", va="bottom", fontsize=10,
            color="#00664B",
        )  # fmt: skip
    lowest = min([0.3, *part["low"].dropna()])
    axes.set(
        xlim=(np.floor(lowest * 10 + 0.001) / 10, 1.0), ylim=(max(y - 0.6, 0.5), -0.8), yticks=ticks, yticklabels=labels
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    people = (
        f"{counts['n'].iloc[0]:.0f} women, {counts['events'].iloc[0]:.0f} events"
        if one_count
        else "n, events beside each"
    )
    axes.set_xlabel(f"AUC with 95 % interval ({people})")
    return axes


@_styled
def silhouettes(silhouette: pd.Series) -> Axes:
    """Mean silhouette by number of groups.

    Parameters
    ----------
    silhouette : Series
        −1 to 1, indexed by the number of groups.
    """
    _, axes = plt.subplots(figsize=(6, 3.6))
    axes.axhline(0.25, color="#7F7F7F", linestyle=":", linewidth=1.2)
    axes.annotate("no structure below", (1, 0.25), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", fontsize=10, color="#595959")  # fmt: skip
    axes.plot(silhouette.index, silhouette, "o-", color="#000000", linewidth=1.8, markersize=7)
    for groups, value in silhouette.items():
        axes.annotate(f"{value:.2f}", (groups, value), (0, 9), textcoords="offset points", ha="center", fontsize=10)
    lowest, highest = min(0.0, silhouette.min()), max(0.5, silhouette.max() + 0.1)
    axes.set(xlabel="number of groups", ylabel="mean silhouette", xticks=list(silhouette.index), ylim=(lowest, highest))
    return axes


@_styled
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


@_styled
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
    limit = max(0.5, float(np.nanmax(np.abs(table.to_numpy(float)))))
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


@_styled
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


def mark_virtual(figure: Figure) -> None:
    """Write "virtual cohort" below the right corner of a figure, where it covers nothing."""
    figure.text(1, 0, "virtual cohort", ha="right", va="top", fontsize=10, color="#B00020", style="italic")


def save(
    drawn: Axes | NDArray[Any] | Figure, folder: Path, *, name: str, title: str, caption: str, order: int, virtual: bool
) -> Path:
    """Keep a figure as PNG and SVG beside a JSON of its title and caption, all or nothing, and close it.

    The same figure gives the same bytes.

    Parameters
    ----------
    drawn : Axes, array of Axes, or Figure
        What the functions above return.
    folder : Path
        The job's folder of figures.
    name : str
        The files' name, without ending.
    title, caption : str
        What is shown; what to look for.
    order : int
        Its place among the job's figures.
    virtual : bool
        Mark the figure as one of a virtual cohort.

    Returns
    -------
    Path
        The PNG.
    """
    figure = drawn if isinstance(drawn, Figure) else np.ravel(np.asarray(drawn, dtype=object))[0].get_figure()
    if virtual:
        mark_virtual(figure)
    png, svg, record = (folder / f"{name}{ending}" for ending in (".png", ".svg", ".json"))
    keep = {"bbox_inches": "tight", "pad_inches": 0.12}
    # Left in reverse: the record comes last, and a reader of records finds its pictures.
    with plt.rc_context(STYLE), write_whole(record) as c, write_whole(svg) as b, write_whole(png) as a:
        figure.savefig(a, dpi=150, metadata={"Software": None, "Title": title, "Description": caption}, **keep)
        figure.savefig(b, metadata={"Date": None, "Creator": None, "Title": title, "Description": caption}, **keep)
        write_json(c, {"title": title, "caption": caption, "order": order})
    plt.close(figure)
    return png


def _dots(
    axes: Axes,
    values: pd.Series,
    *,
    at: float,
    colour: str,
    filled: bool,
    reach: float,
    size: float = 16,
    flat: bool = False,
) -> None:
    """One dot a value, spread across by how dense its neighbourhood is, and a line at the median."""
    known = np.sort(values.dropna().to_numpy(float))
    if not len(known):
        return
    across = at + reach * _spread(known)
    face, edge, line = (colour, "white", 0.4) if filled else ("white", colour, 1.1)
    middle, ends = [float(np.median(known))] * 2, [at - reach * 1.1, at + reach * 1.1]
    along = (known, across) if flat else (across, known)
    axes.scatter(*along, s=size, facecolor=face, edgecolor=edge, linewidth=line, zorder=2)
    axes.plot(
        *((middle, ends) if flat else (ends, middle)), color="black", linewidth=1.8, zorder=3, solid_capstyle="butt"
    )


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A place in −1 … 1 for each of the sorted values: a fixed sequence that fills evenly, times the local density."""
    bits = max(int(np.ceil(np.log2(len(values) + 1))), 1)
    ranks = np.arange(1, len(values) + 1)
    even = sum(((ranks >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(bits)) * 2 - 1
    width = (values[-1] - values[0]) / 8 or 1.0
    near = np.exp(-(((values[:, None] - values[None, :]) / width) ** 2) / 2).sum(axis=1)
    return np.asarray(even * near / near.max())


def _outcome_legend(counts: pd.Series, name: str, *, colour: str = "#595959") -> tuple[list[Line2D], list[str]]:
    """Hollow without, filled with the event, a bar for the median: handles and labels with n and events."""
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
    handles = [
        Line2D([], [], markerfacecolor="white", markeredgecolor=colour, **dot),
        Line2D([], [], color=colour, **dot),
        Line2D([], [], color="black", linewidth=1.8),
    ]
    events, others = int(counts.get("yes", 0)), int(counts.get("no", 0))
    return handles, [f"no {name} ({others} of {others + events})", f"{name} ({events} of {others + events})", "median"]


def _draw_roc(axes: Axes, outcome: ArrayLike, score: ArrayLike, *, colour: str, name: str) -> str:
    """One curve with its band, or none if it is not estimable; returns its label."""
    estimate = auc_interval(outcome, score)
    if pd.isna(estimate.value):
        label = f"{name}: {_NOT_ESTIMABLE}"
        axes.plot([], [], color=colour, label=label)
        return label
    points = roc_points(outcome, score)
    label = f"{name}: {estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"
    rate = points["false_positive_rate"]
    axes.fill_between(rate, points["low"], points["high"], color=colour, alpha=0.13, linewidth=0)
    axes.plot(rate, points["true_positive_rate"], color=colour, linewidth=2, label=label)
    return label


def _people(predictions: pd.DataFrame) -> str:
    """How many women, and how many of them with the event."""
    women = predictions.drop_duplicates("participant_id")
    return f"{len(women)} women, {int(women['outcome'].sum())} events"
