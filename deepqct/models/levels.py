"""The scores of the bones' networks as the models take them: every fold on one level, and no outcome looked at.

A test patient is scored by the networks of all folds. Her scores are kept by network, each less the level that this
network has in the patients of its own held-out fold, so that what is fitted on single networks' scores meets such scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from deepqct.evaluation.scales import levels, spread
from deepqct.models.inputs import Tables
from deepqct.run_tables import rows_of


@dataclass(frozen=True)
class Levelled:
    """The scores of several bones' networks for one protocol and repeat, every fold on one level.

    Parameters
    ----------
    scores : (patients, bones) DataFrame
        One column a bone, called ``<bone> score``; test patients have the mean over networks; NaN without the bone.
    by_network : mapping of str to DataFrame
        For each fold, its networks' scores of the test patients, with the same columns; empty without a test set, or
        where it is not known.
    """

    scores: pd.DataFrame
    by_network: Mapping[str, pd.DataFrame]


def levelled(data: Tables, *, bones: Sequence[str], protocol: str, repeat: int, fold: pd.Series) -> Levelled:
    """Take the levels of the folds off the scores of the bones' networks.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    bones : sequence of str
        The bones that have scores for this protocol and repeat.
    protocol, repeat : str, int
        As in splits.csv.
    fold : Series of str
        The fold, or ``test``, of each patient, by participant_id.

    Returns
    -------
    Levelled
        With a row for each patient of `fold`.

    Notes
    -----
    The level of a fold is the mean score of its patients, who were not in its network's training. It looks at their
    images and at no outcome; it moves all scores of a fold alike, so that no two women of a fold change places.
    """
    test = fold.index[fold == "test"]
    scores = pd.DataFrame(index=fold.index)
    by_network: dict[str, pd.DataFrame] = {}
    for bone in bones:
        score = rows_of(data.scores[bone], protocol, repeat).set_index("participant_id")["score"].reindex(fold.index)
        level = levels(score[fold != "test"], fold[fold != "test"])
        of_fold = fold.map(level).astype(float)
        of_fold[fold == "test"] = level.mean()
        name = f"{bone} score"
        if bone in data.networks:
            rows = rows_of(data.networks[bone], protocol, repeat)
            for network, own in rows.groupby("fold"):
                new = own.set_index("participant_id")["score"].reindex(test) - level[network]
                by_network.setdefault(str(network), pd.DataFrame(index=test))[name] = new
        scores[name] = score - of_fold
    # A bone whose networks' own scores are not there takes part with their mean.
    whole = {network: table.reindex(columns=scores.columns) for network, table in by_network.items()}
    return Levelled(scores, {network: table.fillna(scores.loc[test]) for network, table in sorted(whole.items())})


def mean_of_bones(
    networks: Levelled, *, columns: Sequence[str], fold: pd.Series
) -> tuple[pd.Series, dict[str, pd.Series]]:
    """The mean of several bones' scores with equal weights, or the score of one bone.

    Parameters
    ----------
    networks : Levelled
        The scores.
    columns : sequence of str
        The columns of the scores that are averaged.
    fold : Series of str
        The fold, or ``test``, of each patient, by participant_id.

    Returns
    -------
    score : Series of float
        NaN for patients who have none of the bones; the mean of those that a patient has.
    by_network : dict of str to Series
        For each fold, the scores of the test patients by its networks.

    Notes
    -----
    Before they are averaged, scores are divided by their SD over the patients of the other folds, so that a bone whose
    networks say everything loudly has no more weight. No outcome is looked at, which calibration maps would do: in
    standard stacking these come from networks that saw the patients who are scored, and give noise an AUC of 0.556
    (± 0.005 in 150 simulated cohorts of 216, where the mean has 0.495; `make bench-evaluation PART=stacking`).
    """
    names, score = list(columns), pd.Series(float("nan"), fold.index)
    if len(names) == 1:
        return networks.scores[names[0]], {key: table[names[0]] for key, table in networks.by_network.items()}
    by_network: dict[str, pd.Series] = {}
    for held_out in fold.unique():
        others = networks.scores.loc[(fold != held_out) & (fold != "test"), names]
        size = others.apply(spread)
        rows = fold == held_out
        score[rows] = (networks.scores.loc[rows, names] / size).mean(axis=1)
        if held_out == "test":
            by_network = {key: (table[names] / size).mean(axis=1) for key, table in networks.by_network.items()}
    return score, by_network
