"""A run folder belongs to one process at a time: two would write the same files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepqct.folder import Run, not_written, read_json

PATIENCE_S = 15.0  # for jobs of a run that was killed, or that were told to end; our choice


class RunError(RuntimeError):
    """The error of a run in which a job failed, or that may not start in the folder that it was given.

    Examples
    --------
    >>> import deepqct as dq
    >>> import tempfile
    >>> from pathlib import Path
    >>> plan = dq.run.plan_run("virtual", out=Path(tempfile.mkdtemp()), preset="smoke")
    >>> at_work = {"host": "elsewhere", "process": 1}
    >>> _ = dq.folder.write_json(plan.run.folder / "jobs" / "running.json", at_work)
    >>> try:
    ...     dq.run.execute(plan)
    ... except dq.run.RunError as error:
    ...     print(str(error).partition(" in ")[0])
    Another run is at work
    """


@contextlib.contextmanager
def alone(run: Run) -> Iterator[int]:
    """Keep the run folder for this process alone: two at once would write the same files.

    The lock is one of the file system, which frees it when the last process that holds it ends, and beside it the file
    names host and process, for file systems without locks and for people.

    Parameters
    ----------
    run : Run
        The run folder.

    Yields
    ------
    int
        The lock's handle.

    Raises
    ------
    RunError
        If another process holds it.
    OSError
        If the run folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.alone import alone
    >>> run = dq.Run(Path(tempfile.mkdtemp()))
    >>> with alone(run):
    ...     (run.folder / "jobs" / "running.json").exists()
    True
    """
    path = run.running
    began = time.monotonic()
    while (lock := _locked(path)) is None:
        holder = _holder(path)
        # A run that was killed leaves jobs that notice it within seconds.
        if _at_work(holder) or time.monotonic() - began > PATIENCE_S:
            raise _taken(run, holder, path)
        time.sleep(0.2)
    try:
        if _at_work(holder := _holder(path)):
            raise _taken(run, holder, path)
        ours = {"host": socket.gethostname(), "process": os.getpid(), "began": _began(os.getpid())}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(ours).encode(), 0)
        try:
            yield lock
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _taken(run: Run, holder: dict[str, Any], path: Path) -> RunError:
    """The error of a run folder in which another run is at work."""
    who = f"process {holder['process']} on {holder['host']}" if holder else "it does not say which"
    return RunError(f"Another run is at work in {run.folder} ({who}); wait for it, or remove {path} if it is gone.")


def _locked(path: Path) -> int | None:
    """The handle of the file that is a run folder's lock, locked for this process; None if another holds it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise not_written(path.parent.parent, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks: what the file says is the next best
            return handle
        try:
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:  # another run ended, and removed it, in between
            pass
        os.close(handle)


def _holder(path: Path) -> dict[str, Any]:
    """Which process a lock names; empty if it names none."""
    try:
        holder = read_json(path)
        return {"host": str(holder["host"]), "process": int(holder["process"]), "began": holder.get("began")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _at_work(holder: dict[str, Any]) -> bool:
    """True if the process that a lock names lives, or may live on another machine."""
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return True
    process = holder["process"]
    if process == os.getpid() or not 0 < process < 2**31:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Numbers of processes come again: the same one began at the same time.
    return holder["began"] is None or holder["began"] == _began(process)


def _began(process: int) -> int | None:
    """When a process of this machine began, in ticks since it was started; None where the system does not say."""
    try:
        return int(
            Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError, ValueError):
        return None
