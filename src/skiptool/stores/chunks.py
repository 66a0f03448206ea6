"""Whether members of a store, and all chunks of an array, are there.

Zarr takes a chunk that is not there for its fill value and an empty shard for zeros. Arrays that
are made here say ``"every_chunk": true`` in their attributes: all of their chunks are written, so
one that is absent or empty means damage. On a local disk the file of every chunk or shard is looked
for once, a ``stat`` each; a remote store is told to miss it when it is read (see ``remote``). A
chunk that the index of its shard does not list is missed when it is read (see ``shards``).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from skiptool.errors import FormatError
from skiptool.stores.remote import RemoteStore

__all__ = ["check_chunks", "folder_of", "is_lost", "refuse_pipe"]


def check_chunks(array: zarr.Array[Any], where: str) -> None:
    """Look for the file of every chunk, or of every shard, where all of them were written.

    Raises
    ------
    FormatError
        If one is missing or empty on a local disk, or chunks are no whole rows.
    """
    attributes: object = array.metadata.attributes
    if not isinstance(attributes, dict) or attributes.get("every_chunk") is not True:
        return
    step, *rest = array.shards or array.chunks
    if step < 1 or rest != [max(1, size) for size in array.shape[1:]]:
        raise FormatError(f"{where}: chunks are no whole rows; make it again")
    if isinstance(array.store, RemoteStore):
        array.store.whole.add(array.path)
        return
    folder = folder_of(array)
    for number in range(-(-array.shape[0] // step)):
        key = array.metadata.encode_chunk_key((number, *[0] * len(rest)))
        if not _is_filled(f"{folder}/{key}"):
            raise FormatError(
                f"{where}: chunk {key} is missing; the store is damaged, make it again"
            )


def folder_of(node: zarr.Group | zarr.Array[Any]) -> Path:
    """Return the folder of a group or array in a local store.

    Raises
    ------
    FormatError
        If the store is no local one.
    """
    store = node.store
    if not isinstance(store, LocalStore):
        raise FormatError(f"{store}: not on a local disk, where alone such stores can be read")
    return store.root / node.path


def is_lost(group: zarr.Group, name: str, error: Exception) -> bool:
    """Say whether a member is not there, given what Zarr raised when it was opened.

    Zarr has a ``KeyError`` for other damage too; only on a local disk a look is cheap.
    """
    if isinstance(group.store, LocalStore):
        return not (folder_of(group) / name / "zarr.json").is_file()
    return isinstance(error, KeyError)


def refuse_pipe(file: Path, where: str) -> None:
    """Refuse what is there and no file: opening a pipe waits for somebody who writes to it.

    Raises
    ------
    FormatError
        As said.
    """
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise FormatError(f"{where}: {file} is no file; the store is damaged, make it again")


def _is_filled(file: str) -> bool:
    try:
        found = os.stat(file)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0
