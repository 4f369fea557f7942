"""Long work: steps that are compiled, threads over the slices of an array, processes over scans, reports of progress.

Threads help here because compiled steps and SciPy's filters release Python's lock while they work. Progress goes to a
function that gets the number done and the total; a notebook shows it as a bar or as plain lines.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
Step = TypeVar("Step", bound=Callable[..., Any])
Progress = Callable[[int, int], None]

# The number of threads of a call that does not name one; 0 is one thread a processor.
_DEFAULT = 0
RANGES = 8  # a thread's, of which some may take longer than others
GIVEN_CORES = "DEEPQCT_GIVEN_CORES"  # the environment's name for the processors that the workflow gives this job


def compiled(*, fastmath: bool = False) -> Callable[[Step], Step]:
    """Return numba's decorator for a step that is compiled once and kept on disk, and lets other threads work.

    Parameters
    ----------
    fastmath : bool
        True to let the compiler reorder sums.

    Examples
    --------
    >>> import deepqct as dq
    >>> callable(dq.work.compiled(fastmath=True))
    True
    """
    keep_elsewhere()
    from numba import njit  # here, since it takes a while

    keep: Callable[[Step], Step] = njit(nogil=True, cache=True, fastmath=fastmath)
    return keep


@cache
def keep_elsewhere() -> None:
    """Give programs a temporary folder for what they keep, where the home folder cannot be written.

    On a node of a cluster or in a container nobody may own the home folder; numba, snakemake, Jupyter, IPython and
    matplotlib would stop there. What the environment names already is left as it is, and a home folder that can be
    written changes nothing.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.work.keep_elsewhere()
    """
    wanted = {
        "XDG_CACHE_HOME": "~/.cache",
        "MPLCONFIGDIR": "~/.config/matplotlib",
        "JUPYTER_RUNTIME_DIR": "~/.local/share/jupyter/runtime",
        "IPYTHONDIR": "~/.ipython",
    }
    lost = [name for name, folder in wanted.items() if name not in os.environ and not _can_write(Path(folder))]
    if not lost:
        return
    weights = os.path.expanduser("~/.cache/torch")  # noqa: PTH111, which may be read where nothing can be written
    if Path(weights).is_dir():
        os.environ.setdefault("TORCH_HOME", weights)
    kept = Path(tempfile.mkdtemp(prefix="deepqct-"))
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    for name in lost:
        (kept / name).mkdir()
        os.environ[name] = str(kept / name)  # processes that this one starts take it over


def _can_write(folder: Path) -> bool:
    """True if files can be written to a folder, or to the nearest one above it that is there."""
    try:
        folder = folder.expanduser()
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            return True
    except (OSError, RuntimeError):  # no such home is a RuntimeError
        return False


def set_threads(threads: int) -> None:
    """Limit the threads of this process, so that several processes share the processors; results do not depend on it.

    Parameters
    ----------
    threads : int
        The number of threads; 0 is one a processor.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.work.set_threads(2)
    >>> dq.work.each_slice(abs, [-3, 2, -1])
    [3, 2, 1]
    >>> dq.work.set_threads(0)
    """
    global _DEFAULT
    _DEFAULT = threads


def workers(threads: int | None = None) -> int:
    """Return how many threads a call has: its own number, or the limit of the process, or one a processor.

    Parameters
    ----------
    threads : int, optional
        The number that the call was given.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.work.workers(3)
    3
    """
    return threads or _DEFAULT or processors()


def processors() -> int:
    """Return how many processors this process may use: those that it is bound to, and no more than its job was given.

    A cluster's node may have many more.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.work.processors() >= 1
    True
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(GIVEN_CORES, "")
    return min(bound, int(given)) if given.isdecimal() and int(given) else bound


def share(step: Callable[..., None], n: int, *arrays: object, threads: int | None = None, ranges: int = RANGES) -> None:
    """Run a compiled step over the numbers 0 to n, split into ranges that several threads take in turn.

    The threads wait for the next call: to start them anew takes longer than many a step. A step must not call this itself.

    Parameters
    ----------
    step : callable
        Called as ``step(first, last, *arrays)`` for each range; it writes its results into an array, and no two ranges
        may write to the same place.
    n : int
        The number of slices or points.
    *arrays : object
        Handed to every call.
    threads : int, optional
        The number of threads; without it as `set_threads` says.
    ranges : int
        How many ranges a thread gets: more where some take longer, fewer where a step is short.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> def square(first, last, numbers, squares):
    ...     squares[first:last] = numbers[first:last] ** 2
    >>> squares = np.zeros(5, int)
    >>> dq.work.share(square, 5, np.arange(5), squares, threads=2)
    >>> squares.tolist()
    [0, 1, 4, 9, 16]
    """
    several = workers(threads)
    ends = np.linspace(0, n, min(n, ranges * several) + 1).astype(int)
    if several == 1:
        for first, last in pairwise(ends):
            step(first, last, *arrays)
        return
    list(_threads(several).map(lambda first, last: step(first, last, *arrays), ends[:-1], ends[1:]))


@cache
def _threads(several: int) -> ThreadPoolExecutor:
    """Threads that wait for work until the process ends."""
    return ThreadPoolExecutor(several, thread_name_prefix="share")


if hasattr(os, "register_at_fork"):  # a child that is forked has none of them
    os.register_at_fork(after_in_child=_threads.cache_clear)


def each_slice(step: Callable[[Any], Result], slices: Iterable[Any], *, threads: int | None = None) -> list[Result]:
    """Call a function for every slice in several threads, and return the results in the order of the slices.

    Parameters
    ----------
    step : callable
        Called with one slice.
    slices : iterable
        The slices, such as an array (z, y, x).
    threads : int, optional
        The number of threads; without it as `set_threads` says.

    Examples
    --------
    >>> import numpy as np
    >>> import deepqct as dq
    >>> [int(total) for total in dq.work.each_slice(np.sum, np.arange(12).reshape(3, 2, 2))]
    [6, 22, 38]
    """
    with ThreadPoolExecutor(workers(threads)) as pool:
        return list(pool.map(step, slices))


def side_by_side(
    do: Callable[[Item], Result],
    tasks: Sequence[Item],
    *,
    workers: int,
    lost: Callable[[Item, str], Result] | None = None,
    limit_s: float = inf,
) -> Iterator[Result]:
    """Call a function for every task, in processes of their own; yield each result when it is done.

    A process that dies, or takes longer than the limit, loses its own task only: a new one takes its place.

    Parameters
    ----------
    do : callable
        Called with one task; it must be defined in a module, to be sent to another process.
    tasks : sequence
        What `do` is called with, one at a time.
    workers : int
        The number of processes; each takes its share of the processors. With more than one the results come in no fixed
        order. 0 calls `do` in this process: quicker for a few tasks, and nothing is kept apart.
    lost : callable, optional
        Gives the result of a lost task, from the task and what became of it; by default a lost task is an error.
    limit_s : float
        The longest time for one task, in seconds.

    Raises
    ------
    RuntimeError
        If a task is lost and `lost` is not given.

    Examples
    --------
    >>> import deepqct as dq
    >>> list(dq.work.side_by_side(len, ["radius", "ulna"], workers=0))
    [6, 4]
    """
    if workers < 1:
        yield from map(do, tasks)
        return
    waiting, running = list(reversed(tasks)), dict[Any, _Worker[Item]]()
    threads = max(processors() // workers, 1)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                worker = _Worker[Item].begun(do, threads)
                worker.give(waiting.pop(), limit_s)
                running[worker.pipe] = worker
            soonest = min(worker.deadline for worker in running.values()) - time.monotonic()
            for pipe in wait(list(running), timeout=None if soonest == inf else max(soonest, 0.0)):
                worker = running.pop(pipe)
                answer = worker.answer()
                if isinstance(answer, str):
                    yield _lost(worker.task, answer, lost)
                    continue
                if waiting:
                    worker.give(waiting.pop(), limit_s)
                    running[worker.pipe] = worker
                else:
                    worker.end()
                yield answer[0]
            for pipe, worker in list(running.items()):
                if worker.deadline <= time.monotonic():
                    running.pop(pipe).end()
                    yield _lost(worker.task, f"took longer than {limit_s / 60:.0f} minutes and was stopped", lost)
    finally:
        for worker in running.values():
            worker.end()


def _lost(task: Item, why: str, lost: Callable[[Item, str], Result] | None) -> Result:
    """What stands in for the result of a task whose process was lost."""
    if lost is None:
        raise RuntimeError(f"A process at work {why}.")
    return lost(task, why)


@dataclass
class _Worker(Generic[Item]):
    """A process that does one task after the other, the pipe to it, and the task that it has."""

    process: Any
    pipe: Any
    task: Any = None
    deadline: float = inf

    @classmethod
    def begun(cls, do: Callable[[Item], Any], threads: int) -> Self:
        """Start a process that waits for tasks."""
        begin = get_context("spawn")
        ours, theirs = begin.Pipe()
        process = begin.Process(target=_work, args=(theirs, do, threads), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, task: Item, limit_s: float) -> None:
        """Send a task, which may take so long."""
        self.task, self.deadline = task, time.monotonic() + limit_s
        with contextlib.suppress(OSError):  # a process that is gone already is noticed when its answer is awaited
            self.pipe.send(task)

    def answer(self) -> tuple[Any] | str:
        """The result of its task as a tuple of one, or what became of the process."""
        try:
            raised, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(10)
            killed = self.process.exitcode == -signal.SIGKILL
            return "was ended by the system, as happens for lack of memory" if killed else "crashed"
        if raised:
            raise answer
        return (answer,)

    def end(self) -> None:
        """Stop the process, whatever it does."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _work(pipe: Any, do: Callable[[Any], Any], threads: int) -> None:
    """Do one task after the other until the other end is closed."""
    set_threads(threads)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (False, do(task))
        except Exception as error:
            answer = (True, error)
        pipe.send(answer)


def followed(items: Iterable[Item], progress: Progress | None, *, total: int, before: int = 0) -> Iterator[Item]:
    """Yield items one by one, and report after each how many are done.

    Parameters
    ----------
    items : iterable
        The items to work on, one at a time.
    progress : callable or None
        Called with the number done and the total; None reports nothing.
    total : int
        The number of steps of the whole work.
    before : int
        How many of those steps were done before these items.

    Examples
    --------
    >>> import deepqct as dq
    >>> for bone in dq.work.followed(["radius", "ulna"], lambda done, total: print(f"{done} of {total}"), total=2):
    ...     print(bone)
    radius
    1 of 2
    ulna
    2 of 2
    """
    for number, item in enumerate(items, start=before + 1):
        yield item
        if progress is not None:
            progress(number, total)


def say(line: str) -> None:
    """Print one plain line without delay, so that a log shows where a long job is.

    Parameters
    ----------
    line : str
        The text.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.work.say("2 of 24 scans curated")
    2 of 24 scans curated
    """
    print(line, flush=True)  # noqa: T201
