"""What all Zarr stores of skiptool share: opening, codecs, columns of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsArrayError, NodeNotFoundError

from skiptool.errors import FormatError

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["codecs", "create_array", "open_root", "read_columns", "write_columns"]


def open_root(path: Path, what: str) -> zarr.Group:
    """Open a local Zarr store for reading.

    Raises
    ------
    FormatError
        If there is no such folder or no readable Zarr group in it.
    """
    if not path.exists():
        raise FormatError(f"{path}: no such {what} store; check the path")
    try:
        return zarr.open_group(path, mode="r", zarr_format=3)
    except (NodeNotFoundError, ContainsArrayError, FileNotFoundError, NotADirectoryError):
        raise FormatError(f"{path}: no Zarr group (format 3), expected a {what} store") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: metadata cannot be read ({error})") from error


def codecs(itemsize: int) -> list[BloscCodec | Crc32cCodec]:
    """LZ4 with byte shuffle, closed by a CRC-32C so that bit rot is found on reading."""
    shuffle: Literal["shuffle", "noshuffle"] = "shuffle" if itemsize > 1 else "noshuffle"
    return [BloscCodec(cname="lz4", clevel=5, shuffle=shuffle), Crc32cCodec()]


def create_array(
    group: zarr.Group,
    name: str,
    shape: Sequence[int],
    dtype: str,
    *,
    chunk: int,
    shard: int | None = None,
) -> zarr.Array[Any]:
    """Create an array chunked (and sharded) along its first axis only.

    Empty chunks are written too: a missing file then always means damage, never zeros.
    """
    rest = tuple(shape[1:])
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=(chunk, *rest),
        shards=None if shard is None else (shard, *rest),
        compressors=codecs(np.dtype(dtype).itemsize),
        fill_value=0,
        config={"write_empty_chunks": True},
    )


def write_columns(group: zarr.Group, columns: Mapping[str, Sequence[Any] | AnyArray]) -> None:
    """Write the ``samples/`` columns: text as variable-length strings, numbers as 64 bit."""
    samples = group.create_group("samples")
    for name, values in columns.items():
        array = np.asarray(values)
        if array.dtype.kind in "OUT":
            stored = samples.create_array(
                name, shape=array.shape, dtype=str, chunks=(max(1, len(array)),)
            )
            stored[:] = array.astype(object)
        else:
            wide = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
            stored = samples.create_array(
                name, shape=wide.shape, dtype=wide.dtype, chunks=(max(1, len(wide)),)
            )
            stored[:] = wide


def read_columns(group: zarr.Group, where: str) -> dict[str, AnyArray]:
    """Read the ``samples/`` columns; strings come back as Python strings.

    Raises
    ------
    KeyError
        If there is no group ``samples``.
    FormatError
        If a column is damaged.
    """
    samples = group["samples"]
    if not isinstance(samples, zarr.Group):
        raise FormatError(f"{where}: 'samples' must be a group")
    columns: dict[str, AnyArray] = {}
    for name, array in sorted(samples.arrays()):
        try:
            values = np.asarray(array[:])
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"{where}: column {name} cannot be read ({error})") from error
        columns[name] = values.astype(object) if values.dtype.kind in "TU" else values
    return columns
