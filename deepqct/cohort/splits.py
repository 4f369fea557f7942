"""Who is held out: folds and test sets, drawn once by patient and written to splits.csv, which every later stage reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepqct.cohort.check import Cohort
from deepqct.folder import Run, write_table
from deepqct.run_tables import patient_labels
from deepqct.terms import SAME_PATIENT

PROTOCOLS = ("all", "as-published")


def make_splits(
    outcome: pd.Series,
    *,
    patients: pd.Series | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    folds: int = 6,
    repeats: int = 1,
    test_fraction: float = 0.1,
    seed: int = 7,
) -> pd.DataFrame:
    """The one table of splits: by patient, stratified by outcome.

    Parameters
    ----------
    outcome : Series of 0 and 1
        Indexed by participant_id; its order does not matter.
    patients : Series, optional
        Rows of one value stay on one side of every split; a missing value is a group of its own.
    protocols : tuple of str
        ``all``: folds over everybody. ``as-published``: a test set first, folds over the rest (Chen 2024: 10 %, 6).
    folds, repeats : int
        Number of folds, and how often they are drawn anew.
    test_fraction : float
        Share of the test set of ``as-published``.
    seed : int
        Each protocol and repeat derives its own.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold ("0" … or "test").

    Raises
    ------
    ValueError
        If a fold could not hold both outcomes.

    References
    ----------
    Chen F et al. (2024), medRxiv 2024.04.01.24305147.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    together = patient_labels(outcome.index, patients)
    # Drawn over patients, which count as events if one of theirs is.
    labels = outcome.astype(int).groupby(together).max().sort_index()
    fewest = int(labels.value_counts().reindex([0, 1], fill_value=0).min())
    if fewest < folds:
        raise ValueError(
            f"{folds} folds need at least {folds} patients of each outcome, "
            f"and the rarer one has {fewest}; lower folds."
        )
    tables = []
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"Unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}.")
        for repeat in range(repeats if protocol == "all" else 1):  # as-published is one draw, as in the preprint
            draw = int(np.random.SeedSequence([seed, PROTOCOLS.index(protocol), repeat]).generate_state(1)[0])
            fold = pd.Series("test", index=labels.index)
            rest = labels
            if protocol == "as-published":
                # Rounded down, as the preprint's 21 of 216; at least one patient of each outcome.
                size = max(int(test_fraction * len(labels)), 2)
                kept, _ = train_test_split(labels.index, test_size=size, stratify=labels, random_state=draw)
                rest = labels.loc[sorted(kept)]
            if int(rest.value_counts().min()) < folds:
                raise ValueError(f"{folds} folds are too many beside the test set of {protocol!r}; lower folds.")
            parts = StratifiedKFold(folds, shuffle=True, random_state=draw).split(np.zeros(len(rest)), rest)
            for number, (_, held_out) in enumerate(parts):
                fold.loc[rest.index[held_out]] = str(number)
            own = together.sort_index().map(fold)
            place = {"protocol": protocol, "repeat": repeat, "participant_id": own.index, "fold": own.to_numpy()}
            tables.append(pd.DataFrame(place))
    return pd.concat(tables, ignore_index=True)


def keep_splits(
    cohort: Cohort, run: Run, *, protocols: str, folds: int, repeats: int, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Draw the splits of a cohort, write splits.csv, and count them.

    Returns
    -------
    DataFrame
        protocol, repeat, fold, patients, events.
    """
    people = cohort.participants.set_index("participant_id")
    outcome = people[cohort.outcome]
    names = [name.strip() for name in protocols.split(",")]
    splits = make_splits(
        outcome, patients=people.get(SAME_PATIENT), protocols=names, folds=folds, repeats=repeats,
        test_fraction=test_fraction, seed=seed,
    )  # fmt: skip
    write_table(run.splits, splits)
    counted = splits.assign(event=splits["participant_id"].map(outcome)).groupby(["protocol", "repeat", "fold"])[
        "event"
    ]
    return counted.agg(patients="size", events="sum").astype(int).reset_index()
