"""Executed notebooks as HTML pages that need no network and name no folder of the machine."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

import nbformat

from deepqct.folder import PACKAGE, project_root, write_text

# What a notebook's page shows of an output, the first that there is; neither scripts nor live widgets.
_TEMPLATES = PACKAGE / "report" / "templates"
_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]
_PICTURE = re.compile(r"(data:image/\w+;base64,[\w+/=]+)")


def notebook_page(notebook: Path, page: Path, *, virtual: str | None) -> Path:
    """Write an executed notebook, finished or not, as an HTML page that needs no network.

    Widgets are shown by their static twins. Scripts and remote content in the outputs stay silent by the page's own
    content policy.

    Parameters
    ----------
    notebook, page : Path
        The .ipynb and the .html; the report is expected one folder above the page.
    virtual : str or None
        The scenario of a virtual cohort, for the banner.

    Returns
    -------
    Path
        `page`.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config({"NbConvertBase": {"display_data_priority": _SHOWN}})
    exporter = HTMLExporter(config=config, template_name="page", extra_template_basedirs=[str(_TEMPLATES)])
    content = _offline(nbformat.read(notebook, as_version=4), page.parent.parent)
    body, _ = exporter.from_notebook_node(content, {"virtual": virtual, "metadata": {"name": notebook.stem}})
    return write_text(page, body)


def without_paths(text: str, folder: Path) -> str:
    """`text` without absolute paths: what lies in the run, the project or a package is named from there.

    Pictures within it stay as they are; some of their letters look like paths.
    """
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    places = [str(folder.resolve()), str(project_root()), str(PACKAGE.parent), *packages]
    parts = _PICTURE.split(text)
    for number in range(0, len(parts), 2):
        for place in sorted(set(places), key=len, reverse=True):
            parts[number] = parts[number].replace(f"{place}/", "")
        parts[number] = re.sub(r"(?<![\w.~:/<…-])(?:[A-Z]:\\|/)(?:[^\s/\\'\"<>:;,()]+[/\\])+", "…/", parts[number])
    return "".join(parts)


def _offline(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """`notebook` without widget state or absolute paths in its outputs, and with a word where only a script would show."""
    clean = nbformat.from_dict(notebook)
    clean.metadata.pop("widgets", None)
    for cell in clean.cells:
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = without_paths(output["text"], folder)
            if "evalue" in output:
                output["evalue"] = without_paths(output["evalue"], folder)
                output["traceback"] = [without_paths(line, folder) for line in output["traceback"]]
            data = output.get("data", {})
            if "data" in output and not set(data) & set(_SHOWN):
                data["text/plain"] = "(interactive; run the notebook to see it)"
            for kind in {"text/plain", "text/html", "text/markdown"} & set(data):
                data[kind] = without_paths(data[kind], folder)
    return clean
