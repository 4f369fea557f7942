"""A run can be proven, repeated, foreseen and tidied: its record, verify, reproduce, plan and tidy."""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import ROOT
from files import write_dicom
from finished import end, finish, finished_run, left, record
from safetensors.numpy import save_file
from typer.testing import CliRunner

from deepqct.bundles import bundle, write_predictions
from deepqct.cli import app
from deepqct.cohort import check_cohort
from deepqct.folder import Job, Run, file_hash, read_json, read_table, resolve, write_json, write_table, write_text
from deepqct.networks.folds import FoldFiles
from deepqct.networks.pretraining import Pretraining, pretrain
from deepqct.report import example_report, write_report
from deepqct.run import ParameterError, Plan, RunError, plan_run, reproduce, tidy, verify
from deepqct.run.app import app_notebooks
from deepqct.run.compare import FAULTS as OTHER
from deepqct.run.compare import Tolerance, compare_runs
from deepqct.run.inputs import input_hash, input_hashes, scan_files
from deepqct.run.integrity import FAULTS, input_rows
from deepqct.run.jobs import write_jobs
from deepqct.run.record import is_recorded, note_report
from deepqct.run.repetition import plan_again
from deepqct.run.restore import restore
from deepqct.run.written import missing_parts, sealed, written_files
from deepqct.terms import BONES


@pytest.fixture(autouse=True)
def one_code(monkeypatch, request):
    """Take the code of every stage as the same, but for whole runs: to hash it all takes seconds."""
    if request.node.get_closest_marker("chain") is None:
        monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda stage: "c" * 64)


@pytest.fixture
def finished(make_cohort, tmp_path) -> Plan:
    """A run of a cohort folder that looks finished, with its record and report."""
    return finished_run(make_cohort(), tmp_path / "run")


def flip(path: Path, place: int) -> bytes:
    """Flip one bit of a file; returns what it held."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[place] ^= 1 << (place % 8)
    path.write_bytes(bytes(changed))
    return before


def test_one_flipped_bit_is_found_in_every_listed_file(finished):
    """A disk that forgets one bit, or a hand that mends one number, must not stay unseen."""
    run, content = finished.run, read_json(finished.run.record)
    assert {"index.html", "indices.csv", "models/radius/all/repeat0/fold0.safetensors"} <= set(content["files"])
    assert len(content["files"]) > 20
    assert not verify(run)["state"].isin(FAULTS).any()
    folder = resolve(finished.cohort)
    inputs = {name: folder / name for name in ("participants.tsv", "scans.tsv")}
    inputs |= {f"{scan.stem}": scan for scan in (folder / "scans").iterdir()}
    assert set(inputs) == set(content["inputs"])
    places = {name: run.folder / name for name in content["files"]} | inputs
    rng = np.random.default_rng(7)
    for name, path in places.items():
        for place in rng.integers(path.stat().st_size, size=2 if name != "scans.tsv" else 20):
            before = flip(path, int(place))
            found = verify(run)
            changed = found.loc[found["state"] == "changed", "file"].tolist()
            assert name in changed
            assert changed == [name] or name == "scans.tsv", "which may name other files then"
            path.write_bytes(before)
    assert not verify(run)["state"].isin(FAULTS).any()


def test_one_flipped_bit_is_found_in_the_record_itself(finished):
    """Otherwise a hash could be mended with its file."""
    run = finished.run
    for place in range(0, run.record.stat().st_size, 211):
        before = flip(run.record, place)
        try:
            assert verify(run)["state"].isin(FAULTS).any(), place
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            assert isinstance(error, ValueError), (place, error)
        run.record.write_bytes(before)


def test_a_missing_file_and_a_new_table_are_found(finished):
    """A deleted table is as little what the run wrote as a changed one."""
    run, folder = finished.run, resolve(finished.cohort)
    run.splits.unlink()
    (folder / "scans" / "sub-0003_wrist.AIM").unlink()
    write_text(folder / "indices.tsv", "participant_id\tbone\n")
    found = verify(run).set_index("file")
    assert found.loc["splits.csv", "says"] == "splits.csv is missing."
    assert found.loc["sub-0003_wrist", "says"] == "sub-0003_wrist of the cohort is missing."
    assert found.loc["indices.tsv", "says"] == "indices.tsv of the cohort was not there when the run was made."
    done = CliRunner().invoke(app, ["verify", str(run.folder)])
    assert done.exit_code == 1
    assert done.stdout.count(".\n") == 4, "one sentence a fault, and one of the others"


def test_what_may_change_after_a_run_is_no_fault_and_is_said(finished):
    """A reader who judges scans does not falsify a run."""
    run = finished.run
    write_text(resolve(finished.cohort) / "review.csv", "reviewer,participant_id,site,decision\n")
    write_table(run.selection, pd.DataFrame({"participant_id": ["sub-0001"]}))
    write_text(run.log(Job("04_clustering")), "said")
    found = verify(run).query("state != 'same'")
    assert found["state"].tolist() == ["by hand", "by hand"]
    assert (
        found["says"].iloc[0] == "review.csv of the cohort was written by readers since; the next deepqct run heeds it."
    )
    assert CliRunner().invoke(app, ["verify", str(run.folder)]).exit_code == 0


def test_a_cohort_that_is_elsewhere_is_said_and_can_be_named(finished, tmp_path):
    """A run folder that was carried away has no cohort beside it."""
    folder = resolve(finished.cohort)
    folder.rename(tmp_path / "carried")
    found = verify(finished.run)
    assert found.loc[found["state"] != "same", "state"].tolist() == ["not checked"]
    assert "input" in set(verify(finished.run, cohort=tmp_path / "carried").query("state == 'same'")["kind"])


def test_a_stage_that_was_done_by_hand_is_named(finished):
    """Whoever tried another value in a notebook is told what changed the table."""
    run, job = finished.run, Job("04_clustering")
    write_json(run.parameters(job), read_json(run.parameters(job)) | {"again": 1})
    write_json(run.phenotypes_record, {"groups": 2})
    (says,) = verify(run).query("state == 'changed'")["says"]
    assert says == (
        "phenotypes.json is not what 04_clustering wrote; 04_clustering was done by hand since, and the next deepqct run "
        "does it again."
    )


def test_a_changed_file_is_not_taken_for_the_run_s_when_another_job_runs(finished):
    """A rerun of the groups must not bless a table of the curation that somebody edited."""
    run, job = finished.run, Job("04_clustering")
    write_text(run.indices, "edited")
    write_json(run.phenotypes_record, {"groups": 3})
    end(finished, job, when="second")
    record(finished)
    assert verify(run).query("state == 'changed'")["file"].tolist() == ["indices.csv"]
    end(finished, Job("01_data_curation"), when="second")
    record(finished)
    assert not verify(run)["state"].isin(FAULTS).any()


def test_a_record_says_where_and_by_what_and_names_nobody(finished):
    """Another processor or version explains another digit; who sat at it explains nothing."""
    content = read_json(finished.run.record)
    assert set(content["machine"]) == {"processor", "cores", "memory_gb", "accelerator", "system"}
    assert content["packages"]["torch"].startswith(content["versions"]["torch"].split("+")[0])
    assert content["seeds"]["02_train_bone_radius"] == 7
    assert content["workload"] == {"women": 8, "scans": 8, "mvoxels": 0.0, "slices": 4, "pairs": 0}
    stage = content["stages"]["02_train_bone_radius"]
    assert (stage["peak_mb"], stage["processor"], len(stage["code"])) == (500.0, "A", 64)
    assert stage["disk_mb"] >= 0
    text = finished.run.record.read_text(encoding="utf-8")
    for word in (socket.gethostname(), str(ROOT), str(finished.run.folder.parent), str(Path.home())):
        assert word not in text
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)


def test_the_report_shows_how_a_run_can_be_proven(tmp_path):
    """In the appendix, in one place; and what a run of before did not note is left out."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    plain = write_report(run).read_text(encoding="utf-8")
    assert "deepqct verify RUN" not in plain
    assert "Machine" not in plain
    content = read_json(run.record)
    content["stages"]["01_data_curation"] |= {"peak_mb": 1530.0, "disk_mb": 48.0}
    machine = {"processor": "AMD EPYC", "cores": 2, "memory_gb": 25.0, "accelerator": "none", "system": "Linux"}
    files = {"bones/sub-0001_radius.npy": "a", "models/radius/all/repeat0/fold0.safetensors": "b", "splits.csv": "c"}
    state = {"commit": "0123456789abcdef", "changed": True}
    write_json(run.record, content | {"machine": machine, "git": state, "packages": {"numba": "0.61"}, "files": files})
    write_json(run.tidied, {"bones/sub-0001_radius.npy": "2026-01-05"})
    first, _, rest = write_report(run).read_text(encoding="utf-8").partition('id="record"')
    assert "deepqct verify RUN" not in first
    for said in (
        "AMD EPYC, 2 cores, 25 GB", "0123456789, with changes", "numba 0.61", "1.5 GB", "48 MB",
        "run.json keeps the SHA-256 of 3 files of the run and 2 inputs. Removed since by deepqct tidy: 1 stack.",
    ):  # fmt: skip
        assert said in rest, said


def test_an_older_record_is_one_sentence(finished):
    """Runs of before have no hashes; nothing is pretended of them."""
    write_json(finished.run.record, {"preset": "smoke", "stages": {}, "inputs": {}})
    for command in ("verify", "tidy", "reproduce"):
        error = CliRunner().invoke(app, [command, str(finished.run.folder)]).exception
        assert "lists no files, since an older deepqct wrote it" in str(error)
        assert str(error).count(".") - str(finished.run.record).count(".") == 1


def test_a_record_that_was_edited_is_not_sealed_again(finished):
    """Writing the report anew must not hide it."""
    run = finished.run
    write_json(run.record, read_json(run.record) | {"preset": "paper"})
    write_text(run.report, "another page")
    note_report(run)
    assert "run.json" in verify(run).query("state == 'changed'")["file"].tolist()


def test_tidy_asks_first_and_keeps_results_and_cohort(finished):
    """What took a night is not lost by a word."""
    run, cohort = finished.run, resolve(finished.cohort)
    write_text(run.folder / ".snakemake" / "log" / "a.log", "x")
    write_text(run.folder / ".snakemake" / "incomplete" / "b", "x")
    before = {path: path.read_bytes() for path in [*run.folder.rglob("*"), *cohort.rglob("*")] if path.is_file()}
    done = CliRunner().invoke(app, ["tidy", str(run.folder)])
    assert "nothing was touched yet" in done.stdout
    assert all(path.read_bytes() == content for path, content in before.items())
    table = tidy(run, delete=True)
    assert table.set_index("part")["files"].to_dict() == {"stacks": 4, "networks": 2, "caches": 1}
    gone = {path for path in before if not path.exists()}
    assert Counter(path.suffix for path in gone) == {".npy": 4, ".safetensors": 2, ".log": 1}
    found = verify(run)
    assert found["state"].value_counts().to_dict() == {"same": len(found) - 6, "tidied": 6}
    said = CliRunner().invoke(app, ["verify", str(run.folder)])
    assert (said.exit_code, "2 networks were removed by deepqct tidy" in said.stdout) == (0, True)
    with pytest.raises(
        FileNotFoundError, match=r"was removed by deepqct tidy; give the deepqct run command of this run"
    ):
        run.require(run.stack("sub-0000", "radius"), written_by="01_data_curation")
    with pytest.raises(ValueError, match="There is no part 'weights' to tidy; use some of stacks, networks, caches"):
        tidy(run, parts=["weights"])


def test_tidy_leaves_virtual_women_alone(tmp_path):
    """Their cohort is a cohort, although it lies in the run folder."""
    made = plan_run("virtual", out=tmp_path / "run", preset="smoke", overrides=["bone=tibia"])
    write_text(made.run.virtual / "cohort" / "scans" / "a.npy", "x")
    write_text(made.run.virtual / "cohort" / ".part-1", "x")
    write_json(made.run.record, {"files": {}})
    assert not tidy(made.run, delete=True)["files"].any()
    assert (made.run.virtual / "cohort" / "scans" / "a.npy").exists()


def test_what_was_removed_is_made_anew_and_nothing_else(finished):
    """Tables that come out the same keep their times, so that nothing that rests on them is out of date."""
    run = finished.run
    for path in (*(run.folder / "jobs").glob("*.json"), *run.folder.glob("*.csv"), *run.folder.glob("*.json")):
        os.utime(path, (1e9, 1e9 + (path.parent == run.folder)))
    tables = {path: path.stat().st_mtime_ns for path in run.folder.glob("*.csv")}
    asked = {
        job: (run.parameters(job).read_bytes(), run.parameters(job).stat().st_mtime_ns) for job in finished.parameters
    }
    part = write_json(run.folder / "jobs" / "parts" / "02_train_bone_radius_all_fold0.json", {})
    tidy(run, parts=["networks"], delete=True)
    assert set(missing_parts(run)) == {"02_train_bone_radius", "02_train_bone_ulna"}
    calls = []

    def make(wanted) -> int:
        calls.append(list(wanted))
        assert all("again" in read_json(run.parameters(Job("02_train_bone", bone))) for bone in ("radius", "ulna"))
        write_text(run.scores("radius"), run.scores("radius").read_text(encoding="utf-8"))
        write_text(run.scores("ulna"), "other scores")
        return 0

    assert restore(finished, make=make) == 0
    assert calls == [["scores_radius.csv", "scores_ulna.csv"]]
    assert part.stat().st_mtime_ns <= run.scores("radius").stat().st_mtime_ns
    new = {path.name for path, time in tables.items() if path.stat().st_mtime_ns != time}
    assert new == {"scores_ulna.csv"}
    for job, (content, time) in asked.items():
        assert run.parameters(job).read_bytes() == content
        assert run.parameters(job).stat().st_mtime_ns == time


def test_nothing_is_made_anew_where_nothing_is_missing_or_a_job_failed(finished):
    """A failed job is the run's own business."""
    assert restore(finished, make=lambda wanted: pytest.fail(str(wanted))) == 0
    tidy(finished.run, parts=["stacks"], delete=True)
    status = finished.run.status("01_data_curation")
    write_json(status, read_json(status) | {"status": "failed"})
    assert restore(finished, make=lambda wanted: pytest.fail(str(wanted))) == 0
    write_json(status, read_json(status) | {"status": "done"})
    assert restore(finished, make=lambda wanted: 3) == 3


def test_a_fold_without_its_weights_is_not_done(tmp_path):
    """Nor one of an ensemble that lost one of its networks."""
    for ensemble in (1, 2):
        files, made_from = FoldFiles(tmp_path / str(ensemble), "0"), {"recipe": {"ensemble": ensemble}}
        write_json(files.record, made_from)
        for path in [files.weights] if ensemble == 1 else [files.member(k).weights for k in range(2)]:
            assert not files.done(made_from)
            write_text(path, "weights")
        assert files.done(made_from)


def copy_of(made: Plan, folder: Path) -> Run:
    """The same run in another folder."""
    new = replace(made, run=Run(folder))
    write_jobs(new)
    end(new)
    left(new)
    record(new)
    return new.run


def test_two_runs_are_compared_value_by_value(finished, tmp_path):
    """By how much they differ, and where, is what a reader wants to know."""
    before, after = finished.run, copy_of(finished, tmp_path / "again")
    exact = Tolerance(0.0, 0.0, "")
    assert set(compare_runs(before, after, tolerance=exact)["verdict"]) == {"identical"}
    table = read_table(after.scores("radius"))
    table.loc[2, "score"] += 0.01
    write_table(after.scores("radius"), table)
    save_file({"weight": np.ones((8, 8), np.float32)}, FoldFiles(after.models("ulna") / "all/repeat0", "0").weights)
    np.save(after.stack("sub-0000", "ulna"), np.load(after.stack("sub-0000", "ulna")) + 1)
    write_table(after.indices, read_table(after.indices).head(3))
    write_json(after.phenotypes_record, {"groups": 1, "silhouette": 0.25})
    after.splits.unlink()
    write_table(after.optimism, pd.DataFrame({"a": [1]}))
    content = read_json(after.record)
    changed = {name: file_hash(after.folder / name) for name in written_files(after) if name != "index.html"}
    write_json(after.record, sealed(content | {"files": changed}))
    found = compare_runs(before, after, tolerance=Tolerance(0.0, 0.05, "")).set_index("what")
    verdicts = found["verdict"][found["verdict"] != "identical"].to_dict()
    assert verdicts == {
        "scores_radius.csv": "within tolerance",
        "models/ulna/all/repeat0/fold0.safetensors": "differs",
        "bones: ulna": "differs",
        "indices.csv": "differs",
        "phenotypes.json": "within tolerance",
        "splits.csv": "missing",
        "optimism.csv": "new",
    }
    row = found.loc["scores_radius.csv"]
    assert (row["differing"], row["where"], row["largest"]) == (1, "score", pytest.approx(0.01, rel=0.5))
    assert found.loc["models/ulna/all/repeat0/fold0.safetensors", "differing"] == 64
    assert set(OTHER) == {"differs", "missing"}


def test_the_tolerance_is_said_with_its_reason():
    """Zero where nothing explains a difference; elsewhere our choice, and the command says so."""
    one = {"stages": {"02": {"processor": "A", "code": "c"}}, "packages": {"numpy": "2"}, "device": "cpu"}
    assert (Tolerance.of(one, one).measured, Tolerance.of(one, one).learned) == (0, 0)
    assert Tolerance.of(one, one | {"packages": {}}, 0.3).why == "Tolerance 0.3, as asked for."
    others = (
        (one | {"stages": {"02": {"processor": "B", "code": "c"}}}, "the processor is another: A and B"),
        (one | {"packages": {"numpy": "3"}}, "versions differ: numpy 2 and 3"),
        (one | {"stages": {"02": {"processor": "A", "code": "d"}}}, "the code of deepqct is another"),
        (one | {"device": "cuda"}, "networks were trained on a graphics card"),
    )
    for other, reason in others:
        found = Tolerance.of(one, other)
        assert found.learned > found.measured > 0
        assert f"(our choice), since {reason}" in found.why


def test_a_run_is_planned_anew_with_the_parameters_of_its_record(make_cohort, tmp_path):
    """Also those that a preset file or the command line set."""
    asked = ["epochs=3", "02_train_bone.seed=11", "crop=0.8", "bone=ulna", "test_fraction=0.2", "augment=False"]
    made = plan_run(str(make_cohort()), out=tmp_path / "run", preset="smoke", overrides=asked)
    write_jobs(made)
    end(made)
    again = plan_again(made.run, record(made), out=tmp_path / "again")
    assert (again.preset, again.bones, again.cohort) == ("smoke", ["ulna"], made.cohort)
    assert list(again.parameters) == list(made.parameters)
    for job, values in made.parameters.items():
        other = again.parameters[job]
        assert {k: v for k, v in values.items() if k != "run_dir"} == {k: v for k, v in other.items() if k != "run_dir"}
    content = record(made)
    content["stages"]["02_train_bone_ulna"]["parameters"]["forgotten"] = 1
    with pytest.raises(ParameterError, match="Unknown parameter 'forgotten' for 02_train_bone"):
        plan_again(made.run, content, out=tmp_path / "again")


def test_a_run_on_changed_inputs_is_not_repeated(finished, monkeypatch):
    """Another scan gives another result, and nobody would know why."""
    monkeypatch.setattr("deepqct.run.repetition.execute", lambda *_, **__: pytest.fail("it was started"))
    scan = resolve(finished.cohort) / "scans" / "sub-0002_wrist.AIM"
    flip(scan, 600)
    done = CliRunner().invoke(app, ["reproduce", str(finished.run.folder)])
    assert str(done.exception) == (
        "sub-0002_wrist of the cohort is not what the run read, and a run is repeated on the same inputs alone."
    )
    assert not finished.run.folder.with_name("run-reproduced").exists()


def test_reproduce_runs_beside_the_run_and_compares(finished, monkeypatch, tmp_path):
    """The command's exit code is what a script looks at."""

    def execute(plan: Plan, *, cores: int) -> None:
        assert cores == 1
        copy_of(plan, plan.run.folder)

    monkeypatch.setattr("deepqct.run.repetition.execute", execute)
    found = reproduce(finished.run, cores=1)
    assert set(found["verdict"]) == {"identical"}
    beside = finished.run.folder.with_name("run-reproduced")
    assert beside.exists()
    monkeypatch.setattr("deepqct.run.repetition.execute", lambda plan, cores: None)
    command = ["reproduce", str(finished.run.folder), "--cores", "1"]
    assert CliRunner().invoke(app, command).exit_code == 0
    run = Run(beside)
    write_table(run.performance, read_table(run.performance).assign(value=1.0))
    files = read_json(run.record)["files"] | {"performance.csv": file_hash(run.performance)}
    write_json(run.record, sealed(read_json(run.record) | {"files": files}))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "Tolerance 0: the same processor" in done.stdout
    assert "performance.csv" in done.stdout
    write_text(tmp_path / "full" / "a.txt", "mine")
    with pytest.raises(RunError, match=r"full holds something else; give another folder by --out\."):
        reproduce(finished.run, out=tmp_path / "full")


def elsewhere(run: Run) -> Path:
    """A folder beside a run with a stack and weights of somebody, to which links in the run lead."""
    place = run.folder.parent / "elsewhere"
    for name in ("P1_radius.npy", "P2_radius.npy", "P3_radius.npy", "fold0.safetensors", "page"):
        write_text(place / name, "mine")
    (run.folder / "bones" / "P1_radius.npy").symlink_to(place / "P1_radius.npy")
    (run.folder / "models" / "tibia").symlink_to(place)
    (run.folder / ".ipynb_checkpoints").symlink_to(place)
    (run.folder / ".snakemake").symlink_to(place)
    write_text(place / "log" / "a.log", "mine")
    names = (
        "../elsewhere/P2_radius.npy", "bones/../../elsewhere/P2_radius.npy", str(place / "P3_radius.npy"),
        "bones/P1_radius.npy", "models/tibia/fold0.safetensors", "bones/\0.npy", "",
    )  # fmt: skip
    content = read_json(run.record)
    own = file_hash(place / "page")
    write_json(run.record, sealed(content | {"files": content["files"] | dict.fromkeys(names, own)}))
    return place


def test_a_record_leads_nowhere_out_of_its_run_folder(finished, tmp_path):
    """A run folder is passed on, and its record may name anything: no file elsewhere is deleted or taken for the run's."""
    run, after = finished.run, copy_of(finished, tmp_path / "again")
    place = elsewhere(run)
    write_json(after.record, sealed(read_json(after.record) | {"files": read_json(run.record)["files"]}))
    before = {path: path.read_text() for path in place.rglob("*") if path.is_file()}
    found = verify(run).set_index("file")
    out = found[found["says"].str.endswith("leads out of the run folder, and was not looked at.")]
    assert len(out) == 6
    assert set(out["state"]) == {"changed"}
    compared = compare_runs(run, after, tolerance=Tolerance(9.0, 9.0, "")).set_index("what")
    assert compared.loc["models/tibia/fold0.safetensors", "verdict"] == "differs"
    assert not missing_parts(run)
    assert tidy(run, delete=True).set_index("part")["files"].to_dict() == {"stacks": 4, "networks": 2, "caches": 0}
    assert {path: path.read_text() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", ["itself", "inside", "a link", "around"])
def test_a_run_is_never_compared_with_itself(finished, tmp_path, monkeypatch, place):
    """It would be called identical."""
    monkeypatch.setattr("deepqct.run.repetition.execute", lambda *_, **__: pytest.fail("it was started"))
    (tmp_path / "link").symlink_to(finished.run.folder)
    run = finished.run.folder
    out = {"itself": run, "inside": run / "again", "a link": tmp_path / "link", "around": run.parent}[place]
    with pytest.raises(RunError, match=r"in the run that is repeated, .* give another folder by --out\."):
        reproduce(finished.run, out=out)


def test_no_command_overwrites_what_it_reads(tmp_path):
    """Neither a run by predictions or by its own example, nor a scan by its picture, nor weights by those made of them."""
    run = Run(tmp_path / "run")
    write_json(run.record, {"preset": "smoke", "stages": {}, "virtual": True})
    (tmp_path / "link").symlink_to(run.folder)
    for folder in (run.folder, tmp_path / "link", run.folder / "example"):
        with pytest.raises(ValueError, match="the run folder that is reported; give another folder"):
            example_report(run, folder)
    assert run.record.exists()
    bundle = write_json(tmp_path / "bundle" / "manifest.json", {}).parent
    for folder in (run.folder, bundle):
        with pytest.raises(ValueError, match=r"own files predictions must not replace; give another folder by --out\."):
            write_predictions(SimpleNamespace(), folder)
    scan = write_dicom(tmp_path / "scan", np.zeros((2, 8, 8), np.int16), voxel_mm=(0.1,) * 3)
    one = sorted(scan.iterdir())[0]
    for target in (one, tmp_path / "scan" / one.name):
        before = one.read_bytes()
        done = CliRunner().invoke(app, ["inspect", str(scan), "--png", str(target), "--unusual", "--unit", "density"])
        assert "belongs to the scan itself, which is not overwritten" in str(done.exception)
        assert one.read_bytes() == before
    write_text(tmp_path / "weights.safetensors", "weights")
    with pytest.raises(ValueError, match="holds the weights that this pretraining begins with"):
        pretrain(tmp_path, settings=Pretraining(weights=str(tmp_path / "weights.safetensors")))


def test_files_of_an_earlier_setting_are_not_the_runs(make_cohort, tmp_path):
    """Else a run with one training less is never what its repetition makes, and a table of a bone left out is blessed."""
    cohort, one = make_cohort(), ["outcome=fracture", "protocols=all"]
    first = finished_run(
        cohort,
        tmp_path / "run",
        asked=["protocols=all", "repeats=2", "network_repeats=2", "controls=noise", "ensemble=2"],
    )
    run, bone = first.run, first.run.models("radius")
    stale = [
        bone / "all" / "repeat1" / "fold0.safetensors", bone / "all" / "repeat0" / "member1" / "fold0.safetensors",
        bone / "controls" / "noise" / "all" / "repeat0" / "fold1.json", run.folder / "sessions" / "registered" / "a.json",
        bone / "as-published" / "repeat0" / "fold0.safetensors", bone / "all" / "repeat0" / "fold7.json",
        bone / "all" / "repeat0" / "fold0-1.safetensors",
    ]  # fmt: skip
    for path in stale:
        write_json(path, {"device": "cuda"})
    end(first, when="anew")
    finish(first)
    names = [path.relative_to(run.folder).as_posix() for path in stale]
    assert [name in read_json(run.record)["files"] for name in names] == [True] * 3 + [False] * 4
    second = plan_run(str(cohort), out=run.folder, preset="smoke", overrides=[*one, "network_repeats=1"])
    write_jobs(second)
    end(second, when="second")
    left(second)
    finish(second)
    content = read_json(run.record)
    assert not set(names) & set(content["files"])
    assert content["device"] == "cpu"
    again = finished_run(cohort, tmp_path / "again", asked=[*one, "network_repeats=1"])
    assert set(compare_runs(run, again.run, tolerance=Tolerance(0, 0, ""))["verdict"]) == {"identical"}
    fewer = plan_run(str(cohort), out=run.folder, preset="smoke", overrides=[*one, "bone=radius"])
    write_text(run.scores("ulna"), "edited by hand")
    write_jobs(fewer)
    end(fewer, *(job for job in fewer.parameters if not job.bone), when="third")
    finish(fewer)
    assert "scores_ulna.csv" not in read_json(run.record)["files"]
    assert not verify(run)["state"].isin(FAULTS).any()
    write_jobs(second)  # the bone is asked for again, and what was trained of it is still there
    end(second, *(job for job in second.parameters if not job.bone), when="fourth")
    finish(second)
    assert verify(run).query("state == 'changed'")["file"].tolist() == ["scores_ulna.csv"]


def test_the_record_is_written_anew_where_only_the_settings_are(finished):
    """After cohort and run were moved, the same command does nothing else, and settings.json names the new place."""
    run = finished.run
    assert is_recorded(run, finished.parameters)
    write_jobs(replace(finished, cohort_at=["elsewhere"]))
    assert not is_recorded(run, finished.parameters)
    finish(finished)
    assert is_recorded(run, finished.parameters)
    assert not verify(run)["state"].isin(FAULTS).any()


def test_a_table_that_a_spreadsheet_saved_is_read_as_by_the_check(make_cohort, tmp_path):
    """Tabs without anything in a last row, and a blank in the header, are no fault."""
    cohort = make_cohort()
    table = cohort / "scans.tsv"
    table.write_text(table.read_text().replace("participant_id\tsite", "participant_id \t site") + "\t\t\t\n")
    assert not check_cohort(cohort)[1]
    assert list(scan_files(cohort)) == [f"sub-{number:04d}_wrist" for number in range(8)]
    made = plan_run(str(cohort), out=tmp_path / "run", preset="smoke", overrides=["outcome=fracture"])
    assert made.bones == ["radius", "ulna"]
    read = input_hashes(made.run, made.parameters[Job("01_data_curation")]) | {
        name: input_hash(path) for name, (path,) in scan_files(cohort).items()
    }
    write_jobs(made)
    assert {row["state"] for row in input_rows(made.run, {"inputs": read})} == {"same"}


def test_a_stack_that_could_not_be_compared_hides_behind_no_other(finished, tmp_path):
    """One row stands for all stacks of a bone, and the worst of them counts."""
    before, after = finished.run, copy_of(finished, tmp_path / "again")
    content = read_json(after.record)
    for path in (after.stack("sub-0000", "radius"), before.stack_mask("sub-0000", "radius")):
        voxels = np.load(path).astype(float)
        voxels[0, 0, 0] += 1e-9
        np.save(path, voxels)
    name = after.stack("sub-0000", "radius").relative_to(after.folder).as_posix()
    mask = after.stack_mask("sub-0000", "radius").relative_to(after.folder).as_posix()
    changed = {name: file_hash(after.folder / name), mask: "0" * 64}
    write_json(after.record, sealed(content | {"files": content["files"] | changed}))
    found = compare_runs(before, after, tolerance=Tolerance(1e-6, 1e-6, "")).set_index("what")
    assert found.loc["bones: radius", "verdict"] == "differs"


@pytest.mark.long
@pytest.mark.chain
def test_a_smoke_run_is_reproduced_tidied_and_made_anew(smoke_run, tmp_path):
    """Bit by bit on the same machine; after tidy the same command makes anew what is gone, and trains the same networks."""
    run = Run(smoke_run)
    assert not verify(run)["state"].isin(FAULTS).any()
    found = reproduce(run)
    assert set(found["verdict"]) == {"identical"}, found[found["verdict"] != "identical"].to_string()
    assert set(found["tolerance"]) == {0.0}
    assert {"network", "table", "stack", "map", "input"} == set(found["kind"])
    again = Run(run.folder.with_name("run-reproduced"))
    tidy(again, delete=True)
    assert set(verify(again).query("state != 'same'")["state"]) == {"tidied"}
    with pytest.raises(
        FileNotFoundError, match="was removed by deepqct tidy; give the deepqct run command of this run"
    ):
        bundle(again, tmp_path / "bundle")
    assert len(app_notebooks(again, tmp_path)) == 2
    assert "Removed since by deepqct tidy" in write_report(again).read_text(encoding="utf-8")
    note_report(again)
    times = {path: path.stat().st_mtime_ns for path in again.folder.glob("*.csv")}
    groups = read_json(again.parameters("04_clustering"))["parameters"]["groups"]  # other tests may have set it
    command = [sys.executable, "-m", "deepqct", "run", "virtual", f"groups={groups}", "--preset", "smoke"]
    command += ["--out", str(again.folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    started = set(re.findall(r"^(\S+): started$", done.stdout, flags=re.MULTILINE))
    assert started == {"01_data_curation", *(f"02_train_bone_{bone}" for bone in BONES)}
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert set(verify(again)["state"]) == {"same"}
    assert set(compare_runs(run, again, tolerance=Tolerance(0.0, 0.0, ""))["verdict"]) == {"identical"}
