"""The model card of pretrained weights: what they saw, what they read, and what they must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepqct.networks.structure import CONVENTIONS


def card_text(record: Mapping[str, Any]) -> str:
    """Put the record of a pretraining into words.

    Parameters
    ----------
    record : mapping
        As `pretrain` writes it to pretraining.json.

    Returns
    -------
    str
        Markdown.
    """
    made_from = record["made_from"]
    settings, virtual = made_from["settings"], made_from["images"] == "virtual bones"
    saw = (
        "Virtual bones only: pieces of radius, ulna, tibia and fibula, drawn, blurred and made noisy with other constants "
        "for each piece. No patient and no virtual woman is among them."
        if virtual
        else f"{len(made_from['scans'])} scans of patients, whose hashes the file names; no network that begins with it "
        "may score these women, and deepqct refuses to."
    )
    licence = (
        "Apache-2.0, as deepqct."
        if virtual
        else "For the laboratory to decide whose scans these are; they are patients'."
    )
    began = {"none": "random weights", "imagenet": "ImageNet's weights"}.get(settings["weights"], "weights from a file")
    lines = [
        f"# Pretrained {settings['arch']}: a network that has seen bone",
        "",
        f"**Saw.** {saw} {record['images']} images from {record['pieces']} pieces, each once, {settings['pixels']} pixels "
        f"along an edge, in the window of {settings['low']:g} to {settings['high']:g} mgHA/cm³. It began with {began}.",
        "",
        "**Learned.** To read what `deepqct.bones` measures in each of these very images. No outcome, no risk, and nothing "
        "of how a bone was drawn was a target.",
        "",
        "**Reads.** On pieces that it has not seen (r: Pearson; R²: share of the variance, without a new fit; 4 images "
        "share a piece; of lengths the logarithm, of the porosity the root):",
        "",
        "| target | what it is | images | pieces | r | R² |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['target']} | {CONVENTIONS[row['target']]} | {row['n']} | {row['pieces']} | {_number(row['r'])} | "
            f"{_number(row['r2'])} |"
            for row in record["readings"]
        ),
        "",
        *([] if record["readings"] else ["Nobody was held out, so that the readings were not judged.", ""]),
        "**Meant for.** `Recipe(weights=…)`: a start for networks that are trained on an outcome. Not a diagnosis, and no "
        "measure in place of the indices.",
        "",
        "**Limits.** Pixels of 0.10 to 0.24 mm; motion and metal were not among the images. Whether it helps on patients "
        "is for a comparison with `weights=none` on the same folds to say.",
        "",
        f"**Licence.** {licence}",
        "",
        f"deepqct {made_from['versions']['deepqct']}, torch {made_from['versions']['torch']}, {record['device']}, seed "
        f"{settings['seed']}; SHA-256 of the weights {record['weights_sha256']}.",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    """A figure of the table; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"
