"""What the noise of a scan costs a score's AUC, from the women who were scanned twice."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from deepqct.evaluation.repeats import auc_lost_to_noise, on_one_scanner
from deepqct.evaluation.scales import levels
from deepqct.folder import Run, read_table, write_table
from deepqct.run_tables import bones_of, outcome_of, rows_of
from deepqct.terms import YES_NO

_COLUMNS = ["family", "model", "sd", "auc", "without_noise", "lost", "low", "high", "n", "events"]


def noise_costs(run: Run, *, draws: int = 200) -> pd.DataFrame:
    """How much larger the AUC of each bone's networks, and of the fused risk, would be without the noise of a scan.

    Parameters
    ----------
    run : Run
        A run with predictions and, where women were scanned twice, with scores and risks of every session
        (`deepqct.networks.score_repeats`, `deepqct.models.fuse_repeats`); receives noise_costs.csv, and loses an older one
        where nobody was.
    draws : int
        As in `deepqct.evaluation.auc_lost_to_noise`.

    Returns
    -------
    DataFrame
        family, model (a bone's networks, or a model of risks_repeats.csv), sd (of one score, from women scanned twice on
        one scanner), and what `deepqct.evaluation.auc_lost_to_noise` gives for the out-of-fold scores of the scans that are
        analysed, in the first protocol and repeat. Empty where nobody was scanned twice on one scanner, and where the
        outcome is a number or a time.

    Examples
    --------
    >>> import deepqct as dq
    >>> len(dq.models.noise_costs(dq.run.example_run()))  # its women were scanned once
    0
    """
    rows, target = [], outcome_of(run)
    for family, model, again, score in _scored(run) if target.kind == YES_NO else ():
        noise = on_one_scanner(again, "score")
        if noise.n:
            found = auc_lost_to_noise(target.values.reindex(score.index), score, sd=noise.rms_sd, draws=draws)
            rows.append({"family": family, "model": model, "sd": noise.rms_sd, **found})
    table = pd.DataFrame(rows, columns=_COLUMNS)
    if len(table):
        write_table(run.noise_costs, table)
    else:
        run.noise_costs.unlink(missing_ok=True)
    return table


def _scored(run: Run) -> Iterator[tuple[str, str, pd.DataFrame, pd.Series]]:
    """Family and model, its scores of every session, and its out-of-fold score of each woman."""
    first = read_table(run.splits).iloc[0]
    place = str(first["protocol"]), int(first["repeat"])
    for bone in bones_of(run):
        if run.repeat_scores(bone).exists() and len(again := read_table(run.repeat_scores(bone))):
            own = rows_of(read_table(run.scores(bone)), *place).query("split == 'out-of-fold'")
            own = own.set_index("participant_id")
            level = levels(own["score"], own["fold"])
            yield "networks", bone, again, own["score"] - own["fold"].map(level).astype(float)
    if run.repeat_risks.exists():
        told = rows_of(read_table(run.predictions), *place).query("split == 'out-of-fold'")
        for (family, model), again in read_table(run.repeat_risks).groupby(["family", "model"], sort=False):
            own = told[(told["family"] == family) & (told["model"] == model)]
            yield str(family), str(model), again, own.set_index("participant_id")["score"]
