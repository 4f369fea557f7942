"""Other sessions of the same women: curated like the first, beside the run, to tell change from noise."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.sessions import SESSION, WORST_MOTION, YEARS, session_key
from deepqct.curation.curation import CurationError, curate, measured_by_us
from deepqct.curation.registered import registered_indices
from deepqct.evaluation.repeats import Precision, each_scanner, precision
from deepqct.folder import Run, read_json, read_table, write_table
from deepqct.terms import BONES, SITES, STRENGTH_UNITS, UNITS
from deepqct.work import Progress

_COLUMNS = ("bone", "symbol", "unit", "scanner", "mean", *(field.name for field in fields(Precision)))


def curate_repeats(cohort: Cohort, run: Run, **how: Any) -> pd.DataFrame:
    """Curate the scans of the other sessions, each session into a folder of its own, where no model reads.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort; nothing is done where its scans.tsv has no sessions.
    run : Run
        Receives ``sessions/<session>/``: curation.csv, indices.csv, texture.csv and bones/, as of a run.
    **how
        As of `curate`: image_px, unusual, scan_stack, strength, workers, progress. Contours and indices of the scanner's
        software belong to the analysed session and are not used.

    Returns
    -------
    DataFrame
        session, and the columns of `curate`, one row a scan; empty without sessions. A session in which no scan could be
        curated has rows with their reasons.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import fields, replace
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> cohort, run = dq.load_cohort(dq.run.example_run().virtual / "cohort"), dq.Run(Path(tempfile.mkdtemp()))
    >>> again = replace(cohort, repeats=cohort.scans.head(1).set_axis([1]).assign(session="2"))  # as if a second scan
    >>> dq.curation.curate_repeats(again, run, image_px=32)[["session", "status"]].values.tolist()
    [['2', 'curated']]
    >>> run.session("2").indices.exists()
    True
    """
    tables, wanted = [], each_session(cohort)
    _forget_others(run, {session for session, _ in wanted})
    for session, one in wanted:
        of_session = run.session(session)
        with suppress(CurationError):
            curate(one, of_session, **how)
        tables.append(read_table(of_session.curation).assign(session=session))
    if not tables:
        return pd.DataFrame(columns=["session", "participant_id", "site", "status", "reason"])
    table = pd.concat(tables, ignore_index=True)
    return table[["session", *table.columns.drop("session")]]


def _forget_others(run: Run, wanted: set[str]) -> None:
    """Remove the curation of sessions that the cohort has no longer: they would pass for scans that this run read."""
    for known in sorted(run.folder.glob(f"sessions/*/{run.curation.name}")):
        if known.parent.name not in wanted:
            shutil.rmtree(known.parent, ignore_errors=True)


def each_session(cohort: Cohort) -> list[tuple[str, Cohort]]:
    """The other sessions of a cohort, each as a cohort of its own, without what belongs to the analysed session.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    """
    others = cohort.scans.head(0).assign(session="") if cohort.repeats is None else cohort.repeats
    return [
        (
            str(session),
            replace(
                cohort, scans=others[others[SESSION] == session], repeats=None, rejected=frozenset(), contours=None,
                scanner_indices=None,
            ),
        )
        for session in sorted(others[SESSION].unique(), key=session_key)
    ]  # fmt: skip


def repeated_indices(cohort: Cohort, run: Run) -> pd.DataFrame:
    """The indices of all sessions of a curated run, of scans with a motion grade of 3 or better, or none.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        A run with indices.csv and, after `curate_repeats`, the other sessions.

    Returns
    -------
    DataFrame
        participant_id, bone, side, session, years (since her first visit; empty if scans.tsv does not say), analysed
        (whether models see it), scanner (edge of its voxel in mm), centre (a number; empty if scans.tsv has none), and a
        column for each index; empty without sessions.

    Notes
    -----
    One method measures all sessions, ours: with ``indices=scanner`` the analysed scan has our values here, and a bone that
    was measured within the contours of the scanner's software (``contours=scanner``) is left out.
    """
    first = ["participant_id", "bone", "side", SESSION, YEARS, "analysed", "scanner", "centre"]
    if cohort.repeats is None:
        return pd.DataFrame(columns=first)
    scans = cohort.every_scan
    # By number: the name of a centre stays in the cohort folder.
    named = [name if isinstance(name, str) else "" for name in scans.get("centre", [""] * len(scans))]
    number = {"": ""} | {name: str(k) for k, name in enumerate(sorted(set(named) - {""}), start=1)}
    centre = pd.Series([number[name] for name in named], scans.index, dtype=object)
    usable = scans if "motion_grade" not in scans else scans[~(scans["motion_grade"] > WORST_MOTION)]
    pairs = zip(cohort.scans["participant_id"], cohort.scans["site"], strict=True)
    places: dict[str | None, pd.DataFrame] = {None: cohort.scans[[pair not in cohort.rejected for pair in pairs]]}
    places |= {str(name): rows for name, rows in cohort.repeats.groupby(SESSION)}
    site_of, parts = {bone: site for site, bones in SITES.items() for bone in bones}, []
    for name, rows in places.items():
        where = run if name is None else run.session(name)
        if not where.indices.exists():
            continue
        known = rows.loc[rows.index.intersection(usable.index)]
        known = known.assign(centre=centre[known.index], **({} if YEARS in known else {YEARS: float("nan")}))
        curated = read_table(where.curation)
        measured = measured_by_us(curated, where, people=cohort.participants)
        measured = measured.assign(site=measured["bone"].map(site_of))
        both = measured.merge(
            known[["participant_id", "site", "side", SESSION, YEARS, "centre"]], on=["participant_id", "site"]
        )
        records = [
            read_json(where.stack_record(person, bone))
            for person, bone in zip(both["participant_id"], both["bone"], strict=True)
        ]
        both = both.drop(columns="site").assign(
            scanner=[round(record["scan_voxel_mm"][1], 3) for record in records], analysed=name is None
        )
        parts.append(both[[not _within_scanners(*pair) for pair in zip(records, both["bone"], strict=True)]])
    table = pd.concat(parts, ignore_index=True)
    return table[[*first, *table.columns.drop(first)]]


def _within_scanners(record: dict[str, Any], bone: str) -> bool:
    """Whether a bone was measured within the contours of the scanner's software, by its record."""
    made_from = record["made_from"]
    return bool(made_from["use"] == "scanner" and bone in made_from["contours"])


def precision_table(
    cohort: Cohort,
    run: Run,
    *,
    registered: bool = False,
    unusual: str = "refuse",
    workers: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The precision of every index from women with several sessions on one scanner; kept in precision.csv.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    registered : bool
        Measure the first two scans of each woman once more in the region that both show. It reads and measures every such
        scan again, some minutes a pair at full size, so that it is not done by default.
    unusual, workers, progress
        Of that, as in `deepqct.curation.registered.registered_indices`.
    run : Run
        A run after `curate_repeats`; receives repeats.csv, the indices of all sessions, and precision.csv, and loses older
        ones where nobody was scanned again, or twice at one visit.

    Returns
    -------
    DataFrame
        bone, symbol, unit, scanner, mean (of all scans, of women scanned once, too), and the figures of
        `deepqct.evaluation.precision`: a difference below lsc is noise. A row without a scanner is of all together; where
        women were scanned on several, it is followed by a row for each that has repeats (edge of its voxel in mm), whose
        noise may be another. With `registered`, rows of all have the same figures of the registered pairs, such as
        registered_lsc, and gone, the share of the variance of the same scans that registration takes away. Empty where no
        woman was scanned twice on one scanner.

    Notes
    -----
    Women count with scans of one side and voxel size and, where scans.tsv has these columns, of one centre and one visit
    (years): what differs between limbs or scanners, or after years, is no matter of precision.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import fields, replace
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> cohort, run = dq.load_cohort(dq.run.example_run().virtual / "cohort"), dq.Run(Path(tempfile.mkdtemp()))
    >>> one = replace(cohort, scans=cohort.scans.head(1).assign(session="1"))
    >>> again = replace(one, repeats=cohort.scans.head(1).set_axis([1]).assign(session="2"))  # as if a second scan
    >>> _ = dq.curate(one, run, image_px=32), dq.curation.curate_repeats(again, run, image_px=32)
    >>> dq.curation.precision_table(again, run).query("bone == 'radius'")[["symbol", "rms_sd", "n"]].values.tolist()[:2]
    [['Tt.vBMD', 0.0, 1], ['Tb.vBMD', 0.0, 1]]
    """
    table, rows = repeated_indices(cohort, run), []
    units = UNITS | STRENGTH_UNITS
    for bone in BONES:
        of_bone = table[table["bone"] == bone]
        for symbol in [name for name in units if name in of_bone]:
            for scanner, found in each_scanner(of_bone, symbol):
                part = of_bone if scanner is None else of_bone[of_bone["scanner"] == scanner]
                of = {"bone": bone, "symbol": symbol, "unit": units[symbol], "scanner": scanner}
                rows.append({**of, "mean": float(part[symbol].mean()), **found.row()})
    result = pd.DataFrame(rows, columns=list(rows[0]) if rows else list(_COLUMNS)).astype({"scanner": float})
    if registered and len(result):
        how: dict[str, Any] = {"unusual": unusual, "workers": workers, "progress": progress}
        pairs = registered_indices(cohort, run, table, **how)
        mended = _registered_precision(pairs).assign(scanner=float("nan"))
        result = result.merge(mended, on=["bone", "symbol", "scanner"], how="left")
    for path, kept in ((run.precision, result), (run.repeats, table)):
        if len(kept):
            write_table(path, kept)
        else:
            path.unlink(missing_ok=True)
    return result


def _registered_precision(pairs: pd.DataFrame) -> pd.DataFrame:
    """The precision of registered pairs by bone and index, and what registration takes away."""
    rows: list[dict[str, Any]] = []
    names = [field.name for field in fields(Precision)]
    for bone, of_bone in pairs.groupby("bone", sort=False):
        for symbol in UNITS:
            # The share that goes is of the same women: an index may be missing in a small common region.
            whole = of_bone.groupby("participant_id")[symbol].transform("count") == 4
            ways = [of_bone[whole & (of_bone["way"] == way)] for way in ("as scanned", "registered")]
            plain, mended = (precision(part["participant_id"], part[symbol].astype(float)) for part in ways)
            if mended.n:
                gone = 1 - (mended.rms_sd / plain.rms_sd) ** 2 if plain.rms_sd > 0 else float("nan")
                figures = {f"registered_{name}": value for name, value in mended.row().items()}
                rows.append({"bone": bone, "symbol": symbol, **figures, "gone": gone})
    return pd.DataFrame(rows, columns=["bone", "symbol", *(f"registered_{name}" for name in names), "gone"])
