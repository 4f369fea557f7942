"""The families of models: which columns each model takes.

BMD, pQCT-index and DeepQCT, as the preprint names them (Chen 2024), beside clinical factors and FRAX; which models a
family has is our choice, fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from deepqct.terms import BONES, SITES, columns_by_role

FAMILIES = ("Clinical", "FRAX", "BMD", "pQCT-index", "DeepQCT")
INDEX_SCORE = "index score"  # the logit of the pQCT-index model of all bones, as one column of a fusion
PLUS_CLINICAL = " + clinical"
PLUS_INDICES = " + all indices"
_WHOLE = ("clinical factors", "all probabilities", "all sites", "all four bones")
PAIRS: dict[str, tuple[str, ...]] = {
    "radius + tibia": ("radius", "tibia"),  # the two bones of the standard analysis
    "wrist, non-weight-bearing (radius + ulna)": SITES["wrist"],
    "ankle, weight-bearing (tibia + fibula)": SITES["ankle"],
}


@dataclass(frozen=True)
class Model:
    """One model: its family, its name, its columns.

    Parameters
    ----------
    family, name : str
        As in the tables and figures.
    columns : tuple of str
        Columns of the feature table; networks' scores are called ``<bone> score``.
    fitted : bool
        False for a single network, whose own score and risk are taken as they are.
    """

    family: str
    name: str
    columns: tuple[str, ...]
    fitted: bool = True

    @property
    def fused(self) -> bool:
        """True if it is fitted on scores of other models."""
        return self.fitted and any(column.endswith(" score") for column in self.columns)


def models_for(dictionary: Mapping[str, Any], *, indices: pd.DataFrame, bones: list[str]) -> list[Model]:
    """The models that a cohort's columns, indices and networks allow.

    Parameters
    ----------
    dictionary : mapping
        The completed data dictionary: columns of bone density, FRAX and clinical factors by role.
    indices : DataFrame
        One row a patient, columns such as ``radius Tt.vBMD``.
    bones : list of str
        The bones that have networks' scores.
    """
    clinical, frax, bmd = (tuple(columns_by_role(dict(dictionary), role)) for role in ("clinical", "frax", "bmd"))
    models = [Model("Clinical", "clinical factors", clinical)] if clinical else []
    models += _tabular("FRAX", frax, prefix="frax_", every="all probabilities", clinical=())
    models += _tabular("BMD", bmd, prefix="bmd_", every="all sites", clinical=clinical)
    measured = {b: tuple(c for c in indices.columns if c.startswith(f"{b} ")) for b in BONES}
    measured = {bone: columns for bone, columns in measured.items() if columns}
    models += _over_bones("pQCT-index", measured, clinical, fitted=True)
    if bones:
        models += _over_bones("DeepQCT", {b: (f"{b} score",) for b in BONES if b in bones}, clinical, fitted=False)
        if measured:
            scores = tuple(f"{b} score" for b in BONES if b in bones)
            models.append(Model("DeepQCT", _named(bones) + PLUS_INDICES, (*scores, INDEX_SCORE)))
    return models


def widest(models: list[Model], family: str) -> Model | None:
    """The model of a family that takes most of its own columns and no clinical factors or other families' scores."""
    own = [m for m in models if m.family == family and PLUS_CLINICAL not in m.name and INDEX_SCORE not in m.columns]
    return max(own, key=lambda model: len(model.columns)) if own else None


def headline(names: Iterable[str]) -> str | None:
    """Of a family's models, by name, the widest of its own columns alone: what tables and sentences speak of."""
    own = [name for name in names if PLUS_CLINICAL not in name and PLUS_INDICES not in name]
    whole = [name for name in own if name in _WHOLE]
    return next(iter(whole or own[-1:]), None)


def _tabular(
    family: str, columns: tuple[str, ...], *, prefix: str, every: str, clinical: tuple[str, ...]
) -> list[Model]:
    """One model for each column, one for all, and each with clinical factors."""
    # Named after the column, which is unique; two columns may share a description.
    sets: dict[str, tuple[str, ...]] = {column.removeprefix(prefix).replace("_", " "): (column,) for column in columns}
    if len(columns) > 1:
        sets[every] = columns
    models = [Model(family, name, own) for name, own in sets.items()]
    return models + [Model(family, name + PLUS_CLINICAL, (*own, *clinical)) for name, own in sets.items() if clinical]


def _over_bones(
    family: str, by_bone: dict[str, tuple[str, ...]], clinical: tuple[str, ...], *, fitted: bool
) -> list[Model]:
    """One model for each bone, each pair, all bones, and with clinical factors."""
    models = [Model(family, bone, columns, fitted) for bone, columns in by_bone.items()]
    sets = {name: pair for name, pair in PAIRS.items() if set(pair) <= set(by_bone)}
    every = tuple(by_bone)
    if len(by_bone) > 1:
        sets.setdefault(_named(list(by_bone)), every)
    for name, bones in sets.items():
        models.append(Model(family, name, sum((by_bone[bone] for bone in bones), ())))
    if clinical and by_bone:
        models.append(Model(family, _named(list(by_bone)) + PLUS_CLINICAL, (*sum(by_bone.values(), ()), *clinical)))
    return models


def _named(bones: list[str]) -> str:
    """The name of a set of bones."""
    every = tuple(bone for bone in BONES if bone in bones)
    if len(every) == len(BONES):
        return "all four bones"
    return next((name for name, pair in PAIRS.items() if pair == every), " + ".join(every))


def is_fused(family: str, model: str) -> bool:
    """True for a model that is fitted on networks' scores."""
    return family == "DeepQCT" and model not in BONES
