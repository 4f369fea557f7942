"""Discrimination and calibration: right against known answers, honest where there is too little."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import trainings
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from deepqct import evaluation
from deepqct.evaluation import auc, calibrate_out_of_fold, roc_points


def test_auc_agrees_with_scikit_learn_ties_included():
    """Ties count one half; a rank formula that forgets them is off on coarse scores."""
    rng = np.random.default_rng(0)
    outcome = rng.random(200) < 0.3
    score = np.round(rng.normal(outcome * 0.8), 1)
    estimate = auc(outcome, score)
    assert estimate.estimate == pytest.approx(roc_auc_score(outcome, score), abs=1e-12)
    assert (estimate.n, estimate.events) == (200, int(outcome.sum()))
    assert estimate.low < estimate.estimate < estimate.high


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """An interval that is too narrow makes noise look like a result."""
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(0.9 / np.sqrt(2))
    hits = 0
    for _ in range(400):
        score = np.r_[rng.normal(0, 1, 60), rng.normal(0.9, 1, 30)]
        estimate = auc(np.r_[np.zeros(60), np.ones(30)], score)
        hits += estimate.low <= truth <= estimate.high
    assert 0.92 <= hits / 400 <= 0.98


def test_few_events_are_not_estimable():
    """Four events allow any figure; none is given."""
    outcome = np.r_[np.ones(4), np.zeros(40)]
    estimate = auc(outcome, np.arange(44.0))
    assert not estimate.estimable
    assert str(estimate) == "not estimable (n 44, 4 events)"
    assert roc_points(outcome, np.arange(44.0)).empty


def test_perfect_separation_has_an_interval():
    """DeLong's variance is 0 there, and an interval of no width would be a lie."""
    outcome, score = np.r_[np.zeros(10), np.ones(10)], np.arange(20.0)
    estimate = auc(outcome, score)
    assert (estimate.estimate, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025**0.1)
    turned = auc(outcome, -score)
    assert (turned.estimate, turned.low, turned.high) == (0.0, 0.0, pytest.approx(1 - 0.025**0.1))


def test_the_interval_is_delongs_pair_by_pair():
    """Midranks are a short cut; a slip in them gives a plausible interval that is not DeLong's."""
    rng = np.random.default_rng(5)
    outcome = rng.random(70) < 0.4
    score = np.round(rng.normal(outcome), 1)
    won = np.sign(score[outcome][:, None] - score[~outcome][None]) / 2 + 0.5
    variance = won.mean(1).var(ddof=1) / won.shape[0] + won.mean(0).var(ddof=1) / won.shape[1]
    half = 1.959964 * np.sqrt(variance) / (won.mean() * (1 - won.mean()))
    estimate = auc(outcome, score)
    ends = np.log([estimate.low / (1 - estimate.low), estimate.high / (1 - estimate.high)])
    np.testing.assert_allclose(ends, np.log(won.mean() / (1 - won.mean())) + np.array([-half, half]), rtol=1e-6)


def test_missing_scores_are_left_out_and_counted():
    """A patient without a scan has no score; n must say so."""
    outcome = np.r_[np.zeros(10), np.ones(10)]
    score = np.r_[np.nan, np.arange(19.0)]
    assert auc(outcome, score).n == 19
    with pytest.raises(ValueError, match="0 or 1"):
        auc([0, 1, 2], [1, 2, 3])


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


def sample(n: int = 120, *, seed: int = 0, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outcome and a score."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.35).astype(int)
    return y, rng.normal(y * effect)


def test_the_bootstrap_interval_is_scipys_own():
    """Counting pairs by matrices must be the same as drawing women one by one."""
    y, score = sample(60)
    drawn = stats.bootstrap(
        (score[y == 1], score[y == 0]),
        lambda a, b: np.mean(np.sign(a[:, None] - b[None])) / 2 + 0.5,
        n_resamples=2000, vectorized=False, method="BCa", rng=np.random.default_rng(0),
    )  # fmt: skip
    row = auc(y, score, method="bca").row()
    assert row["low"] == pytest.approx(drawn.confidence_interval.low, abs=1e-9)
    assert row["high"] == pytest.approx(drawn.confidence_interval.high, abs=1e-9)


def test_several_repeats_are_averaged_and_not_their_scores():
    """The mean score is of an ensemble that nobody will use, and scores better than its members."""
    y, score = sample()
    rng = np.random.default_rng(1)
    repeats = score[:, None] + rng.normal(scale=1.5, size=(len(y), 5))
    estimate = auc(y, repeats)
    each = [auc(y, column).estimate for column in repeats.T]
    assert estimate.estimate == pytest.approx(np.mean(each))
    assert auc(y, repeats.mean(axis=1)).estimate > estimate.estimate
    assert auc(y, np.column_stack([score] * 3)).low == pytest.approx(auc(y, score).low)


def test_a_paired_comparison_is_narrower_than_two_intervals():
    """Compared as if unpaired, two alike scores never differ."""
    y, score = sample(200)
    other = score + np.random.default_rng(2).normal(scale=0.5, size=200)
    for method in ("delong", "bca"):
        row = evaluation.compare_auc(y, score, other, method=method).row()
        alone = auc(y, score)
        assert row["high"] - row["low"] < 0.8 * (alone.high - alone.low)
        assert row["estimate"] == pytest.approx(alone.estimate - auc(y, other).estimate)
    assert evaluation.compare_auc(y, score, score).p == 1


def test_noninferiority_is_a_matter_of_the_interval_and_the_margin():
    """A p of a difference says nothing on it: of few women everything is alike."""
    y, score = sample(2000)
    slightly = score + np.random.default_rng(3).normal(scale=0.3, size=2000)
    wide = evaluation.noninferiority(y, slightly, score, margin=0.05)
    tight = evaluation.noninferiority(y, slightly, score, margin=0.005)
    assert (wide.non_inferior, tight.non_inferior) == (True, False)
    assert wide.p < 0.025 < tight.p
    assert wide.low > -0.05
    few = evaluation.noninferiority(y[:20], slightly[:20], score[:20] * 0 + slightly[:20][::-1])
    assert not few.non_inferior
    with pytest.raises(ValueError, match="margin is 0; a margin"):
        evaluation.noninferiority(y, slightly, score, margin=0)


def test_the_interval_of_a_trained_difference_covers_the_mean_over_trainings():
    """DeLong's own takes the trainings at hand for all that there are: 400 cohorts show how much that promises."""
    true, spread = trainings.truth()
    assert spread == pytest.approx(0.03, abs=0.002), "as large as DeLong's error of a paired difference in 216 women"
    held = {False: 0, True: 0}
    for seed in range(400):
        y, index, network = trainings.cohort(np.random.default_rng(seed))
        for trained in held:
            found = evaluation.compare_auc(y, network, np.tile(index[:, None], 3), trained=(trained, False))
            held[trained] += found.low <= true <= found.high
    assert 0.93 <= held[True] / 400 <= 0.97
    assert held[False] / 400 < 0.93


def test_training_widens_and_moves_nothing():
    """One training tells nothing of others: the constant of the code stands in. From three on they are measured."""
    y, index, network = trainings.cohort(np.random.default_rng(1), trainings=5)
    both = np.tile(index[:, None], 5)
    for columns in (1, 2, 3, 5):
        pair = (y, network[:, :columns], both[:, :columns])
        plain, wide = (evaluation.compare_auc(*pair, trained=(t, False)) for t in (False, True))
        assert wide.estimate == plain.estimate
        assert wide.low < plain.low
        assert wide.p > plain.p
        own = evaluation.auc(y, network[:, :columns], method="wald")
        added = (wide.high - wide.low) ** 2 - (plain.high - plain.low) ** 2
        by_constant = (evaluation.NETWORKS_VARY**2 - 1) * (own.high - own.low) ** 2 / columns
        assert (added == pytest.approx(by_constant, rel=1e-6)) == (columns < evaluation.FEWEST_TRAININGS)
    same = np.tile(network[:, :1], 3)
    once = evaluation.compare_auc(y, same[:, :1], both[:, :1])
    assert evaluation.compare_auc(y, same, both[:, :3], trained=(True, False)).high == pytest.approx(once.high)
    with pytest.raises(ValueError, match="'bca' for a trained score"):
        evaluation.compare_auc(y, network, both, method="bca", trained=(True, False))


def test_the_verdict_of_a_trained_score_is_that_of_its_interval():
    """A p from another distribution than the interval would let the two contradict each other."""
    y, index, network = trainings.cohort(np.random.default_rng(2), n=2000)
    for margin in np.arange(0.02, 0.3, 0.02):
        found = evaluation.noninferiority(y, network, np.tile(index[:, None], 3), margin=margin, trained=(True, False))
        assert found.non_inferior == (found.p < 0.025)
    assert found.non_inferior


def test_no_variance_is_no_certainty():
    """Two scores that both separate ten women differ by 0, and how surely nobody knows."""
    y, score = np.r_[np.zeros(5), np.ones(5)], np.arange(10.0)
    other = score.copy()
    other[[0, 1]] = other[[1, 0]]
    assert np.isnan([evaluation.compare_auc(y, score, other).estimate, evaluation.compare_auc(y, score, other).p]).all()
    row = evaluation.noninferiority(y, score, other)
    assert np.isnan(row.p)
    assert row.non_inferior is None
    assert np.isnan(
        [evaluation.compare_auc(y, score, np.zeros(10)).estimate, evaluation.compare_auc(y, score, np.zeros(10)).p]
    ).all()
    with pytest.raises(ValueError, match="10 outcomes, 10 and 9 scores"):
        evaluation.compare_auc(y, score, score[:9])


def test_below_five_events_nothing_is_given():
    """The rule holds for every function, not for the AUC alone."""
    y, score = np.r_[np.ones(4), np.zeros(20)], np.arange(24.0)
    assert np.isnan(evaluation.best_by_chance(y, pd.DataFrame({"a": score})).observed)
    assert np.isnan(evaluation.auc_632_plus(y, score[:, None], lambda known, label, new: new[:, 0]).estimate)
    assert evaluation.classification(y, score > 12)["estimate"].isna().all()
    assert evaluation.reclassification(y, before=score > 12, after=score > 10)["estimate"].isna().all()
    assert np.isnan(evaluation.permutation_p(np.nan, lambda rng: 0.5, permutations=19).p)
    with pytest.raises(ValueError, match="leave out those whose outcome is not known"):
        evaluation.classification(np.r_[y, np.nan], np.r_[score, 1] > 12)


def test_the_intercept_of_risks_that_are_far_off_is_found():
    """A calculator may say 2 % where a third has the event; a full Newton step runs away from there."""
    rng = np.random.default_rng(8)
    y = np.r_[np.ones(70), np.zeros(146)]
    found = evaluation.calibration_measures(y, rng.uniform(0.015, 0.025, 216)).set_index("measure")
    assert found.loc["intercept", "estimate"] == pytest.approx(np.log(70 / 146) - np.log(0.02 / 0.98), abs=0.1)
    assert evaluation.calibration_curve(y, np.r_[np.full(206, 0.3), rng.random(10)], draws=5).empty


def test_chance_is_rejected_one_time_in_twenty():
    """The p of every model rests on it."""
    p = np.array([evaluation.better_than_chance(*sample(150, seed=seed, effect=0.0)) for seed in range(600)])
    assert 0.025 < (p < 0.05).mean() < 0.075
    assert evaluation.better_than_chance(np.r_[np.zeros(9), np.ones(9)], np.arange(18.0)) < 0.01


def test_auprc_of_a_useless_score_is_the_prevalence():
    """Read like an AUC, 0.5 would look like chance."""
    y, score = sample(4000, effect=0.0)
    row = evaluation.auprc(y, score).row()
    assert row["estimate"] == pytest.approx(y.mean(), abs=0.03)
    assert row["low"] < row["estimate"] < row["high"]


def test_calibration_finds_what_was_put_in():
    """Risks whose logits were doubled and shifted have a slope of one half."""
    rng = np.random.default_rng(4)
    logit = rng.normal(-0.7, 1.0, 20000)
    y = rng.random(20000) < 1 / (1 + np.exp(-logit))
    right = evaluation.calibration_measures(y, 1 / (1 + np.exp(-logit))).set_index("measure")["estimate"]
    extreme = evaluation.calibration_measures(y, 1 / (1 + np.exp(-2 * logit))).set_index("measure")["estimate"]
    assert right["slope"] == pytest.approx(1, abs=0.05)
    assert right["intercept"] == pytest.approx(0, abs=0.05)
    assert extreme["slope"] == pytest.approx(0.5, abs=0.03)
    assert extreme["Brier"] > right["Brier"]
    useless = evaluation.calibration_measures(y, np.full(len(y), y.mean())).set_index("measure")["estimate"]
    assert useless["scaled Brier"] == pytest.approx(0, abs=1e-9)
    assert np.isnan(useless["slope"])
    with pytest.raises(ValueError, match="probabilities, not scores"):
        evaluation.calibration_measures(y, logit)


def test_risks_that_separate_the_outcomes_have_no_slope():
    """Newton's method would run away and print whatever it reached."""
    y = np.r_[np.zeros(30), np.ones(30)]
    found = evaluation.calibration_measures(y, np.r_[np.full(30, 0.2), np.full(30, 0.8)]).set_index("measure")[
        "estimate"
    ]
    assert np.isnan(found["slope"])
    assert np.isfinite(found["Brier"])


def test_the_smooth_curve_follows_the_diagonal_of_true_risks():
    """A smoother that bends by itself would show miscalibration where there is none."""
    rng = np.random.default_rng(5)
    risk = rng.beta(2, 4, 5000)
    curve = evaluation.calibration_curve(rng.random(5000) < risk, risk, draws=20)
    assert (curve["observed"] - curve["risk"]).abs().max() < 0.05
    assert (curve["low"] <= curve["high"]).all()
    assert evaluation.calibration_curve(np.r_[np.ones(3), np.zeros(40)], rng.random(43)).empty


def test_the_threshold_is_that_of_the_training_set():
    """By hand: five women, the third level splits best; a sensitivity of one takes the lowest event."""
    y, score = np.array([0, 0, 1, 0, 1, 1]), np.array([1.0, 2, 3, 4, 5, 6])
    assert evaluation.threshold_for(y, score) == 5.0
    assert evaluation.threshold_for(y, score, sensitivity=1.0) == 3.0
    assert evaluation.threshold_for(y, score, sensitivity=0.6) == 5.0
    assert np.isnan(evaluation.threshold_for(np.zeros(4), np.arange(4.0)))
    with pytest.raises(ValueError, match="sensitivity is 2"):
        evaluation.threshold_for(y, score, sensitivity=2)


def test_shares_count_their_own_women():
    """PPV is of those called, not of all; below 5 nothing is said."""
    y = np.r_[np.ones(20), np.zeros(40)]
    called = np.r_[np.ones(15), np.zeros(5), np.ones(10), np.zeros(29), np.nan]
    found = evaluation.classification(y, called).set_index("measure")
    assert (found.loc["sensitivity", "estimate"], found.loc["sensitivity", "n"]) == (0.75, 20)
    assert (found.loc["PPV", "estimate"], found.loc["PPV", "n"]) == (0.6, 25)
    assert found.loc["specificity", "n"] == 39
    assert np.isnan(evaluation.classification(y[:4], called[:4]).set_index("measure").loc["sensitivity", "estimate"])


def test_net_benefit_by_hand():
    """True positives less false ones at the odds of the threshold, a woman; treating none is worth nothing."""
    y = np.r_[np.ones(10), np.zeros(30)]
    risk = np.r_[np.full(8, 0.6), np.full(2, 0.1), np.full(6, 0.6), np.full(24, 0.1)]
    found = evaluation.net_benefit(y, risk, thresholds=[0.2]).set_index("strategy")["estimate"]
    assert found["model"] == pytest.approx(8 / 40 - 6 / 40 * 0.25)
    assert found["treat all"] == pytest.approx(10 / 40 - 30 / 40 * 0.25)
    assert found["treat none"] == 0
    with pytest.raises(ValueError, match=r"threshold 1\.5 is not between"):
        evaluation.net_benefit(y, risk, thresholds=[1.5])


def test_reclassification_keeps_events_and_others_apart():
    """Added up, three false alarms would pay for three found events."""
    y = np.r_[np.ones(10), np.zeros(20)]
    before, after = np.zeros(30), np.r_[np.ones(4), np.zeros(6), np.ones(3), np.zeros(17)]
    found = evaluation.reclassification(y, before=before, after=after).set_index("group")
    assert found.loc["events", "estimate"] == pytest.approx(0.4)
    assert found.loc["non-events", "estimate"] == pytest.approx(-0.15)
    assert (found.loc["non-events", "up"], found.loc["non-events", "down"]) == (3, 0)
    still = evaluation.reclassification(y, before=before, after=before).set_index("group")
    assert still.loc["events", "low"] < 0 < still.loc["events", "high"], "nobody moved of ten is no proof of none"


def test_holm_by_hand():
    """0.01, 0.02, 0.04 of three become 0.03, 0.04, 0.04; what is missing stays missing and does not count."""
    np.testing.assert_allclose(evaluation.holm([0.04, np.nan, 0.01, 0.02]), [0.04, np.nan, 0.03, 0.04])


def test_the_best_of_many_by_chance_is_what_simulation_gives():
    """Twenty unlike scores of noise reach more than one, and twenty copies of one do not."""
    rng = np.random.default_rng(6)
    y = rng.random(150) < 0.33
    unlike = pd.DataFrame(rng.normal(size=(150, 20)))
    alike = pd.DataFrame(np.repeat(unlike[[0]].to_numpy(), 20, axis=1))
    many, one = (evaluation.best_by_chance(y, table).row() for table in (unlike, alike))
    assert many["expected"] == pytest.approx(0.593, abs=0.012)
    assert one["expected"] == pytest.approx(0.5, abs=0.005)
    assert many["p"] > 0.05


def test_sample_size_is_that_of_the_published_example():
    """24 parameters, prevalence 0.174, R² of Cox and Snell 0.288: 623, 662 and 221 women (Riley 2020, pmsampsize)."""
    prevalence = 0.174
    largest = 1 - np.exp(2 * (prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence)))
    found = evaluation.sample_size(n=1000, events=174, parameters=24, nagelkerke=0.288 / largest)
    assert list(found["needed"]) == [623, 662, 221, 662]
    assert found["enough"].all()
    assert not evaluation.sample_size(n=600, events=104, parameters=24, nagelkerke=0.288 / largest)["enough"].iloc[-1]


def test_optimism_of_noise_is_taken_off():
    """A nearest neighbour knows its training set by heart: .632+ must say about one half."""
    rng = np.random.default_rng(7)
    y, x = np.arange(80) % 3 == 0, rng.normal(size=(80, 3))

    def nearest(known, label, new):
        return label[((new[:, None] - known[None]) ** 2).sum(-1).argmin(1)] + 0.0

    row = evaluation.auc_632_plus(y, x, nearest, draws=60)
    assert row.apparent == 1.0
    assert row.estimate == pytest.approx(0.5, abs=0.1)


def test_optimism_is_not_hidden_by_a_second_row_of_the_same_patient():
    """A left-out visit of a woman who was trained on looks like a new woman, and her outcome is known by heart."""
    rng = np.random.default_rng(7)
    y, x = np.repeat(np.arange(60) % 3 == 0, 2), np.repeat(rng.normal(size=(60, 3)), 2, axis=0)
    x += 0.01 * rng.normal(size=x.shape)

    def nearest(known, label, new):
        return label[((new[:, None] - known[None]) ** 2).sum(-1).argmin(1)] + 0.0

    alone, together = (
        evaluation.auc_632_plus(y, x, nearest, patients=groups, draws=40).estimate
        for groups in (None, np.arange(120) // 2)
    )
    assert alone > 0.7
    assert together == pytest.approx(0.5, abs=0.1)


def test_outcomes_are_dealt_out_by_patient_and_stratum():
    """Blocks of one size change places as a whole; nothing crosses a fold."""
    rng = np.random.default_rng(0)
    groups = np.array(list("aabbccdefghh"))
    y, within = np.array([0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0]), np.array([0] * 6 + [1] * 6)
    pairs = set()
    for _ in range(200):
        new = evaluation.permuted(y, rng, within=within, patients=groups)
        pairs.add(tuple(new[:6]))
        assert sorted(tuple(new[i : i + 2]) for i in (0, 2, 4)) == [(0, 0), (0, 1), (1, 1)]
        assert sorted(new[6:10]) == [0, 0, 1, 1]
        assert new[10:].tolist() == [1, 0], "the only pair of its fold"
    assert len(pairs) == 6
    assert sorted(evaluation.permuted(y, rng)) == sorted(y)
    with pytest.raises(ValueError, match="A patient lies in two strata"):
        evaluation.permuted(y, rng, within=np.arange(12), patients=groups)
