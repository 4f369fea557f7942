"""The networks on one card: speed beside a bare loop, mixed precision, agreement with the processor, time of `paper`.

Then micro-finite elements, beside the compiled steps on the processor. Images are noise, since only time and numbers
count: `bash tests/bench/gpu.sh`, at most 8 minutes. Without CUDA it says so and runs the small size on the processor, so
that the script itself is tried everywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from fastai.callback.fp16 import MixedPrecision
from fastai.learner import Learner
from fastai.torch_core import set_seed
from measure import table
from scipy import ndimage

from deepqct.bones.micro_fe import solve
from deepqct.cohort.splits import make_splits
from deepqct.folder import Run, project_root, write_json, write_table
from deepqct.networks import Recipe, bone_dataloaders, bone_learner, load_fold, train_fold, use_device
from deepqct.networks.data import items_of
from deepqct.networks.folds import batch_of
from deepqct.networks.images import normalised
from deepqct.work import say

EVENTS = 1 / 3


def noise_run(folder: Path, *, women: int, pixels: int, slices: int) -> Run:
    """A curated run whose radii are noise in a disc, with an outcome that makes the disc brighter."""
    rng, people = np.random.default_rng(1), [f"P{i:04d}" for i in range(women)]
    outcome = pd.Series((np.arange(women) % 3 == 0).astype(int), index=pd.Index(people, name="participant_id"))
    y, x = np.indices((pixels, pixels)) - (pixels - 1) / 2
    disc = np.broadcast_to(np.hypot(y, x) < 0.4 * pixels, (slices, pixels, pixels))
    run = Run(folder)
    run.bones.mkdir(parents=True)
    for person, event in outcome.items():
        density = np.where(disc, rng.normal(300 + 100 * event, 200, disc.shape), 0).astype(np.int16)
        np.save(run.stack(str(person), "radius"), density)
        np.save(run.stack_mask(str(person), "radius"), disc.astype(np.uint8))
        record = {"made_from": {"sha256": str(person)}, "flags": [], "notes": [], "voxel_mm": [0.06, 0.16, 0.16]}
        write_json(run.stack_record(str(person), "radius"), record)
    write_table(run.participants, outcome.rename("fracture").reset_index())
    write_json(run.dictionary, {"participant_id": {"Role": "id"}, "fracture": {"Role": "outcome"}})
    write_table(run.splits, make_splits(outcome, protocols=("all",), folds=6))
    return run


def seconds(work: Callable[[], object]) -> float:
    """How long something takes, until the card has done it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bare_epoch(learner: Learner, batches: list[tuple[torch.Tensor, torch.Tensor]], *, mixed: bool) -> None:
    """One epoch on batches that lie on the card already, with nothing around it."""
    model, scaler = learner.model.train(), torch.amp.GradScaler(enabled=mixed)
    step = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for images, outcome in batches:
        with torch.autocast(images.device.type, dtype=torch.float16, enabled=mixed):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(images).view(-1).float(), outcome.float())
        scaler.scale(loss).backward()
        scaler.step(step)
        scaler.update()
        step.zero_grad()


def ours(learner: Learner) -> float:
    """Seconds of one epoch of training, without its validation, once everything is warm."""
    with contextlib.redirect_stdout(io.StringIO()), learner.no_bar(), learner.no_logging():
        learner.fit(1)
        return seconds(partial(learner.fit, 2)) / 2 - seconds(learner.validate)


def speeds(run: Run, recipe: Recipe) -> dict[str, float]:
    """Images a second of a training epoch: bare loop, and ours with and without mixed precision."""
    cuda = torch.cuda.is_available()
    found = {}
    set_seed(1, reproducible=True)  # the card's repeatable steps, which every fold is trained with
    for name, mixed in (("mixed", True), ("single", False))[: 2 if cuda else 1]:
        dls = bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
        learner = bone_learner(dls, arch=recipe.arch)
        if cuda and not mixed:
            learner.remove_cb(MixedPrecision)
        images = len(dls.train) * dls.train.bs
        found[f"ours, {name}"] = images / ours(learner)
        batches = [
            (torch.Tensor(x).as_subclass(torch.Tensor).contiguous(memory_format=torch.channels_last), torch.Tensor(y))
            for x, y in dls.train
        ]
        bare_epoch(learner, batches, mixed=cuda and mixed)
        found[f"bare, {name}"] = images / seconds(partial(bare_epoch, learner, batches, mixed=cuda and mixed))
    return found


def agreement(run: Run, recipe: Recipe) -> tuple[float, float]:
    """The largest difference of a woman's score between card and processor, in SDs of the scores, and their correlation."""
    with contextlib.redirect_stdout(io.StringIO()):
        scored = train_fold(run, bone="radius", fold=0, recipe=recipe).set_index("participant_id")["score"]
    model = load_fold(run, bone="radius", protocol="all", repeat=0, fold="0")
    items = items_of(run, bone="radius", protocol="all", repeat=0, recipe=recipe)
    items = items[items["fold"] == "0"].reset_index(drop=True)
    with torch.no_grad():
        logits = model(normalised(batch_of(run, items, bone="radius", recipe=recipe))).numpy().reshape(-1)
    again = items.assign(score=logits).groupby("participant_id")["score"].mean().reindex(scored.index)
    return float((again - scored).abs().max() / scored.std()), float(np.corrcoef(again, scored)[0, 1])


def paper_minutes(images_a_second: float) -> float:
    """What `paper` trains for 216 women and four bones, without controls, at this speed."""
    preset = yaml.safe_load((project_root() / "deepqct/run/presets/paper.yaml").read_text(encoding="utf-8"))
    train, splits = preset["02_train_bone"], preset["01_data_curation"]
    share = (splits["folds"] - 1) / splits["folds"]
    women = 216 * (train["network_repeats"] + 0.9)  # the second protocol has one repeat, and keeps a test set
    epochs = train["epochs"] + 1  # the head alone comes first
    return float(4 * splits["folds"] * share * women * train["images"] * epochs / images_a_second / 60)


def elements(*, cuda: bool) -> dict[str, float]:
    """Seconds of a porous cylinder under compression on card and processor, and how far their strains are apart."""
    shape, place = ((128, 320, 320), "cuda") if cuda else ((24, 48, 48), "torch")
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape, dtype=np.float32), 2)
    y, x = (np.indices(shape[1:]) - (shape[1] - 1) / 2) / shape[1]
    far = np.hypot(y, x)
    bone = (far < 0.48) & ((noise > 0.5 * noise.std()) | (far > 0.45))
    moduli = bone * np.float32(8748)
    solved, found = {}, dict[str, float]()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for device in ("cpu", place):
        solve(np.ones((12, 24, 24)), voxel_mm=(0.061,) * 3, device=device)  # compiled, and warm
        start = time.perf_counter()
        solved[device] = solve(moduli, voxel_mm=(0.061,) * 3, device=device)
        found[f"{device} s"] = time.perf_counter() - start
    ours, card = solved["cpu"], solved[place]
    apart = np.abs(card.effective_strain - ours.effective_strain).max() / ours.effective_strain.max()
    found |= {"elements": ours.elements, "iterations": card.iterations, "apart": float(apart)}
    if cuda:
        found["GB of the card"] = torch.cuda.max_memory_allocated() / 1e9
    table("Micro-finite elements.", list(found), [list(found.values())])
    return found


def main() -> None:
    """Say what card this is, and what it does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a JSON file that receives the figures")
    given = parser.parse_args()
    cuda, figures = use_device().startswith("cuda"), dict[str, float]()
    say(torch.cuda.get_device_name() if cuda else "No CUDA here: the small size, on the processor, to try the script.")
    rows = []

    def keep() -> None:
        """Write what is known so far, so that a run that is stopped has not measured in vain."""
        if given.out:
            write_json(given.out, figures)

    for pixels, batch in ((96, 16), (224, 32)) if cuda else ((32, 8),):
        with tempfile.TemporaryDirectory() as folder:
            women = 216 if cuda else 24
            run = noise_run(Path(folder) / "run", women=women, pixels=pixels, slices=24)
            recipe = Recipe(images=4 if cuda else 2, batch_size=batch, epochs=2)
            found = speeds(run, recipe)
            apart, r = agreement(run, recipe)
        share = found["ours, mixed"] / found["bare, mixed"]
        gain = found["ours, mixed"] / found.get("ours, single", found["ours, mixed"])
        figures |= {f"{pixels} px {name}": value for name, value in found.items()}
        figures |= {f"{pixels} px apart": apart, f"{pixels} px r": r}
        keep()
        rows.append([pixels, batch, *(f"{found[k]:.0f}" for k in ("ours, mixed", "bare, mixed")), f"{share:.2f}",
                     f"{gain:.2f}", f"{apart:.4f}", f"{r:.6f}"])  # fmt: skip
    columns = ["px", "batch", "images/s", "bare loop", "share", "mixed over single", "scores apart, SD", "r"]
    table("Training of ResNet34, and the scores of card and processor.", columns, rows)
    if cuda:
        figures["paper minutes"] = paper_minutes(figures["224 px ours, mixed"])
        say(
            f"Preset paper, four bones, 216 women, without controls: {figures['paper minutes']:.0f} minutes of training"
        )
        keep()
    figures |= {f"elements {name}": value for name, value in elements(cuda=cuda).items()}
    keep()


if __name__ == "__main__":
    sys.exit(main())
