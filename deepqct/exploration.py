"""One woman beside the others: her indices for her age, women of like risk, and what a threshold does to all."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.curation.stacks import load_stack
from deepqct.evaluation.decisions import THRESHOLDS, classification, net_benefit, share
from deepqct.evaluation.discrimination import Estimate
from deepqct.folder import Run, read_table, write_table
from deepqct.run_tables import age_of, headlines, main_rows, read_models, run_outcome, wide_indices
from deepqct.scans.scan import Scan

NEAREST = 40  # women of like risk; our choice
_FEWEST = 10  # women from whom a line over age is drawn


def models_of(run: Run) -> list[tuple[str, str]]:
    """Family and model of every out-of-fold prediction of the first protocol; DeepQCT's widest first where there is one."""
    table = _main_predictions(run)
    pairs = table[["family", "model"]].drop_duplicates()
    widest = headlines(pairs[pairs["family"] == "DeepQCT"], read_models(run)).index
    return [
        (str(family), str(model)) for family, model in pd.concat([pairs.loc[widest], pairs.drop(widest)]).to_numpy()
    ]


def women(run: Run, *, family: str, model: str) -> pd.DataFrame:
    """Every woman that a model scored out of fold, with her place in the picture and her group.

    Parameters
    ----------
    run : Run
        After 04_clustering.
    family, model : str
        As in predictions.csv.

    Returns
    -------
    DataFrame
        By participant_id: family, model, umap_1, umap_2, group, age (NaN where the cohort has none), outcome, risk (mean
        over repeats).

    Raises
    ------
    ValueError
        If the run has no such model.
    """
    table = _main_predictions(run)
    own = table.query("family == @family and model == @model")
    if own.empty:
        raise ValueError(f"predictions.csv has no model {model!r} of the family {family!r}; use one that it lists.")
    risk = own.groupby("participant_id")["risk"].mean()
    places = read_table(run.require(run.phenotypes, written_by="04_clustering")).set_index("participant_id")
    found = places[["umap_1", "umap_2", "group"]].reindex(risk.index)
    found.insert(0, "family", family)
    found.insert(1, "model", model)
    return found.assign(
        age=age_of(run).reindex(risk.index), outcome=run_outcome(run).reindex(risk.index).astype(float), risk=risk
    )


def _main_predictions(run: Run) -> pd.DataFrame:
    """Out-of-fold predictions of the first protocol: another one scores the same women on other folds."""
    table = read_table(run.require(run.predictions, written_by="03_fusion_and_baselines"))
    return main_rows(table)


def chosen(table: pd.DataFrame, patient: str) -> str:
    """The participant_id that was asked for, or of the woman of highest risk.

    Raises
    ------
    ValueError
        If no model scored a woman of that name.
    """
    if patient == "highest":
        return str(table["risk"].idxmax())
    if patient not in table.index:
        close = get_close_matches(patient, map(str, table.index), n=1)
        raise ValueError(
            f"patient is {patient!r}, whom this model did not score; "
            + (f"did you mean {close[0]!r}?" if close else "use highest.")
        )
    return patient


def summary(table: pd.DataFrame, participant_id: str) -> pd.DataFrame:
    """What is known of one woman, and what became of those like her: a table of what and value."""
    row = table.loc[participant_id]
    lines = {
        "age (years)": "not known" if pd.isna(row["age"]) else f"{row['age']:.0f}",
        "patient group": "none" if pd.isna(row["group"]) else f"{row['group']:.0f}",
        "risk, out of fold": f"{row['risk']:.2f}",
        "outcome among others of like risk": str(like_her(table, participant_id)),
    }
    return pd.DataFrame({"what": list(lines), "value": list(lines.values())})


def bone_of(run: Run, participant_id: str, bone: str) -> tuple[Scan, NDArray[np.uint8]] | None:
    """One bone's stack as a scan that a viewer takes, and its labels, memory-mapped; None where she has none."""
    if not run.stack(participant_id, bone).exists():
        return None
    density, mask, (z, y, x) = load_stack(run, participant_id, bone)
    return Scan(native=density, slope=1.0, intercept=0.0, voxel_mm=(z, y, x)), mask


@dataclass(frozen=True)
class Reference:
    """Every woman's indices beside those of this cohort's women without the outcome: our choice of a reference.

    Parameters
    ----------
    z : DataFrame
        From `z_for_age`, by participant_id.
    words : str
        Whom the reference is made of, with their number.
    """

    z: pd.DataFrame
    words: str

    def of(self, participant_id: str) -> pd.Series:
        """One woman's row; nothing but NaN for a woman without indices."""
        return self.z.reindex([participant_id]).iloc[0]


def reference_of(run: Run) -> Reference:
    """The reference of a run's own women without the outcome, for their age where the cohort has ages."""
    wide = wide_indices(read_table(run.require(run.indices, written_by="01_data_curation")))
    outcome, age = run_outcome(run), age_of(run)
    without = outcome == 0
    n = int(without.reindex(wide.index).fillna(False).sum())
    aged = " for their age" if age.notna().any() else ""
    return Reference(z_for_age(wide, age=age, reference=without), f"{n} women without {outcome.name}{aged}")


def z_for_age(features: pd.DataFrame, *, age: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """Indices as standard deviations from what the reference women of that age have.

    A straight line over age is fitted to each index of the reference women, whose residuals give the standard deviation.

    Parameters
    ----------
    features : DataFrame
        One row a woman, one column an index.
    age : Series
        Years. A woman without an age is taken for one of mean age; without any ages all are.
    reference : Series of bool
        Who is one, such as the women of this cohort without the outcome.

    Returns
    -------
    DataFrame
        As `features`; NaN for an index of fewer than 10 reference women, or that does not differ between them.
    """
    years = age.reindex(features.index).astype(float)
    years = (years - years.mean()).fillna(0.0)
    among = reference.reindex(features.index).fillna(False).astype(bool)
    found = {}
    for name in features:
        values = features[name].astype(float)
        own = among & values.notna()
        slopes = 1 if years[own].nunique() > 1 else 0
        if own.sum() < _FEWEST or values[own].nunique() < 2:
            found[name] = pd.Series(np.nan, features.index)
            continue
        line = np.polyfit(years[own], values[own], slopes)
        spread = float(np.sqrt(((values - np.polyval(line, years))[own] ** 2).sum() / (own.sum() - 1 - slopes)))
        z = (values - np.polyval(line, years)) / spread if spread > 1e-9 * values[own].std() else np.nan
        found[name] = pd.Series(z, features.index)
    return pd.DataFrame(found, index=features.index)


def like_her(table: pd.DataFrame, participant_id: str, *, nearest: int = NEAREST) -> Estimate:
    """The share of the other women of nearest risk who had the outcome, with its Wilson interval."""
    others = table.drop(index=participant_id).dropna(subset=["risk", "outcome"])
    apart = (others["risk"] - float(table["risk"][participant_id])).abs().sort_values(kind="stable")
    known = others.loc[apart.index[:nearest], "outcome"]
    return share(int(known.sum()), len(known))


def at_threshold(table: pd.DataFrame, *, threshold: float) -> pd.DataFrame:
    """What calling everybody from a risk upwards would do: sensitivity, specificity, PPV, NPV, net benefit.

    A threshold that was moved while one looked is fitted to these women: it says what happens to them, not to others.

    Parameters
    ----------
    table : DataFrame
        outcome and risk, as from `women`.
    threshold : float
        A risk between 0 and 1.

    Returns
    -------
    DataFrame
        measure, estimate, low, high, n, events.
    """
    known = table.dropna(subset=["risk", "outcome"])
    shares = classification(known["outcome"], (known["risk"] >= threshold).astype(float))
    worth = net_benefit(known["outcome"], known["risk"], thresholds=[threshold]).query("strategy == 'model'")
    worth = worth.assign(measure="net benefit")[list(shares)]
    return pd.concat([shares, worth], ignore_index=True) if len(worth) else shares


def over_thresholds(table: pd.DataFrame) -> pd.DataFrame:
    """`at_threshold` at every threshold of the decision curves: threshold, measure, estimate, low, high, n, events."""
    parts = [at_threshold(table, threshold=t).assign(threshold=t) for t in THRESHOLDS]
    found = pd.concat(parts, ignore_index=True)
    return found[["threshold", *found.columns.drop("threshold")]]


def keep_thresholds(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Write thresholds.csv, with the family and the model whose risk it is, and return it."""
    found = over_thresholds(table).assign(**table[["family", "model"]].iloc[0])
    write_table(run.thresholds, found)
    return found


def who_changes(table: pd.DataFrame, *, before: float, after: float) -> pd.DataFrame:
    """The women called at one threshold and not at the other, highest risk first."""
    changed = (table["risk"] >= before) != (table["risk"] >= after)
    return table[changed].sort_values("risk", ascending=False)
