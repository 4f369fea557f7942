"""What strength adds on virtual women: its columns against drawn structure, and the index family with and without it.

For 216 women, both limbs, coarse strength; scans that are drawn or curated are kept. The same bones serve both scenarios:
with phenotypes in neither, the same seed draws the same structure, and only the outcome follows it more or less closely. No
network is trained.

    python tests/bench/strength_adds.py reports/bench-strength
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import table

from deepqct.cohort import Cohort, keep_cohort, keep_splits, load_cohort
from deepqct.curation import curate
from deepqct.evaluation import auc, compare_auc
from deepqct.folder import Run, read_table
from deepqct.models import predict_all, tables
from deepqct.models.families import PLUS_STRENGTH, models_table
from deepqct.models.inputs import Tables
from deepqct.models.predict import models_of
from deepqct.terms import BONES, STRENGTH_UNITS
from deepqct.virtual import attainable_auc, draw_women, new_cohort
from deepqct.work import say

WOMEN, FOLDS, REPEATS, VOXEL, SLICES, SEED = 216, 6, 5, 0.12, 24, 7
SCENARIOS = ("literature", "deepqct-like")
DRAWN = ("Tt.Ar", "Ct.Th", "Tb.BV/TV")


def women_of(scenario: str) -> pd.DataFrame:
    """The women with the outcome of a scenario, of the same bones in every scenario."""
    return draw_women(WOMEN, scenario=scenario, separation=0.0, seed=SEED)


def curated(folder: Path, *, women: int, workers: int) -> Run:
    """The run of the first of these women with coarse strength, drawn and curated as far as it is not there."""
    made = new_cohort(
        folder / "women", scenario=SCENARIOS[0], n=WOMEN, voxel_mm=VOXEL, slices=SLICES, phenotype_separation=0.0,
        seed=SEED, workers=workers, progress=partial(_said, what="scans drawn"),
    )  # fmt: skip
    run, cohort = Run(folder / "run"), first_of(load_cohort(made), women)
    run.folder.mkdir(parents=True, exist_ok=True)
    keep_cohort(cohort, run)
    keep_splits(cohort, run, protocols="all", folds=FOLDS, repeats=REPEATS, test_fraction=0.1, seed=SEED)
    curate(cohort, run, image_px=64, strength="coarse", workers=workers, progress=partial(_said, what="scans curated"))
    return run


def first_of(cohort: Cohort, women: int) -> Cohort:
    """The cohort of its first women alone."""
    kept = cohort.participants["participant_id"].head(women)
    people, scans = (one[one["participant_id"].isin(kept)] for one in (cohort.participants, cohort.scans))
    return replace(cohort, participants=people, scans=scans)


def _said(done: int, of: int, *, what: str) -> None:
    if done % 50 == 0 or done == of:
        say(f"{done} of {of} {what}")


def against_structure(run: Run) -> None:
    """The correlation of each strength column with what was drawn."""
    drawn, measured = women_of(SCENARIOS[0]).set_index("participant_id"), read_table(run.indices)
    rows: list[list[object]] = []
    for bone in BONES:
        of_bone = measured[measured["bone"] == bone].set_index("participant_id")
        for name in STRENGTH_UNITS:
            known = of_bone[name].dropna()
            truth = drawn.loc[known.index]
            r = [f"{np.corrcoef(known, truth[f'{bone} {symbol}'])[0, 1]:+.2f}" for symbol in DRAWN]
            rows.append([bone, name, len(known), f"{known.mean():.3g} ({known.std():.2g})", *r])
    table(
        f"Virtual women, {VOXEL} mm, {SLICES} slices, coarse: r of strength with drawn structure.",
        ["", "", "bones", "mean (SD)", *(f"r {symbol}" for symbol in DRAWN)],
        rows,
    )


def with_outcome(run: Run, scenario: str) -> Tables:
    """The tables of the run with the outcome of a scenario, and splits of their own."""
    women, data = women_of(scenario).set_index("participant_id"), tables(run)
    outcome = women["fracture"].reindex(data.outcome.index)
    cohort = load_cohort(run.folder.parent / "women" / "cohort")
    cohort = first_of(cohort, len(outcome))
    people = cohort.participants.assign(fracture=cohort.participants["participant_id"].map(outcome))
    own = Run(run.folder.with_name(f"run-{scenario}"))
    own.folder.mkdir(exist_ok=True)
    keep_splits(
        replace(cohort, participants=people), own, protocols="all", folds=FOLDS, repeats=REPEATS, test_fraction=0.1,
        seed=SEED,
    )  # fmt: skip
    return replace(data, outcome=outcome, splits=read_table(own.splits), scores={}, networks={}, inner={},
                   dictionary={}, texture=())  # fmt: skip


def with_and_without(run: Run) -> None:
    """The AUC of the index family with and without strength, of strength alone, and the paired difference."""
    rows: list[list[object]] = []
    for scenario in SCENARIOS:
        data = with_outcome(run, scenario)
        predictions, models = predict_all(data), models_table(models_of(data))
        best = attainable_auc(scenario, separation=0.0)["pQCT-index all"]
        wide = {key: _scores(part) for key, part in predictions.groupby(["family", "model"])}
        indices = models.query("family == 'pQCT-index' and headline")["model"].item()
        shown = [("pQCT-index", indices), ("pQCT-index", indices + PLUS_STRENGTH)]
        shown += [("Strength", name) for name in (*BONES, indices)] + [("pQCT-index", bone) for bone in BONES]
        for family, name in shown:
            outcome, scores = wide[family, name]
            found = auc(outcome, scores).row()
            rows.append(
                [
                    scenario,
                    f"{family}, {name}",
                    f"{found['n']:.0f}/{found['events']:.0f}",
                    _figure(found),
                    f"{best:.2f}",
                ]
            )
        outcome, stronger = wide[shown[1]]
        apart = compare_auc(outcome, stronger, wide[shown[0]][1]).row()
        rows.append([scenario, "difference by strength", f"{apart['n']:.0f}/{apart['events']:.0f}", _signed(apart), ""])
    table(
        f"Out of fold, {FOLDS} folds, mean of {REPEATS} repeats; nested ridge; the same bones in both scenarios.",
        ["", "", "n/events", "AUC (95 %)", "attainable by all indices"],
        rows,
    )


def _scores(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Outcome (women,) and scores (women, repeats)."""
    wide = part.pivot(index="participant_id", columns="repeat", values="score")
    outcome = part.drop_duplicates("participant_id").set_index("participant_id")["outcome"].reindex(wide.index)
    return outcome.to_numpy(float), wide.to_numpy(float)


def _figure(row: Any) -> str:
    return f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _signed(row: Any) -> str:
    return f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), p {row['p']:.2g}"


def main() -> None:
    """Draw, curate, and show both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--women", type=int, default=WOMEN, help="the first so many alone")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    run = curated(asked.folder, women=asked.women, workers=asked.workers)
    against_structure(run)
    with_and_without(run)


if __name__ == "__main__":
    main()
