"""Executed notebooks as HTML pages that need no network and name no folder of the machine."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

import nbformat

from deepqct.folder import PACKAGE, project_root, write_text

# The forms of an output that a page can show, best first; neither scripts nor live widgets.
_TEMPLATES = PACKAGE / "report" / "templates"
_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]
_PICTURE = re.compile(r"(data:image/\w+;base64,[\w+/=]+)")


def notebook_page(notebook: Path, page: Path, *, virtual: str | None) -> Path:
    """Write an executed notebook, finished or failed, as an HTML page that needs no network.

    A widget is shown by the picture or text that stands for it. The page's content policy keeps the browser from
    running scripts or loading remote content that an output may hold.

    Parameters
    ----------
    notebook, page : Path
        The .ipynb that is read and the .html that is written; the report is expected one folder above the page.
    virtual : str or None
        The scenario of a virtual cohort, named in the page's banner; None for real patients.

    Returns
    -------
    Path
        `page`.

    Examples
    --------
    >>> import deepqct as dq
    >>> import nbformat, tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> cell = nbformat.v4.new_markdown_cell("# Train one bone")
    >>> nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "a.ipynb")
    >>> page = dq.report.notebook_page(folder / "a.ipynb", folder / "notebooks" / "a.html", virtual="literature")
    >>> "no patient is behind any number on this page" in page.read_text(encoding="utf-8")
    True
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config({"NbConvertBase": {"display_data_priority": _SHOWN}})
    exporter = HTMLExporter(config=config, template_name="page", extra_template_basedirs=[str(_TEMPLATES)])
    content = _offline(nbformat.read(notebook, as_version=4), page.parent.parent)
    body, _ = exporter.from_notebook_node(content, {"virtual": virtual, "metadata": {"name": notebook.stem}})
    return write_text(page, body)


def without_paths(text: str, folder: Path) -> str:
    """Return `text` without absolute paths: a file of the run, the project or a package is named from there on.

    Embedded pictures stay as they are, although some of their letters look like paths.

    Parameters
    ----------
    text : str
        What a notebook or an error message says.
    folder : Path
        The run folder.

    Returns
    -------
    str
        The same text; the folders of a path that lies elsewhere become ``…``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from deepqct.report.pages import without_paths
    >>> without_paths("/data/run/splits.csv is older than /mnt/hospital/Doe/a.AIM", Path("/data/run"))
    'splits.csv is older than …/a.AIM'
    """
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    places = [str(folder.resolve()), str(project_root()), str(PACKAGE.parent), *packages]
    pieces = _PICTURE.split(text)  # words, picture, words, …
    for number in range(0, len(pieces), 2):
        for place in sorted(set(places), key=len, reverse=True):
            pieces[number] = pieces[number].replace(f"{place}/", "")
        pieces[number] = re.sub(r"(?<![\w.~:/<…-])(?:[A-Z]:\\|/)(?:[^\s/\\'\"<>:;,()]+[/\\])+", "…/", pieces[number])
    return "".join(pieces)


def _offline(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """A copy of `notebook` without widget state and absolute paths; a note stands for what only a script could show."""
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
