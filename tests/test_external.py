"""A frozen model on other women: what is found must be what was put in."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

import deepqct as dq
from deepqct.bundles.validation import judged
from deepqct.evaluation import by_group, membership, recalibrated, recalibration


def women(n: int, *, intercept: float, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and the risks that a model gives whose logits need this intercept and slope."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.7, 1.2, n)
    truth = special.expit(intercept + slope * logit)
    return (rng.random(n) < truth).astype(int), special.expit(logit)


def test_recalibration_finds_what_is_wrong_and_gains_nothing_where_nothing_is():
    """Fitted and judged on the same women, every recalibration would look like a gain."""
    y, risk = women(6000, intercept=0.8, slope=0.6)
    table = recalibration(y, risk).set_index("method")
    assert table.loc["intercept and slope", "intercept"] == pytest.approx(0.8, abs=0.1)
    assert table.loc["intercept and slope", "slope"] == pytest.approx(0.6, abs=0.06)
    assert 0 < table.loc["intercept", "low"] < table.loc["intercept and slope", "low"]
    mended = recalibrated(risk, intercept=table.loc["intercept and slope", "intercept"],
                          slope=table.loc["intercept and slope", "slope"])  # fmt: skip
    assert mended.mean() == pytest.approx(y.mean(), abs=0.003)
    gains = []
    for seed in range(40):
        y, risk = women(60, intercept=0.0, slope=1.0, seed=seed)
        gains.append(recalibration(y, risk).set_index("method")["estimate"])
    mean = pd.concat(gains, axis=1).mean(axis=1)
    assert mean["as it is"] == 0
    assert mean["intercept and slope"] < mean["intercept"] < 0


def test_too_few_events_give_no_figure():
    """Four events say nothing about a slope."""
    y, risk = np.array([1] * 4 + [0] * 30), np.linspace(0.1, 0.9, 34)
    table = recalibration(y, risk)
    assert table[["intercept", "slope", "estimate", "low"]].isna().all().all()
    assert table["events"].tolist() == [4, 4, 4]
    groups = by_group(y, risk, pd.Series(["a"] * 34, name="scanner"))
    assert groups["estimate"].isna().all()
    with pytest.raises(ValueError, match="must be 0 or 1"):
        recalibration([0, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="outside of 0 and 1"):
        recalibration([0, 1] * 9, np.linspace(-1, 2, 18))
    same = recalibration([0, 1, 1] * 9, [0.3] * 27).set_index("method")
    assert same.loc["intercept", "estimate"] > 0 and same.loc["intercept and slope", ["slope", "estimate"]].isna().all()


@pytest.mark.parametrize(("apart", "told"), [(0.0, 0.5), (1.0, 0.76)])
def test_membership_is_half_for_the_same_women_and_as_far_as_they_are_apart(apart, told):
    """Seventeen indices of forty women differ by chance; that must not look like another population."""
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(17, 17))
    correlation = np.corrcoef(rng.normal(size=(5000, 17)) @ mixing, rowvar=False)
    root, direction = np.linalg.cholesky(correlation), rng.normal(size=17)
    shift = root @ (direction / np.linalg.norm(direction)) * apart
    found = []
    for _ in range(30):
        known = rng.normal(size=(60, 17)) @ root.T
        new = rng.normal(size=(200, 17)) @ root.T + shift
        z = new - known.mean(axis=0)
        found.append(membership(z, precision=np.linalg.inv(correlation), known=60, draws=40))
    estimates = np.array([one["estimate"] for one in found])
    assert np.median(estimates) == pytest.approx(told, abs=0.05)


def test_a_bundle_is_judged_in_those_who_have_a_risk(tmp_path):
    """A woman without a risk is in no figure, and how many these are is said."""
    bundle, run = dq.bundles.example_bundle(), dq.run.example_run()
    outcome = dq.run_tables.run_outcome(run)
    rng, names = np.random.default_rng(0), list(outcome.index)
    rows = [{"participant_id": p, "status": "predicted" if i else "abstained", "risk": rng.uniform() if i else np.nan}
            for i, p in enumerate(names)]  # fmt: skip
    table = pd.DataFrame(rows).assign(reasons="")
    heads = [one.model for one in bundle.content.models if one.model.headline]
    by_model = pd.concat([
        table.dropna().assign(family=m.family, model=m.name)[["participant_id", "family", "model", "risk"]] for m in heads
    ])  # fmt: skip
    indices = pd.DataFrame({"participant_id": names, "index": "radius Tt.vBMD", "value": 300.0})

    class Predictions:
        """What `judged` asks of predictions."""

    made = Predictions()
    made.bundle, made.table, made.by_model, made.indices = bundle, table, by_model, indices  # type: ignore[attr-defined]
    people = pd.DataFrame({"scanner": ["A", "B"] * 6}, index=names)
    found = judged(made, outcome=outcome, people=people, by=["scanner"])  # type: ignore[arg-type]
    assert found.given == "11 of 12 women have a risk"
    assert set(found.performance["family"]) == {model.family for model in heads}
    assert (found.performance["n"] == 11).all()
    assert found.groups.groupby("group")["n"].first().sum() == 11
    assert found.recalibration["n"].tolist() == [11, 11, 11]
    made.table = table.assign(status="abstained", risk=np.nan, reasons="The wrist was cut.")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"None of 12 women has a risk, .*; the first: The wrist was cut\."):
        judged(made, outcome=outcome, people=people)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no column 'centre'"):
        dq.bundles.validate(bundle, run.virtual / "cohort", by=["centre"])
    cohort = tmp_path / "cohort"
    shutil.copytree(run.virtual / "cohort", cohort)
    rows = pd.read_csv(cohort / "participants.tsv", sep="\t").iloc[1:]
    rows.to_csv(cohort / "participants.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=r"participants\.tsv has no row for sub-0001, whose scans are listed"):
        dq.bundles.validate(bundle, cohort)
    other = replace(bundle, content=replace(bundle.content, made=replace(bundle.content.made, outcome="fall")))
    with pytest.raises(ValueError, match="no column 'fall'"):
        dq.bundles.validate(other, run.virtual / "cohort")
