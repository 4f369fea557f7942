"""Long work: threads over the slices of an array, processes over scans, and reports of progress.

Threads help here because compiled steps and SciPy's filters release Python's lock while they work. Progress goes to a
function that gets the number done and the total; a notebook shows it as a bar or as plain lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]

# The number of threads of a call that does not name one; 0 is one thread a processor.
_DEFAULT = 0


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


def _workers(threads: int | None) -> int:
    """The number of threads of a call: its own, or the limit of the process, or one a processor."""
    return threads or _DEFAULT or os.cpu_count() or 1


def share(step: Callable[..., None], n: int, *arrays: object, threads: int | None = None) -> None:
    """Run a compiled step over the numbers 0 to n, split into ranges that several threads take in turn.

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
    workers = _workers(threads)
    ends = np.linspace(0, n, min(n, 8 * workers) + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda first, last: step(first, last, *arrays), ends[:-1], ends[1:]))


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
    with ThreadPoolExecutor(_workers(threads)) as pool:
        return list(pool.map(step, slices))


def side_by_side(do: Callable[[Item], Result], tasks: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Call a function for every task, in several processes or one after the other; yield each result when it is done.

    Parameters
    ----------
    do : callable
        Called with one task. With several workers it must be defined in a module, to be sent to another process.
    tasks : sequence
        What `do` is called with, one at a time.
    workers : int
        The number of processes; each takes its share of the processors. With more than one the results come in no fixed
        order.

    Examples
    --------
    >>> import deepqct as dq
    >>> list(dq.work.side_by_side(len, ["radius", "ulna"], workers=1))
    [6, 4]
    """
    if workers <= 1:
        yield from map(do, tasks)
        return
    threads = max((os.cpu_count() or 1) // workers, 1)
    begin = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=begin, initializer=set_threads, initargs=(threads,)) as pool:
        for future in as_completed([pool.submit(do, task) for task in tasks]):
            yield future.result()


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
