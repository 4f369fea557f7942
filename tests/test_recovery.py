"""What a run folder says after a kill, a review or a loss: record, report, notes and hashes are true."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT
from tiny import kill_all

from deepqct.curation.one_scan import Task, curate_scan
from deepqct.folder import Job, Run, file_hash, read_json, read_table, write_json, write_table, write_text
from deepqct.run import RunError, execute, plan_run, tidy, verify, workflow
from deepqct.run.alone import alone
from deepqct.run.changed import changed_scans
from deepqct.run.compare import Tolerance, compare_runs
from deepqct.run.jobs import _forget_paths, run_job, state_of, write_jobs
from deepqct.run.lost import lost_jobs
from deepqct.run.parts import Part, carry_over
from deepqct.run.plan import Plan
from deepqct.run.record import named_only, status_of, write_record
from deepqct.run.repetition import run_again
from deepqct.run.restore import restore
from deepqct.run.stage import do_again
from deepqct.run.watch import _has, _lives
from deepqct.run.written import job_of, sealed
from deepqct.scans.formats import scan_hash

CURATION = Job("01_data_curation")


@pytest.fixture(autouse=True)
def one_code(monkeypatch):
    """Take the code of every stage as the same: to hash it all takes seconds."""
    monkeypatch.setattr("deepqct.run.jobs.stage_hash", lambda _: "c" * 64)
    monkeypatch.setattr(workflow, "check_machine", lambda _: None)


def planned(out: Path, *overrides: str) -> Plan:
    """A run of virtual women with one network, of which the parameters are written."""
    plan = plan_run("virtual", out=out, preset="smoke", overrides=["bone=radius", *overrides])
    write_jobs(plan)
    return plan


def end(plan: Plan, when: str) -> None:
    """Say of all jobs that they ended."""
    for job in plan.parameters:
        write_json(plan.run.status(job), {"status": "done", "finished": when} | read_json(plan.run.parameters(job)))


# A run that was killed between its last job and its record


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """What `execute` writes last, without the work of it."""
    done: list[str] = []

    def write(run: Run) -> Path:
        done.append("report")
        return write_text(run.report, "a page")

    monkeypatch.setattr(workflow, "write_report", write)
    monkeypatch.setattr(workflow, "_snakemake", lambda *_, **__: (0, ""))
    return done


def test_results_of_a_run_that_was_killed_before_its_record_are_recorded_by_the_next(tmp_path, told):
    """Nothing is left to do then, and yet record and report are those of the run before."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    execute(plan)
    execute(plan)
    assert told == ["report"], "where nothing changed, nothing is written"
    end(plan, "second")  # by a run that was killed before it wrote its record
    execute(plan)
    assert told == ["report"] * 2
    assert {stage["finished"] for stage in read_json(plan.run.record)["stages"].values()} == {"second"}


def test_a_report_that_a_killed_run_did_not_write_is_written_by_the_next(tmp_path, told):
    """The record of that run is there, and the page is still of the run before."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    execute(plan)
    end(plan, "second")
    write_record(plan.run, parameters=plan.parameters, preset="smoke", cohort="virtual", began=0.0)
    execute(plan)
    assert told == ["report"] * 2
    execute(plan)
    assert told == ["report"] * 2


def test_a_kill_leaves_no_file_that_is_newer_than_what_was_made_from_it(tmp_path, monkeypatch):
    """A part that is counted, or a path that is spelled anew, would make a job of a night out of date."""
    run, path = Run(tmp_path / "run"), tmp_path / "asked.json"
    write_json(path, {"cohort_dir": "a"}, time_ns=1_000_000_000)
    assert path.stat().st_mtime_ns == 1_000_000_000

    def killed(*_, **__):
        raise KeyboardInterrupt

    write_text(run.indices, "x")
    monkeypatch.setattr(os, "utime", killed)
    part = Part(CURATION, "0001-0002")
    with pytest.raises(KeyboardInterrupt):
        carry_over(run, [part], {CURATION: [run.indices]})
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"cohort_dir": "b"}, time_ns=1_000_000_000)
    assert not run.part(part).exists()
    assert read_json(path) == {"cohort_dir": "a"}


# A run that was moved


@pytest.mark.parametrize("moved", ["alone", "with its cohort", "not at all"])
def test_the_cohort_of_a_run_is_found_wherever_both_are(tmp_path, monkeypatch, make_cohort, moved):
    """A project that is copied to another machine, and a run that is put away, are verified as before."""
    folder, project, elsewhere = make_cohort(), tmp_path / "project", tmp_path / "elsewhere"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    elsewhere.mkdir()
    shutil.move(folder, project / "cohort")
    monkeypatch.chdir(project)
    plan = plan_run("cohort", out=Path("reports/ours"), preset="smoke")
    write_jobs(plan)
    end(plan, "first")
    write_record(plan.run, parameters=plan.parameters, preset="smoke", cohort=plan.cohort, began=0.0)
    run = plan.run
    if moved == "alone":
        run = Run(Path(shutil.move(run.folder, elsewhere / "put away")))
    elif moved == "with its cohort":
        run = Run(Path(shutil.move(project, elsewhere)) / "reports" / "ours")
        monkeypatch.chdir(tmp_path)
    assert set(verify(run)["state"]) == {"same"}


def test_a_run_with_an_empty_file_of_parameters_is_verified(tmp_path):
    """A machine that crashed may leave one; the files of the run are what they were."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    write_text(plan.run.splits, "fold")
    write_record(plan.run, parameters=plan.parameters, preset="smoke", cohort="virtual", began=0.0)
    content = read_json(plan.run.record)
    write_json(plan.run.record, sealed(content | {"inputs": {"scans.tsv": "a"}}))
    for job in (CURATION, Job("04_clustering")):
        write_text(plan.run.parameters(job), "")
    states = verify(plan.run).set_index("file")["state"].to_dict()
    assert states == {"run.json": "same", "settings.json": "same", "splits.csv": "same", "cohort": "not checked"}


# Files that belong to a run


def test_every_file_that_a_run_folder_holds_has_a_job_or_a_reason(tmp_path):
    """A table of no job has no hash in the record, and nobody notices when it is changed."""
    run = Run(tmp_path)
    # By hand; the record itself; other notebooks (06, 07, 08), which no run executes.
    of_no_job = {"selection", "record", "study"}
    for name, member in vars(Run).items():
        path = member.fget(run) if isinstance(member, property) else None
        if path is not None and path.parent == run.folder and path.suffix:
            assert bool(job_of(run, path)) is (name not in of_no_job), name


# A cohort whose scans are replaced


def test_other_voxels_beside_the_same_header_are_another_state(tmp_path):
    """The header of a scan names a file of voxels, which no table names."""
    header, voxels = tmp_path / "P1_wrist.mhd", tmp_path / "P1_wrist.raw"
    write_text(header, "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\n"
                       "ElementDataFile = P1_wrist.raw\n")  # fmt: skip
    voxels.write_bytes(bytes(16))
    before = state_of([header])
    assert state_of([header]) == before
    voxels.write_bytes(bytes(15) + b"x")
    os.utime(voxels, (1e9, 1e9))
    assert state_of([header]) != before
    write_text(header, "no header any more")
    assert state_of([header]) != before


# Tidied runs


def test_a_name_of_any_bytes_stops_nobody(tmp_path):
    """As an archive from another system may leave it."""
    (tmp_path / "series").mkdir()
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "series") + b"/IM\xff01.dcm"))
    odd.write_bytes(b"x")
    seen = []
    for content in (b"x", b"yy"):
        odd.write_bytes(content)
        seen.append((state_of([odd.parent])["state"], scan_hash(odd.parent), file_hash(odd.parent)))
    assert all(before != after for before, after in zip(*seen, strict=True))
    task = Task(
        "P1", "wrist", "left", odd.parent, None, Run(tmp_path / "run"), 32, {}, "ours", False, "each", "none", "x"
    )
    row = curate_scan(task)
    assert row["status"] == "failed"
    write_text(tmp_path / "curation.csv", row["reason"])


def test_a_job_that_is_restored_is_no_other_job_than_before(tmp_path):
    """One that once failed, or was done by hand, has a mark in its parameters, and its status must have the same."""
    plan = planned(tmp_path / "run")
    run, job = plan.run, Job("02_train_bone", "radius")
    write_json(run.parameters(job), read_json(run.parameters(job)) | {"again": 1})
    end(plan, "first")
    write_text(run.scores("radius"), "score")
    write_json(run.record, {"files": {"models/radius/all/repeat0/fold0.safetensors": "a"}})

    def make(_) -> int:
        weights = run.models("radius") / "all" / "repeat0" / "fold0.safetensors"
        write_text(weights, "weights")
        write_json(run.status(job), {"status": "done", "finished": "second"} | read_json(run.parameters(job)))
        return 0

    assert restore(plan, make=make) == 0
    assert read_json(run.parameters(job))["again"] == 1
    assert status_of(run, job)["again"] == 1
    write_record(run, parameters=plan.parameters, preset="smoke", cohort="virtual", began=0.0)
    assert {stage["status"] for stage in read_json(run.record)["stages"].values()} == {"done"}


def test_what_was_tidied_and_made_anew_can_be_lost_again(tmp_path, told):
    """A note of long ago must not hide a loss."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    stack = plan.run.stack("P1", "radius")
    write_text(stack, "voxels")
    execute(plan)
    write_json(plan.run.tidied, {"bones/P1_radius.npy": "2026-01-05", "bones/P2_radius.npy": "2026-01-05"})
    execute(plan)
    assert list(read_json(plan.run.tidied)) == ["bones/P2_radius.npy"]
    stack.unlink()
    assert verify(plan.run).set_index("file").loc["bones/P1_radius.npy", "state"] == "missing"


def test_what_tidy_deletes_is_what_is_there_when_no_run_is_at_work(tmp_path, monkeypatch):
    """Of a list made before, a run that ends in between would have left other files."""
    run = Run(tmp_path)
    write_json(run.record, {"files": {"bones/P1_radius.npy": "a", "bones/P2_radius.npy": "b"}})
    write_text(run.stack("P1", "radius"), "voxels")

    @contextlib.contextmanager
    def waited(_: Run) -> Iterator[int]:
        write_text(run.stack("P2", "radius"), "voxels")  # by the run that was at work
        yield 1

    monkeypatch.setattr("deepqct.run.tidying.alone", waited)
    assert tidy(run, delete=True).set_index("part").loc["stacks", "files"] == 2
    assert list(read_json(run.tidied)) == ["bones/P1_radius.npy", "bones/P2_radius.npy"]
    assert not list(run.bones.iterdir())
    monkeypatch.setattr("deepqct.run.tidying._files", lambda *_, **__: [tmp_path / "gone by now"])
    assert tidy(run)["mb"].tolist() == [0.0] * 3


def test_what_a_cluster_said_of_jobs_that_restore_is_told(tmp_path, monkeypatch):
    """A node may fail while stacks are made anew."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    write_text(plan.run.report, "a page")
    write_json(plan.run.record, {"files": {"bones/P1_radius.npy": "a"}})

    def killed(plan, wanted=(), **_):
        assert wanted
        write_json(plan.run.at_work("01_data_curation"), {"host": "n1", "process": 5, "cluster_job": "12"})
        return 1, "SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'."

    monkeypatch.setattr(workflow, "_snakemake", killed)
    with pytest.raises(RunError, match=r"01_data_curation was lost with its machine \(NODE_FAIL\)"):
        execute(plan)


# A folder that is not the run's


@pytest.mark.parametrize(("out", "what"), [
    ("cohort", "is or holds the cohort"), (".", "is or holds the cohort"), ("link", "is or holds the cohort"),
    ("project", "holds the notebooks"),
])  # fmt: skip
def test_a_run_writes_neither_over_a_cohort_nor_over_its_notebooks(tmp_path, make_cohort, monkeypatch, out, what):
    """Both folders hold files of the names that a run writes: participants.json, and notebooks."""
    folder = make_cohort()
    (tmp_path / "link").symlink_to(folder)
    shutil.copytree(ROOT / "notebooks", tmp_path / "project" / "notebooks")
    monkeypatch.chdir(tmp_path / "project")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(RunError, match=rf"{what}.*, which no run writes to; give another folder by --out\.$"):
        execute(plan_run(str(folder), out=tmp_path / out, preset="smoke"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# A run made anew beside another


def test_a_run_is_not_repeated_into_the_folder_of_another(tmp_path, make_cohort):
    """Its parameters would be gone before anybody saw what it is."""
    plan = planned(tmp_path / "run")
    end(plan, "first")
    write_text(plan.run.virtual / "cohort" / "review.csv", "reviewer,participant_id,site,decision\n")
    write_record(plan.run, parameters=plan.parameters, preset="smoke", cohort="virtual", began=0.0)
    other = plan_run(str(make_cohort()), out=tmp_path / "other", preset="smoke")
    write_jobs(other)
    before = {path: path.read_bytes() for path in other.run.folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"is a run of the cohort .*give another folder by --out"):
        run_again(plan.run, out=other.run.folder)
    assert {path: path.read_bytes() for path in other.run.folder.rglob("*") if path.is_file()} == before


def test_the_cohort_that_is_looked_at_is_the_one_that_is_run(tmp_path, make_cohort, monkeypatch):
    """From a folder within the project, both are named from there or neither is."""
    folder = make_cohort()
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke")
    write_jobs(plan)
    end(plan, "first")
    write_record(plan.run, parameters=plan.parameters, preset="smoke", cohort=plan.cohort, began=0.0)
    seen: list[Plan] = []
    monkeypatch.setattr("deepqct.run.repetition.execute", lambda plan, **_: seen.append(plan))
    monkeypatch.chdir(tmp_path / "notebooks")
    run_again(plan.run, cohort=Path("cohort"))
    assert seen[0].cohort == plan.cohort


# What is kept in a notebook


@pytest.mark.parametrize("name", ["cohort", "../data/cohort", "data/cohort", ".", ".."])
def test_an_executed_notebook_names_no_folder_however_the_cohort_was_named(tmp_path, monkeypatch, name):
    """In a folder of `deepqct init` the cohort is called by its bare name, and an error by its whole path."""
    (tmp_path / "hip study").mkdir()
    monkeypatch.chdir(tmp_path / "hip study")
    whole = os.path.normpath(tmp_path / "hip study" / name)
    spelled = tmp_path / "hip study" / name
    noted = {"metadata": {"papermill": {"input_path": "/a/b.ipynb", "output_path": "/a/c.ipynb"}},
             "cells": [f"{whole}/scans/a.AIM is no scan", f"{spelled}/x", "0.25 ± 0.1.. "]}  # fmt: skip
    path = write_json(tmp_path / "out.ipynb", noted)
    _forget_paths(path, {"cohort_dir": name})
    bare = Path(whole).name
    assert read_json(path)["cells"] == [f"{bare}/scans/a.AIM is no scan", f"{bare}/x", "0.25 ± 0.1.. "]
    assert named_only({"cohort_dir": name, "pseudonyms": ""}) == {"cohort_dir": bare, "pseudonyms": ""}


@pytest.mark.parametrize("before", [True, False])
def test_a_kernel_that_does_not_begin_is_a_failure_with_its_reason(tmp_path, monkeypatch, before):
    """Else the run says no more than that its workflow stopped."""

    def broken(*_, **__):
        if before:
            write_json(
                run.notebook(job), {"metadata": {"papermill": {"input_path": "a", "output_path": "b"}}, "cells": []}
            )
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr("papermill.execute_notebook", broken)
    monkeypatch.setattr("deepqct.run.jobs.notebook_page", lambda *_, **__: None)
    run, job = Run(tmp_path), Job("05_explore")
    write_json(run.parameters(job), {"parameters": {}, "code": "c"})
    assert not run_job(run, job)
    status = read_json(run.status(job))
    assert (status["status"], status["error"]) == ("failed", "RuntimeError: Kernel died before replying to kernel_info")
    assert run.notebook(job).exists() == before


def test_a_job_is_recorded_with_the_parameters_with_which_it_began(tmp_path, monkeypatch):
    """Whoever asks for it again while it is at work gets it again."""
    run, job = Run(tmp_path), Job("05_explore")
    write_json(run.parameters(job), {"parameters": {}, "code": "c"})
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: do_again(run, job))
    assert run_job(run, job)
    assert "again" in read_json(run.parameters(job))
    assert "again" not in read_json(run.status(job))


# A folder that cannot be written, and what is gone while it is looked at


def test_a_run_folder_that_is_a_file_or_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    plan = plan_run("virtual", out=write_text(tmp_path / "run", "no folder"), preset="smoke")
    with pytest.raises(OSError, match=r"run cannot be written \(.*\); free space on its disk, or take a folder"):
        execute(plan)
    monkeypatch.setattr(
        "deepqct.run.alone.os.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with (
        pytest.raises(OSError, match=r"other cannot be written \(Permission denied\); free space on its disk, or take"),
        alone(Run(tmp_path / "other")),
    ):
        pass


def test_a_job_that_ends_while_lost_ones_are_looked_for_is_not_lost(tmp_path, monkeypatch):
    """On another machine one may still be about to end."""
    gone = tmp_path / "jobs" / "at_work" / "05_explore.json"
    monkeypatch.setattr("deepqct.run.lost._left", lambda _: [gone])
    assert lost_jobs(Run(tmp_path)) == []


def test_the_folders_above_a_run_say_nothing_of_its_jobs(tmp_path):
    """A project may be called rule_of_thumb."""
    run = Run(tmp_path / "rule_of_thumb" / "run")
    log = run.folder / ".snakemake" / "slurm_logs" / "rule_train_part" / "radius_all_fold0" / "6.log"
    write_text(log, "StepId=6.0 exceeded memory limit")
    (sentence,) = lost_jobs(run, said="SLURM-job '6' failed, SLURM status is: 'FAILED'.")
    assert sentence.startswith("02_train_bone_radius_all_fold0 was ended for needing more than its memory; lower")


def test_a_job_that_was_tried_twice_is_told_once_and_not_if_it_said_how_it_ended(tmp_path):
    """A profile may try a job again with more memory; one that failed by itself may have spoken of a card's memory."""
    run, names = Run(tmp_path), ("lost", "done", "failed")
    logs = run.folder / ".snakemake" / "slurm_logs" / "rule_train_part"
    for number, name in enumerate(names * 2, start=8):
        words = "CUDA out of memory" if name == "failed" else "StepId=1.0 exceeded memory limit"
        os.utime(write_text(logs / f"ulna_{name}_fold0" / f"{number}.log", words), (1e9, 1e9))
    write_json(run.part("02_train_bone_ulna_done_fold0"), {})
    write_json(run.failure("02_train_bone_ulna_failed_fold0"), {"error": "CUDA out of memory"})
    said = "\n".join(f"SLURM-job '{number}' failed, SLURM status is: 'FAILED'." for number in range(8, 14))
    (sentence,) = lost_jobs(run, said=said)
    assert sentence.startswith("02_train_bone_ulna_lost_fold0 was ended for needing more than its memory; lower")
    where = {"host": "n1", "cluster_job": "11", "given_mb": "5000"}
    write_json(run.at_work("02_train_bone_ulna_lost_fold0"), where)
    (sentence,) = lost_jobs(run, said=said)
    assert "more than its memory of 5000 MB" in sentence


def test_a_job_that_reached_its_end_on_a_lost_machine_is_told(tmp_path):
    """Without its daemon a machine goes on; the workflow stopped for it, and `snakemake exit 1` says nothing of it."""
    run, said = Run(tmp_path), "SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'."
    logs = run.folder / ".snakemake" / "slurm_logs" / "rule_fusion_and_baselines"
    os.utime(write_text(logs / "12.log", "started"), (1e9, 1e9))
    write_json(run.status("03_fusion_and_baselines"), {"status": "done"})
    assert lost_jobs(run, said=said) == [
        "03_fusion_and_baselines was lost with its machine (NODE_FAIL), and was done there all the same."
    ]
    write_text(logs / "13.log", "tried again, and done")
    assert lost_jobs(run, said=said) == []


def test_a_job_goes_on_where_its_run_cannot_be_asked_for(tmp_path, monkeypatch):
    """A file server that does not answer once, and a process of somebody else, are no end of the run."""
    run = Run(tmp_path)
    assert not _has(run, "head", 7)
    monkeypatch.setattr(
        "deepqct.run.watch.read_json", lambda _: (_ for _ in ()).throw(OSError(116, "Stale file handle"))
    )
    assert _has(run, "head", 7)
    monkeypatch.setattr("deepqct.run.watch.os.kill", lambda *_: (_ for _ in ()).throw(PermissionError))
    assert _lives(7)


def test_a_workflow_that_never_began_says_nothing_of_the_last_one(tmp_path, monkeypatch):
    """A profile with a fault ends it before it has a log."""
    plan = planned(tmp_path / "run")
    log = plan.run.folder / ".snakemake" / "log" / "2026.snakemake.log"
    write_text(log, "SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'.")
    begin = subprocess.Popen
    division = workflow.Division(1, [], [], {"all": {"threads": 1}})

    def run(program: str) -> tuple[int, str]:
        monkeypatch.setattr(
            workflow.subprocess, "Popen", lambda _, env, **how: begin([sys.executable, "-c", program, str(log)], **how)
        )
        with alone(plan.run) as lock:
            return workflow._snakemake(plan, files=[], division=division, lock=lock)

    assert run("raise SystemExit(2)") == (2, "")
    assert run("import pathlib, sys; pathlib.Path(sys.argv[1]).with_name('2027.log').write_text('new')") == (0, "new")


def test_a_signal_to_end_is_heeded_from_the_beginning(tmp_path, monkeypatch):
    """A batch system may end a run while it still reads the cohort, or already writes the report."""
    unheeded: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: unheeded.append(number))
    monkeypatch.setattr(workflow, "check_machine", lambda _: signal.raise_signal(signal.SIGTERM))
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(plan_run("virtual", out=tmp_path / "run", preset="smoke"))
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert unheeded == [signal.SIGTERM], "what was there before the run is there again"
    assert not (tmp_path / "run").exists()


def test_the_workflow_of_a_run_in_the_background_heeds_its_end(tmp_path, monkeypatch):
    """A script's background ignores Ctrl+C; a run that is told to end there would wait, and then end its jobs by force."""
    plan, begin = planned(tmp_path / "run"), subprocess.Popen
    program = (
        "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text(signal.getsignal(signal.SIGINT).__name__)"
    )
    said = tmp_path / "said"

    def start(_, env, **how):
        return begin([sys.executable, "-S", "-c", program, str(said)], **how)

    monkeypatch.setattr(workflow.subprocess, "Popen", start)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with alone(plan.run) as lock:
            division = workflow.Division(1, [], [], {"all": {"threads": 1}})
            assert workflow._snakemake(plan, files=[], division=division, lock=lock)[0] == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.read_text(encoding="utf-8") == "default_int_handler"


def test_a_power_cut_in_a_test_leaves_nobody_at_work():
    """A process that is started while others are ended would print into the words of the next run."""
    program = (
        "import subprocess, sys, time\nwhile True:\n"
        "    subprocess.Popen(['sleep', '5.' + sys.argv[1]])\n    time.sleep(0.002)"
    )
    mark = str(time.time_ns())
    run = subprocess.Popen([sys.executable, "-S", "-c", program, mark])
    time.sleep(0.3)
    kill_all(run)
    assert run.returncode == -signal.SIGKILL
    assert not [one for one in psutil.process_iter(["cmdline"]) if f"5.{mark}" in (one.info["cmdline"] or ())]
    kill_all(run)  # nothing is left to end


# Two runs beside each other


def test_a_new_stack_is_said_where_all_others_are_the_same(tmp_path):
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    for run, stacks in ((one, ["P1"]), (two, ["P1", "P2"])):
        run.bones.mkdir(parents=True)
        for person in stacks:
            np.save(run.stack(person, "radius"), np.zeros((2, 2, 2), np.int16))
        files = {f"bones/{person}_radius.npy": person for person in stacks}
        write_json(run.record, sealed({"inputs": {}, "stages": {}, "files": files}))
    assert compare_runs(one, two, tolerance=Tolerance(0.0, 0.0, ""))["verdict"].tolist() == ["new"]


def test_a_record_is_written_where_somebody_spoilt_the_tables_of_the_cohort(make_cohort, tmp_path):
    """Then the run says that they changed, which no other error may forestall."""
    folder = make_cohort()
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke")
    write_jobs(plan)
    parameters = plan.parameters | {CURATION: plan.parameters[CURATION] | {"contours": "scanner"}}
    for content in ("participant_id\nsub-0000\n", "participant_id\tsite\tfile\nsub-0000\twrist\t\n", "", "\xff\tsite"):
        for table in ("scans.tsv", "contours.tsv"):
            (folder / table).write_text(content, encoding="latin-1")
        write_record(plan.run, parameters=parameters, preset="smoke", cohort=plan.cohort, began=0.0)
    assert read_json(plan.run.record)["workload"]["scans"] == 0


def test_a_scan_that_goes_while_it_is_looked_at_has_changed(make_cohort, tmp_path, monkeypatch):
    """Somebody who copies scans does not wait for a run."""
    folder = make_cohort()
    plan = plan_run(str(folder), out=tmp_path / "run", preset="smoke")
    scans = read_table(folder / "scans.tsv")
    write_table(plan.run.curation, scans.assign(sha256="a", status="curated", notes=""))

    def gone(path: Path) -> str:
        if path.name == "sub-0001_wrist.AIM":
            raise FileNotFoundError(path)
        return "a"

    monkeypatch.setattr("deepqct.run.changed.scan_hash", gone)
    assert changed_scans(plan) == ["sub-0001 wrist"]


def test_a_job_leaves_the_threads_of_its_caller_alone(tmp_path, monkeypatch):
    """A notebook in which numba has begun with all threads, and that repeats a run, could compile nothing more."""
    seen = []
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: seen.append(os.environ["NUMBA_NUM_THREADS"]))
    run, job = Run(tmp_path), Job("05_explore")
    write_json(run.parameters(job), {"parameters": {"threads": 3}, "code": "c"})
    assert run_job(run, job)
    assert seen == ["3"] and "NUMBA_NUM_THREADS" not in os.environ


def test_more_threads_in_the_same_notebook_do_not_stop_what_is_compiled():
    """Somebody sets threads anew and runs the cells again; numba would end every function that is compiled later."""
    code = (
        "import numba; from deepqct.run.stage import fix_threads; one = numba.njit(lambda x: x + 1); fix_threads(1); "
        "numba.set_num_threads(1); one(1); fix_threads(2); print(numba.njit(parallel=True)(lambda x: x + 1)(1.0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "2.0\n", done.stderr
