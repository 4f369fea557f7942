"""Figures of single women among the others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from deepqct.plots.style import BONE_COLOURS, BONE_MARKERS, CALLED, GREY, INK, NOT_CALLED, SOFT, styled
from deepqct.terms import BONES, UNITS

_NAMED = 200  # women beside whose risk a name still fits; our choice


def map_points(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where `cohort_map` draws each woman.

    Parameters
    ----------
    table : DataFrame
        As for `cohort_map`.

    Returns
    -------
    (n, 2) float64
        UMAP 1 and UMAP 2, in the first picture.
    (n, 2) float64
        Age in years and risk, in the second picture; the number of the row in place of ages that nobody has.
    """
    years = table["age"].astype(float)
    across = years if years.notna().any() else pd.Series(np.arange(1.0, len(table) + 1), table.index)
    return table[["umap_1", "umap_2"]].to_numpy(float), np.column_stack([across, table["risk"]]).astype(float)


@styled
def cohort_map(
    table: pd.DataFrame,
    *,
    threshold: float,
    outcome: str = "outcome",
    chosen: str | None = None,
    selection: Collection[str] = (),
) -> NDArray[Any]:
    """Draw the women twice: by the UMAP picture of their indices, and by their risk over age.

    Parameters
    ----------
    table : DataFrame
        umap_1, umap_2, age, outcome, risk by participant_id, as `deepqct.exploration.women` returns it; an outcome may be
        unknown. Where it has ``predicted``, the risk is a rank and is called so.
    threshold : float
        The risk from which women are coloured as called.
    outcome : str
        The outcome's name in the legend.
    chosen : str, optional
        The participant_id of the woman who gets a thick ring.
    selection : collection of str
        The participant_ids of the women who get a thin ring.

    Returns
    -------
    array of Axes
        The UMAP picture, and the risk over age.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.exploration.women(dq.run.example_run(), family="BMD", model="total hip")
    >>> axes = dq.plots.cohort_map(table, threshold=0.5, outcome="fracture")
    >>> [text.get_text() for text in axes[0].get_figure().legends[0].get_texts()][2:]
    ['fracture (5 of 12)', 'no fracture (7 of 12)']
    """
    figure, grid = plt.subplots(1, 2, figsize=(8.6, 4.4))
    called, event = (table["risk"] >= threshold).to_numpy(), (table["outcome"] == 1).to_numpy()
    unknown = table["outcome"].isna().to_numpy()
    said = "rank" if "predicted" in table else "risk"
    for axes, points in zip(grid, map_points(table), strict=True):
        for marker, these in (("o", ~event & ~unknown), ("^", event), ("D", unknown)):
            colours = np.where(called[these], CALLED, NOT_CALLED)
            axes.scatter(*points[these].T, c=colours, marker=marker, s=40, edgecolor="white", linewidth=0.6)
        marked = table.index.isin(list(selection))
        axes.scatter(*points[marked].T, s=95, facecolor="none", edgecolor=SOFT, linewidth=1.2)
        ring = table.index.isin([chosen])
        axes.scatter(*points[ring].T, s=170, facecolor="none", edgecolor=INK, linewidth=2.2)
        drawn = int(np.isfinite(points).all(axis=1).sum())
        if drawn < len(table):
            axes.set_title(f"{drawn} of {len(table)} women; the others have no place here")
    grid[0].set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    grid[1].axhline(threshold, color=SOFT, linestyle="--", linewidth=1.2)
    grid[1].set(xlabel="age (years)" if table["age"].notna().any() else "woman", ylim=(-0.03, 1.03))
    grid[1].set_ylabel("risk" if said == "risk" else "rank by what is predicted")
    n, known, events = len(table), int((~unknown).sum()), int(event.sum())
    entries = {
        f"{said} ≥ {threshold:.2f} ({called.sum()} of {n})": ("s", CALLED),
        f"below ({n - called.sum()} of {n})": ("s", NOT_CALLED),
        f"{outcome} ({events} of {known})": ("^", SOFT),
        f"no {outcome} ({known - events} of {known})": ("o", SOFT),
    }
    if known < n:
        entries[f"not known ({n - known} of {n})"] = ("D", SOFT)
    handles = [Line2D([], [], marker=m, linestyle="", color=colour, markersize=7) for m, colour in entries.values()]
    figure.legend(handles, list(entries), loc="outside lower left", ncols=2, columnspacing=1.2, handletextpad=0.3)
    return np.array(grid)


@styled
def new_women(table: pd.DataFrame, *, prior: float, outcome: str = "outcome") -> Axes:
    """Draw the risk of each new woman with its interval, the highest above; women without a risk are counted.

    More than 200 women have no names beside them: a picture as long would be no picture.

    Parameters
    ----------
    table : DataFrame
        participant_id, risk, low, high, as `deepqct.predict` gives them; NaN without a risk.
    prior : float
        The share of the training women with the outcome, which is drawn as a line.
    outcome : str
        The outcome's name on the axis.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> risks = {"participant_id": ["P1", "P2"], "risk": [0.2, None], "low": [0.1, None], "high": [0.4, None]}
    >>> dq.plots.new_women(pd.DataFrame(risks), prior=0.33, outcome="fracture").get_xlabel()
    'risk of fracture, 95 % over networks'
    """
    given = table.dropna(subset="risk").sort_values("risk")
    named = len(given) <= _NAMED
    _, axes = plt.subplots(figsize=(7.2, 1.2 + 0.24 * max(len(given), 2) if named else 9))
    y = np.arange(len(given))
    axes.hlines(y, given["low"], given["high"], color=NOT_CALLED, alpha=0.5, linewidth=4 if named else 0.6)
    axes.plot(given["risk"], y, "o", color=NOT_CALLED, markersize=5 if named else 1.5)
    axes.axvline(prior, color="0.4", linestyle="--", linewidth=1)
    axes.set(
        yticks=y if named else (),
        yticklabels=list(given["participant_id"]) if named else (),
        ylabel="" if named else "women, by risk",
        xlim=(0, 1),
        xlabel=f"risk of {outcome}, 95 % over networks",
    )
    axes.set_title(
        f"{len(given)} of {len(table)} women with a risk; dashed: {prior:.0%} of the training women", fontsize=10
    )
    return axes


@styled
def profile(z: pd.Series, *, participant_id: str, reference: str) -> Axes:
    """Draw the indices of one woman beside those of the reference women.

    Parameters
    ----------
    z : Series
        Her standard deviations from the reference women, named like ``radius Tt.vBMD``, as
        `deepqct.exploration.Reference.of` returns them.
    participant_id : str
        The woman, for the title.
    reference : str
        Who the reference women are, and how many, for the axis.

    Returns
    -------
    Axes
        With one row for each index; the bones have their colours and marks.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> z = pd.Series({"radius Tt.vBMD": -2.5, "tibia Tt.vBMD": -1.0, "radius Tb.Th": 0.2})
    >>> axes = dq.plots.profile(z, participant_id="sub-0001", reference="40 women without fracture")
    >>> [label.get_text() for label in axes.get_yticklabels()], axes.get_xlabel()
    (['Tt.vBMD', 'Tb.Th'], 'SD from 40 women without fracture')
    """
    symbols = [symbol for symbol in UNITS if any(np.isfinite(z.get(f"{bone} {symbol}", np.nan)) for bone in BONES)]
    _, axes = plt.subplots(figsize=(6.4, 1.3 + 0.26 * max(len(symbols), 1)))
    for low, high, shade in ((-2, 2, "#F2F2F2"), (-1, 1, "#E3E3E3")):
        axes.axvspan(low, high, color=shade, linewidth=0, zorder=0)
    for number, bone in enumerate(BONES):
        values = np.array([z.get(f"{bone} {symbol}", np.nan) for symbol in symbols], float)
        if np.isfinite(values).any():
            rows = np.arange(len(symbols)) + (number - 1.5) * 0.17
            axes.plot(
                values, rows, BONE_MARKERS[bone], color=BONE_COLOURS[bone], markersize=5.5, linestyle="", label=bone
            )
    if not symbols:
        axes.text(0.5, 0.5, "no index that could be compared", ha="center", va="center", transform=axes.transAxes)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_yticks(range(len(symbols)), symbols)
    axes.set(ylim=(max(len(symbols), 1) - 0.5, -0.5), xlabel=f"SD from {reference}")
    axes.set_title(participant_id)
    reach = max(3.0, float(np.nanmax(np.abs(z.to_numpy(float)), initial=0.0)) * 1.05)
    axes.set_xlim(-reach, reach)
    return axes


@styled
def thresholds(table: pd.DataFrame, *, threshold: float) -> NDArray[Any]:
    """Draw sensitivity, specificity and net benefit over the risk from which women are called.

    Parameters
    ----------
    table : DataFrame
        One row for each threshold and measure, as `deepqct.exploration.over_thresholds` returns it.
    threshold : float
        The risk that is marked by a line.

    Returns
    -------
    array of Axes
        Sensitivity and specificity, and net benefit.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.exploration.women(dq.run.example_run(), family="BMD", model="total hip")
    >>> axes = dq.plots.thresholds(dq.exploration.over_thresholds(table), threshold=0.5)
    >>> axes[0].get_xlabel().splitlines()
    ['called from this risk upwards', '(12 women, 5 events)']
    """
    _, grid = plt.subplots(1, 2, figsize=(8.6, 4.1))
    # Sensitivity counts the women with the outcome, specificity those without; together they are all women.
    first = table[table["threshold"] == table["threshold"].iloc[0]].set_index("measure")["n"]
    events, n = int(first["sensitivity"]), int(first["sensitivity"] + first["specificity"])
    lines = ({"sensitivity": CALLED, "specificity": NOT_CALLED}, {"net benefit": INK})
    for axes, named in zip(grid, lines, strict=True):
        for measure, colour in named.items():
            line = table[table["measure"] == measure]
            axes.fill_between(line["threshold"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
            axes.plot(line["threshold"], line["estimate"], color=colour, linewidth=2, label=measure)
        axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1.2)
        axes.set_xlabel(f"called from this risk upwards\n({n} women, {events} events)")
        axes.legend(loc="best")
        if not table.loc[table["measure"].isin(named), "estimate"].notna().any():
            axes.text(0.5, 0.5, "not estimable", ha="center", va="center", transform=axes.transAxes)
    grid[0].set(ylabel="share of women, 95 % band", ylim=(-0.02, 1.02))
    grid[1].axhline(0, color=GREY, linestyle=":", linewidth=1.2)
    grid[1].set_ylabel("net benefit a woman, 95 % band")
    return np.array(grid)
