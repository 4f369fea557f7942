"""How well networks know the women whom they learned from, beside women whom they have not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from deepqct.evaluation.judging import as_judged, judged, told_by
from deepqct.folder import Run, read_table
from deepqct.networks.data import measured
from deepqct.networks.folds import FoldFiles, place_of
from deepqct.run_tables import main_rows, outcome_of


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


def out_of_fold(run: Run, scores: pd.DataFrame) -> pd.Series:
    """How well a bone's networks tell the outcome of women whom they have not seen, in the main result.

    Parameters
    ----------
    run : Run
        The run that the women belong to.
    scores : DataFrame
        From `cross_validate`; the mean over the repeats is given.

    Returns
    -------
    Series
        estimate, low, high, n, events, and measure: AUC, of a number R², of a time C-index.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> told = dq.networks.out_of_fold(run, dq.folder.read_table(run.scores("radius")))
    >>> told["measure"], told["n"]
    ('AUC', 12)
    """
    own, told = told_by(outcome_of(run), main_rows(scores))
    return pd.Series(judged(own, told).row() | {"measure": own.figure})


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
