"""The whole way at smoke size: from virtual women to the report, through papermill and snakemake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import ROOT

import deepqct as dq
from deepqct.folder import PACKAGE, Run, read_json, read_table, write_table
from deepqct.run import plan_run, workflow
from deepqct.run.jobs import write_jobs
from deepqct.run.parameters import notebook_source
from deepqct.run.shares import Size
from deepqct.terms import BONES
from deepqct.virtual import new_cohort
from deepqct.work import say

pytestmark = pytest.mark.chain

JOBS = [
    "00_virtual_cohort",
    "01_data_curation",
    *(f"02_train_bone_{bone}" for bone in BONES),
    "03_fusion_and_baselines",
    "04_clustering",
    "05_explore",
]


def deepqct_run(out: Path, *words: str, preset: str = "smoke") -> subprocess.CompletedProcess[str]:
    """Call `deepqct run virtual` on a run folder."""
    command = [sys.executable, "-m", "deepqct", "run", "virtual", *words, "--preset", preset, "--out", str(out)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)


def started(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The jobs that a call executed."""
    return set(re.findall(r"^(\S+): started$", done.stdout, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def run(smoke_run: Path) -> Run:
    """The finished smoke run."""
    return Run(smoke_run)


def test_every_job_is_done_and_recorded(run):
    """run.json is what a reader trusts: what was run, on what, with what."""
    record = read_json(run.record)
    assert {name: job["status"] for name, job in record["stages"].items()} == dict.fromkeys(JOBS, "done")
    assert record["virtual"]
    assert record["scenario"] == "literature"
    assert record["seed"] == 7
    assert {"torch", "fastai", "deepqct", "Python"} <= set(record["versions"])
    assert len(record["inputs"]) == 3 + 2 * 20
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in record["inputs"].values())


def test_the_tables_agree_with_each_other(run):
    """Patients, folds and outcomes must be the same in every table of a run."""
    people, splits, predictions = (read_table(p) for p in (run.participants, run.splits, run.predictions))
    assert set(splits["protocol"]) == {"all", "as-published"}
    assert len(read_table(run.indices)) == 4 * len(people)
    fold = splits.set_index(["protocol", "repeat", "participant_id"])["fold"]
    outcome = people.set_index("participant_id")["fracture"]
    for table in [*(read_table(run.scores(bone)) for bone in BONES), predictions]:
        keys = pd.MultiIndex.from_frame(table[["protocol", "repeat", "participant_id"]])
        assert (fold.reindex(keys).to_numpy() == table["fold"].to_numpy()).all()
        assert table["score"].notna().all()
        assert table["risk"].between(0, 1).all()
    assert (outcome.reindex(predictions["participant_id"]).to_numpy() == predictions["outcome"].to_numpy()).all()
    assert set(read_table(run.phenotypes)["participant_id"]) == set(people["participant_id"])


def test_every_page_says_that_the_women_are_virtual(run):
    """Nobody may take a page of virtual data for one of patients."""
    pages = [run.report, *(run.page(job) for job in JOBS)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "no patient is behind any number on this page" in text, page.name
        assert "Traceback" not in text
    figures = list(run.folder.glob("figures/*/*.json"))
    assert len(figures) > 20
    for record in figures:
        if record.with_suffix(".html").exists():
            assert "virtual woman" in record.with_suffix(".html").read_text(encoding="utf-8"), record.name
            continue
        assert record.with_suffix(".png").exists()
        drawn = record.with_suffix(".svg").read_text(encoding="utf-8")
        assert "virtual cohort" in drawn or "<!-- virtual" in drawn, record.name


def test_the_executed_notebooks_are_small_and_hold_no_widgets(run):
    """An executed notebook that holds pictures twice, or widget state, is slow to open and to send."""
    assert run.report.stat().st_size < 5e6
    for job in JOBS:
        size = run.notebook(job).stat().st_size
        say(f"{job}: {size / 1e6:.2f} MB")
        assert size < 3e6, job
        text = run.notebook(job).read_text(encoding="utf-8")
        assert "application/vnd.jupyter.widget" not in text, job
        assert "widgets" not in read_json(run.notebook(job))["metadata"], job


def test_no_headless_notebook_imports_the_3d_viewer(run, decoy):
    """Importing it has hung notebooks and lost their output; the decoy shows that the watch works."""
    assert not (decoy / "imported").exists()
    subprocess.run([sys.executable, "-c", "import itkwidgets"], env=os.environ | {"PYTHONPATH": str(decoy)}, check=True)
    assert (decoy / "imported").exists()
    (decoy / "imported").unlink()


def test_what_moves_by_hand_has_a_static_twin(run):
    """Whoever reads the report on paper or behind a firewall sees the slices and the women all the same."""
    kept = {path.stem for job in ("01_data_curation", "05_explore") for path in run.figures(job).glob("*.json")}
    twins = {"scan", "planes", "women", "thresholds", "profile", *(f"slices_{bone}" for bone in BONES)}
    assert twins <= kept
    page = run.page("05_explore").read_text(encoding="utf-8")
    assert page.count("dq-slices") >= len(BONES)
    assert page.count('src="data:image/jpeg;base64,/9j/') == len(BONES) * 12
    assert run.report.read_text(encoding="utf-8").count('src="data:image/jpeg;base64,/9j/') == len(BONES) * 12
    assert run.page("01_data_curation").read_text(encoding="utf-8").count('src="data:image/jpeg;base64,/9j/') == 12


def test_the_page_of_the_readers_runs_headlessly(run, tmp_path):
    """It is no stage, and must not break unseen."""
    given = {"run_dir": str(run.folder), "cohort_dir": str(run.virtual / "cohort"), "interactive": False}
    done = papermill.execute_notebook(
        notebook_source("review"), tmp_path / "review.ipynb", parameters=given, kernel_name="python3", cwd=str(ROOT),
        progress_bar=False,
    )  # fmt: skip
    assert (tmp_path / "review.ipynb").stat().st_size < 1e5
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")


def test_a_second_run_recomputes_nothing(run):
    """And takes less than 20 s."""
    before = run.report.stat().st_mtime_ns
    began = time.monotonic()
    done = deepqct_run(run.folder)
    assert time.monotonic() - began < 20
    assert done.returncode == 0, done.stderr
    assert started(done) == set()
    assert run.report.stat().st_mtime_ns == before
    assert done.stdout.strip().endswith("index.html")


# What a run would do now, asked of snakemake itself without doing it.
PENDING = """
import subprocess, sys
from pathlib import Path
from deepqct.run import plan_run, workflow
from deepqct.run.shares import Size
plan = plan_run("virtual", out=Path(sys.argv[1]), preset="smoke")
workflow.write_jobs(plan)
division = workflow.Division.of(plan, Size.of(plan, []), cores=1)
start = subprocess.Popen
workflow.subprocess.Popen = lambda command, **options: start([*command, "--summary"], **options)
with workflow.alone(plan.run) as lock:
    sys.exit(workflow._snakemake(plan, files=[], division=division, lock=lock)[0])
"""


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        (None, set()),
        ("plots/groups.py", {"clustering", "explore"}),
        ("plots/women.py", {"explore"}),
        (
            "bones/thickness.py",
            {"data_curation", "train_bone", "fusion_and_baselines", "clustering", "explore"},
        ),
    ],
)
def test_a_changed_file_makes_out_of_date_what_depends_on_it(run, tmp_path, file, rules):
    """A figure's caption trains no network again; another measure of thickness makes everything after it anew."""
    scratch, before = tmp_path / "scratch", tmp_path / "before"
    shutil.copytree(ROOT / "deepqct", scratch / "deepqct", ignore=shutil.ignore_patterns("__pycache__"))
    if file:
        with (scratch / "deepqct" / file).open("a", encoding="utf-8") as text:
            text.write("\nCHANGED = True\n")
    shutil.copytree(run.folder, before)
    # -P: the scratch copy is imported, not the package of the working directory.
    done = subprocess.run(
        [sys.executable, "-P", "-c", PENDING, str(run.folder)], capture_output=True, encoding="utf-8",
        cwd=ROOT, check=False, env=os.environ | {"PYTHONPATH": str(scratch)},
    )  # fmt: skip
    shutil.rmtree(run.folder)
    before.rename(run.folder)
    assert done.returncode == 0, done.stderr
    files = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert len(files) > 20
    assert {rule for _, _, rule, *_, plan in files if plan == "update pending"} == rules


def test_a_changed_scan_makes_the_curation_out_of_date(tmp_path, monkeypatch, make_cohort, capfd):
    """Also if the new one is older than the results, and whatever its file is called."""
    folder = make_cohort()
    (folder / "scans" / "sub-0000_wrist.AIM").rename(folder / "scans" / "{bone} $1.AIM")
    made, start = plan_run(str(folder), out=tmp_path / "run", preset="smoke"), subprocess.Popen
    monkeypatch.setattr(
        workflow.subprocess, "Popen", lambda command, **options: start([*command, "--summary"], **options)
    )

    def pending() -> set[str]:
        write_jobs(made)
        with workflow.alone(made.run) as lock:
            scans = sorted((folder / "scans").iterdir())
            division = workflow.Division.of(made, Size.of(made, scans), cores=1)
            assert workflow._snakemake(made, files=scans, division=division, lock=lock)[0] == 0
        files = [line.split("\t") for line in capfd.readouterr().out.splitlines()[1:]]
        return {rule for _, _, rule, *_, plan in files if plan == "update pending"}

    pending()
    kept = made.run
    for path in (kept.participants, kept.dictionary, kept.curation, kept.indices, kept.texture, kept.splits):
        path.touch()
    assert "data_curation" not in pending()
    os.utime(folder / "scans" / "{bone} $1.AIM", (1e9, 1e9))
    assert "data_curation" in pending()


def test_one_changed_value_reruns_only_what_depends_on_it(run):
    """Changing the number of groups must not train a network."""
    done = deepqct_run(run.folder, "groups=3")
    assert done.returncode == 0, done.stderr
    assert started(done) == {"04_clustering", "05_explore"}
    assert set(read_table(run.phenotypes)["group"]) == {1, 2, 3}


@pytest.mark.long
def test_a_stage_that_fails_when_done_again_leaves_the_tables_of_before(run):
    """A misspelt value must not cost a finished table, nor show it as if it were of the new values."""
    before = run.phenotypes.read_bytes()
    done = deepqct_run(run.folder, "groups=3", "cluster_on=femur")
    assert done.returncode == 1
    assert started(done) == {"04_clustering"}
    assert run.phenotypes.read_bytes() == before
    stages = read_json(run.record)["stages"]
    assert (stages["04_clustering"]["status"], stages["05_explore"]["status"]) == ("failed", "out of date")
    assert "Out of date: 05_explore." in run.report.read_text(encoding="utf-8")
    done = deepqct_run(run.folder, "groups=3")
    assert done.returncode == 0, done.stderr
    assert started(done) == {"04_clustering", "05_explore"}
    assert {stage["status"] for stage in read_json(run.record)["stages"].values()} == {"done"}


@pytest.mark.long
def test_ankles_alone_are_curated(tmp_path):
    """A laboratory that scans no wrists; the notebook shows a tibia then."""
    cohort = new_cohort(tmp_path, n=6, voxel_mm=0.4, slices=3, prevalence=0.5)
    scans = read_table(cohort / "scans.tsv").query("site == 'ankle'")
    write_table(cohort / "scans.tsv", scans)
    papermill.execute_notebook(
        notebook_source("01_data_curation"), tmp_path / "01.ipynb", cwd=str(ROOT), progress_bar=False,
        kernel_name="python3",
        parameters={
            "run_dir": str(tmp_path / "run"), "cohort_dir": str(cohort), "image_px": 32, "folds": 2, "repeats": 1,
            "workers": 1, "interactive": False,
        },
    )  # fmt: skip
    assert set(read_table(Run(tmp_path / "run").indices)["bone"]) == {"tibia", "fibula"}


def test_a_failed_stage_stops_only_what_depends_on_it(tmp_path):
    """Its notebook is kept, the traceback's last lines are shown, and the report says so; also in a folder of any name."""
    run = Run(tmp_path / "cost $100 {run} 'a' \"b\" #1 %s ü")
    done = deepqct_run(run.folder, "n=6", "voxel_mm=0.4", "slices=3", "folds=5")
    assert done.returncode == 1
    assert started(done) == {"00_virtual_cohort", "01_data_curation"}
    assert "5 folds need at least 5 patients of each outcome" in done.stdout
    assert "01_data_curation failed" in done.stderr
    assert run.notebook("01_data_curation").exists()
    stages = read_json(run.record)["stages"]
    assert stages["00_virtual_cohort"]["status"] == "done"
    assert stages["01_data_curation"]["status"] == "failed"
    assert stages["03_fusion_and_baselines"]["status"] == "not run"
    assert "01_data_curation failed" in run.report.read_text(encoding="utf-8")
    (log,) = (run.folder / ".snakemake" / "log").glob("*.log")
    said = log.read_text(encoding="utf-8")
    assert "Error in rule data_curation" in said, "a run that ends without a sentence of its own points to it"
    assert str(tmp_path) not in said and str(PACKAGE) not in said


@pytest.mark.long
def test_test_women_get_the_run_s_own_numbers_from_their_scans(run, tmp_path):
    """From a scanner's files through a zip: whoever was a test woman of the run has the same risk, model by model."""
    made = dq.bundle(run, tmp_path / "bundle.zip", protocol="as-published")
    bundle = dq.load_bundle(made)
    splits = dq.run_tables.rows_of(read_table(run.splits), "as-published", 0)
    test = set(splits.loc[splits["fold"] == "test", "participant_id"])
    assert bundle.content.made.test == len(test) > 0
    cohort = run.virtual / "cohort"
    scans = read_table(cohort / "scans.tsv")
    files = [cohort / file for file in scans.loc[scans["participant_id"].isin(test), "file"]]
    everybody = replace(
        bundle.content, networks={b: replace(n, feature_limit=1e9) for b, n in bundle.content.networks.items()}
    )
    clouds = {bone: replace(cloud, limit=1e9) for bone, cloud in everybody.clouds.items()}
    curated = replace(everybody.curated, motion_limit=1e9)  # a run leaves nobody out for motion
    everybody = replace(everybody, sizes={}, clouds=clouds, curated=curated)
    found = dq.predict(replace(bundle, content=everybody), files, participants=cohort / "participants.tsv")
    ours = read_table(run.predictions).query("protocol == 'as-published' and repeat == 0 and split == 'test'")
    keys = ["participant_id", "family", "model"]
    both = found.by_model.merge(ours, on=keys, suffixes=("", "_run"))
    assert len(both) == len(ours) > 30
    np.testing.assert_allclose(both["risk"], both["risk_run"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both["threshold"], both["threshold_run"], rtol=1e-9)
