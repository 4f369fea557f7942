"""The model card of a bundle: what it is for, whom it was made from, how it did, and what nobody knows of it.

Headings after Mitchell M et al. (2019), doi:10.1145/3287560.3287596; items of TRIPOD+AI after Collins GS et al. (2024),
BMJ 385:e078378.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import jinja2
import pandas as pd

from deepqct.bundles.content import Content
from deepqct.evaluation.discrimination import Estimate
from deepqct.folder import PACKAGE, Run, read_table
from deepqct.run_tables import headlines, read_models

DEVICE = "Research, not a medical device."
_MEASURES = ("AUC", "intercept", "slope", "scaled Brier")


def card_of(run: Run, content: Content) -> dict[str, Any]:
    """The model card of a bundle, from the tables of its run.

    Parameters
    ----------
    run : Run
        Whose models were fitted.
    content : Content
        What the bundle holds.

    Returns
    -------
    dict
        ``title``, ``virtual`` (empty for patients), ``sections`` (heading, TRIPOD+AI items, lines) and ``performance``
        (family, model, split, measure and the figures of each).
    """
    made, primary = content.made, content.models[content.primary]
    performance = _performance(run, content)
    whom = f"{made.n} {'virtual ' if made.virtual else ''}women, {made.events} with {made.outcome}"
    age = content.reference
    aged = f", {age.age_low:.0f} to {age.age_high:.0f} years" if math.isfinite(age.age_low) else ""
    networks = content.networks
    recipes = sorted({f"{n.recipe.arch}, {n.recipe.images} images a woman" for n in networks.values()})
    sites = "; ".join(
        f"{site}: voxels of {mm[2]:.4g} mm, {content.curated.length_mm[site][0]:.3g} to "
        f"{content.curated.length_mm[site][1]:.3g} mm of length"
        for site, mm in content.curated.voxel_mm.items()
    )
    data = (
        f"Virtual women of the scenario {made.virtual}, made by deepqct: no patient is among them."
        if made.virtual
        else ("A cohort of patients; source, dates and consent are for its authors to state.")
    )
    test = f"; {made.test} more women were its test set" if made.test else ""
    sections = [
        ("Model", "12c, 22", [
            f"Risk of {made.outcome} from HR-pQCT scans: {', '.join(networks)}.",
            f"{len(made.folds)} folds' networks a bone ({'; '.join(recipes)}), first repeat of protocol {made.protocol}.",
            f"The risk is that of {primary.model.family}, {primary.model.name}; {len(content.models)} models are in the "
            "bundle, all refitted on all training women, as plain numbers.",
            f"Made by deepqct {made.deepqct}, modelled on DeepQCT (Chen 2024, of which the abstract alone is public).",
        ]),
        ("Intended use", "3b, 27", [
            DEVICE,
            f"Meant for researchers who ask how such networks do on women elsewhere, scanned alike ({sites}).",
            "Not for decisions about a patient, not for screening, not for following one woman over time.",
            *([f"The outcome, {made.outcome}, was known when the scan was made: nothing is said about the future."]),
        ]),
        ("Factors", "14, 16", [
            f"Made from {whom}{aged}{test}.",
            "Other sites, other scanner generations and women outside of the training range get no risk.",
            "How it does in men, in other countries and by treatment was not examined.",
        ]),
        ("Training data", "5a, 20", [
            data,
            "Nothing of a single woman is in the bundle: means, SDs, covariances and percentiles by age alone.",
            "Beginnings of the hashes of the training scans are in it." if content.trained_on else
            "Not even hashes of the training scans are in it.",
        ]),
        ("Metrics and evaluation", "12e, 23a", [
            "Internal: out-of-fold scores of the same cohort, by networks that had not seen the woman. No other cohort.",
            "Intervals take scores as given: they leave out the luck of one split and one training.",
            *_beside_chance(content),
        ]),
        ("Output", "15, 27a", [
            "A risk, with an interval of how much the folds' networks disagree. It leaves out other cohorts, the few women "
            "that calibration was fitted on, and the noise of a scan.",
            f"Logits of new women are stretched {primary.factor:.2f}-fold, since a mean of networks has less noise than "
            f"one; its noise is that in {'the test set' if made.test else 'women whom the networks learned from'}.",
            *_of_scale(content),
            "A missing index or factor counts as the median of the training women; a missing bone is left out of a mean.",
        ]),
        ("Ethical considerations", "17", [
            "Networks keep more of their training data than a table shows; whether single women could be recognised from "
            "weights was not examined.",
        ]),
        ("Caveats", "26", [
            "Everything of ulna and fibula rests on few or no published references.",
            "A fresh cohort with outcomes is needed before anybody believes these risks.",
        ]),
    ]  # fmt: skip
    return {
        "title": f"Model card: {made.outcome} from {', '.join(networks)}",
        "virtual": made.virtual,
        "device": DEVICE,
        "n": made.n,
        "events": made.events,
        "sections": [{"heading": heading, "tripod": items, "lines": lines} for heading, items, lines in sections],
        "performance": performance,
    }


def _performance(run: Run, content: Content) -> list[dict[str, Any]]:
    """The figures of the families' headline models, and of each bone's networks, in the bundle's protocol."""
    if not run.performance.exists() or not run.models_table.exists():
        return []
    table, models = read_table(run.performance), read_models(run)
    table = table[(table["protocol"] == content.made.protocol) & table["measure"].isin(_MEASURES)]
    alone = table[(table["family"] == "DeepQCT") & table["model"].isin(list(content.networks))]
    rows = pd.concat([headlines(table, models), alone]).drop_duplicates(["split", "family", "model", "measure"])
    figures = ("estimate", "low", "high")
    return [
        {name: row[name] for name in ("split", "family", "model", "measure")}
        | {name: float(row[name]) if math.isfinite(row[name]) else None for name in figures}
        | {"n": int(row["n"]), "events": int(row["events"])}
        for row in rows.to_dict("records")
    ]


def _beside_chance(content: Content) -> list[str]:
    """A warning of the bones whose networks were not shown to know anything."""
    weak = [bone for bone, networks in content.networks.items() if not networks.above_chance]
    return [f"Not shown to be better than chance alone: {', '.join(weak)}."] if weak else []


def internal_auc(card: dict[str, Any], content: Content) -> Estimate | None:
    """The internal AUC of the model whose risk is reported; None where the run has no figures.

    Parameters
    ----------
    card : dict
        The model card.
    content : Content
        What the bundle holds.
    """
    model = content.models[content.primary].model
    for row in card.get("performance", ()):
        if (row["measure"], row["split"], row["family"], row["model"]) == (
            "AUC", "out-of-fold", model.family, model.name,
        ):  # fmt: skip
            return Estimate.of({name: math.nan if value is None else value for name, value in row.items()})
    return None


@cache
def templates() -> jinja2.Environment:
    """The environment of the bundles' pages: every value is escaped, and none may be missing."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(PACKAGE / "bundles" / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def card_page(card: dict[str, Any]) -> str:
    """The model card as one page that asks the network for nothing.

    Parameters
    ----------
    card : dict
        From `card_of`.

    Returns
    -------
    str
        HTML.
    """
    rows = [
        row | {"figure": str(Estimate.of({k: math.nan if v is None else v for k, v in row.items()})).replace("-", "−")}
        for row in card["performance"]
    ]
    return templates().get_template("card.html").render(card=card, rows=rows)


def _of_scale(content: Content) -> list[str]:
    """What the card says of scanners that were put on one scale."""
    if (scale := content.scale) is None:
        return []
    others = ", ".join(scale.added) or "none"
    return [
        f"Indices are on the scale of {scale.by} {scale.reference}: what the others ({others}) add, as the training women "
        f"tell it beside the outcome, is taken off; the table of new women needs the column {scale.by}. The networks' "
        "scores are not on one scale."
    ]
