"""Explore a cohort by hand: women in a list and two pictures, one or two of them beside these, and a threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from PIL import Image

from deepqct import plots
from deepqct.exploration import at_threshold, models_of, reference_of, who_changes, women
from deepqct.folder import Run, write_table
from deepqct.plots.style import mark_virtual
from deepqct.plots.women import map_points
from deepqct.run_tables import run_outcome, virtual_of
from deepqct.terms import BONES
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import Faults, picture_bytes
from deepqct.widgets.slices import link
from deepqct.widgets.woman import OneWoman

_DPI = 74  # so that a woman has room beside the pictures on a screen 1366 pixels wide
_NOBODY = "nobody"
_LISTED = 12  # at most so many women are listed by name
_LINES = "font-size:12px;line-height:1.3"


class Explorer(widgets.VBox):
    """A widget that shows all women of a run in a list and two pictures, and one of them, or two, beside these.

    A click on a woman, or the arrow keys in the list, shows her; the mouse over a point says who it is; a box dragged
    around women selects them, and the selection can be saved. Two women are shown side by side, and their slices move
    together.

    Parameters
    ----------
    run : Run
        A run after 04_clustering.
    threshold : float
        The risk from which a woman is called. Women who change side when it is moved are counted against this one.
    patient : str, optional
        participant_id of the woman who is shown first; the first of the table by default.
    bone : {"radius", "ulna", "tibia", "fibula"}
        The bone that is shown first.
    size : int
        Pixels along the longer edge of a slice.

    Examples
    --------
    >>> import deepqct as dq
    >>> explorer = dq.widgets.Explorer(dq.run.example_run(), patient="sub-0002", bone="tibia")
    >>> explorer.select(["sub-0001", "sub-0002", "sub-0003"])
    >>> explorer.patient.value, len(explorer.table), "3 selected, 1 with fracture" in explorer.selected.value
    ('sub-0002', 12, True)
    >>> explorer.search.value = "12"
    >>> [name for _, name in explorer.patient.options]  # she who is shown stays
    ['sub-0002', 'sub-0012']
    """

    def __init__(
        self, run: Run, *, threshold: float = 0.5, patient: str | None = None, bone: str = "radius", size: int = 232
    ) -> None:
        self._run, self._before, self._still = run, threshold, False
        self._virtual, self._outcome = bool(virtual_of(run)), str(run_outcome(run).name)
        self._reference = reference_of(run)
        self.selection: list[str] = []
        self._make_controls(threshold=threshold, bone=bone)
        self.table = self._women()
        first = patient if patient in self.table.index else self.table.index[0]
        self.patient.options = self._listed(first)
        self.patient.value = first
        look: dict[str, Any] = {"reference": self._reference, "virtual": self._virtual, "size": size}
        self.woman, self.other = (OneWoman(run, **look) for _ in range(2))
        self._linked = False
        told = Faults(self.selected).told
        self.pictures = WomenPictures(pick=told(self._pick), select=told(self.select))
        for control, act in (
            (self.model, self._change_model),
            (self.threshold, self._change_threshold),
            (self.search, self._search),
            (self.patient, self._show),
            (self.beside, self._show_other),
            (self.bone, self._show_bones),
        ):
            control.observe(told(act), names="value")
        self.save.on_click(told(self._save))
        # What is written in it moves nothing else; beside JupyterLab's side bar it is smaller.
        still = widgets.Layout(flex="0 1 646px", min_width="330px", overflow="hidden")
        self._women_place = widgets.VBox([self.pictures.image, self.figures, self.selected], layout=still)
        narrow = widgets.Layout(flex="0 0 auto", width="168px")
        self._list_place = widgets.VBox([self.search, self.patient, self.beside, self.save], layout=narrow)
        head = widgets.HBox([self.model, self.threshold, self.bone], layout=widgets.Layout(flex_flow="row wrap"))
        self._main = widgets.HBox(layout=widgets.Layout(align_items="flex-start"))
        super().__init__([head, self._main])
        self._change_model()

    def _make_controls(self, *, threshold: float, bone: str) -> None:
        pairs = [(f"{family}: {model}", (family, model)) for family, model in models_of(self._run)]
        self.model = widgets.Dropdown(options=pairs, description="Model", layout=widgets.Layout(width="24em"))
        self.threshold = widgets.FloatSlider(
            value=threshold, min=0.01, max=0.99, step=0.01, description="Threshold", continuous_update=False
        )
        wide = widgets.Layout(width="160px")
        self.search = widgets.Text(placeholder="search a woman", layout=wide)
        self.patient = widgets.Select(layout=widgets.Layout(width="160px", height="max(260px, calc(100vh - 340px))"))
        self.beside = widgets.Dropdown(options=[_NOBODY], layout=wide)
        self.beside.description_tooltip = "A second woman, beside her"
        self.bone = widgets.ToggleButtons(options=BONES, value=bone)
        self.bone.style.button_width = "5em"
        held = widgets.Layout(height="132px", overflow="auto")
        self.figures, self.selected = widgets.HTML(layout=held), widgets.HTML(layout=held)
        self.save = widgets.Button(description="Save selection", disabled=True, layout=wide)

    def _women(self) -> pd.DataFrame:
        family, model = self.model.value
        return women(self._run, family=family, model=model)

    def _listed(self, kept: str | None) -> list[tuple[str, str]]:
        """Who stands in the list, with her risk: those whose name has the letters searched for, and she who is shown."""
        letters = self.search.value.strip().casefold()
        return [
            (f"{name}  {risk:.2f}{' ▲' if outcome == 1 else ''}", str(name))
            for name, risk, outcome in self.table[["risk", "outcome"]].itertuples()
            if letters in str(name).casefold() or name == kept
        ]

    def _search(self, _: Any = None) -> None:
        kept = self.patient.value
        with self._still_standing():
            self.patient.options = self._listed(kept)
            self.patient.value = kept

    def _change_model(self, _: Any = None) -> None:
        self.table = self._women()
        kept, other = self.patient.value, self.beside.value
        with self._still_standing():
            shown = kept if kept in self.table.index else str(self.table.index[0])
            self.patient.options = self._listed(shown)
            self.patient.value = shown
            self.beside.options = [("second woman: nobody", _NOBODY), *((str(n), str(n)) for n in self.table.index)]
            self.beside.value = other if other in self.table.index else _NOBODY
            self.select([name for name in self.selection if name in self.table.index])
            self._change_threshold()
        self._show()
        self._show_other()

    @contextmanager
    def _still_standing(self) -> Iterator[None]:
        """Show nothing anew after each of several changes; who makes them shows it once afterwards."""
        self._still = True
        try:
            yield
        finally:
            self._still = False

    def _change_threshold(self, _: Any = None) -> None:
        """Show the figures at the present threshold, and which women change side."""
        now = self.threshold.value
        if "predicted" in self.table:
            self.figures.value = (
                f'<div style="{_LINES}"><p>The outcome is a number: nobody is called, and there are no figures of a '
                "threshold. Colours part the women at this rank by what is predicted.</p></div>"
            )
            self._redraw()
            return
        rows = "".join(
            f"<tr><td>{row['measure']}</td><td>{_figure(row)}</td><td>{row['events']:.0f}/{row['n']:.0f}</td></tr>"
            for row in at_threshold(self.table, threshold=now).to_dict("records")
        )
        moved = who_changes(self.table, before=self._before, after=now)
        names = ", ".join(map(str, moved.index[:_LISTED])) + (" …" if len(moved) > _LISTED else "")
        self.figures.value = (
            f'<div style="{_LINES};display:flex;flex-wrap:wrap;align-items:flex-start;gap:0 20px">'
            f'<table style="flex:0 0 300px"><tr><th>called from {now:.2f}</th><th>estimate (95 %)</th><th>of</th></tr>'
            f'{rows}</table><div style="flex:1 1 200px"><p>'
            f"{len(moved)} of {len(self.table)} change side against {self._before:.2f}, "
            f"{moved['outcome'].sum():.0f} of them with {escape(self._outcome)}{': ' if len(moved) else '.'}"
            f"{escape(names)}</p><p>A threshold moved while one looks is fitted to these women.</p></div></div>"
        )
        self._redraw()

    def _redraw(self) -> None:
        if not self._still:
            self.pictures.draw(
                self.table, threshold=self.threshold.value, outcome=self._outcome, chosen=self.patient.value,
                selection=self.selection, virtual=self._virtual,
            )  # fmt: skip

    def _show(self, _: Any = None) -> None:
        """Show the chosen woman: her numbers, her profile of indices and her bone."""
        if self.patient.value is None or self._still:
            return
        self.woman.show(self.table, self.patient.value, bone=self.bone.value)
        self._redraw()
        self._join()

    def _show_other(self, _: Any = None) -> None:
        """Show a second woman in place of the pictures, or these again."""
        if self._still:
            return
        if self.beside.value == _NOBODY:
            self._main.children = (self._women_place, self._list_place, self.woman)
            return
        self.other.show(self.table, self.beside.value, bone=self.bone.value)
        self._main.children = (self._list_place, self.woman, self.other)
        self._join()

    def _show_bones(self, _: Any = None) -> None:
        if self.patient.value is not None:
            self.woman.show_bone(self.patient.value, bone=self.bone.value)
        if self.beside.value != _NOBODY:
            self.other.show_bone(self.beside.value, bone=self.bone.value)
        self._join()

    def _join(self) -> None:
        """Let the slices of two women move together, from when there are two of them."""
        if not self._linked and self.woman.viewer is not None and self.other.viewer is not None:
            link(self.woman.viewer, self.other.viewer)
            self._linked = True

    def _pick(self, person: str) -> None:
        if person not in [name for _, name in self.patient.options]:
            self.search.value = ""
        self.patient.value = person

    def select(self, people: list[str]) -> None:
        """Show some women as a table that can be saved.

        Parameters
        ----------
        people : list of str
            Their participant_ids; an empty list clears the selection.
        """
        self.selection, self.save.disabled = people, not people
        if people:
            chosen = self.table.loc[people]
            shown = chosen.drop(columns=["family", "model"]).head(_LISTED).reset_index().round(2)
            self.selected.value = (
                f'<div style="{_LINES}"><p>{len(chosen)} selected, {chosen["outcome"].sum():.0f} with '
                f"{escape(self._outcome)}</p>{shown.to_html(border=0, index=False, na_rep='')}</div>"
            )
        else:
            self.selected.value = f'<div style="{_LINES}"><p>Click a woman; drag a box around several.</p></div>'
        self._redraw()

    def _save(self, _: Any = None) -> None:
        chosen = self.table.loc[self.selection].join(self._reference.z.add_prefix("z "))
        write_table(self._run.selection, chosen.reset_index())
        kept = f"<p>{len(chosen)} women are in {self._run.selection.name} of the run folder.</p>"
        self.selected.value = kept + self.selected.value.removeprefix(kept)


class WomenPictures:
    """The figure `plots.cohort_map` as an image that reports which woman was clicked and which lie in a dragged box.

    Parameters
    ----------
    pick : callable
        Called with the participant_id of the woman nearest to a click.
    select : callable
        Called with the list of participant_ids in a box, which may be empty.
    """

    def __init__(self, *, pick: Callable[[str], None], select: Callable[[list[str]], None]) -> None:
        self.image = Figure(alt="The women by their indices and by their risk; the list beside it names them")
        self._pick, self._select = pick, select
        self._people: list[str] = []
        self._pointed: list[str] = []  # who belongs to each point that the browser knows
        self.points = [np.empty((0, 2))] * 2  # pixels of each woman, across and down, in each picture
        self.image.on_msg(lambda _, message, __: self.mouse(message))

    def draw(self, table: pd.DataFrame, *, virtual: bool, **how: Any) -> None:
        """Draw the women anew.

        Parameters
        ----------
        table : DataFrame
            The women, from `exploration.women`.
        virtual : bool
            Whether the picture is marked as of virtual women.
        **how
            Further arguments of `plots.cohort_map`.
        """
        import matplotlib.pyplot as plt
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        axes = plots.cohort_map(table, **how)
        figure = axes[0].get_figure()
        figure.set_dpi(_DPI)
        if virtual:
            mark_virtual(figure, within=True)  # a tight frame would move the points
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        corner = np.array([0, picture.height])
        self.points = [
            np.abs(corner - ax.transData.transform(places)) for ax, places in zip(axes, map_points(table), strict=True)
        ]
        plt.close(figure)
        self._people = [str(name) for name in table.index]
        placed = [(name, p) for points in self.points for name, p in zip(self._people, points, strict=True)]
        placed = [(name, p) for name, p in placed if np.isfinite(p).all()]
        self._pointed = [name for name, _ in placed]
        risks = table["risk"].set_axis(self._people)
        with self.image.hold_sync():
            self.image.points = [[float(x), float(y)] for _, (x, y) in placed]
            said = "rank" if "predicted" in table else "risk"
            self.image.names = [f"{name}, {said} {risks[name]:.2f}" for name in self._pointed]
            self.image.value = picture_bytes(picture)

    def mouse(self, message: dict[str, Any]) -> None:
        """Follow one message of the figure: a click on a woman, or a box around women.

        Parameters
        ----------
        message : dict
            As `live.Figure` sends it: ``type`` pick with ``which``, or box with ``from`` and ``to``.
        """
        if message["type"] == "pick":
            self._pick(self._pointed[int(message["which"])])
        elif message["type"] == "box":
            ends = np.array([message["from"], message["to"]], float)
            low, high = ends.min(axis=0), ends.max(axis=0)
            inside = np.any([((points >= low) & (points <= high)).all(axis=1) for points in self.points], axis=0)
            self._select([name for name, within in zip(self._people, inside, strict=True) if within])


def _figure(row: Any) -> str:
    """An estimate with its interval in words, or "not estimable"."""
    if not np.isfinite(row["estimate"]):
        return "not estimable"
    return f"{row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
