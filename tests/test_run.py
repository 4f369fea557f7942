"""Presets and overrides: everything is known and well typed before anything starts."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake.utils

from deepqct.cohort import CohortError, decide, load_cohort
from deepqct.folder import PACKAGE, Job, Run, read_json, write_json
from deepqct.run import ParameterError, Plan, RunError, execute, plan_run, run_job
from deepqct.run.jobs import write_inputs, write_jobs
from deepqct.run.plan import PRESETS, load_preset
from deepqct.run.preflight import check_cohort_for, check_machine
from deepqct.run.record import write_record


def plan(*overrides: str, preset: str = "quick", cohort: str = "virtual"):
    """A plan in a folder that does not exist."""
    return plan_run(cohort, out=Path("reports/none"), preset=preset, overrides=overrides)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_resolve(preset):
    """A preset with a misspelt name would fail only at a user's."""
    jobs = plan(preset=preset).parameters
    assert [str(job) for job in jobs][:3] == ["00_virtual_cohort", "01_data_curation", "02_train_bone_radius"]
    assert len(jobs) == 9
    assert all(values["interactive"] is False for values in jobs.values())


def test_the_null_preset_is_the_first_look_at_nothing():
    """Two reports side by side tell something only if they differ in nothing but the effect."""
    quick, null = load_preset("quick"), load_preset("null")
    assert null["00_virtual_cohort"].pop("scenario") == "null"
    assert quick["00_virtual_cohort"].pop("scenario") == "deepqct-like"
    assert quick == null


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
    assert jobs[Job("01_data_curation")]["seed"] == 3
    assert jobs[Job("04_clustering")]["seed"] == 5
    assert [job.bone for job in jobs if job.stage == "02_train_bone"] == ["ulna", "tibia"]
    assert jobs[Job("02_train_bone", "ulna")]["lr"] == 1.0


def test_a_hospitals_cohort_needs_no_virtual_women():
    """The stage that makes virtual women must not run on real ones."""
    jobs = plan(cohort="data/ours").parameters
    assert Job("00_virtual_cohort") not in jobs
    assert jobs[Job("01_data_curation")]["cohort_dir"] == "data/ours"


def test_a_preset_file_of_ones_own(tmp_path):
    """A lab keeps its settings in a file; a fault in it is named before anything starts."""
    file = tmp_path / "ours.yaml"
    file.write_text("02_train_bone:\n  epochs: 11\nseed: 2\n", encoding="utf-8")
    assert plan(preset=str(file)).parameters[Job("02_train_bone", "tibia")]["epochs"] == 11
    file.write_text("03_train_bone:\n  epochs: 11\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="did you mean '02_train_bone'"):
        plan(preset=str(file))
    with pytest.raises(ParameterError, match="There is no preset 'quik'"):
        plan(preset="quik")


def test_the_bare_import_is_light():
    """A notebook that only plots, and every call of the command line, would wait for torch."""
    code = (
        "import sys, time; t = time.perf_counter(); import deepqct; d = time.perf_counter() - t; "
        "print(d, *[m for m in ('torch', 'fastai', 'itk', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    seconds, *heavy = subprocess.check_output([sys.executable, "-c", code], encoding="utf-8").split()
    assert heavy == []
    assert float(seconds) < 0.3


def test_a_recipe_that_cannot_be_trained_is_an_error_before_the_curation():
    """A misspelt setting would be found after hours of curation."""
    with pytest.raises(ParameterError, match="Unknown parameter 'slab' for any stage; did you mean 'slab_mm'"):
        plan("slab=2")
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
    write_json(made.run.parameters("01_data_curation"), {"parameters": made.parameters[Job("01_data_curation")]})
    with pytest.raises(RunError, match=r"is a run of the cohort .*virtual/cohort; give another folder by --out"):
        execute(plan_run(str(tmp_path / "ours"), out=tmp_path / "run", preset="smoke"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("folds=1", "folds of 01_data_curation is 1; it must be 2 or more"),
        ("image_px=-3", "image_px of 01_data_curation is -3; it must be 16 or more"),
        ("test_fraction=2", "test_fraction is 2.0; it must lie between 0 and 1"),
        ("arch=test_vit3", "02_train_bone: arch is 'test_vit3', which cannot read images of 57 by 57 pixels"),
        ("patches=8", "patch_mm is 6, which is 11 pixels of 0.56 mm, and a network reads 16 or more"),
        ("control=noise", "Unknown parameter 'control' for any stage; did you mean 'controls'"),
        ("margins=0.03 0.05", "03_fusion_and_baselines: margins is '0.03 0.05'; give numbers above 0 and below 0.5"),
        ("crop=2", "crop must lie above 0 and up to 1"),
    ],
)
def test_what_no_cohort_could_be_run_with_is_an_error_at_once(override, sentence):
    """Found after hours of curation it costs a night."""
    with pytest.raises(ParameterError) as error:
        plan(override)
    assert sentence in str(error.value)
    with pytest.raises(ParameterError, match="Strict stacking needs at least 3 folds, and folds is 2"):
        plan("folds=2", "stacking=strict")
    plan("permutations=0", "03_fusion_and_baselines.bootstraps=0")  # none is a choice


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("folds=7", "7 folds need at least 7 patients of each outcome, and the rarer one has 6; set folds=6 or lower."),
        ("groups=12", "12 of 12 women have a scan, too few for groups=12; set fewer groups, or groups=0"),
        ("contours=scanner", "the cohort folder has no contours.tsv"),
        ("adjust_for=agee", "adjust_for names 'agee'"),
    ],
)
def test_what_this_cohort_cannot_give_is_an_error_before_the_curation(make_cohort, override, sentence):
    """The tables say it; no scan need be read."""
    folder = make_cohort(12)
    with pytest.raises(ParameterError) as error:
        check_cohort_for(plan(override, cohort=str(folder)).parameters, load_cohort(folder))
    assert sentence in str(error.value)
    check_cohort_for(plan("adjust_for=age", cohort=str(folder)).parameters, load_cohort(folder))


@pytest.mark.parametrize(
    ("n", "rejected", "sentence"),
    [
        (8, 0, "8 of 8 women have a scan, and a run looks for patient groups in 10 or more; add women to the cohort."),
        (12, 3, "9 of 12 women have a scan that no reader rejected, and a run looks for patient groups in 10 or more"),
        (10, 0, ""),
    ],
)
def test_the_smallest_cohort_is_known_before_the_curation(make_cohort, n, rejected, sentence):
    """Ten women are needed for the patient groups, which come after hours of networks."""
    folder = make_cohort(n)
    for number in range(rejected):
        decide(folder, reviewer="AB", participant_id=f"sub-{number:04d}", site="wrist", decision="reject")
    made = plan(preset="smoke", cohort=str(folder)).parameters
    if sentence:
        with pytest.raises(ParameterError) as error:
            check_cohort_for(made, load_cohort(folder))
        assert sentence in str(error.value)
    else:
        check_cohort_for(made, load_cohort(folder))


def test_a_site_of_one_outcome_alone_is_known_before_the_curation(make_cohort):
    """A network that sees no fracture learns none; the other site's bones can still be had."""
    folder = make_cohort(12)
    table = folder / "scans.tsv"
    lines = table.read_text(encoding="utf-8")
    for number in (0, 2):  # women without a fracture
        (folder / "scans" / f"{number}.AIM").write_bytes(bytes([number]))
        lines += f"sub-{number:04d}\tankle\tleft\tscans/{number}.AIM\n"
    table.write_text(lines, encoding="utf-8")
    with pytest.raises(ParameterError) as error:
        check_cohort_for(plan(cohort=str(folder)).parameters, load_cohort(folder))
    assert str(error.value) == (
        "2 women have a scan of the ankle, 0 of them with fracture, and a network learns from both outcomes; set "
        "bone=radius,ulna."
    )
    check_cohort_for(plan("bone=radius,ulna", cohort=str(folder)).parameters, load_cohort(folder))


def test_weights_that_cannot_be_had_are_an_error_before_the_curation(monkeypatch):
    """The preset paper asks for ImageNet's, which a machine without internet must have been given."""

    def unreachable(*_: object, **__: object) -> None:
        raise RuntimeError("The ImageNet weights of resnet34 are not on this machine")

    monkeypatch.setattr("deepqct.networks.backbones.network", unreachable)
    with pytest.raises(ParameterError, match="ImageNet weights of resnet34 are not on this machine"):
        check_machine(plan(preset="paper").parameters)
    check_machine(plan("weights=none", preset="paper").parameters)


def ended(made: Plan, **states: str) -> None:
    """Each job of a plan as if it had ended so: done, or failed."""
    for job, parameters in made.parameters.items():
        content = {"parameters": parameters, "code": "c"}
        write_json(made.run.parameters(job), content)
        status = {"status": states.get(str(job), "done"), "seconds": 1.0, "error": None, "finished": "now"}
        write_json(made.run.status(job), status | content)


def recorded(made: Plan) -> dict[str, dict]:
    """The stages of run.json."""
    write_record(made.run, parameters=made.parameters, preset="smoke", cohort="virtual", began=0.0)
    return read_json(made.run.record)["stages"]


def test_a_record_tells_with_what_a_result_was_made(tmp_path):
    """After a failure the tables of last time stay; beside the parameters of this time they would be another study."""
    first = plan_run("virtual", out=tmp_path / "run", preset="smoke", overrides=["epochs=1"])
    ended(first)
    assert {stage["status"] for stage in recorded(first).values()} == {"done"}
    second = plan_run("virtual", out=tmp_path / "run", preset="smoke", overrides=["epochs=9", "image_px=32"])
    for job, parameters in second.parameters.items():
        write_json(second.run.parameters(job), {"parameters": parameters, "code": "c"})
    status = read_json(second.run.status("01_data_curation")) | {"status": "failed"}
    write_json(second.run.status("01_data_curation"), status)
    stages = recorded(second)
    assert stages["01_data_curation"]["status"] == "failed"
    assert stages["02_train_bone_ulna"]["status"] == "out of date"
    assert stages["02_train_bone_ulna"]["parameters"]["epochs"] == 1
    assert stages["05_explore"]["status"] == "out of date", "its own parameters are the same, what it read is not"
    assert stages["00_virtual_cohort"]["status"] == "done"


def test_a_failed_bone_leaves_the_others_as_they_are(tmp_path):
    """Networks of other bones do not depend on it; what joins them does."""
    made = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    ended(made, **{"02_train_bone_radius": "failed"})
    stages = recorded(made)
    assert stages["02_train_bone_ulna"]["status"] == "done"
    assert stages["03_fusion_and_baselines"]["status"] == "out of date"


def test_a_record_holds_no_folder_but_names(tmp_path):
    """Where a hospital keeps its scans is nobody's business."""
    made = plan_run(str(tmp_path / "St-Anna" / "wrists"), out=tmp_path / "St-Anna" / "run", preset="smoke")
    ended(made)
    recorded(made)
    assert "St-Anna" not in made.run.record.read_text(encoding="utf-8")


def test_two_runs_never_write_into_one_folder(tmp_path, monkeypatch):
    """The second would unlock the first one's workflow and write its files."""
    made = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    at_work = made.run.folder / "jobs" / "running.json"
    write_json(at_work, {"host": socket.gethostname(), "process": os.getppid()})
    with pytest.raises(RunError, match=r"Another run is at work in .*running.json if it is gone"):
        execute(made)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    write_json(at_work, {"host": socket.gethostname(), "process": done.pid})  # killed: it could not tidy up
    monkeypatch.setattr("deepqct.run.workflow._execute", lambda plan, **_: at_work.exists())
    assert execute(made)
    assert not at_work.exists()


def test_a_preset_that_is_no_yaml_is_one_sentence(tmp_path):
    """A tab is enough."""
    file = tmp_path / "ours.yaml"
    for content, words in (
        (b"epochs: 3\n\tseed: 2\n", "is no YAML near line 2"),
        (b"# f\xfcr uns\n", "is no UTF-8 text"),
    ):
        file.write_bytes(content)
        with pytest.raises(ParameterError, match=words) as error:
            plan(preset=str(file))
        assert "\n" not in str(error.value)
    for content, key in (
        ("3: 4", "3"),
        ("04_clustering:\n  3: 4", "3"),
        ("04_clustering: {2026-01-01: 4}", "date"),
        ("? null\n: 4", "None"),
        (f"02_train_bone:\n  ? 0x{'f' * 5000}\n  : 4", "a number of thousands of digits"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ParameterError, match=f"^{key} is no parameter's name"):
            plan(preset=str(file))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ParameterError, match=r"There is no preset .*folder.yaml'; use"):
        plan(preset=str(tmp_path / "folder.yaml"))


def as_left(made: Plan) -> None:
    """The run folder as a run of this plan left it long ago."""
    write_jobs(made)
    for job in made.parameters:
        os.utime(made.run.parameters(job), (1e9, 1e9))


def test_a_cohort_is_the_same_from_wherever_it_is_named(tmp_path, monkeypatch, make_cohort):
    """Without a checkout above it a path is spelled from the working directory; a night's run must not depend on that."""
    folder = make_cohort()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    as_left(plan_run(folder.name, out=tmp_path / "run", preset="smoke"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = plan_run(str(folder), out=Path("../run"), preset="smoke")
    monkeypatch.setattr("deepqct.run.workflow._snakemake", lambda *_, **__: (0, ""))
    monkeypatch.setattr("deepqct.run.workflow.check_cohort_for", lambda *_: None)
    execute(again)
    curation = again.run.parameters("01_data_curation")
    assert {again.run.parameters(job).stat().st_mtime for job in again.parameters} == {1e9}
    assert read_json(curation)["parameters"]["cohort_dir"] == "../cohort"
    changed = plan_run(str(folder), out=Path("../run"), preset="smoke", overrides=["folds=3"])
    write_jobs(changed)
    assert curation.stat().st_mtime > 1e9


def test_another_cohort_of_the_same_name_is_refused(tmp_path, monkeypatch):
    """Two wards may both call their folder data."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    as_left(plan_run("data", out=tmp_path / "run", preset="smoke"))
    assert str(tmp_path) not in (tmp_path / "run" / "settings.json").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(RunError, match="is a run of another cohort that is called data; give another folder by --out"):
        execute(plan_run("data", out=tmp_path / "run", preset="smoke"))


def test_a_project_that_is_moved_as_a_whole_keeps_its_runs(tmp_path):
    """A drive may be mounted under another name tomorrow."""
    one, other = (
        plan_run(str(tmp_path / disk / "ours"), out=tmp_path / disk / "run", preset="smoke") for disk in ("old", "new")
    )
    elsewhere = plan_run(str(tmp_path / "old" / "ours"), out=tmp_path / "run", preset="smoke")
    assert set(one.cohort_at) & set(other.cohort_at)
    assert set(one.cohort_at) & set(elsewhere.cohort_at)
    assert not set(other.cohort_at) & set(elsewhere.cohort_at)


def test_a_run_folder_that_kept_no_place_is_known_by_its_path(tmp_path):
    """Earlier versions wrote none."""
    made = plan_run("data/ours", out=tmp_path / "run", preset="smoke")
    as_left(made)
    settings = read_json(made.run.settings)
    write_json(made.run.settings, {name: value for name, value in settings.items() if name != "cohort_at"})
    with pytest.raises(RunError, match="is a run of the cohort data/ours"):
        execute(plan_run("data/theirs", out=tmp_path / "run", preset="smoke"))
    with pytest.raises(CohortError):  # there is no such folder, but it would be its own
        execute(made)


def test_a_path_that_is_spelled_anew_makes_nothing_out_of_date(tmp_path):
    """What counts for a result is not where the command was given."""
    made = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    ended(made)
    status = read_json(made.run.status("04_clustering"))
    status["parameters"] |= {"run_dir": "run"}
    write_json(made.run.status("04_clustering"), status)
    assert {stage["status"] for stage in recorded(made).values()} == {"done"}


def test_the_state_of_a_cohort_changes_with_any_of_its_files_and_names_none(tmp_path):
    """A file that is replaced by an older one, or taken away, is a change too; a file may be called after a patient."""
    run, slices = Run(tmp_path / "run"), tmp_path / "Doe^Jane"
    slices.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (slices / name).write_bytes(b"12")
    written = write_inputs(run, [slices])
    os.utime(written, (1e9, 1e9))
    write_inputs(run, [slices])
    assert written.stat().st_mtime == 1e9
    assert "Doe" not in written.read_text(encoding="utf-8")
    states = {written.read_text(encoding="utf-8")}
    os.utime(slices / "1.dcm", (1e9, 1e9))
    states.add(write_inputs(run, [slices]).read_text(encoding="utf-8"))
    (slices / "1.dcm").unlink()
    states.add(write_inputs(run, [slices]).read_text(encoding="utf-8"))
    assert len(states) == 3
    assert written.stat().st_mtime > 1e9


NAMES = [
    "cost $100",
    "a'b",
    'a"b',
    "a{b}",
    "{config[run]}",
    "a b#c",
    "ü",
    "a%b",
    "a`b",
    "a\\b",
    "a;b",
    "a&b",
    "a*b",
    "[b]",
    "$(touch pwned)",
    "a b'; touch pwned; '",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_shell_gets_the_names_of_folders_as_they_are(tmp_path, name):
    """A workflow that stops at a folder called "cost $100" stops after the cohort was checked."""
    folder = tmp_path / name
    folder.mkdir()
    python = folder / "python"
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (line,) = re.findall(r"^JOB = (.*)$", (PACKAGE / "run" / "Snakefile").read_text(encoding="utf-8"), re.MULTILINE)
    paths = {"DEEPQCT_ROOT": str(folder), "DEEPQCT_PYTHON": str(python), "DEEPQCT_RUN": str(folder / "run")}
    command = snakemake.utils.format(ast.literal_eval(line) + "05_explore")
    said = subprocess.check_output(["bash", "-c", command], encoding="utf-8", env=os.environ | paths).splitlines()
    assert said == [str(folder), "-m", "deepqct", "job", str(folder / "run"), "05_explore"]


def test_a_job_runs_in_a_folder_of_any_name(tmp_path, capfd):
    """Papermill takes braces for parameters of its own."""
    run, job = Run(tmp_path / " ".join(NAMES)), Job("05_explore")
    write_json(run.parameters(job), {"parameters": {"run_dir": str(run.folder), "threshold": "high"}})
    assert not run_job(run, job)
    assert "threshold of 05_explore is 'high'" in capfd.readouterr().out
    assert run.notebook(job).exists()
    assert run.page(job).exists()
    status = read_json(run.status(job))  # the report shows what it held, and the next plan learns from it
    assert 30 < status["peak_mb"] < 5000
    assert status["processor"]
    assert status["versions"]["deepqct"]


@pytest.mark.parametrize("name", ["two\nlines", "a\tb", "\udcfc"])
def test_a_name_that_files_cannot_carry_is_refused_before_the_run(tmp_path, name):
    """It would stop a job in the middle."""
    with pytest.raises(ParameterError, match="in its name; rename that folder"):
        plan_run("virtual", out=tmp_path / name)
    with pytest.raises(ParameterError, match="in its name; rename that folder"):
        plan_run(str(tmp_path / name), out=tmp_path / "run")


def test_a_cohort_folder_called_virtual_is_no_virtual_cohort(tmp_path, monkeypatch):
    """The path says so."""
    monkeypatch.chdir(tmp_path)
    assert Job("00_virtual_cohort") not in plan_run("./virtual", out=tmp_path / "run").parameters
