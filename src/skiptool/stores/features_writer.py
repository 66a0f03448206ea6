"""Writing feature stores: whole chunks of images, appended in order, resumable.

While a store grows, ``done.json`` in it says how many images are whole in every layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.header import Making, check_same, lineage
from skiptool.stores.zarrs import create_array, write_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32

__all__ = ["CHUNK", "FeatureWriter"]

CHUNK = 16
"""Images in one chunk of every layer: the unit of writing and of resuming."""

DONE = "done.json"


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

    Raises
    ------
    ExistsError
        If ``path`` holds a store begun with other parameters.
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
        self._making = making
        self._header = lineage(Kind.FEATURES, making, identity)
        self._facts = dict(facts)
        self._columns = columns
        self._dtype = dtype
        self._layers: dict[str, zarr.Array[Any]] = {}
        self._ranges: dict[str, tuple[zarr.Array[Any], zarr.Array[Any]]] = {}
        self.written = self._resume() if (path / DONE).exists() else 0
        if self.written == 0:
            self._root = zarr.open_group(path, mode="w", zarr_format=3)
        else:
            self._root = zarr.open_group(path, mode="a", zarr_format=3)

    def append(self, blocks: Mapping[str, Float32]) -> None:
        """Add the activations of up to :data:`CHUNK` images.

        Parameters
        ----------
        blocks : mapping of layer name to float32 (n, D, K)
            n equal in all layers; every block but the last is a whole chunk.

        Raises
        ------
        FormatError
            If a value is not finite, or is beyond float16 where that is the dtype.
        """
        if not self._layers:
            self._begin(blocks)
        rows = slice(self.written, self.written + len(next(iter(blocks.values()))))
        for layer, block in blocks.items():
            stored = self._narrow(layer, block)
            self._layers[layer][rows] = stored
            low, high = self._ranges[layer]
            low[rows] = stored.min(axis=2).astype(np.float32)
            high[rows] = stored.max(axis=2).astype(np.float32)
        self.written = rows.stop
        done = {"written": self.written, **self._making.determinants}
        temporary = self._path / f".{DONE}"
        temporary.write_text(json.dumps(done))
        temporary.replace(self._path / DONE)

    def finish(self) -> None:
        """Write the samples' columns and the header: from here on the store is whole."""
        write_columns(self._root, self._columns)
        attributes = {**self._header.as_json(), **self._facts, "layers": list(self._layers)}
        self._root.attrs.update(attributes)
        (self._path / DONE).unlink()

    def _resume(self) -> int:
        found = json.loads((self._path / DONE).read_text())
        check_same(found, self._making, str(self._path))
        # Only whole chunks are kept: the last one may be short and is cheap to make again.
        return int(found["written"]) // CHUNK * CHUNK

    def _begin(self, blocks: Mapping[str, Float32]) -> None:
        images = len(self._columns["id"])
        for layer, block in blocks.items():
            channels, vectors = block.shape[1:]
            where = self._root.require_group("layers")
            spans = self._root.require_group(f"ranges/{layer}")
            if self.written:
                self._layers[layer] = _array(where, layer)
                self._ranges[layer] = (_array(spans, "low"), _array(spans, "high"))
                continue
            shape = (images, channels, vectors)
            self._layers[layer] = create_array(where, layer, shape, self._dtype, chunk=CHUNK)
            low, high = (
                create_array(spans, name, (images, channels), "float32", chunk=CHUNK * CHUNK)
                for name in ("low", "high")
            )
            self._ranges[layer] = (low, high)

    def _narrow(self, layer: str, block: Float32) -> AnyArray:
        if not np.isfinite(block).all():
            raise FormatError(
                f"layer {layer}, image {self._name(~np.isfinite(block))}: activation is not "
                "finite (NaN or inf), features are refused; check the model's weights and image"
            )
        with np.errstate(over="ignore"):
            stored = block.astype(self._dtype)
        if not np.isfinite(stored).all():
            raise ArgumentError(
                f"layer {layer}, image {self._name(~np.isfinite(stored))}: activation beyond "
                f"what {self._dtype} can hold ({np.finfo(self._dtype).max:g}); give "
                "--dtype float32"
            )
        return stored

    def _name(self, wrong: AnyArray) -> str:
        first = int(np.argwhere(wrong)[0, 0])
        return str(self._columns["id"][self.written + first])


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise FormatError(f"{group.path}/{name}: is no array; start again with --overwrite")
    return found
