"""How well networks know the women whom they learned from, beside women whom they have not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from deepqct.evaluation.judging import as_judged
from deepqct.folder import Run, read_table
from deepqct.networks.data import measured
from deepqct.networks.folds import FoldFiles, place_of
from deepqct.run_tables import outcome_of


def training_auc(run: Run, *, bone: str) -> pd.DataFrame:
    """The AUC of each fold's network in the women whom it was trained on, beside that in the women of the fold.

    Of a number it is the squared correlation with the scores (R²), of a time the C-index.

    Both are scored alike, by the mean logit over plain images. A training AUC far above the other is overfitting, which is
    usual; one that is low itself is a network that has not learned enough.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    DataFrame
        protocol, repeat, fold, split (training or out-of-fold), estimate (AUC, NaN where it is not estimable), low, high,
        n, events, measure (AUC, R² or C-index): one row for each fold that splits.csv still has, and split.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.networks.training_auc(dq.run.example_run(), bone="radius")
    >>> table[["fold", "split", "n"]].to_numpy().tolist()
    [['0', 'training', 6], ['0', 'out-of-fold', 6], ['1', 'training', 6], ['1', 'out-of-fold', 6]]
    """
    return pd.DataFrame(_rows(run, bone=bone))


def _rows(run: Run, *, bone: str) -> Iterator[dict[str, Any]]:
    """The rows of `training_auc`."""
    outcome = outcome_of(run)
    places = measured(run, bone=bone).query("fold != 'test'")[["protocol", "repeat", "fold"]].drop_duplicates()
    for protocol, repeat, fold in places.sort_values(["protocol", "repeat", "fold"]).itertuples(index=False):
        files = FoldFiles(place_of(run, bone=bone, protocol=protocol, repeat=repeat), fold)
        if not files.record.exists():
            continue
        of_fold = read_table(files.scores).query("split == 'out-of-fold'")
        for split, scores in (("training", read_table(files.training)), ("out-of-fold", of_fold)):
            figure = {str(name): value for name, value in as_judged(outcome, scores).items()}
            yield {"protocol": protocol, "repeat": repeat, "fold": fold, "split": split} | figure
