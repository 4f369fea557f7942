"""Try other numbers, methods and indices for the patient groups by hand; the pictures follow."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from deepqct import plots
from deepqct.groups.find import find_groups, verdict, z_means
from deepqct.groups.methods import METHODS
from deepqct.groups.space import named
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import Faults, figure_bytes

_DRAWS = 99  # random clouds of the test; few, since someone waits


def group_explorer(
    features: pd.DataFrame,
    *,
    picture: pd.DataFrame,
    max_groups: int = 6,
    seed: int = 0,
    covariates: pd.DataFrame | None = None,
    virtual: bool = False,
) -> widgets.VBox:
    """Return controls for the number, method and indices of the groups, with pictures that follow each choice.

    Parameters
    ----------
    features : DataFrame
        One row per patient, indexed by participant_id, columns such as ``radius Tt.vBMD``.
    picture : DataFrame
        Columns umap_1 and umap_2 by participant_id, from `groups.embed`; it stays the same while the groups change.
    max_groups : int
        The largest number of groups that can be chosen.
    seed : int
        Seed of the search; take that of the notebook, so that the same choices give the same groups.
    covariates : DataFrame, optional
        Columns that the indices are adjusted for, by participant_id.
    virtual : bool
        Whether the figures are marked as of virtual women.

    Returns
    -------
    ipywidgets.VBox
        The controls, a sentence about the groups, and three figures; 04_clustering shows these figures too.

    Examples
    --------
    >>> import deepqct as dq
    >>> women = dq.virtual.draw_women(40, seed=1).set_index("participant_id")
    >>> places = women[["age", "bmi"]].set_axis(["umap_1", "umap_2"], axis=1)  # in place of those by dq.groups.embed
    >>> features = women[["radius Ct.Th", "radius Tb.N", "tibia Tb.N"]]
    >>> box = dq.widgets.group_explorer(features, picture=places, max_groups=2)
    >>> box.children[0].children[1].options
    ('all', 'radius', 'tibia', 'Ct.Th', 'Tb.N')
    """
    pairs = [str(column).partition(" ") for column in features]
    names = list(dict.fromkeys([bone for bone, _, _ in pairs] + [symbol for _, _, symbol in pairs]))
    number = widgets.Dropdown(
        options=[("as the data say", 0), *((str(k), k) for k in range(1, max_groups + 1))], description="Groups"
    )
    method = widgets.Dropdown(options=METHODS, description="Method")
    chosen = widgets.SelectMultiple(options=["all", *names], value=("all",), rows=8, description="Indices")
    said = widgets.HTML()
    told_of = (
        "The women by their indices, coloured by group",
        "Mean indices of the groups",
        "How well each number of groups fits",
    )
    pictures = [Figure(alt=words) for words in told_of]

    def follow(_: Any = None) -> None:
        said.value = "<p>Looking for groups…</p>"
        try:
            table = named(features, ", ".join(chosen.value) if "all" not in chosen.value else "all")
            groups = find_groups(
                table, groups=number.value or None, method=method.value, max_groups=max_groups, seed=seed,
                covariates=covariates, draws=_DRAWS, bootstraps=20,
            )  # fmt: skip
        except ValueError as error:
            said.value = f"<p><strong>{escape(str(error))}</strong></p>"
            return
        coloured = picture.join(groups.labels)
        drawn = (
            plots.embedding(coloured, colour="group", label="group"),
            plots.group_heatmap(z_means(groups, table, covariates=covariates)),
            plots.numbers_of_groups(groups.numbers, chosen=groups.n_groups),
        )
        for image, axes in zip(pictures, drawn, strict=True):
            image.value = figure_bytes(axes, virtual=virtual)
        said.value = f"<p>{escape(verdict(groups))}</p>"

    told = Faults(said).told
    for control in (number, method, chosen):
        control.observe(told(follow), names="value")
    follow()
    row = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
    shown = widgets.HBox(pictures, layout=row)
    return widgets.VBox([widgets.HBox([widgets.VBox([number, method]), chosen]), said, shown])
