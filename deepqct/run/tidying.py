"""What of a run may be deleted, what is lost by it, and its deletion; results, report and cohort stay."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from deepqct.folder import Run, read_json, write_json
from deepqct.run.alone import alone
from deepqct.run.written import is_within, job_of

# What may go, and what is lost by it.
PARTS = {
    "stacks": "the bones in the explorer; a bundle and any new training need them made anew by the curation",
    "networks": "bundles for new patients, and what a network makes of another woman; made anew by the training",
    "caches": "logs of the workflow and what broken runs left; nothing that a result depends on",
}
_KEPT = ("incomplete", "locks")  # of snakemake's folder: which files an interrupted run left half made


def tidy(run: Run, *, parts: Sequence[str] = tuple(PARTS), delete: bool = False) -> pd.DataFrame:
    """List what may be deleted of a run with its size and what is lost by it, and delete it if that is asked for.

    Tables, figures, notebooks, report and record stay, and so does the cohort, also that of virtual women. What was
    deleted is noted, so that `verify` knows it. The run's own command makes it anew, and nothing else.

    Parameters
    ----------
    run : Run
        A finished run.
    parts : sequence of str
        Of ``stacks`` (density and labels of each bone), ``networks`` (their weights), ``caches``.
    delete : bool
        True deletes; by default nothing is touched.

    Returns
    -------
    DataFrame
        One row a part: part, files, mb, lost (a sentence without its full stop).

    Raises
    ------
    ValueError
        If a part is unknown, or run.json was written by a version of deepqct that kept no list of files.
    RunError
        If a run is at work in the folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> _ = dq.folder.write_json(run.record, {"files": {"bones/P1_radius.npy": "12"}})
    >>> _ = dq.folder.write_text(run.stack("P1", "radius"), "x" * 1000)
    >>> dq.run.tidy(run, delete=True)[["part", "files", "mb"]].to_dict("records")[0]
    {'part': 'stacks', 'files': 1, 'mb': 0.001}
    >>> run.stack("P1", "radius").exists()
    False
    """
    for name in parts:
        if name not in PARTS:
            raise ValueError(f"There is no part {name!r} to tidy; use some of {', '.join(PARTS)}.")
    record = read_json(run.require(run.record, written_by="deepqct run"))
    if "files" not in record:
        raise ValueError(
            f"{run.record} lists no files, since an older deepqct wrote it; nothing of such a run would be made anew."
        )
    with alone(run) if delete else nullcontext():
        found = {name: _files(run, name, listed=record["files"]) for name in PARTS if name in parts}
        rows = [
            {"part": name, "files": len(files), "mb": round(sum(map(_bytes, files)) / 1e6, 3), "lost": PARTS[name]}
            for name, files in found.items()
        ]
        if delete:
            _delete(run, found)
    return pd.DataFrame(rows, columns=["part", "files", "mb", "lost"])


def _bytes(path: Path) -> int:
    """The size of a file; 0 if it is gone, since a run may be at work where nothing is deleted."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _files(run: Run, part: str, *, listed: Iterable[str]) -> list[Path]:
    """The files of one part that are there; of what a record lists, those alone that a job of a run writes."""
    if part == "caches":
        kept = [run.folder / ".snakemake" / name for name in _KEPT]
        own = [path for path in (run.folder / ".snakemake").rglob("*") if not any(map(path.is_relative_to, kept))]
        left = [*run.folder.rglob(".part-*"), *run.folder.rglob(".ipynb_checkpoints/*")]
        return sorted({path for path in (*own, *left) if _is_own(run, path) and not _of_cohort(run, path)})
    ending = {"stacks": ".npy", "networks": ".safetensors"}[part]
    own = [run.folder / name for name in listed if name.endswith(ending) and job_of(run, run.folder / name)]
    return sorted(path for path in own if _is_own(run, path))


def _is_own(run: Run, path: Path) -> bool:
    """Whether a file is there, and no link on its way leads out of the run folder, where nothing is deleted."""
    return is_within(run, path.relative_to(run.folder).as_posix()) and path.is_file()


def _of_cohort(run: Run, path: Path) -> bool:
    """Whether a file lies in the cohort of virtual women."""
    return path.is_relative_to(run.virtual)


def _delete(run: Run, found: dict[str, list[Path]]) -> None:
    """Delete files, and note those that the record lists."""
    today = dt.date.today().isoformat()
    noted = read_json(run.tidied) if run.tidied.exists() else {}
    gone = {
        path.relative_to(run.folder).as_posix(): today for part in found if part != "caches" for path in found[part]
    }
    write_json(run.tidied, noted | gone)  # first: what is gone without a note would be a loss
    for path in (path for files in found.values() for path in files):
        path.unlink(missing_ok=True)
    if "caches" in found and is_within(run, ".snakemake") and (run.folder / ".snakemake").exists():
        for folder in (run.folder / ".snakemake").iterdir():
            if folder.is_dir() and folder.name not in _KEPT:
                shutil.rmtree(folder, ignore_errors=True)
