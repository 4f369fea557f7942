"""The files of a bone's trained folds: where they lie, what they were made from, and how they are read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from deepqct.evaluation.judging import times_of, value_of
from deepqct.folder import Run, read_json, read_table, write_json, write_table, write_whole
from deepqct.networks.backbones import network
from deepqct.networks.data import items_of, measured
from deepqct.networks.ensemble import Ensemble
from deepqct.networks.images import BoneImage, softened
from deepqct.networks.readers import Design
from deepqct.networks.recipe import Recipe
from deepqct.run_tables import main_rows, outcome_of, run_outcome
from deepqct.terms import BONES, NUMBER, TIME

# What decides which network a file of weights is of. What a run began with may be gone, so that not all is read.
_OF_HEAD = ("arch", "channels", "low", "high", "first", "pooling", "patches", "patch_mm", "bag")
_TRAINED_ON, _HASH = "trained_on", 16  # the entry of a weights file, and how many letters of a scan's hash stand there


def load_fold(run: Run, *, bone: str, protocol: str, repeat: int, fold: str) -> torch.nn.Module:
    """The trained network of one fold, on the processor and ready to score images.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        As in splits.csv.
    fold : str
        The fold that was held out, whose patients the network has not seen.

    Returns
    -------
    Module
        A body and a head, which give one logit for each image (channels, y, x); of an ensemble, an `Ensemble`, which gives
        the mean logit of its networks.

    Raises
    ------
    FileNotFoundError
        If the fold has not been trained.

    Examples
    --------
    >>> import deepqct as dq
    >>> import torch
    >>> model = dq.networks.load_fold(dq.run.example_run(), bone="radius", protocol="all", repeat=0, fold="0")
    >>> tuple(model(torch.zeros(5, 3, 32, 32)).shape)
    (5, 1)
    """
    files = FoldFiles(place_of(run, bone=bone, protocol=protocol, repeat=repeat), fold)
    run.require(files.record, written_by="02_train_bone")
    members = read_json(files.record)["recipe"]["ensemble"]
    each = [files] if members == 1 else [files.member(number) for number in range(members)]
    for one in each:
        run.require(one.weights, written_by="02_train_bone")
    if members == 1:
        return _loaded(files)
    return Ensemble([_loaded(one) for one in each]).eval()


def _loaded(files: FoldFiles) -> torch.nn.Module:
    """The network that one file of weights holds."""
    record = read_json(files.record)
    # Networks of before a setting was there are what its default makes.
    recipe = Recipe(**{name: record["recipe"][name] for name in _OF_HEAD if name in record["recipe"]})
    design = Design.of(recipe, pixel_mm=record["pixel_mm"], targets=len(record["targets"]))
    model = network(arch=recipe.arch, channels=recipe.channels, design=design)
    model.load_state_dict(load_file(files.weights))
    return model.eval()


def training_history(run: Run, *, bone: str) -> pd.DataFrame:
    """The losses of every epoch of every trained fold that splits.csv still has.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    DataFrame
        epoch (from 1), train_loss, valid_loss (cross-entropy in nats; of the held-out fold; of an ensemble, means
        over its networks), protocol, repeat, fold. With `Recipe.auxiliary`, train_loss has the error of the indices in it.

    Examples
    --------
    >>> import deepqct as dq
    >>> history = dq.networks.training_history(dq.run.example_run(), bone="radius")
    >>> history[["protocol", "repeat", "fold", "epoch"]].to_numpy().tolist()
    [['all', 0, '0', 1], ['all', 0, '1', 1]]
    """
    in_splits = set(measured(run, bone=bone)[["protocol", "repeat", "fold"]].itertuples(index=False, name=None))
    tables = [
        read_table(path).assign(
            protocol=path.parent.parent.name,
            repeat=int(path.parent.name.removeprefix("repeat")),
            fold=path.name.removeprefix("fold").removesuffix("_history.csv"),
        )
        for path in sorted(run.models(bone).glob("*/repeat*/fold*_history.csv"))
    ]
    table = pd.concat(tables, ignore_index=True)
    known = [place in in_splits for place in table[["protocol", "repeat", "fold"]].itertuples(index=False, name=None)]
    return table[known].reset_index(drop=True)


def with_outcome(run: Run, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with each patient's outcome in a new column, ``outcome``.

    Parameters
    ----------
    run : Run
        The run that the patients belong to.
    scores : DataFrame
        With the column participant_id, as `cross_validate` returns it.

    Returns
    -------
    DataFrame
        The rows and columns of `scores`, and outcome, 0 or 1: of a number or a time, its two groups.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> scores = dq.networks.with_outcome(run, dq.folder.read_table(run.scores("radius")))
    >>> scores["outcome"].value_counts().to_dict()
    {0: 7, 1: 5}
    """
    return scores.assign(outcome=scores["participant_id"].map(run_outcome(run)).astype(int))


def top_losses(run: Run, *, bone: str, scores: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """The patients whose out-of-fold risk is furthest from their outcome.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    scores : DataFrame
        From `cross_validate`; the first protocol in it counts, and the mean risk over its repeats.
    most : int
        The largest number of patients that are returned.

    Returns
    -------
    DataFrame
        participant_id, the outcome under its own name, risk, loss (cross-entropy in nats), worst first. Of a number
        predicted, and the absolute error; of a time the event by the horizon, without women who were not followed as long.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> scores = dq.folder.read_table(run.scores("radius")).assign(risk=0.9)  # as if everybody had a high risk
    >>> dq.networks.top_losses(run, bone="radius", scores=scores, most=2)[["fracture", "loss"]].round(2)
       fracture  loss
    0         0   2.3
    1         0   2.3
    """
    outcome, table = outcome_of(run), main_rows(scores)
    value = value_of(outcome)
    told = table.groupby("participant_id")[value].mean()
    own = outcome.take(told.index)
    if own.kind == NUMBER:
        columns = {own.name: own.values, value: told, "loss": (own.values - told).abs()}
        return pd.DataFrame(columns).nlargest(most, "loss").rename_axis("participant_id").reset_index()
    name, target = own.event, own.values
    if own.kind == TIME:
        name = f"{own.event} by {own.horizon:g} years"
        target = pd.Series(times_of(own).known_at(own.horizon), told.index)
    risk = told.clip(1e-6, 1 - 1e-6)
    loss = -(target * np.log(risk) + (1 - target) * np.log1p(-risk))
    worst = pd.DataFrame({name: target, "risk": risk, "loss": loss}).nlargest(most, "loss")
    return worst.rename_axis("participant_id").reset_index()


def place_of(run: Run, *, bone: str, protocol: str, repeat: int, control: str = "none") -> Path:
    """The folder in which the files of one repeat's folds lie.

    Parameters
    ----------
    run : Run
        The run that the networks belong to.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        As in splits.csv.
    control : str
        As in `Recipe`; the networks of a control have a folder of their own.
    """
    within = run.models(bone) if control == "none" else run.models(bone) / "controls" / control
    return within / protocol / f"repeat{repeat}"


@dataclass(frozen=True)
class FoldTables:
    """What the training of a fold gives beside the weights.

    Parameters
    ----------
    scores : DataFrame
        participant_id, split, score, of the patients whom the network has not seen.
    training : DataFrame
        participant_id, score, of those whom it was trained on.
    history : DataFrame
        epoch, train_loss, valid_loss.
    """

    scores: pd.DataFrame
    training: pd.DataFrame
    history: pd.DataFrame

    @classmethod
    def mean(cls, members: Sequence[FoldTables]) -> FoldTables:
        """The tables of an ensemble: means over its networks.

        Parameters
        ----------
        members : sequence of FoldTables
            Of the same patients and epochs.
        """
        return cls(
            scores=_mean([tables.scores for tables in members], by=["participant_id", "split"]),
            training=_mean([tables.training for tables in members], by=["participant_id"]),
            history=_mean([tables.history for tables in members], by=["epoch"]),
        )


def _mean(tables: Sequence[pd.DataFrame], *, by: list[str]) -> pd.DataFrame:
    """The mean of tables with the same rows, in the order of the first."""
    return pd.concat(tables).groupby(by, sort=False).mean().reset_index()


@dataclass(frozen=True)
class FoldFiles:
    """The files of one trained fold; they count only where there is a record, which is written last.

    Parameters
    ----------
    folder : Path
        From `place_of`.
    fold : str
        The fold that was held out; of two folds left out, both, as in ``0-1``.
    """

    folder: Path
    fold: str

    def _file(self, ending: str) -> Path:
        return self.folder / f"fold{self.fold}{ending}"

    @property
    def scores(self) -> Path:
        """The table of scores of the patients whom this fold's network has not seen."""
        return self._file("_scores.csv")

    @property
    def training(self) -> Path:
        """The table of scores of the patients whom it was trained on."""
        return self._file("_training.csv")

    @property
    def history(self) -> Path:
        """The table of losses by epoch."""
        return self._file("_history.csv")

    def member(self, number: int) -> FoldFiles:
        """The files of one network of an ensemble, in a folder beside those of the fold.

        Parameters
        ----------
        number : int
            From 0.
        """
        return FoldFiles(self.folder / f"member{number}", self.fold)

    @property
    def record(self) -> Path:
        """The record of what the fold was made from."""
        return self._file(".json")

    @property
    def weights(self) -> Path:
        """The weights of the trained network."""
        return self._file(".safetensors")

    def done(self, made_from: dict[str, Any]) -> bool:
        """True if there are files, with the weights, and they were made from exactly this.

        Parameters
        ----------
        made_from : dict
            As it was given to `write`.
        """
        if not self.record.exists() or read_json(self.record) != made_from:
            return False
        members = made_from["recipe"].get("ensemble", 1)
        own = [self.weights] if members == 1 else [self.member(number).weights for number in range(members)]
        return all(path.exists() for path in own)  # `deepqct tidy` removes weights alone

    def write(
        self, tables: FoldTables, *, made_from: dict[str, Any], model: torch.nn.Module | None, trained_on: Iterable[str]
    ) -> None:
        """Write the files of a trained fold, the record last.

        Parameters
        ----------
        tables : FoldTables
            Its scores and losses.
        made_from : dict
            All that the files depend on, such as the recipe and a hash of the data; written as JSON.
        model : Module or None
            The trained network; None for an ensemble, whose networks have files of their own.
        trained_on : iterable of str
            The scans from `scans_of` that it learned from; they go into the file of the weights, wherever that is carried.
        """
        self.record.unlink(missing_ok=True)
        if model is None:
            self.weights.unlink(missing_ok=True)
        else:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
            with write_whole(self.weights) as unfinished:
                save_file(tensors, unfinished, metadata={_TRAINED_ON: " ".join(sorted(trained_on))})
        write_table(self.scores, tables.scores)
        write_table(self.training, tables.training)
        write_table(self.history, tables.history)
        write_json(self.record, made_from)

    def read(self) -> FoldTables:
        """The tables of a fold that was trained before."""
        return FoldTables(*(read_table(path) for path in (self.scores, self.training, self.history)))


def scans_of(run: Run, people: Iterable[str]) -> set[str]:
    """The beginnings of the hashes of all scans of some women: in another cohort, under other ids, they have the same.

    Parameters
    ----------
    run : Run
        A curated run.
    people : iterable of str
        Their participant_id. Scans of all their bones count, since a network of one bone knows the outcome of all.
    """
    records = [record for person in people for bone in BONES if (record := run.stack_record(person, bone)).exists()]
    made_from = [read_json(record)["made_from"] for record in records]
    return {str(made["sha256"])[:_HASH] for made in made_from if isinstance(made, dict) and made.get("sha256")}


def scans_seen(weights: Path) -> set[str]:
    """The scans that the network in a file learned from, as `scans_of` names them; empty if the file does not say.

    Parameters
    ----------
    weights : Path
        A safetensors file.
    """
    with safe_open(weights, framework="pt") as file:
        return set(((file.metadata() or {}).get(_TRAINED_ON) or "").split())


def held_out_folds(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> Any:
    """Each fold's network with the images that it has not seen, fold by fold; the test set is left out.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.
    protocol, repeat : str, int
        As in splits.csv.
    recipe : Recipe
        The recipe that the networks were trained with.

    Yields
    ------
    model : Module
        From `load_fold`.
    items : DataFrame
        The rows of `items_of` of the fold that was held out.
    """
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    for fold in sorted(set(items["fold"]) - {"test"}):
        yield load_fold(run, bone=bone, protocol=protocol, repeat=repeat, fold=fold), items[items["fold"] == fold]


def batch_of(run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe) -> torch.Tensor:
    """The images that some rows of `items_of` name, as one batch, as they are when they are scored.

    Parameters
    ----------
    run : Run
        A curated run.
    items : DataFrame
        Rows of `items_of`.
    bone : str
        radius, ulna, tibia or fibula.
    recipe : Recipe
        What the images are.

    Returns
    -------
    (images, channels, y, x) Tensor
        0 and 1 are the edges of the density window.
    """
    batch = torch.stack([BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in items.itertuples()])
    return softened(batch) if recipe.augment else batch


def items_of_others(run: Run, items: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The images of the women of the other folds, whom the network of these images' fold has seen.

    Parameters
    ----------
    run : Run
        A curated run.
    items : DataFrame
        Rows of `items_of` of one fold.
    **where
        bone, protocol, repeat and recipe, as in `items_of`.

    Returns
    -------
    DataFrame
        Rows of `items_of`, of neither that fold nor the test set.
    """
    everybody = items_of(run, **where)
    return everybody[~everybody["fold"].isin(["test", *items["fold"].unique()])]
