"""Feature store: pooled activations of named layers. Format ``features``, version 1.

::

    feats.zarr/                     Zarr format 3
      zarr.json                     attributes: the header (see ``header``), ``model``, ``dataset``,
                                    ``domain``, ``split``, ``shift``, ``factor`` (null for
                                    original), ``patch_size`` [H, W], ``grid`` [rows, columns],
                                    ``pooling``, ``layers`` (names in order of data flow) and what
                                    is known of the model: ``arch``, ``encoder``, ``pruning``,
                                    ``fold``, ``parameter_count``
      layers/<name>   (N, D, K)     float16 (float32 on request); K = rows x columns
      ranges/<name>/
        low, high     (N, D)        float32, of the stored values, each image and channel
      samples/        ...           all columns of the dataset's samples

Chunks hold whole images, the same number in every layer (16 unless asked), compressed with LZ4
and closed by a CRC-32C. The id is a hash of weights, data, domain, split, shift, preprocessing,
layers, pooling and dtype: equal ids, equal activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.names import Kind
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.zarrs import open_root, read_columns

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["FACTS", "FeatureStore", "open_features"]

FACTS = (
    *("model", "arch", "encoder", "pruning", "fold", "parameter_count"),
    *("dataset", "domain", "split", "shift", "factor", "patch_size", "grid", "pooling"),
)
"""Attributes beside the header that say what the activations are of."""


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """An open feature store; activations are read in blocks of whole images."""

    path: Path
    lineage: Lineage
    facts: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, Any]
    root: zarr.Group

    def __len__(self) -> int:
        return len(self.columns["id"])

    def shape(self, layer: str) -> tuple[int, int, int]:
        """Return (N, D, K) of a layer."""
        images, channels, vectors = self._layer(layer).shape
        return images, channels, vectors

    def blocks(self, layer: str) -> Iterator[tuple[int, AnyArray]]:
        """Yield ``(start, features (n, D, K))`` chunk by chunk, in order.

        Raises
        ------
        FormatError
            If a chunk is missing or damaged.
        """
        array = self._layer(layer)
        step = array.chunks[0]
        for start in range(0, array.shape[0], step):
            yield start, _block(array, slice(start, start + step), f"{self.path}: layer {layer}")

    def ranges(self, layer: str) -> tuple[AnyArray, AnyArray]:
        """Return low and high, each float32 (N, D), of the stored values of a layer.

        Raises
        ------
        FormatError
            If they are missing or damaged.
        """
        where = f"{self.path}: range of layer {layer}"
        found = []
        for name in ("low", "high"):
            array = self.root.get(f"ranges/{layer}/{name}")
            if not isinstance(array, zarr.Array):
                raise FormatError(f"{where}: no array '{name}'; extract the features again")
            found.append(_block(array, slice(None), where))
        return found[0], found[1]

    def _layer(self, layer: str) -> zarr.Array[Any]:
        if layer not in self.layers:
            raise ArgumentError(
                f"{self.path}: has no layer {layer!r}, it has {', '.join(self.layers)}"
                f"{near(layer, self.layers)}"
            )
        array = self.root.get(f"layers/{layer}")
        if not isinstance(array, zarr.Array) or array.ndim != 3:
            raise FormatError(f"{self.path}: layer {layer} is no (N, D, K) array; extract again")
        return array


def open_features(path: Path) -> FeatureStore:
    """Open a feature store and check its layout.

    Raises
    ------
    FormatError
        If there is none at ``path``, it is of another kind or version, or is empty or torn.
    """
    root = open_root(path, "feature")
    attributes = dict(root.attrs)
    lineage = parse_lineage(attributes, str(path), Kind.FEATURES)
    facts = {name: attributes.get(name) for name in FACTS}
    layers = attributes.get("layers")
    if not isinstance(layers, list) or not layers:
        raise FormatError(f"{path}: attributes name no layers; extract the features again")
    try:
        columns = read_columns(root, str(path))
    except KeyError:
        raise FormatError(f"{path}: has no samples; extract the features again") from None
    store = FeatureStore(path, lineage, facts, tuple(map(str, layers)), columns, root)
    for layer in store.layers:
        if store.shape(layer)[0] != len(store) or len(store) == 0:
            raise FormatError(
                f"{path}: layer {layer} holds {store.shape(layer)[0]} images, the samples are "
                f"{len(store)}; extract the features again"
            )
    return store


def _block(array: zarr.Array[Any], rows: slice, where: str) -> AnyArray:
    try:
        return np.asarray(array[rows])
    except (ValueError, RuntimeError) as error:
        images = "" if rows.start is None else f", images {rows.start} to {rows.stop - 1}"
        raise FormatError(
            f"{where}{images}: cannot be read ({error}); the file is damaged, extract again"
        ) from error
