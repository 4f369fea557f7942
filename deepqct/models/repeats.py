"""The same woman scanned again: the fused risk of each scan, by networks and coefficients that never saw her."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from deepqct.evaluation.calibration import calibrate_out_of_fold
from deepqct.evaluation.judging import value_of
from deepqct.evaluation.maps import map_out_of_fold
from deepqct.evaluation.repeats import Precision, each_scanner
from deepqct.evaluation.scales import levels, spread
from deepqct.folder import Run, read_table, write_table
from deepqct.models.classifiers import fit
from deepqct.models.families import Model
from deepqct.models.inputs import Tables, tables
from deepqct.models.levels import mean_of_bones
from deepqct.models.predict import Prepared, prepared, training_of
from deepqct.models.scanners import CrossCalibrated, calibrated_of, without
from deepqct.run_tables import bones_of, rows_of, wide_indices
from deepqct.terms import NUMBER, STRENGTH_UNITS, UNITS, YES_NO

_SCAN = ["participant_id", "session"]
_KEY = [*_SCAN, "side", "years", "scanner", "centre", "fold", "family", "model"]


def fuse_repeats(run: Run, *, stacking: str = "standard", cross_calibrate: str = "none") -> pd.DataFrame:
    """Predict every session of the women who were scanned again, each by the models of the fold that held her out.

    Parameters
    ----------
    run : Run
        A run whose networks scored the repeats (`deepqct.networks.score_repeats`); receives risks_repeats.csv, and loses an
        older one where nobody was scanned again.
    stacking, cross_calibrate : str
        As in `predict_run`.

    Returns
    -------
    DataFrame
        participant_id, session, side, years (of the visit; empty if scans.tsv does not say), scanner, centre, fold, family,
        model, score, and risk (of a number predicted), in the first protocol and repeat: of DeepQCT the mean and the late
        fusion of the bones, and the index model of all bones. Of a number or a time the mean of the bones alone. Empty
        where no woman was scanned again.

    Raises
    ------
    ValueError
        If the repeats were scored with other folds than those of the splits.

    Notes
    -----
    For each held-out fold everything is what `predict_all` uses for it: networks, levels, sizes, coefficients and the map
    to risks. No outcome of this fold has a say in them. A session counts if it shows every bone that any session of hers
    shows: a risk from fewer bones differs by more than the noise of a scan. Networks see plain images, without the
    augmented views of `tta`. An index model that was fitted to values, or within contours, of the scanner's software says
    nothing of our values, which all sessions have: it is left out.

    Examples
    --------
    >>> import deepqct as dq
    >>> len(dq.models.fuse_repeats(dq.run.example_run()))  # its women were scanned once
    0
    """
    empty = pd.DataFrame(columns=[*_KEY, "score", "risk"])
    paths = {bone: run.repeat_scores(bone) for bone in bones_of(run) if run.repeat_scores(bone).exists()}
    scored = {bone: table for bone, path in paths.items() if len(table := read_table(path))}
    if not run.repeats.exists() or not scored:
        run.repeat_risks.unlink(missing_ok=True)
        return empty
    data = tables(run, stacking=stacking, cross_calibrate=cross_calibrate)
    first = data.splits.iloc[0]
    protocol, repeat = str(first["protocol"]), int(first["repeat"])
    given = prepared(data, protocol, repeat)
    measured = read_table(run.repeats)
    scans, features = _sessions(data, given, scored, measured, protocol=protocol, repeat=repeat)
    found = calibrated_of(data, given.features, target=given.target, labels=given.labels, fold=given.fold)
    parts = []
    alike = _measured_alike(read_table(run.indices), measured)
    for model in [one for one in _fused_models(given, set(scored)) if alike or one.family == "DeepQCT"]:
        for held_out in sorted(scans["fold"].unique()):
            rows = scans["fold"] == held_out
            new = features.loc[rows].reindex(columns=list(model.columns)).astype(float)
            if model.fitted:
                told = _by_fit(data, given, model, new, held_out, scans.loc[rows], found, (protocol, repeat))
            else:
                told = _by_mean(given, model, new, held_out)
            parts.append(scans[rows].assign(family=model.family, model=model.name).join(told).dropna(subset="score"))
    table = pd.concat(parts, ignore_index=True) if parts else empty
    table = table[[*_KEY, "score", value_of(given.target)]] if parts else table
    write_table(run.repeat_risks, table)
    return table


def risk_precision(table: pd.DataFrame) -> pd.DataFrame:
    """How far apart two scans of one woman lie on one scanner, by model: of the score, and of the risk.

    Parameters
    ----------
    table : DataFrame
        From `fuse_repeats`.

    Returns
    -------
    DataFrame
        family, model, what (score, in logits, of a mean of bones in SDs; risk, 0 to 1; or predicted), scanner (empty: all
        together; where there are several, each has rows of its own), and the figures of `deepqct.evaluation.precision`: a
        difference below lsc is noise. Empty where nobody was scanned twice on one scanner.

    Notes
    -----
    The noise of a score is about the same for all women. That of a risk is largest near one half, and smaller towards 0 and
    1: its figure is that of these women together.

    Examples
    --------
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> known = {"scanner": 0.061, "centre": "", "family": "DeepQCT", "model": "mean of radius + tibia"}
    >>> twice = pd.DataFrame({"participant_id": ["A", "A"], "score": [0.2, 0.4], "risk": [0.55, 0.6]}).assign(**known)
    >>> dq.models.risk_precision(twice)[["what", "lsc", "n"]].round(2).values.tolist()
    [['score', 0.39, 1], ['risk', 0.1, 1]]
    """
    rows = []
    for (family, model), part in table.groupby(["family", "model"], sort=False):
        for what in [name for name in ("score", "risk", "predicted") if name in part]:
            rows += [
                {"family": family, "model": model, "what": what, "scanner": str(scanner or ""), **found.row()}
                for scanner, found in each_scanner(part, what)
            ]
    names = ["family", "model", "what", "scanner", *(one.name for one in fields(Precision))]
    return pd.DataFrame(rows, columns=names)


def _measured_alike(trained: pd.DataFrame, measured: pd.DataFrame) -> bool:
    """Whether repeats.csv has of the analysed scans what the index models were fitted to."""
    key, names = ["participant_id", "bone"], [name for name in UNITS | STRENGTH_UNITS if name in trained]
    own = measured[measured["analysed"].astype(bool)].set_index(key)
    if own.empty or not set(names) <= set(own):
        return False
    return bool(np.allclose(own[names], trained.set_index(key)[names].reindex(own.index), rtol=1e-9, equal_nan=True))


def _fused_models(given: Prepared, bones: set[str]) -> list[Model]:
    """The headline models of DeepQCT and of the indices, and what fuses the same bones as the first."""
    heads = [m for m in given.models if m.headline and m.family in ("DeepQCT", "pQCT-index")]
    columns = {m.columns for m in heads if m.family == "DeepQCT"}
    also = [m for m in given.models if m.family == "DeepQCT" and m.own and m.columns in columns and m not in heads]
    models = [
        m
        for m in sorted([*heads, *also], key=lambda m: (m.family, m.fitted))
        if m.family != "DeepQCT" or set(m.bones) <= bones
    ]
    # Fits of numbers and times keep no model that could be asked again.
    return [m for m in models if not m.fitted or given.target.kind == YES_NO]


def _sessions(
    data: Tables,
    given: Prepared,
    scored: Mapping[str, pd.DataFrame],
    measured: pd.DataFrame,
    *,
    protocol: str,
    repeat: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a woman and session: what is known of the scan, and what the models take of it."""
    parts = []
    for bone, table in scored.items():
        own = rows_of(data.scores[bone], protocol, repeat).query("split == 'out-of-fold'").set_index("participant_id")
        wrong = table.loc[table["fold"] != table["participant_id"].map(given.fold), "participant_id"]
        if len(wrong):
            raise ValueError(
                f"scores_{bone}_repeats.csv: {wrong.iloc[0]} was scored in another fold than splits.csv has; run "
                f"02_train_bone for the {bone} again."
            )
        level = levels(own["score"], own["fold"])
        parts.append(table.assign(bone=bone, score=table["score"] - table["fold"].map(level).astype(float)))
    long = pd.concat(parts, ignore_index=True)
    long = long.assign(years=long.get("years", np.nan), centre=long["centre"].fillna(""), side=long.get("side", ""))
    places = {name: (name, _together) for name in ("side", "scanner", "centre")}
    scans = long.groupby(_SCAN, sort=True).agg(years=("years", "first"), fold=("fold", "first"), **places)
    wide = long.pivot(index=_SCAN, columns="bone", values="score").add_suffix(" score").reindex(scans.index)
    whole = wide.notna().sum(axis=1) == wide.notna().groupby(level=0).any().sum(axis=1).reindex(
        scans.index, level=0
    )  # fmt: skip
    scan = measured["participant_id"].astype(str) + "\t" + measured["session"].astype(str)
    symbols = [name for name in UNITS | STRENGTH_UNITS if name in measured]
    indices = wide_indices(measured[["bone", *symbols]].assign(participant_id=scan), strength=True)
    indices = indices.reindex([f"{person}\t{session}" for person, session in scans.index]).set_axis(scans.index)
    known = given.features.reindex(scans.index.get_level_values(0)).set_axis(scans.index)
    known = known.drop(columns=[*indices, *wide], errors="ignore")
    features = known.join(indices).join(wide)
    return scans[whole].reset_index(), features[whole].reset_index(drop=True)


def _together(values: pd.Series) -> str:
    """What a woman's bones in one session have in common; where they differ, that of each in their order."""
    each = [str(value) for value in values]
    return each[0] if len(set(each)) == 1 else " and ".join(each)


def _by_fit(
    data: Tables,
    given: Prepared,
    model: Model,
    new: pd.DataFrame,
    held_out: str,
    scans: pd.DataFrame,
    found: CrossCalibrated | None,
    place: tuple[str, int],
) -> pd.DataFrame:
    """Score and risk of new scans by the fit on the women of the other folds."""
    fold, labels = given.fold, given.labels
    table, patients = training_of(data, model, given, held_out, found=found, place=place), data.patients
    if found is not None and data.scanner is not None:
        corrected = [name for name in new if name in found.added[held_out]]
        scanner = scans["participant_id"].map(data.scanner)
        new = new.assign(**without(new[corrected], scanner, found.added[held_out]))
    train = table.index[(fold[table.index] != held_out) & (fold[table.index] != "test")]
    train = table.loc[train].dropna(how="all").index
    fitted = fit(table.loc[train], outcome=labels[train], fold=fold[train], patients=patients[train])
    logit = np.where(new.notna().any(axis=1), fitted.logit(new), np.nan)
    return pd.DataFrame({"score": logit - fitted.level, "risk": special.expit(logit)}, index=new.index)


def _by_mean(given: Prepared, model: Model, new: pd.DataFrame, held_out: str) -> pd.DataFrame:
    """Score and risk, or number, of new scans by the mean of the bones, which no outcome takes part in, and its map."""
    fold, names = given.fold, list(model.columns)
    known, _ = mean_of_bones(given.networks, columns=names, fold=fold)
    others = given.networks.scores.loc[(fold != held_out) & (fold != "test"), names]
    score = (new / others.apply(spread)).mean(axis=1) if len(names) > 1 else new[names[0]]
    there = known[fold != "test"].dropna()
    frame = _as_rows(list(there.index), fold[there.index].tolist(), there.to_numpy(), split="out-of-fold")
    again = _as_rows([str(k) for k in new.index], [held_out] * len(new), score.to_numpy(), split="again")
    both, target = pd.concat([frame, again.dropna(subset="score")], ignore_index=True), given.target
    if target.kind == YES_NO:
        told = calibrate_out_of_fold(both, outcome=target.values)
    else:
        told = map_out_of_fold(both, outcome=target)
    value = "predicted" if target.kind == NUMBER else "risk"
    made = told[told["split"] == "again"].set_index("participant_id")[value]
    return pd.DataFrame({"score": score, value: made.reindex([str(k) for k in new.index]).to_numpy()}, index=new.index)


def _as_rows(people: list[str], fold: list[str], score: NDArray[np.floating], *, split: str) -> pd.DataFrame:
    """Scores as the maps to risks take them; protocol and repeat are there for the map alone."""
    rows = {"participant_id": people, "fold": fold, "score": score, "split": split}
    return pd.DataFrame(rows | {"protocol": "this", "repeat": 0})
