"""A picture of the patients, by UMAP: nothing is computed from it."""

from __future__ import annotations

import pandas as pd


def embed(z: pd.DataFrame, *, seed: int = 0, neighbours: int = 15) -> pd.DataFrame:
    """Place patients in a plane by UMAP of their standardised indices.

    Parameters
    ----------
    z : DataFrame
        One row a patient, standardised and complete, as `Space.standardise` returns them.
    seed : int
        Seed of UMAP; one seed gives the same picture each time on one machine, but not on another system.
    neighbours : int
        Size of UMAP's neighbourhood; limited to the number of patients less one.

    Returns
    -------
    DataFrame
        umap_1 and umap_2 (no unit), one row a patient, sorted by the index of `z`.

    References
    ----------
    McInnes L et al. (2018), arXiv:1802.03426.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> z = pd.DataFrame({"radius Tt.vBMD": [-1.5, -1, -0.5, 0, 0, 0.5, 1, 1.5], "radius Tb.N": [1, -1] * 4})
    >>> picture = dq.groups.embed(z, neighbours=3)
    >>> list(picture), len(picture)
    (['umap_1', 'umap_2'], 8)
    """
    from umap import UMAP

    z = z.sort_index()
    # UMAP's spectral start needs more patients than a small test run has.
    start = "spectral" if len(z) > 30 else "random"
    fit = UMAP(n_neighbors=min(neighbours, len(z) - 1), random_state=seed, n_jobs=1, init=start)
    return pd.DataFrame(fit.fit_transform(z.to_numpy()), columns=["umap_1", "umap_2"], index=z.index)


def several(z: pd.DataFrame, *, seeds: tuple[int, ...], neighbours: tuple[int, ...]) -> pd.DataFrame:
    """Make UMAP pictures with several seeds and neighbourhoods, to show how much one picture depends on both.

    Parameters
    ----------
    z : DataFrame
        Standardised indices, as for `embed`.
    seeds : tuple of int
        Seeds of UMAP.
    neighbours : tuple of int
        Sizes of the neighbourhood; each is limited to the number of patients less one.

    Returns
    -------
    DataFrame
        seed, neighbours, participant_id, umap_1, umap_2; one row a patient and picture.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> z = pd.DataFrame({"radius Tt.vBMD": [-1.5, -1, -0.5, 0, 0, 0.5, 1, 1.5], "radius Tb.N": [1, -1] * 4})
    >>> dq.groups.several(z, seeds=(1, 2), neighbours=(3, 15)).groupby(["seed", "neighbours"]).size().to_dict()
    {(1, 3): 8, (1, 7): 8, (2, 3): 8, (2, 7): 8}
    """
    wanted = [(seed, size) for size in dict.fromkeys(min(size, len(z) - 1) for size in neighbours) for seed in seeds]
    pictures = [
        embed(z, seed=seed, neighbours=size).reset_index(names="participant_id").assign(seed=seed, neighbours=size)
        for seed, size in wanted
    ]
    return pd.concat(pictures, ignore_index=True)[["seed", "neighbours", "participant_id", "umap_1", "umap_2"]]
