"""Stacks and weights that were removed are made anew, and nothing else: tables that come out the same keep their times."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepqct.folder import Job, Run, file_hash, read_json, write_json, write_text
from deepqct.run.plan import Plan
from deepqct.run.record import status_of
from deepqct.run.stage import do_again
from deepqct.run.written import job_of, missing_parts
from deepqct.work import say

# The stages whose files may be removed, in their order, with a table of each that the workflow can be asked for.
_TABLES: dict[str, Callable[[Run, Job], Path]] = {
    "01_data_curation": lambda run, _: run.indices,
    "02_train_bone": lambda run, job: run.scores(job.bone),
}


@dataclass(frozen=True)
class _Kept:
    """A file before its job runs again: its hash and its time."""

    path: Path
    hash: str
    time: int

    @classmethod
    def of(cls, path: Path) -> _Kept:
        """The file as it is now."""
        return cls(path, file_hash(path), path.stat().st_mtime_ns)

    def give_back_its_time(self) -> None:
        """Give the file its old time, if its content is what it was: then nothing that was made from it is out of date."""
        if self.path.exists() and file_hash(self.path) == self.hash:
            os.utime(self.path, ns=(self.time, self.time))


def _ask_no_more(run: Run, job: Job) -> None:
    """Let the status of a job name the parameters that it now has: else it would pass for done with other ones."""
    status, asked = status_of(run, job), read_json(run.parameters(job))
    if "again" in status and status.get("again") != asked.get("again"):
        kept = {name: value for name, value in status.items() if name != "again"}
        write_json(run.status(job), kept | {name: asked[name] for name in ("again",) if name in asked})


def forget_restored(run: Run) -> None:
    """Strike from the notes of `deepqct tidy` what is there again: were it lost later, nobody would have removed it.

    Parameters
    ----------
    run : Run
        The run folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.restore import forget_restored
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> _ = dq.folder.write_json(run.tidied, {"bones/P1_radius.npy": "2026-01-05", "bones/P2_radius.npy": "2026-01-05"})
    >>> _ = dq.folder.write_text(run.stack("P1", "radius"), "voxels")
    >>> forget_restored(run)
    >>> list(dq.folder.read_json(run.tidied))
    ['bones/P2_radius.npy']
    """
    if run.tidied.exists() and (left := run.tidied_files()) != read_json(run.tidied):
        write_json(run.tidied, left)


def restore(plan: Plan, *, make: Callable[[Sequence[str]], int]) -> int:
    """Make anew the stacks and weights that the record of a run lists and that are not there.

    Parameters
    ----------
    plan : Plan
        The planned run, whose parameters are written.
    make : callable
        Lets the workflow make some files, named by their paths in the run folder; returns its exit code.

    Returns
    -------
    int
        The exit code of the workflow; 0 also where nothing was missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.restore import restore
    >>> restore(dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp())), make=lambda files: 1)
    0
    """
    run = plan.run
    for stage, table in _TABLES.items():
        gone = missing_parts(run)
        # What is not done is made by the run itself.
        jobs = [
            job
            for job in plan.parameters
            if job.stage == stage and str(job) in gone and status_of(run, job).get("status") == "done"
        ]
        if not jobs:
            continue
        kept: list[_Kept] = []
        for job in jobs:
            say(f"{job}: {len(gone[str(job)])} of its files were removed, and are made anew")
            own = [path for path in run.folder.iterdir() if path.is_file() and job_of(run, path) == str(job)]
            if own and min(path.stat().st_mtime_ns for path in own) > run.parameters(job).stat().st_mtime_ns:
                kept += [_Kept.of(path) for path in own]
        paths = {job: run.parameters(job) for job in jobs}
        asked = {job: (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns) for job, path in paths.items()}
        for job in jobs:
            do_again(run, job)
        code = make([table(run, job).relative_to(run.folder).as_posix() for job in jobs])
        for job, (text, time) in asked.items():
            write_text(run.parameters(job), text, time_ns=time)
            _ask_no_more(run, job)
        if code:
            return code
        for one in kept:
            one.give_back_its_time()
        if kept:
            oldest = min(one.time for one in kept)
            for job in jobs:
                # What did some of the job's work before it is no newer than what the job then left.
                for part in (run.folder / "jobs" / "parts").glob(f"{job}_*.json"):
                    os.utime(part, ns=(oldest, oldest))
    return 0
