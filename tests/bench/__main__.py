"""`make bench`: accuracy, time and memory of deepqct beside the other open tools, on identical masks, in one run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import shapes
from measure import ask_peers, in_own_process, table

from deepqct.bones import local_thickness

VOXEL = 0.0607
TOOLS = ("localthickness", "porespy", "bone-micro.")


def cases() -> dict[str, list[tuple[np.ndarray, int, float]]]:
    """Shapes by name: masks, margin that is left out, true diameter in voxels."""
    found: dict[str, list[tuple[np.ndarray, int, float]]] = {}
    for width in (2, 3, 4, 5, 6):
        masks = []
        for axis in range(3):
            mask = np.zeros((30, 30, 30), bool)
            np.moveaxis(mask, axis, 0)[12 : 12 + width] = True
            masks.append((mask, 8, float(width)))
        found[f"plate {width}"] = masks
    for width in (3, 4, 5, 8, 12):
        rng, size = np.random.default_rng(width), max(24, 3 * width)
        found[f"oblique plate {width}"] = [
            (shapes.plate(width, size=size, rng=rng), size // 4, float(width)) for _ in range(10)
        ]
    for width in (3, 4, 5, 6, 8, 12):
        rng = np.random.default_rng(width)
        found[f"rod {width}"] = [(shapes.rod(width, size=30, rng=rng), 9, float(width)) for _ in range(10)]
    for width in (3, 4, 5, 6, 8, 12):
        rng = np.random.default_rng(width)
        found[f"ball {width}"] = [(shapes.ball(width, rng=rng), 0, float(width)) for _ in range(10)]
    return found


def ours(mask: np.ndarray, margin: int) -> float:
    """Mean local thickness of the middle of a mask, in voxels."""
    inner = (slice(margin, -margin),) * 3 if margin else (slice(None),) * 3
    return float(local_thickness(mask, voxel_mm=(1.0, 1.0, 1.0))[inner][mask[inner]].mean())


def thickness(peers: str | None) -> None:
    """Error of local thickness by shape and size."""
    shaped = cases()
    packed = {
        f"{name}/{i}": mask.astype(np.int16) + 2 * margin
        for name, masks in shaped.items()
        for i, (mask, margin, _) in enumerate(masks)
    }
    answer = ask_peers(peers, "thickness", **packed)
    tools = TOOLS if answer else ()
    rows = []
    for name, masks in shaped.items():
        errors = {"deepqct": [100 * (ours(mask, margin) / true - 1) for mask, margin, true in masks]}
        for tool in tools:
            errors[tool] = [
                100 * (answer["found"][f"{name}/{i}"][tool] / true - 1) for i, (_, _, true) in enumerate(masks)
            ]
        cells = [f"{np.mean(e):+.1f} ({np.mean(np.abs(e)):.1f}, {np.max(np.abs(e)):.1f})" for e in errors.values()]
        rows.append([name, len(masks), *cells])
    table(
        "Local thickness, diameter in voxels: mean error in % (mean absolute, worst); 2r where a tool gives radii.",
        ["shape", "n", "deepqct", *tools],
        rows,
    )


def small(peers: str | None) -> None:
    """All indices of the small phantom, on identical masks."""
    masks = shapes.phantom((110, 300, 300), voxel_mm=VOXEL)
    truth = {"Tb.Th": 3 * VOXEL, "Tb.Sp": 14 * VOXEL, "Tb.N": 1 / (17 * VOXEL), "Ct.Th": 1.0}
    truth["Tb.BV/TV"] = float(masks["bone"].sum() / masks["trabecular"].sum())
    mine = in_own_process("small")
    answer = ask_peers(peers, "indices", voxel_mm=VOXEL, **{k: m.astype(np.uint8) for k, m in masks.items()})
    rows = []
    for symbol, true in truth.items():
        row: list[object] = [symbol, f"{true:.4f}", f"{mine['values'][symbol]:.4f}"]
        row.append(f"{100 * (mine['values'][symbol] / true - 1):+.1f}")
        if answer:
            value = answer["found"]["values"].get(symbol, float("nan"))
            row += [f"{value:.4f}", f"{100 * (value / true - 1):+.1f}"]
        rows.append(row)
    rows.append(
        ["seconds", "", f"{mine['seconds']:.1f}", "", *([f"{answer['found']['seconds']:.1f}", ""] if answer else [])]
    )
    rows.append(["peak GB", "", f"{mine['peak_gb']:.2f}", "", *([f"{answer['peak_gb']:.2f}", ""] if answer else [])])
    peer = ["bone-micro.", "error %"] if answer else []
    table("Small phantom, 110 × 300 × 300.", ["", "truth", "deepqct", "error %", *peer], rows)
    if answer:
        print(
            f"  all indices {answer['found']['seconds'] / mine['seconds']:.0f} times faster than bone-microarchitecture"
        )


PATIENCE_S = 1200.0  # for the peers at real size; then the ratio is a lower bound


def real(peers: str | None) -> None:
    """Grey values to indices at a real bone's size."""
    mine = in_own_process("real")
    rows = [["deepqct", f"{mine['contours_s']:.0f}", f"{mine['seconds']:.0f}", f"{mine['peak_gb']:.2f}"]]
    answer = None
    if peers:
        sys.path.insert(0, str(Path(__file__).parent))
        from ours import grey

        answer = ask_peers(peers, "whole", limit_s=PATIENCE_S, voxel_mm=VOXEL, density=grey((168, 500, 600)))
    name = "bone-contouring + bone-micro."
    if answer and "stopped_s" in answer:
        contours = answer["before"].get("contours_s")
        rows.append([name, "–" if contours is None else f"{contours:.0f}", f"> {PATIENCE_S:.0f}, stopped", "–"])
    elif answer:
        found = answer["found"]
        rows.append(
            [
                name,
                f"{found['contours_s']:.0f}",
                f"{found['seconds']:.0f}",
                f"{answer['peak_gb']:.2f}",
            ]
        )
    table("Grey values to indices, 168 × 500 × 600.", ["", "contours s", "all s", "peak GB"], rows)
    if answer and "stopped_s" in answer:
        print(f"  more than {PATIENCE_S / mine['seconds']:.0f} times faster")
    elif answer:
        print(f"  {answer['found']['seconds'] / mine['seconds']:.0f} times faster")


def isq(_: str | None) -> None:
    """Memory of a full ISQ."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "full.ISQ")
        size = in_own_process("make_isq", path)["gb"]
        mine = in_own_process("isq", path)
    rows = [
        [f"{size:.2f}", f"{mine['seconds']:.0f}", f"{mine['own_gb']:.2f}", f"{mine['peak_gb']:.2f}", str(mine["boxes"])]
    ]
    table(
        "A full ISQ, file to the boxes of both bones.",
        ["file GB", "seconds", "own GB", "with mapped pages GB", "boxes"],
        rows,
    )


def virtual(_: str | None) -> None:
    """Virtual women: measured against drawn, and how many clean scans carry a flag."""
    from virtual import limbs, recovery

    made = in_own_process("wrist")
    rows = [
        [
            made["shape"],
            f"{made['seconds']:.0f}",
            f"{made['peak_gb']:.2f}",
            f"{made['quick_s']:.1f}",
            f"{made['quick_moved_s']:.1f}",
        ]
    ]
    header = ["full size", "seconds", "peak GB", "quick: at rest s", "moved s"]
    table("Drawing a virtual wrist; quick is 24 slices at 0.12 mm.", header, rows)
    found = limbs(60, spread_evenly=True)
    table(
        "Virtual bones at 61 µm, 24 slices, drawn evenly over the published ranges: r, bias of the mean (n).",
        ["", *found["bone"].unique()],
        recovery(found),
    )
    usual = limbs(20, spread_evenly=False)
    ratio = (usual["Tb.vBMD"] / usual["Tb.BV/TV"]).groupby(usual["bone"], sort=False)
    gap = (usual["Tt.Ar"] - usual["Ct.Ar"] - usual["Tb.Ar"]).abs().max()
    rows = [[bone, f"{part.mean():.0f} ({part.min():.0f} to {part.max():.0f})", f"{gap:.1g}"] for bone, part in ratio]
    table("Identities in the usual women.", ["", "Tb.vBMD / BV/TV", "largest Tt.Ar − Ct.Ar − Tb.Ar, mm²"], rows)
    wrist = usual["bone"].isin(["radius", "ulna"])
    flagged = usual[usual["flags"].map(len) > 0]
    scans = flagged.groupby([flagged["number"], wrist[flagged.index]]).ngroups
    table(
        "Clean virtual scans with a flag.",
        ["scans", "flagged", "flags"],
        [[len(usual) // 2, scans, "; ".join(sorted({flag for flags in flagged["flags"] for flag in flags})) or "none"]],
    )


def texture(_: str | None) -> None:
    """Virtual trabecular texture beside a real piece of radius."""
    from texture import crossings, draw, montage, real_cube, spectrum, virtual_cubes

    real, cubes = real_cube(), virtual_cubes(4)
    rows: list[list[object]] = []
    for name, cube in [("real", real), *((f"virtual {i}", cube) for i, cube in enumerate(cubes))]:
        if cube is not None:
            apart = "" if real is None else f"{np.std(np.log10(spectrum(cube) / spectrum(real))):.3f}"
            rows.append([name, apart, *(f"{c:.2f}" for c in crossings(cube))])
    table(
        "Trabecular texture: spread of the log10 spectrum from the real one's, surfaces crossed a mm along z, y, x.",
        ["", "spectrum", "z", "y", "x"],
        rows,
    )
    folder = Path(tempfile.mkdtemp(prefix="deepqct-bench-"))
    montage(folder / "bones.png")
    if real is not None:
        draw(real, cubes, folder / "texture.png")
    print(f"  pictures in {folder}")


PARTS = {"thickness": thickness, "small": small, "real": real, "isq": isq, "virtual": virtual, "texture": texture}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="the Python that has requirements-peers.txt; without it deepqct stands alone")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    given = parser.parse_args()
    if given.peers is None:
        print("No peers: give their Python by --peers, as `make bench` does.")
    for part in given.only.split(","):
        PARTS[part](given.peers)
