"""The same people measured twice: how far a number can be trusted, and which change is more than noise."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from deepqct.evaluation.discrimination import FEWEST, NOT_ESTIMABLE, auc

ISCD_DEGREES = 30  # degrees of freedom that the ISCD asks of a precision study: 30 people twice, or 15 three times
# Two measurements differ by more than this many SDs of one in 5 of 100 pairs between which nothing changed.
LSC_SDS = float(stats.norm.ppf(0.975) * np.sqrt(2))
_ADDED = (0.5, 1.0, 1.5, 2.0)  # shares of the noise's variance that are added to see what noise does
_MOST_PEOPLE = 2**20  # of a precision study
_DRAWS_AGAIN = 100  # of noise in each bootstrap sample; with one, the interval is five times as wide as it should be
_LEAST_Z = 0.1  # of the probit of an AUC (0.54), below which nothing is left that noise could have hidden


@dataclass(frozen=True)
class Precision:
    """How far repeated measurements of the same people lie apart; NaN where nobody was measured twice.

    Parameters
    ----------
    rms_sd, rms_sd_low, rms_sd_high : float
        Root-mean-square SD of one measurement, in the unit of the values, with its 95 % interval.
    rms_cv, rms_cv_low, rms_cv_high : float
        Root-mean-square coefficient of variation as a share of 1 (0.01 is 1 %). NaN where values lie on both sides of zero,
        as scores do.
    lsc, lsc_low, lsc_high : float
        Least significant change, 2.77 times `rms_sd`: a smaller difference of two measurements is noise, at 95 %.
    degrees_of_freedom : int
        Measurements less people, over those who were measured at least twice; of repeats at several visits, or on several
        scanners, less one at each.
    n : int
        People who were measured at least twice.

    Examples
    --------
    >>> import deepqct as dq
    >>> print(dq.evaluation.precision(["A", "A", "B", "B"], [100.0, 102.0, 140.0, 139.0]))
    RMS-SD 1.118 (95 % 0.5821–7.027), RMS-CV 1.1 % (0.5–6.6), LSC 3.099 (1.614–19.48); n 2, 2 degrees of freedom (the ISCD
    asks for 30)
    """

    rms_sd: float
    rms_sd_low: float
    rms_sd_high: float
    rms_cv: float
    rms_cv_low: float
    rms_cv_high: float
    lsc: float
    lsc_low: float
    lsc_high: float
    degrees_of_freedom: int
    n: int

    @property
    def enough(self) -> bool:
        """True with the 30 degrees of freedom that the ISCD asks for."""
        return self.degrees_of_freedom >= ISCD_DEGREES

    def __str__(self) -> str:
        """The figures in words."""
        basis = f"n {self.n}, {self.degrees_of_freedom} degree{'' if self.degrees_of_freedom == 1 else 's'} of freedom"
        basis += "" if self.enough else f" (the ISCD asks for {ISCD_DEGREES})"
        if not self.degrees_of_freedom:
            return f"{NOT_ESTIMABLE} ({basis})"
        cv = (
            f"RMS-CV {100 * self.rms_cv:.1f} % ({100 * self.rms_cv_low:.1f}–{100 * self.rms_cv_high:.1f}), "
            if np.isfinite(self.rms_cv)
            else ""
        )
        sd = f"RMS-SD {self.rms_sd:.4g} (95 % {self.rms_sd_low:.4g}–{self.rms_sd_high:.4g}), "
        return f"{sd}{cv}LSC {self.lsc:.4g} ({self.lsc_low:.4g}–{self.lsc_high:.4g}); {basis}"

    def row(self) -> dict[str, Any]:
        """The figures as columns of a table, by their names."""
        return asdict(self)


def precision(person: ArrayLike, value: ArrayLike) -> Precision:
    """Precision error of a measurement, from people who were measured several times while nothing changed.

    Parameters
    ----------
    person : (n,) of text or numbers
        Who was measured; who was measured once counts for nothing.
    value : (n,) float
        The measurements, in any unit; NaN is left out.

    Returns
    -------
    Precision
        RMS-SD, RMS-CV and least significant change with 95 % intervals.

    Raises
    ------
    ValueError
        If the two are not equally long.

    Notes
    -----
    Variances are pooled by degrees of freedom: ``rms_sd² = Σ (n − 1) SD² / Σ (n − 1)`` over people, and ``rms_cv`` the same
    of SD / mean of each person. Intervals are those of a chi-square with that many degrees of freedom: exact for `rms_sd`
    where all people have one SD and errors are normal; for `rms_cv` where all have one coefficient of variation, and it is
    small (below .2 or so).

    References
    ----------
    Glüer CC et al. (1995), Osteoporos Int 5:262. The 30 degrees of freedom are those of the official positions of the
    International Society for Clinical Densitometry.

    Examples
    --------
    >>> import deepqct as dq
    >>> found = dq.evaluation.precision(["A", "A", "B", "B", "C"], [100.0, 102.0, 140.0, 139.0, 120.0])
    >>> round(found.rms_sd, 3), round(found.lsc, 2), found.degrees_of_freedom, found.enough
    (1.118, 3.1, 2, False)
    """
    who, values = _measured(person, value)
    _, of = np.unique(who, return_inverse=True)
    counts = np.bincount(of)
    again = counts > 1
    degrees, n = int((counts[again] - 1).sum()), int(again.sum())
    if degrees == 0:
        nan = float("nan")
        return Precision(nan, nan, nan, nan, nan, nan, nan, nan, nan, degrees_of_freedom=0, n=0)
    first = values[np.unique(of, return_index=True)[1]]  # from which alike values differ by nothing, not by rounding
    apart = np.bincount(of, values - first[of]) / counts
    means, squares = first + apart, np.bincount(of, (values - first[of] - apart[of]) ** 2)[again]
    below, above = _ends(degrees)
    sd = float(np.sqrt(squares.sum() / degrees))
    measured = values[again[of]]
    one_sided = bool((measured > 0).all() or (measured < 0).all())
    cv = float(np.sqrt((squares / means[again] ** 2).sum() / degrees)) if one_sided else float("nan")
    of_sd, of_cv, of_lsc = ((figure, figure * below, figure * above) for figure in (sd, cv, LSC_SDS * sd))
    return Precision(*of_sd, *of_cv, *of_lsc, degrees, n)


def on_one_scanner(rows: pd.DataFrame, value: str) -> Precision:
    """Precision from a table of several sessions; two limbs, scanners or centres, and scans years apart, are no repeats.

    Parameters
    ----------
    rows : DataFrame
        participant_id, scanner, centre (may be empty), perhaps side and years (of her visit), and the column `value`.
    value : str
        The column of the measurements.

    Returns
    -------
    Precision

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.evaluation.repeats import on_one_scanner
    >>> rows = pd.DataFrame({"participant_id": "A", "scanner": [0.061, 0.061, 0.082], "centre": "", "x": [1.0, 1.2, 2.0]})
    >>> round(on_one_scanner(rows, "x").rms_sd, 3)
    0.141
    """
    names = ["participant_id", "scanner", "centre", *(name for name in ("side", "years") if name in rows)]
    there = rows.dropna(subset=value)
    who = pd.Series(
        [" ".join(map(str, key)) for key in there[names].itertuples(index=False)], there.index, dtype=object
    )
    women = there.loc[who.duplicated(keep=False), "participant_id"].nunique()  # who may have repeats at several visits
    return replace(precision(who, there[value].astype(float)), n=women)


def each_scanner(rows: pd.DataFrame, value: str) -> list[tuple[Any, Precision]]:
    """Precision of all scanners together (None) and, where there are several, of each: one may be noisier than another.

    Parameters
    ----------
    rows, value
        As of `on_one_scanner`.

    Returns
    -------
    list of (scanner or None, Precision)
        Without those on which nobody was scanned twice.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.evaluation.repeats import each_scanner
    >>> rows = pd.DataFrame({"participant_id": list("AABB"), "scanner": [0.061, 0.061, 0.082, 0.082], "centre": ""})
    >>> [(scanner, round(found.rms_sd, 2)) for scanner, found in each_scanner(rows.assign(x=[1.0, 1.2, 2.0, 2.6]), "x")]
    [(None, 0.32), (0.061, 0.14), (0.082, 0.42)]
    """
    measured = rows.dropna(subset=value)
    scanners = measured.groupby("scanner")
    parts = [(None, measured), *(scanners if scanners.ngroups > 1 else ())]
    return [(scanner, found) for scanner, part in parts if (found := on_one_scanner(part, value)).n]


def people_for_precision(*, within: float = 0.3, repeats: int = 2, power: float = 0.5) -> int:
    """How many people a precision study needs, so that its interval is narrow.

    Parameters
    ----------
    within : float
        How far the upper end of the 95 % interval may lie above the true precision error, as a share of it.
    repeats : int
        Measurements of each person.
    power : float
        Probability with which it does not lie further off.

    Returns
    -------
    int
        The smallest number of people.

    Raises
    ------
    ValueError
        If `within` or `power` is no such share, or nobody is measured twice; if more than a million people are needed.

    Examples
    --------
    >>> import deepqct as dq
    >>> [dq.evaluation.people_for_precision(within=within) for within in (0.5, 0.3, 0.2)]
    [16, 34, 66]
    >>> dq.evaluation.people_for_precision(within=0.3, repeats=3, power=0.8)
    31
    """
    if within <= 0 or not 0 < power < 1 or repeats < 2:
        raise ValueError(
            f"within={within}, power={power}, repeats={repeats}: use a share above 0, one between 0 and 1, and at least 2."
        )

    def reached(people: int) -> bool:  # once it is, more people reach it too
        degrees = people * (repeats - 1)
        return bool(1 - special.chdtrc(degrees, (1 + within) ** 2 * special.chdtri(degrees, 0.975)) >= power)

    most = 1
    while not reached(most):
        most *= 2
        if most > _MOST_PEOPLE:
            raise ValueError(f"within={within}: that takes more than a million people; allow for more.")
    return most // 2 + 1 + bisect_left(range(most // 2 + 1, most), True, key=reached)


def icc(person: ArrayLike, session: ArrayLike, value: ArrayLike) -> dict[str, float]:
    """Intraclass correlation ICC(2,1) of people measured in several sessions: how much of the spread is between people.

    Parameters
    ----------
    person, session : (n,) of text or numbers
        Who was measured, and when or on what. Several measurements of a person in one session are averaged. Sessions that
        at least half of the people have count, or else the two that most have; a person who lacks one of these is left out.
    value : (n,) float
        The measurements; NaN is left out.

    Returns
    -------
    dict
        estimate, low, high (95 %; NaN where the estimate is too far below 0 to have one), n (people), sessions, left_out
        (people who were measured and do not count). NaN with fewer than 3 people or 2 sessions.

    Notes
    -----
    Two-way random effects, absolute agreement, one measurement: a shift between sessions lowers it.

    References
    ----------
    Shrout PE, Fleiss JL (1979), Psychol Bull 86:420. McGraw KO, Wong SP (1996), Psychol Methods 1:30, for the interval.

    Examples
    --------
    >>> import deepqct as dq
    >>> found = dq.evaluation.icc([1, 1, 2, 2, 3, 3, 4, 4], [1, 2] * 4, [9.0, 9.5, 6.0, 5.5, 8.0, 8.2, 7.0, 7.1])
    >>> round(found["estimate"], 2), found["n"], found["sessions"]
    (0.97, 4, 2)
    """
    columns: dict[str, Any] = {
        "person": names_of(person),
        "session": names_of(session),
        "value": np.asarray(value, float),
    }
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("person, session and value must be equally long; give one of each for each measurement.")
    table = pd.DataFrame(columns).dropna().pivot_table(index="person", columns="session", values="value")
    have = table.notna().mean().sort_values(ascending=False, kind="stable")
    x = table[have.index[: max(2, int((have >= 0.5).sum()))]].dropna().to_numpy()
    n, k = x.shape
    counts = {"n": n, "sessions": k, "left_out": len(table) - n}
    if n < 3 or k < 2:
        return {"estimate": np.nan, "low": np.nan, "high": np.nan, **counts}
    people, sessions, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    between = k * ((people - mean) ** 2).sum() / (n - 1)
    shift = n * ((sessions - mean) ** 2).sum() / (k - 1)
    rest = ((x - people[:, None] - sessions + mean) ** 2).sum() / ((n - 1) * (k - 1))
    if between == rest == 0:
        return {"estimate": np.nan, "low": np.nan, "high": np.nan, **counts}
    estimate = (between - rest) / (between + (k - 1) * rest + k * (shift - rest) / n)
    low, high = estimate, estimate
    if estimate < 1:
        a = k * estimate / (n * (1 - estimate))
        b = 1 + k * estimate * (n - 1) / (n * (1 - estimate))
        with np.errstate(invalid="ignore"):  # below 0 there may be no interval
            degrees = (a * shift + b * rest) ** 2 / ((a * shift) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1)))
        f_low, f_high = stats.f.ppf(0.975, n - 1, degrees), stats.f.ppf(0.975, degrees, n - 1)
        noise = k * shift + (k * n - k - n) * rest
        low = n * (between - f_low * rest) / (f_low * noise + n * between)
        high = n * (f_high * between - rest) / (noise + n * f_high * between)
    return {"estimate": float(estimate), "low": float(low), "high": float(high), **counts}


def auc_lost_to_noise(
    y: ArrayLike, value: ArrayLike, *, sd: float, draws: int = 200, seed: int = 0
) -> dict[str, float]:
    """How much larger the AUC of a value would be without its measurement noise.

    More noise of the measured size is added, and the fall of the AUC is followed back to no noise at all.

    Parameters
    ----------
    y : (n,) of 0 and 1
        The outcome.
    value : (n,) float
        The measurements, or a score; women with NaN are left out.
    sd : float
        SD of one measurement, such as `precision(...).rms_sd`, in the unit of `value`.
    draws : int
        How often noise is added, and how many bootstrap samples of women make the interval, in each of which it is added
        100 times.
    seed : int
        Of noise and bootstrap.

    Returns
    -------
    dict
        auc (as measured), without_noise, lost (the difference) with its 95 % interval low, high (of the women; the SD is
        taken as known), n, events. NaN with fewer than 5 events or non-events, or where the AUC is too close to 0.5.

    Raises
    ------
    ValueError
        If `sd` lies below 0.

    Notes
    -----
    SIMEX. For two normal groups, the inverse square of the probit of the AUC is a straight line in the variance of the
    noise; that line is followed back.

    References
    ----------
    Cook JR, Stefanski LA (1994), J Am Stat Assoc 89:1314.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> rng = np.random.default_rng(0)
    >>> fracture = rng.integers(0, 2, 1000)
    >>> truth = fracture + rng.normal(0, 1, 1000)
    >>> found = dq.evaluation.auc_lost_to_noise(fracture, truth + rng.normal(0, 0.7, 1000), sd=0.7, draws=50)
    >>> round(dq.evaluation.auc(fracture, truth).estimate, 2), round(found["auc"], 2), round(found["without_noise"], 2)
    (0.79, 0.75, 0.79)
    """
    if sd < 0:
        raise ValueError(f"sd is {sd}; give the SD of one measurement, 0 or above.")
    label, x = np.asarray(y, float), np.asarray(value, float)
    there = np.isfinite(x)
    label, x = label[there], x[there]
    measured = auc(label, x)
    empty = dict.fromkeys(("without_noise", "lost", "low", "high"), np.nan)
    counts = {"n": measured.n, "events": measured.events}
    if min(measured.events, measured.n - measured.events) < FEWEST:
        return {"auc": np.nan, **empty, **counts}
    rng = np.random.default_rng(seed)
    event = label == 1
    lost = _lost(event, x, sd=sd, draws=draws, rng=rng)
    if not np.isfinite(lost):
        return {"auc": measured.estimate, **empty, **counts}
    again = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(np.flatnonzero(group), group.sum()) for group in (event, ~event)])
        again.append(_lost(event[rows], x[rows], sd=sd, draws=_DRAWS_AGAIN, rng=rng))
    low, high = np.nanpercentile(again, [2.5, 97.5])
    ends = {"low": float(low), "high": float(high)}
    return {"auc": measured.estimate, "without_noise": measured.estimate + lost, "lost": lost, **ends, **counts}


def _lost(
    event: NDArray[np.bool_], x: NDArray[np.floating], *, sd: float, draws: int, rng: np.random.Generator
) -> float:
    """What noise of an SD takes from the AUC; NaN where there is nothing to be taken."""
    added = (0.0, *_ADDED)
    areas = [
        _area(event, x + rng.normal(0, np.sqrt(share) * sd, (draws if share else 1, len(x)))).mean() for share in added
    ]
    z = special.ndtri(np.clip(areas, 1e-4, 1 - 1e-4))
    if np.abs(z).min() < _LEAST_Z or len(set(np.sign(z))) > 1:
        return float("nan")
    slope, at_measured = np.polyfit(added, z**-2.0, 1)
    if at_measured <= 0:
        return float("nan")
    # A straight line through the noise can end at or below nothing; an AUC of one is then as near as can be said.
    clean = special.ndtr(np.sign(z[0]) / np.sqrt(max(at_measured - max(slope, 0.0), 1e-2)))
    return float(clean - special.ndtr(np.sign(z[0]) / np.sqrt(at_measured)))


def _area(event: NDArray[np.bool_], x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Area under the ROC curve of each row, by ranks."""
    rank = stats.rankdata(x, axis=1)
    m = int(event.sum())
    areas: NDArray[np.floating] = (rank[:, event].sum(axis=1) - m * (m + 1) / 2) / (m * (len(event) - m))
    return areas


def names_of(people: ArrayLike) -> pd.Series:
    """People, or sessions, as a column in which who is missing stays missing: numpy makes the name "nan" of it.

    Parameters
    ----------
    people : (n,) of text or numbers
        None, NaN and NA are missing.

    Examples
    --------
    >>> from deepqct.evaluation.repeats import names_of
    >>> names_of(["A", float("nan"), None]).isna().tolist()
    [False, True, True]
    """
    return pd.Series(people, dtype=object).reset_index(drop=True)


def _measured(person: ArrayLike, value: ArrayLike) -> tuple[NDArray[Any], NDArray[np.floating]]:
    """People and values without missing ones."""
    who, values = names_of(person), np.asarray(value, float)
    if values.ndim != 1 or len(who) != len(values):
        raise ValueError("person and value must be two equally long columns; give one person for each measurement.")
    there = who.notna().to_numpy() & np.isfinite(values)
    return pd.factorize(who[there])[0], values[there]


def _ends(degrees: int) -> tuple[float, float]:
    """By what the lower and the upper end of a 95 % interval of an SD multiply its estimate."""
    low, high = (float(np.sqrt(degrees / special.chdtri(degrees, tail))) for tail in (0.025, 0.975))
    return low, high
