"""Whether the files of a run are still what the run wrote, and its cohort what the run read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from deepqct.cohort.reviews import REVIEWS
from deepqct.folder import FileError, Job, Run, file_hash, read_json, resolve
from deepqct.run.inputs import TABLES, cohort_folder, contour_files, input_hash, is_readable, key_file, scan_files
from deepqct.run.record import status_of
from deepqct.run.written import SEAL, is_within, job_of, sealed

FAULTS = ("changed", "missing")  # the states that are faults
_KINDS = {".npy": "stack", ".safetensors": "network", ".csv": "table", ".ipynb": "notebook", ".html": "page"}


def verify(run: Run, *, cohort: Path | None = None) -> pd.DataFrame:
    """Compare the files of a run with the hashes in run.json, and the cohort with what the run read of it.

    Nothing is written. What may change after a run is known and is no fault: a review that somebody wrote, what
    `deepqct tidy` removed, women saved by hand.

    Parameters
    ----------
    run : Run
        A run folder with run.json.
    cohort : Path, optional
        Where the cohort lies now; by default where it lay when the run was made.

    Returns
    -------
    DataFrame
        One row a file: file (its path in the run folder, or the name of an input), kind (input, table, network, stack,
        notebook, page, picture, record), state (same, changed, missing, tidied, by hand, not checked), says (a sentence;
        empty where it is the same). The states of `FAULTS` are faults.

    Raises
    ------
    FileNotFoundError
        If there is no run.json.
    ValueError
        If run.json was written by a version of deepqct that kept no hashes.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.written import hashes, sealed
    >>> run = dq.Run(Path(tempfile.mkdtemp()) / "run")
    >>> _ = shutil.copytree(dq.run.example_run().folder, run.folder)
    >>> record = sealed({"files": hashes(run, before={}, finished={}), "inputs": {}, "stages": {}})
    >>> _ = dq.folder.write_json(run.record, record)
    >>> _ = run.splits.write_text("fold")
    >>> found = dq.run.verify(run)
    >>> found.loc[found["state"] == "changed", "says"].tolist()
    ['splits.csv is not what 01_data_curation wrote.']
    """
    record = read_json(run.require(run.record, written_by="deepqct run"))
    if "files" not in record:
        raise ValueError(
            f"{run.record} lists no files, since an older deepqct wrote it; give the deepqct run command of this run again "
            "with another folder by --out."
        )
    rows = [_record_row(record), *_file_rows(run, record["files"]), *input_rows(run, record, cohort=cohort)]
    if run.selection.exists():
        rows.append(_row(run.selection.name, "table", "by hand", "was saved by hand, and belongs to no job."))
    return pd.DataFrame(rows, columns=["file", "kind", "state", "says"])


def input_rows(run: Run, record: dict[str, Any], *, cohort: Path | None = None) -> list[dict[str, str]]:
    """The rows of `verify` about the cohort: its tables, scans and contours beside what the run read.

    Parameters
    ----------
    run, cohort
        As in `verify`.
    record : dict
        The content of run.json.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import input_hashes
    >>> from deepqct.run.integrity import input_rows
    >>> run = dq.run.example_run()
    >>> place = run.virtual / "cohort"
    >>> read = input_hashes(run, {"cohort_dir": place})
    >>> {row["state"] for row in input_rows(run, {"inputs": read}, cohort=place)}
    {'same'}
    """
    known: dict[str, str] = record.get("inputs", {})
    asked = _asked(run, "01_data_curation").get("parameters", {})
    folder = None
    with suppress(FileError, FileNotFoundError):  # nobody knows any more where it was
        folder = cohort_folder(run) if cohort is None and known else resolve(cohort or ".")
    if folder is None or (known and not (folder / "scans.tsv").exists()):
        why = "is not where it was, so that its files were not looked at; name its folder by --cohort."
        return [_row("cohort", "input", "not checked", why)]
    key = key_file(run) if asked.get("pseudonyms") else None
    there, rows = {name: [folder / name] for name in TABLES}, []
    if key is not None and not is_readable(key):
        why = "were not looked at, since the key file, which alone says whose they are, is not here or not readable."
        rows.append(_row("scans", "input", "not checked", why))
        known, key = {name: value for name, value in known.items() if name in TABLES}, None
    try:
        there |= scan_files(folder, key=str(key or "")) | contour_files(folder, key=str(key or ""))
    except (ValueError, KeyError, TypeError):  # a table of files that says nothing sensible any more
        rows.append(_row("scans", "input", "not checked", "were not looked at, since scans.tsv cannot be read."))
        known = {name: value for name, value in known.items() if name in TABLES}
    for name, value in known.items():
        paths = [path for path in there.get(name, []) if path.exists()]
        if any(_hash(path) == value for path in paths):
            rows.append(_row(name, "input", "same"))
        elif name == REVIEWS:
            rows.append(_reviewed())
        elif paths:
            rows.append(_row(name, "input", "changed", "of the cohort is not what the run read."))
        else:
            rows.append(_row(name, "input", "missing", "of the cohort is missing."))
    for name in TABLES:
        if name not in known and (folder / name).exists() and known:
            new = _row(name, "input", "changed", "of the cohort was not there when the run was made.")
            rows.append(_reviewed() if name == REVIEWS else new)
    return rows


def _hash(path: Path) -> str:
    """The hash of an input; empty where it is no longer what a scan can be."""
    try:
        return input_hash(path)
    except (OSError, ValueError):
        return ""


def _record_row(record: dict[str, Any]) -> dict[str, str]:
    """Whether run.json itself is as it was written."""
    if sealed(record).get(SEAL) == record.get(SEAL):
        return _row("run.json", "record", "same")
    return _row("run.json", "record", "changed", "is not what the run wrote.")


def _file_rows(run: Run, files: dict[str, str]) -> list[dict[str, str]]:
    """The rows of the files that the record lists."""
    tidied, rows, by_hand = run.tidied_files(), [], _by_hand(run)
    for name, value in files.items():
        path = run.folder / name
        kind = _KINDS.get(path.suffix, "picture" if name.startswith("figures/") else "table")
        job = job_of(run, path) or "the run"
        wrote = "the run" if job == "run" else job
        if not is_within(run, name):
            rows.append(_row(name, kind, "changed", "leads out of the run folder, and was not looked at."))
        elif not path.exists():
            when = tidied.get(name)
            state = "missing" if when is None else "tidied"
            rows.append(
                _row(name, kind, state, "is missing." if when is None else f"was removed by deepqct tidy, {when}.")
            )
        elif file_hash(path) == value:
            rows.append(_row(name, kind, "same"))
        else:
            hint = f"; {job} was done by hand since, and the next deepqct run does it again" if job in by_hand else ""
            rows.append(_row(name, kind, "changed", f"is not what {wrote} wrote{hint}."))
    return rows


def _by_hand(run: Run) -> set[str]:
    """The jobs that somebody did by hand with other parameters since the run."""
    paths = [path for path in (run.folder / "jobs").glob("0*.json") if not path.stem.endswith("_status")]
    asked = {path.stem: _asked(run, path.stem).get("again") for path in paths}
    return {job for job, again in asked.items() if again and status_of(run, Job(job)).get("again") != again}


def _asked(run: Run, job: str) -> dict[str, Any]:
    """What the file of a job's parameters says; nothing where it is not there or cannot be read."""
    path = run.parameters(job)
    try:
        return dict(read_json(path)) if path.exists() else {}
    except FileError:
        return {}


def _reviewed() -> dict[str, str]:
    """The row of a review that was written after the run."""
    return _row(
        REVIEWS, "input", "by hand", "of the cohort was written by readers since; the next deepqct run heeds it."
    )


def _row(name: str, kind: str, state: str, says: str = "") -> dict[str, str]:
    """One row of `verify`."""
    return {"file": name, "kind": kind, "state": state, "says": f"{name} {says}" if says else ""}
