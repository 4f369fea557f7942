"""Scores of several networks: folds on one level, the right scale for test women, a mean that nothing is fitted for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import trainings
from scipy import special
from test_fusion import BONES, assembled, data, inner_of

from deepqct import evaluation
from deepqct.cohort.splits import PROTOCOLS
from deepqct.folder import Run, write_json, write_table
from deepqct.models import predict_all
from deepqct.models.classifiers import cross_predict
from deepqct.models.inputs import Tables
from deepqct.models.inputs import tables as tables_of
from deepqct.models.levels import Levelled, levelled, mean_of_bones

SCORES = [f"{bone} score" for bone in BONES]


def small(**more) -> Tables:
    """Tables of networks and age alone, so that a whole prediction takes no time."""
    tables = data(**more)
    tables["indices"] = tables["texture"] = tables["indices"][["participant_id", "bone"]]
    return assembled(tables)


def with_networks(tables: Tables, *, noise: float = 1.0, level: float = 0.0) -> Tables:
    """The same tables with the scores of the test set by each fold's network, of which they have the mean."""
    rng, networks, scores = np.random.default_rng(3), {}, {}
    for bone, table in tables.scores.items():
        test = table[table["split"] == "test"]
        parts = []
        for number, fold in enumerate(sorted(set(table["fold"]) - {"test"})):
            own = test.assign(fold=fold, score=test["score"] + noise * rng.standard_normal(len(test)) + level * number)
            parts.append(own)
        networks[bone] = pd.concat(parts, ignore_index=True)[["protocol", "repeat", "participant_id", "fold", "score"]]
        keys = ["protocol", "repeat", "participant_id"]
        mean = networks[bone].groupby(keys)["score"].mean().rename("mean").reset_index()
        moved = table.merge(mean, on=keys, how="left")
        steps = moved["fold"].map({str(number): level * number for number in range(9)}).fillna(0.0)
        score = moved["mean"].where(moved["split"] == "test", moved["score"] + steps)
        scores[bone] = moved.assign(score=score)[table.columns]
    return replace(tables, scores=scores, networks=networks)


def test_the_levels_of_the_folds_reach_no_prediction():
    """A network that calls all women of its fold high-risk would order women by fold."""
    plain = predict_all(with_networks(small(protocols=PROTOCOLS)))
    shifted = predict_all(with_networks(small(protocols=PROTOCOLS), level=5.0))
    assert set(plain["model"]) >= {"ulna", "all four bones", "mean of all four bones", "all four bones + clinical"}
    for column in ("score", "risk", "threshold"):
        np.testing.assert_allclose(shifted[column], plain[column], rtol=1e-4, atol=1e-5)


def test_the_levels_of_inner_networks_reach_no_fusion():
    """Strict stacking has two levels, that of the fold and that of the pair of folds."""
    tables = small()
    inner = inner_of({"scores": tables.scores})
    moved = {
        bone: table.assign(score=table["score"] + 5 * table["fold"].astype(int) + 3 * table["held_out"].astype(int))
        for bone, table in inner.items()
    }
    one, other = (predict_all(replace(tables, inner=scores)) for scores in (inner, moved))
    np.testing.assert_allclose(one["score"], other["score"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["ulna", "mean of all four bones"])
def test_no_outcome_of_the_held_out_fold_reaches_its_score_or_risk(model):
    """Turning them round must leave the fold's own risks; no outcome at all may move a score."""
    tables = with_networks(small(protocols=PROTOCOLS))
    fold = tables.splits.query("protocol == 'as-published'").set_index("participant_id")["fold"]
    mine = fold.index[fold.isin(["0", "test"])]
    turned = tables.outcome.where(~tables.outcome.index.isin(mine), 1 - tables.outcome)
    rows = f"protocol == 'as-published' and model == '{model}'"
    one, other = (
        predict_all(replace(tables, outcome=y)).query(rows).set_index("participant_id")
        for y in (tables.outcome, turned)
    )
    np.testing.assert_array_equal(one["score"], other["score"])
    np.testing.assert_array_equal(one.loc[fold == "0", "risk"], other.loc[fold == "0", "risk"])
    assert (one.loc[fold == "1", "risk"] != other.loc[fold == "1", "risk"]).all()


def test_a_level_is_of_its_own_fold_alone():
    """A level over all folds would carry what one network says into the scores of another."""
    tables = small()
    fold = tables.splits.query("protocol == 'all'").set_index("participant_id")["fold"]
    where = {"bones": BONES, "protocol": "all", "repeat": 0, "fold": fold}
    before = levelled(tables, **where).scores
    spoilt = {
        bone: table.assign(score=table["score"].where(table["fold"] != "0", 1e6))
        for bone, table in tables.scores.items()
    }
    after = levelled(replace(tables, scores=spoilt), **where).scores
    pd.testing.assert_frame_equal(before[fold != "0"], after[fold != "0"])
    np.testing.assert_allclose(before.groupby(fold).mean(), 0, atol=1e-12)


@pytest.mark.long
def test_the_mean_of_bones_finds_nothing_in_noise_where_fitted_weights_do():
    """Its weights know no outcome. Calibration maps do: as weights they are standard stacking by another name."""
    areas = []
    for seed in range(40):
        y, fold, scorers = trainings.scores_of_noise(seed, n=120, folds=4, columns=40)
        scores = pd.DataFrame(np.nan, index=fold.index, columns=SCORES)
        for held_out in fold.unique():
            rows = fold == held_out
            scores.loc[rows] = np.column_stack([scorer({held_out}) for scorer in scorers])[rows]
        mean, _ = mean_of_bones(Levelled(scores, {}), columns=SCORES, fold=fold)
        outcome, place = pd.Series(y), {"protocol": "all", "repeat": 0, "split": "out-of-fold", "fold": fold}
        tables = [pd.DataFrame(place | {"participant_id": fold.index, "score": scores[name]}) for name in SCORES]
        risks = [evaluation.calibrate_out_of_fold(table, outcome=outcome)["risk"] for table in tables]
        calibrated = special.logit(pd.concat(risks, axis=1)).mean(axis=1)
        fused = cross_predict(scores, outcome=outcome, fold=fold)["score"]
        areas.append([evaluation.auc(y, score).estimate for score in (mean, calibrated, fused)])
    plain, calibrated, fused = np.mean(areas, axis=0)
    error = np.std(areas, axis=0, ddof=1).max() / np.sqrt(len(areas))
    assert plain < 0.5 + 2 * error
    assert min(calibrated, fused) > 0.5 + 3 * error


def test_bones_count_alike_in_their_mean_however_loud_their_networks_are():
    """Logits of a network that is sure of everything would outvote three others."""
    tables = small()
    fold = tables.splits.query("protocol == 'all'").set_index("participant_id")["fold"]
    networks = levelled(tables, bones=BONES, protocol="all", repeat=0, fold=fold)
    loud = replace(networks, scores=networks.scores.assign(**{"ulna score": 50 * networks.scores["ulna score"]}))
    one, other = (mean_of_bones(n, columns=SCORES, fold=fold)[0] for n in (networks, loud))
    pd.testing.assert_series_equal(one, other)
    missing = networks.scores.copy()
    missing.loc[missing.index[0], SCORES[1:]] = np.nan
    few = mean_of_bones(replace(networks, scores=missing), columns=SCORES, fold=fold)[0]
    assert np.isfinite(few).all(), "a woman with one bone has its score"


def test_risks_of_test_women_are_as_extreme_as_they_should_be():
    """A mean of six networks has less noise than the map allows for; today's risks were half as extreme as is right."""
    found = pd.DataFrame(
        [trainings.slopes(*trainings.many_networks(np.random.default_rng(seed), test=1500)) for seed in range(30)]
    ).median()
    assert found["mean logit, levels left"] > 1.7
    assert found["mean logit, levels off"] > 1.4
    assert found["mean of risks"] > found["mean logit, levels off"], "averaged risks are more timid still"
    assert found["stretched"] == pytest.approx(1, abs=0.15)


def test_a_fusion_meets_test_women_on_the_scale_on_which_it_was_fitted():
    """Four bones, six networks each: the fusion's logits of one woman are averaged and stretched like a single score."""
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n, test, folds = 195, 1500, 6
        y = (rng.random(n + test) < 0.33).astype(int)
        shared = 0.7 * rng.standard_normal(n + test)
        bone = 0.8 * y[:, None] + shared[:, None] + 0.7 * rng.standard_normal((n + test, 4))
        own = bone[:, :, None] + rng.standard_normal((n + test, 4, folds))
        k = np.arange(n + test) % folds
        fold = pd.Series(np.where(np.arange(n + test) < n, k.astype(str), "test"))
        single, mean = own[np.arange(n + test), :, k], own.mean(axis=2)
        features = pd.DataFrame(np.where((fold == "test").to_numpy()[:, None], mean, single), columns=SCORES)
        views = [pd.DataFrame(own[:, :, number], columns=SCORES) for number in range(folds)]
        slopes = []
        for given in ((), views):
            risk = cross_predict(features, outcome=pd.Series(y), fold=fold, views=given).loc[fold == "test", "risk"]
            measures = evaluation.calibration_measures(y[n:], risk).set_index("measure")["estimate"]
            slopes.append(measures["slope"])
        found.append(slopes)
    plain, stretched = np.median(found, axis=0)
    assert plain > 1.3
    assert stretched == pytest.approx(1, abs=0.15)


def test_the_networks_own_scores_are_read_from_their_folds_and_checked(tmp_path, capsys):
    """Files of folds that were trained before would move risks unseen; where they are missing, that is said."""
    run, tables = Run(tmp_path), data(protocols=PROTOCOLS)
    given = with_networks(assembled(tables))
    write_table(run.participants, tables["participants"])
    for path, table in ((run.indices, "indices"), (run.texture, "texture"), (run.splits, "splits")):
        write_table(path, tables[table])
    write_json(run.dictionary, tables["dictionary"])
    write_json(run.settings, {"bones": ["radius"]})
    write_table(run.scores("radius"), given.scores["radius"])
    assert tables_of(run).networks == {}
    assert "as-published/repeat0/fold0_scores.csv is missing" in capsys.readouterr().out
    for fold, own in given.networks["radius"].groupby("fold"):
        path = run.models("radius") / "as-published" / "repeat0" / f"fold{fold}_scores.csv"
        write_table(path, own.assign(split="test")[["participant_id", "split", "score"]])
    read = tables_of(run).networks["radius"].sort_values(["fold", "participant_id"], ignore_index=True)
    expected = given.networks["radius"].sort_values(["fold", "participant_id"], ignore_index=True)
    np.testing.assert_allclose(read["score"], expected["score"])
    assert read["fold"].tolist() == expected["fold"].tolist()
    write_table(path, own.assign(split="test", score=9.0)[["participant_id", "split", "score"]])
    with pytest.raises(
        ValueError, match=r"scores_radius.csv: the scores of the test set are not the means .* run 02_train"
    ):
        tables_of(run)
