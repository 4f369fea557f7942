"""What many stages read from a run's tables: outcome, ages, which rows are one patient, which are the main result."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepqct.folder import Run, read_json, read_table
from deepqct.terms import BONES, CHANCE, FALL_UNITS, KNOWN, SAME_PATIENT, STRENGTH_UNITS, Outcome

OSTEOPOROSIS = -2.5  # T-score, of any site
_MARGIN = "non_inferior_"  # the beginning of a column of comparisons.csv, before its margin


def outcome_of(run: Run) -> Outcome:
    """What a run predicts: of every patient 0 or 1, a number, or a time and an event.

    Parameters
    ----------
    run : Run
        A run whose cohort was checked.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.outcome_of(dq.run.example_run()).kind
    'yes or no'
    """
    dictionary = read_json(run.require(run.dictionary, written_by="01_data_curation"))
    return Outcome.of(read_table(run.participants).set_index("participant_id"), dictionary)


def run_outcome(run: Run) -> pd.Series:
    """Two groups of the patients of a run by its outcome: 0 or 1, indexed by participant_id, named in words.

    A number is parted at its median, a time by whether the event came before the end of follow-up; models are fitted to the
    outcome itself (`outcome_of`).

    Parameters
    ----------
    run : Run
        A run whose cohort was checked.

    Examples
    --------
    >>> import deepqct as dq
    >>> outcome = dq.run_tables.run_outcome(dq.run.example_run())
    >>> outcome.name, len(outcome), int(outcome.sum())
    ('fracture', 12, 5)
    """
    return outcome_of(run).groups


def figure_of(table: pd.DataFrame) -> str:
    """The figure by which the models of a table are compared: AUC, or R² of numbers, or C-index of times.

    Parameters
    ----------
    table : DataFrame
        With the column measure, such as performance.csv; one without it is of the AUC.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> dq.run_tables.figure_of(pd.DataFrame({"measure": ["MAE", "R²"]}))
    'R²'
    """
    there = set(table["measure"]) if "measure" in table else set()
    return next((name for name in CHANCE if name in there), "AUC")


def women_of(rows: pd.DataFrame, *, event: str = "") -> str:
    """The women behind some rows in words, such as ``60 women, 20 events``; without events where the outcome is a number.

    Parameters
    ----------
    rows : DataFrame
        With the columns n and events.
    event : str
        What the event is called; by default events are counted without a name.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> dq.run_tables.women_of(pd.DataFrame({"n": [60, 58], "events": [20, 20]}))
    '58–60 women, 20 events'
    """
    spans = []
    for name in ("n", "events"):
        known = rows[name].dropna().astype(int) if len(rows) else pd.Series([0])
        ends = sorted({int(known.min()), int(known.max())}) if len(known) else []
        spans.append("–".join(map(str, ends)))
    said = f"{spans[0]} women"
    return f"{said}, {spans[1]} {f'with {event}' if event else 'events'}" if spans[1] else said


def age_of(run: Run) -> pd.Series:
    """The age of every patient of a run in years, indexed by participant_id; NaN where the cohort has none.

    Parameters
    ----------
    run : Run
        A run whose cohort was checked.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.age_of(dq.run.example_run()).head(2).to_dict()
    {'sub-0001': 67.7, 'sub-0002': 77.9}
    """
    people = read_table(run.participants).set_index("participant_id")
    return people["age"].astype(float) if "age" in people else pd.Series(float("nan"), people.index, name="age")


def virtual_of(run: Run) -> dict[str, Any]:
    """What a run's participants.json says about a virtual cohort (scenario, attainable_auc); empty for a real one.

    Parameters
    ----------
    run : Run
        Any run.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.virtual_of(dq.run.example_run())["scenario"]
    'deepqct-like'
    """
    content = read_json(run.dictionary) if run.dictionary.exists() else {}
    return dict(content.get("virtual") or {})


def bones_of(run: Run) -> tuple[str, ...]:
    """The bones that a run's settings name; all four if they name none.

    Parameters
    ----------
    run : Run
        Any run.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.bones_of(dq.run.example_run())
    ('radius', 'ulna', 'tibia', 'fibula')
    """
    asked = read_json(run.settings).get("bones") if run.settings.exists() else None
    return BONES if asked is None else tuple(bone for bone in BONES if bone in asked)


def rows_of(table: pd.DataFrame, protocol: str, repeat: int) -> pd.DataFrame:
    """The rows of a table that are of one protocol and repeat.

    Parameters
    ----------
    table : DataFrame
        With the columns protocol and repeat, such as splits.csv.
    protocol : str
        Name of the protocol, such as ``all``.
    repeat : int
        Number of the repeat, from 0.

    Examples
    --------
    >>> import deepqct as dq
    >>> splits = dq.folder.read_table(dq.run.example_run().splits)
    >>> dq.run_tables.rows_of(splits, "all", 0)["fold"].value_counts().to_dict()
    {'0': 6, '1': 6}
    """
    return table[(table["protocol"] == protocol) & (table["repeat"] == repeat)]


def attainable(run: Run) -> dict[str, float]:
    """The best AUC, R² or C-index that any model can reach on a virtual cohort, by family and bone; empty for a real one.

    It is meant for figures; no model may use it.

    Parameters
    ----------
    run : Run
        Any run.

    Returns
    -------
    dict of str to float
        Empty, too, for an outcome of which it is not known.

    Examples
    --------
    >>> import deepqct as dq
    >>> attainable = dq.run_tables.attainable(dq.run.example_run())
    >>> attainable["BMD"], attainable["DeepQCT radius"], attainable["all"]
    (0.709, 0.867, 0.92)
    """
    virtual = virtual_of(run)
    if not virtual or not run.participants.exists():
        return {name: float(value) for name, value in virtual.get("attainable_auc", {}).items()}
    name = outcome_of(run).name
    of_others = virtual.get("attainable", {})
    found = virtual.get("attainable_auc", {}) if name == "fracture" else of_others.get(name, {})
    return {name: float(value) for name, value in found.items()}


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run's main result: out of fold, of the first protocol; others score the same women again.

    Parameters
    ----------
    table : DataFrame
        With the columns protocol and split, such as predictions.csv or performance.csv; it may be empty.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> rows = {"protocol": ["all", "all", "as-published"], "split": ["out-of-fold", "test", "out-of-fold"]}
    >>> dq.run_tables.main_rows(pd.DataFrame(rows)).to_dict("records")
    [{'protocol': 'all', 'split': 'out-of-fold'}]
    """
    if table.empty:
        return table
    return table[(table["protocol"] == table["protocol"].iloc[0]) & (table["split"] == "out-of-fold")]


def first_repeat(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of its first repeat.

    Parameters
    ----------
    part : DataFrame
        With the column repeat, such as predictions.csv or some of its rows.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> dq.run_tables.first_repeat(pd.DataFrame({"repeat": [0, 0, 1], "score": [0.2, 0.7, 0.4]}))["score"].tolist()
    [0.2, 0.7]
    """
    return part[part["repeat"] == part["repeat"].min()]


def wide_indices(indices: pd.DataFrame, *, strength: bool = False) -> pd.DataFrame:
    """Turn indices.csv, which has one row a bone, into one row a patient.

    Parameters
    ----------
    indices : DataFrame
        participant_id, bone, and a column for each index.
    strength : bool
        Keep the columns of `deepqct.terms.STRENGTH_UNITS` too. Without them, models and groups rest on the same indices
        whether strength was measured or not.

    Returns
    -------
    DataFrame
        Indexed by participant_id, with columns such as ``radius Tt.vBMD``; NaN where a patient lacks the bone.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> indices = pd.DataFrame({"participant_id": ["P1", "P1"], "bone": ["radius", "tibia"], "Ct.Th": [0.9, 1.3]})
    >>> dq.run_tables.wide_indices(indices).to_dict("index")
    {'P1': {'radius Ct.Th': 0.9, 'tibia Ct.Th': 1.3}}
    """
    left_out = [*FALL_UNITS, *(() if strength else STRENGTH_UNITS)]
    long = indices.drop(columns=left_out, errors="ignore").melt(["participant_id", "bone"], var_name="symbol")
    return long.assign(column=long["bone"] + " " + long["symbol"]).pivot(
        index="participant_id", columns="column", values="value"
    )


def patient_labels(people: pd.Index, patients: pd.Series | None) -> pd.Series:
    """Say which rows are one patient or family: rows with the same label are.

    Parameters
    ----------
    people : Index
        participant_id of each row.
    patients : Series, optional
        The column ``patient_group``, indexed by participant_id.

    Returns
    -------
    Series of str
        The label of each row, by participant_id; it is the participant_id itself where a row is in no group.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> groups = pd.Series(["A", "A", None], ["P1", "P2", "P3"])
    >>> dq.run_tables.patient_labels(groups.index, groups).to_dict()
    {'P1': 'group A', 'P2': 'group A', 'P3': 'P3'}
    """
    alone = pd.Series(people, people, dtype=object)
    if patients is None:
        return alone
    return patients.reindex(people).map(lambda value: f"group {value}", na_action="ignore").fillna(alone)


def patients_of(run: Run) -> pd.Series:
    """Say which rows of a run's participants are one patient or family, as `patient_labels` does.

    Parameters
    ----------
    run : Run
        A run whose cohort was checked.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.patients_of(dq.run.example_run()).nunique()
    12
    """
    people = read_table(run.participants).set_index("participant_id")
    return patient_labels(people.index, people.get(SAME_PATIENT))


def read_models(run: Run) -> pd.DataFrame:
    """Read models.csv: what each model of a run is, one row a family and model.

    Parameters
    ----------
    run : Run
        A run whose models were fitted.

    Examples
    --------
    >>> import deepqct as dq
    >>> models = dq.run_tables.read_models(dq.run.example_run())
    >>> models.loc[models["headline"], ["family", "model"]].head(2).to_dict("records")
    [{'family': 'Clinical', 'model': 'clinical factors'}, {'family': 'BMD', 'model': 'all sites'}]
    """
    return read_table(run.require(run.models_table, written_by="03_fusion_and_baselines"))


def headlines(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of a family's headline model, which stands for the family in tables and sentences.

    It is the own model with the most columns; for DeepQCT, of several bones' networks, the late fusion in strict stacking
    and the mean with equal weights in standard stacking.

    Parameters
    ----------
    table : DataFrame
        With the columns family and model.
    models : DataFrame
        From `read_models`.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance = dq.folder.read_table(run.performance)
    >>> dq.run_tables.headlines(performance, dq.run_tables.read_models(run))["model"].unique().tolist()
    ['clinical factors', 'all sites', 'all four bones', 'mean of radius + tibia']
    """
    named = set(models.loc[models["headline"], ["family", "model"]].itertuples(index=False, name=None))
    pairs = table[["family", "model"]].itertuples(index=False, name=None)
    return table[pd.Series([pair in named for pair in pairs], table.index, dtype=bool)]


def margins_of(text: str) -> tuple[float, ...]:
    """The margins of non-inferiority that a parameter names.

    Parameters
    ----------
    text : str
        Numbers above 0 and below 0.5, separated by commas.

    Raises
    ------
    ValueError
        If there is none, or one of them is no such number.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.margins_of("0.03, 0.05")
    (0.03, 0.05)
    """
    try:
        margins = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        margins = ()
    if not margins or not all(0 < margin < 0.5 for margin in margins):
        raise ValueError(f"margins is {text!r}; give numbers above 0 and below 0.5, such as '0.03, 0.05'.")
    return margins


def margins_in(comparisons: pd.DataFrame) -> list[float]:
    """The margins of non-inferiority that a table of planned differences has columns for, the smallest first.

    Parameters
    ----------
    comparisons : DataFrame
        The content of comparisons.csv.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.run_tables.margins_in(dq.folder.read_table(dq.run.example_run().comparisons))
    [0.03, 0.05]
    """
    names = [str(name) for name in comparisons]
    return sorted(float(name.removeprefix(_MARGIN)) for name in names if name.startswith(_MARGIN))


def osteoporosis_of(people: pd.DataFrame) -> pd.Series:
    """Who has osteoporosis by the World Health Organization's definition, at the site with the lowest T-score.

    Parameters
    ----------
    people : DataFrame
        participants.csv, indexed by participant_id; its T-scores are in the known columns that begin with ``t_``.

    Returns
    -------
    Series of float
        1 with osteoporosis, 0 without, NaN where no T-score is known; by participant_id.

    References
    ----------
    WHO (1994), Technical Report 843: a T-score of −2.5 or less.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> people = pd.DataFrame({"t_total_hip": [-1.0, -2.7, None]}, ["P1", "P2", "P3"])
    >>> dq.run_tables.osteoporosis_of(people).to_dict()
    {'P1': 0.0, 'P2': 1.0, 'P3': nan}
    """
    scores = people[[column for column in people if column in KNOWN and str(column).startswith("t_")]].astype(float)
    lowest = scores.min(axis=1)
    return (lowest <= OSTEOPOROSIS).astype(float).where(lowest.notna()).rename("osteoporosis")


def headline_aucs(performance: pd.DataFrame, *, models: pd.DataFrame) -> pd.DataFrame:
    """The rows of performance.csv with the AUC of the one model that stands for each family, in the main result.

    Parameters
    ----------
    performance : DataFrame
        The content of performance.csv.
    models : DataFrame
        From `read_models`.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> dq.run_tables.headline_aucs(performance, models=models)["family"].tolist()
    ['Clinical', 'BMD', 'pQCT-index', 'Texture', 'DeepQCT']
    """
    rows = main_rows(performance)
    return headlines(rows[rows["measure"] == figure_of(rows)], models).drop_duplicates("family")


def network_auc(performance: pd.DataFrame, *, models: pd.DataFrame, bone: str = "") -> pd.Series | None:
    """The row of performance.csv with the AUC of one bone's networks, or of the model that speaks for DeepQCT.

    Parameters
    ----------
    performance : DataFrame
        The content of performance.csv; the rows of the main result count.
    models : DataFrame
        From `read_models`.
    bone : str
        radius, ulna, tibia or fibula; empty for the headline model of the family DeepQCT.

    Returns
    -------
    Series or None
        The row; None where there is no such model.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> dq.run_tables.network_auc(performance, models=models)["model"]
    'mean of radius + tibia'
    >>> dq.run_tables.network_auc(performance, models=models, bone="ulna") is None
    True
    """
    if performance.empty or models.empty:
        return None
    rows = main_rows(performance)
    rows = rows[(rows["measure"] == figure_of(rows)) & (rows["family"] == "DeepQCT")]
    if bone:
        rows = rows[rows["model"].isin(models.loc[models["own"] & (models["bones"] == bone), "model"])]
    else:
        rows = headlines(rows, models)
    return None if rows.empty else rows.iloc[0]


def above_chance(row: pd.Series | None) -> bool:
    """Whether the whole 95 % interval of an AUC, R² or C-index lies above chance; False where there is none.

    What a model without information weighs, or where its networks look, is a picture of noise: it is not drawn.

    Parameters
    ----------
    row : Series or None
        With ``low``, and with ``measure`` where it is no AUC, as `network_auc` returns it.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> [dq.run_tables.above_chance(pd.Series({"low": low})) for low in (0.51, 0.48, float("nan"))]
    [True, False, False]
    """
    return row is not None and bool(row["low"] > CHANCE[str(row.get("measure", "AUC"))])


def bone_scores(run: Run) -> dict[str, pd.DataFrame]:
    """The out-of-fold scores of each trained bone of a run in the main result, with the outcome of each patient.

    Parameters
    ----------
    run : Run
        A run of which bones were trained; the others are left out, and bones that its settings do not name.

    Returns
    -------
    dict of str to DataFrame
        By bone the rows of scores_<bone>.csv, and ``outcome``, 0 or 1.

    Examples
    --------
    >>> import deepqct as dq
    >>> scores = dq.run_tables.bone_scores(dq.run.example_run())
    >>> {bone: len(table) for bone, table in scores.items()}
    {'radius': 12, 'tibia': 12}
    """
    outcome = run_outcome(run)
    found = {}
    for bone in bones_of(run):
        if run.scores(bone).exists():
            rows = main_rows(read_table(run.scores(bone)))
            found[bone] = rows.assign(outcome=rows["participant_id"].map(outcome).astype(int))
    return found


def known_bones(performance: pd.DataFrame, *, models: pd.DataFrame) -> list[str]:
    """The bones whose networks are shown to tell the outcomes apart: the 95 % interval of their AUC lies above 0.5.

    Parameters
    ----------
    performance : DataFrame
        The content of performance.csv.
    models : DataFrame
        From `read_models`.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> set(dq.run_tables.known_bones(performance, models=models)) <= set(dq.terms.BONES)
    True
    """
    return [bone for bone in BONES if above_chance(network_auc(performance, models=models, bone=bone))]
