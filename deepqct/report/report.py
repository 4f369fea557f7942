"""The offline report of a run, and its executed notebooks as pages: nothing in them asks the network for anything.

The report says what was run, what came out (with n, events and interval) and what is missing. A job that failed is
shown as failed, never left out. No absolute path of the machine gets into the report.
"""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from deepqct.evaluation.discrimination import NETWORKS_VARY, NOT_ESTIMABLE, Estimate, signed
from deepqct.folder import PACKAGE, Job, Run, read_json, read_table, write_text
from deepqct.models.families import models_table
from deepqct.plots.style import screen_size
from deepqct.report import tripod
from deepqct.report.findings import cautions, differences, learned, result, spokesman
from deepqct.report.pages import without_paths
from deepqct.run_tables import bones_of, headlines, main_rows, margins_in, run_outcome, virtual_of
from deepqct.terms import BONES

_TEMPLATES = PACKAGE / "report" / "templates"
_TITLES = {
    "00_virtual_cohort": "Virtual women",
    "01_data_curation": "Curation",
    "02_train_bone": "Network of the",
    "03_fusion_and_baselines": "Model families",
    "04_clustering": "Patient groups",
    "05_explore": "Single women",
}
_TABLES = (
    "models.csv",
    "performance.csv",
    "comparisons.csv",
    "curves.csv",
    "reclassification.csv",
    "subgroups.csv",
    "optimism.csv",
    "classifiers.csv",
    "sample_size.csv",
    "predictions.csv",
    "indices.csv",
    "texture.csv",
    "phenotypes.csv",
    "phenotypes.json",
    "group_comparison.csv",
    "groups_beside_preprint.csv",
    "thresholds.csv",
    "curation.csv",
)
# Measured on simulated cohorts by `make bench-evaluation`; the report says each where it matters.
STACKING_BIAS = (
    "Where there is nothing to find this adds to the fused AUC: 0.543 (± 0.003) in 400 simulated cohorts of 216 women "
    "with four scores of noise, where strict stacking has 0.498 (± 0.003). The mean of the bones has 0.495 (± 0.005) in "
    "150 of them; calibrated bone by bone before, it would have 0.556 (± 0.005)."
)
COVERAGE = (
    "In simulations they held the truth 95 % of the time with fixed scores of 216 women, 96 to 98 % of 21; with "
    "cross-validated ridge models 95 % for 8 columns and 216 women, but 90 % for 68 columns, and 84 % for 8 columns and 60 "
    "women: too narrow there."
)


TRAINED = (
    "In 400 simulated cohorts of 216 women each such intervals held the truth 94 to 97 % of the time for 3 to 10 trainings "
    "(94 to 99 % for one), where DeLong's alone held it 87 to 96 % (80 to 95 %)."
)
AVERAGED = (
    "In 100 simulated cohorts with six networks their calibration slope was 0.9 to 1.0 so, for noise of half to one and a "
    "half times the signal; by the mean logit alone it was 1.2 to 2.3, far too timid."
)


def write_report(run: Run) -> Path:
    """Write the report of a run, one page that needs no other file, from what lies in the run folder.

    Parameters
    ----------
    run : Run
        A run with run.json; every other file may be missing, and the report says so.

    Returns
    -------
    Path
        The report, ``index.html``.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> run = dq.folder.Run(Path(tempfile.mkdtemp()))
    >>> _ = dq.folder.write_json(run.record, {"preset": "smoke", "stages": {}})
    >>> page = dq.report.write_report(run)
    >>> page.name, "There is no result yet" in page.read_text(encoding="utf-8")
    ('index.html', True)
    """
    record = read_json(run.record)
    jobs = [_job(run, entry) for entry in sorted(record.get("stages", {}).values(), key=_place)]
    performance = read_table(run.performance) if run.performance.exists() else pd.DataFrame()
    curation = read_table(run.curation).fillna("") if run.curation.exists() else None
    attainable = _attainable(run)
    people, controls = _people(run), _controls(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        virtual=bool(record.get("virtual")),
        scenario=record.get("scenario") or "unnamed",
        facts=_facts(record, people),
        jobs=jobs,
        result=result(
            performance,
            models=_models(run),
            virtual=bool(record.get("virtual")),
            outcome=people[2],
            attainable=attainable,
        ),
        spokesman=spokesman(_models(run)),
        attainable=attainable,
        curation=None if curation is None else _curation(curation, run),
        table_one=_table(run.table_one),
        performance=_performance(performance),
        differences=differences(_read(run.comparisons)),
        cautions=cautions(_read(run.optimism), performance, _read(run.sample_size), models=_models(run))
        if len(performance)
        else [],
        others=_others(run),
        stacking=_parameter(record, "03_fusion_and_baselines", "stacking"),
        bias=STACKING_BIAS,
        coverage=COVERAGE,
        trained=TRAINED,
        averaged=AVERAGED,
        checklist=_checklist(run, record, people).to_dict("records"),
        verdict=read_json(run.phenotypes_record)["verdict"] if run.phenotypes_record.exists() else None,
        preprint=_rounded(run.groups_beside_preprint),
        comparison=_rounded(run.group_comparison),
        networks_vary=NETWORKS_VARY,
        controls=controls,
        untested=[
            bone
            for bone in bones_of(run)
            if run.scores(bone).exists() and not any(row["tested"] for row in controls if row["bone"] == bone)
        ],
        started=_moment(record.get("started")),
        finished=_moment(record.get("finished")),
        versions=record.get("versions", {}),
        inputs=record.get("inputs", {}),
        files=[name for name in ("run.json", *_TABLES) if (run.folder / name).exists()],
    )
    return write_text(run.report, page)


def _job(run: Run, content: dict[str, Any]) -> dict[str, Any]:
    """One job of run.json as the report shows it, together with its figures."""
    job = Job(content["stage"], content["bone"])
    records = {path: read_json(path) for path in run.figures(job).glob("*.json")}
    figures = [
        {**words, **shown}
        for path, words in sorted(records.items(), key=lambda item: (item[1].get("order", 0), item[0]))
        if (shown := _shown(path))
    ]
    return {
        "name": str(job),
        "stage": job.stage,
        "title": f"{_TITLES.get(job.stage, job.stage)} {job.bone}".strip(),
        "status": content.get("status", "not run"),
        "error": without_paths(str(content.get("error") or "no error was recorded"), run.folder),
        "time": _duration(content.get("seconds")),
        "parameters": content.get("parameters", {}),
        "figures": figures,
        "page": f"notebooks/{job}.html" if run.page(job).exists() else "",
        "learned": learned(_read(run.training(job.bone))) if job.bone else "",
    }


def _place(content: dict[str, Any]) -> tuple[str, int]:
    """The place of a job in the report: by stage, then by bone."""
    return content["stage"], BONES.index(content["bone"]) if content["bone"] else 0


def _shown(record: Path) -> dict[str, Any]:
    """The picture of a figure's record: a PNG as text with its size on a screen, a slider, or nothing."""
    png, slider = record.with_suffix(".png"), record.with_suffix(".html")
    if png.exists():
        return {"data": base64.b64encode(png.read_bytes()).decode(), **screen_size(png)}
    return {"slider": slider.read_text(encoding="utf-8")} if slider.exists() else {}


def _people(run: Run) -> tuple[int | None, int | None, str]:
    """The numbers of patients and events, None before the curation, and the name of the outcome."""
    settings = read_json(run.settings) if run.settings.exists() else {}
    if not run.participants.exists():
        return None, None, settings.get("outcome", "outcome")
    outcome = settings.get("outcome") or str(run_outcome(run).name)  # a stage by hand leaves no settings
    table = read_table(run.participants)
    return len(table), int(table[outcome].sum()), outcome


def _attainable(run: Run) -> float | None:
    """The highest AUC that anybody can reach on a virtual cohort; None for patients."""
    value = virtual_of(run).get("attainable_auc", {}).get("all")
    return None if value is None else float(value)


def _facts(record: dict[str, Any], people: tuple[int | None, int | None, str]) -> dict[str, str]:
    """The facts in the head of the report: what was run, when, and on how many women."""
    n, events, outcome = people
    return {
        "Cohort": str(record.get("cohort", "unknown")),
        "Women": "not known yet" if n is None else f"{n}, {events} with {outcome}",
        "Preset": Path(str(record.get("preset", "unknown"))).name,
        "Date": _moment(record.get("started"))[:10],
        # Of all jobs, also those that an earlier call of a continued run did; side by side they count twice.
        "Computing": _duration(sum(job.get("seconds") or 0 for job in record.get("stages", {}).values())),
        "Trained on": str(record.get("device", "unknown")),
        "Seed": str(record.get("seed", "unknown")),
        "deepqct": str(record.get("deepqct", "unknown")),
    }


def _curation(table: pd.DataFrame, run: Run) -> dict[str, Any]:
    """The number of scans, and a row for each that failed, was rejected or carries flags, those with most flags first."""
    failed, rejected = table[table["status"] == "failed"], table[table["status"] == "rejected"]
    flagged = table[(table["status"] == "curated") & (table["flags"] != "")]
    flagged = flagged.assign(n=flagged["flags"].str.count("; ")).sort_values(["n", "motion_score"], ascending=False)
    rows = [
        [r["participant_id"], r["site"], without_paths(f"failed: {r['reason']}", run.folder)]
        for _, r in failed.iterrows()
    ]
    rows += [[r["participant_id"], r["site"], str(r["reason"])] for _, r in rejected.iterrows()]
    rows += [[r["participant_id"], r["site"], str(r["flags"])] for _, r in flagged.iterrows()]
    counts = {"failed": len(failed), "rejected": len(rejected), "flagged": len(flagged)}
    return {"scans": len(table), **counts, "rows": rows}


def _table(path: Path) -> dict[str, Any] | None:
    """The columns and rows of a table as text; None if it was not written."""
    if not path.exists():
        return None
    table = pd.read_csv(path, dtype=str).fillna("")
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}


def _performance(table: pd.DataFrame) -> dict[str, Any] | None:
    """performance.csv as one table: models by family down, protocol and split across."""
    if table.empty:
        return None
    table = table[table["measure"] == "AUC"]
    blocks = list(dict.fromkeys(table[["protocol", "split"]].itertuples(index=False, name=None)))
    usual = {
        block: rows[["n", "events"]].value_counts().index[0]
        for block in blocks
        for rows in [table[(table["protocol"] == block[0]) & (table["split"] == block[1])]]
    }
    cells: dict[tuple[str, str], dict[tuple[str, str], dict[str, str]]] = {}
    for _, row in table.iterrows():
        estimate, block = Estimate.of(row), (row["protocol"], row["split"])
        of_other_women = (estimate.n, estimate.events) != tuple(usual[block])
        cells.setdefault((row["family"], row["model"]), {})[block] = {
            "value": f"{estimate.estimate:.2f}" if estimate.estimable else NOT_ESTIMABLE,
            "interval": f"{estimate.low:.2f}–{estimate.high:.2f}" if estimate.estimable else "",
            "basis": f"n {estimate.n}, {estimate.events} events" if of_other_women else "",
        }
    none = {"value": "–", "interval": "", "basis": ""}
    families: dict[str, list[dict[str, Any]]] = {}
    for (family, model), by_block in cells.items():
        families.setdefault(family, []).append({"model": model, "cells": [by_block.get(b, none) for b in blocks]})
    heads = [{"protocol": p, "split": s, "n": usual[p, s][0], "events": usual[p, s][1]} for p, s in blocks]
    return {"heads": heads, "families": families}


def _read(path: Path) -> pd.DataFrame:
    """The table at `path`; an empty one where it was not written."""
    return read_table(path) if path.exists() else pd.DataFrame()


def _parameter(record: dict[str, Any], stage: str, name: str) -> str:
    """The value of one parameter of one stage; empty where the stage did not run."""
    return str(record.get("stages", {}).get(stage, {}).get("parameters", {}).get(name, ""))


def _checklist(run: Run, record: dict[str, Any], people: tuple[int | None, int | None, str]) -> pd.DataFrame:
    """The TRIPOD+AI checklist of this run."""
    stages = record.get("stages", {})
    settings: dict[str, Any] = {}
    for job in sorted(stages.values(), key=_place):
        settings.setdefault(job["stage"], job.get("parameters") or {})
    there = {
        "performance": run.performance.exists(),
        "table_one": run.table_one.exists(),
        "sheet": (run.figures("03_fusion_and_baselines") / "nomogram.png").exists(),
        "curation": run.curation.exists(),
        "sample_size": run.sample_size.exists(),
        "subgroups": run.subgroups.exists(),
    }
    return tripod.checklist(settings=settings, people=people, virtual=bool(record.get("virtual")), there=there)


# Title and caption of the smaller tables of the comparison, and the attribute of `Run` that names each file.
_OTHERS = (
    (
        "Planned differences",
        "Out-of-fold, first protocol: difference in AUC, p after Holm, whether non-inferiority is shown by each margin.",
        "comparisons",
    ),
    (
        "Other measures",
        "Out-of-fold, each family's widest model; AUPRC of all repeats, the rest of the first.",
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


def _others(run: Run) -> list[dict[str, Any]]:
    """The smaller tables as text, with their intervals in one column."""
    tables = []
    for title, caption, name in _OTHERS:
        own = {"measures": _measures, "comparisons": _planned}
        table = own[name](run) if name in own else _read(getattr(run, name))
        if table.empty:
            continue
        if {"estimate", "low", "high"} <= set(table):
            signs = name in ("reclassification", "comparisons")
            table = table.assign(estimate=[_interval(row, signs=signs) for row in table.to_dict("records")])
            table = table.drop(columns=["low", "high"]).rename(columns={"estimate": "estimate (95 %)"})
        for column in table.select_dtypes("number"):
            if not (table[column].dropna() % 1 == 0).all():
                table[column] = table[column].map(lambda value: "" if pd.isna(value) else f"{value:.2g}")
        text = table.astype(object).where(table.notna(), "").map(_cell)
        rows = text.to_numpy().tolist()
        tables.append({"title": title, "caption": caption, "columns": list(text.columns), "rows": rows})
    return tables


def _planned(run: Run) -> pd.DataFrame:
    """The planned differences of the main result, the verdicts of all margins side by side."""
    main = main_rows(_read(run.comparisons))
    if main.empty:
        return main
    verdicts = {f"non_inferior_{margin:g}": f"non-inferior by {margin:g}" for margin in margins_in(main)}
    names = ["question", "model_a", "model_b", "estimate", "low", "high", "p_holm", *verdicts]
    names += ["n", "events", "repeats", "training", "caveat"]
    return main[names].rename(columns=verdicts | {"model_a": "of", "model_b": "and", "p_holm": "p after Holm"})


def _measures(run: Run) -> pd.DataFrame:
    """All measures but the AUC, of each family's widest model."""
    main = main_rows(_read(run.performance))
    if main.empty:
        return main
    rows = headlines(main[main["measure"] != "AUC"], _models(run))
    return rows[["family", "model", "measure", "estimate", "low", "high", "n", "events"]]


def _models(run: Run) -> pd.DataFrame:
    """The content of models.csv; a table without rows where it was not written."""
    return read_table(run.models_table) if run.models_table.exists() else models_table([])


def _interval(row: dict[Any, Any], *, signs: bool = False) -> str:
    """An estimate with its interval, as one text."""
    if pd.isna(row["estimate"]):
        return NOT_ESTIMABLE
    value, low, high = (signed(row[k]) if signs else f"{row[k]:.2f}" for k in ("estimate", "low", "high"))
    return f"{value} ({low} to {high})"


def _cell(value: Any) -> str:
    """A cell as text: whole numbers without a point, ``yes`` and ``no`` for True and False."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _controls(run: Run) -> list[dict[str, Any]]:
    """One row for each control of each bone: what the networks saw, the AUC, whether it tests for leaks, any alarm."""
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
                        "tested": bool(row["must_fail"]),
                        "alarm": alarm,
                    }
                )
    return rows


def _rounded(path: Path) -> dict[str, Any] | None:
    """A table of the groups with its numbers rounded; None if it was not written or has no rows."""
    table = _table(path)
    if table is None or not table["rows"]:
        return None
    numbers = {"effect", "estimate", "low", "high", "p", "q"}
    rows = [
        [
            f"{float(cell):.2g}" if name in numbers and cell else cell
            for name, cell in zip(table["columns"], row, strict=True)
        ]
        for row in table["rows"]
    ]
    return table | {"rows": rows}


def _duration(seconds: float | None) -> str:
    """A number of seconds in words, such as ``1 min 40 s``."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _moment(iso: str | None) -> str:
    """A date and time, written to the minute."""
    return "unknown" if not iso else dt.datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M")
