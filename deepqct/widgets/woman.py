"""One woman of a run: her numbers, a bone slice by slice, her indices, what moves her score, and her visits."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets
import pandas as pd

from deepqct import plots
from deepqct.curation.visits import visits_in, visits_of
from deepqct.exploration import Reference, bone_of, summary
from deepqct.folder import Run
from deepqct.networks.explained import load_explained
from deepqct.run_tables import outcome_of
from deepqct.terms import STRENGTH_UNITS, UNITS
from deepqct.widgets.live import Figure
from deepqct.widgets.pictures import Faults, figure_bytes
from deepqct.widgets.slices import SliceViewer

_PARTS = ("Bone", "Indices", "Saliency", "Visits")


class OneWoman(widgets.VBox):
    """A widget that shows one woman; `show` shows another one in her place.

    Where women came to several visits, a tab shows an index of hers over time, with the least significant change as a band
    around the first visit.

    Parameters
    ----------
    run : Run
        A run after 04_clustering.
    reference : Reference
        Whom her indices are compared with, from `exploration.reference_of`.
    virtual : bool
        Whether she is marked as a virtual woman.
    size : int
        Pixels along the longer edge of a slice.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.widgets.woman import OneWoman
    >>> run = dq.run.example_run()
    >>> woman = OneWoman(run, reference=dq.exploration.reference_of(run), virtual=True, size=120)
    >>> woman.show(dq.exploration.women(run, family="BMD", model="total hip"), "sub-0002", bone="tibia")
    >>> woman.viewer.at, "sub-0002" in woman.about.value
    ((3, 16, 16), True)
    """

    def __init__(self, run: Run, *, reference: Reference, virtual: bool, size: int) -> None:
        self._run, self._reference, self._virtual, self._size = run, reference, virtual, size
        self._kind = outcome_of(run).kind
        self.viewer: SliceViewer | None = None
        self.about = widgets.HTML()
        self.bone_place = widgets.VBox(layout=widgets.Layout(overflow="hidden"))
        self.profile, self.saliency = Figure(), Figure()
        self.unexplained = widgets.HTML()
        visits, self._shown = visits_in(run), ("", "")
        measured = [name for name in UNITS | STRENGTH_UNITS if name in visits and visits[name].notna().any()]
        self.index = widgets.Dropdown(options=measured, description="Index", layout=widgets.Layout(width="16em"))
        self.visits, self.change = Figure(), widgets.HTML()
        self.index.observe(Faults(self.change).told(lambda _: self._show_visits()), names="value")
        parts = [self.bone_place, self.profile, widgets.VBox([self.unexplained, self.saliency])]
        if measured:
            parts.append(widgets.VBox([self.index, self.change, self.visits]))
        self.parts = widgets.Tab(parts)
        for number in range(len(parts)):
            self.parts.set_title(number, _PARTS[number])
        super().__init__([self.about, self.parts], layout=widgets.Layout(flex="1 1 0", min_width="420px"))

    def show(self, table: pd.DataFrame, person: str, *, bone: str) -> None:
        """Show a woman in place of the one before: her numbers, her indices, a bone of hers.

        Parameters
        ----------
        table : DataFrame
            All women, from `exploration.women`.
        person : str
            Her participant_id.
        bone : {"radius", "ulna", "tibia", "fibula"}
            The bone that is shown.
        """
        mark = " · <em>virtual woman</em>" if self._virtual else ""
        lines = summary(table, person).to_dict("records")
        cells = " · ".join(f"{escape(row['what'])} <strong>{escape(row['value'])}</strong>" for row in lines)
        # As high for every woman, so that nothing below it jumps.
        style = "line-height:1.35;min-height:74px"
        self.about.value = f'<div style="{style}"><h4 style="margin:0">{escape(str(person))}{mark}</h4>{cells}</div>'
        drawn = plots.profile(self._reference.of(person), participant_id=str(person), reference=self._reference.words)
        self.profile.value = figure_bytes(drawn, virtual=self._virtual, dpi=70)
        self.profile.alt = f"Indices of {person} in standard deviations from {self._reference.words}"
        self.show_bone(person, bone=bone)

    def show_bone(self, person: str, *, bone: str) -> None:
        """Show one bone of a woman, and what a network saw in it.

        Parameters
        ----------
        person : str
            Her participant_id.
        bone : {"radius", "ulna", "tibia", "fibula"}
            The bone.
        """
        if (found := bone_of(self._run, person, bone)) is None:
            stack = self._run.stack(person, bone).relative_to(self._run.folder).as_posix()
            tidied = stack in self._run.tidied_files()
            gone = f"Her {bone} was removed by deepqct tidy; the run's own deepqct run command makes it anew."
            said = gone if tidied else f"There is no {bone} of her."
            self.bone_place.children = (widgets.HTML(f"<p>{said}</p>"),)
        else:
            scan, mask = found
            if self.viewer is None:
                self.viewer = SliceViewer(scan, labels=mask, size=self._size, virtual=self._virtual)
            else:
                self.viewer.show(scan, labels=mask)
            self.bone_place.children = (self.viewer,)
        explained = load_explained(self._run, bone=bone, participant_id=person)
        self.unexplained.value = "" if explained else f"<p>No network of the {bone} has been explained on her.</p>"
        self.saliency.value = b""
        if explained:
            self.saliency.value = figure_bytes(
                plots.one_saliency(explained, kind=self._kind), virtual=self._virtual, dpi=70
            )
            self.saliency.alt = f"What moves the score of the {bone} of {person}"
        self._shown = (person, bone)
        self._show_visits()

    def _show_visits(self) -> None:
        """Show the chosen index of the shown woman and bone over her visits."""
        person, bone = self._shown
        if not person or self.index.value is None:
            return
        found = visits_of(self._run, person, bone=bone, symbol=self.index.value)
        self.visits.value = b""
        if found is None:
            self.change.value = f"<p>There is one visit with a {bone} of hers: nothing to compare.</p>"
            return
        self.visits.value = figure_bytes(plots.change_over_visits(**found.drawn()), virtual=self._virtual, dpi=70)
        self.visits.alt = f"{found.symbol} of the {bone} of {person} over {len(found.table)} scans. {found.words}"
        self.change.value = f"<p>{escape(found.rests_on)}</p>"
