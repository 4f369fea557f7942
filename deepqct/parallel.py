"""Threads over the slices of an array: compiled steps and SciPy's filters let go of Python's lock while they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

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
