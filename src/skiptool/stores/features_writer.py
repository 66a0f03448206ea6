"""Write feature stores: chunks of images, appended in order, resumable (see ``journal``).

A part is one chunk of every layer. Its sizes are recorded in the journal once all chunks are
written; then full shards get their index and final name (see ``shards``). An interruption between
any two of these steps loses at most one chunk. `ChunkedWriter` is shared with counts stores.

A chunk of ranges covers more images: ranges are kept in memory until their chunk is full, and
recomputed from the stored values when a run is resumed. Such a chunk never extends beyond a shard
of the layers, so that all of these values are in the shard that is still growing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import zarr

from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.names import Kind, in_data_flow
from skiptool.stores.features import extremes_of
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.seals import seal_store
from skiptool.stores.shards import GrowingShards
from skiptool.stores.zarrs import create_array, remove_partial_files, write_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32
    from skiptool.stores.features import Extremes

    Shape = tuple[int, ...]

CHUNK = 16
"""Images in a chunk of every layer: the unit of writing and of resuming."""

RANGES_CHUNK = CHUNK * CHUNK
"""Images in a chunk of the ranges, at most: no more than in a shard of the layers."""

SHARD_BYTES = 2**27
"""Size of a shard of the largest layer before compression, at most."""

MAX_CHUNKS = 64
"""Chunks in a shard, at most."""

_RANGE = np.dtype(np.float32)


def chunks_per_shard(largest: int, chunks: int) -> int:
    """Return the number of chunks in a shard, the same in every layer.

    Parameters
    ----------
    largest : int
        Bytes of one chunk of the largest layer, before compression.
    chunks : int
        Chunks of a complete layer.

    Returns
    -------
    int
        The largest power of two up to :data:`MAX_CHUNKS` with which a shard stays within
        :data:`SHARD_BYTES`, at least 1; or ``chunks`` if that is less.

    Examples
    --------
    >>> chunks_per_shard(2**20, 12_500), chunks_per_shard(3 * 2**20, 12_500)
    (64, 32)
    >>> chunks_per_shard(2**20, 19), chunks_per_shard(2**28, 19)
    (19, 1)
    """
    fitting = max(1, min(MAX_CHUNKS, SHARD_BYTES // largest))
    return min(1 << (fitting.bit_length() - 1), chunks)


@dataclass(slots=True)
class LayerArrays:
    """Growing arrays of one layer: values or counts, then low and high of their ranges."""

    arrays: tuple[GrowingShards, GrowingShards, GrowingShards]

    def commit(self, sizes: Sequence[int], *, complete: bool) -> None:
        """Commit the chunks written last, once their sizes (0: none) are recorded."""
        for array, size in zip(self.arrays, sizes, strict=True):
            if size:
                array.commit(size, complete=complete)


LayerT = TypeVar("LayerT", bound=LayerArrays)


class ChunkedWriter(Generic[LayerT]):
    """Base class of the writers of feature and counts stores: append blocks, resume, finish.

    A store begun with other parameters is refused, and so is one that does not match its journal.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    identity : JSON-able object
        Everything that determines the content.
    facts : mapping
        Attributes of the store.
    columns : mapping
        Columns of the images, including ``id``, in the order in which they are appended.
    length : int
        Rows of the complete store.

    Attributes
    ----------
    written : int
        Number of images that are safely in the store: where to continue.
    """

    kind: ClassVar[Kind]
    counter: ClassVar[str]  # key in the journal: rows written so far
    paths: ClassVar[tuple[str, str, str]]  # arrays of a layer
    written: int

    def __init__(
        self,
        path: Path,
        invocation: Invocation,
        identity: object,
        facts: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any] | AnyArray],
        length: int,
    ) -> None:
        self._path, self._facts, self._columns = path, dict(facts), columns
        self._length = length
        self._header = create_lineage(self.kind, invocation, identity)
        self._layers: dict[str, LayerT] = {}
        self._journal = Journal(path, invocation)
        parts, self._journal.entries = self._journal.entries, []
        self._arithmetic = [part.get("arithmetic", {}) for part in parts]
        self._done = int(parts[-1].get(self.counter, 0)) if parts else 0
        mode: Literal["a", "w"] = "a" if self._journal.begun else "w"
        self._root = zarr.open_group(path, mode=mode, zarr_format=3, use_consolidated=False)
        if self._journal.begun:
            remove_partial_files(path)
            self._resume(parts)
        else:
            self._begin()
            self._journal.begin()

    def finish(self) -> None:
        """Write the columns and the header, which completes the store."""
        if self._done < self._length or not self._layers:
            raise FormatError(
                f"{self._path}: {self.written} of {self._images} images are written; append the "
                "rest first"
            )
        write_columns(self._root, self._stored_columns())
        arithmetic = _all_arithmetic([*self._arithmetic, self._header.arithmetic])
        header = {**self._header.as_json(), **arithmetic}
        self._root.update_attributes({**header, **self._facts, "layers": list(self._layers)})
        seal_store(self._path)
        self._journal.remove()

    @property
    def _images(self) -> int:
        return len(self._columns["id"])

    def _begin(self) -> None:
        """Create what must exist before the journal."""

    def _resume(self, parts: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError

    def _stored_columns(self) -> Mapping[str, Any]:
        return self._columns

    def _shape(self, layer: LayerT) -> Shape:
        """Return (D, K) of the blocks of a layer."""
        raise NotImplementedError

    def _next(self, blocks: Mapping[str, Float32]) -> slice:
        """Check the shapes of blocks, and return their images."""
        images = min(CHUNK, self._images - self.written)
        shapes = {name: block.shape for name, block in blocks.items()}
        expected = {name: (images, *self._shape(layer)) for name, layer in self._layers.items()}
        valid = bool(shapes) and all(len(s) == 3 and s[0] == images for s in shapes.values())
        if not images or not (shapes == expected if expected else valid):
            raise ArgumentError(
                f"features {shapes}: expected (n, D, K) of {images} images"
                + (f", as before: {expected}" if expected else "")
            )
        return slice(self.written, self.written + images)

    def _record(self, stop: int, sizes: Mapping[str, list[int]]) -> None:
        """Record the rows up to ``stop`` in the journal, then commit their chunks."""
        arithmetic = dict(self._header.arithmetic)
        self._journal.note({self.counter: stop, "sizes": sizes, "arithmetic": arithmetic})
        for name, layer in self._layers.items():
            layer.commit(sizes[name], complete=stop == self._length)
        self._done = stop

    def _create(
        self,
        layer: str,
        shape: Shape,
        dtype: str,
        axis: str,
        *,
        chunk: int,
        shard: int,
        ranges_chunk: int,
        ranges_shard: int,
    ) -> tuple[GrowingShards, GrowingShards, GrowingShards]:
        """Create the arrays of a layer, whose last axis is called ``axis``."""
        axes = ("sample", f"{layer} channel", axis)  # axes of the same name have the same length
        counts = self.kind is Kind.COUNTS
        name, *ranges = (path.format(layer) for path in self.paths)
        values = create_array(
            self._root, name, shape, dtype, chunk=chunk, shard=shard, axes=axes, counts=counts
        )
        low, high = (
            create_array(
                self._root,
                name,
                shape[:2],
                _RANGE.name,
                chunk=ranges_chunk,
                shard=ranges_shard,
                axes=axes[:2],
            )
            for name in ranges
        )
        return GrowingShards(values), GrowingShards(low), GrowingShards(high)

    def _reopen(
        self, layer: str, parts: Sequence[Mapping[str, Any]]
    ) -> tuple[GrowingShards, GrowingShards, GrowingShards]:
        """Reopen the arrays of a layer with the chunks recorded in the journal."""
        arrays = []
        for index, path in enumerate(self.paths):
            array = self._root.get(path.format(layer))
            if not isinstance(array, zarr.Array):
                raise ValueError(f"{path.format(layer)} is missing")
            sizes = [*filter(None, (part["sizes"][layer][index] for part in parts))]
            arrays.append(GrowingShards(array, sizes, complete=self._done == self._length))
        return arrays[0], arrays[1], arrays[2]

    @contextmanager
    def _matching_journal(self, layer: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError) as error:
            raise FormatError(
                f"{self._path}: layer {layer} does not match the journal ({error}); give "
                "--overwrite to start again"
            ) from error


@dataclass(slots=True)
class _FeatureArrays(LayerArrays):
    """Arrays of one layer, and lows and highs (n, D) that are not written yet."""

    pending: list[Extremes] = field(default_factory=list)

    @property
    def ranges_chunk(self) -> int:
        """Images in one chunk of the ranges."""
        return self.arrays[1].array.chunks[0]

    def recompute_ranges(self, stop: int) -> None:
        """Recompute the pending ranges of a run that wrote the images up to ``stop``."""
        first = stop - stop % self.ranges_chunk
        for number in range(first // CHUNK, stop // CHUNK):
            self.pending.append(extremes_of(self.arrays[0].read(number).astype(_RANGE)))

    def write(self, block: AnyArray, extremes: Extremes, *, flush_ranges: bool) -> list[int]:
        """Write a block, and optionally all pending ranges.

        Returns
        -------
        list of int
            Bytes of the chunks of values, low and high; 0 for none.
        """
        values, *ranges = self.arrays
        self.pending.append(extremes)
        size = values.write(block)
        if not flush_ranges:
            return [size, 0, 0]
        pending, self.pending = self.pending, []
        joined = map(np.concatenate, zip(*pending, strict=True))
        return [size, *(array.write(part) for array, part in zip(ranges, joined, strict=True))]


class FeatureWriter(ChunkedWriter[_FeatureArrays]):
    """Append blocks of pooled activations to a growing feature store.

    See `ChunkedWriter`; ``facts`` are the attributes :data:`skiptool.stores.features.FACTS`, and
    ``dtype`` is ``float16`` or ``float32``.
    """

    kind = Kind.FEATURES
    counter = "written"
    paths = ("layers/{}", "ranges/{}/low", "ranges/{}/high")

    def __init__(
        self,
        path: Path,
        invocation: Invocation,
        identity: object,
        facts: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any] | AnyArray],
        dtype: str = "float16",
    ) -> None:
        self._dtype = dtype
        super().__init__(path, invocation, identity, facts, columns, len(columns["id"]))
        self.written = self._done

    def append(self, blocks: Mapping[str, Float32]) -> None:
        """Append the activations of up to :data:`CHUNK` images.

        Parameters
        ----------
        blocks : mapping of layer name to float32 (n, D, K)
            With the same n in all layers; every block but the last is a whole chunk. Values that
            are not finite, or overflow the data type, are refused.
        """
        images = self._next(blocks)
        ids = self._columns["id"][images]
        ranges = {
            layer: stored_extremes(layer, block, self._dtype, ids)
            for layer, block in blocks.items()
        }
        if not self._layers:
            self._create_layers({layer: blocks[layer] for layer in in_data_flow(blocks)})
        sizes = {
            name: layer.write(
                blocks[name].astype(self._dtype, copy=False),
                ranges[name],
                flush_ranges=images.stop == self._length or images.stop % layer.ranges_chunk == 0,
            )
            for name, layer in self._layers.items()
        }
        self._record(images.stop, sizes)
        self.written = images.stop

    def _shape(self, layer: _FeatureArrays) -> Shape:
        return layer.arrays[0].array.shape[1:]

    def _create_layers(self, blocks: Mapping[str, Float32]) -> None:
        """Create the arrays of all layers, in this order."""
        shapes = {layer: block.shape[1:] for layer, block in blocks.items()}
        widest = max(channels for channels, _ in shapes.values())
        largest = max(map(prod, shapes.values())) * np.dtype(self._dtype).itemsize
        shard = CHUNK * chunks_per_shard(CHUNK * largest, -(-self._images // CHUNK))
        chunk = min(RANGES_CHUNK, shard)
        chunks = -(-self._images // chunk)
        ranges_shard = chunk * chunks_per_shard(chunk * widest * _RANGE.itemsize, chunks)
        for layer, shape in shapes.items():
            arrays = self._create(
                layer,
                (self._images, *shape),
                self._dtype,
                f"{layer} position",
                chunk=CHUNK,
                shard=shard,
                ranges_chunk=chunk,
                ranges_shard=ranges_shard,
            )
            self._layers[layer] = _FeatureArrays(arrays)

    def _resume(self, parts: Sequence[Mapping[str, Any]]) -> None:
        if not all("sizes" in part for part in parts):
            raise ExistsError(
                f"{self._path}: was begun by an earlier version of skiptool, which wrote a file "
                "for each chunk; resume it with that version, or give --overwrite to start again"
            )
        for layer in parts[-1]["sizes"] if parts else ():
            with self._matching_journal(layer):
                self._layers[layer] = _FeatureArrays(self._reopen(layer, parts))
                if self._done < self._length:
                    self._layers[layer].recompute_ranges(self._done)


def _all_arithmetic(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the arithmetic of all runs that wrote a store; a changed value becomes a list."""
    values: dict[str, list[Any]] = {}
    for name, value in (pair for arithmetic in runs for pair in arithmetic.items()):
        if value not in values.setdefault(name, []):
            values[name].append(value)
    merged = {name: used[0] if len(used) == 1 else used for name, used in values.items()}
    return {"arithmetic": merged} if merged else {}


def stored_extremes(
    layer: str, block: Float32, dtype: str, names: Sequence[Any] | AnyArray
) -> Extremes:
    """Return lows and highs of activations as they are stored.

    Parameters
    ----------
    block : float32, shape (n, D, K)
    dtype : str
        ``float16`` or ``float32``.
    names : sequence, length n
        Ids of the images, for messages.

    Returns
    -------
    low, high : float32, shape (n, D)

    Raises
    ------
    FormatError
        If a value is not finite.
    ArgumentError
        If a value overflows ``dtype``.
    """

    def first_invalid(extremes: Extremes) -> str:
        return str(names[int(np.argwhere(~np.isfinite(extremes))[:, 1].min())])

    exact = extremes_of(block)  # NaN in both if a value is NaN, infinite in one if a value is
    if not np.isfinite(exact).all():
        raise FormatError(
            f"layer {layer}, image {first_invalid(exact)}: activation is not finite (NaN or inf), "
            "features are refused; check the model's weights and image"
        )
    # Rounding is monotonic: the rounded extremes are the extremes of the rounded values.
    with np.errstate(over="ignore"):
        low, high = (values.astype(dtype).astype(_RANGE) for values in exact)
    if not np.isfinite((low, high)).all():
        raise ArgumentError(
            f"layer {layer}, image {first_invalid((low, high))}: activation overflows {dtype} "
            f"(largest: {np.finfo(dtype).max:g}); give --dtype float32"
        )
    return low, high
