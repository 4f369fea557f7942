"""The methods behind the patient groups: partitions, their number, a test against one cloud, and stability.

All take scores: one row a woman, one column a principal component, as `phenotypes.find_groups` makes them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.work import Progress, followed

METHODS = ("mixture", "k-means", "ward", "fuzzy c-means")
CROWD = 2000  # women that the test, the silhouette and the consensus look at, at most; ours
_RIDGE = 1e-3  # of a mixture's covariance, in the variance of a component; ours
_FUZZIFIER = 2.0  # Bezdek's usual one
_WARD_WHOLE = 5000  # women beyond whom Ward joins neighbours only

Scores = NDArray[np.float64]


def mixture(scores: Scores, *, groups: int, seed: int = 0) -> Any:
    """The likeliest mixture of Gaussians of one shared covariance, from k-means and from cuts along every component.

    Parameters
    ----------
    scores : (n, d)
        Of about unit variance.
    groups : int
        Their number, 1 included.
    seed : int
        Of k-means.

    Returns
    -------
    sklearn.mixture.GaussianMixture
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    n, d = scores.shape
    starts = [np.zeros(n, dtype=int)]
    if groups > 1:
        cuts = [np.quantile(column, np.linspace(0, 1, groups + 1)[1:-1]) for column in scores.T]
        starts = [_k_means(scores, groups=groups, seed=seed)[0]]
        starts += [np.searchsorted(cut, column) for cut, column in zip(cuts, scores.T, strict=True)]
    best, highest = None, -np.inf
    for labels in starts:
        if len(np.unique(labels)) < groups:
            continue
        means = np.array([scores[labels == group].mean(axis=0) for group in range(groups)])
        apart = scores - means[labels]
        precision = np.linalg.inv(apart.T @ apart / n + _RIDGE * np.eye(d))
        model = GaussianMixture(
            groups, covariance_type="tied", reg_covar=_RIDGE, max_iter=200, means_init=means,
            weights_init=np.bincount(labels, minlength=groups) / n, precisions_init=precision, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the likelihood so far is compared all the same
            model.fit(scores)
        if (likelihood := model.score(scores)) > highest:
            best, highest = model, likelihood
    return best


def partition(scores: Scores, *, groups: int, method: str = "mixture", seed: int = 0) -> tuple[NDArray[np.int64], Any]:
    """One partition of the women.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    groups : int
        Their number.
    method : {"mixture", "k-means", "ward", "fuzzy c-means"}
        How.
    seed : int
        Of the starting points.

    Returns
    -------
    (n,) of int, and how to do it again
        0 … groups − 1; a fitted mixture, or the groups' centres (groups, d).

    References
    ----------
    Bezdek JC et al. (1984), doi:10.1016/0098-3004(84)90020-7; Ward JH (1963), doi:10.1080/01621459.1963.10500845.
    """
    if method not in METHODS:
        raise ValueError(f"The method of grouping is {method!r}; use one of {', '.join(METHODS)}.")
    if method == "mixture":
        model = mixture(scores, groups=groups, seed=seed)
        return model.predict(scores), model
    if method == "k-means":
        return _k_means(scores, groups=groups, seed=seed)
    if method == "fuzzy c-means":
        return _fuzzy(scores, groups=groups, seed=seed)
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.neighbors import kneighbors_graph

    near = kneighbors_graph(scores, 10) if len(scores) > _WARD_WHOLE else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the number of connected components", UserWarning)  # clear groups are apart
        labels = AgglomerativeClustering(groups, linkage="ward", connectivity=near).fit_predict(scores)
    return labels, np.array([scores[labels == group].mean(axis=0) for group in range(groups)])


def memberships(scores: Scores, fitted: Any) -> Scores:
    """How much each woman belongs to each group: a mixture's posterior, or Bezdek's membership by distance to centres."""
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(scores)
    distance = np.linalg.norm(scores[:, None] - np.asarray(fitted)[None], axis=2)
    weight = np.maximum(distance, 1e-12) ** (-2 / (_FUZZIFIER - 1))
    return weight / weight.sum(axis=1, keepdims=True)


def one_cloud_p(
    scores: Scores, *, draws: int = 199, seed: int = 0, progress: Progress | None = None, total: int | None = None
) -> float:
    """P value of one Gaussian cloud against two, by parametric bootstrap of the likelihood ratio.

    The null has the data's own covariance: the ratio does not change with a linear map, so clouds are drawn white.

    Parameters
    ----------
    scores : (n, d)
        Principal components; of more than 2,000 women a random 2,000 are looked at.
    draws : int
        Clouds.
    seed : int
        Of the clouds.
    progress, total : callable, int, optional
        As in `deepqct.progress.followed`; the clouds are the first of `total` steps.

    References
    ----------
    McLachlan GJ (1987), doi:10.2307/2347790.
    """
    rng = np.random.default_rng(seed)
    scores = scores[crowd(len(scores), seed=seed)]
    observed = _likelihood_ratio(scores, seed=seed)
    clouds = followed(range(draws), progress, total=total or draws)
    null = [_likelihood_ratio(rng.standard_normal(scores.shape), seed=seed) for _ in clouds]
    return float((1 + sum(value >= observed for value in null)) / (1 + draws))


def numbers_of_groups(
    scores: Scores, *, max_groups: int = 6, method: str = "mixture", references: int = 20, seed: int = 0
) -> pd.DataFrame:
    """What speaks for each number of groups.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    max_groups : int
        The largest number.
    method : str
        Of the partitions whose silhouette is taken.
    references : int
        Uniform clouds of the gap statistic.
    seed : int
        Of the starting points and clouds.

    Returns
    -------
    DataFrame
        silhouette (−1 to 1, none for one group), gap and gap_se (Tibshirani 2001, k-means), bic (of the mixture; the
        lowest is best), indexed by the number of groups.

    References
    ----------
    Tibshirani R et al. (2001), doi:10.1111/1467-9868.00293.
    """
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(seed)
    few, numbers = scores[crowd(len(scores), seed=seed)], range(1, max_groups + 1)
    clouds = [rng.uniform(few.min(axis=0), few.max(axis=0), few.shape) for _ in range(references)]
    rows = []
    for groups in numbers:
        expected = np.array([_log_within(cloud, groups=groups, seed=seed) for cloud in clouds])
        row = {
            "gap": expected.mean() - _log_within(few, groups=groups, seed=seed),
            "gap_se": expected.std() * np.sqrt(1 + 1 / references),
            "bic": mixture(scores, groups=groups, seed=seed).bic(scores),
            "silhouette": np.nan,
        }
        labels = partition(few, groups=groups, method=method, seed=seed)[0] if groups > 1 else None
        if labels is not None and len(np.unique(labels)) > 1:
            row["silhouette"] = silhouette_score(few, labels)
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(numbers, name="groups"))
    return table[["silhouette", "gap", "gap_se", "bic"]]


def number_by_gap(numbers: pd.DataFrame) -> int:
    """The first number from 2 on whose gap is within one standard error of the next one's (Tibshirani 2001); else the last.

    Parameters
    ----------
    numbers : DataFrame
        As `numbers_of_groups` returns it, of 2 or more groups.
    """
    gap, error = numbers["gap"], numbers["gap_se"]
    for groups in range(2, int(numbers.index.max())):
        if gap[groups] >= gap[groups + 1] - error[groups + 1]:
            return groups
    return int(numbers.index.max())


def stability(
    scores: Scores,
    labels: NDArray[np.int64],
    *,
    method: str = "mixture",
    bootstraps: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
    before: int = 0,
) -> tuple[Scores, Scores]:
    """How well groups survive resampling of the women.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    labels : (n,)
        0 … groups − 1.
    method : str
        That they came from.
    bootstraps : int
        Resamples.
    seed : int
        Of the resamples.
    progress, before : callable, int, optional
        As in `deepqct.progress.followed`; the resamples are the last steps, after `before` others.

    Returns
    -------
    (groups,) and (n, n)
        Mean Jaccard similarity of each group to its best match (Hennig 2007: below 0.6 it should not be believed, from
        0.75 on it is valid), and the share of resamples in which two women fell into one group, NaN where they never met.

    References
    ----------
    Hennig C (2007), doi:10.1016/j.csda.2006.11.025; Monti S et al. (2003), doi:10.1023/A:1023949509487.
    """
    rng = np.random.default_rng(seed)
    n, groups = len(scores), int(labels.max()) + 1
    jaccard = np.zeros((bootstraps, groups))
    together, met = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    for b in followed(range(bootstraps), progress, total=before + bootstraps, before=before):
        drawn = rng.integers(0, n, n)
        found, _ = partition(scores[drawn], groups=groups, method=method, seed=seed)
        there, first = np.unique(drawn, return_index=True)
        new, old = found[first], labels[there]
        one = np.eye(groups)[old].T @ np.eye(groups)[new]
        either = one.sum(axis=1, keepdims=True) + one.sum(axis=0, keepdims=True) - one
        jaccard[b] = np.divide(one, either, out=np.zeros_like(one), where=either > 0).max(axis=1)
        met[np.ix_(there, there)] += 1
        together[np.ix_(there, there)] += new[:, None] == new[None]
    consensus = np.divide(together, met, out=np.full_like(together, np.nan), where=met > 0)
    return jaccard.mean(axis=0), consensus.astype(float)


def crowd(n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Places of all of `n` women, or of a random 2,000 of more, in order."""
    return np.arange(n) if n <= CROWD else np.sort(np.random.default_rng(seed).choice(n, CROWD, replace=False))


def _k_means(scores: Scores, *, groups: int, seed: int) -> tuple[NDArray[np.int64], Scores]:
    """Labels and centres of the best of ten starts."""
    from sklearn.cluster import KMeans

    fit = KMeans(groups, n_init=10, random_state=seed).fit(scores)
    return fit.labels_.astype(np.int64), fit.cluster_centers_


def _fuzzy(scores: Scores, *, groups: int, seed: int) -> tuple[NDArray[np.int64], Scores]:
    """Fuzzy c-means from the centres of k-means: memberships and weighted means in turn."""
    centres = _k_means(scores, groups=groups, seed=seed)[1]
    for _ in range(300):
        weight = memberships(scores, centres) ** _FUZZIFIER
        moved = (weight.T @ scores) / weight.sum(axis=0)[:, None]
        if np.abs(moved - centres).max() < 1e-6:
            break
        centres = moved
    return memberships(scores, centres).argmax(axis=1), centres


def _likelihood_ratio(scores: Scores, *, seed: int) -> float:
    """Twice the log-likelihood that two groups gain over one, of whitened scores."""
    centred = scores - scores.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(centred.T).reshape(scores.shape[1], -1)), centred.T).T
    one, two = (mixture(white, groups=groups, seed=seed).score(white) for groups in (1, 2))
    return float(2 * len(white) * (two - one))


def _log_within(scores: Scores, *, groups: int, seed: int) -> float:
    """Logarithm of the sum of squares within k-means groups."""
    from sklearn.cluster import KMeans

    return float(np.log(KMeans(groups, n_init=3, random_state=seed).fit(scores).inertia_))
