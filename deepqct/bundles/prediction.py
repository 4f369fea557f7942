"""New women predicted from their scans: a risk and what it rests on, or the reasons why none is given."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from deepqct.bundles.content import BoneNetworks, Bundle
from deepqct.bundles.new_scans import Curation, curate_new, scans_given
from deepqct.bundles.reference import axes_distance
from deepqct.bundles.scoring import Read, her_images, read_women
from deepqct.curation.stacks import of_bone
from deepqct.folder import Run, read_json
from deepqct.models.frozen import new_features, new_levelled
from deepqct.models.inputs import as_names
from deepqct.networks.images import bone_images, seen_mask
from deepqct.networks.saliency import Usual, grad_cam
from deepqct.run_tables import wide_indices
from deepqct.terms import BONES, SITES
from deepqct.work import Progress

_HASH = 16  # letters of a scan's hash that a bundle with fingerprints keeps


@dataclass(frozen=True)
class Looked:
    """What the networks saw of one bone, and where they looked.

    Parameters
    ----------
    density : (images, y, x) float32, mgHA/cm³
        The middle slab of each image.
    inside : (y, x) bool
        The bone, in at least half of the slices.
    heat : (images, y, x) float32 or None
        The mean saliency over networks, 1 for an even spread; None where the networks are not shown to know anything, or
        keep no maps.
    """

    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    heat: NDArray[np.float32] | None


@dataclass(frozen=True)
class Woman:
    """Everything that a sheet says of one new woman.

    Parameters
    ----------
    participant_id : str
        Who she is.
    row : dict
        Her row of predictions.csv.
    reasons, notes : tuple of str
        Why no risk is given, and what a person should know.
    each : dict of str to float
        The risk by the networks of each fold alone; empty without a risk.
    shares : dict of str to float
        What each bone, or factor, adds to her log odds.
    indices : DataFrame
        Her indices, as `Reference.compare` gives them.
    looked : dict of str to Looked
        By bone.
    """

    participant_id: str
    row: dict[str, Any]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    each: dict[str, float]
    shares: dict[str, float]
    indices: pd.DataFrame
    looked: dict[str, Looked] = field(repr=False)


@dataclass(frozen=True)
class Predictions:
    """What a bundle says of new women.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    women : tuple of Woman
        One a woman, by participant_id.
    by_model : DataFrame
        participant_id, family, model, score, risk, low, high, threshold: every model of the run, for women with a risk.

    Examples
    --------
    >>> import deepqct as dq
    >>> scans = [dq.run.example_run().virtual / "cohort" / "scans" / "sub-0002_wrist.AIM"]
    >>> predictions = dq.predict(dq.bundles.example_bundle(), scans)
    >>> predictions.table[["participant_id", "virtual"]].to_numpy().tolist()
    [['sub-0002', 'deepqct-like']]
    """

    bundle: Bundle
    women: tuple[Woman, ...]
    by_model: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """One row a woman: status (predicted, abstained), risk, low, high, reasons, and what they rest on."""
        return pd.DataFrame([woman.row for woman in self.women])

    @property
    def indices(self) -> pd.DataFrame:
        """Every woman's indices with z-score and percentile for her age, one row an index."""
        tables = [woman.indices.assign(participant_id=woman.participant_id) for woman in self.women]
        return pd.concat(tables, ignore_index=True)[["participant_id", "index", "value", "z", "percentile"]]

    def __repr__(self) -> str:
        """Say how many women have a risk; no row is shown."""
        given = sum(not woman.reasons for woman in self.women)
        return f"Predictions({given} of {len(self.women)} women with a risk, by {self.bundle!r})"


def predict(
    bundle: Bundle | str | Path,
    scans: Sequence[str | Path],
    *,
    participants: str | Path | pd.DataFrame | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Predictions:
    """Predict new women from their scans, or say why not.

    A risk is given only where every scan of the woman can be used and she is like the women whom the bundle was made from.

    Parameters
    ----------
    bundle : Bundle, str or Path
        From `load_bundle`, or its path.
    scans : sequence of str or Path
        Scans of any format that `deepqct.read_scan` reads, named like ``P0042_wrist_left.AIM``; or a ``scans.tsv``, or a
        folder that holds one, as a cohort has it.
    participants : str, Path or DataFrame, optional
        Age, clinical factors and bone densities, as in participants.tsv.
    workers : int
        Processes that curate scans, as in `deepqct.curate`.
    progress : callable, optional
        Called after each scan with the number of scans done and the total.

    Returns
    -------
    Predictions
        Their tables, and what a sheet for each woman is made of.

    Raises
    ------
    BundleError
        If the bundle cannot be trusted.
    ValueError
        If a table is wrong, or no scan is given.

    Notes
    -----
    The interval of a risk covers that networks which learned from other shares of the same women would say something else:
    1.96 standard errors of the mean over folds. It leaves out other cohorts, the few women that calibration and fusion
    were fitted on, and the noise of a scan.

    Examples
    --------
    >>> import deepqct as dq
    >>> scans = [dq.run.example_run().virtual / "cohort" / "scans" / "sub-0001_wrist.AIM"]
    >>> import pandas as pd
    >>> dq.predict(dq.bundles.example_bundle(), scans, participants=pd.DataFrame({"participant_id": ["sub-0001"]}))
    Predictions(...)
    """
    from deepqct.bundles.content import load_bundle

    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    given, people = scans_given(scans, participants)
    _check_factors(opened, people)
    with tempfile.TemporaryDirectory(prefix="deepqct-new-") as scratch:
        run = Run(Path(scratch))
        curated = curate_new(opened, given, run, workers=workers, progress=progress)
        return _predicted(opened, curated, people, run)


def _check_factors(bundle: Bundle, people: pd.DataFrame) -> None:
    """Refuse a table of participants that has words where the bundle takes numbers."""
    groups = bundle.content.groups
    wanted = [*bundle.content.predictors, *(groups.adjusted_for if groups is not None else ())]
    for name in (name for name in wanted if name in people):
        numbers = pd.to_numeric(people[name], errors="coerce")
        wrong = people.index[people[name].notna() & ~np.isfinite(numbers.astype(float))]
        if len(wrong):
            raise ValueError(
                f"The table of participants: {name} of {wrong[0]} is {people[name][wrong[0]]}, no number; correct it or "
                "leave it empty."
            )


def _predicted(bundle: Bundle, curated: Sequence[Curation], people: pd.DataFrame, run: Run) -> Predictions:
    """Everything about women whose scans are curated."""
    content = bundle.content
    women = sorted({one.scan.participant_id for one in curated})
    reasons = {person: list[str]() for person in women}
    notes = {person: list[str]() for person in women}
    for one in curated:
        hers = reasons[one.scan.participant_id]
        hers += [reason for reason in one.reasons if reason not in hers]
        notes[one.scan.participant_id] += one.notes
    there = {
        bone: [
            one.scan.participant_id
            for one in curated
            if bone in SITES.get(one.scan.site, ()) and one.row["status"] == "curated"
        ]
        for bone in BONES
    }
    measured = {kind: _measured(run, there, kind=kind) for kind in ("indices", "texture")}
    features = measured["indices"].join(measured["texture"], how="outer").reindex(women)
    known = people.reindex(women)
    features = features.join(known.reindex(columns=list(content.predictors)).astype(float))
    as_measured = features  # the groups of 04 are of indices as they were measured
    if content.scale is not None:
        stated = known[content.scale.by] if content.scale.by in known else pd.Series(None, women, dtype=object)
        scanner = as_names(stated)
        features = content.scale.applied(features, scanner)
        for person in women:
            if said := content.scale.said(None if pd.isna(scanner[person]) else str(scanner[person])):
                notes[person].insert(0, said)
    age = known["age"].astype(float) if "age" in known else pd.Series(np.nan, women)
    _check_range(bundle, features, age, reasons=reasons, notes=notes)
    _check_given(bundle, curated, there, features, reasons=reasons, notes=notes)
    _check_images(bundle, there, run, reasons=reasons)
    used = {bone: [p for p in there[bone] if not reasons[p]] for bone in content.networks}
    each, looked = _networks(bundle, used, run, women, reasons=reasons)
    networks = new_levelled(
        each, level={b: {one.fold: one.level for one in n.folds} for b, n in content.networks.items()}
    )
    whole = new_features(features, networks, content.models)
    tables = {k: one.predict(whole, networks) for k, one in enumerate(content.models)}
    risks = [person for person in women if not reasons[person] and np.isfinite(tables[content.primary]["risk"][person])]
    for person in women:
        if person not in risks and not reasons[person]:
            reasons[person].append("no scan of hers shows a bone that the bundle's model takes.")
    rows = [
        table.loc[risks].assign(family=one.model.family, model=one.model.name).dropna(subset=["score"])
        for one, table in zip(content.models, tables.values(), strict=True)
    ]
    columns = ["participant_id", "family", "model", "score", "risk", "low", "high", "threshold"]
    by_model = pd.concat(rows).rename_axis("participant_id").reset_index()[columns]
    primary = bundle.primary
    alone = pd.DataFrame(1 / (1 + np.exp(-primary.each(whole, networks))))
    shares = _by_bone(primary.shares(whole))
    adjusted = [] if content.groups is None else [n for n in content.groups.adjusted_for if n not in features]
    with_known = as_measured.join(known.reindex(columns=adjusted).astype(float))
    groups = None if content.groups is None else content.groups.assign(with_known)
    predicted = tables[content.primary].loc[risks].to_dict("index")
    her_shares = {
        person: {str(name): float(value) for name, value in row.items() if person in there.get(str(name), (person,))}
        for person, row in shares.loc[risks].to_dict("index").items()
    }
    her_each = {
        person: {str(fold): float(risk) for fold, risk in row.items()} for person, row in alone.to_dict("index").items()
    }
    her_group = {} if groups is None else groups.dropna().to_dict("index")
    made = []
    for person in women:
        ok = person in predicted
        row = _row(bundle, person, predicted.get(person), reasons[person], notes[person])
        if ok:
            row |= {f"share {name}": round(value, 4) for name, value in her_shares[person].items()}
            row |= _grouped(her_group.get(person))
            pictures = {bone: found[person] for bone, found in looked.items() if person in found}
        else:
            seen = {bone: _seen(bundle, person, bone, run) for bone in content.networks if person in there[bone]}
            pictures = {bone: picture for bone, picture in seen.items() if picture is not None}
        made.append(
            Woman(
                participant_id=person,
                row=row,
                reasons=tuple(reasons[person]),
                notes=tuple(dict.fromkeys(notes[person])),
                each=her_each.get(person, {}) if ok else {},
                shares=her_shares.get(person, {}),
                indices=content.reference.compare(features.T[person], age=float(age.to_dict()[person])),
                looked=pictures,
            )
        )
    return Predictions(bundle, tuple(made), by_model)


def _grouped(found: Mapping[Any, Any] | None) -> dict[str, Any]:
    """A woman's group as columns of predictions.csv; empty ones where there is none."""
    if found is None:
        return {"group": None, "membership": np.nan, "like_none": None}
    return {
        "group": int(found["group"]),
        "membership": float(found["membership"]),
        "like_none": bool(found["like_none"]),
    }


def _row(
    bundle: Bundle, person: str, predicted: Mapping[Any, Any] | None, reasons: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    """The first columns of a woman's row of predictions.csv."""
    model = bundle.primary.model
    row: dict[str, Any] = {"participant_id": person, "status": "predicted" if predicted is not None else "abstained"}
    names = ("risk", "low", "high", "score", "threshold")
    row |= {name: float(predicted[name]) if predicted is not None else np.nan for name in names}
    there = predicted is not None and np.isfinite(predicted["threshold"])
    above = bool(row["score"] >= row["threshold"]) if there else None
    row |= {"above_threshold": above, "reasons": " ".join(map(_sentence, reasons))}
    row |= {"notes": "; ".join(dict.fromkeys(notes)), "family": model.family, "model": model.name}
    made = bundle.content.made
    return row | {"outcome": made.outcome, "virtual": made.virtual, "bundle": bundle.source.fingerprint[:16]}


def _sentence(text: str) -> str:
    """A reason as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _measured(run: Run, there: Mapping[str, Sequence[str]], *, kind: str) -> pd.DataFrame:
    """The indices with what is known of strength, or texture, of all curated bones: one row a woman, one column a value."""
    kinds = ("indices", "strength") if kind == "indices" else (kind,)
    rows: list[dict[str, object]] = []
    for bone, people in there.items():
        for person in people:
            record = read_json(run.stack_record(person, bone))
            values = [record[each] or {} for each in kinds]
            rows.append({"participant_id": person, "bone": bone} | {k: v for part in values for k, v in part.items()})
    if not rows:
        return pd.DataFrame(index=pd.Index([], name="participant_id"))
    return wide_indices(pd.DataFrame(rows), strength=True).astype(float)


def _check_range(
    bundle: Bundle,
    features: pd.DataFrame,
    age: pd.Series,
    *,
    reasons: Mapping[str, list[str]],
    notes: Mapping[str, list[str]],
) -> None:
    """Refuse women whose age or indices lie outside of the training women's range."""
    reference = bundle.content.reference
    for person, years in age.items():
        if np.isfinite(years) and not reference.age_low <= years <= reference.age_high:
            if np.isfinite(reference.age_low):
                reasons[str(person)].append(
                    f"she is {years:.0f} years old, and the bundle's women were {reference.age_low:.0f} to "
                    f"{reference.age_high:.0f}."
                )
        elif not np.isfinite(years) and np.isfinite(reference.age_low):
            notes[str(person)].append("her age is not known: she is compared with women of all ages")
    for bone, (least, most) in bundle.content.sizes.items():
        sizes = features[f"{bone} Tt.Ar"] if f"{bone} Tt.Ar" in features else pd.Series(dtype=float)
        for person, area in sizes.items():
            if np.isfinite(area) and not least <= area <= most:
                reasons[str(person)].append(
                    f"her {bone} has {area:.0f} mm², outside of the {least:.0f} to {most:.0f} of the bundle's women "
                    "(another site?)."
                )
    for bone, cloud in bundle.content.clouds.items():
        for person, distance in zip(features.index, cloud.distance(features), strict=True):
            if distance > cloud.limit:
                reasons[str(person)].append(
                    f"the indices of her {bone} are unlike those of the bundle's women (distance {distance:.1f}, limit "
                    f"{cloud.limit:.1f})."
                )


def _check_given(
    bundle: Bundle,
    curated: Sequence[Curation],
    there: Mapping[str, Sequence[str]],
    features: pd.DataFrame,
    *,
    reasons: Mapping[str, list[str]],
    notes: Mapping[str, list[str]],
) -> None:
    """Note bones and factors that are missing, and women whom the networks learned from."""
    content = bundle.content
    for person in features.index:
        if not reasons[person]:
            absent = [bone for bone in content.networks if person not in there[bone]]
            if absent:
                notes[person].append(f"the risk is without her {' and '.join(absent)}")
    for one in curated:
        hashed = str(one.row["sha256"])[:_HASH]
        if hashed and hashed in content.trained_on:
            notes[one.scan.participant_id].append(
                f"the networks learned from this {one.scan.site} scan: her risk tests nothing"
            )


def _check_images(
    bundle: Bundle, there: Mapping[str, Sequence[str]], run: Run, *, reasons: Mapping[str, list[str]]
) -> None:
    """Refuse women whose stacks cannot give the images that the networks see."""
    for bone, networks in bundle.content.networks.items():
        for person in there[bone]:
            try:
                bone_images(run, person, bone, view=networks.recipe.view)
            except ValueError:
                edge = networks.recipe.view
                slices = np.load(run.stack(person, bone), mmap_mode="r").shape[0]
                why = f"it has {slices} slices for {edge.images} images" if slices < edge.images else "it is too wide"
                reasons[person].append(f"her {bone} does not give the images that the networks see: {why}.")


def _networks(
    bundle: Bundle,
    used: Mapping[str, Sequence[str]],
    run: Run,
    women: Sequence[str],
    *,
    reasons: Mapping[str, list[str]],
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Looked]]]:
    """Scores by every fold's networks, and where these looked; women outside of their range get a reason."""
    each: dict[str, pd.DataFrame] = {}
    looked: dict[str, dict[str, Looked]] = {}
    for bone, networks in bundle.content.networks.items():
        people, recipe = sorted(used[bone]), networks.recipe
        scores = pd.DataFrame(np.nan, index=list(women), columns=[one.fold for one in networks.folds])
        apart = pd.DataFrame(index=people)
        heats: dict[str, list[NDArray[np.float32]]] = {person: [] for person in people}
        signs: dict[str, list[float]] = {person: [] for person in people}
        for one in networks.folds if people else ():
            members = [bundle.network(bone, name) for name in one.weights]
            summary = bundle.summary(one)
            read = read_women(members, run, people, bone=bone, recipe=recipe)
            scored = read.logits
            scores.loc[people, one.fold] = scored
            apart[one.fold] = _distances(read, summary) if one.axes else np.nan
            for person in people:
                if one.usual and networks.above_chance:
                    images = her_images(run, person, bone=bone, recipe=recipe)
                    heats[person].append(_heat(members, images, summary))
                    usual = np.mean([float(summary[f"{k}.logit"][0]) for k in range(len(members))])
                    signs[person].append(scored[person] - float(usual))
        each[bone] = scores
        mean = apart.mean(axis=1)
        for person in people:
            if mean[person] > networks.feature_limit:
                reasons[person].append(
                    f"her {bone} looks unlike those of the bundle's women to the networks (distance {mean[person]:.1f}, "
                    f"limit {networks.feature_limit:.1f})."
                )
        looked[bone] = {
            person: _looked(run, person, bone, networks, heats=heats[person], sign=float(np.sum(signs[person])))
            for person in people
        }
    return each, looked


def _distances(read: Read, summary: Mapping[str, torch.Tensor]) -> pd.Series:
    """How far the bones of some women lie from those that a fold's networks learned from, by participant_id."""
    apart = []
    for number, features in enumerate(read.features):
        parts = {name: summary[f"{number}.{name}"].numpy() for name in ("mean", "axes", "variances", "rest")}
        apart.append(axes_distance(features.to_numpy(float), parts))
    return pd.Series(np.mean(apart, axis=0), read.logits.index)


def _heat(
    members: Sequence[torch.nn.Module], images: torch.Tensor, summary: Mapping[str, torch.Tensor]
) -> NDArray[np.float32]:
    """Where a fold's networks looked, above 0 where the logit is raised."""
    of_members = [
        grad_cam(member, images, reference=Usual(summary[f"{k}.usual"], float(summary[f"{k}.logit"][0])))
        for k, member in enumerate(members)
    ]
    return np.asarray(np.mean(of_members, axis=0), np.float32)


def _looked(
    run: Run, person: str, bone: str, networks: BoneNetworks, *, heats: list[NDArray[np.float32]], sign: float
) -> Looked:
    """The pictures of one woman's bone, with the mean saliency of all networks."""
    view = networks.recipe.view
    density = bone_images(run, person, bone, view=view)
    inside = np.asarray(of_bone(seen_mask(run, person, bone, view=view)).mean(axis=0) >= 0.5)
    heat = None
    if heats:
        raised = np.clip((1.0 if sign >= 0 else -1.0) * np.mean(heats, axis=0), 0, None)
        heat = np.asarray(raised / max(float(raised.mean()), 1e-12), np.float32)
    return Looked(density[:, density.shape[1] // 2].astype(np.float32), inside, heat)


def _seen(bundle: Bundle, person: str, bone: str, run: Run) -> Looked | None:
    """The pictures of a woman without a risk; None where her stack gives none."""
    try:
        return _looked(run, person, bone, bundle.content.networks[bone], heats=[], sign=0.0)
    except ValueError:
        return None


def _by_bone(shares: pd.DataFrame) -> pd.DataFrame:
    """The shares of columns added up by bone; a factor that belongs to no bone stays by itself."""
    named = [str(column).split(" ")[0] if str(column).split(" ")[0] in BONES else str(column) for column in shares]
    return shares.T.groupby(named, sort=False).sum().T
