"""The pages for those who will not see code: explorer and review of one run, served by Voila on this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from deepqct.folder import Run, read_json, resolve
from deepqct.stage import Parameter, declared_parameters, notebook_source

PAGES = {"Look at single women": "05_explore", "Judge the scans": "review"}  # page: its notebook
SHOWN = "app"  # the tag of the cells that a page shows
_TEMPLATES = Path(__file__).parent / "templates"  # holds voila/templates/deepqct
_VIRTUAL, _NOBODY = "Virtual cohort", "no patient is behind any number on this page."


def app_notebooks(run: Run, folder: Path) -> list[Path]:
    """Write the notebooks of the pages that this run can have, with its parameters and without what pages leave out.

    Parameters
    ----------
    run : Run
        A curated run; the explorer needs its groups too.
    folder : Path
        Where the notebooks are written.

    Returns
    -------
    list of Path
        One a page.

    Raises
    ------
    FileNotFoundError
        If the run was not curated.
    """
    curation = read_json(run.require(run.parameters("01_data_curation"), written_by="01_data_curation"))["parameters"]
    known = {
        "run_dir": str(run.folder.resolve()),
        "cohort_dir": str(resolve(curation["cohort_dir"])),
        "outcome": curation["outcome"],
        "interactive": True,
    }
    virtual = read_json(run.dictionary).get("virtual") if run.dictionary.exists() else None
    said = f"**{_VIRTUAL}** (scenario {virtual.get('scenario')}): {_NOBODY}" if virtual else ""
    pages = {page: name for page, name in PAGES.items() if name != "05_explore" or run.phenotypes.exists()}
    return [_page(name, folder / f"{page}.ipynb", known=known, said=said) for page, name in pages.items()]


def _page(name: str, path: Path, *, known: dict[str, object], said: str) -> Path:
    """Title and purpose, whether the women are virtual, this run's parameters, a silent start, the cells for pages."""
    notebook = nbformat.read(notebook_source(name), as_version=4)
    parameters, start = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    parameters.source = "\n".join(
        _line(parameter, known.get(parameter.name, parameter.default))
        for parameter in declared_parameters(name).values()
    )
    start.source = f"%%capture\n{start.source}"
    shown = [cell for cell in notebook.cells if SHOWN in cell.metadata.get("tags", [])]
    title = notebook.cells[0]
    title.source = "\n\n".join([*title.source.split("\n\n")[:2], *([said] if said else [])])
    notebook.cells = [title, parameters, start, *shown]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def _line(parameter: Parameter, value: object) -> str:
    return f"{parameter.name}: {parameter.kind} = {value!r}"


def serve(run: Run, *, port: int = 8866, browser: bool = True) -> int:
    """Serve the pages of a run until somebody stops it; only this machine can open them, with the address that it prints.

    Parameters
    ----------
    run : Run
        As in `app_notebooks`.
    port : int
        The first port that is tried.
    browser : bool
        Open one.

    Returns
    -------
    int
        Voila's exit code.
    """
    with tempfile.TemporaryDirectory(prefix="deepqct-app-") as name:
        app_notebooks(run, Path(name))
        command = [
            sys.executable, "-m", "voila", name, f"--port={port}", "--Voila.ip=127.0.0.1", "--Voila.auto_token=True",
            "--template=deepqct", "--classic-tree", *([] if browser else ["--no-browser"]),
        ]  # fmt: skip
        paths = [str(_TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
        return subprocess.run(
            command, env=os.environ | {"JUPYTER_PATH": os.pathsep.join(paths)}, check=False
        ).returncode
