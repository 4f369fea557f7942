"""The figure of a planned study: widths of intervals and power, by the number of women."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation.planning import ENOUGH, Study, over_numbers
from deepqct.plots.style import FAINT, GREY, OTHER_COLOURS, styled

_LINES = ("-", "--", ":", "-.")


@styled
def planned_study(study: Study, *, numbers: ArrayLike | None = None) -> NDArray[Any]:
    """Draw how widths of intervals shrink and how power grows with the number of women of a planned study.

    Parameters
    ----------
    study : Study
        The planned study; its number of women is marked.
    numbers : (k,) int, optional
        Numbers of women, as in `deepqct.evaluation.over_numbers`.

    Returns
    -------
    (2,) array of Axes
        Widths of 95 % intervals, power.

    Examples
    --------
    >>> import deepqct as dq
    >>> study = dq.evaluation.Study(n=216, prevalence=0.33, auc=0.8)
    >>> axes = dq.plots.planned_study(study, numbers=[50, 100, 200, 400, 800])
    >>> axes[0].get_ylabel(), axes[1].get_ylabel()
    ('width of the 95 % interval', 'power')
    """
    table = over_numbers(study, numbers)
    here = over_numbers(study, [study.n]).iloc[0]
    shown = {
        "AUC": ("auc_width", OTHER_COLOURS[0], "-"),
        "difference of two AUCs": ("difference_width", OTHER_COLOURS[1], "--"),
    }
    powers = {f"better by {study.gain:g}": ("superior", OTHER_COLOURS[0], "-")}
    for k, margin in enumerate(study.margins):
        colour, line = OTHER_COLOURS[1 + k % (len(OTHER_COLOURS) - 1)], _LINES[1 + k % (len(_LINES) - 1)]
        powers[f"not worse by {margin:g}"] = (f"non_inferior_{margin:g}", colour, line)
    # A layout that is fixed, since a computed one takes most of the time in which a slider waits.
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 5.0), layout="none")
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.34, top=0.93, wspace=0.2)
    for panel, drawn, label in ((axes[0], shown, "width of the 95 % interval"), (axes[1], powers, "power")):
        panel.axvline(study.n, color=FAINT, linewidth=1, zorder=0)
        for name, (column, colour, line) in drawn.items():
            panel.plot(table["n"], table[column], line, color=colour, linewidth=2, label=f"{name}: {here[column]:.2f}")
            panel.plot([study.n], [here[column]], "o", color=colour, markersize=6)
        _numbered(panel, table["n"].to_numpy())
        panel.set_ylabel(label)
        panel.legend(
            title=f"at n {study.n:,}, {study.events:,} events",
            loc="upper left",
            bbox_to_anchor=(0, -0.19),
            alignment="left",
            borderaxespad=0,
        )
    axes[0].set_ylim(0, None)
    axes[1].set(ylim=(-0.02, 1.02), yticks=(0, 0.2, 0.4, 0.6, 0.8, 1))
    axes[1].axhline(ENOUGH, color=GREY, linewidth=1, linestyle=":", zorder=0)
    figure.suptitle(
        f"expected: AUC {study.auc:g}, outcome in {100 * study.prevalence:g} %, scores correlated at {study.correlation:g}"
        + (f"; {study.networks} of 2 from networks, trained {study.trainings}×" if study.networks else ""),
        fontsize=11,
    )
    return axes


def _numbered(axes: Axes, numbers: NDArray[Any]) -> None:
    """Give the axis of the number of women a log scale with ticks that are plain numbers."""
    low, high = numbers.min(), numbers.max()
    decades = 10.0 ** np.arange(0, 7)
    ticks = [at for at in np.outer(decades, (1, 2, 5)).ravel() if low <= at <= high]
    axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_xlabel("women in the study")
