"""Figures of the comparison: bones side by side, planned differences, calibration, decisions, the score sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import special

from deepqct.evaluation.discrimination import plain
from deepqct.plots.style import ALARM, BONE_COLOURS, FAMILY_COLOURS, GREY, INK, styled
from deepqct.run_tables import figure_of, margins_in, women_of
from deepqct.terms import BONES, CHANCE, IN_UNITS, KNOWN, SITES, together

_IN_A_ROW = 3  # panels
_ALIKE = 0.05  # range of risks below which a calibration curve would show noise; our choice
# Measures of calibration as its picture calls them.
_BESIDE = {"intercept": "intercept", "mean difference": "difference", "observed / predicted": "O/E", "slope": "slope"}
_VISIBLE = 0.01  # of the longest line of a nomogram; shorter ones are left out
_WEIGHT = {bone: "non-weight-bearing" if bone in SITES["wrist"] else "weight-bearing" for bone in BONES}


@styled
def bones_compared(
    performance: pd.DataFrame, *, models: pd.DataFrame, attainable: Mapping[str, float] | None = None
) -> Axes:
    """Draw the AUC of each bone's network and of its indices with intervals, weight-bearing bones beside the others.

    Of a number it is R², of a time the C-index.

    Parameters
    ----------
    performance : DataFrame
        The out-of-fold rows of one protocol, as in performance.csv.
    models : DataFrame
        As models.csv, read by `deepqct.run_tables.read_models`.
    attainable : mapping of str to float, optional
        On virtual data the best AUC that anyone could reach, by family and bone such as ``DeepQCT radius``.

    Returns
    -------
    Axes
        With one column for each bone.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> axes = dq.plots.bones_compared(performance.query("split == 'out-of-fold'"), models=models)
    >>> [label.get_text().splitlines() for label in axes.get_xticklabels()][::3]
    [['radius', 'non-weight-bearing'], ['fibula', 'weight-bearing']]
    """
    single_bones = models.loc[models["own"] & models["bones"].isin(BONES), ["family", "model", "bones"]]
    figure = figure_of(performance)
    rows = performance[performance["measure"] == figure].merge(single_bones, on=["family", "model"])
    _, axes = plt.subplots(figsize=(8.2, 4.2))
    for number, bone in enumerate(BONES):
        for shift, family, filled in ((-0.14, "DeepQCT", True), (0.14, "pQCT-index", False)):
            x, colour = number + shift, BONE_COLOURS[bone]
            best = (attainable or {}).get(f"{family} {bone}")
            if best is not None:
                axes.plot([x - 0.1, x + 0.1], [best, best], color=GREY, linewidth=2)
            for row in rows[(rows["family"] == family) & (rows["bones"] == bone)].to_dict("records"):
                if pd.isna(row["estimate"]):
                    axes.text(x, CHANCE[figure], "not estimable", rotation=90, ha="center", va="center", fontsize=10)
                    continue
                axes.plot([x, x], [row["low"], row["high"]], color=colour, linewidth=2.2)
                axes.plot(
                    x, row["estimate"], "o", color=colour, markersize=8, markerfacecolor=colour if filled else "white"
                )
    axes.axhline(CHANCE[figure], color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xticks(range(len(BONES)), [f"{bone}\n{_WEIGHT[bone]}" for bone in BONES])
    below = CHANCE[figure] - 0.1
    lowest = min(below, np.floor(rows["low"].min() * 10) / 10) if rows["low"].notna().any() else below
    axes.set(ylim=(max(lowest, -1.0), 1.0), xlim=(-0.5, len(BONES) - 0.5))
    axes.set_ylabel(f"{figure}, 95 % interval\n({women_of(rows)})")
    handles: list[Any] = [
        Line2D([], [], color=INK, marker="o", linestyle="", label="network (DeepQCT)"),
        Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="", label="indices"),
    ]
    if attainable:
        handles.append(Line2D([], [], color=GREY, linewidth=2, label="attainable"))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


@styled
def differences(comparisons: pd.DataFrame) -> Axes:
    """Draw the planned differences in AUC as a forest plot, with the margins where non-inferiority is tested.

    Parameters
    ----------
    comparisons : DataFrame
        The rows of one protocol and split, as in comparisons.csv.

    Returns
    -------
    Axes
        With one row for each question; the numbers stand beside it.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> axes = dq.plots.differences(dq.folder.read_table(run.comparisons).query("split == 'out-of-fold'"))
    >>> [label.get_text() for label in axes.get_yticklabels()][:2]
    ['DeepQCT − pQCT-index', 'pQCT-index − BMD']
    """
    if comparisons.empty:
        _, axes = plt.subplots(figsize=(6, 1.2))
        axes.text(0.5, 0.5, "no planned comparison: it takes two families", ha="center", va="center")
        axes.set_axis_off()
        return axes
    _, axes = plt.subplots(figsize=(9.2, 1.4 + 0.36 * len(comparisons)))
    beside, margins = axes.get_yaxis_transform(), margins_in(comparisons)
    for y, row in enumerate(comparisons.to_dict("records")):
        colour = FAMILY_COLOURS.get(row["family_a"], INK)
        if pd.isna(row["estimate"]):
            axes.text(1.02, y, "not estimable", transform=beside, va="center", fontsize=10)
            continue
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2)
        axes.plot(row["estimate"], y, "o", color=colour, markersize=7)
        text = f"{row['estimate']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})".replace("-", "−")
        caveat = not pd.isna(row["caveat"]) and bool(row["caveat"])
        text += f", {row['caveat']}: not tested" if caveat else f", Holm p {_p(row['p_holm'])}"
        if row["with_margin"]:
            for margin in margins:
                axes.plot([-margin] * 2, [y - 0.35, y + 0.35], color=ALARM, linewidth=1.8)
            shown = [f"{margin:g}" for margin in margins if str(row[f"non_inferior_{margin:g}"]) == "True"]
            text += f", non-inferior by {shown[0]}" if shown else ""
        axes.text(1.02, y, text, transform=beside, va="center", fontsize=10)
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(comparisons)), comparisons["question"])
    widest = (
        max(0.1, np.abs(comparisons[["low", "high"]].to_numpy(float)[comparisons["low"].notna()]).max())
        if comparisons["low"].notna().any()
        else 0.1
    )
    axes.set(ylim=(len(comparisons) - 0.5, -0.7), xlim=(-1.05 * widest, 1.05 * widest))
    axes.set_xlabel(f"difference in {figure_of(comparisons)}, 95 % interval ({women_of(comparisons)})")
    if comparisons["with_margin"].any():
        label = f"margins of non-inferiority: {', '.join(f'{margin:g}' for margin in margins)}"
        mark = Line2D([], [], color=ALARM, marker="|", linestyle="", markersize=12, label=label)
        axes.legend(handles=[mark], loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return axes


@styled
def calibration(curves: pd.DataFrame, performance: pd.DataFrame, *, unit: str = "") -> NDArray[Any]:
    """Draw the observed against the predicted risk of each family, with intercept and slope, over the range of its risks.

    Of a number the observed and predicted means of groups of women are drawn; of a time their cumulative incidence by the
    horizon (Aalen and Johansen) beside their mean risk.

    Where the risks of the middle 95 % of the women differ by less than 0.05, our choice, no curve is drawn.

    Parameters
    ----------
    curves : DataFrame
        As curves.csv.
    performance : DataFrame
        The out-of-fold rows of the same protocol, as in performance.csv.
    unit : str
        Of the outcome, where it is a number and has one.

    Returns
    -------
    array of Axes
        One for each family, which says so where it has no curve; a single one where none has.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance = dq.folder.read_table(run.performance).query("split == 'out-of-fold'")
    >>> axes = dq.plots.calibration(dq.folder.read_table(run.curves), performance)
    >>> [panel.get_title().splitlines() for panel in axes][:2]
    [['Clinical', 'clinical factors'], ['BMD', 'all sites']]
    """
    points = curves[curves["curve"] == "calibration"]
    drawn = list(points["family"].unique())
    judged = performance[performance["measure"] == "slope"] if len(performance) else performance
    without = [family for family in judged.get("family", pd.Series(dtype=str)).unique() if family not in drawn]
    figure, panels = _panels(len(drawn + without) if drawn else 1)
    grouped = "group" in set(points["strategy"]) if len(points) else False
    of_number, measured = figure_of(performance) == "R²", f" ({unit})" if unit else ""
    ends = (points[["x", "low"]].min().min(), points[["x", "high"]].max().max()) if of_number else (0, 1)
    for axes, family in zip(panels, drawn, strict=False):
        rows, colour = points[points["family"] == family], FAMILY_COLOURS.get(str(family), INK)
        model, low, high = rows["model"].iloc[0], rows["x"].min(), rows["x"].max()
        axes.plot(ends, ends, ":", color=GREY, linewidth=1.2)
        measures = performance[(performance["family"] == family) & (performance["model"] == model)].set_index("measure")
        text = [f"{words} {_interval(measures.loc[name])}" for name, words in _BESIDE.items() if name in measures.index]
        if grouped:
            away = [rows["y"] - rows["low"].fillna(rows["y"]), rows["high"].fillna(rows["y"]) - rows["y"]]
            axes.errorbar(rows["x"], rows["y"], yerr=np.clip(away, 0, None), fmt="o", color=colour, linewidth=2)
        elif high - low < _ALIKE:
            text += ["no curve: the risks are too alike"]
        else:
            axes.fill_between(rows["x"], rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0)
            axes.plot(rows["x"], rows["y"], color=colour, linewidth=2)
        behind = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.text(0.03, 0.97, "\n".join(text), transform=axes.transAxes, va="top", fontsize=10, bbox=behind)
        if not of_number:
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
        axes.set_title(f"{family}\n{model}")
        if grouped:
            what = f"predicted{measured}" if of_number else "predicted risk at the horizon"
            events = "" if of_number else f", {int(rows['events'].sum())} events by then"
            axes.set_xlabel(f"{what}\n({int(rows['n'].sum())} women{events})")
        else:
            people = f"{rows['n'].iloc[0]} women, {rows['events'].iloc[0]} events"
            axes.set_xlabel(f"predicted risk, {low:.2f} to {high:.2f}\n({people})")
    for axes, family in zip(panels[len(drawn) :], without, strict=False):
        axes.text(0.5, 0.5, "not estimable", ha="center", va="center")
        axes.set(xticks=(), yticks=(), aspect="equal")
        axes.set_title(f"{family}\n")
    for axes in panels[::_IN_A_ROW]:
        observed = f"observed mean{measured}" if of_number else "observed incidence"
        axes.set_ylabel(f"{observed}, 95 % interval" if grouped else "share with the event, 95 % band")
    return _shown(figure, panels, empty=points.empty)


@styled
def decision_curves(curves: pd.DataFrame) -> NDArray[Any]:
    """Draw the net benefit of treating by each family's risk, beside treating all women and none.

    Parameters
    ----------
    curves : DataFrame
        As curves.csv.

    Returns
    -------
    array of Axes
        One for each family; a single one, which says so, where no family has a curve.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> axes = dq.plots.decision_curves(dq.folder.read_table(run.curves))
    >>> [line.get_label() for line in axes[0].lines]
    ['treat all', 'treat none', 'treat by this risk']
    """
    points = curves[curves["curve"] == "decision"]
    figure, panels = _panels(max(points["family"].nunique(), 1))
    lowest = -0.05
    for axes, (family, rows) in zip(panels, points.groupby("family", sort=False), strict=False):
        colour = FAMILY_COLOURS.get(str(family), INK)
        styles: dict[str, Any] = {
            "treat all": {"color": GREY, "linestyle": "--", "linewidth": 1.4},
            "treat none": {"color": GREY, "linestyle": ":", "linewidth": 1.4},
            "model": {"color": colour, "linewidth": 2},
        }
        for strategy, style in styles.items():
            line = rows[rows["strategy"] == strategy]
            axes.plot(line["x"], line["y"], label="treat by this risk" if strategy == "model" else strategy, **style)
        model = rows[rows["strategy"] == "model"]
        axes.fill_between(model["x"], model["low"], model["high"], color=colour, alpha=0.15, linewidth=0)
        axes.set(ylim=(lowest, max(0.1, 1.1 * float(model["high"].max()))), xlim=(model["x"].min(), model["x"].max()))
        axes.set_title(f"{family}\n{model['model'].iloc[0]}")
        axes.set_xlabel(f"risk from which one treats\n({model['n'].iloc[0]} women, {model['events'].iloc[0]} events)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    if len(points):
        for axes in panels[::_IN_A_ROW]:
            axes.set_ylabel("net benefit a woman, 95 % band")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return _shown(figure, panels, empty=points.empty)


@styled
def nomogram(sheet: pd.DataFrame) -> Axes:
    """Draw the fused model as a score sheet (nomogram): points for each predictor, and the risk for the sum of points.

    Parameters
    ----------
    sheet : DataFrame
        term, coefficient, low, high, as `deepqct.models.score_sheet` returns it.

    Returns
    -------
    Axes
        With one scale below the other, and its name at the left of each.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> rows = [("age", 0.05, 60, 90), ("smoking", 0.4, 0, 1), ("intercept", -4.5, None, None)]
    >>> axes = dq.plots.nomogram(pd.DataFrame(rows, columns=["term", "coefficient", "low", "high"]))
    >>> [text.get_text() for text in axes.texts if text.get_position()[0] < 0]
    ['points', 'age (years)', 'smoking', 'sum of points', 'risk']
    """
    intercept = float(sheet.loc[sheet["term"] == "intercept", "coefficient"].sum())
    terms = sheet[sheet["term"] != "intercept"].reset_index(drop=True)
    reach = terms["coefficient"].abs() * (terms["high"] - terms["low"])
    seen = reach > _VISIBLE * reach.max()
    # A predictor that is left out adds to every risk what the middle of its range adds.
    intercept += float((terms["coefficient"] * (terms["low"] + terms["high"]) / 2)[~seen].sum())
    terms, reach = terms[seen], reach[seen]
    unit = float(reach.max()) / 100 or 1.0
    total = float(reach.sum()) / unit
    base = intercept + float(
        (terms["coefficient"] * np.where(terms["coefficient"] > 0, terms["low"], terms["high"])).sum()
    )
    _, axes = plt.subplots(figsize=(9.2, 1.6 + 0.55 * (len(terms) + 3)))
    _scale(axes, 0, np.arange(0.0, 101, 10), np.arange(0, 101, 10), "points")
    for y, term in enumerate(terms.to_dict("records"), start=1):
        length = abs(term["coefficient"]) * (term["high"] - term["low"]) / unit
        if (term["low"], term["high"]) == (0, 1) and not term["term"].endswith(" score"):
            values = np.array([0.0, 1.0])
        else:
            values = _ticks(term["low"], term["high"], most=max(1, min(6, int(length // 7))))
        zero = term["low"] if term["coefficient"] > 0 else term["high"]
        _scale(axes, y, abs(term["coefficient"]) * np.abs(values - zero) / unit, values, _named(term["term"]))
    last = len(terms) + 1
    sums = _ticks(0, total)
    _scale(axes, last, sums / total * 100, sums, "sum of points")
    risks = _risks(*special.expit([base, base + unit * total]))
    _scale(axes, last + 1, (special.logit(risks) - base) / unit / total * 100, risks, "risk")
    axes.set(xlim=(-2, 102), ylim=(last + 1.6, -0.8))
    axes.set_axis_off()
    return axes


def _scale(axes: Axes, y: float, places: NDArray[np.floating], values: NDArray[Any], name: str) -> None:
    """Draw one scale of a nomogram with its name at the left."""
    if len(places):
        axes.plot([places.min(), places.max()], [y, y], color=INK, linewidth=1.2)
    last = -np.inf
    for place, value in sorted(zip(places, values, strict=True)):
        axes.plot([place, place], [y, y + 0.12], color=INK, linewidth=1.2)
        if place - last > 3.2:
            axes.text(place, y + 0.16, f"{value:g}", ha="center", va="top", fontsize=10)
            last = place
    axes.text(-4, y, name, ha="right", va="center", fontsize=11)


def _risks(low: float, high: float) -> NDArray[np.floating]:
    """The risks to write on a scale from `low` to `high`: the usual ones, or closer ones where these are too few."""
    usual = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
    inside = usual[(usual >= low) & (usual <= high)]
    return inside if len(inside) > 2 else _ticks(low, high, most=6)


def _named(term: str) -> str:
    """The name of a predictor in words, with its unit."""
    name, _, _, unit, _ = KNOWN.get(
        term, (term.replace("_", " "), 0, 0, "logit" if term.endswith(" score") else "", "")
    )
    return f"{name} ({unit})" if unit else name


def _ticks(low: float, high: float, *, most: int = 10) -> NDArray[np.floating]:
    """Round values between `low` and `high`, about `most` of them."""
    ticks = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high), dtype=float)
    ticks[np.abs(ticks) < 1e-9 * max(abs(low), abs(high))] = 0.0
    return np.asarray(ticks[(ticks >= low - 1e-9) & (ticks <= high + 1e-9)])


def _panels(families: int) -> tuple[Any, list[Axes]]:
    """A figure with one panel for each family, three in a row, so that its letters stay readable in a column of text."""
    columns, rows = min(families, _IN_A_ROW), -(-families // _IN_A_ROW)
    figure, grid = plt.subplots(rows, columns, figsize=(0.9 + 2.9 * columns, 3.2 * rows + 0.4), squeeze=False)
    for axes in grid.ravel()[families:]:
        axes.remove()
    return figure, list(grid.ravel()[:families])


def _shown(figure: Any, panels: list[Axes], *, empty: bool) -> NDArray[Any]:
    """Return the panels as an array; where nothing is estimable, the first one says so."""
    if empty:
        panels[0].text(0.5, 0.5, "not estimable", ha="center", va="center")
        panels[0].set_axis_off()
        figure.set_size_inches(5, 1.2)
    return np.array(panels, dtype=object)


def _interval(row: Any) -> str:
    """An estimate of performance.csv with its interval, in words; its name is the measure."""
    if pd.isna(row["estimate"]):
        return "not estimable"
    figures = row["estimate"], row["low"], row["high"]
    value, low, high = together(*figures) if row.name in IN_UNITS else map(plain, figures)
    return f"{value} ({low} to {high})"


def _p(value: float) -> str:
    """A p value with two or three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
