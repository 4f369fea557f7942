"""Indices of several scanners put on one scale, inside the training folds alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from deepqct.models.inputs import Tables
from deepqct.terms import NUMBER, Outcome

FEWEST = 5  # training women of a scanner, below which nothing is known of its scale; our choice


@dataclass(frozen=True)
class CrossCalibrated:
    """Features on the scale of one scanner, for a cross-validation.

    Parameters
    ----------
    features : DataFrame
        Each woman's features less what her scanner adds, as the women of the other folds tell it.
    training : mapping of str to DataFrame
        For each held-out fold, the features of all other women, less what the same women tell.
    added : mapping of str to DataFrame
        For each held-out fold, what each scanner (a row) adds to each feature (a column), by these women.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.models.scanners import CrossCalibrated
    >>> CrossCalibrated(pd.DataFrame({"radius Tt.vBMD": [300.0]}), {}).features.shape
    (1, 1)
    """

    features: pd.DataFrame
    training: Mapping[str, pd.DataFrame]
    added: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def cross_calibrate(
    features: pd.DataFrame, *, scanner: pd.Series, outcome: pd.Series, fold: pd.Series
) -> CrossCalibrated:
    """Take off what each scanner or centre adds to each feature, as the women of the training folds tell it.

    Parameters
    ----------
    features : (women, columns) DataFrame of float
        Indexed by participant_id; NaN where missing.
    scanner : Series
        The scanner or centre of each woman, indexed likewise.
    outcome, fold : Series
        The outcome (0 or 1), and the fold or ``test``, of each woman.

    Returns
    -------
    CrossCalibrated

    Raises
    ------
    ValueError
        If in the training women of some fold the scanner tells the outcome, so that nobody can tell what the scanner adds
        from what the fracture takes.

    Notes
    -----
    What a scanner adds is its coefficient in a linear model of each feature on scanner and outcome: the difference between
    women with and without a fracture is kept, whatever scanner they lay on. The scale is that of the scanner with most
    women; one with fewer than 5 women in training is left as it is. A multiplicative difference is taken off on average.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from deepqct.models.scanners import cross_calibrate
    >>> rng = np.random.default_rng(0)
    >>> y, scanner = pd.Series(np.tile([0, 0, 1], 40)), pd.Series(np.tile(["one", "two", "two"], 40))
    >>> fold = pd.Series(np.repeat(["0", "1", "2", "3"], 30))
    >>> seen = pd.DataFrame({"radius Tt.vBMD": 300 - 20 * y + 15 * (scanner == "two") + rng.normal(0, 5, 120)})
    >>> both = [table["radius Tt.vBMD"].groupby(scanner).mean() for table in (
    ...     seen[y == 0], cross_calibrate(seen, scanner=scanner, outcome=y, fold=fold).features[y == 0])]
    >>> [round(float(means["two"] - means["one"])) for means in both]
    [16, 0]
    """
    known = scanner.reindex(features.index).astype("string")
    reference = str(known.value_counts().index[0])
    corrected, training, added = features.astype(float).copy(), {}, {}
    for held_out in fold.unique():
        rows = fold.index[(fold != held_out) & (fold != "test")]
        of_fold = _added(features.loc[rows], known[rows], outcome[rows], reference=reference)
        own = fold.index[fold == held_out]
        corrected.loc[own] = without(features.loc[own], known[own], of_fold)
        training[str(held_out)] = without(features.loc[rows], known[rows], of_fold)
        added[str(held_out)] = of_fold
    return CrossCalibrated(corrected, training, added)


def calibrated_of(
    data: Tables, features: pd.DataFrame, *, target: Outcome, labels: pd.Series, fold: pd.Series
) -> CrossCalibrated | None:
    """What was measured in the bones of a run's women, on one scale if the run asks for it.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    features : DataFrame
        With the columns of indices, texture and strength, by participant_id.
    target : Outcome
        Of these women.
    labels : Series of 0 and 1
        Their outcome in two groups.
    fold : Series of str
        Their folds.

    Returns
    -------
    CrossCalibrated or None
        None where nothing is cross-calibrated.
    """
    if data.scanner is None:
        return None
    number = target.values if target.kind == NUMBER else labels
    return cross_calibrate(features[data.measured], scanner=data.scanner, outcome=number, fold=fold)


def _added(features: pd.DataFrame, scanner: pd.Series, outcome: pd.Series, *, reference: str) -> pd.DataFrame:
    """What each scanner adds to each feature beside the reference, one row a scanner."""
    counts = scanner.value_counts()
    others = [str(name) for name in counts.index if name != reference and counts[name] >= FEWEST]
    added = pd.DataFrame(0.0, index=others, columns=features.columns)
    if not others:
        return added
    used = scanner.isin([reference, *others]).to_numpy()
    design = np.column_stack(
        [np.ones(len(scanner)), outcome.to_numpy(float), *((scanner == name).to_numpy(float) for name in others)]
    )
    if np.linalg.matrix_rank(design[used]) < design.shape[1]:
        raise ValueError(
            "The scanner tells the outcome in some training women, so that nobody can tell what it adds from what a "
            "fracture takes; scan women with and without the outcome on each, or leave cross_calibrate out."
        )
    for column in features:
        value = features[column].to_numpy(float)
        there = used & np.isfinite(value)
        if there.sum() > design.shape[1]:
            fitted = np.linalg.lstsq(design[there], value[there], rcond=None)[0]
            added[column] = fitted[2:]
    return added


def without(features: pd.DataFrame, scanner: pd.Series, added: pd.DataFrame) -> pd.DataFrame:
    """The features less what each woman's scanner adds; nothing is taken off where that is not known.

    Parameters
    ----------
    features : (women, columns) DataFrame of float
        As measured.
    scanner : Series of str
        The scanner of each woman, indexed likewise.
    added : (scanners, columns) DataFrame
        What each scanner adds, of at least these columns.

    Returns
    -------
    DataFrame
        Like `features`.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.models.scanners import without
    >>> added = pd.DataFrame({"radius Tt.vBMD": [15.0]}, index=["two"])
    >>> without(pd.DataFrame({"radius Tt.vBMD": [300.0, 310.0]}), pd.Series(["one", "two"]), added).to_numpy().tolist()
    [[300.0], [295.0]]
    """
    off = added.reindex(scanner.fillna("").to_numpy()).fillna(0.0)
    return features.astype(float) - off.set_axis(features.index)[list(features.columns)]
