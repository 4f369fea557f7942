"""The tables of a run as text for the report; what cannot be estimated is said in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct.cohort.scanners import scanner_warnings
from deepqct.curation.looking import FIRST, to_look_at
from deepqct.evaluation.discrimination import NOT_ESTIMABLE, Estimate, interval, plain, signed
from deepqct.evaluation.repeats import ISCD_DEGREES, each_scanner
from deepqct.folder import Run, read_table
from deepqct.models.families import models_table
from deepqct.models.repeats import risk_precision
from deepqct.plots.style import FAMILY_COLOURS, INK
from deepqct.report.pages import without_paths
from deepqct.run_tables import bones_of, figure_of, headlines, main_rows, margins_in, outcome_of, women_of
from deepqct.terms import BONES, CHANCE, IN_UNITS, short, together

BAR = 150  # pixels of a bar of an AUC
# Title and caption of the smaller tables of the comparison, and the attribute of `Run` that names each file.
_OTHERS = (
    (
        "Planned differences",
        "Out-of-fold, first protocol: difference in AUC, p after Holm, whether non-inferiority is shown by each margin.",
        "comparisons",
    ),
    (
        "Other measures",
        "Out-of-fold, each family's widest model, first repeat (AUPRC: all repeats).",
        "measures",
    ),
    ("Subgroups", "Out-of-fold AUC of each family's widest model. Small groups: look at n.", "subgroups"),
    (
        "Who changes side",
        "Net share moved to the right side when one model's threshold replaces another's.",
        "reclassification",
    ),
    (
        "Optimism",
        "First repeat: best of many models and permuted outcomes beside chance; .632+: expected is the corrected AUC.",
        "optimism",
    ),
    (
        "Other classifiers",
        "The same tables by other classifiers, out of fold, first repeat: a check on the ridge.",
        "classifiers",
    ),
    ("Size of the study", "Women whom each fitted model would need (Riley et al. 2020).", "sample_size"),
)


def curation(table: pd.DataFrame, run: Run) -> dict[str, Any]:
    """The number of scans, and a row for each that a person should look at, those first that may spoil the most.

    Parameters
    ----------
    table : DataFrame
        The content of curation.csv.
    run : Run
        The run, whose folder is taken out of messages.

    Returns
    -------
    dict
        ``scans``, ``failed``, ``rejected``, ``flagged`` and ``noted`` are counts; ``first`` and ``then`` are the rows of
        the two levels of `deepqct.curation.to_look_at`: patient, site and what there is. Rejected scans end ``then``.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import curation
    >>> run = dq.run.example_run()
    >>> curation(dq.folder.read_table(run.curation), run)["scans"]
    24
    """
    found = to_look_at(table)
    said = [without_paths(str(what), run.folder) for what in found["what"]]
    rows = [list(row) for row in zip(found["participant_id"], found["site"], said, strict=True)]
    first = (found["level"] == FIRST).tolist()
    rejected = table[table["status"] == "rejected"]
    refused = rejected[["participant_id", "site", "reason"]].astype(object).to_numpy().tolist()
    failed = int((table["status"] == "failed").sum())
    return {
        "scans": len(table),
        "failed": failed,
        "rejected": len(rejected),
        "flagged": sum(first) - failed,
        "noted": len(found) - sum(first),
        "first": [row for row, one in zip(rows, first, strict=True) if one],
        "then": [row for row, one in zip(rows, first, strict=True) if not one] + refused,
    }


def as_text(path: Path) -> dict[str, Any] | None:
    """The columns and rows of a table as text; None if it was not written.

    Parameters
    ----------
    path : Path
        A CSV file of the run.

    Examples
    --------
    >>> from pathlib import Path
    >>> from deepqct.report.tables import as_text
    >>> as_text(Path("nowhere.csv")) is None
    True
    """
    if not path.exists():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False).map(lambda cell: re.sub(r"(?<!\w)-(?=\d)", "−", cell))
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}


def aucs(table: pd.DataFrame) -> dict[str, Any] | None:
    """performance.csv as one table: models by family down, protocol and split across, with a bar for the first of them.

    Parameters
    ----------
    table : DataFrame
        The content of performance.csv; it may be empty.

    Returns
    -------
    dict or None
        ``figure`` (AUC, R² or C-index), ``heads``, ``families``, ``count`` of models, ``lowest`` that the bars show, and
        ``chance`` on them; None
        where there is no model. Of a bar ``low``, ``middle`` and ``high`` are places from 0 to `BAR`.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import aucs
    >>> table = aucs(dq.folder.read_table(dq.run.example_run().performance))
    >>> table["heads"][0]["protocol"], list(table["families"])[-1]
    ('all', 'DeepQCT')
    """
    if table.empty:
        return None
    figure = figure_of(table)
    table = table[table["measure"] == figure]
    blocks = list(dict.fromkeys(table[["protocol", "split"]].itertuples(index=False, name=None)))
    of_block = {b: table[(table["protocol"] == b[0]) & (table["split"] == b[1])] for b in blocks}
    usual = {block: _usual(rows) for block, rows in of_block.items()}
    least, below = of_block[blocks[0]]["low"].min(), CHANCE[figure] - 0.1
    lowest = below if pd.isna(least) else max(min(below, math.floor(10 * float(least)) / 10), -1.0)
    cells: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for _, row in table.iterrows():
        estimate, block = Estimate.of(row), (row["protocol"], row["split"])
        of_other_women = estimate.basis != usual[block].basis
        cells.setdefault((row["family"], row["model"]), {})[block] = {
            "number": f"{estimate.estimate:.2f}" if estimate.estimable else "",
            "value": plain(estimate.estimate) if estimate.estimable else NOT_ESTIMABLE,
            "interval": interval(estimate.low, estimate.high) if estimate.estimable else "",
            "basis": estimate.basis if of_other_women else "",
            "bar": _bar(estimate, lowest=lowest) if estimate.estimable else None,
        }
    none = {"number": "", "value": "–", "interval": "", "basis": "", "bar": None}
    families: dict[str, dict[str, Any]] = {}
    for (family, model), by_block in cells.items():
        line: dict[str, Any] = {"model": model, "cells": [by_block.get(b, none) for b in blocks]}
        of_family = families.setdefault(family, {"colour": FAMILY_COLOURS.get(family, INK), "rows": []})
        of_family["rows"].append(line)
    heads = [{"protocol": p, "split": s, "women": women_of(_row(usual[p, s]))} for p, s in blocks]
    chance = _place(CHANCE[figure], lowest=lowest)
    return {
        "figure": figure,
        "heads": heads,
        "families": families,
        "count": len(cells),
        "lowest": lowest,
        "chance": chance,
    }


def _usual(rows: pd.DataFrame) -> Estimate:
    """The row whose number of women and of events is the most frequent."""
    counts = rows[["n", "events"]].value_counts(dropna=False).index[0]
    return Estimate(0.0, 0.0, 0.0, int(counts[0]), -1 if pd.isna(counts[1]) else int(counts[1]))


def _row(estimate: Estimate) -> pd.DataFrame:
    """An estimate as a table of one row."""
    return pd.DataFrame([estimate.row()])


def _bar(estimate: Estimate, *, lowest: float) -> dict[str, float]:
    """The places of an AUC and of its interval on a bar."""
    ends = {"low": estimate.low, "middle": estimate.estimate, "high": estimate.high}
    return {name: _place(value, lowest=lowest) for name, value in ends.items()}


def _place(value: float, *, lowest: float) -> float:
    """The place of an AUC on a bar that goes from `lowest` to 1."""
    return round(BAR * max(value - lowest, 0.0) / (1 - lowest), 1)


def others(run: Run) -> list[dict[str, Any]]:
    """The smaller tables of the comparison as text, with their intervals in one column.

    Parameters
    ----------
    run : Run
        A run; tables that were not written are left out.

    Returns
    -------
    list of dict
        ``title``, ``caption``, ``columns`` and ``rows`` of each.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import others
    >>> others(dq.run.example_run())[0]["title"]
    'Planned differences'
    """
    tables, figure = [], figure_of(read(run.performance))
    for title, caption, name in _OTHERS:
        own = {"measures": _measures, "comparisons": _planned, "subgroups": _subgroups, "classifiers": _classifiers}
        table = own[name](run) if name in own else read(getattr(run, name))
        if table.empty:
            continue
        if {"estimate", "low", "high"} <= set(table):
            signs = name in ("reclassification", "comparisons")
            table = table.assign(estimate=[_interval(row, signs=signs) for row in table.to_dict("records")])
            table = table.drop(columns=["low", "high"]).rename(columns={"estimate": "estimate (95 %)"})
        for column in table.select_dtypes("number"):
            if not (table[column].dropna() % 1 == 0).all():
                table[column] = table[column].map(lambda value: "" if pd.isna(value) else short(value, 2))
        text = table.astype(object).where(table.notna(), "").map(_cell)
        rows = text.to_numpy().tolist()
        caption = caption.replace("AUC", figure)
        tables.append({"title": title, "caption": caption, "columns": list(text.columns), "rows": rows})
    return tables


def _planned(run: Run) -> pd.DataFrame:
    """The planned differences of the main result, the verdicts of all margins side by side."""
    main = main_rows(read(run.comparisons))
    if main.empty:
        return main
    verdicts = {f"non_inferior_{margin:g}": f"non-inferior by {margin:g}" for margin in margins_in(main)}
    names = ["question", "model_a", "model_b", "estimate", "low", "high", "p_holm", *verdicts]
    names += ["n", *(["events"] if main["events"].notna().any() else []), "caveat"]
    return main[names].rename(columns=verdicts | {"model_a": "of", "model_b": "and", "p_holm": "p after Holm"})


def _measures(run: Run) -> pd.DataFrame:
    """All measures but the AUC, one a row, of each family's widest model, one a column."""
    main = main_rows(read(run.performance))
    if main.empty:
        return main
    rows = headlines(main[main["measure"] != figure_of(main)], models(run))
    counted = rows["measure"].isin(("sensitivity", "specificity", "PPV", "NPV"))
    table = _across(rows, down="measure", basis=[
        f" {row['events']} of {row['n']}" if of else "" for of, row in zip(counted, rows.to_dict("records"), strict=True)
    ])  # fmt: skip
    unit = outcome_of(run).unit if set(rows["measure"]) & set(IN_UNITS) else ""
    return table.replace({"measure": {name: f"{name}, {unit}" for name in IN_UNITS}}) if unit else table


def _subgroups(run: Run) -> pd.DataFrame:
    """The AUC of each subgroup, one a row, by each family's widest model, one a column, with n and events."""
    rows = read(run.subgroups)
    if rows.empty:
        return rows
    return _across(rows, down="subgroup", basis=[f" {Estimate.of(row).basis}" for row in rows.to_dict("records")])


def _classifiers(run: Run) -> pd.DataFrame:
    """The AUC of each model on tables, one a row, by each other classifier, one a column."""
    rows = read(run.classifiers)
    if rows.empty:
        return rows
    said = [_interval(row) for row in rows.to_dict("records")]
    people = [women_of(pd.DataFrame([row])) for row in rows.to_dict("records")]
    rows = rows.assign(said=said, model=rows["family"] + ": " + rows["model"], women=people)
    table = rows.pivot(index=["model", "women"], columns="classifier", values="said")
    kept = table.reindex(index=pd.MultiIndex.from_frame(rows[["model", "women"]].drop_duplicates()))
    return kept[rows["classifier"].unique()].fillna("–").rename_axis(columns=None).reset_index()


def _across(rows: pd.DataFrame, *, down: str, basis: list[str]) -> pd.DataFrame:
    """Estimates with their intervals as text, the families' models across."""
    said = [f"{_interval(row)}{of}" for row, of in zip(rows.to_dict("records"), basis, strict=True)]
    across = rows["family"] + ": " + rows["model"]
    table = rows.assign(said=said, across=across).pivot(index=down, columns="across", values="said")
    kept = table.reindex(index=rows[down].unique(), columns=across.unique()).fillna("–")
    return kept.rename_axis(index=down, columns=None).reset_index()


def controls(run: Run) -> list[dict[str, Any]]:
    """One row for each control of each bone: what the networks saw, the AUC, whether it tests for leaks, any alarm.

    Parameters
    ----------
    run : Run
        Any run.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import controls
    >>> controls(dq.run.example_run())
    []
    """
    rows = []
    for bone in bones_of(run):
        if run.controls(bone).exists():
            for row in read_table(run.controls(bone)).to_dict("records"):
                estimate = Estimate.of(row)
                alarm = bool(row["must_fail"]) and estimate.estimable and str(row["at_chance"]) == "False"
                rows.append(
                    {
                        "bone": bone,
                        "what": row["shown"],
                        "figure": str(estimate),
                        "measure": row.get("measure", "AUC"),
                        "tested": bool(row["must_fail"]),
                        "alarm": alarm,
                    }
                )
    return rows


def rounded(path: Path) -> dict[str, Any] | None:
    """A table of the groups with its numbers rounded; None if it was not written or has no rows.

    Parameters
    ----------
    path : Path
        A CSV file of the run.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import rounded
    >>> rounded(dq.run.example_run().group_comparison)["columns"][0]
    'variable'
    """
    table = as_text(path)
    if table is None or not table["rows"]:
        return None
    numbers = {"effect", "estimate", "low", "high", "p", "q"}
    rows = [
        [
            short(float(cell.replace("−", "-")), 2) if name in numbers and cell else cell
            for name, cell in zip(table["columns"], row, strict=True)
        ]
        for row in table["rows"]
    ]
    return table | {"rows": rows}


def noise(table: pd.DataFrame, *, scores: Mapping[str, pd.DataFrame] | None = None) -> dict[str, Any] | None:
    """Below which difference two scans of one bone are alike, by index and bone; None where no woman was scanned twice.

    Parameters
    ----------
    table : DataFrame
        The content of precision.csv; it may be empty.
    scores : mapping of str to DataFrame, optional
        The content of scores_<bone>_repeats.csv by bone.

    Returns
    -------
    dict or None
        ``columns`` and ``rows`` of texts: the index, its unit, and for each bone the least significant change with its 95 %
        interval, and below it those of each scanner where there are several (``scanners``), and of registered scans where
        they were measured (``registered``); ``words``: from how many women, and whether they are enough; ``scores``: a
        sentence for each bone's networks.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> from deepqct.report.tables import noise
    >>> found = dq.evaluation.precision([1, 1, 2, 2], [300.0, 302.0, 280.0, 281.0]).row()
    >>> table = noise(pd.DataFrame([{"bone": "radius", "symbol": "Tt.vBMD", "unit": "mgHA/cm³", **found}]))
    >>> table["columns"], table["rows"]
    (['index', 'unit', 'radius'], [['Tt.vBMD', 'mgHA/cm³', '3.1 (1.6 to 19)']])
    """
    if table.empty:
        return None
    networks = {bone: each_scanner(rows, "score") for bone, rows in (scores or {}).items() if len(rows)}
    more = [
        {"bone": bone, "symbol": "network score", "unit": "logit", "scanner": scanner, **found.row()}
        for bone, each in networks.items()
        for scanner, found in each
    ]
    table = pd.concat([table, pd.DataFrame(more)], ignore_index=True) if more else table
    symbols, scanners = table["symbol"], table.get("scanner", pd.Series(np.nan, table.index)).astype(float)
    table = table.assign(symbol=symbols.where(scanners.isna(), symbols + scanners.map(", voxel {:g} mm".format)))
    if "registered_lsc" in table:
        again = table.dropna(subset="registered_lsc")
        mended = {
            name: again[f"registered_{name}"] for name in ("lsc", "lsc_low", "lsc_high", "n", "degrees_of_freedom")
        }
        table = pd.concat([table, again.assign(symbol=again["symbol"] + ", registered", **mended)])
    table = table.sort_values("symbol", kind="stable", key=_all_first(symbols))
    bones = [bone for bone in BONES if bone in set(table["bone"])]
    cells = table.assign(
        said=[
            f"{short(a, 2)} ({short(b, 2)} to {short(c, 2)})" if a > 0 else "–"
            for a, b, c in table[["lsc", "lsc_low", "lsc_high"]].itertuples(index=False)
        ]
    ).pivot(index=["symbol", "unit"], columns="bone", values="said")
    order = table[["symbol", "unit"]].drop_duplicates().itertuples(index=False, name=None)
    rows = [[*place, *cells.loc[place, bones].fillna("–")] for place in order]
    women, degrees = int(table["n"].max()), int(table["degrees_of_freedom"].max())
    words = f"{women} {'woman' if women == 1 else 'women'} scanned more than once, {degrees} degrees of freedom at most"
    words += "." if degrees >= ISCD_DEGREES else f": fewer than the {ISCD_DEGREES} that the ISCD asks for."
    return {
        "columns": ["index", "unit", *bones],
        "rows": rows,
        "words": words,
        "registered": any(", registered" in row[0] for row in rows),
        "scanners": bool(scanners.notna().any()),
        "scores": [
            f"Score of the {bone}'s networks{_at(scanner)}: two scans of one woman whose scores differ by less than "
            f"{_least(found.row())} logits differ by noise; {_basis(found.row())}."
            for bone, each in networks.items()
            for scanner, found in each
        ],
    }


def _at(scanner: Any) -> str:
    """Words for the scanner that a figure is of; empty for all together."""
    return f", voxel {scanner} mm" if scanner else ""


def _all_first(symbols: pd.Series) -> Callable[[pd.Series], pd.Series]:
    """A key that keeps the order of the indices, each followed by itself on each scanner and in registered scans."""
    place = {symbol: 2 * number for number, symbol in enumerate(dict.fromkeys(symbols))}
    return lambda names: names.map(lambda name: place[name] if name in place else place[name.split(", ")[0]] + 1)


def fused_noise(risks: pd.DataFrame) -> list[str]:
    """Below which difference two risks of one woman are alike, a sentence a model and scanner; empty without repeats.

    Parameters
    ----------
    risks : DataFrame
        The content of risks_repeats.csv; it may be empty.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.tables import fused_noise
    >>> known = {"participant_id": "A", "scanner": 0.061, "centre": "", "family": "DeepQCT", "model": "mean of all"}
    >>> print(fused_noise(pd.DataFrame({"score": [0.2, 0.4], "risk": [0.55, 0.6]}).assign(**known))[0])
    Risk by DeepQCT (mean of all): two scans of one woman whose risks differ by less than 0.098 (95 % 0.044 to 3.1) ...
    """
    if risks.empty:
        return []
    said = []
    for (family, model, scanner), rows in risk_precision(risks).groupby(["family", "model", "scanner"], sort=False):
        figures = rows.set_index("what").to_dict("index")
        what, scale = ("Risk", "risk") if "risk" in figures else ("Prediction", "predicted")
        shown, score = figures[scale], figures["score"]
        said.append(
            f"{what} by {family} ({model}){_at(scanner)}: two scans of one woman whose {what.lower()}s differ by less than "
            f"{_least(shown)} differ by noise; of its score {_least(score)}; {_basis(shown)}."
        )
    return said


def noise_costs(table: pd.DataFrame) -> list[str]:
    """What the noise of a scan costs an AUC, a sentence for each score; empty where it was not measured.

    Parameters
    ----------
    table : DataFrame
        The content of noise_costs.csv; it may be empty.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.tables import noise_costs
    >>> lost = {"auc": 0.75, "without_noise": 0.79, "lost": 0.04, "low": 0.02, "high": 0.06, "n": 216, "events": 71}
    >>> print(noise_costs(pd.DataFrame([{"family": "DeepQCT", "model": "all bones", **lost}]))[0])
    DeepQCT (all bones): without the noise of a scan the AUC of 0.75 would be 0.79, higher by 0.04 (95 % 0.02–0.06; n 216,
    71 events).
    """
    said = []
    for row in table.to_dict("records"):
        costs = Estimate(row["lost"], row["low"], row["high"], n=int(row["n"]), events=int(row["events"]))
        told = (
            f"without the noise of a scan the AUC of {row['auc']:.2f} would be {row['without_noise']:.2f}, "
            f"higher by {costs}"
            if costs.estimable
            else f"what the noise of a scan costs its AUC is {costs}"
        )
        said.append(f"{row['family']} ({row['model']}): {told}.")
    return said


def _basis(row: Mapping[Any, Any]) -> str:
    """On how many women a least significant change rests."""
    women, degrees = int(row["n"]), int(row["degrees_of_freedom"])
    few = "" if degrees >= ISCD_DEGREES else f" (the ISCD asks for {ISCD_DEGREES})"
    return (
        f"{women} {'woman' if women == 1 else 'women'}, {degrees} degree{'' if degrees == 1 else 's'} of freedom{few}"
    )


def _least(row: Mapping[Any, Any]) -> str:
    """A least significant change with its interval."""
    lsc, low, high = (short(row[name], 2) for name in ("lsc", "lsc_low", "lsc_high"))
    return f"{lsc} (95 % {low} to {high})"


def protocol(table: pd.DataFrame, found: pd.DataFrame, *, outcome: str) -> dict[str, Any] | None:
    """How the scans were made, for a fold of the report; None where it was not written.

    Parameters
    ----------
    table, found : DataFrame
        The content of protocol.csv and of scanners.csv; they may be empty.
    outcome : str
        The name of the outcome, for the warnings.

    Returns
    -------
    dict or None
        ``rows`` of site, setting, values and whether they differ, those that do first; ``gist``, how many differ;
        ``warnings``, where scanner or centre goes with the outcome.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.tables import protocol
    >>> known = {"site": "wrist", "what": ["slices", "energy, kV"], "values": ["168 (12)", "68 (11), 60 (1)"]}
    >>> found = protocol(pd.DataFrame(known | {"differs": [False, True]}), pd.DataFrame(), outcome="fracture")
    >>> found["gist"], found["rows"][0][1]
    ('1 of 2 settings differs between scans', 'energy, kV')
    """
    if table.empty:
        return None
    ordered = table.assign(differs=table["differs"].astype(bool)).sort_values("differs", ascending=False, kind="stable")
    differing, settings = ordered.loc[ordered["differs"], "what"].nunique(), ordered["what"].nunique()
    gist = f"{differing} of {settings} settings differ{'s' if differing == 1 else ''} between scans"
    warned = scanner_warnings(found, outcome=outcome) if len(found) else []
    return {
        "rows": ordered[["site", "what", "values", "differs"]].values.tolist(),
        "gist": gist if differing else f"none of {settings} settings differs between scans",
        "warnings": [line.removeprefix("Warning: ") for line in warned],
    }


def parameters(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of a run's jobs, a table for each stage; a value that differs between bones is given for each.

    Parameters
    ----------
    jobs : iterable of mapping
        ``stage``, ``bone`` and ``parameters`` of each job.

    Returns
    -------
    list of dict
        ``stage`` and ``rows`` of name and value.

    Examples
    --------
    >>> from deepqct.report.tables import parameters
    >>> bones = [{"stage": "02", "bone": bone, "parameters": {"seed": 7, "bone": bone}} for bone in ("radius", "ulna")]
    >>> parameters(bones)[0]["rows"]
    [['seed', '7'], ['bone', 'radius: radius; ulna: ulna']]
    """
    stages: dict[str, dict[str, dict[str, str]]] = {}
    for job in jobs:
        of_stage = stages.setdefault(job["stage"], {})
        for name, value in job["parameters"].items():
            of_stage.setdefault(name, {})[job["bone"]] = str(value)
    tables = []
    for stage, names in stages.items():
        rows = []
        for name, values in names.items():
            alike = len(set(values.values())) == 1
            each = "; ".join(f"{bone}: {value}" for bone, value in values.items())
            rows.append([name, next(iter(values.values())) if alike else each])
        tables.append({"stage": stage, "rows": rows})
    return tables


def read(path: Path) -> pd.DataFrame:
    """The table at `path`; an empty one where it was not written.

    Parameters
    ----------
    path : Path
        A CSV file of the run.

    Examples
    --------
    >>> from pathlib import Path
    >>> from deepqct.report.tables import read
    >>> len(read(Path("nowhere.csv")))
    0
    """
    return read_table(path) if path.exists() else pd.DataFrame()


def models(run: Run) -> pd.DataFrame:
    """The content of models.csv; a table without rows where it was not written.

    Parameters
    ----------
    run : Run
        Any run.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.tables import models
    >>> "headline" in models(dq.run.example_run())
    True
    """
    return read_table(run.models_table) if run.models_table.exists() else models_table([])


def _interval(row: dict[Any, Any], *, signs: bool = False) -> str:
    """An estimate with its interval, as one text."""
    if pd.isna(row["estimate"]):
        return NOT_ESTIMABLE
    figures = [row[k] for k in ("estimate", "low", "high")]
    if row.get("measure") in IN_UNITS:
        value, low, high = together(*figures)
    else:
        value, low, high = (signed(figure) if signs else plain(figure) for figure in figures)
    return f"{value} ({low} to {high})"


def _cell(value: Any) -> str:
    """A cell as text: whole numbers without a point, ``yes`` and ``no`` for True and False."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
