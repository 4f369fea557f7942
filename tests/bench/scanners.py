"""Networks across two generations of scanners, on virtual women: what a network learnt on one makes of the other.

`python tests/bench/scanners.py FOLDER --part twins`: radius alone, every woman scanned on an XtremeCT II and on a first
XtremeCT, laid down anew. Parts resume: scans that were drawn, bones that were cut and folds that were trained are kept.
Virtual scanners differ by what is stated of them (blur, voxel, noise); two real ones differ by more.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import table

from deepqct.cohort import Cohort, keep_cohort, keep_splits, load_cohort
from deepqct.curation import curate, curate_repeats, precision_table
from deepqct.evaluation import Estimate, auc, cramers_v, levels, outcome_by_group
from deepqct.folder import Run, read_table, write_table
from deepqct.networks import Recipe, cross_validate, use_device
from deepqct.networks.folds import batch_of, held_out_folds
from deepqct.networks.images import normalised
from deepqct.run_tables import run_outcome
from deepqct.virtual import new_cohort
from deepqct.work import say

WOMEN, FOLDS, VOXEL, SLICES, PX, SEED, BONE = 80, 3, 0.12, 16, 64, 7, "radius"
RECIPE = Recipe(field="bone", images=4, epochs=16, batch_size=8, seed=SEED)  # as in the preset quick
COARSE = VOXEL * 82 / 60.7  # edge of a voxel of the coarser scanner, at this size of voxels
WITH_OUTCOME, WITHOUT = 0.8, 0.2  # share scanned on the coarser scanner, in the confounded cohort


def drawn(folder: Path) -> tuple[Cohort, Run]:
    """The women, scanned on the XtremeCT II (analysed) and on the first XtremeCT; wrists alone are kept."""
    made = new_cohort(
        folder / "women", scenario="deepqct-like", n=WOMEN, voxel_mm=VOXEL, slices=SLICES, seed=SEED, motion=False,
        sessions=2, scanners=("xt2", "xt1"), workers=1, progress=lambda done, of: done % 40 or say(f"{done} of {of} scans"),
    )  # fmt: skip
    wrists = folder / "wrists"
    if not wrists.exists():
        shutil.copytree(made, wrists, symlinks=True, ignore=shutil.ignore_patterns("scans"))
        (wrists / "scans").symlink_to(made / "scans")
        scans = pd.read_csv(made / "scans.tsv", sep="\t", dtype=str).query("site == 'wrist'")
        scans.to_csv(wrists / "scans.tsv", sep="\t", index=False)
    cohort, run = load_cohort(wrists, outcome="fracture", outside="allow"), Run(folder / "run")
    if not run.repeats.exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        keep_cohort(cohort, run)
        keep_splits(cohort, run, protocols="all", folds=FOLDS, repeats=1, test_fraction=0.1, seed=SEED)
        curate(cohort, run, image_px=PX)
        curate_repeats(cohort, run, image_px=PX)
        precision_table(cohort, run)
    return cohort, run


def mixed(folder: Path, run: Run, coarse: pd.Series, *, name: str) -> Run:
    """A run in which some women's bones come from the coarser scanner; nothing else differs."""
    new = Run(folder / name)
    if new.splits.exists():
        return new
    new.bones.mkdir(parents=True, exist_ok=True)
    for person, other in coarse.items():
        source = run.session("2") if other else run
        for file in (source.stack, source.stack_mask, source.stack_record):
            path = file(str(person), BONE)
            shutil.copy(path, new.bones / path.name)
    for path in (run.participants, run.dictionary, run.curation):
        shutil.copy(path, new.folder / path.name)
    for path in (run.indices, run.splits):  # of the women who were scanned on both
        rows = read_table(path)
        write_table(new.folder / path.name, rows[rows["participant_id"].isin(coarse.index)])
    return new


def on_both(run: Run) -> pd.Series:
    """The outcome of the women whose radius was found on both scanners."""
    outcome = run_outcome(run)
    there = [run.stack(str(p), BONE).exists() and run.session("2").stack(str(p), BONE).exists() for p in outcome.index]
    return outcome[there]


def scores_of(trained: Run, seen: Run, *, recipe: Recipe) -> pd.Series:
    """Every woman's score of one set of scans, by the network that did not train on her."""
    parts = []
    for model, items in held_out_folds(trained, bone=BONE, protocol="all", repeat=0, recipe=recipe):
        logits: list[float] = []
        with torch.no_grad():
            for start in range(0, len(items), recipe.batch_size):
                rows = items.iloc[start : start + recipe.batch_size]
                logits += model(normalised(batch_of(seen, rows, bone=BONE, recipe=recipe))).float().reshape(-1).tolist()
        parts.append(pd.Series(logits, items["participant_id"].to_numpy()).groupby(level=0).mean())
    return pd.concat(parts)


def folds_of(run: Run, score: pd.Series) -> pd.Series:
    """The fold of each woman who has a score."""
    return read_table(run.splits).set_index("participant_id")["fold"].reindex(score.index)


def judged(score: pd.Series, run: Run) -> Estimate:
    """The AUC of scores that are taken less the mean of their fold, whose networks have a level of their own."""
    fold = folds_of(run, score)
    return auc(run_outcome(run).reindex(score.index), score - score.groupby(fold).transform("mean"))


def recipes() -> dict[str, Recipe]:
    """Without the match, and with networks that see all scans at the resolution of the coarser scanner."""
    return {"as they are": RECIPE, "matched": replace(RECIPE, match_mm=COARSE)}


def twins(folder: Path) -> None:
    """Trained on the XtremeCT II; scored on it, and on the same women in the first XtremeCT."""
    _, run = drawn(folder)
    rows: list[list[object]] = []
    for name, recipe in recipes().items():
        own = mixed(folder, run, pd.Series(False, on_both(run).index), name=f"fine-{name.split()[0]}")
        cross_validate(own, bone=BONE, recipe=recipe)
        fine, coarse = (scores_of(own, source, recipe=recipe) for source in (run, run.session("2")))
        both = fine.index.intersection(coarse.index)
        level = levels(fine, folds_of(run, fine))
        alike = [part[both] - folds_of(run, part[both]).map(level).astype(float) for part in (fine, coarse)]
        shift, size = alike[1] - alike[0], float(alike[0].std())
        error = 1.96 * shift.std() / np.sqrt(len(both)) / size
        moved = f"{shift.mean() / size:+.2f} (± {error:.2f})"
        rows.append([name, judged(fine, run), judged(coarse, run), moved, f"{np.corrcoef(*alike)[0, 1]:.2f}"])
    head = ["scans", "AUC on XtremeCT II", "on its twins", "mean shift of the score, SDs (95 %, women)", "correlation"]
    table(
        f"Networks of the {BONE} trained on XtremeCT II ({len(on_both(run))} virtual women, one training)", head, rows
    )


def confounded(folder: Path) -> None:
    """The scanner goes with the outcome: trained on both as they come, matched, and on one scanner alone."""
    _, run = drawn(folder)
    outcome = on_both(run)
    rng = np.random.default_rng(SEED)
    coarse = pd.Series(rng.random(len(outcome)) < np.where(outcome == 1, WITH_OUTCOME, WITHOUT), outcome.index)
    say(f"Cramér's V {cramers_v(outcome, coarse):.2f}; scanner alone: AUC {outcome_by_group(outcome, coarse)}")
    rows: list[list[object]] = []
    for name, recipe in recipes().items():
        short = name.split()[0]
        own = mixed(folder, run, coarse, name=f"confounded-{short}")
        other = mixed(folder, run, ~coarse, name="swapped")
        cross_validate(own, bone=BONE, recipe=recipe)
        seen, swapped = (scores_of(own, source, recipe=recipe) for source in (own, other))
        alone = [scores_of(own, source, recipe=recipe) for source in (run, run.session("2"))]
        rows.append(
            [f"both scanners, {name}", judged(seen, run), judged(swapped, run), *(judged(s, run) for s in alone)]
        )
    fine = mixed(folder, run, pd.Series(False, outcome.index), name="fine-as")
    cross_validate(fine, bone=BONE, recipe=RECIPE)
    alone = [scores_of(fine, source, recipe=RECIPE) for source in (run, run.session("2"))]
    rows.append(["one scanner (the warning heeded)", "", "", *(judged(s, run) for s in alone)])
    head = ["trained on", "AUC, out of fold", "on the scanners swapped", "all on XtremeCT II", "all on XtremeCT"]
    table(f"Scanner confounded with the outcome ({len(on_both(run))} virtual women, one training)", head, rows)


PARTS = {"twins": twins, "confounded": confounded}


def main() -> None:
    """One part, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=list(PARTS))
    given = parser.parse_args()
    use_device("cpu")
    torch.set_num_threads(1)
    for part in [given.part] if given.part else PARTS:
        start = time.perf_counter()
        PARTS[part](given.folder.resolve())
        say(f"{part}: {(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    sys.exit(main())
