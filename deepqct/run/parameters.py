"""The parameters of a stage: read from its notebook, typed and checked, before anything starts."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from deepqct.folder import PACKAGE, project_root

STAGES = (
    "00_virtual_cohort", "01_data_curation", "02_train_bone", "03_fusion_and_baselines", "04_clustering", "05_explore",
)  # fmt: skip
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


class ParameterError(ValueError):
    """A parameter that a notebook does not have, or a value that it cannot take."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell.

    Parameters
    ----------
    name, kind : str
        Its name and its type: int, float, str or bool.
    default : object
        The literal in the cell.
    note : str
        The comment behind it; "one of a, b" and "some of a, b" limit the values.
    """

    name: str
    kind: str
    default: Any
    note: str

    def parse(self, value: Any, *, stage: str) -> Any:
        """`value`, or the value that this text stands for, checked against the type and the choices.

        Raises
        ------
        ParameterError
            Naming the parameter, the value and what it may be.
        """
        kind, given = _TYPES[self.kind], value
        try:
            if isinstance(value, str) and kind is not str:
                value = ast.literal_eval(value.capitalize() if kind is bool else value)
            if kind is float and type(value) is int:
                value = float(value)
            fits = type(value) is kind
        except (ValueError, SyntaxError):
            fits = False
        if not fits:
            raise ParameterError(f"{self.name} of {stage} is {given!r}, not {_article(self.kind)}; correct it.")
        listed = re.search(r"\b(one|some) of ([\w, .-]+)", self.note)
        if listed:
            choices = [choice.strip() for choice in listed.group(2).split(",")]
            chosen = [part.strip() for part in value.split(",")] if listed.group(1) == "some" else [value]
            # "or a .safetensors file" lets a path of that ending pass.
            endings = tuple(choice.split()[2] for choice in choices if choice.startswith("or a ."))
            wrong = [str(part) for part in chosen if str(part) not in choices and not str(part).endswith(endings)]
            if wrong:
                raise ParameterError(
                    f"{self.name} of {stage} is {value!r}; use {listed.group(1)} of {', '.join(choices)}."
                )
        return value


def notebook_source(stage: str) -> Path:
    """The notebook of a stage: the project's own if it has one, else the one that deepqct was installed with.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for folder in (project_root() / "notebooks", PACKAGE.parent / "notebooks", PACKAGE / "notebooks"):
        if (folder / f"{stage}.ipynb").exists():
            return folder / f"{stage}.ipynb"
    raise FileNotFoundError(f"The notebook {stage}.ipynb is missing; install deepqct again or restore notebooks/.")


def declared_parameters(stage: str) -> dict[str, Parameter]:
    """The parameters of a stage, read from its notebook's parameters cell."""
    notebook = nbformat.read(notebook_source(stage), as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    lines = cell.source.splitlines()
    found = {}
    for node in ast.parse(cell.source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            raise ParameterError(
                f"{stage}.ipynb: the parameters cell may hold only lines like 'folds: int = 3  # note'."
            )
        note = lines[node.lineno - 1].partition("#")[2].strip()
        kind = ast.unparse(node.annotation)
        found[node.target.id] = Parameter(node.target.id, kind, ast.literal_eval(node.value), note)
    return found


def unknown(name: str, known: Mapping[str, Any], *, where: str) -> ParameterError:
    """The error for a parameter that nobody has, with the nearest one that exists."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}."
    return ParameterError(f"Unknown parameter {name!r} for {where}; {hint}")


def _article(kind: str) -> str:
    """A type in words."""
    return {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a text"}[kind]
