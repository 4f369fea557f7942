"""Precision of indices from women who were scanned several times, and one woman's change over her visits."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation.change import change_of
from deepqct.plots.style import BONE_COLOURS, BONE_MARKERS, FAINT, GREY, ONE, styled


@styled
def precision_errors(table: pd.DataFrame, *, names: Sequence[str] | None = None) -> NDArray[Any]:
    """Draw the precision error of each index by bone, as a percentage of its value.

    Parameters
    ----------
    table : DataFrame
        From `deepqct.curation.precision_table`: bone, symbol, rms_cv, rms_cv_low, rms_cv_high, perhaps scanner, of which
        all together are drawn.
    names : sequence of str, optional
        The indices that are drawn; all of the table if not given.

    Returns
    -------
    (1,) array of Axes

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> found = dq.evaluation.precision([1, 1, 2, 2, 3, 3], [300.0, 302, 280, 281, 250, 255]).row()
    >>> axes = dq.plots.precision_errors(pd.DataFrame([{"bone": "radius", "symbol": "Tt.vBMD", **found}]))
    >>> axes[0].get_xlabel()
    'RMS-CV, %'
    """
    together = table[table["scanner"].isna()] if "scanner" in table else table
    kept = together[together["rms_cv"] > 0]
    symbols = [name for name in (names or table["symbol"].unique()) if name in set(kept["symbol"])]
    bones = [bone for bone in BONE_COLOURS if bone in set(kept["bone"])]
    figure, panel = plt.subplots(figsize=(7.2, 1.2 + 0.34 * max(len(symbols), 1)))
    for k, bone in enumerate(bones):
        rows = kept[kept["bone"] == bone].set_index("symbol").reindex(symbols)
        at = np.arange(len(symbols)) + (k - (len(bones) - 1) / 2) * 0.18
        middle = 100 * rows["rms_cv"]
        reach = [middle - 100 * rows["rms_cv_low"], 100 * rows["rms_cv_high"] - middle]
        panel.errorbar(
            middle, at, xerr=reach, fmt=BONE_MARKERS[bone], color=BONE_COLOURS[bone], markersize=5, linewidth=1.2,
            label=bone,
        )  # fmt: skip
    panel.set_yticks(range(len(symbols)), symbols)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="x", which="major", color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.set_xlabel("RMS-CV, %")
    if bones:
        figure.legend(loc="outside upper right", ncols=len(bones))
    return np.array([panel])


@styled
def change_over_visits(
    years: ArrayLike,
    value: ArrayLike,
    *,
    sd: float = float("nan"),
    degrees_of_freedom: float = float("inf"),
    label: str = "",
    unit: str = "",
    bone: str = "",
    counted: ArrayLike | None = None,
    title: str = "",
) -> Axes:
    """Draw what was measured at the visits of one woman, with the least significant change around the first visit.

    Parameters
    ----------
    years : (n,) float
        When, in years from any day; several measurements may be of one visit.
    value : (n,) float
        The measurements.
    sd : float
        SD of one measurement, such as `deepqct.evaluation.precision(...).rms_sd`; NaN if it is not known, and then there is
        no band and nothing is called a change.
    degrees_of_freedom : float
        Those of `sd`, as for `deepqct.evaluation.change_of`.
    label, unit : str
        What was measured, for the axis and for the words.
    bone : str
        Whose colour and mark are used; a neutral one if empty.
    counted : (n,) bool, optional
        Which measurements count, such as those of the side and scanner of the first; the others are hollow. All by default.
    title : str
        Above the figure, such as her participant_id.

    Returns
    -------
    Axes
        A measurement without a year is not drawn. Its words below the picture are those of `deepqct.evaluation.Change`.

    Raises
    ------
    ValueError
        If no measurement counts.

    Examples
    --------
    >>> import deepqct as dq
    >>> axes = dq.plots.change_over_visits([0, 2], [300.0, 297.0], sd=1.5, label="Tt.vBMD of the radius", unit="mgHA/cm³")
    >>> axes.get_ylabel(), [text.get_text().split(":")[0] for text in axes.texts]
    ('Tt.vBMD of the radius, mgHA/cm³', ['Not a change'])
    """
    when, values = np.asarray(years, float), np.asarray(value, float)
    there = np.isfinite(when) & np.isfinite(values)
    kept = there & (np.ones(len(when), bool) if counted is None else np.asarray(counted, bool))
    if not kept.any():
        raise ValueError("No measurement with a year counts, so that nothing can be drawn; give at least one.")
    found = change_of(when[kept], values[kept], sd=sd, degrees_of_freedom=degrees_of_freedom)
    when = when - when[there].min()  # from any day to the first visit
    colour, marker = BONE_COLOURS.get(bone, ONE), BONE_MARKERS.get(bone, "o")
    _, axes = plt.subplots(figsize=(6.4, 4.2))
    first = float(values[kept][when[kept] == when[kept].min()].mean())
    margin = 0.06 * max(float(np.ptp(when[there])), 0.5)
    ends = np.array([when[there].min() - margin, when[there].max() + margin])
    if np.isfinite(found.lsc):
        axes.axhspan(
            first - found.lsc, first + found.lsc, color="#E3E3E3", linewidth=0, zorder=0,
            label=f"first visit ± least significant change ({found.lsc:.3g})",
        )  # fmt: skip
    axes.axhline(first, color=GREY, linewidth=1, zorder=1)
    if np.isfinite(found.change):
        middle_x, middle = when[kept].mean(), values[kept].mean()
        steps = np.linspace(when[kept].min(), when[kept].max(), 50)
        named = "line through her scans" + (", 95 % of the noise" if np.isfinite(found.low) else "")
        axes.plot(steps, middle + found.change * (steps - middle_x), color=colour, linewidth=1.6, label=named,
                  linestyle="-" if found.changed else "--")  # fmt: skip
        if np.isfinite(found.low):
            low, high = (middle + slope * (steps - middle_x) for slope in (found.low, found.high))
            shade = np.minimum(low, high), np.maximum(low, high)
            axes.fill_between(steps, *shade, color=colour, alpha=0.14, linewidth=0)
    axes.plot(when[kept], values[kept], marker, color=colour, markersize=7)
    if (~kept & there).any():
        axes.plot(when[~kept], values[~kept], marker, markerfacecolor="none", markeredgecolor=colour, markersize=7,
                  label="another side, scanner or centre, not counted")  # fmt: skip
    shown = ", ".join(part for part in (label, unit) if part)
    axes.set(xlabel="years since the first visit", ylabel=shown, xlim=ends, title=title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, fontsize=9)
    below = -0.25 - 0.075 * len(axes.get_legend_handles_labels()[1])
    axes.text(0.5, below, "\n".join(wrap(found.words(unit), 84)), transform=axes.transAxes, ha="center", va="top",
              fontsize=10, fontweight="bold" if found.changed else "normal")  # fmt: skip
    return axes
