"""A run divided into jobs: batches of scans, networks by fold, what each is given, what is told of those that were lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import deepqct.networks.cross_validation as validation
from deepqct.cohort import load_cohort
from deepqct.curation import curate, curate_repeats
from deepqct.curation.batches import curate_batch
from deepqct.folder import PACKAGE, Job, Run, file_hash, read_json, read_table, write_json, write_text
from deepqct.networks import Recipe, cross_validate
from deepqct.networks.cross_validation import train_part
from deepqct.run import RunError, execute, plan_run, workflow
from deepqct.run.lost import forget_lost, lost_jobs, rule_of
from deepqct.run.parts import Part, batches_of, carry_over, folds_of, run_part
from deepqct.run.shares import Size, shares_of
from deepqct.run.watch import CARDS, own_card
from deepqct.virtual import new_cohort

SNAKEFILE = (PACKAGE / "run" / "Snakefile").read_text(encoding="utf-8")


def planned(*overrides: str, preset: str = "smoke", out: Path = Path("reports/none"), cohort: str = "virtual"):
    """A plan in a folder that need not exist."""
    return plan_run(cohort, out=out, preset=preset, overrides=overrides)


# Batches


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory) -> Path:
    """Two virtual women at coarse voxels; one of their scans is no scan."""
    folder = new_cohort(tmp_path_factory.mktemp("virtual"), n=2, voxel_mm=0.3, slices=3, seed=4)
    file = folder / load_cohort(folder).scans["file"].iloc[-1]
    file.write_bytes(b"no scan at all")
    return folder


def tables(run: Run) -> dict[str, str]:
    """The hash of every table and stack of a run folder."""
    kept = [path for path in sorted(run.folder.rglob("*")) if path.suffix in (".csv", ".npy")]
    return {str(path.relative_to(run.folder)): file_hash(path) for path in kept}


def test_batches_leave_what_the_notebook_finds_done_and_the_tables_are_the_same(cohort_folder, tmp_path, monkeypatch):
    """One batch against three, the last first; the failed scan is a row, and the others go on across batches."""
    cohort, whole, divided = load_cohort(cohort_folder), Run(tmp_path / "whole"), Run(tmp_path / "divided")
    again = replace(cohort, repeats=cohort.scans.head(1).assign(session="2"), scans=cohort.scans.assign(session="1"))
    curate(again, whole, image_px=32)
    curate_repeats(again, whole, image_px=32)
    made = [curate_batch(again, divided, first=k, last=k + 1, image_px=32) for k in (5, 3, 1)]
    assert [one.scans for one in made] == [1, 2, 2]
    person, site = cohort.scans[["participant_id", "site"]].iloc[-1]
    assert [list(one.failed) for one in made] == [[], [f"{person} {site}"], []]
    read = []
    monkeypatch.setattr("deepqct.curation.one_scan.read_scan", lambda path, **_: read.append(path) or pytest.fail(path))
    curate(again, divided, image_px=32)
    curate_repeats(again, divided, image_px=32)
    assert [path.name for path in read] == [Path(cohort.scans["file"].iloc[-1]).name], "only the one that failed"
    found = read_table(divided.curation)
    assert found["status"].tolist().count("failed") == 1
    ours, theirs = tables(divided), tables(whole)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 4 * 2 * 2 + 2 * 3
    ours.pop("curation.csv"), theirs.pop("curation.csv")  # its reason is that of the patched reader
    assert ours == theirs


def test_a_batch_is_a_job_with_a_record_and_a_reason(cohort_folder, tmp_path, capfd):
    """What a cluster ran is known without its logs: scans, failures, seconds, memory."""
    run, job = Run(tmp_path / "run"), Job("01_data_curation")
    plan = planned("image_px=32", "workers=1", cohort=str(cohort_folder), out=tmp_path / "run")
    write_json(run.parameters(job), {"parameters": plan.parameters[job]})
    good, beyond = Part(job, "0001-0001"), Part(job, "0009-0012")
    assert run_part(run, good)
    assert run_part(run, beyond)
    record = read_json(run.part(good))
    assert (record["scans"], record["failed"], read_json(run.part(beyond))["scans"]) == (1, {}, 0)
    assert record["peak_mb"] > 100
    assert record["seconds"] > 0
    assert not list(run.at_work("x").parent.glob("*.json"))
    write_json(run.parameters(job), {"parameters": plan.parameters[job] | {"contours": "scanner"}})
    assert not run_part(run, good)
    assert "the cohort folder has no contours.tsv" in read_json(run.failure(good))["error"]
    assert "0001-0001: failed: " in capfd.readouterr().out


def test_small_cohorts_have_no_batches_and_large_ones_share_all_scans():
    assert batches_of(120) == batches_of(200) == []
    assert batches_of(12_001, batch=5000) == ["00001-05000", "05001-10000", "10001-12001"]
    each = [tuple(map(int, batch.split("-"))) for batch in batches_of(437, batch=100)]
    assert [number for first, last in each for number in range(first, last + 1)] == list(range(1, 438))


# Networks by fold


@pytest.mark.parametrize(("stacking", "controls"), [("standard", "none"), ("strict", "permuted, noise")])
def test_the_parts_train_every_network_of_the_notebook_once(tmp_path, monkeypatch, stacking, controls):
    """A network that no part trains is trained by one machine while all others wait; one of two parts is written twice."""
    import pandas as pd

    people = [f"sub-{k:04d}" for k in range(12)]
    splits = [(protocol, repeat, person, str(k % 3)) for protocol, repeats in (("all", 3), ("as-published", 1))
              for repeat in range(repeats) for k, person in enumerate(people)]  # fmt: skip
    table = pd.DataFrame(splits, columns=["protocol", "repeat", "participant_id", "fold"])
    table.loc[(table["protocol"] == "as-published") & (table["participant_id"] == people[0]), "fold"] = "test"
    monkeypatch.setattr(validation, "measured", lambda *_, **__: table)
    calls: list[tuple] = []

    def train(run, *, recipe, **place):
        place = {name: place.get(name) for name in ("protocol", "repeat", "fold", "without")}
        calls.append((recipe.control, *place.values()))
        return pd.DataFrame({"participant_id": people, "split": "out-of-fold", "score": 0.0})

    class EnoughError(Exception):
        """What comes after the training is not looked at."""

    def stop(*_: object, **__: object) -> None:
        raise EnoughError

    monkeypatch.setattr(validation, "train_fold", train)
    monkeypatch.setattr(validation, "outcome_of", stop)
    for recipe in [Recipe(), *(Recipe(control=name) for name in controls.split(", ") if name != "none")]:
        with pytest.raises(EnoughError):
            cross_validate(Run(tmp_path), bone="radius", recipe=recipe, repeats=2, stacking=stacking)
    if stacking == "strict":
        settings = {"bone": "radius", "recipe": Recipe()}
        validation._inner_scores(Run(tmp_path), table[(table["repeat"] < 2) & (table["fold"] != "test")], **settings)
    wanted, calls = sorted(calls, key=str), calls.clear() or calls
    plan = planned("folds=3", "protocols=all, as-published")
    assert len(folds_of(plan)) == 6
    how = {"bone": "radius", "recipe": Recipe(), "repeats": 2, "stacking": stacking, "controls": controls}
    counts = []
    for what in folds_of(plan):
        protocol, _, fold = what.rpartition("_fold")
        counts.append(train_part(Run(tmp_path), protocol=protocol, fold=fold, **how))
    assert sorted(calls, key=str) == wanted
    assert sum(counts) == len(wanted) == len(set(wanted)) == (9 if stacking == "standard" else 24)
    assert train_part(Run(tmp_path), protocol="all", fold="7", **how) == 0


# What is out of date


def test_another_division_makes_nothing_out_of_date(tmp_path):
    """Batches of 100 in place of 200 change no table, and must not train networks again."""
    run, job = Run(tmp_path), Job("01_data_curation")
    results = {job: [write_text(run.indices, "x"), write_text(run.splits, "x")]}
    os.utime(run.indices, (2e9, 2e9))
    os.utime(run.splits, (1e9, 1e9))
    kept, gone, new = Part(job, "0001-0100"), Part(job, "0001-0200"), Part(job, "0101-0200")
    write_json(run.part(kept), {"scans": 100})
    write_json(run.part(gone), {"scans": 200})
    carry_over(run, [kept, new], results)
    assert read_json(run.part(kept)) == {"scans": 100}
    assert not run.part(gone).exists()
    assert run.part(new).stat().st_mtime == 1e9
    run.splits.unlink()
    run.part(new).unlink()
    carry_over(run, [kept, new], results)
    assert not run.part(new).exists(), "the job is not done, and neither is its part"


def pending(out: Path, *arguments: str) -> list[str]:
    """The jobs that snakemake would run, without running one."""
    program = """
import sys
from pathlib import Path
from deepqct.run import plan_run, workflow
from deepqct.run.parts import carry_over
from deepqct.run.shares import Size
plan = plan_run("virtual", out=Path(sys.argv[1]), preset="smoke", overrides=["bone=radius"])
workflow.write_jobs(plan)
division = workflow.Division.of(plan, Size.of(plan, []), cores=2, batch=int(sys.argv[2]), by_fold=sys.argv[3] == "fold")
begin, quiet = workflow.subprocess.Popen, ("--quiet", "all")
workflow.subprocess.Popen = lambda said, **how: begin([*[c for c in said if c not in quiet], "--dry-run"], **how)
run, parts = plan.run, division.parts(plan)
workflow.carry_parts(plan, parts)
workflow._snakemake(plan, files=[], division=division, lock=1)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(out), *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    return sorted(line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith(("rule ", "localrule ")))


@pytest.mark.long
def test_snakemake_divides_and_undivides_a_finished_run_without_doing_anything(tmp_path):
    """What would run in a new folder, in a finished one that is divided otherwise, and after its cohort changed."""
    out = tmp_path / "run"
    run = Run(out)
    one = pending(out, "200", "bone")
    assert one.count("curate_batch") == one.count("train_part") == 0
    several = pending(out, "15", "fold")
    assert (several.count("curate_batch"), several.count("train_part"), several.count("train_bone")) == (3, 4, 1)
    results = re_outputs()
    for name in results:
        write_text(out / name, "x")
    assert pending(out, "200", "bone") in ([], ["all"])
    assert pending(out, "15", "fold") in ([], ["all"])
    assert pending(out, "10", "bone") in ([], ["all"])
    later = time.time() + 5
    os.utime(run.virtual / "cohort" / "scans.tsv", (later, later))
    assert {"curate_batch", "data_curation", "train_bone"} <= set(pending(out, "15", "bone"))


def re_outputs() -> list[str]:
    """Every file that a rule of the workflow writes at smoke size for the radius, apart from parts, oldest first."""
    import re

    names = re.findall(r'update\("([^"]+)"\)', SNAKEFILE)
    return [
        "virtual/cohort/participants.tsv",
        "virtual/cohort/scans.tsv",
        *(n.replace("{bone}", "radius") for n in names),
    ]


# What each job is given


def test_every_rule_states_its_processors_memory_minutes_and_card():
    """A rule without them takes a whole workstation, or nothing, from a cluster."""
    import re

    rules = set(re.findall(r"^rule (\w+):", SNAKEFILE, re.MULTILINE)) - {"all"}
    plan = planned(preset="paper")
    given = shares_of(plan, Size.of(plan, []), batch=200, by_fold=True)
    assert set(given) == rules
    for rule in rules:
        assert f'threads: threads_of("{rule}")' in SNAKEFILE
        assert f'**share("{rule}")' in SNAKEFILE
        assert min(given[rule]["threads"], given[rule]["mem_mb"], given[rule]["runtime"]) > 0
    assert {rule for rule in rules if given[rule]["gpu"]} == {"train_bone", "train_part"}
    on_processors = shares_of(planned("device=cpu", preset="paper"), Size(216, 432, 100), batch=200, by_fold=True)
    assert not any(share["gpu"] for share in on_processors.values())
    assert {rule_of(name) for name in ("01_data_curation", "01_data_curation_0001-0200", "02_train_bone_ulna",
            "02_train_bone_ulna_all_fold0", *map(str, plan.parameters))} == rules  # fmt: skip


def test_memory_is_bounded_by_the_batch_and_grows_with_what_is_at_work_at_once():
    """A cohort of ten times the women takes more batches, and no larger ones."""
    plan = planned(cohort="data/ours")
    small, large = (shares_of(plan, Size(n, 2 * n, 100.0), batch=200, by_fold=False) for n in (216, 2160))
    assert small["curate_batch"] == large["curate_batch"]
    four = shares_of(
        planned("01_data_curation.workers=4", cohort="data/ours"), Size(216, 432, 100.0), batch=200, by_fold=False
    )
    assert four["curate_batch"]["mem_mb"] > small["curate_batch"]["mem_mb"]
    assert four["curate_batch"]["runtime"] < small["curate_batch"]["runtime"]
    full = shares_of(planned("strength=full", cohort="data/ours"), Size(216, 432, 100.0), batch=200, by_fold=False)
    assert full["curate_batch"]["mem_mb"] > small["curate_batch"]["mem_mb"]


def test_two_jobs_never_have_one_card(tmp_path, monkeypatch):
    """Of two cards each job sees one; where there is one or none, nothing is chosen."""
    run = Run(tmp_path)
    monkeypatch.setenv(CARDS, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    seen = []
    with own_card(run, "cuda"):
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
        os.environ["CUDA_VISIBLE_DEVICES"] = "4,6"  # as another process would have it
        with own_card(run, "auto"):
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["4", "6"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-a/1/0,MIG-GPU-a/2/0")
    with own_card(run, "cuda"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-a/1/0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    for device, cards in (("cpu", "2"), ("cuda", "1"), ("auto", "0")):
        monkeypatch.setenv(CARDS, cards)
        with own_card(run, device):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"


# What is told of jobs that were lost


@pytest.mark.parametrize(
    ("state", "logged", "sentence"),
    [
        (
            "OUT_OF_MEMORY",
            "",
            "was ended for needing more than its memory of 5000 MB; lower batch_size, images or image_px",
        ),
        (
            "FAILED",
            "StepId=31.0 exceeded memory limit (2 > 1), being killed",
            "was ended for needing more than its memory",
        ),
        (
            "FAILED",
            "Detected 1 oom_kill event in StepId=31.batch",
            "was ended for needing more than its memory of 5000 MB",
        ),
        (
            "TIMEOUT",
            "",
            "was ended at its time limit; give it more minutes by set-resources in the profile (train_bone: runtime).",
        ),
        (
            "CANCELLED",
            "JOB 31 ON n1 CANCELLED AT … DUE TO TIME LIMIT",
            "was ended at its time limit; give it more minutes",
        ),
        ("NODE_FAIL", "", "was lost with its machine (NODE_FAIL)."),
        (
            "CANCELLED",
            "",
            "was ended by the system (CANCELLED), as happens for lack of memory; lower batch_size, images",
        ),
        ("", "", "was ended by the system, as happens for lack of memory; lower batch_size, images or image_px"),
    ],
)
def test_what_ended_a_job_is_one_sentence_with_what_helps(tmp_path, state, logged, sentence):
    run = Run(tmp_path)
    write_json(run.at_work("02_train_bone_ulna"), {"host": "n1", "cluster_job": "31", "given_mb": "5000"})
    write_text(tmp_path / ".snakemake" / "slurm_logs" / "rule_train_bone" / "ulna" / "31.log", logged)
    said = f"SLURM-job '31' failed, SLURM status is: '{state}'. Detailed failure reason unavailable" if state else ""
    (found,) = lost_jobs(run, said="SLURM-job '3' failed\n" + said)
    assert found.startswith(f"02_train_bone_ulna {sentence}")
    forget_lost(run)
    assert not lost_jobs(run)


def test_what_a_cluster_refused_or_ended_before_it_began_is_told(tmp_path):
    """A job may be killed while it loads its libraries; one that failed by itself has said so."""
    run = Run(tmp_path)
    logs = tmp_path / ".snakemake" / "slurm_logs"
    write_text(
        logs / "rule_train_part" / "radius_all_fold0" / "6.log",
        "StepId=6.0 exceeded memory limit (2 > 1), being killed",
    )
    write_text(logs / "rule_explore" / "7.log", "its own error")
    said = (
        "SLURM-job '6' failed, SLURM status is: 'FAILED'.\nSLURM-job '7' failed, SLURM status is: 'FAILED'.\n"
        "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: gpu\n  a'.\n    sbatch"
    )
    assert lost_jobs(run, said=said) == [
        "The cluster did not take a job (sbatch: error: invalid partition specified: gpu a); correct account, partition or "
        "resources in the profile.",
        "02_train_bone_radius_all_fold0 was ended for needing more than its memory; lower batch_size, images or image_px, "
        "or run fewer jobs at once (--cores), or give it more by set-resources in the profile (train_part: mem_mb).",
    ]


def test_a_job_that_was_killed_is_told_and_the_next_run_forgets_it(tmp_path, monkeypatch):
    """`snakemake exit 1` tells a clinician nothing."""
    plan = planned(out=tmp_path / "run")
    write_text(plan.run.report, "as before")

    def killed(plan, **_):
        assert not plan.run.at_work("05_explore").exists()
        write_json(plan.run.at_work("03_fusion_and_baselines"), {"host": "n1", "process": 5, "cluster_job": ""})
        return 1, ""

    write_json(plan.run.at_work("05_explore"), {})
    monkeypatch.setattr(workflow, "_snakemake", killed)
    monkeypatch.setattr(workflow, "check_machine", lambda _: None)
    with pytest.raises(RunError) as error:
        execute(plan)
    assert str(error.value) == (
        "03_fusion_and_baselines was ended by the system, as happens for lack of memory; run fewer jobs at once (--cores), "
        "or lower draws or bootstraps. Then give the same command again: it goes on from what is done."
    )
    with pytest.raises(ValueError, match="train_by is 'folds'; use one of auto, bone, fold"):
        execute(plan, train_by="folds")


def test_a_job_on_another_machine_ends_when_its_run_has_the_folder_no_more(tmp_path):
    """A head node may be killed without a word to the cluster, and the next run must not meet the jobs of the last one."""
    run = Run(tmp_path)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom deepqct import Run\nfrom deepqct.run import watch\n"
        "watch._FAR_S = 0.1\nwatch.end_with_its_run(Run(Path(sys.argv[1])))\n"
        "try:\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    print('ended')"
    )
    own = os.environ | {"DEEPQCT_STARTED_BY": "head 7"}
    write_json(run.running, {"host": "head", "process": 7})
    job = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], env=own, stdout=subprocess.PIPE, encoding="utf-8"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(1.5)
    write_json(run.running, {"host": "head", "process": 8})
    assert job.communicate(timeout=30)[0] == "ended\n"


WITH_A_CHILD = """
import subprocess, sys, time
from pathlib import Path
from deepqct.folder import Run
from deepqct.run.watch import at_work

run = Run(Path(sys.argv[1]))
with at_work(run, "05_explore") as alone:
    pass
with at_work(run, "05_explore") as held:
    child = subprocess.Popen([sys.executable, "-c", "import time; held = bytearray(150_000_000); time.sleep(60)"])
    until = time.monotonic() + 15
    while held.peak_mb < alone.peak_mb + 140 and time.monotonic() < until:
        time.sleep(0.1)
    child.kill()
    child.wait()
print(alone.peak_mb, held.peak_mb)
"""


def test_the_memory_of_all_processes_of_a_job_is_seen(tmp_path):
    """Workers hold most of it; a small process of its own, as what this one shares changes with those beside it."""
    job = subprocess.run([sys.executable, "-c", WITH_A_CHILD, tmp_path], capture_output=True, text=True, check=True)
    alone, held = map(int, job.stdout.split())
    assert 0 < alone < 300
    assert alone + 140 <= held < alone + 250


# The profile


def test_the_shipped_profile_is_one_and_names_the_rules(tmp_path, monkeypatch):
    """`SNAKEMAKE_PROFILE=slurm` works without a file of one's own, and one's own counts."""
    import re

    path = PACKAGE / "run" / "profiles" / "slurm" / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["executor"] == "slurm"
    with_all = yaml.safe_load(re.sub(r"^# (?=\S+:\n|  \S+: )", "", text, flags=re.MULTILINE))
    rules = set(re.findall(r"^rule (\w+):", SNAKEFILE, re.MULTILINE))
    assert set(with_all["set-resources"]) <= rules
    assert set(re.search(r"Rules: (.*)\.$", text, re.MULTILINE)[1].split(", ")) == rules - {"all"}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, found in (("", {}), ("slurm", {workflow.PROFILE: str(path.parent)}), ("lsf", {})):
        monkeypatch.setenv(workflow.PROFILE, name)
        assert workflow._profile() == found
    monkeypatch.setenv(workflow.PROFILE, "slurm")
    (tmp_path / "slurm").mkdir()
    write_text(tmp_path / "slurm" / "12.log", "of another program")
    assert workflow._profile() == {workflow.PROFILE: str(path.parent)}, "a folder of that name is no profile"
    for own, name in (
        (tmp_path / ".config" / "snakemake" / "slurm", "config.yaml"),
        (tmp_path / "slurm", "profile.v9+.yaml"),
    ):
        write_text(own / name, "jobs: 1")
        assert workflow._profile() == {}
        shutil.rmtree(own)
