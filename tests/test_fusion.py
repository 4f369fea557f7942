"""The three families: nothing fitted sees the held-out fold, and every model is there that the data allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepqct.cohort import make_splits
from deepqct.cohort.check import complete_dictionary
from deepqct.cohort.splits import PROTOCOLS
from deepqct.evaluation import within_folds
from deepqct.folder import Run, write_json, write_table
from deepqct.models import models_for, predict_all
from deepqct.models.classifiers import cross_predict
from deepqct.models.families import FAMILIES, INDEX_SCORE, models_table, widest
from deepqct.models.inputs import strength_of
from deepqct.models.predict import Tables, models_of
from deepqct.models.predict import tables as tables_of
from deepqct.run_tables import patient_labels, wide_indices

BONES = ("radius", "ulna", "tibia", "fibula")


def data(n: int = 60, *, seed: int = 0, effect: float = 1.0, protocols: tuple[str, ...] = ("all",)):
    """A cohort's tables with an effect of the latent risk on everything."""
    rng = np.random.default_rng(seed)
    people = [f"sub-{i:04d}" for i in range(n)]
    risk = rng.standard_normal(n)
    outcome = pd.Series((rng.permutation(n) < n // 3).astype(int), index=people, name="fracture")
    risk = risk + effect * outcome.to_numpy()
    participants = pd.DataFrame({"participant_id": people, "age": 70 + risk, "bmd_total_hip": 0.8 - 0.1 * risk})
    participants.loc[3, "bmd_total_hip"] = np.nan
    participants["fracture"] = outcome.to_numpy()
    indices = pd.DataFrame(
        [
            {
                "participant_id": p,
                "bone": b,
                "Tt.vBMD": 250 - 20 * r + 5 * rng.standard_normal(),
                "Tt.Ar": rng.normal(200, 20),
            }
            for p, r in zip(people, risk, strict=True)
            for b in BONES
        ]
    )
    seen = indices[["participant_id", "bone"]].assign(
        **{"Tb.Lac.1": np.repeat(risk, len(BONES)) + np.random.default_rng([seed, 1]).standard_normal(len(indices))}
    )
    splits = make_splits(outcome, protocols=protocols, folds=3, seed=seed)
    rows = splits.assign(split=np.where(splits["fold"] == "test", "test", "out-of-fold"))
    scores = {
        b: rows.assign(score=rng.normal(rows["participant_id"].map(dict(zip(people, risk, strict=True)))))
        for b in BONES
    }
    scores = {b: table.assign(risk=1 / (1 + np.exp(-table["score"]))) for b, table in scores.items()}
    dictionary = complete_dictionary({}, participants, outcome="fracture")
    return {
        "participants": participants, "indices": indices, "texture": seen, "scores": scores, "splits": splits,
        "dictionary": dictionary, "outcome": outcome,
    }  # fmt: skip


def assembled(tables) -> Tables:
    """The same as the models take them."""
    wide, seen = wide_indices(tables["indices"]), wide_indices(tables["texture"])
    strong = strength_of(tables["indices"])
    return Tables(
        features=tables["participants"].set_index("participant_id").join(wide).join(strong).join(seen),
        indices=list(wide.columns),
        scores=tables["scores"],
        inner=tables.get("inner", {}),
        splits=tables["splits"],
        dictionary=tables["dictionary"],
        outcome=tables["outcome"],
        patients=tables.get("patients", patient_labels(tables["outcome"].index, None)),
        texture=tuple(seen.columns),
        strength=tuple(strong.columns),
    )


def models_of_run(tables) -> pd.DataFrame:
    """models.csv of these tables."""
    return models_table(models_of(assembled(tables)))


def predict(tables) -> pd.DataFrame:
    """Predictions of every model."""
    return predict_all(assembled(tables))


def test_every_model_predicts_every_patient_once():
    """A patient left out of one model and not of another would spoil the comparison."""
    predictions = predict(data(protocols=PROTOCOLS))
    assert set(predictions["family"].unique()) == set(FAMILIES) - {"FRAX", "Strength"}
    assert {
        "all four bones",
        "all four bones + clinical",
        "all four bones + all indices",
        "total hip + clinical",
        "wrist, non-weight-bearing (radius + ulna)",
        "ankle, weight-bearing (tibia + fibula)",
    } <= set(predictions["model"])
    for (*_, model), part in predictions.groupby(["protocol", "repeat", "family", "model"]):
        assert len(part) == (59 if model == "total hip" else 60), (
            "one patient has no bone density, the model's only column"
        )
        assert part["participant_id"].is_unique
        assert part["score"].notna().all()
    assert set(predictions.query("fold == 'test'")["split"]) == {"test"}


def test_the_outcome_is_never_a_predictor():
    """It would make any model perfect."""
    for model in models_for(data()["dictionary"], indices=pd.DataFrame(), bones=list(BONES)):
        assert "fracture" not in model.columns


def held_out_spoilt(spoil) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Scores before and after spoiling one held-out patient's features, and the fold of each."""
    tables = data()
    fold = tables["splits"].query("protocol == 'all'").set_index("participant_id")["fold"]
    features = tables["participants"].set_index("participant_id")[["age", "bmd_total_hip"]].reindex(fold.index)
    outcome = tables["outcome"].reindex(fold.index)
    before = cross_predict(features, outcome=outcome, fold=fold)["score"]
    spoilt, turned = spoil(features.copy(), outcome.copy(), fold)
    return before, cross_predict(spoilt, outcome=turned, fold=fold)["score"], fold


def test_imputing_and_scaling_never_see_the_held_out_fold():
    """An extreme value in fold 0 must not move the other patients of fold 0, whose model was fitted without it."""

    def spoil(features, outcome, fold):
        features.loc[fold[fold == "0"].index[0]] = 1e6
        return features, outcome

    before, after, fold = held_out_spoilt(spoil)
    mine = fold[fold == "0"].index[1:]
    np.testing.assert_array_equal(before[mine], after[mine])
    others = fold[fold != "0"].index
    assert (before[others] != after[others]).all(), "the other folds were fitted on the spoilt value: this guard guards"


def test_regression_never_sees_the_held_out_outcomes():
    """Turning round fold 0's outcomes must leave fold 0's scores, and change those of the other folds."""

    def spoil(features, outcome, fold):
        return features, outcome.where(fold != "0", 1 - outcome)

    before, after, fold = held_out_spoilt(spoil)
    np.testing.assert_array_equal(before[fold == "0"], after[fold == "0"])
    assert (before[fold != "0"] != after[fold != "0"]).all()


def test_late_fusion_never_sees_the_held_out_fold_or_the_test_set():
    """The fusion of fold 0 is fitted on the other folds' scores alone."""
    tables = data(protocols=PROTOCOLS)
    before = predict(tables)
    fold = tables["splits"].query("protocol == 'as-published'").set_index("participant_id")["fold"]
    turned = tables["outcome"].where(
        ~tables["outcome"].index.isin(fold[fold.isin(["0", "test"])].index), 1 - tables["outcome"]
    )
    after = predict(tables | {"outcome": turned})
    fused = "protocol == 'as-published' and family == 'DeepQCT' and model == 'all four bones'"
    one, other = (t.query(fused).set_index("participant_id")["score"] for t in (before, after))
    np.testing.assert_array_equal(one[fold == "0"], other[fold == "0"])
    assert (one[fold == "1"] != other[fold == "1"]).all()


def test_a_single_network_is_taken_as_it_is():
    """Refitting one score could turn its sign on a small fold: only the level of its fold is taken off."""
    tables = data()
    predictions = predict(tables).query("family == 'DeepQCT' and model == 'ulna' and protocol == 'all'")
    expected = tables["scores"]["ulna"].query("protocol == 'all'").set_index("participant_id")
    level = expected.groupby("fold")["score"].transform("mean")
    pd.testing.assert_series_equal(
        predictions.set_index("participant_id")["score"], expected["score"] - level, check_names=False
    )


def test_random_outcomes_give_chance():
    """Anything above 0.5 on average would be a leak."""
    aucs = []
    for seed in range(30):
        tables = data(seed=seed, effect=0.0)
        fold = tables["splits"].query("protocol == 'all'").set_index("participant_id")["fold"]
        features, outcome = wide_indices(tables["indices"]).reindex(fold.index), tables["outcome"].reindex(fold.index)
        score = cross_predict(features, outcome=outcome, fold=fold)["score"]
        aucs.append(within_folds(outcome, score, fold))  # pooled over folds, chance is slightly below one half
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.05)


def test_scores_of_other_folds_are_refused():
    """Splits drawn again after training would let a network score women it has learnt from."""
    tables = data()
    tables["splits"] = make_splits(tables["outcome"], folds=3, seed=99)
    with pytest.raises(ValueError, match=r"scores_radius.csv: sub-\d+ was scored in fold .* run 02_train_bone"):
        predict(tables)


def test_a_protocol_without_networks_has_no_network_models():
    """A fusion of scores that are not there would be an AUC of nothing, or of the clinical factors alone."""
    tables = data(protocols=PROTOCOLS)
    tables["scores"] = {bone: table[table["protocol"] == "all"] for bone, table in tables["scores"].items()}
    deep = predict(tables).query("family == 'DeepQCT'")
    assert set(deep["protocol"]) == {"all"}


def test_two_columns_with_one_description_stay_two_models():
    """Under one name their scores would be averaged into a model that nobody fitted."""
    tables = data()
    tables["participants"]["bmd_left_hip"] = np.linspace(0.6, 0.9, 60)
    hip = tables["dictionary"]["bmd_total_hip"]
    tables["dictionary"] = tables["dictionary"] | {"bmd_left_hip": dict(hip)}
    part = predict(tables).query("protocol == 'all' and family == 'BMD'")
    assert {"total hip", "left hip"} <= set(part["model"])
    assert not part.duplicated(["model", "participant_id"]).any()


def test_a_patient_without_the_bone_is_left_out_of_its_models():
    """The median of others instead of her bone would be counted in n, and would hide that she has no scan."""
    tables = data()
    gone = tables["participants"]["participant_id"][:20]
    indices = tables["indices"]
    tables["indices"] = indices[(indices["bone"] != "radius") | ~indices["participant_id"].isin(gone)]
    part = predict(tables).query("protocol == 'all' and family == 'pQCT-index'")
    assert not part.query("model == 'radius'")["participant_id"].isin(gone).any()
    assert part.query("model == 'all four bones'")["participant_id"].nunique() == 60


def test_a_column_without_values_in_training_is_left_out():
    """A hospital may have measured one bone density in a few women only."""
    tables = data()
    tables["participants"]["bmd_lumbar_spine"] = np.nan
    tables["participants"].loc[0, "bmd_lumbar_spine"] = 0.9
    tables["dictionary"] = complete_dictionary({}, tables["participants"], outcome="fracture")
    part = predict(tables).query("family == 'BMD'")
    assert part["score"].notna().all()


def test_strength_is_a_family_and_beside_the_indices_and_never_among_them():
    """The index family of record stays what it was whether strength was measured or not."""
    tables = data(seed=3)
    plain = predict(tables)
    rng = np.random.default_rng(4)
    indices = tables["indices"]
    strong = {name: indices["Tt.vBMD"] / 100 + rng.normal(0, 0.2, len(indices)) for name in ("F.Load", "Stiffness")}
    fall = {"Load/Strength": 1 / strong["F.Load"]}
    tables["indices"] = indices.assign(**strong, **fall)
    predictions, models = predict(tables), models_of_run(tables)
    key = ["protocol", "repeat", "participant_id", "family", "model"]
    before = plain.set_index(key)[["score", "risk", "threshold"]]
    pd.testing.assert_frame_equal(before, predictions.set_index(key).loc[before.index, before.columns.tolist()])
    columns = models.set_index(["family", "model"])["columns"].str.split("; ")
    assert columns["Strength", "all four bones"] == [f"{b} {n}" for b in BONES for n in ("F.Load", "Stiffness")]
    both = [*columns["pQCT-index", "all four bones"], *columns["Strength", "all four bones"]]
    assert columns["pQCT-index", "all four bones + strength"] == both
    assert not any("Load/Strength" in name for names in columns for name in names)
    assert models.query("headline")["family"].tolist().count("pQCT-index") == 1
    assert not models.query("model == 'all four bones + strength'")[["headline", "own"]].any(axis=None)


def test_frax_is_a_family_of_its_own():
    """A calculator's probability is no bone density, and no clinical factor of ours."""
    tables = data()
    tables["participants"]["frax_major"] = np.linspace(1, 40, 60)
    tables["dictionary"] = complete_dictionary({}, tables["participants"], outcome="fracture")
    part = predict(tables).query("protocol == 'all'")
    assert set(part.query("family == 'FRAX'")["model"]) == {"major"}
    wide = wide_indices(tables["indices"])
    clinical = [m for m in models_for(tables["dictionary"], indices=wide, bones=[]) if m.family == "Clinical"]
    assert "frax_major" not in clinical[0].columns


def test_the_widest_model_is_of_its_own_columns():
    """A headline with clinical factors inside would credit the bones with what age knows."""
    models = models_for(data()["dictionary"], indices=wide_indices(data()["indices"]), bones=list(BONES))
    scores = tuple(f"{bone} score" for bone in BONES)
    for strict, name in ((False, "mean of all four bones"), (True, "all four bones")):
        assert widest(models, "DeepQCT", strict=strict).columns == scores
        assert widest(models, "DeepQCT", strict=strict).name == name
    alone = models_for(data()["dictionary"], indices=wide_indices(data()["indices"]), bones=["ulna"])
    assert widest(alone, "DeepQCT").name == "ulna"
    assert widest(models, "pQCT-index").name == "all four bones"
    assert widest(models, "FRAX") is None


def inner_of(tables, *, shift: float = 0.0) -> dict[str, pd.DataFrame]:
    """Inner scores of every bone: those of the outer networks, and `shift` times noise."""
    rng = np.random.default_rng(9)
    found = {}
    for bone, table in tables["scores"].items():
        rows = table[table["split"] == "out-of-fold"]
        parts = []
        for _, part in rows.groupby(["protocol", "repeat"]):
            parts += [part[part["fold"] != held_out].assign(held_out=held_out) for held_out in part["fold"].unique()]
        inner = pd.concat(parts, ignore_index=True)
        inner["score"] += shift * rng.standard_normal(len(inner))
        found[bone] = inner[["protocol", "repeat", "participant_id", "held_out", "fold", "score"]]
    return found


def test_strict_stacking_with_the_same_scores_is_standard_stacking():
    """The two differ in which networks made the training scores, and in nothing else."""
    tables = data()
    standard, strict = predict(tables), predict(tables | {"inner": inner_of(tables)})
    fused = "family == 'DeepQCT' and model in ('all four bones', 'all four bones + clinical')"
    pd.testing.assert_frame_equal(standard.query(fused), strict.query(fused))
    unfused = "family != 'DeepQCT' or model in @BONES"
    pd.testing.assert_frame_equal(standard.query(unfused), strict.query(unfused))


def test_strict_stacking_is_fitted_on_the_inner_scores():
    """Else a run that paid for them would report standard stacking under another name."""
    tables = data()
    strict = predict(tables | {"inner": inner_of(tables, shift=300.0)})
    name = "family == 'DeepQCT' and model == 'all four bones' and protocol == 'all'"
    one, other = predict(tables).query(name)["score"], strict.query(name)["score"]
    assert other.std() < 0.3 * one.std(), "a fusion fitted on noise must shrink the scores"


def test_the_index_score_of_a_fusion_never_saw_the_fold_it_is_fitted_without():
    """Turning round fold 0's outcomes must leave its fused scores, index score included, under strict stacking."""
    tables = data()
    tables["inner"] = inner_of(tables)
    fold = tables["splits"].query("protocol == 'all'").set_index("participant_id")["fold"]
    turned = tables["outcome"].where(~tables["outcome"].index.isin(fold[fold == "0"].index), 1 - tables["outcome"])
    name = "family == 'DeepQCT' and model == 'all four bones + all indices' and protocol == 'all'"
    one, other = (
        predict(t).query(name).set_index("participant_id")["score"] for t in (tables, tables | {"outcome": turned})
    )
    np.testing.assert_array_equal(one[fold == "0"], other[fold == "0"])
    assert (one[fold == "1"] != other[fold == "1"]).all()
    assert any(
        INDEX_SCORE in m.columns
        for m in models_for(tables["dictionary"], indices=wide_indices(tables["indices"]), bones=list(BONES))
    )


def test_inner_scores_of_other_networks_are_refused():
    """Scores without a fold, or of other folds, would be standard stacking under the name of the strict one."""
    tables = data()
    inner = inner_of(tables)
    without = inner | {"ulna": inner["ulna"][inner["ulna"]["held_out"] != "0"]}
    with pytest.raises(ValueError, match=r"scores_ulna_inner\.csv lacks networks without fold 0 of protocol 'all'"):
        predict(tables | {"inner": without})
    other = data()
    other["splits"] = make_splits(tables["outcome"], protocols=("all",), folds=3, seed=77)
    rows = {
        bone: table.merge(other["splits"][["participant_id", "fold"]], on="participant_id")
        for bone, table in inner.items()
    }
    moved = {bone: t.assign(fold=t["fold_y"]).drop(columns=["fold_x", "fold_y"]) for bone, t in rows.items()}
    with pytest.raises(ValueError, match=r"scores_radius_inner\.csv"):
        predict(tables | {"inner": moved})


def test_repeats_are_predicted_where_there_are_networks():
    """Tables are cheap and networks are not: the second repeat has no network, and so no fusion."""
    tables = data()
    tables["splits"] = make_splits(tables["outcome"], protocols=("all",), folds=3, repeats=2, seed=0)
    part = predict(tables).query("protocol == 'all'")
    assert set(part.query("family == 'pQCT-index'")["repeat"]) == {0, 1}
    assert set(part.query("family == 'DeepQCT'")["repeat"]) == {0}


def test_the_results_do_not_depend_on_the_workers():
    """Or a run on a cluster would not be the run of a laptop."""
    tables = assembled(data())
    pd.testing.assert_frame_equal(predict_all(tables), predict_all(tables, workers=2))


def test_nothing_to_predict_from_is_one_sentence():
    """A cohort of ids and outcomes alone must not end in a traceback of another library."""
    tables = data()
    tables["participants"] = tables["participants"][["participant_id", "fracture"]]
    tables["dictionary"] = complete_dictionary({}, tables["participants"], outcome="fracture")
    tables["indices"] = tables["texture"] = tables["indices"][["participant_id", "bone"]]
    tables["scores"] = {}
    with pytest.raises(ValueError, match="There is nothing to predict from"):
        predict(tables)


def test_networks_of_bones_that_were_not_asked_for_take_no_part(tmp_path, capsys):
    """Scores that an earlier run left in the folder are of another recipe."""
    run, tables = Run(tmp_path), data()
    write_table(run.participants, tables["participants"])
    write_table(run.indices, tables["indices"])
    write_table(run.texture, tables["texture"])
    write_table(run.splits, tables["splits"])
    write_json(run.dictionary, tables["dictionary"])
    for bone, table in tables["scores"].items():
        write_table(run.scores(bone), table)
    assert set(tables_of(run).scores) == set(BONES)
    write_json(run.settings, {"bones": ["radius", "ulna"]})
    assert list(tables_of(run).scores) == ["radius", "ulna"]
    assert "scores_tibia.csv is left out" in capsys.readouterr().out
