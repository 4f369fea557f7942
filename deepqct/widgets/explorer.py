"""Explore a cohort by hand: women in two pictures, one woman's bones and indices, a threshold, a selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from ipyevents import Event
from PIL import Image, ImageDraw

from deepqct import plots
from deepqct.exploration import at_threshold, bone_of, models_of, reference_of, summary, who_changes, women
from deepqct.folder import Run, write_table
from deepqct.networks.explained import load_explained
from deepqct.plots.style import mark_virtual
from deepqct.plots.women import map_points
from deepqct.run_tables import run_outcome, virtual_of
from deepqct.terms import BONES
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import Faults, figure_bytes, picture_bytes
from deepqct.widgets.slices import SliceViewer

_DPI = 90
_NEAR = 15  # a click at most so many pixels from a woman's point chooses her
_DRAGGED = 6  # a mouse that was moved so many pixels while pressed draws a box; below that it is a click
_LISTED = 12  # at most so many women are listed by name


class Explorer(widgets.VBox):
    """A widget that shows all women of a run in two pictures, and one woman's bones, indices and risk beside them.

    A click on a woman shows her; a box dragged around women selects them, and the selection can be saved.

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
    >>> explorer.patient.value, len(explorer.table), explorer.selected.value[3:30]
    ('sub-0002', 12, '3 selected, 1 with fracture')
    """

    def __init__(
        self, run: Run, *, threshold: float = 0.5, patient: str | None = None, bone: str = "radius", size: int = 260
    ) -> None:
        self._run, self._size, self._before, self._still = run, size, threshold, False
        self._viewer: SliceViewer | None = None
        self._virtual = bool(virtual_of(run))
        self._outcome = str(run_outcome(run).name)
        self._reference = reference_of(run)
        pairs = [(f"{family}: {model}", (family, model)) for family, model in models_of(run)]
        self.model = widgets.Dropdown(options=pairs, description="Model", layout=widgets.Layout(width="34em"))
        self.threshold = widgets.FloatSlider(
            value=threshold, min=0.01, max=0.99, step=0.01, description="Threshold", continuous_update=False
        )
        self.table = self._women()
        first = patient if patient in self.table.index else self.table.index[0]
        self.patient = widgets.Dropdown(options=list(self.table.index), value=first, description="Patient")
        self.bone = widgets.ToggleButtons(options=BONES, value=bone, description="Bone")
        self.bone.style.button_width = "6em"
        self.figures, self.about, self.selected = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.profile, self.saliency = Figure(), Figure()
        self.save = widgets.Button(description="Save selection", disabled=True)
        self.scan_place = widgets.VBox()
        self.selection: list[str] = []
        told = Faults(self.selected).told
        self.pictures = WomenPictures(pick=told(self._pick), select=told(self.select))
        for control, act in (
            (self.model, self._change_model),
            (self.threshold, self._change_threshold),
            (self.patient, self._show),
            (self.bone, self._show_bone),
        ):
            control.observe(told(act), names="value")
        self.save.on_click(told(self._save))
        row = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__(
            [
                widgets.HBox([self.model, self.threshold], layout=row),
                widgets.HBox([self.pictures.image, self.figures], layout=row),
                widgets.HBox([self.patient, self.save], layout=row),
                self.selected,
                widgets.HBox([widgets.VBox([self.about, self.profile]), widgets.VBox([self.bone, self.scan_place])],
                             layout=row),
            ]
        )  # fmt: skip
        self._change_model()

    def _women(self) -> pd.DataFrame:
        family, model = self.model.value
        return women(self._run, family=family, model=model)

    def _change_model(self, _: Any = None) -> None:
        self.table = self._women()
        kept = self.patient.value
        with self._not_drawn():
            self.patient.options = list(self.table.index)
            self.patient.value = kept if kept in self.table.index else self.table.index[0]
            self.select([name for name in self.selection if name in self.table.index])
            self._change_threshold()
            self._show()

    @contextmanager
    def _not_drawn(self) -> Iterator[None]:
        """Draw the women only once after several changes, not after each of them."""
        self._still = True
        try:
            yield
        finally:
            self._still = False
        self._redraw()

    def _change_threshold(self, _: Any = None) -> None:
        """Show the figures at the present threshold, and which women change side."""
        now = self.threshold.value
        rows = "".join(
            f"<tr><td>{row['measure']}</td><td>{_figure(row)}</td><td>{row['events']:.0f}/{row['n']:.0f}</td></tr>"
            for row in at_threshold(self.table, threshold=now).to_dict("records")
        )
        moved = who_changes(self.table, before=self._before, after=now)
        names = ", ".join(map(str, moved.index[:_LISTED])) + (" …" if len(moved) > _LISTED else "")
        self.figures.value = (
            f"<table><tr><th>called from {now:.2f}</th><th>estimate (95 %)</th><th>of</th></tr>{rows}</table>"
            f"<p>{len(moved)} of {len(self.table)} change side against {self._before:.2f}, {moved['outcome'].sum():.0f} of "
            f"them with {escape(self._outcome)}{': ' if len(moved) else '.'}{escape(names)}</p>"
            "<p>A threshold moved while one looks is fitted to these women.</p>"
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
        person = self.patient.value
        if person is None:
            return
        mark = " <em>virtual woman</em>" if self._virtual else ""
        said = summary(self.table, person).to_html(index=False, header=False, border=0)
        self.about.value = f"<h4>{escape(str(person))}{mark}</h4>{said}"
        profile = plots.profile(self._reference.of(person), participant_id=str(person), reference=self._reference.words)
        self.profile.value = figure_bytes(profile, virtual=self._virtual)
        self._redraw()
        self._show_bone()

    def _show_bone(self, _: Any = None) -> None:
        person, bone = self.patient.value, self.bone.value
        if person is None or (shown := bone_of(self._run, person, bone)) is None:
            self.scan_place.children = (widgets.HTML(f"<p>There is no {bone} of her.</p>"),)
            return
        scan, mask = shown
        if self._viewer is None:
            self._viewer = SliceViewer(scan, labels=mask, size=self._size, virtual=self._virtual)
        else:
            self._viewer.show(scan, labels=mask)
        explained = load_explained(self._run, bone=bone, participant_id=person)
        if explained is None:
            below: widgets.Widget = widgets.HTML(f"<p>No network of the {bone} has been explained on her.</p>")
        else:
            self.saliency.value, below = (
                figure_bytes(plots.one_saliency(explained), virtual=self._virtual),
                self.saliency,
            )
        self.scan_place.children = (self._viewer, below)

    def _pick(self, person: str) -> None:
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
                f"<p>{len(chosen)} selected, {chosen['outcome'].sum():.0f} with {escape(self._outcome)}</p>"
                + shown.to_html(border=0, index=False, na_rep="")
            )
        else:
            self.selected.value = "<p>Click a woman; drag a box around several.</p>"
        self._redraw()

    def _save(self, _: Any = None) -> None:
        chosen = self.table.loc[self.selection].join(self._reference.z.add_prefix("z "))
        write_table(self._run.selection, chosen.reset_index())
        self.selected.value += f"<p>{len(chosen)} women are in {self._run.selection.name} of the run folder.</p>"


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
        self.image = Figure(alt="The women by their indices and by their risk")
        self._pick, self._select = pick, select
        self._people: list[str] = []
        self.points = [np.empty((0, 2))] * 2  # pixels of each woman, across and down, in each picture
        self._picture = Image.new("RGB", (1, 1))
        self._from: tuple[float, float] | None = None
        watched = ["mousedown", "mousemove", "mouseup"]
        self._events = Event(source=self.image, watched_events=watched, prevent_default_action=True, wait=60)
        self._events.on_dom_event(self.mouse)

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
        self._picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        corner = np.array([0, self._picture.height])
        self.points = [
            np.abs(corner - ax.transData.transform(places)) for ax, places in zip(axes, map_points(table), strict=True)
        ]
        plt.close(figure)
        self._people = [str(name) for name in table.index]
        self._put(self._picture)

    def mouse(self, event: dict[str, Any]) -> None:
        """Follow one event of the mouse: a click, or a box that is being dragged.

        Parameters
        ----------
        event : dict
            The event as ipyevents sends it: ``type``, ``dataX``, ``dataY``, ``buttons``.
        """
        at = float(event["dataX"]), float(event["dataY"])
        if event["type"] == "mousedown":
            self._from = at
        elif self._from is not None and event["type"] == "mousemove" and event.get("buttons"):
            with_box = self._picture.copy()
            ends = [(min(pair), max(pair)) for pair in zip(self._from, at, strict=True)]
            ImageDraw.Draw(with_box).rectangle([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], outline="#595959")
            self._put(with_box)
        elif self._from is not None and event["type"] == "mouseup":
            start, self._from = self._from, None
            if max(abs(a - b) for a, b in zip(start, at, strict=True)) < _DRAGGED:
                self._click(at)
            else:
                self._box(start, at)

    def _click(self, at: tuple[float, float]) -> None:
        far = [np.hypot(*(points - at).T) for points in self.points]
        nearest = min(far, key=lambda distances: np.nanmin(distances, initial=np.inf))
        if np.nanmin(nearest, initial=np.inf) < _NEAR:
            self._pick(self._people[int(np.nanargmin(nearest))])

    def _box(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        low, high = np.minimum(start, end), np.maximum(start, end)
        inside = np.any([((points >= low) & (points <= high)).all(axis=1) for points in self.points], axis=0)
        self._select([name for name, within in zip(self._people, inside, strict=True) if within])

    def _put(self, picture: Image.Image) -> None:
        self.image.value = picture_bytes(picture)


def _figure(row: Any) -> str:
    """An estimate with its interval in words, or "not estimable"."""
    if not np.isfinite(row["estimate"]):
        return "not estimable"
    return f"{row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
