"""What each job of a run is given: processors, memory, minutes, a graphics card; and what this machine has of them.

The figures for memory are above what was measured (each job's status says its peak), and so are the minutes; all are our
choice. A profile of a cluster may set others by the names of the rules.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepqct.folder import Job
from deepqct.run.plan import VIRTUAL, Plan
from deepqct.scans.formats import size_of

DAY = 1440  # minutes
_SCAN_MINUTES = {"none": 3, "coarse": 6, "full": 60}  # for one scan, by the parameter strength
_SCAN_MB = (1500, 6000)  # for one scan at work: at least, and at most
_MB_A_MB = 25  # memory for each MB of a scan's file, which may be packed
_STRENGTH_MB = {"none": 0, "coarse": 1000, "full": 10_000}
_PYTHON_MB = 1500  # of a notebook and its runner, with their libraries
_TORCH_MB = 3000


@dataclass(frozen=True)
class Share:
    """What one job is given.

    Parameters
    ----------
    threads : int
        Processors.
    mem_mb : int
        Memory, in MB; the names are those that snakemake gives its resources.
    runtime : int
        The longest time, in minutes; a cluster ends the job then.
    gpu : int
        Graphics cards.

    Examples
    --------
    >>> from deepqct.run.shares import Share
    >>> Share(threads=2, mem_mb=4000, runtime=60).gpu
    0
    """

    threads: int
    mem_mb: int
    runtime: int
    gpu: int = 0


@dataclass(frozen=True)
class Size:
    """How large a cohort is.

    Parameters
    ----------
    women, scans : int
        Women, and scans of all sessions.
    scan_mb : float
        The largest file of a scan, in MB.

    Examples
    --------
    >>> from deepqct.run.shares import Size
    >>> Size(women=216, scans=432, scan_mb=100.0).scans
    432
    """

    women: int
    scans: int
    scan_mb: float

    @classmethod
    def of(cls, plan: Plan, scans: list[Path], *, women: int = 0) -> Size:
        """The size of a run's cohort.

        Parameters
        ----------
        plan : Plan
            The run; of virtual women, it says how many are made.
        scans : list of Path
            The scans of a cohort folder, files or folders of slices.
        women : int
            The women of that folder.
        """
        if plan.cohort == VIRTUAL:
            made = plan.parameters[Job("00_virtual_cohort")]
            edge = 120.0 / made["voxel_mm"]  # of the widest field, in voxels
            return cls(made["n"], 2 * made["n"], 2 * edge * edge * made["slices"] / 1e6)
        return cls(women, len(scans), max(map(size_of, scans), default=0) / 1e6)


def shares_of(plan: Plan, size: Size, *, batch: int, by_fold: bool) -> dict[str, dict[str, int]]:
    """What the jobs of each rule of the workflow are given.

    Parameters
    ----------
    plan : Plan
        The parameters of every job.
    size : Size
        How large the cohort is.
    batch : int
        Scans in one batch.
    by_fold : bool
        True if networks are trained by fold.

    Returns
    -------
    dict
        The numbers of a `Share` by rule.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> from deepqct.run.shares import Size, shares_of
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"), preset="paper")
    >>> given = shares_of(plan, Size.of(plan, []), batch=200, by_fold=True)
    >>> given["curate_batch"]
    {'threads': 2, 'mem_mb': 15500, 'runtime': 630, 'gpu': 0}
    >>> given["train_part"]["gpu"], given["explore"]["gpu"]
    (1, 0)
    """
    jobs = {job.stage: values for job, values in plan.parameters.items()}
    curation = jobs["01_data_curation"]
    workers = curation["workers"]
    one = min(max(_SCAN_MB[0], size.scan_mb * _MB_A_MB), _SCAN_MB[1]) + _STRENGTH_MB[curation["strength"]]
    minutes = _SCAN_MINUTES[curation["strength"]]

    def curating(scans: int, rest: int) -> Share:
        return Share(workers, round(_PYTHON_MB + workers * one), rest + math.ceil(scans / workers) * minutes)

    in_batches = size.scans > batch
    given = {
        "curate_batch": curating(min(batch, size.scans), 30),
        "data_curation": curating(0 if in_batches else size.scans, 60 + size.scans // 10),
        "fusion_and_baselines": Share(jobs["03_fusion_and_baselines"].get("workers", 1), 4000, DAY // 2),
        "clustering": Share(1, 4000, DAY // 4),
        "explore": Share(1, 4000, DAY // 12),
    }
    if "00_virtual_cohort" in jobs:
        made = jobs["00_virtual_cohort"]["workers"]
        given["virtual_cohort"] = Share(made, round(_PYTHON_MB + made * one), 30 + math.ceil(size.scans / made) * 3)
    trained = [values for job, values in plan.parameters.items() if job.bone]
    if trained:
        threads, memory = max(v["threads"] for v in trained), max(_training_mb(v, curation, size) for v in trained)
        gpu = int(any(values["device"] != "cpu" for values in trained))
        given["train_bone"] = Share(threads, memory, DAY // 4 if by_fold else DAY, gpu)
        given["train_part"] = Share(threads, memory, DAY // 4, gpu)
    return {rule: asdict(share) for rule, share in given.items()}


def machine() -> dict[str, int]:
    """What this machine has for all jobs together: memory in MB, and graphics cards.

    Examples
    --------
    >>> from deepqct.run.shares import machine
    >>> machine()["mem_mb"] > 500
    True
    """
    return {"mem_mb": memory_mb(), "gpu": cards()}


def memory_mb() -> int:
    """The memory of this machine in MB, or of the container in which this process is.

    Examples
    --------
    >>> from deepqct.run.shares import memory_mb
    >>> memory_mb() > 500
    True
    """
    import psutil

    limits = [float(psutil.virtual_memory().total)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text(encoding="ascii").strip() if Path(path).is_file() else ""
        limits += [float(text)] if text.isdigit() else []
    return int(min(limits) / 1e6)


def cards() -> int:
    """How many graphics cards PyTorch finds here; the one of a Mac counts.

    Examples
    --------
    >>> from deepqct.run.shares import cards
    >>> cards() >= 0
    True
    """
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _training_mb(values: dict[str, Any], curation: dict[str, Any], size: Size) -> int:
    """The memory of training: all images of a bone, twice, and what a batch leaves in the layers."""
    pixels = curation["image_px"] ** 2
    images = 2 * size.women * values["images"] * values["channels"] * pixels / 1e6
    layers = values["batch_size"] * 120 * pixels / 224**2 * (4 if values["first"] == "fine" else 1)
    return round(_TORCH_MB + 2 * images + layers)
