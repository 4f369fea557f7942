"""A finished run made anew beside itself, with the parameters of its record, and compared with what it wrote."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from deepqct.cohort.reviews import REVIEWS
from deepqct.folder import Job, Run, file_hash, read_json, resolve, write_whole
from deepqct.run.alone import RunError, alone
from deepqct.run.compare import Tolerance, compare_runs
from deepqct.run.inputs import cohort_folder, key_file
from deepqct.run.integrity import input_rows
from deepqct.run.jobs import run_job, write_jobs
from deepqct.run.plan import VIRTUAL, Plan, plan_run
from deepqct.run.record import FOLDERS, KEY
from deepqct.run.workflow import check_whose, execute

_SET = (*FOLDERS, "interactive", "bone")  # parameters that are not taken from the record as they are
_CURATION = Job("01_data_curation")


def reproduce(
    run: Run,
    *,
    out: Path | None = None,
    cohort: Path | None = None,
    cores: int = 2,
    tolerance: float | None = None,
) -> pd.DataFrame:
    """Run the same thing anew beside a finished run, and compare the two table by table, network by network.

    Virtual women are drawn anew; a cohort folder must hold what the run read. What was interrupted goes on where it was.

    Parameters
    ----------
    run : Run
        A finished run.
    out : Path, optional
        The folder of the new run; by default beside the first, ``<name>-reproduced``.
    cohort : Path, optional
        Where the cohort lies now; by default where it lay.
    cores : int
        How many jobs run side by side; results do not depend on it.
    tolerance : float, optional
        How far numbers may differ, over the larger of 1 and their size; by default as `Tolerance.of` says.

    Returns
    -------
    DataFrame
        As `deepqct.run.compare.compare_runs` returns it.

    Raises
    ------
    RunError
        If the run is not finished, its inputs have changed since, or the folder holds something else; nothing was started
        then. Also as `execute`.
    ParameterError
        If this version of deepqct lacks a parameter of the run, or takes another kind of value.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> stopped = {"stage": "04_clustering", "bone": "", "status": "failed"}
    >>> _ = dq.folder.write_json(run.record, {"files": {}, "stages": {"04_clustering": stopped}})
    >>> try:
    ...     dq.run.reproduce(run)
    ... except dq.run.RunError as error:
    ...     print(str(error).partition(": ")[2])
    04_clustering is failed; finish it first.
    """
    again = run_again(run, out=out, cohort=cohort, cores=cores)
    return compare_runs(run, again, tolerance=Tolerance.of(read_json(run.record), read_json(again.record), tolerance))


def run_again(run: Run, *, out: Path | None = None, cohort: Path | None = None, cores: int = 2) -> Run:
    """Run the same thing anew beside a finished run.

    Parameters
    ----------
    run, out, cohort, cores
        As in `reproduce`.

    Returns
    -------
    Run
        The new run.

    Raises
    ------
    RunError, ParameterError
        As `reproduce`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.repetition import run_again
    >>> try:
    ...     run_again(dq.Run(Path(tempfile.mkdtemp())))
    ... except FileNotFoundError as error:
    ...     print(str(error).partition(" is ")[2])
    missing; run deepqct run on this run folder first.
    """
    record = read_json(run.require(run.record, written_by="deepqct run"))
    new = Run(resolve(out) if out is not None else run.folder.with_name(f"{run.folder.name}-reproduced"))
    old, place = run.folder.resolve(), new.folder.resolve()
    if old.is_relative_to(place) or place.is_relative_to(old):
        raise RunError(
            f"{new.folder} is, holds or lies in the run that is repeated, which would be compared with itself; give "
            "another folder by --out."
        )
    plan = plan_again(run, record, out=new.folder, cohort=cohort)
    if new.folder.exists() and any(new.folder.iterdir()) and not new.parameters(_CURATION).exists():
        raise RunError(f"{new.folder} holds something else; give another folder by --out.")
    check_whose(plan)
    if plan.cohort == VIRTUAL and REVIEWS in record.get("inputs", {}):
        _take_review(run, plan, record["inputs"][REVIEWS])
    if plan.cohort != VIRTUAL:
        _check_inputs(run, record, resolve(plan.cohort))
    execute(plan, cores=cores)
    return new


def plan_again(run: Run, record: dict[str, Any], *, out: Path, cohort: Path | None = None) -> Plan:
    """The plan of a finished run with another run folder: every parameter as its record has it.

    Parameters
    ----------
    run, cohort
        As in `reproduce`.
    record : dict
        The content of run.json.
    out : Path
        The folder of the new run.

    Raises
    ------
    RunError
        If a job of the run is not done.
    ParameterError
        As `reproduce`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.jobs import write_jobs
    >>> from deepqct.run.repetition import plan_again
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()), overrides=["epochs=3"])
    >>> write_jobs(plan)
    >>> stages = {
    ...     str(job): {"stage": job.stage, "bone": job.bone, "status": "done", "parameters": values}
    ...     for job, values in plan.parameters.items()
    ... }
    >>> again = plan_again(plan.run, {"preset": "quick", "files": {}, "stages": stages}, out=Path(tempfile.mkdtemp()))
    >>> again.parameters[dq.folder.Job("02_train_bone", "ulna")]["epochs"]
    3
    """
    if "files" not in record:
        raise RunError(
            f"{run.record} lists no files, since an older deepqct wrote it; there is nothing to compare with."
        )
    stages = record["stages"]
    for name, stage in stages.items():
        if stage["status"] != "done":
            raise RunError(f"{run.folder} is no finished run: {name} is {stage['status']}; finish it first.")
    asked, bones = [], []
    for stage in stages.values():
        bones += [stage["bone"]] if stage["bone"] else []
        values = {k: v for k, v in stage["parameters"].items() if k not in _SET}
        if stage["stage"] == _CURATION.stage and values.get(KEY):  # the record has no more than its name
            values[KEY] = str(key_file(run))
        asked += [f"{stage['stage']}.{name}={value}" for name, value in values.items()]
    virtual = run.settings.exists() and read_json(run.settings).get("cohort_at") == [VIRTUAL]
    place = VIRTUAL if virtual else str(cohort_folder(run) if cohort is None else resolve(cohort))
    # The record has every parameter, so that the preset from which it begins is of no matter.
    plan = plan_run(place, out=out, preset="quick", overrides=[*dict.fromkeys(asked), f"bone={','.join(bones)}"])
    return replace(plan, preset=record["preset"])


def _check_inputs(run: Run, record: dict[str, Any], cohort: Path) -> None:
    """Raise an error if the cohort is not what the run read of it."""
    for row in input_rows(run, record, cohort=cohort):
        if row["state"] != "same":
            what = row["says"].rstrip(".").partition("; ")[0]
            raise RunError(f"{what}, and a run is repeated on the same inputs alone.")


def _take_review(run: Run, plan: Plan, known: str) -> None:
    """Draw the virtual women, and take along what readers decided of their scans before the run."""
    old, review = (one.virtual / "cohort" / REVIEWS for one in (run, plan.run))
    if not old.exists() or file_hash(old) != known:
        raise RunError(f"{old} is not what the run read, and a run is repeated on the same inputs alone.")
    if not review.exists():
        with alone(plan.run):
            write_jobs(plan)
            if not run_job(plan.run, Job("00_virtual_cohort")):
                raise RunError(f"The virtual women could not be drawn; see {plan.run.notebook('00_virtual_cohort')}.")
            with write_whole(review) as unfinished:
                shutil.copyfile(old, unfinished)
