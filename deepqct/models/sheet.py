"""The fused model as a score sheet, fitted on everybody, for looking at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepqct.models.classifiers import fit
from deepqct.models.families import INDEX_SCORE, models_for
from deepqct.models.inputs import Tables
from deepqct.models.levels import levelled
from deepqct.run_tables import rows_of
from deepqct.terms import YES_NO


def score_sheet(data: Tables) -> pd.DataFrame:
    """The coefficients of the fused model of all bones and clinical factors, fitted on all folds of the first protocol.

    The sheet is for looking at, and for new patients. Its figures in the report come from its fits in the folds. Scores
    of networks are taken less the level of their fold.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from; the scores of the first protocol and repeat are used.

    Returns
    -------
    DataFrame
        term, coefficient (log odds per unit of the column), low, high (1st and 99th percentile of the column; 0 and 1
        if it is yes or no). The last row is the ``intercept``, without low and high. Empty if there are no networks,
        and for an outcome that is a number or a time, whose sum of points is no risk.

    Examples
    --------
    >>> import deepqct as dq
    >>> sheet = dq.models.score_sheet(dq.models.tables(dq.run.example_run()))
    >>> sheet["term"].tolist()[:4]
    ['radius score', 'tibia score', 'age', 'bmi']
    """
    columns = ["term", "coefficient", "low", "high"]
    if data.kind != YES_NO:
        return pd.DataFrame(columns=columns)
    first = data.splits.iloc[0]
    fold = rows_of(data.splits, first["protocol"], first["repeat"]).set_index("participant_id")["fold"]
    protocol, repeat = str(first["protocol"]), int(first["repeat"])
    networks = levelled(data, bones=list(data.scores), protocol=protocol, repeat=repeat, fold=fold)
    features = data.features.reindex(fold.index).join(networks.scores)
    models = models_for(data.dictionary, indices=features[data.indices], bones=list(data.scores))
    fused = [m for m in models if m.family == "DeepQCT" and m.fused and INDEX_SCORE not in m.columns]
    if not fused:
        return pd.DataFrame(columns=columns)
    model = max(fused, key=lambda candidate: len(candidate.columns))
    x = features[list(model.columns)].astype(float).dropna(how="all")
    x = x.loc[x.index.intersection(fold.index[fold != "test"])]
    fitted = fit(x, outcome=data.outcome[x.index], fold=fold[x.index], patients=data.patients[x.index])
    if fitted.model is None:
        return pd.DataFrame(columns=columns)
    scaler, logistic = fitted.model[1], fitted.model[2]
    per_unit = logistic.coef_[0] / scaler.scale_
    names = list(fitted.columns)
    low, high = (
        x[names].quantile(q).mask(x[names].isin([0, 1, np.nan]).all(), end) for q, end in ((0.01, 0), (0.99, 1))
    )
    intercept = float(logistic.intercept_[0] - (per_unit * scaler.mean_).sum())
    sheet = pd.DataFrame({"term": names, "coefficient": per_unit, "low": low.to_numpy(), "high": high.to_numpy()})
    end = pd.DataFrame({"term": ["intercept"], "coefficient": [intercept], "low": [np.nan], "high": [np.nan]})
    return pd.concat([sheet, end], ignore_index=True)
