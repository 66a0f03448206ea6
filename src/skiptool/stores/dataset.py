"""Dataset store: images, masks and where they come from. Format ``dataset``, version 1.

::

    data.zarr/                      Zarr format 3
      zarr.json                     attributes: the header (see ``header``), ``classes`` (names,
                                    index = label), ``ignore_index`` (255), ``contents``
                                    (what is in each domain, see ``contents``), ``seal``
      <domain>/                     one group a domain and nothing else at the root
        images    (N, H, W, 3) uint8, or (N, H, W, 1) float32 in [0, 1]
        masks     (N, H, W) uint8, labels; 255 = ignored
        samples/
          id      (N,) string       unique in its domain; equal id and subject in two domains:
                                    the same place
          subject (N,) string       unit of splits and statistics
          split   (N,) string       train, test
          fold    (N,) int64        validation fold, -1 for test
          digest  (N,) string       hash of the sample's image and mask (other writers may leave
                                    it out)
          ...     (N,)              columns of the source (cells, x, y, mpp, slice ...); ``draw``
                                    (int64, 0..E-1): training epoch e takes draw e modulo E

Inner chunk: one image. Shards of 16 images, each written once by one writer; chunks are
compressed with LZ4 and end in a CRC-32C. The id is the hash of the classes and, domain by domain,
of size, type and all columns under ``samples``, hence of the pixels, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.names import IGNORE, Kind, Split
from skiptool.records import is_name
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.seal import check_store
from skiptool.stores.shards import rows_of
from skiptool.stores.zarrs import (
    member_names,
    open_array,
    open_group,
    open_root,
    read_columns,
    read_rows,
)

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8
    from skiptool.stores.zarrs import Rows

    Arrays = tuple[zarr.Array[Any], zarr.Array[Any]]

__all__ = [
    "IDENTITY_COLUMNS",
    "IMAGE_FORMS",
    "DatasetStore",
    "Domain",
    "StoredSamples",
    "open_dataset",
    "open_domain",
]

IDENTITY_COLUMNS = ("id", "subject", "split", "fold", "digest")
"""Columns under ``samples/`` that every dataset has; other writers may leave out the last."""

IMAGE_FORMS = (("uint8", 3), ("float32", 1))
"""Data type and channels C that images may have."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain of an open store.

    Attributes
    ----------
    name : str
    height, width, channels : int
        Size of its images in pixels, and C.
    columns : mapping of str to array (N,)
        What stands under ``samples/``.
    """

    name: str
    height: int
    width: int
    channels: int
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["id"])

    def select(self, split: str | None) -> list[int]:
        """Return the indices of the samples of one split, or of all with None."""
        found = self.columns["split"]
        return [index for index in range(len(self)) if split in (None, found[index])]


@dataclass(frozen=True, slots=True)
class DatasetStore:
    """An open dataset: its header, classes and domains (pixels are read on demand)."""

    path: Path
    lineage: Lineage
    classes: tuple[str, ...]
    domains: Mapping[str, Domain]

    def domain(self, name: str) -> Domain:
        """Return one domain.

        Raises
        ------
        ArgumentError
            If there is none of that name.
        """
        if name not in self.domains:
            raise ArgumentError(
                f"{self.path}: has no domain {name!r}, it has {', '.join(self.domains)}"
                f"{near(name, self.domains)}"
            )
        return self.domains[name]

    def samples(self, domain: str, indices: Sequence[int]) -> StoredSamples:
        """Return a reader of the samples ``indices`` of a domain, in that order."""
        return StoredSamples(self.path, self.domain(domain).name, tuple(indices))


@dataclass(slots=True)
class StoredSamples:
    """A :class:`~skiptool.records.SampleReader` over a store; picklable, opened when first read."""

    path: Path
    domain: str
    indices: tuple[int, ...]
    _arrays: tuple[Rows, Rows] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getstate__(self) -> tuple[Path, str, tuple[int, ...]]:
        return self.path, self.domain, self.indices

    def __setstate__(self, state: tuple[Path, str, tuple[int, ...]]) -> None:
        self.path, self.domain, self.indices = state
        self._arrays = None

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W) of one sample.

        Raises
        ------
        FormatError
            If its chunk is damaged.
        """
        image, mask = self.read_many([index])
        return image[0], mask[0]

    def read_many(self, positions: Sequence[int]) -> tuple[Image, UInt8]:
        """Return images (n, H, W, C) and masks (n, H, W) of several samples, n > 0."""
        rows = [self.indices[position] for position in positions]
        images, masks = (self._rows(array, rows) for array in self._open())
        return images, masks

    def _rows(self, array: Rows, rows: list[int]) -> Any:  # noqa: ANN401 - either type
        if rows == list(range(rows[0], rows[0] + len(rows))):  # whole shards in one go
            where = f"{self.path}: domain {self.domain}, samples {rows[0]} to {rows[-1]}"
            return read_rows(array, slice(rows[0], rows[-1] + 1), where)
        where = f"{self.path}: domain {self.domain}, sample"
        return np.stack([read_rows(array, row, f"{where} {row}") for row in rows])

    def _open(self) -> tuple[Rows, Rows]:
        if self._arrays is None:
            group = open_group(open_root(self.path, "dataset"), self.domain, str(self.path))
            images, masks = _open_pixels(group, f"{self.path}: domain {self.domain}")
            self._arrays = rows_of(images), rows_of(masks)
        return self._arrays


def open_dataset(path: Path) -> DatasetStore:
    """Open a dataset store and check its layout.

    Raises
    ------
    FormatError
        If there is none at ``path``, it is of another kind or version, something is missing from
        it, or its arrays disagree.
    """
    root = open_root(path, "dataset")
    attributes: dict[str, Any] = dict(root.attrs)
    lineage = parse_lineage(attributes, str(path), Kind.DATASET)
    classes = attributes.get("classes")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if attributes.get("ignore_index") != IGNORE or not named or not classes:
        raise FormatError(
            f"{path}: attributes lack 'classes' (names) or 'ignore_index' {IGNORE}; make the "
            "dataset again"
        )
    domains = {
        name: open_domain(path, name, open_group(root, name, str(path)))
        for name in member_names(root)
    }
    if not domains:
        raise FormatError(f"{path}: holds no domain; make the dataset again")
    check_store(root, str(path))
    return DatasetStore(path, lineage, tuple(classes), domains)


def open_domain(path: Path, name: str, group: zarr.Group) -> Domain:
    """Open one domain and check its layout; raises as :func:`open_dataset`."""
    where = f"{path}: domain {name}"
    if not is_name(name):  # it becomes a part of files, and is shown
        raise FormatError(f"{where!r}: no writer here gives such a name; make the dataset again")
    images, _ = _open_pixels(group, where)
    columns = read_columns(group, where)
    missing = [column for column in IDENTITY_COLUMNS[:-1] if column not in columns]
    if missing:
        raise FormatError(f"{where}: has no column {', '.join(missing)}; make the dataset again")
    wrong = [name for name, values in columns.items() if len(values) != len(columns["id"])]
    if wrong or images.shape[0] != len(columns["id"]) or not images.shape[0]:
        raise FormatError(
            f"{where}: {images.shape[0]} images, {len(columns['id'])} ids"
            + "".join(f", {len(columns[name])} of column {name}" for name in wrong)
            + "; expected one of each for every sample, at least one; make the dataset again"
        )
    _check_columns(columns, where)
    return Domain(name, images.shape[1], images.shape[2], images.shape[3], columns)


def _open_pixels(group: zarr.Group, where: str) -> Arrays:
    images = open_array(group, "images", where, 4, [dtype for dtype, _ in IMAGE_FORMS])
    masks = open_array(group, "masks", where, 3, ["uint8"])
    if (str(images.dtype), images.shape[3]) not in IMAGE_FORMS or images.shape[:3] != masks.shape:
        raise FormatError(
            f"{where}: images are {images.shape} {images.dtype}, masks {masks.shape}; expected "
            "(N, H, W, 3) uint8 or (N, H, W, 1) float32, and (N, H, W); make the dataset again"
        )
    return images, masks


def _check_columns(columns: Mapping[str, Any], where: str) -> None:
    texts = [name for name in IDENTITY_COLUMNS if name != "fold" and name in columns]
    wrong = [name for name in texts if columns[name].dtype != object]
    if columns["fold"].dtype.kind != "i":
        wrong.append("fold")
    elif not wrong and not set(columns["split"]) <= set(Split):
        wrong.append("split")
    if wrong:
        raise FormatError(
            f"{where}: column {wrong[0]} holds something else than it should; make it again"
        )
