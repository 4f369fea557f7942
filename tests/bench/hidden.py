"""What measured indices and texture tell of the part of the risk that no index sees, and what a reader could reach.

Draws limbs, scans them at 0.12 mm in stacks of 16 slices, and measures every bone; each limb that is done is kept, so that
an interrupted bench goes on: `python tests/bench/hidden.py FOLDER [--women 2000] [--site wrist]`. About 1.2 s a limb.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import table
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from deepqct.bones import BoneError, find_bones, measure, measure_texture
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women
from deepqct.work import say, side_by_side

VOXEL, SLICES, SEED, PART = 0.12, 16, 2026, 50


def limbs(first: int, *, site: str, women: int, scenario: str, seed: int = SEED) -> list[dict[str, Any]]:
    """Measure the limbs of some women, one row a bone: indices, texture and the truth."""
    rows = []
    for number, woman in list(enumerate(draw_women(women, scenario=scenario, seed=seed).to_dict("records")))[
        first : first + PART
    ]:
        scan = draw_scan(woman, site=site, side="right", voxel_mm=VOXEL, slices=SLICES, seed=seed)
        try:
            bones = find_bones(scan)
        except BoneError:
            continue
        for name, bone in bones.items():
            truth = {"woman": number, "bone": name, "hidden": woman[f"{name} hidden"], "risk": woman["latent_risk"]}
            seen = {f"texture {key}": value for key, value in measure_texture(bone).items()}
            rows.append(
                truth | {"flagged": bool(bone.flags)} | {f"index {k}": v for k, v in measure(bone).items()} | seen
            )
    return rows


def measured(folder: Path, *, site: str, women: int, scenario: str) -> pd.DataFrame:
    """All rows of a site; parts that are there are not measured again."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {first: folder / f"{scenario}_{site}_{women}_{first:05d}.csv" for first in range(0, women, PART)}
    missing = [first for first, path in parts.items() if not path.exists()]
    do = partial(_keep, folder=folder, site=site, women=women, scenario=scenario)
    for done, _ in enumerate(side_by_side(do, missing, workers=os.cpu_count() or 1), start=1):
        say(f"{done} of {len(missing)} parts of {PART} limbs")
    return pd.concat([pd.read_csv(path) for path in parts.values()], ignore_index=True)


def _keep(first: int, *, folder: Path, site: str, women: int, scenario: str) -> None:
    path = folder / f"{scenario}_{site}_{women}_{first:05d}.csv"
    pd.DataFrame(limbs(first, site=site, women=women, scenario=scenario)).to_csv(path.with_suffix(".part"), index=False)
    path.with_suffix(".part").rename(path)


def explained(values: pd.DataFrame, target: pd.Series) -> tuple[float, float]:
    """Cross-validated R² of a target by a ridge and by boosted trees."""
    values = values.fillna(values.median())
    split = KFold(10, shuffle=True, random_state=0)
    ridge = make_pipeline(
        QuantileTransformer(output_distribution="normal", n_quantiles=100), RidgeCV(np.logspace(-3, 4, 15))
    )
    trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    return tuple(float(r2_score(target, cross_val_predict(m, values, target, cv=split))) for m in (ridge, trees))


def main() -> None:
    """Measure, and say what is seen of what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--women", type=int, default=2000)
    parser.add_argument("--site", action="append", choices=list(SITES))
    parser.add_argument("--scenario", default="deepqct-like")
    given = parser.parse_args()
    rows: list[list[object]] = []
    for site in given.site or SITES:
        found = measured(given.folder, site=site, women=given.women, scenario=given.scenario)
        for bone, part in found[~found["flagged"]].groupby("bone", sort=False):
            index, tex = part.filter(like="index "), part.filter(like="texture ")
            for name, values in (("indices", index), ("texture", tex), ("both", pd.concat([index, tex], axis=1))):
                hidden, risk = explained(values, part["hidden"]), explained(values, part["risk"])
                rows.append([bone, len(part), name, *(f"{r:.3f}" for r in (*hidden, *risk))])
    table(
        f"Cross-validated R² in {given.women} women.",
        ["", "n", "from", "hidden, ridge", "hidden, boosted", "risk, ridge", "risk, boosted"],
        rows,
    )


if __name__ == "__main__":
    sys.exit(main())
