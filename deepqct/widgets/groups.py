"""Number, method and indices of the patient groups by hand; the pictures follow."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from deepqct import plots
from deepqct.groups.find import find_groups, named, verdict, z_means
from deepqct.groups.methods import METHODS
from deepqct.widgets.pictures import figure_bytes, image_widget

_DRAWS = 99  # clouds of the test while someone waits


def group_explorer(
    features: pd.DataFrame,
    *,
    picture: pd.DataFrame,
    max_groups: int = 6,
    seed: int = 0,
    covariates: pd.DataFrame | None = None,
    virtual: bool = False,
) -> widgets.VBox:
    """Choose number, method and indices of the groups, and see what they are worth.

    Parameters
    ----------
    features : DataFrame
        One row a patient, columns such as ``radius Tt.vBMD``.
    picture : DataFrame
        umap_1, umap_2 by participant_id, from `embedding.embed`; it stays while the groups change.
    max_groups : int
        The largest number.
    seed : int
        As of the groups beside it.
    covariates : DataFrame, optional
        What indices are adjusted for.
    virtual : bool
        Mark the figures as of virtual women.

    Returns
    -------
    ipywidgets.VBox
        Its static twin: the figures of 04_clustering.
    """
    parts = {str(column): str(column).partition(" ") for column in features}
    names = list(dict.fromkeys([bone for bone, _, _ in parts.values()] + [symbol for _, _, symbol in parts.values()]))
    number = widgets.Dropdown(
        options=[("as the data say", 0), *((str(k), k) for k in range(1, max_groups + 1))], description="Groups"
    )
    method = widgets.Dropdown(options=METHODS, description="Method")
    chosen = widgets.SelectMultiple(options=["all", *names], value=("all",), rows=8, description="Indices")
    said = widgets.HTML()
    pictures = [image_widget() for _ in range(3)]

    def follow(_: Any = None) -> None:
        said.value = "<p>Looking for groups…</p>"
        try:
            table = named(features, ", ".join(chosen.value) if "all" not in chosen.value else "all")
            found = find_groups(
                table, groups=number.value or None, method=method.value, max_groups=max_groups, seed=seed,
                covariates=covariates, draws=_DRAWS, bootstraps=20,
            )  # fmt: skip
        except ValueError as error:
            said.value = f"<p><strong>{escape(str(error))}</strong></p>"
            return
        coloured = picture.join(found.labels)
        drawn = (
            plots.embedding(coloured, colour="group", label="group"),
            plots.group_heatmap(z_means(found, table, covariates=covariates)),
            plots.numbers_of_groups(found.numbers, chosen=found.n_groups),
        )
        for image, axes in zip(pictures, drawn, strict=True):
            image.value = figure_bytes(axes, virtual=virtual)
        said.value = f"<p>{escape(verdict(found))}</p>"

    for control in (number, method, chosen):
        control.observe(follow, names="value")
    follow()
    row = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
    shown = widgets.HBox(pictures, layout=row)
    return widgets.VBox([widgets.HBox([widgets.VBox([number, method]), chosen]), said, shown])
