"""A bundle of 216 virtual women on new ones: what it says, when it says nothing, and how far it travels.

In resumable parts: the run and its bundle; four times 40 new women of the same scenario, by forties and together; scans of
which nothing should be said; other cohorts. What was drawn and predicted lies in a folder and is not done again.

    python tests/bench/new_women.py reports/bench-new-women --part new
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import Memory, table
from scipy import ndimage

from deepqct.bundles import Bundle, Predictions, Validation, load_bundle, predict
from deepqct.bundles.card import internal_auc
from deepqct.bundles.validation import judged
from deepqct.folder import Run, write_table
from deepqct.scans import Scan, write_aim
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women
from deepqct.virtual.scanner import NOISE, NOISE_SIGMA_VOXELS, XCT1_MM, XCT2_MM
from deepqct.virtual.twins import Laid
from deepqct.work import say, side_by_side

SCENARIO, VOXEL, SLICES, WOMEN, SEED = "deepqct-like", 0.12, 16, 216, 22
NEW, FORTIES, FAULTY, ELSEWHERE = 40, 4, 20, 60
NEW_SEED, FAULTY_SEED, ELSEWHERE_SEED = 23, 24, 25
NOISIER, OLDER_YEARS = 1.5, 10.0
Drawn = tuple[dict[str, Any], dict[str, Any]]  # a woman, and the row of one of her scans


def run_of(folder: Path) -> Run:
    """The run of the 216 women, made as far as it is not there."""
    out = folder / "run"
    given = [f"n={WOMEN}", f"voxel_mm={VOXEL}", f"slices={SLICES}", f"seed={SEED}", "epochs=5", "strength=none"]
    subprocess.run(
        [sys.executable, "-m", "deepqct", "run", "virtual", *given, "--preset", "quick", "--out", str(out)], check=True
    )
    return Run(out)


def bundle_of(folder: Path) -> Bundle:
    """Its bundle."""
    made = folder / "bundle"
    if not made.exists():
        run_of(folder)
        subprocess.run([sys.executable, "-m", "deepqct", "bundle", str(folder / "run"), "--out", str(made)], check=True)
    return load_bundle(made)


# Women and their scans.


def rows_of(women: pd.DataFrame, *, seed: int, motion: Sequence[int]) -> list[Drawn]:
    """Both limbs of every woman, the side and the grade of motion by chance."""
    rng = np.random.default_rng([seed, 20])
    return [
        (woman, {
            "participant_id": woman["participant_id"], "site": site, "side": str(rng.choice(["left", "right"])),
            "file": f"scans/{woman['participant_id']}_{site}.AIM", "motion_grade": int(rng.choice(motion)),
        })
        for woman in women.to_dict("records")
        for site in SITES
    ]  # fmt: skip


def as_they_are(drawn: Drawn, seed: int) -> Scan:
    """A scan like those of the bundle's women."""
    woman, row = drawn
    return draw_scan(
        woman,
        site=row["site"],
        side=row["side"],
        voxel_mm=VOXEL,
        slices=SLICES,
        seed=seed,
        motion_grade=row["motion_grade"],
    )


def noisier(drawn: Drawn, seed: int) -> Scan:
    """The same with noise of 1.5 times the SD."""
    scan = as_they_are(drawn, seed)
    rng = np.random.default_rng([seed, 99, *drawn[1]["participant_id"].encode()])
    noise = ndimage.gaussian_filter(rng.standard_normal(scan.native.shape), NOISE_SIGMA_VOXELS)
    noise *= (NOISIER**2 - 1) ** 0.5 * NOISE[scan.site or ""] * min(XCT2_MM / VOXEL, 1.0) / noise.std()
    return replace(scan, native=np.clip(scan.native + np.rint(noise / scan.slope), -32768, 32767).astype(np.int16))


def first_scanner(drawn: Drawn, seed: int, *, voxel_mm: float = VOXEL) -> Scan:
    """The same on the first XtremeCT, whose voxels are coarser by 82 to 60.7."""
    woman, row = drawn
    how = Laid(1, "xt1", "", 0.0, 0.0, 0.0, 0, 1.0)
    return draw_scan(
        woman, site=row["site"], side=row["side"], voxel_mm=voxel_mm, slices=round(SLICES * VOXEL / voxel_mm), seed=seed,
        motion_grade=row["motion_grade"], how=how,
    )  # fmt: skip


def first_scanner_fine(drawn: Drawn, seed: int) -> Scan:
    """The first XtremeCT's blur and noise at voxels that the bundle admits."""
    scan = first_scanner(drawn, seed, voxel_mm=VOXEL * XCT2_MM / XCT1_MM)
    return replace(scan, voxel_mm=(VOXEL,) * 3)


def only_noise(drawn: Drawn, seed: int) -> Scan:
    """No bone at all."""
    scan = as_they_are(drawn, seed)
    rng = np.random.default_rng([seed, *drawn[1]["participant_id"].encode()])
    return replace(scan, native=rng.normal(1500, 600, scan.native.shape).astype(np.int16))


def another_site(drawn: Drawn, seed: int) -> Scan:
    """The other limb under this one's name; of half of them the header does not say it."""
    woman, row = drawn
    (other,) = set(SITES) - {row["site"]}
    scan = as_they_are((woman, row | {"site": other}), seed)
    return replace(scan, site=None, side=None) if int(str(row["participant_id"])[4:]) % 2 else scan


def cut(drawn: Drawn, seed: int) -> Scan:
    """A field of view that ends within the greater bone."""
    scan = as_they_are(drawn, seed)
    bone = (scan.density > 300).any(axis=0).any(axis=0)
    first, last = np.flatnonzero(bone)[[0, -1]]
    return replace(scan, native=np.ascontiguousarray(scan.native[:, :, : int(first + 0.6 * (last - first))]))


def phantom(drawn: Drawn, seed: int) -> Scan:
    """Rods of hydroxyapatite in resin."""
    scan = as_they_are(drawn, seed)
    _, y, x = (np.arange(n) * VOXEL for n in scan.native.shape)
    y, x = y[:, None] - y.mean(), x[None] - x.mean()
    density = np.where(np.hypot(y, x) < min(-y.min(), -x.min()) * 0.95, 0.0, -250.0)
    for number, rod in enumerate((0.0, 100.0, 200.0, 400.0, 800.0)):
        angle = 2 * np.pi * number / 5
        density[np.hypot(y - 8 * np.sin(angle), x - 8 * np.cos(angle)) < 4] = rod
    rng = np.random.default_rng([seed, *drawn[1]["participant_id"].encode()])
    noise = ndimage.gaussian_filter(rng.standard_normal(scan.native.shape), NOISE_SIGMA_VOXELS)
    density = density + noise * (40 / noise.std())
    return replace(scan, native=np.rint((density - scan.intercept) / scan.slope).astype(np.int16))


FAULTS: dict[str, Callable[[Drawn, int], Scan]] = {
    "noise": only_noise, "another site": another_site, "motion grade 5": as_they_are, "XtremeCT I": first_scanner,
    "cut bone": cut, "phantom": phantom,
}  # fmt: skip


def written(task: tuple[Drawn, Path], *, make: Callable[[Drawn, int], Scan], seed: int) -> None:
    """One scan, drawn and written as far as it is not there."""
    drawn, folder = task
    path = folder / drawn[1]["file"]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aim(path, make(drawn, seed))


def cohort_of(
    folder: Path, women: pd.DataFrame, rows: list[Drawn], make: Callable[[Drawn, int], Scan], *, seed: int, workers: int
) -> Path:
    """A cohort folder of these women."""
    cohort = folder / "cohort"
    tasks = [(drawn, cohort) for drawn in rows]
    for _ in side_by_side(partial(written, make=make, seed=seed), tasks, workers=workers if workers > 1 else 0):
        pass
    hidden = [name for name in women if any(mark in name for mark in ("latent", "hidden")) or " " in name]
    write_table(cohort / "participants.tsv", women.drop(columns=hidden))
    write_table(cohort / "scans.tsv", pd.DataFrame([row for _, row in rows]))
    return cohort


# What the bundle says.


def said(bundle: Bundle, cohort: Path, workers: int) -> Predictions:
    """Its predictions; how long they took and what they held is printed."""
    began = time.perf_counter()
    with Memory() as memory:
        found = predict(bundle, [cohort], workers=workers if workers > 1 else 0)
    seconds, scans = time.perf_counter() - began, len(pd.read_csv(cohort / "scans.tsv", sep="\t"))
    say(f"{cohort.parent.name}: {scans} scans, {seconds / scans:.1f} s a scan, {memory.all:.2f} GB in this process")
    write_table(cohort.parent / "predictions.csv", found.table)
    return found


def judged_by_outcome(predictions: Predictions, women: pd.DataFrame) -> Validation:
    """Beside the outcome."""
    people = women.set_index("participant_id")
    return judged(predictions, outcome=people[predictions.bundle.content.made.outcome].astype(int), people=people)


def figure(row: Any) -> str:
    return f"{row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def of_reported(found: Validation) -> dict[str, str]:
    """AUC, calibration in the large and slope of the model whose risk is reported."""
    content = found.predictions.bundle.content
    own = found.performance[found.performance["family"] == content.models[content.primary].model.family]
    own = own[own["model"] == content.models[content.primary].model.name].set_index("measure")
    return {name: figure(own.loc[name]) for name in ("AUC", "intercept", "slope")} | {
        "n/events": f"{own.loc['AUC', 'n']:.0f}/{own.loc['AUC', 'events']:.0f}"
    }


def of_these(predictions: Predictions, people: set[str]) -> Predictions:
    """What is said of some of the women."""
    by_model = predictions.by_model
    return replace(
        predictions,
        women=tuple(woman for woman in predictions.women if woman.participant_id in people),
        by_model=by_model[by_model["participant_id"].isin(people)],
    )


def new(folder: Path, workers: int) -> None:
    """New women lying still, by forties and together, and the first 40 moving as often as real ones."""
    bundle = bundle_of(folder)
    women = draw_women(FORTIES * NEW, scenario=SCENARIO, seed=NEW_SEED)
    first = women.head(NEW)
    cohort = cohort_of(
        folder / "new, still", women, rows_of(women, seed=NEW_SEED, motion=[1]), as_they_are, seed=NEW_SEED,
        workers=workers,
    )  # fmt: skip
    still = said(bundle, cohort, workers)
    moving = np.repeat([1, 2, 3, 4, 5], [30, 30, 25, 10, 5])  # about as real scans
    cohort = cohort_of(
        folder / "new, moving", first, rows_of(first, seed=NEW_SEED, motion=moving), as_they_are, seed=NEW_SEED,
        workers=workers,
    )  # fmt: skip
    groups = [(f"{NEW} still, number {n + 1}", women.iloc[n * NEW : (n + 1) * NEW], still) for n in range(FORTIES)]
    groups += [("all of them", women, still), (f"{NEW} moving", first, said(bundle, cohort, workers))]
    rows = []
    for name, those, predictions in groups:
        found = judged_by_outcome(of_these(predictions, set(those["participant_id"])), those)
        given = found.predictions.table
        drawn = those.set_index("participant_id")["latent_risk"].reindex(given["participant_id"]).to_numpy()
        rank = given["risk"].corr(pd.Series(drawn), method="spearman")
        rows.append([name, f"{(given['status'] != 'predicted').sum()} of {len(given)}", *of_reported(found).values(),
                     f"{rank:.2f}"])  # fmt: skip
    inside = internal_auc(bundle.card, bundle.content)
    rows.append(["internal, out of fold", "", str(inside), "", "", "", ""])
    header = ["", "abstained", "AUC", "in the large", "slope", "n/events", "rank correlation with the drawn risk"]
    table("New women of the same scenario.", header, rows)


def abstain(folder: Path, workers: int) -> None:
    """Scans of which nothing should be said."""
    bundle = bundle_of(folder)
    women = draw_women(FAULTY, scenario=SCENARIO, seed=FAULTY_SEED)
    rows = []
    for name, make in FAULTS.items():
        drawn = rows_of(women, seed=FAULTY_SEED, motion=[5 if name == "motion grade 5" else 1])
        site = "wrist" if name != "cut bone" else "ankle"
        one = [(woman, row) for woman, row in drawn if row["site"] == site]
        cohort = cohort_of(folder / name, women, one, make, seed=FAULTY_SEED, workers=workers)
        found = said(bundle, cohort, workers).table
        reasons = found["reasons"].astype(str).str.replace(r"[\d.]+", "#", regex=True)
        most = reasons[found["status"] != "predicted"].value_counts()
        rows.append(
            [name, f"{(found['status'] != 'predicted').sum()} of {len(found)}", *most.index[:1].str.slice(0, 110)]
        )
    table("Scans of which nothing should be said.", ["", "abstained", "most often, because"],
          [row + [""] * (3 - len(row)) for row in rows])  # fmt: skip


def elsewhere(folder: Path, workers: int) -> None:
    """Other cohorts, before and after recalibration."""
    bundle = bundle_of(folder)
    many = draw_women(8 * ELSEWHERE, scenario=SCENARIO, seed=ELSEWHERE_SEED)
    same = many.head(ELSEWHERE)
    cases, others = (many[many["fracture"] == value].iloc[ELSEWHERE:] for value in (1, 0))
    some = round(ELSEWHERE * same["fracture"].mean() / 2)
    fewer = pd.concat([cases.head(some), others.head(ELSEWHERE - some)])
    old = many.sort_values("age")
    far = (old["age"].rolling(ELSEWHERE).mean() - same["age"].mean() - OLDER_YEARS).abs().to_numpy()
    last = int(np.nanargmin(far))
    older = old.iloc[last - ELSEWHERE + 1 : last + 1]
    places: dict[str, tuple[pd.DataFrame, Callable[[Drawn, int], Scan]]] = {
        "same scenario": (same, as_they_are),
        f"noise × {NOISIER}": (same, noisier),
        "XtremeCT I": (same, first_scanner),
        "XtremeCT I's blur and noise": (same, first_scanner_fine),
        "half as many fractures": (fewer, as_they_are),
        f"{older['age'].mean() - same['age'].mean():.0f} years older": (older, as_they_are),
    }
    rows: list[list[object]] = []
    for name, (women, make) in places.items():
        women = women.reset_index(drop=True)
        drawn = rows_of(women, seed=ELSEWHERE_SEED, motion=[1, 1, 2])
        cohort = cohort_of(folder / name, women, drawn, make, seed=ELSEWHERE_SEED, workers=workers)
        predictions = said(bundle, cohort, workers)
        given = int((predictions.table["status"] == "predicted").sum())
        if not given:
            rows.append([name, f"0 of {len(women)}", *[""] * 6, predictions.table["reasons"].iloc[0][:110]])
            continue
        found = judged_by_outcome(predictions, women)
        write_table(folder / name / "recalibration.csv", found.recalibration)
        got = of_reported(found)
        loss = found.recalibration.set_index("method")
        after = [f"{loss.loc['as it is', 'log_loss']:.3f}"] + [
            f"{loss.loc[way, 'log_loss']:.3f}, {loss.loc[way, 'estimate']:+.3f} ({loss.loc[way, 'low']:+.3f} to "
            f"{loss.loc[way, 'high']:+.3f})"
            for way in ("intercept", "intercept and slope")
        ]
        rows.append([name, f"{given} of {len(women)}", *got.values(), *after])
    header = ["", "given", "AUC", "in the large", "slope", "n/events", "log loss", "intercept mended", "and slope"]
    table("A frozen bundle elsewhere.", header, rows)


PARTS: dict[str, Callable[[Path, int], None]] = {"new": new, "abstain": abstain, "elsewhere": elsewhere}


def main() -> None:
    """Do the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=["run", *PARTS])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    bundle_of(asked.folder)
    for name, part in PARTS.items():
        if asked.part in (None, name):
            part(asked.folder, asked.workers)


if __name__ == "__main__":
    main()
