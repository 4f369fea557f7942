"""Scan after scan, judged by a reader who does not know the outcome; every decision goes to review.csv at once."""

from __future__ import annotations

import os
from html import escape
from typing import Any

import ipywidgets as widgets

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.reviews import GRADES, decide, decisions_of
from deepqct.cohort.scan_files import scan_of
from deepqct.folder import Run
from deepqct.scans.stored import ScanError
from deepqct.widgets.flags import FlaggedScans, Flags, read_flags
from deepqct.widgets.pictures import Faults
from deepqct.widgets.slices import SliceViewer

KEYS = {"a": "accept", "r": "reject", "u": "undo", "s": "skip", "f": "next flagged scan", "m": "ruler"} | {
    str(grade): f"motion grade {grade}" for grade in GRADES
}
# Of the axial slice: what the page needs above and below it is left, which a page of deepqct app says itself.
HEIGHT = "max(340px, calc(100vh - var(--dq-beside, 235px)))"
_HELP = (
    "<small>Keys: 1 to 5 motion grade · a accept · r reject · u undo · s skip · f next flagged · m ruler · arrows: other "
    "slices · wheel: zoom · drag: move · double click: back. In JupyterLab click the picture first.</small>"
)
_DONE = {"accept": "accepted", "reject": "rejected"}
Pair = tuple[str, str]  # participant_id and site


class ReviewPanel(widgets.VBox):
    """A widget to accept or reject scan after scan, with motion grade and remark, by button or key.

    It starts at the first scan that the reader has not judged yet, and never shows the outcome. What the program thinks of
    a scan, its flags and scores, is shown after the reader has judged it, or before if she asks for it. Keys: a accept,
    r reject, 1 to 5 motion grade, u undo, s skip, f next flagged scan, m ruler, arrow keys other slices. A held key counts
    once, and nothing is decided before the scan stands on the screen. A decision without a grade is asked for once more
    and kept as ungraded. A decision that cannot be written is said to be so, and its scan stays.

    Parameters
    ----------
    cohort : Cohort
        The cohort whose scans are judged; its folder receives review.csv.
    run : Run
        The run whose automatic flags are shown; before its curation there are none.
    reviewer : str
        Initials of the reader; AB and ab are one reader.
    height : str
        Height of the axial slice in CSS. It begins at its own pixels: one or a whole number of screen pixels each.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = dq.virtual.new_cohort(Path(tempfile.mkdtemp()), n=3, voxel_mm=0.5, slices=4)
    >>> panel = dq.widgets.ReviewPanel(dq.load_cohort(folder), run=dq.Run(folder), reviewer="AB")
    >>> panel.grade.value = 2
    >>> panel.accept.click()
    >>> dq.cohort.read_reviews(folder)[["participant_id", "site", "decision", "motion_grade"]].to_numpy().tolist()
    [['sub-0001', 'wrist', 'accept', 2]]
    """

    def __init__(self, cohort: Cohort, *, run: Run, reviewer: str = "", height: str = HEIGHT) -> None:
        self._cohort, self._height = cohort, height
        self._pairs: list[Pair] = list(cohort.scans[["participant_id", "site"]].itertuples(index=False, name=None))
        self._flags: Flags = read_flags(run)
        self._viewer: SliceViewer | None = None
        self._asked = ""  # the decision that is to be confirmed, since it has no grade
        self._last = ""  # what was decided before, in words
        self.current: Pair | None = None
        self._make_controls(reviewer)
        self.flagged = FlaggedScans(run, self._flags, pick=lambda pair: self.go_on(first=pair))
        told = Faults(self.said).told
        for button, key in (
            (self.accept, "a"),
            (self.reject, "r"),
            (self.undo, "u"),
            (self.skip, "s"),
            (self.next, "f"),
        ):
            button.on_click(told(lambda _, key=key: self.press(key)))
        self.reviewer.observe(told(lambda _: self.go_on()), names="value")
        self.grade.observe(told(self._graded), names="value")
        for control in (self.undecided, self.only_flagged, self.heaviest):
            control.observe(told(lambda _: self.go_on(first=self.current)), names="value")
        self.tell_flags.observe(told(lambda _: self._say()), names="value")
        self._head.children = (*self._head.children, self.flagged.button)
        super().__init__([self._head, self.flagged, self.scan_place, widgets.HTML(_HELP)])
        self.go_on()
        self._told = told

    def _make_controls(self, reviewer: str) -> None:
        wide, short = widgets.Layout(width="auto"), widgets.Layout(width="auto")
        self.reviewer = widgets.Text(
            value=reviewer, description="Reader", placeholder="initials", continuous_update=False,
            description_tooltip="AB and ab are one reader", layout=widgets.Layout(width="170px"),
        )  # fmt: skip
        self.progress = widgets.HTML(layout=widgets.Layout(margin="0 12px"))
        self.undecided = widgets.Checkbox(value=True, description="only undecided", indent=False, layout=short)
        self.only_flagged = widgets.Checkbox(value=False, description="only flagged", indent=False, layout=short)
        self.heaviest = widgets.Checkbox(value=False, description="heaviest flags first", indent=False, layout=short)
        self.tell_flags = widgets.Checkbox(value=False, description="flags before judging", indent=False, layout=short)
        self.next = widgets.Button(
            description="Next flagged (f)",
            tooltip="Then you know that it is flagged",
            layout=widgets.Layout(width="9.5em"),
        )
        self._head = widgets.HBox(
            [
                self.reviewer,
                self.progress,
                self.undecided,
                self.only_flagged,
                self.heaviest,
                self.tell_flags,
                self.next,
            ],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        self.grade = widgets.ToggleButtons(
            options=[(str(g), g) for g in GRADES], value=None, tooltips=[KEYS[str(g)] for g in GRADES]
        )
        self.grade.style.button_width = "3.9em"
        self.remark = widgets.Text(placeholder="Remark; it stays in the cohort folder", layout=wide)
        self.accept, self.reject, self.undo, self.skip = (
            widgets.Button(description=word, button_style=style, layout=widgets.Layout(flex="1 1 0", width="auto"))
            for word, style in (("Accept (a)", "success"), ("Reject (r)", "danger"), ("Undo (u)", ""), ("Skip (s)", ""))
        )
        self.name, self.said, self.scan_place = (
            widgets.HTML(),
            widgets.HTML(),
            widgets.Box(layout=widgets.Layout(width="100%")),
        )
        self.said.layout.min_height = "66px"  # so that nothing jumps
        self._judging = [
            self.name,
            self.grade,
            widgets.HBox([self.accept, self.reject], layout=wide),
            widgets.HBox([self.undo, self.skip], layout=wide),
            self.remark,
            self.said,
        ]

    def go_on(self, *, first: Pair | None = None) -> None:
        """Show the scan that comes next, by the boxes that are ticked; after the last one comes the first.

        Parameters
        ----------
        first : (participant_id, site), optional
            The scan to show now.
        """
        self._asked = ""
        self.grade.value, self.remark.value = None, ""
        who = self.reviewer.value.strip()
        if not who:
            self.current, self.scan_place.children = None, ()
            self.progress.value = "Give your initials; what you decide is written down under them."
            return
        done = self._done()
        self.progress.value = (
            f'<progress max="{len(self._pairs)}" value="{len(done)}" style="width:9em;vertical-align:middle" '
            f'aria-label="scans judged"></progress> {len(done)} of {len(self._pairs)} judged'
        )
        queue = self._queue(done)
        if first is not None:
            self.current = first
        elif queue:
            self.current = _next(queue, order=self._ordered(), after=self.current)
        else:
            self.current = None
        self._show()
        self._say()

    def _own(self, person: str) -> str:
        """The cohort folder's own id of a woman."""
        return self._cohort.ids.get(person, person)

    def _done(self) -> dict[Pair, dict[str, Any]]:
        """The standing decisions of this reader, by scan."""
        rows = decisions_of(self._cohort.reviews(), reviewer=self.reviewer.value).to_dict("records")
        by_scan = {(str(row["participant_id"]), str(row["site"])): {str(k): v for k, v in row.items()} for row in rows}
        return {pair: by_scan[pair] for pair in self._pairs if pair in by_scan}

    def _ordered(self) -> list[Pair]:
        """All scans as the table has them, or the heaviest flags first."""
        return sorted(self._pairs, key=self._flags.weight, reverse=True) if self.heaviest.value else self._pairs

    def _queue(self, done: dict[Pair, Any]) -> list[Pair]:
        """The scans that are gone through."""
        return [
            pair for pair in self._ordered()
            if not (self.undecided.value and pair in done) and not (self.only_flagged.value and not self._flags.of(pair))
        ]  # fmt: skip

    def _show(self) -> None:
        """Show the present scan, or why there is none; one that cannot be read can be rejected even then."""
        self._unreadable = ""
        if self.current is None:
            if self._viewer is not None:
                self._viewer.blank()
            return
        try:
            person, site = self.current
            scan = scan_of(self._cohort.folder, self._cohort.scans, participant_id=person, site=site)
        except (ScanError, OSError) as error:
            self._unreadable = str(error).replace(f"{self._cohort.folder}{os.sep}", "")
            if self._viewer is not None:
                self._viewer.blank()
            return
        if self._viewer is None:
            self._viewer = self._viewer_of(scan)
            self._viewer.column.children = (*self._judging, *self._viewer.column.children)
            self._viewer.layout.width = "100%"
        else:
            self._viewer.show(scan)

    def _viewer_of(self, scan: Any) -> SliceViewer:
        viewer = SliceViewer(
            scan, size=310, virtual=self._cohort.virtual is not None, height=self._height, keys=list(KEYS)
        )
        viewer.cross.value = False
        viewer.planes["axial"].on_msg(lambda _, message, __: self._told(self._key)(message))
        return viewer

    def _say(self) -> None:
        """Say which scan this is, what was decided before, and how it stands."""
        if not self.reviewer.value.strip():
            return
        self.scan_place.children = (self._viewer,) if self._viewer is not None else (widgets.VBox(self._judging),)
        if self.current is None:
            left = len(self._pairs) - len(self._done())
            total = len(self._pairs)
            none_left = f"<strong>No scan is left among those chosen above; {left} of {total} are undecided.</strong>"
            all_done = (
                f"<strong>All {total} scans are judged.</strong> Curate again, so that rejected ones are left out."
            )
            self.name.value = none_left if left else all_done
            self.said.value = _small(self._last)
            return
        mine = self._done().get(self.current)
        graded = "ungraded" if self.grade.value is None else self.grade.value
        self.name.value = _small(
            f"<strong>{escape(', '.join(self.current))}</strong>{f': {_words(mine)}' if mine else ''}<br>"
            f"Motion grade (1 none to 5 severe): <strong>{graded}</strong>"
        )
        lines = [self._last]
        if self._unreadable:
            lines = [f"<strong>{escape(self._unreadable)}</strong>", *lines]
        if mine or self.tell_flags.value:
            lines = [f"Flags: {escape(self._flags.words(self.current))}", *lines]
        if self._asked:
            lines = [
                f"<strong>No motion grade: press 1 to 5, or {self._asked[0]} again to {self._asked} it ungraded.</strong>"
            ]
        self.said.value = _small("<br>".join(filter(None, lines)))

    def press(self, key: str) -> None:
        """Do what a key means, as the buttons do.

        Parameters
        ----------
        key : str
            One of a, r, u, s, f, m and 1 to 5. Nothing is done while the picture is not on the screen yet.
        """
        if not self.reviewer.value.strip() or (self._viewer and not self._viewer.planes["axial"].ready):
            return
        if key == "u":
            self._take_back()
        elif key == "m" and self._viewer:
            self._viewer.ruler.value = not self._viewer.ruler.value
        elif key == "f":
            self._next_flagged()
        elif self.current is None:
            return
        elif key in ("a", "r"):
            self._decide(KEYS[key])
        elif key == "s":
            self.go_on()
        elif key in map(str, GRADES):
            self.grade.value = int(key)

    def _key(self, message: dict[str, Any]) -> None:
        """Follow a key, if it was pressed while the present scan stood on the screen."""
        if message["type"] == "key" and self._viewer and message["serial"] == self._viewer.planes["axial"].serial:
            self.press(str(message["key"]))

    def _graded(self, _: Any = None) -> None:
        self._asked = ""
        self._say()

    def _decide(self, decision: str) -> None:
        if self.current is None:
            return
        if self.grade.value is None and self._asked != decision and not self._unreadable:
            self._asked = decision
            self._say()
            return
        person, site = self.current
        given = {"decision": decision, "motion_grade": self.grade.value}
        decide(
            self._cohort.folder, reviewer=self.reviewer.value, participant_id=self._own(person), site=site,
            remark=self.remark.value, **given,
        )  # fmt: skip
        flags = escape(self._flags.words(self.current))
        self._last = f"{escape(person)}, {site}: {_words(given)}. Its automatic flags: {flags}."
        self.go_on()

    def _take_back(self) -> None:
        """Undo this reader's last standing decision, and show that scan again."""
        mine = decisions_of(self._cohort.reviews(), reviewer=self.reviewer.value)
        if mine.empty:
            return
        person, site = mine[["participant_id", "site"]].iloc[-1]
        decide(
            self._cohort.folder, reviewer=self.reviewer.value, participant_id=self._own(person), site=site,
            decision="undo",
        )  # fmt: skip
        self._last = f"{escape(person)}, {site}: taken back."
        self.go_on(first=(person, site))

    def _next_flagged(self) -> None:
        """Show the next flagged scan, among the undecided ones if only these are gone through."""
        done = self._done() if self.undecided.value else {}
        queue = [pair for pair in self._ordered() if self._flags.of(pair) and pair not in done]
        if queue:
            self.go_on(first=_next(queue, order=self._ordered(), after=self.current))
        else:
            self._last = "No other scan is flagged."
            self._say()


def _small(html: str) -> str:
    """Text whose lines stand close, so that all controls have room beside the scan."""
    return f'<div style="line-height:1.35">{html}</div>'


def _words(decision: dict[str, Any]) -> str:
    """A decision in words, with its grade or the lack of one."""
    grade = decision["motion_grade"]
    graded = grade is not None and grade == grade  # not NaN
    return f"{_DONE[str(decision['decision'])]}, {f'motion grade {int(grade)}' if graded else 'ungraded'}"


def _next(queue: list[Pair], *, order: list[Pair], after: Pair | None) -> Pair:
    """The first scan of a queue that comes after another one in an order; the first of all behind the last."""
    if after is None:
        return queue[0]
    place = {pair: number for number, pair in enumerate(order)}
    return next((pair for pair in queue if place[pair] > place[after]), queue[0])
