"""Shards: files of several chunks each, written and read without zarr-python's pipeline.

A shard holds its chunks one after the other, then the index: offset and length of each chunk (two
uint64, all bits set for a missing chunk), followed by a CRC-32C of the index. The files are
identical byte by byte to those that zarr-python writes for the same values, and zarr-python reads
them. zarr-python itself passes every chunk through a single event loop, which would be the
bottleneck of an extraction, and fetches the index again for every read.

- :func:`write_shard` writes a whole shard of chunks compressed beforehand, in any thread.
- :class:`GrowingShards` appends chunk by chunk. An incomplete shard is ``NAME.growing``, a shard
  without its index; once full, it only needs the index and its final name. The caller records the
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
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import google_crc32c
import numpy as np
from numcodecs import Blosc
from numcodecs.abc import Codec
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from skiptool.errors import FormatError
from skiptool.stores.remote import RemoteStore
from skiptool.stores.zarrs import codecs, folder_of

if TYPE_CHECKING:
    import zarr

    from skiptool.records import AnyArray
    from skiptool.stores.arrays import Rows

MISSING = 2**64 - 1
"""Offset and length of a chunk that is not in the shard."""

_ENTRY_BYTES = 16
_CHECKSUM_BYTES = 4

_REQUEST_BYTES = 2**25
"""Bytes of adjacent chunks fetched from a remote store in one request, at most."""

_BLOSC_HEADER = struct.Struct("<4xIII")
"""Header of Blosc: bytes of the values, of a block, and of the chunk with this header."""


def compress(array: AnyArray, codec: Codec | None = None) -> bytes:
    """Compress an array to a chunk, by default with :func:`skiptool.stores.zarrs.codecs`.

    Examples
    --------
    >>> len(compress(np.zeros((64, 64), np.uint8))) < 64 * 64
    True
    """
    codec = codec or _codec(codecs(array.itemsize))
    chunk: bytes = codec.encode(np.ascontiguousarray(array))
    return chunk + _checksum(chunk)


def write_shard(array: zarr.Array[Any], number: int, chunks: Sequence[bytes]) -> None:
    """Write a shard of an array that is chunked and sharded along its first axis only.

    Parameters
    ----------
    array : zarr.Array
        Created by :func:`skiptool.stores.zarrs.create_array`, in a local folder.
    number : int
        Position of the shard along the first axis.
    chunks : sequence of bytes
        From :func:`compress`, one per row; the last shard may have fewer than a full one.
    """
    file = _shard_file(array, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{uuid4().hex}.partial")  # removed when resuming
    try:
        with partial.open("wb") as stream:
            stream.writelines((*chunks, _index(map(len, chunks), _chunks_per_shard(array))))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


class GrowingShards:
    """Append chunks to an array that is chunked and sharded along its first axis only.

    Parameters
    ----------
    array : zarr.Array
        Created by :func:`skiptool.stores.zarrs.create_array`, in a local folder, with its final
        shape.
    sizes : sequence of int
        Bytes of the chunks committed by an interrupted run, in order.
    complete : bool
        Whether these are all chunks of the array.

    Raises
    ------
    ValueError
        If the files do not match ``sizes``.
    """

    def __init__(
        self, array: zarr.Array[Any], sizes: Sequence[int] = (), *, complete: bool = False
    ) -> None:
        self.array, self._capacity = array, _chunks_per_shard(array)
        full = len(sizes) // self._capacity
        if complete:
            full = -(-len(sizes) // self._capacity)
        self._number = next(
            (number for number in range(full) if not _shard_file(array, number).is_file()), full
        )
        self._sizes = [*sizes[self._number * self._capacity :]]
        # The last full shard may lack its index, which is added after its last chunk is recorded.
        too_short = bool(self._sizes) and _file_size(self._growing) < sum(self._sizes)
        if len(self._sizes) > self._capacity or too_short:
            raise ValueError(f"shard {_key(array, self._number)} is missing or too short")
        self._close(complete)

    def write(self, rows: AnyArray) -> int:
        """Write rows after the committed chunks; return the bytes of their chunk.

        Parameters
        ----------
        rows : shape (n, ...)
            Of the array's dtype; the last chunk may have fewer rows, and is padded with zeros.
        """
        padding = self.array.chunks[0] - len(rows)
        if padding:
            rows = np.pad(rows, [(0, padding), *[(0, 0)] * (rows.ndim - 1)])
        chunk = compress(rows, _codec_of(self.array))
        self._growing.parent.mkdir(parents=True, exist_ok=True)
        self._extend(chunk)
        return len(chunk)

    def commit(self, size: int, *, complete: bool) -> None:
        """Commit the chunk that was written, once its size is recorded."""
        self._sizes.append(size)
        self._close(complete)

    def read(self, number: int) -> AnyArray:
        """Read a committed chunk of the incomplete shard; a damaged one is a ValueError."""
        position = number - self._number * self._capacity
        offset, size = sum(self._sizes[:position]), self._sizes[position]
        values = np.empty(self.array.chunks, self.array.dtype)
        _decompress(_read_range(self._growing, offset, size), values)
        return values

    @property
    def _growing(self) -> Path:
        file = _shard_file(self.array, self._number)
        return file.with_name(f"{file.name}.growing")

    def _extend(self, data: bytes) -> None:
        with self._growing.open("ab") as stream:
            stream.truncate(sum(self._sizes))  # cut off uncommitted bytes
            stream.write(data)

    def _close(self, complete: bool) -> None:
        """Add the index to a full or last shard, and give it its final name."""
        if len(self._sizes) == self._capacity or (complete and self._sizes):
            self._extend(_index(self._sizes, self._capacity))
            self._growing.replace(_shard_file(self.array, self._number))
            self._number += 1
            self._sizes = []


class _Location(NamedTuple):
    """Shard of a chunk, and the offsets of its first byte and of the byte after its last."""

    shard: int
    offset: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardedRows:
    """Thread-safe reader of an array that is sharded along its first axis and has all chunks."""

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
        (size, *row), length = self.array.chunks, self.array.shape[0]
        start, stop, _ = rows.indices(length)
        values = np.empty((max(stop - start, 0), *row), self.array.dtype)
        numbers = range(start // size, -(-stop // size)) if stop > start else range(0)
        for number, chunk in zip(numbers, self._read_chunks(numbers), strict=True):
            first = number * size
            part = values[max(first - start, 0) : first + size - start]
            if len(part) == size:
                _decompress(chunk, part)
            else:  # part of a chunk, or a padded last one
                whole = np.empty(self.array.chunks, self.array.dtype)
                _decompress(chunk, whole)
                part[:] = whole[max(start - first, 0) :][: len(part)]
        return values

    def _read_chunks(self, numbers: range) -> Iterator[bytes]:
        """Yield compressed chunks; adjacent ones of a remote shard are read in one request."""
        most = _REQUEST_BYTES if isinstance(self.array.store, RemoteStore) else 0
        run: list[_Location] = []
        for number in numbers:
            location = self._locate(number)
            if run and not (
                location.shard == run[-1].shard
                and location.offset == run[-1].end
                and location.end - run[0].offset <= most
            ):
                yield from self._read_run(run)
                run = []
            run.append(location)
        if run:
            yield from self._read_run(run)

    def _read_run(self, run: Sequence[_Location]) -> Iterator[bytes]:
        """Yield adjacent chunks of a shard."""
        begin = run[0].offset
        content = self._read(run[0].shard, begin, run[-1].end - begin)
        for location in run:
            yield content[location.offset - begin : location.end - begin]

    def _locate(self, number: int) -> _Location:
        shard, position = divmod(number, _chunks_per_shard(self.array))
        if shard not in self._indices:
            self._indices[shard] = self._read_index(shard)
        offset, size = map(int, self._indices[shard][position])
        if offset == MISSING or size == MISSING:
            raise FormatError(
                f"chunk {position} of shard {_key(self.array, shard)} is missing; the store is "
                "damaged, make it again"
            )
        return _Location(shard, offset, offset + size)

    def _read_index(self, shard: int) -> AnyArray:
        size = _ENTRY_BYTES * _chunks_per_shard(self.array) + _CHECKSUM_BYTES
        content = self._read(shard, -size, size)
        index, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if checksum != _checksum(index) or len(content) != size:
            raise ValueError("the checksum of the shard's index is wrong")
        return np.frombuffer(index, "<u8").reshape(-1, 2)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        store, key = self.array.store, _key(self.array, shard)
        if isinstance(store, RemoteStore):
            return store.part(f"{self.array.path}/{key}", offset, size)
        return _read_range(folder_of(self.array) / key, offset, size)


def row_reader(array: zarr.Array[Any]) -> Rows:
    """Return a reader that detects lost chunks if the array was sharded here, else the array."""
    attributes: object = array.metadata.attributes
    ours = isinstance(attributes, dict) and attributes.get("every_chunk") is True
    return ShardedRows(array) if ours and _is_sharded_here(array) else array


def _is_sharded_here(array: zarr.Array[Any]) -> bool:
    """Return whether the codecs are those of shards written here, with any settings."""
    outer: Sequence[object] = getattr(array.metadata, "codecs", ())
    shards = outer[0] if len(outer) == 1 else None
    if not isinstance(shards, ShardingCodec) or _text(shards.index_location) != "end":
        return False
    inner, index = shards.codecs, shards.index_codecs
    endians = [_text(c.endian) for c in (*inner, *index) if isinstance(c, BytesCodec)]
    return (
        [*map(type, inner)] == [BytesCodec, BloscCodec, Crc32cCodec]
        and [*map(type, index)] == [BytesCodec, Crc32cCodec]
        and "big" not in endians
    )


def keep_shards(array: zarr.Array[Any], count: int) -> bool:
    """Remove the shards after the first ``count``; return whether all of these exist."""
    if not all(_shard_file(array, number).is_file() for number in range(count)):
        return False
    for folder in (folder_of(array) / "c").glob("*"):
        if folder.name.isdecimal() and int(folder.name) >= count:
            shutil.rmtree(folder)
    return True


def _chunks_per_shard(array: zarr.Array[Any]) -> int:
    assert array.shards is not None
    return array.shards[0] // array.chunks[0]


def _key(array: zarr.Array[Any], number: int) -> str:
    return array.metadata.encode_chunk_key((number, *[0] * (array.ndim - 1)))


def _shard_file(array: zarr.Array[Any], number: int) -> Path:
    return folder_of(array) / _key(array, number)


def _file_size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _index(sizes: Iterable[int], capacity: int) -> bytes:
    """Return the index of a shard with adjacent chunks."""
    entries, offset = [MISSING] * (2 * capacity), 0
    for position, size in enumerate(sizes):
        entries[2 * position : 2 * position + 2] = offset, size
        offset += size
    index = struct.pack(f"<{2 * capacity}Q", *entries)
    return index + _checksum(index)


def _read_range(file: Path, offset: int, size: int) -> bytes:
    """Read bytes of a file, or fewer if it is shorter; a negative offset counts from its end."""
    with file.open("rb", buffering=0) as stream:
        length = os.fstat(stream.fileno()).st_size
        stream.seek(max(offset + length, 0) if offset < 0 else offset)
        return stream.read(min(size, length))


def _decompress(chunk: bytes, into: AnyArray) -> None:
    """Decompress a chunk into a contiguous array; ValueError if damaged or of another size."""
    data = np.frombuffer(chunk, np.uint8)[:-_CHECKSUM_BYTES]
    if len(data) < _BLOSC_HEADER.size or chunk[-_CHECKSUM_BYTES:] != _checksum(data):
        raise ValueError("the checksum of a chunk is wrong")
    value_bytes, _, chunk_bytes = _BLOSC_HEADER.unpack_from(chunk)
    if value_bytes != into.nbytes or chunk_bytes != len(data):
        raise ValueError(f"a chunk holds {value_bytes:,} bytes, expected {into.nbytes:,}")
    try:
        Blosc().decode(data, into.reshape(-1).view(np.uint8))  # settings are in the chunk's header
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _codec_of(array: zarr.Array[Any]) -> Codec:
    """Return the compressor of the chunks of a sharded array."""
    metadata: Any = array.metadata
    return _codec(metadata.codecs[0].codecs)


def _codec(inner: Iterable[object]) -> Codec:
    settings = next(codec for codec in inner if isinstance(codec, BloscCodec))
    return _blosc(_text(settings.cname), settings.clevel, _SHUFFLES[_text(settings.shuffle)])


def _text(setting: object) -> str:
    """Return a setting of a codec as text; it is a member of an enumeration in older Zarrs."""
    return str(getattr(setting, "value", setting))


@cache
def _blosc(name: str, level: int, shuffle: int) -> Codec:
    return Blosc(name, level, shuffle)


_SHUFFLES = {
    "noshuffle": Blosc.NOSHUFFLE,
    "shuffle": Blosc.SHUFFLE,
    "bitshuffle": Blosc.BITSHUFFLE,
}


def _checksum(data: bytes | AnyArray) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))
