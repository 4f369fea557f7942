"""Virtual women: as drawn from the stated targets, reproducible, recognisable in their images."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from deepqct.bones import find_bones, measure, measure_texture
from deepqct.cohort import load_cohort
from deepqct.folder import read_table
from deepqct.scans import read_scan
from deepqct.terms import BONES, KNOWN, ROLES, SITES, columns_by_role
from deepqct.virtual import RISK_FORMS, SCENARIOS, attainable_auc, draw_scan, draw_women, new_cohort, targets
from deepqct.virtual.cohort import _plan_scans
from deepqct.virtual.outlines import draw_outline


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_means_spreads_correlations_and_age_slopes_are_the_stated_targets(scenario):
    """2,000 women: means within 3 %, SDs within 10 %, correlations within 0.05 on average."""
    women = draw_women(2000, scenario=scenario, seed=3)
    drawn = women[targets.columns()]
    np.testing.assert_allclose(drawn.mean(), targets.means(), rtol=0.03)
    np.testing.assert_allclose(drawn.std(), targets.spreads(), rtol=0.10)
    logs = drawn.copy()
    logs[[name for name in drawn if name.endswith("Ct.Po")]] = np.log(drawn.filter(like="Ct.Po"))
    by_age = targets.slopes() * targets.AGE[1] / targets.spreads()
    rest = np.sqrt(1 - by_age**2)
    wanted = np.outer(by_age, by_age) + np.outer(rest, rest) * targets.correlations()
    above = np.triu_indices(len(wanted), 1)
    assert np.abs(logs.corr().to_numpy() - wanted)[above].mean() < 0.05
    linear = [name for name in drawn if not name.endswith("Ct.Po")]
    found = [stats.linregress(women["age"], drawn[name]) for name in linear]
    for name, line, slope in zip(linear, found, targets.slopes()[[c in linear for c in drawn]], strict=True):
        assert line.slope == pytest.approx(slope, abs=4 * line.stderr), name


def test_the_correlations_can_exist():
    assert np.linalg.eigvalsh(targets.correlations()).min() > 0.01


@pytest.mark.parametrize("risk_form", RISK_FORMS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_latent_risk_has_the_attainable_auc_and_the_prevalence(scenario, risk_form):
    """A report that names a wrong ceiling would call a good model poor, or the other way round."""
    women = draw_women(100_000, scenario=scenario, prevalence=0.3, risk_form=risk_form, seed=1)
    assert women["latent_risk"].mean() == pytest.approx(0, abs=0.02)
    assert women["latent_risk"].std() == pytest.approx(1, abs=0.02)
    assert women["fracture"].mean() == pytest.approx(0.3, abs=0.001)
    auc = roc_auc_score(women["fracture"], women["latent_risk"])
    assert auc == pytest.approx(SCENARIOS[scenario], abs=0.01 if scenario == "null" else 0.02)
    assert attainable_auc(scenario, prevalence=0.3, risk_form=risk_form)["all"] == pytest.approx(auc, abs=0.01)


def test_images_can_know_more_than_indices_by_the_hidden_share():
    """Without it, no network could beat the indices, and a tie would say nothing."""
    with_, without = attainable_auc("literature"), attainable_auc("literature", hidden_share=0.0)
    assert with_["DeepQCT all"] > with_["pQCT-index all"] + 0.02
    assert without["DeepQCT all"] == pytest.approx(without["pQCT-index all"], abs=0.002)
    assert with_["pQCT-index all"] > with_["pQCT-index ulna"] > with_["BMD"] - 0.05
    assert set(attainable_auc("null").values()) == {0.5}


def test_where_the_weakest_bone_counts_a_sum_over_indices_is_not_the_best_guess():
    """A ridge would otherwise have the right form by construction."""
    women = draw_women(40_000, risk_form="weakest", hidden_share=0.0, seed=1)
    drawn = np.log(women.filter(regex="(Ct.Th|Tb.N|Tb.Th|Tt.Ar)$"))
    drawn = ((drawn - drawn.mean()) / drawn.std()).assign(age=(women["age"] - 70) / 8).to_numpy()
    rows, columns = np.triu_indices(drawn.shape[1])
    bent = np.column_stack([drawn, drawn[:, rows] * drawn[:, columns]])
    linear, curved = (
        LinearRegression().fit(x, women["latent_risk"]).score(x, women["latent_risk"]) for x in (drawn, bent)
    )
    assert curved > linear + 0.04


def test_bone_density_carries_less_than_indices_as_in_the_preprint():
    """Chen 2024: best AUCs of 0.54 to 0.78 for BMD, 0.80 to 0.93 for indices."""
    best = attainable_auc("deepqct-like")
    assert 0.54 < best["BMD"] < 0.78 < 0.80 < best["pQCT-index radius"] < best["pQCT-index all"] < 0.93


def test_two_phenotypes_lie_as_far_apart_as_asked():
    """Clustering has something to find, or nothing."""
    for separation in (0.0, 2.0, 4.0):
        women = draw_women(20_000, scenario="null", separation=separation, seed=2)
        assert women["phenotype"].mean() == pytest.approx(0.4, abs=0.02)
        z = stats.zscore(women[targets.columns()].to_numpy())
        _, vectors = np.linalg.eigh(np.corrcoef(z.T))
        along = z @ vectors[:, -1]
        frail = women["phenotype"].to_numpy() == 1
        within = np.sqrt(0.4 * along[frail].var() + 0.6 * along[~frail].var())
        apart = abs(along[frail].mean() - along[~frail].mean()) / within
        assert apart == pytest.approx(separation, abs=0.15 + 0.1 * separation)
    default = draw_women(4000, scenario="deepqct-like", seed=2)
    frail = default["phenotype"] == 1
    assert default[frail]["fracture"].mean() > default[~frail]["fracture"].mean() + 0.2


def test_women_are_older_and_weaker_with_a_fracture():
    """Outcome, age, bone density and structure hang together through the latent risk."""
    women = draw_women(20_000, scenario="literature", seed=2)
    with_, without = (
        women[women["fracture"] == 1].mean(numeric_only=True),
        women[women["fracture"] == 0].mean(numeric_only=True),
    )
    assert with_["age"] > without["age"] + 1
    for column in ("bmd_femoral_neck", "radius Tb.BV/TV", "tibia Ct.Th", "fibula Ct.Th"):
        assert with_[column] < without[column]
    assert 0.01 < women["bmd_total_hip"].isna().mean() < 0.05
    assert women["t_femoral_neck"].mean() == pytest.approx(-1.7, abs=0.1)


def test_no_virtual_woman_is_refused_by_the_checks_of_a_cohort():
    """In 100 cohorts the rare extremes are drawn too; each value must lie where a real one may."""
    for seed in range(100):
        women = draw_women(216, scenario="deepqct-like", seed=seed)
        for column, (_, low, high, _, role) in KNOWN.items():
            if role == "frax":  # the calculator is not public, and virtual women have no probabilities by it
                assert column not in women
                continue
            assert women[column].dropna().between(low, high).all(), (seed, column)


@pytest.mark.parametrize("bone", BONES)
def test_outlines_have_their_area_and_an_outside(bone):
    outline = draw_outline(bone, area_mm2=200.0, rng=np.random.default_rng(0))
    y, x = outline.points.T
    assert abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2 == pytest.approx(200, rel=1e-3)
    axis = np.arange(-15, 15, 0.1)
    depth, place = outline.depth(axis, axis)
    assert (depth > 0).sum() * 0.01 == pytest.approx(200, rel=0.01)
    assert depth[0, 0] < -3
    assert 0 <= place.min() <= place.max() < 1


def test_what_was_drawn_is_found_back_in_the_images():
    """Images that do not follow the drawn structure would leave nothing to learn."""
    drawn, found = {"Tt.Ar": [], "Ct.Th": [], "Tb.vBMD": []}, {"Tt.Ar": [], "Ct.Th": [], "Tb.vBMD": []}
    for woman in draw_women(8, seed=3).to_dict("records"):
        for site in SITES:
            scan = draw_scan(woman, site=site, side="right", voxel_mm=0.15, slices=6, seed=3)
            for name, bone in find_bones(scan).items():
                index = measure(bone)
                for key in drawn:
                    drawn[key].append(woman[f"{name} {key}"])
                    found[key].append(index[key])
    for key in drawn:
        assert np.corrcoef(drawn[key], found[key])[0, 1] > 0.8, key
    np.testing.assert_allclose(found["Tt.Ar"], drawn["Tt.Ar"], rtol=0.02)


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path):
    """Whoever repeats a run must get the same cohort; another seed must give another one."""
    recipe = {"n": 3, "voxel_mm": 0.4, "slices": 3}
    for name, options in {"a": {}, "b": {"workers": 2}, "c": {"seed": 8}}.items():
        new_cohort(tmp_path / name, **recipe, **options)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a" / "cohort") != hashes(tmp_path / "c" / "cohort")


def test_motion_is_dealt_by_the_shares_whatever_the_seed():
    """A cohort of 60 has the published mix, not what chance makes of it: 12, 42, 42, 18 and 6 of 120 limbs."""
    women = pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(60)]})
    for seed in range(3):
        scans = _plan_scans(women, motion=True, file_format="aim", seed=seed)
        lost = 120 - len(scans)
        counts = scans["motion_grade"].value_counts().sort_index().to_numpy()
        assert np.abs(counts - [12, 42, 42, 18, 6]).sum() == lost


@pytest.mark.parametrize("file_format", ["aim", "isq", "dicom"])
def test_a_virtual_cohort_is_a_cohort_and_keeps_its_truth_outside(tmp_path, file_format):
    """Every stage after this one must take it as a hospital's, and never see what was drawn."""
    folder = new_cohort(tmp_path, n=4, voxel_mm=0.4, slices=3, file_format=file_format)
    cohort = load_cohort(folder)
    assert cohort.virtual["scenario"] == "literature"
    assert cohort.virtual["attainable_auc"]["all"] == pytest.approx(0.75, abs=0.01)
    assert 4 <= len(cohort.scans) <= 8
    assert cohort.scans["motion_grade"].between(1, 5).all()
    truth = ("latent", "Ct.Th", "hidden")
    assert not any(word in name for name in cohort.participants for word in truth)
    drawn = [name for name in read_table(tmp_path / "truth" / "women.csv") if name not in cohort.participants]
    assert all(any(word in name for name in drawn) for word in truth)
    # An outcome to be asked for, drawn too: it serves no other.
    for role in set(ROLES) - {"outcome", "other"}:
        assert "phenotype" not in columns_by_role(cohort.dictionary, role)
    for row in cohort.scans.to_dict("records"):
        scan = read_scan(folder / row["file"], unit=row.get("unit"))
        assert scan.native.shape[0] == 3
        if file_format != "dicom":
            assert (scan.site, scan.side) == (row["site"], row["side"])


def test_a_killed_run_is_taken_up_and_another_recipe_refused(tmp_path):
    """A second call must end with the same bytes, and never mix two cohorts."""
    recipe = {"n": 3, "voxel_mm": 0.4, "slices": 3}
    new_cohort(tmp_path, **recipe)
    before = hashes(tmp_path)
    (tmp_path / "cohort" / "scans" / "sub-0002_ankle.AIM").unlink()
    (tmp_path / "cohort" / "scans.tsv").unlink()
    seen = []
    new_cohort(tmp_path, **recipe, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6)]
    assert hashes(tmp_path) == before
    with pytest.raises(ValueError, match="made otherwise"):
        new_cohort(tmp_path, **(recipe | {"n": 4}))


def test_a_hospitals_tables_are_never_written_over(tmp_path):
    """A study folder may well be called what ours is called."""
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "participants.tsv").write_text("participant_id\tfracture\n", encoding="utf-8")
    with pytest.raises(ValueError, match="was not made by deepqct and would be written over"):
        new_cohort(tmp_path, n=3, voxel_mm=0.4, slices=3)
    assert [path.name for path in tmp_path.rglob("*")] == ["cohort", "participants.tsv"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scenario": "rosy"}, "Unknown scenario 'rosy'; use null, literature, deepqct-like"),
        ({"prevalence": 1.5}, "prevalence is 1.5; it must lie between 0 and 1"),
        ({"hidden_share": -1}, "hidden share of the risk is -1; it must lie between 0 and 1"),
        ({"risk_form": "steep"}, "Unknown form of the risk 'steep'; use linear, weakest"),
        ({"phenotype_separation": 99.0}, "separation of the phenotypes is 99.0; it must lie between 0 and 10"),
        ({"file_format": "jpg"}, "The format is 'jpg'; use aim, isq, dicom"),
    ],
)
def test_impossible_cohorts_are_refused(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        new_cohort(tmp_path, n=4, **wrong)


def test_what_no_index_sees_turns_the_sheets_and_moves_no_index():
    """Otherwise indices would know it too, and images could not show that they know more."""
    woman = draw_women(1, seed=1).iloc[0].to_dict()
    found: dict[float, list[pd.Series]] = {-1.8: [], 1.8: []}
    for hidden, seed in itertools.product(found, range(3)):
        scan = draw_scan(
            woman | {"radius hidden": hidden}, site="wrist", side="right", voxel_mm=0.12, slices=12, seed=seed
        )
        bone = find_bones(scan)["radius"]
        found[hidden].append(pd.concat([measure(bone), measure_texture(bone)]))
    low, high = (pd.concat(rows, axis=1).mean(axis=1) for rows in found.values())
    assert high["Tb.Lean.bone"] > low["Tb.Lean.bone"] + 0.2
    for index in ("Tb.vBMD", "Tb.Th", "Tb.N", "Tb.BV/TV", "Ct.Th", "Tt.vBMD"):
        assert high[index] == pytest.approx(low[index], rel=0.06), index
