"""How patient groups differ: densities, structure, risk, fractures, clinical factors.

What took part in the grouping is shown without p values, since it differs by construction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deepqct.folder import Run, read_json, read_table, write_table
from deepqct.run_tables import headlines, main_rows, osteoporosis_of, read_models, run_outcome
from deepqct.terms import columns_by_role


def compare_groups(labels: pd.Series, table: pd.DataFrame, *, clustered: set[str]) -> pd.DataFrame:
    """How the last group differs from the others, variable by variable.

    Parameters
    ----------
    labels : Series of int
        The group of each patient; the last group has the lowest density.
    table : DataFrame
        Variables by patient; those with only 0 and 1 are compared as shares.
    clustered : set of str
        Columns that took part in the clustering; they get neither p value nor interval, since they differ by construction.

    Returns
    -------
    DataFrame
        variable, one column a group (mean (SD) or n (%)), effect, low, high, kind (odds ratio; difference in SD), p, q, n.
        Odds ratios by Woolf with Haldane's half, none where nobody or everybody has it; p by Fisher or Welch; q by
        Benjamini and Hochberg. No rows for a single group.
    """
    rows = []
    names = sorted(labels.unique())
    order = ["variable", *(f"group {name}" for name in names), "effect", "low", "high", "kind", "p", "q", "n"]
    if len(names) < 2:
        return pd.DataFrame(columns=order)
    for column in table.columns:
        values = table[column].reindex(labels.index)
        there = values.notna()
        last = labels == names[-1]
        row: dict[str, Any] = {"variable": column}
        binary = set(values.dropna().unique()) <= {0.0, 1.0}
        for name in names:
            row[f"group {name}"] = _in_words(values[there & (labels == name)], binary=binary)
        a, b = values[there & last], values[there & ~last]
        row |= _odds_ratio(a, b) if binary else _difference(a, b)
        if column in clustered:
            row |= {"low": np.nan, "high": np.nan, "p": np.nan}
        rows.append(row | {"n": int(there.sum())})
    result = pd.DataFrame(rows)
    tested = result["p"].notna()
    result["q"] = np.nan
    if tested.any():
        result.loc[tested, "q"] = stats.false_discovery_control(result.loc[tested, "p"])
    return result[order]


def keep_comparison(run: Run, phenotypes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Write group_comparison.csv: outcome, osteoporosis, risk, clinical factors, bone density, and the clustered indices.

    Every index of the bones counts as clustered, used or not: all are of the same scans.
    """
    labels = phenotypes.set_index("participant_id")["group"].dropna()
    table = _variables(run).join(features)
    comparison = compare_groups(labels, table, clustered=set(features.columns))
    write_table(run.group_comparison, comparison)
    return comparison


def beside_preprint(run: Run, phenotypes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """The group of higher DeepQCT risk, beside what the preprint's abstract says of its own; groups_beside_preprint.csv.

    Without a risk from images it is the group of the lowest density. Density and structure took part in the grouping, so
    that their intervals describe and do not test. Tt.vBMD and Tb.BV/TV stand for the indices of each bone.

    Parameters
    ----------
    run : Run
        A run with predictions.
    phenotypes, features : DataFrame
        As `embedding.keep_groups` returns them, and the indices.

    Returns
    -------
    DataFrame
        finding, group, preprint, kind, estimate, low, high, n, as_there (the whole interval on the preprint's side; None
        without one); empty for a single group.

    References
    ----------
    Chen 2024, medRxiv 2024.04.01.24305147, abstract.
    """
    columns = ["finding", "group", "preprint", "kind", "estimate", "low", "high", "n", "as_there"]
    labels = phenotypes.set_index("participant_id")["group"].dropna()
    rows: list[dict[str, Any]] = []
    if labels.nunique() > 1:
        table, outcome = _variables(run).join(features).reindex(labels.index), str(run_outcome(run).name)
        risk = next((name for name in table if str(name).startswith("DeepQCT risk")), None)
        chosen: Any = labels.max() if risk is None else table[risk].groupby(labels).mean().idxmax()
        densities = [(name, "lower") for name in features if str(name).endswith((" Tt.vBMD", " Tb.BV/TV"))]
        for name, side in [(risk, "higher"), ("osteoporosis", "more"), (outcome, "more"), *densities]:
            if name not in table:
                continue
            a, b = (table[name][part].dropna() for part in (labels == chosen, labels != chosen))
            found = _odds_ratio(a, b) if side == "more" else _difference(a, b)
            none = 1.0 if side == "more" else 0.0
            as_there = found["high"] < none if side == "lower" else found["low"] > none
            words = f"{name} (made the groups)" if side == "lower" else str(name).replace("_", " ")
            row = {"group": int(chosen), "finding": words, "preprint": side, "kind": found["kind"]}
            row |= {"estimate": found["effect"], "low": found["low"], "high": found["high"], "n": len(a) + len(b)}
            rows.append(row | {"as_there": bool(as_there) if np.isfinite(found["low"]) else None})
    result = pd.DataFrame(rows, columns=columns)
    write_table(run.groups_beside_preprint, result)
    return result


def _variables(run: Run) -> pd.DataFrame:
    """Outcome, DeepQCT risk, osteoporosis, clinical factors and bone density, by patient."""
    dictionary = read_json(run.dictionary)
    outcome = run_outcome(run)
    roles = [*columns_by_role(dictionary, "clinical"), *columns_by_role(dictionary, "bmd")]
    people = read_table(run.participants).set_index("participant_id")
    table = people[roles].astype(float)
    osteoporosis = osteoporosis_of(people)
    if osteoporosis.notna().any():
        table.insert(0, "osteoporosis", osteoporosis)
    table.insert(0, str(outcome.name), outcome.astype(float))
    predictions = read_table(run.require(run.predictions, written_by="03_fusion_and_baselines"))
    # Without clinical factors, which are compared by themselves, and without the indices that made the groups.
    images = headlines(predictions[predictions["family"] == "DeepQCT"], read_models(run))
    if len(first := main_rows(images)):
        table.insert(1, f"DeepQCT risk, {first['model'].iloc[0]}", first.groupby("participant_id")["risk"].mean())
    return table


def _in_words(values: pd.Series, *, binary: bool) -> str:
    """N (%) or mean (SD)."""
    if values.empty:
        return "–"
    if binary:
        return f"{int(values.sum())}/{len(values)} ({100 * values.mean():.0f} %)"
    return f"{values.mean():.3g} ({values.std():.2g})"


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
    if pooled == 0:
        return {"effect": 0.0, "low": np.nan, "high": np.nan, "kind": kind, "p": np.nan}
    d = (a.mean() - b.mean()) / pooled
    half = stats.norm.ppf(0.975) * np.sqrt(1 / len(a) + 1 / len(b) + d**2 / (2 * (len(a) + len(b))))
    return {
        "effect": d,
        "low": d - half,
        "high": d + half,
        "kind": kind,
        "p": stats.ttest_ind(a, b, equal_var=False).pvalue,
    }
