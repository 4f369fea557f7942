"""Who is held out: folds and test sets by patient, drawn once and written to splits.csv, which later stages read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepqct.cohort.cohort import Cohort
from deepqct.folder import Run, write_table
from deepqct.run_tables import patient_labels
from deepqct.terms import NUMBER, SAME_PATIENT

PROTOCOLS = ("all", "as-published")
FEWEST_FOLDS = 2  # networks are trained on one part and judged on another


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
    """Draw folds and test sets by patient, stratified by outcome.

    Parameters
    ----------
    outcome : Series of int
        What is stratified by, 0 and 1 for instance, indexed by participant_id (`deepqct.terms.Outcome.strata`: of a
        number its quantile, of a time the event); the order of its rows does not change the splits.
    patients : Series, optional
        Indexed by participant_id; rows of one value stay on one side of every split, and a row without a value is a
        patient by itself.
    protocols : sequence of str
        ``all``: folds over everybody. ``as-published``: a test set first, folds over the rest (Chen 2024: 10 %, 6).
    folds, repeats : int
        Number of folds, and how often they are drawn anew (``as-published`` is drawn once).
    test_fraction : float
        Share of the patients in the test set of ``as-published``.
    seed : int
        Seed of the draw; each protocol and repeat derives its own from it.

    Returns
    -------
    DataFrame
        protocol, repeat, participant_id, fold (text: "0" and so on, or "test").

    Raises
    ------
    ValueError
        If a fold could not hold both outcomes, or a protocol is unknown.

    References
    ----------
    Chen F et al. (2024), medRxiv 2024.04.01.24305147.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> outcome = pd.Series([0, 1] * 6, [f"P{number:02d}" for number in range(12)])
    >>> splits = dq.cohort.make_splits(outcome, protocols=["all"], folds=3)
    >>> splits["fold"].value_counts().sort_index().to_dict()
    {'0': 4, '1': 4, '2': 4}
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    together = patient_labels(outcome.index, patients)
    # Drawn over patients; a patient counts as an event if one of her rows does.
    labels = outcome.astype(int).groupby(together).max().sort_index()
    strata = sorted({0, 1, *outcome.astype(int)})
    fewest = int(labels.value_counts().reindex(strata, fill_value=0).min())
    if fewest < folds:
        mend = f"set folds={fewest}" if fewest >= FEWEST_FOLDS else "add patients"
        mend += " or lower" if fewest > FEWEST_FOLDS else ""
        raise ValueError(
            f"{folds} folds need at least {folds} patients of each outcome, and the rarer one has {fewest}; {mend}."
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
                size = max(int(test_fraction * len(labels)), len(strata))
                left = len(labels) - size
                if left >= len(strata):  # one patient of each outcome
                    kept, _ = train_test_split(labels.index, test_size=size, stratify=labels, random_state=draw)
                    rest = labels.loc[sorted(kept)]
                    left = int(rest.value_counts().reindex(strata, fill_value=0).min())
                if left < folds:
                    raise ValueError(
                        f"The test set of {protocol!r} takes {size} of {len(labels)} patients and leaves {left} of the "
                        f"rarer outcome for {folds} folds; set protocols=all{', or a smaller test_fraction' * (size > 2)}."
                    )
            draws = StratifiedKFold(folds, shuffle=True, random_state=draw).split(np.zeros(len(rest)), rest)
            for number, (_, held_out) in enumerate(draws):
                fold.loc[rest.index[held_out]] = str(number)
            of_each = together.sort_index().map(fold)
            columns = {"participant_id": of_each.index, "fold": of_each.to_numpy()}
            tables.append(pd.DataFrame({"protocol": protocol, "repeat": repeat, **columns}))
    return pd.concat(tables, ignore_index=True)


def keep_splits(
    cohort: Cohort, run: Run, *, protocols: str, folds: int, repeats: int, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Draw the splits of a cohort, write them to splits.csv, and count the patients and events of each fold.

    Parameters
    ----------
    cohort : Cohort
        The checked cohort.
    run : Run
        Receives splits.csv.
    protocols : str
        Names of the protocols with commas between them, such as ``all, as-published``.
    folds, repeats, test_fraction, seed
        As for `make_splits`.

    Returns
    -------
    DataFrame
        One row a fold: protocol, repeat, fold, patients, events; of a number, its mean in place of the events.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> cohort, run = dq.load_cohort(dq.run.example_run().virtual / "cohort"), dq.Run(Path(tempfile.mkdtemp()))
    >>> drawn = {"folds": 2, "repeats": 1, "test_fraction": 0.1, "seed": 7}
    >>> dq.cohort.keep_splits(cohort, run, protocols="all", **drawn)[["fold", "patients", "events"]].to_dict("records")
    [{'fold': '0', 'patients': 6, 'events': 2}, {'fold': '1', 'patients': 6, 'events': 3}]
    """
    people = cohort.participants.set_index("participant_id")
    target = cohort.target
    names = [name.strip() for name in protocols.split(",")]
    splits = make_splits(
        target.strata(folds), patients=people.get(SAME_PATIENT), protocols=names, folds=folds, repeats=repeats,
        test_fraction=test_fraction, seed=seed,
    )  # fmt: skip
    write_table(run.splits, splits)
    value = target.values if target.kind == NUMBER else target.groups
    counted = splits.assign(value=splits["participant_id"].map(value)).groupby(["protocol", "repeat", "fold"])["value"]
    if target.kind == NUMBER:
        return counted.agg(patients="size", mean="mean").reset_index()
    return counted.agg(patients="size", events="sum").astype(int).reset_index()
