"""Patient groups on the HR-pQCT indices, one group included, and which of them a new patient belongs to.

The preprint reports two groups (Chen 2024); its method is not public, so every choice here is ours. Women are grouped by
the first principal components of their transformed indices: indices of one bone and of four bones repeat each other,
and components count what they share once. The number of groups is decided once, by a test against one cloud and then
by the gap statistic, whatever the method that draws them: BIC of one shared covariance cuts groups of unlike shape into
several, six on iris and on wine.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepqct.folder import Run, write_json, write_table
from deepqct.groups.methods import (
    METHODS,
    crowd,
    memberships,
    number_by_gap,
    numbers_of_groups,
    one_cloud_p,
    partition,
    stability,
)
from deepqct.groups.space import COMPONENTS, Space, fit_space, varying_columns
from deepqct.terms import BONES
from deepqct.work import Progress

LEVEL = 0.05  # of the test against one cloud; ours
STRANGE = 0.01  # share of the women themselves who lie as far out as "like none of them"; ours
FEWEST = 10  # women, below whom a number of groups is not looked for; ours


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of patients.

    Parameters
    ----------
    n_groups : int
        How many; 1 where the data are one cloud.
    labels : Series of int
        1 … n_groups by participant_id; group 1 has the highest mean Tt.vBMD.
    stability : Series
        Mean bootstrap Jaccard of each group; empty for one group.
    consensus : DataFrame
        Share of resamples in which two women fell into one group; empty for one group, or for more than 2,000 women.
    numbers : DataFrame
        silhouette, gap, gap_se, bic by number of groups.
    p : float
        Of one Gaussian cloud against two.
    chosen : bool
        True if the data chose the number, False if it was asked for.
    method : str
        That drew the groups.
    space : Space
        Where they lie.
    """

    n_groups: int
    labels: pd.Series
    stability: pd.Series
    consensus: pd.DataFrame
    numbers: pd.DataFrame
    p: float
    chosen: bool
    method: str
    space: Space
    fitted: Any
    order: NDArray[np.int64]
    shape: Any
    far: float

    def assign(self, new_features: pd.DataFrame, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """The group of each new patient, how sure that is, and whether she is like none of them.

        Parameters
        ----------
        new_features : DataFrame
            The indices that the groups were found on; missing values are allowed.
        covariates : DataFrame, optional
            Needed where the indices were adjusted for them.

        Returns
        -------
        DataFrame
            group; membership (0 to 1: a mixture's posterior, else Bezdek's membership by distance); distance
            (Mahalanobis to the group in all indices, by a shrunken covariance); like_none, True if she lies farther out
            than 99 of 100 of the women themselves, each measured by the others.

        Raises
        ------
        ValueError
            If a column that the groups were found on is not there.
        """
        z = self.space.standardise(new_features, covariates=covariates)
        share = memberships(self.space.scores(z), self.fitted)[:, self.order]
        group = share.argmax(axis=1)
        distance = _distances(z.to_numpy(), group, self.shape)
        return pd.DataFrame(
            {
                "group": group + 1,
                "membership": share.max(axis=1),
                "distance": distance,
                "like_none": distance > self.far,
            },
            index=new_features.index,
        )


def find_groups(
    features: pd.DataFrame,
    *,
    max_groups: int = 6,
    seed: int = 0,
    groups: int | None = None,
    method: str = "mixture",
    components: int = COMPONENTS,
    covariates: pd.DataFrame | None = None,
    draws: int = 199,
    bootstraps: int = 200,
    progress: Progress | None = None,
) -> Groups:
    """Groups of patients, as many as the data support.

    Parameters
    ----------
    features : DataFrame
        One row a patient, indexed by participant_id, one column an index; missing values are allowed.
    max_groups : int
        The largest number that is tried.
    seed : int
        Of everything random.
    groups : int, optional
        Their number, if it is not to be chosen.
    method : {"mixture", "k-means", "ward", "fuzzy c-means"}
        What draws them: Gaussians of one shared covariance by default.
    components : int
        Principal components that they are drawn in.
    covariates : DataFrame, optional
        Such as age and height; what they explain linearly is taken out of every index first.
    draws : int
        Clouds of the test.
    bootstraps : int
        Resamples for the stability; 0 for none.
    progress : callable, optional
        Called with the clouds and resamples done and their total.

    Returns
    -------
    Groups

    Raises
    ------
    ValueError
        If there are too few patients for the number of groups, too few that differ, or no index that varies.

    References
    ----------
    Fuzzy c-means and k-means on HR-pQCT: Whittier 2022 (doi:10.1002/jbmr.4494), Westbury 2019 (PMC6694037).
    """
    if method not in METHODS:
        raise ValueError(f"The method of grouping is {method!r}; use one of {', '.join(METHODS)}.")
    features = features.sort_index()
    n = len(features)
    if groups is not None and not 1 <= groups < n:
        raise ValueError(f"groups is {groups} for {n} patients; at least 1, and fewer than patients, are needed.")
    if n < FEWEST:
        raise ValueError(f"There are {n} patients; groups are looked for in {FEWEST} or more.")
    with threadpool_limits(1):  # thousands of fits on a few hundred rows: threads would only wait for each other
        return _find(
            features, most=max_groups, seed=seed, groups=groups, method=method, components=components,
            covariates=covariates, draws=draws, bootstraps=bootstraps, progress=progress,
        )  # fmt: skip


def _find(
    features: pd.DataFrame,
    *,
    most: int,
    seed: int,
    groups: int | None,
    method: str,
    components: int,
    covariates: pd.DataFrame | None,
    draws: int,
    bootstraps: int,
    progress: Progress | None,
) -> Groups:
    """`find_groups` of sorted and counted patients."""
    n = len(features)
    varying = varying_columns(features)
    different = len(features[varying].drop_duplicates()) if varying else 1
    if different < max(groups or 2, 2):
        raise ValueError(f"groups is {groups or 2}, but only {different} of {n} patients differ; check the indices.")
    space = fit_space(features, varying, components=components, covariates=covariates)
    z = space.standardise(features, covariates=covariates)
    scores = space.scores(z)
    most = min(max(most, groups or 1), different, n // 2)
    numbers = numbers_of_groups(scores, max_groups=most, method=method, seed=seed)
    p = one_cloud_p(scores, draws=draws, seed=seed, progress=progress, total=draws + bootstraps)
    n_groups = groups or (1 if p > LEVEL or most < 2 else number_by_gap(numbers))
    raw, fitted = partition(scores, groups=n_groups, method=method, seed=seed)
    if len(np.unique(raw)) < n_groups:
        raise ValueError(f"The {method} of {n_groups} groups leaves one empty; ask for fewer.")
    order = _by_density(z, raw)
    labels = np.argsort(order)[raw]
    jaccard, consensus = pd.Series(dtype=float), pd.DataFrame()
    if n_groups > 1 and bootstraps:
        few = crowd(n, seed=seed)
        found = stability(
            scores[few], labels[few], method=method, bootstraps=bootstraps, seed=seed, progress=progress, before=draws
        )
        jaccard = pd.Series(found[0], index=range(1, n_groups + 1))
        consensus = pd.DataFrame(found[1], index=z.index[few], columns=z.index[few])
    elif progress is not None:
        progress(draws + bootstraps, draws + bootstraps)  # one group has no stability
    values = z.to_numpy()
    return Groups(
        n_groups=n_groups, labels=pd.Series(labels + 1, index=z.index, name="group"),
        stability=jaccard.rename("jaccard").rename_axis("group"), consensus=consensus, numbers=numbers, p=p,
        chosen=groups is None, method=method, space=space, fitted=fitted, order=order,
        shape=_shape(values, labels), far=_far_out(values, labels, seed=seed),
    )  # fmt: skip


def named(features: pd.DataFrame, names: str = "all") -> pd.DataFrame:
    """The indices that were asked for, by bone, by symbol or both.

    Parameters
    ----------
    features : DataFrame
        Columns such as ``radius Tt.vBMD``.
    names : str
        ``all``, or bones, symbols or whole columns, separated by commas: ``radius, tibia``, ``Tt.vBMD, Tb.N``.

    Raises
    ------
    ValueError
        If a name fits no column.
    """
    if names.strip() == "all":
        return features
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    kept: list[Any] = []
    for name in wanted:
        fits = [column for column in features if name in (column, *str(column).split(" "))]
        if not fits:
            raise ValueError(
                f"cluster_on names {name!r}, neither a bone nor an index here; use all, or some of indices.csv."
            )
        kept += fits
    return features[[column for column in features if column in set(kept)]]


def covariates_of(people: pd.DataFrame, names: str = "none") -> pd.DataFrame | None:
    """Columns that indices are adjusted for, None for none.

    Parameters
    ----------
    people : DataFrame
        participants.csv, indexed by participant_id.
    names : str
        ``none``, or columns of numbers separated by commas, such as ``age, height_cm``.

    Raises
    ------
    ValueError
        If a column is absent or is not of numbers.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    for name in wanted:
        if name not in people or not pd.api.types.is_numeric_dtype(people[name]):
            raise ValueError(f"adjust_for names {name!r}, which is no column of numbers of the participants.")
    return people[wanted].astype(float) if wanted else None


def agreement_between_methods(groups: Groups, features: pd.DataFrame, *, seed: int = 0, covariates: Any = None) -> Any:
    """Adjusted Rand index between the methods' partitions into the same number of groups, two where there is one.

    Returns
    -------
    DataFrame
        One row and one column a method; 1 the same, 0 as by chance.
    """
    z = groups.space.standardise(features.sort_index(), covariates=covariates)
    scores, k = groups.space.scores(z), max(2, groups.n_groups)
    return _rand({name: pd.Series(partition(scores, groups=k, method=name, seed=seed)[0], z.index) for name in METHODS})


def agreement_between_bones(groups: Groups, features: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Adjusted Rand index between the groups found on each bone alone, and with those of all bones if there are any.

    Returns
    -------
    DataFrame
        One row and one column a bone, and ``all``, of the women who have both.
    """
    features = features.sort_index()
    there = dict.fromkeys(str(column).split(" ")[0] for column in features)
    bones = [bone for bone in BONES if bone in there] + [bone for bone in there if bone not in BONES]
    found = {"all": groups.labels} if groups.n_groups > 1 else {}
    for bone in bones:
        own = features[[column for column in features if str(column).startswith(f"{bone} ")]].dropna(how="all")
        varying = varying_columns(own)
        if len(own) < FEWEST or not varying:
            continue
        space = fit_space(own, varying, components=COMPONENTS, covariates=None)
        scores = space.scores(space.standardise(own))
        raw = partition(scores, groups=max(2, groups.n_groups), method=groups.method, seed=seed)[0]
        found[bone] = pd.Series(raw, own.index)
    return _rand(found)


def verdict(groups: Groups) -> str:
    """What the groups are worth, in one or two sentences."""
    n, p = len(groups.labels), f"p = {groups.p:.3f}" if groups.p >= 0.001 else "p < 0.001"
    tested = f"Against one Gaussian cloud of the data's covariance, two groups have {p} (n = {n})."
    if groups.n_groups == 1:
        return f"{tested} One cloud describes these women: there are no groups to report."
    sizes = ", ".join(str((groups.labels == group).sum()) for group in range(1, groups.n_groups + 1))
    text = f"{tested} There are {groups.n_groups} groups of {sizes} women."
    if not groups.chosen and groups.p > LEVEL:
        text += " Their number was asked for; the data do not support it."
    if len(groups.stability) and groups.stability.min() < 0.6:
        text += f" The weakest has a bootstrap Jaccard of {groups.stability.min():.2f}: below 0.6 do not believe it."
    elif len(groups.stability):
        text += f" Their bootstrap Jaccard is at least {groups.stability.min():.2f}."
    return text


def z_means(groups: Groups, features: pd.DataFrame, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
    """Mean standardised index of each group: one row a group."""
    z = groups.space.standardise(features, covariates=covariates)
    return z.groupby(groups.labels).mean().rename_axis("group")


def _by_density(z: pd.DataFrame, raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups from the densest bone to the weakest."""
    density = [column for column in z if str(column).endswith("Tt.vBMD")] or list(z.columns)
    return z[density].mean(axis=1).groupby(raw).mean().sort_values(ascending=False).index.to_numpy()


def _shape(z: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[Any, Any]:
    """Means of the groups and the shrunken precision within them."""
    from sklearn.covariance import LedoitWolf

    means = np.array([z[labels == group].mean(axis=0) for group in range(labels.max() + 1)])
    return means, LedoitWolf(assume_centered=True).fit(z - means[labels]).precision_


def _distances(z: NDArray[np.float64], labels: NDArray[np.int64], shape: tuple[Any, Any]) -> NDArray[np.float64]:
    """Mahalanobis distance of each woman to the mean of her group."""
    apart = z - shape[0][labels]
    return np.sqrt(np.einsum("ij,jk,ik->i", apart, shape[1], apart, optimize=True))


def _far_out(z: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int) -> float:
    """The distance that one in a hundred of the women exceeds, each measured by the others."""
    fold = np.random.default_rng(seed).permutation(len(z)) % 5
    distance = np.zeros(len(z))
    for part in range(5):
        others, mine = fold != part, fold == part
        means = np.array([z[others & (labels == g)].mean(axis=0) if (others & (labels == g)).any()
                          else z[labels == g].mean(axis=0) for g in range(labels.max() + 1)])  # fmt: skip
        precision = _shape(z[others], np.unique(labels[others], return_inverse=True)[1])[1]
        distance[mine] = _distances(z[mine], labels[mine], (means, precision))
    return float(np.quantile(distance, 1 - STRANGE))


def _rand(partitions: dict[str, pd.Series]) -> pd.DataFrame:
    """Adjusted Rand index of every pair of partitions."""
    from sklearn.metrics import adjusted_rand_score

    names = list(partitions)
    table = pd.DataFrame(1.0, index=names, columns=names)
    for one in names:
        for other in names:
            both = partitions[one].index.intersection(partitions[other].index)
            table.loc[one, other] = adjusted_rand_score(partitions[one][both], partitions[other][both])
    return table


def keep_groups(
    run: Run, groups: Groups, embedding: pd.DataFrame, features: pd.DataFrame, *, covariates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Write phenotypes.csv, and phenotypes.json: how the groups and the picture were made, with versions.

    Returns
    -------
    DataFrame
        participant_id, group, membership, distance, like_none, umap_1, umap_2.
    """
    assigned = groups.assign(features, covariates=covariates).drop(columns="group")
    table = embedding.join(groups.labels).join(assigned).reset_index(names="participant_id")
    table = table[["participant_id", "group", "membership", "distance", "like_none", "umap_1", "umap_2"]]
    write_table(run.phenotypes, table)
    stable = {str(group): round(float(value), 4) for group, value in groups.stability.items()}
    numbers = groups.numbers.astype(float).replace({np.nan: None}).reset_index().to_dict("records")
    record = {
        "verdict": verdict(groups), "groups": groups.n_groups, "chosen_by_the_data": groups.chosen,
        "method": groups.method, "p_one_cloud": groups.p, "jaccard": stable, "numbers": numbers,
        "indices": list(groups.space.columns),
        "adjusted_for": list(groups.space.adjusted_for),
        "versions": {name: version(name) for name in ("umap-learn", "scikit-learn", "numpy")},
    }  # fmt: skip
    write_json(run.phenotypes_record, record)
    return table
