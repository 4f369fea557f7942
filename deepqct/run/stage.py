"""What every notebook does first and last: check and show its parameters, keep its figures, list what it wrote."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from deepqct import __version__
from deepqct.cohort.pseudonyms import check_key
from deepqct.folder import Job, Run, read_json, resolve, write_json, write_text
from deepqct.run.parameters import declared_parameters
from deepqct.run_tables import virtual_of
from deepqct.terms import BONES
from deepqct.work import Progress, say

# What a person may set in a notebook without changing its results.
_BY_HAND = ("interactive", "run_dir", "threads", "device")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")  # numba is last
PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "fastai", "umap-learn", "papermill", "aimio-py")


@dataclass(frozen=True)
class Stage:
    """A stage at work: its run folder and its parameters, and the methods by which its notebook keeps figures.

    Parameters
    ----------
    job : Job
        The stage, and of which bone.
    run : Run
        The run folder.
    parameters : dict
        The checked values of the parameters, by name.
    started : float
        When the stage began, in seconds since 1970.

    Examples
    --------
    >>> import deepqct as dq
    >>> job = dq.folder.Job("02_train_bone", "radius")
    >>> stage = dq.run.Stage(job, dq.run.example_run(), {"interactive": False}, started=0.0)
    >>> stage.virtual
    True
    >>> stage.progress("networks")(3, 3)
    networks: 3/3, 0 s, about 0 s left
    """

    job: Job
    run: Run
    parameters: dict[str, Any]
    started: float

    @property
    def interactive(self) -> bool:
        """True if a person runs the notebook in JupyterLab, False if the workflow does."""
        return bool(self.parameters["interactive"])

    @property
    def virtual(self) -> bool:
        """True if the women are virtual, so that no patient is behind the numbers."""
        if self.job.stage == "00_virtual_cohort":
            return True
        return bool(virtual_of(self.run))

    def figure(self, axes: Any, *, name: str, title: str, caption: str, twin: bool = False) -> None:
        """Keep a figure as PNG and SVG with its title and caption, mark virtual data, and show it.

        Parameters
        ----------
        axes : matplotlib Axes or array of Axes
            As the functions of `deepqct.plots` return them.
        name : str
            The file name, without ending.
        title, caption : str
            What the figure shows, and what to look for in it.
        twin : bool
            True for a figure of what a widget of this notebook shows: a person sees the widget alone.
        """
        from IPython.display import Image, Markdown, display

        from deepqct import plots
        from deepqct.plots.style import screen_size

        folder = self.run.figures(self.job)
        order = len(list(folder.glob("*.json")))
        png = plots.save(axes, folder, name=name, title=title, caption=caption, order=order, virtual=self.virtual)
        if not (twin and self.interactive):
            display(Image(png, alt=caption, **screen_size(png)), Markdown(f"**{title}.** {caption}"))

    def note(self, text: str) -> None:
        """Show a sentence as text that wraps between words, in JupyterLab and on the notebook's page.

        Parameters
        ----------
        text : str
            One or more sentences.
        """
        from html import escape

        from IPython.display import HTML, display

        display(HTML(f"<p>{escape(text)}</p>"))

    def slider(self, html: str, *, name: str, title: str, caption: str, twin: bool = False) -> None:
        """Keep a slider of slices with its title and caption, beside the figures, and show it.

        Parameters
        ----------
        html : str
            What `deepqct.widgets.slice_slider` returns.
        name : str
            The file name, without ending.
        title, caption : str
            What the slider shows, and what to look for in it.
        twin : bool
            True for a slider of what a widget of this notebook shows: a person sees the widget alone.
        """
        from IPython.display import HTML, Markdown, display

        folder = self.run.figures(self.job)
        order = len(list(folder.glob("*.json")))
        write_text(folder / f"{name}.html", html)
        write_json(folder / f"{name}.json", {"title": title, "caption": caption, "order": order})
        if not (twin and self.interactive):
            display(HTML(html), Markdown(f"**{title}.** {caption}"))

    def progress(self, what: str) -> Progress:
        """A callback that shows how far long work is: a moving bar for a person, a line for each tenth in a log.

        Parameters
        ----------
        what : str
            What is counted, such as ``scans``.

        Returns
        -------
        callable
            To be called with the number done and the total.
        """
        if self.interactive:
            from tqdm.auto import tqdm

            bar: Any = tqdm(desc=what)
            began_at = bar.start_t

            def move(done: int, total: int) -> None:
                if bar.total != total:
                    bar.reset(total)  # gives the bar its width, which it has not without a total
                    bar.start_t = began_at
                bar.update(done - bar.n)
                if done == total:
                    bar.close()

            return move

        return line_progress(what)

    def finish(self) -> None:
        """Show what this stage wrote and how long it took.

        If a person ran it with parameters other than the run's, the workflow is made to do the stage again.
        """
        from IPython.display import display

        files = [f for f in sorted(self.run.folder.rglob("*")) if f.is_file() and f.stat().st_mtime >= self.started]
        others = tuple(b for b in BONES if b != self.parameters.get("bone", b))  # perhaps trained at the same time
        rows: dict[str, list[int]] = {}
        for file in files:
            parts = file.relative_to(self.run.folder).parts
            if parts[0] in ("jobs", "notebooks", ".snakemake"):
                continue
            if any(name.endswith(others) for name in (*parts[:-1], file.stem)):
                continue
            group = parts[0] if len(parts) == 1 else "/".join(parts[:2]) + ("/" if len(parts) > 2 else "")
            group = f"{parts[0]}/" if parts[0] == "bones" else group
            count = rows.setdefault(group, [0, 0])
            count[0] += 1
            count[1] += file.stat().st_size
        written = [{"written": k, "files": n, "MB": f"{size / 1e6:.2f}"} for k, (n, size) in rows.items()]
        display(_plain(pd.DataFrame(written, columns=["written", "files", "MB"])))
        say(f"{self.job}: {time.time() - self.started:.0f} s")
        if self.interactive and self._differs():
            do_again(self.run, self.job)
            say("These are not the parameters of the run in this folder: the next deepqct run does this stage again.")

    def _differs(self) -> bool:
        """True if the workflow has other parameters for this job, those of `_BY_HAND` aside."""
        path = self.run.parameters(self.job)
        if not path.exists():
            return False
        planned = read_json(path)["parameters"]
        return any(planned.get(name) != value for name, value in self.parameters.items() if name not in _BY_HAND)


def start(name: str, namespace: Mapping[str, Any], *, page: bool = False) -> Stage:
    """Begin a notebook: check its parameters, fix the number of threads, show parameters and versions.

    A person has the parameters in the cell above and sees the versions alone.

    Parameters
    ----------
    name : str
        The notebook's name without its ending.
    namespace : mapping
        The notebook's ``globals()``, which hold the values of its parameters cell.
    page : bool
        True for a page of `deepqct app`: it shows no parameters, and leaves the run's figures where they are.

    Returns
    -------
    Stage
        What the notebook's other cells work with.

    Raises
    ------
    ParameterError
        If a value has the wrong type or is not among the choices.

    Examples
    --------
    >>> import deepqct as dq
    >>> cell = {"run_dir": "reports/tried", "patient": "highest", "first_bone": "ulna", "threshold": "0.4"}
    >>> stage = dq.start("05_explore", cell | {"threads": 1, "interactive": False}, page=True)
    >>> stage.parameters["threshold"]
    0.4
    """
    from IPython.display import display

    declared = declared_parameters(name)
    values = {key: parameter.parse(namespace[key], stage=name) for key, parameter in declared.items()}
    fix_threads(values.get("threads", 1))
    # fastai still scripts two activations; its user can do nothing about it.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    pd.set_option("display.precision", 3)
    pd.set_option("display.max_colwidth", None)  # definitions and reasons are sentences
    pd.set_option("display.max_rows", 500)  # a table of scans or models is read whole
    run = Run(resolve(values["run_dir"]))
    job = Job(name, values.get("bone", ""))
    check_key(values.get("pseudonyms", ""), run)
    if page:
        return Stage(job, run, values, time.time())
    if run.figures(job).exists():
        shutil.rmtree(run.figures(job))
    if not values["interactive"]:
        columns = {
            "parameter": list(values),
            "value": [str(value) for value in values.values()],
            "note": [declared[key].note for key in values],
        }
        display(_plain(pd.DataFrame(columns)))
    say(" · ".join(f"{package} {number}" for package, number in versions().items()))
    return Stage(job, run, values, time.time())


def line_progress(what: str) -> Progress:
    """A callback that prints a line for each tenth of long work.

    Parameters
    ----------
    what : str
        What is counted, such as ``scans``.

    Examples
    --------
    >>> from deepqct.run.stage import line_progress
    >>> line_progress("scans")(10, 10)
    scans: 10/10, 0 s, about 0 s left
    """
    began = time.monotonic()

    def line(done: int, total: int) -> None:
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            spent = time.monotonic() - began
            say(f"{what}: {done}/{total}, {spent:.0f} s, about {spent / done * (total - done):.0f} s left")

    return line


def do_again(run: Run, job: Job) -> None:
    """Make the workflow do a job again: its parameters' file gets the time, since a file of the same content counts as old.

    Parameters
    ----------
    run : Run
        The run folder.
    job : Job
        A job whose parameters it holds.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.stage import do_again
    >>> run, job = dq.Run(Path(tempfile.mkdtemp())), dq.folder.Job("05_explore")
    >>> _ = dq.folder.write_json(run.parameters(job), {"parameters": {}})
    >>> do_again(run, job)
    >>> list(dq.folder.read_json(run.parameters(job)))
    ['parameters', 'again']
    """
    path = run.parameters(job)
    write_json(path, read_json(path) | {"again": time.time_ns()})


def versions() -> dict[str, str]:
    """The versions of deepqct, of Python and of the packages that results depend on.

    Examples
    --------
    >>> import deepqct as dq
    >>> from deepqct.run.stage import versions
    >>> versions()["deepqct"] == dq.__version__
    True
    """
    return {"deepqct": __version__, "Python": platform.python_version()} | {p: version(p) for p in PACKAGES}


def _plain(table: pd.DataFrame) -> Any:
    """A table without its index, as a notebook shows it."""
    return table.style.hide(axis="index").set_table_styles([{"selector": "th, td", "props": [("text-align", "left")]}])


def fix_threads(threads: int) -> None:
    """Set the number of threads of every numerical library, whether it is loaded already or not.

    Numba keeps the most that it was loaded with, and refuses to compile once its name in the environment says another.

    Parameters
    ----------
    threads : int
        Of each of them.

    Examples
    --------
    >>> import os
    >>> from deepqct.run.stage import fix_threads
    >>> fix_threads(1)
    >>> os.environ["OMP_NUM_THREADS"]
    '1'
    """
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    os.environ.update(dict.fromkeys(THREADS if numba is None else THREADS[:-1], str(threads)))
    threadpool_limits(threads)


@contextmanager
def children_with_threads(threads: int) -> Iterator[None]:
    """Give processes that begin meanwhile a number of threads; this process keeps its own.

    Numba refuses another number in a process in which it has begun to work.

    Parameters
    ----------
    threads : int
        Of every numerical library.

    Examples
    --------
    >>> import subprocess, sys
    >>> from deepqct.run.stage import children_with_threads
    >>> with children_with_threads(3):
    ...     int(subprocess.check_output([sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]))
    3
    """
    own = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in own.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
