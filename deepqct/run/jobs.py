"""One job of a run: its notebook executed and kept, and the hash of the code that it reaches."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import nbformat

from deepqct.folder import Job, Run, code_hash, project_root, read_json, write_json, write_text
from deepqct.report.pages import notebook_page
from deepqct.run.parameters import notebook_source
from deepqct.run.plan import Plan
from deepqct.run.record import now, scenario_of
from deepqct.work import say


def run_job(run: Run, job: Job) -> bool:
    """Execute one job's notebook by papermill, keep it as .ipynb and .html, and record how it ended.

    Returns
    -------
    bool
        False if a cell failed; the last lines of its traceback were printed then.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    parameters = read_json(run.parameters(job))["parameters"]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(parameters.get("threads", 1))
    run.notebook(job).parent.mkdir(parents=True, exist_ok=True)
    began, error = time.time(), None
    say(f"{job}: started")
    try:
        with run.log(job).open("w", encoding="utf-8") as log:
            papermill.execute_notebook(
                notebook_source(job.stage), run.notebook(job), parameters=parameters, kernel_name="python3",
                cwd=str(project_root()), progress_bar=False, stdout_file=log, stderr_file=log,
                extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: a kernel warns of its own TCP ports
            )  # fmt: skip
    except PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}"
        trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(failure.traceback)).splitlines()
        say("\n".join([f"{job}: failed in cell {failure.exec_count}; the last lines of its traceback:", *trace[-12:]]))
    seconds = round(time.time() - began, 1)
    _forget_paths(run.notebook(job))
    notebook_page(run.notebook(job), run.page(job), virtual=scenario_of(run))
    status = {"status": "failed" if error else "done", "seconds": seconds, "error": error, "finished": now()}
    status |= read_json(run.parameters(job))
    write_json(run.status(job), status)
    if error is None:
        say(f"{job}: done in {seconds:.0f} s")
    return error is None


def stage_hash(stage: str) -> str:
    """A hash of a stage's notebook and of the package code that it reaches by import."""
    notebook = nbformat.read(notebook_source(stage), as_version=4)
    return code_hash("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))


def _forget_paths(notebook: Path) -> None:
    """Leave only names in papermill's note of where the notebook lay: folders of a hospital do not travel."""
    content = read_json(notebook)
    noted = content["metadata"]["papermill"]
    noted |= {key: Path(noted[key]).name for key in ("input_path", "output_path")}
    write_text(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_jobs(plan: Plan) -> None:
    """Write each job's parameters, only where they changed: their times tell snakemake what to do again."""
    code = {stage: stage_hash(stage) for stage in {job.stage for job in plan.parameters}}
    for job, parameters in plan.parameters.items():
        content = {"parameters": parameters, "code": code[job.stage]}
        path = plan.run.parameters(job)
        if not path.exists() or read_json(path) != content:
            write_json(path, content)
    outcome = plan.parameters[Job("01_data_curation")]["outcome"]
    settings = {"cohort": Path(plan.cohort).name, "preset": plan.preset, "outcome": outcome, "bones": plan.bones}
    if not plan.run.settings.exists() or read_json(plan.run.settings) != settings:
        write_json(plan.run.settings, settings)
