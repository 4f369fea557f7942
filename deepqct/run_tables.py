"""What many stages read of a run's tables: its outcome and ages, who is one patient, its main rows, what is virtual."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepqct.folder import Run, read_json, read_table
from deepqct.terms import BONES, KNOWN, SAME_PATIENT, columns_by_role

OSTEOPOROSIS = -2.5  # T-score, of any site


def run_outcome(run: Run) -> pd.Series:
    """The outcome of every patient of a run: 0 or 1, indexed by participant_id, named after its column."""
    name = columns_by_role(read_json(run.require(run.dictionary, written_by="01_data_curation")), "outcome")[0]
    return read_table(run.participants).set_index("participant_id")[name].astype(int)


def age_of(run: Run) -> pd.Series:
    """The age of every patient of a run in years, indexed by participant_id; NaN where the cohort has none."""
    people = read_table(run.participants).set_index("participant_id")
    return people["age"].astype(float) if "age" in people else pd.Series(float("nan"), people.index, name="age")


def virtual_of(run: Run) -> dict[str, Any]:
    """What a run's participants.json says of a virtual cohort (scenario, attainable_auc); empty for a real one."""
    content = read_json(run.dictionary) if run.dictionary.exists() else {}
    return dict(content.get("virtual") or {})


def bones_of(run: Run) -> tuple[str, ...]:
    """The bones that a run was asked for; all four where nobody asked."""
    asked = read_json(run.settings).get("bones") if run.settings.exists() else None
    return BONES if asked is None else tuple(bone for bone in BONES if bone in asked)


def rows_of(table: pd.DataFrame, protocol: str, repeat: int) -> pd.DataFrame:
    """The rows of one protocol and repeat."""
    return table[(table["protocol"] == protocol) & (table["repeat"] == repeat)]


def attainable_auc(run: Run) -> dict[str, float]:
    """The AUCs that nobody can exceed on a virtual cohort, by family and bone; empty for a real one. For figures only."""
    return {name: float(value) for name, value in virtual_of(run).get("attainable_auc", {}).items()}


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run's main result: out of fold, of the first protocol; another protocol scores the same women again.

    Parameters
    ----------
    table : DataFrame
        With the columns protocol and split, such as predictions.csv or performance.csv; it may be empty.
    """
    if table.empty:
        return table
    return table[(table["protocol"] == table["protocol"].iloc[0]) & (table["split"] == "out-of-fold")]


def first_repeat(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first repeat."""
    return part[part["repeat"] == part["repeat"].min()]


def wide_indices(indices: pd.DataFrame) -> pd.DataFrame:
    """One row a patient, columns such as ``radius Tt.vBMD``, from the one row a bone of indices.csv."""
    long = indices.melt(["participant_id", "bone"], var_name="symbol")
    return long.assign(column=long["bone"] + " " + long["symbol"]).pivot(
        index="participant_id", columns="column", values="value"
    )


def patient_labels(people: pd.Index, patients: pd.Series | None) -> pd.Series:
    """Which rows are one patient or family: a label by participant_id, her own where she is in no group.

    Parameters
    ----------
    people : Index
        participant_id.
    patients : Series, optional
        The column ``patient_group``, indexed by participant_id.
    """
    alone = pd.Series(people, people, dtype=object)
    if patients is None:
        return alone
    return patients.reindex(people).map(lambda value: f"group {value}", na_action="ignore").fillna(alone)


def patients_of(run: Run) -> pd.Series:
    """Which rows of a run are one patient or family, as `patient_labels`."""
    people = read_table(run.participants).set_index("participant_id")
    return patient_labels(people.index, people.get(SAME_PATIENT))


def read_models(run: Run) -> pd.DataFrame:
    """models.csv: what each model of a run is, one row a family and model."""
    return read_table(run.require(run.models_table, written_by="03_fusion_and_baselines"))


def headlines(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of a family's headline model.

    Parameters
    ----------
    table : DataFrame
        With the columns family and model.
    models : DataFrame
        As models.csv.
    """
    named = set(models.loc[models["headline"], ["family", "model"]].itertuples(index=False, name=None))
    return table[[pair in named for pair in table[["family", "model"]].itertuples(index=False, name=None)]]


def osteoporosis_of(people: pd.DataFrame) -> pd.Series:
    """Who has osteoporosis by the World Health Organization's definition, at the worst site; NaN where no T-score is known.

    Parameters
    ----------
    people : DataFrame
        participants.csv, indexed by participant_id; T-scores are its known columns ``t_…``.

    References
    ----------
    WHO (1994), Technical Report 843: a T-score of −2.5 or less.
    """
    scores = people[[column for column in people if column in KNOWN and str(column).startswith("t_")]].astype(float)
    lowest = scores.min(axis=1)
    return (lowest <= OSTEOPOROSIS).astype(float).where(lowest.notna()).rename("osteoporosis")
