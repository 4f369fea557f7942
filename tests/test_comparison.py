"""The families judged and compared: planned, paired, adjusted, and nothing below 5 events."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_fusion import assembled, data, inner_of, models_of_run, predict

from deepqct import evaluation
from deepqct.cohort import make_splits
from deepqct.cohort.check import complete_dictionary
from deepqct.cohort.splits import PROTOCOLS
from deepqct.models import comparison, optimism
from deepqct.report.findings import differences
from deepqct.run_tables import margins_of


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    """Predictions of every model for two protocols."""
    return predict(data(protocols=PROTOCOLS))


@pytest.fixture(scope="module")
def models() -> pd.DataFrame:
    """What each of those models is."""
    return models_of_run(data(protocols=PROTOCOLS))


def test_the_summary_carries_n_events_and_an_interval(predictions, models):
    """And no figure where the test set is too small for one."""
    summary = comparison.summarise(predictions, models=models)
    whole = summary.query("split == 'out-of-fold' and measure == 'AUC'")
    assert whole[["estimate", "low", "high"]].notna().all(axis=None)
    assert ((whole["low"] <= whole["estimate"]) & (whole["estimate"] <= whole["high"])).all()
    assert summary.query("split == 'test' and measure == 'AUC'")["estimate"].isna().all()
    strong = whole.query("protocol == 'all' and family == 'pQCT-index' and model == 'all four bones'")[
        "estimate"
    ].item()
    assert strong > 0.6
    measures = [
        "AUC",
        "AUPRC",
        "sensitivity",
        "specificity",
        "PPV",
        "NPV",
        "intercept",
        "slope",
        "Brier",
        "scaled Brier",
    ]
    assert list(summary["measure"].unique()) == measures


def test_the_sensitivity_is_that_of_the_training_thresholds(predictions, models):
    """Counted by hand from predictions.csv."""
    part = predictions.query("protocol == 'all' and family == 'DeepQCT' and model == 'radius'")
    row = comparison.summarise(predictions, models=models).query(
        "protocol == 'all' and family == 'DeepQCT' and model == 'radius' and measure == 'sensitivity'"
    )
    events = part[part["outcome"] == 1]
    assert row["estimate"].item() == pytest.approx((events["score"] >= events["threshold"]).mean())
    assert row["n"].item() == len(events)


def test_p_values_are_adjusted_within_protocol_and_split(predictions, models):
    """Twenty models at 5 % find something in noise two times of three."""
    summary = comparison.summarise(predictions, models=models).query("measure == 'AUC' and split == 'out-of-fold'")
    for _, part in summary.dropna(subset="p").groupby("protocol"):
        assert (part["p_holm"] >= part["p"]).all()
        smallest = part["p"].idxmin()
        assert part.loc[smallest, "p_holm"] == pytest.approx(min(1, part.loc[smallest, "p"] * len(part)))


def test_planned_comparisons_are_paired(predictions, models):
    """Against the same difference by hand; a woman without bone density is in neither score."""
    table = comparison.planned(predictions, models=models).query("protocol == 'all'").set_index("question")
    part = predictions.query("protocol == 'all'").set_index("participant_id")
    one = part.query("family == 'pQCT-index' and model == 'all four bones'")
    other = part.query("family == 'BMD' and model == 'total hip'")["score"].reindex(one.index)
    by_hand = evaluation.compare_auc(one["outcome"], one["score"], other).row()
    row = table.loc["pQCT-index − BMD"]
    assert row["n"] == 59
    assert row["estimate"] == pytest.approx(by_hand["estimate"])
    assert row["p"] == pytest.approx(by_hand["p"])
    assert not row["with_margin"]
    assert np.isnan(row["p_margin_0.03"])
    assert table.loc["DeepQCT − pQCT-index, radius", "model_b"] == "radius"


def test_what_strength_adds_is_asked_only_where_it_was_measured(predictions, models):
    """The index family with strength against that without, on the same women; said in a sentence whatever it is."""
    asked = "pQCT-index + strength − pQCT-index"
    assert asked not in set(comparison.planned(predictions, models=models)["question"])
    tables = data(n=120, seed=1)
    tables |= {"scores": {}, "texture": tables["texture"][["participant_id", "bone"]]}
    indices, rng = tables["indices"].query("bone in ('radius', 'tibia')"), np.random.default_rng(5)
    # Of the outcome itself beyond the other indices: strength must be found to add.
    event = indices["participant_id"].map(tables["outcome"])
    told = predict(tables | {"indices": indices.assign(**{"F.Load": 3 - event + rng.normal(0, 1, len(indices))})})
    strong = models_of_run(tables | {"indices": indices.assign(**{"F.Load": rng.normal(3, 1, len(indices))})})
    row = comparison.planned(told, models=strong).set_index("question").loc[asked]
    assert (row["model_a"], row["model_b"]) == ("radius + tibia + strength", "radius + tibia")
    assert row["low"] > 0
    assert (row["n"], row["events"]) == (120, 40)
    noise = predict(tables | {"indices": indices.assign(**{"F.Load": rng.normal(3, 1, len(indices))})})
    found = comparison.planned(noise, models=strong)
    row = found.set_index("question").loc[asked]
    assert row["low"] < 0.02
    (said,) = [line for line in differences(found) if line.startswith(asked)]
    assert f"{row['n']:.0f} women" in said or f"n {row['n']:.0f}" in said
    assert "p " in said


def test_repeats_are_averaged_and_paired_where_both_have_them():
    """Tables have two repeats, networks one: the difference is of the one that both have."""
    tables = data()
    tables["splits"] = make_splits(tables["outcome"], protocols=("all",), folds=3, repeats=2, seed=0)
    predictions, models = predict(tables), models_of_run(tables)
    summary = (
        comparison.summarise(predictions, models=models)
        .query("protocol == 'all' and measure == 'AUC'")
        .set_index(["family", "model"])
    )
    index = predictions.query("protocol == 'all' and family == 'pQCT-index' and model == 'all four bones'")
    by_repeat = [evaluation.auc(p["outcome"], p["score"]).estimate for _, p in index.groupby("repeat")]
    row = summary.loc[("pQCT-index", "all four bones")]
    assert (row["repeats"], row["estimate"]) == (2, pytest.approx(np.mean(by_repeat)))
    planned = comparison.planned(predictions, models=models).query("protocol == 'all'").set_index("question")
    assert planned.loc["pQCT-index − BMD", "repeats"] == 2
    assert planned.loc["DeepQCT − pQCT-index", "repeats"] == 1


def test_subgroups_count_their_own_women(predictions, models):
    """A T-score decides, of any site; who has none is in no group."""
    people = data()["participants"].assign(
        age=np.linspace(65, 85, 60), t_total_hip=np.where(np.arange(60) < 25, -3.0, -1.0), t_lumbar_spine=np.nan
    )
    people.loc[59, "t_total_hip"] = np.nan
    found = (
        comparison.by_subgroup(predictions, people, models=models).query("family == 'pQCT-index'").set_index("subgroup")
    )
    assert found.loc["osteoporosis (T ≤ −2.5)", "n"] == 25
    assert found.loc["no osteoporosis", "n"] == 34
    assert found.loc["younger than 75", "n"] + found.loc["75 and older", "n"] == 60


def test_curves_and_reclassification_are_of_the_widest_models(predictions, models):
    """One line a family; more would be a thicket."""
    curves = comparison.curves(predictions, models=models)
    assert set(curves["curve"]) == {"calibration", "decision"}
    assert set(curves.query("family == 'DeepQCT'")["model"]) == {"mean of all four bones"}
    moved = comparison.reclassified(predictions, models=models)
    assert set(moved["after"]) == {"pQCT-index, all four bones", "DeepQCT, mean of all four bones"}
    assert set(moved["n"]) == {20, 39}


def test_optimism_knows_a_signal_from_noise():
    """With nothing to find, the best of many models must look no better than chance allows."""
    for effect, strong in ((0.0, False), (2.0, True)):
        tables = data(effect=effect, seed=4)
        told: list[tuple[int, int]] = []
        found = optimism.optimism(
            assembled(tables),
            predict(tables),
            models=models_of_run(tables),
            permutations=19,
            bootstraps=10,
            progress=lambda *step, told=told: told.append(step),
        )
        assert told[-1] == (len(told), len(told)), "the bar reaches its end"
        assert len(told) > 19 + 10
        p = found.set_index("what")["p"]
        assert (p["best of 29 models"] < 0.05) == strong, "fused models of standard stacking are not among them"
        permuted = found[found["what"].str.startswith("permuted")]
        assert ((permuted["p"] <= 0.05).all()) == strong
        corrected = found[found["what"].str.startswith(".632+")]
        assert set(corrected["family"]) == {"Clinical", "BMD"}
        assert (corrected["expected"] <= corrected["observed"] + 0.03).all()


def test_adequacy_is_said_of_every_fitted_model():
    """60 women are too few for 8 parameters, and the report must say so."""
    found = optimism.adequacy(assembled(data()))
    assert not found["enough"].any()
    assert found.query("family == 'pQCT-index' and model == 'all four bones'")["parameters"].item() == 8
    assert "DeepQCT" not in set(found["family"]), "a network's score is no single parameter"


def test_the_primary_question_has_an_answer_under_any_stacking(predictions, models):
    """The mean of the bones speaks where the late fusion may not: no run is without a verdict."""
    for strict in (False, True):
        named = models_of_run(data() | ({"inner": inner_of(data())} if strict else {}))
        table = comparison.planned(predictions, models=named, strict=strict).query("protocol == 'all'")
        table = table[table["split"] == "out-of-fold"].set_index("question")
        row = table.loc["DeepQCT − pQCT-index"]
        assert row["model_a"] == ("all four bones" if strict else "mean of all four bones")
        assert row["caveat"] == ""
        assert np.isfinite(row[["p", "p_holm", "p_margin_0.03_holm", "p_margin_0.05_holm"]].to_numpy(float)).all()
        sites = table.loc["non-weight-bearing − weight-bearing"]
        assert sites["model_a"].startswith("mean of ") == (not strict)
        assert np.isfinite(sites["p"])
        assert ("late fusion − pQCT-index" in table.index) == (not strict)


def test_fused_scores_of_standard_stacking_are_not_tested(predictions, models):
    """On noise that stacking alone gives 0.54: a p value or a verdict on it would find what is not there."""
    table = comparison.planned(predictions, models=models).query("protocol == 'all'").set_index("question")
    fused, single = table.loc["late fusion − pQCT-index"], table.loc["DeepQCT − pQCT-index, radius"]
    assert fused["model_a"] == "all four bones"
    assert np.isfinite(fused["estimate"])
    assert np.isnan(fused[["p", "p_holm", "p_margin_0.03", "p_margin_0.05_holm"]].to_numpy(float)).all()
    assert fused["non_inferior_0.05"] is None
    assert fused["caveat"] == "standard stacking"
    for margin in ("0.03", "0.05"):
        assert single[f"non_inferior_{margin}"] == (single[f"p_margin_{margin}_holm"] < 0.025)
    for strict in (False, True):
        auc = comparison.summarise(predictions, models=models, strict=strict).query(
            "protocol == 'all' and measure == 'AUC' and family == 'DeepQCT' and split == 'out-of-fold'"
        )
        p = auc.set_index("model")["p"]
        assert np.isfinite(p["all four bones"]) == strict
        assert np.isfinite(p["mean of all four bones"])


def test_margins_stand_side_by_side_and_are_adjusted_each_by_itself(predictions, models):
    """A verdict that names no margin, or the kindest one alone, says what one likes."""
    table = comparison.planned(predictions, models=models, margins=(0.02, 0.3)).query("protocol == 'all'")
    for margin in ("0.02", "0.3"):
        tested = table[f"p_margin_{margin}"].dropna()
        assert len(tested) == table["with_margin"].sum() - 1, "all but the late fusion"
        np.testing.assert_allclose(table.loc[tested.index, f"p_margin_{margin}_holm"], evaluation.holm(tested))
    asked = table[table["with_margin"] & (table["caveat"] == "")]
    assert (asked["p_margin_0.02"] > asked["p_margin_0.3"]).all()
    shown = asked[["non_inferior_0.02", "non_inferior_0.3"]].astype(bool)
    assert not (shown["non_inferior_0.02"] & ~shown["non_inferior_0.3"]).any()
    assert shown["non_inferior_0.3"].sum() > shown["non_inferior_0.02"].sum()
    assert not any(name.endswith("0.05") for name in table)
    for wrong in ("", "0.05; 0.1", "0, 0.05", "5"):
        with pytest.raises(ValueError, match=r"margins is .*; give numbers above 0 and below 0.5"):
            margins_of(wrong)


def test_differences_with_networks_carry_the_variance_of_training(predictions, models):
    """Three repeats measure it, one does not and says so; tables that are fitted have none."""
    parts = [predictions.query("protocol == 'all'").assign(repeat=repeat) for repeat in range(3)]
    rng = np.random.default_rng(1)
    three = pd.concat(parts, ignore_index=True)
    three["score"] += np.where(three["family"] == "DeepQCT", rng.normal(scale=0.5, size=len(three)), 0.0)
    for table, said in ((parts[0], comparison.ASSUMED), (three, comparison.MEASURED)):
        found = comparison.planned(table, models=models).set_index("question")
        row, plain = found.loc["DeepQCT − pQCT-index, radius"], found.loc["pQCT-index − BMD"]
        assert (row["training"], plain["training"]) == (said, "")
        pair = [table[(table["family"] == f) & (table["model"] == "radius")] for f in ("DeepQCT", "pQCT-index")]
        a, b = (one.pivot(index="participant_id", columns="repeat", values="score") for one in pair)
        outcome = pair[0].drop_duplicates("participant_id").set_index("participant_id")["outcome"].reindex(a.index)
        wide = evaluation.compare_auc(outcome, a, b, trained=(True, False))
        assert row["low"] == pytest.approx(wide.low)
        assert row["p"] == pytest.approx(wide.p)
        assert wide.low < evaluation.compare_auc(outcome, a, b).low


def test_a_bone_missing_for_a_third_is_judged_on_its_own_women():
    """The best model's figure must be the one of the table, not that of the few women who have every bone."""
    tables = data(seed=2)
    indices, people = tables["indices"], tables["participants"]["participant_id"]
    for number, bone in enumerate(("radius", "ulna", "tibia")):
        gone = people[number * 20 : number * 20 + 20]
        indices = indices[(indices["bone"] != bone) | ~indices["participant_id"].isin(gone)]
    tables |= {"indices": indices, "scores": {}}
    predictions, models = predict(tables), models_of_run(tables)
    best = optimism.optimism(assembled(tables), predictions, models=models, permutations=0, bootstraps=0).iloc[0]
    summary = comparison.summarise(predictions, models=models).query("measure == 'AUC'").set_index(["family", "model"])
    row = summary.loc[(best["family"], best["model"])]
    assert best["observed"] == pytest.approx(row["estimate"])
    assert best["n"] == row["n"]
    assert best["observed"] == summary["estimate"].max()
    found = optimism.adequacy(assembled(tables)).set_index(["family", "model"])
    assert found.loc[("pQCT-index", "radius"), "n"] == 40


def test_an_empty_column_and_no_bone_density_are_met():
    """A hospital's table has both; neither may cost the other models."""
    tables = data()
    tables["participants"]["bmd_lumbar_spine"] = np.nan
    tables["dictionary"] = complete_dictionary({}, tables["participants"], outcome="fracture")
    assert "lumbar spine" not in set(predict(tables)["model"])
    tables = data()
    tables["participants"] = tables["participants"][["participant_id", "fracture"]]
    tables["dictionary"] = complete_dictionary({}, tables["participants"], outcome="fracture")
    tables["scores"] = {}
    predictions, models = predict(tables), models_of_run(tables)
    assert set(comparison.planned(predictions, models=models)["question"]) == {"Texture − pQCT-index"}
    assert set(comparison.summarise(predictions, models=models)["family"]) == {"pQCT-index", "Texture"}
