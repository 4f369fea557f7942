"""Patient groups on the HR-pQCT indices, a picture of them, and how they differ.

k-means on standardised indices; UMAP is a picture only. The preprint reports two groups (Chen 2024); its method is not
public, so the method here is our choice. k-means returns groups whether or not there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deepqct.cohort import columns_by_role, run_outcome
from deepqct.families import headline
from deepqct.folder import Run, read_json, read_table, write_table


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of patients.

    Parameters
    ----------
    n_groups : int
        How many.
    labels : Series of int
        1 … n_groups by participant_id; group 1 has the highest mean Tt.vBMD.
    silhouette : Series
        Mean silhouette for each number of groups that was tried; it shows, it does not test, that there are groups.
    centres : DataFrame
        The group means in the standardised features.
    median, mean, scale : Series
        How features are imputed and standardised.
    """

    n_groups: int
    labels: pd.Series
    silhouette: pd.Series
    centres: pd.DataFrame
    median: pd.Series
    mean: pd.Series
    scale: pd.Series

    def standardise(self, features: pd.DataFrame) -> pd.DataFrame:
        """Features as the groups were found on: imputed by the median, mean 0, SD 1."""
        return (features[self.mean.index].fillna(self.median) - self.mean) / self.scale

    def assign(self, new_features: pd.DataFrame) -> pd.Series:
        """The group whose centre is nearest to each new patient.

        Raises
        ------
        ValueError
            If a column that the groups were found on is not there.
        """
        absent = [column for column in self.mean.index if column not in new_features]
        if absent:
            raise ValueError(
                f"The new features lack {absent[0]!r}, which the groups were found on; add it, empty if unknown."
            )
        z = self.standardise(new_features).to_numpy()
        distance = np.linalg.norm(z[:, None] - self.centres.to_numpy()[None], axis=2)
        return pd.Series(self.centres.index.to_numpy()[distance.argmin(axis=1)], index=new_features.index, name="group")


def find_groups(features: pd.DataFrame, *, groups: int = 2, max_groups: int = 6, seed: int = 0) -> Groups:
    """k-means groups of patients.

    Parameters
    ----------
    features : DataFrame
        One row a patient, indexed by participant_id; missing values are replaced by the median.
    groups : int
        Their number; 2, as the preprint reports.
    max_groups : int
        The largest number for which a silhouette is shown.
    seed : int
        Of the starting points.

    Returns
    -------
    Groups

    Raises
    ------
    ValueError
        If there are too few patients for the number of groups, or too few that differ.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    max_groups = min(max(groups, max_groups), len(features) - 1)
    if not 2 <= groups <= max_groups:
        raise ValueError(
            f"groups is {groups} for {len(features)} patients; at least 2, and fewer than patients, are needed."
        )
    z, median, mean, scale = _standardise(features)
    different = len(z.drop_duplicates()) if len(z.columns) else 1
    if different < groups:
        raise ValueError(f"groups is {groups}, but only {different} of {len(z)} patients differ; check the indices.")
    max_groups = min(max_groups, different)
    fits = {k: KMeans(k, n_init=20, random_state=seed).fit(z) for k in range(2, max_groups + 1)}
    silhouette = pd.Series({k: float(silhouette_score(z, fit.labels_)) for k, fit in fits.items()}, name="silhouette")
    centres = pd.DataFrame(fits[groups].cluster_centers_, columns=z.columns)
    density = [column for column in centres if str(column).endswith("Tt.vBMD")] or list(centres.columns)
    order = centres[density].mean(axis=1).sort_values(ascending=False).index
    rank = {int(old): new for new, old in enumerate(order, start=1)}
    labels = pd.Series([rank[label] for label in fits[groups].labels_], index=z.index, name="group")
    centres = centres.loc[order].set_axis(range(1, groups + 1))
    return Groups(groups, labels, silhouette, centres, median, mean, scale)


def embed(features: pd.DataFrame, *, seed: int = 0, neighbours: int = 15) -> pd.DataFrame:
    """UMAP of the standardised features, a picture: nothing is computed from it.

    Parameters
    ----------
    features : DataFrame
        As in `find_groups`.
    seed : int
        One seed gives one picture on one machine, not across systems.
    neighbours : int
        UMAP's neighbourhood, at most the number of patients less one.

    Returns
    -------
    DataFrame
        umap_1, umap_2, indexed by participant_id.

    References
    ----------
    McInnes L et al. (2018), arXiv:1802.03426.
    """
    from umap import UMAP

    z, *_ = _standardise(features)
    # A start from the spectrum needs more patients than a smoke test has.
    start = "spectral" if len(z) > 30 else "random"
    fit = UMAP(n_neighbors=min(neighbours, len(z) - 1), random_state=seed, n_jobs=1, init=start)
    return pd.DataFrame(fit.fit_transform(z.to_numpy()), columns=["umap_1", "umap_2"], index=z.index)


def z_means(groups: Groups, features: pd.DataFrame) -> pd.DataFrame:
    """Mean standardised index of each group: one row a group."""
    return groups.standardise(features).groupby(groups.labels).mean().rename_axis("group")


def compare_groups(labels: pd.Series, table: pd.DataFrame, *, clustered: set[str]) -> pd.DataFrame:
    """How the last group differs from the others, variable by variable.

    Parameters
    ----------
    labels : Series of int
        The group of each patient; the last group has the lowest density.
    table : DataFrame
        Variables by patient; those with only 0 and 1 are compared as shares.
    clustered : set of str
        Columns that took part in the clustering; they get neither p value nor interval, since they differ by construction.

    Returns
    -------
    DataFrame
        variable, one column a group (mean (SD) or n (%)), effect, low, high, kind (odds ratio; difference in SD), p, q, n.
        Odds ratios by Woolf with Haldane's half, none where nobody or everybody has it; p by Fisher or Welch; q by
        Benjamini and Hochberg.
    """
    rows = []
    names = sorted(labels.unique())
    for column in table.columns:
        values = table[column].reindex(labels.index)
        there = values.notna()
        last = labels == names[-1]
        row: dict[str, Any] = {"variable": column}
        binary = set(values.dropna().unique()) <= {0.0, 1.0}
        for name in names:
            row[f"group {name}"] = _in_words(values[there & (labels == name)], binary=binary)
        a, b = values[there & last], values[there & ~last]
        row |= _odds_ratio(a, b) if binary else _difference(a, b)
        if column in clustered:
            row |= {"low": np.nan, "high": np.nan, "p": np.nan}
        rows.append(row | {"n": int(there.sum())})
    result = pd.DataFrame(rows)
    tested = result["p"].notna()
    result["q"] = np.nan
    if tested.any():
        result.loc[tested, "q"] = stats.false_discovery_control(result.loc[tested, "p"])
    order = ["variable", *(f"group {name}" for name in names), "effect", "low", "high", "kind", "p", "q", "n"]
    return result[order]


def keep_groups(run: Run, groups: Groups, embedding: pd.DataFrame) -> pd.DataFrame:
    """Write phenotypes.csv: participant_id, group, umap_1, umap_2."""
    table = embedding.join(groups.labels).reset_index(names="participant_id")
    table = table[["participant_id", "group", "umap_1", "umap_2"]]
    write_table(run.phenotypes, table)
    return table


def keep_comparison(run: Run, phenotypes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Write group_comparison.csv: outcome, risk, clinical factors, bone density, and the clustered indices."""
    dictionary = read_json(run.dictionary)
    outcome = run_outcome(run)
    roles = [*columns_by_role(dictionary, "clinical"), *columns_by_role(dictionary, "bmd")]
    table = read_table(run.participants).set_index("participant_id")[roles].astype(float)
    table.insert(0, str(outcome.name), outcome.astype(float))
    predictions = read_table(run.require(run.predictions, written_by="03_fusion_and_baselines"))
    held_out = predictions[(predictions["family"] == "DeepQCT") & (predictions["split"] == "out-of-fold")]
    # Without clinical factors, which are compared by themselves, and without the indices that made the groups.
    if (fused_name := headline(held_out["model"].unique())) is not None:
        fused = held_out[held_out["model"] == fused_name]
        first = fused[fused["protocol"] == fused["protocol"].iloc[0]]
        table.insert(1, f"DeepQCT risk, {first['model'].iloc[0]}", first.groupby("participant_id")["risk"].mean())
    labels = phenotypes.set_index("participant_id")["group"]
    comparison = compare_groups(labels, table.join(features), clustered=set(features.columns))
    write_table(run.group_comparison, comparison)
    return comparison


def _standardise(features: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, pd.Series, pd.Series]:
    """Features that vary, imputed by the median, with mean 0 and SD 1, in the order of the ids; and how to do it again."""
    table = features.sort_index()
    # The SD of a constant column is not always 0 in floating point.
    table = table.loc[:, table.std() > 1e-9 * table.abs().max()]
    median = table.median()
    filled = table.fillna(median)
    mean, scale = filled.mean(), filled.std()
    return (filled - mean) / scale, median, mean, scale


def _in_words(values: pd.Series, *, binary: bool) -> str:
    """N (%) or mean (SD)."""
    if values.empty:
        return "–"
    if binary:
        return f"{int(values.sum())}/{len(values)} ({100 * values.mean():.0f} %)"
    return f"{values.mean():.3g} ({values.std():.2g})"


def _odds_ratio(a: pd.Series, b: pd.Series) -> dict[str, Any]:
    """Odds ratio of `a` against `b` with its 95 % interval, and Fisher's p."""
    cells = np.array([[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]])
    if not (cells.sum(axis=0).all() and cells.sum(axis=1).all()):
        return {"effect": np.nan, "low": np.nan, "high": np.nan, "kind": "odds ratio", "p": np.nan}
    (w, x), (y, z) = cells + 0.5
    half = stats.norm.ppf(0.975) * np.sqrt(1 / w + 1 / x + 1 / y + 1 / z)
    log = np.log(w * z / (x * y))
    p = stats.fisher_exact(cells.astype(int)).pvalue
    return {"effect": np.exp(log), "low": np.exp(log - half), "high": np.exp(log + half), "kind": "odds ratio", "p": p}


def _difference(a: pd.Series, b: pd.Series) -> dict[str, Any]:
    """Standardised difference of `a` from `b` with its 95 % interval (Hedges and Olkin), and Welch's p."""
    kind = "difference in SD"
    if min(len(a), len(b)) < 3:
        return {"effect": np.nan, "low": np.nan, "high": np.nan, "kind": kind, "p": np.nan}
    pooled = np.sqrt(((len(a) - 1) * a.var() + (len(b) - 1) * b.var()) / (len(a) + len(b) - 2))
    if pooled == 0:
        return {"effect": 0.0, "low": np.nan, "high": np.nan, "kind": kind, "p": np.nan}
    d = (a.mean() - b.mean()) / pooled
    half = stats.norm.ppf(0.975) * np.sqrt(1 / len(a) + 1 / len(b) + d**2 / (2 * (len(a) + len(b))))
    return {
        "effect": d,
        "low": d - half,
        "high": d + half,
        "kind": kind,
        "p": stats.ttest_ind(a, b, equal_var=False).pvalue,
    }
