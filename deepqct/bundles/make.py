"""A bundle made from a run: its networks, everything else refitted on all training women, and its model card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from deepqct import __version__
from deepqct.bones.quality import MOTION_LIMIT
from deepqct.bundles.card import card_of, card_page
from deepqct.bundles.content import CARD, CONTENT, BoneNetworks, Content, Curated, FoldNetwork, Made
from deepqct.bundles.grouping import Grouping, grouping_of
from deepqct.bundles.plain import to_plain
from deepqct.bundles.reference import Cloud, axes_distance, axes_of, cloud_of, far_limit, reference_of, sizes_of
from deepqct.bundles.scoring import her_images, keeps_maps, read_women
from deepqct.bundles.source import BundleError, Source, seal, write_zip
from deepqct.evaluation.scales import levels
from deepqct.folder import Job, Run, read_json, read_table, write_json, write_text, write_whole
from deepqct.groups.find import find_groups
from deepqct.groups.space import covariates_of, named
from deepqct.models.frozen import Frozen, frozen_models, frozen_scale
from deepqct.models.inputs import Tables, tables
from deepqct.models.predict import prepared
from deepqct.networks.data import items_of
from deepqct.networks.ensemble import members_of
from deepqct.networks.folds import FoldFiles, load_fold, place_of, scans_of
from deepqct.networks.recipe import Recipe
from deepqct.networks.saliency import MOST_USUAL, NoMapsError, usual
from deepqct.run_tables import (
    above_chance,
    age_of,
    network_auc,
    outcome_of,
    read_models,
    rows_of,
    virtual_of,
    wide_indices,
)
from deepqct.terms import SITES, YES_NO, columns_by_role
from deepqct.work import say

_STAGES = {"curation": "01_data_curation", "models": "03_fusion_and_baselines", "groups": "04_clustering"}
_PREDICTORS = ("clinical", "frax", "bmd")


def bundle(run: Run, path: str | Path, *, protocol: str = "", fingerprints: bool = False, again: bool = False) -> Path:
    """Make a bundle of a run: a folder, or a zip, from which new women are predicted anywhere.

    It holds the networks of every bone and fold of one protocol's first repeat; the models, calibration maps and
    thresholds, refitted on all training women, as plain numbers; what is usual in these women as means, SDs, covariances
    and percentiles by age; how scans were curated; the patient groups; a model card. No row of a patient.

    Parameters
    ----------
    run : Run
        A run whose networks are trained and whose models are fitted.
    path : str or Path
        A new folder, or a file whose name ends in ``.zip``.
    protocol : str
        As in splits.csv; by default the first, whose results are the run's main ones.
    fingerprints : bool
        Keep the beginnings of the hashes of the training scans, by which the bundle knows a woman whom its networks learned
        from. Whoever has her scan could tell by them that she was in the training, so that they are left out by default.
    again : bool
        Make it anew in the place of a bundle that is there.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    BundleError
        If something is there already, or the run has nothing that could be carried elsewhere, or its outcome is a
        number or a time, which bundles do not take.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> made = dq.bundle(dq.run.example_run(), Path(tempfile.mkdtemp()) / "bundle")
    radius · all · fold 0
    radius · all · fold 1
    tibia · all · fold 0
    tibia · all · fold 1
    >>> sorted(file.name for file in made.iterdir())
    ['bundle.json', 'card.html', 'card.json', 'manifest.json', 'networks']
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not again:
            raise BundleError(f"{path} is there already; give a new folder or file.")
        Source.open(path)  # whatever else lies there is nothing to be thrown away
    outcome = outcome_of(run)
    if outcome.kind != YES_NO:
        raise BundleError(
            f"The outcome of {run.folder.name} is a {outcome.kind} ({outcome.name}); bundles are made of runs whose "
            "outcome is 0 or 1."
        )
    splits = read_table(run.require(run.splits, written_by="01_data_curation"))
    protocol = protocol or str(splits["protocol"].iloc[0])
    rows = splits[splits["protocol"] == protocol]
    if rows.empty:
        raise BundleError(
            f"splits.csv has no protocol {protocol!r}; use one of {', '.join(splits['protocol'].unique())}."
        )
    repeat = int(rows["repeat"].min())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        content = _content(run, folder, protocol=protocol, repeat=repeat, fingerprints=fingerprints)
        write_json(folder / CONTENT, to_plain(content))
        card = card_of(run, content)
        write_json(folder / CARD, card)
        write_text(folder / "card.html", card_page(card))
        seal(folder)
        if path.suffix == ".zip":
            return write_zip(folder, path)
        if path.exists():
            shutil.rmtree(path)
        shutil.move(folder, path)
    return path


def _content(run: Run, folder: Path, *, protocol: str, repeat: int, fingerprints: bool) -> Content:
    """Everything of a bundle; the weights are written into its folder."""
    chosen = _parameters(run, "models")
    data = tables(
        run,
        stacking=str(chosen.get("stacking", "standard")),
        cross_calibrate=str(chosen.get("cross_calibrate", "none")),
    )
    fold = rows_of(data.splits, protocol, repeat).set_index("participant_id")["fold"]
    women = fold.index[fold != "test"]
    bones = [bone for bone, table in data.scores.items() if len(rows_of(table, protocol, repeat))]
    if not bones:
        raise BundleError(f"The run has no trained networks of protocol {protocol!r}; run 02_train_bone first.")
    if data.outcome[women].nunique() < 2:
        raise BundleError(
            f"All training women have the same {data.outcome.name}, so that no model was fitted; a bundle needs women with "
            "and without it."
        )
    networks = {
        bone: _networks(run, folder, data, bone=bone, protocol=protocol, repeat=repeat, fold=fold) for bone in bones
    }
    models = frozen_models(
        data,
        protocol=protocol,
        repeat=repeat,
        sensitivity=float(chosen.get("sensitivity", 0.0)) or None,
        seen=_seen(run, bones, protocol=protocol, repeat=repeat, folds=sorted(set(fold) - {"test"})),
    )
    models = [one for one in models if _has_numbers(one)]
    heads = [k for k, one in enumerate(models) if one.model.family == "DeepQCT" and one.model.headline]
    scale = frozen_scale(data, prepared(data, protocol, repeat))
    features = data.features if scale is None or data.scanner is None else scale.applied(data.features, data.scanner)
    indices = features[data.indices].loc[women]
    events = int(data.outcome[women].sum())
    made = Made(
        deepqct=__version__,
        outcome=str(data.outcome.name),
        virtual=str(virtual_of(run).get("scenario", "")),
        protocol=protocol,
        repeat=repeat,
        folds=tuple(sorted(set(fold) - {"test"})),
        n=len(women),
        events=events,
        test=int((fold == "test").sum()),
        stacking="strict" if data.strict else "standard",
    )
    clouds = {bone: cloud for bone in bones if (cloud := _cloud(indices, bone)) is not None}
    predictors = {name: role for role in _PREDICTORS for name in columns_by_role(dict(data.dictionary), role)}
    return Content(
        made=made,
        curated=_curated(run, [str(woman) for woman in women]),
        predictors=predictors,
        networks=networks,
        models=tuple(models),
        primary=heads[0],
        reference=reference_of(indices, age=age_of(run), events=events),
        sizes=sizes_of(indices),
        clouds=clouds,
        groups=_groups(run),
        trained_on=tuple(sorted(scans_of(run, women))) if fingerprints else (),
        scale=scale,
    )


def _parameters(run: Run, what: str) -> dict[str, Any]:
    """The parameters of one stage, as far as the run keeps them."""
    path = run.parameters(Job(_STAGES[what]))
    return dict(read_json(path)["parameters"]) if path.exists() else {}


def _has_numbers(one: Frozen) -> bool:
    """True for a model that was fitted on women of both outcomes."""
    return 0 < one.prior < 1


def _cloud(indices: pd.DataFrame, bone: str) -> Cloud | None:
    """Where the training women's indices of one bone lie."""
    return cloud_of(indices[[column for column in indices if str(column).startswith(f"{bone} ")]])


def _curated(run: Run, women: Sequence[str]) -> Curated:
    """How the scans of the training women were curated, from the records of their bones."""
    by_site: dict[str, list[tuple[list[float], float]]] = {}
    ways: dict[str, set[Any]] = {
        name: set() for name in ("image_px", "scan_stack", "strength", "unusual", "code", "use")
    }
    for site, bones in SITES.items():
        for person in women:
            path = run.stack_record(person, bones[0])
            if path.exists():
                record = read_json(path)
                stack = run.require(run.stack(person, bones[0]), written_by="01_data_curation")
                slices = np.load(stack, mmap_mode="r").shape[0]
                by_site.setdefault(site, []).append((record["scan_voxel_mm"], slices * record["scan_voxel_mm"][0]))
                for name, values in ways.items():
                    values.add(record["made_from"].get(name))  # older records know fewer settings
    if not by_site or any(len(values) != 1 or None in values for values in ways.values()):
        raise BundleError("The run's scans were not all curated in one way; run 01_data_curation again.")
    way = {name: values.pop() for name, values in ways.items()}
    if way["use"] == "scanner" or _parameters(run, "curation").get("indices") == "scanner":
        raise BundleError(
            "The run measures with the scanner's own contours or indices, which a new scan may not have; curate with "
            "contours=ours or both, and indices=ours."
        )
    voxels: dict[str, tuple[float, float, float, float]] = {}
    for site, found in by_site.items():
        z, y = ([voxel[axis] for voxel, _ in found] for axis in (0, 1))
        voxels[site] = (float(min(z)), float(max(z)), float(min(y)), float(max(y)))
    lengths = {site: (float(min(mm for _, mm in f)), float(max(mm for _, mm in f))) for site, f in by_site.items()}
    return Curated(
        way["image_px"],
        str(way["scan_stack"]),
        str(way["strength"]),
        bool(way["unusual"]),
        way["code"],
        voxels,
        lengths,
        MOTION_LIMIT,
    )


def _seen(
    run: Run, bones: Sequence[str], *, protocol: str, repeat: int, folds: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """For each bone the scores of training women by the networks that learned from them; empty if files are not there."""
    tables_of: dict[str, pd.DataFrame] = {}
    for bone in bones:
        place = place_of(run, bone=bone, protocol=protocol, repeat=repeat)
        files = [FoldFiles(place, fold).training for fold in folds]
        if not all(file.exists() for file in files):
            return {}
        tables_of[bone] = pd.concat([read_table(f).assign(fold=fold) for f, fold in zip(files, folds, strict=True)])
    return tables_of


def _networks(
    run: Run, folder: Path, data: Tables, *, bone: str, protocol: str, repeat: int, fold: pd.Series
) -> BoneNetworks:
    """The networks of one bone; their weights and summaries are written into the bundle's folder."""
    place = place_of(run, bone=bone, protocol=protocol, repeat=repeat)
    own = rows_of(data.scores[bone], protocol, repeat).query("split == 'out-of-fold'").set_index("participant_id")
    level = levels(own["score"], own["fold"])
    made: list[FoldNetwork] = []
    out: list[float] = []
    record: dict[str, Any] = {}
    for number in sorted(own["fold"].unique()):
        files = FoldFiles(place, str(number))
        record = read_json(run.require(files.record, written_by="02_train_bone"))
        recipe = _recipe(record)
        say(f"{bone} · {protocol} · fold {number}")
        members = members_of(load_fold(run, bone=bone, protocol=protocol, repeat=repeat, fold=str(number)))
        many = recipe.ensemble > 1
        weights = [files.member(k).weights if many else files.weights for k in range(len(members))]
        names = [
            f"networks/{bone}/fold{number}{f'_network{k}' if many else ''}.safetensors" for k in range(len(weights))
        ]
        for name, file in zip(names, weights, strict=True):
            _save(folder / name, load_file(file))  # without the scans that the file of a run names
        items = items_of(run, bone=bone, protocol=protocol, repeat=repeat, recipe=recipe)
        people = items.drop_duplicates("participant_id").set_index("participant_id")["fold"]
        learned = [str(person) for person in people.index[~people.isin([str(number), "test"])]]
        unseen = [str(person) for person in people.index[people == str(number)]]
        tensors, distances = _summary(run, members, learned, unseen, bone=bone, recipe=recipe)
        out += distances
        summary = f"networks/{bone}/fold{number}_summary.safetensors"
        _save(folder / summary, tensors)
        shape = tuple(tensors["0.usual"].shape) if "0.usual" in tensors else ()
        axes, features = tuple(tensors["0.axes"].shape) if "0.axes" in tensors else (0, 0)
        made.append(FoldNetwork(str(number), tuple(names), summary, shape, features, axes, float(level[str(number)])))
    known, targets = _known(run, bone=bone, protocol=protocol), len(record["targets"])
    return BoneNetworks(_recipe(record), float(record["pixel_mm"]), targets, tuple(made), far_limit(out), known)


def _known(run: Run, *, bone: str, protocol: str) -> bool:
    """Whether the networks of one bone and protocol were shown to know anything."""
    if not run.performance.exists() or not run.models_table.exists():
        return False
    performance = read_table(run.performance)
    own = performance[performance["protocol"] == protocol]
    return above_chance(network_auc(own, models=read_models(run), bone=bone))


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, readable by whom the folder is."""
    with write_whole(path) as unfinished:
        save_file(tensors, unfinished)


def _recipe(record: dict[str, Any]) -> Recipe:
    """The recipe of trained networks; what they began with is theirs no more."""
    kept = {name: value for name, value in record["recipe"].items() if name != "weights_sha256"}
    return Recipe(**kept | {"weights": "none"})


def _summary(
    run: Run, members: Sequence[torch.nn.Module], learned: list[str], unseen: list[str], *, bone: str, recipe: Recipe
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The reference woman and the range of the women whom a fold's networks learned from.

    Second, the distances from that range of the women whom they have not seen.
    """
    tensors: dict[str, torch.Tensor] = {}
    apart = []
    usual_ones = learned[:: max(-(-len(learned) // MOST_USUAL), 1)]
    for number, member in enumerate(members):
        if keeps_maps(member):
            try:
                women = (her_images(run, person, bone=bone, recipe=recipe) for person in usual_ones)
                reference = usual(member, women)
                tensors[f"{number}.usual"] = reference.features.float().contiguous().clone()
                tensors[f"{number}.logit"] = torch.tensor([reference.logit], dtype=torch.float32)
            except NoMapsError:
                tensors.pop(f"{number}.usual", None)
        seen = read_women([member], run, [*learned, *unseen], bone=bone, recipe=recipe).features[0]
        known = seen.loc[learned].to_numpy(float)
        parts = axes_of(known)
        tensors |= {f"{number}.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
        apart.append(axes_distance(seen.loc[unseen].to_numpy(float), parts))
    return tensors, [float(value) for value in np.mean(apart, axis=0)]


def _groups(run: Run) -> Grouping | None:
    """The groups of the run, found again as 04 found them; None where it has not run."""
    if not run.phenotypes_record.exists() or not run.phenotypes.exists():
        return None
    record, chosen = read_json(run.phenotypes_record), _parameters(run, "groups")
    features = named(wide_indices(read_table(run.indices)), ", ".join(record["indices"]))
    people = read_table(run.participants).set_index("participant_id")
    covariates = covariates_of(people, ", ".join(record["adjusted_for"]) or "none")
    found = find_groups(
        features, groups=record["groups"] if len(features) >= 10 else None, max_groups=record["groups"],
        method=record["method"], seed=int(chosen.get("seed", 0)), covariates=covariates, draws=0, bootstraps=0,
    )  # fmt: skip
    kept = read_table(run.phenotypes).set_index("participant_id")["group"].reindex(found.labels.index)
    if not (kept == found.labels).all():
        raise BundleError("phenotypes.csv has other groups than 04 finds now; run 04_clustering again.")
    z = found.space.standardise(features.sort_index(), covariates=covariates)
    return grouping_of(found, z)
