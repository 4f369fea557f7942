"""Which code some code reaches by import, and a hash of it: when it changes, what it made is made again.

Names are followed through the faces of the wings, so that code that draws one figure does not depend on every figure.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from deepqct.folder import PACKAGE


def code_reached(code: str) -> list[Path]:
    """The files of deepqct that some code reaches by import, sorted.

    A name on the face of a wing (`__init__.pyi`) stands for the file that defines it, so that code that draws one
    figure does not depend on every other figure.

    Parameters
    ----------
    code : str
        Python source.

    Examples
    --------
    >>> import deepqct as dq
    >>> [file.name for file in dq.reach.code_reached("from deepqct import terms; terms.BONES")]
    ['terms.py']
    """
    reached: set[Path] = set()
    waiting = _imported(code)
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting |= _imported(file.read_text(encoding="utf-8"))
    return sorted(reached)


def code_hash(code: str) -> str:
    """SHA-256 of some `code` and of the code of every file of deepqct that it reaches by import, in hexadecimal.

    Comments and docstrings do not count, so that a better word trains no network again.

    Parameters
    ----------
    code : str
        Python source.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.reach.code_hash("1 + 1") == dq.reach.code_hash("1+1  # two")
    True
    """
    digest = hashlib.sha256(_without_words(code))
    for file in code_reached(code):
        digest.update(_without_words(file.read_text(encoding="utf-8")))
    return digest.hexdigest()


@cache
def _without_words(source: str) -> bytes:
    """Some code as Python understands it: without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


class _Uses(ast.NodeVisitor):
    """Collects every use of a name with its attributes: ``dq.plots.roc`` is one use, of three parts."""

    def __init__(self) -> None:
        self.uses: list[list[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.append([node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts, inner = [inner.attr, *parts], inner.value
        if isinstance(inner, ast.Name):
            self.uses.append([inner.id, *parts])
        else:
            self.visit(inner)


def _imported(code: str) -> set[Path]:
    """The files of deepqct that some code imports directly."""
    return set[Path]().union(*(_defining(PACKAGE, list(place)) for place in _named(code)))


@cache
def _named(code: str) -> frozenset[tuple[str, ...]]:
    """The places in deepqct that some code names, each from wing to name."""
    tree, names = ast.parse(code), _Uses()
    names.visit(tree)
    places: dict[str, list[str]] = {}  # a name in this code: where it lies in the package
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            places |= {a.asname or PACKAGE.name: [] for a in node.names if a.name.split(".")[0] == PACKAGE.name}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            places |= {a.asname or a.name: [*node.module.split(".")[1:], a.name] for a in node.names}
    return frozenset((*places[use[0]], *use[1:]) for use in names.uses if use[0] in places)


def _defining(folder: Path, place: list[str]) -> set[Path]:
    """The file that defines a name, by its place in a wing; for a wing as a whole, every file on its face."""
    face = _face(folder)
    if not place:
        return set[Path]().union(*(_defining(folder, [*module, name]) for name, module in face.items()))
    name, *rest = place
    if (folder / name / "__init__.py").exists():
        return _defining(folder / name, rest)
    if (folder / f"{name}.py").exists():
        return {folder / f"{name}.py"}
    return _defining(folder, [*face[name], *place]) if face.get(name) else {folder / "__init__.py"}


@cache
def _face(folder: Path) -> dict[str, list[str]]:
    """The names on the face of a wing, with the module that defines each; for a module itself an empty list."""
    stub = folder / "__init__.pyi"
    nodes = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else []
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {a.name: node.module.split(".") if node.module else [] for node in imports for a in node.names}
