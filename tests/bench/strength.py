"""Micro-finite elements: beside ParOSol on real bone, at a bone's full size, iterations by size, coarse beside full.

`make bench-strength`; an hour and more on 2 cores, so in resumable parts (PART=peers, full, sizes, coarse): what was drawn
and solved lies in a folder and is not done again. Every solve has a process of its own; seconds are those of the call, with
all that it reads and writes, compiled before, by the clock, and those of the processor with interpreter and libraries;
memory is that of the process and of those that it starts, in shares where several use it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from measure import table

from deepqct.bones import Bone, find_bones, strength
from deepqct.bones.failure_load import MODULUS_MPA, critical_strain
from deepqct.bones.indices import tissue_of
from deepqct.bones.micro_fe import TOLERANCE, solve
from deepqct.evaluation import limits_of_agreement
from deepqct.folder import write_json
from deepqct.terms import SITES
from deepqct.virtual import draw_scan, draw_women
from deepqct.work import say

REAL = Path(__file__).parents[3] / "shared" / "real"
MODELS = {"xtremect_tibia_mini": (8748.0, (0.060699,) * 3), "trab1240": (10000.0, (0.0606985, 0.0606997, 0.0606997))}
VOXEL, SLICES, FEWER, WOMEN, CORES, REPEATS, SEED = 0.0607, 168, 48, 5, 2, 3, 1
SIZES = (250_000, 500_000, 1_000_000, 2_000_000)
HERE = Path(__file__).parent


# Jobs, each in a process of its own.


def warm_up() -> None:
    """Compile every step, which is not counted."""
    solve(np.ones((12, 12, 12), np.float32), voxel_mm=(0.1,) * 3, threads=CORES)


def job_model(path: str) -> dict[str, Any]:
    """Solve stored moduli."""
    with np.load(path) as stored:
        moduli, voxel_mm = stored["moduli"], tuple(float(edge) for edge in stored["voxel_mm"])
    warm_up()
    began, start = time.time(), time.perf_counter()
    found = solve(moduli, voxel_mm=voxel_mm, threads=CORES)
    failed = found.reaction_n * 0.007 / critical_strain(found, (moduli > 0).astype(np.float32))
    seconds = time.perf_counter() - start
    return {
        "began": began,
        "seconds": seconds,
        "iterations": found.iterations,
        "residual": found.residual,
        "elements": found.elements,
        "stiffness": found.stiffness_n_mm,
        "failure": failed,
    }


def job_strength(path: str, mode: str) -> dict[str, Any]:
    """The strength of a stored bone."""
    bone = stored_bone(Path(path))
    warm_up()
    began, start = time.time(), time.perf_counter()
    found = strength(bone, mode=mode, threads=CORES)
    return {
        "began": began,
        "seconds": time.perf_counter() - start,
        **{name: float(found[name]) for name in found.index},
    }


def job_draw(folder: str, number: str, site: str, slices: str) -> dict[str, Any]:
    """Draw, scan and cut out the two bones of one limb, and keep them."""
    woman = draw_women(WOMEN, seed=SEED).to_dict("records")[int(number)]
    start = time.perf_counter()
    scan = draw_scan(woman, site=site, side="right", voxel_mm=VOXEL, slices=int(slices), seed=SEED)
    for name, bone in find_bones(scan).items():
        parts = {part: np.packbits(getattr(bone, part)) for part in ("cortical", "trabecular")}
        np.savez(Path(folder) / f"{number}-{name}-{slices}.npz", density=bone.density.astype(np.float16), **parts)
    return {"seconds": time.perf_counter() - start}


def job_crop(path: str, wanted: str, to: str) -> dict[str, Any]:
    """Keep the tissue of a stored bone's middle slices, as many as hold the wanted number of voxels."""
    bone = stored_bone(Path(path))
    tissue = np.logical_or(*tissue_of(bone)[:2])
    middle, slices = len(tissue) // 2, 2
    while slices < len(tissue) and np.count_nonzero(tissue[middle - slices // 2 :][:slices]) < int(wanted):
        slices += 1
    part = tissue[middle - slices // 2 :][:slices]
    np.savez(to, moduli=part * np.float32(MODULUS_MPA["II"]), voxel_mm=np.array(bone.voxel_mm))
    return {"slices": slices}


def stored_bone(path: Path) -> Bone:
    """A bone that was kept by `job_draw`."""
    with np.load(path) as stored:
        density = stored["density"].astype(np.float32)
        masks = {
            part: np.unpackbits(stored[part], count=density.size).reshape(density.shape).astype(bool)
            for part in ("cortical", "trabecular")
        }
    total = masks["cortical"] | masks["trabecular"]
    return Bone(path.name.split("-")[1], density, (VOXEL,) * 3, total, masks["cortical"], masks["trabecular"])


# What starts them, and looks at them from outside.


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; what its last line says, and the most memory that it and those it starts held, in GB.

    ``before_gb`` is what was held when the work began, with the interpreter and its libraries.
    """
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = spent.ru_utime + spent.ru_stime
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    held: list[tuple[float, float]] = []

    def look() -> None:
        top = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            try:
                for one in [top, *top.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except psutil.Error:
                continue  # one ended meanwhile
            held.append((time.time(), total / 1e9))
            time.sleep(0.1)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    said, failed = process.communicate()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {failed.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["cpu_s"] = spent.ru_utime + spent.ru_stime - used
    before = [gb for when, gb in held if when < found.get("began", 0)]
    return found | {"peak_gb": max(gb for _, gb in held), "before_gb": before[-1] if before else 0.0}


def once(folder: Path, name: str, command: list[str]) -> dict[str, Any]:
    """What a command found, from the folder if it was run before."""
    kept = folder / f"{name}.json"
    if not kept.exists():
        say(f"{time.strftime('%H:%M')} {name}")
        write_json(kept, watched(command))
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def ours(folder: Path, name: str, *arguments: object) -> dict[str, Any]:
    """A job of this file, in a process of its own."""
    return once(folder, name, [sys.executable, __file__, "--job", *map(str, arguments)])


def drawn(folder: Path, number: int, bone: str, slices: int) -> Path:
    """A virtual bone, drawn once."""
    (site,) = (site for site, bones in SITES.items() if bone in bones)
    path = folder / f"{number}-{bone}-{slices}.npz"
    if not path.exists():
        ours(folder, f"draw-{number}-{site}-{slices}", "draw", folder, number, site, slices)
    return path


# Parts.


def peers(folder: Path, python: str | None) -> None:
    """Real bone beside ParOSol, in turn."""
    if not REAL.exists():
        say("The real bones are not there; nothing is compared with ParOSol.")
        return
    rows: list[list[object]] = []
    for model, (modulus, voxel_mm) in MODELS.items():
        labels = np.load(REAL / model / "labels.npz")
        bone = labels["labels_zyx" if "labels_zyx" in labels else "labels"] > 0
        path = folder / f"{model}.npz"
        np.savez(path, moduli=bone * np.float32(modulus), voxel_mm=np.array(voxel_mm), tolerance=TOLERANCE, cores=CORES)
        tools: dict[str, list[dict[str, Any]]] = {"deepqct": [], "ParOSol": []}
        for turn in range(REPEATS):
            tools["deepqct"].append(ours(folder, f"{model}-deepqct-{turn}", "model", path))
            if python:
                job = [python, str(HERE / "peers.py"), "strength", str(path)]
                tools["ParOSol"].append(once(folder, f"{model}-parosol-{turn}", job))
        for tool, turns in tools.items():
            if turns:
                found = pd.DataFrame(turns)
                times = (
                    f"{found['seconds'].median():.1f} ({found['seconds'].min():.1f} to {found['seconds'].max():.1f})"
                )
                beyond = (found["peak_gb"] - found["before_gb"]).median()
                last = turns[-1]
                rows.append(
                    [
                        model,
                        tool,
                        times,
                        f"{found['cpu_s'].median():.1f}",
                        f"{found['peak_gb'].median():.2f}",
                        f"{beyond:.2f}",
                        last["iterations"],
                        f"{last['residual']:.1e}",
                        f"{last['stiffness']:.2f}",
                        f"{last['failure']:.3f}",
                    ]
                )
    header = [
        "",
        "",
        "s (least to most)",
        "processor s",
        "peak GB",
        "beyond libraries",
        "iterations",
        "residual",
        "N/mm",
        "failure N",
    ]
    table(f"Real bone, {CORES} cores, {REPEATS} runs each in turn: medians.", header, rows)


def full(folder: Path, _: str | None) -> None:
    """One woman's radius and tibia, all slices."""
    rows: list[list[object]] = []
    for bone in ("radius", "tibia"):
        path = drawn(folder, 0, bone, SLICES)
        for mode in ("full", "coarse"):
            found = ours(folder, f"{bone}-{SLICES}-{mode}", "strength", path, mode)
            rows.append(
                [
                    bone,
                    mode,
                    f"{found['elements']:,.0f}",
                    f"{found['seconds']:.0f}",
                    f"{found['cpu_s']:.0f}",
                    f"{found['peak_gb']:.2f}",
                    f"{found['iterations']:.0f}",
                    f"{found['Stiffness']:.2f}",
                    f"{found['F.Load']:.3f}",
                ]
            )
    header = ["", "", "elements", "s", "processor s", "peak GB", "iterations", "kN/mm", "failure kN"]
    table(f"One virtual woman at {1000 * VOXEL:.1f} µm, {SLICES} slices, {CORES} cores.", header, rows)


def sizes(folder: Path, _: str | None) -> None:
    """Iterations by size: middle slices of one tibia."""
    rows: list[list[object]] = []
    whole = drawn(folder, 0, "tibia", SLICES)
    models = {}
    for wanted in SIZES:
        path = folder / f"tibia-{wanted}.npz"
        cut = ours(folder, f"crop-{wanted}", "crop", whole, wanted, path)
        models[int(cut["slices"])] = ours(folder, f"tibia-{wanted}-solved", "model", path)
    models[SLICES] = ours(folder, f"tibia-{SLICES}-full", "strength", whole, "full")
    for slices, found in models.items():
        rows.append(
            [
                slices,
                f"{found['elements']:,.0f}",
                f"{found['iterations']:.0f}",
                f"{found['seconds']:.0f}",
                f"{found['cpu_s']:.0f}",
                f"{1e6 * found['cpu_s'] / found['elements']:.0f}",
                f"{found['peak_gb']:.2f}",
            ]
        )
    header = ["slices", "elements", "iterations", "s", "processor s", "a million", "peak GB"]
    table(f"Middle slices of one virtual tibia at {1000 * VOXEL:.1f} µm, residual {TOLERANCE:g}.", header, rows)


def coarse(folder: Path, _: str | None) -> None:
    """Coarse beside full, women by four bones."""
    both: dict[str, list[dict[str, Any]]] = {"full": [], "coarse": []}
    for number in range(WOMEN):
        for bone in (bone for bones in SITES.values() for bone in bones):
            path = drawn(folder, number, bone, FEWER)
            for mode, found in both.items():
                found.append(ours(folder, f"{number}-{bone}-{FEWER}-{mode}", "strength", path, mode) | {"bone": bone})
    known = {mode: pd.DataFrame(found) for mode, found in both.items()}
    rows: list[list[object]] = []
    for index in ("Stiffness", "F.Load", "E.App", "Ct.Load.Dist", "Ct.Load.Mid", "Ct.Load.Prox"):
        fine, rough = known["full"][index], known["coarse"][index]
        mean = (fine + rough) / 2
        apart = limits_of_agreement(100 * rough / mean, 100 * fine / mean)
        rows.append(
            [
                index,
                f"{np.corrcoef(fine, rough)[0, 1]:.4f}",
                f"{apart['bias']:+.1f} ({apart['bias_low']:+.1f} to {apart['bias_high']:+.1f})",
                f"{apart['lower']:+.1f} to {apart['upper']:+.1f}",
            ]
        )
    table(
        f"Coarse − full in % of their mean, {len(known['full'])} virtual bones of {WOMEN} women, {FEWER} slices.",
        ["", "r", "bias % (95 % interval)", "limits of agreement %"],
        rows,
    )
    times = [
        [
            mode,
            f"{part['seconds'].median():.1f}",
            f"{part['seconds'].max():.1f}",
            f"{part['cpu_s'].median():.1f}",
            f"{part['elements'].max():,.0f}",
            f"{part['iterations'].max():.0f}",
        ]
        for mode, part in known.items()
    ]
    table("Their time.", ["", "median s", "most s", "median processor s", "most elements", "most iterations"], times)


PARTS: dict[str, Callable[[Path, str | None], None]] = {"peers": peers, "full": full, "sizes": sizes, "coarse": coarse}
JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "model": job_model,
    "strength": job_strength,
    "draw": job_draw,
    "crop": job_crop,
}


def main() -> None:
    """One part or all, or one job of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("reports/bench-strength"))
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--peers", help="the Python that has requirements-peers.txt; without it deepqct stands alone")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(JOBS[given.job[0]](*given.job[1:])))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for part in given.part or PARTS:
        PARTS[part](given.folder, given.peers)


if __name__ == "__main__":
    main()
