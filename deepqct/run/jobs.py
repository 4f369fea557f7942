"""One job of a run: its notebook is executed and kept, and the hash of the code that it imports is noted."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import nbformat

from deepqct.folder import FileError, Job, Run, project_root, read_json, write_json, write_text
from deepqct.reach import code_hash
from deepqct.report.pages import notebook_page
from deepqct.run.lost import lower_what
from deepqct.run.machine import processor
from deepqct.run.parameters import notebook_source
from deepqct.run.plan import Plan
from deepqct.run.record import FOLDERS, KEY, bare_name, named_only, now, scenario_of, without_folders
from deepqct.run.stage import children_with_threads, versions
from deepqct.run.told import Mask, in_terminal, spelled
from deepqct.run.watch import at_work
from deepqct.scans.formats import files_of
from deepqct.work import say


def run_job(run: Run, job: Job) -> bool:
    """Execute one job's notebook by papermill, keep it as .ipynb and .html, and record how it ended.

    Parameters
    ----------
    run : Run
        The run folder, which holds the job's parameters.
    job : Job
        The stage that is executed, and of which bone.

    Returns
    -------
    bool
        False if a cell failed, or its kernel; the last lines of a traceback or a sentence were printed then.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> run, job = dq.folder.Run(Path(tempfile.mkdtemp())), dq.folder.Job("05_explore")
    >>> _ = dq.folder.write_json(run.parameters(job), {"parameters": {"threshold": "high"}})
    >>> dq.run.run_job(run, job)
    05_explore: started
    05_explore: failed in cell 3; the last lines of its traceback:
    ...
    ParameterError: threshold of 05_explore is 'high', not a number; correct it.
    False
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    content = read_json(run.parameters(job))  # as they are now: somebody may ask for the job again while it is at work
    parameters = content["parameters"]
    threads = children_with_threads(parameters.get("threads", 1))
    run.notebook(job).parent.mkdir(parents=True, exist_ok=True)
    began, error = time.time(), None
    say(f"{job}: started")
    device = parameters.get("device", "auto") if job.bone else "cpu"
    with run.log(job).open("w", encoding="utf-8") as log, at_work(run, job, device=device) as held, threads:
        try:
            papermill.execute_notebook(
                _as_named(notebook_source(job.stage)), _as_named(run.notebook(job)), parameters=parameters,
                kernel_name="python3", cwd=_as_named(project_root()), progress_bar=False, stdout_file=log, stderr_file=log,
                # A kernel warns of its own ports and of being ended, and keeps what it ran in the home folder.
                extra_arguments=["--IPKernelApp.log_level=50", "--HistoryManager.hist_file=:memory:"],
            )  # fmt: skip
        except PapermillExecutionError as failure:
            error = Mask.of(run).kept(failure.ename, failure.evalue)
            trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(failure.traceback)).splitlines()
            lines = [f"{job}: failed in cell {failure.exec_count}; the last lines of its traceback:", *trace[-12:]]
            say(in_terminal("\n".join(lines), f"{job}: failed: {error}"))
        except DeadKernelError:
            lower = lower_what(str(job))
            error = (
                f"MemoryError: the system ended the kernel of {job}, as it does for lack of memory; {lower}, or take a "
                "machine with more memory."
            )
            say(f"{job}: failed: {error}")
        except Exception as failure:  # such as a kernel that does not begin
            kind = type(failure).__name__
            error = Mask.of(run).kept(kind, str(failure))
            say(f"{job}: failed: {in_terminal(f'{kind}: {failure}', error)}")
    seconds = round(time.time() - began, 1)
    if run.notebook(job).exists():
        _forget_paths(run.notebook(job), parameters, mask=Mask.of(run) if error else None)
        notebook_page(run.notebook(job), run.page(job), virtual=scenario_of(run))
    status: dict[str, Any] = {
        "status": "failed" if error else "done",
        "seconds": seconds,
        "error": error,
        "finished": now(),
    }
    status |= {"peak_mb": held.peak_mb, "processor": processor(), "versions": versions()}
    status |= content | {"parameters": named_only(content["parameters"])}
    write_json(run.status(job), status)
    if error is None:
        say(f"{job}: done in {seconds:.0f} s")
    return error is None


def stage_hash(stage: str) -> str:
    """A hash of the code in a stage's notebook and of the files of the package that it imports.

    Parameters
    ----------
    stage : str
        One of `STAGES`, or ``review``.

    Returns
    -------
    str
        SHA-256 in hexadecimal; it changes with the code, and not with the words between the cells.

    Examples
    --------
    >>> from deepqct.run.jobs import stage_hash
    >>> stage_hash("05_explore") == stage_hash("04_clustering")
    False
    """
    notebook = nbformat.read(notebook_source(stage), as_version=4)
    return code_hash("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))


def _as_named(path: Path) -> str:
    """A path for papermill, which takes braces in it for the names of parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _forget_paths(notebook: Path, parameters: Mapping[str, Any], *, mask: Mask | None = None) -> None:
    """Shorten the paths that a notebook notes to names: they would tell the folders of the machine, perhaps of patients.

    Of its errors no more stays than the mask lets through.
    """
    content = read_json(notebook)
    if mask is not None:
        mask.mask_errors(content)
    noted = content["metadata"]["papermill"]
    noted |= {key: Path(noted[key]).name for key in ("input_path", "output_path")}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    spellings: dict[str, str] = {}
    for value in (str(parameters[name]) for name in (*FOLDERS, KEY) if parameters.get(name)):
        for folder in spelled(value):
            spellings |= dict.fromkeys((folder, escape(folder)), bare_name(value))
    # The longest first, since one may be a part of another.
    for spelling, name in sorted(spellings.items(), key=lambda pair: -len(pair[0])):
        if spelling != name:
            text = text.replace(
                json.dumps(spelling, ensure_ascii=False)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]
            )
    write_text(notebook, text + "\n")


def write_jobs(plan: Plan) -> None:
    """Write the parameters of each job and settings.json, but only where they changed.

    The times of these files tell snakemake which jobs to run again. Where only the paths are spelled anew, since the
    command was given in another folder, the time stays.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.jobs import write_jobs
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()), overrides=["bone=radius"])
    >>> write_jobs(plan)
    >>> dq.folder.read_json(plan.run.settings)
    {'cohort': 'virtual', 'preset': 'quick', 'outcome': 'fracture', 'bones': ['radius'], 'cohort_at': ['virtual']}
    """
    code = {stage: stage_hash(stage) for stage in {job.stage for job in plan.parameters}}
    for job, parameters in plan.parameters.items():
        content = {"parameters": parameters, "code": code[job.stage]}
        path = plan.run.parameters(job)
        written = _written(path)
        content |= {"again": written["again"]} if written and "again" in written else {}
        if written == content:
            continue
        kept = path.stat().st_mtime_ns if written and without_folders(written) == without_folders(content) else None
        write_json(path, content, time_ns=kept)
    outcome = plan.parameters[Job("01_data_curation")]["outcome"]
    settings = {"cohort": bare_name(plan.cohort), "preset": plan.preset, "outcome": outcome, "bones": plan.bones}
    settings["cohort_at"] = plan.cohort_at
    if _written(plan.run.settings) != settings:
        write_json(plan.run.settings, settings)


def write_inputs(run: Run, files: Iterable[Path]) -> Path:
    """Write jobs/inputs.json, which stands for the cohort's files, but only if one of them changed.

    It holds a hash of their names, sizes and times and not the names themselves, which may be those of patients.

    Parameters
    ----------
    run : Run
        The run folder.
    files : iterable of Path
        The cohort's tables and scans, as in `state_of`.

    Returns
    -------
    Path

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.jobs import write_inputs
    >>> folder = Path(tempfile.mkdtemp())
    >>> table = dq.folder.write_text(folder / "participants.tsv", "participant_id")
    >>> before = write_inputs(dq.Run(folder), [table]).read_text()
    >>> _ = dq.folder.write_text(table, "participant_id, age")
    >>> write_inputs(dq.Run(folder), [table]).read_text() == before
    False
    """
    content = state_of(files)
    if _written(run.inputs) != content:
        write_json(run.inputs, content)
    return run.inputs


def state_of(files: Iterable[Path]) -> dict[str, Any]:
    """How many files there are, and a hash of their names, sizes and times.

    Parameters
    ----------
    files : iterable of Path
        Files and folders; one that is gone counts as gone. Of a folder each file counts, and of a scan those that it is
        made of: the slices of its series, or the voxels beside its header.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.jobs import state_of
    >>> state_of([dq.run.example_run().splits])["files"]
    1
    """
    each = [file for path in files for file in (sorted(path.rglob("*")) if path.is_dir() else _made_of(path))]
    state = [f"{file.parent.name}/{file.name} {_size_and_time(file)}" for file in each]
    return {"files": len(each), "state": hashlib.sha256("\n".join(state).encode(errors="surrogateescape")).hexdigest()}


def _made_of(path: Path) -> list[Path]:
    """The files of a scan; the one alone where it is none, or does not say any more which others belong to it."""
    try:
        return files_of(path)
    except (OSError, ValueError):
        return [path]


def _size_and_time(file: Path) -> str:
    """What tells whether a file changed."""
    try:
        stat = file.stat()
    except OSError:
        return "gone"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _written(path: Path) -> Any:
    """What a file holds; None if it is not there or cannot be read, so that it is written anew."""
    try:
        return read_json(path) if path.exists() else None
    except FileError:
        return None
