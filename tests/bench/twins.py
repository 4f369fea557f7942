"""Virtual women scanned twice: how far apart indices lie, and how much of that registration takes away.

`python tests/bench/twins.py FOLDER --n 40 --voxel 0.0607`: radius and tibia, short stacks, scans in memory. It resumes:
what was measured of a woman is kept in the folder. What differs between two scans is what was put in (turn, shift, noise,
motion 1): no measure of a real scanner's precision. `--part grid` lays each woman once plainly, and again at each of 0, 1
and 2 slices with each of 0, 3 and 6 degrees: up to where registration holds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import table

from deepqct.bones import Bone, BoneError, common_region, find_bones, measure, register
from deepqct.evaluation import Precision, precision
from deepqct.folder import read_table, write_table
from deepqct.terms import SITES, UNITS
from deepqct.virtual import draw_women
from deepqct.virtual.cohort import draw_scan
from deepqct.virtual.twins import Laid, lay_down

SEED = 7
GRID = [(slices, degrees) for slices in (0, 1, 2) for degrees in (0.0, 3.0, 6.0)]
MAIN = ("Tt.vBMD", "Tb.vBMD", "Ct.vBMD", "Tb.BV/TV", "Tb.Th", "Ct.Th")


def bone_of(woman: Any, how: Laid, *, site: str, voxel: float, slices: int) -> tuple[Bone, np.ndarray]:
    """Radius or tibia of one scan, and the middle of its slices in mm."""
    scan = draw_scan(woman, site=site, side="right", voxel_mm=voxel, slices=slices, seed=SEED, how=how)
    return find_bones(scan)[SITES[site][0]], (np.array(scan.native.shape[1:]) - 1) / 2 * voxel


def error_voxels(first: Bone, second: Bone, found: Any, hows: list[Laid], middle: np.ndarray, voxel: float) -> float:
    """Mean distance between where registration puts the bone and where it is, in voxels."""
    index = np.argwhere(first.total)[::997]
    place = (index + np.array(first.origin)) * voxel
    turns = []
    for how in hows:
        c, s = np.cos(np.deg2rad(how.degrees)), np.sin(np.deg2rad(how.degrees))
        turns.append(np.array([[c, -s], [s, c]]))
    limb = (place[:, 1:] - middle - [hows[0].y_mm, hows[0].x_mm]) @ turns[0].T
    true = place + np.array([(hows[0].slices - hows[1].slices) * voxel, 0, 0])
    true[:, 1:] = limb @ turns[1] + middle + [hows[1].y_mm, hows[1].x_mm]
    put = found.to_second(index * voxel) + np.array(second.origin) * voxel
    return float(np.linalg.norm(put - true, axis=1).mean() / voxel)


def pairs(n: int, *, part: str, voxel: float, slices: int, folder: Path) -> pd.DataFrame:
    """Indices of both scans of each woman's radius and tibia, as scanned and in the region that both show."""
    folder.mkdir(parents=True, exist_ok=True)
    women = [woman for _, woman in draw_women(n, scenario="literature", seed=SEED).iterrows()]
    parts = []
    for number, woman in enumerate(women):
        for place, site in enumerate(SITES):
            path = folder / f"{'' if part == 'random' else part + '_'}{number:03d}_{site}_{voxel:g}_{slices}.csv"
            if not path.exists():
                known = {"woman": number, "bone": SITES[site][0]}
                laid = [
                    both_ways(woman, hows, site=site, voxel=voxel, slices=slices, known=known | more)
                    for hows, more in laid_down(part, number, place)
                ]
                write_table(path, pd.concat(laid, ignore_index=True))
            parts.append(read_table(path))
    return pd.concat(parts, ignore_index=True)


def laid_down(part: str, number: int, place: int) -> list[tuple[list[Laid], dict[str, Any]]]:
    """The pairs in which a limb is laid down: once at random, or plainly and then at each place of the grid."""
    if part == "random":
        limb = (SEED, number, place)
        return [([lay_down(k, home=0, scanners=("xt2",), centres=1, seed=limb, cohort_seed=SEED) for k in (1, 2)], {})]
    plain = Laid(1, "xt2", "", 0.0, 0.0, 0.0, 0, 1.0)
    return [
        ([plain, replace(plain, session=2, slices=moved, degrees=turn)], {"slices": moved, "degrees": turn})
        for moved, turn in GRID
    ]


def both_ways(
    woman: Any, hows: list[Laid], *, site: str, voxel: float, slices: int, known: dict[str, Any]
) -> pd.DataFrame:
    """One bone of one woman, scanned twice."""
    number = known["woman"]
    try:
        (first, middle), (second, _) = (bone_of(woman, how, site=site, voxel=voxel, slices=slices) for how in hows)
        found = register(first, second)
        common = common_region(first, second, found)
    except BoneError as error:  # the others go on
        print(f"  woman {number}, {site}: {error}", file=sys.stderr, flush=True)
        return pd.DataFrame([{**known, "error": np.nan, "way": "lost"}])
    known |= {"error": error_voxels(first, second, found, hows, middle, voxel)}
    print(f"  woman {number}, {site}: error {known['error']:.2f} voxels", file=sys.stderr, flush=True)
    ways = (("as scanned", (first, second)), ("registered", common))
    return pd.DataFrame([{**known, "way": way, **measure(bone).to_dict()} for way, both in ways for bone in both])


def noise_gone(rows: pd.DataFrame, symbol: str) -> tuple[Precision, Precision]:
    """Precision of an index as scanned and registered, of the women who have both."""
    whole = rows.groupby("woman")[symbol].transform("count") == 4  # the same women in both ways
    plain, mended = (
        precision(part["woman"], part[symbol])
        for part in (rows[whole & (rows["way"] == way)] for way in ("as scanned", "registered"))
    )
    return plain, mended


def share_gone(plain: Precision, mended: Precision) -> str:
    """The share of SD² that registration takes away, in percent."""
    return f"{100 * (1 - (mended.rms_sd / plain.rms_sd) ** 2):.0f}" if plain.n and plain.rms_sd > 0 else "–"


def grid(found: pd.DataFrame, *, n: int, voxel: float) -> None:
    """A table for each bone: a row for each shift and turn."""
    for bone, rows in found.groupby("bone", sort=False):
        lines = []
        for (moved, turn), cell in rows.groupby(["slices", "degrees"]):
            errors = cell.drop_duplicates("woman")["error"]
            gone = [share_gone(*noise_gone(cell, symbol)) for symbol in MAIN]
            lines.append(
                [moved, f"{turn:.0f}", errors.notna().sum(), f"{errors.mean():.2f}", f"{errors.max():.2f}", *gone]
            )
        title = f"{bone} of {n} virtual women at {1000 * voxel:.1f} µm: registration error, and % of SD² that it "
        table(f"{title}takes away.", ["slices", "degrees", "n", "mean, voxels", "most", *MAIN], lines)


def main() -> None:
    """The tables of precision with and without registration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=("random", "grid"), default="random")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--voxel", type=float, default=0.0607)
    parser.add_argument("--slices", type=int, default=24)
    given = parser.parse_args()
    found = pairs(given.n, part=given.part, voxel=given.voxel, slices=given.slices, folder=given.folder)
    if given.part == "grid":
        grid(found, n=given.n, voxel=given.voxel)
        return
    for bone, rows in found.groupby("bone", sort=False):
        lines = []
        for symbol in (symbol for symbol in UNITS if symbol in rows):
            plain, mended = noise_gone(rows, symbol)
            if plain.n and plain.rms_sd > 0:
                cells = [
                    f"{100 * one.rms_cv:.2f} ({100 * one.rms_cv_low:.2f}–{100 * one.rms_cv_high:.2f})"
                    for one in (plain, mended)
                ]
                lines.append([symbol, *cells, share_gone(plain, mended), plain.degrees_of_freedom])
        head = ["", "RMS-CV %, as scanned", "registered", "% of SD² gone", "df"]
        errors = rows.drop_duplicates("woman")["error"]
        title = f"{bone} of {errors.notna().sum()} of {given.n} virtual women at {1000 * given.voxel:.1f} µm: "
        table(f"{title}registration error {errors.mean():.2f} voxels, at most {errors.max():.2f}.", head, lines)


if __name__ == "__main__":
    sys.exit(main())
