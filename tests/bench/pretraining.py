"""Pretrained weights: what they read on bone that another generator made, and on real bone, and what they are worth.

    python tests/bench/pretraining.py train OUT --samples 200000 --workers 16
    python tests/bench/pretraining.py read OUT/weights.safetensors --real FOLDER
    python tests/bench/pretraining.py gains OUT/weights.safetensors RUN [RUN ...] --women 100 --women 216

`read` holds up the reader to two families of structure that share nothing with `deepqct.virtual`: thresholded random
waves, and rods and plates on a jittered lattice; and to windows of real scans (AIM, or npz of grey values or labels) in a
folder. BV/TV must follow at r 0.9 or more. `gains` trains on some of the women of curated runs with and without the
weights, beside a ridge on frozen features and one on the indices. A graphics card is used where there is one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from measure import table
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from deepqct.bones.find import Bone
from deepqct.evaluation import auc, compare_auc
from deepqct.folder import Run, read_json, read_table, write_table
from deepqct.models.classifiers import cross_predict
from deepqct.networks import Pretraining, Recipe, cross_validate, frozen_features, load_reader, pretrain, use_device
from deepqct.networks.pretraining import Reader, agreement
from deepqct.networks.stream import Seen, as_seen, at_pixels, cut_image, from_piece
from deepqct.run_tables import run_outcome, wide_indices
from deepqct.work import say

Field = NDArray[np.float32]

LEAST_R = 0.9  # of BV/TV, on windows
PIECES, WINDOWS = 60, 4
REAL_PIXEL_MM, REAL_PIXELS, REAL_WINDOWS = 0.10, 32, 40  # the smallest pixels of pretraining: the cubes are small


def waves(rng: np.random.Generator, shape: tuple[int, int, int], voxel: float) -> Field:
    """The share of bone where isotropic random waves lie above a level: blobs and saddles, no sheets and no rods."""
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*(fft.fftfreq(n, voxel) for n in shape), indexing="ij")))
    band = np.exp(-0.5 * ((k - rng.uniform(0.4, 1.1)) / rng.uniform(0.08, 0.25)) ** 2)
    field = fft.ifftn(fft.fftn(rng.standard_normal(shape)) * band).real
    field /= field.std()
    slope = np.sqrt(sum(g**2 for g in np.gradient(field, voxel))) + 0.3
    return np.clip(0.5 + (field - rng.uniform(0.1, 1.5)) / slope / voxel, 0, 1).astype(np.float32)


def lattice(rng: np.random.Generator, shape: tuple[int, int, int], voxel: float) -> Field:
    """The share of bone of straight rods between the nodes of a jittered lattice, and of plates in some of its faces."""
    edge, jitter = rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.35)
    many = [int(n * voxel / edge) + 4 for n in shape]
    node = np.stack(np.meshgrid(*(np.arange(m) - 1.5 for m in many), indexing="ij"), axis=-1)
    node = (node + rng.uniform(-jitter, jitter, node.shape)) * edge
    kept, plates = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.4)
    points, steps = [], np.linspace(0, 1, max(int(edge / 0.04), 4))
    for axis in range(3):
        start, end = (np.moveaxis(node, axis, 0)[part].reshape(-1, 3) for part in (slice(None, -1), slice(1, None)))
        there = rng.random(len(start)) < kept
        points.append((start[there, None] + steps[:, None] * (end - start)[there, None]).reshape(-1, 3))
        first, second = (a for a in range(3) if a != axis)
        corners = [np.roll(np.roll(node, -i, axis=first), -j, axis=second) for i in (0, 1) for j in (0, 1)]
        inner = tuple(slice(None, -1) if a != axis else slice(None) for a in range(3))
        a, b, c, d = (corner[inner].reshape(-1, 1, 1, 3) for corner in corners)
        there = rng.random(len(a)) < plates
        u, v = steps[:, None, None], steps[None, :, None]
        face = (1 - u) * (1 - v) * a[there] + (1 - u) * v * b[there] + u * (1 - v) * c[there] + u * v * d[there]
        points.append(face.reshape(-1, 3))
    grid = np.stack(np.meshgrid(*(np.arange(n) * voxel for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    away, _ = cKDTree(np.concatenate(points)).query(grid, distance_upper_bound=0.5)
    away = np.minimum(away, 0.5).reshape(shape)
    return np.clip(0.5 + (rng.uniform(0.07, 0.14) - away) / voxel, 0, 1).astype(np.float32)


FAMILIES: dict[str, Callable[..., Field]] = {"random waves": waves, "lattice": lattice}


def scanned(share: Field, voxel: float, rng: np.random.Generator, *, noise: float) -> Bone:
    """A field of trabecular bone in marrow, as a scanner would show it."""
    density = ndimage.gaussian_filter(-30 + 930 * share, 0.07 / voxel)
    grain = ndimage.gaussian_filter(rng.standard_normal(share.shape, dtype=np.float32), 0.9)
    return spongy(density + grain * (noise / grain.std()), voxel)


def spongy(density: Field, voxel: float) -> Bone:
    """Densities as a bone that is trabecular throughout."""
    everywhere = np.ones(density.shape, bool)
    return Bone("radius", np.asarray(density, np.float32), (voxel,) * 3, everywhere, ~everywhere, everywhere)


def judged(name: str, reader: Reader, pieces: list[Seen], *, windows: int, pixels: int) -> pd.DataFrame:
    """Agreement of readings with what is measured, over windows of some pieces."""
    rng = np.random.default_rng(5)
    settings = Pretraining(pixels=pixels)
    read, measured = [], []
    for piece in pieces:
        cut = [cut_image(piece, rng=rng, settings=settings) for _ in range(windows)]
        images, targets = (np.stack(parts) for parts in zip(*cut, strict=True))
        read.append(reader.read(as_seen(images, settings=settings, rng=rng)))
        measured.append(targets)
    return agreement(np.concatenate(read), np.concatenate(measured)).assign(bone=name, pieces=len(pieces))


def real_pieces(folder: Path) -> dict[str, Seen]:
    """Real trabecular bone: scans by their own densities; labels and micro-CT through the scanner of this bench."""
    rng, found = np.random.default_rng(6), {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.upper() == ".AIM" and path.name.startswith("TRAB"):
            from deepqct.scans import read_scan

            scan = read_scan(path)
            bone = spongy(scan.density, scan.voxel_mm[0])
        elif path.name in ("grey.npz", "labels.npz") and "mini" not in str(path):
            (array,) = (a for a in np.load(path).values() if a.ndim == 3)
            if path.name == "grey.npz":  # 19.5 µm; three voxels to one
                side = array.shape[0] // 3 * 3
                solid = (array[:side, :side, :side] > 63).astype(np.float32)
                share = solid.reshape(side // 3, 3, side // 3, 3, side // 3, 3).mean(axis=(1, 3, 5))
                bone = scanned(share, 0.0585, rng, noise=80)
            else:
                bone = scanned(array.astype(np.float32), 0.0607, rng, noise=80)
        else:
            continue
        found[path.relative_to(folder).as_posix()] = at_pixels(bone, step=REAL_PIXEL_MM / bone.voxel_mm[1])
    return found


def read(weights: Path, real: Path | None) -> bool:
    """All readings; True if BV/TV follows everywhere."""
    reader, tables = load_reader(weights, arch=arch_of(weights)), []
    reader.model.to("cpu")
    for name, draw in FAMILIES.items():
        pieces = []
        for number in range(PIECES):
            rng = np.random.default_rng([4, number])
            voxel = float(rng.uniform(0.10, 0.15))
            bone = scanned(draw(rng, (9, 96, 96), voxel), voxel, rng, noise=rng.uniform(15, 60))
            pieces.append(from_piece(bone, rng=rng, pixels=64))
        tables.append(judged(name, reader, pieces, windows=WINDOWS, pixels=64))
        say(f"{name}: done")
    if real is not None:
        cubes = real_pieces(real)
        for name, cube in cubes.items():
            tables.append(judged(name, reader, [cube], windows=REAL_WINDOWS, pixels=REAL_PIXELS))
        tables.append(judged("all real", reader, list(cubes.values()), windows=REAL_WINDOWS, pixels=REAL_PIXELS))
    found = pd.concat(tables)
    table(
        f"Readings of {weights.parent.name} beside what is measured; windows of one piece overlap.",
        ["", "target", "windows", "pieces", "r", "R²"],
        [
            [row["bone"], row["target"], row["n"], row["pieces"], f"{row['r']:.2f}", f"{row['r2']:.2f}"]
            for row in found.to_dict("records")
        ],
    )
    known = found[(found["target"] == "Tb.BV/TV") & (found["bone"].isin([*FAMILIES, "all real"]))]
    return bool((known["r"] >= LEAST_R).all())


def arch_of(weights: Path) -> str:
    """The backbone of pretrained weights, by the record beside them."""
    return str(read_json(weights.with_name("pretraining.json"))["made_from"]["settings"]["arch"])


def fewer(run: Run, women: int, folder: Path) -> Run:
    """A run of some of the women, the same share of events in each fold; stacks are linked, not copied."""
    part = Run(folder / f"{run.folder.name}-{women}")
    if part.splits.exists():
        return part
    part.folder.mkdir(parents=True, exist_ok=True)
    splits = read_table(run.splits).query("protocol == 'all' and repeat == 0")
    outcome = splits["participant_id"].map(run_outcome(run))
    rank = splits.groupby([splits["fold"], outcome]).cumcount()
    size = splits.groupby([splits["fold"], outcome])["participant_id"].transform("size")
    kept = splits.loc[((rank + 0.5) / size).sort_values(kind="stable").index[:women]].sort_values("participant_id")
    write_table(part.splits, kept)
    for path in (run.participants, run.dictionary, run.indices):
        shutil.copy(path, part.folder)
    if not part.bones.exists():
        part.bones.symlink_to(run.bones.resolve(), target_is_directory=True)
    return part


def gains(weights: Path, runs: list[Path], *, women: list[int], bones: list[str], epochs: int, seeds: int) -> None:
    """AUC with and without pretraining, networks and ridges, on the same women and folds."""
    rows: list[list[object]] = []
    arch = arch_of(weights)
    for run in (Run(path) for path in runs):
        for n in women:
            part = fewer(run, n, weights.parent / "gains")
            fold = read_table(part.splits).set_index("participant_id")["fold"]
            outcome = run_outcome(part).reindex(fold.index).astype(int)
            for bone in bones:
                scores = {}
                for name, start in (("random", "none"), ("pretrained", str(weights.resolve()))):
                    tries = []
                    for seed in range(seeds if epochs else 0):
                        recipe = Recipe(arch=arch, weights=start, epochs=epochs, seed=7 + seed)
                        done = cross_validate(part, bone=bone, recipe=recipe).set_index("participant_id")
                        tries.append(done["score"])
                    if tries:
                        scores[f"network, {name}"] = pd.concat(tries, axis=1).mean(axis=1)
                    features = frozen_features(part, bone=bone, weights=start, recipe=Recipe(arch=arch))
                    scores[f"ridge on frozen features, {name}"] = ridge(features, outcome, fold)
                indices = wide_indices(read_table(part.indices))
                own = [column for column in indices if column.startswith(f"{bone} ")]
                scores["ridge on indices"] = ridge(indices[own].astype(float), outcome, fold)
                for name, score in scores.items():
                    known = score.dropna().index
                    alone = auc(outcome[known], score[known]).row()
                    plain = scores.get(name.replace("pretrained", "random"), score)
                    apart = compare_auc(outcome[known], score[known], plain[known]).row()
                    rows.append([run.folder.name, bone, name, f"{alone['n']:.0f}/{alone['events']:.0f}", _figure(alone),
                                 _figure(apart) if "pretrained" in name else ""])  # fmt: skip
    table(
        f"AUC out of fold, {epochs} epochs, mean of {seeds} trainings: with {weights.parent.name} and without.",
        ["", "bone", "", "n/events", "AUC", "gain"],
        rows,
    )


def ridge(features: pd.DataFrame, outcome: pd.Series, fold: pd.Series) -> pd.Series:
    """Out-of-fold scores of the nested ridge."""
    return cross_predict(features.reindex(fold.index), outcome=outcome, fold=fold)["score"]


def _figure(row: pd.Series) -> str:
    return f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["train", "read", "gains"])
    parser.add_argument("place", type=Path, help="OUT, or the weights")
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--arch", default="resnet34")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--women", type=int, action="append")
    parser.add_argument("--bone", action="append")
    parser.add_argument("--epochs", type=int, default=12, help="0 for the ridges alone")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    say(f"on {use_device()}")
    if given.part == "train":
        settings = Pretraining(arch=given.arch, samples=given.samples, pixels=given.pixels)
        say(str(pretrain(given.place, settings=settings, workers=given.workers)))
        return 0
    if given.part == "read":
        return 0 if read(given.place, given.real) else 1
    gains(given.place, given.runs, women=given.women or [100, 216], bones=given.bone or ["radius"], epochs=given.epochs,
          seeds=given.seeds)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
