"""A job at work: known by a file while it lives, watched for its memory, and ended with its run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deepqct.folder import FileError, Run, read_json, write_json

STARTED_BY = "DEEPQCT_STARTED_BY"  # the environment's name for host and process of the run that a job belongs to
CARDS = "DEEPQCT_CARDS"  # and for the number of graphics cards that the jobs of a run share
GIVEN = "DEEPQCT_GIVEN_MB"  # and for the memory that the workflow gives this job
LOOK_S = 1.0  # how often a job looks whether its run is still there, and how much memory it holds
_FAR_S = 10.0  # how often it looks on another machine


@dataclass
class Held:
    """The most memory that a job with all its processes held so far.

    Parameters
    ----------
    peak_mb : int
        In MB, seen once a second; what processes share counts once where the system tells it (Linux).

    Examples
    --------
    >>> from deepqct.run.watch import Held
    >>> Held().peak_mb
    0
    """

    peak_mb: int = 0


@contextlib.contextmanager
def at_work(run: Run, job: object, *, device: str = "cpu") -> Iterator[Held]:
    """Keep a file that says where a job is at work, end it with its run, give it a card, and watch its memory.

    The file stays if the job is killed: `deepqct.run.lost.lost_jobs` then tells what ended it.

    Parameters
    ----------
    run : Run
        The run folder.
    job : Job or Part
        What is at work.
    device : str
        As the parameter of 02; one that may be a card takes one of this machine that no other job has.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.watch import at_work
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> with at_work(run, "05_explore") as held:
    ...     run.at_work("05_explore").exists()
    True
    >>> held.peak_mb > 0, run.at_work("05_explore").exists()
    (True, False)
    """
    end_with_its_run(run)
    where = {"host": socket.gethostname(), "process": os.getpid()}
    of_cluster = {"cluster_job": os.environ.get("SLURM_JOB_ID"), "given_mb": os.environ.get(GIVEN)}
    write_json(run.at_work(job), where | of_cluster)
    held, over = Held(), threading.Event()
    watching = threading.Thread(target=_watch, args=(held, over), daemon=True)
    with own_card(run, device):
        watching.start()
        try:
            yield held
        finally:
            over.set()
            watching.join()
            with contextlib.suppress(OSError, FileError):  # of a lost job, the next run may be at work already
                if read_json(run.at_work(job)) == where | of_cluster:
                    run.at_work(job).unlink()


def _watch(held: Held, over: threading.Event) -> None:
    """Note the memory of this process and of all that it started, until the work is over."""
    import psutil

    this = psutil.Process()
    while True:
        total = 0
        for process in (this, *this.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                total += getattr(memory, "pss", 0) or memory.uss
        held.peak_mb = max(held.peak_mb, round(total / 1e6))
        if over.wait(LOOK_S):
            return


@contextlib.contextmanager
def own_card(run: Run, device: str) -> Iterator[None]:
    """Let this process see one graphics card alone, which no other job of the run has, where the machine has several.

    A cluster gives each job its card itself.

    Parameters
    ----------
    run : Run
        The run folder.
    device : str
        As the parameter of 02.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.watch import own_card
    >>> with own_card(dq.Run(Path("reports/quick")), "cpu"):
    ...     pass
    """
    cards = int(os.environ.get(CARDS, "0"))
    if device not in ("auto", "cuda") or cards < 2:
        yield
        return
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name] or list(
        map(str, range(cards))
    )
    for card in seen:
        path = run.at_work(f"card{card.replace('/', '-')}").with_suffix(".lock")  # of a part of a card: MIG-GPU-…/1/0
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:  # a file system without locks: all see all cards
                break
            os.environ["CUDA_VISIBLE_DEVICES"] = card
            try:
                yield
            finally:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(seen)
            return
    yield


@contextlib.contextmanager
def one_at_a_time(run: Run, what: str) -> Iterator[None]:
    """Let the jobs of a run do something one after the other, on whichever machine, where its file system has locks.

    Parameters
    ----------
    run : Run
        The run folder.
    what : str
        The name of what is done.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.watch import one_at_a_time
    >>> with one_at_a_time(dq.Run(Path(tempfile.mkdtemp())), "pseudonyms"):
    ...     pass
    """
    path = run.at_work(what).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a program that is started here heed the signal of Ctrl+C, also where this process does not.

    A script's shell lets what it starts in the background ignore that signal, and so does whatever that starts in turn.

    Examples
    --------
    >>> import subprocess
    >>> import sys
    >>> from deepqct.run.watch import interruptible
    >>> with interruptible():
    ...     program = subprocess.Popen([sys.executable, "-c", ""])
    >>> program.wait()
    0
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)  # which another program does not inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_with_its_run(run: Run) -> None:
    """Interrupt this job when the run that started it is gone: the next run could not begin beside it.

    On the machine of the run it looks for its process; on another machine, for the file by which the run folder names the
    run that has it.

    Parameters
    ----------
    run : Run
        The run folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.watch import end_with_its_run
    >>> end_with_its_run(dq.Run(Path("reports/quick")))  # nothing happens in a process that no run started
    """
    host, _, process = os.environ.get(STARTED_BY, "").partition(" ")
    if not process.isdigit():
        return
    here = host == socket.gethostname()

    def look() -> None:
        while True:
            time.sleep(LOOK_S if here else _FAR_S)
            gone = not _lives(int(process)) if here else not _has(run, host, int(process))
            if gone:
                os.kill(os.getpid(), signal.SIGINT)
                return

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a script starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=look, daemon=True).start()


def _lives(process: int) -> bool:
    """True if a process of this machine lives."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        return True
    return True


def _has(run: Run, host: str, process: int) -> bool:
    """True unless the run folder says that another run has it by now."""
    try:
        named: Any = read_json(run.running)
        return bool(named["host"] == host and named["process"] == process)
    except FileNotFoundError:  # the run ended, or was stopped
        return False
    except (OSError, FileError, KeyError, TypeError):  # a file server that does not answer now, or it is being written
        return True
