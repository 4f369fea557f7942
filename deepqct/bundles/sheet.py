"""One page for one new woman: a risk with its interval and what it rests on, or why none is given. It prints on one A4."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from deepqct import __version__
from deepqct.bundles.card import DEVICE, internal_auc, templates
from deepqct.bundles.content import Bundle
from deepqct.bundles.prediction import Looked, Predictions, Woman
from deepqct.bundles.source import MANIFEST
from deepqct.folder import write_table, write_text
from deepqct.plots.style import BONE_COLOURS
from deepqct.terms import BONES, UNITS

# The rows of the table, those that most is published of; all indices are in indices.csv.
_SHOWN = ("Tt.vBMD", "Tb.vBMD", "Ct.vBMD", "Tt.Ar", "Ct.Th", "Ct.Po", "Tb.BV/TV", "Tb.N", "Tb.Th", "Tb.Sp")
_MOST_IMAGES, _MOST_LINES, _PIXELS = 3, 6, 150
_WINDOW = (-400.0, 1400.0)
_FAR = 2.0  # SDs from which a z-score is marked


def woman_page(bundle: Bundle, woman: Woman) -> str:
    """The sheet of one woman, which asks the network for nothing.

    Parameters
    ----------
    bundle : Bundle
        By which she was predicted.
    woman : Woman
        From `predict`.

    Returns
    -------
    str
        HTML.
    """
    content, primary, row = bundle.content, bundle.primary, woman.row
    auc = internal_auc(bundle.card, content)
    reasons = [text[:1].upper() + text[1:] for text in woman.reasons]
    # A woman who is not like the others gets no figures that compare her with them.
    table = [] if woman.reasons else _table(woman)
    weak = [bone for bone, networks in content.networks.items() if not networks.above_chance]
    if auc is not None and not auc.low > 0.5:
        weak = [f"{primary.model.family}, {primary.model.name} (the interval of its internal AUC includes 0.5)", *weak]
    by_age = np.isfinite(content.reference.age_low) and not any("her age is not known" in note for note in woman.notes)
    aged = "of her age" if by_age else "of all ages"
    heated = any(seen.heat is not None for seen in woman.looked.values())
    title = "Where the networks looked" if heated else "What was scanned" if woman.reasons else "What the networks saw"
    words: dict[str, Any] = {
        "woman": woman, "made": content.made, "model": primary.model, "device": DEVICE, "version": __version__,
        "reasons": reasons[:_MOST_LINES], "more": max(len(reasons) - _MOST_LINES, 0),
        "notes": "; ".join([*woman.notes[:_MOST_LINES], *(["more in predictions.csv"] * (len(woman.notes) > _MOST_LINES))]),
        "weak": ", ".join(weak), "table": table, "bones": [bone for bone in BONES if _has(woman, bone)],
        "reference": content.reference, "aged": aged, "pictures": _pictures(woman), "fingerprint": row["bundle"],
        "auc": "not known" if auc is None else str(auc), "moved": "raised or lowered", "count": len(woman.each),
        "heated": heated, "title": title,
        "risk": "", "interval": "", "above": "", "prior": "", "strip": "", "bars": "", "group": "",
    }  # fmt: skip
    if not woman.reasons:
        words |= {
            "risk": _percent(row["risk"]),
            "interval": f"{_percent(row['low'])} to {_percent(row['high'])}",
            "above": _beside(row["above_threshold"]),
            "prior": _percent(primary.prior), "strip": _strip(woman, prior=primary.prior), "bars": _bars(woman.shares),
            "group": _group(woman, bundle),
        }  # fmt: skip
    return templates().get_template("sheet.html").render(words)


def write_predictions(predictions: Predictions, out: str | Path) -> Path:
    """Write the tables of some predictions, and a sheet for each woman.

    Parameters
    ----------
    predictions : Predictions
        From `predict`.
    out : str or Path
        The folder that receives predictions.csv, by_model.csv, indices.csv and sheets/.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If the folder is that of a run or of a bundle.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> scans = [dq.run.example_run().virtual / "cohort" / "scans" / "sub-0001_wrist.AIM"]
    >>> found = dq.predict(dq.bundles.example_bundle(), scans)
    >>> out = dq.bundles.write_predictions(found, Path(tempfile.mkdtemp()))
    >>> sorted(path.name for path in out.iterdir())
    ['by_model.csv', 'indices.csv', 'predictions.csv', 'sheets']
    """
    folder = Path(out)
    if kept := next((name for name in ("run.json", MANIFEST) if (folder / name).exists()), None):
        what = "bundle" if kept == MANIFEST else "run folder"
        raise ValueError(
            f"{folder} is a {what}, whose own files predictions must not replace; give another folder by --out."
        )
    write_table(folder / "predictions.csv", predictions.table)
    write_table(folder / "by_model.csv", predictions.by_model)
    write_table(folder / "indices.csv", predictions.indices)
    for woman in predictions.women:
        name = re.sub(r"[^A-Za-z0-9-]+", "-", woman.participant_id)
        write_text(folder / "sheets" / f"{name}.html", woman_page(predictions.bundle, woman))
    return folder


def show_sheet(predictions: Predictions, participant_id: str = "") -> Any:
    """The sheet of one woman for a notebook, in a frame that runs nothing.

    Parameters
    ----------
    predictions : Predictions
        From `predict`.
    participant_id : str
        The woman; by default the first with a risk, or the first.

    Returns
    -------
    IPython HTML
        What the notebook displays.

    Raises
    ------
    ValueError
        If there is no such woman.

    Examples
    --------
    >>> import deepqct as dq
    >>> scans = [dq.run.example_run().virtual / "cohort" / "scans" / "sub-0001_wrist.AIM"]
    >>> dq.bundles.show_sheet(dq.predict(dq.bundles.example_bundle(), scans)).data.startswith("<div><iframe sandbox")
    True
    """
    from IPython.display import HTML

    women = {woman.participant_id: woman for woman in predictions.women}
    first = next((woman for woman in predictions.women if not woman.reasons), predictions.women[0])
    if participant_id and participant_id not in women:
        raise ValueError(f"No scan of {participant_id!r} was given; use one of {', '.join(women)}.")
    page = woman_page(predictions.bundle, women.get(participant_id, first))
    how = 'sandbox title="sheet" style="width: 100%; height: 62em; border: 1px solid"'
    return HTML(f'<div><iframe {how} srcdoc="{escape(page)}"></iframe></div>')


def _beside(above: bool | None) -> str:
    """Where a score lies beside the threshold, in words."""
    if above is None:
        return "the run has no threshold"
    return ("at or above" if above else "below") + " the run's threshold"


def _percent(share: float) -> str:
    """A risk in whole percent, never as certain."""
    return "under 1 %" if share < 0.01 else "over 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def _has(woman: Woman, bone: str) -> bool:
    return bool(woman.indices["index"].str.startswith(f"{bone} ").any())


def _table(woman: Woman) -> list[dict[str, Any]]:
    """The rows of the table of indices: a name, and value, z and percentile of each bone."""
    by_index = {row["index"]: row for row in woman.indices.to_dict("records")}
    bones = [bone for bone in BONES if _has(woman, bone)]
    lines = []
    for symbol in _SHOWN:
        cells = []
        for bone in bones:
            if f"{bone} {symbol}" not in by_index:
                cells.append({"value": "", "z": "", "percentile": "", "mark": ""})
                continue
            found = by_index[f"{bone} {symbol}"]
            percentile, z = float(found["percentile"]), float(found["z"])
            said = "≤ 5" if percentile <= 5 else "≥ 95" if percentile >= 95 else f"{percentile:.0f}"
            mark = "low" if z <= -_FAR else "high" if z >= _FAR else ""
            value = f"{found['value']:.3g}"
            cells.append({"value": value, "z": f"{z:+.1f}".replace("-", "−"), "percentile": said, "mark": mark})
        unit = UNITS[symbol]
        lines.append({"name": f"{symbol} ({unit})" if unit != "1" else symbol, "cells": cells})
    return lines if bones else []


def _strip(woman: Woman, *, prior: float) -> Markup:
    """A line from 0 to 100 % with the risk, its interval, the networks' own risks and the share of events."""
    at = lambda share: 5 + 290 * float(share)  # noqa: E731
    row = woman.row
    parts = [
        '<line x1="5" y1="16" x2="295" y2="16" stroke="#57606a"/>',
        f'<rect x="{at(row["low"]):.1f}" y="9" width="{max(at(row["high"]) - at(row["low"]), 1):.1f}" height="14" '
        'fill="#0550ae" fill-opacity="0.2"/>',
        f'<line x1="{at(prior):.1f}" y1="5" x2="{at(prior):.1f}" y2="27" stroke="#57606a" stroke-dasharray="2 2"/>',
        *(
            f'<circle cx="{at(risk):.1f}" cy="16" r="2.6" fill="#0550ae" fill-opacity="0.6"/>'
            for risk in woman.each.values()
        ),
        f'<line x1="{at(row["risk"]):.1f}" y1="6" x2="{at(row["risk"]):.1f}" y2="26" stroke="#a40e26" stroke-width="2.5"/>',
        *(
            f'<text x="{at(tick):.0f}" y="38" font-size="8" fill="#57606a" text-anchor="middle">{100 * tick:.0f} %</text>'
            for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
        ),
    ]  # fmt: skip
    words = f"Risk {_percent(row['risk'])}, {_percent(row['low'])} to {_percent(row['high'])}"
    return Markup(f'<svg viewBox="-8 0 322 42" role="img" aria-label="{words}">{"".join(parts)}</svg>')


def _bars(shares: dict[str, float]) -> Markup:
    """A bar for each part of a woman's log odds, to the left where it lowers them."""
    widest = max([abs(value) for value in shares.values()] + [0.5])
    parts, height = [], 13 * len(shares) + 3
    for number, (name, value) in enumerate(shares.items()):
        y, size = 13 * number + 2, 70 * abs(value) / widest
        x = 140 - size if value < 0 else 140
        colour = BONE_COLOURS.get(name, "#57606a")
        parts.append(f'<text x="0" y="{y + 8}" font-size="8">{escape(name)}</text>')
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{size:.1f}" height="9" fill="{colour}"/>')
        said = f"{value:+.2f}".replace("-", "−")
        parts.append(f'<text x="262" y="{y + 8}" font-size="8" text-anchor="end">{said}</text>')
    parts.append(f'<line x1="140" y1="0" x2="140" y2="{height}" stroke="#57606a"/>')
    words = escape(", ".join(f"{name} {value:+.2f}" for name, value in shares.items()))
    return Markup(f'<svg viewBox="0 0 264 {height}" role="img" aria-label="{words}">{"".join(parts)}</svg>')


def _group(woman: Woman, bundle: Bundle) -> str:
    """The group that she belongs to, in words."""
    groups, row = bundle.content.groups, woman.row
    if groups is None or row.get("group") is None:
        return "Patient groups: none in this bundle." if groups is None else "Patient groups: no indices to tell by."
    if row["like_none"]:
        return "Patient groups: like none of them; she lies farther out than 99 of 100 of the grouped women."
    if len(groups.sizes) == 1:
        return f"Patient groups: the {groups.sizes[0]} women of the run are one group, and she lies within it."
    size = groups.sizes[row["group"] - 1]
    return (
        f"Patient group {row['group']} of {len(groups.sizes)} ({size} of {sum(groups.sizes)} women; 1 is the densest), "
        f"membership {row['membership']:.2f}."
    )


def _pictures(woman: Woman) -> list[dict[str, Any]]:
    """The pictures of each bone: some images from the first to the last."""
    found = []
    for bone in BONES:
        if bone in woman.looked:
            seen = woman.looked[bone]
            taken = np.unique(
                np.linspace(0, len(seen.density) - 1, min(_MOST_IMAGES, len(seen.density))).round().astype(int)
            )
            said = "" if seen.heat is not None or woman.reasons else " (no saliency)"
            found.append({
                "images": [_picture(seen, int(number)) for number in taken],
                "caption": bone + said, "alt": f"slabs of the {bone}",
            })  # fmt: skip
    return found


def _picture(seen: Looked, number: int) -> str:
    """One image of a bone in grey, in red where the networks looked, as a data address."""
    low, high = _WINDOW
    grey = np.clip((seen.density[number] - low) / (high - low), 0, 1)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    if seen.heat is not None:
        strength = np.clip(seen.heat[number] / max(float(np.percentile(seen.heat, 99.5)), 1.0), 0, 1)[..., None]
        pixels = pixels * (1 - 0.65 * strength) + colormaps["autumn"](1 - strength[..., 0])[..., :3] * 0.65 * strength
    whole = Image.fromarray((_within(pixels, seen.inside) * 255).astype(np.uint8)).resize(
        (_PIXELS, _PIXELS), Image.Resampling.BICUBIC
    )
    out = BytesIO()
    whole.save(out, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def _within(pixels: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.floating]:
    """A square around the bone, with a margin."""
    if not inside.any():
        return pixels
    rows, columns = ndimage.find_objects(inside.astype(np.uint8))[0]
    size = max(rows.stop - rows.start, columns.stop - columns.start) * 1.12
    middle = [(span.start + span.stop) / 2 for span in (rows, columns)]
    spans = [
        slice(max(round(m - size / 2), 0), min(round(m + size / 2), n))
        for m, n in zip(middle, inside.shape, strict=True)
    ]
    cut = pixels[spans[0], spans[1]]
    edge = max(cut.shape[:2])
    square = np.zeros((edge, edge, 3))
    first = [(edge - n) // 2 for n in cut.shape[:2]]
    square[first[0] : first[0] + cut.shape[0], first[1] : first[1] + cut.shape[1]] = cut
    return square
