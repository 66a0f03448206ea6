"""Counts of every image of a layer: filled block by block, read by channels.

What does not fit into the bound given lies in a temporary file, so that memory does not grow with
the number of images. Nothing is read from a store twice for it.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Self

import numpy as np

from skiptool.errors import SourceError

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
        self._array: AnyArray | None = None
        self._file: IO[bytes] | None = None
        if size <= limit:
            self._array = np.empty(shape, self._dtype)
        else:
            with _room():
                self._file = tempfile.TemporaryFile(prefix="skiptool-")  # noqa: SIM115 - __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written was told by put
                self._file.close()

    @property
    def in_memory(self) -> bool:
        """Whether the counts are held in memory."""
        return self._array is not None

    def put(self, start: int, counts: AnyArray) -> None:
        """Keep the counts (n, D, C) of images from ``start`` on.

        Raises
        ------
        SourceError
            If the disk of temporary files is full.
        """
        if self._array is not None:
            self._array[start : start + len(counts)] = counts
            return
        file = self._opened()
        with _room():
            for first in range(0, self._shape[1], self._width):
                part = counts[:, first : first + self._width]
                file.seek(self._offset(first) + start * part[:1].nbytes)
                file.write(part.tobytes())
            file.flush()  # a full disk may show only now

    def channels(self, first: int) -> AnyArray:
        """Return the counts (N, d, C) of the block of channels that begins at ``first``.

        Raises
        ------
        SourceError
            If the temporary file cannot be read.
        """
        images, channels, counters = self._shape
        width = min(self._width, channels - first)
        if self._array is not None:
            return self._array[:, first : first + width]
        found = np.empty((images, width, counters), self._dtype)
        # Positioned reads: several threads share the file.
        self._read(found, self._offset(first))
        return found

    def _read(self, into: AnyArray, offset: int) -> None:
        number, view, done = self._opened().fileno(), into.data.cast("B"), 0
        with _room():
            while done < len(view):
                got = os.preadv(number, [view[done:]], offset + done)
                if not got:
                    raise OSError(errno.EIO, "the file is shorter than what was written")
                done += got

    def _offset(self, channel: int) -> int:
        """Return where a block of channels begins: blocks lie one behind the other."""
        images, _, counters = self._shape
        return images * channel * counters * self._dtype.itemsize

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError("counts are in memory")
        return self._file


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{tempfile.tempdir or 'TMPDIR'}: counts that exceed memory cannot be kept there "
            f"({error.strerror or error}); set TMPDIR to a folder with room, or give a larger "
            "--memory"
        ) from error
