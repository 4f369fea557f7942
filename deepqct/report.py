"""The offline report of a run, and its executed notebooks as pages: nothing in them asks the network for anything."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import numpy as np
import pandas as pd

from deepqct.evaluation import FEWEST, Estimate
from deepqct.folder import Run, read_json, read_table, write_text

_TEMPLATES = Path(__file__).parent / "templates"
_TITLES = {
    "00_virtual_cohort": "Virtual women",
    "01_data_curation": "Curation",
    "02_train_bone": "Network of the",
    "03_fusion_and_baselines": "Three families",
    "04_clustering": "Patient groups",
}
_TABLES = (
    "performance.csv",
    "predictions.csv",
    "indices.csv",
    "phenotypes.csv",
    "group_comparison.csv",
    "curation.csv",
)


def write_report(run: Run) -> Path:
    """Write index.html from what lies in the run folder; what is missing or failed is said.

    Parameters
    ----------
    run : Run
        With run.json; every other file may be missing.

    Returns
    -------
    Path
        The report.
    """
    record = read_json(run.record)
    jobs = [_job(run, name, content) for name, content in record["stages"].items()]
    performance = read_table(run.performance) if run.performance.exists() else pd.DataFrame()
    curation = read_table(run.curation).fillna("") if run.curation.exists() else pd.DataFrame()
    n, events, outcome = _counts(run)
    attainable = _attainable(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        record=record,
        jobs=jobs,
        n=n,
        events=events,
        outcome=outcome,
        attainable=attainable,
        alarms=_alarms(jobs, curation),
        result=_result(performance, record=record, outcome=outcome, attainable=attainable),
        table_one=_table_one(run),
        flagged=_flagged(curation),
        scans=len(curation),
        performance=_performance(performance),
        files=[name for name in _TABLES if (run.folder / name).exists()],
    )
    return write_text(run.report, page)


def notebook_page(notebook: Path, page: Path, *, virtual: str | None) -> Path:
    """Write an executed notebook, finished or not, as an HTML page that needs no network.

    Parameters
    ----------
    notebook, page : Path
        The .ipynb and the .html.
    virtual : str or None
        The scenario of a virtual cohort, for the banner.

    Returns
    -------
    Path
        `page`.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[str(_TEMPLATES)])
    content = nbformat.read(notebook, as_version=4)
    body, _ = exporter.from_notebook_node(content, {"virtual": virtual, "metadata": {"name": notebook.stem}})
    return write_text(page, body)


def _job(run: Run, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """One job as the report shows it, with its figures."""
    stage = next((stage for stage in _TITLES if name.startswith(stage)), name)
    bone = name.removeprefix(f"{stage}_") if name != stage else ""
    records = sorted(run.figures(name).glob("*.json"), key=lambda path: read_json(path)["order"])
    figures = [
        read_json(path) | {"data": base64.b64encode(path.with_suffix(".png").read_bytes()).decode()} for path in records
    ]
    seconds = content.get("seconds")
    return {
        "name": name,
        "title": f"{_TITLES.get(stage, stage)} {bone}".strip(),
        "status": content["status"],
        "error": content.get("error"),
        "seconds": "–" if seconds is None else f"{seconds:.0f}",
        "parameters": content["parameters"],
        "figures": figures,
        "page": f"notebooks/{name}.html" if run.page(name).exists() else "",
    }


def _counts(run: Run) -> tuple[int, int, str]:
    """Patients, events, and the name of the outcome."""
    outcome = read_json(run.settings)["outcome"]
    if not run.participants.exists():
        return 0, 0, outcome
    table = read_table(run.participants)
    return len(table), int(table[outcome].sum()), outcome


def _attainable(run: Run) -> float | None:
    """The AUC that nobody can exceed on a virtual cohort."""
    virtual = read_json(run.dictionary).get("virtual") if run.dictionary.exists() else None
    return None if virtual is None else float(virtual["attainable_auc"]["all"])


def _alarms(jobs: list[dict[str, Any]], curation: pd.DataFrame) -> list[str]:
    """What a reader must know before the numbers."""
    lines = [f"{job['name']} failed: {job['error']}" for job in jobs if job["status"] == "failed"]
    waiting = [job["name"] for job in jobs if job["status"] == "not run"]
    if waiting:
        lines.append(f"Not run: {', '.join(waiting)}.")
    failed = 0 if curation.empty else int((curation["status"] == "failed").sum())
    if failed:
        lines.append(f"{failed} of {len(curation)} scans could not be curated; see “Scans to look at”.")
    return lines


def _result(performance: pd.DataFrame, *, record: dict[str, Any], outcome: str, attainable: float | None) -> list[str]:
    """The result in words: the widest DeepQCT model of each protocol, with its interval."""
    if performance.empty:
        return ["There is no result yet: the comparison of the families did not finish."]
    women = "virtual women" if record["virtual"] else "women"
    lines = []
    for (protocol, split), part in performance[performance["measure"] == "AUC"].groupby(["protocol", "split"]):
        if part[part["family"] == "DeepQCT"].empty:
            continue
        row = part[part["family"] == "DeepQCT"].iloc[-1]
        estimate = _estimate(row)
        of = f"In {estimate.n} {women} ({estimate.events} with {outcome}; protocol “{protocol}”, {split})"
        if not estimate.estimable:
            lines.append(
                f"{of} the AUC of DeepQCT, {row['model']}, is not estimable: fewer than {FEWEST} of one outcome."
            )
            continue
        line = f"{of} DeepQCT, {row['model']}, reached an AUC of {_with_interval(estimate)}."
        others = [part[part["family"] == family] for family in ("pQCT-index", "BMD")]
        lasts = [other.iloc[-1] for other in others if not other.empty]
        compared = [f"{r['family']}, {r['model']}, {_with_interval(_estimate(r))}" for r in lasts]
        line += f" On the same women: {'; '.join(compared)}." if compared else ""
        if attainable is not None:
            line += f" The attainable AUC is {attainable:.2f}."
        if split == "test":
            line += " A test set this small fits anything from weak to excellent."
        lines.append(line)
    return lines or ["No network was trained; see the table for the other families."]


def _estimate(row: pd.Series) -> Estimate:
    """One row of performance.csv."""
    return Estimate(row["value"], row["low"], row["high"], int(row["n"]), int(row["events"]))


def _with_interval(estimate: Estimate) -> str:
    """The figure and its interval, without n, where n stands beside it."""
    if not estimate.estimable:
        return "not estimable"
    return f"{estimate.value:.2f} (95 % {estimate.low:.2f}–{estimate.high:.2f})"


def _table_one(run: Run) -> dict[str, Any] | None:
    """Table 1 as rows of text."""
    if not run.table_one.exists():
        return None
    table = pd.read_csv(run.table_one, dtype=str).fillna("")
    return {"columns": list(table.columns), "rows": table.to_numpy().tolist()}


def _flagged(curation: pd.DataFrame) -> list[dict[str, str]]:
    """Scans that failed or carry flags."""
    if curation.empty:
        return []
    what = np.where(curation["status"] == "failed", "failed: " + curation["reason"], curation["flags"])
    table = curation.assign(what=what)[["participant_id", "site", "what"]]
    return [{str(k): str(v) for k, v in row.items()} for row in table[table["what"] != ""].to_dict("records")]


def _performance(table: pd.DataFrame) -> list[dict[str, Any]]:
    """performance.csv as blocks by protocol and split, then by family."""
    blocks: list[dict[str, Any]] = []
    if table.empty:
        return blocks
    for (protocol, split), part in table.groupby(["protocol", "split"]):
        families = []
        for family in part["family"].unique():
            rows = []
            for _, row in part[part["family"] == family].iterrows():
                estimate = _estimate(row)
                rows.append(
                    {
                        "model": row["model"],
                        "value": f"{estimate.value:.2f}" if estimate.estimable else "not estimable",
                        "interval": f"{estimate.low:.2f}–{estimate.high:.2f}" if estimate.estimable else "",
                        "n": estimate.n,
                        "events": estimate.events,
                    }
                )
            families.append({"name": family, "rows": rows})
        blocks.append({"protocol": protocol, "split": split, "families": families})
    return blocks
