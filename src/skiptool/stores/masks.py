"""Predicted masks. Format ``masks``, version 1.

::

    masks.zarr/                     Zarr format 3
      zarr.json                     attributes: the header (see ``lineage``), ``classes``, ``seal``
      <number>/                     one group for each model, domain and shift, from 0
        zarr.json                   attributes: ``model``, ``model_id``, ``domain``, ``shift``,
                                    ``factor`` (null for original)
        labels      (N, H, W)       uint8, predicted label of every pixel
        samples/id  (N,)            string, ids of the dataset's samples

Inner chunk: one image, shards of 16, LZ4 and CRC-32C as in the dataset store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.addresses import OpenStore, path_or_url, redact
from skiptool.stores.arrays import read_rows
from skiptool.stores.lineage import Lineage, parse_lineage
from skiptool.stores.seals import check_store, seal_store
from skiptool.stores.shards import row_reader
from skiptool.stores.zarrs import (
    create_array,
    member_names,
    open_array,
    open_group,
    open_root,
    read_columns,
    write_columns,
)

if TYPE_CHECKING:
    from skiptool.records import UInt8

SHARD = 16


class MaskWriter:
    """Append predicted masks, in order, to an entry for each model, domain and shift."""

    def __init__(self, path: Path, header: Lineage, classes: Sequence[str]) -> None:
        self._path = path
        self._root = zarr.open_group(path, mode="w", zarr_format=3)
        self._root.update_attributes({**header.as_json(), "classes": list(classes)})
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._pending: dict[str, list[UInt8]] = {}
        self._written: dict[str, int] = {}

    def begin(self, facts: Mapping[str, Any], ids: Sequence[str], size: tuple[int, int]) -> str:
        """Create an entry and return its name.

        Parameters
        ----------
        facts : mapping
            ``model``, ``model_id``, ``domain``, ``shift``, ``factor``.
        ids : sequence of str
            Samples whose masks will be appended, N.
        size : (int, int)
            H and W.
        """
        name = str(len(self._arrays))
        group = self._root.create_group(name, attributes=dict(facts))
        write_columns(group, {"id": ids})
        shape, axes = (len(ids), *size), ("sample", "y", "x")
        self._arrays[name] = create_array(
            group, "labels", shape, "uint8", chunk=1, shard=SHARD, axes=axes
        )
        self._pending[name], self._written[name] = [], 0
        return name

    def append(self, name: str, labels: UInt8) -> None:
        """Append labels (n, H, W) to an entry; whole shards are written as they fill."""
        array, pending = self._arrays[name], self._pending[name]
        images, *size = array.shape
        remaining = images - self._written[name] - len(pending)
        if labels.dtype != np.uint8 or [*labels.shape[1:]] != size or len(labels) > remaining:
            raise ArgumentError(
                f"labels are {labels.shape} {labels.dtype}; expected uint8 of {size[0]} x "
                f"{size[1]} pixels and at most {remaining} images"
            )
        pending.extend(labels)
        is_last = len(labels) == remaining
        while len(pending) >= SHARD or (is_last and pending):
            block = pending[:SHARD]
            start = self._written[name]
            array[start : start + len(block)] = np.stack(block)
            self._written[name] += len(block)
            del pending[:SHARD]

    def finish(self) -> None:
        """Seal the store, which completes it."""
        seal_store(self._path)


@dataclass(frozen=True, slots=True)
class MaskEntries(OpenStore):
    """The entries of a store of predicted masks, whatever its header."""

    root: zarr.Group

    def names(self) -> list[str]:
        """Return the names of the entries in order of creation."""
        names = member_names(self.root, str(self.path))
        invalid = [name for name in names if not (name.isascii() and name.isdigit())]
        if invalid:
            raise FormatError(f"{self.path}: entry {invalid[0]!r} is not a number; predict again")
        return sorted(names, key=int)

    def entries(self) -> list[tuple[dict[str, Any], tuple[int, ...]]]:
        """Return the attributes and the shape (N, H, W) of each entry."""
        return [(dict(self._group(name).attrs), self._labels(name).shape) for name in self.names()]

    def read(self, name: str) -> UInt8:
        """Return the labels (N, H, W) of an entry."""
        return read_rows(row_reader(self._labels(name)), slice(None), f"{self.path}: entry {name}")

    def ids(self, name: str) -> list[str]:
        """Return the ids of the samples (N) of an entry."""
        where = f"{self.path}: entry {name}"
        return [str(sample) for sample in read_columns(self._group(name), where).get("id", ())]

    def read_one(self, name: str, index: int) -> UInt8:
        """Return the labels (H, W) of one sample of an entry."""
        return read_rows(
            row_reader(self._labels(name)), index, f"{self.path}: entry {name}, sample {index}"
        )

    def _group(self, name: str) -> zarr.Group:
        return open_group(self.root, name, str(self.path))

    def _labels(self, name: str) -> zarr.Array[Any]:
        return open_array(self._group(name), "labels", f"{self.path}: entry {name}", 3, ["uint8"])


@dataclass(frozen=True, slots=True)
class MaskStore(MaskEntries):
    """An open store of predicted masks."""

    lineage: Lineage


def open_masks(place: Path | str) -> MaskStore:
    """Open a store of predicted masks: a local folder or a URL."""
    where, place = redact(str(place)), path_or_url(place)
    root = open_root(place, "mask")
    header = parse_lineage(dict(root.attrs), where, Kind.MASKS)
    check_store(root, where)
    return MaskStore(place, root, header)
