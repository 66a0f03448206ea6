"""Slides opened by path; the most recently used ones are kept open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from skiptool.sources.slides.slide import GivenMpp, Slide, TileCache, open_slide

CACHE_BYTES: Final = 32 << 20


class SlidePool:
    """A cache of open slides, shared by threads.

    Parameters
    ----------
    limit : int
        Slides kept open. A slide in use stays open beyond the limit, because OpenSlide closes a
        file with the last reference to it.
    cache_bytes : int
        Size of the cache of decoded tiles that all slides share.
    """

    def __init__(self, limit: int = 8, cache_bytes: int = CACHE_BYTES) -> None:
        self._arguments = limit, cache_bytes
        self._open = lru_cache(limit)(partial(open_slide, cache=TileCache(cache_bytes)))

    def __reduce__(self) -> tuple[type[SlidePool], tuple[int, int]]:
        """Pickle as an empty pool, since handles of open files cannot be pickled."""
        return SlidePool, self._arguments

    @contextmanager
    def get(self, path: Path, mpp: GivenMpp = (None, None)) -> Iterator[Slide]:
        """Return a slide, opening it if necessary; errors are not cached."""
        yield self._open(path, mpp)

    def __enter__(self) -> SlidePool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.cache_clear()
