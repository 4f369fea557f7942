"""Indices of several scanners put on one scale, inside the training folds alone; and that scale for new women."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Scale:
    """What each scanner adds to what is measured, as all training women tell it: the scale of a bundle's indices.

    Parameters
    ----------
    by : str
        The column of participants.tsv that says on which scanner, or in which centre, a woman was scanned.
    reference : str
        The scanner whose scale it is.
    columns : tuple of str
        What is put on it.
    added : mapping of str to tuple of float
        For each other scanner, what it adds to each column.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.models.scanners import Scale
    >>> scale = Scale("scanner", "one", ("radius Tt.vBMD",), {"two": (15.0,)})
    >>> women = pd.DataFrame({"radius Tt.vBMD": [310.0, 310.0]}, index=["P1", "P2"])
    >>> scale.applied(women, pd.Series(["one", "two"], women.index))["radius Tt.vBMD"].tolist()
    [310.0, 295.0]
    """

    by: str
    reference: str
    columns: tuple[str, ...]
    added: Mapping[str, tuple[float, ...]]

    def applied(self, features: pd.DataFrame, scanner: pd.Series) -> pd.DataFrame:
        """Features of women on this scale; those of a scanner that is not known stay as they are.

        Parameters
        ----------
        features : (women, columns) DataFrame
            Perhaps with other columns, which stay as they are.
        scanner : Series of str
            The scanner of each, by the index of `features`.

        Returns
        -------
        DataFrame
            Like `features`.
        """
        table = pd.DataFrame.from_dict(dict(self.added), orient="index", columns=list(self.columns))
        there = [name for name in self.columns if name in features]
        return features.assign(**without(features[there], scanner.reindex(features.index).astype("string"), table))

    def said(self, scanner: object) -> str:
        """What a person should know of the scale of one woman's indices; empty on the reference scanner.

        Parameters
        ----------
        scanner : object
            The scanner of the woman as it was stated; NaN where it was not.
        """
        if scanner == self.reference:
            return ""
        if scanner in self.added:
            return (
                f"{self.by} {scanner}: what it adds beside {self.reference} was taken off her indices, as the training "
                "women tell it; the networks' scores stay as they are"
            )
        known = ", ".join([self.reference, *self.added])
        return f"her {self.by} is none that the bundle knows ({known}): her indices are as measured, on no common scale"


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
        from what the fracture takes; if the scanner of no woman is known.

    Notes
    -----
    What a scanner adds is its coefficient in a linear model of each feature on scanner and outcome: the difference between
    women with and without a fracture is kept, whatever scanner they lay on. The scale is that of the scanner with most
    women outside of the test set. Where fewer than 5 training women of a scanner, or of the one whose scale it is, have a
    feature, that feature is left as it is. A multiplicative difference is taken off on average.

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
    reference = _reference(known, fold)
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


def on_one_scale(
    data: Tables, columns: pd.DataFrame, *, outcome: pd.Series, fold: pd.Series
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The columns of one model on one scale inside the folds, if the run asks for it and something was measured in bones.

    Parameters
    ----------
    data : Tables
        The tables that the models are made from.
    columns : (women, columns) DataFrame of float
        Of the model.
    outcome, fold : Series
        As in `cross_calibrate`, of these women.

    Returns
    -------
    DataFrame
        Each woman's columns, as the women of the other folds tell the scale.
    dict of str to DataFrame
        For each held-out fold, those of the others, as `deepqct.models.classifiers.cross_predict` takes them; empty where
        nothing is put on a scale.
    """
    measured = set(data.measured)
    of_bones = [name for name in columns if name in measured]
    if data.scanner is None or not of_bones:
        return columns, {}
    found = cross_calibrate(columns[of_bones], scanner=data.scanner, outcome=outcome, fold=fold)
    training = {held_out: columns.loc[table.index].assign(**table) for held_out, table in found.training.items()}
    return columns.assign(**found.features), training


def scale_of(features: pd.DataFrame, *, scanner: pd.Series, outcome: pd.Series, fold: pd.Series) -> Scale:
    """The scale of all training women, for new ones; the test set has no say in it.

    Parameters
    ----------
    features, scanner, outcome, fold
        As in `cross_calibrate`.

    Returns
    -------
    Scale

    Raises
    ------
    ValueError
        As `cross_calibrate`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from deepqct.models.scanners import scale_of
    >>> y, scanner = pd.Series([0, 0, 1] * 8), pd.Series(["one", "two", "two", "one"] * 6, name="centre")
    >>> seen = pd.DataFrame({"radius Tt.vBMD": 300.0 - 20 * y + 15 * (scanner == "two")})
    >>> scale = scale_of(seen, scanner=scanner, outcome=y, fold=pd.Series("0", y.index))
    >>> scale.by, scale.reference, round(scale.added["two"][0], 6)
    ('centre', 'one', 15.0)
    """
    known = scanner.reindex(features.index).astype("string")
    reference, rows = _reference(known, fold), fold.index[fold != "test"]
    added = _added(features.loc[rows], known[rows], outcome[rows], reference=reference)
    by_scanner = {str(name): tuple(map(float, row)) for name, row in zip(added.index, added.to_numpy(), strict=True)}
    return Scale(str(scanner.name), reference, tuple(map(str, features.columns)), by_scanner)


def _reference(scanner: pd.Series, fold: pd.Series) -> str:
    """The scanner with most women; those of the test set have no say."""
    counts = scanner[fold.index[fold != "test"]].value_counts()
    if counts.empty:
        raise ValueError(
            f"{scanner.name} is empty for every woman outside of the test set, so that there is nothing to cross-calibrate "
            "by; fill it in, or set cross_calibrate=none."
        )
    return str(counts.index[0])


def _added(features: pd.DataFrame, scanner: pd.Series, outcome: pd.Series, *, reference: str) -> pd.DataFrame:
    """What each scanner adds to each feature beside the reference, one row a scanner."""
    counts = scanner.value_counts()
    others = [str(name) for name in counts.index if name != reference and counts[name] >= FEWEST]
    added = pd.DataFrame(0.0, index=others, columns=features.columns)
    if not others or counts.get(reference, 0) < FEWEST:
        return added
    rows = scanner.isin([reference, *others]).to_numpy()
    if not _told(_design(scanner[rows], outcome[rows], others)):
        raise ValueError(
            "The scanner tells the outcome in some training women, so that nobody can tell what it adds from what a "
            "fracture takes; scan women with and without the outcome on each, or leave cross_calibrate out."
        )
    for column in features:
        have = scanner[features[column].notna()].value_counts()
        if have.get(reference, 0) < FEWEST:
            continue
        known = [name for name in others if have.get(name, 0) >= FEWEST]
        there = scanner.isin([reference, *known]) & features[column].notna()
        design = _design(scanner[there], outcome[there], known)
        if known and _told(design):
            value = features[column][there].to_numpy(float)
            added.loc[known, column] = np.linalg.lstsq(design, value, rcond=None)[0][2:]
    return added


def _design(scanner: pd.Series, outcome: pd.Series, others: list[str]) -> NDArray[np.float64]:
    """The columns of the linear model: one, the outcome, and each other scanner."""
    of_scanner = [(scanner == name).to_numpy(float) for name in others]
    return np.column_stack([np.ones(len(scanner)), outcome.to_numpy(float), *of_scanner])


def _told(design: NDArray[np.float64]) -> bool:
    """Whether there are women enough, and their outcomes and scanners tell one column from the others."""
    return len(design) > design.shape[1] and bool(np.linalg.matrix_rank(design) == design.shape[1])


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
