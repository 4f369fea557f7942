"""Which figures of a run its report shows, one for one question; the others it names, with a link to their notebook.

A picture of what a model does not know is a picture of noise: it is left out, and a sentence says why. Figures that show
a table or another figure again stay in the notebooks.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from deepqct.evaluation.discrimination import Estimate
from deepqct.folder import Job, Run, read_json
from deepqct.plots.style import screen_size
from deepqct.run_tables import above_chance, figure_of, network_auc
from deepqct.terms import BONES, SITES

WIDEST = 1904  # pixels of a picture: twice the column of the report, for screens of a high density
_LOSSLESS = 60_000  # bytes up to which a picture is kept as it is; above, 82 % quality, which nobody tells apart
_TWO = 720  # pixels of a screen up to which pictures stand two in a row
# The figures of each section, in the order in which they are read; a bone or a site at the end of a name does not count.
SHOWN: dict[str, tuple[str, ...]] = {
    "cohort": ("flagged", "bones", "indices", "precision"),
    "performance": ("bones", "differences", "calibration"),
    "bones": ("scores", "saliency"),
    "groups": ("umap_groups", "heatmap", "differences"),
    "one group": ("numbers", "umap_groups"),
    "women": ("profile", "visits"),
}
FOLDED: dict[str, tuple[str, ...]] = {
    "cohort": ("strength",),
    "performance": ("decisions", "nomogram"),
    "women": ("thresholds", "slices"),
}  # behind a click
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
_SEVERAL_GROUPS = ("consensus", "methods", "bones", "umap_several", "heatmap", "radar", "differences")


@dataclass(frozen=True)
class Shown:
    """What a section of the report shows of the figures of some jobs.

    Parameters
    ----------
    figures : list of dict
        ``title``, ``caption``, ``two`` (whether its pictures stand two in a row) and ``pictures`` of each figure.
    left : list of str
        A sentence for each reason for which figures are left out.
    more : list of dict
        ``title`` and ``jobs`` of each figure that stands in the executed notebooks alone.

    Examples
    --------
    >>> from deepqct.report.figures import Shown
    >>> Shown([], [], []).figures
    []
    """

    figures: list[dict[str, Any]]
    left: list[str]
    more: list[dict[str, Any]]


def figures(
    run: Run,
    jobs: Sequence[Job],
    *,
    names: Sequence[str],
    performance: pd.DataFrame,
    models: pd.DataFrame,
    groups: int | None = None,
) -> Shown:
    """The figures of some jobs as a section of the report shows them.

    Parameters
    ----------
    run : Run
        The run.
    jobs : sequence of Job
        The jobs of the section; figures of one name are one figure with a picture for each bone.
    names : sequence of str
        The names of the figures that are shown, in this order; the others stand in the notebooks.
    performance, models : DataFrame
        The content of performance.csv and models.csv; empty where the models were not compared.
    groups : int, optional
        How many groups of women were found.

    Returns
    -------
    Shown
        The figures, why some are left out, and which others there are.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.report.figures import figures
    >>> run, job = dq.folder.Run(Path(tempfile.mkdtemp())), dq.folder.Job("04_clustering")
    >>> words = {"title": "Slices", "caption": "There are none.", "order": 0, "virtual": True}
    >>> _ = dq.plots.save(dq.plots.montage({}), run.figures(job), name="none", **words)
    >>> found = figures(run, [job], names=["none"], performance=pd.DataFrame(), models=pd.DataFrame())
    >>> found.figures[0]["title"], len(found.figures[0]["pictures"])
    ('Slices', 1)
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    left: list[str] = []
    more: dict[str, list[tuple[str, Job]]] = {}
    for job in jobs:
        records = {path: read_json(path) for path in run.figures(job).glob("*.json")}
        for path, words in sorted(records.items(), key=lambda item: (item[1].get("order", 0), item[0])):
            question, title = _question(path.stem), str(words["title"])
            bone = job.bone or path.stem.removeprefix(question).strip("_")
            if job.stage == "04_clustering" and groups == 1 and question in _SEVERAL_GROUPS:
                left.append(title)
            elif not _known(question, bone, performance=performance, models=models):
                continue  # `not_drawn` says so, also where the notebook drew no picture
            elif question in names and (picture := _picture(path)):
                shown.setdefault(question, []).append({**words, "of": bone, **picture})
            else:
                more.setdefault(question, []).append((title, job))
    drawn = [_one_figure(name, shown[name]) for name in names if name in shown]
    one = "The women are one group, and pictures of groups would show what is not there. Left out: "
    reasons = [f"{one}{_listed(left)}."] if left else []
    return Shown(drawn, reasons, [_elsewhere(name, found) for name, found in more.items()])


def _one_figure(name: str, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure of the pictures of one question."""
    several = len(pictures) > 1
    title = pictures[0]["title"]
    if several:
        title = _TOGETHER.get(name, "; ".join(p["title"] for p in pictures))
    captions = dict.fromkeys(p["caption"] for p in pictures)
    narrow = several and all(p.get("width", 0) <= _TWO for p in pictures)
    return {"name": name, "title": title, "caption": " ".join(captions), "two": narrow, "pictures": pictures}


def _elsewhere(name: str, found: list[tuple[str, Job]]) -> dict[str, Any]:
    """A figure that stands in the notebooks of some jobs."""
    title = found[0][0] if len(found) == 1 else _TOGETHER.get(name, "; ".join(title for title, _ in found))
    return {"title": title, "jobs": list(dict.fromkeys(str(job) for _, job in found))}


def _question(name: str) -> str:
    """The name of a figure without its bone or site, so that the four bones' pictures are one figure."""
    head, _, last = name.rpartition("_")
    return head if head and last in (*BONES, *SITES) else name


def _known(question: str, bone: str, *, performance: pd.DataFrame, models: pd.DataFrame) -> bool:
    """Whether the score that a figure is about is shown to hold information, or was not judged."""
    if performance.empty or question not in (*_RESTS, *_NEEDS_SCORE):
        return True
    row = network_auc(performance, models=models, bone=bone if question in _RESTS else "")
    return row is None or above_chance(row)


def not_drawn(performance: pd.DataFrame, *, models: pd.DataFrame) -> dict[str, str]:
    """Why it is not drawn what networks look at, and what one would do with their score; empty where it is.

    Parameters
    ----------
    performance, models : DataFrame
        The content of performance.csv and models.csv; empty where the models were not compared.

    Returns
    -------
    dict of str to str
        ``bones``: a sentence on the networks of single bones; ``score``: one on the model that speaks for DeepQCT.

    Examples
    --------
    >>> import pandas as pd
    >>> from deepqct.report.figures import not_drawn
    >>> not_drawn(pd.DataFrame(), models=pd.DataFrame())
    {'bones': '', 'score': ''}
    """
    rows = {bone: network_auc(performance, models=models, bone=bone) for bone in BONES}
    unknown = {bone: Estimate.of(row) for bone, row in rows.items() if row is not None and not above_chance(row)}
    said = ""
    if unknown:
        which = _listed([f"{bone} ({figure_of(performance)} {e})" for bone, e in unknown.items()])
        said = (
            f"It is not shown that the networks of {which} {knows(performance)}. Where they look is not drawn: it would "
            "be a picture of chance."
        )
    row = network_auc(performance, models=models)
    score = ""
    if row is not None and not above_chance(row):
        score = (
            f"It is not shown that DeepQCT {knows(performance, one=True)} ({figure_of(performance)} {Estimate.of(row)}). A "
            "score sheet, and what "
            "thresholds would do, are not drawn."
        )
    return {"bones": said, "score": score}


def knows(performance: pd.DataFrame, *, one: bool = False) -> str:
    """What a model does that is better than chance, in words, by the kind of the outcome.

    Parameters
    ----------
    performance : DataFrame
        The content of performance.csv.
    one : bool
        True for one model, False for several.
    """
    many = {"AUC": "tell the outcomes apart", "R²": "say more than the mean", "C-index": "tell who has the event first"}
    words = many[figure_of(performance)]
    verb, _, rest = words.partition(" ")
    return f"{verb}s {rest}" if one else words


def _listed(names: list[str]) -> str:
    """Names in a sentence, each once: ``a, b and c``."""
    once = list(dict.fromkeys(names))
    return once[0] if len(once) == 1 else f"{', '.join(once[:-1])} and {once[-1]}"


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
    for settings in ({"lossless": True, "quality": 70}, {"quality": 82}):
        written = BytesIO()
        image.save(written, "WEBP", method=4, **settings)
        if written.tell() <= _LOSSLESS:
            break
    return written.getvalue()
