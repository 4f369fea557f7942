"""What readers decided about scans: review.csv in the cohort folder, one line a decision, nothing ever overwritten.

A reader accepts or rejects a scan and grades its motion, blind to the outcome. To take a decision back is a new line,
so that the file tells who thought what, and when. A remark is free text and stays in the cohort folder.

Readers are known by their initials, in which capital and small letters, and spaces around them, make no difference: AB
and ab are one reader, who is called as she first wrote herself.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import os
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct import __version__
from deepqct.folder import inert
from deepqct.terms import SITES

REVIEWS = "review.csv"
COLUMNS = ("reviewer", "participant_id", "site", "decision", "motion_grade", "remark", "when", "deepqct")
DECISIONS = ("accept", "reject", "undo")
# Motion from none to severe, as the manufacturer grades it (Sode 2011, doi:10.1016/j.bone.2011.03.755).
GRADES: tuple[int, ...] = (1, 2, 3, 4, 5)
_SCAN = ["participant_id", "site"]
_DRAWS = 2000


class ReviewError(ValueError):
    """A decision, or a line of review.csv, that is not allowed; the message says why.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> dq.cohort.decide(Path("nowhere"), reviewer="AB", participant_id="P1", site="hip", decision="accept")
    Traceback (most recent call last):
    deepqct.cohort.reviews.ReviewError: 'hip', 'accept' is no decision; use wrist or ankle, and accept, reject, undo.
    """


def read_reviews(folder: Path) -> pd.DataFrame:
    """Read every line of review.csv, the oldest first; the table is empty if nobody has decided yet.

    Parameters
    ----------
    folder : Path
        The cohort folder.

    Returns
    -------
    DataFrame
        reviewer, participant_id, site, decision, motion_grade, remark, when, deepqct. Blank lines are left out; the index
        is that of a line in the file, less 2, so that the line below the header is 0.

    Raises
    ------
    ReviewError
        If a line is not allowed; the message names the row and what is wrong with it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = Path(tempfile.mkdtemp())
    >>> dq.cohort.decide(folder, reviewer="AB", participant_id="P1", site="wrist", decision="reject", motion_grade=5)
    >>> dq.cohort.read_reviews(folder)[["reviewer", "decision", "motion_grade"]].to_dict("records")
    [{'reviewer': 'AB', 'decision': 'reject', 'motion_grade': 5}]
    """
    path = folder / REVIEWS
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        table = pd.read_csv(
            path, dtype="string", keep_default_na=False, encoding="utf-8-sig", index_col=False, skip_blank_lines=False
        )
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ReviewError(
            f"{REVIEWS}, row {row} has a letter that is not UTF-8; save it again as CSV UTF-8."
        ) from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise ReviewError(
            f"{REVIEWS} is empty or no table with commas; mend it, or remove it to begin anew."
        ) from error
    if tuple(table.columns) != COLUMNS:
        has = " ".join(", ".join(map(str, table.columns)).split())
        raise ReviewError(
            f"{REVIEWS} has the columns {has[:300]}{' …' * (len(has) > 300)}; it needs {', '.join(COLUMNS)}."
        )
    table = table[(table.fillna("") != "").any(axis=1)]
    for row, line in zip(table.index + 2, table.to_dict("records"), strict=True):
        grade = line["motion_grade"]
        for name, known in (("decision", DECISIONS), ("site", tuple(SITES))):
            if line[name] not in known:
                raise ReviewError(f"{REVIEWS}, row {row}: {name} is {line[name]!r}; use one of {', '.join(known)}.")
        if grade and grade not in map(str, GRADES):
            raise ReviewError(f"{REVIEWS}, row {row}: motion_grade is {grade!r}; use 1 to 5, or nothing.")
    # What was kept from being a formula is an id again.
    people = table["participant_id"].map(lambda name: name[1:] if name[1:] != inert(name[1:]) == name else name)
    return table.assign(participant_id=people, motion_grade=pd.to_numeric(table["motion_grade"], errors="coerce"))


def decide(
    folder: Path,
    *,
    reviewer: str,
    participant_id: str,
    site: str,
    decision: str,
    motion_grade: int | None = None,
    remark: str = "",
) -> None:
    """Add one decision of one reader to review.csv, on disk before this returns.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    reviewer : str
        Who decides; initials will do.
    participant_id, site : str
        The patient, and wrist or ankle.
    decision : str
        ``accept``, ``reject``, or ``undo``, which takes back this reader's last standing decision on the scan.
    motion_grade : int, optional
        Motion from 1 (none) to 5 (severe).
    remark : str
        Free text; it never leaves the cohort folder.

    Raises
    ------
    ReviewError
        If the decision, the grade or the site is none of these, or `reviewer` is empty.
    OSError
        If review.csv cannot be written; the decision was not kept then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = Path(tempfile.mkdtemp())
    >>> dq.cohort.decide(folder, reviewer="AB", participant_id="P1", site="wrist", decision="accept")
    >>> dq.cohort.decide(folder, reviewer="AB", participant_id="P1", site="wrist", decision="undo", remark="wrong row")
    >>> dq.cohort.read_reviews(folder)["decision"].tolist()
    ['accept', 'undo']
    """
    if not reviewer.strip():
        raise ReviewError("reviewer is empty; say who decides, by initials.")
    if decision not in DECISIONS or site not in SITES:
        raise ReviewError(f"{site!r}, {decision!r} is no decision; use wrist or ankle, and {', '.join(DECISIONS)}.")
    if motion_grade is not None and motion_grade not in GRADES:
        raise ReviewError(f"motion_grade is {motion_grade!r}; use 1 to 5, or nothing.")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    who, said = inert(reviewer.strip()), inert(re.sub(r"\s+", " ", remark).strip())
    values = [who, inert(participant_id), site, decision, motion_grade or "", said]
    try:
        _append(folder / REVIEWS, [*values, when, __version__])
    except OSError as error:
        raise OSError(
            f"{decision!r} of {reviewer.strip()} on {participant_id}, {site}, was NOT kept: {REVIEWS} of the cohort folder "
            f"cannot be written ({error.strerror or error}); mend that and decide again."
        ) from error


def same_reader(one: str, other: str) -> bool:
    """Whether two initials are those of one reader: AB and ab are.

    Parameters
    ----------
    one, other : str
        As they were typed.

    Examples
    --------
    >>> from deepqct.cohort.reviews import same_reader
    >>> same_reader("AB", " ab"), same_reader("AB", "CD")
    (True, False)
    """
    return _reader(one) == _reader(other)


def _reader(name: str) -> str:
    """Initials as they are compared."""
    return inert(str(name).strip()).casefold()


def standing(reviews: pd.DataFrame) -> pd.DataFrame:
    """The standing decision of each reader on each scan: the last one that she did not take back.

    AB and ab are one reader.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.

    Returns
    -------
    DataFrame
        The same columns, the oldest decision first; reviewer as each reader first wrote herself.
    """
    rows: dict[tuple[str, str, str], list[int]] = {}
    called: dict[str, str] = {}
    for number, (who, person, site, decision) in enumerate(
        reviews[["reviewer", *_SCAN, "decision"]].itertuples(index=False, name=None)
    ):
        called.setdefault(_reader(who), str(who).strip())
        decided = rows.setdefault((_reader(who), person, site), [])
        if decision != "undo":
            decided.append(number)
        elif decided:
            decided.pop()
    kept = reviews.iloc[sorted(decided[-1] for decided in rows.values() if decided)].reset_index(drop=True)
    return kept.assign(reviewer=kept["reviewer"].map(lambda who: called[_reader(who)]))


def rejected(reviews: pd.DataFrame) -> set[tuple[str, str]]:
    """The scans that at least one reader rejects by a standing decision: our choice, on the careful side.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.

    Returns
    -------
    set of (str, str)
        participant_id and site of each.
    """
    decisions = standing(reviews)
    return set(decisions.loc[decisions["decision"] == "reject", _SCAN].itertuples(index=False, name=None))


def still_open(scans: pd.DataFrame, reviews: pd.DataFrame, *, reviewer: str) -> pd.DataFrame:
    """The scans on which one reader has no standing decision, in the order of the table.

    Parameters
    ----------
    scans : DataFrame
        The cohort's table of scans: participant_id, site, and more.
    reviews : DataFrame
        From `read_reviews`.
    reviewer : str
        The reader; AB and ab are one.

    Returns
    -------
    DataFrame
        Their rows of `scans`.
    """
    done = {tuple(scan) for scan in decisions_of(reviews, reviewer=reviewer)[_SCAN].to_numpy()}
    return scans[[pair not in done for pair in scans[_SCAN].itertuples(index=False, name=None)]]


def decisions_of(reviews: pd.DataFrame, *, reviewer: str) -> pd.DataFrame:
    """The standing decisions of one reader.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.
    reviewer : str
        The reader; AB and ab are one.

    Returns
    -------
    DataFrame
        Her rows of `standing`.
    """
    decisions = standing(reviews)
    return decisions[np.array([same_reader(who, reviewer) for who in decisions["reviewer"]], bool)]


def reviewed(scans: pd.DataFrame, reviews: pd.DataFrame) -> pd.DataFrame:
    """Count for each reader how many scans she accepted, rejected, and has still to judge.

    Parameters
    ----------
    scans : DataFrame
        The cohort's table of scans: participant_id, site, and more.
    reviews : DataFrame
        From `read_reviews`.

    Returns
    -------
    DataFrame
        One row a reader: reviewer, accepted, rejected, open (without a standing decision of hers), n (all scans).

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scans = pd.DataFrame({"participant_id": ["P1", "P2", "P3"], "site": "wrist"})
    >>> reviews = scans.head(2).assign(reviewer="AB", decision=["accept", "reject"])
    >>> dq.cohort.reviewed(scans, reviews).to_dict("records")
    [{'reviewer': 'AB', 'accepted': 1, 'rejected': 1, 'open': 1, 'n': 3}]
    """
    rows = []
    for who, decisions in standing(reviews).groupby("reviewer"):
        accepted, refused = (int((decisions["decision"] == word).sum()) for word in DECISIONS[:2])
        left = len(still_open(scans, reviews, reviewer=str(who)))
        rows.append({"reviewer": who, "accepted": accepted, "rejected": refused, "open": left, "n": len(scans)})
    return pd.DataFrame(rows, columns=["reviewer", "accepted", "rejected", "open", "n"])


def reader_agreement(reviews: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How far each pair of readers agrees on the scans that both judged.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.
    seed : int
        Seed of the bootstrap over scans.

    Returns
    -------
    DataFrame
        Two rows a pair: reader_a, reader_b, what (decision: Cohen's kappa; motion_grade: kappa with quadratic weights),
        same (share of scans judged alike), kappa, low and high (95 % interval, percentile bootstrap), n (scans that
        both judged). Kappa is NaN where all judgements are one value.

    References
    ----------
    Cohen J (1968), doi:10.1037/h0026256.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scan = pd.DataFrame({"participant_id": ["P1", "P2", "P3", "P4"], "site": "wrist", "motion_grade": [1, 2, 3, 4]})
    >>> first = scan.assign(reviewer="AB", decision=["accept", "accept", "reject", "reject"])
    >>> second = scan.assign(reviewer="CD", decision=["accept", "reject", "reject", "reject"])
    >>> dq.cohort.reader_agreement(pd.concat([first, second]))[["what", "same", "kappa", "n"]].to_dict("records")
    [{'what': 'decision', 'same': 0.75, 'kappa': 0.5, 'n': 4},
     {'what': 'motion_grade', 'same': 1.0, 'kappa': 1.0, 'n': 4}]
    """
    decisions = standing(reviews)
    readers = sorted(decisions["reviewer"].unique())
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(readers):
        for other in readers[number + 1 :]:
            for what in ("decision", "motion_grade"):
                a, b = (decisions[decisions["reviewer"] == who].set_index(_SCAN)[what].dropna() for who in (one, other))
                both = a.index.intersection(b.index)
                pairs = np.array([a[both].to_numpy(), b[both].to_numpy()], dtype=object)
                rows.append({"reader_a": one, "reader_b": other, "what": what} | _kappas(pairs, what=what, seed=seed))
    columns = ["reader_a", "reader_b", "what", "same", "kappa", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _kappas(pairs: np.ndarray, *, what: str, seed: int) -> dict[str, float]:
    """Kappa of two readers with its 95 % interval, from their judgements as (reader, scan)."""
    n = pairs.shape[1]
    if n < 2:
        return {"same": float("nan"), "kappa": float("nan"), "low": float("nan"), "high": float("nan"), "n": n}
    scale = list(GRADES) if what == "motion_grade" else list(DECISIONS[:2])
    a, b = (np.array([scale.index(value) for value in row]) for row in pairs)
    rng = np.random.default_rng(seed)
    drawn = [_kappa(a[i], b[i]) for i in rng.integers(0, n, (_DRAWS, n))]
    known = np.array(drawn)[np.isfinite(drawn)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    same = float((a == b).mean())
    return {"same": same, "kappa": _kappa(a, b), "low": float(low), "high": float(high), "n": n}


def _kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Kappa with quadratic weights, which with two levels is the plain kappa; NaN if all judgements are one value."""
    chance = np.mean((a[:, None] - b[None]) ** 2)
    return float(1 - np.mean((a - b) ** 2) / chance) if chance > 0 else float("nan")


def _append(path: Path, values: list[object]) -> None:
    """Add one line at the end of the file, whole or not at all, also while another reader adds hers."""
    handle = os.open(path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o644)
    try:
        with contextlib.suppress(OSError):  # some network folders know no locks; one write is the next best
            fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        text = StringIO()
        if size and os.pread(handle, 1, size - 1) != b"\n":  # a spreadsheet or an editor may leave it so
            text.write("\n")
        lines = csv.writer(text, lineterminator="\n")
        if not size:
            lines.writerow(COLUMNS)
        lines.writerow(values)
        line = text.getvalue().encode()
        try:
            if os.write(handle, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
