"""The fused model as a score sheet, fitted on everybody, for looking at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepqct.models.classifiers import fit
from deepqct.models.families import INDEX_SCORE, models_for
from deepqct.models.predict import Tables
from deepqct.run_tables import rows_of


def score_sheet(data: Tables) -> pd.DataFrame:
    """The fused model of all bones and clinical factors, fitted on all folds of the first protocol, in its columns' units.

    For looking at and for new patients; its own figures in the report are those of the folds.

    Parameters
    ----------
    data : Tables
        What the models are made from; the scores of the first protocol and repeat.

    Returns
    -------
    DataFrame
        term, coefficient (log odds a unit), low, high (1st and 99th percentile; 0 and 1 of what is yes or no); the row
        ``intercept`` has no range. Empty where there are no networks.
    """
    columns = ["term", "coefficient", "low", "high"]
    first = data.splits.iloc[0]
    features = data.features.copy()
    for bone, table in data.scores.items():
        mine = rows_of(table, first["protocol"], first["repeat"])
        features[f"{bone} score"] = mine.set_index("participant_id")["score"]
    models = models_for(data.dictionary, indices=features[data.indices], bones=list(data.scores))
    fused = [m for m in models if m.family == "DeepQCT" and m.fused and INDEX_SCORE not in m.columns]
    if not fused:
        return pd.DataFrame(columns=columns)
    model = max(fused, key=lambda one: len(one.columns))
    x = features[list(model.columns)].astype(float).dropna(how="all")
    fold = rows_of(data.splits, first["protocol"], first["repeat"]).set_index("participant_id")["fold"]
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
