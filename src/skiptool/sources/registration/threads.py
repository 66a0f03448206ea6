"""One thread of OpenCV for each caller: work is spread over pairs of scans, never inside one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["one_thread"]


class _Callers:
    """How many are inside, and the number of threads that the first of them found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 0


_CALLERS = _Callers()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own while any caller is inside.

    Each of several workers would else start as many as there are cores. OpenCV has one setting for
    the whole process: the first caller in turns it to one thread, the last one out puts back what
    it found. Results do not depend on it, only the load does.
    """
    with _CALLERS.lock:
        if _CALLERS.inside == 0:
            _CALLERS.before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _CALLERS.inside += 1
    try:
        yield
    finally:
        with _CALLERS.lock:
            _CALLERS.inside -= 1
            if _CALLERS.inside == 0:
                cv2.setNumThreads(_CALLERS.before)
