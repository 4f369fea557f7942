"""Pages and tables that are made from the code when the documentation is built, so that they cannot drift from it.

Fragments, which pages include, go to ``made/``, the pages of the interface to ``reference/api/``, the executed notebooks of
a run to ``tutorial/notebooks/``; git ignores all three.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import index_pictures
import nbformat
import typer.main
from index_facts import CALCULATED, KINDS_OF_TEXTURE, SOURCES, THRESHOLDS

import deepqct as dq
from deepqct.cli import app
from deepqct.cohort.scanner_names import ALIASES, COLUMNS, EXPORTED, INDEX_UNITS, PASSED_OVER
from deepqct.folder import PACKAGE, Run, read_table
from deepqct.run.parameters import STAGES, declared_parameters, notebook_source, shipped_notebooks
from deepqct.run.plan import PRESETS, load_preset
from deepqct.run_tables import virtual_of
from deepqct.terms import KNOWN

RUN = "DEEPQCT_DOCS_RUN"  # names the finished run whose notebooks and tables are shown
KINDS = {"int": "whole number", "float": "number", "str": "text", "bool": "True or False"}
FEW = 30  # women, with fewer of whom the page of the notebooks says that figures mean nothing
# Modules that are no wing and are used by name; their public functions are listed one after the other.
MODULES = ("exploration", "folder", "run_tables", "terms", "work")


def write_pages(docs: Path) -> None:
    """Write everything that is made from the code; what is unchanged keeps its time.

    Parameters
    ----------
    docs : Path
        The folder ``docs/``.

    Raises
    ------
    ValueError
        If the run that is to be shown is one of patients.
    """
    run = Run((docs.parent / os.environ[RUN]).resolve()) if os.environ.get(RUN) else None
    if run and not virtual_of(run):
        raise ValueError(f"{run.folder} is a run of patients; give a run of virtual women, whom pages may show.")
    for name, text in fragments(run).items():
        _keep(docs / "made" / f"{name}.md", text)
    for name, text in api_pages().items():
        _keep(docs / "reference" / "api" / f"{name}.md", text)
    index_pictures.draw_all(docs / "made" / "pictures")
    copy_notebooks(run, docs / "tutorial" / "notebooks")


def fragments(run: Run | None) -> dict[str, str]:
    """The fragments that pages include, by name.

    Parameters
    ----------
    run : Run or None
        A finished run whose tables are looked into.
    """
    return {
        "indices": index_sections(),
        "textures": texture_sections(),
        "parameters": parameter_sections(),
        "commands": command_sections(),
        "run_files": run_file_table(run),
        "columns": column_table(),
        "aliases": alias_table(),
    }


def _keep(path: Path, text: str) -> None:
    """Write a text, but only where it changes something: pages whose files are unchanged are not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def table(head: tuple[str, ...], rows: Iterator[tuple[Any, ...]] | list[tuple[Any, ...]]) -> str:
    """A table in Markdown.

    Parameters
    ----------
    head : tuple of str
        The names of its columns.
    rows : iterable of tuples
        Its cells; a bar in a cell is escaped.
    """

    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(map(_cell, map(str, cells))) + " |"

    return "\n".join([line(head), line(tuple("---" for _ in head)), *map(line, rows)]) + "\n"


def _cell(text: str) -> str:
    """The text of a cell: bars are escaped, and so is what would be a tag of HTML outside of code."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def index_sections() -> str:
    """One section an index: its picture, unit, definition, how it is calculated, thresholds and source."""
    ours, derived = (dq.bones.convention_table(derived=flag).set_index("index") for flag in (False, True))
    parts = []
    for symbol, row in ours.iterrows():
        facts = {
            "Unit": "a share of 1, no percent" if row["unit"] == "1" else row["unit"],
            "Definition": row["convention"],
            "Calculated": CALCULATED[symbol],
            "Thresholds": THRESHOLDS.get(symbol, "none of its own"),
            "Source": SOURCES[symbol],
        }
        if derived.loc[symbol, "convention"] != row["convention"]:
            facts["With `derived=True`"] = derived.loc[symbol, "convention"]
        picture = f"../made/pictures/{index_pictures.file_name(symbol)}"
        parts.append(
            f"(index-{_slug(symbol)})=\n## {symbol}\n\n" + _picture(picture, f"{symbol} in one slice") + _facts(facts)
        )
    return "\n".join(parts)


def texture_sections() -> str:
    """One section a kind of texture feature: its picture, and its features with definition and source."""
    listed = dq.bones.texture_table()
    kind = listed["feature"].map(lambda name: re.match(r"[A-Z][a-z]\.([A-Z][a-z]*)", name).group(1))
    parts = []
    for name in index_pictures.KINDS:
        title, text = KINDS_OF_TEXTURE[name]
        picture = f"../made/pictures/{index_pictures.file_name(name)}"
        rows = [(f"`{f}`", d, s) for f, d, s in listed[kind == name].itertuples(index=False)]
        parts.append(
            f"## {title}\n\n{_picture(picture, title)}{text}\n\n" + table(("Feature", "Definition", "Source"), rows)
        )
    return "\n".join(parts)


def parameter_sections() -> str:
    """Every parameter of every notebook: type, default, what the presets set in its place, and its meaning."""
    presets = {name: load_preset(name) for name in PRESETS}
    parts = []
    for stage in notebooks():
        parts.append(f"(parameters-{stage.replace('_', '-')})=\n## {stage}\n")
        for title, names in _groups(stage).items():
            if title:
                parts.append(f"### {stage}: {title[0].lower()}{title[1:]}\n")
            declared = declared_parameters(stage)
            rows = []
            for name in names:
                entry = declared[name]
                others = {p: values[stage][name] for p, values in presets.items() if name in values.get(stage, {})}
                set_by = ", ".join(f"{p} `{value}`" for p, value in others.items() if value != entry.default)
                default = f"`{entry.default!r}`" if entry.kind == "str" else f"`{entry.default}`"
                rows.append((f"`{name}`", KINDS[entry.kind], default, set_by, entry.note))
            parts.append(table(("Name", "Type", "Default", "Presets", "Meaning"), rows))
    return "\n".join(parts)


def notebooks() -> list[str]:
    """The names of all notebooks: the stages in their order, then those by hand."""
    by_hand = sorted(path.stem for path in shipped_notebooks().glob("*.ipynb") if path.stem not in STAGES)
    return [*STAGES, *by_hand]


def _groups(stage: str) -> dict[str, list[str]]:
    """The parameters of a stage under the comments that stand on lines of their own in the cell."""
    notebook = nbformat.read(notebook_source(stage), as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    groups: dict[str, list[str]] = {"": []}
    for line in cell.source.splitlines():
        if line.startswith("#"):
            groups[line.lstrip("# ")] = []
        elif line:
            groups[list(groups)[-1]].append(line.partition(":")[0])
    return groups


def command_sections() -> str:
    """Every command with its arguments, options, defaults and help, as ``--help`` prints them."""
    parts = []
    for words, command in commands():
        arguments, options = [], []
        for param in command.params:
            text = (getattr(param, "help", None) or "").replace("\n", " ")
            if param.param_type_name == "argument":
                arguments.append((f"`{param.name}`", "yes" if param.required else "no", text))
            elif param.name != "help":
                names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
                default = "" if param.default is None else f"`{param.default}`"
                options.append((names, default, text))
        doc = re.sub(r"\s*\n\s*", " ", inspect.cleandoc(command.help or "").replace("\n\n", "¶")).replace("¶", "\n\n")
        doc = re.sub(r"Example: (.*)$", r"Example: `\1`", doc)
        usage = " ".join(
            ["deepqct", *words, *(_usage(param) for param in command.params if param.param_type_name == "argument")]
        )
        parts.append(
            f"(command-{'-'.join(words)})=\n## deepqct {' '.join(words)}\n\n```text\n{usage} [options]\n```\n\n{doc}\n"
        )
        parts += [table(("Argument", "Needed", "Meaning"), arguments)] if arguments else []
        parts += [table(("Option", "Default", "Meaning"), options)] if options else []
    return "\n".join(parts)


def _usage(param: Any) -> str:
    """An argument as a line of usage shows it."""
    name = param.metavar or param.name.upper()
    return name if param.required or name.startswith("[") else f"[{name}]"


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is not hidden, with the words by which it is called."""

    def below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            elif not command.hidden:
                yield (*words, name), command

    yield from below(typer.main.get_command(app), ())


def run_file_table(run: Run | None) -> str:
    """Every file of a run folder, from the docstrings of `Run`, with the columns that its table has in a run.

    Parameters
    ----------
    run : Run or None
        A finished run whose tables are looked into.
    """
    rows = []
    for name, member in vars(Run).items():
        doc = inspect.getdoc(member) or ""
        made = member.fget if isinstance(member, property) else member
        if (
            name.startswith("_")
            or name in ("require", "tidied_files")
            or not (isinstance(member, property) or inspect.isfunction(member))
        ):
            continue
        words = [p for p in inspect.signature(made).parameters if p != "self"]
        given = {"participant_id": "<participant_id>", "bone": "<bone>", "job": "<job>", "session": "<session>"}
        given |= {"part": "<part>", "site": "<site>"}
        there = made(Run(Path("x")), *(given[word] for word in words))
        path = getattr(there, "folder", there).relative_to("x").as_posix()
        head, colon, text = doc.split("\n\n")[0].partition(": ")
        meaning = text if colon and head.startswith("``") else doc.split("\n\n")[0]
        rows.append((f"`{path}`", meaning.replace("``", "`").replace("\n", " "), _columns_of(run, path)))
    return table(("File or folder", "What it holds", "Columns"), rows)


def _columns_of(run: Run | None, path: str) -> str:
    """The columns of a table of a run, the first twelve by name."""
    file = None if run is None else run.folder / path.replace("<bone>", "radius")
    if file is None or file.suffix != ".csv" or not file.exists():
        return ""
    columns = [f"`{name}`" for name in read_table(file).columns]
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return ", ".join(columns[:12]) + more


def column_table() -> str:
    """The known columns of participants.tsv with their role, unit and plausible range."""
    rows = []
    for name, (label, low, high, unit, role) in KNOWN.items():
        allowed = "0 or 1" if (low, high) == (0, 1) else f"{low:g} to {high:g}"
        rows.append((f"`{name}`", label, unit, allowed, f"`{role}`"))
    return table(("Column", "Meaning", "Unit", "Allowed", "Role"), rows)


def alias_table() -> str:
    """Names of the scanner's software that indices.tsv may use, by our symbol."""
    rows = []
    for symbol, unit in INDEX_UNITS.items():
        names = [name for name, meant in (*ALIASES.items(), *EXPORTED.items()) if meant == symbol and name != symbol]
        rows.append((f"`{symbol}`", "a share of 1" if unit == "1" else unit, ", ".join(f"`{name}`" for name in names)))
    for wanted in dict.fromkeys(COLUMNS.values()):
        names = [name for name, meant in COLUMNS.items() if meant == wanted]
        rows.append((f"`{wanted}`", "", ", ".join(f"`{name}`" for name in names)))
    passed_over = ", ".join(f"`{name}`" for name in PASSED_OVER)
    return table(("Symbol", "Unit", "Also read as"), rows) + f"\nPassed over: {passed_over}.\n"


def api_pages() -> dict[str, str]:
    """The pages of the interface: an index, and one page for each wing and module, from the faces (`__init__.pyi`)."""
    top = face("")
    wings = sorted((path.parent for path in PACKAGE.glob("*/__init__.pyi")), key=lambda path: path.name)
    rows = [
        (f"`dq.{name}`", f"{{py:obj}}`deepqct.{module.lstrip('.')}.{name}`") for name, module in top.items() if module
    ]
    pages = {wing.name: _wing_page(wing.name) for wing in wings} | {name: _module_page(name) for name in MODULES}
    listed = [
        (f"[`dq.{name}`]({name}.md)", _first_sentence(importlib.import_module(f"deepqct.{name}"))) for name in pages
    ]
    pages["index"] = (
        "# Python interface\n\n`import deepqct as dq` is light: each name is loaded when it is used. What is on no face is "
        "private.\n\n## What one types most\n\n" + table(("Name", "Where it is described"), rows)
        + "\n## Wings and modules\n\n" + table(("Name", "What it is"), listed)
        + "\n```{toctree}\n:hidden:\n\n" + "\n".join(name for name in pages) + "\n```\n"
    )  # fmt: skip
    return pages


def face(wing: str) -> dict[str, str]:
    """What a wing's stub hands on: the name, and the module that defines it.

    Parameters
    ----------
    wing : str
        A wing's name; empty for the package itself.
    """
    stub = ast.parse((PACKAGE / wing / "__init__.pyi").read_text(encoding="utf-8"))
    nodes = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f".{node.module}" if node.module else "" for node in nodes for alias in node.names}


def _wing_page(wing: str) -> str:
    """Every name on a wing's face, described by its docstring."""
    module = importlib.import_module(f"deepqct.{wing}")
    lines = [f"# dq.{wing}\n", _first_sentence(module), "\n```{eval-rst}", f".. py:module:: deepqct.{wing}\n"]
    for name in face(wing):
        thing, place = getattr(module, name), f"deepqct.{wing}.{name}"
        if inspect.ismodule(thing):
            lines += [f".. automodule:: {place}\n   :members:\n"]
        elif inspect.isclass(thing):
            kind = "exception" if issubclass(thing, Exception) else "class"
            lines += [f".. auto{kind}:: {place}", "   :members:\n"]
        elif inspect.isroutine(thing):
            lines += [f".. autofunction:: {place}\n"]
        else:
            value = repr(thing)
            lines += [f".. py:data:: {place}", f"   :value: {value if len(value) < 200 else '…'}\n"]
    return "\n".join([*lines, "```\n"])


def _module_page(name: str) -> str:
    """The public functions and classes of a module."""
    module = importlib.import_module(f"deepqct.{name}")
    return (
        f"# dq.{name}\n\n{_first_sentence(module)}\n\n```{{eval-rst}}\n.. py:module:: deepqct.{name}\n\n"
        + "".join(f".. auto{kind}:: deepqct.{name}.{thing}\n{extra}\n" for kind, thing, extra in _public(module))
        + "```\n"
    )


def _public(module: Any) -> Iterator[tuple[str, str, str]]:
    """The functions and classes that a module defines itself."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_"):
            if inspect.isclass(thing):
                yield "class", name, "   :members:\n"
            elif inspect.isfunction(thing):
                yield "function", name, ""


def copy_notebooks(run: Run | None, folder: Path) -> None:
    """Copy the executed notebooks of a run, and write the page that lists them.

    Parameters
    ----------
    run : Run or None
        A finished run; without one the page says how to get the notebooks.
    folder : Path
        Receives the notebooks and ``index.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted((run.folder / "notebooks").glob("*.ipynb")) if run else []
    found = [path for path in found if not re.search(r"_(ulna|tibia|fibula)$", path.stem)]  # one bone stands for all
    for path in folder.glob("*.ipynb"):
        if path.name not in {p.name for p in found}:
            path.unlink()
    for path in found:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            cell.metadata = {}
        _without_pages(notebook)
        text = nbformat.writes(notebook)
        _keep(folder / path.name, text)
    women = len(read_table(run.participants)) if run else 0
    whose = "Build the pages with `make docs`, and the executed notebooks of a run stand here."
    if run:
        whose = (
            f"These are the notebooks of a finished run of {women} **virtual** women, with everything that they showed. "
            "The notebook of the radius stands for those of the four bones."
        )
        if women < FEW:
            whose += (
                " So few women are for trying things out: the figures show the form of the results, and mean nothing."
            )
    toctree = "\n".join(path.stem for path in found)
    _keep(
        folder / "index.md", f"# The notebooks, executed\n\n{whose}\n\n```{{toctree}}\n:maxdepth: 1\n\n{toctree}\n```\n"
    )


def _without_pages(notebook: Any) -> None:
    """Leave out what only a report can show: HTML that loads nothing but is large, such as sliders of slices."""
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "<script" in "".join(data.get("text/html", "")):
                data.pop("text/html")
            if output.output_type in ("stream", "error") or data:
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept


def _first_sentence(module: Any) -> str:
    """The first line of a module's docstring."""
    return (inspect.getdoc(module) or "").partition("\n")[0]


def _slug(text: str) -> str:
    """A name as an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _picture(path: str, alt: str) -> str:
    """A small picture."""
    return f"```{{image}} {path}\n:alt: {alt}\n:class: index-picture\n:width: 220px\n```\n\n"


def _facts(facts: dict[str, str]) -> str:
    """Facts as a list of fields."""
    rows = table(("", ""), [(f"**{name}**", text) for name, text in facts.items()])
    return f"```{{table}}\n:class: facts\n:align: left\n\n{rows}```\n"
