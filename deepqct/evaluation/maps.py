"""Scores of networks turned into predicted numbers or into risks of a time; `calibration` does it for 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.evaluation.cox import RiskMap
from deepqct.evaluation.judging import times_of, value_of
from deepqct.evaluation.scales import levels
from deepqct.terms import TIME, Outcome


def map_out_of_fold(scores: pd.DataFrame, *, outcome: Outcome) -> pd.DataFrame:
    """Turn scores of networks into numbers or risks, each by a map that was fitted on the scores of other women.

    Parameters
    ----------
    scores : DataFrame
        protocol, repeat, participant_id, fold, split (out-of-fold, test), score.
    outcome : Outcome
        A number or a time.

    Returns
    -------
    DataFrame
        `scores` with ``predicted`` (a straight line of the score) or ``risk`` (Cox on the score). Every score is taken
        less the level of its network, as in `deepqct.evaluation.calibrate_out_of_fold`.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> from deepqct.evaluation.maps import map_out_of_fold
    >>> scores = pd.DataFrame({"participant_id": list("abcdef"), "score": [-1.0, 0, 1, -1, 0, 1]})
    >>> scores = scores.assign(fold=[0, 0, 0, 1, 1, 1], split="out-of-fold", protocol="all", repeat=0)
    >>> ages = dq.terms.Outcome("age", "number", pd.Series([60.0, 70, 80, 60, 70, 80], list("abcdef")))
    >>> map_out_of_fold(scores, outcome=ages)["predicted"].round(1).tolist()
    [60.0, 70.0, 80.0, 60.0, 70.0, 80.0]
    """
    value, mapped = value_of(outcome), []
    for _, rows in scores.groupby(["protocol", "repeat"]):
        known = rows[rows["split"] == "out-of-fold"]
        level = levels(known["score"], known["fold"])
        known = known.assign(score=known["score"] - known["fold"].map(level).astype(float))
        told = pd.Series(np.nan, index=rows.index)
        for fold in rows["fold"].unique():
            in_fold, others = rows["fold"] == fold, known[known["fold"] != fold]
            new = (rows.loc[in_fold, "score"] - level.get(fold, level.mean())).to_numpy(float)
            own = outcome.take(pd.Index(others["participant_id"]))
            told[in_fold] = _map(others["score"].to_numpy(float), own)(new)
        mapped.append(rows.assign(**{value: told}))
    return pd.concat(mapped, ignore_index=True)


def _map(score: NDArray[np.floating], own: Outcome) -> Any:
    """A map from scores to numbers or to risks."""
    if own.kind == TIME:
        return RiskMap.fit(score, times_of(own), horizon=own.horizon)
    y, centred = own.values.to_numpy(float), score - score.mean()
    size = float(centred @ centred)
    slope = float(centred @ y) / size if size > 0 else 0.0
    return lambda new: y.mean() + slope * (new - score.mean())
