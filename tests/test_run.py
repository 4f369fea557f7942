"""Presets and overrides: everything is known and well typed before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepqct.folder import write_json
from deepqct.run import PRESETS, RunError, code_hash, execute, plan_run
from deepqct.stage import ParameterError


def plan(*overrides: str, preset: str = "quick", cohort: str = "virtual"):
    """A plan in a folder that does not exist."""
    return plan_run(cohort, out=Path("reports/none"), preset=preset, overrides=overrides)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_resolve(preset):
    """A preset with a misspelt name would fail only at a user's."""
    jobs = plan(preset=preset).parameters
    assert list(jobs)[:3] == ["00_virtual_cohort", "01_data_curation", "02_train_bone_radius"]
    assert len(jobs) == 9
    assert all(values["interactive"] is False for values in jobs.values())


def test_an_unknown_parameter_is_an_error_with_a_suggestion():
    """Papermill only warns about a misspelt parameter and runs with the default."""
    with pytest.raises(ParameterError, match="Unknown parameter 'bne' for any stage; did you mean 'bone'"):
        plan("bne=radius")
    with pytest.raises(ParameterError, match="Unknown parameter 'epoch' for 02_train_bone; did you mean 'epochs'"):
        plan("02_train_bone.epoch=3")
    with pytest.raises(
        ParameterError, match="Unknown parameter '02_train' for the stages; did you mean '02_train_bone'"
    ):
        plan("02_train.epochs=3")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epochs=many", "epochs of 02_train_bone is 'many', not a whole number"),
        ("epochs=2.5", "epochs of 02_train_bone is '2.5', not a whole number"),
        ("weights=imagnet", "weights of 02_train_bone is 'imagnet'; use one of imagenet, none"),
        ("protocols=all,published", "use some of all, as-published"),
        ("bone=radius,ulnar", "bone of 02_train_bone is 'ulnar'; use one of radius, ulna, tibia, fibula"),
        ("run_dir=elsewhere", "run_dir is set by --out"),
        ("epochs", "'epochs' is not of the form name=value"),
    ],
)
def test_ill_typed_values_are_errors(override, sentence):
    """Each is one sentence that names the parameter, the value and what it may be."""
    with pytest.raises(ParameterError) as error:
        plan(override)
    assert sentence in str(error.value)


def test_overrides_reach_their_stages_and_no_others():
    """A value for one stage wins over a value for all, wherever it stands."""
    jobs = plan("01_data_curation.seed=3", "seed=5", "bone=ulna,tibia", "lr=1").parameters
    assert jobs["01_data_curation"]["seed"] == 3
    assert jobs["04_clustering"]["seed"] == 5
    assert [job for job in jobs if "02_train_bone" in job] == ["02_train_bone_ulna", "02_train_bone_tibia"]
    assert jobs["02_train_bone_ulna"]["lr"] == 1.0


def test_a_hospitals_cohort_needs_no_virtual_women():
    """The stage that makes virtual women must not run on real ones."""
    jobs = plan(cohort="data/ours").parameters
    assert "00_virtual_cohort" not in jobs
    assert jobs["01_data_curation"]["cohort_dir"] == "data/ours"


def test_a_preset_file_of_ones_own(tmp_path):
    """A lab keeps its settings in a file; a fault in it is named before anything starts."""
    file = tmp_path / "ours.yaml"
    file.write_text("02_train_bone:\n  epochs: 11\nseed: 2\n", encoding="utf-8")
    assert plan(preset=str(file)).parameters["02_train_bone_tibia"]["epochs"] == 11
    file.write_text("03_train_bone:\n  epochs: 11\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="did you mean '02_train_bone'"):
        plan(preset=str(file))
    with pytest.raises(ParameterError, match="There is no preset 'quik'"):
        plan(preset="quik")


def test_the_code_hash_follows_the_imports_of_a_notebook(monkeypatch):
    """A change of the learner must make the training run again, and leave the curation alone."""
    read = Path.read_bytes
    before = {stage: code_hash(stage) for stage in ("01_data_curation", "02_train_bone")}
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"#" * (self.name == "learner.py"))
    after = {stage: code_hash(stage) for stage in before}
    assert after["01_data_curation"] == before["01_data_curation"]
    assert after["02_train_bone"] != before["02_train_bone"]


def test_the_bare_import_is_light():
    """A notebook that only plots, and every call of the command line, would wait for torch."""
    code = (
        "import sys, time; t = time.perf_counter(); import deepqct; d = time.perf_counter() - t; "
        "print(d, *[m for m in ('torch', 'fastai', 'itk', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    seconds, *heavy = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert heavy == []
    assert float(seconds) < 0.3


def test_a_recipe_that_cannot_be_trained_is_an_error_before_the_curation():
    """A misspelt setting would be found after hours of curation."""
    with pytest.raises(ParameterError, match="02_train_bone: further says 'slab=2'"):
        plan("further=slab=2")
    with pytest.raises(ParameterError, match="arch is 'resnet35'"):
        plan("arch=resnet35")


def test_the_bones_are_those_of_the_sites_that_were_scanned(tmp_path):
    """A cohort of wrists has no tibia, whose network would stop everything after it."""
    scans = "participant_id\tsite\tside\tfile\nsub-1\twrist\tleft\ta.aim\n"
    (tmp_path / "scans.tsv").write_text(scans, encoding="utf-8")
    assert plan(cohort=str(tmp_path)).bones == ["radius", "ulna"]
    assert plan("bone=tibia", cohort=str(tmp_path)).bones == ["tibia"]
    (tmp_path / "scans.tsv").write_text("no table", encoding="utf-8")
    assert len(plan(cohort=str(tmp_path)).bones) == 4


def test_a_run_folder_belongs_to_one_cohort(tmp_path):
    """Scores of virtual women would be fused with those of patients."""
    made = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    write_json(made.run.parameters("01_data_curation"), {"parameters": made.parameters["01_data_curation"]})
    with pytest.raises(RunError, match=r"is a run of the cohort .*virtual/cohort; give another folder by --out"):
        execute(plan_run(str(tmp_path / "ours"), out=tmp_path / "run", preset="smoke"))
