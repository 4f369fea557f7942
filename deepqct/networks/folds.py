"""The files of a bone's trained folds: where they lie, what they were made from, and what can be read back from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from deepqct.folder import Run, read_json, read_table, write_json, write_table, write_whole
from deepqct.networks.backbones import network
from deepqct.networks.data import items_of, measured
from deepqct.networks.images import BoneImage
from deepqct.networks.recipe import Recipe
from deepqct.run_tables import main_rows, run_outcome


def load_fold(run: Run, *, bone: str, protocol: str, repeat: int, fold: str) -> torch.nn.Module:
    """The trained network of one fold, for looking at: on the processor, not to be trained.

    Raises
    ------
    FileNotFoundError
        If the fold has not been trained.
    """
    files = FoldFiles(place_of(run, bone=bone, protocol=protocol, repeat=repeat), fold)
    run.require(files.record, written_by="02_train_bone")
    recipe = read_json(files.record)["recipe"]
    model = network(arch=recipe["arch"], channels=recipe["channels"])
    model.load_state_dict(load_file(files.weights))
    return model.eval()


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
    table = main_rows(scores)
    risk = table.groupby("participant_id")["risk"].mean().clip(1e-6, 1 - 1e-6)
    target = outcome.reindex(risk.index)
    loss = -(target * np.log(risk) + (1 - target) * np.log1p(-risk))
    worst = pd.DataFrame({str(outcome.name): target, "risk": risk, "loss": loss}).nlargest(most, "loss")
    return worst.rename_axis("participant_id").reset_index()


def place_of(run: Run, *, bone: str, protocol: str, repeat: int, control: str = "none") -> Path:
    """The folder of one repeat's folds."""
    within = run.models(bone) if control == "none" else run.models(bone) / "controls" / control
    return within / protocol / f"repeat{repeat}"


@dataclass(frozen=True)
class FoldFiles:
    """The files of one trained fold; the record is written last and makes the others count."""

    folder: Path
    fold: str

    def _file(self, ending: str) -> Path:
        return self.folder / f"fold{self.fold}{ending}"

    @property
    def scores(self) -> Path:
        """Scores of the patients whom this fold's network has not seen."""
        return self._file("_scores.csv")

    @property
    def record(self) -> Path:
        """What the fold was made from."""
        return self._file(".json")

    @property
    def weights(self) -> Path:
        """The trained network's weights."""
        return self._file(".safetensors")

    def done(self, made_from: dict[str, Any]) -> bool:
        """True if the files were made from exactly this."""
        return self.record.exists() and read_json(self.record) == made_from

    def write(
        self, model: torch.nn.Module, *, scores: pd.DataFrame, history: pd.DataFrame, made_from: dict[str, Any]
    ) -> None:
        """Write the files of a trained fold, the record last."""
        self.record.unlink(missing_ok=True)
        with write_whole(self.weights) as part:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, part)
        write_table(self.scores, scores)
        write_table(self._file("_history.csv"), history)
        write_json(self.record, made_from)


def held_out_folds(run: Run, *, bone: str, protocol: str, repeat: int, recipe: Recipe) -> Any:
    """Each fold's network with the items that it has not seen."""
    items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
    for fold in sorted(set(items["fold"]) - {"test"}):
        yield load_fold(run, bone=bone, protocol=protocol, repeat=repeat, fold=fold), items[items["fold"] == fold]


def batch_of(run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe) -> torch.Tensor:
    """The images of some items as one batch."""
    return torch.stack([BoneImage.of(item, run=run, bone=bone, recipe=recipe) for item in items.itertuples()])


def items_of_others(run: Run, items: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The items of the women of the other folds: those whom the network of `items` has seen."""
    everybody = items_of(run, **where)
    return everybody[~everybody["fold"].isin(["test", *items["fold"].unique()])]
