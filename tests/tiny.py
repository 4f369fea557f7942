"""The smallest run that passes every stage, for tests that repeat it: far too small for any figure to mean something."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from conftest import ROOT

from deepqct.folder import Run, file_hash
from deepqct.run.watch import interruptible

# Ten women are the fewest for patient groups.
SETTINGS = (
    "n=12", "voxel_mm=0.3", "slices=4", "00_virtual_cohort.workers=1", "image_px=32", "protocols=all", "repeats=1",
    "bone=radius", "epochs=1", "images=1", "network_repeats=1", "permutations=0", "03_fusion_and_baselines.bootstraps=0",
    "04_clustering.bootstraps=5", "draws=9", "device=cpu",
)  # fmt: skip


BY_FOLD = ("--batch", "8", "--train-by", "fold", "01_data_curation.workers=1")


@dataclass(frozen=True)
class Whole:
    """A run that nobody interrupted: hashes of its tables, how long it took, its jobs in the order of their ends."""

    tables: dict[str, str]
    seconds: float
    jobs: list[str]

    @classmethod
    def made(cls, folder: Path) -> Whole:
        """Such a run, in batches and by fold, in a new folder."""
        out, said, began = folder / "run", folder / "said", time.monotonic()
        assert finish(out, *BY_FOLD, said=said) == 0, words(said)
        return cls(tables(out), time.monotonic() - began, ended(words(said)))


def words(said: Path) -> str:
    """What runs said; somebody may be in the middle of a letter."""
    return said.read_text(encoding="utf-8", errors="replace")


def ended(said: str) -> list[str]:
    """The jobs that say that they are done."""
    return re.findall(r"^(\S+): done in", said, flags=re.MULTILINE)


def command(out: Path, *more: str) -> list[str]:
    """The call that makes such a run."""
    return [sys.executable, "-m", "deepqct", "run", "virtual", *SETTINGS, "--preset", "smoke", "--out", str(out), *more]


def begin(out: Path, *more: str, said: Path, **environment: str) -> subprocess.Popen[str]:
    """Start such a run in a session of its own; what it says goes to a file."""
    with said.open("a", encoding="utf-8") as file, interruptible():
        return subprocess.Popen(
            command(out, *more), stdout=file, stderr=file, encoding="utf-8", cwd=ROOT, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip


def finish(out: Path, *more: str, said: Path, **environment: str) -> int:
    """Such a run to its end."""
    return wait(begin(out, *more, said=said, **environment), 1500)


def wait(run: subprocess.Popen[str], seconds: float) -> int:
    """The exit code of a run; one that takes longer is no longer at work when the test fails."""
    try:
        return run.wait(seconds)
    finally:
        kill_all(run)


def tables(out: Path) -> dict[str, str]:
    """The hash of every table of a run, and of its networks."""
    kept = [path for path in sorted(out.rglob("[!.]*")) if path.suffix in (".csv", ".npz", ".safetensors")]
    return {str(path.relative_to(out)): file_hash(path) for path in kept if ".snakemake" not in path.parts}


def finished_pieces(out: Path) -> dict[str, int]:
    """When each curated bone and each trained fold was finished: their records are written last."""
    run = Run(out)
    records = [*run.bones.glob("[!.]*.json"), *run.folder.glob("models/*/*/*/[!.]*.json")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in records}


def kill_all(process: subprocess.Popen[str]) -> None:
    """End a run as a power cut does: with every process that it started, and none that is started meanwhile."""
    if process.poll() is not None:
        return
    head, family = psutil.Process(process.pid), set[psutil.Process]()
    while new := {head, *head.children(recursive=True)} - family:
        family |= new
        for one in new:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()  # whoever stands still starts nobody
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    until = time.monotonic() + 20
    while any(map(_lives, family)) and time.monotonic() < until:
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    """Whether a process is at work; one that is dead may be listed until somebody asks how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
