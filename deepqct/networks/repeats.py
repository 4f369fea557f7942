"""The same woman scanned again: what the network that never saw her makes of her other scans."""

from __future__ import annotations

import pandas as pd
import torch

from deepqct.evaluation.repeats import Precision, on_one_scanner
from deepqct.folder import Run, read_table, write_table
from deepqct.networks.data import first_fold
from deepqct.networks.folds import batch_of, held_out_folds
from deepqct.networks.images import normalised
from deepqct.networks.recipe import Recipe

_KEY = ["participant_id", "session", "side", "years", "scanner", "centre"]


def score_repeats(run: Run, *, bone: str, recipe: Recipe) -> pd.DataFrame:
    """Score every session of the women who were scanned again, each by the network of the fold that held her out.

    Parameters
    ----------
    run : Run
        A run in which this bone is trained, and whose curation wrote repeats.csv; receives scores_<bone>_repeats.csv.
    bone : str
        radius, ulna, tibia or fibula.
    recipe : Recipe
        The recipe that the networks were trained with.

    Returns
    -------
    DataFrame
        participant_id, session, side, years (of the visit), scanner, centre, fold, score (mean logit over plain images),
        in the first protocol and repeat; empty where no woman was scanned again.

    Examples
    --------
    >>> import deepqct as dq
    >>> run, recipe = dq.run.example_run(), dq.run.example.RECIPE
    >>> len(dq.networks.score_repeats(run, bone="radius", recipe=recipe))  # its women were scanned once
    0
    """
    path = run.repeat_scores(bone)
    if not run.repeats.exists():
        path.unlink(missing_ok=True)
        return pd.DataFrame(columns=[*_KEY, "fold", "score"])
    table = read_table(run.repeats)
    table = table[table["bone"] == bone].assign(years=table.get("years", float("nan")), side=table.get("side", ""))
    place, rows = first_fold(run, bone=bone), []
    where = {"bone": bone, "protocol": place["protocol"], "repeat": place["repeat"], "recipe": recipe}
    for model, items in held_out_folds(run, **where):
        of_fold = table[table["participant_id"].isin(items["participant_id"])]
        others = of_fold["session"].where(~of_fold["analysed"].astype(bool), "")
        for name, scans in of_fold.groupby(others.astype(str)):
            source: Run = run.session(str(name)) if name else run
            images = items[items["participant_id"].isin(scans["participant_id"])]
            score = _logits(model, source, images, bone=bone, recipe=recipe)
            known = scans[_KEY].assign(fold=items["fold"].iloc[0], score=scans["participant_id"].map(score).to_numpy())
            rows.append(known)
    scored = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=[*_KEY, "fold", "score"])
    write_table(path, scored)
    return scored


def score_precision(scored: pd.DataFrame) -> Precision:
    """How far apart the scores of two scans of one woman's limb lie on one scanner.

    Parameters
    ----------
    scored : DataFrame
        From `score_repeats`.

    Returns
    -------
    Precision
        In logits; scores lie on both sides of zero, so that there is no RMS-CV.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> scored = pd.DataFrame({"participant_id": ["A", "A"], "scanner": 0.061, "centre": "", "score": [0.2, 0.4]})
    >>> round(dq.networks.score_precision(scored).lsc, 2)
    0.39
    """
    return on_one_scanner(scored, "score")


def _logits(model: torch.nn.Module, run: Run, items: pd.DataFrame, *, bone: str, recipe: Recipe) -> pd.Series:
    """The mean logit of each woman over her images."""
    logits: list[float] = []
    with torch.no_grad():
        for start in range(0, len(items), recipe.batch_size):
            batch = batch_of(run, items.iloc[start : start + recipe.batch_size], bone=bone, recipe=recipe)
            logits += model(normalised(batch)).float().reshape(-1).tolist()
    return pd.Series(logits, items["participant_id"].to_numpy(), dtype=float).groupby(level=0).mean()
