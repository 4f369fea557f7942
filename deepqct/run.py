"""A run: presets and overrides resolved, the notebooks executed as jobs of a Snakemake workflow, the record written.

Nothing starts before every parameter is known and well typed. A job runs again when its parameters, its notebook, the
package code it reaches or its input files have changed; snakemake decides, by the times of these files.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import nbformat
import yaml

from deepqct.cohort import load_cohort
from deepqct.folder import (
    BONES,
    SITES,
    Run,
    project_root,
    read_json,
    read_table,
    resolve,
    say,
    write_json,
    write_text,
)
from deepqct.preflight import check_cohort_for, check_machine, check_values
from deepqct.record import TABLES, now, scenario_of, status_of, write_record
from deepqct.report import notebook_page, write_report
from deepqct.stage import STAGES, ParameterError, declared_parameters, notebook_source, unknown

PRESETS = ("smoke", "quick", "paper")
VIRTUAL = "virtual"
# Set by the runner, never by a preset or a person.
_RESERVED = {"run_dir": "--out", "cohort_dir": "the cohort's folder", "interactive": "the runner"}


class RunError(RuntimeError):
    """A run in which at least one job failed."""


@dataclass(frozen=True)
class Plan:
    """A run as resolved before anything starts.

    Parameters
    ----------
    run : Run
        The run folder.
    cohort : str
        ``virtual``, or the cohort folder relative to the project root.
    preset : str
        Its name.
    parameters : dict
        job: its parameters, in the order of the stages.
    """

    run: Run
    cohort: str
    preset: str
    parameters: dict[str, dict[str, Any]]

    @property
    def bones(self) -> list[str]:
        """The bones that get a network."""
        return [values["bone"] for values in self.parameters.values() if "bone" in values]


def load_preset(name: str) -> dict[str, Any]:
    """The YAML of a preset that comes with deepqct, or of a file.

    Raises
    ------
    ParameterError
        If there is no such preset or file, or it is not a mapping.
    """
    if name in PRESETS:
        text = resources.files("deepqct").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).suffix in (".yaml", ".yml") and Path(name).exists():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ParameterError(f"The preset {name!r} is no UTF-8 text; save it again as UTF-8.") from error
    else:
        raise ParameterError(f"There is no preset {name!r}; use {', '.join(PRESETS)} or the path of a YAML file.")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" near line {mark.line + 1}"
        raise ParameterError(f"The preset {name!r} is no YAML{line}: {getattr(error, 'problem', error)}.") from error
    if not isinstance(content, dict):
        raise ParameterError(f"The preset {name!r} is not a mapping of parameters; see deepqct/presets/quick.yaml.")
    return content


def plan_run(cohort: str, *, out: Path, preset: str = "quick", overrides: Iterable[str] = ()) -> Plan:
    """Resolve defaults, preset and overrides into the parameters of every job.

    Parameters
    ----------
    cohort : str
        A cohort folder, or ``virtual``: the run makes its own virtual women first.
    out : Path
        The run folder.
    preset : str
        smoke, quick, paper, or a YAML file: parameters by name, or by stage and name.
    overrides : iterable of str
        ``name=value`` for every stage that has the parameter, or ``stage.name=value`` for one. ``bone`` takes some of
        the four bones, by comma; by default those of the sites that the cohort has scans of.

    Raises
    ------
    ParameterError
        For an unknown or ill-typed parameter, before anything starts.
    """
    root, run = project_root(), Run(resolve(out))
    if cohort != VIRTUAL:
        cohort = os.path.relpath(Path(cohort).expanduser().resolve(), root)
    declared = {stage: declared_parameters(stage) for stage in STAGES}
    values = {stage: {name: p.default for name, p in parameters.items()} for stage, parameters in declared.items()}
    bones = ",".join(_bones_scanned(cohort))
    for key, value in _flatten(load_preset(preset), split=False) + _flatten(_pairs(overrides), split=True):
        stage, name = key
        stages = [stage] if stage else [s for s in STAGES if name in declared[s]]
        if name in _RESERVED:
            raise ParameterError(f"{name} is set by {_RESERVED[name]}; leave it out.")
        if stage and name not in declared[stage]:
            raise unknown(name, declared[stage], where=stage)
        if not stages:
            everywhere = {n: s for s in STAGES for n in declared[s] if n not in _RESERVED}
            raise unknown(name, everywhere, where="any stage")
        if name == "bone":
            bones = str(value)
            continue
        for s in stages:
            values[s][name] = declared[s][name].parse(value, stage=s)
    fixed = {
        "run_dir": os.path.relpath(run.folder, root),
        "cohort_dir": os.path.relpath(run.virtual / "cohort", root) if cohort == VIRTUAL else cohort,
        "interactive": False,
    }
    jobs: dict[str, dict[str, Any]] = {}
    for stage in STAGES:
        if stage == "00_virtual_cohort" and cohort != VIRTUAL:
            continue
        filled = values[stage] | {name: value for name, value in fixed.items() if name in values[stage]}
        if "bone" not in filled:
            jobs[stage] = filled
            continue
        for bone in [b.strip() for b in bones.split(",")]:
            jobs[f"{stage}_{bone}"] = filled | {"bone": declared[stage]["bone"].parse(bone, stage=stage)}
    check_values(jobs)
    return Plan(run, cohort, Path(preset).stem, jobs)


def _bones_scanned(cohort: str) -> list[str]:
    """The bones of the sites in scans.tsv, all four where that cannot be read, which is said later."""
    path = resolve(cohort) / "scans.tsv"
    sites: set[Any] = set()
    if cohort != VIRTUAL and path.is_file():
        with contextlib.suppress(ValueError, KeyError):
            sites = set(read_table(path)["site"])
    found = [bone for site, bones in SITES.items() if site in sites for bone in bones]
    return found or list(BONES)


def execute(plan: Plan, *, cores: int = 2) -> Path:
    """Run what is out of date, then write run.json and the report.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.
    cores : int
        Jobs side by side; each keeps its own number of threads, so that results do not depend on it.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    CohortError
        If the cohort folder has faults; nothing was started then.
    RunError
        If the run folder is another cohort's, or another run is at work in it; if a job failed: the others went on, and
        the report says which.
    ParameterError
        If the cohort or the machine lacks what the parameters ask for; nothing was started then.
    """
    curation = plan.run.parameters("01_data_curation")
    if curation.exists():
        whose = read_json(curation)["parameters"]["cohort_dir"]
        if whose != plan.parameters["01_data_curation"]["cohort_dir"]:
            raise RunError(f"{plan.run.folder} is a run of the cohort {whose}; give another folder by --out.")
    scans: list[Path] = []
    if plan.cohort != VIRTUAL:
        folder = resolve(plan.cohort)
        cohort = load_cohort(folder, outcome=plan.parameters["01_data_curation"]["outcome"])
        check_cohort_for(plan.parameters, cohort)
        made = [] if cohort.contours is None else list(cohort.contours["file"].dropna())
        named = (*TABLES, *cohort.scans["file"], *made)
        scans = [folder / name for name in named if (folder / name).exists()]
    check_machine(plan.parameters)
    with _alone(plan.run):
        return _execute(plan, scans=scans, cores=cores)


def _execute(plan: Plan, *, scans: list[Path], cores: int) -> Path:
    """Run the jobs of a plan that was found to be possible."""
    _write_jobs(plan)
    # A failure of last time must not pass for one of this time, nor what it left behind for its work.
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
            f"{', '.join(failed)} failed and stopped what depends on it; see {plan.run.notebook(failed[0])} and "
            f"{plan.run.report}, then give the same command again."
        )
    if code:
        log = plan.run.folder / ".snakemake" / "log"
        raise RunError(f"The workflow stopped (snakemake exit {code}); its log is in {log}.")
    return plan.run.report


def run_job(run: Run, job: str) -> bool:
    """Execute one job's notebook by papermill, keep it as .ipynb and .html, and record how it ended.

    Returns
    -------
    bool
        False if a cell failed; the last lines of its traceback were printed then.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    stage = re.sub(rf"_({'|'.join(BONES)})$", "", job)
    parameters = read_json(run.parameters(job))["parameters"]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(parameters.get("threads", 1))
    run.notebook(job).parent.mkdir(parents=True, exist_ok=True)
    began, error = time.time(), None
    say(f"{job}: started")
    try:
        with run.log(job).open("w", encoding="utf-8") as log:
            papermill.execute_notebook(
                notebook_source(stage), run.notebook(job), parameters=parameters, kernel_name="python3",
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


def code_hash(stage: str) -> str:
    """A hash of a stage's notebook and of the package modules that it reaches by import."""
    source = notebook_source(stage)
    notebook = nbformat.read(source, as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    package = Path(__file__).parent
    reached: set[Path] = set()
    waiting = _imported("\n".join(c.source for c in cells), package)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting |= _imported(module.read_text(encoding="utf-8"), package)
    digest = hashlib.sha256("\n".join(c.source for c in notebook.cells).encode())
    for module in sorted(reached):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _imported(code: str, package: Path) -> set[Path]:
    """The files of deepqct that this code imports by name; `deepqct.start` stands for its module."""
    names = {"deepqct.stage"} if "deepqct.start" in code else set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        head, *tail = name.split(".")
        if head == package.name:
            base = package.joinpath(*tail)
            files |= {file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()}
    return files


def _forget_paths(notebook: Path) -> None:
    """Leave only names in papermill's note of where the notebook lay: folders of a hospital do not travel."""
    content = read_json(notebook)
    noted = content["metadata"]["papermill"]
    noted |= {key: Path(noted[key]).name for key in ("input_path", "output_path")}
    write_text(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _pairs(overrides: Iterable[str]) -> dict[str, str]:
    """``name=value`` texts as a mapping."""
    found = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"{text!r} is not of the form name=value; the run folder is given by --out.")
        found[name.strip()] = value.strip()
    return found


def _flatten(content: Mapping[str, Any], *, split: bool) -> list[tuple[tuple[str, str], Any]]:
    """((stage or "", name), value) for every parameter of a preset or of the overrides."""
    found: list[tuple[tuple[str, str], Any]] = []
    for key, value in content.items():
        if not isinstance(key, str):
            raise ParameterError(f"{key!r} is no parameter's name; see deepqct/presets/quick.yaml.")
        stage, dot, name = key.partition(".") if split else (key, "", "")
        if dot and stage in STAGES:
            found.append(((stage, name), value))
        elif isinstance(value, Mapping):
            if key not in STAGES:
                raise unknown(key, dict.fromkeys(STAGES), where="the preset's stages")
            found += [((key, inner), each) for inner, each in value.items()]
        elif dot:
            raise unknown(stage, dict.fromkeys(STAGES), where="the stages")
        else:
            found.append((("", key), value))
    # Values for all stages first, so that a value for one stage wins wherever it stands.
    return sorted(found, key=lambda item: item[0][0] != "")


def _write_jobs(plan: Plan) -> None:
    """Write each job's parameters, only where they changed: their times tell snakemake what to do again."""
    for job, parameters in plan.parameters.items():
        stage = re.sub(rf"_({'|'.join(BONES)})$", "", job)
        content = {"parameters": parameters, "code": code_hash(stage)}
        path = plan.run.parameters(job)
        if not path.exists() or read_json(path) != content:
            write_json(path, content)
    outcome = plan.parameters["01_data_curation"]["outcome"]
    settings = {"cohort": Path(plan.cohort).name, "preset": plan.preset, "outcome": outcome, "bones": plan.bones}
    if not plan.run.settings.exists() or read_json(plan.run.settings) != settings:
        write_json(plan.run.settings, settings)


def _snakemake(plan: Plan, *, scans: list[Path], cores: int) -> int:
    """Let snakemake run what is out of date, in the run folder; return its exit code."""
    config = {
        "python": sys.executable,
        "root": str(project_root()),
        "run": str(plan.run.folder),
        "training_threads": max((p["threads"] for p in plan.parameters.values() if "bone" in p), default=1),
        "virtual": plan.cohort == VIRTUAL,
        "cohort_files": [str(path) for path in scans],
        "bones": plan.bones,
    }
    config_path = plan.run.folder / "jobs" / "workflow.json"
    write_text(config_path, json.dumps(config, indent=2))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).parent / "workflow" / "Snakefile"),
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


def _stamps(plan: Plan) -> dict[str, str]:
    """When each job ended, to see whether anything ran."""
    return {job: str(status_of(plan.run, job).get("finished")) for job in plan.parameters}


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Hold the run folder: two runs at once would write the same files."""
    path, here = run.folder / "jobs" / "running.json", socket.gethostname()
    if path.exists():
        who = read_json(path)
        if who["host"] != here or _lives(who["process"]):
            raise RunError(
                f"Another run is at work in {run.folder} (process {who['process']} on {who['host']}); wait for it, or "
                f"remove {path} if it is gone."
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
