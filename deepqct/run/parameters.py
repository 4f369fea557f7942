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
_HIGHEST = 2**63  # of any number; also no infinite one is below it, nor what is none
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


class ParameterError(ValueError):
    """The error for a parameter that no notebook has, or for a value that its parameter cannot take.

    Examples
    --------
    >>> import deepqct as dq
    >>> from pathlib import Path
    >>> try:
    ...     dq.run.plan_run("virtual", out=Path("reports/tried"), overrides=["bne=radius"])
    ... except dq.run.ParameterError as error:
    ...     print(error)
    Unknown parameter 'bne' for any stage; did you mean 'bone'?
    """


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell.

    Parameters
    ----------
    name, kind : str
        The parameter's name and its type: int, float, str or bool.
    default : object
        The value that the cell gives it.
    note : str
        The comment at the end of the line; "one of a, b" and "some of a, b" limit the values.

    Examples
    --------
    >>> from deepqct.run.parameters import Parameter
    >>> protocols = Parameter("protocols", "str", "all", "some of all, as-published")
    >>> try:
    ...     protocols.parse("all, published", stage="01_data_curation")
    ... except ValueError as error:
    ...     print(error)
    protocols of 01_data_curation is 'all, published'; use some of all, as-published.
    """

    name: str
    kind: str
    default: Any
    note: str

    def parse(self, value: Any, *, stage: str) -> Any:
        """Return `value`, or the value that a text stands for, checked against the type and the choices.

        Parameters
        ----------
        value : object
            A value of the parameter's type, or a text as typed on the command line.
        stage : str
            The stage that takes it, for the message of an error.

        Raises
        ------
        ParameterError
            If it has the wrong type or is not among the choices; the message says what it may be.
        """
        kind, given = _TYPES[self.kind], value
        try:
            if isinstance(value, str) and kind is not str:
                value = ast.literal_eval(value.capitalize() if kind is bool else value)
            if kind is float and type(value) is int:
                value = float(value)
            fits = type(value) is kind and not (isinstance(value, int | float) and not abs(value) < _HIGHEST)
        except (ValueError, SyntaxError, OverflowError, RecursionError, MemoryError):
            fits = False
        if not fits:
            raise ParameterError(f"{self.name} of {stage} is {shown(given)}, not {_article(self.kind)}; correct it.")
        listed = re.search(r"\b(one|some) of ([\w, .-]+)", self.note)
        if listed:
            choices = [choice.strip() for choice in listed.group(2).split(",")]
            chosen = [name.strip() for name in value.split(",")] if listed.group(1) == "some" else [value]
            # A choice such as "or a .safetensors file" allows every path with that ending.
            endings = tuple(choice.split()[2] for choice in choices if choice.startswith("or a ."))
            wrong = [name for name in map(str, chosen) if name not in choices and not name.endswith(endings)]
            if wrong:
                raise ParameterError(
                    f"{self.name} of {stage} is {value!r}; use {listed.group(1)} of {', '.join(choices)}."
                )
        return value


def notebook_source(stage: str) -> Path:
    """The path of a stage's notebook: the project's own if it has one, else the one installed with deepqct.

    Parameters
    ----------
    stage : str
        One of `STAGES`, ``06_new_patients``, ``08_study_planner`` or ``review``.

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.

    Examples
    --------
    >>> from deepqct.run.parameters import notebook_source
    >>> notebook_source("05_explore").name
    '05_explore.ipynb'
    """
    for folder in (project_root() / "notebooks", shipped_notebooks()):
        if (folder / f"{stage}.ipynb").exists():
            return folder / f"{stage}.ipynb"
    raise FileNotFoundError(f"The notebook {stage}.ipynb is missing; install deepqct again or restore notebooks/.")


def shipped_notebooks() -> Path:
    """The folder of the notebooks that came with deepqct: within an installed package, beside the package in a checkout.

    Examples
    --------
    >>> from deepqct.run.parameters import shipped_notebooks
    >>> len(list(shipped_notebooks().glob("*.ipynb")))
    10
    """
    within = PACKAGE / "notebooks"
    return within if within.is_dir() else PACKAGE.parent / "notebooks"


def declared_parameters(stage: str) -> dict[str, Parameter]:
    """The parameters of a stage, read from its notebook's parameters cell.

    Parameters
    ----------
    stage : str
        One of `STAGES`, ``06_new_patients``, ``08_study_planner`` or ``review``.

    Returns
    -------
    dict of str to Parameter
        The parameters by name, in the order of the cell.

    Raises
    ------
    ParameterError
        If the cell holds anything but lines of the form ``name: type = value  # note``.

    Examples
    --------
    >>> from deepqct.run.parameters import declared_parameters
    >>> declared_parameters("05_explore")["first_bone"].note
    'one of radius, ulna, tibia, fibula'
    """
    notebook = nbformat.read(notebook_source(stage), as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    lines = cell.source.splitlines()
    parameters = {}
    for node in ast.parse(cell.source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            raise ParameterError(
                f"{stage}.ipynb: the parameters cell may hold only lines like 'folds: int = 3  # note'."
            )
        note = lines[node.lineno - 1].partition("#")[2].strip()
        kind = ast.unparse(node.annotation)
        parameters[node.target.id] = Parameter(node.target.id, kind, ast.literal_eval(node.value), note)
    return parameters


def unknown(name: str, known: Mapping[str, Any], *, where: str) -> ParameterError:
    """The error for an unknown parameter; it names the parameter that is spelt most like it.

    Parameters
    ----------
    name : str
        The name that is not known.
    known : mapping
        What there is, by name.
    where : str
        Where the name was looked for, for the message.

    Examples
    --------
    >>> from deepqct.run.parameters import unknown
    >>> print(unknown("epoch", {"epochs": 6, "lr": 0.001}, where="02_train_bone"))
    Unknown parameter 'epoch' for 02_train_bone; did you mean 'epochs'?
    """
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}."
    return ParameterError(f"Unknown parameter {name!r} for {where}; {hint}")


def shown(value: object) -> str:
    """A value in a sentence; what is no single short value is named only, since writing it out may take for ever.

    Parameters
    ----------
    value : object
        What a preset or a person gave.

    Examples
    --------
    >>> from deepqct.run.parameters import shown
    >>> shown(3), shown([1, 2])
    ('3', 'list')
    """
    try:
        text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]} …"


def _article(kind: str) -> str:
    """A type in words, such as ``a whole number``."""
    return {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "a text"}[kind]
