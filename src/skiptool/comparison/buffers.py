"""Counts of all images of a layer, and cached blocks of activations: in memory, or on disk.

Whatever exceeds its memory limit goes to an unnamed temporary file, so that memory does not grow
with the number of images, and nothing has to be read from a store twice. Stores may be remote and
compressed; the temporary file is local and holds bare values.
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

from skiptool.comparison.activations import Activations
from skiptool.distances.bins import CountLayout
from skiptool.errors import SourceError

if TYPE_CHECKING:
    from skiptool.records import AnyArray


class Scratch:
    """Thread-safe store of arrays at offsets of an unnamed file; a context that deletes it.

    All methods raise SourceError if the folder of temporary files is full or not accessible.
    """

    def __init__(self) -> None:
        with _disk_errors():
            self._file = tempfile.TemporaryFile(prefix="skiptool-", buffering=0)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # write has already reported what could not be written
            self._file.close()

    def write(self, offset: int, array: AnyArray) -> None:
        """Write the bytes of a contiguous array."""
        descriptor, view, done = self._file.fileno(), array.data.cast("B"), 0
        with _disk_errors():
            while done < len(view):
                done += os.pwrite(descriptor, view[done:], offset + done)

    def read(self, offset: int, into: AnyArray) -> None:
        """Fill a contiguous array with what was written there."""
        descriptor, view, done = self._file.fileno(), into.data.cast("B"), 0
        with _disk_errors():
            while done < len(view):
                read = os.preadv(descriptor, [view[done:]], offset + done)
                if not read:
                    raise OSError(errno.EIO, "the file is shorter than what was written")
                done += read


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn OSError into SourceError with a remedy."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{tempfile.tempdir or 'TMPDIR'}: cannot hold what exceeds memory "
            f"({error.strerror or error}); set TMPDIR to a folder with room, or give a larger "
            "--memory"
        ) from error


class Counts:
    """Counts (N, D, C) of the images of a layer: filled by images, read by channels.

    A context that deletes its file. Methods raise SourceError like those of :class:`Scratch`.

    Parameters
    ----------
    shape : (N, D, C)
    vectors : int
        K, the maximum of one counter; decides between 16 and 32 bits.
    width : int
        Channels in one block of :meth:`channels`.
    limit : int
        Bytes to hold in memory at most; beyond that a temporary file is used.
    """

    def __init__(self, shape: tuple[int, int, int], vectors: int, width: int, limit: int) -> None:
        self._shape = shape
        self._width = width
        self._dtype = np.dtype(np.uint16 if vectors <= np.iinfo(np.uint16).max else np.uint32)
        fits = prod(shape) * self._dtype.itemsize <= limit
        self._data: AnyArray | Scratch = np.empty(shape, self._dtype) if fits else Scratch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._data, Scratch):
            self._data.__exit__()

    @property
    def in_memory(self) -> bool:
        """True if the counts are held in memory, not in a file."""
        return not isinstance(self._data, Scratch)

    def put(self, start: int, counts: AnyArray) -> None:
        """Store the counts (n, D, C) of images from ``start`` on."""
        if not isinstance(self._data, Scratch):
            self._data[start : start + len(counts)] = counts
            return
        for first in range(0, self._shape[1], self._width):
            part = np.ascontiguousarray(counts[:, first : first + self._width])
            self._data.write(self._offset(first) + start * part[:1].nbytes, part)

    def channels(self, first: int) -> AnyArray:
        """Return the counts (N, d, C) of the block of channels that begins at ``first``."""
        images, channels, counters = self._shape
        width = min(self._width, channels - first)
        if not isinstance(self._data, Scratch):
            return self._data[:, first : first + width]
        block = np.empty((images, width, counters), self._dtype)
        self._data.read(self._offset(first), block)
        return block

    def _offset(self, channel: int) -> int:
        """Return where a block of channels begins; blocks are stored one after the other."""
        images, _, counters = self._shape
        return images * channel * counters * self._dtype.itemsize


@dataclass(slots=True, eq=False)
class _CachedActivations:
    """A set of activations that caches the blocks of one layer.

    ``blocks`` holds arrays, or None for those in the temporary file.
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

    def count_layout(self, layer: str) -> CountLayout | None:
        return self.source.count_layout(layer)

    def chunk(self, layer: str) -> int:
        return self.source.chunk(layer)

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray] | None:
        return self.source.ranges(layer)

    def read(self, layer: str, rows: slice) -> AnyArray:
        if layer != self.layer:
            return self.source.read(layer, rows)
        key = rows.start, rows.stop
        with self.lock:
            cached, block = key in self.blocks, self.blocks.get(key)
        if block is not None:
            return block
        if cached and self.scratch is not None:
            _, channels, vectors = self.shape(layer)
            block = np.empty((rows.stop - rows.start, channels, vectors), self.dtype(layer))
            self.scratch.read(rows.start * block[:1].nbytes, block)
            return block
        block = self.source.read(layer, rows)
        if self.scratch is not None:
            self.scratch.write(rows.start * block[:1].nbytes, np.ascontiguousarray(block))
        with self.lock:
            self.blocks[key] = block if self.scratch is None else None
        return block


@contextmanager
def cached_blocks(
    sets: Sequence[Activations], pairs: Sequence[tuple[int, int]], layer: str, limit: int
) -> Iterator[list[Activations]]:
    """Yield the sets; those in several ``pairs`` cache the blocks of a layer, to be read once.

    At most ``limit`` bytes are cached in memory for all sets; sets in more pairs go first. The
    others use temporary files, deleted at the end.
    """
    uses = Counter(index for pair in pairs for index in pair)
    cached = list(sets)
    with ExitStack() as stack:
        for index, times in uses.most_common():
            if times > 1:
                size = prod(sets[index].shape(layer)) * sets[index].dtype(layer).itemsize
                fits = size <= limit
                limit -= size if fits else 0
                scratch = None if fits else stack.enter_context(Scratch())
                cached[index] = _CachedActivations(sets[index], layer, scratch)
        yield cached
