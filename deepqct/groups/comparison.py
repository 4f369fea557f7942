"""How patient groups differ: densities, structure, risk, fractures, clinical factors.

Variables that took part in the grouping get no p values, since the groups differ in them by construction.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deepqct.folder import Run, read_json, read_table, write_spreadsheet
from deepqct.run_tables import headlines, main_rows, osteoporosis_of, outcome_of, read_models, run_outcome
from deepqct.terms import NUMBER, columns_by_role, short


def compare_groups(labels: pd.Series, table: pd.DataFrame, *, clustered: set[str]) -> pd.DataFrame:
    """Compare the last group with all others together, variable by variable.

    Parameters
    ----------
    labels : Series of int
        The group of each patient; the last group has the lowest density.
    table : DataFrame
        One row a patient, one column a variable; variables with only 0 and 1 are compared as shares.
    clustered : set of str
        Columns that took part in the clustering; they get neither p value nor interval, since they differ by
        construction.

    Returns
    -------
    DataFrame
        variable, one column a group (mean (SD), or how many of how many (%)), effect, low, high (95 %), kind (odds
        ratio or difference in SD), p, q, n. Odds ratios have Woolf's interval, with one half added to each cell
        (Haldane), and are NaN where nobody or everybody has the variable. p is by Fisher or Welch, q by Benjamini and
        Hochberg. There are no rows if there is only one group.
    """
    rows = []
    names = sorted(labels.unique())
    order = ["variable", *(f"group {name}" for name in names), "effect", "low", "high", "kind", "p", "q", "n"]
    if len(names) < 2:
        return pd.DataFrame(columns=order)
    for column in table.columns:
        values = table[column].reindex(labels.index)
        known = values.notna()
        last = labels == names[-1]
        row: dict[str, Any] = {"variable": column}
        binary = set(values.dropna().unique()) <= {0.0, 1.0}
        for name in names:
            row[f"group {name}"] = _in_words(values[known & (labels == name)], binary=binary)
        a, b = values[known & last], values[known & ~last]
        row |= _odds_ratio(a, b) if binary else _difference(a, b)
        if column in clustered:
            row |= {"low": np.nan, "high": np.nan, "p": np.nan}
        rows.append(row | {"n": int(known.sum())})
    result = pd.DataFrame(rows)
    tested = result["p"].notna()
    result["q"] = np.nan
    if tested.any():
        result.loc[tested, "q"] = stats.false_discovery_control(result.loc[tested, "p"])
    return result[order]


def keep_comparison(run: Run, phenotypes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Compare a run's patient groups and write the table to group_comparison.csv.

    The variables are the outcome, the DeepQCT risk, osteoporosis, clinical factors, bone density and the indices of the
    bones. No index gets a p value, even if only some of them made the groups: all were measured in the same scans.

    Parameters
    ----------
    run : Run
        A run with predictions.
    phenotypes : DataFrame
        The group of each patient, as `keep_groups` returns it.
    features : DataFrame
        The indices, one row a patient, indexed by participant_id.

    Returns
    -------
    DataFrame
        One row a variable: variable, one column a group, effect, low, high (95 %), kind, p, q, n. The effect compares
        the last group with all others: an odds ratio, or a difference in standard deviations.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> phenotypes, indices = dq.folder.read_table(run.phenotypes), dq.folder.read_table(run.indices)
    >>> table = dq.groups.keep_comparison(run, phenotypes, dq.run_tables.wide_indices(indices)).set_index("variable")
    >>> table.loc["fracture", ["group 1", "group 2"]].to_dict()
    {'group 1': '1/7 (14 %)', 'group 2': '4/5 (80 %)'}
    """
    labels = phenotypes.set_index("participant_id")["group"].dropna()
    table = _variables(run).join(features)
    comparison = compare_groups(labels, table, clustered=set(features.columns))
    write_spreadsheet(run.group_comparison, comparison)
    return comparison


def beside_preprint(run: Run, phenotypes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Compare the group of highest DeepQCT risk with what the preprint says of its high-risk group.

    The table is written to groups_beside_preprint.csv. If the run has no DeepQCT risk, the last group is taken, which
    has the lowest density. Where the outcome is a number there is no risk to set beside that of the preprint.
    Tt.vBMD and Tb.BV/TV stand for the indices of each bone. They took part in the grouping, so that their intervals
    describe the groups but test nothing.

    Parameters
    ----------
    run : Run
        A run with predictions.
    phenotypes : DataFrame
        The group of each patient, as `keep_groups` returns it.
    features : DataFrame
        The indices, one row a patient, indexed by participant_id.

    Returns
    -------
    DataFrame
        finding, group, preprint (what it says of its group: higher, more or lower; empty for an outcome that neither
        its name nor its description calls a fracture, and for the risk of it), kind, estimate, low, high (95 %), n,
        as_there (True if the whole interval lies on the preprint's side; None if there is no interval, nothing to hold it
        against, or if it is that of the risk which chose the group). It is empty if there is only one group, or if the
        outcome is a number.

    References
    ----------
    Chen 2024, medRxiv 2024.04.01.24305147, abstract.

    Examples
    --------
    >>> import deepqct as dq
    >>> run = dq.run.example_run()
    >>> phenotypes, indices = dq.folder.read_table(run.phenotypes), dq.folder.read_table(run.indices)
    >>> table = dq.groups.beside_preprint(run, phenotypes, dq.run_tables.wide_indices(indices))
    >>> table[["finding", "preprint"]].head(4).to_numpy().tolist()
    [['DeepQCT risk, mean of radius + tibia (chose the group)', 'higher'], ['osteoporosis', 'more'],
     ['fracture', 'more'], ['fibula Tb.BV/TV (made the groups)', 'lower']]
    """
    columns = ["finding", "group", "preprint", "kind", "estimate", "low", "high", "n", "as_there"]
    labels = phenotypes.set_index("participant_id")["group"].dropna()
    rows: list[dict[str, Any]] = []
    if labels.nunique() > 1 and outcome_of(run).kind != NUMBER:
        table, outcome = _variables(run).join(features).reindex(labels.index), str(run_outcome(run).name)
        risk = next((name for name in table if str(name).startswith("DeepQCT risk")), None)
        chosen: Any = labels.max() if risk is None else table[risk].groupby(labels).mean().idxmax()
        densities = [(name, "lower") for name in features if str(name).endswith((" Tt.vBMD", " Tb.BV/TV"))]
        # The preprint speaks of fractures, their risk and osteoporosis, and of no other outcome.
        described = read_json(run.dictionary).get(outcome, {}).get("Description", "")
        of_fracture = "fracture" in f"{outcome} {described}".lower()
        own = "more" if of_fracture or outcome == "osteoporosis" else ""
        sides = {risk: "higher" if of_fracture else "", "osteoporosis": "more", outcome: own, **dict(densities)}
        for name, side in sides.items():
            share = name in (outcome, "osteoporosis")
            if name not in table or (share and not set(table[name].dropna().unique()) <= {0.0, 1.0}):
                continue
            a, b = (table[name][rows_of].dropna() for rows_of in (labels == chosen, labels != chosen))
            effect = _odds_ratio(a, b) if share else _difference(a, b)
            none = 1.0 if share else 0.0
            as_there = effect["high"] < none if side == "lower" else effect["low"] > none
            words = f"{name} (made the groups)" if side == "lower" else str(name).replace("_", " ")
            if name == risk:  # chosen as the highest: of noise in four groups its interval lies above 0 in 10 %
                words += " (chose the group)"
            row = {"group": int(chosen), "finding": words, "preprint": side, "kind": effect["kind"]}
            row |= {"estimate": effect["effect"], "low": effect["low"], "high": effect["high"], "n": len(a) + len(b)}
            held = side and name != risk
            rows.append(row | {"as_there": bool(as_there) if held and np.isfinite(effect["low"]) else None})
    result = pd.DataFrame(rows, columns=columns)
    write_spreadsheet(run.groups_beside_preprint, result)
    return result


def _variables(run: Run) -> pd.DataFrame:
    """Outcome, DeepQCT risk, osteoporosis, clinical factors and bone density of each patient of a run."""
    dictionary = read_json(run.dictionary)
    outcome = run_outcome(run)
    roles = [*columns_by_role(dictionary, "clinical"), *columns_by_role(dictionary, "bmd")]
    people = read_table(run.participants).set_index("participant_id")
    table = people[roles].astype(float)
    name = str(outcome.name)
    osteoporosis = osteoporosis_of(people)
    if osteoporosis.notna().any() and "osteoporosis" not in (name, *roles):
        table.insert(0, "osteoporosis", osteoporosis)
    table.insert(0, name, outcome.astype(float))
    predictions = read_table(run.require(run.predictions, written_by="03_fusion_and_baselines"))
    # The risk from images alone: clinical factors are compared by themselves, and indices made the groups.
    images = headlines(predictions[predictions["family"] == "DeepQCT"], read_models(run))
    if len(rows := main_rows(images)):
        column = "predicted" if "predicted" in rows else "risk"
        value = "DeepQCT risk" if column == "risk" else "DeepQCT prediction"
        table.insert(1, f"{value}, {rows['model'].iloc[0]}", rows.groupby("participant_id")[column].mean())
    return table


def _in_words(values: pd.Series, *, binary: bool) -> str:
    """A group's values in words: how many of how many (%), or mean (SD)."""
    if values.empty:
        return "–"
    if binary:
        return f"{int(values.sum())}/{len(values)} ({100 * values.mean():.0f} %)"
    spread = f" ({short(values.std(), 2)})" if len(values) > 1 else ""
    return f"{short(values.mean())}{spread}"


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
    # The SD of a column of one value is not always 0 in floating point.
    if pooled <= 1e-9 * max(abs(a).max(), abs(b).max()):
        return {"effect": 0.0, "low": np.nan, "high": np.nan, "kind": kind, "p": np.nan}
    d = (a.mean() - b.mean()) / pooled
    half = stats.norm.ppf(0.975) * np.sqrt(1 / len(a) + 1 / len(b) + d**2 / (2 * (len(a) + len(b))))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # one group may have one value
        p = stats.ttest_ind(a, b, equal_var=False).pvalue
    return {
        "effect": d,
        "low": d - half,
        "high": d + half,
        "kind": kind,
        "p": p,
    }
