"""One way of measuring turned into another: lines between two scanners, and scanners beside each other on one phantom."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FEWEST_PAIRS = 5  # people or inserts measured on both, below which no line is drawn; our choice
_RISING_P = 0.05  # below which two ways of measuring are taken to rise together
_TOO_FEW = f"fewer than {FEWEST_PAIRS} pairs"
FEWEST_SITES = 4  # below which no site can be told from the others; our choice


@dataclass(frozen=True)
class Line:
    """A straight line from one way of measuring to another, with 95 % intervals; NaN where there are too few pairs.

    Parameters
    ----------
    slope, slope_low, slope_high : float
        By how much the second rises with one unit of the first.
    intercept, intercept_low, intercept_high : float
        The second where the first is zero, in its unit.
    n : int
        Pairs.
    method : str
        ``deming`` or ``passing-bablok``.
    why : str
        Where there is no line, the reason.

    Examples
    --------
    >>> import deepqct as dq
    >>> line = dq.evaluation.deming([1.0, 2.0, 3.0, 4.0, 5.0], [2.1, 3.9, 6.1, 8.0, 10.1])
    >>> print(line)
    y = 0.006 (95 % −0.535 to +0.547) + 2.011 (1.872 to 2.150) x; n 5, deming
    >>> round(line.to_second(10.0), 2), round(line.to_first(20.14), 2)
    (20.12, 10.01)
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    n: int
    method: str
    why: str = ""

    @overload
    def to_second(self, value: float) -> float: ...
    @overload
    def to_second(self, value: NDArray[np.floating]) -> NDArray[np.floating]: ...
    def to_second(self, value: Any) -> Any:
        """What the second would measure where the first measures `value`."""
        return self.intercept + self.slope * value

    @overload
    def to_first(self, value: float) -> float: ...
    @overload
    def to_first(self, value: NDArray[np.floating]) -> NDArray[np.floating]: ...
    def to_first(self, value: Any) -> Any:
        """What the first would measure where the second measures `value`."""
        return (value - self.intercept) / self.slope

    @property
    def same(self) -> bool | None:
        """True if a slope of 1 and an intercept of 0 lie within their intervals, so that no difference is shown.

        None without a line or an interval.
        """
        if not np.isfinite([self.slope_low, self.slope_high, self.intercept_low, self.intercept_high]).all():
            return None
        return self.slope_low <= 1 <= self.slope_high and self.intercept_low <= 0 <= self.intercept_high

    def __str__(self) -> str:
        """The line in words."""
        if not np.isfinite(self.slope):
            return f"not estimable (n {self.n}, {self.method}{self.why and f': {self.why}'})"
        ends = " to ".join(f"{end:+.3f}".replace("-", "−") for end in (self.intercept_low, self.intercept_high))
        slope = f"{self.slope:.3f} ({self.slope_low:.3f} to {self.slope_high:.3f})".replace("-", "−")
        return f"y = {self.intercept:.3f} (95 % {ends}) + {slope} x; n {self.n}, {self.method}".replace("= -", "= −")

    def row(self) -> dict[str, Any]:
        """The figures as columns of a table, by their names."""
        return asdict(self)


def deming(first: ArrayLike, second: ArrayLike, *, error_ratio: float = 1.0) -> Line:
    """The line between two ways of measuring of which both have errors.

    Parameters
    ----------
    first, second : (n,) float
        The measurements in pairs; pairs with a missing value are left out.
    error_ratio : float
        Variance of the error of `second` over that of `first`.

    Returns
    -------
    Line
        Its intervals are those of the jackknife, with Student's t. NaN where one of them is the same in all pairs.

    Raises
    ------
    ValueError
        If the two are not equally long, or `error_ratio` is not above 0.

    References
    ----------
    Deming WE (1943), Statistical adjustment of data. Linnet K (1990), Stat Med 9:1463, for the jackknife.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> truth = np.linspace(150, 350, 40)
    >>> rng = np.random.default_rng(0)
    >>> first, second = truth + rng.normal(0, 2, 40), 10 + 1.05 * truth + rng.normal(0, 2, 40)
    >>> line = dq.evaluation.deming(first, second)
    >>> line.slope_low < 1.05 < line.slope_high, line.same
    (True, False)
    """
    if error_ratio <= 0:
        raise ValueError(f"error_ratio is {error_ratio}; give the ratio of two variances, above 0.")
    x, y = _pairs(first, second)
    if (n := len(x)) < FEWEST_PAIRS:
        return _none(n, "deming", _TOO_FEW)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return _none(n, "deming", "one of the two is the same in all pairs")
    # Around the means, so that sums of squares keep their digits; without each pair in turn, from the sums with it.
    mx, my = x.mean(), y.mean()
    u, v = x - mx, y - my
    terms = np.array([u, v, u * u, u * v, v * v])
    (slope,), (moved,) = _from_sums(terms.sum(axis=1, keepdims=True), n, error_ratio)
    slopes, all_moved = _from_sums(terms.sum(axis=1, keepdims=True) - terms, n - 1, error_ratio)
    with np.errstate(invalid="ignore"):
        intercept, intercepts = moved + my - slope * mx, all_moved + my - slopes * mx
    t = stats.t.ppf(0.975, n - 2)
    figures = []
    for whole, without in ((slope, slopes), (intercept, intercepts)):
        pseudo = n * whole - (n - 1) * without
        half = t * pseudo.std(ddof=1) / np.sqrt(n)
        figures += [whole, whole - half, whole + half]
    return _line(figures, n, "deming")


def passing_bablok(first: ArrayLike, second: ArrayLike) -> Line:
    """The line between two ways of measuring, by medians, so that single outliers and the kind of error hardly count.

    Parameters
    ----------
    first, second : (n,) float
        The measurements in pairs, which rise together; pairs with a missing value are left out.

    Returns
    -------
    Line
        The shifted median of the slopes between all pairs of points, and the median of what is left; NaN where Kendall's
        tau is not above 0 (one-sided p .05 or more), since the method presupposes that the two rise together.

    Raises
    ------
    ValueError
        If the two are not equally long.

    References
    ----------
    Passing H, Bablok W (1983), J Clin Chem Clin Biochem 21:709.

    Examples
    --------
    >>> import deepqct as dq
    >>> line = dq.evaluation.passing_bablok([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 4.1, 5.9, 8.0, 10.2, 40.0])
    >>> round(line.slope, 2)  # the last point is far off
    2.1
    """
    x, y = _pairs(first, second)
    if (n := len(x)) < FEWEST_PAIRS:
        return _none(n, "passing-bablok", _TOO_FEW)
    tau = stats.kendalltau(x, y, alternative="greater")
    if not tau.pvalue < _RISING_P:
        shown = "" if np.isnan(tau.statistic) else f", Kendall's tau {tau.statistic:.2f}".replace("-", "−")
        return _none(n, "passing-bablok", f"the two do not rise together{shown}")
    i, j = np.triu_indices(n, 1)
    dx, dy = x[j] - x[i], y[j] - y[i]
    apart = (dx != 0) | (dy != 0)
    dx, dy = dx[apart], dy[apart]
    with np.errstate(divide="ignore"):
        slopes = np.where(dx == 0, np.where(dy > 0, np.inf, -np.inf), dy / np.where(dx == 0, 1, dx))
    slopes = np.sort(slopes[slopes != -1])
    many, shift = len(slopes), int((slopes < -1).sum())
    if shift + many // 2 >= many:  # the shifted median lies beyond the last slope
        return _none(n, "passing-bablok", "the two do not rise together")
    slope = (slopes[shift + (many - 1) // 2] + slopes[shift + many // 2]) / 2
    reach = float(stats.norm.ppf(0.975)) * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    first_kept = round((many - reach) / 2)
    low, high = (float(slopes[np.clip(shift + place, 0, many - 1)]) for place in (first_kept - 1, many - first_kept))
    ends = [float(np.median(y - end * x)) if np.isfinite(end) else np.nan for end in (slope, high, low)]
    return _line([slope, low, high, *ends], n, "passing-bablok")


def lines_of_sites(site: ArrayLike, level: ArrayLike, value: ArrayLike) -> pd.DataFrame:
    """Scanners beside each other on one phantom: the line from what the others measure to what each one measures.

    Parameters
    ----------
    site : (n,) of text
        The scanner or centre of each measurement.
    level : (n,) of text or numbers
        The insert or section of the phantom that was measured.
    value : (n,) float
        What was measured there.

    Returns
    -------
    DataFrame
        A row for each site: site; change (of the mean level beside the median of the other sites, as a share of it);
        usual_low, usual_high (where a site like the others would lie: 95 %, Bonferroni-corrected for the number of sites);
        odd (True outside of them); slope and intercept with slope_low, slope_high, intercept_low, intercept_high (`deming`,
        against that median at each level; NaN with fewer than 5 levels, without which the change is told all the same); n
        (levels).

    Raises
    ------
    ValueError
        If there are fewer than 4 sites, or fewer than 3 levels that all sites measured; if the mean of these levels is 0,
        so that a change is no share of it.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> rng = np.random.default_rng(0)
    >>> site, level = np.repeat([f"S{i}" for i in range(8)], 5), np.tile([0, 100, 200, 400, 800], 8)
    >>> value = level * np.where(site == "S3", 1.05, 1.0) + rng.normal(0, 2, 40)
    >>> table = dq.evaluation.lines_of_sites(site, level, value)
    >>> table.loc[table["odd"], "site"].tolist()
    ['S3']
    """
    long = pd.DataFrame({"site": np.asarray(site), "level": np.asarray(level), "value": np.asarray(value, float)})
    table = (
        long[np.isfinite(long["value"])]
        .dropna()
        .pivot_table(index="site", columns="level", values="value")
        .dropna(axis=1)
    )
    sites, levels = table.shape
    if sites < FEWEST_SITES or levels < 3:
        raise ValueError(
            f"{sites} sites and {levels} levels that all measured: one site is told from the others from {FEWEST_SITES} "
            "sites and 3 levels on."
        )
    values, rows = table.to_numpy(), []
    for number, name in enumerate(table.index):
        others = np.median(np.delete(values, number, axis=0), axis=0)
        if (middle := float(others.mean())) == 0:
            raise ValueError(
                f"The levels of the other sites than {name} have the mean 0, so that no change is a share of it; give "
                "levels above 0."
            )
        # A line through the means would say the same, and needs more levels than are asked for.
        change = float(values[number].mean()) / middle - 1
        rows.append({"site": name, **deming(others, values[number]).row(), "change": change})
    found = pd.DataFrame(rows).drop(columns=["method", "why"])
    t, usual = stats.t.ppf(1 - 0.025 / sites, sites - 2), []
    for number in range(sites):
        rest = np.delete(found["change"].to_numpy(), number)
        reach = t * rest.std(ddof=1) * np.sqrt(1 + 1 / len(rest))
        usual.append((rest.mean() - reach, rest.mean() + reach))
    low, high = np.array(usual).T
    return found.assign(usual_low=low, usual_high=high, odd=(found["change"] < low) | (found["change"] > high))


def _from_sums(sums: NDArray[np.floating], n: int, ratio: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Slopes and intercepts of Deming regressions from Σx, Σy, Σx², Σxy, Σy², one column each."""
    sx, sy, xx, xy, yy = sums
    u, q, p = xx - sx**2 / n, yy - sy**2 / n, xy - sx * sy / n
    with np.errstate(divide="ignore", invalid="ignore"):  # without one pair, the others may all be the same
        slope = (q - ratio * u + np.sqrt((q - ratio * u) ** 2 + 4 * ratio * p**2)) / (2 * p)
        return slope, sy / n - slope * sx / n


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The pairs in which neither is missing."""
    x, y = np.asarray(first, float), np.asarray(second, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError("first and second must be two equally long columns; give the measurements in pairs.")
    there = np.isfinite(x) & np.isfinite(y)
    return x[there], y[there]


def _none(n: int, method: str, why: str) -> Line:
    """No line, and the reason."""
    return replace(_line([np.nan] * 6, n, method), why=why)


def _line(figures: list[float], n: int, method: str) -> Line:
    """A line from slope, its ends, intercept, and its ends."""
    slope, slope_low, slope_high, intercept, intercept_low, intercept_high = map(float, figures)
    return Line(slope, slope_low, slope_high, intercept, intercept_low, intercept_high, n, method)
