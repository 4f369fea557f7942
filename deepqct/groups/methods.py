"""The methods behind the patient groups: partitions, their number, a test against one cloud, and stability.

They all take scores: one row a woman, one column a principal component, as `Space.scores` returns them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.work import Progress, followed

METHODS = ("mixture", "k-means", "ward", "fuzzy c-means")
CROWD = 2000  # the most women that the test, the silhouette, the gap and the consensus use; our choice
_RIDGE = 1e-3  # added to the diagonal of a mixture's covariance; our choice
_FUZZIFIER = 2.0  # Bezdek's usual one
_WARD_WHOLE = 5000  # with more women than this, Ward joins neighbours only

Scores = NDArray[np.float64]


def mixture(scores: Scores, *, groups: int, seed: int = 0) -> Any:
    """Fit a mixture of Gaussians that share one covariance.

    It is fitted from several starts, k-means and cuts along each component; the fit of highest likelihood is returned.

    Parameters
    ----------
    scores : (n, d)
        Principal components, scaled so that the first has a variance of about 1.
    groups : int
        Number of Gaussians; 1 is allowed.
    seed : int
        Seed of k-means.

    Returns
    -------
    sklearn.mixture.GaussianMixture
        The fitted mixture; None if every start left a group empty.
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
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # a fit that has not converged is compared like the others
            model.fit(scores)
        if (likelihood := model.score(scores)) > highest:
            best, highest = model, likelihood
    return best


def partition(scores: Scores, *, groups: int, method: str = "mixture", seed: int = 0) -> tuple[NDArray[np.int64], Any]:
    """Divide the women into groups by one method.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    groups : int
        Number of groups.
    method : {"mixture", "k-means", "ward", "fuzzy c-means"}
        The method that draws the groups.
    seed : int
        Seed of the starting points.

    Returns
    -------
    (n,) int
        The group of each woman, 0 to groups − 1.
    GaussianMixture or (groups, d) float
        What `memberships` needs to group other women alike: the fitted mixture, or the centres of the groups.

    Raises
    ------
    ValueError
        If the method is unknown.

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
        warnings.filterwarnings(
            "ignore", "the number of connected components", UserWarning
        )  # clear groups are not connected
        labels = AgglomerativeClustering(groups, linkage="ward", connectivity=near).fit_predict(scores)
    return labels, np.array([scores[labels == group].mean(axis=0) for group in range(groups)])


def memberships(scores: Scores, fitted: Any) -> Scores:
    """How much each woman belongs to each group.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    fitted : GaussianMixture or (groups, d) float
        As `partition` returns it.

    Returns
    -------
    (n, groups) float
        Each row sums to 1: the posterior of a mixture, or Bezdek's membership by distance to the centres.
    """
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(scores)
    distance = np.linalg.norm(scores[:, None] - np.asarray(fitted)[None], axis=2)
    weight = np.maximum(distance, 1e-12) ** (-2 / (_FUZZIFIER - 1))
    return weight / weight.sum(axis=1, keepdims=True)


def one_cloud_p(
    scores: Scores, *, draws: int = 199, seed: int = 0, progress: Progress | None = None, total: int | None = None
) -> float:
    """P value of one Gaussian cloud against two, by parametric bootstrap of the likelihood ratio.

    Under the null hypothesis the data are one cloud with the covariance that they have. A linear map does not change
    the ratio, so that the clouds can be drawn with unit covariance.

    Parameters
    ----------
    scores : (n, d)
        Principal components; of more than 2,000 women a random 2,000 are used.
    draws : int
        Number of clouds that are drawn.
    seed : int
        Seed of the clouds.
    progress : callable, optional
        Called with the number of steps done and their total.
    total : int, optional
        Steps of the whole work, of which the clouds are the first; by default the clouds alone.

    Returns
    -------
    float
        The p value, at least 1 / (1 + draws).

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
    """Measure how well each number of groups fits the data.

    Parameters
    ----------
    scores : (n, d)
        Principal components; of more than 2,000 women a random 2,000 are used, except for bic.
    max_groups : int
        The largest number of groups.
    method : str
        The method that draws the groups for the silhouette.
    references : int
        Number of uniform clouds for the gap statistic.
    seed : int
        Seed of the starting points and clouds.

    Returns
    -------
    DataFrame
        silhouette (−1 to 1; NaN for one group), gap and gap_se (Tibshirani 2001, by k-means), bic (of the mixture; the
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
    """Choose the number of groups, 2 or more, by Tibshirani's rule.

    The rule takes the first number whose gap is at least the gap of the next number less that number's standard error.

    Parameters
    ----------
    numbers : DataFrame
        As `numbers_of_groups` returns it, for up to 2 or more groups.

    Returns
    -------
    int
        The number of groups; the largest one if the rule fits none.

    References
    ----------
    Tibshirani R et al. (2001), doi:10.1111/1467-9868.00293.
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
    """Measure how well groups are found again when the women are resampled.

    Parameters
    ----------
    scores : (n, d)
        Principal components.
    labels : (n,) int
        The group of each woman, 0 to groups − 1.
    method : str
        The method that drew these groups.
    bootstraps : int
        Number of resamples.
    seed : int
        Seed of the resamples.
    progress : callable, optional
        Called with the number of steps done and their total.
    before : int
        Steps that were done before; the resamples are the last steps.

    Returns
    -------
    (groups,) float
        Mean Jaccard similarity of each group to its best match in a resample (Hennig 2007: a group below 0.6 should not
        be believed, one from 0.75 on is valid).
    (n, n) float
        For every two women, the share of resamples with both of them that put them into one group; NaN if no resample
        has both.

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
        drawn_labels, _ = partition(scores[drawn], groups=groups, method=method, seed=seed)
        present, first = np.unique(drawn, return_index=True)
        new, old = drawn_labels[first], labels[present]
        both = np.eye(groups)[old].T @ np.eye(groups)[new]
        either = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
        jaccard[b] = np.divide(both, either, out=np.zeros_like(both), where=either > 0).max(axis=1)
        met[np.ix_(present, present)] += 1
        together[np.ix_(present, present)] += new[:, None] == new[None]
    consensus = np.divide(together, met, out=np.full_like(together, np.nan), where=met > 0)
    return jaccard.mean(axis=0), consensus.astype(float)


def rand_indices(partitions: dict[str, pd.Series]) -> pd.DataFrame:
    """Adjusted Rand index of every two partitions, over the women who are in both.

    Parameters
    ----------
    partitions : dict of str to Series of int
        The group of each woman, by the name of the partition.

    Returns
    -------
    DataFrame
        One row and one column a partition; 1 for the same groups, 0 for an agreement as by chance.
    """
    from sklearn.metrics import adjusted_rand_score

    names = list(partitions)
    table = pd.DataFrame(1.0, index=names, columns=names)
    for one in names:
        for other in names:
            both = partitions[one].index.intersection(partitions[other].index)
            table.loc[one, other] = adjusted_rand_score(partitions[one][both], partitions[other][both])
    return table


def crowd(n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Row numbers of the women that slow computations use: all of them, or a random 2,000 if there are more.

    Parameters
    ----------
    n : int
        Number of women.
    seed : int
        Seed of the draw.

    Returns
    -------
    (min(n, 2000),) int
        Row numbers in ascending order.
    """
    return np.arange(n) if n <= CROWD else np.sort(np.random.default_rng(seed).choice(n, CROWD, replace=False))


def _k_means(scores: Scores, *, groups: int, seed: int) -> tuple[NDArray[np.int64], Scores]:
    """Labels and centres of the best of ten starts of k-means."""
    from sklearn.cluster import KMeans

    fit = KMeans(groups, n_init=10, random_state=seed).fit(scores)
    return fit.labels_.astype(np.int64), fit.cluster_centers_


def _fuzzy(scores: Scores, *, groups: int, seed: int) -> tuple[NDArray[np.int64], Scores]:
    """Labels and centres by fuzzy c-means, which starts at the centres of k-means."""
    centres = _k_means(scores, groups=groups, seed=seed)[1]
    for _ in range(300):
        weight = memberships(scores, centres) ** _FUZZIFIER
        moved = (weight.T @ scores) / weight.sum(axis=0)[:, None]
        if np.abs(moved - centres).max() < 1e-6:
            break
        centres = moved
    return memberships(scores, centres).argmax(axis=1), centres


def _likelihood_ratio(scores: Scores, *, seed: int) -> float:
    """Twice the gain in log-likelihood from one group to two, of whitened scores."""
    centred = scores - scores.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(centred.T).reshape(scores.shape[1], -1)), centred.T).T
    one, two = (mixture(white, groups=groups, seed=seed).score(white) for groups in (1, 2))
    return float(2 * len(white) * (two - one))


def _log_within(scores: Scores, *, groups: int, seed: int) -> float:
    """Logarithm of the sum of squares within the groups of k-means."""
    from sklearn.cluster import KMeans

    return float(np.log(KMeans(groups, n_init=3, random_state=seed).fit(scores).inertia_))
