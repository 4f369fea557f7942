"""Figures of the networks: how they learn, what they score, where they look, and what they score without the bone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepqct.evaluation.discrimination import interval, plain
from deepqct.plots.style import ALARM, BONE_COLOURS, GREY, INK, ONE, dots, outcome_legend, styled
from deepqct.run_tables import figure_of, women_of
from deepqct.terms import CHANCE, NUMBER, TIME, YES_NO

_HEAT = "inferno"
# What a network's score is, what its loss is, and how women are told apart, by the kind of the outcome.
_SCORE = {YES_NO: "logit", NUMBER: "SD of the number", TIME: "log hazard"}
_LOSS = {YES_NO: "cross-entropy (nats)", NUMBER: "squared error (SD²)", TIME: "minus the log partial likelihood (nats)"}
_SIDES = {YES_NO: ("no event", "event"), NUMBER: ("lower half", "upper half"), TIME: ("no event", "event")}


@styled
def saliency(
    explained: Sequence[Any], *, most: int = 2, window: tuple[float, float] = (-400, 1400), kind: str = YES_NO
) -> NDArray[Any]:
    """Draw the held-out women of highest and lowest score: each bone, and beside it what her score rests on.

    Parameters
    ----------
    explained : sequence of deepqct.networks.Explained
        The women, as `deepqct.networks.explain` returns them.
    most : int
        The largest number of women in each of the two rows.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    array of Axes
        Two for each woman, the bone and the saliency; first the row of the highest scores.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> inside = np.pad(np.ones((6, 6), bool), 1)
    >>> women = [dq.networks.Explained(f"sub-{i}", i, 2.0 * i, 800.0 * inside, inside, inside / 36) for i in (0, 1)]
    >>> [axes.get_ylabel() for axes in dq.plots.saliency(women)]
    ['highest scores', '', 'lowest scores', '']
    """
    ranked = sorted(explained, key=lambda woman: woman.score)
    most = max(min(most, len(ranked) // 2), 1)
    rows = {"highest scores": ranked[::-1][:most], "lowest scores": ranked[:most]}
    figure, grid = plt.subplots(2, 2 * most, figsize=(2.1 * 2 * most, 5.2), squeeze=False)
    highest = max(float(woman.heat.max() * woman.heat.size) for women in rows.values() for woman in women)
    shown: Any = None
    for line, (title, women) in zip(grid, rows.items(), strict=True):
        for number, woman in enumerate(women):
            shown = _bone_and_heat(
                woman, line[2 * number], line[2 * number + 1], window=window, highest=highest, kind=kind
            )
        line[0].set_ylabel(title)
    figure.colorbar(shown, ax=grid.ravel().tolist(), shrink=0.7, label="saliency (1: spread evenly)")
    return grid.ravel()


@styled
def saliency_by_bone(
    explained: Mapping[str, Sequence[Any]], *, window: tuple[float, float] = (-400, 1400), kind: str = YES_NO
) -> NDArray[Any]:
    """Draw what the score of the held-out woman of highest, and of lowest, score rests on: a row for each bone.

    Parameters
    ----------
    explained : mapping of str to sequence of deepqct.networks.Explained
        Some women of each bone, as `deepqct.networks.load_extremes` returns them.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    array of Axes
        Four for each bone: the bone and its saliency, of the highest score and of the lowest.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> inside = np.pad(np.ones((6, 6), bool), 1)
    >>> women = [dq.networks.Explained(f"sub-{i}", i, 2.0 * i, 800.0 * inside, inside, inside / 36) for i in (0, 1)]
    >>> axes = dq.plots.saliency_by_bone({"radius": women})
    >>> axes[0].get_ylabel(), axes[2].get_title()
    ('radius', 'lowest score: sub-0')
    """
    figure, grid = plt.subplots(
        len(explained), 4, figsize=(8.8, 1.9 * len(explained) + 0.4), squeeze=False, layout="compressed"
    )
    for row, (bone, women) in zip(grid, explained.items(), strict=True):
        ranked = sorted(women, key=lambda woman: woman.score)
        ends = {"highest": ranked[-1], "lowest": ranked[0]}
        highest = max(float(woman.heat.max() * woman.heat.size) for woman in ends.values())
        for place, (end, woman) in zip((0, 2), ends.items(), strict=True):
            shown = _bone_and_heat(
                woman, row[place], row[place + 1], window=window, highest=max(highest, 1.0), kind=kind
            )
            row[place].set_title(f"{end} score: {woman.participant_id}", fontsize=11)
            row[place + 1].set_title(_SIDES[kind][int(woman.outcome)], fontsize=11)
        row[0].set_ylabel(bone)
        figure.colorbar(shown, ax=row.tolist(), shrink=0.9, aspect=10, pad=0.01).set_label("saliency")
    return grid.ravel()


@styled
def one_saliency(one: Any, *, window: tuple[float, float] = (-400, 1400), kind: str = YES_NO) -> NDArray[Any]:
    """Draw one held-out woman: her bone, and beside it what her score rests on.

    Parameters
    ----------
    one : deepqct.networks.Explained
        The woman, as `deepqct.networks.load_explained` returns her.
    window : (low, high), mgHA/cm³
        The densities that are drawn black and white.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    array of Axes
        The bone, and the bone under its saliency.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> inside = np.pad(np.ones((6, 6), bool), 1)
    >>> woman = dq.networks.Explained("sub-0001", 1, 2.0, 800.0 * inside, inside, inside / 36)
    >>> dq.plots.one_saliency(woman)[0].get_title().splitlines()
    ['sub-0001', 'event, logit 2.0']
    """
    figure, grid = plt.subplots(1, 2, figsize=(6.2, 3.3))
    highest = max(float(one.heat.max() * one.heat.size), 1.0)
    shown = _bone_and_heat(one, *grid, window=window, highest=highest, kind=kind)
    figure.colorbar(shown, ax=grid.tolist(), shrink=0.8, label="saliency\n(1: spread evenly)")
    return np.array(grid)


def _bone_and_heat(
    woman: Any, plain: Axes, warm: Axes, *, window: tuple[float, float], highest: float, kind: str
) -> Any:
    """Draw a woman's bone, and beside it the same under its saliency; returns the image for a colour bar."""
    for axes in (plain, warm):
        axes.imshow(woman.density, cmap="gray", vmin=window[0], vmax=window[1])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    shown = warm.imshow(woman.heat * woman.heat.size, cmap=_HEAT, alpha=0.6, vmin=0, vmax=highest)
    warm.contour(woman.inside.astype(float), levels=[0.5], colors="white", linewidths=0.8)
    score = f"{woman.score:.1f}".replace("-", "−")
    named = {YES_NO: f"logit {score}", NUMBER: f"{score} SD", TIME: f"log hazard {score}"}[kind]
    plain.set_title(f"{woman.participant_id}\n{_SIDES[kind][int(woman.outcome)]}, {named}", fontsize=11)
    return shown


@styled
def mean_saliency(
    maps: Mapping[int, NDArray[np.floating]], *, counts: Mapping[int, int], kind: str = YES_NO
) -> NDArray[Any]:
    """Draw the mean saliency of the women with and without the event, on bones brought to one round shape.

    Directions are those of the picture of a right limb, as left ones are mirrored. Which of them is radial or dorsal no
    file says: slices may be seen from either end, and a limb may lie with either side up.

    Parameters
    ----------
    maps : mapping of 0, 1 to (angles, radii) array
        The mean map of each outcome, as `deepqct.networks.mean_maps` returns them.
    counts : mapping of 0, 1 to int
        The number of women behind each map.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    array of Axes
        One for each outcome.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> axes = dq.plots.mean_saliency({0: np.ones((8, 3)), 1: np.ones((8, 3))}, counts={0: 4, 1: 2})
    >>> [panel.get_title() for panel in axes]
    ['no event (4 women)', 'event (2 women)']
    """
    highest = max(float(np.nanmax(heat)) for heat in maps.values())
    figure, grid = plt.subplots(
        1, len(maps), figsize=(4.3 * len(maps), 4.4), subplot_kw={"projection": "polar"}, squeeze=False
    )
    shown: Any = None
    for axes, (outcome, heat) in zip(grid.flat, maps.items(), strict=True):
        angle = np.linspace(0, 2 * np.pi, heat.shape[0] + 1)
        radius = np.linspace(0, 1, heat.shape[1] + 1)
        # Angles of a picture run clockwise, since its rows run downwards.
        shown = axes.pcolormesh(-angle, radius, heat.T, cmap=_HEAT, vmin=0, vmax=highest)
        axes.grid(visible=False)
        axes.set_xticks(np.radians([0, 90, 180, 270]), ["right", "up", "left", "down"])
        axes.set_yticks([])
        axes.set_title(f"{_SIDES[kind][outcome]} ({counts[outcome]} women)")
    figure.colorbar(shown, ax=grid.ravel().tolist(), shrink=0.7, label="mean saliency (1: spread evenly)")
    return grid.ravel()


@styled
def occlusion(table: pd.DataFrame, *, bone: str) -> NDArray[Any]:
    """Draw how much of the AUC is lost, and how far the scores move, when a part of the bone is covered.

    Of a number it is R², of a time the C-index.

    Parameters
    ----------
    table : DataFrame
        One row for each covered part, as `deepqct.networks.occlusion` returns it.
    bone : str
        radius, ulna, tibia or fibula; sets the colour.

    Returns
    -------
    array of Axes
        The loss with its interval, and the mean change of the score.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> rows = {"part": ["nothing", "cortex"], "area": [0, 0.3], "moved": [0, 0.4], "lost": [0, 0.1]}
    >>> table = pd.DataFrame(rows | {"lost_low": [0, 0.02], "lost_high": [0, 0.18], "n": 60, "events": 20})
    >>> [label.get_text() for label in dq.plots.occlusion(table, bone="radius")[0].get_yticklabels()]
    ['cortex (30%)']
    """
    parts = table[table["part"] != "nothing"]
    y = np.arange(len(parts))
    _, grid = plt.subplots(1, 2, figsize=(9, 0.9 + 0.42 * len(parts)), sharey=True)
    colour = BONE_COLOURS.get(bone, INK)
    loses, moves = grid
    loses.hlines(y, parts["lost_low"], parts["lost_high"], color=colour, linewidth=2.2)
    loses.plot(parts["lost"], y, "o", color=colour, markersize=7)
    loses.axvline(0, color=GREY, linewidth=1.2, linestyle=":")
    loses.set(xlabel=f"{figure_of(table)} lost, 95 % interval ({women_of(parts)})", ylim=(len(parts) - 0.5, -0.5))
    loses.set_yticks(y, [f"{name} ({area:.0%})" for name, area in zip(parts["part"], parts["area"], strict=True)])
    moves.barh(y, parts["moved"], color=colour, height=0.5)
    moves.set_xlabel("mean change of the score (logits)")
    for axes in grid:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    return np.array(grid)


@styled
def controls(table: pd.DataFrame) -> Axes:
    """Draw the AUC of the bone and of each control with its interval, in red where a control should fail and does not.

    Of a number it is R², of a time the C-index.

    Parameters
    ----------
    table : DataFrame
        One row for the bone itself and for each control, as `deepqct.networks.run_controls` returns it.

    Returns
    -------
    Axes
        With one row for each row of the table; the numbers stand beside it.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> rows = {"shown": ["the bone itself", "images of noise"], "estimate": [0.8, 0.66], "at_chance": [False, False]}
    >>> table = pd.DataFrame(rows | {"bone": "radius", "n": 60, "events": 20, "must_fail": [False, True]})
    >>> axes = dq.plots.controls(table.assign(low=table["estimate"] - 0.1, high=table["estimate"] + 0.1))
    >>> [text.get_text() for text in axes.texts]
    ['0.80 (0.70–0.90)', '0.66 (0.56–0.76), not at chance']
    """
    _, axes = plt.subplots(figsize=(8.2, 1.1 + 0.42 * len(table)))
    for y, row in enumerate(table.to_dict("records")):
        leak = row["must_fail"] and pd.notna(row["at_chance"]) and not row["at_chance"]
        colour = ALARM if leak else BONE_COLOURS.get(row["bone"], INK)
        if pd.isna(row["estimate"]):
            text = "not estimable"
        else:
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2)
            axes.plot(row["estimate"], y, "o", color=colour, markersize=7)
            text = f"{plain(row['estimate'])} ({interval(row['low'], row['high'])})" + (
                ", not at chance" if leak else ""
            )
        axes.text(
            1.02, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=10, color=ALARM if leak else INK
        )
    figure = figure_of(table)
    axes.axvline(CHANCE[figure], color=GREY, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(table)), table["shown"])
    axes.set(xlim=(min(CHANCE[figure] - 0.3, table["low"].min()), 1.0), ylim=(len(table) - 0.5, -0.5))
    axes.set_xlabel(f"out-of-fold {figure} with 95 % interval ({women_of(table)})")
    return axes


@styled
def loss_curves(history: pd.DataFrame, *, kind: str = YES_NO) -> NDArray[Any]:
    """Draw the training and validation loss by epoch, with one line for each fold and their mean in bold.

    Parameters
    ----------
    history : DataFrame
        protocol, repeat, fold, epoch, train_loss, valid_loss, as `deepqct.networks.training_history` returns it.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome: the loss is the cross-entropy, the squared error in SDs, or Cox's partial likelihood.

    Returns
    -------
    array of Axes
        One for each protocol.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> losses = {"epoch": [1, 2], "train_loss": [0.7, 0.6], "valid_loss": [0.7, 0.65]}
    >>> axes = dq.plots.loss_curves(pd.DataFrame(losses | {"protocol": "all", "repeat": 0, "fold": 0}))
    >>> axes[0].get_title()
    "protocol 'all', 1 folds"
    """
    protocols = list(history["protocol"].unique())
    figure, grid = plt.subplots(1, len(protocols), figsize=(3 + 3.6 * len(protocols), 3.8), sharey=True, squeeze=False)
    lines: dict[str, Any] = {"train_loss": ("training", GREY, "--"), "valid_loss": ("validation", ONE, "-")}
    for axes, protocol in zip(grid.flat, protocols, strict=True):
        losses = history[history["protocol"] == protocol]
        folds = losses.groupby(["repeat", "fold"])
        for column, (_, colour, dash) in lines.items():
            for _, fold in folds:
                axes.plot(
                    fold["epoch"], fold[column], dash, color=colour, linewidth=1, alpha=0.6, marker="o", markersize=3
                )
            mean = losses.groupby("epoch")[column].mean()
            axes.plot(mean.index, mean, dash, color=colour, linewidth=2.6)
        axes.set(xlabel="epoch", title=f"protocol '{protocol}', {folds.ngroups} folds")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    grid[0, 0].set_ylabel(_LOSS[kind])
    handles = [Line2D([], [], color=colour, linestyle=dash, linewidth=2.6) for _, colour, dash in lines.values()]
    figure.legend(
        handles, [f"{name}, mean in bold" for name, _, _ in lines.values()], loc="outside upper center", ncols=2
    )
    return grid.ravel()


@styled
def score_distribution(scores: pd.DataFrame, *, bone: str, kind: str = YES_NO) -> Axes:
    """Draw the scores of one bone by outcome, with one dot for each woman.

    Parameters
    ----------
    scores : DataFrame
        participant_id, outcome (0 or 1), score (a logit); a woman's repeats are averaged.
    bone : str
        radius, ulna, tibia or fibula; sets the colour.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    Axes
        With one row for each outcome; the legend has the number of women.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scores = pd.DataFrame({"participant_id": ["a", "b", "c"], "outcome": [0, 0, 1], "score": [-0.9, 0.2, 0.6]})
    >>> axes = dq.plots.score_distribution(scores, bone="radius")
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['no event (2 of 3)', 'event (1 of 3)', 'median']
    """
    women = scores.groupby("participant_id", as_index=False)[["outcome", "score"]].mean()
    _, axes = plt.subplots(figsize=(7, 3.2))
    colour = BONE_COLOURS.get(bone, INK)
    for event in (0, 1):
        logits = women.loc[women["outcome"] == event, "score"]
        dots(axes, logits, at=event, colour=colour, filled=event == 1, reach=0.36, size=34, flat=True)
    counts = women["outcome"].map({0: "no", 1: "yes"}).value_counts()
    axes.set(yticks=(0, 1), yticklabels=_SIDES[kind], ylim=(-0.6, 1.6), xlabel=f"score of the {bone} ({_SCORE[kind]})")
    handles, labels = outcome_legend(counts, _SIDES[kind][1], without=_SIDES[kind][0], colour=colour)
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return axes


@styled
def scores_by_bone(scores: Mapping[str, pd.DataFrame], *, kind: str = YES_NO) -> NDArray[Any]:
    """Draw the scores of each bone's networks by outcome, with one dot for each woman: a panel for each bone.

    Parameters
    ----------
    scores : mapping of str to DataFrame
        By bone participant_id, outcome (0 or 1) and score (a logit); a woman's repeats are averaged.
    kind : {"yes or no", "number", "time"}
        The kind of the outcome, for the words; women are parted at the median of a number.

    Returns
    -------
    array of Axes
        One for each bone; the legend has the number of women. Without any bone a single one, which says so.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scores = pd.DataFrame({"participant_id": ["a", "b", "c"], "outcome": [0, 0, 1], "score": [-0.9, 0.2, 0.6]})
    >>> axes = dq.plots.scores_by_bone({"radius": scores, "tibia": scores})
    >>> [panel.get_title() for panel in axes], axes[0].get_ylabel()
    (['radius', 'tibia'], 'out-of-fold score (logit)')
    """
    if not scores:
        _, axes = plt.subplots(figsize=(5, 1.2))
        axes.text(0.5, 0.5, "no bone has scores of networks", ha="center", va="center")
        axes.set_axis_off()
        return np.array([axes])
    figure, grid = plt.subplots(1, len(scores), figsize=(2.2 * len(scores) + 0.8, 3.6), squeeze=False)
    counts = pd.Series(dtype=int)
    for axes, (bone, table) in zip(grid.flat, scores.items(), strict=True):
        women = table.groupby("participant_id", as_index=False)[["outcome", "score"]].mean()
        for event in (0, 1):
            logits = women.loc[women["outcome"] == event, "score"]
            dots(axes, logits, at=event, colour=BONE_COLOURS[bone], filled=event == 1, reach=0.36, size=26)
        axes.set(xticks=(0, 1), xticklabels=_SIDES[kind], xlim=(-0.6, 1.6), title=bone)
        counts = women["outcome"].map({0: "no", 1: "yes"}).value_counts()
    grid[0, 0].set_ylabel(f"out-of-fold score ({_SCORE[kind]})")
    handles, labels = outcome_legend(counts, _SIDES[kind][1], without=_SIDES[kind][0])
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return grid.ravel()
