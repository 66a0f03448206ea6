"""Write counts stores: blocks of activations in, rows of counts out, resumable (see ``journal``).

A part is one chunk of rows of every layer (see ``features_writer``). The counts of images of one
row are added up as they arrive. A resumed run recounts the images of rows that were not written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr

from skiptool.distances.bins import Binning
from skiptool.distances.counting import count_activations
from skiptool.errors import ExistsError
from skiptool.names import Kind
from skiptool.stores.counts import IMAGES, ranges_id, read_bins
from skiptool.stores.features_writer import (
    CHUNK,
    ChunkedWriter,
    LayerArrays,
    chunks_per_shard,
    stored_extremes,
)
from skiptool.stores.journal import JOURNAL
from skiptool.stores.lineage import Invocation, check_same_run
from skiptool.stores.zarrs import create_array

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Int64

    Parts = tuple[AnyArray, AnyArray, AnyArray]
    """Counts (n, D, B), lows and highs (n, D) of images or rows."""

_REDUCTIONS: Final = (np.add, np.minimum, np.maximum)
"""Reduce counts, lows and highs from images to a row."""


@dataclass(frozen=True, slots=True, eq=False)
class RowAssignment:
    """Assignment of images to rows of counts.

    Attributes
    ----------
    first : int64, shape (N,)
        First image of each row, in the order in which images are counted.
    images : int
        Number of images.
    max_images : int
        Images in a row, at most.
    """

    first: Int64
    images: int
    max_images: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def sizes(self) -> Int64:
        """Number of images in each row, (N,)."""
        return np.diff(np.append(self.first, self.images))

    def complete_rows(self, images: int) -> int:
        """Return the number of rows that are complete after this many images."""
        return int(np.searchsorted(self.first + self.sizes, images, side="right"))

    def images_before(self, row: int) -> int:
        """Return the number of images in all rows before this one."""
        return int(self.first[row]) if row < len(self) else self.images

    def columns(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Turn columns of images into columns of rows.

        ``id`` is that of the first image; other columns are kept if they agree within every row. If
        rows may consist of several images, the column ``images`` is added.
        """
        if self.max_images == 1:
            return dict(columns)
        row_columns = {}
        for name, values in columns.items():
            array = np.asarray(values)
            row_values = array[self.first]
            expected = np.repeat(row_values, self.sizes)
            both_nan = (expected != expected) & (array != array)
            if name == "id" or bool(((expected == array) | both_nan).all()):
                row_columns[name] = row_values
        return {**row_columns, IMAGES: self.sizes}


def assign_rows(
    subjects: Sequence[object], images: int, max_images: int
) -> tuple[Int64, RowAssignment]:
    """Assign images to rows, in their order.

    Parameters
    ----------
    subjects : sequence
        Subject of each image, or empty. If subjects repeat, every row is of a single subject.
    max_images : int
        Images in a row, at most.

    Returns
    -------
    order : int64, shape (images,)
        Images in the order of rows: subjects by first appearance, each with its images in order.
    rows : RowAssignment

    Examples
    --------
    >>> order, rows = assign_rows(["a", "b", "a", "a"], 4, 2)
    >>> order.tolist(), rows.first.tolist(), rows.sizes.tolist()
    ([0, 2, 3, 1], [0, 2, 3], [2, 1, 1])
    """
    names = [str(subject) for subject in subjects]
    repeated = all(names) and 0 < len(set(names)) < len(names)
    if max_images == 1 or not repeated:
        first = np.arange(0, images, max_images)
        return np.arange(images), RowAssignment(first, images, max_images)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    subject = np.array([numbers[name] for name in names])
    stops = np.cumsum(np.bincount(subject)).tolist()
    starts = [0, *stops[:-1]]
    first = np.concatenate(
        [np.arange(start, stop, max_images) for start, stop in zip(starts, stops, strict=True)]
    )
    return np.argsort(subject, kind="stable"), RowAssignment(first, images, max_images)


def count_dtype(vectors: int, rows: RowAssignment) -> np.dtype[Any]:
    """Return the smallest data type for the counts of rows, given K vectors per image."""
    most = vectors * int(rows.sizes.max())
    return np.dtype(np.uint16 if most <= np.iinfo(np.uint16).max else np.uint32)


@dataclass(slots=True)
class _CountArrays(LayerArrays):
    """Arrays of one layer, its bins, complete rows to be written, and the incomplete last row."""

    binning: Binning
    complete: list[tuple[AnyArray, ...]] = field(default_factory=list)
    partial: tuple[AnyArray, ...] | None = None

    def add(self, parts: Parts, starts: Sequence[int], *, continues: bool, ends: bool) -> None:
        """Reduce images to rows, which begin at ``starts``.

        Parameters
        ----------
        continues : bool
            Whether the first row continues the partial one.
        ends : bool
            Whether the last row is complete.
        """
        rows = tuple(
            reduction.reduceat(part, starts, axis=0, dtype=part.dtype)
            for reduction, part in zip(_REDUCTIONS, parts, strict=True)
        )
        if continues and self.partial is not None:
            for reduction, part, partial in zip(_REDUCTIONS, rows, self.partial, strict=True):
                reduction(part[:1], partial, out=part[:1])
        self.partial = None if ends else tuple(part[-1:].copy() for part in rows)
        self.complete.append(rows if ends else tuple(part[:-1] for part in rows))

    def write(self, rows: int) -> list[int]:
        """Write the first complete rows; return the bytes of the chunk of each array."""
        joined = [np.concatenate(parts) for parts in zip(*self.complete, strict=True)]
        self.complete = [tuple(part[rows:] for part in joined)]
        return [array.write(part[:rows]) for array, part in zip(self.arrays, joined, strict=True)]


class CountsWriter(ChunkedWriter[_CountArrays]):
    """Count blocks of activations into a growing counts store.

    See `ChunkedWriter`; ``facts`` are attributes of the store (see ``counts``), including ``grid``
    and ``dtype``. ``written`` is the number of images to skip: all of them are in rows that are
    safely in the store. A store begun with other bins is refused.

    Parameters
    ----------
    bins : mapping of str to Binning
        Bins of the layers, in order of data flow.
    """

    kind = Kind.COUNTS
    counter = "rows"
    paths = ("counts/{}", "ranges/{}/low", "ranges/{}/high")

    def __init__(
        self,
        path: Path,
        invocation: Invocation,
        identity: object,
        facts: Mapping[str, Any],
        columns: Mapping[str, Any],
        rows: RowAssignment,
        bins: Mapping[str, Binning],
    ) -> None:
        self._rows, self._bins = rows, bins
        self._vectors = prod(facts["grid"])
        self._dtype = count_dtype(self._vectors, rows)
        self._chunk = max(1, CHUNK // rows.max_images)
        facts = {**facts, "vectors": self._vectors, "ranges_id": ranges_id(bins)}
        super().__init__(path, invocation, identity, facts, columns, len(rows))
        self._counted_before = rows.images_before(self._done)
        # Blocks are the same in every run, so that each image is always processed in the same
        # batch. The first block may therefore contain images of rows already written: skip them.
        complete = self._counted_before == rows.images
        self.written = rows.images if complete else self._counted_before // CHUNK * CHUNK

    def append(self, blocks: Mapping[str, Float32]) -> None:
        """Count the activations of up to :data:`CHUNK` images.

        Parameters
        ----------
        blocks : mapping of layer name to float32 (n, D, K)
            With the same n in all layers; every block but the last is a whole chunk. Values that
            are not finite, or overflow the data type, are refused.
        """
        images = self._next(blocks)
        uncounted = slice(max(images.start, self._counted_before), images.stop)
        if uncounted.start < uncounted.stop:
            first, last = np.searchsorted(self._rows.first, (uncounted.start, uncounted.stop))
            starts = (self._rows.first[first:last] - uncounted.start).tolist()
            continues = 0 not in starts
            starts = [0, *starts] if continues else starts
            complete = self._rows.complete_rows(uncounted.stop)
            ends = self._rows.images_before(complete) == uncounted.stop
            for name, layer in self._layers.items():
                block = blocks[name][uncounted.start - images.start :]
                parts = self._count(name, block, layer.binning, self._columns["id"][uncounted])
                layer.add(parts, starts, continues=continues, ends=ends)
        self.written = images.stop
        self._write(self._rows.complete_rows(images.stop))

    def _stored_columns(self) -> Mapping[str, Any]:
        return self._rows.columns(self._columns)

    def _shape(self, layer: _CountArrays) -> tuple[int, ...]:
        return len(layer.binning.low), self._vectors

    def _count(
        self, name: str, block: Float32, binning: Binning, ids: Sequence[Any] | AnyArray
    ) -> Parts:
        dtype = str(self._facts["dtype"])
        low, high = stored_extremes(name, block, dtype, ids)
        counts = count_activations(block.astype(dtype, copy=False), binning)
        return counts.astype(self._dtype, copy=False), low, high

    def _write(self, complete: int) -> None:
        """Write chunks of the complete rows, and a shorter last one once all rows are complete."""
        chunk = 1 if complete == self._length else self._chunk
        while complete - self._done >= chunk:
            stop = min(self._done + self._chunk, complete)
            sizes = {name: layer.write(stop - self._done) for name, layer in self._layers.items()}
            self._record(stop, sizes)

    def _begin(self) -> None:
        """Create the arrays of all layers, and write their bins."""
        widest = max(len(binning.low) * binning.bins for binning in self._bins.values())
        room = chunks_per_shard(
            self._chunk * widest * self._dtype.itemsize, -(-self._length // self._chunk)
        )
        for name, binning in self._bins.items():
            channels = len(binning.low)
            edges = self._root.require_group(f"bins/{name}")
            for end, values in (("low", binning.low), ("span", binning.span)):
                create_array(
                    edges, end, (channels,), "float64", chunk=channels, axes=[f"{name} channel"]
                )[:] = values
            arrays = self._create(
                name,
                (self._length, channels, binning.bins),
                self._dtype.name,
                "bin",
                chunk=self._chunk,
                shard=self._chunk * room,
                ranges_chunk=self._chunk,
                ranges_shard=self._chunk * room,
            )
            self._layers[name] = _CountArrays(arrays, binning)

    def _resume(self, parts: Sequence[Mapping[str, Any]]) -> None:
        number = next(iter(self._bins.values())).bins
        stored = read_bins(self._root, tuple(self._bins), number, str(self._path))
        if ranges_id(stored) != ranges_id(self._bins):
            raise ExistsError(
                f"{self._path}: was begun with other bins; give --overwrite to start again"
            )
        for name, binning in self._bins.items():
            with self._matching_journal(name):
                self._layers[name] = _CountArrays(self._reopen(name, parts), binning)


def resumed_bins(
    path: Path, invocation: Invocation, layers: Sequence[str]
) -> dict[str, Binning] | None:
    """Return the bins of the store that an interrupted run has begun in ``path``, if any.

    A store begun with other parameters, and missing or damaged bins, are refused.
    """
    try:
        determinants: object = json.loads((path / JOURNAL).read_bytes().partition(b"\n")[0])
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(determinants, dict):
        return None
    check_same_run(determinants, invocation, str(path))
    root = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
    return read_bins(root, layers, int(invocation.parameters["bins"]), str(path))
