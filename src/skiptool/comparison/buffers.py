"""Counts of every image of a layer: filled block by block, read by channels.

What does not fit into the bound given lies in a temporary file, so that memory does not grow with
the number of images. Nothing is read from a store twice for it.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skiptool.comparison.activations import Activations, Counted
from skiptool.errors import SourceError

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["Counts", "Scratch", "keeping"]

# -------------------------------------------------------------------------------------------------
# A temporary file for what does not fit into memory.


class Scratch:
    """Arrays at offsets of a file without a name, for several threads; a context that frees it.

    Raises
    ------
    SourceError
        If the folder of temporary files cannot be written.
    """

    def __init__(self) -> None:
        with _room():
            self._file = tempfile.TemporaryFile(prefix="skiptool-", buffering=0)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written was told by write
            self._file.close()

    def write(self, offset: int, array: AnyArray) -> None:
        """Write the bytes of a contiguous array.

        Raises
        ------
        SourceError
            If the disk of temporary files is full.
        """
        number, view, done = self._file.fileno(), array.data.cast("B"), 0
        with _room():
            while done < len(view):
                done += os.pwrite(number, view[done:], offset + done)

    def read(self, offset: int, into: AnyArray) -> None:
        """Fill a contiguous array with what was written there.

        Raises
        ------
        SourceError
            If the temporary file cannot be read.
        """
        number, view, done = self._file.fileno(), into.data.cast("B"), 0
        with _room():
            while done < len(view):
                got = os.preadv(number, [view[done:]], offset + done)
                if not got:
                    raise OSError(errno.EIO, "the file is shorter than what was written")
                done += got


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{tempfile.tempdir or 'TMPDIR'}: what exceeds memory cannot be kept there "
            f"({error.strerror or error}); set TMPDIR to a folder with room, or give a larger "
            "--memory"
        ) from error


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


# -------------------------------------------------------------------------------------------------
# Blocks read once and kept for the next pair: in memory, and beyond it in a temporary file.
#
# Stores may lie behind a network, compressed; the temporary file is local and holds bare values.


@dataclass(slots=True, eq=False)
class _Kept:
    """A set of activations that keeps what it has read of one layer.

    ``blocks`` holds arrays, or None where they lie in the temporary file.
    """

    source: Activations
    layer: str
    scratch: Scratch | None
    blocks: dict[tuple[int, int], AnyArray | None] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def where(self) -> str:
        return self.source.where

    @property
    def dataset_id(self) -> str | None:
        return self.source.dataset_id

    @property
    def layers(self) -> tuple[str, ...]:
        return self.source.layers

    @property
    def columns(self) -> Mapping[str, Any]:
        return self.source.columns

    @property
    def grid(self) -> tuple[int, int] | None:
        return self.source.grid

    def __len__(self) -> int:
        return len(self.source)

    def shape(self, layer: str) -> tuple[int, int, int]:
        return self.source.shape(layer)

    def dtype(self, layer: str) -> np.dtype[Any]:
        return self.source.dtype(layer)

    def counted(self, layer: str) -> Counted | None:
        return self.source.counted(layer)

    def chunk(self, layer: str) -> int:
        return self.source.chunk(layer)

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        return self.source.ranges(layer)

    def read(self, layer: str, rows: slice) -> AnyArray:
        if layer != self.layer:
            return self.source.read(layer, rows)
        key = rows.start, rows.stop
        with self.lock:
            known, found = key in self.blocks, self.blocks.get(key)
        if found is None:
            found = self._from_scratch(rows) if known else self.source.read(layer, rows)
        if not known:
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[int, int], block: AnyArray) -> None:
        if self.scratch is not None:
            self.scratch.write(key[0] * block[:1].nbytes, np.ascontiguousarray(block))
        with self.lock:
            self.blocks[key] = block if self.scratch is None else None

    def _from_scratch(self, rows: slice) -> AnyArray:
        _, channels, vectors = self.shape(self.layer)
        found = np.empty((rows.stop - rows.start, channels, vectors), self.dtype(self.layer))
        if self.scratch is not None:
            self.scratch.read(rows.start * found[:1].nbytes, found)
        return found


@contextmanager
def keeping(
    sets: Sequence[Activations], pairs: Sequence[tuple[int, int]], layer: str, limit: int
) -> Iterator[list[Activations]]:
    """Yield the sets, of which those in several pairs keep their blocks, each read once.

    Parameters
    ----------
    sets : sequence of Activations
    pairs : sequence of (int, int)
        Places in ``sets`` that will be compared.
    layer : str
        The one layer that is about to be read.
    limit : int
        Bytes that may be kept in memory in all; sets in more pairs go first. What is left over
        goes to temporary files, removed at the end.

    Raises
    ------
    SourceError
        If the folder of temporary files cannot be written.
    """
    uses = Counter(place for pair in pairs for place in pair)
    found = list(sets)
    with ExitStack() as stack:
        for place, times in uses.most_common():
            if times > 1:
                size = prod(sets[place].shape(layer)) * sets[place].dtype(layer).itemsize
                fits = size <= limit
                limit -= size if fits else 0
                scratch = None if fits else stack.enter_context(Scratch())
                found[place] = _Kept(sets[place], layer, scratch)
        yield found
