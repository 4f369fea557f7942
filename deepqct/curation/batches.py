"""A batch of a cohort's scans curated by itself, so that many machines share the work; `curate` then finds it done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepqct.cohort.cohort import Cohort
from deepqct.curation.beside_scanner import check_sources
from deepqct.curation.curation import each_curated, scan_tasks
from deepqct.curation.repeats import each_session
from deepqct.folder import Run
from deepqct.work import Progress, followed


@dataclass(frozen=True)
class Batch:
    """What became of the scans of a batch.

    Parameters
    ----------
    scans : int
        How many it had.
    failed : dict of str to str
        The reason of each scan that failed, by patient, site and, of another session, its name.

    Examples
    --------
    >>> from deepqct.curation.batches import Batch
    >>> Batch(200, {"sub-0007 wrist": "the scan is empty."}).failed
    {'sub-0007 wrist': 'the scan is empty.'}
    """

    scans: int
    failed: dict[str, str]


def curate_batch(
    cohort: Cohort,
    run: Run,
    *,
    first: int,
    last: int,
    workers: int = 0,
    progress: Progress | None = None,
    **how: Any,
) -> Batch:
    """Curate some scans of a cohort into a run folder, as `curate` would; no table is written.

    The stacks and records of bones that it leaves are those that `curate` looks for, which then measures only what is
    missing: also scans that failed here are tried again.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives bones/, and those of other sessions under sessions/.
    first, last : int
        The first and the last scan, from 1; the scans of other sessions come after those that are analysed. Beyond the
        last scan there is nothing to do.
    workers, progress
        As in `curate`.
    **how
        As of `curate`: image_px, contours, unusual, scan_stack, strength.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.curation.batches import curate_batch
    >>> cohort, run = dq.load_cohort(dq.run.example_run().virtual / "cohort"), dq.Run(Path(tempfile.mkdtemp()))
    >>> curate_batch(cohort, run, first=1, last=1, image_px=32)
    Batch(scans=1, failed={})
    >>> len(list(run.bones.glob("*.json"))), run.indices.exists()
    (2, False)
    """
    check_sources(cohort, contours=how.get("contours", "ours"), indices="ours")
    tasks = [(task, "") for task in scan_tasks(cohort, run, **how)]
    for session, one in each_session(cohort):
        again = scan_tasks(one, run.session(session), **(how | {"contours": "ours"}))
        tasks += [(task, f" session {session}") for task in again]
    mine, failed, done = tasks[first - 1 : last], dict[str, str](), 0
    for session in dict.fromkeys(session for _, session in mine):
        some = [task for task, of in mine if of == session]
        rows = each_curated(some, strength=how.get("strength", "none"), workers=workers)
        for row in followed(rows, progress, total=len(mine), before=done):
            if row["status"] == "failed":
                failed[f"{row['participant_id']} {row['site']}{session}"] = str(row["reason"])
        done += len(some)
    return Batch(len(mine), dict(sorted(failed.items())))
