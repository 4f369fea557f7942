"""What a run will take before it begins: seconds, memory and disk of each stage, from measured rates or an earlier run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from deepqct.cohort.check import load_cohort
from deepqct.cohort.cohort import Cohort
from deepqct.curation.stacks import FIELD_MM
from deepqct.folder import PACKAGE, Job, Run, read_json, read_table, resolve
from deepqct.networks.recipe import Recipe
from deepqct.run.inputs import scan_files
from deepqct.run.plan import VIRTUAL, Plan
from deepqct.run.shares import cards
from deepqct.scans.formats import read_head, size_of
from deepqct.terms import BONES, SITES

SLICES = 168  # of a scan whose header does not say it: the default of the XtremeCT II
REPORT = "report"  # the last row: report, record and the workflow itself
_PLANE_MM2 = {"wrist": 2020.0, "ankle": 3030.0}  # of a virtual scan
_LIKE_QUICK = 64**2 / 1000  # thousand pixels of an image, of which the rates are
_PAIR = 6  # times the curation of a scan: both of a pair are measured twice, and laid on each other; our choice
_FORWARD = 1 / 3  # of the time of an image in training, where it is scored alone; our choice
_THREADS = 0.7  # a network with k threads takes 1 / k ** this of the time; our choice


@dataclass(frozen=True)
class Workload:
    """How much a cohort gives a run to do.

    Parameters
    ----------
    women : int
        All of the cohort.
    scans : int
        Of all sites and sessions.
    mvoxels : float
        Millions of voxels of a scan, the mean over scans.
    slices : int
        Slices of a scan.
    pairs : int
        Sites of women that were scanned more than once.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.cost import Workload
    >>> Workload.of(dq.run.plan_run("virtual", out=Path("reports/tried")))
    Workload(women=60, scans=120, mvoxels=2.81, slices=16, pairs=0)
    """

    women: int
    scans: int
    mvoxels: float
    slices: int
    pairs: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Workload:
        """The workload of a planned run; of a cohort folder its tables and the sizes of its files are looked at.

        Parameters
        ----------
        plan : Plan
            From `plan_run`.

        Raises
        ------
        CohortError
            If the cohort folder has faults.
        """
        if plan.cohort == VIRTUAL:
            return cls.of_virtual(plan.parameters[Job("00_virtual_cohort")])
        asked = plan.parameters[Job("01_data_curation")]
        cohort = load_cohort(
            resolve(plan.cohort), outcome=asked["outcome"], horizon=asked["horizon"], outside=asked["outside"]
        )
        return cls.of_cohort(cohort)

    @classmethod
    def of_cohort(cls, cohort: Cohort) -> Workload:
        """The workload of a cohort, by the sizes of its files.

        Parameters
        ----------
        cohort : Cohort
            The checked cohort.
        """
        files = [cohort.folder / file for file in cohort.every_scan["file"]]
        voxels = sum(map(size_of, files)) / 2e6 / max(len(files), 1)  # files of scanners hold 2 bytes a voxel
        # A file that cannot be read is a row of the run, and no reason to foresee nothing.
        slices = next((known for known in map(_slices, files) if known), SLICES)
        pairs = int((cohort.every_scan.groupby(["participant_id", "site"]).size() > 1).sum())
        return cls(len(cohort.participants), len(files), round(voxels, 2), slices, pairs)

    @classmethod
    def of_virtual(cls, asked: Mapping[str, Any]) -> Workload:
        """The workload of virtual women.

        Parameters
        ----------
        asked : mapping
            The parameters of 00_virtual_cohort.
        """
        area = sum(_PLANE_MM2.values()) / len(_PLANE_MM2) / asked["voxel_mm"] ** 2
        return cls(asked["n"], len(SITES) * asked["n"], round(area * asked["slices"] / 1e6, 2), asked["slices"])

    @classmethod
    def of_run(cls, run: Run, *, cohort: Path, key: str = "") -> Workload:
        """The workload of a curated run; of a cohort whose tables can no longer be read, no scan is known.

        Parameters
        ----------
        run : Run
            The run folder.
        cohort : Path
            The folder of its cohort.
        key : str
            The key file, where the run has pseudonyms in place of ids.
        """
        try:
            named = scan_files(cohort, key=key)
        except (OSError, ValueError, KeyError, TypeError):  # a table that somebody spoilt since the run read it
            named = {}
        files = {path for paths in named.values() for path in paths if path.exists()}
        voxels = sum(map(size_of, files)) / 2e6 / max(len(files), 1)
        slices = SLICES
        if stack := next(run.bones.glob("*_radius.npy"), None) or next(run.bones.glob("*_tibia.npy"), None):
            with suppress(OSError, ValueError, EOFError):  # a crash of the machine may leave it empty
                slices = int(np.load(stack, mmap_mode="r").shape[0])
        women = len(read_table(run.participants)) if run.participants.exists() else 0
        pairs = sum(len(paths) > 1 for paths in named.values())  # a name with a session has one file
        return cls(women, len(files), round(voxels, 2), slices, pairs)


def _slices(path: Path) -> int | None:
    """How many slices a scan has by its header; None where it does not say it, or cannot be read."""
    try:
        return int(read_head(path).protocol.get("slices") or 0)
    except (OSError, ValueError):
        return None


def estimate(plan: Plan, *, cores: int = 2, like: Run | None = None, scale: float | None = None) -> pd.DataFrame:
    """Predict what a run takes, stage by stage, before anything of it starts.

    The rates were measured on one machine and come with the package. A measurement of half a second tells how fast this
    machine is beside it; of a graphics card nothing is known, and what is predicted for networks is then too much. An
    earlier run of this machine is the better judge: its own seconds, memory and disk take the place of the rates.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.
    cores : int
        How many jobs run side by side, as in `execute`.
    like : Run, optional
        A finished run from whose record rates are learned.
    scale : float, optional
        How many times as long as the machine of the rates this one takes; measured if not given.

    Returns
    -------
    DataFrame
        One row a stage, and one for report and workflow: stage, jobs (their number), seconds (by the clock, jobs side by
        side), peak_mb (the most memory, of the jobs side by side), disk_mb (what stays), rates (where the rates come
        from). Totals are the sum of seconds and of disk_mb, and the highest peak_mb.

    Raises
    ------
    ValueError
        If `like` has no finished job, or does not say what cohort it had.
    CohortError
        If the cohort folder has faults.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"))
    >>> table = dq.run.estimate(plan, scale=1.0)
    >>> table["stage"].tolist()[:3], 600 < float(table["seconds"].sum()) < 1200
    (['00_virtual_cohort', '01_data_curation', '02_train_bone'], True)
    """
    work = Workload.of(plan)
    factor = (machine_scale() if scale is None else scale) if like is None else 1.0
    learned = {} if like is None else _learned(like)
    words = f"kept with deepqct ({rates()['processor']}), times {factor:.2f} for this machine"
    rows = []
    for stage, jobs in _stages(plan).items():
        each = [_job_cost(job, plan.parameters, work) for job in jobs]
        seconds, memory, disk = (np.array([one[key] for one in each]) for key in ("seconds", "mb", "disk"))
        known = learned.get(stage)
        if known is not None:
            seconds, memory, disk = seconds * known["seconds"], memory * known["mb"], disk * known["disk"]
        else:
            seconds = seconds * factor
        side = _side_by_side(plan.parameters, stage, cores)
        rows.append({
            "stage": stage,
            "jobs": len(jobs),
            "seconds": round(_clock(list(seconds), side), 1),
            "peak_mb": round(float(np.sort(memory)[::-1][:side].sum())),
            "disk_mb": round(float(disk.sum()), 1),
            "rates": words if known is None else f"learned from {like.folder.name if like else ''}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def disk_mb(plan: Plan, work: Workload) -> float:
    """What a run will leave on the disk by the rates that come with deepqct, in MB.

    Parameters
    ----------
    plan : Plan
        From `plan_run`.
    work : Workload
        How much its cohort gives to do.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.cost import Workload, disk_mb
    >>> plan = dq.run.plan_run("virtual", out=Path("reports/tried"))
    >>> disk_mb(plan, Workload.of(plan)) > 100
    True
    """
    return sum(_job_cost(job, plan.parameters, work)["disk"] for jobs in _stages(plan).values() for job in jobs)


def rates() -> dict[str, Any]:
    """The measured rates that come with deepqct, with the machine that they were measured on.

    Examples
    --------
    >>> from deepqct.run.cost import rates
    >>> rates()["cores"]
    2
    """
    return dict(read_json(PACKAGE / "run" / "rates.json"))


def machine_scale() -> float:
    """How many times as long as the machine of the rates this one takes, by a short piece of work that is timed.

    The fastest of several goes counts, in seconds of the processor, so that other work on this machine matters little.

    Examples
    --------
    >>> from deepqct.run.cost import machine_scale
    >>> 0.05 < machine_scale() < 20
    True
    """
    return round(short_measurement() / rates()["short_measurement_s"], 2)


def short_measurement() -> float:
    """The processor's seconds of a short piece of work with one thread: products of matrices, sorting, and sums along axes.

    By the clock they would be many more where other work is done on this machine, which is gone when the run begins.

    Examples
    --------
    >>> from deepqct.run.cost import short_measurement
    >>> short_measurement() > 0
    True
    """
    rng = np.random.default_rng(1)
    matrix, volume = rng.random((384, 384), np.float32), rng.random((64, 128, 128), np.float32)
    took = []
    with threadpool_limits(1):
        for _ in range(8):
            began = time.thread_time()
            for _ in range(4):
                _ = matrix @ matrix
            _ = np.sort(volume, axis=2), volume.cumsum(axis=0), np.sqrt(volume) * volume
            took.append(time.thread_time() - began)
    return min(took)


def _stages(plan: Plan) -> dict[str, list[Job]]:
    """The jobs of each stage in their order, and the report last."""
    stages: dict[str, list[Job]] = {}
    for job in plan.parameters:
        stages.setdefault(job.stage, []).append(job)
    return stages | {REPORT: [Job(REPORT)]}


def _job_cost(job: Job, parameters: Mapping[Job, Mapping[str, Any]], work: Workload) -> dict[str, float]:
    """Seconds, memory and disk (MB) of one job by the rates that come with deepqct, on their machine."""
    known = rates()
    rate, asked = known["stages"][job.stage], parameters.get(job, {})
    curation = parameters.get(Job("01_data_curation"), {})
    seconds, memory, disk = float(rate["fixed_s"]), float(rate["fixed_mb"]), float(rate.get("fixed_disk_mb", 0.0))
    workers = min(max(int(asked.get("workers", 1)), 1), os.cpu_count() or 1)
    match job.stage:
        case "00_virtual_cohort" | "01_data_curation":
            voxel_s = rate["mvoxel_s"] + known["strength_mvoxel_s"].get(asked.get("strength", "none"), 0.0)
            seconds += work.scans * (rate["scan_s"] + voxel_s * work.mvoxels) / workers
            memory += workers * (rate["worker_mb"] + rate["mvoxel_mb"] * work.mvoxels)
            if job.stage == "00_virtual_cohort":
                disk += work.scans * work.mvoxels * 2
            else:
                pixels = work.slices * int(asked["image_px"]) ** 2
                disk += work.scans * len(BONES) / len(SITES) * pixels * 3 / 1e6
                if asked.get("registered"):
                    seconds += work.pairs * _PAIR * (rate["scan_s"] + rate["mvoxel_s"] * work.mvoxels) / workers
        case "02_train_bone":
            recipe, networks = Recipe.of(dict(asked)), _trainings(asked, curation, work)
            size, pixel_mm = curation["image_px"], FIELD_MM[job.bone] / curation["image_px"]
            kpixels = recipe.view.pixels(job.bone, size=size, pixel_mm=pixel_mm) ** 2 / 1000
            step = kpixels / _LIKE_QUICK * known["network_times"].get(recipe.arch, 1.0)
            step *= 4 if recipe.first == "fine" else 1
            epochs = recipe.epochs + (recipe.weights != "none")
            threads = max(int(asked.get("threads", 1)), 1) ** _THREADS
            seconds += networks["images"] * epochs * step * rate["image_s"] / threads
            seconds += work.women * recipe.images * step * rate["explained_s"] / threads
            views = networks["number"] * work.women * recipe.images * recipe.tta  # beside the plain ones of the rates
            seconds += views * step * rate["image_s"] * _FORWARD / threads
            memory += rate["kpixel_mb"] * kpixels * recipe.batch_size
            memory += work.women * recipe.images * recipe.channels * kpixels * 2 / 1000  # they stay in memory, as int16
            disk += networks["number"] * known["network_mb"].get(recipe.arch, known["network_mb"]["resnet34"])
        case "03_fusion_and_baselines":
            folds = _folds(curation, repeats=curation["repeats"])
            larger = work.women / 60
            seconds += rate["fit_s"] * folds * larger + rate["permutation_s"] * asked["permutations"] * larger / workers
            seconds += rate["bootstrap_s"] * asked["bootstraps"] * larger / workers
            if asked["classifiers"] != "none":
                seconds += rate["classifier_s"] * len(asked["classifiers"].split(",")) * larger
            disk += rate["woman_mb"] * work.women * folds
        case "04_clustering":
            seconds += rate["draw_s"] * (asked["draws"] + asked["bootstraps"]) * work.women / 60
        case "report":
            seconds += rate["job_s"] * len(parameters)
    return {"seconds": seconds, "mb": memory, "disk": disk}


def _folds(curation: Mapping[str, Any], *, repeats: int) -> int:
    """How many folds are held out in all: those of the protocol ``all`` in every repeat, of another protocol once."""
    names = [name.strip() for name in curation["protocols"].split(",")]
    return sum(curation["folds"] * (repeats if name == "all" else 1) for name in names)


def _trainings(asked: Mapping[str, Any], curation: Mapping[str, Any], work: Workload) -> dict[str, float]:
    """How many networks a bone gets, and how many images they see in one epoch all together."""
    folds = curation["folds"]
    number: float = _folds(curation, repeats=min(asked["network_repeats"], curation["repeats"]))
    if asked["stacking"] == "strict":
        number = number * (1 + (folds - 1) / 2)
    controls = [name for name in asked["controls"].split(",") if name.strip() != "none"]
    number = (number + folds * len(controls)) * asked["ensemble"]
    return {"number": number, "images": number * work.women * (1 - 1 / folds) * asked["images"]}


def _side_by_side(parameters: Mapping[Job, Mapping[str, Any]], stage: str, cores: int) -> int:
    """How many jobs of a stage run at once; a graphics card trains one network at a time."""
    threads = max(
        (values["threads"] for job, values in parameters.items() if job.stage == stage and job.bone), default=cores
    )
    side = max(cores // max(int(threads), 1), 1)
    trained = [values for job, values in parameters.items() if job.stage == stage and job.bone]
    on_cards = cards() if any(values["device"] != "cpu" for values in trained) else 0
    return min(side, on_cards) if on_cards else side


def _clock(seconds: list[float], side: int) -> float:
    """The time by the clock of jobs of which some run at once: each begins when one before it has ended."""
    ends = [0.0] * side
    for one in seconds:
        ends[ends.index(min(ends))] += one
    return max(ends)


def _learned(like: Run) -> dict[str, dict[str, float]]:
    """For each stage of an earlier run, how many times what the rates say it took: seconds, memory and disk."""
    record = read_json(like.require(like.record, written_by="deepqct run"))
    stages = record.get("stages", {})
    done = {Job(e["stage"], e["bone"]): e for e in stages.values() if e.get("status") == "done" and e.get("seconds")}
    parameters = {Job(entry["stage"], entry["bone"]): dict(entry["parameters"]) for entry in stages.values()}
    first = Job("00_virtual_cohort")
    if "workload" in record:
        work = Workload(**record["workload"])
    elif first in parameters:
        work = Workload.of_virtual(parameters[first])
    else:
        raise ValueError(
            f"{like.record} does not say how much its cohort gave to do; name a run of this version of deepqct."
        )
    if not done:
        raise ValueError(f"No job of {like.folder} is done, so that nothing is learned from it; name a finished run.")
    learned: dict[str, dict[str, float]] = {}
    for stage in dict.fromkeys(job.stage for job in done):
        jobs = [job for job in done if job.stage == stage]
        said = [_job_cost(job, parameters, work) for job in jobs]
        ratios = {}
        for key, name in (("seconds", "seconds"), ("mb", "peak_mb"), ("disk", "disk_mb")):
            pairs = [(done[job][name], one[key]) for job, one in zip(jobs, said, strict=True) if done[job].get(name)]
            ratios[key] = sum(took for took, _ in pairs) / sum(told for _, told in pairs) if pairs else 1.0
        learned[stage] = ratios
    return learned
