"""Patient groups: how often planted ones are found and one cloud is left alone, public tables, and time.

`make bench-groups`; virtual women's drawn indices, without scans, so that this takes minutes.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd
from measure import table
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from deepqct.groups import METHODS, agreement_between_methods, find_groups
from deepqct.terms import BONES
from deepqct.virtual import draw_women

SEEDS, WOMEN = 10, 216


def drawn(*, separation: float, seed: int, n: int = WOMEN) -> tuple[pd.DataFrame, pd.Series]:
    """Indices of virtual women as their scans are made from, and their phenotypes."""
    women = draw_women(n, scenario="deepqct-like", seed=seed, separation=separation).set_index("participant_id")
    indices = [c for c in women if str(c).split(" ")[0] in BONES and not str(c).endswith("hidden")]
    return women[indices], women["phenotype"]


def planted() -> None:
    """Two phenotypes at several distances."""
    rows: list[list[object]] = []
    for separation in (0.0, 2.0, 3.0, 4.0):
        numbers, agreement, jaccard = [], [], []
        for seed in range(SEEDS):
            features, truth = drawn(separation=separation, seed=seed)
            groups = find_groups(features, seed=seed, bootstraps=50)
            numbers.append(groups.n_groups)
            agreement.append(adjusted_rand_score(truth[groups.labels.index], groups.labels))
            jaccard += list(groups.stability)
        counted = ", ".join(f"{k}: {numbers.count(k)}" for k in sorted(set(numbers)))
        rows.append([separation, counted, f"{np.mean(agreement):.2f}", f"{np.min(agreement):.2f}",
                     f"{np.min(jaccard):.2f}" if jaccard else "–"])  # fmt: skip
    header = ["SDs apart", "number chosen: how often", "mean adjusted Rand", "lowest", "lowest Jaccard"]
    table(f"{WOMEN} virtual women, {SEEDS} seeds.", header, rows)


def public() -> None:
    """Public tables beside scikit-learn's plain calls, which are told the number of classes."""
    rows: list[list[object]] = []
    for name, load in (("iris", load_iris), ("wine", load_wine), ("breast cancer", load_breast_cancer)):
        found = load(as_frame=True)
        features, truth = found.data.set_axis([f"row-{i:04d}" for i in range(len(found.data))]), found.target.to_numpy()
        k, z = len(np.unique(truth)), StandardScaler().fit_transform(features)
        groups, told = find_groups(features, bootstraps=50), find_groups(features, groups=k, draws=1, bootstraps=0)
        ours = [f"{adjusted_rand_score(truth, part.labels):.2f}" for part in (groups, told)]
        plain = [KMeans(k, n_init=10, random_state=0).fit_predict(z),
                 GaussianMixture(k, n_init=10, random_state=0).fit_predict(z)]  # fmt: skip
        theirs = [f"{adjusted_rand_score(truth, labels):.2f}" for labels in plain]
        rows.append([name, k, groups.n_groups, f"{groups.p:.3f}", *ours, *theirs])
    header = ["", "classes", "chosen", "p of one", "Rand", "Rand, told k", "KMeans, told k", "GaussianMixture, told k"]
    table("Public tables.", header, rows)


def speed() -> None:
    """All methods with 200 bootstraps on 216 women of 60 indices, and a crowd."""
    features, _ = drawn(separation=3.0, seed=0)
    noisy = features + np.random.default_rng(0).standard_normal(features.shape) * features.std().to_numpy()
    sixty = features.join(noisy.add_suffix(" again")).iloc[:, :60]
    start = time.perf_counter()
    for method in METHODS:
        groups = find_groups(sixty, method=method)
    agreement_between_methods(groups, sixty)
    rows: list[list[object]] = [[f"{len(sixty)} × {sixty.shape[1]}, four methods, 200 bootstraps each",
                                 f"{time.perf_counter() - start:.0f}"]]  # fmt: skip
    features, truth = drawn(separation=3.0, seed=0, n=20_000)
    for method in METHODS:
        start = time.perf_counter()
        groups = find_groups(features, method=method)
        seconds, rand = time.perf_counter() - start, adjusted_rand_score(truth[groups.labels.index], groups.labels)
        rows.append(
            [f"20,000 × {features.shape[1]}, {method}: {groups.n_groups} groups, Rand {rand:.2f}", f"{seconds:.0f}"]
        )
    table("Time.", ["", "s"], rows)


def main() -> None:
    """One part or all."""
    parts = {"planted": planted, "public": public, "speed": speed}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=parts)
    for part in parser.parse_args().part or parts:
        parts[part]()


if __name__ == "__main__":
    sys.exit(main())
