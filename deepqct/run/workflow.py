"""A planned run is carried out: its notebooks executed as jobs of a Snakemake workflow, its record and report written.

Nothing starts before every parameter is known and well typed. A job runs again when its parameters, its notebook, the
package code that it imports or its input files have changed; snakemake decides, by the times of these files.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deepqct.cohort.check import load_cohort
from deepqct.cohort.cohort import CohortError
from deepqct.cohort.scan_files import one_scan_twice
from deepqct.folder import PACKAGE, Job, Run, project_root, read_json, resolve, write_json, write_text
from deepqct.report.report import write_report
from deepqct.run.jobs import write_inputs, write_jobs
from deepqct.run.plan import VIRTUAL, Plan
from deepqct.run.preflight import check_cohort_for, check_machine
from deepqct.run.record import TABLES, status_of, write_record


class RunError(RuntimeError):
    """The error of a run in which a job failed, or that may not start in the folder that it was given.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()), preset="smoke")
    >>> at_work = {"host": "elsewhere", "process": 1}
    >>> _ = dq.folder.write_json(plan.run.folder / "jobs" / "running.json", at_work)
    >>> try:
    ...     dq.run.execute(plan)
    ... except dq.run.RunError as error:
    ...     print(str(error).partition(" in ")[0])
    Another run is at work
    """


def execute(plan: Plan, *, cores: int = 2) -> Path:
    """Run the jobs that are out of date, then write run.json and the report.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.
    cores : int
        How many jobs run side by side. Each job has its own number of threads, so that results do not depend on it.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    CohortError
        If the cohort folder has faults; nothing was started then.
    RunError
        If the run folder belongs to another cohort, or another run is at work in it; nothing was started then. Also if
        a job failed: the jobs that do not depend on it went on, and the report names it.
    ParameterError
        If the cohort or the machine lacks what the parameters ask for; nothing was started then.

    Examples
    --------
    A run takes minutes to hours. What cannot work is refused at once, such as the run folder of another cohort.

    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.jobs import write_jobs
    >>> out = Path(tempfile.mkdtemp())
    >>> write_jobs(dq.run.plan_run("virtual", out=out))
    >>> try:
    ...     dq.run.execute(dq.run.plan_run("data/ours", out=out), cores=4)
    ... except dq.run.RunError as error:
    ...     print(str(error).partition("; ")[2])
    give another folder by --out.
    """
    _check_whose(plan)
    scans: list[Path] = []
    if plan.cohort != VIRTUAL:
        folder = resolve(plan.cohort)
        asked = plan.parameters[Job("01_data_curation")]
        cohort = load_cohort(folder, outcome=asked["outcome"], horizon=asked["horizon"])
        if twice := one_scan_twice(cohort):
            raise CohortError("\n".join(twice))
        check_cohort_for(plan.parameters, cohort)
        made = [] if cohort.contours is None else list(cohort.contours["file"].dropna())
        named = (*TABLES, *cohort.every_scan["file"], *made)
        scans = [folder / name for name in named if (folder / name).exists()]
    check_machine(plan.parameters)
    with _alone(plan.run):
        return _execute(plan, scans=scans, cores=cores)


def _check_whose(plan: Plan) -> None:
    """Raise an error if the run folder is a run of another cohort."""
    curation = plan.run.parameters(Job("01_data_curation"))
    if not curation.exists():
        return
    whose, asked = (
        read_json(curation)["parameters"]["cohort_dir"],
        plan.parameters[Job("01_data_curation")]["cohort_dir"],
    )
    settings = read_json(plan.run.settings) if plan.run.settings.exists() else {}
    # A run folder of a version that kept no place is known by the spelling of its cohort's path.
    at = settings.get("cohort_at")
    if whose != asked if at is None else set(at).isdisjoint(plan.cohort_at):
        which = "the cohort" if whose != asked else "another cohort that is called"
        raise RunError(f"{plan.run.folder} is a run of {which} {whose}; give another folder by --out.")


def _execute(plan: Plan, *, scans: list[Path], cores: int) -> Path:
    """Run the jobs of a plan that has passed every check."""
    write_jobs(plan)
    # A failure of an earlier run must not count for this one, nor the files that it left behind as results.
    for job in plan.parameters:
        if status_of(plan.run, job).get("status") == "failed":
            plan.run.status(job).unlink()
            plan.run.parameters(job).touch()
    before = _stamps(plan)
    began = time.time()
    code = _snakemake(plan, scans=scans, cores=cores)
    failed = [job for job in plan.parameters if status_of(plan.run, job).get("status") == "failed"]
    if _stamps(plan) != before or not plan.run.report.exists():
        write_record(plan.run, parameters=plan.parameters, preset=plan.preset, cohort=plan.cohort, began=began)
        write_report(plan.run)
    if failed:
        raise RunError(
            f"{', '.join(map(str, failed))} failed and stopped what depends on it; see {plan.run.notebook(failed[0])} and "
            f"{plan.run.report}, then give the same command again."
        )
    if code:
        log = plan.run.folder / ".snakemake" / "log"
        raise RunError(f"The workflow stopped (snakemake exit {code}); its log is in {log}.")
    return plan.run.report


def _snakemake(plan: Plan, *, scans: list[Path], cores: int) -> int:
    """Let snakemake run what is out of date, in the run folder; return its exit code."""
    config = {
        "python": sys.executable,
        "root": str(project_root()),
        "run": str(plan.run.folder),
        "training_threads": max((p["threads"] for job, p in plan.parameters.items() if job.bone), default=1),
        "virtual": plan.cohort == VIRTUAL,
        "bones": plan.bones,
    }
    if plan.cohort != VIRTUAL:
        write_inputs(plan.run, scans)
    config_path = plan.run.folder / "jobs" / "workflow.json"
    write_text(config_path, json.dumps(config, indent=2))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(PACKAGE / "run" / "Snakefile"),
        "--directory", str(plan.run.folder), "--configfile", str(config_path), "--cores", str(cores),
        "--rerun-triggers", "mtime", "--rerun-incomplete", "--keep-going", "--nocolor", "--quiet", "all",
    ]  # fmt: skip
    lock = plan.run.folder / ".snakemake" / "locks"
    if lock.exists() and any(lock.iterdir()):
        subprocess.run([*command, "--unlock"], check=False, capture_output=True)
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        config_path.unlink(missing_ok=True)  # it holds this machine's paths


def _stamps(plan: Plan) -> dict[Job, str]:
    """When each job ended, to see whether anything ran."""
    return {job: str(status_of(plan.run, job).get("finished")) for job in plan.parameters}


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Keep the run folder for this run alone: two runs at once would write the same files."""
    path, here = run.folder / "jobs" / "running.json", socket.gethostname()
    if path.exists():
        holder = read_json(path)
        if holder["host"] != here or _lives(holder["process"]):
            who = f"process {holder['process']} on {holder['host']}"
            raise RunError(
                f"Another run is at work in {run.folder} ({who}); wait for it, or remove {path} if it is gone."
            )
    write_json(path, {"host": here, "process": os.getpid()})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """True if there is such a process on this machine, other than this one."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
