"""What measured indices and texture tell of the part of the risk that no index sees, and how well a bone can be read.

The last columns are the readings that `deepqct.virtual.attainable` takes its ceilings from.

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
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from deepqct.bones import BoneError, find_bones, measure, measure_texture
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women
from deepqct.work import say, side_by_side

STEERED = ("Ct.Th", "Ct.vBMD", "Ct.Po", "Tb.N", "Tb.Th", "Tb.BV/TV")  # by which a bone is drawn, beside its area
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


def explained(values: pd.DataFrame, target: pd.Series) -> float:
    """Cross-validated R² of a target by the better one of a ridge and boosted trees."""
    values = values.fillna(values.median())
    split = KFold(10, shuffle=True, random_state=0)
    ridge = make_pipeline(
        QuantileTransformer(output_distribution="normal", n_quantiles=100), RidgeCV(np.logspace(-3, 4, 15))
    )
    trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    return max(float(r2_score(target, cross_val_predict(m, values, target, cv=split))) for m in (ridge, trees))


def drawn_part(drawn: pd.DataFrame, risk: pd.Series) -> pd.Series:
    """The part of the risk that rests on the drawn indices, by least squares on their normal scores."""
    scores = QuantileTransformer(output_distribution="normal", n_quantiles=100).fit_transform(drawn)
    return pd.Series(LinearRegression().fit(scores, risk).predict(scores), index=drawn.index)


def readings(found: pd.DataFrame, women: pd.DataFrame) -> pd.DataFrame:
    """What is read of each bone, and of the bones of all sites together.

    Parameters
    ----------
    found : DataFrame
        The rows of `limbs`.
    women : DataFrame
        Their rows of `draw_women`.
    """
    found = found[~found["flagged"].astype(bool)]
    parts = {bone: part.set_index("woman") for bone, part in found.groupby("bone", sort=False)}
    seen = {b: part.filter(regex="^(index|texture) ").add_prefix(f"{b} ") for b, part in parts.items()}
    hidden = {bone: part["hidden"] for bone, part in parts.items()}
    if len(parts) > 1:
        seen["all"] = pd.concat(seen.values(), axis=1, join="inner")
        hidden["all"] = women.loc[seen["all"].index, [f"{bone} hidden" for bone in parts]].mean(axis=1)
    rows = []
    for bone, values in seen.items():
        risk = women.loc[values.index, "latent_risk"]
        names = [f"{b} {index}" for b in (parts if bone == "all" else [bone]) for index in (*STEERED, "Tt.Ar")]
        part = drawn_part(women.loc[values.index, names], risk)
        index, texture = (values.filter(regex=f"{kind} ") for kind in ("index", "texture"))
        what = {"indices": index, "texture": texture, "both": values}
        rows.append(
            {"bone": bone, "n": len(values)}
            | {f"hidden from {name}": explained(known, hidden[bone]) for name, known in what.items()}
            | {f"risk from {name}": explained(known, risk) for name, known in what.items()}
            | {f"drawn part from {name}": explained(what[name], part) for name in ("indices", "both")}
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, and say what is seen of what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--women", type=int, default=2000)
    parser.add_argument("--site", action="append", choices=list(SITES))
    parser.add_argument("--scenario", default="deepqct-like")
    given = parser.parse_args()
    sites = given.site or list(SITES)
    found = [measured(given.folder, site=s, women=given.women, scenario=given.scenario) for s in sites]
    rows = readings(pd.concat(found), draw_women(given.women, scenario=given.scenario, seed=SEED))
    table(
        f"Cross-validated R² in {given.women} women, the better one of a ridge and boosted trees.",
        list(rows.columns),
        [[value if isinstance(value, str | int) else f"{value:.3f}" for value in row] for row in rows.to_numpy()],
    )


if __name__ == "__main__":
    sys.exit(main())
