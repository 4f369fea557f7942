"""fastai data and ResNet34 learners for one bone: folds, out-of-fold scores, weights as safetensors.

The paper's abstract names a ResNet34 for each bone (Chen 2024); image size, slabs, augmentation and schedule are our
choice. Patients are split before anything else, and nothing is chosen on the fold that is scored: the number of epochs
is fixed beforehand.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import fastai.callback.schedule  # noqa: F401 - it gives Learner its one-cycle schedules
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat
from fastai.optimizer import OptimWrapper
from fastai.torch_core import default_device, set_seed
from fastai.vision.learner import vision_learner
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from deepqct import __version__
from deepqct.backbones import builder, given, load_weights, network, try_network, weights_needed
from deepqct.cohort import run_outcome
from deepqct.evaluation import calibrate_out_of_fold
from deepqct.folder import Run, file_hash, read_json, read_table, resolve, say, write_json, write_table, write_whole
from deepqct.images import MEAN, SD, BoneImage, augmentation, bone_images
from deepqct.items import items_of, measured, seed_of
from deepqct.recipe import Recipe

# Fastai's momenta and decay; torch's own moves all weights at once, which saves a tenth of the time on a processor.
_ADAMW = partial(OptimWrapper, opt=torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5)


def use_device(name: str = "auto") -> str:
    """Make the learners of this process use a device: auto, cuda, mps or cpu.

    Returns
    -------
    str
        The device; auto takes CUDA, then MPS, then the processor.

    Raises
    ------
    ValueError
        If the device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name != "auto" and not there.get(name, False):
        raise ValueError(f"device is {name!r}; this machine has {', '.join(d for d, ok in there.items() if ok)}.")
    chosen = next(device for device, ok in there.items() if ok) if name == "auto" else name
    return str(default_device(chosen != "cpu"))


def bone_dataloaders(
    run: Run,
    *,
    bone: str,
    fold: int | str,
    without: int | str | None = None,
    protocol: str = "all",
    repeat: int = 0,
    recipe: Recipe | None = None,
    workers: int = 0,
) -> DataLoaders:
    """Training images of every other fold, and the held-out fold as the validation set.

    Parameters
    ----------
    run : Run
        A curated run with its splits.
    bone : str
        radius, ulna, tibia or fibula.
    fold : int or str
        The fold that is held out.
    without : int or str, optional
        Another fold that takes no part.
    protocol, repeat : str, int
        Which rows of splits.csv.
    recipe : Recipe, optional
        Images and batch size.
    workers : int
        Processes that load images; the batches do not depend on it.

    Returns
    -------
    fastai DataLoaders
        Batches of (batch, 3, y, x) and the outcome.

    Raises
    ------
    ValueError
        If the fold does not exist, or leaves no patient on one side; if workers are asked for where processes are not
        forked.
    """
    recipe = recipe or Recipe()
    _can_fork(workers)
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    items = items[~items["fold"].isin(["test", str(without)])].reset_index(drop=True)
    held_out = np.flatnonzero(items["fold"] == str(fold))
    if held_out.size in (0, len(items)):
        raise ValueError(
            f"Fold {fold} of protocol {protocol!r}, repeat {repeat}, holds {held_out.size} of {len(items)} images "
            f"of the {bone}; choose one of the folds in splits.csv."
        )
    name = run_outcome(run).name
    block = DataBlock(
        blocks=(
            TransformBlock(type_tfms=partial(BoneImage.of, run=run, bone=bone, recipe=recipe)),
            CategoryBlock(vocab=[f"no {name}", str(name)], sort=False),  # the outcome is 1
        ),
        get_y=lambda item: str(name) if item.outcome else f"no {name}",
        splitter=IndexSplitter(held_out),
        batch_tfms=[
            *augmentation(recipe),
            Normalize.from_stats([MEAN] * recipe.channels, [SD] * recipe.channels),
        ],
    )
    for person in items["participant_id"].unique():  # before any worker splits off, so that all share one copy
        bone_images(run, person, bone, view=recipe.view)
    training = len(items) - held_out.size
    return block.dataloaders(items, bs=min(recipe.batch_size, training), num_workers=workers, device=default_device())


def bone_learner(dls: DataLoaders, *, arch: str = "resnet34", weights: str = "none", progress: bool = False) -> Learner:
    """A fastai learner with one logit as its output.

    Parameters
    ----------
    dls : fastai DataLoaders
        From `bone_dataloaders`.
    arch, weights : str
        As in `Recipe`.
    progress : bool
        Bars for a person; otherwise a line an epoch.

    Raises
    ------
    RuntimeError
        If ImageNet weights can neither be found nor fetched.
    ValueError
        If the backbone cannot read such images, or a file holds weights of another one.
    """
    channels, pixels = dls.train_ds[0][0].shape[:2]
    if arch != Recipe.arch:
        try_network(arch=arch, channels=channels, pixels=pixels)
    with weights_needed(arch):
        learner = vision_learner(
            dls,
            builder(arch),
            pretrained=weights == "imagenet",
            n_out=1,
            n_in=channels,
            normalize=False,
            loss_func=BCEWithLogitsLossFlat(),
            opt_func=_ADAMW,
        )
    if given(weights):
        load_weights(learner.model, resolve(weights), arch=arch, channels=channels)
    _follow_last_epoch(learner.model, steps=len(dls.train))
    if not progress:
        learner.remove_cb(ProgressCallback)
        learner.logger = _say_epoch
    if dls.device.type != "mps":
        learner.add_cb(ChannelsLast())
    if dls.device.type == "cuda":
        learner.add_cb(MixedPrecision())
    return learner


def train_fold(
    run: Run,
    *,
    bone: str,
    fold: int | str,
    without: int | str | None = None,
    protocol: str = "all",
    repeat: int = 0,
    recipe: Recipe | None = None,
    workers: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train on the other folds and score the patients of this one, and those of the test set if there is one.

    With `without`, that fold takes no part in the training either, and its patients are scored in place of the test set.

    A fold whose files were made by the same recipe from the same images is not trained again.

    Parameters
    ----------
    run, bone, fold, without, protocol, repeat, recipe, workers
        As in `bone_dataloaders`.
    progress : bool
        Bars for a person; otherwise a line an epoch.

    Returns
    -------
    DataFrame
        participant_id, split (out-of-fold, test, or inner for `without`), score: her mean logit over her images.

    Raises
    ------
    ValueError
        If the recipe begins with weights of this run's own networks.
    """
    recipe = recipe or Recipe()
    if given(recipe.weights) and resolve(recipe.weights).resolve().is_relative_to(run.folder.resolve()):
        raise ValueError(
            f"weights is {recipe.weights!r}, a network of this very run, which has seen patients whom it would score; give "
            "one that was trained on others."
        )
    place = _place(run, bone=bone, protocol=protocol, repeat=repeat, control=recipe.control)
    files = _FoldFiles(place, str(fold)) if without is None else _FoldFiles(place / "inner", f"{fold}-{without}")
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    control = "" if recipe.control == "none" else f" · control {recipe.control}"
    title = f"{bone}{control} · {protocol} · repeat {repeat} · fold {fold}" + (f" and {without}" if without else "")
    begun_with = {"weights_sha256": file_hash(resolve(recipe.weights))} if given(recipe.weights) else {}
    made_from = {
        "recipe": asdict(recipe) | begun_with,
        "bone": bone, "protocol": protocol, "repeat": repeat, "fold": str(fold), "without": str(without),
        "data": _data_hash(items, run=run, bone=bone),
        "code": [file_hash(Path(__file__).with_name(f"{name}.py")) for name in ("items", "images", "backbones", "learner")],
        "device": str(default_device()),
        "versions": {"deepqct": __version__, "torch": torch.__version__},
    }  # fmt: skip
    if files.done(made_from):
        say(f"{title}: trained before, kept")
        return read_table(files.scores)
    say(title)
    set_seed(seed_of(recipe.seed, bone, protocol, repeat, files.fold), reproducible=True)
    dls = bone_dataloaders(
        run, bone=bone, fold=fold, without=without, protocol=protocol, repeat=repeat, recipe=recipe, workers=workers
    )
    learner = bone_learner(dls, arch=recipe.arch, weights=recipe.weights, progress=progress)
    if recipe.weights != "none":
        say("one epoch of the head alone, then all layers")
        learner.fine_tune(recipe.epochs, base_lr=recipe.lr)
    else:
        learner.fit_one_cycle(recipe.epochs, recipe.lr)
    losses = pd.DataFrame(
        [{"epoch": i + 1, "train_loss": v[0], "valid_loss": v[1]} for i, v in enumerate(learner.recorder.values)]
    )
    held_out = _patient_logits(learner, items[items["fold"] == str(fold)], tta=recipe.tta).assign(split="out-of-fold")
    beside, split = ("test", "test") if without is None else (str(without), "inner")
    others = _patient_logits(learner, items[items["fold"] == beside], tta=recipe.tta).assign(split=split)
    scores = pd.concat([held_out, others], ignore_index=True)[["participant_id", "split", "score"]]
    files.write(learner.model, scores=scores, history=losses, made_from=made_from)
    return scores


def load_fold(run: Run, *, bone: str, protocol: str, repeat: int, fold: str) -> torch.nn.Module:
    """The trained network of one fold, for looking at: on the processor, not to be trained.

    Raises
    ------
    FileNotFoundError
        If the fold has not been trained.
    """
    files = _FoldFiles(_place(run, bone=bone, protocol=protocol, repeat=repeat), fold)
    run.require(files.record, written_by="02_train_bone")
    recipe = read_json(files.record)["recipe"]
    model = network(arch=recipe["arch"], channels=recipe["channels"])
    model.load_state_dict(load_file(files.weights))
    return model.eval()


def cross_validate(
    run: Run,
    *,
    bone: str,
    recipe: Recipe | None = None,
    repeats: int = 1,
    stacking: str = "standard",
    workers: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train every fold of every protocol in splits.csv, and write scores_<bone>.csv.

    A recipe with a control trains the folds of the first protocol and repeat alone, and writes no scores.

    Parameters
    ----------
    run, bone, recipe, workers, progress
        As in `train_fold`.
    repeats : int
        The networks are trained on so many of the repeats in splits.csv.
    stacking : str
        ``strict`` trains a network without each pair of folds as well, K(K−1)/2 of them, and writes
        scores_<bone>_inner.csv.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold, split, score, risk. A test patient's score is the mean over the folds'
        networks; risk comes from a calibration map fitted on the out-of-fold scores of the other folds.
    """
    splits = measured(run, bone=bone)
    splits = splits[splits["repeat"] < repeats]
    own = (recipe or Recipe()).control == "none"
    if not own:  # a control is judged by the first protocol and repeat
        first = splits.sort_values(["protocol", "repeat"]).iloc[0]
        splits = splits[(splits["protocol"] == first["protocol"]) & (splits["repeat"] == first["repeat"])]
    folds = splits.loc[splits["fold"] != "test", "fold"].nunique()
    if stacking == "strict" and own and folds < 3:
        raise ValueError(
            f"Strict stacking needs at least 3 folds, and splits.csv has {folds} with the {bone}; raise folds in 01."
        )
    if own:
        run.inner_scores(bone).unlink(missing_ok=True)  # they would be of other networks than those trained now
    tables = []
    places = splits[["protocol", "repeat", "fold"]].drop_duplicates().sort_values(["protocol", "repeat", "fold"])
    for protocol, repeat, fold in places.itertuples(index=False):
        if fold != "test":
            place: dict[str, Any] = {"protocol": str(protocol), "repeat": int(repeat), "fold": str(fold)}
            scored = train_fold(run, bone=bone, recipe=recipe, workers=workers, progress=progress, **place)
            tables.append(scored.assign(**place))
    table = pd.concat(tables, ignore_index=True)
    table["fold"] = table["fold"].mask(table["split"] == "test", "test")
    keys = ["protocol", "repeat", "participant_id", "fold", "split"]
    mean = table.groupby(keys)["score"].mean().reset_index()
    scores = calibrate_out_of_fold(mean, outcome=run_outcome(run))[[*keys, "score", "risk"]]
    if own:  # a control's scores must never be taken for the bone's
        write_table(run.scores(bone), scores)
        if stacking == "strict":
            pairs = splits[splits["fold"] != "test"]
            inner = _inner_scores(run, pairs, bone=bone, recipe=recipe, workers=workers, progress=progress)
            write_table(run.inner_scores(bone), inner)
    return scores


def _inner_scores(run: Run, splits: pd.DataFrame, *, bone: str, **settings: Any) -> pd.DataFrame:
    """What strict stacking is fitted on: protocol, repeat, participant_id, held_out, fold, score.

    For each held-out fold the patients of every other fold are scored by networks that saw neither.
    """
    parts = []
    for (protocol, repeat), part in splits.groupby(["protocol", "repeat"]):
        fold_of = part.set_index("participant_id")["fold"]
        place: dict[str, Any] = {"protocol": protocol, "repeat": repeat}
        for one, other in combinations(sorted(fold_of.unique()), 2):
            scored = train_fold(run, bone=bone, fold=one, without=other, **place, **settings).drop(columns="split")
            fold = scored["participant_id"].map(fold_of)
            parts.append(scored.assign(**place, fold=fold, held_out=fold.map({one: other, other: one})))
    columns = ["protocol", "repeat", "participant_id", "held_out", "fold", "score"]
    return pd.concat(parts, ignore_index=True)[columns]


def training_history(run: Run, *, bone: str) -> pd.DataFrame:
    """The losses of every fold of splits.csv and epoch: protocol, repeat, fold, epoch, train_loss, valid_loss."""
    there = set(measured(run, bone=bone)[["protocol", "repeat", "fold"]].itertuples(index=False, name=None))
    tables = [
        read_table(path).assign(
            protocol=path.parent.parent.name,
            repeat=int(path.parent.name.removeprefix("repeat")),
            fold=path.name.removeprefix("fold").removesuffix("_history.csv"),
        )
        for path in sorted(run.models(bone).glob("*/repeat*/fold*_history.csv"))
    ]
    table = pd.concat(tables, ignore_index=True)
    known = [place in there for place in table[["protocol", "repeat", "fold"]].itertuples(index=False, name=None)]
    return table[known].reset_index(drop=True)


def show_images(dls: DataLoaders, *, most: int = 9) -> NDArray[Any]:
    """Fastai's own view of a training batch; returns the Axes."""
    dls.show_batch(max_n=most)
    return np.array(plt.gcf().axes)


def with_outcome(run: Run, scores: pd.DataFrame) -> pd.DataFrame:
    """`scores` with each patient's outcome, 0 or 1, as a column of that name."""
    return scores.assign(outcome=scores["participant_id"].map(run_outcome(run)).astype(int))


def top_losses(run: Run, *, bone: str, scores: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """The patients whom the out-of-fold risk of protocol ``all`` gets most wrong.

    Returns
    -------
    DataFrame
        participant_id, the outcome, risk, loss (cross-entropy in nats), worst first.
    """
    outcome = run_outcome(run)
    table = scores[(scores["split"] == "out-of-fold") & (scores["protocol"] == scores["protocol"].iloc[0])]
    risk = table.groupby("participant_id")["risk"].mean().clip(1e-6, 1 - 1e-6)
    target = outcome.reindex(risk.index)
    loss = -(target * np.log(risk) + (1 - target) * np.log1p(-risk))
    worst = pd.DataFrame({str(outcome.name): target, "risk": risk, "loss": loss}).nlargest(most, "loss")
    return worst.rename_axis("participant_id").reset_index()


def _can_fork(workers: int) -> None:
    """Refuse workers where a process begins anew: fastai's data cannot be sent to it."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if workers and method != "fork":
        raise ValueError(f"workers is {workers}, and processes are made by {method} here, not by fork; use workers=0.")


def _place(run: Run, *, bone: str, protocol: str, repeat: int, control: str = "none") -> Path:
    """The folder of one repeat's folds."""
    within = run.models(bone) if control == "none" else run.models(bone) / "controls" / control
    return within / protocol / f"repeat{repeat}"


def _follow_last_epoch(model: torch.nn.Module, *, steps: int) -> None:
    """Let the normalising layers' running statistics follow the last epoch, where that is shorter than torch's ten steps.

    In a small cohort an epoch is a few steps; statistics older than it belong to weights that are gone, and shift the
    scores of each fold by a level of its own (Wu & Johnson 2021, arXiv:2105.07576). Training itself does not use them.
    """
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.momentum is not None:
            layer.momentum = max(layer.momentum, 1 / steps)


def _say_epoch(log: list[Any]) -> None:
    """One plain line an epoch; fastai's own is a list, and one of names comes first."""
    if isinstance(log[0], int):
        epoch, train, valid, *_, time = log
        say(f"epoch {epoch + 1}: training loss {train:.3f}, held-out loss {valid:.3f}, {time}")


def _patient_logits(learner: Learner, items: pd.DataFrame, *, tta: int) -> pd.DataFrame:
    """Mean logit of each patient over her images, and over augmented views of them."""
    if items.empty:
        return pd.DataFrame({"participant_id": pd.Series(dtype="string"), "score": pd.Series(dtype=float)})
    loader = learner.dls.test_dl(items.reset_index(drop=True))
    learner.model.eval()
    views = []
    for augmented in [False] + [True] * tta:
        # fastai's own tta averages probabilities; scores are logits.
        with torch.no_grad(), learner.no_bar(), loader.dataset.set_split_idx(0 if augmented else 1):
            logits, _ = learner.get_preds(dl=loader, act=torch.nn.Identity())
        views.append(logits.float().numpy().reshape(-1))
    scored = items.assign(score=np.mean(views, axis=0))
    return scored.groupby("participant_id")["score"].mean().reset_index()


def _data_hash(items: pd.DataFrame, *, run: Run, bone: str) -> str:
    """A hash of the images and of who is in which fold with which outcome."""
    digest = hashlib.sha256(items.to_csv(index=False).encode())
    for person in items["participant_id"].unique():
        digest.update(json.dumps(read_json(run.stack_record(person, bone))["recipe"], sort_keys=True).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _FoldFiles:
    """The files of one trained fold; the record is written last and makes the others count."""

    folder: Path
    fold: str

    def _file(self, ending: str) -> Path:
        return self.folder / f"fold{self.fold}{ending}"

    @property
    def scores(self) -> Path:
        return self._file("_scores.csv")

    @property
    def record(self) -> Path:
        return self._file(".json")

    @property
    def weights(self) -> Path:
        return self._file(".safetensors")

    def done(self, made_from: dict[str, Any]) -> bool:
        return self.record.exists() and read_json(self.record) == made_from

    def write(
        self, model: torch.nn.Module, *, scores: pd.DataFrame, history: pd.DataFrame, made_from: dict[str, Any]
    ) -> None:
        self.record.unlink(missing_ok=True)
        with write_whole(self.weights) as part:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, part)
        write_table(self.scores, scores)
        write_table(self._file("_history.csv"), history)
        write_json(self.record, made_from)
