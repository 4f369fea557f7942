"""Pages without code: a start page, explorer and review of one run, served by Voila on this machine alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import webbrowser
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import nbformat

from deepqct.cohort.pseudonyms import read_key
from deepqct.cohort.reviews import REVIEWS, read_reviews, reviewed, standing
from deepqct.folder import PACKAGE, Run, read_json, read_table, write_json, write_text
from deepqct.run.inputs import cohort_folder, is_readable, key_file
from deepqct.run.parameters import Parameter, declared_parameters, notebook_source
from deepqct.run_tables import virtual_of
from deepqct.work import say

PAGES = {"Look at single women": "05_explore", "Judge the scans": "review"}  # page: its notebook
SHOWN = "app"  # the tag of the cells that a page shows
START = "/"  # the address of the start page
STARTED_BY = "DEEPQCT_APP"  # the environment's name for the process that the server ends with
_TEMPLATES = PACKAGE / "report" / "templates"  # holds voila/templates/deepqct
_PATIENCE_S = 60  # for the server to answer; our choice
_ABANDONED_S = 1800  # our choice
_PORTS = 65535  # the last one that there is
_AGAIN_S = 1.0  # how often it is looked whether somebody judged a scan
# Files for the start page lie in a folder with this beginning and a secret end: Voila asks for no token for files.
_SHOWN = "shown-"


def app_notebooks(run: Run, folder: Path) -> list[Path]:
    """Write a notebook for each page that this run can have, with the run's parameters and only the cells to be shown.

    A run with pseudonyms has a review only where its key file can be read.

    Parameters
    ----------
    run : Run
        A curated run; the explorer needs its predictions and groups too.
    folder : Path
        Where the notebooks are written.

    Returns
    -------
    list of Path
        The notebooks, one for each page.

    Raises
    ------
    FileNotFoundError
        If the run was not curated, or was curated by hand, so that its cohort is not known.

    Examples
    --------
    >>> import deepqct as dq
    >>> import shutil, tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.app import app_notebooks
    >>> run = dq.folder.Run(Path(tempfile.mkdtemp()) / "run")
    >>> _ = shutil.copytree(dq.run.example_run().folder, run.folder)
    >>> curation = {"cohort_dir": str(run.virtual / "cohort"), "outcome": "fracture"}
    >>> _ = dq.folder.write_json(run.parameters("01_data_curation"), {"parameters": curation})
    >>> [page.name for page in app_notebooks(run, run.folder / "pages")]
    ['Look at single women.ipynb', 'Judge the scans.ipynb']
    """
    run.require(run.curation, written_by="01_data_curation")
    if not run.parameters("01_data_curation").exists():
        raise FileNotFoundError(
            f"{run.folder} was curated by hand and does not say of which cohort it is; give it to deepqct run once."
        )
    curation, key = read_json(run.parameters("01_data_curation"))["parameters"], key_file(run)
    known = {
        "run_dir": str(run.folder.resolve()),
        "cohort_dir": str(cohort_folder(run)),
        "outcome": curation["outcome"],
        "outside": curation.get("outside", "refuse"),
        "pseudonyms": str(key or ""),
        "interactive": True,
    }
    # Without its key nobody's scans are known, and the review would draw another one.
    there = {
        "05_explore": run.phenotypes.exists() and run.predictions.exists(), "review": key is None or is_readable(key),
    }  # fmt: skip
    pages = {page: name for page, name in PAGES.items() if there[name]}
    return [_page(run, name, folder / f"{page}.ipynb", known=known) for page, name in pages.items()]


def overview(run: Run) -> dict[str, Any]:
    """Return what the start page says of a run: whose it is, and how far its scans are judged.

    Parameters
    ----------
    run : Run
        A curated run.

    Returns
    -------
    dict
        ``cohort`` (its name), ``virtual`` (the scenario of virtual women, or nothing), ``scans`` (all), ``judged`` (by any
        reader), ``readers`` (each with her numbers, in words), ``fault`` (why the decisions cannot be read, or nothing).

    Examples
    --------
    >>> import deepqct as dq
    >>> import shutil, tempfile
    >>> from pathlib import Path
    >>> from deepqct.run.app import overview
    >>> run = dq.folder.Run(Path(tempfile.mkdtemp()) / "run")
    >>> _ = shutil.copytree(dq.run.example_run().folder, run.folder)
    >>> given = {"run_dir": "run", "cohort_dir": "ours"}
    >>> _ = dq.folder.write_json(run.parameters("01_data_curation"), {"parameters": given})
    >>> {name: overview(run)[name] for name in ("cohort", "judged", "readers")}
    {'cohort': 'Virtual women', 'judged': 0, 'readers': []}
    """
    scans, folder, virtual = read_table(run.curation), cohort_folder(run), virtual_of(run)
    said: dict[str, Any] = {
        "cohort": folder.name if not virtual else "Virtual women",
        "virtual": str(virtual.get("scenario")) if virtual else "",
        "scans": len(scans), "judged": 0, "readers": [], "fault": "",
    }  # fmt: skip
    key = key_file(run)
    if key is not None and not is_readable(key):
        return said | {
            "fault": f"The key file {key.name} is not here or not readable; without it no scan can be judged."
        }
    try:
        reviews, names = read_reviews(folder), read_key(key) if key else {}
    except (OSError, ValueError) as error:
        return said | {"fault": str(error)}
    if len(reviews):
        if key:
            reviews = reviews.assign(participant_id=[names.get(name, name) for name in reviews["participant_id"]])
        rows = reviewed(scans, reviews).to_dict("records")
        judged = standing(reviews)[["participant_id", "site"]].drop_duplicates()
        said["judged"] = len(judged.merge(scans[["participant_id", "site"]]))
        said["readers"] = [f"{row['reviewer']}: {row['n'] - row['open']} judged, {row['open']} left" for row in rows]
    return said


def page_error(error: Exception) -> None:
    """Show on a page in one sentence what went wrong.

    Parameters
    ----------
    error : Exception
        The error that a cell ended with.

    Examples
    --------
    >>> from deepqct.run.app import page_error
    >>> page_error(FileNotFoundError("scans.tsv is missing from the cohort folder."))
    <IPython.core.display.HTML object>
    """
    from IPython.display import HTML, display

    sentence = " ".join(str(error).split())
    if not isinstance(error, OSError | ValueError):
        sentence = f"This page cannot be shown ({type(error).__name__}: {sentence})."
    display(HTML(f'<p role="alert"><strong>{escape(sentence)}</strong></p>'))


def _page(run: Run, name: str, path: Path, *, known: dict[str, Any]) -> Path:
    """Write one page's notebook: title, purpose, a note on virtual women, parameters, a silent start, its cells."""
    notebook = nbformat.read(notebook_source(name), as_version=4)
    title, (parameters, start) = notebook.cells[0], [c for c in notebook.cells if c.cell_type == "code"][:2]
    paragraphs = [title.source.split("\n\n")[0], f"[All pages]({START})"]
    if virtual := virtual_of(run):
        paragraphs.append(
            f"**Virtual cohort** (scenario {virtual.get('scenario')}): no patient is behind any number on this page."
        )
    title.source = "\n\n".join(paragraphs)
    of_this_run = read_json(run.parameters(name))["parameters"] if run.parameters(name).exists() else {}
    values = {n: p.default for n, p in declared_parameters(name).items()} | of_this_run
    values |= {n: value for n, value in known.items() if n in values}
    parameters.source = "\n".join(_line(p, values[n]) for n, p in declared_parameters(name).items())
    start.source = f"import deepqct as dq\n\nstage = dq.start({name!r}, globals(), page=True)"
    shown = [cell for cell in notebook.cells if SHOWN in cell.metadata.get("tags", [])]
    for cell in shown:
        cell.source = (
            f"try:\n{textwrap.indent(cell.source, '    ')}\nexcept Exception as error:\n"
            "    from deepqct.run.app import page_error\n\n    page_error(error)"
        )
    notebook.cells = [title, parameters, start, *shown]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def _line(parameter: Parameter, value: object) -> str:
    """One line of a parameters cell."""
    return f"{parameter.name}: {parameter.kind} = {value!r}"


def serve(run: Run, *, port: int = 8866, browser: bool = True) -> int:
    """Serve the pages of a run until somebody stops it; only this machine can open them, at the printed address.

    Parameters
    ----------
    run : Run
        A curated run; the explorer needs its predictions and groups too.
    port : int
        The port that is tried first; if it is taken, the first free one above it is used.
    browser : bool
        True to open the pages in a browser.

    Returns
    -------
    int
        0 if it was stopped by Ctrl+C or a signal; else Voila's exit code.
    """
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="deepqct-app-") as name:
        pages = Path(name, "pages")
        app_notebooks(run, pages)
        shown = pages / f"{_SHOWN}{secrets.token_urlsafe(24)}"
        _copy_report(run, shown)
        port, token = _free(port), secrets.token_urlsafe(24)
        command = [
            sys.executable, "-m", "deepqct.run.server", str(pages), f"--port={port}", "--Voila.ip=127.0.0.1",
            "--Voila.port_retries=0", "--Voila.auto_token=True", "--template=deepqct", "--classic-tree", "--no-browser",
            "--Voila.log_level=WARN",
            f"--VoilaConfiguration.file_allowlist={_SHOWN}[^/]+/.*",
            # A page whose browser is gone keeps its kernel for so long, and its memory.
            f"--MappingKernelManager.cull_idle_timeout={_ABANDONED_S}", "--MappingKernelManager.cull_interval=60",
        ]  # fmt: skip
        paths = [str(_TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
        # The token is passed in the environment, since everybody on this machine can read a command line.
        environment = os.environ | {
            "JUPYTER_PATH": os.pathsep.join(paths),
            "JUPYTER_TOKEN": token,
            STARTED_BY: str(os.getpid()),
            "IPYTHONDIR": str(Path(name, "ipython")),  # kernels keep what they ran there
        }
        running = subprocess.Popen(command, env=environment)
        address = f"http://127.0.0.1:{port}/?token={token}"
        try:
            if _answers(port, running):
                say(f"Pages: {address}\nCtrl+C stops them.")
                if browser:
                    opening = write_text(
                        Path(name, "open.html"), f'<meta http-equiv="refresh" content="0; url={address}">'
                    )
                    webbrowser.open(opening.as_uri())
            _keep_start(run, shown, running)
            return running.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            running.terminate()
            running.wait()


def _copy_report(run: Run, shown: Path) -> None:
    """Copy the report, if there is one, with the pages and tables that it points to."""
    files = [run.report, *run.folder.glob("*.csv"), *run.folder.glob("*.json"), *run.page("").parent.glob("*.html")]
    for file in files if run.report.exists() else []:
        target = shown / "report" / file.relative_to(run.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _keep_start(run: Run, shown: Path, running: subprocess.Popen[bytes]) -> None:
    """Write what the start page says, and again whenever somebody judged a scan, until the server ends."""
    decisions, before = cohort_folder(run) / REVIEWS, -1.0
    while running.poll() is None:
        now = decisions.stat().st_mtime if decisions.exists() else 0.0
        if now != before:
            before = now
            with suppress(OSError, ValueError):  # a start page without numbers is better than no pages
                write_json(shown / "start.json", overview(run) | {"report": run.report.exists()})
        time.sleep(_AGAIN_S)


def _stop(*_: object) -> None:
    """End like Ctrl+C, so that server and temporary folder are removed."""
    raise KeyboardInterrupt


def _free(port: int) -> int:
    """The first port from `port` on that nobody uses.

    Raises
    ------
    OSError
        If none of a hundred is free.
    ValueError
        If there is no such port.
    """
    if not 1 <= port <= _PORTS:
        raise ValueError(f"There is no port {port}; give one from 1 to {_PORTS} with --port.")
    last = min(port + 99, _PORTS)
    for candidate in range(port, last + 1):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", candidate)):
                return candidate
    raise OSError(f"No port from {port} to {last} is free; give another with --port.")


def _answers(port: int, running: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; False if it ended or takes too long."""
    for _ in range(_PATIENCE_S * 5):
        with socket.socket() as trial:
            if not trial.connect_ex(("127.0.0.1", port)):
                return True
        if running.poll() is not None:
            return False
        time.sleep(0.2)
    return False
