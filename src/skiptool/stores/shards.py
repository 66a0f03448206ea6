"""Shards: files of several chunks each, written and read without zarr-python's pipeline.

A shard holds its chunks one after the other, then the index: for each chunk its offset and length
(two uint64, all bits set for a missing chunk) and a CRC-32C of the index itself. The files are
byte for byte those that zarr-python makes of the same values, and it reads them. zarr-python itself
passes every chunk through its one event loop, which would be the bottleneck of an extraction, and
fetches the index again for every read.

- :func:`write_shard` writes a whole shard of chunks compressed beforehand, in any thread.
- :class:`GrowingShards` appends chunk by chunk. An incomplete shard is ``NAME.growing``, a shard
  without its index; once full it only needs the index and its final name. The caller records the
  sizes of the chunks, to resume after an interruption.
- :class:`ShardedRows` reads rows. Each index is read once. A chunk missing from the index is an
  error, where zarr-python would return zeros.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import google_crc32c
import numpy as np
from numcodecs import Blosc
from numcodecs.abc import Codec
from zarr.codecs import (
    BloscCodec,
    BloscShuffle,
    BytesCodec,
    Crc32cCodec,
    Endian,
    ShardingCodec,
)

from skiptool.errors import FormatError
from skiptool.stores.remote import RemoteStore
from skiptool.stores.zarrs import codecs, folder_of

if TYPE_CHECKING:
    import zarr

    from skiptool.records import AnyArray
    from skiptool.stores.zarrs import Rows

NONE = 2**64 - 1
"""Offset and length of a chunk that is not in the shard."""

_ENTRY, _CHECKSUM = 16, 4
"""Bytes of an entry of the index, and of a CRC-32C."""

_TOGETHER = 2**25
"""Bytes of adjacent chunks requested together over a network, at most."""

_BLOSC = struct.Struct("<4xIII")
"""Header of Blosc: bytes of the values, of a block, and of the chunk with this header."""


def compress(array: AnyArray, codec: Codec | None = None) -> bytes:
    """Compress an array to a chunk; thread-safe.

    The default codec is that of :func:`skiptool.stores.zarrs.codecs`.

    Examples
    --------
    >>> len(compress(np.zeros((64, 64), np.uint8))) < 64 * 64
    True
    """
    codec = codec or _codec(codecs(array.itemsize))
    chunk: bytes = codec.encode(np.ascontiguousarray(array))
    return chunk + _checksum(chunk)


def write_shard(array: zarr.Array[Any], number: int, chunks: Sequence[bytes]) -> None:
    """Write one shard of an array that is chunked and sharded along its first axis only.

    Parameters
    ----------
    array : zarr.Array
        Made by :func:`skiptool.stores.zarrs.create_array`, in a local folder.
    number : int
        Position of the shard along the first axis.
    chunks : sequence of bytes
        Made by :func:`compress`, one per row; the last shard may hold fewer than a full one.
    """
    _write(_file(array, number), (*chunks, _index(map(len, chunks), _room(array))))


class GrowingShards:
    """Append chunks to an array that is chunked and sharded along its first axis only.

    Parameters
    ----------
    array : zarr.Array
        Made by :func:`skiptool.stores.zarrs.create_array`, in a local folder, of its final shape.
    sizes : sequence of int
        Bytes of the chunks committed by an interrupted run, in order.
    whole : bool
        These are all chunks of the array.

    Raises
    ------
    ValueError
        If the files do not match ``sizes``.
    """

    def __init__(
        self, array: zarr.Array[Any], sizes: Sequence[int] = (), *, whole: bool = False
    ) -> None:
        self.array, self._room = array, _room(array)
        full = -(-len(sizes) // self._room) if whole else len(sizes) // self._room
        self._number = next(
            (number for number in range(full) if not _file(array, number).is_file()), full
        )
        self._sizes = [*sizes[self._number * self._room :]]
        # The last full shard may lack its index, which is added after its last chunk is noted.
        if len(self._sizes) > self._room or (self._sizes and not self._holds(sum(self._sizes))):
            raise ValueError(f"shard {_key(array, self._number)} is missing or too short")
        self._close(whole)

    def write(self, rows: AnyArray) -> int:
        """Write rows after the committed chunks; return the bytes of their chunk.

        Parameters
        ----------
        rows : shape (n, ...)
            Of the array's dtype; the last chunk may have fewer rows, and is padded with zeros.
        """
        missing = self.array.chunks[0] - len(rows)
        whole = np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)]) if missing else rows
        chunk = compress(whole, _codec_of(self.array))
        self._growing.parent.mkdir(parents=True, exist_ok=True)
        self._extend(chunk)
        return len(chunk)

    def commit(self, size: int, *, whole: bool) -> None:
        """Commit the chunk that was written, once its size is noted."""
        self._sizes.append(size)
        self._close(whole)

    def read(self, number: int) -> AnyArray:
        """Read a committed chunk of the incomplete shard; a damaged one is a ValueError."""
        place = number - self._number * self._room
        found = np.empty(self.array.chunks, self.array.dtype)
        _decompress(_part(self._growing, sum(self._sizes[:place]), self._sizes[place]), found)
        return found

    @property
    def _growing(self) -> Path:
        file = _file(self.array, self._number)
        return file.with_name(f"{file.name}.growing")

    def _holds(self, size: int) -> bool:
        return self._growing.is_file() and self._growing.stat().st_size >= size

    def _extend(self, data: bytes) -> None:
        with self._growing.open("ab") as stream:
            stream.truncate(sum(self._sizes))  # cut off uncommitted bytes
            stream.write(data)

    def _close(self, whole: bool) -> None:
        """Add the index to a full or last shard, and give it its final name."""
        if len(self._sizes) == self._room or (whole and self._sizes):
            self._extend(_index(self._sizes, self._room))
            self._growing.replace(_file(self.array, self._number))
            self._number += 1
            self._sizes = []


@dataclass(frozen=True, slots=True, eq=False)
class ShardedRows:
    """Rows of an array all of whose chunks were written, readable from any thread.

    Attributes
    ----------
    array : zarr.Array
        Chunked and sharded along its first axis only; see :func:`rows_of`.
    """

    array: zarr.Array[Any]
    _indices: dict[int, AnyArray] = field(default_factory=dict)

    def __getitem__(self, rows: slice | int, /) -> AnyArray:
        """Return rows (n, ...), or one row.

        Raises
        ------
        FormatError
            If a chunk is missing.
        ValueError, OSError
            If a chunk or the index of a shard is damaged or cannot be read.
        SourceError
            If a remote store cannot be reached.
        """
        if not isinstance(rows, slice):
            return self[rows : rows + 1].squeeze(axis=0)
        (size, *rest), length = self.array.chunks, self.array.shape[0]
        start, stop, _ = rows.indices(length)
        found = np.empty((max(stop - start, 0), *rest), self.array.dtype)
        numbers = range(start // size, -(-stop // size)) if stop > start else range(0)
        for number, chunk in zip(numbers, self._chunks(numbers), strict=True):
            first = number * size
            part = found[max(first - start, 0) : first + size - start]
            if len(part) == size:
                _decompress(chunk, part)
            else:  # part of a chunk, or a padded last one
                whole = np.empty(self.array.chunks, self.array.dtype)
                _decompress(chunk, whole)
                part[:] = whole[max(start - first, 0) :][: len(part)]
        return found

    def _chunks(self, numbers: range) -> Iterator[bytes]:
        """Yield chunks as stored; adjacent ones in a remote shard come by one request."""
        together = _TOGETHER if isinstance(self.array.store, RemoteStore) else 0
        run: list[tuple[int, int]] = []
        here = begin = end = 0
        for number in numbers:
            shard, offset, size = self._place(number)
            if run and (shard != here or offset != end or offset + size - begin > together):
                yield from self._run(here, run)
                run = []
            run.append((offset, size))
            here, begin, end = shard, run[0][0], offset + size
        if run:
            yield from self._run(here, run)

    def _run(self, shard: int, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield adjacent chunks of a shard."""
        begin = places[0][0]
        content = self._read(shard, begin, sum(size for _, size in places))
        for offset, size in places:
            yield content[offset - begin : offset - begin + size]

    def _place(self, number: int) -> tuple[int, int, int]:
        """Return the shard of a chunk, and its offset and size there."""
        shard, place = divmod(number, _room(self.array))
        if shard not in self._indices:
            self._indices[shard] = self._read_index(shard)
        offset, size = map(int, self._indices[shard][place])
        if offset == NONE or size == NONE:
            raise FormatError(
                f"chunk {place} of shard {_key(self.array, shard)} is missing; the store is "
                "damaged, make it again"
            )
        return shard, offset, size

    def _read_index(self, shard: int) -> AnyArray:
        size = _ENTRY * _room(self.array) + _CHECKSUM
        table = self._read(shard, -size, size)
        if table[-_CHECKSUM:] != _checksum(table[:-_CHECKSUM]) or len(table) != size:
            raise ValueError("the checksum of the shard's index is wrong")
        return np.frombuffer(table[:-_CHECKSUM], "<u8").reshape(-1, 2)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        store, key = self.array.store, _key(self.array, shard)
        if isinstance(store, RemoteStore):
            return store.part(f"{self.array.path}/{key}", offset, size)
        return _part(folder_of(self.array) / key, offset, size)


def rows_of(array: zarr.Array[Any]) -> Rows:
    """Return a reader of rows: for arrays sharded here one that notices lost chunks.

    All other arrays are read by Zarr.
    """
    attributes: object = array.metadata.attributes
    ours = isinstance(attributes, dict) and attributes.get("every_chunk") is True
    return ShardedRows(array) if ours and _is_sharded_here(array) else array


def _is_sharded_here(array: zarr.Array[Any]) -> bool:
    """Tell whether the codecs are those of shards made here, whatever their settings."""
    outer: Sequence[object] = getattr(array.metadata, "codecs", ())
    shards = outer[0] if len(outer) == 1 else None
    if not isinstance(shards, ShardingCodec) or shards.index_location.value != "end":
        return False
    inner, index = shards.codecs, shards.index_codecs
    return (
        [*map(type, inner)] == [BytesCodec, BloscCodec, Crc32cCodec]
        and [*map(type, index)] == [BytesCodec, Crc32cCodec]
        and Endian.big
        not in [each.endian for each in (*inner, *index) if isinstance(each, BytesCodec)]
    )


def keep_shards(array: zarr.Array[Any], count: int) -> bool:
    """Remove the shards after the first ``count``; return whether these all exist."""
    files = [_file(array, number) for number in range(count)]
    if not all(file.is_file() for file in files):
        return False
    for folder in (folder_of(array) / "c").glob("*"):
        if folder.name.isdecimal() and int(folder.name) >= count:
            shutil.rmtree(folder)
    return True


def _room(array: zarr.Array[Any]) -> int:
    """Return the number of chunks in a shard."""
    assert array.shards is not None
    return array.shards[0] // array.chunks[0]


def _key(array: zarr.Array[Any], number: int) -> str:
    return array.metadata.encode_chunk_key((number, *[0] * (array.ndim - 1)))


def _file(array: zarr.Array[Any], number: int) -> Path:
    return folder_of(array) / _key(array, number)


def _index(sizes: Iterable[int], room: int) -> bytes:
    """Return the index of a shard with adjacent chunks."""
    index, start = [NONE] * (2 * room), 0
    for place, size in enumerate(sizes):
        index[2 * place : 2 * place + 2] = start, size
        start += size
    table = struct.pack(f"<{2 * room}Q", *index)
    return table + _checksum(table)


def _part(file: Path, offset: int, size: int) -> bytes:
    """Read bytes of a file, fewer if it is shorter; a negative offset counts from its end."""
    with file.open("rb", buffering=0) as stream:
        length = os.fstat(stream.fileno()).st_size
        stream.seek(max(offset + length, 0) if offset < 0 else offset)
        return stream.read(min(size, length))


def _decompress(chunk: bytes, into: AnyArray) -> None:
    """Decompress a chunk into a contiguous array; ValueError if damaged or of another size."""
    data, check = np.frombuffer(chunk, np.uint8)[:-_CHECKSUM], chunk[-_CHECKSUM:]
    if len(data) < _BLOSC.size or check != _checksum(data):
        raise ValueError("the checksum of a chunk is wrong")
    values, _, whole = _BLOSC.unpack_from(chunk)
    if (values, whole) != (into.nbytes, len(data)):
        raise ValueError(f"a chunk holds {values:,} bytes, expected {into.nbytes:,}")
    try:
        Blosc().decode(data, into.reshape(-1).view(np.uint8))  # its header says how it was made
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _write(file: Path, parts: Sequence[bytes]) -> None:
    """Write a file under a temporary name, swept after a kill, and rename it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    growing = file.with_name(f"{file.name}.{uuid4().hex}.partial")
    try:
        with growing.open("wb") as stream:
            stream.writelines(parts)
        growing.replace(file)
    finally:
        growing.unlink(missing_ok=True)


def _codec_of(array: zarr.Array[Any]) -> Codec:
    """Return the compressor of the chunks of a sharded array."""
    outer: Any = array.metadata
    return _codec(outer.codecs[0].codecs)


def _codec(inner: Iterable[object]) -> Codec:
    settings = next(each for each in inner if isinstance(each, BloscCodec))
    return _blosc(settings.cname.value, settings.clevel, _SHUFFLES[settings.shuffle])


@cache
def _blosc(name: str, level: int, shuffle: int) -> Codec:
    return Blosc(name, level, shuffle)


_SHUFFLES = {
    BloscShuffle.noshuffle: Blosc.NOSHUFFLE,
    BloscShuffle.shuffle: Blosc.SHUFFLE,
    BloscShuffle.bitshuffle: Blosc.BITSHUFFLE,
}


def _checksum(data: bytes | AnyArray) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))
