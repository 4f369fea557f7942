"""The record of a run, run.json: what was run, on which inputs, with which versions, and how each job ended."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepqct import __version__
from deepqct.cohort import scanner_tables
from deepqct.cohort.reviews import REVIEWS
from deepqct.folder import FileError, Job, Run, file_hash, read_json, read_table, resolve, write_json
from deepqct.run.stage import versions

# The files of a cohort folder beside its scans; if one of them changes, the cohort is curated again.
TABLES = (
    "participants.tsv",
    "participants.json",
    "scans.tsv",
    REVIEWS,
    scanner_tables.CONTOURS,
    scanner_tables.INDICES,
)
FOLDERS = ("run_dir", "cohort_dir")  # the parameters that name folders
KEY = "pseudonyms"  # the parameter that names the key file
Jobs = Mapping[Job, dict[str, Any]]


def status_of(run: Run, job: Job) -> dict[str, Any]:
    """The record of how a job ended: status, seconds, error, parameters; empty if it never ran.

    The status of a file that cannot be read, such as an empty one after a crash of the machine, is ``unreadable``.

    Parameters
    ----------
    run : Run
        The run folder.
    job : Job
        The job that is asked about.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.record import status_of
    >>> run, job = dq.run.example_run(), dq.folder.Job("05_explore")
    >>> status_of(run, job)  # its stages were called one by one, not as jobs
    {}
    """
    try:
        return dict(read_json(run.status(job))) if run.status(job).exists() else {}
    except FileError:
        return {"status": "unreadable"}


def scenario_of(run: Run) -> str | None:
    """The scenario of a run of virtual women, None for a run of patients.

    Parameters
    ----------
    run : Run
        The run folder.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.record import scenario_of
    >>> scenario_of(dq.run.example_run())
    'deepqct-like'
    """
    dictionary = run.virtual / "cohort" / "participants.json"
    path = run.dictionary if run.dictionary.exists() else dictionary
    virtual = read_json(path).get("virtual") if path.exists() else None
    return None if virtual is None else str(virtual.get("scenario", "unnamed"))


def write_record(run: Run, *, parameters: Jobs, preset: str, cohort: str, began: float) -> None:
    """Write run.json: what was run, on which inputs, and with which parameters and versions.

    Parameters
    ----------
    run : Run
        The run folder, which holds the parameters of each job.
    parameters : mapping
        The parameters of each job as planned, in the order of the stages.
    preset, cohort : str
        The name of the preset, and the cohort's folder.
    began : float
        When the run began, in seconds since 1970.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.jobs import write_jobs
    >>> from deepqct.run.record import write_record
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()))
    >>> write_jobs(plan)
    >>> write_record(plan.run, parameters=plan.parameters, preset="quick", cohort="virtual", began=0.0)
    >>> dq.folder.read_json(plan.run.record)["stages"]["04_clustering"]["status"]
    'not run'
    """
    stages = _stages(run, parameters)
    inputs = {}
    for name in TABLES:
        path = resolve(parameters[Job("01_data_curation")]["cohort_dir"]) / name
        if path.exists():
            inputs[name] = file_hash(path)
    if run.curation.exists():
        scans = read_table(run.curation).dropna(subset=["sha256"])
        inputs |= {f"{p}_{s}": h for p, s, h in scans[["participant_id", "site", "sha256"]].itertuples(index=False)}
    scenario = scenario_of(run)
    devices = [read_json(path)["device"] for path in sorted(run.folder.glob("models/*/*/*/fold*.json"))]
    write_json(
        run.record,
        {
            "deepqct": __version__,
            "preset": preset,
            "cohort": Path(cohort).name,
            "virtual": scenario is not None,
            "scenario": scenario,
            "started": dt.datetime.fromtimestamp(began).astimezone().isoformat(timespec="seconds"),
            "finished": now(),
            "seconds": round(time.time() - began, 1),
            "seed": parameters[Job("01_data_curation")]["seed"],
            "device": ", ".join(sorted(set(devices))) or "none used",
            "versions": versions(),
            "stages": stages,
            "inputs": inputs,
        },
    )


def _stages(run: Run, parameters: Jobs) -> dict[str, dict[str, Any]]:
    """How each job ended and with which parameters; ``out of date`` if its files were made from other ones."""
    stages: dict[str, dict[str, Any]] = {}
    spoilt = ""  # the first stage that is not as planned: what later stages wrote is from an earlier run
    for job, planned in parameters.items():
        status = status_of(run, job)
        made_with = {name: status.get(name, value) for name, value in read_json(run.parameters(job)).items()}
        state = status.get("status", "not run")
        after_spoilt = spoilt and job.stage != spoilt
        asked = without_folders(read_json(run.parameters(job)))
        if state == "done" and (without_folders(made_with) != asked or after_spoilt):
            state = "out of date"
        if state != "done":
            spoilt = spoilt or job.stage
        stages[str(job)] = {
            "stage": job.stage,
            "bone": job.bone,
            "status": state,
            "seconds": status.get("seconds"),
            "finished": status.get("finished"),
            "error": status.get("error"),
            "parameters": named_only(made_with["parameters"] if state == "out of date" else planned),
        }
    return stages


def without_folders(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a job's file or its status says, without the run's and the cohort's folder.

    They are spelled from where the command was given, and a result does not depend on that.

    Parameters
    ----------
    content : mapping
        Holds ``parameters``, and whatever else.

    Examples
    --------
    >>> from deepqct.run.record import without_folders
    >>> without_folders({"parameters": {"run_dir": "reports/quick", "seed": 7}, "code": "c"})
    {'parameters': {'seed': 7}, 'code': 'c'}
    """
    kept = {name: value for name, value in content["parameters"].items() if name not in FOLDERS}
    if KEY in kept:  # where the key file lies changes nothing, and whether there is one does
        kept[KEY] = bool(kept[KEY])
    return {**content, "parameters": kept}


def named_only(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the bare names of folders: a report is passed on and must name no place on the machine.

    Parameters
    ----------
    parameters : dict
        Of one job.

    Examples
    --------
    >>> from deepqct.run.record import named_only
    >>> named_only({"cohort_dir": "../archive/ours", "seed": 7})
    {'cohort_dir': 'ours', 'seed': 7}
    """
    return parameters | {name: Path(parameters[name]).name for name in (*FOLDERS, KEY) if name in parameters}


def now() -> str:
    """The time now as ISO 8601 text, to the microsecond and with its time zone.

    Examples
    --------
    >>> import datetime as dt
    >>> from deepqct.run.record import now
    >>> dt.datetime.fromisoformat(now()).tzinfo is None
    False
    """
    return dt.datetime.now().astimezone().isoformat(timespec="microseconds")
