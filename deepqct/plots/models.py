"""Figures of networks and models: how they learn, what they score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from deepqct.evaluation.discrimination import auc, roc_points
from deepqct.plots.style import BONE_COLOURS, FAMILY_COLOURS, styled

_MARKERS = "os^DvP"
_NOT_ESTIMABLE = "not estimable"


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
        As predictions.csv; of several repeats the mean curve and the mean AUC.
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
    outcomes = part.drop_duplicates("participant_id").set_index("participant_id")["outcome"]
    people = {
        name: part[part["model"] == name].pivot(index="participant_id", columns="repeat", values="score")
        for name in names
    }
    known = {name: outcomes.reindex(scores.index) for name, scores in people.items()}
    curves = {name: roc_points(known[name], scores) for name, scores in people.items()}
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        estimate = auc(known[name], people[name])
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
            f"AUC {estimate.estimate:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"
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
    if part["estimate"].isna().all():
        _, axes = plt.subplots(figsize=(8.6, 1.2))
        axes.text(0.5, 0.5, f"AUC: {_NOT_ESTIMABLE} for any of {len(part)} models ({people})", ha="center", va="center")
        axes.set_axis_off()
        return axes
    _, axes = plt.subplots(figsize=(8.6, 1.3 + 0.3 * (len(part) + 1.4 * part["family"].nunique())))
    beside = axes.get_yaxis_transform()
    ticks: list[float] = []
    y = 0.0
    for number, (family, rows) in enumerate(part.groupby("family", sort=False)):
        colour = FAMILY_COLOURS.get(str(family), "#000000")
        axes.text(-0.01, y, str(family), transform=beside, va="center", ha="right", fontweight="bold")
        for row in rows.to_dict("records"):
            y += 1
            ticks.append(y)
            text = _NOT_ESTIMABLE
            if not pd.isna(row["estimate"]):
                axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
                axes.plot(row["estimate"], y, _MARKERS[number % len(_MARKERS)], color=colour, markersize=7)
                text = f"{row['estimate']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
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
