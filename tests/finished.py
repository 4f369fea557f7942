"""A run of a cohort folder that looks finished, in seconds: files of every kind, and nothing was computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from deepqct.folder import Job, file_hash, read_json, read_table, resolve, write_json, write_table, write_text
from deepqct.networks.folds import FoldFiles
from deepqct.run import Plan, plan_run
from deepqct.run.jobs import write_jobs
from deepqct.run.record import note_report, write_record


def record(made: Plan) -> dict:
    """Write and read the record of a plan."""
    write_record(made.run, parameters=made.parameters, preset=made.preset, cohort=made.cohort, began=0.0)
    return read_json(made.run.record)


def end(made: Plan, *jobs: Job, when: str = "first") -> None:
    """Say of jobs, by default of all, that they ended."""
    for job in jobs or made.parameters:
        status = {
            "status": "done",
            "seconds": 10.0,
            "peak_mb": 500.0,
            "error": None,
            "finished": when,
            "processor": "A",
        }
        write_json(made.run.status(job), status | read_json(made.run.parameters(job)))


def left(made: Plan) -> None:
    """Some files of every kind, as a run would leave them; nothing was computed."""
    run, rng = made.run, np.random.default_rng(1)
    scans = read_table(resolve(made.parameters[Job("01_data_curation")]["cohort_dir"]) / "scans.tsv")
    folder = resolve(made.parameters[Job("01_data_curation")]["cohort_dir"])
    kept = scans.assign(sha256=[file_hash(folder / file) for file in scans["file"]], status="curated")
    kept = kept.assign(reason="", flags="", notes="", motion_score=1.0, ring_score=1.0).drop(columns="file")
    write_table(run.curation, kept)
    people = pd.DataFrame({"participant_id": kept["participant_id"].unique()})
    write_table(run.participants, people.assign(fracture=np.arange(len(people)) % 2))
    write_json(run.dictionary, {"fracture": {"Description": "a fracture", "Role": "outcome"}})
    for path in (run.indices, run.texture, run.splits, run.performance, run.thresholds):
        write_table(path, people.assign(value=rng.normal(size=len(people))))
    for bone in made.bones:
        write_table(run.scores(bone), people.assign(score=rng.normal(size=len(people))))
        files = FoldFiles(run.models(bone) / "all" / "repeat0", "0")
        files.folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": rng.normal(size=(8, 8)).astype(np.float32)}, files.weights)
        write_json(files.record, {"device": "cpu", "recipe": {"ensemble": 1}})
        run.bones.mkdir(exist_ok=True)
        for path in (run.stack("sub-0000", bone), run.stack_mask("sub-0000", bone)):
            np.save(path, rng.integers(0, 90, (4, 8, 8)).astype(np.int16))
    write_json(run.phenotypes_record, {"groups": 1, "silhouette": 0.2})
    write_text(run.notebook("04_clustering"), "{}")
    write_text(run.figures("05_explore") / "women.svg", "<svg/>")


def finish(made: Plan) -> None:
    """Write record and report of a plan."""
    record(made)
    write_text(made.run.report, "a page")
    note_report(made.run)


def finished_run(cohort: Path, out: Path, *, asked: Sequence[str] = ()) -> Plan:
    """A run of a cohort folder with its record and report."""
    made = plan_run(str(cohort), out=out, preset="smoke", overrides=["outcome=fracture", *asked])
    write_jobs(made)
    end(made)
    left(made)
    finish(made)
    return made
