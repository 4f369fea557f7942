"""Predictions judged by the kind of their outcome: which figures, with what interval, and how two models differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deepqct.evaluation.calibration import calibration_measures
from deepqct.evaluation.decisions import classification, decided
from deepqct.evaluation.discrimination import (
    Difference,
    Estimate,
    auc,
    better_than_chance,
    compare_auc,
    noninferiority,
)
from deepqct.evaluation.influence import Figure, compare_figures
from deepqct.evaluation.numbers import number_groups, number_measures, r_squared
from deepqct.evaluation.times import Times, concordance, horizon_groups, time_measures
from deepqct.terms import NUMBER, TIME, YES_NO, Outcome


def times_of(outcome: Outcome) -> Times:
    """The times of an outcome as arrays.

    Parameters
    ----------
    outcome : Outcome
        Of times.
    """
    assert outcome.times is not None
    return Times(outcome.times.to_numpy(float), outcome.values.to_numpy(int))


def value_of(outcome: Outcome) -> str:
    """What the column of predictions is called: ``predicted`` of numbers, else ``risk``.

    Parameters
    ----------
    outcome : Outcome
        Of any kind.
    """
    return "predicted" if outcome.kind == NUMBER else "risk"


def figures_of(outcome: Outcome, told: ArrayLike) -> list[Figure]:
    """R² or C-index of predictions, one for each repeat.

    Parameters
    ----------
    outcome : Outcome
        A number or a time, of the same women in the same order.
    told : (n,) or (n, repeats) float
        Predicted numbers, or scores of times.
    """
    columns = np.asarray(told, float)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if outcome.kind == NUMBER:
        return [r_squared(outcome.values, column) for column in columns.T]
    return [concordance(outcome.times, outcome.values, column) for column in columns.T]  # type: ignore[arg-type]


def judged(outcome: Outcome, told: ArrayLike) -> Estimate:
    """The figure by which models are compared, AUC, R² or C-index, with its interval; the mean over repeats.

    Parameters
    ----------
    outcome : Outcome
        Of any kind, of the same women in the same order.
    told : (n,) or (n, repeats) float
        Scores; of a number, predictions.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> from deepqct.evaluation.judging import judged
    >>> outcome = dq.terms.Outcome("fracture", "yes or no", pd.Series([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]))
    >>> print(judged(outcome, [1, 2, 3, 4, 6, 5, 7, 8, 9, 10]))
    0.96 (95 % 0.57–1.00; n 10, 5 events)
    """
    if outcome.kind == YES_NO:
        return auc(outcome.values, told)
    return Figure.mean(figures_of(outcome, told)).estimate()


def as_judged(outcome: Outcome, scores: pd.DataFrame) -> pd.Series:
    """How well scores of networks, which have no scale of their own, tell an outcome: AUC or C-index, of a number R².

    Parameters
    ----------
    outcome : Outcome
        Of any kind.
    scores : DataFrame
        participant_id, score; of a number the square of its correlation with the scores is taken, so that no scale is
        needed, and 0 where they go against each other.

    Returns
    -------
    Series
        estimate, low, high, n, events, measure.
    """
    table = scores.set_index("participant_id")["score"]
    own = outcome.take(table.index)
    return pd.Series(judged(own, as_told(outcome, table, like=table)).row() | {"measure": outcome.figure})


def as_told(outcome: Outcome, score: pd.Series, *, like: pd.Series) -> NDArray[np.floating]:
    """Scores of networks as they can be judged: of a number by the rising line that fits it best, else as they are.

    Parameters
    ----------
    outcome : Outcome
        Of any kind.
    score : Series of float
        By participant_id.
    like : Series of float
        The scores of the same women by which the line is fitted.
    """
    if outcome.kind != NUMBER:
        return score.to_numpy(float)
    y = outcome.values.reindex(like.index).to_numpy(float)
    centred = like.to_numpy(float) - like.mean()
    size = float(centred @ centred)
    slope = max(float(centred @ y) / size, 0.0) if size > 0 else 0.0  # scores that go against it know nothing
    return np.asarray(y.mean() + slope * (score.to_numpy(float) - like.mean()))


def above_chance_p(outcome: Outcome, told: ArrayLike, *, wider: float = 1.0) -> float:
    """One-sided p value of a figure that is no better than chance.

    Parameters
    ----------
    outcome, told
        As in `judged`.
    wider : float
        How many times its error the figure varies, as in `deepqct.evaluation.better_than_chance`.
    """
    if outcome.kind == YES_NO:
        return better_than_chance(outcome.values, told, wider=wider)
    return Figure.mean(figures_of(outcome, told)).above(outcome.chance, wider=wider)


def compared(
    outcome: Outcome, a: NDArray[np.floating], b: NDArray[np.floating], *, trained: tuple[bool, bool]
) -> Difference:
    """Difference of the figure of two models of the same women.

    Parameters
    ----------
    outcome : Outcome
        Of any kind.
    a, b : (n, repeats) float
        What they tell.
    trained : (bool, bool)
        As in `deepqct.evaluation.compare_auc`.
    """
    if outcome.kind == YES_NO:
        return compare_auc(outcome.values, a, b, trained=trained)
    return compare_figures(figures_of(outcome, a), figures_of(outcome, b), trained=trained)


def not_worse_p(
    outcome: Outcome, a: NDArray[np.floating], b: NDArray[np.floating], *, margin: float, trained: tuple[bool, bool]
) -> float:
    """One-sided p value of a loss of a margin or more.

    Parameters
    ----------
    outcome, a, b, trained
        As in `compared`.
    margin : float
        In the figure of the outcome.
    """
    if outcome.kind == YES_NO:
        return noninferiority(outcome.values, a, b, margin=margin, trained=trained).p
    return compare_figures(figures_of(outcome, a), figures_of(outcome, b), trained=trained, margin=margin).p


def other_measures(outcome: Outcome, rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The other measures of one model in the first repeat.

    Parameters
    ----------
    outcome : Outcome
        Of the run.
    rows : DataFrame
        The model's rows of predictions.csv.
    """
    first = rows[rows["repeat"] == rows["repeat"].min()]
    own = outcome.take(pd.Index(first["participant_id"]))
    if outcome.kind == NUMBER:
        return [number_measures(own.values, first["predicted"])]
    if outcome.kind == TIME:
        return [time_measures(own.times, own.values, first["score"], first["risk"], horizon=outcome.horizon)]  # type: ignore[arg-type]
    called = decided(first["score"].to_numpy(float), first["threshold"].to_numpy(float))
    return [
        classification(first["outcome"], called),
        calibration_measures(first["outcome"], first["risk"]),
    ]


def calibration_groups(outcome: Outcome, rows: pd.DataFrame) -> pd.DataFrame:
    """Observed beside predicted, in groups of women with like predictions, of one model in the first repeat.

    Parameters
    ----------
    outcome : Outcome
        A number or a time.
    rows : DataFrame
        The model's rows of predictions.csv.

    Returns
    -------
    DataFrame
        x (predicted), y (observed), low, high, n, events.
    """
    first = rows[rows["repeat"] == rows["repeat"].min()]
    own = outcome.take(pd.Index(first["participant_id"]))
    if outcome.kind == NUMBER:
        table = number_groups(own.values, first["predicted"]).assign(events=np.nan)
    else:
        table = horizon_groups(own.times, own.values, first["risk"], horizon=outcome.horizon)  # type: ignore[arg-type]
    return table.rename(columns={"predicted": "x", "observed": "y"})


def told_by(outcome: Outcome, rows: pd.DataFrame) -> tuple[Outcome, NDArray[np.floating]]:
    """The outcome and what one model tells of it, (women, repeats): predictions of numbers, else scores.

    Parameters
    ----------
    outcome : Outcome
        Of the run.
    rows : DataFrame
        The model's rows of predictions.csv.
    """
    wide = wide_of(outcome, rows)
    return outcome.take(wide.index), wide.to_numpy(float)


def wide_of(outcome: Outcome, rows: pd.DataFrame) -> pd.DataFrame:
    """What one model tells: a row a woman, a column a repeat.

    Parameters
    ----------
    outcome, rows
        As in `told_by`.
    """
    value = "predicted" if outcome.kind == NUMBER else "score"
    return rows.pivot(index="participant_id", columns="repeat", values=value)


def told_by_both(
    outcome: Outcome, a: pd.DataFrame, b: pd.DataFrame
) -> tuple[Outcome, NDArray[np.floating], NDArray[np.floating]]:
    """The outcome and what two models tell, for the women and repeats that both have.

    Parameters
    ----------
    outcome : Outcome
        Of the run.
    a, b : DataFrame
        Their rows of predictions.csv.
    """
    first, second = wide_of(outcome, a), wide_of(outcome, b)
    people, repeats = first.index.intersection(second.index), first.columns.intersection(second.columns)
    told_a, told_b = (wide.reindex(index=people, columns=repeats).to_numpy(float) for wide in (first, second))
    return outcome.take(people), told_a, told_b
