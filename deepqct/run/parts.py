"""Parts of a job that run before its notebook, side by side or on many machines: batches of scans, networks of a fold.

A part leaves what the job looks for before it works: curated scans, trained folds. The notebook then finds them done, and
does by hand, without any part, the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepqct.folder import Job, Run, read_json, write_json
from deepqct.run.plan import Plan
from deepqct.run.stage import fix_threads, line_progress
from deepqct.run.told import Mask, in_terminal
from deepqct.run.watch import at_work, one_at_a_time
from deepqct.work import say

BATCH = 200  # scans in a job of their own; our choice: some hours of two processors at a scanner's full resolution


@dataclass(frozen=True)
class Part:
    """One part of a job.

    Parameters
    ----------
    job : Job
        01_data_curation, or 02_train_bone of a bone.
    what : str
        The first and the last scan, as in ``0001-0200``; or protocol and fold, as in ``all_fold0``.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.parts import Part
    >>> str(Part(dq.folder.Job("02_train_bone", "radius"), "as-published_fold2"))
    '02_train_bone_radius_as-published_fold2'
    """

    job: Job
    what: str

    def __str__(self) -> str:
        """The part's name, which the names of its files begin with."""
        return f"{self.job}_{self.what}"


def batches_of(scans: int, *, batch: int = BATCH) -> list[str]:
    """The batches of a cohort's scans; none if one job may do all of them.

    Parameters
    ----------
    scans : int
        How many scans there are, of all sessions.
    batch : int
        The most scans in one.

    Examples
    --------
    >>> from deepqct.run.parts import batches_of
    >>> batches_of(432, batch=200)
    ['0001-0200', '0201-0400', '0401-0432']
    >>> batches_of(120, batch=200)
    []
    """
    if scans <= batch:
        return []
    width = max(4, len(str(scans)))
    return [f"{first:0{width}}-{min(first + batch - 1, scans):0{width}}" for first in range(1, scans + 1, batch)]


def folds_of(plan: Plan) -> list[str]:
    """The protocols and folds by which networks are trained.

    Parameters
    ----------
    plan : Plan
        The parameters of every job.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.parts import folds_of
    >>> folds_of(dq.run.plan_run("virtual", out=Path("reports/tried"), preset="smoke"))
    ['all_fold0', 'all_fold1', 'as-published_fold0', 'as-published_fold1']
    """
    curation = plan.parameters[Job("01_data_curation")]
    protocols = sorted({name.strip() for name in curation["protocols"].split(",")})
    return [f"{protocol}_fold{fold}" for protocol in protocols for fold in range(curation["folds"])]


def run_part(run: Run, part: Part) -> bool:
    """Do one part of a job, and record how long it took and how much memory it held.

    Parameters
    ----------
    run : Run
        The run folder, which holds the job's parameters.
    part : Part
        What is done.

    Returns
    -------
    bool
        False if it failed; a sentence was printed then. A scan that failed is no failure of its batch.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.parts import Part, run_part
    >>> run, job = dq.Run(Path(tempfile.mkdtemp())), dq.folder.Job("01_data_curation")
    >>> _ = dq.folder.write_json(run.parameters(job), {"parameters": {"workers": 0, "cohort_dir": "/nowhere"}})
    >>> run_part(run, Part(job, "0001-0200"))
    01_data_curation_0001-0200: started
    01_data_curation_0001-0200: failed: CohortError: /nowhere is not a folder; give the cohort folder, ...
    False
    """
    parameters = read_json(run.parameters(part.job))["parameters"]
    fix_threads(parameters.get("threads", 1))
    run.failure(part).unlink(missing_ok=True)
    began = time.time()
    say(f"{part}: started")
    try:
        with at_work(run, part, device=parameters.get("device", "cpu") if part.job.bone else "cpu") as held:
            done = _trained(run, part, parameters) if part.job.bone else _curated(run, part, parameters)
    except Exception as error:  # one sentence of what failed is worth more than a traceback in a cluster's log
        kind = type(error).__name__
        kept = Mask.of(run).kept(kind, str(error))
        write_json(run.failure(part), {"error": kept, "seconds": round(time.time() - began, 1)})
        say(f"{part}: failed: {in_terminal(f'{kind}: {error}', kept)}")
        return False
    seconds = round(time.time() - began, 1)
    write_json(run.part(part), done | {"seconds": seconds, "peak_mb": held.peak_mb})
    say(f"{part}: done in {seconds:.0f} s")
    return True


def _curated(run: Run, part: Part, parameters: dict[str, Any]) -> dict[str, Any]:
    """Curate one batch, and tell what became of its scans."""
    from deepqct.cohort.check import load_cohort
    from deepqct.curation.batches import curate_batch

    first, last = (int(end) for end in part.what.split("-"))
    asked = {name: parameters[name] for name in ("outcome", "horizon", "outside", "pseudonyms") if name in parameters}
    with one_at_a_time(run, "pseudonyms"):  # whoever is first writes the key file
        cohort = load_cohort(parameters["cohort_dir"], **asked)
    how = {name: parameters[name] for name in ("image_px", "contours", "unusual", "scan_stack", "strength", "workers")}
    made = curate_batch(cohort, run, first=first, last=last, progress=line_progress(f"{part}: scans"), **how)
    for scan, why in made.failed.items():
        say(f"{scan} failed: {why}")
    return {"scans": made.scans, "failed": made.failed}


def _trained(run: Run, part: Part, parameters: dict[str, Any]) -> dict[str, Any]:
    """Train the networks of one protocol and fold of a bone, and tell how many there are."""
    from deepqct.networks.cross_validation import train_part
    from deepqct.networks.recipe import Recipe
    from deepqct.networks.training import use_device

    device = use_device(parameters["device"])
    protocol, _, fold = part.what.rpartition("_fold")
    networks = train_part(
        run, bone=part.job.bone, protocol=protocol, fold=fold, recipe=Recipe.of(parameters),
        repeats=parameters["network_repeats"], stacking=parameters["stacking"], controls=parameters["controls"],
    )  # fmt: skip
    return {"networks": networks, "device": device}


def carry_over(run: Run, parts: Iterable[Part], results: dict[Job, list[Path]]) -> None:
    """Count parts as done where the job that they belong to is done, and forget those of another division.

    Another size of batches, or training by folds after training by bones, changes no result: nothing is done again for it.
    A part that is counted gets the time of the job's oldest result, so that it is out of date when that is.

    Parameters
    ----------
    run : Run
        The run folder.
    parts : iterable of Part
        The parts of the run that is about to begin.
    results : mapping
        The files that each job writes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.parts import Part, carry_over
    >>> run, job = dq.Run(Path(tempfile.mkdtemp())), dq.folder.Job("01_data_curation")
    >>> _ = dq.folder.write_text(run.indices, "participant_id")
    >>> carry_over(run, [Part(job, "0001-0200")], {job: [run.indices]})
    >>> run.part(Part(job, "0001-0200")).stat().st_mtime == run.indices.stat().st_mtime
    True
    """
    wanted = list(parts)
    names = {run.part(part).name for part in wanted}
    for path in run.part("any").parent.glob("*.json"):
        if path.name not in names and not path.name.startswith("."):
            path.unlink()
    for part in wanted:
        files = results[part.job]
        if run.part(part).exists() or not all(path.exists() for path in files):
            continue
        oldest = min(path.stat().st_mtime_ns for path in files)
        write_json(run.part(part), {"carried_over": True}, time_ns=oldest)
