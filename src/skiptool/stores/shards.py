"""Chunks and shards written whole: what is in them was compressed before, in any thread.

A file is what zarr-python makes of the same values, to the byte. A shard is its chunks one after
the other, then for each its offset and length (two uint64, all bits set where there is none) and a
CRC-32C of that index. zarr-python itself takes every chunk through its one event loop, which would
be the narrow place of an extraction.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import google_crc32c
import numpy as np
from numcodecs import Blosc
from numcodecs.abc import Codec
from zarr.codecs import BloscCodec, BloscShuffle

from skiptool.stores.chunks import folder_of
from skiptool.stores.zarrs import codecs

if TYPE_CHECKING:
    import zarr

    from skiptool.records import AnyArray

__all__ = ["compress", "keep_shards", "write_chunk", "write_shard"]

NONE = 2**64 - 1
"""Offset and length of a chunk that a shard does not hold."""


def compress(array: AnyArray) -> bytes:
    """Return the chunk that an array becomes; safe in every thread.

    Examples
    --------
    >>> len(compress(np.zeros((64, 64), np.uint8))) < 64 * 64
    True
    """
    chunk: bytes = _codec(array.itemsize).encode(np.ascontiguousarray(array))
    return chunk + _checksum(chunk)


def write_shard(array: zarr.Array[Any], number: int, chunks: Sequence[bytes]) -> None:
    """Write one shard of an array that is chunked and sharded along its first axis only.

    Parameters
    ----------
    array : zarr.Array
        Made by :func:`skiptool.stores.zarrs.create_array`, in a local folder.
    number : int
        Place of the shard along the first axis.
    chunks : sequence of bytes
        As :func:`compress` returns them, one a row; fewer than a shard holds in the last one.
    """
    assert array.shards is not None
    room = array.shards[0] // array.chunks[0]
    index, start = [NONE] * (2 * room), 0
    for place, chunk in enumerate(chunks):
        index[2 * place : 2 * place + 2] = start, len(chunk)
        start += len(chunk)
    table = struct.pack(f"<{2 * room}Q", *index)
    _write(_file(array, number), (*chunks, table, _checksum(table)))


def write_chunk(array: zarr.Array[Any], number: int, rows: AnyArray) -> None:
    """Write one chunk of an array that is chunked along its first axis only and not sharded.

    Parameters
    ----------
    array : zarr.Array
        Made by :func:`skiptool.stores.zarrs.create_array`, in a local folder.
    number : int
        Place of the chunk along the first axis.
    rows : shape (n, ...)
        Of the array's dtype; n is less than a chunk holds in the last one only, which is filled up
        with zeros.
    """
    missing = array.chunks[0] - len(rows)
    whole = np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)]) if missing else rows
    _write(_file(array, number), (compress(whole),))


def keep_shards(array: zarr.Array[Any], count: int) -> bool:
    """Remove the shards behind the first ``count``; say whether these are all there."""
    files = [_file(array, number) for number in range(count)]
    if not all(file.is_file() for file in files):
        return False
    for folder in (folder_of(array) / "c").glob("*"):
        if folder.name.isdecimal() and int(folder.name) >= count:
            shutil.rmtree(folder)
    return True


def _file(array: zarr.Array[Any], number: int) -> Path:
    return folder_of(array) / array.metadata.encode_chunk_key((number, *[0] * (array.ndim - 1)))


def _write(file: Path, parts: Sequence[bytes]) -> None:
    """Write a file under another name, which is swept if it is left behind, and rename it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    growing = file.with_name(f"{file.name}.{uuid4().hex}.partial")
    try:
        with growing.open("wb") as stream:
            stream.writelines(parts)
        growing.replace(file)
    finally:
        growing.unlink(missing_ok=True)


@cache
def _codec(itemsize: int) -> Codec:
    settings = codecs(itemsize)[0]
    assert isinstance(settings, BloscCodec)
    shuffle = Blosc.NOSHUFFLE if settings.shuffle == BloscShuffle.noshuffle else Blosc.SHUFFLE
    return Blosc(settings.cname.value, settings.clevel, shuffle)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))
