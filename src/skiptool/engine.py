"""How work is mapped over the cores of this process."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["available_cores", "mapped"]

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """Cores that this process may use (its affinity where the system has one), at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def mapped(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function to items over threads; results come in the order of the items.

    Parameters
    ----------
    function : callable
        Called from several threads at once: it should release the GIL for most of its time, as
        NumPy, torch and the decoders of images do, and share nothing that it changes.
    items : iterable
        Read in the thread of the caller, at most ``2 * workers`` ahead of what was yielded.
    workers : int
        Number of threads; with 1 or less everything runs in the thread of the caller.

    Yields
    ------
    result
        Of each item. An exception of ``function`` is raised where its result would have come.
        After it, and when the iteration is given up (``close``, an interrupt), what is waiting
        is cancelled and what is running is waited for.

    Examples
    --------
    >>> list(mapped(abs, [-1, -2, -3], workers=2))
    [1, 2, 3]
    """
    if workers <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, 2 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
