"""The evaluation against software of other people: pROC in R, dcurves and statsmodels in a Python of their own.

Rscript with pROC is looked for on the path; the environment variable DEEPQCT_PEERS names a Python that has the other two.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from deepqct.evaluation import auc, calibration_measures, compare_auc, net_benefit

pytestmark = pytest.mark.long

THRESHOLDS = (0.1, 0.2, 0.3, 0.45, 0.6)

_PROC = """
if (!requireNamespace("pROC", quietly = TRUE)) quit(status = 3)
library(pROC, warn.conflicts = FALSE)
judge <- function(d) {
  curve <- function(score) roc(d$y, score, levels = c(0, 1), direction = "<")
  a <- curve(d$a)
  b <- curve(d$b)
  test <- roc.test(a, b, method = "delong", paired = TRUE)
  both <- lapply(list(a, b), function(r) c(auc(r), var(r, method = "delong"), ci.auc(r, method = "delong")[c(1, 3)]))
  c(unlist(both), test$p.value, test$conf.int)
}
d <- read.csv(commandArgs(trailingOnly = TRUE))
for (one in split(d, d$set)) cat(sprintf("%.17g", judge(one)), "\\n")
"""

_PEERS = """
import json, sys
import numpy as np, pandas as pd, statsmodels.api as sm
from dcurves import dca

def line(fit, k):
    return [fit.params[k], *fit.conf_int()[k]]

def judge(y, risk, thresholds):
    y, risk = np.array(y), np.array(risk)
    worth = dca(pd.DataFrame({"y": y, "model": risk}), outcome="y", modelnames=["model"], thresholds=thresholds)
    logit = np.log(risk / (1 - risk))
    shift = sm.GLM(y, np.ones((len(y), 1)), family=sm.families.Binomial(), offset=logit).fit(tol=1e-12)
    line_of_two = sm.Logit(y, sm.add_constant(logit)).fit(disp=False, tol=1e-12)
    by_model = {name: list(worth.loc[worth["model"] == name, "net_benefit"]) for name in ("model", "all")}
    return by_model | {"intercept": line(shift, 0), "slope": line(line_of_two, 1)}

json.dump([judge(**one) for one in json.load(sys.stdin)], sys.stdout)
"""


def two_scores(seed: int) -> pd.DataFrame:
    """An outcome and two correlated scores of 20 to 200 women, coarse enough to tie."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 201))
    y = rng.permutation(np.arange(n) < rng.integers(5, n // 2 + 1)).astype(int)
    shared, effect, other = rng.normal(size=n), *rng.uniform(-0.5, 1.5, 2)
    a, b = (np.round(y * e + 0.8 * shared + 0.6 * rng.normal(size=n), 1) for e in (effect, other))
    return pd.DataFrame({"set": seed, "y": y, "a": a, "b": b})


@pytest.fixture(scope="module")
def proc(tmp_path_factory) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """200 data sets, and what pROC says of each: one call of R for all."""
    if not shutil.which("Rscript"):
        pytest.skip("Rscript is not on the path; Debian has it in r-base-core")
    folder = tmp_path_factory.mktemp("proc")
    sets = [two_scores(seed) for seed in range(200)]
    pd.concat(sets).to_csv(folder / "sets.csv", index=False)
    (folder / "judge.R").write_text(_PROC)
    call = ["Rscript", str(folder / "judge.R"), str(folder / "sets.csv")]
    done = subprocess.run(call, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode == 3:
        pytest.skip("R has no pROC; Debian has it in r-cran-proc")
    done.check_returncode()
    names = [f"{figure} {score}" for score in "ab" for figure in ("auc", "variance", "low", "high")]
    names += ["p", "low", "high"]
    found = pd.DataFrame([line.split() for line in done.stdout.splitlines()], columns=names, dtype=float)
    assert len(found) == len(sets)
    return sets, found


@pytest.mark.parametrize("score", ["a", "b"])
def test_areas_and_their_variance_are_those_of_proc(proc, score):
    """Every interval and p of an AUC rests on DeLong's variance, which coarse scores get wrong most easily."""
    sets, theirs = proc
    assert all(one[score].duplicated().any() for one in sets)
    logit = [auc(one["y"], one[score]) for one in sets]
    wald = [auc(one["y"], one[score], method="wald") for one in sets]
    area, low, high = np.array([(e.estimate, e.low, e.high) for e in logit]).T
    error = (special.logit(high) - special.logit(low)) / (2 * stats.norm.ppf(0.975)) * area * (1 - area)
    np.testing.assert_allclose(area, theirs[f"auc {score}"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(error**2, theirs[f"variance {score}"], rtol=1e-8, atol=0)
    np.testing.assert_allclose([e.low for e in wald], theirs[f"low {score}"], rtol=0, atol=1e-8)
    np.testing.assert_allclose([e.high for e in wald], theirs[f"high {score}"], rtol=0, atol=1e-8)


def test_paired_differences_are_those_of_proc(proc):
    """A covariance with the wrong sign or divisor still gives a plausible p of one model against another."""
    sets, theirs = proc
    ours = pd.DataFrame([compare_auc(one["y"], one["a"], one["b"]).row() for one in sets])
    np.testing.assert_allclose(ours["estimate"], theirs["auc a"] - theirs["auc b"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours["p"], theirs["p"], rtol=1e-8, atol=0)
    np.testing.assert_allclose(ours[["low", "high"]], theirs[["low", "high"]], rtol=0, atol=1e-8)


def risks(seed: int) -> dict[str, list[float]]:
    """An outcome and miscalibrated risks in whole percents, some of them exactly at a threshold."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.8, 1, 150 + 30 * seed)
    y = rng.random(len(logit)) < special.expit(logit)
    risk = np.clip(np.round(special.expit(1.5 * logit + 0.3), 2), 0.01, 0.99)
    return {"y": y.astype(int).tolist(), "risk": risk.tolist()}


@pytest.fixture(scope="module")
def peers() -> list[tuple[dict, dict]]:
    """Five data sets, each with what dcurves and statsmodels say of it: one call for all."""
    if not (python := os.environ.get("DEEPQCT_PEERS")):
        pytest.skip("DEEPQCT_PEERS does not name a Python that has dcurves and statsmodels")
    if subprocess.run([python, "-c", "import dcurves, statsmodels"], capture_output=True).returncode:
        pytest.skip(f"{python}, named by DEEPQCT_PEERS, has no dcurves or no statsmodels")
    sets = [risks(seed) for seed in range(5)]
    asked = json.dumps([one | {"thresholds": THRESHOLDS} for one in sets])
    done = subprocess.run([python, "-c", _PEERS], input=asked, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return list(zip(sets, json.loads(done.stdout), strict=True))


def test_net_benefit_is_that_of_dcurves(peers):
    """A woman whose risk is the threshold is treated, and false positives cost the odds of it, not the risk."""
    for one, theirs in peers:
        assert np.isin(THRESHOLDS, one["risk"]).any()
        ours = net_benefit(**one, thresholds=THRESHOLDS).pivot(index="threshold", columns="strategy", values="estimate")
        np.testing.assert_allclose(ours["model"], theirs["model"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours["treat all"], theirs["all"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("measure", ["intercept", "slope"])
def test_calibration_is_that_of_statsmodels(peers, measure):
    """An intercept fitted beside the slope, instead of at a slope of 1, answers another question unnoticed."""
    for one, theirs in peers:
        ours = calibration_measures(**one).set_index("measure").loc[measure, ["estimate", "low", "high"]]
        np.testing.assert_allclose(ours.to_numpy(float), theirs[measure], rtol=0, atol=1e-6)
