"""A picture of the patients, by UMAP: nothing is computed from it."""

from __future__ import annotations

import pandas as pd


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
