"""Splits by patient, and Table 1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepqct.cohort import load_cohort, make_splits, table_one


def test_splits_are_by_patient_stratified_and_repeatable():
    """One patient on two sides of a split would leak; folds without events cannot be scored."""
    outcome = pd.Series([1] * 12 + [0] * 24, index=[f"sub-{i:04d}" for i in range(36)])
    splits = make_splits(outcome, folds=3, repeats=2, seed=3)
    for _, part in splits.groupby(["protocol", "repeat"]):
        assert part["participant_id"].is_unique
        assert set(part["participant_id"]) == set(outcome.index)
        events = part.assign(event=part["participant_id"].map(outcome)).groupby("fold")["event"].sum()
        assert (events >= 1).all()
    folds_of_all = splits.query("protocol == 'all' and repeat == 0")["fold"]
    assert "test" not in set(folds_of_all)
    assert splits.query("protocol == 'as-published' and repeat == 0")["fold"].eq("test").sum() == 3
    first, second = (
        splits.query("protocol == 'all' and repeat == @r").set_index("participant_id")["fold"] for r in (0, 1)
    )
    assert (first != second).any()
    again = make_splits(outcome.sample(frac=1, random_state=1), folds=3, repeats=2, seed=3)
    pd.testing.assert_frame_equal(splits, again)


def test_rows_of_one_patient_stay_together():
    """The same slices under two ids, one on each side, would let a network recognise what it has seen."""
    people = [f"sub-{i:04d}" for i in range(60)]
    outcome = pd.Series(np.arange(60) % 3 == 0, index=people).astype(int)
    groups = pd.Series([f"woman {i // 2}" for i in range(40)] + [None] * 20, index=people)
    splits = make_splits(outcome, patients=groups, folds=5, repeats=3, seed=1)
    assert len(splits) == (3 + 1) * 60
    placed = splits.assign(group=splits["participant_id"].map(groups)).dropna(subset="group")
    assert placed.groupby(["protocol", "repeat", "group"])["fold"].nunique().eq(1).all()
    alone = make_splits(outcome, folds=5, repeats=3, seed=1)
    apart = alone.assign(group=alone["participant_id"].map(groups)).dropna(subset="group")
    assert not apart.groupby(["protocol", "repeat", "group"])["fold"].nunique().eq(1).all(), "the test can fail"
    single = splits[splits["participant_id"].isin(people[40:]) & (splits["protocol"] == "all")]
    assert single["fold"].nunique() == 5


def test_the_published_split_of_216_women_is_195_and_21():
    """The preprint reports 195 for development and 21 for the test."""
    outcome = pd.Series(np.arange(216) % 3 == 0, index=[f"sub-{i:04d}" for i in range(216)]).astype(int)
    test = make_splits(outcome, protocols=["as-published"], seed=1)["fold"].eq("test").sum()
    assert test == 21


def test_too_many_folds_are_refused():
    """A fold without an event would give no AUC; better said before the training than after."""
    outcome = pd.Series([1, 1, 0, 0, 0, 0], index=list("abcdef"))
    with pytest.raises(ValueError, match=r"the rarer one has 2; set folds=2\."):
        make_splits(outcome, protocols=["all"], folds=3)


@pytest.mark.parametrize(
    ("events", "n", "chosen", "mend"),
    [
        (4, 12, {"protocols": ["all"], "folds": 6}, "the rarer one has 4; set folds=4 or lower."),
        (1, 12, {"protocols": ["all"], "folds": 2}, "the rarer one has 1; add patients."),
        (2, 4, {"folds": 2}, "takes 2 of 4 patients and leaves 1 of the rarer outcome for 2 folds; set protocols=all."),
        (10, 20, {"folds": 6, "test_fraction": 0.7}, "for 6 folds; set protocols=all, or a smaller test_fraction."),
        (10, 20, {"folds": 2, "test_fraction": 0.99}, "for 2 folds; set protocols=all, or a smaller test_fraction."),
        (2, 20, {"folds": 2, "test_fraction": 0.9}, "leaves 0 of the rarer outcome"),
    ],
)
def test_what_is_advised_against_too_many_folds_is_allowed(events, n, chosen, mend):
    """“Lower folds” is no advice where 2 is the lowest, or where the test set is what takes the patients."""
    outcome = pd.Series([1] * events + [0] * (n - events), index=[f"P{i:02d}" for i in range(n)])
    with pytest.raises(ValueError, match="folds") as error:
        make_splits(outcome, **chosen)
    assert mend in str(error.value)


def test_table_one_counts_by_outcome(make_cohort):
    """Table 1 is what a reviewer checks first."""
    table = table_one(load_cohort(make_cohort())).set_index("variable")
    assert table.loc["n"].tolist()[:3] == ["8", "4", "4"]
    assert table.loc["age, years", "all"] == "63.5 (2.4)"
    assert table.loc["age, years", "fracture"].startswith("64.0")
