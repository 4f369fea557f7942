"""The networks on virtual cohorts: AUC beside the attainable one and beside the indices, controls, the null, speed.

Hours on 2 cores, so in resumable parts (`make bench-networks PART=deepqct-like-64`): a fold that was
trained is not trained again, and each part says beforehand how many images it will train on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import table
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from permutation import permutation_test

from deepqct.cohort import keep_cohort, keep_splits, load_cohort
from deepqct.curation import curate
from deepqct.evaluation import auc, compare_auc, within_folds
from deepqct.folder import Run, read_json, read_table, write_json
from deepqct.models import compare_run, predict_run
from deepqct.models.classifiers import cross_predict
from deepqct.networks import Recipe, bone_dataloaders, bone_learner, cross_validate, run_controls, use_device
from deepqct.networks.recipe import CONTROLS
from deepqct.run_tables import attainable as attainable_figures
from deepqct.run_tables import margins_in, run_outcome, wide_indices
from deepqct.terms import BONES
from deepqct.virtual import new_cohort
from deepqct.work import say

WOMEN, FOLDS, VOXEL, SLICES, CURATED_PX = 216, 6, 0.12, 24, 192
SEEDS = {"deepqct-like": 7, "literature": 7, "null": 7, "null-again": 8}
RECIPE = Recipe(epochs=12, images=1, tta=4)
SIZES = (64, 96)
# Images/s of 224 px at which ResNet-50, a little heavier than ResNet-34, trains on one A100 in mixed precision: NVIDIA's
# DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5.
A100_RATE = 2470.0


def curated(folder: Path, name: str) -> Run:
    """The run of a virtual cohort, drawn and curated once."""
    run = Run(folder / name)
    if not run.curation.exists():
        scenario = name.removesuffix("-again")
        made = new_cohort(
            folder / f"{name}-women",
            scenario=scenario,
            n=WOMEN,
            voxel_mm=VOXEL,
            slices=SLICES,
            seed=SEEDS[name],
            workers=2,
        )
        run.folder.mkdir(parents=True, exist_ok=True)
        cohort = load_cohort(made, outcome="fracture")
        keep_cohort(cohort, run)
        keep_splits(cohort, run, protocols="all", folds=FOLDS, repeats=1, test_fraction=0.1, seed=7)
        curate(
            cohort, run, image_px=CURATED_PX, workers=2, progress=lambda done, of: done % 50 or say(f"{done} of {of}")
        )
    return run


def pooled(run: Run, *, px: int) -> Run:
    """The same run with smaller pictures, averaged over pixels: the scans need not be curated again."""
    small = Run(run.folder.with_name(f"{run.folder.name}-{px}"))
    if small.indices.exists():
        return small
    small.bones.mkdir(parents=True, exist_ok=True)
    for record in sorted(run.bones.glob("*.json")):
        person, bone = record.stem.rsplit("_", 1)
        content = read_json(record)
        factor = content["voxel_mm"][1] * CURATED_PX / px
        for path, kind in ((run.stack(person, bone), "area"), (run.stack_mask(person, bone), "nearest-exact")):
            stack = torch.from_numpy(np.load(path).astype(np.float32))[:, None]
            fewer = torch.nn.functional.interpolate(stack, size=(px, px), mode=kind)[:, 0].round().numpy()
            np.save(small.bones / path.name, fewer.astype(np.load(path, mmap_mode="r").dtype))
        write_json(small.stack_record(person, bone), content | {"voxel_mm": [content["voxel_mm"][0], factor, factor]})
    for path in (run.participants, run.dictionary, run.splits, run.curation, run.indices):
        shutil.copy(path, small.folder / path.name)
    return small


def planned(run: Run, recipe: Recipe, bones: tuple[str, ...]) -> None:
    """Say how many images a part trains on, and how long that takes at this machine's rate."""
    people = len(read_table(run.splits).query("fold != 'test'"))
    images = round(people * (FOLDS - 1) * recipe.images * recipe.epochs) * len(bones)
    say(f"{run.folder.name}, {', '.join(bones)}: {images} training images planned")


def trained(run: Run, *, bones: tuple[str, ...] = BONES) -> None:
    """Train the bones, and show their AUCs beside the attainable one and beside a ridge regression on their indices."""
    planned(run, RECIPE, bones)
    attainable = read_json(run.dictionary)["virtual"]["attainable_auc"]
    outcome, wide = run_outcome(run), wide_indices(read_table(run.indices))
    rows: list[list[object]] = []
    for bone in bones:
        start = time.perf_counter()
        scores = cross_validate(run, bone=bone, recipe=RECIPE).set_index("participant_id")
        seconds = time.perf_counter() - start
        y = outcome.reindex(scores.index).astype(int)
        columns = [c for c in wide if c.startswith(f"{bone} ")]
        table_of_bone = wide.reindex(scores.index)[columns].astype(float)
        ridge = cross_predict(table_of_bone, outcome=y, fold=scores["fold"])["score"]
        own, other = (auc(y, s).row() for s in (scores["score"], ridge))
        apart = compare_auc(y, scores["score"], ridge).row()
        best = attainable.get(f"DeepQCT {bone}", attainable["all"])
        share = (own["estimate"] - 0.5) / (best - 0.5) if best > 0.5 else float("nan")
        rows.append([bone, f"{own['n']:.0f}/{own['events']:.0f}", _figure(own),
                     f"{within_folds(y, scores['score'], scores['fold']):.2f}", f"{best:.2f}", f"{share:.0%}",
                     _figure(other), _figure(apart), f"{seconds:.0f}"])  # fmt: skip
    table(
        f"{run.folder.name}: ResNet34, out of fold, {RECIPE.epochs} epochs, {RECIPE.images} image(s) a woman.",
        ["", "n/events", "AUC", "in folds", "attainable", "share", "ridge on indices", "difference", "s"],
        rows,
    )


def _figure(row: Any) -> str:
    return f"{row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def families(run: Run) -> None:
    """All families of models on a trained cohort, and the planned differences; the order is reported, not demanded."""
    predictions = predict_run(run, workers=2)
    found = compare_run(run, predictions, permutations=200, bootstraps=50, workers=2)
    out_of_fold = "protocol == 'all' and split == 'out-of-fold'"
    performance = found["performance"].query(f"{out_of_fold} and measure == 'AUC'")
    basis = [f"{row['n']:.0f}/{row['events']:.0f}" for row in performance.to_dict("records")]
    rows = [
        [row["family"], row["model"], n, _figure(row)]
        for row, n in zip(performance.to_dict("records"), basis, strict=True)
    ]
    attainable = attainable_figures(run)["all"]
    table(f"{run.folder.name}: every model, attainable {attainable:.2f}.", ["", "model", "n/events", "AUC"], rows)
    differences, margins = found["comparisons"].query(out_of_fold), margins_in(found["comparisons"])
    rows = [
        [
            row["question"],
            _figure(row),
            f"{row['p_holm']:.2g}",
            *(row[f"non_inferior_{m:g}"] for m in margins),
            row["training"],
        ]
        for row in differences.to_dict("records")
    ]
    header = ["", "difference in AUC", "p (Holm)", *(f"non-inferior by {margin:g}" for margin in margins), "training"]
    table(f"{run.folder.name}: planned differences; no p for fused scores of standard stacking.", header, rows)
    table(
        f"{run.folder.name}: optimism.",
        list(found["optimism"].columns),
        found["optimism"].round(3).astype(str).to_numpy().tolist(),
    )


def controls(run: Run, *, bones: tuple[str, ...]) -> None:
    """All controls of some bones."""
    planned(run, RECIPE, bones * len(CONTROLS))
    rows: list[list[object]] = []
    for bone in bones:
        scores = cross_validate(run, bone=bone, recipe=RECIPE)
        found = run_controls(run, bone=bone, controls=", ".join(CONTROLS), recipe=RECIPE, scores=scores)
        rows += [[bone, row["control"], _figure(row), row["at_chance"]] for row in found.to_dict("records")]
    table(f"{run.folder.name}: controls.", ["", "control", "AUC", "at chance"], rows)


def permutations(run: Run) -> None:
    """200 permutations of the outcomes with a frozen backbone and a refitted head."""
    rows: list[list[object]] = []
    for bone in BONES:
        found = permutation_test(run, bone=bone, recipe=RECIPE, permutations=200)
        null, true = found[found["permutation"] > 0], found.iloc[0]
        uniform, delong = (stats.kstest(null[p], "uniform").pvalue for p in ("p", "p_delong"))
        rows.append([bone, f"{true['auc']:.3f}", f"{null['auc'].mean():.3f}", f"{null['auc_within'].mean():.3f}",
                     f"{null['auc'].std():.3f}", f"{true['p']:.3f}", f"{uniform:.3f}", f"{delong:.3f}"])  # fmt: skip
    table(
        f"{run.folder.name}: 200 permutations, frozen ResNet34, refitted head.",
        ["", "true outcomes", "mean AUC", "mean in folds", "SD", "p", "KS p of uniform p", "KS p of DeLong's p"],
        rows,
    )


def speed(run: Run) -> None:
    """Learner beside a bare loop on the same tensors, and the data pipeline alone; what the whole training takes."""
    recipe = replace(RECIPE, batch_size=16)
    dls = bone_dataloaders(run, bone="radius", fold="0", recipe=recipe)
    learner = bone_learner(dls)
    batches = [tuple(torch.Tensor(part) if part.ndim == 4 else part for part in batch) for batch in dls.train]
    images = sum(len(x) for x, _ in batches)
    model, loss = learner.model, torch.nn.BCEWithLogitsLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def bare() -> None:
        model.train()
        for x, y in batches:
            loss(model(x.contiguous(memory_format=torch.channels_last))[:, 0], y.float()).backward()
            optimiser.step()
            optimiser.zero_grad()

    def timed(work: Any) -> float:
        start = time.perf_counter()
        work()
        return images / (time.perf_counter() - start)

    model.to(memory_format=torch.channels_last)
    with learner.no_bar(), learner.no_logging():
        learner.dls.loaders[1] = dls.test_dl(dls.valid.items.head(1), with_labels=True)  # training alone is timed
        timed(bare)
        rates = [(timed(lambda: learner.fit(1, 1e-4)), timed(bare)) for _ in range(3)]
    ours, plain = (float(np.median(column)) for column in zip(*rates, strict=True))
    pipeline = timed(lambda: list(dls.train))
    rows = [[f"{ours:.1f}", f"{plain:.1f}", f"{ours / plain:.0%}", f"{pipeline:.0f}", f"{pipeline / plain:.0f}"]]
    header = ["Learner images/s", "bare loop", "ratio", "data pipeline", "times the model"]
    table(f"{run.folder.name}: speed, {torch.get_num_threads()} threads.", header, rows)
    total = WOMEN * (FOLDS - 1) * RECIPE.images * RECIPE.epochs * len(BONES)
    scaled = A100_RATE * (224 / SIZES[1]) ** 2
    say(f"  four bones, {FOLDS} folds: {total} images of {SIZES[1]} px, {total / ours / 60:.0f} min here; at the rate")
    say(f"  published for an A100 {total / scaled:.0f} s, and {total / A100_RATE:.0f} s at 224 px, the network alone")


def main() -> None:
    """One part or several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parts = [f"{name}-{px}" for name in SEEDS for px in SIZES] + ["controls", "permutations", "speed"]
    parts += [f"families-{name}" for name in ("deepqct-like", "literature")]  # of networks that were trained before
    parser.add_argument("--part", action="append", choices=parts)
    parser.add_argument("--bones", default=",".join(BONES))
    given = parser.parse_args()
    use_device()
    torch.set_num_threads(os.cpu_count() or 1)
    bones = tuple(given.bones.split(","))
    for part in given.part or parts:
        if part == "controls":
            controls(pooled(curated(given.folder, "deepqct-like"), px=SIZES[0]), bones=bones)
        elif part == "permutations":
            permutations(pooled(curated(given.folder, "null"), px=SIZES[0]))
        elif part == "speed":
            speed(pooled(curated(given.folder, "deepqct-like"), px=SIZES[1]))
        elif part.startswith("families-"):
            families(pooled(curated(given.folder, part.removeprefix("families-")), px=SIZES[0]))
        else:
            name, px = part.rsplit("-", 1)
            trained(pooled(curated(given.folder, name), px=int(px)), bones=bones)


if __name__ == "__main__":
    sys.exit(main())
