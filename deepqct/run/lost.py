"""Jobs that ended without a word: killed for lack of memory, at their time limit, or with their machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deepqct.folder import FileError, Run, read_json

_STATE = re.compile(r"SLURM-job '(\d+)(?:_\d+)?' failed[^\n]*?status is: '([A-Z_]+)")
_REFUSED = re.compile(r"SLURM sbatch failed\. The error message was '(.*?)'\.?\s", re.DOTALL)
ENDED = ("OUT_OF_MEMORY", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED")  # states that say why
_MACHINE = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
# What the cluster writes into a job's own log; some say no more of its state than that it failed.
_LOGGED = (
    ("OUT_OF_MEMORY", re.compile(r"exceeded (job )?memory limit|oom.?kill|out of memory", re.IGNORECASE)),
    ("TIMEOUT", re.compile(r"due to time limit", re.IGNORECASE)),
    ("NODE_FAIL", re.compile(r"due to node failure", re.IGNORECASE)),
)
_RULES = {
    "00_virtual_cohort": "virtual_cohort",
    "01_data_curation": "data_curation",
    "03_fusion_and_baselines": "fusion_and_baselines",
    "04_clustering": "clustering",
    "05_explore": "explore",
}


def lower_what(job: str) -> str:
    """What needs less memory in a job.

    Parameters
    ----------
    job : str
        The name of a job, or of a part of one.

    Examples
    --------
    >>> from deepqct.run.lost import lower_what
    >>> lower_what("01_data_curation_0001-0200")
    'lower workers or image_px'
    """
    return {
        "00": "lower workers, slices or n",
        "01": "lower workers or image_px",
        "02": "lower batch_size, images or image_px, or run fewer jobs at once (--cores)",
    }.get(job[:2], "run fewer jobs at once (--cores), or lower draws or bootstraps")


def lost_jobs(run: Run, *, said: str = "") -> list[str]:
    """A sentence for each job that is at work no more and did not say how it ended.

    Parameters
    ----------
    run : Run
        A run folder in which nobody is at work any more.
    said : str
        What the workflow said, where a cluster's states stand.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.lost import lost_jobs
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> _ = dq.folder.write_json(run.at_work("05_explore"), {"host": "n1", "process": 7, "cluster_job": "12"})
    >>> lost_jobs(run, said="SLURM-job '12' failed, SLURM status is: 'NODE_FAIL'.")
    ['05_explore was lost with its machine (NODE_FAIL).']
    """
    states = dict(_STATE.findall(said))
    sentences = [
        f"The cluster did not take a job ({why}); correct account, partition or resources in the profile."
        for why in sorted({" ".join(why.split()) for why in _REFUSED.findall(said)})
    ]
    known, told = set(), dict[str, str]()
    for path in _left(run):
        try:
            where = _read(path)
        except FileNotFoundError:  # it has just ended, and not without a word
            continue
        number = str(where.get("cluster_job") or "")
        known.add(number)
        state = _logged(run, number) or states.get(number, "")
        told[path.stem] = _sentence(path.stem, state, given_mb=where.get("given_mb"))
    # Some are ended before they could say that they are at work, and may have been tried again since.
    for number in sorted(set(states) - known, key=int, reverse=True):
        state = _logged(run, number) or states[number]
        for log in _logs(run, number) if state in ENDED else ():
            job = _job_of(log.relative_to(_cluster_logs(run)))
            if job in told:
                continue
            if not _has_spoken(run, job, log):
                told[job] = _sentence(job, state, given_mb=None)
            elif state in _MACHINE and _is_done(run, job) and log == _last_log(log.parent):
                told[job] = f"{_sentence(job, state, given_mb=None)[:-1]}, and was done there all the same."
    return sentences + [told[job] for job in sorted(told)]


def _is_done(run: Run, job: str) -> bool:
    """Whether a job or part said that it is done."""
    status = _read(run.status(job)) if run.status(job).exists() else {}
    return status.get("status") == "done" or run.part(job).exists()


def _last_log(folder: Path) -> Path:
    """The log of a cluster's newest try of a job; a later one tells that it was tried again."""
    return max(folder.glob("*.log"), key=lambda log: int(log.stem) if log.stem.isdigit() else -1)


def _has_spoken(run: Run, job: str, log: Path) -> bool:
    """Whether a job or part said itself how it ended: that it failed, or later than this log that it is done."""
    status = _read(run.status(job)) if run.status(job).exists() else {}
    if run.failure(job).exists() or status.get("status") == "failed":
        return True
    ends = [path.stat().st_mtime_ns for path in (run.part(job), run.status(job)) if path.exists()]
    return max(ends, default=0) > log.stat().st_mtime_ns


def forget_lost(run: Run) -> None:
    """Remove what killed jobs of an earlier run left, which says nothing about the next one.

    Parameters
    ----------
    run : Run
        A run folder in which nobody is at work.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.lost import forget_lost
    >>> forget_lost(dq.Run(Path(tempfile.mkdtemp())))
    """
    for path in _left(run):
        path.unlink(missing_ok=True)


def rule_of(job: str) -> str:
    """The rule of the workflow that a job, or a part of one, belongs to.

    Parameters
    ----------
    job : str
        Its name.

    Examples
    --------
    >>> from deepqct.run.lost import rule_of
    >>> rule_of("02_train_bone_radius"), rule_of("02_train_bone_radius_all_fold0"), rule_of("01_data_curation_0001-0200")
    ('train_bone', 'train_part', 'curate_batch')
    """
    if job.startswith("02_train_bone"):
        return "train_part" if "_fold" in job else "train_bone"
    return _RULES.get(job, "curate_batch")


def _left(run: Run) -> list[Path]:
    """The files of jobs that are said to be at work."""
    return sorted(path for path in run.at_work("any").parent.glob("*.json") if not path.name.startswith("."))


def _read(path: Path) -> dict[str, Any]:
    """What a job wrote of itself; nothing if it was killed while it wrote."""
    try:
        return dict(read_json(path))
    except (FileError, TypeError, ValueError):
        return {}


def _cluster_logs(run: Run) -> Path:
    """The folder of the logs of a cluster's jobs."""
    return run.folder / ".snakemake" / "slurm_logs"


def _logs(run: Run, number: str) -> list[Path]:
    """The logs of a cluster's job, one or none."""
    return sorted(_cluster_logs(run).rglob(f"{number}.log")) if number else []


def _logged(run: Run, number: str) -> str:
    """The state of a cluster's job by what stands in its log; empty if nothing does."""
    said = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in _logs(run, number))
    return next((state for state, words in _LOGGED if words.search(said)), "")


def _job_of(log: Path) -> str:
    """The name of the job or part that a cluster's log is of, by its folders: rule_<rule>/<wildcards>/<number>.log."""
    rule = log.parts[0].removeprefix("rule_")
    names = {other: stage for stage, other in _RULES.items()} | {
        "train_bone": "02_train_bone", "train_part": "02_train_bone", "curate_batch": "01_data_curation",
    }  # fmt: skip
    return "_".join([names.get(rule, rule), *log.parts[1:-1]])


def _sentence(job: str, state: str, *, given_mb: str | None) -> str:
    """What became of one job, and what helps."""
    rule = rule_of(job)
    if state in ("TIMEOUT", "DEADLINE"):
        return f"{job} was ended at its time limit; give it more minutes by set-resources in the profile ({rule}: runtime)."
    if state == "OUT_OF_MEMORY":
        limit = f" of {given_mb} MB" if given_mb else ""
        more = f"or give it more by set-resources in the profile ({rule}: mem_mb)"
        return f"{job} was ended for needing more than its memory{limit}; {lower_what(job)}, {more}."
    if state in _MACHINE:
        return f"{job} was lost with its machine ({state})."
    ended = f" ({state})" if state else ""
    return f"{job} was ended by the system{ended}, as happens for lack of memory; {lower_what(job)}."
