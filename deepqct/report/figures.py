"""Which figures of a run its report shows, one for one question, and why it leaves out the others.

A picture of what a model does not know is a picture of noise: it is left out, and a sentence says why. Figures that show
a table or another figure again stay in the notebook.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from deepqct.evaluation.discrimination import NOT_ESTIMABLE, Estimate
from deepqct.folder import Job, Run, read_json
from deepqct.plots.style import screen_size
from deepqct.run_tables import above_chance, main_rows, network_auc
from deepqct.terms import BONES, SITES

WIDEST = 1904  # pixels of a picture: twice the column of the report, for screens of a high density
_LOSSLESS = 60_000  # bytes up to which a picture is kept as it is; above, 90 % quality, which nobody tells apart
_TWO = 720  # pixels of a screen up to which pictures stand two in a row
# What a figure of several bones is called, where the title of each picture would name one of them.
_TOGETHER = {
    "bones": "The bones of a few women",
    "steps": "From tissues to a scan",
    "slices": "Slices of her bones",
    "images": "What the networks see",
    "losses": "How the losses fall",
    "scores": "Out-of-fold scores",
    "saliency": "What moves the scores",
    "saliency_mean": "Mean saliency of the registered bones",
    "occlusion": "What the scores rest on",
    "controls": "Controls",
}
_RESTS = ("saliency", "saliency_mean", "occlusion")  # figures of what a network's score rests on
_NEEDS_SCORE = ("nomogram", "thresholds")  # figures of what one would do with the score
_ONE_GROUP = ("consensus", "methods", "bones", "umap_groups", "umap_several", "heatmap", "radar", "differences")


def figures(
    run: Run, jobs: list[Job], *, performance: pd.DataFrame, models: pd.DataFrame, groups: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The figures of some jobs as the report shows them, and sentences on what it leaves out.

    Parameters
    ----------
    run : Run
        The run.
    jobs : list of Job
        The jobs of one section; figures of one name are one figure with a picture for each bone.
    performance, models : DataFrame
        The content of performance.csv and models.csv; empty where the models were not compared.
    groups : int, optional
        How many groups of women were found.

    Returns
    -------
    list of dict
        ``title``, ``caption``, ``two`` (whether its pictures stand two in a row) and ``pictures``.
    list of str
        One sentence for each reason.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.report.figures import figures
    >>> run, job = dq.folder.Run(Path(tempfile.mkdtemp())), dq.folder.Job("04_clustering")
    >>> words = {"title": "Slices", "caption": "There are none.", "order": 0, "virtual": True}
    >>> _ = dq.plots.save(dq.plots.montage({}), run.figures(job), name="none", **words)
    >>> shown, _ = figures(run, [job], performance=pd.DataFrame(), models=pd.DataFrame())
    >>> shown[0]["title"], len(shown[0]["pictures"])
    ('Slices', 1)
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    left: dict[str, list[str]] = {}
    for job in jobs:
        records = {path: read_json(path) for path in run.figures(job).glob("*.json")}
        for path, words in sorted(records.items(), key=lambda item: (item[1].get("order", 0), item[0])):
            picture = _picture(path)
            if not picture:
                continue
            reason = _reason(path.stem, job, performance=performance, models=models, groups=groups)
            if reason:
                left.setdefault(reason, []).append(str(words["title"]))
            else:
                key = path.stem if job.bone else _question(path.stem)
                last = path.stem.rpartition("_")[2]
                of = job.bone or (last if key != path.stem else "")
                shown.setdefault(key, []).append({**words, "of": of, **picture})
    drawn = [_one_figure(key, pictures) for key, pictures in shown.items()]
    return drawn, [f"{reason} Left out: {'; '.join(titles)}." for reason, titles in left.items()]


def _one_figure(key: str, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure of the pictures of one question."""
    several = len(pictures) > 1
    title = pictures[0]["title"]
    if several:
        title = _TOGETHER.get(key, "; ".join(p["title"] for p in pictures))
    captions = dict.fromkeys(p["caption"] for p in pictures)
    narrow = several and all(p.get("width", 0) <= _TWO for p in pictures)
    return {"title": title, "caption": " ".join(captions), "two": narrow, "pictures": pictures}


def _question(name: str) -> str:
    """The name of a figure without its bone or site, so that the four bones' pictures are one figure."""
    head, _, last = name.rpartition("_")
    return head if head and last in (*BONES, *SITES) else name


def _reason(name: str, job: Job, *, performance: pd.DataFrame, models: pd.DataFrame, groups: int | None) -> str:
    """Why a figure is not shown, as a sentence; empty where it is shown."""
    question, bone = _question(name), job.bone or name.rpartition("_")[2]
    if job.stage == "03_fusion_and_baselines":
        if question.startswith("roc_"):
            return "ROC curves show the AUCs of the table again, and stand in the notebook."
        if question.startswith("auc_") and not performance.empty and question != _main_forest(performance):
            return "The AUCs of other protocols and of test sets are in the table."
    if job.stage == "04_clustering":
        if groups == 1 and question in _ONE_GROUP:
            return "The women are one group, so that pictures of groups would show what is not there."
        if question == "radar":
            return "It shows the same means as the figure of rows and columns."
    if performance.empty:
        return ""
    if question in _RESTS and bone in BONES:
        return _unknown(network_auc(performance, models=models, bone=bone), f"the networks of the {bone} tell")
    if question in _NEEDS_SCORE:
        return _unknown(network_auc(performance, models=models), "DeepQCT tells")
    return ""


def _unknown(row: pd.Series | None, who: str) -> str:
    """The sentence that a score is not shown to hold information; empty where it is, or where there is no such score."""
    if row is None or above_chance(row):
        return ""
    e = Estimate.of(row)
    if not e.estimable:
        return f"Whether {who} the outcomes apart is {NOT_ESTIMABLE} ({e.basis})."
    return f"It is not shown that {who} the outcomes apart: AUC {e}. A picture of it would be one of chance."


def _main_forest(performance: pd.DataFrame) -> str:
    """The name of the figure with all AUCs of the main result."""
    return f"auc_{main_rows(performance)['protocol'].iloc[0]}_out-of-fold"


def _picture(record: Path) -> Mapping[str, Any]:
    """The picture of a figure's record: an image as text with its size on a screen, a slider, or nothing."""
    png, slider = record.with_suffix(".png"), record.with_suffix(".html")
    if png.exists():
        return {"data": base64.b64encode(small(png)).decode(), **screen_size(png)}
    return {"slider": slider.read_text(encoding="utf-8")} if slider.exists() else {}


def small(png: Path) -> bytes:
    """A picture as WebP, at most `WIDEST` pixels wide: a third of the PNG's size for slices, two thirds for lines.

    Parameters
    ----------
    png : Path
        A PNG that `deepqct.plots.save` wrote.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.report.figures import small
    >>> words = {"title": "Slices", "caption": "There are none.", "order": 0, "virtual": False}
    >>> png = dq.plots.save(dq.plots.montage({}), Path(tempfile.mkdtemp()), name="none", **words)
    >>> len(small(png)) < png.stat().st_size
    True
    """
    with Image.open(png) as opened:
        image = opened.convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    for settings in ({"lossless": True, "quality": 70}, {"quality": 90}):
        written = BytesIO()
        image.save(written, "WEBP", method=4, **settings)
        if written.tell() <= _LOSSLESS:
            break
    return written.getvalue()
