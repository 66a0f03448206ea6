"""Many slides, few of them open: what was used last stays, decoded tiles share one memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from skiptool.errors import ArgumentError
from skiptool.sources.slides.slide import Given, Slide, TileCache, open_slide

__all__ = ["SlidePool"]

CACHE_BYTES: Final = 32 << 20


@dataclass(slots=True, eq=False)
class _Place:
    """One slide of the pool and how many are using it; its lock is held while it is opened."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    slide: Slide | None = None
    users: int = 0


class SlidePool:
    """Open slides by path; threads may share it.

    Parameters
    ----------
    limit : int
        Slides kept open. Those in use stay open whatever the limit, so that no thread waits for
        another's slide; the one unused for longest is closed first.
    cache_bytes : int
        Decoded tiles that all slides together keep.

    Raises
    ------
    ArgumentError
        If the limit is below 1.
    """

    def __init__(self, limit: int = 8, cache_bytes: int = CACHE_BYTES) -> None:
        if limit < 1:
            raise ArgumentError(f"a pool of {limit} open slides; expected at least 1")
        self._limit = limit
        self._cache_bytes = cache_bytes
        self._cache = TileCache(cache_bytes)
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[Path, Given], _Place] = OrderedDict()

    def __reduce__(self) -> tuple[type[SlidePool], tuple[int, int]]:
        """Travel to another process as an empty pool: handles do not."""
        return SlidePool, (self._limit, self._cache_bytes)

    @contextmanager
    def get(self, path: Path, mpp: Given = (None, None)) -> Iterator[Slide]:
        """Lend a slide, opened if it is not; within the ``with`` it is not closed.

        Raises
        ------
        SourceError
            As `open_slide`; the next call tries again.
        """
        key = (path, mpp)
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            place.users += 1
        try:
            with place.lock:
                if place.slide is None:
                    place.slide = open_slide(path, mpp, self._cache)
            yield place.slide
        finally:
            with self._lock:
                place.users -= 1
                self._tidy()

    def __enter__(self) -> SlidePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all slides that nobody uses."""
        with self._lock:
            self._tidy(0)

    def _tidy(self, limit: int | None = None) -> None:
        """Close what is over the limit and unused; forget what could not be opened."""
        idle = [key for key, place in self._places.items() if not place.users]
        surplus = len(self._places) - (self._limit if limit is None else limit)
        for number, key in enumerate(idle):
            slide = self._places[key].slide
            if slide is None or number < surplus:
                del self._places[key]
                if slide is not None:
                    slide.close()
