"""Precision of indices from women who were scanned several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from deepqct.plots.style import BONE_COLOURS, BONE_MARKERS, styled


@styled
def precision_errors(table: pd.DataFrame, *, names: Sequence[str] | None = None) -> NDArray[Any]:
    """Draw the precision error of each index by bone, as a percentage of its value.

    Parameters
    ----------
    table : DataFrame
        From `deepqct.curation.precision_table`: bone, symbol, rms_cv, rms_cv_low, rms_cv_high.
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
    kept = table[table["rms_cv"] > 0]
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
    panel.grid(axis="x", which="major", color="#D9D9D9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.set_xlabel("RMS-CV, %")
    if bones:
        figure.legend(loc="outside upper right", ncols=len(bones))
    return np.array([panel])
