"""The tables of a run that its models are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from deepqct.folder import Run, read_json, read_table
from deepqct.run_tables import bones_of, outcome_of, patients_of, wide_indices
from deepqct.scans.shown import card
from deepqct.terms import BONES, STRENGTH_UNITS, YES_NO, Outcome
from deepqct.work import say

STACKING = ("standard", "strict")


@dataclass(frozen=True)
class Tables:
    """The tables of a run that the models are made from.

    Parameters
    ----------
    features : DataFrame
        Indexed by participant_id: the columns of participants.csv, and one column for each bone and index.
    indices : list of str
        The columns of `features` that are indices.
    scores : mapping of str to DataFrame
        For each bone the scores of its networks, scores_<bone>.csv.
    networks : mapping of str to DataFrame
        For each bone with a test set the scores of its patients by each fold's network: protocol, repeat, fold (which
        that network did not see), participant_id, score.
    inner : mapping of str to DataFrame
        For each bone scores of networks that saw neither of two folds, scores_<bone>_inner.csv; empty for standard
        stacking.
    splits : DataFrame
        The folds by protocol and repeat, splits.csv.
    dictionary : mapping
        The completed data dictionary.
    outcome : Series of 0 and 1
        The outcome, indexed by participant_id.
    patients : Series
        Which rows are one patient (`deepqct.run_tables.patients_of`), indexed by participant_id.
    texture : tuple of str
        The columns of `features` that are texture; without any there are no models of texture.
    strength : tuple of str
        The columns of `features` that are strength; without any there are no models of it.
    scanner : Series, optional
        The scanner or centre of each patient, by which indices and texture are cross-calibrated inside the training folds
        (scanners.py).
    target : Outcome, optional
        The outcome with its kind; without it, it is `outcome`, which of a number or a time is two groups of women.
    """

    features: pd.DataFrame
    indices: list[str]
    scores: Mapping[str, pd.DataFrame]
    inner: Mapping[str, pd.DataFrame]
    splits: pd.DataFrame
    dictionary: Mapping[str, Any]
    outcome: pd.Series
    patients: pd.Series
    texture: tuple[str, ...] = ()
    scanner: pd.Series | None = None
    networks: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    strength: tuple[str, ...] = ()
    target: Outcome | None = None

    @property
    def kind(self) -> str:
        """The kind of the outcome: ``yes or no``, ``number`` or ``time``."""
        return YES_NO if self.target is None else self.target.kind

    @property
    def measured(self) -> list[str]:
        """The columns of `features` that were measured in bones: indices, texture and strength."""
        return [*self.indices, *self.texture, *self.strength]

    @property
    def predicted(self) -> Outcome:
        """The outcome that models are fitted to."""
        if self.target is not None and self.target.kind != YES_NO:
            return self.target
        return Outcome(str(self.outcome.name), YES_NO, self.outcome)

    def __repr__(self) -> str:
        """Say how many women, columns and bones there are; no table is shown."""
        scored = ", ".join(self.scores) or "none"
        counted = self.predicted.counted
        return f"Tables({len(self.outcome)} women, {counted}; {len(self.indices)} indices; networks: {scored})"

    def _repr_html_(self) -> str:
        """What the models are made from, in numbers, and what to call next, for a notebook; no woman's row is shown."""
        rows = {
            "women": f"{len(self.outcome)}, {self.predicted.counted}",
            "indices": len(self.indices),
            "texture": len(self.texture),
            "strength": len(self.strength) or "not measured",
            "networks": ", ".join(self.scores) or "none",
            "protocols": ", ".join(self.splits["protocol"].unique()),
        }
        return card("Tables", rows, then={"dq.models.score_sheet(tables)": "fits the fused model on all women"})

    @property
    def strict(self) -> bool:
        """True if fused models come from strict stacking."""
        return bool(self.inner)


def tables(run: Run, *, stacking: str = "standard", cross_calibrate: str = "none") -> Tables:
    """Read the tables of a run that its models are made from.

    Parameters
    ----------
    run : Run
        A run with the tables of the curation and, as far as there are any, the scores of networks.
    stacking : str
        standard, or strict to read the scores of the inner networks too.
    cross_calibrate : str
        none, or the column of participants.csv that says on which scanner or in which centre a patient was scanned.

    Returns
    -------
    Tables
        Features, indices, scores, folds, data dictionary and outcome.

    Raises
    ------
    FileNotFoundError
        If the curation has not run, or if strict stacking has no inner networks.
    ValueError
        If the stacking is neither standard nor strict, or there is no such column.

    Examples
    --------
    >>> import deepqct as dq
    >>> data = dq.models.tables(dq.run.example_run())
    >>> len(data.features), len(data.indices), list(data.scores)
    (12, 68, ['radius', 'tibia'])
    """
    if stacking not in STACKING:
        raise ValueError(f"stacking is {stacking!r}; use one of {', '.join(STACKING)}.")
    participants = read_table(run.require(run.participants, written_by="01_data_curation"))
    measured = read_table(run.indices)
    wide, strong = wide_indices(measured), strength_of(measured)
    if cross_calibrate not in ("none", "", *participants):
        raise ValueError(
            f"cross_calibrate names {cross_calibrate!r}, which the run does not take along; describe that column in "
            "participants.json, or use none."
        )
    texture = wide_indices(read_table(run.require(run.texture, written_by="01_data_curation")))
    scored = [bone for bone in bones_of(run) if run.scores(bone).exists()]
    for bone in set(BONES) - set(bones_of(run)):
        if run.scores(bone).exists():
            say(f"{run.scores(bone).name} is left out, since this run was asked for {', '.join(bones_of(run))}.")
    inner = {}
    if stacking == "strict":
        for bone in scored:
            inner[bone] = read_table(
                run.require(run.inner_scores(bone), written_by="02_train_bone with stacking=strict")
            )
    scores, target = {bone: read_table(run.scores(bone)) for bone in scored}, outcome_of(run)
    return Tables(
        features=participants.set_index("participant_id").join(wide).join(strong).join(texture),
        indices=list(wide.columns),
        texture=tuple(texture.columns),
        strength=tuple(strong.columns),
        scanner=None
        if cross_calibrate in ("none", "")
        else as_names(participants.set_index("participant_id")[cross_calibrate]),
        scores=scores,
        networks={bone: table for bone in scored if (table := _by_network(run, scores[bone], bone=bone)) is not None},
        inner=inner,
        splits=read_table(run.splits),
        dictionary=read_json(run.dictionary),
        outcome=target.groups,
        target=target,
        patients=patients_of(run),
    )


def as_names(column: pd.Series) -> pd.Series:
    """A column of scanners or centres as text: centre 1 is "1" whether or not some woman has none.

    Parameters
    ----------
    column : Series
        As a table has it; a table with an empty cell has its whole numbers with a decimal point.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.models.inputs import as_names
    >>> as_names(pd.Series([1.0, None, 2.0])).tolist()
    ['1', <NA>, '2']
    """
    whole = pd.api.types.is_float_dtype(column) and not (column.dropna() % 1).any()
    return (column.astype("Int64") if whole else column).astype("string")


def strength_of(measured: pd.DataFrame) -> pd.DataFrame:
    """The strength of each woman's bones, one column a bone and value; no column where it was not measured.

    Parameters
    ----------
    measured : DataFrame
        The content of indices.csv.
    """
    values = [name for name in STRENGTH_UNITS if name in measured]
    return wide_indices(measured[["participant_id", "bone", *values]], strength=True).dropna(axis=1, how="all")


def _by_network(run: Run, scores: pd.DataFrame, *, bone: str) -> pd.DataFrame | None:
    """The scores of a bone's test patients by each fold's network, from the files of the folds.

    None if there is no test set, or if the files of the folds were not carried along with the scores.
    """
    test = scores[scores["split"] == "test"]
    folds = scores.loc[scores["split"] == "out-of-fold", ["protocol", "repeat", "fold"]].drop_duplicates()
    found = []
    for protocol, repeat, fold in folds.merge(test[["protocol", "repeat"]].drop_duplicates()).itertuples(index=False):
        path = run.models(bone) / str(protocol) / f"repeat{repeat}" / f"fold{fold}_scores.csv"
        if not path.exists():
            say(f"Risks of the test set will be too timid: {path.relative_to(run.folder)} is missing.")
            return None
        rows = read_table(path)
        found.append(rows[rows["split"] == "test"].assign(protocol=protocol, repeat=repeat, fold=fold))
    if not found:
        return None
    keys = ["protocol", "repeat", "participant_id"]
    table = pd.concat(found, ignore_index=True)[[*keys, "fold", "score"]]
    means = table.groupby(keys)["score"].mean()
    kept = test.set_index(keys)["score"]
    if set(means.index) != set(kept.index) or not np.allclose(means.reindex(kept.index), kept, atol=1e-6):
        raise ValueError(
            f"scores_{bone}.csv: the scores of the test set are not the means of those in models/{bone}; run "
            f"02_train_bone for the {bone} again."
        )
    return table
