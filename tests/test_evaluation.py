"""Discrimination and calibration: right against known answers, honest where there is too little."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from deepqct.evaluation import auc_interval, calibrate_out_of_fold, roc_points


def test_auc_agrees_with_scikit_learn_ties_included():
    """Ties count one half; a rank formula that forgets them is off on coarse scores."""
    rng = np.random.default_rng(0)
    outcome = rng.random(200) < 0.3
    score = np.round(rng.normal(outcome * 0.8), 1)
    estimate = auc_interval(outcome, score)
    assert estimate.value == pytest.approx(roc_auc_score(outcome, score), abs=1e-12)
    assert (estimate.n, estimate.events) == (200, int(outcome.sum()))
    assert estimate.low < estimate.value < estimate.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """An interval that is too narrow makes noise look like a result."""
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(0.9 / np.sqrt(2))
    hits = 0
    for _ in range(400):
        score = np.r_[rng.normal(0, 1, 60), rng.normal(0.9, 1, 30)]
        estimate = auc_interval(np.r_[np.zeros(60), np.ones(30)], score)
        hits += estimate.low <= truth <= estimate.high
    assert 0.92 <= hits / 400 <= 0.98


def test_few_events_are_not_estimable():
    """Four events allow any figure; none is given."""
    outcome = np.r_[np.ones(4), np.zeros(40)]
    estimate = auc_interval(outcome, np.arange(44.0))
    assert not estimate.estimable
    assert str(estimate) == "not estimable (n 44, 4 events)"
    assert roc_points(outcome, np.arange(44.0)).empty


def test_perfect_separation_has_an_interval():
    """DeLong's variance is 0 there, and an interval of no width would be a lie."""
    outcome, score = np.r_[np.zeros(10), np.ones(10)], np.arange(20.0)
    estimate = auc_interval(outcome, score)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025**0.1)
    turned = auc_interval(outcome, -score)
    assert (turned.value, turned.low, turned.high) == (0.0, 0.0, pytest.approx(1 - 0.025**0.1))


def test_the_interval_is_delongs_pair_by_pair():
    """Midranks are a short cut; a slip in them gives a plausible interval that is not DeLong's."""
    rng = np.random.default_rng(5)
    outcome = rng.random(70) < 0.4
    score = np.round(rng.normal(outcome), 1)
    won = np.sign(score[outcome][:, None] - score[~outcome][None]) / 2 + 0.5
    variance = won.mean(1).var(ddof=1) / won.shape[0] + won.mean(0).var(ddof=1) / won.shape[1]
    half = 1.959964 * np.sqrt(variance) / (won.mean() * (1 - won.mean()))
    estimate = auc_interval(outcome, score)
    ends = np.log([estimate.low / (1 - estimate.low), estimate.high / (1 - estimate.high)])
    np.testing.assert_allclose(ends, np.log(won.mean() / (1 - won.mean())) + np.array([-half, half]), rtol=1e-6)


def test_missing_scores_are_left_out_and_counted():
    """A patient without a scan has no score; n must say so."""
    outcome = np.r_[np.zeros(10), np.ones(10)]
    score = np.r_[np.nan, np.arange(19.0)]
    assert auc_interval(outcome, score).n == 19
    with pytest.raises(ValueError, match="0 or 1"):
        auc_interval([0, 1, 2], [1, 2, 3])


def test_the_band_holds_the_curve():
    """A band that misses its own curve would be drawn from other patients."""
    rng = np.random.default_rng(2)
    outcome = rng.random(80) < 0.4
    points = roc_points(outcome, rng.normal(outcome))
    assert len(points) == 101
    assert (points["low"] <= points["true_positive_rate"] + 1e-9).mean() > 0.95
    assert points["true_positive_rate"].is_monotonic_increasing


def test_the_curve_agrees_with_scikit_learn_ties_included():
    """Tied patients move the curve together; one by one they would flatter it."""
    rng = np.random.default_rng(6)
    outcome = rng.random(80) < 0.4
    score = np.round(rng.normal(outcome))
    points = roc_points(outcome, score, draws=20)
    false, true, _ = roc_curve(outcome, score)
    np.testing.assert_allclose(points["true_positive_rate"], np.interp(points["false_positive_rate"], false, true))


def frame(seed: int = 3, n: int = 90) -> tuple[pd.DataFrame, pd.Series]:
    """Scores of three folds and a small test set."""
    rng = np.random.default_rng(seed)
    people = [f"sub-{i:04d}" for i in range(n)]
    outcome = pd.Series((rng.random(n) < 0.4).astype(int), index=people)
    fold = np.r_[np.arange(n - 9) % 3, np.full(9, -1)]
    scores = pd.DataFrame({"protocol": "all", "repeat": 0, "participant_id": people, "score": rng.normal(outcome) * 4})
    scores["fold"] = np.where(fold < 0, "test", fold.astype(str))
    scores["split"] = np.where(fold < 0, "test", "out-of-fold")
    return scores, outcome


def test_calibration_never_sees_the_patients_it_is_applied_to():
    """Turning round a fold's own outcomes must leave its own risks, and change those of the others."""
    scores, outcome = frame()
    risk = calibrate_out_of_fold(scores, outcome=outcome).set_index("participant_id")["risk"]
    for fold in ("0", "test"):
        mine = scores.loc[scores["fold"] == fold, "participant_id"]
        turned = outcome.where(~outcome.index.isin(mine), 1 - outcome)
        other = calibrate_out_of_fold(scores, outcome=turned).set_index("participant_id")["risk"]
        np.testing.assert_array_equal(other[mine], risk[mine])
        if fold == "0":
            assert (other.drop(mine) != risk.drop(mine)).any()


def test_calibrated_risks_match_their_frequency():
    """A risk of 40 % that means 20 % misleads the woman who hears it."""
    scores, outcome = frame(seed=4, n=3000)
    table = calibrate_out_of_fold(scores, outcome=outcome)
    event = table["participant_id"].map(outcome)
    for _, part in table.assign(event=event).groupby(pd.qcut(table["risk"], 5)):
        assert part["risk"].mean() == pytest.approx(part["event"].mean(), abs=0.06)
