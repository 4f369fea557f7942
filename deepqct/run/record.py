"""The record of a run, run.json: what was run, where, on which inputs, with which versions, and what each job left."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepqct import __version__
from deepqct.folder import FileError, Job, Run, file_hash, read_json, resolve, write_json
from deepqct.run.cost import Workload
from deepqct.run.inputs import input_hashes
from deepqct.run.machine import git_state, machine, packages
from deepqct.run.stage import versions
from deepqct.run.written import hashes, is_asked, job_of, sealed, set_aside

FOLDERS: tuple[str, ...] = ("run_dir", "cohort_dir")  # the parameters that name folders
KEY = "pseudonyms"  # the parameter that names the key file
_TOLD = ("status", "finished", "error", "parameters")  # of a job, what record and report must say as it is
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
    before = _last(run)
    stages = _stages(run, parameters)
    finished = {name: stage["finished"] for name, stage in stages.items()}
    files = hashes(run, before=before, finished=finished, parameters=parameters)
    for name, stage in stages.items():
        stage["disk_mb"] = _megabytes(run, files, job=name)
    curation = Job("01_data_curation")
    ended = [
        content.get("stages", {}).get(str(curation), {}).get("finished") for content in (before, {"stages": stages})
    ]
    kept = "files" in before and ended[0] is not None and ended[0] == ended[1]
    inputs = before["inputs"] if kept else input_hashes(run, parameters[curation])
    asked = parameters[curation]
    work = Workload.of_run(run, cohort=resolve(asked["cohort_dir"]), key=str(asked.get("pseudonyms") or ""))
    scenario = scenario_of(run)
    networks = sorted(run.folder.glob("models/*/*/*/fold*.json"))
    devices = [read_json(path)["device"] for path in networks if is_asked(run, path, parameters)]
    write_json(
        run.record,
        sealed({
            "deepqct": __version__,
            "preset": preset,
            "cohort": bare_name(cohort),
            "virtual": scenario is not None,
            "scenario": scenario,
            "started": dt.datetime.fromtimestamp(began).astimezone().isoformat(timespec="seconds"),
            "finished": now(),
            "seconds": round(time.time() - began, 1),
            "seed": parameters[Job("01_data_curation")]["seed"],
            "seeds": {str(job): values["seed"] for job, values in parameters.items() if "seed" in values},
            "device": ", ".join(sorted(set(devices))) or "none used",
            "machine": machine(),
            "versions": versions(),
            "packages": packages(),
            "git": git_state(),
            "workload": asdict(work),
            "stages": stages,
            "inputs": inputs,
            "files": files,
            **({"set_aside": aside} if (aside := set_aside(run, before=before, finished=finished)) else {}),
        }),
    )  # fmt: skip


def is_recorded(run: Run, parameters: Jobs) -> bool:
    """Whether record and report are of what the jobs of a run left, and not of a run before one that was killed.

    Parameters
    ----------
    run : Run
        The run folder.
    parameters : mapping
        The parameters of each job as planned.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.jobs import write_jobs
    >>> from deepqct.run.record import is_recorded
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()))
    >>> write_jobs(plan)
    >>> is_recorded(plan.run, plan.parameters)
    False
    """
    last = _last(run)
    if not run.report.exists() or not last:
        return False
    files = last.get("files")
    # The settings name the places of run and cohort, which may have moved since, with all that the jobs wrote.
    settings = run.settings.name
    if files is not None and (run.report.name not in files or files.get(settings) != _hash_of(run.settings)):
        return False
    told = [
        {
            name: without_folders({"parameters": {}} | {key: stage[key] for key in _TOLD if key in stage})
            for name, stage in stages.items()
        }
        for stages in (last.get("stages", {}), _stages(run, parameters))
    ]
    return told[0] == told[1]


def _hash_of(path: Path) -> str | None:
    """The hash of a file; None where there is none."""
    return file_hash(path) if path.exists() else None


def note_report(run: Run) -> None:
    """Keep the hash of the report in the record; the report is written after the record, and may be written anew.

    Parameters
    ----------
    run : Run
        A run with run.json and index.html; a record of an older version, which lists no files, stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.record import note_report
    >>> from deepqct.run.written import sealed
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> _ = dq.folder.write_json(run.record, sealed({"preset": "smoke", "stages": {}, "files": {}}))
    >>> _ = dq.report.write_report(run)
    >>> note_report(run)
    >>> list(dq.folder.read_json(run.record)["files"])
    ['index.html']
    """
    record = read_json(run.record)
    if sealed(record) == record:  # a record that somebody changed must not look as if nobody had
        files = record["files"] | {run.report.name: file_hash(run.report)}
        write_json(run.record, sealed(record | {"files": dict(sorted(files.items()))}))


def _last(run: Run) -> dict[str, Any]:
    """The record of the run before this one; empty if there is none, or it cannot be read."""
    try:
        return dict(read_json(run.record)) if run.record.exists() else {}
    except FileError:
        return {}


def _megabytes(run: Run, files: Mapping[str, str], *, job: str) -> float:
    """What the files of one job take on the disk, in MB."""
    own = [run.folder / name for name in files if job_of(run, run.folder / name) == job]
    if job == "00_virtual_cohort":
        own += [path for path in (run.virtual / "cohort").rglob("*") if path.is_file()]
    return round(sum(path.stat().st_size for path in own if path.exists()) / 1e6, 1)


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
        made_by = status.get("versions")
        stages[str(job)] = {
            "stage": job.stage,
            "bone": job.bone,
            "status": state,
            "seconds": status.get("seconds"),
            "peak_mb": status.get("peak_mb"),
            "finished": status.get("finished"),
            "processor": status.get("processor"),
            "versions": None if made_by == versions() else made_by,  # only where an earlier call of the run had others
            "code": status.get("code"),
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
    """The parameters with the bare names of folders and key file: a report is passed on and must name no place.

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
    return parameters | {name: bare_name(parameters[name]) for name in (*FOLDERS, KEY) if parameters.get(name)}


def bare_name(path: str) -> str:
    """The name of a folder or file without the folders above it, also of the working directory as ``.``.

    Parameters
    ----------
    path : str
        As a parameter spells it; a relative one starts at the project root.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.record import bare_name
    >>> bare_name("../archive/ours"), bare_name(".") == dq.folder.project_root().name
    ('ours', True)
    """
    return Path(os.path.normpath(resolve(path))).name


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
