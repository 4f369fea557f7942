"""External validation: a frozen bundle on another cohort whose outcomes are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepqct.bundles.content import Bundle
from deepqct.bundles.new_scans import scans_given
from deepqct.bundles.prediction import Predictions, predict
from deepqct.evaluation.calibration import calibration_curve, calibration_measures
from deepqct.evaluation.decisions import net_benefit
from deepqct.evaluation.discrimination import auc
from deepqct.evaluation.external import by_group, membership, recalibration
from deepqct.folder import write_table
from deepqct.work import Progress


@dataclass(frozen=True)
class Validation:
    """How a frozen bundle did on other women.

    Parameters
    ----------
    predictions : Predictions
        Of all women; those without a risk are in no figure, which `given` says.
    performance : DataFrame
        family, model, measure (AUC, intercept, slope, Brier, scaled Brier), estimate, low, high, n, events; protocol and
        split, so that figures of a run can draw it.
    curves : DataFrame
        Calibration and decision curves, as curves.csv of a run.
    recalibration : DataFrame
        What mending intercept, or intercept and slope, of the reported risk would gain.
    membership : DataFrame
        For each bone, how well the women can be told from the bundle's by their indices, and which index differs most.
    groups : DataFrame
        The reported risk by centre, scanner or what else was asked for.

    Examples
    --------
    >>> import deepqct as dq
    >>> bundle, cohort = dq.bundles.example_bundle(), dq.run.example_run().virtual / "cohort"
    >>> dq.bundles.validate(bundle, cohort).given.endswith("of 12 women have a risk")
    True
    """

    predictions: Predictions
    performance: pd.DataFrame
    curves: pd.DataFrame
    recalibration: pd.DataFrame
    membership: pd.DataFrame
    groups: pd.DataFrame

    @property
    def given(self) -> str:
        """How many women have a risk, in words."""
        table = self.predictions.table
        return f"{int((table['status'] == 'predicted').sum())} of {len(table)} women have a risk"

    def write(self, out: str | Path) -> Path:
        """Write every table as CSV into a folder, and return it.

        Parameters
        ----------
        out : str or Path
            The folder.
        """
        folder = Path(out)
        for name in ("performance", "curves", "recalibration", "membership", "groups"):
            write_table(folder / f"external_{name}.csv", getattr(self, name))
        write_table(folder / "predictions.csv", self.predictions.table)
        return folder


def validate(
    bundle: Bundle,
    cohort: str | Path,
    *,
    by: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> Validation:
    """Judge a frozen bundle on another cohort folder, whose participants.tsv has the outcome.

    Parameters
    ----------
    bundle : Bundle
        From `load_bundle`; nothing of it is fitted anew.
    cohort : str or Path
        With scans.tsv and participants.tsv.
    by : sequence of str
        Columns of participants.tsv, such as centre or scanner, in whose groups the risk is judged as well.
    workers, progress
        As in `predict`.

    Returns
    -------
    Validation
        Figures with n, events and 95 % intervals.

    Raises
    ------
    ValueError
        If the cohort has no such outcome or column, or no row for a woman with scans; if none of its women has a risk.

    Examples
    --------
    >>> import deepqct as dq
    >>> bundle = dq.bundles.example_bundle()
    >>> found = dq.bundles.validate(bundle, dq.run.example_run().virtual / "cohort")
    >>> found.performance["measure"].unique().tolist()
    ['AUC', 'intercept', 'slope', 'Brier', 'scaled Brier']
    """
    scans, people = scans_given([cohort], None)
    name = bundle.content.made.outcome
    for column in (name, *by):
        if column not in people:
            raise ValueError(f"participants.tsv has no column {column!r}; a bundle is judged where it is known.")
    absent = sorted({scan.participant_id for scan in scans} - set(people.index))
    if absent:
        raise ValueError(
            f"participants.tsv has no row for {absent[0]}, whose scans are listed; add it, or leave those scans out."
        )
    outcome = pd.to_numeric(people[name], errors="coerce")
    if not outcome.isin([0, 1]).all():
        raise ValueError(f"participants.tsv: {name} must be 0 or 1 for every woman; leave out those not known.")
    predictions = predict(bundle, [cohort], workers=workers, progress=progress)
    return judged(predictions, outcome=outcome.astype(int), people=people, by=by)


def judged(predictions: Predictions, *, outcome: pd.Series, people: pd.DataFrame, by: Sequence[str] = ()) -> Validation:
    """Judge predictions by outcomes that are known.

    Parameters
    ----------
    predictions : Predictions
        From `predict`.
    outcome : Series of 0 and 1
        By participant_id.
    people : DataFrame
        The participants, by participant_id, with the columns of `by`.
    by : sequence of str
        As in `validate`.

    Raises
    ------
    ValueError
        If no woman has a risk.
    """
    content = predictions.bundle.content
    without = predictions.table.query("status != 'predicted'")
    if len(without) == len(predictions.table):
        raise ValueError(
            f"None of {len(without)} women has a risk, so that there is nothing to judge; the first: "
            f"{without['reasons'].iloc[0]}"
        )
    heads = {(one.model.family, one.model.name) for one in content.models if one.model.headline}
    performance, curves = [], []
    where: dict[str, Any] = {"protocol": "external", "split": "external", "repeat": 0}
    for (family, model), rows in predictions.by_model.groupby(["family", "model"], sort=False):
        if (family, model) not in heads:
            continue
        y, risk = outcome[rows["participant_id"]].to_numpy(), rows["risk"].to_numpy()
        of = where | {"family": family, "model": model}
        performance.append(pd.DataFrame([{"measure": "AUC"} | auc(y, risk).row()]).assign(**of))
        performance.append(calibration_measures(y, risk).assign(**of))
        smooth = calibration_curve(y, risk).rename(columns={"risk": "x", "observed": "y"})
        curves.append(smooth.assign(curve="calibration", strategy="model", **of))
        benefit = net_benefit(y, risk).rename(columns={"threshold": "x", "estimate": "y"})
        curves.append(benefit.assign(curve="decision", **of))
    table = predictions.table.set_index("participant_id")
    reported = table["risk"].dropna()
    known = outcome[reported.index]
    parts = [by_group(known, reported, people.loc[reported.index, column].rename(column)) for column in by]
    columns = ["by", "group", "measure", "estimate", "low", "high", "n", "events"]
    filled = [frame for frame in curves if len(frame)]
    return Validation(
        predictions=predictions,
        performance=pd.concat(performance, ignore_index=True) if performance else pd.DataFrame(),
        curves=pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["curve", "family"]),
        recalibration=recalibration(known, reported),
        membership=_membership(predictions, list(reported.index)),
        groups=pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns),
    )


def _membership(predictions: Predictions, women: Sequence[str]) -> pd.DataFrame:
    """How well women with a risk can be told from the bundle's, bone by bone."""
    content, indices = predictions.bundle.content, predictions.indices
    wide = indices.pivot(index="participant_id", columns="index", values="value").reindex(list(women))
    rows = []
    for bone, cloud in content.clouds.items():
        values = wide.reindex(columns=list(cloud.columns))
        values = values[values.notna().any(axis=1)]
        z = (values.to_numpy(float) - np.array(cloud.means)) / np.array(cloud.scales)
        if not len(z):
            continue
        usual = (content.reference.indices.get(column) for column in cloud.columns)
        known = max((one.n for one in usual if one is not None), default=content.reference.n)  # who have this bone
        told = membership(z, precision=cloud.precision, known=known)
        shift = pd.DataFrame(z, columns=list(cloud.columns)).mean()
        most = str(shift.abs().idxmax())
        rows.append({"bone": bone, **told, "most": most, "shift": float(shift[most])})
    return pd.DataFrame(rows, columns=["bone", "estimate", "low", "high", "n", "most", "shift"])
