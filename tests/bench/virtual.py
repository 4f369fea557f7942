"""Virtual women measured against what was drawn: short stacks at 61 µm, drawn evenly over the published ranges."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deepqct.bones import BoneError, find_bones, measure, motion_score
from deepqct.bones.quality import PUBLISHED, flags_of_scores
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women, targets
from deepqct.virtual.population import DENSITY_OF_BVTV
from deepqct.work import set_threads

VOXEL, SLICES = 0.0607, 24
SHOWN = ("Tt.Ar", "Ct.Th", "Ct.vBMD", "Ct.Po", "Tb.vBMD", "Tb.BV/TV", "Tb.N", "Tb.Th")


def ranges(bone: str) -> dict[str, tuple[float, float]]:
    """Published range of everything that is drawn; 2 SD around the mean where nothing is published."""
    found = {}
    for index in targets.DRAWN:
        mean, sd = targets.STRUCTURE[bone][index]
        low, high = PUBLISHED.get(bone, {}).get(index, (mean - 2 * sd, mean + 2 * sd))
        least, most = targets.LIMITS.get(index, (-np.inf, np.inf))
        found[index] = (max(low, least), min(high, most))
    return found


def evenly(number: int) -> dict[str, Any]:
    """A woman whose structure is drawn evenly over the ranges."""
    rng = np.random.default_rng([number, 11])
    woman: dict[str, Any] = draw_women(2, seed=number).to_dict("records")[0]
    woman["participant_id"] = f"sub-{number:04d}"
    for bone in (bone for bones in SITES.values() for bone in bones):
        low, high = PUBLISHED.get(bone, PUBLISHED["radius"])["Tb.BV/TV"]
        while True:
            own = {index: rng.uniform(*ends) for index, ends in ranges(bone).items()}
            fraction = own["q"] * own["Tb.N"] * own["Tb.Th"]
            if low <= fraction <= high:
                break
        own |= {"Tb.BV/TV": fraction, "Tb.vBMD": DENSITY_OF_BVTV * fraction}
        woman |= {f"{bone} {index}": value for index, value in own.items()}
    return woman


def one(task: tuple[int, str, bool]) -> list[dict[str, Any]]:
    """Draw, scan and measure one limb."""
    number, site, spread_evenly = task
    set_threads(1)
    woman = evenly(number) if spread_evenly else draw_women(number + 1, seed=31).to_dict("records")[number]
    side = ("left", "right")[number % 2]
    scan = draw_scan(woman, site=site, side=side, voxel_mm=VOXEL, slices=SLICES, seed=11)
    try:
        bones = find_bones(scan)
    except BoneError as error:
        return [{"number": number, "bone": bone, "flags": [str(error)]} for bone in SITES[site]]
    rows = []
    for name, bone in bones.items():
        flags = [*bone.flags, *flags_of_scores(motion_score(bone), np.nan)[0]]
        drawn = {f"drawn {index}": woman[f"{name} {index}"] for index in SHOWN}
        rows.append({"number": number, "bone": name, "flags": flags, **drawn, **measure(bone)})
    return rows


def limbs(n: int, *, spread_evenly: bool) -> pd.DataFrame:
    """Measured and drawn indices of n wrists and n ankles, one row a bone."""
    tasks = [(number, site, spread_evenly) for number in range(n) for site in SITES]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return pd.DataFrame([row for rows in pool.map(one, tasks) for row in rows])


def recovery(table: pd.DataFrame) -> list[list[object]]:
    """Correlation and bias of each index and bone, one row an index."""
    rows: list[list[object]] = []
    for index in SHOWN:
        row: list[object] = [index]
        for _, part in table.groupby("bone", sort=False):
            drawn, found = part[f"drawn {index}"], part[index]
            kept = drawn.notna() & found.notna()
            r = stats.pearsonr(drawn[kept], found[kept])[0]
            row.append(f"{r:.3f} {100 * (found[kept].mean() / drawn[kept].mean() - 1):+.1f} % ({kept.sum()})")
        rows.append(row)
    return rows
