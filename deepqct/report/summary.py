"""The report's first screen: the answers in a few words, where to look, and what the run cannot tell."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from deepqct import plots
from deepqct.evaluation.discrimination import NOT_ESTIMABLE, Estimate, signed
from deepqct.report.findings import figure
from deepqct.run_tables import above_chance, figure_of, headline_aucs, main_rows, margins_in, network_auc
from deepqct.terms import CHANCE, NUMBER, TIME, YES_NO, Outcome

# The planned comparisons that the first screen answers: what each is called in the table, and how a reader asks for it.
_ASKED = {
    "DeepQCT − pQCT-index": "Do the networks tell more than the indices?",
    "DeepQCT − BMD": "Do they tell more than bone density (BMD)?",
    "pQCT-index + strength − pQCT-index": "Does the strength of the bones add to the indices?",
}
_YES, _PERHAPS, _NOT_SHOWN = "Yes", "Perhaps", "Not shown"
_LEVEL = 0.025  # of a one-sided p beside a two-sided 95 % interval


def answers(
    performance: pd.DataFrame, comparisons: pd.DataFrame, *, models: pd.DataFrame, outcome: str
) -> list[dict[str, str]]:
    """The questions of the run, each with a verdict and the figure behind it; the first is the primary one.

    Parameters
    ----------
    performance, comparisons, models : DataFrame
        The content of performance.csv, comparisons.csv and models.csv; each may be empty.
    outcome : str
        The name of the outcome, such as ``fracture``.

    Returns
    -------
    list of dict
        ``question``, ``verdict`` and ``words``; empty where no network was scored.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.summary import answers
    >>> run = dq.run.example_run()
    >>> performance, comparisons = (dq.folder.read_table(path) for path in (run.performance, run.comparisons))
    >>> found = answers(performance, comparisons, models=dq.run_tables.read_models(run), outcome="fracture")
    >>> found[0]["question"]
    'Do the networks tell women with fracture from women without?'
    """
    row = network_auc(performance, models=models)
    if row is None:
        return []
    e, verdict = Estimate.of(row), _NOT_SHOWN
    figure, chance = figure_of(performance), CHANCE[figure_of(performance)]
    nothing = "The mean of all women has 0" if figure == "R²" else "Chance is 0.5"
    words = f"DeepQCT, {row['model']}: out-of-fold {figure} {e}. {nothing}, perfect is 1."
    if not e.estimable:
        verdict = NOT_ESTIMABLE.capitalize()
    elif above_chance(row):
        verdict = _YES
        if row["p"] >= _LEVEL:
            verdict = _PERHAPS
            words += f" The luck of training alone could give as much (one-sided p {row['p']:.2g})."
    elif e.high < chance:
        words += " Below chance means that nothing was found, not the opposite of a finding."
    else:
        words += " Chance lies within the interval." if figure != "R²" else " That lies within the interval."
    name = outcome.replace("_", " ")
    asked = {
        "AUC": f"tell women with {name} from women without",
        "R²": f"tell a woman's {name}",
        "C-index": f"tell for whom {name} comes first",
    }
    first = {"question": f"Do the networks {asked[figure]}?", "verdict": verdict}
    return [first | {"words": words}, *_compared(comparisons)]


def _compared(comparisons: pd.DataFrame) -> list[dict[str, str]]:
    """The planned comparisons of the first screen, answered."""
    lines = []
    main = main_rows(comparisons)
    for row in [] if main.empty else main[main["question"].isin(_ASKED)].to_dict("records"):
        e, verdict = Estimate.of(row), _NOT_SHOWN
        if not e.estimable:
            verdict, words = NOT_ESTIMABLE.capitalize(), f"{e.basis}."
        else:
            words = f"Difference in {row.get('measure', 'AUC')} {signed(e.estimate)} "
            words += f"(95 % {signed(e.low)} to {signed(e.high)}; {e.basis}"
            tested = pd.isna(row["caveat"]) or not row["caveat"]
            words += f"; p {row['p_holm']:.2g} after Holm)." if tested else "); not tested."
            if tested and row["p_holm"] < 0.05:
                verdict = _YES if e.estimate > 0 else "No, less"
            if str(row["with_margin"]) == "True":
                shown = [m for m in margins_in(main) if str(row[f"non_inferior_{m:g}"]) == "True"]
                words += (
                    f" Non-inferior by a margin of {shown[0]:g}." if shown else " Non-inferiority is not shown either."
                )
        lines.append({"question": _ASKED[row["question"]], "verdict": verdict, "words": words})
    return lines


def to_look_at(
    curation: dict[str, Any] | None, *, untested: list[str], slope: Estimate | None, told: str = "risks"
) -> list[tuple[str, str, str]]:
    """What to look at before believing the answer: a sentence each, and the place in the report.

    Parameters
    ----------
    curation : dict or None
        As `deepqct.report.tables.curation` returns it; None before the curation.
    untested : list of str
        The bones whose networks were not tested for leaks.
    slope : Estimate or None
        The calibration slope of the model that speaks for DeepQCT.
    told : str
        What it predicts, in words.

    Returns
    -------
    list of (str, str, str)
        The sentence, the id that its link leads to, and the words of the link.

    Examples
    --------
    >>> from deepqct.report.summary import to_look_at
    >>> to_look_at({"scans": 24, "failed": 0, "rejected": 0, "flagged": 0}, untested=[], slope=None)
    [('All 24 scans were measured, and none has a flag.', 'scans', 'Scans')]
    """
    lines = []
    if curation is not None:
        kinds = {"failed": "not curated", "rejected": "rejected by a reader", "flagged": "flagged"}
        found = [f"{curation[kind]} {words}" for kind, words in kinds.items() if curation[kind]]
        scans = f"{curation['scans']} scans"
        said = f"{scans}: {', '.join(found)}." if found else f"All {scans} were measured, and none has a flag."
        lines.append((said, "scans", "Scans to look at" if found else "Scans"))
    if untested:
        lines.append((f"Not tested for leaks: {', '.join(untested)}.", "controls", "Controls"))
    if slope is not None and slope.estimable and not slope.low <= 1 <= slope.high:
        how = f"{told} are {'too extreme' if slope.estimate < 1 else 'too timid'}"
        ends = f"{slope.estimate:.2f} (95 % {slope.low:.2f} to {slope.high:.2f}; {slope.basis})".replace("-", "−")
        lines.append((f"The {how}: calibration slope {ends}, 1 is ideal.", "performance", "Models"))
    return lines


def limits(*, virtual: bool, outcome: str, sample_size: pd.DataFrame, target: Outcome | None = None) -> list[str]:
    """What no figure of the run can tell, the most important first.

    Parameters
    ----------
    virtual : bool
        True if the women are virtual.
    outcome : str
        The name of the outcome.
    sample_size : DataFrame
        The content of sample_size.csv; it may be empty.
    target : Outcome, optional
        The outcome with its kind; by default it is of 0 and 1.

    Returns
    -------
    list of str
        One sentence each.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.summary import limits
    >>> limits(virtual=True, outcome="fracture", sample_size=pd.DataFrame())[0]
    'Anything about patients: these women are virtual.'
    """
    lines = ["Anything about patients: these women are virtual."] if virtual else []
    kind = YES_NO if target is None else target.kind
    if kind == TIME and target is not None:
        died = int((target.values == 2).sum())
        lines.append(
            f"What comes after {target.horizon:g} years; {died} women died before the event, and count as women without "
            "it, as a cumulative incidence does."
        )
    elif kind == NUMBER:
        lines.append(f"What a woman's {outcome} will be: it was measured when the scan was made.")
    elif outcome == "fracture":
        lines.append(f"Who will have a {outcome}: the outcome lies in the past.")
    else:
        lines.append(f"Who will have the outcome ({outcome}): it was known when the scan was made.")
    lines.append("How it does elsewhere: it was tried on no other cohort, and the intervals are of these women.")
    if len(sample_size):
        short = int((~sample_size["enough"].astype(bool)).sum())
        if short:
            lines.append(f"Small effects: {short} of {len(sample_size)} table models ask for more women (Riley 2020).")
    return lines


def headline_figure(
    performance: pd.DataFrame, *, models: pd.DataFrame, attainable: float | None, outcome: str, virtual: bool
) -> dict[str, Any] | None:
    """The one figure of the first screen as an SVG, with its words; None where there is nothing to draw.

    Parameters
    ----------
    performance, models : DataFrame
        The content of performance.csv and models.csv.
    attainable : float or None
        The highest AUC that anybody can reach on such virtual women; None for patients.
    outcome : str
        The name of the outcome.
    virtual : bool
        Mark the figure as one of a virtual cohort.

    Returns
    -------
    dict or None
        ``data`` (base64) and ``alt``.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.report.summary import headline_figure
    >>> run = dq.run.example_run()
    >>> performance, models = dq.folder.read_table(run.performance), dq.run_tables.read_models(run)
    >>> drawn = headline_figure(performance, models=models, attainable=0.92, outcome="fracture", virtual=True)
    >>> drawn["alt"].partition(":")[0]
    'Out-of-fold AUC of each family'
    """
    rows = performance if performance.empty else headline_aucs(performance, models=models)
    if rows.empty:
        return None
    axes = plots.headlines(performance, models=models, attainable=attainable, event=outcome.replace("_", " "))
    drawn = axes.figure
    assert isinstance(drawn, Figure)
    if virtual:
        plots.mark_virtual(drawn)
    svg = BytesIO()
    with plt.rc_context({"svg.hashsalt": "deepqct"}):
        drawn.savefig(svg, format="svg", bbox_inches="tight", pad_inches=0.06, metadata={"Date": None, "Creator": None})
    plt.close(drawn)
    name = figure_of(performance)
    told = "; ".join(f"{row['family']} {figure(Estimate.of(row))}" for _, row in rows.iterrows())
    mark = ". Virtual cohort" if virtual else ""
    return {
        "data": base64.b64encode(svg.getvalue()).decode(),
        "alt": f"Out-of-fold {name} of each family: {told}{mark}.",
    }
