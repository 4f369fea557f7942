"""The fused risk of women scanned again: each by the models of the fold that held her out, as the run judged her."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_fusion import BONES, data, inner_of

from deepqct.folder import Run, read_table, write_json, write_table
from deepqct.models import fuse_repeats, noise_costs, predict, predict_run, risk_precision
from deepqct.report.tables import fused_noise
from deepqct.report.tables import noise_costs as costs_said

NOISE = 0.2  # SD of a score from scan to scan, in logits


def run_with_repeats(folder, tables, *, seed: int = 5) -> Run:
    """A run whose women were all scanned twice; the first scan is the one that models see."""
    run, rng = Run(folder), np.random.default_rng(seed)
    for path, table in (
        (run.participants, tables["participants"]), (run.indices, tables["indices"]),
        (run.texture, tables["texture"]), (run.splits, tables["splits"]),
    ):  # fmt: skip
        write_table(path, table)
    write_json(run.dictionary, tables["dictionary"])
    place = {"side": "right", "years": 0.0, "scanner": 0.061, "centre": ""}
    for bone in BONES:
        write_table(run.scores(bone), tables["scores"][bone])
        if "inner" in tables:
            write_table(run.inner_scores(bone), tables["inner"][bone])
        own = tables["scores"][bone].query("protocol == 'all' and repeat == 0")[["participant_id", "fold", "score"]]
        again = own.assign(score=own["score"] + rng.normal(0, NOISE * np.sqrt(2), len(own)))
        both = pd.concat([own.assign(session="1"), again.assign(session="2")]).assign(**place)
        write_table(run.repeat_scores(bone), both)
    first = tables["indices"].assign(session="1", analysed=True)
    second = first.assign(session="2", analysed=False, **{"Tt.vBMD": first["Tt.vBMD"] + rng.normal(0, 2, len(first))})
    write_table(run.repeats, pd.concat([first, second]).assign(**place))
    return run


@pytest.mark.parametrize(("stacking", "calibrated"), [("standard", "centre"), ("strict", "none")])
def test_the_scan_that_was_analysed_has_the_risk_that_the_run_gave_it(tmp_path, monkeypatch, stacking, calibrated):
    """Exactly: the fold's own networks, levels, sizes, coefficients and map. A fit on everybody fails here."""
    tables = data()
    if stacking == "strict":
        tables["inner"] = inner_of(tables)
    centre = np.where(np.random.default_rng(2).random(60) < 0.5, "A", "B")
    tables["participants"] = tables["participants"].assign(centre=centre)
    tables["dictionary"]["centre"] = {"Description": "centre", "Role": "other"}
    run = run_with_repeats(tmp_path, tables)
    every = predict.models_for  # without the families that no repeat is predicted by, for the time of the test
    kept = ("DeepQCT", "pQCT-index")
    few = lambda *a, **k: [m for m in every(*a, **k) if m.own and m.family in kept and len(m.bones) == 4]  # noqa: E731
    monkeypatch.setattr(predict, "models_for", few)
    how = {"stacking": stacking, "cross_calibrate": calibrated}
    predicted = predict_run(run, **how).query("protocol == 'all' and repeat == 0")
    found = fuse_repeats(run, **how)
    names = {"mean of all four bones", "all four bones"}
    assert set(found.loc[found["family"] == "DeepQCT", "model"]) == names and "pQCT-index" in set(found["family"])
    key = ["family", "model", "participant_id"]
    both = found[found["session"] == "1"].merge(predicted, on=key, suffixes=("", "_run"))
    assert len(both) == 3 * 60
    for name in ("score", "risk"):
        np.testing.assert_allclose(both[name], both[f"{name}_run"], atol=1e-9)
    assert len(read_table(run.repeat_risks)) == len(found) == 2 * len(both)


def test_the_least_significant_change_is_that_of_the_noise_that_was_put_in(tmp_path):
    """Of the mean of four bones: each score divided by its SD, their noise averaged."""
    tables = data(n=240)
    found = fuse_repeats(run_with_repeats(tmp_path, tables))
    table = risk_precision(found).set_index(["model", "what"])
    sizes = [tables["scores"][bone]["score"].std() for bone in BONES]
    expected = NOISE * np.sqrt(np.sum(1 / np.square(sizes))) / len(BONES)
    score = table.loc[("mean of all four bones", "score")]
    assert score["rms_sd"] == pytest.approx(expected, rel=0.15) and score["n"] == 240
    assert 0 < table.loc[("mean of all four bones", "risk"), "lsc"] < score["lsc"]
    (line, *_) = fused_noise(found)
    assert line.startswith(
        "Risk by DeepQCT (mean of all four bones): two scans of one woman whose risks differ by less"
    )
    assert "240 women, 240 degrees of freedom" in line


def test_what_noise_costs_an_auc_is_found_for_networks_and_fused_risks(tmp_path, monkeypatch):
    """With n, events and interval, from the noise between two scans; more noise costs more, and the report says it."""
    every = predict.models_for
    few = lambda *a, **k: [m for m in every(*a, **k) if m.family == "DeepQCT" and m.own and len(m.bones) == 4]  # noqa: E731
    monkeypatch.setattr(predict, "models_for", few)
    run = run_with_repeats(tmp_path, data(n=120))
    predict_run(run)
    fuse_repeats(run)
    table = noise_costs(run, draws=20)
    assert table["model"].tolist() == [*BONES, "mean of all four bones", "all four bones"]
    assert (table["n"] == 120).all() and (table["events"] > 20).all() and (table["sd"] > 0).all()
    told = table.dropna(subset="lost")
    assert len(told) >= 3 and (told["lost"] >= 0).all() and (told["low"] <= told["high"]).all()
    np.testing.assert_allclose(told["without_noise"] - told["auc"], told["lost"], atol=1e-9)
    pd.testing.assert_frame_equal(read_table(run.noise_costs), table, check_dtype=False)
    line = costs_said(told)[0]
    assert f"n 120, {told['events'].iloc[0]} events" in line and "without the noise of a scan the AUC of" in line
    for bone in BONES:
        again = read_table(run.repeat_scores(bone))
        more = again["score"] + np.where(again["session"] == "2", 0.25, 0.0) * np.tile([1, -1], len(again) // 2)
        write_table(run.repeat_scores(bone), again.assign(score=more))
    louder = noise_costs(run, draws=20).set_index("model")["lost"]
    quiet = told.set_index("model")["lost"]
    both = [bone for bone in BONES if bone in quiet and np.isfinite(louder[bone])]
    assert both and all(louder[bone] > quiet[bone] for bone in both)
    for bone in BONES:
        run.repeat_scores(bone).unlink()
    run.repeat_risks.unlink()
    assert noise_costs(run).empty and not run.noise_costs.exists() and costs_said(pd.DataFrame()) == []


def test_neither_a_womans_own_outcome_nor_her_fold_has_a_say(tmp_path):
    """Outcomes of fold 0 turned at will: the risks of its women's scans stay; those of other folds move."""
    one = data()
    fold = one["splits"].query("protocol == 'all' and repeat == 0").set_index("participant_id")["fold"]
    turned = one["outcome"].where(fold.reindex(one["outcome"].index) != "0", 1 - one["outcome"])
    people = one["participants"].assign(fracture=turned.to_numpy())
    before, after = (
        fuse_repeats(run_with_repeats(tmp_path / name, tables)).set_index(
            ["family", "model", "participant_id", "session"]
        )
        for name, tables in (("one", one), ("two", one | {"participants": people, "outcome": turned}))
    )
    mine = before["fold"] == "0"
    np.testing.assert_allclose(before["risk"][mine], after["risk"][mine], atol=1e-12)
    assert (np.abs(before["risk"] - after["risk"])[~mine] > 1e-6).mean() > 0.9


def test_a_session_without_a_bone_and_scores_of_other_folds_do_not_count(tmp_path):
    """A risk from three bones beside one from four would pass for noise; other folds' networks have seen her."""
    run = run_with_repeats(tmp_path, data())
    table = read_table(run.repeat_scores("ulna"))
    lost = (table["participant_id"] == "sub-0007") & (table["session"] == "2")
    write_table(run.repeat_scores("ulna"), table[~lost])
    found = fuse_repeats(run)
    assert set(found.query("participant_id == 'sub-0007'")["session"]) == {"1"}
    assert (risk_precision(found)["n"] == 59).all()
    write_table(run.repeat_scores("ulna"), table.assign(fold=table["fold"].map({"0": "1", "1": "2", "2": "0"})))
    with pytest.raises(ValueError, match=r"scores_ulna_repeats\.csv: sub-\d+ was scored in another fold"):
        fuse_repeats(run)
    run.repeats.unlink()
    assert fuse_repeats(run).empty and not run.repeat_risks.exists()


def test_an_index_model_of_the_scanners_values_scores_none_of_ours(tmp_path):
    """All sessions have our values; a model fitted to others would take the difference for noise or for change."""
    run = run_with_repeats(tmp_path, data())
    assert "pQCT-index" in set(fuse_repeats(run)["family"])
    ours = read_table(run.indices)
    write_table(run.indices, ours.assign(**{"Tt.vBMD": ours["Tt.vBMD"] + 15}))
    assert set(fuse_repeats(run)["family"]) == {"DeepQCT"}


def test_visits_years_apart_and_other_scanners_are_no_repeats(tmp_path):
    """What changes in years is no noise."""
    run = run_with_repeats(tmp_path, data())
    for name, other in (("years", 2.0), ("scanner", 0.082), ("side", "left")):
        for bone in BONES:
            table = read_table(run.repeat_scores(bone))
            apart = table.assign(**{name: table[name].where(table["session"] == "1", other)})
            write_table(run.repeat_scores(bone), apart)
        found = fuse_repeats(run)
        assert len(found) == 3 * 120 and risk_precision(found).empty and fused_noise(found) == []
