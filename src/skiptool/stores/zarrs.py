"""What all Zarr stores of skiptool share: opening, codecs, reading, columns of samples.

Zarr takes a chunk that is not there for its fill value and an empty shard for zeros. Arrays that
are made here say ``"every_chunk": true`` in their attributes: all of their chunks are written, so
one that is absent or empty means damage. :func:`open_array` looks for all of them, once (a ``stat``
each). What is in them is checked by their CRC-32C on reading.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsArrayError, NodeNotFoundError
from zarr.storage import LocalStore

from skiptool.errors import FormatError

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = [
    "codecs",
    "create_array",
    "member_names",
    "open_array",
    "open_group",
    "open_root",
    "read_columns",
    "read_rows",
    "sweep",
    "write_columns",
]

# how the names of files end that Zarr was writing when its process was killed
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.partial$")


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
        root = zarr.open_group(path, mode="r", zarr_format=3)
    except (NodeNotFoundError, ContainsArrayError, FileNotFoundError, NotADirectoryError):
        raise FormatError(f"{path}: no Zarr group (format 3), expected a {what} store") from None
    except Exception as error:  # whatever Zarr's reader of JSON trips over
        raise FormatError(f"{path}: metadata cannot be read ({error}); make it again") from error
    if not isinstance(root.metadata.attributes, dict):
        raise FormatError(f"{path}: attributes are no JSON object; make it again")
    return root


def open_group(group: zarr.Group, name: str, where: str) -> zarr.Group:
    """Open a group inside a group.

    Raises
    ------
    FormatError
        If it is missing, no group, or its metadata is damaged.
    """
    found = _member(group, name, where)
    if not isinstance(found, zarr.Group):
        raise FormatError(f"{where}: {name!r} is an array, expected a group; make it again")
    return found


def open_array(
    group: zarr.Group, name: str, where: str, ndim: int, dtypes: Sequence[str] = ()
) -> zarr.Array[Any]:
    """Open an array inside a group and look for all of its chunks.

    Parameters
    ----------
    group : zarr.Group
    name, where : str
        The name may hold slashes; ``where`` (path of the store, domain) begins the messages.
    ndim, dtypes : int, sequence of str
        Number of axes that it must have, data types that it may have (any without).

    Raises
    ------
    FormatError
        If it is missing or not such an array, its metadata is damaged, or a chunk is missing.
    """
    found = _member(group, name, where)
    wanted = f"expected an array of {ndim} axes" + (f" of {' or '.join(dtypes)}" if dtypes else "")
    if not isinstance(found, zarr.Array):
        raise FormatError(f"{where}: {name!r} is a group, {wanted}; make it again")
    if found.ndim != ndim or (dtypes and str(found.dtype) not in dtypes):
        raise FormatError(
            f"{where}: {name!r} is {found.shape} {found.dtype}, {wanted}; make it again"
        )
    _check_chunks(found, f"{where}: {name!r}")
    return found


def read_rows(array: zarr.Array[Any], rows: slice | int, where: str) -> AnyArray:
    """Read rows of an array's first axis.

    Raises
    ------
    FormatError
        If a chunk of them is damaged.
    """
    try:
        return np.asarray(array[rows])
    except Exception as error:  # whatever the codecs trip over
        raise FormatError(
            f"{where}: cannot be read ({error}); the file is damaged, make it again"
        ) from error


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
    """Create an array chunked (and sharded) along its first axis only, in place of any of its name.

    Text (``str``) has variable length. Chunks of zeros are written too, so that a missing file
    never means zeros.
    """
    rest = tuple(shape[1:])
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=(chunk, *rest),
        shards=None if shard is None else (shard, *rest),
        compressors=codecs(np.dtype(dtype).itemsize),
        fill_value="" if dtype == "str" else 0,
        attributes={"every_chunk": True},
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def write_columns(group: zarr.Group, columns: Mapping[str, Sequence[Any] | AnyArray]) -> None:
    """Write the ``samples/`` columns anew: text as variable-length strings, numbers as 64 bit."""
    samples = group.create_group("samples", overwrite=True)
    for name, values in columns.items():
        array = np.asarray(values)
        dtype = "float64" if array.dtype.kind == "f" else "int64"
        if array.dtype.kind in "OUT":
            array, dtype = np.array([str(value) for value in values], dtype=object), "str"
        create_array(samples, name, array.shape, dtype, chunk=max(1, len(array)))[:] = array


def read_columns(group: zarr.Group, where: str) -> dict[str, AnyArray]:
    """Read the ``samples/`` columns; strings come back as Python strings.

    Raises
    ------
    FormatError
        If there are none, or one is damaged.
    """
    samples = open_group(group, "samples", where)
    columns: dict[str, AnyArray] = {}
    for name in member_names(samples):
        place = f"{where}: column {name}"
        values = read_rows(open_array(samples, name, where, ndim=1), slice(None), place)
        columns[name] = values.astype(object) if values.dtype.kind in "TU" else values
    return columns


def member_names(group: zarr.Group) -> list[str]:
    """Return the names of the folders in a group, sorted: its members, whole or damaged."""
    with os.scandir(_folder(group)) as found:
        return sorted(entry.name for entry in found if entry.is_dir())


def sweep(path: Path) -> None:
    """Remove what a killed process has left half written in a growing store."""
    for file in path.rglob("*.partial"):
        if _UNFINISHED.search(file.name) and file.is_file():
            file.unlink()


def _member(group: zarr.Group, name: str, where: str) -> zarr.Group | zarr.Array[Any]:
    try:
        return group[name]
    except Exception as error:  # whatever Zarr's reader of JSON trips over
        if not (_folder(group) / name / "zarr.json").is_file():
            raise FormatError(f"{where}: has no {name!r}; make it again") from None
        raise FormatError(
            f"{where}: metadata of {name!r} cannot be read ({error}); make it again"
        ) from error


def _check_chunks(array: zarr.Array[Any], where: str) -> None:
    """Look for the file of every chunk, or of every shard, where all of them were written."""
    attributes: object = array.metadata.attributes
    if not isinstance(attributes, dict) or attributes.get("every_chunk") is not True:
        return
    folder = _folder(array)
    step, *rest = array.shards or array.chunks
    if step < 1 or rest != [max(1, size) for size in array.shape[1:]]:
        raise FormatError(f"{where}: chunks are no whole rows; make it again")
    for number in range(-(-array.shape[0] // step)):
        key = array.metadata.encode_chunk_key((number, *[0] * len(rest)))
        if not _is_filled(f"{folder}/{key}"):
            raise FormatError(
                f"{where}: chunk {key} is missing; the store is damaged, make it again"
            )


def _is_filled(file: str) -> bool:
    try:
        found = os.stat(file)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _folder(node: zarr.Group | zarr.Array[Any]) -> Path:
    store = node.store
    if not isinstance(store, LocalStore):
        raise FormatError(f"{store}: not on a local disk, where alone stores can be read")
    return store.root / node.path
