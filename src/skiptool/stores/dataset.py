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

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.names import IGNORE, Kind, Split
from skiptool.records import is_name
from skiptool.stores.addresses import last_part, located, public
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.remote import each
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
    from zarr.abc.store import Store

    from skiptool.records import AnyArray, Image, UInt8
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

    @property
    def sample_bytes(self) -> int:
        """Bytes of one image and its mask before compression."""
        form = next(dtype for dtype, channels in IMAGE_FORMS if channels == self.channels)
        return self.height * self.width * (self.channels * np.dtype(form).itemsize + 1)

    def select(self, split: str | None) -> list[int]:
        """Return the indices of the samples of one split, or of all with None."""
        found = self.columns["split"]
        return [index for index in range(len(self)) if split in (None, found[index])]


@dataclass(frozen=True, slots=True)
class DatasetStore:
    """An open dataset: its header, classes and domains (pixels are read on demand).

    Attributes
    ----------
    place : Path or str
        Local path, or a URL.
    lineage : Lineage
    classes : tuple of str
    domains : mapping of str to Domain
    copy : Path, optional
        Copy on this machine of domains behind a URL; their pixels are read from it.
    """

    place: Path | str
    lineage: Lineage
    classes: tuple[str, ...]
    domains: Mapping[str, Domain]
    copy: Path | None = None

    @property
    def path(self) -> Path | str:
        """What it is called: its local path, or its URL without credentials."""
        return self.place if isinstance(self.place, Path) else public(self.place)

    @property
    def name(self) -> str:
        """Last component of the place, for people."""
        return last_part(self.place)

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
        return StoredSamples(self.place, self.domain(domain).name, tuple(indices), self.copy)


@dataclass(slots=True)
class StoredSamples:
    """A :class:`~skiptool.records.SampleReader` over a store; picklable, opened when first read.

    Attributes
    ----------
    place : Path or str
        Local path, or a URL.
    domain : str
    indices : tuple of int
        Samples of the domain, in this order.
    copy : Path, optional
        As of :class:`DatasetStore`.
    """

    place: Path | str
    domain: str
    indices: tuple[int, ...]
    copy: Path | None = None
    _arrays: tuple[Store, Rows, Rows] | None = None
    _process: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getstate__(self) -> tuple[Path | str, str, tuple[int, ...], Path | None]:
        return self.place, self.domain, self.indices, self.copy

    def __setstate__(self, state: tuple[Path | str, str, tuple[int, ...], Path | None]) -> None:
        self.place, self.domain, self.indices, self.copy = state
        self._arrays, self._process = None, 0

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W) of one sample.

        Raises
        ------
        FormatError
            If its chunk is damaged.
        SourceError
            If a remote store cannot be reached.
        """
        image, mask = self.read_many([index])
        return image[0], mask[0]

    def read_many(self, positions: Sequence[int]) -> tuple[Image, UInt8]:
        """Return images (n, H, W, C) and masks (n, H, W) of several samples, n > 0.

        Raises
        ------
        FormatError, SourceError
            As :meth:`read`.
        """
        rows = [self.indices[position] for position in positions]
        store, images, masks = self._open()
        runs = _runs(rows)
        parts = [(array, run) for array in (images, masks) for run in runs]
        found = each(store, self._run, parts)
        return _joined(found[: len(runs)]), _joined(found[len(runs) :])

    def _run(self, part: tuple[Rows, range]) -> AnyArray:
        array, rows = part
        last = f"s {rows[0]} to {rows[-1]}" if len(rows) > 1 else f" {rows[0]}"
        where = f"{public(str(self.place))}: domain {self.domain}, sample{last}"
        return read_rows(array, slice(rows.start, rows.stop), where)

    def _open(self) -> tuple[Store, Rows, Rows]:
        # connections do not survive a fork
        if self._arrays is None or (isinstance(self.place, str) and self._process != os.getpid()):
            where = public(str(self.place))
            root = open_root(self.copy or self.place, "dataset")
            group = open_group(root, self.domain, where)
            images, masks = _open_pixels(group, f"{where}: domain {self.domain}")
            self._arrays = root.store, rows_of(images), rows_of(masks)
            self._process = os.getpid()
        return self._arrays


def _joined(parts: Sequence[AnyArray]) -> AnyArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _runs(rows: Sequence[int]) -> list[range]:
    """Divide rows, in their order, into runs of neighbours.

    Examples
    --------
    >>> _runs([4, 5, 6, 9, 2, 3])
    [range(4, 7), range(9, 10), range(2, 4)]
    """
    found: list[range] = []
    for row in rows:
        if found and row == found[-1].stop:
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found


def open_dataset(place: Path | str) -> DatasetStore:
    """Open a dataset store, a local folder or a URL, and check its layout.

    Raises
    ------
    FormatError
        If there is none, it is of another kind or version, something is missing from it, or its
        arrays disagree.
    SourceError, ArgumentError
        If a URL cannot be read.
    """
    where, place = public(str(place)), located(place)
    root = open_root(place, "dataset")
    attributes: dict[str, Any] = dict(root.attrs)
    lineage = parse_lineage(attributes, where, Kind.DATASET)
    classes = attributes.get("classes")
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if attributes.get("ignore_index") != IGNORE or not named or not classes:
        raise FormatError(
            f"{where}: attributes lack 'classes' (names) or 'ignore_index' {IGNORE}; make the "
            "dataset again"
        )
    names = member_names(root, where)
    if not names:
        remedy = "make the dataset again"
        if isinstance(place, str):
            remedy = "or its host lists none; make the dataset again, or copy it here first"
        raise FormatError(f"{where}: holds no domain; {remedy}")
    opened = each(root.store, lambda name: open_domain(where, root, name), names)
    check_store(root, where)
    return DatasetStore(place, lineage, tuple(classes), dict(zip(names, opened, strict=True)))


def open_domain(path: str, root: zarr.Group, name: str) -> Domain:
    """Open one domain and check its layout; raises as :func:`open_dataset`."""
    group, where = open_group(root, name, path), f"{path}: domain {name}"
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
