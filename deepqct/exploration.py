"""One woman beside the others: her indices for her age, women of like risk, and what a threshold does to all."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.curation.stacks import load_stack
from deepqct.evaluation.decisions import THRESHOLDS, classification, net_benefit, share
from deepqct.evaluation.discrimination import NOT_ESTIMABLE, Estimate, interval, plain
from deepqct.evaluation.judging import times_of, value_of
from deepqct.folder import Run, read_table, write_table
from deepqct.run_tables import age_of, headlines, main_rows, outcome_of, read_models, run_outcome, wide_indices
from deepqct.scans.scan import Scan
from deepqct.scans.shown import card
from deepqct.terms import NUMBER, TIME, short

NEAREST = 40  # how many other women of nearest risk a woman is compared with; our choice
_FEWEST = 10  # the fewest women to whom a line over age is fitted


def models_of(run: Run) -> list[tuple[str, str]]:
    """List the models of a run that have out-of-fold predictions in its first protocol.

    Parameters
    ----------
    run : Run
        A run with predictions.

    Returns
    -------
    list of (str, str)
        Family and model; first the model that speaks for DeepQCT, if there is one, then the others as predictions.csv has
        them.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.exploration.models_of(dq.run.example_run())[:2]
    [('DeepQCT', 'mean of radius + tibia'), ('Clinical', 'clinical factors')]
    """
    table = _main_predictions(run)
    pairs = table[["family", "model"]].drop_duplicates()
    widest = headlines(pairs[pairs["family"] == "DeepQCT"], read_models(run)).index
    return [
        (str(family), str(model)) for family, model in pd.concat([pairs.loc[widest], pairs.drop(widest)]).to_numpy()
    ]


def women(run: Run, *, family: str, model: str) -> pd.DataFrame:
    """One row for every woman whom a model scored out of fold, with her place in the UMAP picture and her group.

    Parameters
    ----------
    run : Run
        A run after the stage 04_clustering.
    family, model : str
        The model, as predictions.csv and `models_of` name it.

    Returns
    -------
    DataFrame
        family, model, umap_1, umap_2, group, age (years; NaN where the cohort has none), outcome (0 or 1), risk (0 to
        1, mean over repeats), indexed by participant_id. Of a time both are of the horizon, and the outcome of a woman
        who was not followed as long is NaN. Of a number ``predicted`` is added; the risk is then her rank by it, from 0
        to 1, and the outcome whether her number lies above the median of all women of the run.

    Raises
    ------
    ValueError
        If the run has no such model.

    Examples
    --------
    >>> import deepqct as dq
    >>> table = dq.exploration.women(dq.run.example_run(), family="DeepQCT", model="radius + tibia")
    >>> len(table), int(table["outcome"].sum()), list(table)
    (12, 5, ['family', 'model', 'umap_1', 'umap_2', 'group', 'age', 'outcome', 'risk'])
    """
    table = _main_predictions(run)
    rows = table.query("family == @family and model == @model")
    if rows.empty:
        raise ValueError(f"predictions.csv has no model {model!r} of the family {family!r}; use one that it lists.")
    outcome = outcome_of(run)
    told = rows.groupby("participant_id")[value_of(outcome)].mean()
    number = outcome.kind == NUMBER
    risk = (told.rank() - 0.5) / len(told) if number else told
    known = outcome.take(told.index)
    groups = outcome.groups.reindex(told.index)  # a number is parted at the median of all, which its name says
    had = pd.Series(times_of(known).known_at(known.horizon), told.index) if outcome.kind == TIME else groups
    places = read_table(run.require(run.phenotypes, written_by="04_clustering")).set_index("participant_id")
    placed = places[["umap_1", "umap_2", "group"]].reindex(risk.index)
    placed.insert(0, "family", family)
    placed.insert(1, "model", model)
    found = placed.assign(age=age_of(run).reindex(risk.index), outcome=had.astype(float), risk=risk)
    return found.assign(predicted=told) if number else found


def _main_predictions(run: Run) -> pd.DataFrame:
    """Out-of-fold predictions of the first protocol; other protocols score the same women in other folds."""
    table = read_table(run.require(run.predictions, written_by="03_fusion_and_baselines"))
    return main_rows(table)


def chosen(table: pd.DataFrame, patient: str) -> str:
    """Return the participant_id that was asked for, or that of the woman with the highest risk.

    Parameters
    ----------
    table : DataFrame
        The column risk, indexed by participant_id, as `women` returns it.
    patient : str
        A participant_id, or ``highest``.

    Returns
    -------
    str
        The participant_id.

    Raises
    ------
    ValueError
        If the table has no woman of that name.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [0.2, 0.7, 0.1]}, index=["P01", "P02", "P03"])
    >>> dq.exploration.chosen(table, "highest"), dq.exploration.chosen(table, "P03")
    ('P02', 'P03')
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
    """Sum up one woman: her age, group and risk, and how often women of like risk had the outcome.

    Of a number: what was predicted, her rank by it, and how many women of like rank are in the upper half.

    Parameters
    ----------
    table : DataFrame
        As `women` returns it.
    participant_id : str
        The woman.

    Returns
    -------
    DataFrame
        what and value, both as text.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "outcome": [0, 0, 1, 0, 1, 1]})
    >>> dq.exploration.summary(table.assign(age=70.2, group=1), 0)["value"].tolist()
    ['70', '1', '0.10', '0.60 (95 % 0.23–0.88; n 5, 3 events)']
    """
    row = table.loc[participant_id]
    number, like = "predicted" in row, like_her(table, participant_id)
    others = "outcome among others of like risk", str(like)
    if number:
        told = f"{plain(like.estimate)} (95 % {interval(like.low, like.high)}; {like.events} of {like.n})"
        others = "upper half among others of like rank", told if like.estimable else f"{NOT_ESTIMABLE} (n {like.n})"
    lines = {
        "age (years)": "not known" if pd.isna(row["age"]) else f"{row['age']:.0f}",
        "patient group": "none" if pd.isna(row["group"]) else f"{row['group']:.0f}",
        **({"predicted, out of fold": short(float(table["predicted"][participant_id]))} if number else {}),
        f"{'rank by it, 0 to 1' if number else 'risk, out of fold'}": f"{row['risk']:.2f}",
        others[0]: others[1],
    }
    return pd.DataFrame({"what": list(lines), "value": list(lines.values())})


def bone_of(run: Run, participant_id: str, bone: str) -> tuple[Scan, NDArray[np.uint8]] | None:
    """Load one bone of one woman as a scan that a viewer can show, with the labels of its voxels.

    Parameters
    ----------
    run : Run
        A run after the stage 01_data_curation.
    participant_id : str
        The woman.
    bone : str
        radius, ulna, tibia or fibula.

    Returns
    -------
    Scan
        The density (z, y, x) in mgHA/cm³, memory-mapped.
    (z, y, x) uint8
        The labels, memory-mapped: 1 trabecular, 2 cortical, 3 another bone, 0 elsewhere.

    None instead of both if the run has no such stack of her.

    Examples
    --------
    >>> import deepqct as dq
    >>> scan, labels = dq.exploration.bone_of(dq.run.example_run(), "sub-0001", "radius")
    >>> scan.native.shape[1:], scan.native.shape == labels.shape, int(labels.max())
    ((32, 32), True, 3)
    """
    if not run.stack(participant_id, bone).exists():
        return None
    density, mask, (z, y, x) = load_stack(run, participant_id, bone)
    return Scan(native=density, slope=1.0, intercept=0.0, voxel_mm=(z, y, x)), mask


@dataclass(frozen=True)
class Reference:
    """Indices of all women in standard deviations from a reference, with a description of the reference.

    The reference is the cohort's own women without the outcome; this is our choice.

    Parameters
    ----------
    z : DataFrame
        As `z_for_age` returns it: one row a woman, indexed by participant_id, one column an index.
    words : str
        Who the reference women are, with their number.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> z = pd.DataFrame({"radius Tt.vBMD": [-1.2, 0.4]}, index=["P01", "P02"])
    >>> dq.exploration.Reference(z, "40 women without fracture").of("P01").to_dict()
    {'radius Tt.vBMD': -1.2}
    """

    z: pd.DataFrame
    words: str

    def __repr__(self) -> str:
        """Say who the reference women are, and of how many women and indices; no table is shown."""
        return f"Reference({self.words}; {len(self.z)} women, {self.z.shape[1]} indices)"

    def _repr_html_(self) -> str:
        """Who the reference women are, and what to call next, for a notebook; no woman's row is shown."""
        rows = {"reference": self.words, "women": len(self.z), "indices": self.z.shape[1]}
        return card("Reference", rows, then={"reference.of(participant_id)": "is one woman beside them"})

    def of(self, participant_id: str) -> pd.Series:
        """One woman's row of `z`; all NaN for a woman without indices.

        Parameters
        ----------
        participant_id : str
            The woman.

        Returns
        -------
        Series
            Standard deviations from the reference, by index.
        """
        return self.z.reindex([participant_id]).iloc[0]


def reference_of(run: Run) -> Reference:
    """Compare the indices of all women of a run with those of its women without the outcome; of a number, with all.

    Parameters
    ----------
    run : Run
        A run after the stage 01_data_curation.

    Returns
    -------
    Reference
        The indices for age by `z_for_age` if the cohort has ages, else without regard to age.

    Examples
    --------
    >>> import deepqct as dq
    >>> reference = dq.exploration.reference_of(dq.run.example_run())
    >>> reference.words, len(reference.z)
    ('7 women without fracture for their age', 12)
    """
    wide = wide_indices(read_table(run.require(run.indices, written_by="01_data_curation")))
    outcome, age = run_outcome(run), age_of(run)
    kind = outcome_of(run).kind
    without = outcome == 0 if kind != NUMBER else pd.Series(True, outcome.index)
    n = int(without.reindex(wide.index).fillna(False).sum())
    aged = " for their age" if age.notna().any() else ""
    said = f"{n} women" if kind == NUMBER else f"{n} women without {outcome.name}"
    return Reference(z_for_age(wide, age=age, reference=without), f"{said}{aged}")


def z_for_age(features: pd.DataFrame, *, age: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """Express indices in standard deviations from what reference women of the same age have.

    A straight line over age is fitted to each index of the reference women; the residuals give the standard deviation.

    Parameters
    ----------
    features : DataFrame
        One row a woman, one column an index.
    age : Series
        Years, by the index of `features`. A woman without an age is treated as one of mean age, and so are all women if
        no age is known.
    reference : Series of bool
        True for the reference women, such as the women of this cohort without the outcome; by the index of `features`.

    Returns
    -------
    DataFrame
        Shape of `features`, no unit; NaN for an index that fewer than 10 reference women have or that does not differ
        between them.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> age = pd.Series(range(60, 72))
    >>> features = pd.DataFrame({"radius Tt.vBMD": 300 - 2.0 * age + [5, -5] * 6})
    >>> features.iloc[-1] = 140  # the oldest woman, who is not in the reference
    >>> dq.exploration.z_for_age(features, age=age, reference=age < 71)["radius Tt.vBMD"].round(1).tail(3).tolist()
    [-1.0, 0.8, -3.4]
    """
    years = age.reindex(features.index).astype(float)
    years = (years - years.mean()).fillna(0.0)
    among = reference.reindex(features.index).fillna(False).astype(bool)
    columns = {}
    for name in features:
        values = features[name].astype(float)
        fitted = among & values.notna()
        slopes = 1 if years[fitted].nunique() > 1 else 0
        if fitted.sum() < _FEWEST or values[fitted].nunique() < 2:
            columns[name] = pd.Series(np.nan, features.index)
            continue
        line = np.polyfit(years[fitted], values[fitted], slopes)
        residuals = values - np.polyval(line, years)
        spread = float(np.sqrt((residuals[fitted] ** 2).sum() / (fitted.sum() - 1 - slopes)))
        z = residuals / spread if spread > 1e-9 * values[fitted].std() else np.nan
        columns[name] = pd.Series(z, features.index)
    return pd.DataFrame(columns, index=features.index)


def like_her(table: pd.DataFrame, participant_id: str, *, nearest: int = NEAREST) -> Estimate:
    """Share of the other women of nearest risk who had the outcome, with its 95 % interval (Wilson).

    Parameters
    ----------
    table : DataFrame
        risk and outcome, indexed by participant_id, as `women` returns it.
    participant_id : str
        The woman to whom the others are compared; she does not count.
    nearest : int
        How many others are counted at most.

    Returns
    -------
    Estimate
        The share, with the number of other women as n; not estimable with fewer than 5.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [i / 10 for i in range(10)], "outcome": [0, 0, 0, 0, 1, 0, 1, 1, 1, 1]})
    >>> print(dq.exploration.like_her(table, 9, nearest=5))
    0.80 (95 % 0.38–0.96; n 5, 4 events)
    """
    others = table.drop(index=participant_id).dropna(subset=["risk", "outcome"])
    apart = (others["risk"] - float(table["risk"][participant_id])).abs().sort_values(kind="stable")
    known = others.loc[apart.index[:nearest], "outcome"]
    return share(int(known.sum()), len(known))


def at_threshold(table: pd.DataFrame, *, threshold: float) -> pd.DataFrame:
    """Compute what follows if all women at or above a risk are called high risk.

    A threshold that was chosen by looking at the results is fitted to these women: the figures describe them, not
    others.

    Parameters
    ----------
    table : DataFrame
        outcome and risk, as `women` returns them.
    threshold : float
        A risk above 0 and below 1.

    Returns
    -------
    DataFrame
        measure (sensitivity, specificity, PPV, NPV, net benefit), estimate, low, high (95 %), n, events; as
        `evaluation.classification` and `evaluation.net_benefit` give them.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [i / 10 for i in range(10)], "outcome": [0, 0, 0, 0, 1, 0, 1, 1, 1, 1]})
    >>> dq.exploration.at_threshold(table, threshold=0.5).set_index("measure")["estimate"].round(2).to_dict()
    {'sensitivity': 0.8, 'specificity': 0.8, 'PPV': 0.8, 'NPV': 0.8, 'net benefit': 0.3}
    """
    known = table.dropna(subset=["risk", "outcome"])
    shares = classification(known["outcome"], (known["risk"] >= threshold).astype(float))
    worth = net_benefit(known["outcome"], known["risk"], thresholds=[threshold]).query("strategy == 'model'")
    worth = worth.assign(measure="net benefit")[list(shares)]
    return pd.concat([shares, worth], ignore_index=True) if len(worth) else shares


def over_thresholds(table: pd.DataFrame) -> pd.DataFrame:
    """Compute `at_threshold` at every threshold of the decision curves, 0.05 to 0.60.

    Parameters
    ----------
    table : DataFrame
        outcome and risk, as `women` returns them.

    Returns
    -------
    DataFrame
        threshold, measure, estimate, low, high (95 %), n, events.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [i / 10 for i in range(10)], "outcome": [0, 0, 0, 0, 1, 0, 1, 1, 1, 1]})
    >>> figures = dq.exploration.over_thresholds(table)
    >>> figures.query("measure == 'sensitivity'").set_index("threshold")["estimate"][[0.4, 0.5, 0.6]].to_dict()
    {0.4: 1.0, 0.5: 0.8, 0.6: 0.8}
    """
    tables = [at_threshold(table, threshold=t).assign(threshold=t) for t in THRESHOLDS]
    figures = pd.concat(tables, ignore_index=True)
    return figures[["threshold", *figures.columns.drop("threshold")]]


def keep_thresholds(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Compute `over_thresholds` for one model and write the table to thresholds.csv.

    Parameters
    ----------
    run : Run
        Receives thresholds.csv.
    table : DataFrame
        As `women` returns it, of one model.

    Returns
    -------
    DataFrame
        threshold, measure, estimate, low, high (95 %), n, events, family, model; without rows where the outcome is a
        number, by which nobody is called.

    Examples
    --------
    >>> import deepqct as dq, pathlib, tempfile
    >>> table = dq.exploration.women(dq.run.example_run(), family="DeepQCT", model="radius + tibia")
    >>> kept = dq.exploration.keep_thresholds(dq.Run(pathlib.Path(tempfile.mkdtemp())), table)
    >>> kept["threshold"].nunique(), kept["measure"].nunique(), kept["model"].unique().tolist()
    (56, 5, ['radius + tibia'])
    """
    figures = over_thresholds(table).assign(**table[["family", "model"]].iloc[0])
    figures = figures.head(0) if "predicted" in table else figures  # the workflow waits for the table all the same
    write_table(run.thresholds, figures)
    return figures


def who_changes(table: pd.DataFrame, *, before: float, after: float) -> pd.DataFrame:
    """List the women who are called high risk at one of two thresholds only.

    Parameters
    ----------
    table : DataFrame
        As `women` returns it.
    before, after : float
        The two thresholds, risks between 0 and 1.

    Returns
    -------
    DataFrame
        Their rows of `table`, highest risk first.

    Examples
    --------
    >>> import deepqct as dq, pandas as pd
    >>> table = pd.DataFrame({"risk": [0.2, 0.55, 0.6, 0.9]}, index=["P01", "P02", "P03", "P04"])
    >>> dq.exploration.who_changes(table, before=0.5, after=0.7).index.tolist()
    ['P03', 'P02']
    """
    changed = (table["risk"] >= before) != (table["risk"] >= after)
    return table[changed].sort_values("risk", ascending=False)
