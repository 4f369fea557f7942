"""The commands about a run as a whole: plan, verify, reproduce, tidy; `deepqct.cli` puts them beside the others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True)


def plan(
    cohort: Annotated[str, typer.Argument(help="The cohort folder, or 'virtual'.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Parameters, as deepqct run takes them.")
    ] = None,
    preset: Annotated[str, typer.Option(help="smoke, quick, null, paper, or a YAML file.")] = "quick",
    cores: Annotated[int, typer.Option(min=1, help="Jobs side by side.")] = 2,
    like: Annotated[
        Path | None, typer.Option(metavar="RUN", help="An earlier run of this machine, from which rates are learned.")
    ] = None,
) -> None:
    """Predict time, memory and disk of a run by stage, before anything starts.

    Example: deepqct plan data/ours --preset paper
    """
    from deepqct.folder import Run, resolve
    from deepqct.run.cost import estimate
    from deepqct.run.machine import machine
    from deepqct.run.plan import plan_run
    from deepqct.run.shares import memory_mb

    planned = plan_run(cohort, out=Path("reports") / Path(preset).stem, preset=preset, overrides=settings or [])
    found = estimate(planned, cores=cores, like=None if like is None else Run(resolve(like)))
    seconds, memory, disk = found["seconds"].sum(), found["peak_mb"].max(), found["disk_mb"].sum()
    table = Table(title=f"About {_time(seconds)}, {_size(memory)} of memory, {_size(disk)} on the disk")
    for name in ("stage", "jobs", "time", "memory", "disk"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in found.to_dict("records"):
        sizes = (_size(row["peak_mb"]), _size(row["disk_mb"]))
        table.add_row(row["stage"], str(row["jobs"]), _time(row["seconds"]), *sizes)
    console.print(table)
    _say(f"Rates: {'; '.join(dict.fromkeys(found['rates']))}.")
    here = machine()
    asks = {values["device"] for job, values in planned.parameters.items() if job.bone} - {"cpu"}
    if like is None and asks and here["accelerator"] != "none":
        _say(f"This machine has {here['accelerator']}, and these rates are of a processor: networks will take less.")
    there = memory_mb()
    if memory > there:
        _say(f"This machine has {_size(there)} of memory, less than that; lower workers, batch_size or --cores.")
    place = next(folder for folder in (planned.run.folder, *planned.run.folder.parents) if folder.exists())
    if disk * 1e6 > (free := shutil.disk_usage(place).free):
        _say(f"The disk of {place} has {_size(free / 1e6)} left, less than that; take another by --out.")


def verify(
    run_folder: Annotated[Path, typer.Argument(help="A run, such as reports/quick.")],
    cohort: Annotated[Path | None, typer.Option(help="Where the cohort lies now; where it lay if not given.")] = None,
) -> None:
    """Say which files are no longer what the run wrote, and which inputs no longer what it read; exit code 1 if any.

    Example: deepqct verify reports/ours
    """
    from deepqct.folder import Run, resolve
    from deepqct.run.integrity import FAULTS
    from deepqct.run.integrity import verify as compared

    found = compared(Run(resolve(run_folder)), cohort=None if cohort is None else cohort.expanduser().resolve())
    same, faults = found["state"] == "same", found["state"].isin(FAULTS)
    for _, rows in found[~same].groupby(["state", "kind"], sort=False):
        if rows["state"].iloc[0] == "tidied" and len(rows) > 1:
            when = ", ".join(sorted(set(rows["says"].str.extract(r"tidy, (\S+)\.$")[0])))
            _say(f"{len(rows)} {_plural(str(rows['kind'].iloc[0]), len(rows))} were removed by deepqct tidy, {when}.")
            continue
        for sentence in rows["says"]:
            _say(sentence)
    parts = [f"{int(n)} {_plural(str(kind), int(n))}" for kind, n in found[same]["kind"].value_counts().items()]
    _say(f"{int(same.sum())} of {len(found)} are as they were: {', '.join(parts) or 'none'}.")
    if faults.any():
        raise typer.Exit(1)


def reproduce(
    run_folder: Annotated[Path, typer.Argument(help="A finished run, such as reports/quick.")],
    out: Annotated[Path | None, typer.Option(help="The new run folder; RUN-reproduced if not given.")] = None,
    cohort: Annotated[Path | None, typer.Option(help="Where the cohort lies now; where it lay if not given.")] = None,
    cores: Annotated[int, typer.Option(min=1, help="Jobs side by side.")] = 2,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="How far numbers may differ; 0 on the same processor and versions if not given."),
    ] = None,
) -> None:
    """Run the same thing anew beside a run, and say table by table, network by network, what differs; exit code 1 if any.

    Example: deepqct reproduce reports/ours
    """
    from deepqct.folder import Run, read_json, resolve
    from deepqct.run.compare import FAULTS, Tolerance, compare_runs
    from deepqct.run.repetition import run_again

    run = Run(resolve(run_folder))
    place = (
        None if cohort is None else cohort.expanduser().resolve()
    )  # as deepqct run takes it: from the working directory
    again = run_again(run, out=None if out is None else resolve(out), cohort=place, cores=cores)
    allowed = Tolerance.of(read_json(run.record), read_json(again.record), tolerance)
    found = compare_runs(run, again, tolerance=allowed)
    _say(allowed.why)
    other = found[found["verdict"] != "identical"]
    if len(other):
        table = Table()
        for name in ("file", "values", "differing", "largest difference", "where", "verdict"):
            table.add_column(name, justify="right" if name in ("values", "differing", "largest difference") else "left")
        for row in other.to_dict("records"):
            largest = "" if pd.isna(row["largest"]) else f"{row['largest']:.3g}"
            counts = (str(row["values"]), str(row["differing"]))
            table.add_row(row["what"], *counts, largest, str(row["where"]), str(row["verdict"]))
        console.print(table)
    same = found[found["verdict"] == "identical"]["kind"].value_counts()
    words = ", ".join(f"{int(n)} {_plural(str(kind), int(n))}" for kind, n in same.items()) or "nothing"
    _say(f"Identical: {words}. {'All is identical.' if other.empty else ''}".strip())
    _say(f"The new run: {again.folder}")
    if found["verdict"].isin(FAULTS).any():
        raise typer.Exit(1)


def tidy(
    run_folder: Annotated[Path, typer.Argument(help="A finished run, such as reports/quick.")],
    only: Annotated[str, typer.Option(help="Some of stacks, networks, caches.")] = "stacks,networks,caches",
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without this nothing is touched.")] = False,
) -> None:
    """Say what may be deleted of a run and what is lost by it; --yes deletes it. Results, report and cohort stay.

    The run's own command makes anew what was deleted, and nothing else. Example: deepqct tidy reports/ours --only stacks
    """
    from deepqct.folder import Run, resolve
    from deepqct.run.tidying import tidy as tidied

    parts = [name.strip() for name in only.split(",") if name.strip()]
    found = tidied(Run(resolve(run_folder)), parts=parts, delete=yes)
    table = Table()
    for name in ("part", "files", "MB", "what is lost without it"):
        table.add_column(name, justify="right" if name in ("files", "MB") else "left")
    for row in found.to_dict("records"):
        table.add_row(row["part"], str(row["files"]), f"{row['mb']:,.1f}", row["lost"])
    console.print(table)
    total = _size(float(found["mb"].sum()))
    _say(
        f"{total} were deleted." if yes else f"{total} may be deleted; --yes deletes them, and nothing was touched yet."
    )


def _say(text: str) -> None:
    """Print a sentence as it is."""
    console.print(text, markup=False, highlight=False)


def _plural(kind: str, n: int) -> str:
    """A kind of file, in the plural where there are several."""
    return kind if n == 1 else f"{kind}s"


def _time(seconds: float) -> str:
    """Seconds in words, such as ``14 min``; nobody knows a longer time to the second."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


def _size(megabytes: float) -> str:
    """Megabytes in words, such as ``1.8 GB``."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
