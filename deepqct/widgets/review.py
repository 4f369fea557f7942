"""Scan after scan, judged by a reader who does not know the outcome; every decision goes to review.csv at once."""

from __future__ import annotations

import os
from html import escape
from typing import Any

import ipywidgets as widgets

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.reviews import GRADES, decide, read_reviews, standing, still_open
from deepqct.cohort.scan_files import scan_of
from deepqct.folder import Run, read_table
from deepqct.scans.stored import ScanError
from deepqct.widgets.pictures import Faults
from deepqct.widgets.slices import SliceViewer

KEYS = {"a": "accept", "r": "reject", "u": "undo", "s": "skip"} | {
    str(grade): f"motion grade {grade}" for grade in GRADES
}


class ReviewPanel(widgets.VBox):
    """A widget to accept or reject scan after scan, with motion grade and remark, by button or key.

    It starts at the first scan that the reader has not judged yet, and never shows the outcome. Keys are typed into the
    field "Keys": a accept, r reject, 1 to 5 motion grade, u undo, s skip. A decision that cannot be written is said to be
    so, and its scan stays.

    Parameters
    ----------
    cohort : Cohort
        The cohort whose scans are judged; its folder receives review.csv.
    run : Run
        The run whose automatic flags are shown; before its curation there are none.
    reviewer : str
        Initials of the reader.
    size : int
        Pixels along the longer edge of each plane.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = dq.virtual.new_cohort(Path(tempfile.mkdtemp()), n=3, voxel_mm=0.5, slices=4)
    >>> panel = dq.widgets.ReviewPanel(dq.load_cohort(folder), run=dq.Run(folder), reviewer="AB")
    >>> panel.accept.click()
    >>> dq.cohort.read_reviews(folder)[["participant_id", "site", "decision"]].to_numpy().tolist()
    [['sub-0001', 'wrist', 'accept']]
    """

    def __init__(self, cohort: Cohort, *, run: Run, reviewer: str = "", size: int = 340) -> None:
        self._cohort, self._size = cohort, size
        self._flags = _flags(run)
        self._skipped: list[tuple[str, str]] = []
        self._viewer: SliceViewer | None = None
        self.current: tuple[str, str] | None = None
        self.reviewer = widgets.Text(
            value=reviewer, description="Reader", placeholder="initials", continuous_update=False
        )
        self.key_field = widgets.Text(description="Keys", placeholder="a r 1–5 u s", continuous_update=True)
        self.grade = widgets.ToggleButtons(
            options=[("ungraded", None), *((str(g), g) for g in GRADES)], description="Motion"
        )
        self.grade.style.button_width = "6.5em"
        self.remark = widgets.Text(description="Remark", placeholder="stays in the cohort folder")
        self.accept, self.reject, self.undo, self.skip = (
            widgets.Button(description=word, button_style=style)
            for word, style in (("Accept", "success"), ("Reject", "danger"), ("Undo", ""), ("Skip", ""))
        )
        self.said, self.scan_place = widgets.HTML(), widgets.Box()
        told = Faults(self.said).told
        for button, act in (
            (self.accept, lambda _: self._decide("accept")),
            (self.reject, lambda _: self._decide("reject")),
            (self.undo, lambda _: self._take_back()),
            (self.skip, lambda _: self._skip()),
        ):
            button.on_click(told(act))
        self.key_field.observe(told(self._key), names="value")
        self.reviewer.observe(told(lambda _: self.go_on()), names="value")
        buttons = widgets.HBox([self.accept, self.reject, self.undo, self.skip, self.key_field])
        super().__init__([self.reviewer, self.said, self.scan_place, self.grade, self.remark, buttons])
        self.go_on()

    def go_on(self, *, first: tuple[str, str] | None = None) -> None:
        """Show the next scan that this reader has not judged; skipped ones come last.

        Parameters
        ----------
        first : (participant_id, site), optional
            The scan to show now, if it is not judged.
        """
        self.grade.value, self.remark.value = None, ""
        who = self.reviewer.value.strip()
        if not who:
            self.current = None
            self.said.value = "<p>Give your initials; what you decide is written down under them.</p>"
            self.scan_place.children = ()
            return
        rows = still_open(self._cohort.scans, read_reviews(self._cohort.folder), reviewer=who).to_dict("records")
        pairs = {id(row): (row["participant_id"], row["site"]) for row in rows}
        rows.sort(key=lambda row: (pairs[id(row)] != first, pairs[id(row)] in self._skipped))
        total = len(self._cohort.scans)
        if not rows:
            self.current = None
            self.said.value = f"<p>All {total} scans are judged. Curate again, so that rejected ones are left out.</p>"
            self.scan_place.children = ()
            return
        row = rows[0]
        self.current = (row["participant_id"], row["site"])
        flags = self._flags.get(self.current, "not curated yet") or "none"
        self.said.value = (
            f"<p><strong>{escape(row['participant_id'])}, {escape(row['site'])}</strong>: {total - len(rows)} of {total} "
            f"judged. Automatic flags: {escape(flags)}</p>"
        )
        self._show(*self.current)

    def _show(self, person: str, site: str) -> None:
        """Show a scan, or one sentence why it cannot be read; it can be rejected even then."""
        try:
            scan = scan_of(self._cohort.folder, self._cohort.scans, participant_id=person, site=site)
        except (ScanError, OSError) as error:
            message = escape(str(error).replace(f"{self._cohort.folder}{os.sep}", ""))
            self.scan_place.children = (widgets.HTML(f"<p><strong>{message}</strong></p>"),)
            return
        if self._viewer is None:
            self._viewer = SliceViewer(scan, size=self._size, virtual=self._cohort.virtual is not None)
        else:
            self._viewer.show(scan)
        self.scan_place.children = (self._viewer,)

    def _decide(self, decision: str) -> None:
        if self.current is None:
            return
        person, site = self.current
        decide(
            self._cohort.folder, reviewer=self.reviewer.value, participant_id=person, site=site, decision=decision,
            motion_grade=self.grade.value, remark=self.remark.value,
        )  # fmt: skip
        self.go_on()

    def _take_back(self) -> None:
        """Undo this reader's last standing decision, and show that scan again."""
        decisions = standing(read_reviews(self._cohort.folder))
        by_reader = decisions[decisions["reviewer"] == self.reviewer.value.strip()]
        if by_reader.empty:
            return
        person, site = by_reader[["participant_id", "site"]].iloc[-1]
        decide(self._cohort.folder, reviewer=self.reviewer.value, participant_id=person, site=site, decision="undo")
        self.go_on(first=(person, site))

    def _skip(self) -> None:
        if self.current is not None:
            self._skipped = [pair for pair in self._skipped if pair != self.current] + [self.current]
            self.go_on()

    def _key(self, change: dict[str, Any]) -> None:
        """Do what a typed key means, and empty the field for the next one."""
        key = str(change["new"]).strip().lower()[-1:]
        if not change["new"]:
            return
        self.key_field.value = ""
        if key.isdigit() and int(key) in GRADES:
            self.grade.value = int(key)
        elif key in ("a", "r"):
            self._decide(KEYS[key])
        elif key == "u":
            self._take_back()
        elif key == "s":
            self._skip()


def _flags(run: Run) -> dict[tuple[str, str], str]:
    """The automatic flags of each scan, or the reason why its curation failed."""
    if not run.curation.exists():
        return {}
    table = read_table(run.curation).fillna("")
    words = table["flags"].where(table["status"] != "failed", "failed: " + table["reason"])
    return {(p, s): str(w) for p, s, w in zip(table["participant_id"], table["site"], words, strict=True)}
