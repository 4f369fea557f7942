"""The offline report of a run: one page that asks the network for nothing.

Its first screen has the answer; the rest is folded, and open on paper. The report says what was run, what came out (with
n, events and interval) and what is missing. A job that failed is shown as failed, never left out. No absolute path of the
machine gets into the report.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from deepqct.evaluation.discrimination import NETWORKS_VARY, Estimate
from deepqct.folder import PACKAGE, Job, Run, read_json, write_text
from deepqct.report import tables, tripod
from deepqct.report.figures import FOLDED, SHOWN, figures, not_drawn
from deepqct.report.findings import cautions, differences, figure, learned, result, spokesman
from deepqct.report.pages import without_paths
from deepqct.report.summary import answers, headline_figure, limits, to_look_at
from deepqct.run_tables import attainable as attainable_figures
from deepqct.run_tables import bones_of, figure_of, headlines, main_rows, network_auc, outcome_of
from deepqct.terms import BONES, FIGURE, NUMBER, TIME, YES_NO, Outcome, barred_words

_TEMPLATES = PACKAGE / "report" / "templates"
_TITLES = {
    "00_virtual_cohort": "Virtual women",
    "01_data_curation": "Curation",
    "02_train_bone": "Network of the",
    "03_fusion_and_baselines": "Model families",
    "04_clustering": "Patient groups",
    "05_explore": "Single women",
}
# The sections with figures: id, title, and the stages that they show. What 03 draws of the networks stands with these.
_SECTIONS = (
    ("cohort", "Women and scans", ("00_virtual_cohort", "01_data_curation")),
    ("performance", "Models compared", ("03_fusion_and_baselines",)),
    ("bones", "Networks, bone by bone", ("02_train_bone",)),
    ("groups", "Patient groups", ("04_clustering",)),
    ("women", "One woman", ("05_explore",)),
)
TABLES = (
    "table_one.csv",
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
    "protocol.csv",
    "scanners.csv",
    "precision.csv",
)
# Measured on simulated cohorts by `make bench-evaluation`; the report says each where it matters.
STACKING_BIAS = (
    "Where there is nothing to find this adds to the fused AUC: 0.543 (± 0.003) in 400 simulated cohorts of 216 women "
    "with four scores of noise, where strict stacking has 0.498 (± 0.003). The mean of the bones has 0.495 (± 0.005) in "
    "150 of them; calibrated bone by bone before, it would have 0.556 (± 0.005)."
)
COVERAGE = (
    "In simulations they contained the true AUC 95 % of the time with fixed scores of 216 women, 96 to 98 % of 21; with "
    "cross-validated ridge models 95 % for 8 columns and 216 women, but 90 % for 68 columns, and 84 % for 8 columns and 60 "
    "women, which is too narrow."
)
TRAINED = (
    "In 400 simulated cohorts of 216 women each such intervals contained the true difference 94 to 97 % of the time for 3 "
    "to 10 trainings (94 to 99 % for one), where DeLong's alone contained it 87 to 96 % (80 to 95 %)."
)
AVERAGED = (
    "In 100 simulated cohorts with six networks their calibration slope was then 0.9 to 1.0, for noise of half to one and "
    "a half times the signal; by the mean logit alone it was 1.2 to 2.3, far too timid."
)


def write_report(run: Run, *, folder: Path | None = None) -> Path:
    """Write the report of a run, one page that needs no other file, from what lies in the run folder.

    Parameters
    ----------
    run : Run
        A run with run.json; every other file may be missing, and the report says so.
    folder : Path, optional
        Where the report is written, and whose files it links to; the run folder if not given.

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
    record, beside = read_json(run.record), folder or run.folder
    target = outcome_of(run) if run.participants.exists() and run.dictionary.exists() else None
    virtual, people = bool(record.get("virtual")), _people(run, target)
    stages = sorted(record.get("stages", {}).values(), key=_place)
    performance, models = tables.read(run.performance), tables.models(run)
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        virtual=virtual,
        scenario=record.get("scenario") or "unnamed",
        planted=_planted(_attainable(run), figure=FIGURE[YES_NO if target is None else target.kind]),
        facts=_facts(record),
        who=_who(record, people, virtual=virtual, target=target),
        kind=YES_NO if target is None else target.kind,
        figure_name=figure_of(performance),
        horizon=None if target is None or target.kind != TIME else target.horizon,
        counted="" if target is None else target.counted,
        barred=barred_words(read_json(run.dictionary)) if run.dictionary.exists() else "",
        outcome=people[2],
        title=_title(people[2], target),
        jobs=[_job(run, entry, beside=beside) for entry in stages],
        **_first_screen(run, performance, models=models, outcome=people[2], virtual=virtual, target=target),
        **_numbers(run, performance, models=models, outcome=people[2], virtual=virtual),
        sections=_sections(run, stages, performance=performance, models=models),
        bone_aucs=_bone_aucs(run, performance, models=models),
        pooled={bone: _pooled(performance, models=models, bone=bone) for bone in BONES},
        table_one=tables.as_text(run.table_one),
        stacking=_parameter(record, "03_fusion_and_baselines", "stacking"),
        bias=STACKING_BIAS,
        coverage=COVERAGE,
        trained=TRAINED,
        averaged=AVERAGED,
        checklist=_checklist(run, record, people, target).to_dict("records"),
        groups=read_json(run.phenotypes_record) if run.phenotypes_record.exists() else None,
        preprint=tables.rounded(run.groups_beside_preprint),
        comparison=tables.rounded(run.group_comparison),
        networks_vary=NETWORKS_VARY,
        started=_moment(record.get("started")),
        finished=_moment(record.get("finished")),
        versions=record.get("packages", {}) | record.get("versions", {}),
        proof=_proof(run, record),
        inputs=record.get("inputs", {}),
        parameters=tables.parameters(_job(run, entry, beside=beside) for entry in stages),
        files=[name for name in ("run.json", *TABLES) if (beside / name).exists()],
    )
    return write_text(beside / run.report.name, page)


def _first_screen(
    run: Run,
    performance: pd.DataFrame,
    *,
    models: pd.DataFrame,
    outcome: str,
    virtual: bool,
    target: Outcome | None,
) -> dict[str, Any]:
    """What the first screen shows, and the tables behind it that later sections show again."""
    scans = tables.curation(tables.read(run.curation), run) if run.curation.exists() else None
    controls, slope = tables.controls(run), None
    if len(performance):
        slopes = headlines(main_rows(performance[performance["measure"] == "slope"]), models).query(
            "family == 'DeepQCT'"
        )
        slope = None if slopes.empty else Estimate.of(slopes.iloc[0])
    tested = {row["bone"] for row in controls if row["tested"]}
    untested = [bone for bone in bones_of(run) if run.scores(bone).exists() and bone not in tested]
    return {
        "answers": answers(performance, tables.read(run.comparisons), models=models, outcome=outcome),
        "headline": headline_figure(
            performance, models=models, attainable=_attainable(run), outcome=outcome, virtual=virtual
        ),
        "attainable": _attainable(run),
        "look_at": to_look_at(
            scans,
            untested=untested,
            slope=slope,
            told="predictions" if target is not None and target.kind == NUMBER else "risks",
        ),
        "limits": limits(virtual=virtual, outcome=outcome, sample_size=tables.read(run.sample_size), target=target),
        "curation": scans,
        "noise": tables.noise(
            tables.read(run.precision), scores={bone: tables.read(run.repeat_scores(bone)) for bone in bones_of(run)}
        ),
        "protocol": tables.protocol(tables.read(run.protocol), tables.read(run.scanners), outcome=outcome),
        "fused_noise": tables.fused_noise(tables.read(run.repeat_risks)),
        "noise_costs": tables.noise_costs(tables.read(run.noise_costs)),
        "controls": controls,
        "untested": untested,
    }


def _numbers(
    run: Run, performance: pd.DataFrame, *, models: pd.DataFrame, outcome: str, virtual: bool
) -> dict[str, Any]:
    """The sentences and tables of the comparison of models."""
    found = tables.read(run.optimism), performance, tables.read(run.sample_size)
    return {
        "result": result(performance, models=models, virtual=virtual, outcome=outcome, attainable=_attainable(run)),
        "spokesman": spokesman(models),
        "performance": tables.aucs(performance),
        "differences": differences(tables.read(run.comparisons)),
        "cautions": cautions(*found, models=models) if len(performance) else [],
        "others": tables.others(run),
    }


def _sections(
    run: Run, stages: list[dict[str, Any]], *, performance: pd.DataFrame, models: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    """The sections with figures by their ids: title, jobs, figures, what is left out, and what stands in notebooks."""
    groups = read_json(run.phenotypes_record).get("groups") if run.phenotypes_record.exists() else None
    known: dict[str, Any] = {"performance": performance, "models": models, "groups": groups}
    jobs = {name: [Job(e["stage"], e["bone"]) for e in stages if e["stage"] in of] for name, _, of in _SECTIONS}
    names = {name: SHOWN[name] for name in jobs}
    if groups == 1:
        names["groups"] = SHOWN["one group"]
    extra = {"performance": SHOWN["bones"]}
    shown = {
        name: figures(run, jobs[name], names=(*names[name], *FOLDED.get(name, ()), *extra.get(name, ())), **known)
        for name in jobs
    }
    networks = [one for one in shown["performance"].figures if one["name"] in SHOWN["bones"]]
    if networks:  # one figure of all bones, in place of one for each
        shown["bones"] = figures(run, jobs["bones"], names=(), **known)
    why = not_drawn(performance, models=models)
    sections: dict[str, dict[str, Any]] = {}
    for name, title, _ in _SECTIONS:
        said = {"bones": why["bones"], "women": why["score"], "performance": why["score"]}.get(name, "")
        drawn = {one["name"]: one for one in shown[name].figures}
        sections[name] = {
            "title": title,
            "jobs": [str(job) for job in jobs[name]],
            "figures": [drawn[one] for one in names[name] if one in drawn],
            "folded": [drawn[one] for one in FOLDED.get(name, ()) if one in drawn],
            "left": shown[name].left + ([said] if said else []),
            "more": shown[name].more,
        }
    if networks:
        sections["bones"]["figures"] = networks
    return sections


def _bone_aucs(run: Run, performance: pd.DataFrame, *, models: pd.DataFrame) -> str:
    """The AUC of each bone's networks in words, with n and events once where they are the same; empty without any."""
    rows = {bone: network_auc(performance, models=models, bone=bone) for bone in bones_of(run)}
    found = {bone: Estimate.of(row) for bone, row in rows.items() if row is not None}
    name = figure_of(performance)
    if len({e.basis for e in found.values()}) != 1:
        return f"{name} {', '.join(f'{bone} {e}' for bone, e in found.items())}" if found else ""
    basis = next(iter(found.values())).basis
    return f"{name} {', '.join(f'{bone} {figure(e)}' for bone, e in found.items())}; {basis}"


def _pooled(performance: pd.DataFrame, *, models: pd.DataFrame, bone: str) -> str:
    """The AUC of one bone's networks over all folds in words; empty where they were not judged."""
    row = network_auc(performance, models=models, bone=bone)
    return "" if row is None else str(Estimate.of(row))


def _title(outcome: str, target: Outcome | None) -> str:
    """What the report is about, in words."""
    name = outcome.replace("_", " ")
    if target is not None and target.kind == NUMBER:
        return name[:1].upper() + name[1:]
    return f"{name[:1].upper() + name[1:]}{'' if target is not None and target.kind == TIME else ' risk'}"


def _planted(attainable: float | None, *, figure: str) -> str:
    """What was put into a virtual cohort, in words; empty for patients, and where it is not known."""
    if attainable is None:
        return ""
    if attainable <= 0.5 and figure != "R²":
        return f"no effect was put in; every true {figure} is 0.50"
    return f"an effect was put in; best possible {figure} {attainable:.2f}"


def _job(run: Run, content: dict[str, Any], *, beside: Path) -> dict[str, Any]:
    """One job of run.json as the report shows it."""
    job = Job(content["stage"], content["bone"])
    page = f"notebooks/{job}.html"
    return {
        "name": str(job),
        "stage": job.stage,
        "bone": job.bone,
        "title": f"{_TITLES.get(job.stage, job.stage)} {job.bone}".strip(),
        "status": content.get("status", "not run"),
        "error": without_paths(str(content.get("error") or "no error was recorded"), run.folder),
        "seconds": content.get("seconds"),
        "time": _duration(content.get("seconds")),
        "memory": _size(content.get("peak_mb")),
        "disk": _size(content.get("disk_mb")),
        "parameters": content.get("parameters", {}),
        "page": page if (beside / page).exists() else "",
        "learned": learned(tables.read(run.training(job.bone))) if job.bone else {},
    }


def _place(content: dict[str, Any]) -> tuple[str, int]:
    """The place of a job in the report: by stage, then by bone."""
    return content["stage"], BONES.index(content["bone"]) if content["bone"] else 0


def _people(run: Run, target: Outcome | None) -> tuple[int | None, int | None, str]:
    """The numbers of patients and events, None before the curation, and the name of the outcome."""
    settings = read_json(run.settings) if run.settings.exists() else {}
    if target is None:
        return None, None, settings.get("outcome", "outcome")
    name = target.name if target.kind == NUMBER else target.event
    return len(target.values), target.events, name


def _attainable(run: Run) -> float | None:
    """The best AUC, R² or C-index that anybody can reach on a virtual cohort; None for patients, or if it is not known."""
    return attainable_figures(run).get("all")


def _who(
    record: dict[str, Any],
    people: tuple[int | None, int | None, str],
    *,
    virtual: bool,
    target: Outcome | None,
) -> str:
    """Of whom the report speaks, in one line."""
    n, women = people[0], "virtual women" if virtual else "women"
    counted = "not counted yet" if target is None else f"{n} {women}, {target.counted}"
    return f"{counted} · cohort {record.get('cohort', 'unknown')} · {_moment(record.get('started'))[:10]}"


def _facts(record: dict[str, Any]) -> dict[str, str]:
    """The facts of the run record: what was run, by what, and how long it took."""
    return {
        "Cohort": str(record.get("cohort", "unknown")),
        "Preset": Path(str(record.get("preset", "unknown"))).name,
        "Time by the clock, last call": _duration(record.get("seconds")),
        # Of all jobs, also those that an earlier call of a continued run did; side by side they count twice.
        "Time of all jobs, added": _duration(sum(job.get("seconds") or 0 for job in record.get("stages", {}).values())),
        "Trained on": str(record.get("device", "unknown")),
        "Seed": str(record.get("seed", "unknown")),
        "deepqct": str(record.get("deepqct", "unknown")),
        **_made_on(record),
    }


def _made_on(record: dict[str, Any]) -> dict[str, str]:
    """Machine and commit of a run, each in a few words; nothing where an older version did not note them."""
    facts = {}
    if machine := record.get("machine"):
        card = "" if machine["accelerator"] == "none" else f", {machine['accelerator']}"
        facts["Machine"] = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB{card}"
    if git := record.get("git"):
        facts["Commit"] = f"{git['commit'][:10]}{', with changes' if git['changed'] else ''}"
    return facts


def _proof(run: Run, record: dict[str, Any]) -> str:
    """By which files the run can be proven, and what of it was removed since; empty for a run of an older version."""
    files = record.get("files")
    if not files:
        return ""
    said = f"run.json keeps the SHA-256 of {len(files)} files of the run and {len(record.get('inputs', {}))} inputs."
    endings = Counter(Path(name).suffix for name in run.tidied_files())
    counted = [(endings[ending], what) for ending, what in ((".npy", "stack"), (".safetensors", "network"))]
    gone = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in counted if n]
    return f"{said} Removed since by deepqct tidy: {', '.join(gone)}." if gone else said


def _parameter(record: dict[str, Any], stage: str, name: str) -> str:
    """The value of one parameter of one stage; empty where the stage did not run."""
    return str(record.get("stages", {}).get(stage, {}).get("parameters", {}).get(name, ""))


def _checklist(
    run: Run, record: dict[str, Any], people: tuple[int | None, int | None, str], target: Outcome | None
) -> pd.DataFrame:
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
    virtual = bool(record.get("virtual"))
    fitted, looked_at = tables.models(run), tables.read(run.subgroups)
    return tripod.checklist(
        settings=settings, people=people, virtual=virtual, there=there, target=target, families=set(fitted["family"]),
        subgroups=set(looked_at["subgroup"]) if len(looked_at) else (),
    )  # fmt: skip


def _duration(seconds: float | None) -> str:
    """A number of seconds in words, such as ``1 min 40 s``."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _size(megabytes: float | None) -> str:
    """A number of megabytes in words, such as ``1.8 GB``."""
    if megabytes is None:
        return "–"
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def _moment(iso: str | None) -> str:
    """A date and time, written to the minute."""
    return "unknown" if not iso else dt.datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M")
