"""Writing feature stores: whole chunks of images, appended in order, resumable (see ``journal``).

Parts are noted when they are whole in every layer. Ranges come in chunks of many more images: they
are kept back until a chunk of them is full, and found again from what is stored when a run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind, in_data_flow
from skiptool.stores.header import Making, lineage
from skiptool.stores.journal import Journal
from skiptool.stores.seal import seal_store
from skiptool.stores.shards import write_chunk
from skiptool.stores.zarrs import create_array, read_rows, sweep, write_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32

    Extremes = tuple[Float32, Float32]

__all__ = ["CHUNK", "FeatureWriter"]

CHUNK = 16
"""Images in one chunk of every layer: the unit of writing and of resuming."""

RANGES_CHUNK = CHUNK * CHUNK
"""Images in one chunk of the ranges."""


@dataclass(slots=True)
class _Layer:
    """Arrays of one layer; lows and highs (n, D) of the images whose ranges are kept back."""

    values: zarr.Array[Any]
    low: zarr.Array[Any]
    high: zarr.Array[Any]
    kept: list[Extremes] = field(default_factory=list)

    def recall(self, stop: int, where: str) -> None:
        """Find the ranges again that a run which wrote images up to ``stop`` kept back."""
        for start in range(stop // RANGES_CHUNK * RANGES_CHUNK, stop, CHUNK):
            stored = read_rows(self.values, slice(start, start + CHUNK), where)
            self.kept.append(_extremes(stored.astype(np.float32)))

    def release(self, stop: int) -> None:
        """Write the ranges that were kept back, of the images before ``stop``."""
        for array, parts in zip((self.low, self.high), zip(*self.kept, strict=True), strict=True):
            values = np.concatenate(parts)
            array[stop - len(values) : stop] = values
        self.kept.clear()


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
        Images that are safely in the store, whole chunks of them: where to go on.

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters.
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
        last: dict[str, Any] = {"written": 0, "layers": []}
        last |= self._journal.entries[-1] if self._journal.entries else {}
        # Only whole chunks are kept: the last one may be short and is cheap to make again.
        self.written = int(last["written"]) // CHUNK * CHUNK
        self._root = zarr.open_group(path, mode="a" if self.written else "w", zarr_format=3)
        if self.written:
            sweep(path)
            self._layers = {layer: self._reopen(layer) for layer in last["layers"]}
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
            self._layers = {
                layer: self._create(layer, blocks[layer]) for layer in in_data_flow(blocks)
            }
        for name, block in blocks.items():
            layer = self._layers[name]
            write_chunk(layer.values, rows.start // CHUNK, block.astype(self._dtype, copy=False))
            layer.kept.append(ranges[name])
            if rows.stop % RANGES_CHUNK == 0 or rows.stop == self._images:
                layer.release(rows.stop)
        self.written = rows.stop
        noted = {"arithmetic": dict(self._header.arithmetic)}
        self._journal.note({"written": self.written, "layers": list(self._layers), **noted})

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
        header = {**self._header.as_json(), **self._arithmetic()}
        attributes = {**header, **self._facts, "layers": list(self._layers)}
        self._root.update_attributes(attributes)
        seal_store(self._path)
        self._journal.remove()

    def _arithmetic(self) -> dict[str, Any]:
        """Return the arithmetic of all runs that wrote here: a list of values where one changed."""
        noted = [each.get("arithmetic", {}) for each in self._journal.entries]
        values: dict[str, list[Any]] = {}
        for name, value in (
            pair for found in (*noted, self._header.arithmetic) for pair in found.items()
        ):
            if value not in values.setdefault(name, []):
                values[name].append(value)
        joined = {name: each[0] if len(each) == 1 else each for name, each in values.items()}
        return {"arithmetic": joined} if joined else {}

    @property
    def _images(self) -> int:
        return len(self._columns["id"])

    def _check(self, blocks: Mapping[str, Float32]) -> slice:
        """Return the images that blocks are of."""
        left = min(CHUNK, self._images - self.written)
        found = {layer: block.shape for layer, block in blocks.items()}
        known = {layer: (left, *arrays.values.shape[1:]) for layer, arrays in self._layers.items()}
        fresh = all(len(shape) == 3 and shape[0] == left for shape in found.values())
        if not left or not found or (found != known if known else not fresh):
            raise ArgumentError(
                f"features {found}: expected (n, D, K) of {left} images"
                + (f", as before: {known}" if known else "")
            )
        return slice(self.written, self.written + left)

    def _create(self, layer: str, block: Float32) -> _Layer:
        shape = (self._images, *block.shape[1:])
        layers = self._root.require_group("layers")
        ranges = self._root.require_group(f"ranges/{layer}")
        axes = ("sample", f"{layer} channel", f"{layer} place")  # layers differ in both
        values = create_array(layers, layer, shape, self._dtype, chunk=CHUNK, axes=axes)
        low, high = (
            create_array(ranges, name, shape[:2], "float32", chunk=RANGES_CHUNK, axes=axes[:2])
            for name in ("low", "high")
        )
        return _Layer(values, low, high)

    def _reopen(self, layer: str) -> _Layer:
        names = f"layers/{layer}", f"ranges/{layer}/low", f"ranges/{layer}/high"
        values, low, high = (self._root.get(name) for name in names)
        if not (
            isinstance(values, zarr.Array)
            and isinstance(low, zarr.Array)
            and isinstance(high, zarr.Array)
        ):
            raise FormatError(
                f"{self._path}: layer {layer} is not what was noted of it; give --overwrite to "
                "start again"
            )
        found = _Layer(values, low, high)
        found.recall(self.written, f"{self._path}: layer {layer}")
        return found

    def _range(self, layer: str, block: Float32) -> Extremes:
        """Return the extremes of a block as it is stored, where all of it can be stored."""
        exact = _extremes(block)  # NaN passes through both, infinity is one of them
        if not np.isfinite(exact).all():
            raise FormatError(
                f"layer {layer}, image {self._name(exact)}: activation is not finite (NaN or "
                "inf), features are refused; check the model's weights and image"
            )
        # Rounding keeps the order of values: the rounded extremes are those of the rounded values.
        with np.errstate(over="ignore"):
            low, high = (values.astype(self._dtype).astype(np.float32) for values in exact)
        if not np.isfinite((low, high)).all():
            raise ArgumentError(
                f"layer {layer}, image {self._name((low, high))}: activation beyond what "
                f"{self._dtype} can hold ({np.finfo(self._dtype).max:g}); give --dtype float32"
            )
        return low, high

    def _name(self, extremes: Extremes) -> str:
        """Return the id of the first image whose extremes are not finite."""
        first = np.argwhere(~np.isfinite(extremes))[:, 1].min()
        return str(self._columns["id"][self.written + int(first)])


def _extremes(block: Float32) -> Extremes:
    """Return lowest and highest value of each image and channel, (n, D) of (n, D, K)."""
    return block.min(axis=2), block.max(axis=2)
