"""Figures of models: the ROC curves of a family, the AUC of all models, and that of one model for each family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from deepqct.evaluation.curves import roc_points
from deepqct.evaluation.discrimination import Estimate, auc, interval, plain
from deepqct.plots.style import BONE_COLOURS, FAINT, FAMILY_COLOURS, GREY, INK, SOFT, styled
from deepqct.run_tables import figure_of, headline_aucs, women_of
from deepqct.terms import CHANCE

_MARKERS = "os^DvP"
_CHANCE = {"AUC": "chance", "C-index": "chance", "R²": "the mean of all"}  # what a model without information reaches
_NEAR = 0.02  # of chance: an attainable AUC as near is chance
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
    """Draw the ROC curves of one family: each model with its pointwise band, before the other models in grey.

    Parameters
    ----------
    predictions : DataFrame
        As predictions.csv; with several repeats the mean curve and the mean AUC are drawn.
    family, protocol, split : str
        The rows that are drawn, by the values of these columns.
    models : sequence of str, optional
        The models that are drawn, in this order; without it, all of the family.

    Returns
    -------
    array of Axes
        One for each model; the title has the AUC with its interval.

    Examples
    --------
    >>> import deepqct as dq
    >>> predictions = dq.folder.read_table(dq.run.example_run().predictions)
    >>> axes = dq.plots.roc(predictions, family="BMD", models=["femoral neck", "total hip"])
    >>> [panel.get_title().splitlines()[0] for panel in axes], axes[0].get_figure().get_suptitle()
    (['femoral neck', 'total hip'], '12 women, 5 events; bands and intervals 95 %')
    """
    drawn = predictions.query("family == @family and protocol == @protocol and split == @split")
    names = list(drawn["model"].unique()) if models is None else list(models)
    columns = min(len(names), 3 if len(names) in (5, 6) else 4)
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3 * columns + 0.4, 3.4 * rows + 0.3), squeeze=False)
    panels = grid.ravel()[: len(names)]
    for axes in grid.ravel()[len(names) :]:
        axes.remove()
    outcomes = drawn.drop_duplicates("participant_id").set_index("participant_id")["outcome"]
    people = {
        name: drawn[drawn["model"] == name].pivot(index="participant_id", columns="repeat", values="score")
        for name in names
    }
    known = {name: outcomes.reindex(scores.index) for name, scores in people.items()}
    curves = {name: roc_points(known[name], scores) for name, scores in people.items()}
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        estimate = auc(known[name], people[name])
        axes.plot([0, 1], [0, 1], ":", color=GREY, linewidth=1, zorder=1)
        for grey in names:
            axes.plot(curves[grey]["false_positive_rate"], curves[grey]["true_positive_rate"], color=FAINT, zorder=0)
        colour = BONE_COLOURS.get(name, INK)
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
    women = drawn.drop_duplicates("participant_id")["outcome"]
    figure.suptitle(f"{len(women)} women, {int(women.sum())} events; bands and intervals 95 %", fontsize=11)
    return panels


@styled
def performance(performance: pd.DataFrame, *, protocol: str, split: str, attainable: float | None = None) -> Axes:
    """Draw the AUC of every model, R² of a number or C-index of a time, with its interval as a forest plot, by family.

    Parameters
    ----------
    performance : DataFrame
        As performance.csv.
    protocol, split : str
        The rows that are drawn, by the values of these columns.
    attainable : float, optional
        The best AUC that anyone could reach on virtual data; drawn as a line.

    Returns
    -------
    Axes
        With one row for each model; the numbers stand beside it.

    Examples
    --------
    >>> import deepqct as dq
    >>> performance = dq.folder.read_table(dq.run.example_run().performance)
    >>> axes = dq.plots.performance(performance, protocol="all", split="out-of-fold")
    >>> [label.get_text() for label in axes.get_yticklabels()][:3]
    ['clinical factors', 'lumbar spine', 'femoral neck']
    >>> axes.get_xlabel()
    'AUC with 95 % interval (12 women, 5 events)'
    """
    figure = figure_of(performance)
    aucs = performance.query("protocol == @protocol and split == @split and measure == @figure")
    counts = aucs[["n", "events"]].drop_duplicates()
    people, chance = women_of(aucs), CHANCE[figure]
    if aucs["estimate"].isna().all():
        _, axes = plt.subplots(figsize=(8.6, 1.2))
        axes.text(
            0.5, 0.5, f"{figure}: {_NOT_ESTIMABLE} for any of {len(aucs)} models ({people})", ha="center", va="center"
        )
        axes.set_axis_off()
        return axes
    _, axes = plt.subplots(figsize=(8.6, 1.3 + 0.3 * (len(aucs) + 1.4 * aucs["family"].nunique())))
    beside = axes.get_yaxis_transform()
    ticks: list[float] = []
    y = 0.0
    for number, (family, rows) in enumerate(aucs.groupby("family", sort=False)):
        colour = FAMILY_COLOURS.get(str(family), INK)
        axes.text(-0.01, y, str(family), transform=beside, va="center", ha="right", fontweight="bold")
        for row in rows.to_dict("records"):
            y += 1
            ticks.append(y)
            text = _NOT_ESTIMABLE
            if not pd.isna(row["estimate"]):
                axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
                axes.plot(row["estimate"], y, _MARKERS[number % len(_MARKERS)], color=colour, markersize=7)
                text = f"{plain(row['estimate'])} ({interval(row['low'], row['high'])})"
            if len(counts) > 1:
                text += f", {Estimate.of(row).basis}"
            axes.text(1.02, y, text, transform=beside, va="center", fontsize=10)
        y += 1.4
    marks = {chance: (_CHANCE[figure], ":")} | (
        {} if attainable is None else {attainable: (f"attainable {attainable:.2f}", "--")}
    )
    for place, (text, dash) in marks.items():
        axes.axvline(place, color=GREY, linestyle=dash, linewidth=1.2, zorder=0)
        side = "right" if place == chance and attainable is not None and attainable - chance < 0.15 else "center"
        axes.annotate(text, (place, 1), (0, 4), xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha=side,
                      fontsize=10, color=SOFT)  # fmt: skip
    lowest = max(np.floor(min(chance - 0.2, aucs["low"].min()) * 10) / 10, -1.0)
    axes.set(xlim=(lowest, 1.0), ylim=(y - 0.6, -0.8), yticks=ticks, yticklabels=aucs["model"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{figure} with 95 % interval ({people})")
    return axes


@styled
def headlines(
    performance: pd.DataFrame, *, models: pd.DataFrame, attainable: float | None = None, event: str = "the event"
) -> Axes:
    """Draw the AUC, R² or C-index of the one model that stands for each family, with its interval, beside chance.

    Parameters
    ----------
    performance : DataFrame
        As performance.csv; the rows of the main result are drawn.
    models : DataFrame
        As models.csv; it says which model stands for its family.
    attainable : float, optional
        The best AUC that anyone could reach on virtual data; drawn as a line.
    event : str
        What the outcome is called.

    Returns
    -------
    Axes
        With one row for each family; the numbers stand at its right.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> axes = dq.plots.headlines(performance, models=models, event="fracture")
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['Clinical', 'BMD', 'pQCT-index', 'Texture', 'DeepQCT']
    """
    aucs = headline_aucs(performance, models=models)
    figure = figure_of(aucs)
    zero = CHANCE[figure]
    _, axes = plt.subplots(figsize=(5.4, 1.1 + 0.4 * len(aucs)))
    beside = axes.get_yaxis_transform()
    for y, row in enumerate(aucs.to_dict("records")):
        colour = FAMILY_COLOURS.get(row["family"], INK)
        text = _NOT_ESTIMABLE
        if not pd.isna(row["estimate"]):
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.6, solid_capstyle="butt")
            axes.plot(row["estimate"], y, "o", color=colour, markersize=8)
            text = f"{plain(row['estimate'])} ({interval(row['low'], row['high'])})"
        own = row["family"] == "DeepQCT"
        axes.text(1.02, y, text, transform=beside, va="center", fontsize=10, fontweight="bold" if own else "normal")
    axes.axvline(zero, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
    above: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 10}
    nothing = attainable is not None and attainable - zero < _NEAR
    chance = f"{_CHANCE[figure]}, and all that is attainable" if nothing else _CHANCE[figure]
    axes.annotate(
        chance, (zero, 1), (0, 3), ha="center" if nothing or attainable is None else "right", color=SOFT, **above
    )
    if attainable is not None and not nothing:
        axes.axvline(attainable, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(f"attainable {attainable:.2f}", (attainable, 1), (0, 3), ha="center", color=SOFT, **above)
    below = zero - 0.1
    lowest = np.floor(aucs["low"].min() * 10) / 10 if aucs["low"].notna().any() else below
    axes.set(xlim=(max(min(lowest, below), -1.0), 1.0), ylim=(len(aucs) - 0.5, -0.5), yticks=range(len(aucs)))
    axes.set_yticklabels(aucs["family"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{figure}, 95 % interval ({women_of(aucs, event=event)})")
    return axes
