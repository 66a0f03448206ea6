"""Counts of every image of a layer: filled block by block, read by channels.

What does not fit into the bound given lies in a temporary file, so that memory does not grow with
the number of images. Nothing is read from a store twice for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from skiptool.comparison.scratch import Scratch

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["Counts"]


class Counts:
    """Counts (N, D, C) of the images of a layer; a context that removes its file.

    Parameters
    ----------
    shape : (N, D, C)
    vectors : int
        K, the most one counter can reach; decides between 16 and 32 bit.
    width : int
        Channels in one block of :meth:`channels`.
    limit : int
        Bytes that may be held in memory; beyond it a temporary file is used.
    """

    def __init__(self, shape: tuple[int, int, int], vectors: int, width: int, limit: int) -> None:
        images, channels, counters = self._shape = shape
        self._width = width
        self._dtype = np.dtype(np.uint16 if vectors <= np.iinfo(np.uint16).max else np.uint32)
        size = images * channels * counters * self._dtype.itemsize
        self._kept: AnyArray | Scratch
        self._kept = np.empty(shape, self._dtype) if size <= limit else Scratch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._kept, Scratch):
            self._kept.__exit__()

    @property
    def in_memory(self) -> bool:
        """Whether the counts are held in memory."""
        return not isinstance(self._kept, Scratch)

    def put(self, start: int, counts: AnyArray) -> None:
        """Keep the counts (n, D, C) of images from ``start`` on.

        Raises
        ------
        SourceError
            If the disk of temporary files is full.
        """
        if not isinstance(self._kept, Scratch):
            self._kept[start : start + len(counts)] = counts
            return
        for first in range(0, self._shape[1], self._width):
            part = np.ascontiguousarray(counts[:, first : first + self._width])
            self._kept.write(self._offset(first) + start * part[:1].nbytes, part)

    def channels(self, first: int) -> AnyArray:
        """Return the counts (N, d, C) of the block of channels that begins at ``first``.

        Raises
        ------
        SourceError
            If the temporary file cannot be read.
        """
        images, channels, counters = self._shape
        width = min(self._width, channels - first)
        if not isinstance(self._kept, Scratch):
            return self._kept[:, first : first + width]
        found = np.empty((images, width, counters), self._dtype)
        self._kept.read(self._offset(first), found)
        return found

    def _offset(self, channel: int) -> int:
        """Return where a block of channels begins: blocks lie one behind the other."""
        images, _, counters = self._shape
        return images * channel * counters * self._dtype.itemsize
