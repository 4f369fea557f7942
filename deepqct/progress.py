"""How far long work is: a callback (done, total), which a notebook shows as a bar or as plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[int, int], None]


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
