"""Scanners that measure differently and go with the outcome: what is taken off, and that nothing held out takes part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_fusion import assembled, data

from deepqct.bundles.plain import from_plain, to_plain
from deepqct.evaluation import auc, cramers_v
from deepqct.folder import Run
from deepqct.models import comparison, optimism
from deepqct.models.classifiers import cross_predict
from deepqct.models.families import Model
from deepqct.models.frozen import Levelled, frozen_models, frozen_scale
from deepqct.models.inputs import Tables, as_names
from deepqct.models.predict import predict_all, prepared
from deepqct.models.scanners import Scale, _added, cross_calibrate, scale_of
from deepqct.terms import BONES
from deepqct.virtual import draw_women


def confounded(seed: int = 0, n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series, pd.Series]:
    """Drawn indices of virtual women, the same with 5 % more on one of two scanners, scanner, outcome and fold."""
    women = draw_women(n, scenario="literature", seed=seed).set_index("participant_id")
    clean = women[[c for c in women if str(c).split(" ")[0] in BONES and str(c).endswith("Ct.Th")]]
    rng, y = np.random.default_rng(seed), women["fracture"].astype(int)
    scanner = pd.Series(np.where(rng.random(n) < np.where(y == 1, 0.75, 0.35), "two", "one"), women.index)
    biased = clean * np.where(scanner == "two", 1.08, 1.0)[:, None]
    return clean, biased, scanner, y, pd.Series((np.arange(n) % 6).astype(str), women.index)


def test_cross_calibration_inside_folds_removes_a_planted_bias():
    """Uncorrected, the ridge is told the scanner; corrected, it does as well as on the clean indices, and no better."""
    errors = []
    for seed in range(2):
        clean, biased, scanner, y, fold = confounded(seed)
        assert cramers_v(y, scanner) > 0.2
        true, told = (auc(y, cross_predict(x, outcome=y, fold=fold)["score"]).estimate for x in (clean, biased))
        mended = cross_calibrate(biased, scanner=scanner, outcome=y, fold=fold)
        score = cross_predict(mended.features, outcome=y, fold=fold, training=mended.training)["score"]
        errors.append((told - true, auc(y, score).estimate - true))
    told, mended = np.abs(np.mean(errors, axis=0))
    assert mended < 0.03 and told > 2 * mended, errors


def test_nothing_of_the_held_out_women_takes_part():
    """Their outcomes and values changed at will: neither what is taken off them nor any training table moves.

    A cross-calibration of all women at once fails here.
    """
    _, biased, scanner, y, fold = confounded(n=120)
    before = cross_calibrate(biased, scanner=scanner, outcome=y, fold=fold)
    held_out = fold == "2"
    spoilt = biased.where(~held_out, biased * 3.0)
    after = cross_calibrate(spoilt, scanner=scanner, outcome=y.where(~held_out, 1 - y), fold=fold)
    pd.testing.assert_frame_equal(before.training["2"], after.training["2"])
    off = biased[held_out] - before.features[held_out]
    pd.testing.assert_frame_equal(spoilt[held_out] - after.features[held_out], off, atol=1e-9, rtol=0)
    assert not before.training["3"].loc[fold.index[held_out]].equals(after.training["3"].loc[fold.index[held_out]])

    at_once = [
        _added(x, scanner.astype("string"), outcome, reference="one")
        for x, outcome in ((biased, y), (spoilt, y.where(~held_out, 1 - y)))
    ]
    assert not np.allclose(*at_once)


def test_a_scanner_that_tells_the_outcome_is_refused_and_a_rare_one_left_alone():
    """Nobody can tell what such a scanner adds; and five women are needed to say what one adds."""
    _, biased, _, y, fold = confounded(n=60)
    with pytest.raises(ValueError, match="tells the outcome"):
        cross_calibrate(biased, scanner=y.map({0: "one", 1: "two"}), outcome=y, fold=fold)
    rare = pd.Series("one", y.index).where(np.arange(60) >= 3, "rare")
    pd.testing.assert_frame_equal(
        cross_calibrate(biased, scanner=rare, outcome=y, fold=fold).features, biased.astype(float)
    )


def test_a_feature_that_few_women_of_a_scanner_have_is_left_as_it_is():
    """One woman's value, or a level with nothing to compare it with, is not what a scanner adds."""
    y, scanner = pd.Series([0, 1] * 30), pd.Series(np.repeat(["one", "two", "three"], [30, 15, 15]))
    fold = pd.Series("0", y.index)
    x = pd.DataFrame({"all": 300.0 - 20 * y + 15 * (scanner == "two")})
    x["none of the largest"], x["one of two"] = x["all"].where(scanner != "one"), x["all"].where(scanner != "two")
    x.loc[35, "one of two"] = 400.0
    scale = scale_of(x, scanner=scanner, outcome=y, fold=fold)
    np.testing.assert_allclose(scale.added["two"], [15.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(scale.added["three"], 0.0, atol=1e-9)


def test_the_test_set_does_not_choose_whose_scale_it_is():
    """Most women lie on scanner three, but all of them in the test set: the scale is that of the largest other one."""
    y, scanner = pd.Series([0, 1] * 30), pd.Series(np.repeat(["one", "two", "three"], [16, 14, 30]), name="centre")
    fold = pd.Series(np.where(scanner == "three", "test", np.arange(60) % 4 // 2), y.index)
    x = pd.DataFrame({"radius Tt.vBMD": 300.0 - 20 * y + 15 * (scanner == "two")})
    assert scale_of(x, scanner=scanner, outcome=y, fold=fold).reference == "one"
    mended = cross_calibrate(x, scanner=scanner, outcome=y, fold=fold).features["radius Tt.vBMD"]
    np.testing.assert_allclose(mended, 300.0 - 20 * y, atol=1e-9)
    with pytest.raises(ValueError, match="centre is empty for every woman outside of the test set"):
        cross_calibrate(x, scanner=scanner.where(scanner == "three"), outcome=y, fold=fold)


def test_numbers_of_centres_are_the_same_names_in_every_table():
    """A run's table with an empty cell has 1.0 where a new woman's has 1."""
    for column in (pd.Series([1.0, 2.0, None]), pd.Series(["1", "2", None], dtype=object)):
        assert as_names(column).tolist() == ["1", "2", pd.NA]
    assert as_names(pd.Series([1.5, 2.0])).tolist() == ["1.5", "2.0"]


def test_only_models_of_measured_bone_take_it_and_only_when_asked():
    """The index family's scores change, clinical ones do not; without the parameter all is as before."""
    _, biased, scanner, y, fold = confounded(n=90)
    biased, fold, people = biased[["radius Ct.Th"]], fold.map(int).mod(2).astype(str), y.index.astype(str)
    data = Tables(
        features=biased.assign(age=np.linspace(60, 80, 90)),
        indices=list(biased.columns),
        scores={},
        inner={},
        splits=pd.DataFrame({"protocol": "all", "repeat": 0, "participant_id": people, "fold": fold.to_numpy()}),
        dictionary={"age": {"Role": "clinical"}},
        outcome=y,
        patients=pd.Series(people, y.index),
    )
    plain, mended = (predict_all(one) for one in (data, replace(data, scanner=scanner.astype("string"))))
    key = ["family", "model", "participant_id"]
    apart = (plain.set_index(key)["score"] - mended.set_index(key)["score"]).abs().groupby("family").max()
    assert apart["Clinical"] == 0 and apart["pQCT-index"] > 0.01
    assert list(data.features[data.indices].columns) == list(biased.columns)  # nothing is changed in place
    pd.testing.assert_frame_equal(data.features[data.indices], biased)


def of_two_scanners(**how) -> Tables:
    """A cohort's tables, whose second scanner measures 30 mgHA/cm³ too much."""
    tables = data(**how)
    two = np.random.default_rng(3).random(len(tables["outcome"])) < np.where(tables["outcome"] == 1, 0.7, 0.3)
    scanner = pd.Series(np.where(two, "two", "one"), tables["outcome"].index, name="centre").astype("string")
    long = tables["indices"]
    more = long["participant_id"].map(scanner) == "two"
    tables["indices"] = long.assign(**{"Tt.vBMD": long["Tt.vBMD"] + 30 * more})
    return replace(assembled(tables), scanner=scanner)


def spoilt(tables: Tables, women: pd.Index) -> Tables:
    """The same with other outcomes and indices of some women."""
    features = tables.features.copy()
    features.loc[women, tables.indices] *= 3.0
    outcome = tables.outcome.copy()
    outcome[women] = 1 - outcome[women]
    return replace(tables, features=features, outcome=outcome)


def test_other_classifiers_take_the_scale_of_the_training_folds(monkeypatch):
    """Outcomes of the held-out women turned: their scores stay, so that no scale was fitted on them."""
    tables = of_two_scanners()
    only = [Model("pQCT-index", "radius", ("radius Tt.Ar", "radius Tt.vBMD"), ("radius",))]
    monkeypatch.setattr(comparison, "models_for", lambda *_, **__: only)
    fold = tables.splits.query("protocol == 'all' and repeat == 0").set_index("participant_id")["fold"]
    held_out = fold.index[fold == "1"]

    def scores(given: Tables) -> pd.DataFrame:
        monkeypatch.setattr(comparison, "tables", lambda *_, **__: given)
        table = comparison.other_classifiers(Run(None), classifiers="support vectors", cross_calibrate="centre")
        return table.pivot(index="participant_id", columns="classifier", values="score")

    turned = tables.outcome.where(~tables.outcome.index.isin(held_out), 1 - tables.outcome)
    before, after, plain = (scores(t) for t in (tables, replace(tables, outcome=turned), replace(tables, scanner=None)))
    np.testing.assert_allclose(before.loc[held_out], after.loc[held_out], atol=1e-12)
    others = before.index.difference(held_out)
    assert (np.abs(before.loc[others] - after.loc[others]) > 1e-9).all(axis=None)
    assert (np.abs(before - plain) > 1e-9).all(axis=None)


def test_each_bootstrap_sample_tells_its_own_scale(monkeypatch):
    """It is fitted on the women who were drawn, about 63 % of all, and is taken off those who were left out."""
    tables = of_two_scanners(n=90)
    drawn: list[int] = []

    def followed(features: pd.DataFrame, **how) -> Scale:
        drawn.append(len(features.drop_duplicates()))
        return scale_of(features, **how)

    monkeypatch.setattr(optimism, "scale_of", followed)
    model = Model("pQCT-index", "radius", ("radius Tt.Ar", "radius Tt.vBMD"), ("radius",))
    rows = [
        optimism._bootstrapped(given, model, draws=12, seed=1, steps=iter(range(99)))
        for given in (tables, replace(tables, scanner=None))
    ]
    assert len(drawn) == 13 and drawn[-1] == 90 and max(drawn[:-1]) < 0.75 * 90
    # The scanner goes with the outcome: without the scale it lends the indices of the second an AUC that is not theirs.
    assert rows[0]["expected"] != rows[1]["expected"] and all(0.4 < row["expected"] < 1 for row in rows)


def test_permuted_outcomes_are_calibrated_anew(monkeypatch):
    """The scale is part of what is fitted: with other outcomes it is another one, each time."""
    tables, calls = of_two_scanners(), []
    one_scale = optimism.on_one_scale

    def followed(*given, outcome: pd.Series, **how):
        calls.append(tuple(outcome))
        return one_scale(*given, outcome=outcome, **how)

    monkeypatch.setattr(optimism, "on_one_scale", followed)
    model = Model("pQCT-index", "radius", ("radius Tt.Ar", "radius Tt.vBMD"), ("radius",))
    optimism._permuted(tables, model, permutations=3, workers=1, seed=0, steps=iter(range(9)))
    assert len(calls) == len(set(calls)) == 4


def test_a_frozen_model_takes_the_scale_of_all_training_women_and_of_no_other():
    """New women get what the run gave those of its test set; these have no say in the scale."""
    tables = of_two_scanners(n=90, protocols=("as-published",))
    tables = replace(tables, scores={}, texture=())
    given = prepared(tables, "as-published", 0)
    test = given.fold.index[given.fold == "test"]
    scale, frozen = frozen_scale(tables, given), frozen_models(tables, protocol="as-published")
    assert scale.by == "centre" and {*scale.added, scale.reference} == {"one", "two"}
    columns = dict(zip(scale.columns, next(iter(scale.added.values())), strict=True))
    assert abs(columns["radius Tt.vBMD"]) == pytest.approx(30, abs=12)
    ours = predict_all(tables).query("split == 'test' and family == 'pQCT-index'")
    features = scale.applied(tables.features.loc[test], tables.scanner)
    none, compared = Levelled(pd.DataFrame(index=test), {}), 0
    for one in (one for one in frozen if one.model.family == "pQCT-index"):
        rows = ours[ours["model"] == one.model.name].set_index("participant_id")
        told = one.predict(features, none).loc[rows.index]
        np.testing.assert_allclose(told["score"], rows["score"], atol=1e-9)
        as_measured = one.predict(tables.features.loc[test], none).loc[rows.index]
        assert np.abs(as_measured["score"] - rows["score"]).max() > 1e-6
        compared += len(rows)
    assert compared > 30
    other = spoilt(tables, test)
    assert frozen_scale(other, prepared(other, "as-published", 0)) == scale
    inside = spoilt(tables, given.fold.index[given.fold == "0"])
    assert frozen_scale(inside, prepared(inside, "as-published", 0)) != scale
    assert from_plain(Scale, to_plain(scale), where="scale") == scale


def test_a_scale_says_what_it_did_and_leaves_unknown_scanners_alone():
    """A woman of a scanner that nobody calibrated must not pass for one who was."""
    scale = Scale("centre", "one", ("radius Tt.vBMD",), {"two": (15.0,)})
    women = pd.DataFrame({"radius Tt.vBMD": [310.0] * 4, "age": 70.0}, index=list("abcd"))
    scanner = pd.Series(["one", "two", "three"], list("abc"))
    assert scale.applied(women, scanner)["radius Tt.vBMD"].tolist() == [310.0, 295.0, 310.0, 310.0]
    assert scale.said("one") == "" and scale.said("two").startswith("centre two: what it adds beside one was taken off")
    assert "is none that the bundle knows (one, two)" in scale.said("three") and scale.said(None) == scale.said("three")
