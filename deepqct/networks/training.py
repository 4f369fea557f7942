"""Learners for one bone: one fastai learner is trained for each fold, and scores the patients whom it has not seen.

The preprint's abstract names a ResNet34 for each bone (Chen 2024); image size, slabs, augmentation and schedule are our
choice. Patients are split before anything else. Nothing is chosen by the results in the fold that is scored: the number
of epochs is fixed beforehand.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import fastai.callback.schedule  # noqa: F401 - it gives Learner its one-cycle schedules
import numpy as np
import pandas as pd
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat
from fastai.optimizer import OptimWrapper
from fastai.torch_core import default_device, set_seed

from deepqct import __version__
from deepqct.folder import Run, file_hash, read_json, read_table, resolve
from deepqct.networks.backbones import given, network, parts_of, try_network
from deepqct.networks.data import bone_dataloaders, items_of, seed_of
from deepqct.networks.folds import FoldFiles, FoldTables, place_of, scans_of, scans_seen
from deepqct.networks.losses import OutcomeAndIndices, loss_of
from deepqct.networks.readers import Design
from deepqct.networks.recipe import Recipe
from deepqct.networks.stock import targets_of
from deepqct.reach import code_hash
from deepqct.run_tables import outcome_of
from deepqct.terms import Outcome
from deepqct.work import say

# AdamW with fastai's settings. Torch's own moves all weights at once, which saves a tenth of the time on a processor.
_ADAMW = partial(OptimWrapper, opt=torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5)


def use_device(name: str = "auto") -> str:
    """Choose the device on which the learners of this process are trained.

    Parameters
    ----------
    name : str
        ``cuda``, ``mps``, ``cpu``, or ``auto``: the first of these that the machine has.

    Returns
    -------
    str
        The device, as torch names it.

    Raises
    ------
    ValueError
        If the machine does not have the device.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.networks.use_device("cpu")
    'cpu'
    >>> fastest = dq.networks.use_device()  # back to the best that this machine has
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name != "auto" and not available.get(name, False):
        raise ValueError(f"device is {name!r}; this machine has {', '.join(d for d, ok in available.items() if ok)}.")
    chosen = next(device for device, ok in available.items() if ok) if name == "auto" else name
    return str(default_device(chosen != "cpu"))


def bone_learner(
    dls: DataLoaders,
    *,
    arch: str = "resnet34",
    weights: str = "none",
    wd: float = 0.01,
    design: Design | None = None,
    auxiliary: float = 0.0,
    outcome: Outcome | None = None,
    progress: bool = False,
) -> Learner:
    """A fastai learner whose network gives one logit for each image.

    Parameters
    ----------
    dls : fastai DataLoaders
        From `bone_dataloaders`.
    arch, weights, wd, auxiliary
        As in `Recipe`.
    design : Design, optional
        What the head is built for; by default fastai's own head.
    outcome : Outcome, optional
        Of the women whom it is trained on: its kind decides the loss. By default it is of 0 and 1.
    progress : bool
        True shows progress bars; False prints a line for each epoch.

    Returns
    -------
    fastai Learner
        Not trained yet.

    Raises
    ------
    RuntimeError
        If ImageNet weights can neither be found nor fetched.
    ValueError
        If the backbone cannot read such images, or the file holds weights of another backbone.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> dls = dq.networks.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    >>> learner = dq.networks.bone_learner(dls, arch="resnet18")
    >>> learner.model[-1][-1].out_features  # of the last layer
    1
    """
    channels, pixels = dls.train_ds[0][0].shape[:2]
    loss = BCEWithLogitsLossFlat() if outcome is None else loss_of(outcome)
    if arch != Recipe.arch:
        try_network(arch=arch, channels=channels, pixels=(design.patch_px if design else 0) or pixels)
    learner = Learner(
        dls,
        network(arch=arch, channels=channels, weights=weights, design=design),
        loss_func=OutcomeAndIndices(auxiliary, loss) if auxiliary else loss,
        opt_func=_ADAMW,
        splitter=partial(parts_of, arch=arch),
        wd=wd,
    )
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
    """Train on the other folds, and score the patients of this fold and those of the test set, if there is one.

    With `without`, that fold is not trained on either, and its patients are scored in place of the test set.

    A fold whose files were made by the same recipe and code from the same images is not trained again.

    Parameters
    ----------
    run, bone, fold, without, protocol, repeat, recipe, workers
        As in `bone_dataloaders`.
    progress : bool
        True shows progress bars; False prints a line for each epoch.

    Returns
    -------
    DataFrame
        participant_id, split (out-of-fold, test, or inner for `without`), score (mean logit over the patient's images).

    Raises
    ------
    ValueError
        If the recipe begins with weights of this run's own networks, or of any network that learned from a scan of a woman
        who would be scored, whatever her id; and as in `bone_dataloaders`.
    RuntimeError
        If ImageNet weights can neither be found nor fetched.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> scores = dq.networks.train_fold(run, bone="radius", fold=0, recipe=recipe)
    radius · all · repeat 0 · fold 0: trained before, kept
    >>> scores["split"].unique().tolist(), bool(scores["participant_id"].is_unique)
    (['out-of-fold'], True)
    """
    recipe = recipe or Recipe()
    if given(recipe.weights) and resolve(recipe.weights).resolve().is_relative_to(run.folder.resolve()):
        raise ValueError(
            f"weights is {recipe.weights!r}, a network of this very run, which has seen patients whom it would score; give "
            "one that was trained on others."
        )
    place = place_of(run, bone=bone, protocol=protocol, repeat=repeat, control=recipe.control)
    files = FoldFiles(place, str(fold)) if without is None else FoldFiles(place / "inner", f"{fold}-{without}")
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    control = "" if recipe.control == "none" else f" · control {recipe.control}"
    title = f"{bone}{control} · {protocol} · repeat {repeat} · fold {fold}" + (f" and {without}" if without else "")
    others = [str(fold), str(without) if without is not None else "test"]
    scored = items.loc[items["fold"].isin(others), "participant_id"].unique()
    if given(recipe.weights) and (seen := scans_seen(resolve(recipe.weights)) & scans_of(run, scored)):
        raise ValueError(
            f"weights is {recipe.weights!r}, which learned from {len(seen)} scans of women whom fold {fold} scores; "
            "give one that was trained on others."
        )
    learned_from = items.loc[~items["fold"].isin(["test", *others]), "participant_id"].unique()
    targets = targets_of(run, learned_from, bone=bone, told=recipe.told) if recipe.auxiliary else pd.DataFrame()
    begun_with = {"weights_sha256": file_hash(resolve(recipe.weights))} if given(recipe.weights) else {}
    made_from = {
        "recipe": asdict(recipe) | begun_with,
        "bone": bone, "protocol": protocol, "repeat": repeat, "fold": str(fold), "without": str(without),
        "data": _data_hash(items, run=run, bone=bone),
        "pixel_mm": read_json(run.stack_record(items["participant_id"].iloc[0], bone))["voxel_mm"][1],
        "targets": list(targets.columns),
        "targets_sha256": hashlib.sha256(targets.to_csv().encode()).hexdigest() if recipe.auxiliary else "",
        "code": code_hash("from deepqct.networks.training import train_fold\ntrain_fold"),
        "device": str(default_device()),
        "versions": {"deepqct": __version__, "torch": torch.__version__},
    }  # fmt: skip
    if files.done(made_from):
        say(f"{title}: trained before, kept")
        return read_table(files.scores)
    where: dict[str, Any] = {"bone": bone, "fold": fold, "without": without, "protocol": protocol, "repeat": repeat}
    how: dict[str, Any] = {"workers": workers, "progress": progress}
    if recipe.ensemble == 1:
        return _train_one(
            run, files, title=title, made_from=made_from, recipe=recipe, items=items, where=where, **how
        ).scores
    alone = replace(recipe, ensemble=1)
    members = []
    files.record.unlink(missing_ok=True)  # of networks that those below may overwrite one by one
    for number in range(recipe.ensemble):
        of_member = made_from | {"recipe": asdict(alone) | begun_with, "member": number}
        name, member = f"{title} · network {number + 1} of {recipe.ensemble}", files.member(number)
        if member.done(of_member):
            say(f"{name}: trained before, kept")
            members.append(member.read())
        else:
            members.append(
                _train_one(run, member, title=name, made_from=of_member, recipe=alone, items=items, where=where, **how)
            )
    tables = FoldTables.mean(members)
    files.write(tables, made_from=made_from, model=None, trained_on=())
    return tables.scores


def _train_one(
    run: Run,
    files: FoldFiles,
    *,
    title: str,
    made_from: dict[str, Any],
    recipe: Recipe,
    items: pd.DataFrame,
    where: dict[str, Any],
    workers: int,
    progress: bool,
) -> FoldTables:
    """Train one network, and write its files."""
    say(title)
    member = (
        [f"network {made_from['member']}"] if made_from.get("member") else []
    )  # the first has the seed of one alone
    place = (where["bone"], where["protocol"], where["repeat"], files.fold, *member)
    set_seed(seed_of(recipe.seed, *place), reproducible=True)
    dls = bone_dataloaders(run, recipe=recipe, workers=workers, **where)
    learner = bone_learner(
        dls,
        arch=recipe.arch,
        weights=recipe.weights,
        wd=recipe.wd,
        design=Design.of(recipe, pixel_mm=made_from["pixel_mm"], targets=len(made_from["targets"])),
        auxiliary=recipe.auxiliary,
        outcome=_learnt(run, items, where=where),
        progress=progress,
    )
    _fit(learner, recipe)
    losses = pd.DataFrame(
        [{"epoch": i + 1, "train_loss": v[0], "valid_loss": v[1]} for i, v in enumerate(learner.recorder.values)]
    )
    fold, without = str(where["fold"]), where["without"]
    held_out = _patient_logits(learner, items[items["fold"] == fold], tta=recipe.tta).assign(split="out-of-fold")
    second, split = ("test", "test") if without is None else (str(without), "inner")
    also_unseen = _patient_logits(learner, items[items["fold"] == second], tta=recipe.tta).assign(split=split)
    seen = items[~items["fold"].isin(["test", fold, str(without)])]
    tables = FoldTables(
        scores=pd.concat([held_out, also_unseen], ignore_index=True)[["participant_id", "split", "score"]],
        training=_patient_logits(learner, seen, tta=recipe.tta)[["participant_id", "score"]],
        history=losses,
    )
    # What the weights began with was learned from, too.
    trained_on = scans_of(run, seen["participant_id"].unique())
    trained_on |= scans_seen(resolve(recipe.weights)) if given(recipe.weights) else set()
    files.write(tables, made_from=made_from, model=learner.model, trained_on=trained_on)
    return tables


def _fit(learner: Learner, recipe: Recipe) -> None:
    """Train as far as the recipe lets layers learn, on fastai's schedules."""
    if recipe.weights == "none":
        learner.fit_one_cycle(recipe.epochs, recipe.lr)
    elif recipe.learns == "all":
        say("one epoch of the head alone, then all layers")
        learner.fine_tune(recipe.epochs, base_lr=recipe.lr)
    elif recipe.learns == "head":
        say("the head alone")
        learner.freeze()
        learner.fit_one_cycle(recipe.epochs, recipe.lr)
    else:  # as fine_tune, without its last step
        say("one epoch of the head alone, then the later layers")
        learner.freeze()
        learner.fit_one_cycle(1, slice(recipe.lr), pct_start=0.99)
        learner.freeze_to(-2)
        learner.fit_one_cycle(recipe.epochs, slice(recipe.lr / 200, recipe.lr / 2), pct_start=0.3, div=5.0)


def _learnt(run: Run, items: pd.DataFrame, *, where: dict[str, Any]) -> Outcome:
    """The outcome of the women whom a network is trained on, as `items_of` gives it."""
    others = ["test", str(where["fold"]), str(where["without"])]
    rows = items[~items["fold"].isin(others)].drop_duplicates("participant_id").set_index("participant_id")
    return replace(outcome_of(run), values=rows["outcome"], times=rows.get("time"))


def _follow_last_epoch(model: torch.nn.Module, *, steps: int) -> None:
    """Let the running statistics of batch normalisation follow the last epoch, if it is shorter than torch's ten steps.

    In a small cohort an epoch is a few steps. Statistics from before it belong to weights that have changed since, and
    shift all scores of a fold, by a different amount in each fold (Wu & Johnson 2021, arXiv:2105.07576). Training
    itself does not use these statistics.
    """
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.momentum is not None:
            layer.momentum = max(layer.momentum, 1 / steps)


def _say_epoch(log: list[Any]) -> None:
    """Print one plain line for an epoch; fastai hands over a list, and before the first epoch a list of names."""
    if isinstance(log[0], int):
        epoch, train, valid, *_, time = log
        say(f"epoch {epoch + 1}: training loss {train:.3f}, held-out loss {valid:.3f}, {time}")


def _patient_logits(learner: Learner, items: pd.DataFrame, *, tta: int) -> pd.DataFrame:
    """Mean logit of each patient over her images and over augmented views of them."""
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
        digest.update(json.dumps(read_json(run.stack_record(person, bone))["made_from"], sort_keys=True).encode())
    return digest.hexdigest()
