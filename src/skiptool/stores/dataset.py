"""Dataset store: images, masks and where they come from. Format ``dataset``, version 1.

::

    data.zarr/                      Zarr format 3
      zarr.json                     attributes: the header (see ``header``), ``classes`` (names,
                                    index = label), ``ignore_index`` (255)
      <domain>/                     one group a domain and nothing else at the root
        images    (N, H, W, 3) uint8, or (N, H, W, 1) float32 in [0, 1]
        masks     (N, H, W) uint8, labels; 255 = ignored
        samples/
          id      (N,) string       unique in its domain; equal ids in two domains: same place
          subject (N,) string       unit of splits and statistics
          split   (N,) string       train, test
          fold    (N,) int64        validation fold, -1 for test
          digest  (N,) string       hash of the sample's image and mask
          ...     (N,)              columns of the source (cells, x, y, mpp, slice ...)

Inner chunk: one image. Shards of 16 images, each written once by one writer; chunks are
compressed with LZ4 and end in a CRC-32C. The id is the hash of classes and of the ``samples``
columns above, hence of the pixels, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.names import IGNORE, Kind
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.zarrs import open_root, read_columns

if TYPE_CHECKING:
    from skiptool.records import Image, UInt8

__all__ = ["IDENTITY_COLUMNS", "DatasetStore", "Domain", "StoredSamples", "open_dataset"]

IDENTITY_COLUMNS = ("id", "subject", "split", "fold", "digest")
"""Columns under ``samples/`` that every dataset has and that its id is made of."""


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
    _arrays: tuple[zarr.Array[Any], zarr.Array[Any]] | None = None

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
        """Return images (n, H, W, C) and masks (n, H, W) of several samples."""
        images, masks = self._open()
        rows = [self.indices[position] for position in positions]
        try:
            if rows == list(range(rows[0], rows[0] + len(rows))):
                block = slice(rows[0], rows[0] + len(rows))
                return np.asarray(images[block]), np.asarray(masks[block])
            picked = [np.asarray(images[row]) for row in rows]
            return np.stack(picked), np.stack([np.asarray(masks[row]) for row in rows])
        except (ValueError, RuntimeError) as error:
            raise FormatError(
                f"{self.path}: domain {self.domain}, samples {rows[0]} to {rows[-1]} cannot be "
                f"read ({error}); the file is damaged, make the store again"
            ) from error

    def _open(self) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        if self._arrays is None:
            group = zarr.open_group(self.path, mode="r")
            images, masks = group[f"{self.domain}/images"], group[f"{self.domain}/masks"]
            if not isinstance(images, zarr.Array) or not isinstance(masks, zarr.Array):
                raise FormatError(f"{self.path}: domain {self.domain} holds no images and masks")
            self._arrays = images, masks
        return self._arrays


def open_dataset(path: Path) -> DatasetStore:
    """Open a dataset store and check its layout.

    Raises
    ------
    FormatError
        If there is none at ``path``, it is of another kind or version, or its arrays disagree.
    """
    root = open_root(path, "dataset")
    attributes = dict(root.attrs)
    lineage = parse_lineage(attributes, str(path), Kind.DATASET)
    names = attributes.get("classes")
    if attributes.get("ignore_index") != IGNORE or not isinstance(names, list):
        raise FormatError(f"{path}: attributes lack 'classes' or 'ignore_index' {IGNORE}")
    classes = tuple(str(name) for name in names)
    domains = {
        name: _open_domain(path, name, group) for name, group in sorted(dict(root.groups()).items())
    }
    if not domains:
        raise FormatError(f"{path}: holds no domain; make the dataset again")
    return DatasetStore(path, lineage, classes, domains)


def _open_domain(path: Path, name: str, group: zarr.Group) -> Domain:
    where = f"{path}: domain {name}"
    try:
        images, masks = group["images"], group["masks"]
        columns = read_columns(group, where)
    except KeyError as error:
        raise FormatError(f"{where}: has no {error}; make the dataset again") from error
    if not isinstance(images, zarr.Array) or not isinstance(masks, zarr.Array):
        raise FormatError(f"{where}: 'images' and 'masks' must be arrays")
    missing = [column for column in IDENTITY_COLUMNS if column not in columns]
    lengths = {images.shape[0], masks.shape[0], *map(len, columns.values())}
    if missing or len(lengths) != 1 or images.ndim != 4 or images.shape[:3] != masks.shape:
        raise FormatError(
            f"{where}: images {images.shape}, masks {masks.shape} and the samples' columns do not "
            f"fit together{' (no ' + ', '.join(missing) + ')' if missing else ''}; make it again"
        )
    return Domain(name, images.shape[1], images.shape[2], images.shape[3], columns)
