"""A picture of the patients, by UMAP: nothing is computed from it."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pandas as pd

from deepqct.folder import Run, write_json, write_table
from deepqct.phenotypes import Groups, verdict


def embed(z: pd.DataFrame, *, seed: int = 0, neighbours: int = 15) -> pd.DataFrame:
    """UMAP of standardised indices.

    Parameters
    ----------
    z : DataFrame
        One row a patient, standardised and complete, as `Space.standardise` returns them.
    seed : int
        One seed gives one picture on one machine, not across systems.
    neighbours : int
        UMAP's neighbourhood, at most the number of patients less one.

    Returns
    -------
    DataFrame
        umap_1, umap_2, in the order of the ids.

    References
    ----------
    McInnes L et al. (2018), arXiv:1802.03426.
    """
    from umap import UMAP

    z = z.sort_index()
    # A start from the spectrum needs more patients than a smoke test has.
    start = "spectral" if len(z) > 30 else "random"
    fit = UMAP(n_neighbors=min(neighbours, len(z) - 1), random_state=seed, n_jobs=1, init=start)
    return pd.DataFrame(fit.fit_transform(z.to_numpy()), columns=["umap_1", "umap_2"], index=z.index)


def several(z: pd.DataFrame, *, seeds: tuple[int, ...], neighbours: tuple[int, ...]) -> pd.DataFrame:
    """Pictures of other seeds and neighbourhoods, so that nobody believes one.

    Returns
    -------
    DataFrame
        seed, neighbours, participant_id, umap_1, umap_2.
    """
    wanted = [(seed, size) for size in dict.fromkeys(min(size, len(z) - 1) for size in neighbours) for seed in seeds]
    pictures = [
        embed(z, seed=seed, neighbours=size).reset_index(names="participant_id").assign(seed=seed, neighbours=size)
        for seed, size in wanted
    ]
    return pd.concat(pictures, ignore_index=True)[["seed", "neighbours", "participant_id", "umap_1", "umap_2"]]


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
