"""Times to an event and numbers judged: against statsmodels, against R's survival (long), by hand, and by simulation."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import CumIncidenceRight

from deepqct.evaluation import (
    Figure,
    RiskMap,
    Times,
    auc,
    auc_at,
    compare_figures,
    concordance,
    fit_cox,
    horizon_groups,
    incidence,
    number_measures,
    partial_likelihood,
    r_squared,
    time_measures,
)

_SURVIVAL = """
if (!requireNamespace("survival", quietly = TRUE)) quit(status = 3)
library(survival)
d <- read.csv(commandArgs(trailingOnly = TRUE))
for (one in split(d, d$set)) {
  for (ties in c("efron", "breslow")) {
    control <- coxph.control(eps = 1e-12, iter.max = 100, toler.chol = 1e-14)
    fit <- coxph(Surv(time, event) ~ a + b + c, data = one, ties = ties, control = control)
    cat(sprintf("%.17g", c(coef(fit), fit$loglik[2])), "")
  }
  index <- concordance(Surv(time, event) ~ a, data = one, reverse = TRUE)
  cat(sprintf("%.17g", c(index$concordance, index$var)), "\\n")
}
"""


def followed(seed: int, *, n: int | None = None, deaths: bool = False) -> pd.DataFrame:
    """Times of 30 to 200 women with ties and censoring, and three predictors coarse enough to tie."""
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(30, 201))
    x = np.round(rng.normal(size=(n, 3)), 1)
    time = rng.exponential(6 / np.exp(x @ rng.uniform(-0.8, 0.8, 3)))
    other = rng.exponential(12, n) if deaths else np.full(n, np.inf)
    end = rng.uniform(1, 10, n)
    first = np.minimum(np.minimum(time, other), end)
    event = np.select([first == time, first == other], [1, 2], 0)
    return pd.DataFrame(
        {"set": seed, "time": np.ceil(2 * first) / 2, "event": event, "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}
    )


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_coefficients_and_likelihood_are_those_of_statsmodels(ties):
    """The Newton steps are our own; a slip with ties or with who is at risk gives other coefficients."""
    for seed in range(10):
        one = followed(seed)
        x, times = one[["a", "b", "c"]].to_numpy(), Times.of(one["time"], one["event"])
        theirs = PHReg(one["time"], x, status=one["event"], ties=ties).fit(disp=0, method="newton", maxiter=100)
        ours = fit_cox(x, times, ties=ties)
        np.testing.assert_allclose(ours, theirs.params, rtol=0, atol=1e-6)
        assert partial_likelihood(x @ ours, times, ties=ties) == pytest.approx(theirs.llf, abs=1e-6)


def test_a_ridge_shrinks_and_a_wide_table_has_the_same_ridge_as_its_turned_one():
    """More columns than women are turned before the fit, which must not change what is fitted."""
    one = followed(3, n=40)
    times = Times.of(one["time"], one["event"])
    x = np.random.default_rng(0).normal(size=(40, 60))
    wide = fit_cox(x, times, penalty=5.0)
    gradient = np.zeros(60)
    for k in range(60):
        step = np.zeros(60)
        step[k] = 1e-5
        up, down = (partial_likelihood(x @ (wide + sign * step), times) for sign in (1, -1))
        gradient[k] = (up - down) / 2e-5 - 5.0 * wide[k]
    assert np.abs(gradient).max() < 1e-4  # the penalised likelihood is flat in all 60 directions
    sizes = [np.abs(fit_cox(x[:, :5], times, penalty=p)).sum() for p in (0.0, 10.0, 1000.0)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_incidence_with_deaths_is_that_of_statsmodels_and_never_more_than_one_with_both_causes():
    """1 minus Kaplan and Meier would count women as alive who died: the shares of both causes would pass 1."""
    one = followed(5, n=200, deaths=True)
    times = Times.of(one["time"], one["event"])
    theirs = CumIncidenceRight(one["time"].to_numpy(), one["event"].to_numpy())
    for number, cause in enumerate((1, 2)):
        ours = incidence(times, theirs.times, of=cause)
        np.testing.assert_allclose(ours[:, 0], theirs.cinc[number], atol=1e-12)
        np.testing.assert_allclose(ours[:, 1], theirs.cinc_se[number], atol=1e-12)
    both = incidence(times, 9)[0, 0] + incidence(times, 9, of=2)[0, 0]
    naive = sum(incidence(Times.of(one["time"], (one["event"] == c).astype(int)), 9)[0, 0] for c in (1, 2))
    assert both <= 1 < naive


def test_without_censoring_before_the_horizon_its_auc_is_the_usual_one():
    """The weights are then all the same, and a C-index of one moment of events is an AUC too."""
    rng = np.random.default_rng(1)
    had, score = np.arange(60) % 3 == 0, rng.normal(size=60)
    score[had] += 0.7
    time = np.where(had, 2.0, 9.0)
    usual = auc(had.astype(int), score)
    assert auc_at(time, had.astype(int), score, horizon=5).value == pytest.approx(usual.estimate)
    assert concordance(time, had.astype(int), score).value == pytest.approx(usual.estimate)
    interval = concordance(time, had.astype(int), score).estimate()
    assert (interval.low, interval.high) == pytest.approx((usual.low, usual.high), abs=0.01)


def test_a_woman_who_died_counts_as_one_who_never_had_the_event():
    """If death ended her follow-up, pairs with women whose event came later than it would be lost."""
    time, score = [1, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]
    event = np.array([1, 1, 1, 1, 1, 0])
    died = concordance([*time, 0.5], [*event, 2], [*score, 9.0])  # the highest score of all, and never the event
    ended = concordance([*time, 0.5], [*event, 0], [*score, 9.0])
    assert ended.value == 1.0
    assert died.value == pytest.approx(15 / 20)  # of 20 pairs she loses the five with the events


def test_censoring_that_hides_half_the_late_events_leaves_the_weighted_figures_where_they_were():
    """Harrell's index moves with the follow-up; Uno's and the AUC at a horizon must not."""
    rng = np.random.default_rng(2)
    n = 1500
    score = rng.normal(size=n)
    time = rng.exponential(5 / np.exp(score))
    whole = {
        "uno": concordance(time, np.ones(n), score, uno=True, horizon=4),
        "auc": auc_at(time, np.ones(n), score, horizon=4),
    }
    end = rng.uniform(0.5, 8, n)
    seen, event = np.minimum(time, end), (time <= end).astype(int)
    cut = {"uno": concordance(seen, event, score, uno=True, horizon=4), "auc": auc_at(seen, event, score, horizon=4)}
    for name, figure in cut.items():
        assert figure.value == pytest.approx(whole[name].value, abs=0.03), name


def test_risks_by_a_horizon_are_right_where_many_die_first():
    """A risk that ignores death is too high, by as many as die before they could have the event."""
    rng = np.random.default_rng(3)
    n = 1500
    score = rng.normal(size=n)
    time, death, end = rng.exponential(8 / np.exp(0.8 * score)), rng.exponential(6, n), rng.uniform(3, 10, n)
    first = np.minimum(np.minimum(time, death), end)
    event = np.select([first == time, first == death], [1, 2], 0)
    times = Times.of(first, event)
    risk = RiskMap.fit(score, times, horizon=5)(score)
    table = horizon_groups(first, event, risk, horizon=5)
    assert np.abs(table["predicted"] - table["observed"]).max() < 0.06
    blind = RiskMap.fit(score, Times.of(first, (event == 1).astype(int)), horizon=5)(score)
    assert blind.mean() > risk.mean() + 0.05
    measures = time_measures(first, event, score, risk, horizon=5).set_index("measure")
    assert measures.loc["observed / predicted", "low"] < 1 < measures.loc["observed / predicted", "high"]
    assert measures.loc["slope", "low"] < 1 < measures.loc["slope", "high"]


def test_intervals_of_r_squared_and_c_index_hold_the_truth_as_often_as_they_say():
    """An influence with a wrong factor is not seen in any single figure."""
    rng = np.random.default_rng(4)
    n, draws = 120, 300
    score = rng.normal(size=200_000)
    truth_c = 0.0
    some = rng.exponential(1 / np.exp(score[:4000]))
    truth_c = concordance(some, np.ones(4000), score[:4000]).value
    hits = {"R²": 0, "C-index": 0}
    for _ in range(draws):
        x = rng.normal(size=n)
        one = r_squared(x + rng.normal(size=n), x).estimate()
        hits["R²"] += one.low <= 0.5 <= one.high
        time, end = rng.exponential(1 / np.exp(x)), rng.exponential(2, n)
        two = concordance(np.minimum(time, end), (time <= end).astype(int), x, uno=False).estimate()
        hits["C-index"] += two.low <= truth_c <= two.high
    low, high = stats.binom.ppf([0.001, 0.999], draws, 0.95)
    assert low - 6 <= hits["R²"] <= high, hits  # its error has a few per cent fewer than it says with 120 women
    assert low - 6 <= hits["C-index"] <= high, hits


def test_paired_differences_use_that_the_women_are_the_same():
    """Two nearly equal scores differ by little, however wide the interval of each of them is."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=80)
    a = y + rng.normal(size=80)
    b = a + 0.02 * rng.normal(size=80)
    first, second = r_squared(y, a), r_squared(y, b)
    difference = compare_figures([first], [second])
    assert difference.high - difference.low < 0.1 * (first.estimate().high - first.estimate().low)
    wider = compare_figures([first], [second], trained=(True, False))
    assert wider.high - wider.low > difference.high - difference.low


def test_numbers_that_are_right_on_average_and_too_timid_say_so():
    """The slope finds predictions that lie too near their mean, which R² alone does not tell from noise."""
    rng = np.random.default_rng(6)
    told = rng.normal(70, 4, 400)
    y = 70 + 2 * (told - 70) + rng.normal(0, 3, 400)
    table = number_measures(y, told).set_index("measure")
    assert table.loc["mean difference", "low"] < 0 < table.loc["mean difference", "high"]
    assert table.loc["slope", "low"] > 1.5
    shifted = number_measures(y + 3, told).set_index("measure")
    assert shifted.loc["mean difference", "low"] > 2


def test_too_few_events_or_numbers_give_no_figure():
    """A C-index of four events would be printed as a result."""
    assert np.isnan(concordance(range(1, 11), [1, 1, 1, 1] + [0] * 6, range(10)).value)
    assert not r_squared(range(9), range(9)).estimate().estimable
    assert time_measures(range(1, 11), [1] * 4 + [0] * 6, range(10), [0.2] * 10, horizon=6)["estimate"].isna().all()
    assert Figure(float("nan"), np.zeros(3), -1).estimate().basis == "n 3"
    with pytest.raises(ValueError, match="a time above 0 and an event of 0, 1 or 2"):
        Times.of([0.0, 1.0], [0, 1])


@pytest.mark.long
def test_cox_and_c_index_are_those_of_rs_survival(tmp_path):
    """50 data sets with ties and censoring: coefficients, likelihood, C-index and its variance, to 1e-6."""
    if not shutil.which("Rscript"):
        pytest.skip("Rscript is not on the path; Debian has it in r-base-core")
    sets = [followed(seed) for seed in range(50)]
    pd.concat(sets).to_csv(tmp_path / "sets.csv", index=False)
    (tmp_path / "judge.R").write_text(_SURVIVAL)
    call = ["Rscript", str(tmp_path / "judge.R"), str(tmp_path / "sets.csv")]
    done = subprocess.run(call, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode == 3:
        pytest.skip("R has no survival; Debian has it in r-cran-survival")
    done.check_returncode()
    theirs = np.array([line.split() for line in done.stdout.splitlines()], float)
    assert theirs.shape == (50, 10)
    for one, row in zip(sets, theirs, strict=True):
        x, times = one[["a", "b", "c"]].to_numpy(), Times.of(one["time"], one["event"])
        for ties, found in (("efron", row[:4]), ("breslow", row[4:8])):
            ours = fit_cox(x, times, ties=ties)
            np.testing.assert_allclose(ours, found[:3], rtol=0, atol=1e-6)
            assert partial_likelihood(x @ ours, times, ties=ties) == pytest.approx(found[3], abs=1e-6)
        index = concordance(one["time"], one["event"], one["a"])
        assert index.value == pytest.approx(row[8], abs=1e-6)
        assert index.error**2 == pytest.approx(row[9], abs=1e-6)
