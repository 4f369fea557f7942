"""deepqct's part of the benchmark, each job in a process of its own, so that its memory is its own."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import shapes
from measure import Memory
from scipy import ndimage

from deepqct.bones import Bone, find_bones, measure
from deepqct.scans import Scan, read_scan
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native
from deepqct.virtual import draw_scan, draw_women

VOXEL = 0.0607


def warm_up() -> None:
    """Compile every kernel, which is not counted."""
    small = shapes.phantom((12, 80, 80), shell_mm=0.5)
    measure(as_bone(small))
    density, _ = shapes.two_bones("wrist", gap=20, angle=0.0, voxel_mm=0.2, slices=3, rng=np.random.default_rng(0))
    find_bones(Scan(to_native(density), SLOPE / MU_SCALING, INTERCEPT, (0.2,) * 3, "wrist", "right"))


def as_bone(masks: dict[str, np.ndarray]) -> Bone:
    """A bone of exact masks: 900 mgHA/cm³ in marrow, so that segmentation finds the masks again."""
    density = np.full(masks["total"].shape, 20.0, np.float32)
    density[masks["trabecular"]] = -900  # a contrast that the Gaussian cannot move across the thresholds
    density[masks["cortical"] | masks["bone"]] = 2200
    return Bone("radius", density, (VOXEL,) * 3, masks["total"], masks["cortical"], masks["trabecular"])


def small() -> dict[str, Any]:
    """All indices of the small phantom."""
    masks = shapes.phantom((110, 300, 300), voxel_mm=VOXEL)
    warm_up()
    with Memory() as memory:
        began = time.perf_counter()
        values = measure(as_bone(masks))
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gb": memory.all, "values": values.dropna().to_dict()}


def grey(shape: tuple[int, int, int]) -> np.ndarray:
    """The large phantom as a scanner sees it."""
    masks = shapes.phantom(shape, voxel_mm=VOXEL)
    density = np.full(shape, 20.0, np.float32)
    density[masks["trabecular"]] = -30
    density[masks["cortical"] | masks["bone"]] = 1000
    rng = np.random.default_rng(0)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.87)
    seen = ndimage.gaussian_filter(density, 0.065 / VOXEL)
    seen += np.float32(75 / grain.std()) * grain
    return seen


def real() -> dict[str, Any]:
    """Compartments and all indices of a bone in a field of 168 × 500 × 600; an ulna stands beside it."""
    seen = to_native(grey((168, 500, 600)))
    beside = shapes.two_bones("wrist", gap=60, angle=0.0, voxel_mm=VOXEL, slices=1, rng=np.random.default_rng(0))
    density, truth = beside
    ulna = truth["ulna"][0]
    (rows, columns) = ndimage.find_objects(ulna.astype(np.uint8))[0]
    part = to_native(density[:, rows, columns])
    wide = np.full((168, 500, 600 + part.shape[2] + 60), to_native(np.array([20.0]))[0], np.int16)
    wide[:, :, :600] = seen
    wide[:, 100 : 100 + part.shape[1], 630 : 630 + part.shape[2]] = part
    scan = Scan(wide, SLOPE / MU_SCALING, INTERCEPT, (VOXEL,) * 3, "wrist", "right")
    warm_up()
    with Memory() as memory:
        began = time.perf_counter()
        bone = find_bones(scan)["radius"]
        found = time.perf_counter() - began
        values = measure(bone)
        seconds = time.perf_counter() - began
    return {
        "contours_s": found, "seconds": seconds, "peak_gb": memory.all, "values": values.dropna().to_dict(),
        "flags": list(bone.flags),
    }  # fmt: skip


def make_isq(path: str) -> dict[str, Any]:
    """A full ISQ of a virtual wrist in the middle of air."""
    from files import write_isq_header

    woman = draw_women(2, seed=1).to_dict("records")[0]
    native = draw_scan(woman, site="wrist", side="right", voxel_mm=VOXEL, slices=168, seed=1).native
    rng = np.random.default_rng(0)
    y, x = ((2304 - n) // 2 for n in native.shape[1:])
    with Path(path).open("wb") as file:
        file.write(write_isq_header((168, 2304, 2304), um=60.7))
        for one in native:
            air = rng.normal(0, 380, (2304, 2304)).astype("<i2")
            air[y : y + one.shape[0], x : x + one.shape[1]] = one
            file.write(air.tobytes())
    return {"gb": Path(path).stat().st_size / 1e9}


def isq(path: str) -> dict[str, Any]:
    """From the file to both bones with their compartments."""
    warm_up()
    with Memory() as memory:
        began = time.perf_counter()
        scan = read_scan(path, unit="density")
        scan = replace(scan, slope=SLOPE / MU_SCALING, intercept=INTERCEPT, site="wrist", side="right")
        bones = find_bones(scan)
        seconds = time.perf_counter() - began
    boxes = {name: bone.density.shape for name, bone in bones.items()}
    return {"seconds": seconds, "own_gb": memory.own, "peak_gb": memory.all, "boxes": boxes}


def wrist() -> dict[str, Any]:
    """A full-size virtual wrist that lies still."""
    warm_up()
    woman = draw_women(2, seed=1).to_dict("records")[0]
    draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=3, seed=1)
    with Memory() as memory:
        began = time.perf_counter()
        scan = draw_scan(woman, site="wrist", side="right", voxel_mm=VOXEL, slices=168, seed=1)
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    draw_scan(woman, site="wrist", side="right", voxel_mm=0.12, slices=24, seed=1)
    quick = time.perf_counter() - began
    began = time.perf_counter()
    draw_scan(woman, site="wrist", side="right", voxel_mm=0.12, slices=24, seed=1, motion_grade=4)
    moved = time.perf_counter() - began
    return {
        "seconds": seconds, "peak_gb": memory.all, "shape": scan.native.shape, "quick_s": quick, "quick_moved_s": moved,
    }  # fmt: skip


if __name__ == "__main__":
    jobs = {"small": small, "real": real, "make_isq": make_isq, "isq": isq, "wrist": wrist}
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
