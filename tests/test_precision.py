"""Repeated measurements and lines between scanners, beside independent computations, textbooks and simulation."""

from __future__ import annotations

import math
from statistics import mean, median, stdev

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

import deepqct as dq
from deepqct.evaluation import (
    annual_change,
    auc,
    auc_lost_to_noise,
    by_chance,
    change_of,
    cramers_v,
    deming,
    icc,
    lines_of_sites,
    outcome_by_group,
    passing_bablok,
    people_for_precision,
    precision,
)
from deepqct.evaluation.repeats import each_scanner

REPEATS = ROOT.parent / "shared" / "real" / "repeat_scans"
# NCSS, Deming regression (example 1; variances of the errors .032 and .008) and Passing–Bablok regression (example 1), for
# which the tests of SimplyAgree (R) give what MethComp and deming (R) find: intercept −.15, slope 1.00.
DEMING = (
    [7, 8.3, 10.5, 9, 5.1, 8.2, 10.2, 10.3, 7.1, 5.9],
    [7.9, 8.2, 9.6, 9, 6.5, 7.3, 10.2, 10.6, 6.3, 5.2],
)
PASSING_BABLOK = (
    [69.3, 27.1, 61.3, 50.8, 34.4, 92.3, 57.5, 45.5, 33.3, 60.9, 56.3, 49.9, 89.7, 28.9, 96.3,
     76.6, 83.2, 79.4, 51.7, 32.5, 14.2, 99.1, 76.8, 95.4, 84.1, 48.8, 80.4, 84.5, 61.4, 26.9],
    [69.1, 26.7, 61.4, 51.2, 34.7, 88.5, 57.9, 45.1, 33.4, 60.8, 66.5, 48.2, 88.3, 29.3, 96.4,
     77.1, 82.7, 78.9, 51.6, 28.8, 12.7, 98.6, 77.3, 94.9, 83.3, 47.0, 80.9, 84.7, 61.3, 26.7],
)  # fmt: skip


def by_hand(people: dict[str, list[float]]) -> dict[str, float]:
    """RMS-SD and RMS-CV person by person, as Glüer writes them."""
    again = [values for values in people.values() if len(values) > 1]
    degrees = sum(len(values) - 1 for values in again)
    sd = math.sqrt(sum((len(v) - 1) * stdev(v) ** 2 for v in again) / degrees)
    cv = math.sqrt(sum((len(v) - 1) * (stdev(v) / mean(v)) ** 2 for v in again) / degrees)
    low, high = (math.sqrt(degrees / stats.chi2.isf(tail, degrees)) for tail in (0.025, 0.975))
    return {
        "rms_sd": sd, "rms_sd_low": sd * low, "rms_sd_high": sd * high,
        "rms_cv": cv, "rms_cv_low": cv * low, "rms_cv_high": cv * high,
        "lsc": 1.959963984540054 * math.sqrt(2) * sd, "degrees_of_freedom": degrees, "n": len(again),
    }  # fmt: skip


def test_precision_is_what_an_independent_computation_gives():
    """Pooled by degrees of freedom: people with more measurements count for more, once-measured ones for nothing."""
    rng = np.random.default_rng(3)
    people = {f"P{i}": list(rng.normal(200 + 10 * i, 1 + i / 5, size)) for i, size in enumerate([2, 3, 4, 2, 1, 2, 5])}
    rows = [(who, value) for who, values in people.items() for value in values]
    rows = [rows[i] for i in rng.permutation(len(rows))] + [("P0", np.nan), (None, 3.0)]
    found = precision(*zip(*rows, strict=True)).row()
    for name, value in by_hand(people).items():
        assert found[name] == pytest.approx(value, abs=1e-10), name
    assert found["lsc_low"] / found["lsc"] == pytest.approx(found["rms_sd_low"] / found["rms_sd"], abs=1e-10)


@pytest.mark.skipif(not REPEATS.is_dir(), reason="the repeat scans of real people are not beside this checkout")
def test_real_repeats_have_the_precision_of_an_independent_computation():
    """Every index and bone of the public repeat scans."""
    table = pd.read_csv(REPEATS / "in_vivo.csv")
    key = table[["person", "scanner", "registration", "time_point"]].astype(str).agg(" ".join, axis=1)
    compared = 0
    for _, rows in table.assign(key=key).groupby(["parameter", "bone", "registration"]):
        found = precision(rows["key"], rows["value"])
        if not found.degrees_of_freedom or np.isnan(found.rms_cv):
            continue
        means = rows.groupby("key")["value"].apply(list).to_dict()
        expected = by_hand({who: [abs(v) for v in values] for who, values in means.items()})
        assert found.row() == pytest.approx({**found.row(), **expected}, rel=1e-10)
        compared += 1
    assert compared > 60


@pytest.mark.parametrize(("people", "repeats"), [(15, 3), (30, 2), (8, 2)])
@pytest.mark.parametrize("constant", ["sd", "cv"])
def test_the_intervals_hold_the_truth_19_times_of_20(people, repeats, constant):
    """Coverage between 93 and 97 % in 1,000 simulated studies, also with few people."""
    rng = np.random.default_rng(people + repeats)
    who, studies, hits = np.repeat(np.arange(people), repeats), 1000, 0
    level = rng.uniform(100, 300, people)[who]
    for _ in range(studies):
        error = 0.03 * level if constant == "cv" else 3.0
        found = precision(who, level + error * rng.standard_normal(len(who)))
        if constant == "cv":
            hits += found.rms_cv_low <= 0.03 <= found.rms_cv_high
        else:
            hits += (found.rms_sd_low <= 3 <= found.rms_sd_high) and (found.lsc_low <= 8.3155 <= found.lsc_high)
    assert 0.93 <= hits / studies <= 0.97


def test_each_scanner_has_its_own_noise_and_n_counts_women():
    """Two women with repeats at three visits are two; a noisy scanner is not hidden behind a better one."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        [(f"P{k}", scanner, "", year, 300 + sd * rng.normal())
         for k, (scanner, sd) in enumerate([(0.061, 1.0)] * 60 + [(0.082, 3.0)] * 40)
         for year in (0.0, 2.0) for _ in range(2)],
        columns=["participant_id", "scanner", "centre", "years", "x"],
    )  # fmt: skip
    found = dict(each_scanner(rows, "x"))
    assert [(one.n, one.degrees_of_freedom) for one in found.values()] == [(100, 200), (60, 120), (40, 80)]
    assert [found[scanner].rms_sd for scanner in (0.061, 0.082)] == pytest.approx([1.0, 3.0], rel=0.15)
    assert [scanner for scanner, _ in each_scanner(rows[rows["scanner"] == 0.061], "x")] == [None]
    once = rows.drop_duplicates("participant_id").assign(scanner=0.1)
    assert list(dict(each_scanner(pd.concat([rows, once]), "x"))) == [None, 0.061, 0.082]


def test_what_has_no_precision_is_not_a_number():
    """Nobody twice; values around zero, whose share of the mean means nothing; and no noise at all."""
    once = precision(["A", "B"], [1.0, 2.0])
    assert math.isnan(once.rms_sd) and once.degrees_of_freedom == 0 and "not estimable" in str(once)
    scores = precision(["A", "A", "B", "B"], [-0.5, 0.2, 1.0, 1.4])
    assert math.isnan(scores.rms_cv) and scores.rms_sd > 0 and "RMS-CV" not in str(scores)
    assert precision(["A", "A"], [5.0, 5.0]).rms_sd_high == 0
    assert precision(["A", "A"], [-5.0, -4.0]).rms_cv == pytest.approx(precision(["A", "A"], [5.0, 4.0]).rms_cv)
    with pytest.raises(ValueError, match="equally long"):
        precision(["A"], [1.0, 2.0])


def test_the_rule_of_the_iscd_is_thirty_degrees_of_freedom():
    """30 people twice and 15 three times are enough, 29 twice are not."""
    values = np.random.default_rng(0).normal(100, 1, 60)
    assert precision(np.repeat(np.arange(30), 2), values).enough
    assert precision(np.repeat(np.arange(15), 3), values[:45]).enough
    assert not precision(np.repeat(np.arange(29), 2), values[:58]).enough


def test_enough_people_keep_the_interval_as_narrow_as_promised():
    """Simulated: in at least the promised share of studies, the upper end is not further off; with one less, it is."""
    rng = np.random.default_rng(1)
    people = people_for_precision(within=0.4, power=0.8)
    for n, enough in ((people, True), (people - 4, False)):
        upper = np.sqrt(rng.chisquare(n, 40_000) / n) * np.sqrt(n / stats.chi2.ppf(0.025, n))
        assert bool((upper <= 1.4).mean() >= 0.8 - 0.005) == enough
    for within, power, repeats in ((0.05, 0.5, 2), (0.4, 0.9, 3), (6.0, 0.5, 2), (30.0, 0.5, 2)):
        people = people_for_precision(within=within, power=power, repeats=repeats)
        degrees = (repeats - 1) * np.array([max(people - 1, 0), people])
        reached = stats.chi2.cdf((1 + within) ** 2 * stats.chi2.ppf(0.025, degrees), degrees)
        assert reached[1] >= power and not reached[0] >= power
    with pytest.raises(ValueError, match="at least 2"):
        people_for_precision(repeats=1)
    with pytest.raises(ValueError, match="more than a million people"):
        people_for_precision(within=1e-5)


def test_icc_is_that_of_shrout_and_fleiss():
    """Their table of 6 targets and 4 judges: ICC(2,1) = .29, from .02 to .76 as psych (R) has it."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    person, judge = np.indices(ratings.shape)
    found = icc(person.ravel(), judge.ravel(), ratings.ravel())
    assert [round(found[name], 2) for name in ("estimate", "low", "high")] == [0.29, 0.02, 0.76]
    # A missing session leaves that person out, and no other.
    partial = icc(person.ravel()[1:], judge.ravel()[1:], ratings.ravel()[1:])
    # One more session of one judge's subject leaves the rest as it was; what few have is no session of all.
    more = icc([*person.ravel(), 0, 1], [*judge.ravel(), 9, 9], [*ratings.ravel(), 7.0, np.nan])
    assert more == found and found["left_out"] == 0 and partial["left_out"] == 1
    own = icc(np.repeat(range(5), 2), [1, 2, 1, 2, 1, 2, 3, 4, 5, 6], [1.0, 2, 4, 4, 6, 7, 1, 1, 1, 1])
    assert (own["n"], own["sessions"], own["left_out"]) == (3, 2, 2) and np.isfinite(own["estimate"])
    opposite = icc([1, 1, 2, 2, 3, 3], [1, 2] * 3, [1.0, 3, 2, 2, 3, 1])
    assert opposite["estimate"] == pytest.approx(-3) and np.isnan(opposite["low"])
    assert partial["n"] == 5 and np.isnan(icc([1, 1, 2, 2], [1, 2, 1, 2], [1.0, 2, 3, 4])["estimate"])


def test_noise_that_is_added_is_what_comes_off_again():
    """Averaged over cohorts, the AUC without noise is found within .01 of the truth, and the noisy one lies well below."""
    rng, found = np.random.default_rng(5), []
    for _ in range(12):
        y = np.repeat([0, 1], 400)
        truth = y + rng.normal(0, 1, 800)
        result = auc_lost_to_noise(y, truth + rng.normal(0, 0.8, 800), sd=0.8, draws=20)
        found.append((auc(y, truth).estimate, result["without_noise"], result["auc"]))
    true, without, measured = np.mean(found, axis=0)
    assert abs(without - true) < 0.01 and measured < true - 0.03
    nothing = auc_lost_to_noise([0, 1] * 50, rng.normal(0, 1, 100), sd=1.0, draws=5)
    assert np.isnan(nothing["lost"]) and nothing["n"] == 100
    assert np.isnan(auc_lost_to_noise([0] * 9 + [1], range(10), sd=1.0)["auc"])
    with pytest.raises(ValueError, match="sd is -1"):
        auc_lost_to_noise([0, 1] * 9, range(18), sd=-1)


def test_the_interval_of_what_noise_costs_is_as_wide_as_the_estimate_varies():
    """Beside the SD of the estimate over simulated cohorts; a line that ends below nothing at no noise has none."""
    rng, found = np.random.default_rng(3), []
    for _ in range(40):
        y = np.repeat([0, 1], [140, 76])
        found.append(auc_lost_to_noise(y, y + rng.normal(size=216) + 0.7 * rng.normal(size=216), sd=0.7, draws=40))
    width = np.mean([one["high"] - one["low"] for one in found])
    assert 0.7 < width / (2 * 1.96 * np.std([one["lost"] for one in found])) < 1.4
    y = np.repeat([0, 1], 100)
    apart = auc_lost_to_noise(y, np.where(np.arange(200) == 0, 50.0, y), sd=3.0, draws=20)
    assert apart["auc"] > 0.9 and np.isnan([apart[name] for name in ("without_noise", "lost", "low", "high")]).all()


def test_deming_is_that_of_the_textbook_and_of_total_least_squares():
    """NCSS's example 1, an SVD for equal errors, and the jackknife done one pair at a time."""
    line = deming(*DEMING, error_ratio=0.25)
    assert (round(line.intercept, 5), round(line.slope, 5)) == (-0.08974, 1.00119)
    x, y = map(np.array, DEMING)
    axis = np.linalg.svd(np.column_stack([x - x.mean(), y - y.mean()]))[2][0]
    assert deming(x, y).slope == pytest.approx(axis[1] / axis[0], abs=1e-10)
    without = np.array([deming(np.delete(x, i), np.delete(y, i)).slope for i in range(10)])
    pseudo = 10 * deming(x, y).slope - 9 * without
    half = stats.t.ppf(0.975, 8) * pseudo.std(ddof=1) / np.sqrt(10)
    assert deming(x, y).slope_high == pytest.approx(deming(x, y).slope + half, abs=1e-10)


def test_passing_bablok_is_that_of_the_textbook_and_of_its_definition():
    """NCSS's example 1 as three packages for R have it, and all slopes counted one by one."""
    line = passing_bablok(*PASSING_BABLOK)
    assert (round(line.intercept, 4), round(line.slope, 4)) == (-0.15, 1.0)
    rng = np.random.default_rng(2)
    x = rng.normal(100, 20, 25).round()  # with ties
    y = (1.1 * x + rng.normal(0, 5, 25)).round()
    slopes = []
    for i in range(25):
        for j in range(i):
            if x[i] != x[j]:
                slopes.append((y[i] - y[j]) / (x[i] - x[j]))
            elif y[i] != y[j]:
                slopes.append(math.inf if y[j] > y[i] else -math.inf)
    slopes = sorted(s for s in slopes if s != -1)
    shifted = slopes[sum(s < -1 for s in slopes) :] + [math.inf] * sum(s < -1 for s in slopes)
    found = passing_bablok(x, y)
    assert found.slope == pytest.approx(median(shifted), abs=1e-10)
    assert found.intercept == pytest.approx(median(y - found.slope * x), abs=1e-10)
    assert found.slope_low < found.slope < found.slope_high


def test_what_has_no_line_is_not_a_number_and_a_falling_one_is_written_as_such():
    """One value alone, or two that fall together, say nothing of scanners; and a minus is a minus."""
    x = np.arange(1.0, 8.0)
    for line in (deming(x, 0 * x), deming(0 * x, x), passing_bablok(x, -2 * x), passing_bablok(x, -x)):
        assert np.isnan(line.slope) and str(line).startswith("not estimable (n 7")
    assert np.isnan(deming(x, np.array([1.0] * 6 + [2])).slope_low)  # the same without the last pair
    assert "+ −2.000 (−2.000 to −2.000) x" in str(deming(x, -2 * x))


def test_passing_bablok_draws_no_line_where_the_two_do_not_rise_together():
    """Falling and unrelated measurements have none, and a word why; of unrelated ones 1 of 20 seem to rise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(100, 200, 30)
    for slope in (-0.5, -0.9, -1.1):
        line = passing_bablok(x, 300 + slope * x + rng.normal(0, 2, 30))
        assert np.isnan(line.slope) and line.same is None
        assert str(line).startswith(
            "not estimable (n 30, passing-bablok: the two do not rise together, Kendall's tau −0."
        )
    lines = [passing_bablok(x, rng.uniform(100, 200, 30)) for _ in range(300)]
    assert 0.01 < np.mean([np.isfinite(line.slope) for line in lines]) < 0.09
    assert passing_bablok(x, 10 + 1.1 * x + rng.normal(0, 5, 30)).slope == pytest.approx(1.1, abs=0.3)
    assert "fewer than 5 pairs" in str(deming([1.0], [2.0])) and "the same in all pairs" in str(deming(x, 0 * x))


@pytest.mark.parametrize("method", [deming, passing_bablok])
def test_lines_between_scanners_hold_the_true_one_19_times_of_20(method):
    """Coverage of slope and intercept in 400 simulated studies of 40 people scanned on both."""
    rng, hits = np.random.default_rng(11), np.zeros(2)
    for _ in range(400):
        truth = rng.normal(250, 40, 40)
        line = method(truth + rng.normal(0, 5, 40), 12 + 1.06 * truth + rng.normal(0, 5, 40))
        hits += [line.slope_low <= 1.06 <= line.slope_high, line.intercept_low <= 12 <= line.intercept_high]
    assert (hits / 400 >= 0.93).all() and (hits / 400 <= 0.98).all()


def test_a_line_is_undone_and_refused_where_nothing_was_measured():
    """There and back; too few pairs; columns of unequal length; a ratio of variances that is none."""
    line = deming(*DEMING)
    assert line.to_first(line.to_second(np.array([5.0, 9.0]))) == pytest.approx([5, 9])
    assert line.same and "not estimable" in str(passing_bablok([1.0, 2.0], [1.0, 2.0]))
    for wrong in (lambda: deming([1.0], [1.0, 2.0]), lambda: deming(*DEMING, error_ratio=0)):
        with pytest.raises(ValueError, match=r"column|above 0"):
            wrong()


def test_the_one_site_that_measures_5_percent_more_is_found():
    """Of 13 sites, whichever it is; and without one, none is blamed in 19 of 20 studies."""
    rng, levels = np.random.default_rng(4), np.array([0.0, 100, 200, 400, 800])
    sites = np.repeat([f"S{i:02d}" for i in range(13)], 5)
    blamed = 0
    for planted in [f"S{i:02d}" for i in range(13)] + [None] * 60:
        scale = np.repeat(rng.normal(1, 0.005, 13), 5) * np.where(sites == planted, 1.05, 1)
        table = lines_of_sites(sites, np.tile(levels, 13), np.tile(levels, 13) * scale + rng.normal(0, 1.5, 65))
        odd = table.loc[table["odd"], "site"].tolist()
        if planted:
            assert planted in odd
        else:
            blamed += bool(odd)
    assert blamed / 60 < 0.15
    with pytest.raises(ValueError, match="2 sites"):
        lines_of_sites(["A", "B"] * 3, [1, 1, 2, 2, 3, 3], range(6))


@pytest.mark.parametrize("levels", [[100.0, 200, 400], [0.0, 100, 200, 400], [0.0, 100, 200, 400, 800]])
def test_a_site_is_told_from_the_others_also_where_levels_are_too_few_for_a_line(levels):
    """One that measures a half more is odd with 3, 4 and 5 levels, and no site is called usual unseen."""
    site, level = np.repeat([f"S{i:02d}" for i in range(13)], len(levels)), np.tile(levels, 13)
    value = level * np.where(site == "S03", 1.5, 1.0) + np.random.default_rng(0).normal(0, 1.5, len(level))
    table = lines_of_sites(site, level, value)
    assert table.loc[table["odd"], "site"].tolist() == ["S03"]
    assert table.set_index("site").loc["S03", "change"] == pytest.approx(0.5, abs=0.02)
    assert table["slope"].notna().all() == (len(levels) == 5)
    with pytest.raises(ValueError, match="mean 0"):
        lines_of_sites(site, level, 0 * level)


@pytest.mark.skipif(not REPEATS.is_dir(), reason="the phantoms of 13 sites are not beside this checkout")
def test_a_planted_offset_is_found_among_thirteen_real_sites():
    """Sites on the QC1 phantom, each made 5 % higher in turn."""
    table = pd.read_csv(REPEATS / "phantom_qc1.csv")
    found = []
    for planted in sorted(table["site"].unique()):
        value = table["value"] * np.where(table["site"] == planted, 1.05, 1)
        odd = lines_of_sites(table["site"], table["section"], value).query("odd")["site"].tolist()
        found.append(planted in odd)
    assert all(found) and len(found) == 13
    as_measured = lines_of_sites(table["site"], table["section"], table["value"])
    assert as_measured.loc[as_measured["odd"], "site"].tolist() == [
        "Southamptom"
    ]  # as the file spells it; 2.4 % higher


def test_cramers_v_is_nothing_by_chance_and_one_where_the_scanner_tells():
    """The correction takes off what small groups give by chance; the plain V does not."""
    rng = np.random.default_rng(6)
    drawn = [cramers_v(rng.integers(0, 2, 60), rng.integers(0, 4, 60)) for _ in range(200)]
    assert np.mean(drawn) < 0.09 and np.mean(np.array(drawn) >= 0.2) < 0.15
    y = np.array([0, 1] * 30)
    assert cramers_v(y, np.where(y == 1, "new", "old")) == pytest.approx(1, abs=0.02)
    assert np.isnan(cramers_v(y, ["one"] * 60)) and np.isnan(cramers_v([1] * 4, list("abcd")))
    with pytest.raises(ValueError, match="0 or 1"):
        cramers_v([0, 1, 2], list("abc"))


def test_of_groups_of_one_woman_each_nothing_is_told():
    """Each her own centre: the V is 0/0, chance gives as much every time, and an AUC of 1 with it."""
    y, own = [0, 1] * 10, list("abcdefghijklmnopqrst")
    assert np.isnan(cramers_v(y, own)) and np.isnan(cramers_v([0, 1], ["a", "b"]))
    chance = by_chance(y, own)
    assert chance.p == 1 and chance.auc == 1 == outcome_by_group(y, own).estimate
    assert np.isnan(by_chance(y, ["one"] * 20).p) and np.isnan(by_chance([1] * 20, own).auc)


def test_what_chance_gives_is_what_dealing_out_the_outcome_gives():
    """The same AUC as that of outcomes permuted one by one; 1 of 20 cohorts without association has p below .05."""
    rng = np.random.default_rng(12)
    centre, y = rng.integers(0, 12, 60), np.repeat([0, 1], [35, 25])
    drawn = [outcome_by_group(rng.permutation(y), centre).estimate for _ in range(200)]
    found = by_chance(y, centre)
    assert found.auc == pytest.approx(np.mean(drawn), abs=0.01) and found.auc > 0.65
    assert found == by_chance(y, centre) and (found.n, found.events) == (60, 25)
    tests = [by_chance(rng.permutation(y), centre, draws=200).p for _ in range(400)]
    assert 0.02 < np.mean(np.array(tests) < 0.05) < 0.08


def test_a_model_that_reads_the_scanner_reaches_the_auc_of_its_shares():
    """30 of 50 against 10 of 50: by hand, P(event's group has the larger share) + half of ties."""
    scanner = ["old"] * 50 + ["new"] * 50 + [None]
    found = outcome_by_group([1] * 30 + [0] * 20 + [1] * 10 + [0] * 40 + [1], scanner)
    old_event, old_none = 30 / 40, 20 / 60
    expected = old_event * (1 - old_none) + (old_event * old_none + (1 - old_event) * (1 - old_none)) / 2
    assert found.estimate == pytest.approx(expected) and found.n == 100
    assert not outcome_by_group([1] + [0] * 9, ["a", "b"] * 5).estimable


def test_nothing_below_the_least_significant_change_is_called_change():
    """Of two visits the rule is the LSC's own; of three without any change, 1 of 20 is called one."""
    lsc = 1.959963984540054 * math.sqrt(2) * 1.5
    for difference, changed in ((lsc * 0.999, False), (lsc * 1.001, True), (-lsc * 1.001, True)):
        table = annual_change(["A", "A", "B"], [0.0, 3.0, 1.0], [100.0, 100.0 + difference, 5.0], sd=1.5)
        assert table["person"].tolist() == ["A"] and table["changed"].tolist() == [changed]
        assert table["change"].item() == pytest.approx(difference / 3)
    rng = np.random.default_rng(8)
    who, years = np.repeat(np.arange(3000), 3), np.tile([0.0, 1.0, 2.5], 3000)
    still = annual_change(who, years, 250 + rng.normal(0, 1.5, 9000), sd=1.5)
    assert 0.04 < still["changed"].mean() < 0.06
    for wrong in (lambda: annual_change([1], [1, 2], [1, 2], sd=1), lambda: annual_change([1], [1], [1], sd=0)):
        with pytest.raises(ValueError, match=r"equally long|above 0"):
            wrong()


def test_who_is_missing_is_nobody():
    """Of a list as of a column: two measurements without a name are not of one person called nan."""
    values, missing = [1.0, 1.2, 5.0, 50.0], float("nan")
    for people in (
        ["A", "A", missing, missing],
        ["A", "A", None, None],
        pd.Series(["A", "A", pd.NA, pd.NA], list("wxyz")),
    ):
        assert precision(people, values).n == 1
        assert annual_change(people, [0, 1, 0, 1], values, sd=1)["person"].tolist() == ["A"]
    people, sessions, values = ["A", "A", "B", "B", "C", "C"], [1, 2] * 3, [1.0, 2, 4, 4, 6, 7]
    found = icc([*people, missing, missing], [*sessions, 1, 2], [*values, 9.0, 5.0])
    assert found == icc(people, sessions, values) and found["n"] == 3


@pytest.mark.parametrize("women", [1, 3, 5, 10, 30])
def test_change_is_called_in_5_of_100_stable_women_from_however_few_repeats(women):
    """Each time another study gives the noise, and another woman is judged by it, of two and of three visits."""
    rng = np.random.default_rng(women)
    who, studies = np.repeat(np.arange(women), 2), 3000
    for years in ([0.0, 2.0], [0.0, 1.0, 3.0]):
        hits = 0
        for _ in range(studies):
            known = precision(who, 300 + rng.normal(size=2 * women))
            noise = {"sd": known.rms_sd, "degrees_of_freedom": known.degrees_of_freedom}
            hits += change_of(years, 300 + rng.normal(size=len(years)), **noise).changed
        assert 0.04 < hits / studies < 0.06
    said = str(change_of([0.0, 2.0], [300.0, 200.0], sd=3.0, degrees_of_freedom=2))
    assert "the least significant change is 18.3, by 2 degrees of freedom" in said
    assert annual_change(["A", "A"], [0, 2], [300.0, 290.0], sd=3.0, degrees_of_freedom=2)["changed"].tolist() == [
        False
    ]
    with pytest.raises(ValueError, match="degrees_of_freedom is 0"):
        change_of([0, 1], [1.0, 2.0], sd=1.0, degrees_of_freedom=0)


def test_precision_is_at_hand_without_heavy_packages():
    """The public name of the function, and not a module in its place."""
    assert callable(dq.evaluation.precision)
