"""The TRIPOD+AI checklist, filled from a run; what a run cannot know stays visibly open.

Items after Collins GS et al. (2024), BMJ 385:e078378, in our own short words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from deepqct.terms import NUMBER, YES_NO, Outcome

OPEN = "open: to be written by the authors"
_LATER = "see its section of this report"
# What each family predicts from, in words.
_PREDICTORS = {
    "BMD": "bone density", "Clinical": "clinical factors", "FRAX": "FRAX", "pQCT-index": "indices", "Strength": "strength",
    "Texture": "texture", "DeepQCT": "networks' scores",
}  # fmt: skip

# Item, what it asks for, and the key in `_facts` of the answer; where there is no key, only the authors can answer.
_ITEMS: tuple[tuple[str, str, str | None], ...] = (
    ("1", "Title: development or evaluation of a model, population, outcome", None),
    ("2", "Structured abstract (TRIPOD+AI for Abstracts)", None),
    ("3a", "Context, rationale, existing models", None),
    ("3b", "Target population, intended use and users in the care pathway", None),
    ("3c", "Known health inequalities between groups", None),
    ("4", "Objectives: development, evaluation or both", "objective"),
    ("5a", "Source of data and why it represents the target population", "source"),
    ("5b", "Dates of the data, end of follow-up", None),
    ("6a", "Setting, number and place of centres", None),
    ("6b", "Eligibility of participants", None),
    ("6c", "Treatments received and how they were handled", None),
    ("7", "Data preparation and quality checks", "curation"),
    ("8a", "Outcome, time horizon, how and when assessed, why this one", "outcome"),
    ("8b", "Qualifications of those who assessed a subjective outcome", None),
    ("8c", "Blinding of the assessment of the outcome", None),
    ("9a", "Choice of initial predictors", "predictors"),
    ("9b", "Definition of all predictors, how and when measured", "definitions"),
    ("9c", "Qualifications of those who assessed subjective predictors", None),
    ("10", "How the size of the study was arrived at", "size"),
    ("11", "Missing data", "missing"),
    ("12a", "How the data were used for development and evaluation", "splits"),
    ("12b", "How predictors were handled in the analyses", "handling"),
    ("12c", "Type of model, building steps, tuning, internal validation", "model"),
    ("12d", "Heterogeneity of estimates across clusters", None),
    ("12e", "Measures of performance, and their comparison", "measures"),
    ("12f", "Model updating", "updating"),
    ("12g", "How predictions were calculated", "predictions"),
    ("13", "Class imbalance: methods and recalibration", "imbalance"),
    ("14", "Approaches to fairness", "fairness"),
    ("15", "Output of the model, classification and its thresholds", "output"),
    ("16", "Differences between development and evaluation data", "evaluation"),
    ("17", "Ethical approval, consent", None),
    ("18a", "Funding and the role of the funders", None),
    ("18b", "Conflicts of interest", None),
    ("18c", "Protocol, or that there was none", None),
    ("18d", "Registration, or that there was none", None),
    ("18e", "Availability of data", None),
    ("18f", "Availability of the code", "code"),
    ("19", "Involvement of patients and the public", None),
    ("20a", "Flow of participants, with and without the outcome", "participants"),
    ("20b", "Characteristics of participants, missing data", "table_one"),
    ("20c", "Comparison of development and evaluation data", "compared"),
    ("21", "Participants and events in each analysis", "events"),
    ("22", "Full model for predictions in new individuals", "sheet"),
    ("23a", "Performance with intervals, key subgroups", "performance"),
    ("23b", "Heterogeneity of performance across clusters", None),
    ("24", "Results of model updating", "updating"),
    ("25", "Interpretation in the light of objectives and earlier studies", None),
    ("26", "Limitations", "limits"),
    ("27a", "How poor or missing input is handled in use", "missing"),
    ("27b", "Whether users interact with the input or need expertise", None),
    ("27c", "Next steps of research", None),
)


def checklist(
    *,
    settings: Mapping[str, Any],
    people: tuple[int | None, int | None, str],
    virtual: bool,
    there: Mapping[str, bool],
    target: Outcome | None = None,
    families: Collection[str] = tuple(_PREDICTORS),
    subgroups: Collection[str] = ("younger", "osteoporosis"),
) -> pd.DataFrame:
    """Return the TRIPOD+AI checklist of one run, with an answer wherever the run knows one.

    Parameters
    ----------
    settings : mapping
        The run's parameters: a mapping by name for each stage that has parameters.
    people : tuple
        The number of patients and of events, both None before the curation, and the name of the outcome.
    virtual : bool
        True for virtual women.
    there : mapping of str to bool
        Which tables the run has: performance, table_one, sheet, curation, sample_size, subgroups.
    target : Outcome, optional
        The outcome with its kind; by default it is of 0 and 1.
    families : collection of str
        The families of models that were fitted, as in models.csv.
    subgroups : collection of str
        The subgroups that were looked at, as in subgroups.csv.

    Returns
    -------
    DataFrame
        One row for each item: ``item`` (its number), ``asks``, ``answer``, and ``done``, which is False where the
        authors must still write the answer.

    Examples
    --------
    >>> from deepqct.report.tripod import checklist
    >>> items = checklist(settings={}, people=(60, 20, "fracture"), virtual=True, there={})
    >>> items.set_index("item").loc[["20a", "17"], "answer"].tolist()
    ['60 women, 20 with fracture; scans that failed are listed above', 'open: to be written by the authors']
    """
    facts = _facts(settings, people, virtual, there)
    if "predictors" in facts:
        by = ", ".join(words for family, words in _PREDICTORS.items() if family in families)
        facts["predictors"] = f"by family: {by}; none selected" if by else ""
    if "fairness" in facts:
        sides = {"age": "younger", "osteoporosis": "osteoporosis"}
        by = " and ".join(name for name, word in sides.items() if any(word in one for one in subgroups))
        facts["fairness"] = f"AUC by {by}; no other group is looked at" if by else ""
    if target is not None and target.kind != YES_NO:
        facts |= _of_kind(target, facts)
    rows = []
    for item, asks, key in _ITEMS:
        answer = facts.get(key or "", "")
        rows.append({"item": item, "asks": asks, "answer": answer or OPEN, "done": bool(answer)})
    return pd.DataFrame(rows)


def _of_kind(target: Outcome, facts: Mapping[str, str]) -> dict[str, str]:
    """The answers that are others where the outcome is a number or a time."""
    if target.kind == NUMBER:
        words = {
            "outcome": f"{target.name}, a number measured when the scan was made: no time horizon, no follow-up",
            "measures": "R², mean absolute error, calibration of the mean; differences paired, adjusted after Holm",
            "imbalance": "not applicable: a number",
            "output": "a number, by ridge regression",
            "model": facts.get("model", "").replace("ridge logistic regression", "ridge regression"),
            "events": "n stands beside every figure; a number has no events",
            "fairness": facts.get("fairness", "").replace("AUC", "R²"),
        }
    else:
        words = {
            "outcome": f"{target.name}: time to the event after the scan, judged at {target.horizon:g} years; death "
            "before it is a competing event",
            "measures": "C-index, AUC at the horizon, calibration at the horizon; differences paired, adjusted after Holm",
            "imbalance": "none corrected; risks are cumulative incidences",
            "output": "a risk between 0 and 1 by the horizon; no thresholds",
            "model": facts.get("model", "").replace("ridge logistic regression", "Cox's model with a ridge"),
            "fairness": facts.get("fairness", "").replace("AUC", "C-index"),
        }
    participants = f"{len(target.values)} women, {target.counted}; scans that failed are listed above"
    return {key: value for key, value in (words | {"participants": participants}).items() if facts.get(key)}


def _facts(
    settings: Mapping[str, Any], people: tuple[int | None, int | None, str], virtual: bool, there: Mapping[str, bool]
) -> dict[str, str]:
    """What a run knows of itself, by the keys of `_ITEMS`; what it does not know is left out."""
    n, events, outcome = people
    curation, network = (settings.get(name, {}) for name in ("01_data_curation", "02_train_bone"))
    fusion = settings.get("03_fusion_and_baselines", {})
    facts = {
        "objective": "development with internal validation; no external evaluation",
        "source": "virtual women, made of published statistics and physics; they represent nobody" if virtual else "",
        "code": "deepqct, Apache-2.0; version and input hashes in the run record",
    }
    if there.get("performance"):
        facts |= {
            "outcome": f"{outcome}, {'a history' if 'fracture' in outcome else 'known when the scan was made'}: no time "
            "horizon, no follow-up",
            "predictors": "by family",
            "definitions": "indices: table in the curation notebook; clinical columns: participants.json",
            "missing": "median imputing in the training folds; who has no value of a model is left out, and n says so",
            "handling": "standardised in the training folds; linear in the ridge models, as images in the networks",
            "measures": "AUC, AUPRC, calibration, classification, net benefit; differences paired, adjusted after Holm",
            "updating": "none",
            "predictions": "out of fold; test set by the mean of the folds' networks, on the scale of a single one",
            "imbalance": "none corrected; risks keep the cohort's share of events",
            "output": "a risk between 0 and 1; thresholds chosen in the training folds",
            "evaluation": "none: the same cohort, by folds",
            "compared": "not applicable: the same cohort, by folds",
            "limits": "methods and limits below",
        }
    if network:
        facts["model"] = (
            f"{network.get('arch', 'resnet34')} a bone, {network.get('epochs', '?')} epochs fixed beforehand; "
            f"ridge logistic regression with a nested penalty; late fusion, {fusion.get('stacking', 'standard')} stacking"
        )
    if curation:
        facts["splits"] = (
            f"by patient: {curation.get('folds', '?')} folds, {curation.get('repeats', 1)} repeat(s), "
            f"protocols {curation.get('protocols', 'all')}"
        )
    if n is not None:
        facts["participants"] = f"{n} women, {events} with {outcome}; scans that failed are listed above"
        facts["events"] = "n and events stand beside every AUC and measure"
    for name, key in (("curation", "curation"), ("table_one", "table_one"), ("performance", "performance")):
        if there.get(name):
            facts[key] = f"{name.replace('_', ' ')}: {_LATER}"
    if there.get("sample_size"):
        facts["size"] = (
            "criteria of Riley et al. (2020) for every fitted model, below; the cohort was as large as it was"
        )
    if there.get("subgroups"):
        facts["fairness"] = "by subgroup"
    if there.get("sheet"):
        facts["sheet"] = "score sheet of the fused model; networks' weights in models/"
    return {key: value for key, value in facts.items() if value}
