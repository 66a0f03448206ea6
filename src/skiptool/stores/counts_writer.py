"""Writing counts stores: blocks of activations in, rows of counts out, resumable (see ``journal``).

A part is one chunk of rows of every layer, noted when it is written (see ``features_writer``). Rows
of several images are summed as the images arrive. A resumed run counts the images of rows that were
not yet written again.
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

from skiptool.distances.counting import Binning, count
from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.names import Kind
from skiptool.stores.counts import IMAGES, ranges_id, read_bins
from skiptool.stores.features_writer import (
    CHUNK,
    all_arithmetic,
    chunks_per_shard,
    stored_extremes,
)
from skiptool.stores.journal import JOURNAL, Journal
from skiptool.stores.lineage import Making, check_same, lineage
from skiptool.stores.seals import seal_store
from skiptool.stores.shards import GrowingShards
from skiptool.stores.zarrs import create_array, sweep, write_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Int64

    Parts = tuple[AnyArray, AnyArray, AnyArray]
    """Counts (n, D, B), lows and highs (n, D) of some images or rows."""

__all__ = ["CountsWriter", "Rows", "begun_bins", "dealt", "tally_type"]

_ARRAYS: Final = ("counts/{}", "ranges/{}/low", "ranges/{}/high")

_STEPS: Final = (np.add, np.minimum, np.maximum)
"""What makes one row out of the counts, lows and highs of its images."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which images make up each row of counts.

    Attributes
    ----------
    first : int64, shape (N,)
        Where each row begins among the images, in the order in which they are counted.
    images : int
        How many images there are.
    together : int
        The most images that a row may hold.
    """

    first: Int64
    images: int
    together: int

    @property
    def held(self) -> Int64:
        """How many images each row holds, (N,)."""
        return np.diff(np.append(self.first, self.images))

    def whole(self, images: int) -> int:
        """Return how many rows are complete when so many images are counted."""
        return int(np.searchsorted(self.first + self.held, images, side="right"))

    def before(self, row: int) -> int:
        """Return how many images are in the rows before one."""
        return int(self.first[row]) if row < len(self.first) else self.images

    def columns(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Turn columns of images into columns of rows.

        ``id`` is that of the first image; of the others those stay that agree within every row.
        Where rows may hold several images, the column ``images`` is added.
        """
        if self.together == 1:
            return dict(columns)
        kept = {}
        for name, values in columns.items():
            array = np.asarray(values)
            of_rows = array[self.first]
            expected = np.repeat(of_rows, self.held)
            unknown = (expected != expected) & (array != array)  # NaN
            if name == "id" or bool(((expected == array) | unknown).all()):
                kept[name] = of_rows
        return {**kept, IMAGES: self.held}


def dealt(subjects: Sequence[object], images: int, together: int) -> tuple[Int64, Rows]:
    """Deal images to rows, in their order.

    Parameters
    ----------
    subjects : sequence
        Of each image, or empty. Where they repeat, a row is of one subject.
    images : int
    together : int
        The most images in a row.

    Returns
    -------
    order : int64, shape (images,)
        Images in the order of rows: subjects as they first come, each with its images in order.
    rows : Rows

    Examples
    --------
    >>> order, rows = dealt(["a", "b", "a", "a"], 4, 2)
    >>> order.tolist(), rows.first.tolist(), rows.held.tolist()
    ([0, 2, 3, 1], [0, 2, 3], [2, 1, 1])
    """
    names = [str(each) for each in subjects]
    repeated = all(names) and 0 < len(set(names)) < len(names)
    if together == 1 or not repeated:
        return np.arange(images), Rows(np.arange(0, images, together), images, together)
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    subject = np.array([known[name] for name in names])
    stops = np.cumsum(np.bincount(subject)).tolist()
    first = [
        np.arange(start, stop, together)
        for start, stop in zip([0, *stops[:-1]], stops, strict=True)
    ]
    return np.argsort(subject, kind="stable"), Rows(np.concatenate(first), images, together)


def tally_type(vectors: int, rows: Rows) -> np.dtype[Any]:
    """Return the data type that holds every count of rows, K vectors an image."""
    most = vectors * int(rows.held.max())
    return np.dtype(np.uint16 if most <= np.iinfo(np.uint16).max else np.uint32)


@dataclass(slots=True)
class _Layer:
    """Arrays of one layer, its bins, and what is counted and not written yet.

    ``kept`` are complete rows, ``partial`` is one of which images are still missing.
    """

    arrays: tuple[GrowingShards, GrowingShards, GrowingShards]
    binning: Binning
    kept: list[tuple[AnyArray, ...]] = field(default_factory=list)
    partial: tuple[AnyArray, ...] | None = None

    def add(self, parts: Parts, starts: Sequence[int], *, goes_on: bool, ends: bool) -> None:
        """Sum images to rows, which begin at ``starts``.

        Parameters
        ----------
        parts : counts, lows and highs
        starts : sequence of int
        goes_on : bool
            The first row continues the partial one.
        ends : bool
            The last row is complete.
        """
        rows = tuple(
            step.reduceat(part, starts, axis=0, dtype=part.dtype)
            for step, part in zip(_STEPS, parts, strict=True)
        )
        if goes_on and self.partial is not None:
            for step, own, before in zip(_STEPS, rows, self.partial, strict=True):
                step(own[:1], before, out=own[:1])
        self.partial = None if ends else tuple(part[-1:].copy() for part in rows)
        self.kept.append(rows if ends else tuple(part[:-1] for part in rows))

    def write(self, rows: int) -> list[int]:
        """Write the first rows that are kept; return the bytes of the chunk of each array."""
        joined = [np.concatenate(parts) for parts in zip(*self.kept, strict=True)]
        self.kept = [tuple(part[rows:] for part in joined)]
        return [array.write(part[:rows]) for array, part in zip(self.arrays, joined, strict=True)]

    def commit(self, sizes: Sequence[int], *, whole: bool) -> None:
        """Take what was written last for a part of the store, once it is noted."""
        for array, size in zip(self.arrays, sizes, strict=True):
            array.commit(size, whole=whole)


class CountsWriter:
    """Count blocks of activations into a growing counts store.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    making : Making
        How the step was called; a leftover begun with other parameters is refused.
    identity : JSON-able object
        All that determines the activations and their bins.
    facts : mapping
        Attributes of the store (see ``counts``), ``grid`` and ``dtype`` among them.
    columns : mapping
        Columns of the images in the order in which they come, ``id`` among them.
    rows : Rows
    bins : mapping of str to Binning
        Bins of the layers, in data flow.

    Attributes
    ----------
    written : int
        Images before this one are in rows that are safely in the store: where to go on.

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters or bins.
    FormatError
        If ``path`` holds a store that is not what its journal says.
    """

    def __init__(
        self,
        path: Path,
        making: Making,
        identity: object,
        facts: Mapping[str, Any],
        columns: Mapping[str, Any],
        rows: Rows,
        bins: Mapping[str, Binning],
    ) -> None:
        self._path, self._rows, self._columns = path, rows, columns
        self._header = lineage(Kind.COUNTS, making, identity)
        self._vectors = prod(facts["grid"])
        self._facts = {**facts, "vectors": self._vectors, "ranges_id": ranges_id(bins)}
        self._dtype = tally_type(self._vectors, rows)
        self._chunk = max(1, CHUNK // rows.together)
        self._journal = Journal(path, making)
        parts, self._journal.entries = self._journal.entries, []
        self._arithmetic = [part.get("arithmetic", {}) for part in parts]
        self._done = int(parts[-1].get("rows", 0)) if parts else 0
        self._root = zarr.open_group(path, mode="a" if self._journal.begun else "w", zarr_format=3)
        if self._journal.begun:
            sweep(path)
            self._layers = self._reopened(bins, parts)
        else:
            self._layers = self._created(bins)
            self._journal.begin()
        self._counted_before = rows.before(self._done)
        # Blocks are the same in every run, so that an image is computed with the same others. The
        # first may therefore hold images of rows that are written already: they are skipped.
        whole = self._counted_before == rows.images
        self.written = rows.images if whole else self._counted_before // CHUNK * CHUNK

    def append(self, blocks: Mapping[str, Float32]) -> None:
        """Count the activations of up to :data:`CHUNK` images.

        Parameters
        ----------
        blocks : mapping of layer name to float32 (n, D, K)
            n equal in all layers; every block but the last is a whole one.

        Raises
        ------
        FormatError
            If a value is not finite.
        ArgumentError
            If a value is beyond the data type, or blocks are not as said above.
        """
        images = self._check(blocks)
        fresh = slice(max(images.start, self._counted_before), images.stop)
        if fresh.start < fresh.stop:
            inside = self._rows.first[
                np.searchsorted(self._rows.first, fresh.start) : np.searchsorted(
                    self._rows.first, fresh.stop
                )
            ]
            starts = (inside - fresh.start).tolist()
            goes_on = 0 not in starts
            ends = self._rows.before(self._rows.whole(fresh.stop)) == fresh.stop
            for name, layer in self._layers.items():
                block = blocks[name][fresh.start - images.start :]
                parts = self._counted(name, block, layer.binning, self._columns["id"][fresh])
                layer.add(parts, [0, *starts] if goes_on else starts, goes_on=goes_on, ends=ends)
        self.written = images.stop
        self._write(self._rows.whole(images.stop))

    def finish(self) -> None:
        """Write the columns of the rows and the header: from here on the store is whole.

        Raises
        ------
        FormatError
            If images are missing.
        """
        if self._done < len(self._rows.first):
            raise FormatError(
                f"{self._path}: {self.written} of {self._rows.images} images are counted; append "
                "the rest first"
            )
        write_columns(self._root, self._rows.columns(self._columns))
        arithmetic = all_arithmetic([*self._arithmetic, self._header.arithmetic])
        header = {**self._header.as_json(), **arithmetic}
        self._root.update_attributes({**header, **self._facts, "layers": list(self._layers)})
        seal_store(self._path)
        self._journal.remove()

    def _check(self, blocks: Mapping[str, Float32]) -> slice:
        """Return the images that blocks are of."""
        left = min(CHUNK, self._rows.images - self.written)
        known = {
            name: (left, len(layer.binning.low), self._vectors)
            for name, layer in self._layers.items()
        }
        found = {name: block.shape for name, block in blocks.items()}
        if not left or found != known:
            raise ArgumentError(f"features {found}: expected {known}, as there are bins for")
        return slice(self.written, self.written + left)

    def _counted(self, name: str, block: Float32, binning: Binning, ids: AnyArray) -> Parts:
        dtype = str(self._facts["dtype"])
        low, high = stored_extremes(name, block, dtype, ids)
        counts = count(block.astype(dtype, copy=False), binning)
        return counts.astype(self._dtype, copy=False), low, high

    def _write(self, whole: int) -> None:
        """Write chunks of the rows that are whole, the last one when all of them are."""
        rows = len(self._rows.first)
        while self._done < whole and (whole - self._done >= self._chunk or whole == rows):
            stop = min(self._done + self._chunk, whole)
            sizes = {name: layer.write(stop - self._done) for name, layer in self._layers.items()}
            noted = {"arithmetic": dict(self._header.arithmetic)}
            self._journal.note({"rows": stop, "sizes": sizes, **noted})
            for name, layer in self._layers.items():
                layer.commit(sizes[name], whole=stop == rows)
            self._done = stop

    def _created(self, bins: Mapping[str, Binning]) -> dict[str, _Layer]:
        """Create the arrays of all layers, and write their bins."""
        rows, made = len(self._rows.first), {}
        widest = max(len(each.low) * each.bins for each in bins.values())
        room = chunks_per_shard(
            self._chunk * widest * self._dtype.itemsize, -(-rows // self._chunk)
        )
        for name, each in bins.items():
            channels = len(each.low)
            own = self._root.require_group(f"bins/{name}")
            for end, values in (("low", each.low), ("span", each.span)):
                create_array(
                    own, end, (channels,), "float64", chunk=channels, axes=[f"{name} channel"]
                )[:] = values
            axes = ("sample", f"{name} channel", "bin")
            shapes = ((rows, channels, each.bins), (rows, channels), (rows, channels))
            arrays = [
                create_array(
                    *(self._root, path.format(name), shape, dtype),
                    chunk=self._chunk,
                    shard=self._chunk * room,
                    axes=axes[: len(shape)],
                    counts=place == 0,
                )
                for place, (path, shape, dtype) in enumerate(
                    zip(_ARRAYS, shapes, (self._dtype.name, "float32", "float32"), strict=True)
                )
            ]
            counts, low, high = map(GrowingShards, arrays)
            made[name] = _Layer((counts, low, high), each)
        return made

    def _reopened(
        self, bins: Mapping[str, Binning], parts: Sequence[Mapping[str, Any]]
    ) -> dict[str, _Layer]:
        """Take over what is noted of the layers: bytes of counts, low and high, part by part."""
        number = next(iter(bins.values())).bins
        if ranges_id(read_bins(self._root, tuple(bins), number, str(self._path))) != ranges_id(
            bins
        ):
            raise ExistsError(
                f"{self._path}: was begun with other bins; give --overwrite to start again"
            )
        found, whole = {}, self._done == len(self._rows.first)
        for name, binning in bins.items():
            growing = []
            try:
                for place, path in enumerate(_ARRAYS):
                    array = self._root.get(path.format(name))
                    if not isinstance(array, zarr.Array):
                        raise ValueError(f"{path.format(name)} is missing")
                    sizes = [part["sizes"][name][place] for part in parts]
                    growing.append(GrowingShards(array, sizes, whole=whole))
            except (ValueError, LookupError) as error:
                raise FormatError(
                    f"{self._path}: layer {name} is not what was noted of it ({error}); give "
                    "--overwrite to start again"
                ) from error
            found[name] = _Layer((growing[0], growing[1], growing[2]), binning)
        return found


def begun_bins(path: Path, making: Making, layers: Sequence[str]) -> dict[str, Binning] | None:
    """Return the bins of a store that an interrupted run has begun.

    Parameters
    ----------
    path : Path
        Folder in which the store grows.
    making : Making
    layers : sequence of str

    Returns
    -------
    dict of str to Binning, or None
        None where there is no such leftover.

    Raises
    ------
    ExistsError
        If it was begun with other parameters.
    FormatError
        If the bins are missing or damaged.
    """
    try:
        begun: object = json.loads((path / JOURNAL).read_bytes().partition(b"\n")[0])
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(begun, dict):
        return None
    check_same(begun, making, str(path))
    root = zarr.open_group(path, mode="r", zarr_format=3)
    return read_bins(root, layers, int(making.parameters["bins"]), str(path))
