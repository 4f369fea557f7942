"""Which scanners and protocols a cohort was scanned with, and whether they go with the outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.cohort.sessions import BY
from deepqct.evaluation.confounding import CONFOUNDED_P, CONFOUNDED_V, by_chance, cramers_v, outcome_by_group
from deepqct.evaluation.discrimination import Estimate
from deepqct.folder import Run, write_table
from deepqct.scans.formats import read_head
from deepqct.scans.stored import PROTOCOL, SOFTWARE, Head, ScanError

GENERATION = "scanner generation"  # by the headers of her scans


def scan_heads(cohort: Cohort) -> dict[int, Head]:
    """The headers of all scans of a cohort, by the index of their rows; files that cannot be read are left out.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.cohort.scanners import scan_heads
    >>> heads = scan_heads(dq.load_cohort(dq.run.example_run().virtual / "cohort"))
    >>> len(heads), heads[0].site
    (24, 'wrist')
    """
    heads = {}
    for row, file in cohort.every_scan["file"].items():
        try:
            heads[int(str(row))] = read_head(cohort.folder / file)
        except (ScanError, OSError):  # the check of the scans says why
            continue
    return heads


def protocol_table(cohort: Cohort, heads: dict[int, Head] | None = None) -> pd.DataFrame:
    """How the scans of a cohort were made, by their headers: no date, no name, no number of a patient.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    heads : dict, optional
        From `scan_heads`; they are read if not given.

    Returns
    -------
    DataFrame
        site, what (scanner generation, energy, current, integration time, voxel, slices, distance of the first slice from
        the reference line, version of the software or of its files, …), values (each with its number of scans, the most
        frequent first; "not stated" where headers are silent), differs (True where there is more than one).

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.cohort.protocol_table(dq.load_cohort(dq.run.example_run().virtual / "cohort"))
    >>> table.query("what == 'voxel, mm'")[["site", "values", "differs"]].to_dict("records")
    [{'site': 'wrist', 'values': '0.3 (12)', 'differs': False}, {'site': 'ankle', 'values': '0.3 (12)', 'differs': False}]
    """
    heads, rows = scan_heads(cohort) if heads is None else heads, []
    sites = cohort.every_scan["site"]
    for site in dict.fromkeys(sites):
        of_site = [head for row, head in heads.items() if sites[row] == site]
        for what in (GENERATION, *PROTOCOL, SOFTWARE):
            said = [head.scanner if what == GENERATION else head.protocol.get(what) for head in of_site]
            counts = Counter("not stated" if value is None else _written(value) for value in said)
            if set(counts) - {"not stated"}:
                values = ", ".join(f"{value} ({n})" for value, n in counts.most_common())
                rows.append({"site": site, "what": what, "values": values, "differs": len(counts) > 1})
    return pd.DataFrame(rows, columns=["site", "what", "values", "differs"])


def keep_protocol(cohort: Cohort, run: Run) -> pd.DataFrame:
    """Write how the scans were made, and whether scanner or centre goes with the outcome, into the run folder.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives protocol.csv and scanners.csv; centres and scanners are numbered there, since their names stay in the
        cohort folder.

    Returns
    -------
    DataFrame
        From `protocol_table`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> table = dq.cohort.keep_protocol(dq.load_cohort(dq.run.example_run().virtual / "cohort"), run)
    >>> sorted(file.name for file in run.folder.iterdir()), bool(table["differs"].any())
    (['protocol.csv', 'scanners.csv'], False)
    """
    heads = scan_heads(cohort)
    table, people = protocol_table(cohort, heads), cohort.participants
    numbered = {}
    for name in [name for name in BY if name in people]:
        names = sorted(people[name].dropna().unique(), key=str)
        numbered[name] = people[name].map({each: f"{name} {number}" for number, each in enumerate(names, start=1)})
    found = scanner_and_outcome(replace(cohort, participants=people.assign(**numbered)), heads)
    write_table(run.protocol, table)
    write_table(run.scanners, found)
    return table


def scanner_and_outcome(cohort: Cohort, heads: dict[int, Head] | None = None) -> pd.DataFrame:
    """Whether scanner or centre goes with the outcome, so that a network could read it in place of the bone.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort. Its participants may have the columns ``centre`` and ``scanner``.
    heads : dict, optional
        From `scan_heads`; they are read if not given.

    Returns
    -------
    DataFrame
        by (centre, scanner, or scanner generation by the headers), groups (each with its patients and events), v (Cramér's
        V, bias-corrected; NaN where each patient is a group of her own), p (how often chance gives as much), estimate, low,
        high (AUC of a model that reads nothing else), chance (the AUC that chance gives it on average), n, events, warn
        (True from V .2 on, where p is below .05). Only what has more than one group is listed.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import deepqct as dq
    >>> cohort = dq.load_cohort(dq.run.example_run().virtual / "cohort")
    >>> people = cohort.participants
    >>> scanned = replace(cohort, participants=people.assign(centre=people["fracture"].map({0: "A", 1: "B"})))
    >>> found = dq.cohort.scanner_and_outcome(scanned)
    >>> found[["by", "groups", "estimate", "warn"]].to_dict("records")
    [{'by': 'centre', 'groups': 'A: 7, 0 events; B: 5, 5 events', 'estimate': 1.0, 'warn': True}]
    """
    people = cohort.participants.set_index("participant_id")
    groups = {name: people[name].map(_written, na_action="ignore") for name in BY if name in people}
    groups[GENERATION] = _generations(cohort, scan_heads(cohort) if heads is None else heads)
    rows = []
    for by, group in groups.items():
        known = group.reindex(people.index).dropna()
        if known.nunique() < 2:
            continue
        outcome = cohort.target.groups[known.index]
        counted = outcome.groupby(known).agg(["size", "sum"])
        said = "; ".join(f"{name}: {size}, {events} events" for name, size, events in counted.itertuples(name=None))
        v, chance = cramers_v(outcome, known), by_chance(outcome, known)
        warn = bool(v >= CONFOUNDED_V and chance.p < CONFOUNDED_P)
        read = {**outcome_by_group(outcome, known).row(), "chance": chance.auc, "warn": warn}
        rows.append({"by": by, "groups": said, "v": v, "p": chance.p, **read})
    names = ["by", "groups", "v", "p", "estimate", "low", "high", "chance", "n", "events", "warn"]
    return pd.DataFrame(rows, columns=names)


def scanner_warnings(table: pd.DataFrame, *, outcome: str) -> list[str]:
    """What `scanner_and_outcome` found, one sentence for each scanner or centre that goes with the outcome.

    Parameters
    ----------
    table : DataFrame
        From `scanner_and_outcome`.
    outcome : str
        The name of the target column.
    """
    said = []
    for row in table[table["warn"]].to_dict("records"):
        by, area = row["by"], Estimate.of(row)
        reached = (
            f"a model that reads nothing but the {by} has an AUC of {area}, where chance alone would give "
            f"{row['chance']:.2f}"
            if area.estimable
            else f"too few events to say what the {by} alone would reach"
        )
        said.append(
            f"Warning: the {by} goes with {outcome} (Cramér's V {row['v']:.2f}; {row['groups']}): {reached}, and a network "
            "can read a scanner from its pixels; judge within one, match, or scan more women of the rarer kind."
        )
    return said


def _generations(cohort: Cohort, heads: dict[int, Head]) -> pd.Series:
    """The generation of the scanner of each patient by her headers; ``several`` where they differ."""
    scans = cohort.scans
    stated = pd.Series({row: head.scanner for row, head in heads.items() if row in scans.index}, dtype=object).dropna()
    by_woman = stated.groupby(scans.loc[stated.index, "participant_id"])
    return by_woman.agg(lambda names: names.iloc[0] if names.nunique() == 1 else "several")


def _written(value: object) -> str:
    """A value as it stands in a table: whole numbers without a point."""
    return f"{value:g}" if isinstance(value, float) else str(value)
