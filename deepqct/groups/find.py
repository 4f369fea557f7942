"""Patient groups on the HR-pQCT indices, and which of them a new patient belongs to.

The preprint reports two groups (Chen 2024); its method is not public, so every choice here is ours. Women are grouped
by the first principal components of their transformed indices: many indices say nearly the same, and components count
once what indices share. The number of groups does not depend on the method that draws them: a test against one cloud
decides whether there is more than one, and the gap statistic decides how many. The BIC of mixtures with one shared
covariance does not decide: it cuts groups of different shapes into too many, six on the iris and on the wine data.
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
    rand_indices,
    stability,
)
from deepqct.groups.space import COMPONENTS, Space, by_density, distances, far_out, fit_space, shape_of, varying_columns
from deepqct.scans.shown import card
from deepqct.terms import BONES
from deepqct.work import Progress

LEVEL = 0.05  # significance level of the test against one cloud; our choice
FEWEST = 10  # with fewer women than this, groups are not looked for; our choice


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of patients, and what is needed to assign new patients to them.

    Parameters
    ----------
    n_groups : int
        Number of groups; 1 if the data are one cloud.
    labels : Series of int
        The group of each woman, 1 to n_groups, by participant_id; group 1 has the highest mean Tt.vBMD.
    stability : Series
        Mean bootstrap Jaccard of each group; empty if there is one group or there were no resamples.
    consensus : DataFrame
        Share of resamples that put two women into one group, of at most 2,000 women; empty where `stability` is.
    numbers : DataFrame
        silhouette, gap, gap_se, bic; one row for each number of groups.
    p : float
        P value of one Gaussian cloud against two; NaN if there were too few women to ask.
    chosen : bool
        True if the data chose the number, False if it was asked for.
    method : str
        The method that drew the groups.
    space : Space
        The space in which the women were grouped.
    fitted, order
        The fitted mixture or the groups' centres, and what it calls the groups 1 to n_groups, counted from 0.
    shape, far
        The groups' means and shrunken precision in all indices, and the distance beyond which a woman is like none of
        them.
    draws : int
        Number of random clouds that `p` rests on.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> new = pd.DataFrame({"radius Tt.vBMD": [305, 900]})
    >>> dq.find_groups(features, draws=19, bootstraps=0).assign(new)[["group", "like_none"]].to_numpy().tolist()
    [[1, False], [1, True]]
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
    draws: int = 0

    def __repr__(self) -> str:
        """Say how many groups of how many women there are, and why; no table is shown."""
        why = "by the data" if self.chosen else "asked for"
        sizes = ", ".join(str(size) for size in self.labels.value_counts().sort_index())
        return f"Groups({self.n_groups} {why}: {sizes} of {len(self.labels)} women; {self.method}, p {self.p:.2g})"

    def _repr_html_(self) -> str:
        """The verdict, the sizes and what to call next, for a notebook; no woman's row is shown."""
        sizes = ", ".join(f"{size} in group {group}" for group, size in self.labels.value_counts().sort_index().items())
        rows = {"women": sizes, "method": self.method, "indices": len(self.space.columns), "verdict": verdict(self)}
        then = {
            "dq.groups.z_means(groups, features)": "says how the groups differ",
            "groups.assign(her_indices)": "gives the group of a new woman",
        }
        return card("Groups", rows, then=then)

    def assign(self, new_features: pd.DataFrame, *, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Assign each new patient to a group, and tell how sure that is and whether she is like none of the groups.

        Parameters
        ----------
        new_features : DataFrame
            One row a patient, with the indices that the groups were found on; missing values are allowed.
        covariates : DataFrame, optional
            One row a patient; needed if the indices were adjusted for covariates.

        Returns
        -------
        DataFrame
            group; membership (0 to 1: the posterior of a mixture, else Bezdek's membership by distance); distance
            (Mahalanobis distance to the group in all indices, by a shrunken covariance); like_none (True if she lies
            farther out than 99 of 100 of the grouped women, each measured from groups computed without her).

        Raises
        ------
        ValueError
            If a column that the groups were found on, or a covariate, is not there.
        """
        z = self.space.standardise(new_features, covariates=covariates)
        share = memberships(self.space.scores(z), self.fitted)[:, self.order]
        group = share.argmax(axis=1)
        distance = distances(z.to_numpy(), group, self.shape)
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
    """Find groups of patients, as many as the data support.

    Parameters
    ----------
    features : DataFrame
        One row a patient, indexed by participant_id, one column an index; missing values are allowed.
    max_groups : int
        The largest number of groups that is tried.
    seed : int
        Seed of everything random.
    groups : int, optional
        The number of groups, if the data should not choose it.
    method : {"mixture", "k-means", "ward", "fuzzy c-means"}
        The method that draws the groups; "mixture" is of Gaussians with one shared covariance.
    components : int
        Number of principal components in which the groups are drawn.
    covariates : DataFrame, optional
        Columns such as age and height, one row a patient; what they explain linearly is taken out of every index first.
    draws, bootstraps : int
        Number of clouds drawn for the test against one cloud, and of resamples for the stability (0 for none).
    progress : callable, optional
        Called with the number of clouds and resamples done, and their total.

    Returns
    -------
    Groups
        The groups; one group if no number is asked for and the test does not reject one cloud. In fewer than 10 patients
        nothing is tested, and they are one group.

    Raises
    ------
    ValueError
        If there are too few patients for the number of groups, too few that differ, or no index that varies; if the
        method is unknown, or leaves a group empty.

    References
    ----------
    Fuzzy c-means and k-means on HR-pQCT: Whittier 2022 (doi:10.1002/jbmr.4494), Westbury 2019 (PMC6694037).

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> groups = dq.find_groups(features, draws=19, bootstraps=0)
    >>> groups.n_groups, groups.labels.tolist()
    (2, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    """
    if method not in METHODS:
        raise ValueError(f"The method of grouping is {method!r}; use one of {', '.join(METHODS)}.")
    features = features.sort_index()
    n = len(features)
    if groups is not None and not 1 <= groups < n:
        raise ValueError(f"groups is {groups} for {n} patients; at least 1, and fewer than patients, are needed.")
    if n < FEWEST and groups is not None:
        raise ValueError(f"groups is {groups} for {n} patients; groups are drawn in {FEWEST} or more, leave it out.")
    with threadpool_limits(1):  # thousands of fits on a few hundred rows: threads would only wait for each other
        return _find(
            features, most=max_groups, seed=seed, groups=groups, method=method, components=components,
            covariates=covariates, draws=draws, bootstraps=bootstraps, progress=progress,
        )  # fmt: skip


def _find(
    features: pd.DataFrame, *, most: int, seed: int, groups: int | None, method: str, components: int,
    covariates: pd.DataFrame | None, draws: int, bootstraps: int, progress: Progress | None,
) -> Groups:  # fmt: skip
    """What `find_groups` does once the patients are sorted and counted."""
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
    if n < FEWEST:
        p, n_groups = float("nan"), 1
    else:
        p = one_cloud_p(scores, draws=draws, seed=seed, progress=progress, total=draws + bootstraps)
        n_groups = groups or (1 if p > LEVEL or most < 2 else number_by_gap(numbers))
    raw, fitted = partition(scores, groups=n_groups, method=method, seed=seed)
    if len(np.unique(raw)) < n_groups:
        raise ValueError(f"The {method} of {n_groups} groups leaves one empty; ask for fewer.")
    order = by_density(z, raw)
    labels = np.argsort(order)[raw]
    jaccard, consensus = pd.Series(dtype=float), pd.DataFrame()
    if n_groups > 1 and bootstraps:
        few = crowd(n, seed=seed)
        similar, together = stability(
            scores[few], labels[few], method=method, bootstraps=bootstraps, seed=seed, progress=progress, before=draws
        )
        jaccard = pd.Series(similar, index=range(1, n_groups + 1))
        consensus = pd.DataFrame(together, index=z.index[few], columns=z.index[few])
    elif progress is not None:
        progress(draws + bootstraps, draws + bootstraps)  # one group has no stability
    values = z.to_numpy()
    return Groups(
        n_groups=n_groups, labels=pd.Series(labels + 1, index=z.index, name="group"),
        stability=jaccard.rename("jaccard").rename_axis("group"), consensus=consensus, numbers=numbers, p=p,
        chosen=groups is None, method=method, space=space, fitted=fitted, order=order,
        shape=shape_of(values, labels), far=far_out(values, labels, seed=seed), draws=draws,
    )  # fmt: skip


def agreement_between_methods(groups: Groups, features: pd.DataFrame, *, seed: int = 0, covariates: Any = None) -> Any:
    """Adjusted Rand index between the groups that each method draws.

    Every method draws as many groups as were found, or two if one was found.

    Parameters
    ----------
    groups, features
        The groups as `find_groups` returns them, and the indices that they were found on.
    seed, covariates
        As for `find_groups`.

    Returns
    -------
    DataFrame
        One row and one column a method; 1 for the same groups, 0 for an agreement as by chance.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> groups = dq.find_groups(features, draws=19, bootstraps=0)
    >>> dq.groups.agreement_between_methods(groups, features).loc["mixture"].round(2).to_dict()
    {'mixture': 1.0, 'k-means': 1.0, 'ward': 1.0, 'fuzzy c-means': 1.0}
    """
    z = groups.space.standardise(features.sort_index(), covariates=covariates)
    scores, k = groups.space.scores(z), max(2, groups.n_groups)
    return rand_indices(
        {name: pd.Series(partition(scores, groups=k, method=name, seed=seed)[0], z.index) for name in METHODS}
    )


def agreement_between_bones(
    groups: Groups, features: pd.DataFrame, *, seed: int = 0, covariates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Adjusted Rand index between the groups that are drawn for each bone separately, and those of all bones together.

    For each bone as many groups are drawn as were found, or two if one was found.

    Parameters
    ----------
    groups, features
        The groups as `find_groups` returns them, and the indices that they were found on.
    seed : int
        Seed of the method.
    covariates : DataFrame, optional
        Those that the groups were found with; each bone is adjusted for them too.

    Returns
    -------
    DataFrame
        One row and one column a bone, and ``all`` for the groups that were found if there are two or more; each value
        is of the women whom both have. Bones with fewer than 10 women, or with fewer who differ than groups, are left
        out.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> both = features.assign(**{"ulna Tt.vBMD": [210, 110, 205, 105, 202, 103, 208, 112, 104, 206]})
    >>> groups = dq.find_groups(features, draws=19, bootstraps=0)
    >>> dq.groups.agreement_between_bones(groups, both).loc["all"].round(2).to_dict()
    {'all': 1.0, 'radius': 1.0, 'ulna': -0.08}
    """
    features = features.sort_index()
    present = dict.fromkeys(str(column).split(" ")[0] for column in features)
    bones = [bone for bone in BONES if bone in present] + [bone for bone in present if bone not in BONES]
    partitions = {"all": groups.labels} if groups.n_groups > 1 else {}
    for bone in bones:
        of_bone = features[[column for column in features if str(column).startswith(f"{bone} ")]].dropna(how="all")
        varying = varying_columns(of_bone)
        different = len(of_bone[varying].drop_duplicates()) if varying else 1
        if len(of_bone) < FEWEST or different < max(2, groups.n_groups):
            continue
        space = fit_space(of_bone, varying, components=COMPONENTS, covariates=covariates)
        scores = space.scores(space.standardise(of_bone, covariates=covariates))
        raw = partition(scores, groups=max(2, groups.n_groups), method=groups.method, seed=seed)[0]
        partitions[bone] = pd.Series(raw, of_bone.index)
    return rand_indices(partitions)


def verdict(groups: Groups) -> str:
    """Say in a few sentences whether the data support the groups and how stable these are.

    Parameters
    ----------
    groups : Groups
        As `find_groups` returns them.

    Returns
    -------
    str
        The sentences, with the p value, the sizes of the groups and their lowest bootstrap Jaccard.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> print(dq.groups.verdict(dq.find_groups(features, draws=19, bootstraps=0)))
    Against 19 Gaussian clouds of the data's covariance, two groups have p = 0.050 (n = 10).
    There are 2 groups of 5, 5 women.
    """
    if np.isnan(groups.p):
        return (
            f"Groups are looked for in {FEWEST} women or more, and here are {len(groups.labels)}: they stay one group."
        )
    n, p = len(groups.labels), f"p = {groups.p:.3f}" if groups.p >= 0.001 else "p < 0.001"
    tested = f"Against {groups.draws} Gaussian clouds of the data's covariance, two groups have {p} (n = {n})."
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
    """Mean of each standardised index in each group.

    Parameters
    ----------
    groups, features, covariates
        The groups as `find_groups` returns them, and the indices and covariates that they were found on.

    Returns
    -------
    DataFrame
        One row a group, one column an index, in standard deviations from the mean of all women.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> groups = dq.find_groups(features, draws=19, bootstraps=0)
    >>> dq.groups.z_means(groups, features).round(1).to_dict()
    {'radius Tt.vBMD': {1: 1.0, 2: -1.0}}
    """
    z = groups.space.standardise(features, covariates=covariates)
    return z.groupby(groups.labels).mean().rename_axis("group")


def keep_groups(
    run: Run, groups: Groups, embedding: pd.DataFrame, features: pd.DataFrame, *, covariates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Write the groups to phenotypes.csv, and how they and the picture were made to phenotypes.json.

    Parameters
    ----------
    run : Run
        Receives both files.
    groups, features, covariates
        The groups as `find_groups` returns them, and the indices and covariates that they were found on.
    embedding : DataFrame
        umap_1 and umap_2 of the same patients, as `embed` returns them.

    Returns
    -------
    DataFrame
        participant_id, group, membership, distance, like_none, umap_1, umap_2; one row a patient.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd, pathlib, tempfile
    >>> features = pd.DataFrame({"radius Tt.vBMD": [310, 320, 330, 300, 315, 150, 160, 170, 155, 140]})
    >>> run, groups = dq.Run(pathlib.Path(tempfile.mkdtemp())), dq.find_groups(features, draws=19, bootstraps=0)
    >>> picture = dq.groups.embed(groups.space.standardise(features), neighbours=5)
    >>> dq.groups.keep_groups(run, groups, picture, features)["group"].value_counts().to_dict()
    {1: 5, 2: 5}
    """
    assigned = groups.assign(features, covariates=covariates).drop(columns="group")
    table = embedding.join(groups.labels).join(assigned).reset_index(names="participant_id")
    table = table[["participant_id", "group", "membership", "distance", "like_none", "umap_1", "umap_2"]]
    write_table(run.phenotypes, table)
    stable = {str(group): round(float(value), 4) for group, value in groups.stability.items()}
    numbers = groups.numbers.astype(float).replace({np.nan: None}).reset_index().to_dict("records")
    record = {
        "verdict": verdict(groups), "groups": groups.n_groups, "chosen_by_the_data": groups.chosen,
        "method": groups.method, "p_one_cloud": None if np.isnan(groups.p) else groups.p, "jaccard": stable,
        "numbers": numbers, "indices": list(groups.space.columns),
        "adjusted_for": list(groups.space.adjusted_for),
        "versions": {name: version(name) for name in ("umap-learn", "scikit-learn", "numpy")},
    }  # fmt: skip
    write_json(run.phenotypes_record, record)
    return table
