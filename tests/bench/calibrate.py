"""Fit the maps of deepqct/virtual/steering.py: draw bones with spread knobs, scan, measure, regress; prints the maps.

Takes about 15 minutes on 2 cores: `python tests/bench/calibrate.py [bones.csv]`; the table is kept, and used if there.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct.bones import BoneError, find_bones, measure
from deepqct.terms import SITES
from deepqct.virtual import anatomy, draw_women, steering
from deepqct.virtual.scanner import scan_limb
from deepqct.virtual.trabeculae import Knobs
from deepqct.work import set_threads

LIMBS, VOXEL, SLICES = 120, 0.0607, 24


def one(number: int) -> list[dict[str, Any]]:
    """Draw, scan and measure one limb with knobs of its own; every third is an ankle."""
    set_threads(1)
    site = ("wrist", "wrist", "ankle")[number % 3]
    rng = np.random.default_rng([number, 77])
    woman = draw_women(LIMBS + 1, seed=4).to_dict("records")[number % LIMBS]
    aims = {
        bone: steering.Aim(
            Knobs(rng.uniform(0.40, 1.70), np.exp(rng.uniform(np.log(0.09), np.log(0.24))), rng.uniform(-0.02, 0.22)),
            rng.uniform(0.5, 2.0 if site == "ankle" else 1.6), rng.uniform(780, 1050), rng.uniform(0, 0.12),
            rng.uniform(0, 0.8), rng.uniform(0, 1),
        )
        for bone in SITES[site]
    }  # fmt: skip
    anatomy.aim_of = lambda _, bone: aims[bone]
    anatomy._OFF_CENTRE = 0.0
    density = anatomy.draw_limb(woman, site=site, voxel_mm=VOXEL, slices=SLICES, rng=np.random.default_rng([number, 5]))
    scan = scan_limb(density, voxel_mm=VOXEL, site=site, side="right", rng=np.random.default_rng([number, 6]))
    try:
        found = find_bones(scan)
    except BoneError:
        return []
    return [
        {
            "bone": name, "frequency": aims[name].knobs.frequency, "thickness": aims[name].knobs.thickness_mm,
            "reach": aims[name].knobs.reach_mm, "shell": aims[name].shell_mm, "tissue": aims[name].cortical_tissue,
            "porosity": aims[name].porosity, "flags": "; ".join(bone.flags), **measure(bone),
        }
        for name, bone in found.items()
    ]  # fmt: skip


def regress(wanted: np.ndarray, given: np.ndarray, name: str) -> np.ndarray:
    """Least squares, with what is left over said."""
    found = np.linalg.lstsq(given, wanted, rcond=None)[0]
    rest = wanted - given @ found
    print(f"# {name}: n {len(wanted)}, SD of the rest {rest.std():.3g}, R² {1 - rest.var() / wanted.var():.3f}")
    return found


def fit(table: pd.DataFrame) -> None:
    """Print the maps as they stand in steering.py."""
    q = table["Tb.BV/TV"] / (table["Tb.N"] * table["Tb.Th"])
    near = table["Tb.N"].between(0.45, 2.1) & table["Tb.Th"].between(0.17, 0.36) & table["Tb.BV/TV"].between(0.03, 0.42)
    table = table[(table["flags"].fillna("") == "") & near & q.between(0.4, 0.9)]  # where women may lie
    knobs = steering.features(
        np.log(table["frequency"].to_numpy()), np.log(table["thickness"].to_numpy()), table["reach"].to_numpy()
    )
    network = [regress(np.log(table[i].to_numpy()), knobs, i) for i in ("Tb.N", "Tb.Th", "Tb.BV/TV", "Tb.vBMD")]
    print("NETWORK =", np.round(network, 3).tolist())
    one_, shell = np.ones(len(table)), table["shell"].to_numpy()
    print(
        "SHELL =",
        regress(table["Ct.Th"].to_numpy(), np.column_stack([one_, shell, table["Tb.BV/TV"]]), "Ct.Th").round(3),
    )
    given = np.column_stack([one_, table["tissue"], 1 / shell, table["porosity"]])
    print("TISSUE =", regress(table["Ct.vBMD"].to_numpy(), given, "Ct.vBMD").round(3))
    for bone, part in table.groupby("bone"):
        share = part["porosity"].to_numpy()
        print(
            bone, regress(part["Ct.Po"].to_numpy(), np.column_stack([share, share / part["shell"]]), "Ct.Po").round(3)
        )


if __name__ == "__main__":
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if kept is not None and kept.exists():
        fit(pd.read_csv(kept))
    else:
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            bones = pd.DataFrame([row for rows in pool.map(one, range(LIMBS)) for row in rows])
        if kept is not None:
            bones.to_csv(kept, index=False)
        fit(bones)
