"""What readers decided about scans: review.csv in the cohort folder, one line a decision, nothing ever overwritten.

A reader accepts or rejects a scan and grades its motion, blind to the outcome. Taking back is a line too, so that the file
tells who thought what, and when. A remark is free text and stays in the cohort folder.
"""

from __future__ import annotations

import csv
import os
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct import __version__
from deepqct.terms import SITES

REVIEWS = "review.csv"
COLUMNS = ("reviewer", "participant_id", "site", "decision", "motion_grade", "remark", "when", "deepqct")
DECISIONS = ("accept", "reject", "undo")
GRADES: tuple[int, ...] = (
    1,
    2,
    3,
    4,
    5,
)  # none to severe motion, as the manufacturer grades it (Sode 2011, doi:10.1016/j.bone.2011.03.755)
_SCAN = ["participant_id", "site"]
_DRAWS = 2000


class ReviewError(ValueError):
    """A decision, or a line of review.csv, that cannot be."""


def read_reviews(folder: Path) -> pd.DataFrame:
    """Every line of review.csv, oldest first; empty if there is none yet.

    Returns
    -------
    DataFrame
        reviewer, participant_id, site, decision, motion_grade, remark, when, deepqct.

    Raises
    ------
    ReviewError
        Naming the row and what is wrong with it.
    """
    path = folder / REVIEWS
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        table = pd.read_csv(path, dtype="string", keep_default_na=False, encoding="utf-8-sig", index_col=False)
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
        raise ReviewError(f"{REVIEWS} has the columns {', '.join(table.columns)}; it needs {', '.join(COLUMNS)}.")
    for row, line in enumerate(table.to_dict("records"), start=2):
        grade = line["motion_grade"]
        for name, known in (("decision", DECISIONS), ("site", tuple(SITES))):
            if line[name] not in known:
                raise ReviewError(f"{REVIEWS}, row {row}: {name} is {line[name]!r}; use one of {', '.join(known)}.")
        if grade and grade not in map(str, GRADES):
            raise ReviewError(f"{REVIEWS}, row {row}: motion_grade is {grade!r}; use 1 to 5, or nothing.")
    return table.assign(motion_grade=pd.to_numeric(table["motion_grade"], errors="coerce"))


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
    """Write one decision at once.

    Parameters
    ----------
    folder : Path
        The cohort folder.
    reviewer : str
        Who decides; initials will do.
    participant_id, site : str
        Of the scan.
    decision : str
        accept, reject, or undo: take back her own standing one.
    motion_grade : int, optional
        1 (none) to 5 (severe).
    remark : str
        Free text; it never leaves the cohort folder.

    Raises
    ------
    ReviewError
        If the decision, the grade or the site is none of these, or nobody decides.
    """
    if not reviewer.strip():
        raise ReviewError("reviewer is empty; say who decides, by initials.")
    if decision not in DECISIONS or site not in SITES:
        raise ReviewError(f"{site!r}, {decision!r} is no decision; use wrist or ankle, and {', '.join(DECISIONS)}.")
    if motion_grade is not None and motion_grade not in GRADES:
        raise ReviewError(f"motion_grade is {motion_grade!r}; use 1 to 5, or nothing.")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    values = [reviewer.strip(), participant_id, site, decision, motion_grade or "", re.sub(r"\s+", " ", remark).strip()]
    _append(folder / REVIEWS, [*values, when, __version__])


def standing(reviews: pd.DataFrame) -> pd.DataFrame:
    """The decision of each reader on each scan that stands: the last one that was not taken back.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.

    Returns
    -------
    DataFrame
        The same columns, in the order of time.
    """
    rows: dict[tuple[str, str, str], list[int]] = {}
    for number, (who, person, site, decision) in enumerate(
        reviews[["reviewer", *_SCAN, "decision"]].itertuples(index=False, name=None)
    ):
        own = rows.setdefault((who, person, site), [])
        if decision != "undo":
            own.append(number)
        elif own:
            own.pop()
    return reviews.iloc[sorted(own[-1] for own in rows.values() if own)].reset_index(drop=True)


def rejected(reviews: pd.DataFrame) -> set[tuple[str, str]]:
    """Scans (participant_id, site) that any reader's standing decision rejects: our choice, on the careful side."""
    found = standing(reviews)
    return set(found.loc[found["decision"] == "reject", _SCAN].itertuples(index=False, name=None))


def still_open(scans: pd.DataFrame, reviews: pd.DataFrame, *, reviewer: str) -> pd.DataFrame:
    """The scans on which this reader has no standing decision, in the order of the table.

    Parameters
    ----------
    scans : DataFrame
        Of the cohort: participant_id, site, and more.
    reviews : DataFrame
        From `read_reviews`.
    reviewer : str
        Who.
    """
    own = standing(reviews[reviews["reviewer"] == reviewer])
    done = set(own[_SCAN].itertuples(index=False, name=None))
    return scans[[pair not in done for pair in scans[_SCAN].itertuples(index=False, name=None)]]


def reviewed(scans: pd.DataFrame, reviews: pd.DataFrame) -> pd.DataFrame:
    """How far each reader is: reviewer, accepted, rejected, open, n.

    Parameters
    ----------
    scans : DataFrame
        Of the cohort: participant_id, site, and more.
    reviews : DataFrame
        From `read_reviews`.
    """
    rows = []
    for who, part in standing(reviews).groupby("reviewer"):
        accepted, refused = (int((part["decision"] == word).sum()) for word in DECISIONS[:2])
        left = len(still_open(scans, reviews, reviewer=str(who)))
        rows.append({"reviewer": who, "accepted": accepted, "rejected": refused, "open": left, "n": len(scans)})
    return pd.DataFrame(rows, columns=["reviewer", "accepted", "rejected", "open", "n"])


def reader_agreement(reviews: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How far each two readers agree on the scans that both judged.

    Parameters
    ----------
    reviews : DataFrame
        From `read_reviews`.
    seed : int
        Of the bootstrap of scans.

    Returns
    -------
    DataFrame
        reader_a, reader_b, what (decision: Cohen's kappa; motion_grade: kappa with quadratic weights), same (share),
        kappa, low, high (95 %, percentile bootstrap), n; NaN where all judgements are one value.

    References
    ----------
    Cohen J (1968), doi:10.1037/h0026256.
    """
    found = standing(reviews)
    readers = sorted(found["reviewer"].unique())
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(readers):
        for other in readers[number + 1 :]:
            for what in ("decision", "motion_grade"):
                a, b = (found[found["reviewer"] == who].set_index(_SCAN)[what].dropna() for who in (one, other))
                both = a.index.intersection(b.index)
                pairs = np.array([a[both].to_numpy(), b[both].to_numpy()], dtype=object)
                rows.append({"reader_a": one, "reader_b": other, "what": what} | _kappas(pairs, what=what, seed=seed))
    columns = ["reader_a", "reader_b", "what", "same", "kappa", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _kappas(pairs: np.ndarray, *, what: str, seed: int) -> dict[str, float]:
    """Kappa with its interval from (2, scans) judgements."""
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
    """Kappa with quadratic weights, which of two levels is the plain one; NaN if chance alone makes all alike."""
    chance = np.mean((a[:, None] - b[None]) ** 2)
    return float(1 - np.mean((a - b) ** 2) / chance) if chance > 0 else float("nan")


def _append(path: Path, values: list[object]) -> None:
    """One line at the end, in one write: two readers at work do not overwrite each other."""
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if not path.exists():
        lines.writerow(COLUMNS)
    lines.writerow(values)
    handle = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        os.write(handle, text.getvalue().encode())
        os.fsync(handle)
    finally:
        os.close(handle)
