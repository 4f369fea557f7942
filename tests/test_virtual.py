"""Virtual women: reproducible, with the risk that was asked for, recognisable in their images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepqct.bones import find_bones
from deepqct.cohort import KNOWN, load_cohort
from deepqct.indices import measure
from deepqct.scan import read_scan
from deepqct.virtual import SCENARIOS, attainable_auc, draw_scan, draw_women, new_cohort


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_latent_risk_has_the_attainable_auc_and_the_prevalence(scenario):
    """A report that names a wrong ceiling would call a good model poor, or the other way round."""
    women = draw_women(100_000, scenario=scenario, prevalence=0.3, seed=1)
    assert women["fracture"].mean() == pytest.approx(0.3, abs=0.01)
    auc = roc_auc_score(women["fracture"], women["latent_risk"])
    assert auc == pytest.approx(attainable_auc(scenario)["all"], abs=0.01)


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
    assert women["radius Tt.Ar"].mean() == pytest.approx(235, rel=0.03)
    assert 0.01 < women["bmd_total_hip"].isna().mean() < 0.05


def test_no_virtual_woman_is_refused_by_the_checks_of_a_cohort():
    """In 200 cohorts the rare extremes are drawn too; each value must lie where a real one may."""
    for seed in range(200):
        women = draw_women(216, scenario="deepqct-like", seed=seed)
        for column, (_, low, high, _, _) in KNOWN.items():
            assert women[column].dropna().between(low, high).all(), (seed, column)


def test_what_was_drawn_is_found_back_in_the_images():
    """Images that do not follow the drawn structure would leave nothing to learn."""
    women = draw_women(10, seed=3)
    drawn, found = {"Tt.Ar": [], "Ct.Th": [], "Tb.BV/TV": []}, {"Tt.Ar": [], "Ct.Th": [], "Tb.vBMD": []}
    for woman in women.to_dict("records"):
        for site in ("wrist", "ankle"):
            scan = draw_scan(woman, site=site, side="right", voxel_mm=0.24, slices=6, seed=3)
            for name, bone in find_bones(scan).items():
                index = measure(bone)
                for values, of in ((drawn, {k: woman[f"{name} {k}"] for k in drawn}), (found, index)):
                    for key in values:
                        values[key].append(of[key])
    for one, other in zip(drawn.values(), found.values(), strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.8


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path):
    """Whoever repeats a run must get the same cohort; another seed must give another one."""
    recipe = {"n": 3, "voxel_mm": 0.4, "slices": 3}
    for name, options in {"a": {}, "b": {"workers": 2}, "c": {"seed": 8}}.items():
        new_cohort(tmp_path / name, **recipe, **options)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a" / "cohort") != hashes(tmp_path / "c" / "cohort")


def test_a_virtual_cohort_is_a_cohort_and_keeps_its_truth_outside(tmp_path):
    """Every stage after this one must take it as a hospital's, and never see what was drawn."""
    folder = new_cohort(tmp_path, n=4, voxel_mm=0.4, slices=3)
    cohort = load_cohort(folder)
    assert cohort.virtual == {"scenario": "literature", "attainable_auc": {"all": 0.75}}
    assert len(cohort.scans) == 8
    assert not any("latent" in name or "Ct.Th" in name for name in cohort.participants)
    for row in cohort.scans.to_dict("records"):
        scan = read_scan(folder / row["file"])
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
