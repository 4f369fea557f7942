"""Pseudonyms in place of a cohort's ids: a key file maps one to the other, and never lies in a run folder."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from deepqct.cohort.cohort import Cohort, CohortError
from deepqct.cohort.hints import ID, alike
from deepqct.cohort.tsv import read_tsv
from deepqct.folder import Run, resolve, write_table

COLUMNS = ("participant_id", "pseudonym")
_LETTERS = "23456789BCDFGHJKMNPQRSTVWXZ"  # without those that are taken for others, and without words
_LENGTH = 8


def with_pseudonyms(cohort: Cohort, key: str | Path) -> Cohort:
    """Return a cohort whose tables name pseudonyms in place of ids; whoever is new gets one, drawn at random.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort; its folder stays as it is.
    key : str or Path
        The key file, tab-separated: participant_id and pseudonym. It is written if it is not there, readable by its owner
        alone; a relative path starts at the project root.

    Returns
    -------
    Cohort
        Its `ids` lead back from each pseudonym.

    Raises
    ------
    CohortError
        If the key file is no such table, or gives two women one pseudonym.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> key = Path(tempfile.mkdtemp()) / "key.tsv"
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort", pseudonyms=key)
    >>> first = cohort.participants["participant_id"].iloc[0]
    >>> len(first), cohort.ids[first]
    (9, 'sub-0001')
    """
    path = resolve(key)
    known = read_key(path)
    missing = [person for person in cohort.participants["participant_id"] if person not in known]
    if missing:
        drawn = _drawn(len(missing), taken={*known.values(), *known, *missing})
        known |= dict(zip(missing, drawn, strict=True))
        write_table(path, pd.DataFrame(known.items(), columns=list(COLUMNS)), mode=0o600)

    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(participant_id=table["participant_id"].map(known))

    return replace(
        cohort,
        participants=renamed(cohort.participants),
        scans=renamed(cohort.scans),
        contours=None if cohort.contours is None else renamed(cohort.contours),
        scanner_indices=None if cohort.scanner_indices is None else renamed(cohort.scanner_indices),
        repeats=None if cohort.repeats is None else renamed(cohort.repeats),
        rejected=frozenset((known[person], site) for person, site in cohort.rejected if person in known),
        ids={known[person]: person for person in cohort.participants["participant_id"]},
    )


def read_key(path: Path) -> dict[str, str]:
    """The pseudonym of each id in a key file; nothing if there is no such file yet.

    Parameters
    ----------
    path : Path
        The key file.

    Raises
    ------
    CohortError
        As `with_pseudonyms`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from deepqct.cohort.pseudonyms import read_key
    >>> read_key(Path("no such key.tsv"))
    {}
    """
    if not path.exists():
        return {}
    faults: list[str] = []
    table = read_tsv(path, COLUMNS, faults)
    if table is None:
        raise CohortError("\n".join(faults))
    ids, pseudonyms = (table[name].tolist() for name in COLUMNS)
    rows = zip(table.index + 2, pseudonyms, strict=True)
    given = [(row, name) for row, name in rows if isinstance(name, str)]
    wrong = next((row for row, name in given if not re.fullmatch(ID, name)), None)
    if wrong is not None:
        raise CohortError(
            f"{path.name}, row {wrong}: a pseudonym is letters, digits and hyphens, and no word "
            "for a missing value; correct it."
        )
    if table[list(COLUMNS)].isna().any(axis=None) or len(set(ids)) < len(ids) or len(set(pseudonyms)) < len(ids):
        raise CohortError(f"{path.name} names a woman or a pseudonym twice, or leaves one out; correct it.")
    if len({alike(name) for _, name in given}) < len(given):
        raise CohortError(
            f"{path.name} has pseudonyms that differ by capitals alone, and many computers would keep both in one file; "
            "give one of the women another."
        )
    if set(ids) & set(pseudonyms):
        raise CohortError(f"{path.name} has an id among its pseudonyms; correct it.")
    return dict(zip(ids, pseudonyms, strict=True))


def check_key(key: str | Path, run: Run) -> None:
    """Refuse a key file within a run folder, which is passed on.

    Parameters
    ----------
    key : str or Path
        The key file; nothing if there is none.
    run : Run
        The run folder.

    Raises
    ------
    CohortError
        If it lies there, also by a link.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.cohort.pseudonyms import check_key
    >>> check_key("/data/keys/key.tsv", dq.Run(Path("/data/reports/ours")))
    """
    if not key:
        return
    path = resolve(key)
    inside = {run.folder.resolve(), run.folder.absolute()}
    if any(place.is_relative_to(folder) for place in (path.resolve(), path.absolute()) for folder in inside):
        raise CohortError(
            f"The key file {path.name} lies in the run folder, which is passed on; keep it in a folder that stays with you."
        )


def _drawn(n: int, *, taken: Iterable[str]) -> list[str]:
    """So many pseudonyms that nobody has."""
    taken, drawn = set(taken), list[str]()
    while len(drawn) < n:
        name = "P" + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        if name not in taken:
            taken.add(name)
            drawn.append(name)
    return drawn
