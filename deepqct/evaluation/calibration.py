"""Calibration: whether 30 of 100 women with a risk of 30 % have the event, and the maps that turn scores into risks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from deepqct.evaluation.discrimination import FEWEST
from deepqct.evaluation.scales import averaged, levels

_EDGE = 1e-6  # a risk of 0 or 1 has no logit
_GRID = 61
_FEW = 40  # events, and non-events, below which a bent calibration curve would show noise; our choice
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class CalibrationMap:
    """A logistic map from scores to calibrated logits: slope × (score − centre) / scale + intercept.

    Parameters
    ----------
    centre, scale : float
        Mean and SD of the scores on which it was fitted.
    slope, intercept : float
        Of the map; a slope of 0 gives everybody the same risk, whatever her score.
    """

    centre: float
    scale: float
    slope: float
    intercept: float

    def __call__(self, score: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give the logits of (patients,) scores; NaN where there is no score, unless everybody gets the same."""
        if self.slope == 0.0:
            return np.full(len(score), self.intercept)
        return np.asarray((score - self.centre) / self.scale * self.slope + self.intercept)


def calibration_measures(y: ArrayLike, risk: ArrayLike) -> pd.DataFrame:
    """Intercept, slope, Brier score and scaled Brier score of predicted risks, with 95 % intervals.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome, 1 for an event.
    risk : (n,) float
        Predicted risks between 0 and 1; patients with NaN are left out.

    Returns
    -------
    DataFrame
        measure, estimate, low, high, n, events. ``intercept``: log odds by which the risks are too low overall, with the
        slope held at 1 (ideal 0); ``slope`` (ideal 1; below 1 the risks are too extreme); ``Brier``: mean squared error
        (lower is better); ``scaled Brier``: 1 minus the ratio to the Brier score of giving everybody the prevalence as
        risk (1 perfect, 0 useless). All NaN with fewer than 5 events or non-events.

    Raises
    ------
    ValueError
        If the outcome holds anything but 0 and 1, or a risk lies outside of 0 and 1.

    References
    ----------
    Cox DR (1958), Biometrika 45:562. Van Calster B et al. (2019), BMC Med 17:230. Steyerberg EW et al. (2010),
    Epidemiology 21:128 (scaled Brier).

    Examples
    --------
    >>> import deepqct as dq
    >>> risk = [0.1, 0.2, 0.2, 0.3, 0.4, 0.4, 0.6, 0.7, 0.8, 0.9]
    >>> table = dq.evaluation.calibration_measures([0, 0, 0, 1, 0, 1, 1, 0, 1, 1], risk)
    >>> table.set_index("measure")["estimate"].round(2).to_dict()
    {'intercept': 0.22, 'slope': 1.13, 'Brier': 0.18, 'scaled Brier': 0.28}
    """
    label, r = _risks(y, risk)
    n, events = len(label), int(label.sum())
    names = ("intercept", "slope", "Brier", "scaled Brier")
    if min(events, n - events) < FEWEST:
        figures = dict.fromkeys(names, (np.nan, np.nan, np.nan))
    else:
        logit = special.logit(np.clip(r, _EDGE, 1 - _EDGE))
        slope = _fit(logit, label)[1] if np.ptp(logit) > 0 else (np.nan, np.nan)
        intercept = _fit(np.empty((n, 0)), label, offset=logit)[0]
        squares = (r - label) ** 2
        base = (label - label.mean()) ** 2
        ratio = squares.mean() / base.mean()
        # The error of a ratio of two means, by its linear expansion.
        ratio_error = (squares - ratio * base).std(ddof=1) / np.sqrt(n) / base.mean()
        figures = {
            "intercept": _interval(*intercept),
            "slope": _interval(*slope),
            "Brier": _interval(squares.mean(), squares.std(ddof=1) / np.sqrt(n)),
            "scaled Brier": _interval(1 - ratio, ratio_error),
        }
    rows = [dict(zip(("estimate", "low", "high"), figures[name], strict=True)) | {"measure": name} for name in names]
    table = pd.DataFrame(rows).assign(n=n, events=events)
    return table[["measure", "estimate", "low", "high", "n", "events"]]


def calibration_curve(y: ArrayLike, risk: ArrayLike, *, draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """The share of women with the event as a smooth function of their predicted risk.

    Parameters
    ----------
    y, risk
        Outcome and predicted risks, as in `calibration_measures`.
    draws : int
        How many bootstrap samples of patients make the band.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        risk (61 steps between the 2.5th and 97.5th percentile of the risks), observed, low, high (pointwise 95 %). The
        curve is a logistic regression on cubic splines of the logit, with 3 knots and straight ends; with fewer than 40
        events or non-events, on the logit itself. Empty with fewer than 5 of either, or if the risks hardly differ.

    References
    ----------
    Austin PC, Steyerberg EW (2014), Stat Med 33:517; the splines are our choice.

    Examples
    --------
    >>> import deepqct as dq
    >>> risk = [0.1, 0.2, 0.2, 0.3, 0.4, 0.4, 0.6, 0.7, 0.8, 0.9]
    >>> curve = dq.evaluation.calibration_curve([0, 0, 0, 1, 0, 1, 1, 0, 1, 1], risk, draws=20)
    >>> curve.loc[[0, 30, 60], ["risk", "observed"]].round(1).values.tolist()
    [[0.1, 0.1], [0.5, 0.6], [0.9, 0.9]]
    """
    label, r = _risks(y, risk)
    columns = ["risk", "observed", "low", "high"]
    alike = len(r) > 0 and np.ptp(np.quantile(r, [0.1, 0.9])) < _EDGE
    if min(label.sum(), (1 - label).sum()) < FEWEST or alike:
        return pd.DataFrame(columns=columns, dtype=float)
    logit = special.logit(np.clip(r, _EDGE, 1 - _EDGE))
    first, last = np.quantile(logit, [0.025, 0.975])
    grid = np.linspace(first, last, _GRID)
    rng = np.random.default_rng(seed)
    few = min(label.sum(), (1 - label).sum()) < _FEW

    def curve(rows: NDArray[np.integer]) -> NDArray[np.floating]:
        if len(np.unique(label[rows])) < 2 or len(np.unique(logit[rows])) < 4:
            return np.full(_GRID, np.nan)
        if few:
            line = LogisticRegression(C=100.0, max_iter=1000).fit(logit[rows, None], label[rows])
            return np.asarray(line.predict_proba(grid[:, None])[:, 1])
        knots = np.unique(np.quantile(logit[rows], [0.1, 0.5, 0.9]))[:, None]
        if len(knots) < 2:  # most risks are the same
            return np.full(_GRID, np.nan)
        splines = SplineTransformer(knots=knots, degree=3, extrapolation="linear", include_bias=False)
        model = make_pipeline(splines, LogisticRegression(C=100.0, max_iter=1000))
        return np.asarray(model.fit(logit[rows, None], label[rows]).predict_proba(grid[:, None])[:, 1])

    everybody = np.arange(len(label))
    drawn = [curve(rng.choice(everybody, len(label))) for _ in range(draws)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return pd.DataFrame(dict(zip(columns, (special.expit(grid), curve(everybody), low, high), strict=True)))


def calibrate_out_of_fold(
    scores: pd.DataFrame, *, outcome: pd.Series, networks: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Turn scores into risks, each by a logistic map that was fitted on the scores of other patients.

    Parameters
    ----------
    scores : DataFrame
        protocol, repeat, participant_id, fold, split (out-of-fold, test), score (a logit). A test patient's score is the
        mean over the folds' networks.
    outcome : Series of 0 and 1
        The outcome, indexed by participant_id.
    networks : DataFrame, optional
        protocol, repeat, participant_id, fold, score: the scores of the test patients by each fold's network. Without
        them the noise that a mean of networks has less of is not known, and the risks of the test set are too timid.

    Returns
    -------
    DataFrame
        `scores` with a column ``risk``. The map of each fold is fitted on the out-of-fold scores of the other folds,
        that of the test set on those of all folds. Every score is taken less the level of its network
        (`deepqct.evaluation.levels`); several networks' logits of one patient are put together by
        `deepqct.evaluation.averaged`.

    Notes
    -----
    The networks behind the scores of the other folds were trained on this fold's patients, as in standard stacking. The
    map itself has not seen these patients.

    References
    ----------
    Platt J (1999), Advances in Large Margin Classifiers, 61.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scores = pd.DataFrame({"participant_id": list("abcdefgh"), "score": [-2, -1, 1, 2, -2, -1, 1, 2]})
    >>> scores = scores.assign(fold=[0, 0, 0, 0, 1, 1, 1, 1], split="out-of-fold", protocol="all", repeat=0)
    >>> outcome = pd.Series([0, 1, 0, 1, 0, 1, 0, 1], index=list("abcdefgh"))
    >>> dq.evaluation.calibrate_out_of_fold(scores, outcome=outcome)["risk"].round(1).tolist()
    [0.3, 0.4, 0.6, 0.7, 0.3, 0.4, 0.6, 0.7]
    """
    calibrated = []
    for (protocol, repeat), rows in scores.groupby(["protocol", "repeat"]):
        known = rows[rows["split"] == "out-of-fold"]
        level = levels(known["score"], known["fold"])
        known = known.assign(score=known["score"] - known["fold"].map(level).astype(float))
        risk = pd.Series(np.nan, index=rows.index)
        for fold in rows["fold"].unique():
            in_fold = rows["fold"] == fold
            fitted_on = known[known["fold"] != fold]
            labels = outcome.reindex(fitted_on["participant_id"]).to_numpy()
            mapped = fit_map(fitted_on["score"].to_numpy(), labels)
            new = rows.loc[in_fold, "score"] - level.get(fold, level.mean())
            logit = mapped(new.to_numpy())
            each = None if networks is None or fold != "test" else _by_network(networks, protocol, repeat, level=level)
            if each is not None and 0 < labels.mean() < 1:
                own = each.apply(lambda column, mapped=mapped: mapped(column.to_numpy()))
                variance = float(mapped(fitted_on["score"].to_numpy()).var())
                whole = averaged(own, variance=variance, prior=labels.mean())
                logit = whole.reindex(rows.loc[in_fold, "participant_id"]).to_numpy()
            risk[in_fold] = special.expit(logit)
        calibrated.append(rows.assign(risk=risk))
    return pd.concat(calibrated, ignore_index=True)


def _by_network(networks: pd.DataFrame, protocol: object, repeat: object, *, level: pd.Series) -> pd.DataFrame | None:
    """The test patients' scores by each network, less its level: one row a patient; None if there are none."""
    rows = networks[(networks["protocol"] == protocol) & (networks["repeat"] == repeat)]
    if rows.empty:
        return None
    return rows.pivot(index="participant_id", columns="fold", values="score").sub(level, axis="columns")


def fit_map(score: NDArray[np.floating], label: NDArray[np.integer]) -> CalibrationMap:
    """The logistic map from scores to logits; the logit of the share of events where all known outcomes are the same.

    Parameters
    ----------
    score : (patients,) float
        Scores of patients whose network has not seen them.
    label : (patients,) of 0 and 1
        Their outcome.

    Returns
    -------
    CalibrationMap
    """
    if len(np.unique(label)) < 2:
        with np.errstate(divide="ignore"):
            share = float(special.logit(label.mean())) if len(label) else np.nan
        return CalibrationMap(0.0, 1.0, 0.0, share)
    # The scale makes the slight penalty, our choice, the same for scores of any spread.
    centre, scale = float(score.mean()), float(score.std()) or 1.0
    model = LogisticRegression(C=100.0).fit(((score - centre) / scale)[:, None], label)
    return CalibrationMap(centre, scale, float(model.coef_[0, 0]), float(model.intercept_[0]))


def _risks(y: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Outcome and risk of the patients whose risk is known."""
    label, r = np.asarray(y, float), np.asarray(risk, float)
    there = np.isfinite(r)
    if label.shape != r.shape or not np.isin(label, (0, 1)).all():
        raise ValueError("The outcome must be 0 or 1 for every risk; leave out patients whose outcome is not known.")
    if (r[there] < 0).any() or (r[there] > 1).any():
        raise ValueError("A risk lies outside of 0 and 1; give probabilities, not scores.")
    return label[there], r[there]


def _interval(value: float, error: float) -> tuple[float, float, float]:
    """A figure with its symmetric 95 % interval."""
    return float(value), float(value - _Z * error), float(value + _Z * error)


def _fit(
    x: NDArray[np.floating], label: NDArray[np.floating], *, offset: NDArray[np.floating] | float = 0.0
) -> list[tuple[float, float]]:
    """Coefficient and standard error of intercept and slopes, by Newton's method; scikit-learn gives no errors."""
    design = np.column_stack([np.ones(len(label)), x])
    beta = np.zeros(design.shape[1])
    beta[0] = special.logit(label.mean()) - np.mean(offset)

    def fitted(at: NDArray[np.floating]) -> float:
        logit = design @ at + offset
        return float((label * logit - np.logaddexp(0, logit)).sum())

    for _ in range(100):
        p = special.expit(design @ beta + offset)
        information = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e12:  # the risks separate the outcomes: no finite slope
            return [(np.nan, np.nan)] * len(beta)
        step = np.linalg.solve(information, design.T @ (label - p))
        while fitted(beta + step) < fitted(beta) - 1e-9 and np.abs(step).max() > 1e-10:
            step = step / 2  # a full step may overshoot where risks are far off
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return list(zip(beta, np.sqrt(np.diag(np.linalg.inv(information))), strict=True))
