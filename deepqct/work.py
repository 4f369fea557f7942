"""Long work: threads over the slices of an array, processes over scans, and how far it is.

Compiled steps and SciPy's filters let go of Python's lock while they work. How far work is goes to a callback (done,
total), which a notebook shows as a bar or as plain lines.
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

# How many threads a call takes when it is not told; 0 is as many as there are processors.
_DEFAULT = 0


def set_threads(threads: int) -> None:
    """Limit the threads of this process; a worker beside others takes its share only. Results never depend on it."""
    global _DEFAULT
    _DEFAULT = threads


def _workers(threads: int | None) -> int:
    return threads or _DEFAULT or os.cpu_count() or 1


def share(step: Callable[..., None], n: int, *arrays: object, threads: int | None = None) -> None:
    """Run a compiled step over 0 to n, in parts that threads take in turn; the parts write to different places."""
    workers = _workers(threads)
    ends = np.linspace(0, n, min(n, 8 * workers) + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda first, last: step(first, last, *arrays), ends[:-1], ends[1:]))


def each_slice(step: Callable[[Any], Result], slices: Iterable[Any], *, threads: int | None = None) -> list[Result]:
    """A function of every slice, in order."""
    with ThreadPoolExecutor(_workers(threads)) as pool:
        return list(pool.map(step, slices))


def side_by_side(do: Callable[[Item], Result], tasks: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Results of a function of every task, as they are done: by processes side by side, or one after the other.

    Parameters
    ----------
    do : callable
        Can be sent to another process.
    tasks : sequence
        What it is called with, one at a time.
    workers : int
        Processes; each takes its share of the processors. With more than one the results come in no fixed order.
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
    """Hand on items one by one, and tell after each how many are done.

    Parameters
    ----------
    items : iterable
        Whatever is worked on, one at a time.
    progress : callable or None
        Gets the number done and the total.
    total : int
        Steps of the whole work.
    before : int
        Steps of it that were done before these.
    """
    for number, item in enumerate(items, start=before + 1):
        yield item
        if progress is not None:
            progress(number, total)


def say(line: str) -> None:
    """Print one plain line at once, so that a log tells where a long job is."""
    print(line, flush=True)  # noqa: T201
