"""Decisions by button and key: blind, one scan at a time, each of them in the file or said not to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepqct.cohort import load_cohort, read_reviews
from deepqct.cohort.reviews import standing
from deepqct.folder import Run
from deepqct.virtual import new_cohort
from deepqct.widgets import ReviewPanel

CURATION = """participant_id,site,side,status,reason,flags,notes,motion_score
sub-0001,wrist,left,curated,,,,11.0
sub-0001,ankle,left,curated,,tibia: cut by the field of view,,20.0
sub-0002,wrist,left,curated,,radius: rings,,60.0
sub-0002,ankle,left,curated,,,,12.0
sub-0003,wrist,left,failed,no bone was found,,,
sub-0003,ankle,left,curated,,,,13.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three virtual women at coarse voxels."""
    return new_cohort(tmp_path_factory.mktemp("virtual"), n=3, voxel_mm=0.5, slices=4, seed=4)


@pytest.fixture
def make(folder, tmp_path):
    """Open a panel of a reader; the first one finds no decisions, and all of them three flagged scans."""
    (folder / "review.csv").unlink(missing_ok=True)
    (tmp_path / "curation.csv").write_text(CURATION, encoding="utf-8")

    def open_panel(reviewer: str = "AB") -> ReviewPanel:
        return ReviewPanel(load_cohort(folder), run=Run(tmp_path), reviewer=reviewer, height="200px")

    return open_panel


def order(panel: ReviewPanel, steps: int) -> list[str]:
    """The scans that a panel shows when it is skipped through, as 1w for the first woman's wrist."""
    seen = []
    for _ in range(steps):
        person, site = panel.current
        seen.append(f"{person[-1]}{site[0]}")
        panel.press("s")
    return seen


def test_buttons_and_keys_decide_at_once(make, folder):
    """A killed kernel costs nothing: all that was decided is in the file."""
    panel = make()
    first = panel.current
    panel.grade.value = 2
    panel.accept.click()
    second = panel.current
    assert second != first
    panel.press("4")
    assert panel.grade.value == 4
    assert "severe): <strong>4" in panel.name.value
    panel.press("r")
    assert panel.grade.value is None, "of the scan before"
    found = standing(read_reviews(folder))
    assert found["decision"].tolist() == ["accept", "reject"]
    assert found["motion_grade"].tolist() == [2, 4]
    third = panel.current
    panel.skip.click()
    assert panel.current not in (first, second, third)
    assert "2 of 6 judged" in panel.progress.value


def test_a_new_panel_goes_on_where_the_reader_stopped(make, folder, tmp_path):
    """Also when she writes her initials small; another reader begins at the beginning."""
    panel = make()
    for key in "2a3r":
        panel.press(key)
    third = panel.current
    others = {who: ReviewPanel(load_cohort(folder), run=Run(tmp_path), reviewer=who) for who in ("AB", " ab", "CD")}
    assert [others[who].current for who in ("AB", " ab")] == [third, third]
    assert others["CD"].current == ("sub-0001", "wrist")
    others[" ab"].press("u")
    assert others[" ab"].current == ("sub-0001", "ankle")
    assert len(standing(read_reviews(folder))) == 1


def test_nobody_decides_without_a_name_and_the_end_is_said(make, folder):
    """A decision of nobody cannot be asked about later."""
    panel = make("")
    panel.accept.click()
    assert read_reviews(folder).empty
    assert "Give your initials" in panel.progress.value
    panel.reviewer.value = "AB"
    for _ in range(6):
        panel.press("1")
        panel.press("a")
    assert "All 6 scans are judged" in panel.name.value
    panel.accept.click()
    assert len(read_reviews(folder)) == 6
    panel.press("u")
    assert panel.current == ("sub-0003", "ankle")


def test_the_reader_does_not_see_the_outcome(make):
    """A grade given with the fracture in mind would leak it into what is left out."""

    def texts(widget) -> list[str]:
        own = [str(getattr(widget, name, "")) for name in ("value", "description", "placeholder", "alt", "tooltip")]
        return own + [text for child in getattr(widget, "children", ()) for text in texts(child)]

    assert "fracture" not in " ".join(text for text in texts(make()) if len(text) < 2000)


def test_flags_are_shown_after_the_judgement_or_when_asked_for(make):
    """Who knows that a program doubts a scan grades it worse."""
    panel = make()
    panel.press("s")
    assert panel.current == ("sub-0001", "ankle")
    assert "cut by" not in panel.said.value + panel.name.value
    panel.tell_flags.value = True
    assert "cut by the field of view" in panel.said.value
    panel.tell_flags.value = False
    assert "cut by" not in panel.said.value
    panel.press("2")
    panel.press("a")
    assert "sub-0001, ankle: accepted, motion grade 2. Its automatic flags: tibia: cut by" in panel.said.value
    panel.undecided.value = False
    panel.press("u")
    assert "cut by" not in panel.said.value, "undecided again"


def test_scans_are_filtered_and_sorted_by_their_flags(make):
    """Thirty flagged scans among a hundred and twenty, the worst first; a scan that failed weighs most."""
    panel = make()
    assert order(panel, 6) == ["1w", "1a", "2w", "2a", "3w", "3a"]
    panel.only_flagged.value = True
    panel.press("s")
    assert order(panel, 4) == ["1a", "2w", "3w", "1a"]
    panel.heaviest.value = True
    while panel.current != ("sub-0003", "wrist"):
        panel.press("s")
    assert order(panel, 4) == ["3w", "2w", "1a", "3w"]
    panel.only_flagged.value = panel.heaviest.value = False
    panel.go_on(first=("sub-0001", "wrist"))
    panel.press("f")
    assert panel.current == ("sub-0001", "ankle")
    panel.press("3")
    panel.press("r")
    panel.press("f")
    assert panel.current == ("sub-0003", "wrist")
    panel.flagged.button.value = True
    go = panel.flagged.place.children[1].children[0]
    go.click()
    assert panel.current == ("sub-0002", "wrist")


def test_without_a_grade_it_is_asked_once_more_and_kept_as_ungraded(make, folder):
    """A held key accepted six scans ungraded within a second."""
    panel = make()
    first = panel.current
    panel.press("a")
    assert "No motion grade" in panel.said.value
    assert read_reviews(folder).empty
    panel.press("r")
    assert "r again to reject it ungraded" in panel.said.value, "another decision is asked for anew"
    panel.press("2")
    assert "No motion grade" not in panel.said.value
    panel.grade.value = None
    panel.press("a")
    panel.press("a")
    assert panel.current != first
    assert "accepted, ungraded" in panel.said.value
    assert read_reviews(folder)["motion_grade"].isna().all()


def test_nothing_is_decided_before_the_scan_is_on_the_screen(make, folder):
    """A second click, or a key that waited in a queue, would judge a scan that nobody saw."""
    panel = make()
    picture = panel._viewer.planes["axial"]
    picture.shown = picture.serial  # what a browser says
    old = picture.serial
    panel._key({"type": "key", "key": "2", "serial": old})
    panel._key({"type": "key", "key": "a", "serial": old})
    assert len(read_reviews(folder)) == 1
    panel._key({"type": "key", "key": "a", "serial": old})
    panel.grade.value = 1
    panel.accept.click()
    assert len(read_reviews(folder)) == 1
    picture.shown = picture.serial
    panel.accept.click()
    assert len(read_reviews(folder)) == 2


def test_a_scan_that_cannot_be_read_can_still_be_rejected(folder, make):
    """A broken file must not stop the reader, and there is nothing to grade."""
    file = folder / load_cohort(folder).scans["file"].iloc[0]
    content = file.read_bytes()
    try:
        file.write_bytes(content[:200])
        panel = make()
        assert file.name in panel.said.value
        assert str(folder) not in panel.said.value
        panel.reject.click()
    finally:
        file.write_bytes(content)
    assert standing(read_reviews(folder))["decision"].tolist() == ["reject"]


def test_a_decision_that_was_not_kept_is_said_and_the_scan_stays(make, folder):
    """In a folder that cannot be written a click would do nothing, and say nothing."""
    panel = make()
    first = panel.current
    (folder / "review.csv").symlink_to(folder / "nowhere" / "review.csv")
    try:
        panel.grade.value, panel.remark.value = 4, "moved"
        for _ in range(2):
            panel.reject.click()
            assert panel.said.value.count("was NOT kept") == 1
            assert f"<strong>{first[0]}, {first[1]}</strong>" in panel.name.value
        assert (panel.current, panel.grade.value, panel.remark.value) == (first, 4, "moved")
        assert "0 of 6 judged" in panel.progress.value
    finally:
        (folder / "review.csv").unlink()
    panel.reject.click()
    assert "NOT" not in panel.said.value
    assert panel.current != first


def test_a_table_of_decisions_that_was_spoilt_meanwhile_is_said(make, folder):
    """Someone had it open in a spreadsheet."""
    panel = make()
    panel.press("1")
    panel.accept.click()
    (folder / "review.csv").write_text("who,what\n", encoding="utf-8")
    panel.undo.click()
    assert "review.csv has the columns who, what" in panel.said.value
