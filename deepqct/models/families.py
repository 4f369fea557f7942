"""The families of models: which columns each model takes.

BMD, pQCT-index and DeepQCT, as the preprint names them (Chen 2024), beside clinical factors, FRAX, texture, which reads
the images without a network, and strength where it was measured; which models a family has is our choice, fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from deepqct.terms import BONES, SITES, columns_by_role

FAMILIES = ("Clinical", "FRAX", "BMD", "pQCT-index", "Strength", "Texture", "DeepQCT")
INDEX_SCORE = "index score"  # the logit of the pQCT-index model of all bones, as one column of a fusion
MEAN_OF = "mean of "
PLUS_CLINICAL = " + clinical"
PLUS_INDICES = " + all indices"
PLUS_STRENGTH = " + strength"
PAIRS: dict[str, tuple[str, ...]] = {
    "radius + tibia": ("radius", "tibia"),  # the two bones of the standard analysis
    "wrist, non-weight-bearing (radius + ulna)": SITES["wrist"],
    "ankle, weight-bearing (tibia + fibula)": SITES["ankle"],
}


COLUMNS = ("family", "model", "columns", "bones", "fitted", "fused", "own", "headline")  # of models.csv


@dataclass(frozen=True)
class Model:
    """One prediction model: its family, its name, and the columns of the feature table that it takes.

    Parameters
    ----------
    family, name : str
        Its names in the tables and figures.
    columns : tuple of str
        Columns of the feature table; the score of a bone's network is called ``<bone> score``.
    bones : tuple of str
        The bones whose indices or scores it takes.
    fitted : bool
        False for a single network, whose score is taken as it is, and for the mean of several bones' scores.
    fused : bool
        True if it is fitted on scores of networks.
    own : bool
        True if it takes only columns of its family: no clinical factors, no scores of another family.
    headline : bool
        True for the model of its family that tables and sentences about the family mean (`widest`).

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.models.Model("BMD", "neck + hip", ("bmd_neck", "bmd_hip")).row()["columns"]
    'bmd_neck; bmd_hip'
    """

    family: str
    name: str
    columns: tuple[str, ...]
    bones: tuple[str, ...] = ()
    fitted: bool = True
    fused: bool = False
    own: bool = True
    headline: bool = False

    def row(self) -> dict[str, Any]:
        """The model as a row of models.csv."""
        values = asdict(self) | {"model": self.name, "columns": "; ".join(self.columns), "bones": ", ".join(self.bones)}
        return {name: values[name] for name in COLUMNS}


def models_for(
    dictionary: Mapping[str, Any],
    *,
    indices: pd.DataFrame,
    bones: list[str],
    texture: Sequence[str] = (),
    strength: Sequence[str] = (),
    strict: bool = False,
) -> list[Model]:
    """The models that a cohort's columns, indices and networks allow.

    Parameters
    ----------
    dictionary : mapping
        The completed data dictionary, which gives each column its role: bone density, FRAX, clinical factor.
    indices : DataFrame
        One row for each patient, one column for each bone and index, such as ``radius Tt.vBMD``.
    bones : list of str
        The bones that have scores of networks.
    texture : sequence of str
        The columns of texture features, such as ``radius Tb.Lac.1``.
    strength : sequence of str
        The columns of strength, such as ``radius F.Load``; the index models proper take none of them.
    strict : bool
        True for strict stacking; it decides which model speaks for DeepQCT.

    Returns
    -------
    list of Model
        Family by family in the order of `FAMILIES`.

    Examples
    --------
    >>> import deepqct as dq
    >>> data = dq.models.tables(dq.run.example_run())
    >>> models = dq.models.models_for(data.dictionary, indices=data.features[data.indices], bones=["radius", "tibia"])
    >>> [f"{model.family}: {model.name}" for model in models if model.headline]
    ['Clinical: clinical factors', 'BMD: all sites', 'pQCT-index: all four bones', 'DeepQCT: mean of radius + tibia']
    """
    clinical, frax, bmd = (tuple(columns_by_role(dict(dictionary), role)) for role in ("clinical", "frax", "bmd"))
    models = [Model("Clinical", "clinical factors", clinical)] if clinical else []
    models += _tabular("FRAX", frax, prefix="frax_", every="all probabilities", clinical=())
    models += _tabular("BMD", bmd, prefix="bmd_", every="all sites", clinical=clinical)
    measured = {b: tuple(c for c in indices.columns if c.startswith(f"{b} ")) for b in BONES}
    measured = {bone: columns for bone, columns in measured.items() if columns}
    models += _over_bones("pQCT-index", measured, clinical, networks=False)
    strong = {b: tuple(c for c in strength if c.startswith(f"{b} ")) for b in BONES}
    strong = {bone: columns for bone, columns in strong.items() if columns}
    if strong and measured:
        both = (*sum(measured.values(), ()), *sum(strong.values(), ()))
        models.append(Model("pQCT-index", _named(list(measured)) + PLUS_STRENGTH, both, tuple(measured), own=False))
    models += _over_bones("Strength", strong, (), networks=False)
    seen = {b: tuple(c for c in texture if c.startswith(f"{b} ")) for b in BONES}
    seen = {bone: columns for bone, columns in seen.items() if columns}
    models += _over_bones("Texture", seen, (), networks=False)
    if seen and measured:
        both = (*sum(seen.values(), ()), *sum(measured.values(), ()))
        models.append(Model("Texture", _named(list(seen)) + PLUS_INDICES, both, tuple(seen), own=False))
    if bones:
        scores = {b: (f"{b} score",) for b in BONES if b in bones}
        models += _over_bones("DeepQCT", scores, clinical, networks=True)
        if measured:
            columns = (*sum(scores.values(), ()), INDEX_SCORE)
            name = _named(bones) + PLUS_INDICES
            models.append(Model("DeepQCT", name, columns, tuple(scores), fused=True, own=False))
    headlines = {widest(models, family, strict=strict) for family in FAMILIES}
    return [replace(model, headline=True) if model in headlines else model for model in models]


def widest(models: list[Model], family: str, *, strict: bool = False) -> Model | None:
    """The model that speaks for a family: of its own models the one with the most columns; None if there is none.

    DeepQCT has two with as many columns, the late fusion of all bones and their mean with equal weights. In strict
    stacking it is the late fusion. In standard stacking it is the mean, since a fusion that is fitted on scores of
    networks which saw the women whom it scores looks better than chance even if there is nothing to find.

    Parameters
    ----------
    models : list of Model
        From `models_for`.
    family : str
        One of `FAMILIES`.
    strict : bool
        True for strict stacking.
    """
    candidates = [model for model in models if model.family == family and model.own]
    candidates = [model for model in candidates if strict or not model.fused]
    # Of equally many columns, in strict stacking the fusion: it comes before the mean.
    return max(candidates, key=lambda model: len(model.columns)) if candidates else None


def models_table(models: Iterable[Model]) -> pd.DataFrame:
    """The models as a table for models.csv, which says what each one is, so that nobody has to guess it from the name.

    Parameters
    ----------
    models : iterable of Model
        The models; of those with the same family and name the first is kept.

    Returns
    -------
    DataFrame
        family, model, columns (separated by semicolons), bones (by commas), fitted, fused, own, headline, as in
        `Model`.
    """
    table = pd.DataFrame([model.row() for model in models], columns=list(COLUMNS))
    return table.drop_duplicates(["family", "model"], ignore_index=True)


def _tabular(
    family: str, columns: tuple[str, ...], *, prefix: str, every: str, clinical: tuple[str, ...]
) -> list[Model]:
    """One model for each column, one for all columns, and each of them once more with clinical factors."""
    # Named after the column, which is unique; two columns may share a description.
    sets: dict[str, tuple[str, ...]] = {column.removeprefix(prefix).replace("_", " "): (column,) for column in columns}
    if len(columns) > 1:
        sets[every] = columns
    models = [Model(family, name, taken) for name, taken in sets.items()]
    return models + [
        Model(family, name + PLUS_CLINICAL, (*taken, *clinical), own=False) for name, taken in sets.items() if clinical
    ]


def _over_bones(
    family: str, by_bone: Mapping[str, tuple[str, ...]], clinical: tuple[str, ...], *, networks: bool
) -> list[Model]:
    """One model for each bone, for each pair, for all bones, and for all bones with clinical factors.

    Several bones' networks make two: a late fusion, and a mean with equal weights.
    """
    models = [Model(family, bone, columns, (bone,), fitted=not networks) for bone, columns in by_bone.items()]
    sets = {name: pair for name, pair in PAIRS.items() if set(pair) <= set(by_bone)}
    every = tuple(by_bone)
    if len(by_bone) > 1:
        sets.setdefault(_named(list(by_bone)), every)
    for name, bones in sets.items():
        columns = sum((by_bone[bone] for bone in bones), ())
        models.append(Model(family, name, columns, bones, fused=networks))
        if networks:
            models.append(Model(family, MEAN_OF + name, columns, bones, fitted=False))
    if clinical and by_bone:
        columns = (*sum(by_bone.values(), ()), *clinical)
        models.append(Model(family, _named(list(by_bone)) + PLUS_CLINICAL, columns, every, fused=networks, own=False))
    return models


def _named(bones: list[str]) -> str:
    """The name of a set of bones in the tables."""
    every = tuple(bone for bone in BONES if bone in bones)
    if len(every) == len(BONES):
        return "all four bones"
    return next((name for name, pair in PAIRS.items() if pair == every), " + ".join(every))
