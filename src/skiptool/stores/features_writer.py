"""Writing feature stores: whole chunks of images, appended in order, resumable (see ``journal``).

A part is one chunk of every layer. It is noted in the journal, with the size of each of its
chunks, when all of them are written; then shards that are full get their index and their name (see
``shards``). A run that is interrupted between any two of these steps loses one chunk at most.

Ranges come in chunks of more images: they are kept in memory until a chunk of them is full, and
computed again from the stored values when a run is resumed. A chunk of them never reaches beyond a
shard of the layers, so that these values are all in the shard that still grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, ExistsError, FormatError
from skiptool.names import Kind, in_data_flow
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Making, lineage
from skiptool.stores.seals import seal_store
from skiptool.stores.shards import GrowingShards
from skiptool.stores.zarrs import create_array, sweep, write_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32

    Extremes = tuple[Float32, Float32]

__all__ = ["CHUNK", "FeatureWriter", "all_arithmetic", "chunks_per_shard", "stored_extremes"]

CHUNK = 16
"""Images in one chunk of every layer: the unit of writing and of resuming."""

RANGES_CHUNK = CHUNK * CHUNK
"""Images in one chunk of the ranges, or those of a shard of the layers if these are fewer."""

SHARD_BYTES = 2**27
"""Bytes, before compression, that a shard of the largest layer may hold."""

MOST_CHUNKS = 64
"""Chunks that a shard may hold."""

_RANGE = np.dtype(np.float32)


def chunks_per_shard(largest: int, chunks: int) -> int:
    """Return how many chunks each shard holds, the same number in every layer.

    Parameters
    ----------
    largest : int
        Bytes of one chunk of the largest layer, before compression.
    chunks : int
        Chunks in a whole layer.

    Returns
    -------
    int
        The largest power of two up to :data:`MOST_CHUNKS` with which a shard stays within
        :data:`SHARD_BYTES`, at least 1; or ``chunks`` if that is less.

    Examples
    --------
    >>> chunks_per_shard(2**20, 12_500), chunks_per_shard(3 * 2**20, 12_500)
    (64, 32)
    >>> chunks_per_shard(2**20, 19), chunks_per_shard(2**28, 19)
    (19, 1)
    """
    fitting = max(1, min(MOST_CHUNKS, SHARD_BYTES // largest))
    return min(1 << (fitting.bit_length() - 1), chunks)


@dataclass(slots=True)
class _Layer:
    """Arrays of one layer; lows and highs (n, D) of the images whose ranges are kept back."""

    values: GrowingShards
    low: GrowingShards
    high: GrowingShards
    kept: list[Extremes] = field(default_factory=list)

    @property
    def ranges_chunk(self) -> int:
        """Images in one chunk of the ranges."""
        return self.low.array.chunks[0]

    def recall(self, stop: int) -> None:
        """Compute the ranges again that a run which wrote images up to ``stop`` kept back.

        Raises
        ------
        ValueError
            If a chunk of them is damaged.
        """
        first = stop - stop % self.ranges_chunk
        for number in range(first // CHUNK, stop // CHUNK):
            self.kept.append(_extremes(self.values.read(number).astype(_RANGE)))

    def write(self, block: AnyArray, extremes: Extremes, *, release: bool) -> list[int]:
        """Write a block, and all ranges kept back if they are to be released.

        Returns
        -------
        list of int
            Bytes of the chunks of values, low and high; 0 where none was written.
        """
        size = self.values.write(block)
        if not release:
            return [size, 0, 0]
        low, high = map(np.concatenate, zip(*self.kept, extremes, strict=True))
        return [size, self.low.write(low), self.high.write(high)]

    def commit(self, sizes: Sequence[int], extremes: Extremes, *, whole: bool) -> None:
        """Take what was written last for a part of the store, once it is noted."""
        for array, size in zip((self.values, self.low, self.high), sizes, strict=True):
            if size:
                array.commit(size, whole=whole)
        self.kept = [] if sizes[1] else [*self.kept, extremes]


class FeatureWriter:
    """Append blocks of pooled activations to a growing feature store.

    Parameters
    ----------
    path : Path
        Folder in which the store grows (see ``staging``).
    making : Making
        How the step was called; a leftover begun with other parameters is refused.
    identity : JSON-able object
        All that determines the activations.
    facts : mapping
        The attributes :data:`skiptool.stores.features.FACTS`.
    columns : mapping
        The samples' columns, N values each.
    dtype : str
        ``float16`` or ``float32``.

    Attributes
    ----------
    written : int
        Images that are safely in the store: where to go on.

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters, or by a version without shards.
    FormatError
        If ``path`` holds a store that is not what its journal says.
    """

    def __init__(
        self,
        path: Path,
        making: Making,
        identity: object,
        facts: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any] | AnyArray],
        dtype: str = "float16",
    ) -> None:
        self._path = path
        self._header = lineage(Kind.FEATURES, making, identity)
        self._facts = dict(facts)
        self._columns = columns
        self._dtype = dtype
        self._layers: dict[str, _Layer] = {}
        self._journal = Journal(path, making)
        self._arithmetic: list[Mapping[str, Any]] = []
        parts, self._journal.entries = self._journal.entries, []
        self.written = parts[-1].get("written", 0) if parts else 0
        self._root = zarr.open_group(path, mode="a" if self.written else "w", zarr_format=3)
        if self.written:
            self._resume(parts)
        else:
            self._journal.begin()

    def append(self, blocks: Mapping[str, Float32]) -> None:
        """Add the activations of up to :data:`CHUNK` images.

        Parameters
        ----------
        blocks : mapping of layer name to float32 (n, D, K)
            n equal in all layers; every block but the last is a whole chunk.

        Raises
        ------
        FormatError
            If a value is not finite.
        ArgumentError
            If a value is beyond float16 where that is the dtype, or blocks are not as said above.
        """
        rows = self._check(blocks)
        ranges = {layer: self._range(layer, block) for layer, block in blocks.items()}
        if not self._layers:
            self._layers = self._create({layer: blocks[layer] for layer in in_data_flow(blocks)})
        whole = rows.stop == self._images
        sizes = {
            name: layer.write(
                blocks[name].astype(self._dtype, copy=False),
                ranges[name],
                release=whole or rows.stop % layer.ranges_chunk == 0,
            )
            for name, layer in self._layers.items()
        }
        noted = {"arithmetic": dict(self._header.arithmetic)}
        self._journal.note({"written": rows.stop, "sizes": sizes, **noted})
        for name, layer in self._layers.items():
            layer.commit(sizes[name], ranges[name], whole=whole)
        self.written = rows.stop

    def finish(self) -> None:
        """Write the samples' columns and the header: from here on the store is whole.

        Raises
        ------
        FormatError
            If images are missing.
        """
        if self.written < self._images or not self._layers:
            raise FormatError(
                f"{self._path}: {self.written} of {self._images} images are written; append the "
                "rest first"
            )
        write_columns(self._root, self._columns)
        arithmetic = all_arithmetic([*self._arithmetic, self._header.arithmetic])
        header = {**self._header.as_json(), **arithmetic}
        attributes = {**header, **self._facts, "layers": list(self._layers)}
        self._root.update_attributes(attributes)
        seal_store(self._path)
        self._journal.remove()

    @property
    def _images(self) -> int:
        return len(self._columns["id"])

    def _check(self, blocks: Mapping[str, Float32]) -> slice:
        """Return the images that blocks are of."""
        left = min(CHUNK, self._images - self.written)
        found = {layer: block.shape for layer, block in blocks.items()}
        known = {
            layer: (left, *arrays.values.array.shape[1:]) for layer, arrays in self._layers.items()
        }
        fresh = all(len(shape) == 3 and shape[0] == left for shape in found.values())
        if not left or not found or (found != known if known else not fresh):
            raise ArgumentError(
                f"features {found}: expected (n, D, K) of {left} images"
                + (f", as before: {known}" if known else "")
            )
        return slice(self.written, self.written + left)

    def _create(self, blocks: Mapping[str, Float32]) -> dict[str, _Layer]:
        """Create the arrays of all layers, in this order."""
        forms = {layer: block.shape[1:] for layer, block in blocks.items()}
        widest = max(channels for channels, _ in forms.values())
        largest = max(map(prod, forms.values())) * np.dtype(self._dtype).itemsize
        shard = CHUNK * chunks_per_shard(CHUNK * largest, -(-self._images // CHUNK))
        chunk = min(RANGES_CHUNK, shard)
        chunks = -(-self._images // chunk)
        ranges_shard = chunk * chunks_per_shard(chunk * widest * _RANGE.itemsize, chunks)
        layers, made = self._root.require_group("layers"), {}
        for layer, form in forms.items():
            shape = (self._images, *form)
            ranges = self._root.require_group(f"ranges/{layer}")
            axes = ("sample", f"{layer} channel", f"{layer} place")  # layers differ in both
            values = create_array(
                layers, layer, shape, self._dtype, chunk=CHUNK, shard=shard, axes=axes
            )
            of_ranges = (shape[:2], _RANGE.name)
            low, high = (
                create_array(
                    ranges, name, *of_ranges, chunk=chunk, shard=ranges_shard, axes=axes[:2]
                )
                for name in ("low", "high")
            )
            made[layer] = _Layer(GrowingShards(values), GrowingShards(low), GrowingShards(high))
        return made

    def _resume(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Go on behind the parts that are noted."""
        if not all("sizes" in part for part in parts):
            raise ExistsError(
                f"{self._path}: was begun by an earlier version of skiptool, which wrote a file "
                "for each chunk; resume it with that version, or give --overwrite to start again"
            )
        sweep(self._path)
        for part in parts:
            found = part.get("arithmetic", {})
            if found not in self._arithmetic:
                self._arithmetic.append(found)
        for layer in parts[-1]["sizes"]:
            self._layers[layer] = self._reopen(layer, [part["sizes"][layer] for part in parts])

    def _reopen(self, layer: str, sizes: Sequence[Sequence[int]]) -> _Layer:
        """Take over what is noted of a layer: bytes of values, low and high, part by part."""
        names = f"layers/{layer}", f"ranges/{layer}/low", f"ranges/{layer}/high"
        whole = self.written == self._images

        def grown(name: str, noted: Sequence[int]) -> GrowingShards:
            array = self._root.get(name)
            if not isinstance(array, zarr.Array):
                raise ValueError(f"{name} is missing")
            return GrowingShards(array, [*filter(None, noted)], whole=whole)

        try:
            values, low, high = map(grown, names, zip(*sizes, strict=True))
            found = _Layer(values, low, high)
            if not whole:
                found.recall(self.written)
        except ValueError as error:
            raise FormatError(
                f"{self._path}: layer {layer} is not what was noted of it ({error}); give "
                "--overwrite to start again"
            ) from error
        return found

    def _range(self, layer: str, block: Float32) -> Extremes:
        names = self._columns["id"][self.written : self.written + len(block)]
        return stored_extremes(layer, block, self._dtype, names)


def all_arithmetic(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the arithmetic of all runs that wrote a store: a list of values where one changed."""
    values: dict[str, list[Any]] = {}
    for name, value in (pair for found in runs for pair in found.items()):
        if value not in values.setdefault(name, []):
            values[name].append(value)
    joined = {name: each[0] if len(each) == 1 else each for name, each in values.items()}
    return {"arithmetic": joined} if joined else {}


def stored_extremes(
    layer: str, block: Float32, dtype: str, names: Sequence[Any] | AnyArray
) -> Extremes:
    """Return the extremes of activations as they are stored, where all of them can be.

    Parameters
    ----------
    layer : str
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
        If a value is beyond ``dtype``.
    """

    def first(extremes: Extremes) -> str:
        return str(names[int(np.argwhere(~np.isfinite(extremes))[:, 1].min())])

    exact = _extremes(block)  # NaN passes through both, infinity is one of them
    if not np.isfinite(exact).all():
        raise FormatError(
            f"layer {layer}, image {first(exact)}: activation is not finite (NaN or inf), features "
            "are refused; check the model's weights and image"
        )
    # Rounding keeps the order of values: the rounded extremes are those of the rounded values.
    with np.errstate(over="ignore"):
        low, high = (values.astype(dtype).astype(_RANGE) for values in exact)
    if not np.isfinite((low, high)).all():
        raise ArgumentError(
            f"layer {layer}, image {first((low, high))}: activation beyond what {dtype} can hold "
            f"({np.finfo(dtype).max:g}); give --dtype float32"
        )
    return low, high


def _extremes(block: Float32) -> Extremes:
    """Return lowest and highest value of each image and channel, (n, D) of (n, D, K)."""
    return block.min(axis=2), block.max(axis=2)
