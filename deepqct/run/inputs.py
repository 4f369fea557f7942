"""What a run reads of its cohort: tables, scans and contours by the names under which the record keeps their hashes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepqct.cohort import scanner_tables
from deepqct.cohort.cohort import CohortError
from deepqct.cohort.pseudonyms import read_key
from deepqct.cohort.reviews import REVIEWS
from deepqct.cohort.tsv import read_tsv
from deepqct.folder import Job, Run, file_hash, read_json, read_table, resolve
from deepqct.scans.formats import scan_hash

# The files of a cohort folder beside its scans; if one of them changes, the cohort is curated again.
TABLES: tuple[str, ...] = (
    "participants.tsv",
    "participants.json",
    "scans.tsv",
    REVIEWS,
    scanner_tables.CONTOURS,
    scanner_tables.INDICES,
)


def cohort_folder(run: Run) -> Path:
    """The cohort folder of a run, from wherever it is asked, and wherever the run was moved, alone or with its cohort.

    A run keeps its own place and that of its cohort as they were given. Where both are relative, the way from the one to
    the other counts first; then the place itself, as seen from the project root.

    Parameters
    ----------
    run : Run
        A run folder with the parameters of its jobs.

    Returns
    -------
    Path
        Absolute. Where there is no cohort any more, where it would lie if both had been moved.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import cohort_folder
    >>> run = dq.Run(Path(tempfile.mkdtemp(), "reports", "ours"))
    >>> given = {"parameters": {"run_dir": "reports/ours", "cohort_dir": "data/ours"}}
    >>> _ = dq.folder.write_json(run.parameters("01_data_curation"), given)
    >>> cohort_folder(run).relative_to(run.folder.parent.parent.resolve()).as_posix()
    'data/ours'
    """
    path = run.require(run.parameters(Job("01_data_curation")), written_by="deepqct run")
    given = read_json(path)["parameters"]
    return _now_at(run, given["cohort_dir"], given.get("run_dir", ""), is_there=lambda at: (at / "scans.tsv").exists())


def key_file(run: Run) -> Path | None:
    """The key file of a run with pseudonyms, from wherever it is asked, as `cohort_folder` finds the cohort.

    Parameters
    ----------
    run : Run
        A run folder with the parameters of its jobs.

    Returns
    -------
    Path or None
        Absolute. Where there is no key file any more, where it would lie if all had been moved; None for a run with ids.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import key_file
    >>> run = dq.Run(Path(tempfile.mkdtemp(), "reports", "ours"))
    >>> given = {"parameters": {"run_dir": "reports/ours", "cohort_dir": "data/ours", "pseudonyms": "keys/ours.tsv"}}
    >>> _ = dq.folder.write_json(run.parameters("01_data_curation"), given)
    >>> key_file(run).relative_to(run.folder.parent.parent.resolve()).as_posix()
    'keys/ours.tsv'
    """
    path = run.parameters(Job("01_data_curation"))
    key = read_json(path)["parameters"].get("pseudonyms") if path.exists() else ""
    if not key:
        return None
    return _now_at(run, key, read_json(path)["parameters"].get("run_dir", ""), is_there=is_readable)


def is_readable(path: Path) -> bool:
    """Whether a file is there, and this user may read it; a key file is its owner's alone.

    Parameters
    ----------
    path : Path
        The file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from deepqct.run.inputs import is_readable
    >>> is_readable(Path("no such key.tsv"))
    False
    """
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _now_at(run: Run, given: str, run_dir: str, *, is_there: Callable[[Path], bool]) -> Path:
    """A place that a run was given, wherever both are now."""
    place, of_run = Path(given).expanduser(), Path(run_dir).expanduser()
    if place.is_absolute() or of_run.is_absolute() or of_run == Path():
        return resolve(place)
    beside = Path(os.path.normpath(run.folder.resolve() / os.path.relpath(place, of_run)))
    return next((path for path in (beside, resolve(place)) if is_there(path)), beside)


def input_hashes(run: Run, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of the cohort's tables, of each scan as it was when it was curated, and of each contour that was read.

    Parameters
    ----------
    run : Run
        A curated run; without curation.csv the tables alone are known.
    parameters : mapping
        Those of the curation: cohort_dir, contours, pseudonyms.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import input_hashes
    >>> run = dq.run.example_run()
    >>> list(input_hashes(run, {"cohort_dir": run.virtual / "cohort"}))[:4]
    ['participants.tsv', 'participants.json', 'scans.tsv', 'sub-0001_ankle']
    """
    folder = resolve(parameters["cohort_dir"])
    found = {name: file_hash(folder / name) for name in TABLES if (folder / name).exists()}
    for curation in (run.curation, *sorted(run.folder.glob(f"sessions/*/{run.curation.name}"))):
        session = "" if curation == run.curation else f"_{curation.parent.name}"
        if curation.exists():
            scans = read_table(curation).dropna(subset=["sha256"])
            rows = scans[["participant_id", "site", "sha256"]].itertuples(index=False)
            found |= {f"{person}_{site}{session}": value for person, site, value in rows}
    if parameters.get("contours", "ours") != "ours":
        with suppress(OSError, ValueError, KeyError, TypeError):  # a table that somebody spoilt since the run read it
            for name, (path,) in contour_files(folder, key=parameters.get("pseudonyms", "")).items():
                with suppress(OSError, ValueError):  # a file that is gone, or no contour any more
                    found[name] = input_hash(path)
    return found


def scan_files(folder: Path, *, key: str = "") -> dict[str, list[Path]]:
    """The files of every scan in scans.tsv by the names of `input_hashes`; of several sessions all, since one is analysed.

    Parameters
    ----------
    folder : Path
        The cohort's folder.
    key : str
        The key file, where the run has pseudonyms in place of ids.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import scan_files
    >>> files = scan_files(dq.run.example_run().virtual / "cohort")
    >>> [path.name for path in files["sub-0001_ankle"]]
    ['sub-0001_ankle.AIM']
    """
    files: dict[str, list[Path]] = {}
    for row in _rows(folder / "scans.tsv", key=key):
        name = f"{row['participant_id']}_{row['site']}"
        session = row.get("session")
        for one in (name, *([f"{name}_{session}"] if isinstance(session, str) else [])):
            files.setdefault(one, []).append(folder / row["file"])
    return files


def contour_files(folder: Path, *, key: str = "") -> dict[str, list[Path]]:
    """The files of every contour in contours.tsv by the names of `input_hashes`; empty where there is no such table.

    Parameters
    ----------
    folder, key
        As in `scan_files`.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import contour_files
    >>> contour_files(dq.run.example_run().virtual / "cohort")
    {}
    """
    rows = [row for row in _rows(folder / scanner_tables.CONTOURS, key=key) if isinstance(row["file"], str)]
    return {
        f"contour_{row['participant_id']}_{row['bone']}_{row['compartment']}": [folder / row["file"]] for row in rows
    }


def input_hash(path: Path) -> str:
    """The SHA-256 of a table, or of a scan or contour with every file that it is made of, as the curation takes it.

    Parameters
    ----------
    path : Path
        The file that a table names.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.inputs import input_hash
    >>> path = dq.run.example_run().splits
    >>> input_hash(path) == dq.folder.file_hash(path)
    True
    """
    return file_hash(path) if path.suffix in (".tsv", ".csv", ".json") else scan_hash(path)


def _rows(path: Path, *, key: str) -> list[dict[str, Any]]:
    """The rows of a table of files, read as the check does, with pseudonyms where there is a key; none without a table."""
    if not path.exists():
        return []
    faults: list[str] = []
    table = read_tsv(path, ("participant_id", "file"), faults)
    if table is None:
        raise CohortError("\n".join(faults))
    known = read_key(resolve(key)) if key else {}
    people = table["participant_id"].map(lambda name: known.get(name, name))
    return [{str(k): v for k, v in row.items()} for row in table.assign(participant_id=people).to_dict("records")]
