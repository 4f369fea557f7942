"""Scans of which the file became another while a run was at work: known by their content, and said in their rows."""

from __future__ import annotations

import os
from pathlib import Path

from deepqct.cohort.check import load_cohort
from deepqct.cohort.cohort import CohortError
from deepqct.folder import Job, read_table, write_table
from deepqct.run.plan import VIRTUAL, Plan
from deepqct.scans.formats import scan_hash

NOTE = "its file changed during the run, and what was measured is of the earlier one"


def changed_scans(plan: Plan) -> list[str]:
    """The scans whose files are not those that were curated, such as ``sub-0003 wrist``; their rows of curation.csv say so.

    The table keeps its time, so that this note alone makes nothing out of date; the next run curates these scans anew.

    Parameters
    ----------
    plan : Plan
        A run that has just ended.
    """
    run, asked = plan.run, plan.parameters[Job("01_data_curation")]
    if plan.cohort == VIRTUAL or not run.curation.exists():
        return []
    how = {name: asked[name] for name in ("outcome", "horizon", "outside", "pseudonyms")}
    try:
        cohort = load_cohort(asked["cohort_dir"], **how)
    except CohortError:  # its tables changed, too
        return []
    table = read_table(run.curation)
    places = cohort.scans[["participant_id", "site", "file"]].itertuples(index=False, name=None)
    files = {(person, site): cohort.folder / name for person, site, name in places}
    good = table.loc[table["status"] == "curated", ["participant_id", "site", "sha256"]]
    changed = []
    for place, person, site, known in good.itertuples(name=None):
        if (person, site) not in files or not _is(files[person, site], known):
            changed.append(place)
    if changed:
        notes = table["notes"].fillna("").astype(str)
        for row in changed:
            notes[row] = "; ".join(filter(None, [notes[row], NOTE]))
        time = run.curation.stat().st_mtime_ns
        write_table(run.curation, table.assign(notes=notes))
        os.utime(run.curation, ns=(time, time))
    return table.loc[changed, ["participant_id", "site"]].agg(" ".join, axis=1).tolist()


def _is(path: Path, known: str) -> bool:
    """Whether a scan has this hash; not where it is gone, or no longer what a scan can be."""
    try:
        return scan_hash(path) == known
    except (OSError, ValueError):
        return False
