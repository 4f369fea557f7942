"""A planned run is carried out: its notebooks executed as jobs of a Snakemake workflow, its record and report written.

Nothing starts before every parameter is known and well typed. A job runs again when its parameters, its notebook, the
package code that it imports or its input files have changed; snakemake decides, by the times of these files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deepqct.cohort.check import load_cohort
from deepqct.cohort.cohort import CohortError
from deepqct.cohort.scan_files import one_scan_twice
from deepqct.folder import PACKAGE, Job, project_root, read_json, resolve, write_text
from deepqct.report.report import write_report
from deepqct.run.alone import PATIENCE_S, RunError, alone
from deepqct.run.changed import changed_scans
from deepqct.run.clock import back_to_the_present
from deepqct.run.cost import Workload, disk_mb
from deepqct.run.inputs import TABLES
from deepqct.run.jobs import state_of, write_inputs, write_jobs
from deepqct.run.lost import forget_lost, lost_jobs
from deepqct.run.parameters import notebook_source
from deepqct.run.parts import BATCH, Part, batches_of, carry_over, folds_of
from deepqct.run.plan import VIRTUAL, Plan
from deepqct.run.preflight import check_cohort_for, check_machine
from deepqct.run.record import KEY, is_recorded, note_report, status_of, write_record
from deepqct.run.restore import forget_restored, restore
from deepqct.run.shares import Size, machine, shares_of
from deepqct.run.stage import do_again
from deepqct.run.watch import STARTED_BY, interruptible
from deepqct.work import say

ROOM = 200_000_000  # bytes without which no run begins; our choice
_LEAST = 0.5  # of the disk that is predicted, without which no run begins, since the prediction may be off; our choice
PROFILE = "SNAKEMAKE_PROFILE"  # the environment's name for the profile of a cluster
TRAIN_BY = ("auto", "bone", "fold")
_LEFT_S = 3600.0  # age of an unfinished file that nobody writes to any more; our choice


def execute(plan: Plan, *, cores: int = 2, batch: int = BATCH, train_by: str = "auto") -> Path:
    """Run the jobs that are out of date, then write run.json and the report.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.
    cores : int
        Processors for all jobs together. Each job has its own number of threads, so that results do not depend on it.
    batch : int
        Scans that one job curates; a cohort of no more has one such job, the notebook itself.
    train_by : str
        What one job trains: ``bone``, or ``fold``: each protocol and fold of each bone. ``auto`` is fold where
        SNAKEMAKE_PROFILE names a cluster's profile, and bone elsewhere.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    CohortError
        If the cohort folder has faults; nothing was started then.
    RunError
        If the run folder belongs to another cohort, holds cohort or notebooks, or another run is at work in it; nothing
        was started then. Also if a job failed: the jobs that do not depend on it went on, and the report names it.
    ParameterError
        If the cohort or the machine lacks what the parameters ask for; nothing was started then.
    ValueError
        If `train_by` is none of these.

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
    if train_by not in TRAIN_BY:
        raise ValueError(f"train_by is {train_by!r}; use one of {', '.join(TRAIN_BY)}.")
    by_fold = train_by == "fold" or (train_by == "auto" and bool(os.environ.get(PROFILE)))
    with _stopped_by_signals():
        return _checked(plan, cores=cores, batch=batch, by_fold=by_fold)


def _checked(plan: Plan, *, cores: int, batch: int, by_fold: bool) -> Path:
    """Check a plan, and run its jobs if nothing is wrong."""
    check_whose(plan)
    scans, files, women = list[Path](), list[Path](), 0
    work = None
    if plan.cohort != VIRTUAL:
        folder = resolve(plan.cohort)
        asked = plan.parameters[Job("01_data_curation")]
        cohort = load_cohort(folder, outcome=asked["outcome"], horizon=asked["horizon"], outside=asked["outside"])
        if twice := one_scan_twice(cohort):
            raise CohortError("\n".join(twice))
        check_cohort_for(plan.parameters, cohort)
        made = [] if cohort.contours is None else list(cohort.contours["file"].dropna())
        named = (*TABLES, *cohort.every_scan["file"], *made)
        files = [folder / name for name in named if (folder / name).exists()]
        scans = [folder / name for name in cohort.every_scan["file"]]
        women = len(cohort.participants)
        work = Workload.of_cohort(cohort)
    check_machine(plan.parameters)
    _check_disk(plan.run.folder, needs=disk_mb(plan, work or Workload.of(plan)) * 1e6)
    division = Division.of(plan, Size.of(plan, scans, women=women), cores=cores, batch=batch, by_fold=by_fold)
    with alone(plan.run) as lock:
        return _execute(plan, files=files, division=division, lock=lock)


def check_whose(plan: Plan) -> None:
    """Raise an error if the run folder belongs to something else: a cohort, the notebooks, or the run of another cohort.

    Parameters
    ----------
    plan : Plan
        The run that is about to begin.

    Raises
    ------
    RunError
        If it does, or if one of the two runs has pseudonyms and the other ids.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.workflow import check_whose
    >>> check_whose(dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp())))  # an empty folder is nobody's
    """
    folder = plan.run.folder.resolve()
    if plan.cohort != VIRTUAL and resolve(plan.cohort).resolve().is_relative_to(folder):
        raise RunError(f"{folder} is or holds the cohort folder, which no run writes to; give another folder by --out.")
    if notebook_source("01_data_curation").resolve().is_relative_to(folder):
        raise RunError(f"{folder} holds the notebooks, which no run writes to; give another folder by --out.")
    curation = plan.run.parameters(Job("01_data_curation"))
    if not curation.exists():
        return
    asked_for = plan.parameters[Job("01_data_curation")]
    whose, asked = read_json(curation)["parameters"]["cohort_dir"], asked_for["cohort_dir"]
    settings = read_json(plan.run.settings) if plan.run.settings.exists() else {}
    named, wanted = (bool(parameters.get(KEY)) for parameters in (read_json(curation)["parameters"], asked_for))
    if named != wanted:
        of = "pseudonyms" if named else "ids"
        raise RunError(f"{plan.run.folder} holds {of}, and both must not be mixed; give another folder by --out.")
    # A run folder of a version that kept no place is known by the spelling of its cohort's path.
    at = settings.get("cohort_at")
    if whose != asked if at is None else set(at).isdisjoint(plan.cohort_at):
        which = "the cohort" if whose != asked else "another cohort that is called"
        raise RunError(f"{plan.run.folder} is a run of {which} {whose}; give another folder by --out.")


def _check_disk(folder: Path, *, needs: float = 0.0) -> None:
    """Raise an error if the disk of a run folder is as good as full, or has far less than a run needs, in bytes.

    What the folder holds already counts as there: a run writes its files anew in their place. Where less is missing, it is
    said.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needs:
        needs -= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if free < max(ROOM, _LEAST * needs):
        raise RunError(
            f"The disk of {folder} has {free / 1e6:.0f} MB left, and a run needs about {max(ROOM, needs) / 1e6:.0f} MB; "
            "free space on it, or take another folder by --out."
        )
    if free < needs:
        say(f"The disk of {folder} has {free / 1e6:.0f} MB left, and this run may need {needs / 1e6:.0f} MB.")


@dataclass(frozen=True)
class Division:
    """How a run is divided into jobs, and what each of them is given.

    Parameters
    ----------
    cores : int
        Processors for all jobs together.
    batches, folds : list of str
        The parts of 01 and of each job of 02; none where the notebook does all of it.
    shares : dict
        From `shares_of`.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.shares import Size
    >>> from deepqct.run.workflow import Division
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), preset="paper", overrides=["bone=radius"])
    >>> division = Division.of(plan, Size.of(plan, []), batch=100, by_fold=True)
    >>> len(division.batches), len(division.folds), len(division.parts(plan))
    (5, 12, 17)
    """

    cores: int
    batches: list[str]
    folds: list[str]
    shares: dict[str, dict[str, int]]

    @classmethod
    def of(cls, plan: Plan, size: Size, *, cores: int = 2, batch: int = BATCH, by_fold: bool = False) -> Self:
        """The division of a run.

        Parameters
        ----------
        plan : Plan
            The parameters of every job.
        size : Size
            How large its cohort is.
        cores, batch
            As in `execute`.
        by_fold : bool
            True to train the networks of each protocol and fold in a job of their own.
        """
        shares = shares_of(plan, size, batch=batch, by_fold=by_fold)
        return cls(cores, batches_of(size.scans, batch=batch), folds_of(plan) if by_fold else [], shares)

    def parts(self, plan: Plan) -> list[Part]:
        """Every part of every job.

        Parameters
        ----------
        plan : Plan
            The run that is divided.
        """
        trained = [Part(Job("02_train_bone", bone), what) for bone in plan.bones for what in self.folds]
        return [Part(Job("01_data_curation"), what) for what in self.batches] + trained


def _execute(plan: Plan, *, files: list[Path], division: Division, lock: int) -> Path:
    """Run the jobs of a plan that has passed every check."""
    back_to_the_present(plan.run.folder)
    write_jobs(plan)
    # A failure of an earlier run must not count for this one, nor the files that it left behind as results.
    for job in plan.parameters:
        if status_of(plan.run, job).get("status") in ("failed", "unreadable"):
            do_again(plan.run, job)  # first: whoever is killed in between does it again
            plan.run.status(job).unlink()
    _sweep(plan.run.folder)
    forget_lost(plan.run)
    parts = division.parts(plan)
    carry_parts(plan, parts)
    began = time.time()
    state = state_of(files)
    heard: list[str] = []

    def do(wanted: Sequence[str] = ()) -> int:
        code, said = _snakemake(plan, wanted=wanted, files=files, division=division, lock=lock)
        heard.append(said)
        return code

    code = restore(plan, make=do) or do()
    forget_restored(plan.run)
    failed = [job for job in plan.parameters if status_of(plan.run, job).get("status") == "failed"]
    touched = state_of(files) != state
    changed = changed_scans(plan) if touched else []
    if not is_recorded(plan.run, plan.parameters):
        write_record(plan.run, parameters=plan.parameters, preset=plan.preset, cohort=plan.cohort, began=began)
        write_report(plan.run)
        note_report(plan.run)
    if touched:
        which = f" ({'; '.join(changed)})" if changed else ""
        raise RunError(
            f"Files of the cohort changed while the run was at work{which}, and its results may be of either state; let "
            "nobody write there, and give the same command again."
        )
    if code or failed:
        _check_disk(plan.run.folder)
    whys = [
        f"{part} failed ({read_json(path)['error']})." for part in parts if (path := plan.run.failure(part)).exists()
    ]
    if code:
        whys += lost_jobs(plan.run, said="\n".join(heard))
    if failed:
        places = [path for path in (plan.run.notebook(failed[0]), plan.run.report) if path.exists()]
        whys.append(
            f"{', '.join(map(str, failed))} failed and stopped what depends on it; see {' and '.join(map(str, places))}."
        )
    if whys:
        raise RunError(f"{' '.join(whys)} Then give the same command again: it goes on from what is done.")
    if code:
        log = plan.run.folder / ".snakemake" / "log"
        raise RunError(f"The workflow stopped (snakemake exit {code}); its log is in {log}.")
    return plan.run.report


def carry_parts(plan: Plan, parts: list[Part]) -> None:
    """Count the parts of jobs that are done as done, as `deepqct.run.parts.carry_over` says.

    Parameters
    ----------
    plan : Plan
        The run.
    parts : list of Part
        Its parts as it is divided now.
    """
    run = plan.run
    curated = [run.curation, run.indices, run.texture, run.splits, run.participants]
    trained = {Job("02_train_bone", bone): [run.scores(bone), run.saliency(bone)] for bone in plan.bones}
    carry_over(run, parts, {Job("01_data_curation"): curated, **trained})


def _sweep(folder: Path) -> None:
    """Remove unfinished files that killed processes left behind, unless they are so new that somebody may be at work."""
    for unfinished in folder.rglob(".part-*"):
        with contextlib.suppress(OSError):
            if time.time() - unfinished.stat().st_mtime > _LEFT_S:
                unfinished.unlink()


def _snakemake(
    plan: Plan, *, files: list[Path], division: Division, lock: int, wanted: Sequence[str] = ()
) -> tuple[int, str]:
    """Let snakemake run what is out of date, or of that the wanted files alone, in the run folder.

    Returns its exit code, and the errors that it wrote into its log, in which no path of this machine stays; nothing if it
    ended before it had one.

    Snakemake keeps the lock of the run folder as long as it lives, also where this process is killed.
    """
    # A cluster has memory and cards of its own, and its profile says how many jobs may run; here they are what there is.
    there = {} if os.environ.get(PROFILE) else machine()
    config = {
        "python": sys.executable,
        "root": str(project_root()),
        "run": str(plan.run.folder),
        "shares": division.shares,
        "batches": division.batches,
        "folds": division.folds,
        "cards": there.get("gpu", 0),
        "cores": division.cores if there else 0,
        "virtual": plan.cohort == VIRTUAL,
        "bones": plan.bones,
    }
    if plan.cohort != VIRTUAL:
        write_inputs(plan.run, files)
    config_path = plan.run.folder / "jobs" / "workflow.json"
    write_text(config_path, json.dumps(config, indent=2))
    # Of a cluster's jobs `--cores` is the most that one is given.
    cores = division.cores if there else max(share["threads"] for share in division.shares.values())
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(PACKAGE / "run" / "Snakefile"),
        "--directory", str(plan.run.folder), "--configfile", str(config_path), "--cores", str(cores),
        "--rerun-triggers", "mtime", "--rerun-incomplete", "--keep-going", "--nocolor", "--quiet", "all",
        *(["--resources", *(f"{name}={number}" for name, number in there.items())] if there else []),
    ]  # fmt: skip
    own = plan.run.folder / ".snakemake"
    locks, before = own / "locks", set((own / "log").glob("*.log"))
    if locks.exists() and any(locks.iterdir()):
        subprocess.run([*command, "--unlock"], check=False, capture_output=True)
    environment = os.environ | {STARTED_BY: f"{socket.gethostname()} {os.getpid()}"} | _profile()
    # Snakemake has a group of its own, so that Ctrl+C reaches it once, and from here.
    called = [*command, "--", *wanted] if wanted else command
    with interruptible():
        workflow = subprocess.Popen(called, env=environment, pass_fds=[lock], start_new_session=True)
    try:
        code = workflow.wait()
    except KeyboardInterrupt:
        _stop(workflow)
        raise
    finally:
        config_path.unlink(missing_ok=True)  # it holds this machine's paths
    said = []
    for path in sorted(set((own / "log").glob("*.log")) - before):
        text = path.read_text(encoding="utf-8", errors="replace")
        said.append(text.replace(str(PACKAGE), "deepqct").replace(str(plan.run.folder.resolve()), "."))
        write_text(path, said[-1])
    return code, "\n".join(said)


def _profile() -> dict[str, str]:
    """The environment's name of the profile that came with deepqct, where it is asked for and nobody made one so called."""
    name = os.environ.get(PROFILE, "")
    shipped = PACKAGE / "run" / "profiles" / name
    own = (Path(name), Path("~/.config/snakemake").expanduser() / name, Path("/etc/xdg/snakemake") / name)
    made = any(path.suffix == ".yaml" for folder in own if folder.is_dir() for path in folder.iterdir())
    return {PROFILE: str(shipped)} if name and shipped.is_dir() and not made else {}


def _stop(workflow: subprocess.Popen[bytes]) -> None:
    """End the workflow with all its jobs: by the signal of Ctrl+C, and by force if that takes too long."""
    for sent, patience in ((signal.SIGINT, PATIENCE_S), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(workflow.pid, sent)
        try:
            workflow.wait(patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who asks again does not want to wait
            continue
        return


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a batch system's signal to end do what Ctrl+C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
